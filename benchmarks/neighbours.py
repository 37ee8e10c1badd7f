"""What one bad member of a federation costs the others: a slow, a huge, a hostile and a flapping one among fifty.

Run: python -m benchmarks neighbours. In one process: the real store on this disk, the federation's controllers, the
hub of regions and a real session of every member over a link in memory; a member acknowledges its rows as a region's
cloud does. Measured is from a change of one federated object until all well-behaved members have it, without and with
one of the bad ones, in turn: one whose frames take two seconds each way, one with 10,000 objects of which statuses
change all the time, one that floods the hub with malformed and too large reports and those of others, and one that
comes and is cut off as fast as it can. All share the process with who measures: what they cost is an upper bound.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.federation import config
from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.assembly import federation_controllers
from cloudcore.federation.outbox import StateOutbox
from cloudcore.hub.bounds import Bounds
from cloudcore.hub.regions import RegionHub, RegionKinds, RegionParts
from cloudcore.registry.admission import STEPS
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.runtime.informer import INDEXES
from cloudcore.runtime.manager import Tools, run_controllers
from cloudcore.scheduler.ask import requests_of
from cloudcore.store.cache import following
from cloudcore.store.sql import open_sql_store
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.enrolment import REGION_USER_PREFIX
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, SESSION_PREFIX, TYPES
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at, map_at
from skerry.objects.meta import Key, Revision, Stamp
from skerry.sync.edge import EdgeIdentity, EdgeSession
from skerry.sync.effects import BeginLife, EdgeEffect, Prune, Welcomed, Write
from skerry.transport.driver import Driver, now_of
from skerry.transport.memory import MemoryLink, pair
from skerry.transport.session_shell import DialledRun

GOOD = 46
ROUNDS = 7
HUGE = 10_000
_SLOW_S = 2.0
_FLOOD = 200
"""Reports of the hostile one that wait at a time; there are always so many."""
_KIND = "federatedclusterroles.types.kubefed.io"


class Played:
    """A member's side of a session, which acknowledges what it is to have."""

    def __init__(self, name: str, hub: RegionHub, clock: SystemClock) -> None:
        self.name = name
        self._hub = hub
        self._clock = clock
        self.outbox = StateOutbox(f"{name}-1", clock)
        self._session: EdgeSession | None = None
        self._driver: Driver[EdgeEffect] | None = None
        self.stamps: dict[Key, Stamp] = {}
        self.acknowledged_s: dict[str, float] = {}
        """When each row was, by its template's first resource."""
        self.link: MemoryLink | None = None

    def tell(self, key: str, body: bytes, kind: str = "member_object") -> None:
        self.outbox.put(kind, key, body)
        if self._session is not None and self._driver is not None:
            self._session.appended(self._driver.now())
            self._driver.kick()

    async def once(self) -> None:
        """One session."""
        near, far = pair(edge_name=REGION_USER_PREFIX + self.name)
        self.link = near
        serving = asyncio.create_task(self._hub.handle(far))
        own = EdgeIdentity(
            node=SESSION_PREFIX + self.name,
            agent_version="benchmark",
            incarnation=self.outbox.incarnation,
            boot_id=self.outbox.incarnation,
            epoch="",
            revision=Revision(0),
        )
        session = EdgeSession(own, self.stamps.items(), self.outbox, now_of(self._clock))
        driver: Driver[EdgeEffect] = Driver(self.carried(near), session, self._clock)
        self._session, self._driver = session, driver
        run = DialledRun(self, session, driver, self.welcomed, whose="the member's")
        try:
            await driver.run(run.perform)
        finally:
            self._session = self._driver = None
            near.cut()
            await asyncio.gather(serving, return_exceptions=True)

    async def run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(0.01)

    def carried(self, link: MemoryLink) -> MemoryLink:
        return link

    def welcomed(self, effect: Welcomed) -> None:
        """Nothing more."""

    # --- `skerry.transport.session_shell.Keeping` ---

    async def write(self, write: Write) -> None:
        for put in write.puts:
            self.stamps[put.key] = put.stamp
            if put.key.resource != MEMBER_OBJECTS:
                continue
            spec = map_at(decode_object(put.body), "spec")
            said: JsonObject = {"revision": int_at(spec, "revision"), "uid": put.stamp.uid}
            self.acknowledged_s[str(map_at(spec, "manifest").get("rules"))] = time.monotonic()
            self.tell(put.key.name, encode_object(said))
        for key in write.deletes:
            self.stamps.pop(key, None)

    async def begin_life(self, effect: BeginLife) -> None:
        return

    async def prune(self, prune: Prune) -> None:
        self.outbox.prune(prune)


class _SlowLink(MemoryLink):
    """Each frame takes its time, both ways."""

    def __init__(self, inner: MemoryLink) -> None:
        super().__init__(peer_name=inner.peer_name)
        self._inner = inner
        self.peer, self.ended = inner.peer, inner.ended

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        await asyncio.sleep(_SLOW_S)
        await self._inner.send(data, stream=stream, last=last)

    async def receive(self) -> bytes:
        await asyncio.sleep(_SLOW_S)
        return await self._inner.receive()


class Slow(Played):
    def carried(self, link: MemoryLink) -> MemoryLink:
        return _SlowLink(link)


class Huge(Played):
    """Its statuses change all the time."""

    names: Sequence[str] = ()
    turn = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().run())
            while True:
                self.turn += 1
                for name in self.names:
                    self.tell(name, encode_object({"revision": 1, "uid": name, "message": f"turn {self.turn}"}))
                while self.outbox.outbox(after=0, limit=1):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)


class Hostile(Played):
    """Has always something to say that makes no sense."""

    said = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().run())
            while True:
                while len(self.outbox.outbox(after=0, limit=_FLOOD)) < _FLOOD:
                    self.said += 1
                    kind, body = (
                        ("member_object", b"{not json"),
                        ("member_object", b"[" * 100_000),
                        ("member_object", encode_object({"message": "x" * 200_000})),
                        ("no_such_kind", b"{}"),
                        ("member", b'{"zones": [' + b",".join([b'"' + b"z" * 1000 + b'"'] * 100) + b"]}"),
                        ("member_object", encode_object({"revision": -1, "remote": {"x": "y" * 60_000}})),
                    )[self.said % 6]
                    of = "m0" if self.said % 5 == 0 else self.name
                    self.tell(f"{of}.{self.said % 1000}", body, kind)
                await asyncio.sleep(0.01)


class Flapping(Played):
    """Is cut off as soon as it is welcomed."""

    times = 0

    def welcomed(self, effect: Welcomed) -> None:
        self.times += 1
        if self.link is not None:
            self.link.cut()


@asynccontextmanager
async def global_cloud(place: Path) -> AsyncGenerator[tuple[Tools, RegionHub]]:
    clock, ids = SystemClock(), SystemIds()
    store = await open_sql_store(place / "cloud.db", ids=ids)
    async with following(store, indexes=INDEXES) as cache:
        scheme = builtin_scheme()
        custom = CustomKinds(scheme)
        objects = LocalObjects(store=store, cache=cache, rules=KindRules(custom), clock=clock, ids=ids, steps=STEPS)
        tools = Tools(objects=objects, cache=cache, scheme=scheme, clock=clock, ids=ids)
        hub = RegionHub(
            RegionParts(
                store=store,
                cache=cache,
                objects=objects,
                clock=clock,
                bounds=Bounds(clock=clock, events_of=lambda _: 0, messages_of=lambda _: (0, 0)),
                kinds=RegionKinds(member=tools.kind(MEMBERS), row=tools.kind(MEMBER_OBJECTS)),
            )
        )
        await objects.create(tools.kind("namespaces"), "", {"metadata": {"name": NAMESPACE}})
        await objects.create(tools.kind(TYPES), NAMESPACE, config())
        controllers = [DefinitionController(tools, custom), *federation_controllers(tools, requests_of)]
        running = [
            asyncio.create_task(hub.run()),
            asyncio.create_task(run_controllers(cache, clock, controllers)),
        ]
        try:
            yield tools, hub
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await store.close()


async def _change(tools: Tools, number: int, *, first: bool) -> str:
    rules: JsonObject = {"verbs": ["get"], "apiGroups": [""], "resources": [f"r{number}"]}
    placement: JsonObject = {"clusterSelector": {"matchLabels": {"good": "yes"}}}
    spec: JsonObject = {"placement": placement, "template": {"rules": [rules]}}
    kind = tools.scheme.of_resource(_KIND)
    assert kind is not None
    if first:
        await tools.objects.create(kind, "", {"metadata": {"name": "x"}, "spec": spec})
    else:
        await tools.objects.update(kind, Key(_KIND, "", "x"), lambda obj: {**obj, "spec": spec})
    return str([rules])


async def _round_s(tools: Tools, good: Sequence[Played], number: int) -> float:
    began = time.monotonic()
    named = await _change(tools, number, first=number == 0)
    async with asyncio.timeout(120):
        while not all(named in each.acknowledged_s for each in good):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    took_s = max(each.acknowledged_s[named] for each in good) - began
    await asyncio.sleep(0.5)
    return took_s


async def _rows_of_huge(tools: Tools, name: str) -> list[str]:
    kind = tools.kind(MEMBER_OBJECTS)

    async def made(number: int) -> str:
        row: JsonObject = {
            "metadata": {"name": f"{name}.{number}"},
            "spec": {"member": name, "revision": 1, "manifest": {"kind": "ConfigMap"}},
        }
        await tools.objects.create(kind, "", row)
        return f"{name}.{number}"

    names: list[str] = []
    for at in range(0, HUGE, 500):
        names += await asyncio.gather(*(made(number) for number in range(at, at + 500)))
    return names


async def measured() -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as place:
        async with global_cloud(Path(place)) as (tools, hub):
            clock = SystemClock()
            good = [Played(f"m{number}", hub, clock) for number in range(GOOD)]
            bad: list[Played] = [each(each.__name__.lower(), hub, clock) for each in (Slow, Huge, Hostile, Flapping)]
            for each in (*good, *bad):
                labels: JsonObject = {"good": "yes"} if each in good else {}
                member: JsonObject = {"metadata": {"name": each.name, "labels": labels}, "spec": {"syncMode": "Pull"}}
                await tools.objects.create(tools.kind(MEMBERS), NAMESPACE, member)
            while tools.scheme.of_resource(_KIND) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            tasks = [asyncio.create_task(each.run()) for each in good]
            number = 0
            for _ in range(2):  # the first is made, and everything warms up
                await _round_s(tools, good, number)
                number += 1
            for each in bad:
                if isinstance(each, Huge):
                    each.names = await _rows_of_huge(tools, each.name)
                alone: list[float] = []
                beside: list[float] = []
                for _ in range(ROUNDS):
                    alone.append(await _round_s(tools, good, number))
                    task = asyncio.create_task(each.run())
                    await asyncio.sleep(1)
                    beside.append(await _round_s(tools, good, number + 1))
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    number += 2
                rows.append((f"{GOOD} members have a change, nobody else there", _shown(alone)))
                rows.append((f"… beside a {each.name} one", _shown(beside)))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return rows


def _shown(found: Sequence[float]) -> str:
    return f"median {statistics.median(found) * 1000:.0f} ms, worst {max(found) * 1000:.0f} ms"


def main() -> Sequence[tuple[str, str]]:
    logging.disable(logging.WARNING)
    return asyncio.run(measured())
