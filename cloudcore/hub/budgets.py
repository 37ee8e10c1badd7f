"""Who exceeds the budget of its link: the annotation `skerry.dev/traffic-budget` of each Node, warned of by Events.

For a node with a budget it keeps how many bytes are left until one may be passed, and looks into the book only when
they are spent, when the annotation is new, or now and then where other hubs count, too. Windows slide: a day is the
last 24 whole hours, a month the last 30 whole days, so that nothing is warned of that did not happen within them.
Admission refuses what makes no sense; where that stands in the store all the same (an older cloud wrote it), an
Event says so. In memory: after a crash every budget is looked at once, and what is exceeded is said again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from cloudcore.hub.references import NODES
from cloudcore.runtime.events import EventRecorder, Saying
from cloudcore.store.port import Change, Stored
from skerry.errors import InvalidError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import annotations_of
from skerry.objects.times import time_text
from skerry.objects.traffic import BUDGET, DAY_MS, HOUR_MS, parse_budget, size_text
from skerry.ports import Clock

LOG: Final = logging.getLogger(__name__)

BOOKS_A_LOOK: Final = 100
"""A month of a node's book takes milliseconds to add up: at a start with thousands of budgets, the rest waits."""
AGAIN_MS: Final = HOUR_MS
"""What others count is asked for as often, and a budget that was passed looked at."""
_SPANS: Final = (("daily", DAY_MS, HOUR_MS), ("monthly", 30 * DAY_MS, DAY_MS))
_NAME: Final = BUDGET.encode()


@dataclass(slots=True, kw_only=True)
class _Budgeted:
    """One node that has a budget."""

    text: str
    limits: dict[str, int]
    fault: str
    """Why the annotation is not understood, until that is said; "" else."""
    seen: bool = False
    """Whether the book was looked into."""
    left: int | None = None
    """Bytes until a limit may be passed that was not, as of the last look; None: there is no such limit."""
    spent: int = 0
    """Since then."""
    over: bool = False
    """Whether a limit was passed then."""
    again_ms: int = 0
    """When to look again where the window's sliding, or another hub, may have changed something."""
    told_ms: dict[str, int] = field(default_factory=dict[str, int])


class BudgetSources(Frozen):
    """Where budgets learn what is so."""

    node_of: Callable[[str], JsonObject | None]
    """A Node as the cloud has it."""
    used: Callable[[str, int], Awaitable[int]]
    """Bytes on a node's link since a time, up to now. Raises `UnavailableError`."""
    mine: Callable[[str], bool]
    """Whether it is this hub that speaks of the node."""
    shared: bool
    """Whether other hubs count, too."""


class Budgets:
    """Tell it every change of a Node and what travels, and let it `look` now and then."""

    def __init__(self, clock: Clock, recorder: EventRecorder, sources: BudgetSources) -> None:
        self._clock = clock
        self._recorder = recorder
        self._sources = sources
        self._budgeted: dict[str, _Budgeted] = {}
        self._failing = False

    def load(self, nodes: Iterable[Stored]) -> None:
        """See all Nodes, as of now."""
        found: set[str] = set()
        for stored in nodes:
            found.add(stored.key.name)
            self._see(stored.key.name, stored.body)
        for gone in self._budgeted.keys() - found:
            del self._budgeted[gone]

    def apply(self, change: Change) -> None:
        """See one change."""
        if change.key.resource == NODES:
            self._see(change.key.name, change.after or b"")

    def has(self, node: str) -> bool:
        """Whether what the node spends is to be known soon."""
        return node in self._budgeted

    def spend(self, node: str, size: int) -> None:
        """So many bytes travelled."""
        budgeted = self._budgeted.get(node)
        if budgeted is not None:
            budgeted.spent += size

    async def look(self) -> None:
        """Say which budgets are passed, each once a day. What can't be looked at now is for the next time."""
        now_ms = self._clock.wall_ms()
        due = [
            node for node, each in self._budgeted.items() if self._is_due(each, now_ms) and self._sources.mine(node)
        ]
        try:
            for node in due[:BOOKS_A_LOOK]:
                if node in self._budgeted:
                    await self._check(node, self._budgeted[node], now_ms)
            self._failing = False
        except SkerryError as error:
            if not self._failing:
                LOG.warning("traffic budgets can't be looked at error=%s", error)
            self._failing = True

    def _is_due(self, budgeted: _Budgeted, now_ms: int) -> bool:
        if budgeted.fault or not budgeted.limits:
            return bool(budgeted.fault)
        if not budgeted.seen or (budgeted.left is not None and budgeted.spent > budgeted.left):
            return True
        return (budgeted.over or self._sources.shared) and now_ms >= budgeted.again_ms

    async def _check(self, name: str, budgeted: _Budgeted, now_ms: int) -> None:
        node = self._sources.node_of(name)
        if node is None:
            return
        if budgeted.fault:
            saying = Saying(type="Warning", reason="TrafficBudgetInvalid", message=budgeted.fault)
            await self._recorder.say(node, saying)
            budgeted.fault = ""
        spent_before = budgeted.spent
        left: list[int] = []
        for which, span_ms, size_ms in _SPANS:
            if (limit := budgeted.limits.get(which)) is None:
                continue
            since_ms = -(-(now_ms - span_ms) // size_ms) * size_ms
            used = await self._sources.used(name, since_ms)
            if used <= limit:
                left.append(limit - used)
            elif now_ms - budgeted.told_ms.get(which, -DAY_MS) >= DAY_MS:
                over = f"over the {which} budget of {size_text(limit)}"
                message = f"{size_text(used)} since {time_text(since_ms)}, {over}"
                await self._recorder.say(node, Saying(type="Warning", reason="TrafficOverBudget", message=message))
                budgeted.told_ms[which] = now_ms
        budgeted.seen, budgeted.left, budgeted.over = True, min(left, default=None), len(left) < len(budgeted.limits)
        budgeted.spent -= (
            spent_before  # what came meanwhile may be in the figures already: then the next look is early
        )
        budgeted.again_ms = now_ms + AGAIN_MS

    def _see(self, name: str, body: bytes) -> None:
        before = self._budgeted.get(name)
        if before is None and _NAME not in body:
            return
        text = annotations_of(decode_object(body)).get(BUDGET, "") if body else ""
        if before is not None and text == before.text:
            return
        if not text:
            self._budgeted.pop(name, None)
            return
        limits: dict[str, int] = {}
        fault = ""
        try:
            limits = parse_budget(text)
        except InvalidError as error:
            fault = f"{error}; nothing is warned of"
            LOG.warning("traffic budget not understood node=%s error=%s", name, error)
        self._budgeted[name] = _Budgeted(text=text, limits=limits, fault=fault)
