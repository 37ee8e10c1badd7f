"""The hub's book of bytes on each node's link, and who exceeds a budget.

What is counted waits in memory and is written once an hour, one record a node that had any, so that it survives a
restart and costs a write a node an hour. A crash loses the hour. Records are of series of their own and expire as
readings do (`--record-days`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from cloudcore.runtime.events import EventRecorder, Saying
from cloudcore.store.port import Batch, Place, Record, Store
from skerry.errors import InvalidError, SkerryError
from skerry.objects.json import JsonObject, decode_object, encode_object
from skerry.objects.meta import annotations_of
from skerry.objects.times import time_text
from skerry.objects.traffic import BUDGET, DAY_MS, HOUR_MS, TrafficBook, Usage, parse_budget, size_text
from skerry.ports import Clock

LOG: Final = logging.getLogger(__name__)

WRITE_S: Final = 3600.0
DEPARTED_S: Final = 60.0
"""Where nodes go from hub to hub, what was counted of one that has left is written sooner."""
RECORDS_A_COMMIT: Final = 500
MONTH_MS: Final = 30 * DAY_MS
_READ_MAX: Final = 10_000


def series_of_node(node: str) -> str:
    """Where a node's records are. No property's series begins like it: a namespace has no colon."""
    return f"traffic:{node}"


class Metered(Protocol):
    """A session that counts."""

    node: str

    def take_usage(self) -> Usage:
        """What was counted since it was last asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSources:
    """Where the ledger learns what it writes down."""

    sessions: Callable[[], Iterable[Metered]]
    """Those that are open."""
    node_of: Callable[[str], JsonObject | None]
    """A Node as the cloud has it."""
    caps_of: Callable[[str], JsonObject] = lambda _node: {}
    """The caps on a node's link that are in force (`skerry.objects.bandwidth.shown_bandwidth`)."""
    elsewhere: Callable[[str], Awaitable[Usage]] | None = None
    """What another replica counted of a node and did not write down yet; None: there are no others."""


class TrafficLedger:
    """See the module. Run `run` in a task group."""

    def __init__(self, store: Store, clock: Clock, recorder: EventRecorder, sources: TrafficSources) -> None:
        self._store = store
        self._clock = clock
        self._recorder = recorder
        self._sources = sources
        self._pending: dict[str, Usage] = {}
        self._told: dict[tuple[str, str], int] = {}
        """When a node was last said to exceed a budget."""

    def note(self, node: str, usage: Usage) -> None:
        """Count this for a node; nobody's counts are dropped."""
        if node and usage:
            self._pending[node] = self._pending.get(node, Usage()) + usage

    async def run(self) -> None:
        """Until cancelled."""
        written_s = self._clock.monotonic_s()
        step_s = WRITE_S if self._sources.elsewhere is None else DEPARTED_S
        while True:
            await asyncio.sleep(step_s)
            if self._clock.monotonic_s() >= written_s + WRITE_S:
                written_s = self._clock.monotonic_s()
                await self.write()
            elif step_s < WRITE_S:
                await self.write_departed()

    def waiting(self, node: str) -> Usage:
        """What was counted of a node here and is not written down yet."""
        for session in list(self._sources.sessions()):
            if session.node == node:
                self.note(node, session.take_usage())
        return self._pending.get(node, Usage())

    async def write(self) -> None:
        """Write down what waits; what can't be written waits for the next time."""
        for session in list(self._sources.sessions()):
            self.note(session.node, session.take_usage())
        await self._write(list(self._pending.items()))

    async def write_departed(self) -> None:
        """The same of nodes that are not connected here any more: of a node, others ask the hub that it is at."""
        here = {session.node for session in self._sources.sessions()}
        await self._write([(node, usage) for node, usage in self._pending.items() if node not in here])

    async def _write(self, waiting: list[tuple[str, Usage]]) -> None:
        now_ms = self._clock.wall_ms()
        for at in range(0, len(waiting), RECORDS_A_COMMIT):
            part = waiting[at : at + RECORDS_A_COMMIT]
            records = tuple(
                Record(series=series_of_node(node), at_ms=now_ms, body=encode_object(usage.shown()))
                for node, usage in part
            )
            try:
                await self._store.commit(Batch(records=records))
            except SkerryError as error:
                LOG.warning("traffic not written nodes=%d error=%s", len(part), error)
                return
            for node, usage in part:
                self._written(node, usage)
            for node, _ in part:
                await self._check_budget(node, now_ms)

    def _written(self, node: str, usage: Usage) -> None:
        """What was counted while it was written stays."""
        held = self._pending.pop(node)
        if held is not usage:
            left = Usage(
                up={name: count - usage.up.get(name, 0) for name, count in held.up.items()},
                down={name: count - usage.down.get(name, 0) for name, count in held.down.items()},
                wire_up=held.wire_up - usage.wire_up,
                wire_down=held.wire_down - usage.wire_down,
            )
            self._pending[node] = left

    def bandwidth(self, node: str) -> JsonObject:
        """The caps on the node's link that are in force by its annotation; empty for none."""
        return self._sources.caps_of(node)

    async def book(self, node: str, since_ms: int) -> TrafficBook:
        """A node's hours and days since then, up to now. Raises `UnavailableError`."""
        counted = self.waiting(node)
        if self._sources.elsewhere is not None:
            counted += await self._sources.elsewhere(node)
        now_ms = self._clock.wall_ms()
        items: list[tuple[int, Usage]] = []
        after: Place | None = None
        while True:
            page = await self._store.records(series_of_node(node), after=after, since_ms=since_ms, limit=_READ_MAX)
            # Written at the end of the hour that it is of.
            items += [(record.at_ms - HOUR_MS // 2, Usage.read(decode_object(record.body))) for record in page]
            if len(page) < _READ_MAX:
                break
            after = page[-1].place
        if counted:
            items.append((now_ms, counted))
        return TrafficBook.of(items)

    async def _check_budget(self, node: str, now_ms: int) -> None:
        obj = self._sources.node_of(node)
        text = annotations_of(obj).get(BUDGET, "") if obj is not None else ""
        if obj is None or not text:
            return
        try:
            budget = parse_budget(text)
            for name, span_ms in (("daily", DAY_MS), ("monthly", MONTH_MS)):
                if name not in budget:
                    continue
                used = (await self.book(node, now_ms - span_ms)).since(now_ms - span_ms).wire
                if used > budget[name] and now_ms - self._told.get((node, name), 0) >= DAY_MS:
                    self._told[node, name] = now_ms
                    since = time_text(now_ms - span_ms)
                    message = f"{size_text(used)} since {since}, over the {name} budget of {size_text(budget[name])}"
                    await self._recorder.say(obj, Saying(type="Warning", reason="TrafficOverBudget", message=message))
        except InvalidError as error:
            await self._recorder.say(obj, Saying(type="Warning", reason="TrafficBudgetInvalid", message=str(error)))
        except SkerryError as error:
            LOG.warning("traffic budget not checked node=%s error=%s", node, error)
