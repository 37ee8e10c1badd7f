"""Rules at work on the gateway: between its MQTT broker and the outbox.

A message is acknowledged to the broker when it is in the outbox, and the transaction that puts it there also notes
which messages those were (`Mark`): one that the broker sends again, because a power cut came between the two, is
known by that. A mark goes when the broker has said that it took the acknowledgement: its packet id is free for other
messages then, and one of the same words must not be taken for the one before. While the gateway is off, the broker
keeps what comes in the session of `skerry-NODE-rules`.

The broker is connected to when the first rule is held, or the cloud has something to publish: most gateways have
neither.

In memory: messages that were heard and are not in the store yet, as many as a broker sends without being
acknowledged. A crash costs messages of QoS 0 among them; all others come again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from devices.mqtt.port import Connection, Delivery, Hooks, Outgoing
from edgecore.rules.plan import Mark, Source, joined, mark_of, marks_text, messages_of, read_marks, sources_of
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import decode_object
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.rule_calls import PUBLISH_S_MAX
from skerry.objects.rules import ENDPOINTS, MESSAGE, RULES
from skerry.waits import until_set

LOG = logging.getLogger(__name__)

META_HEARD: Final = "rules_heard"
"""Name in `meta`: messages that are stored, and that the broker may send again (`Mark`)."""
SETTLE_S: Final = 5.0
"""From an acknowledgement to the question whether the broker has it: one for many, and after what a broker sends
again on a new connection."""
SETTLED_S_MAX: Final = 20.0
BATCH: Final = 200
"""Messages of one commit."""
UNHEARD_MAX: Final = 1000
"""Messages of QoS 0, which no broker keeps, that wait for their turn; beyond, the newest are dropped."""
AGAIN_S: Final = (0.5, 30.0)
"""Between tries to write when the disk is full."""

CONNECT_S_MAX: Final = 10.0
"""So long the first connection is waited for by who wants to publish."""

Open: TypeAlias = Callable[[Hooks], Connection]
"""A connection to the broker that has not been started."""


class RulesParts(Frozen):
    """What it is made of."""

    node: str
    store: AsyncEdgeStore
    open: Open
    begin: Callable[[Connection], Awaitable[None]]
    """Starts a connection, and waits for what it needs to be started."""
    settle_s: float = SETTLE_S


@dataclass(slots=True)
class _Taken:
    """A message that is or was stored, and that the broker does not know to be done."""

    delivery: Delivery
    connection: int
    """Of which it was heard last: the number of that connection."""
    stored: bool = False


class GatewayRules:
    """See the module. Everything runs on one event loop."""

    def __init__(self, parts: RulesParts) -> None:
        self._parts = parts
        self._connection: Connection | None = None
        self._connected = asyncio.Event()
        self._wanted = asyncio.Event()
        self._sources: tuple[Source, ...] = ()
        self._heard: deque[_Taken] = deque()
        self._taken: dict[int, _Taken] = {}
        """By packet id."""
        self._marks: dict[int, Mark] = {}
        """Stored, and not known to be done at the broker; by packet id."""
        self._noted = ""
        """The marks as they are in the store."""
        self._connections = 0
        self._unsettled = asyncio.Event()
        self._changed = True
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        self._noted = self._parts.store.meta(META_HEARD) or marks_text(())
        self._marks = read_marks(self._noted)
        stop_listening = self._parts.store.listen(self._committed)
        try:
            self._sources = self._read_sources()
            if self._sources:
                self._wanted.set()
            await self._wanted.wait()
            hooks = Hooks(
                connected=self._begin, disconnected=self._end, delivered=self._deliver, refused=self._withheld
            )
            connection = self._connection = self._parts.open(hooks)
            try:
                await self._parts.begin(connection)
                self._work.set()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._settle_always(connection))
                    await self._work_always(connection)
            finally:
                await connection.stop()
        finally:
            stop_listening()

    # --- the broker ---------------------------------------------------------------------------------------

    def _begin(self, resumed: bool) -> None:
        self._connections += 1
        if not resumed:  # it knows nothing of what it sent, so its packet ids are those of other messages
            self._marks.clear()
            self._taken.clear()
        self._unsettled.set()
        self._connected.set()
        LOG.info("rules_connected")

    def _end(self, reason: str) -> None:
        if self._connected.is_set():
            LOG.info("rules_disconnected reason=%r", reason)
        self._connected.clear()

    def _withheld(self, topic: str, reason: str) -> None:
        LOG.warning("rules_topic_refused topic=%r reason=%r", topic, reason)

    def _deliver(self, delivery: Delivery) -> None:
        if not delivery.qos:
            if len(self._heard) >= UNHEARD_MAX:
                LOG.warning("rules_dropped topic=%r reason='of QoS 0, and too many wait'", delivery.topic)
                return
            self._heard.append(_Taken(delivery, self._connections))
            self._work.set()
            return
        held = self._taken.get(delivery.mid)
        if held is not None and delivery.redelivered and held.delivery.payload == delivery.payload:
            # It is acknowledged on the connection on which it came last.
            held.delivery, held.connection = delivery, self._connections
            if held.stored:
                self._acknowledge(held)
            return
        taken = self._taken[delivery.mid] = _Taken(delivery, self._connections)
        if delivery.redelivered:
            if self._marks.get(delivery.mid) == mark_of(delivery.mid, delivery.topic, delivery.payload):
                self._acknowledge(taken)
                return
        else:
            self._marks.pop(delivery.mid, None)  # its packet id is free: the broker knows that it is done
        self._heard.append(taken)
        self._work.set()

    def _acknowledge(self, taken: _Taken) -> None:
        taken.stored = True
        if self._connection is None or not self._connection.acknowledge(taken.delivery):
            return  # it comes again, and is recognised then
        if self._taken.get(taken.delivery.mid) is taken:
            del self._taken[taken.delivery.mid]
        self._unsettled.set()

    async def _settle_always(self, connection: Connection) -> None:
        """Let go of the marks of what the broker knows to be done."""
        while True:
            await self._unsettled.wait()
            await asyncio.sleep(self._parts.settle_s)
            self._unsettled.clear()
            # What the broker had to send again on this connection has come: it does that first of all.
            asked = {mid: mark for mid, mark in self._marks.items() if not self._may_come_again(mid)}
            if asked and await connection.settled(timeout_s=SETTLED_S_MAX):
                for mid, mark in asked.items():
                    if self._marks.get(mid) is mark:
                        del self._marks[mid]
                        self._taken.pop(mid, None)
                self._work.set()

    def _may_come_again(self, mid: int) -> bool:
        taken = self._taken.get(mid)
        return taken is not None and taken.connection == self._connections

    # --- the store ----------------------------------------------------------------------------------------

    def _committed(self, batch: EdgeBatch) -> None:
        touched = {held.key.resource for held in batch.puts} | {key.resource for key in batch.deletes}
        if touched & {RULES, ENDPOINTS}:
            self._changed = True
            self._work.set()
            if not self._wanted.is_set() and self._read_sources():
                self._wanted.set()

    def _read_sources(self) -> tuple[Source, ...]:
        store = self._parts.store
        endpoints = [decode_object(held.body) for held in store.list(ENDPOINTS)]
        return sources_of(
            (decode_object(held.body) for held in store.list(RULES)),
            {(namespace_of(each), name_of(each)): each for each in endpoints},
            node=self._parts.node,
        )

    async def _work_always(self, connection: Connection) -> None:
        again_s = AGAIN_S[0]
        while True:
            await self._work.wait()
            self._work.clear()
            if self._changed:
                self._changed = False
                self._sources = self._read_sources()
                connection.subscribe({source.topic for source in self._sources})
            while self._heard:
                batch = [self._heard[index] for index in range(min(BATCH, len(self._heard)))]
                try:
                    await self._store(batch)
                except UnavailableError as error:
                    LOG.warning("rules_not_stored messages=%d reason=%r", len(self._heard), str(error))
                    await asyncio.sleep(again_s)
                    again_s = min(2 * again_s, AGAIN_S[1])
                    continue
                again_s = AGAIN_S[0]
                for taken in batch:
                    self._heard.popleft()
                    self._acknowledge(taken)
            await self._note()

    async def _note(self) -> None:
        """Which marks are left."""
        marks = marks_text(self._marks.values())
        if marks == self._noted:
            return
        try:
            await self._parts.store.apply(EdgeBatch(meta=((META_HEARD, marks),)))
        except UnavailableError as error:
            LOG.warning("rules_marks_not_stored reason=%r", str(error))  # the next message brings them along
            return
        self._noted = marks

    async def _store(self, batch: Sequence[_Taken]) -> None:
        deliveries = [taken.delivery for taken in batch]
        # A retained message was said before the rule was there, or is one of those that were heard already.
        told = [each for each in deliveries if not each.retained]
        reports = tuple(
            NewReport(report_class="message", kind=MESSAGE, key="", body=message.encode())
            for each in told
            for message in messages_of(self._sources, each.topic, each.payload)
        )
        if not reports:
            return
        new = [mark_of(each.mid, each.topic, each.payload) for each in told if each.qos]
        marks = marks_text(joined(self._marks, new).values())
        await self._parts.store.apply(EdgeBatch(reports=reports, meta=((META_HEARD, marks),)))
        self._noted = marks
        self._marks = joined(self._marks, new)  # some may have been settled in between

    # --- what the cloud has said here ---------------------------------------------------------------------

    async def publish(self, topic: str, payload: bytes) -> None:
        """Returns when the broker has it. Raises `UnavailableError`."""
        if not self._wanted.is_set():
            self._wanted.set()
            await until_set(self._connected, within_s=CONNECT_S_MAX)
        if self._connection is None or not self._connected.is_set():
            raise UnavailableError(f"the MQTT broker of node {self._parts.node} is away")
        await self._connection.publish(Outgoing(topic=topic, payload=payload), timeout_s=PUBLISH_S_MAX)
