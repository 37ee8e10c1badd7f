"""Carries out what `plan` decides about commands: write down, tell the cloud, act, write down how it ended.

What it keeps is in the edge store (`CommandRecord`). A crash before a record is durable leaves a command that was not
begun; one after it leaves a command that counts as begun, whose end is Unknown. Everything is written by one loop, so
that what is planned is planned from what is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from edgecore.commands.plan import Begin, CarryOut, Forget, Halt, Keep, Seen, Step, plan
from edgecore.commands.port import Executor
from edgecore.commands.records import CommandRecord, Moment
from edgecore.store.port import META_EPOCH, EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.commands import COMMANDS, Action, Order, Outcome, Refusal, command_spec, described
from skerry.objects.json import JsonObject, decode_object, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.ports import Clock
from skerry.waits import until_set
from skerry.wire.frames import PROMPT

LOG: Final = logging.getLogger(__name__)

FAILED_AGAIN_S: Final = 5.0
"""After the store refused (a full disk)."""
LOOK_AGAIN_S: Final = 60.0
"""Something that a command waits for may come without a word."""


class CommandParts(Frozen):
    """What the runner is made of."""

    store: AsyncEdgeStore
    executors: Mapping[type[Action], Executor]
    """By kind of action; what has none is refused."""
    clock: Clock
    boot_id: str
    cloud_ms: Callable[[], int | None]
    """The latest that the cloud's clock may read now; None before the cloud was heard since this agent started."""


class CommandRunner:
    """Run `run` in a task group. Cancelling it leaves what runs Unknown."""

    def __init__(self, parts: CommandParts) -> None:
        self._parts = parts
        self._running: dict[str, asyncio.Event] = {}
        self._waiting: dict[str, int] = {}
        """Of those, what is not carried out yet: the number of the report that it is begun."""
        self._ended: dict[str, Outcome] = {}
        self._wake = asyncio.Event()
        self._failure = ""

    def poke(self) -> None:
        """The cloud was heard: its time is known."""
        self._wake.set()

    async def run(self) -> None:
        store = self._parts.store
        stops = store.listen(self._committed), store.listen_receipts(self._receipted)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._wake.clear()
                    wait_s = await self._attempt(tasks)
                    await until_set(self._wake, within_s=wait_s)
        finally:
            for stop in stops:
                stop()

    def _committed(self, batch: EdgeBatch) -> None:
        if batch.meta or any(key.resource == COMMANDS for key in (*(put.key for put in batch.puts), *batch.deletes)):
            self._wake.set()

    def _receipted(self) -> None:
        if self._waiting:
            self._wake.set()

    async def _attempt(self, tasks: asyncio.TaskGroup) -> float:
        """One round; seconds until the next."""
        try:
            wait_s = await self._round(tasks)
        except UnavailableError as error:
            if str(error) != self._failure:
                LOG.warning("commands wait reason=%s", error)
            self._failure = str(error)
            return FAILED_AGAIN_S
        self._failure = ""
        return wait_s

    async def _round(self, tasks: asyncio.TaskGroup) -> float:
        await self._write_ends()
        made = plan(self._see())
        for step in made.steps:
            await self._take(step, tasks)
        if made.steps:
            self._wake.set()  # what was written may let the next one begin
        return min(made.wake_s if made.wake_s is not None else LOOK_AGAIN_S, LOOK_AGAIN_S)

    def _see(self) -> Seen:
        parts = self._parts
        held = {item.stamp.uid: decode_object(item.body) for item in parts.store.list(COMMANDS)}
        return Seen(
            held=held,
            records=self._records(),
            running=frozenset(self._running),
            waiting=frozenset(self._waiting),
            known=frozenset(uid for uid, seq in self._waiting.items() if self._is_known(seq)),
            stopping=frozenset(uid for uid, halt in self._running.items() if halt.is_set()),
            refusals={
                uid: refusal for uid, obj in held.items() if (refusal := self._refusal(_order(uid, obj))) is not None
            },
            incarnation=parts.store.incarnation,
            epoch=parts.store.meta(META_EPOCH) or "",
            cloud_ms=parts.cloud_ms(),
            now=self._now(),
        )

    def _records(self) -> dict[str, CommandRecord]:
        return {uid: CommandRecord.decode(uid, body) for uid, body in self._parts.store.commands()}

    def _is_known(self, seq: int) -> bool:
        """The cloud has the report of this number: state leaves the outbox for no other reason."""
        store = self._parts.store
        if store.is_beginning_life:
            return False
        oldest = store.outbox(after=seq - 1, limit=1, lane=PROMPT)
        return not oldest or oldest[0].seq > seq

    def _refusal(self, order: Order) -> Refusal | None:
        executor = self._parts.executors.get(type(order.action))
        if executor is None:
            kind, _ = described(order.action)
            can = ", ".join(sorted(known.__name__ for known in self._parts.executors))
            return Refusal(reason="NotSupported", message=f"this gateway does not do {kind}: it does {can}")
        return executor.refusal(order)

    def _now(self) -> Moment:
        clock = self._parts.clock
        return Moment(
            wall_ms=clock.wall_ms(),
            boot_id=self._parts.boot_id,
            monotonic_ms=round(clock.monotonic_s() * 1000),
        )

    async def _take(self, step: Step, tasks: asyncio.TaskGroup) -> None:
        match step:
            case Keep():
                await self._keep(step.record)
                if step.record.uid in self._waiting:  # it has ended, and nothing was done
                    del self._waiting[step.record.uid], self._running[step.record.uid]
            case Begin():
                self._waiting[step.record.uid] = await self._keep(step.record)
                self._running[step.record.uid] = asyncio.Event()
            case CarryOut():
                cloud_ms = self._parts.cloud_ms()  # a write may have come before, and taken its time
                if cloud_ms is not None and cloud_ms < step.record.command.expires_ms:
                    del self._waiting[step.record.uid]
                    tasks.create_task(self._carry_out(step.record, self._running[step.record.uid]))
            case Halt():
                self._running[step.uid].set()
            case Forget():
                await self._parts.store.apply(EdgeBatch(commands=((step.uid, None),)))

    async def _keep(self, record: CommandRecord) -> int:
        """Durable; the number of its report."""
        report = record.report(self._now(), self._parts.store.incarnation)
        batch = EdgeBatch(commands=((record.uid, record.encode()),), reports=(report,))
        seq = await self._parts.store.apply(batch)
        LOG.info(
            "command command=%s/%s phase=%s reason=%s", record.namespace, record.name, record.phase, record.reason
        )
        return seq

    async def _carry_out(self, record: CommandRecord, halt: asyncio.Event) -> None:
        command = record.command
        order = Order(
            namespace=record.namespace,
            name=record.name,
            uid=record.uid,
            action=command.action,
            target_uid=command.target_uid,
        )
        try:
            async with asyncio.timeout(command.timeout_s):
                outcome = await self._parts.executors[type(order.action)].execute(order, halt)
        except TimeoutError:
            why = f"not done within {command.timeout_s} s; it may have taken effect, whole or in part"
            outcome = _failed("TimedOut", why)
        except SkerryError as error:
            outcome = _failed("Failed", str(error))
        except Exception as error:
            # The root of one command's work: a fault of ours ends it alone.
            LOG.exception("command failed command=%s/%s", record.namespace, record.name)
            outcome = _failed("AgentFault", f"a fault in the agent: {error}")
        self._ended[record.uid] = outcome
        self._wake.set()

    async def _write_ends(self) -> None:
        """What ended and is not written yet: after a full disk again, until it is."""
        records = self._records() if self._ended else {}
        for uid, outcome in list(self._ended.items()):
            await self._keep(records[uid].after(outcome, self._now()))
            del self._ended[uid], self._running[uid]
            self._wake.set()


def _order(uid: str, obj: JsonObject) -> Order:
    spec = command_spec(obj)
    return Order(
        namespace=namespace_of(obj), name=name_of(obj), uid=uid, action=spec.action, target_uid=spec.target_uid
    )


def _failed(reason: str, message: str) -> Outcome:
    return Outcome(phase="Failed", reason=reason, message=message, result={})


def shown_commands(store: AsyncEdgeStore) -> list[JsonObject]:
    """Every command that this gateway knows, as objects: those noted, and those just come. For the local API."""
    objects: dict[str, JsonObject] = {}
    for item in store.list(COMMANDS):
        objects[item.stamp.uid] = decode_object(item.body)
    for uid, body in store.commands():
        record = CommandRecord.decode(uid, body)
        held = objects.get(uid)
        objects[uid] = _shown(record, held)
    return sorted(objects.values(), key=lambda obj: (str_at(obj, "spec", "issued", "time"), name_of(obj)))


def _shown(record: CommandRecord, held: JsonObject | None) -> JsonObject:
    metadata: JsonObject = {
        "namespace": record.namespace,
        "name": record.name,
        "uid": record.uid,
        "creationTimestamp": record.created,
    }
    status: JsonObject = {"phase": record.phase, "reason": record.reason, "message": record.message}
    if record.result:
        status["result"] = record.result
    base: JsonObject = held or {"metadata": metadata, "spec": record.spec}
    return {**base, "status": status}
