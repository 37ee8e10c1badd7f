"""A gateway with a boiler whose rules are at work, for tests: its power can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from devices.port import Reading
from edgecore.device_rules.acting import DEVICES
from edgecore.device_rules.keeper import DeviceRules
from edgecore.device_rules.port import RuleParts
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SystemClock
from skerry.errors import UnavailableError
from skerry.objects.desired import UNSEEN, Desired, Hlc, Vector, Wish
from skerry.objects.device_models import MODELS
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.json import JsonObject, decode_object, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.rule_calls import ServiceReply, ServiceRequest
from skerry.objects.twins import AckState, Quality, TwinState, Value, ack
from tests.edgecore.device_rules.samples import DEVICE, MODEL, obj

BOILER = Key(DEVICES, "d", "boiler")


@dataclass
class Twin:
    prop: str
    state: TwinState


class FakeTwins:
    """Implements `edgecore.device_rules.port.Twins`: what is wanted is verified at once, and read back."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.hears: list[Callable[[Reading], None]] = []
        self.states: dict[str, TwinState] = {}
        self.wanted: list[tuple[str, str | None, str]] = []
        self.log: list[tuple[int, str, JsonObject]] = []
        """With the time instead of a number."""
        self.refuse: Exception | None = None
        self.answer: AckState = "verified"
        self.attempts = 0
        self.follows = True
        """What is wanted is read back."""
        self.dies_after = False
        """The power goes when the value is wanted, and before that is noted."""
        self.silent = False
        """Devices do not answer."""
        self.waited_s: list[float] = []

    def listen(self, hear: Callable[[Reading], None]) -> Callable[[], None]:
        self.hears.append(hear)
        return lambda: self.hears.remove(hear)

    def twins(self, device: Key | None = None) -> Sequence[Twin]:
        return [Twin(prop, state) for prop, state in self.states.items()]

    def desired_log(self, device: Key, *, since_ms: int = 0) -> Sequence[tuple[int, str, JsonObject]]:
        return [entry for entry in self.log if entry[0] >= since_ms]

    def want(self, prop: str, value: str, origin: str) -> Vector:
        before = self.states.get(prop)
        ver = (before.desired.ver if before and before.desired else UNSEEN).advanced("edge")
        hlc = Hlc(self.clock.wall_ms(), 0)
        desired = Desired(value=value, ver=ver, hlc=hlc, side="edge", origin=origin, synced=True)
        answer = ack(self.answer, for_ver=ver, at_ms=0, reason="no" if self.answer == "refused" else "")
        self.states[prop] = TwinState(uid="boiler", desired=desired, ack=answer)
        return ver

    async def write(
        self, device: Key, wishes: Sequence[Wish], *, origin: str, if_match: str = ""
    ) -> Sequence[Vector]:
        self.attempts += 1
        if self.refuse is not None:
            raise self.refuse
        (wish,) = wishes
        self.wanted.append((wish.prop, wish.value, origin))
        ver = self.want(wish.prop, wish.value or "", origin)
        self.log.insert(0, (self.clock.wall_ms(), "", {"desired": {"origin": origin}}))
        if self.dies_after:
            await asyncio.Event().wait()
        if self.follows and wish.value in ("true", "false"):
            self.read("pump", wish.value == "true")
        return [ver]

    async def wait(
        self, device: Key, prop: str, *, for_ver: Vector, states: frozenset[AckState], timeout_s: float
    ) -> TwinState:
        if self.silent:
            self.waited_s.append(timeout_s)
            self.clock.advance(timeout_s)
            raise UnavailableError(f"no answer after {timeout_s:g} s")
        return self.states[prop]

    def read(self, prop: str, value: Value | None, quality: Quality = "good") -> None:
        reading = Reading(
            device=BOILER,
            prop=prop,
            value=value,
            quality=quality,
            reason="" if quality == "good" else "silent",
            source_ms=self.clock.wall_ms(),
            monotonic_s=self.clock.monotonic_s(),
        )
        for hear in self.hears:
            hear(reading)


@dataclass
class Stage:
    memory: FailingEdgeStore
    store: AsyncEdgeStore
    clock: ManualClock
    twins: FakeTwins
    rules: DeviceRules
    published: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    asked: list[tuple[ServiceRequest, bytes]] = field(default_factory=list[tuple[ServiceRequest, bytes]])
    answers: list[ServiceReply | Exception] = field(default_factory=list["ServiceReply | Exception"])
    hangs: bool = False
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    revision: int = 0

    async def put(self, resource: str, body: JsonObject) -> None:
        self.revision += 1
        metadata: Any = body["metadata"]
        key = Key(resource, metadata["namespace"], metadata["name"])
        held = Held(key=key, stamp=Stamp(metadata["uid"], Revision(self.revision)), body=encode_object(body))
        await self.store.apply(EdgeBatch(puts=(held,)))

    async def rule(self, name: str = "x", *, generation: int = 1, **more: Any) -> None:
        body: Any = obj(name, **more)
        body["metadata"]["generation"] = generation
        await self.put(DEVICE_RULES, body)
        await self.until(lambda: self.status(name).get("observedGeneration") == generation)

    def status(self, name: str = "x") -> dict[str, Any]:
        found: Any = self.rules.status(Key(DEVICE_RULES, "d", name))
        return found or {}

    def deeds(self, name: str = "x") -> list[tuple[str, str]]:
        """(state, reason or answer) of the last firing's actions."""
        recent = self.status(name).get("recent", [])
        return (
            [(each["state"], each.get("reason", each.get("answer", ""))) for each in recent[-1]["actions"]]
            if recent
            else []
        )

    def told(self, kind: str) -> list[dict[str, Any]]:
        reports = [each for each in self.store.outbox(after=0, limit=1000) if each.kind == kind]
        found: Any = [decode_object(each.body) for each in reports]
        return found

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.001)

    async def pass_(self, seconds: float) -> None:
        """Time passes, the engine is woken by a reading that nobody names, and all that comes of it is done."""
        self.clock.advance(seconds)
        engine: Any = self.rules._engine
        looks, looked = engine._pass, 0

        async def pass_() -> float | None:
            nonlocal looked
            wait_s: float | None = await looks()
            looked += 1
            return wait_s

        engine._pass = pass_
        while True:
            before = looked
            engine._wake.set()
            await self.until(lambda: looked > before)  # noqa: B023
            if not any(live.is_busy for live in engine._rules.values()):
                break
        engine._pass = looks

    async def publish(self, topic: str, payload: bytes) -> None:
        self.published.append((topic, payload))
        if self.hangs:
            await self.let_go.wait()
        if self.answers and isinstance(self.answers[0], Exception):
            raise self.answers.pop(0)  # type: ignore[misc]

    async def ask(self, asked: ServiceRequest, body: bytes) -> ServiceReply:
        self.asked.append((asked, body))
        answer = self.answers.pop(0) if self.answers else ServiceReply(status=200, headers=(), body=b"fine")
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def running(before: Stage | None = None, *, broker: bool = True) -> AsyncGenerator[Stage]:
    """A gateway with a boiler; `before`: it was there already, and lost its power."""
    clock = before.clock if before else ManualClock(wall_ms=1_790_000_000_000, monotonic_s=1000.0)
    memory = before.memory if before else FailingEdgeStore(MemoryEdgeStore(clock=SystemClock(), incarnation="one"))
    store, twins = AsyncEdgeStore(memory), before.twins if before else FakeTwins(clock)
    stage: Stage

    async def publish(topic: str, payload: bytes) -> None:
        await stage.publish(topic, payload)

    async def ask(asked: ServiceRequest, body: bytes) -> ServiceReply:
        return await stage.ask(asked, body)

    rules = DeviceRules(
        RuleParts(node="eu-1", store=store, twins=twins, clock=clock, ask=ask, publish=publish if broker else None)
    )
    stage = Stage(memory, store, clock, twins, rules)
    stage.revision = before.revision if before else 0
    if before is None:
        await stage.put(MODELS, MODEL)
        await stage.put(DEVICES, DEVICE)
    task = asyncio.create_task(rules.run())
    try:
        await asyncio.sleep(0)
        yield stage
    finally:
        task.cancel()
        for outcome in await asyncio.gather(task, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome
