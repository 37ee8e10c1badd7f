"""The hub's book of bytes on each node's link.

What is counted waits in memory and is written, one record a node, when the hour is over; and before that as soon as
much waits (`is_due`), so that a crash loses little and an idle node still costs a write an hour. Records have series
of their own and expire as readings do (`--record-days`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from cloudcore.hub.budgets import Budgets, BudgetSources
from cloudcore.runtime.events import EventRecorder
from cloudcore.store.port import Batch, Place, Record, Store, StoredRecord
from skerry.errors import SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at
from skerry.objects.traffic import DAYS_KEPT, HOUR_MS, TrafficBook, Usage
from skerry.ports import Clock

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 15.0
"""How often what waits is looked at: twenty milliseconds for 10,000 sessions, and not in one go."""
PROMPT_BYTES: Final = 1_000_000
PROMPT_PART: Final = 8
"""A megabyte is written at the next look; in a busy hour an eighth of what was written in it, so that a link at its
limit costs some forty records an hour and not thousands."""
SOON_BYTES: Final = 16_000
SOON_MS: Final = 5 * 60_000
"""So much, an hour's signs of life, is written after five minutes. Less waits for the hour."""
RECORDS_A_COMMIT: Final = 500
SESSIONS_A_TURN: Final = 500
_READ_MAX: Final = 10_000
_SINCE: Final = "sinceMs"
"""In a record: where the time begins that it is of."""


def series_of_node(node: str) -> str:
    """Where a node's records are. No property's series begins like it: a namespace has no colon."""
    return f"traffic:{node}"


class Metered(Protocol):
    """A session that counts."""

    node: str

    @property
    def counted(self) -> int:
        """Bytes of frames since its usage was last taken, cheap to ask for."""
        ...

    def take_usage(self) -> Usage:
        """What was counted since it was last asked."""
        ...


class TrafficSources(Frozen):
    """Where the ledger learns what it writes down."""

    sessions: Callable[[], Iterable[Metered]]
    """Those that are open."""
    node_of: Callable[[str], JsonObject | None]
    """A Node as the cloud has it."""
    caps_of: Callable[[str], JsonObject] = lambda _node: {}
    """The caps on a node's link that are in force (`skerry.objects.bandwidth.shown_bandwidth`)."""
    elsewhere: Callable[[str], Awaitable[Usage]] | None = None
    """What another replica counted of a node and did not write down yet; None: there are no others."""


@dataclass(slots=True, kw_only=True)
class Account:
    """What was counted of one node and is not written down yet."""

    since_ms: int
    """The time that it is of begins here."""
    usage: Usage = field(default_factory=Usage)
    written: int = 0
    """Bytes of the running hour that were written down."""


def size_of(usage: Usage) -> int:
    """Bytes, as the network carried them where that is known."""
    return usage.wire or sum(usage.up.values()) + sum(usage.down.values())


def is_due(account: Account, size: int, now_ms: int) -> bool:
    """Whether this many bytes, counted since the account's beginning, are to be written down now."""
    if not size:
        return False
    if now_ms // HOUR_MS != account.since_ms // HOUR_MS:
        return True
    if size >= max(PROMPT_BYTES, account.written // PROMPT_PART):
        return True
    return size >= SOON_BYTES and now_ms - account.since_ms >= SOON_MS


class TrafficLedger:
    """See the module. Run `run` in a task group, and tell `budgets` of every change of a Node."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        recorder: EventRecorder,
        sources: TrafficSources,
        *,
        days_kept: int = DAYS_KEPT,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sources = sources
        self._accounts: dict[str, Account] = {}
        self._here: set[str] = set()
        """Nodes that had a session at the last look."""
        self._failing = False
        self.days_kept = min(days_kept, DAYS_KEPT)
        """How far back a book reaches."""
        shared = sources.elsewhere is not None
        budget_sources = BudgetSources(
            node_of=sources.node_of,
            used=self._used,
            mine=lambda node: node in self._here if shared else True,
            shared=shared,
        )
        self.budgets = Budgets(clock, recorder, budget_sources)

    def note(self, node: str, usage: Usage) -> None:
        """Count this for a node; nobody's counts are dropped."""
        if node and usage:
            account = self._account(node)
            account.usage += usage
            self.budgets.spend(node, usage.wire)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Write down what is due, and see who exceeds a budget."""
        now_ms = self._clock.wall_ms()
        here: set[str] = set()
        for turn, session in enumerate(list(self._sources.sessions()), start=1):
            if session.node:
                here.add(session.node)
                self._see(session, now_ms)
            if turn % SESSIONS_A_TURN == 0:
                await asyncio.sleep(0)
        self._here = here
        # Where nodes go from hub to hub, a departed one's is not kept here: others ask the hub that it is at.
        leaves = self._sources.elsewhere is not None
        due = [
            node
            for node, account in self._accounts.items()
            if is_due(account, size_of(account.usage), now_ms) or (leaves and account.usage and node not in here)
        ]
        await self._write(due)
        for node in [each for each, account in self._accounts.items() if not account.usage and each not in here]:
            del self._accounts[node]
        await self.budgets.look()

    def waiting(self, node: str) -> Usage:
        """What was counted of a node here and is not written down yet."""
        for session in list(self._sources.sessions()):
            if session.node == node:
                self.note(node, session.take_usage())
        account = self._accounts.get(node)
        return Usage() if account is None else account.usage

    async def write(self) -> None:
        """Write down all that waits; what can't be written waits for the next time."""
        for session in list(self._sources.sessions()):
            self.note(session.node, session.take_usage())
        await self._write([node for node, account in self._accounts.items() if account.usage])

    def _see(self, session: Metered, now_ms: int) -> None:
        account = self._account(session.node)
        if self.budgets.has(session.node) or is_due(account, size_of(account.usage) + session.counted, now_ms):
            self.note(session.node, session.take_usage())

    def _account(self, node: str) -> Account:
        account = self._accounts.get(node)
        if account is None:
            account = self._accounts[node] = Account(since_ms=self._clock.wall_ms())
        return account

    async def _write(self, nodes: list[str]) -> None:
        for at in range(0, len(nodes), RECORDS_A_COMMIT):
            now_ms = self._clock.wall_ms()
            part = [
                (node, self._accounts[node], self._accounts[node].usage) for node in nodes[at : at + RECORDS_A_COMMIT]
            ]
            records = tuple(
                Record(
                    series=series_of_node(node),
                    at_ms=now_ms,
                    body=encode_object({**usage.shown(), _SINCE: account.since_ms}),
                )
                for node, account, usage in part
            )
            try:
                await self._store.commit(Batch(records=records))
            except SkerryError as error:
                if not self._failing:
                    LOG.warning("traffic not written nodes=%d error=%s", len(part), error)
                self._failing = True
                return
            self._failing = False
            for _, account, usage in part:
                same_hour = now_ms // HOUR_MS == account.since_ms // HOUR_MS
                account.written = account.written + size_of(usage) if same_hour else 0
                account.usage -= usage  # what was counted meanwhile stays
                account.since_ms = now_ms

    def bandwidth(self, node: str) -> JsonObject:
        """The caps on the node's link that are in force by its annotation; empty for none."""
        return self._sources.caps_of(node)

    async def book(self, node: str, since_ms: int) -> TrafficBook:
        """A node's hours and days since then (`skerry.objects.traffic.whole_since`), up to now. Raises
        `UnavailableError`."""
        counted = self.waiting(node)
        if self._sources.elsewhere is not None:
            counted += await self._sources.elsewhere(node)
        now_ms = self._clock.wall_ms()
        items: list[tuple[int, Usage]] = []
        after: Place | None = None
        while True:
            page = await self._store.records(series_of_node(node), after=after, since_ms=since_ms, limit=_READ_MAX)
            items += [_dated(record) for record in page]
            if len(page) < _READ_MAX:
                break
            after = page[-1].place
        if counted:
            items.append((now_ms, counted))
        return TrafficBook.of(items)

    async def known(self, node: str) -> bool:
        """Whether anything was ever counted of it, as far back as is kept."""
        return bool(self.waiting(node) or await self._store.records(series_of_node(node), limit=1))

    async def _used(self, node: str, since_ms: int) -> int:
        return (await self.book(node, since_ms)).since(since_ms).wire


def _dated(record: StoredRecord) -> tuple[int, Usage]:
    """In the middle of the time that it is of: an hour, where an earlier version wrote it."""
    body = decode_object(record.body)
    since_ms = min(int_at(body, _SINCE, default=record.at_ms - HOUR_MS), record.at_ms)
    return (since_ms + record.at_ms) // 2, Usage.read(body)
