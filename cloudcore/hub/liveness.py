"""Which nodes are heard, and what their `Ready` condition says about it.

Heartbeats stay in memory: a condition is written when a node falls silent or is heard again, so that steady state
costs writes in proportion to hubs (each renews one Lease, `cloudcore.hub.leases`), not to nodes. Silence kills
nothing: only the condition changes (SYNC, promise 8). After a crash every node that is not heard within the grace
counts as silent. So does one whose sessions end as soon as they begin, however often it comes.

Where several hubs share a store, the one to which a node came last has the say about it, in life and after: whatever
is written carries the session, and the store refuses it once a newer one has entered anywhere. For the nodes of hubs
that are gone the leader speaks, in the same way (`cloudcore.hub.orphans`).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from cloudcore.hub.leases import RENEWALS
from cloudcore.hub.node_writes import GATEWAY_READY
from cloudcore.hub.outcomes import Kinds
from cloudcore.registry.port import Effect, Objects, Transform
from cloudcore.store.port import Advance
from skerry.errors import FencedError, NotFoundError, SkerryError
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import Condition, condition_of, with_condition
from skerry.objects.json import JsonObject, decode_object, map_at, maps_at, str_at
from skerry.ports import Clock
from skerry.waits import until_set

log = logging.getLogger(__name__)

WRITES_MAX: Final = 32
"""Conditions written at a time: enough for the store to commit them as one group, few enough to leave room in it."""
STALE_MAX: Final = 1024
"""Outdated entries of the heap, beyond as many as there are nodes, before it is made anew."""
SILENT_REASON = "NodeStatusUnknown"
SILENT_MESSAGE = "Skerry: the gateway is silent"


class LivenessSettings(Frozen):
    grace_s: float = 40.0
    """From the last that was heard of a node to `Ready` Unknown, though never before its session has ended: a link
    that flaps should not flap the condition (kube-controller-manager's node-monitor-grace-period has the same
    default). Also what the nodes of a hub that is gone have to turn up at another."""
    lease_s: float = 10.0
    """Between two renewals of the hub's Lease."""
    retry_s: float = 5.0
    """After a write that failed."""

    @property
    def trial_s(self) -> float:
        """A session that ends sooner shows nothing of a gateway but that it can say hello."""
        return self.grace_s / 4


class _Due(Frozen):
    """What is to be written of a node."""

    at_s: float
    heard: bool
    session: Advance | None
    """Fences the write; None where nobody else could write."""
    holds: Callable[[], bool] | None = None
    """Asked before: whether it is still this hub's to say. None: it is."""


def lease_s_of(grace_s: float) -> float:
    """How often a hub's Lease is renewed where nodes have this grace: so that the Lease holds about as long, but a
    hub that is busy for seconds is not taken for dead."""
    return min(max(1.0, grace_s / RENEWALS), LivenessSettings().lease_s)


class Liveness:
    """Told by the sessions, writes by itself. Run `run` in a task group."""

    def __init__(self, objects: Objects, kinds: Kinds, clock: Clock, settings: LivenessSettings) -> None:
        self._objects = objects
        self._kinds = kinds
        self._clock = clock
        self._settings = settings
        self._due: dict[str, _Due] = {}
        """By node."""
        self._doubts: dict[str, float] = {}
        """Nodes whose last session ended as soon as it began, or by a fault of theirs, and when their grace ends."""
        self._heap: list[tuple[float, bool, str]] = []
        """The same by time, and entries that something newer has replaced in `_due`."""
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Nodes of which something is still to be written, or to be found unneeded."""
        return len(self._due)

    def start(self, nodes: Iterable[str]) -> None:
        """Nodes that exist, of a store that nobody shares: silent unless they are heard within the grace."""
        for node in nodes:
            if node not in self._due:
                self._note(node, _Due(at_s=self._grace_end_s(), heard=False, session=None))

    def heard(self, session: Advance) -> None:
        """This session of a node is open, and it speaks. After one that failed that counts in a while, if it still is
        open then."""
        wait_s = self._settings.trial_s if session.node in self._doubts else 0.0
        self._note(session.node, _Due(at_s=self._clock.monotonic_s() + wait_s, heard=True, session=session))

    def silent(self, session: Advance, *, heard_s: float | None = None) -> None:
        """The node's last session here has ended. `heard_s` (monotonic) is given where that was noticed by silence
        alone: the grace has been running since. A link that was closed, or broke, was heard to do so."""
        self._doubts.pop(session.node, None)
        self._note(session.node, _Due(at_s=self._grace_end_s(heard_s), heard=False, session=session))

    def failed(self, session: Advance) -> None:
        """The node's last session here has ended without its having taken part, or by its own fault. So nothing was
        heard, and a grace that is running goes on: else a gateway that only says hello would be ready for ever."""
        ends_s = self._doubts.get(session.node)
        if ends_s is None:
            held = self._due.get(session.node)
            ends_s = held.at_s if held is not None and not held.heard else self._grace_end_s()
        self._doubts[session.node] = ends_s
        self._note(session.node, _Due(at_s=ends_s, heard=False, session=session))

    def entered(self, session: Advance) -> None:
        """The store says that this session began here, of which nothing else may ever be known; silent unless it is
        heard within the grace, or within what is left of one that is running."""
        held = self._due.get(session.node)
        if held is None or _number(held) < session.session:
            ends_s = held.at_s if held is not None and not held.heard else self._grace_end_s()
            self._note(session.node, _Due(at_s=ends_s, heard=False, session=session))

    def unanswered(self, node: str) -> None:
        """A session may have begun, of a store that nobody shares: it gave no answer. So what is due may be fenced by
        then, and is said without a fence."""
        held = self._due.pop(node, None)
        ends_s = held.at_s if held is not None and not held.heard else self._grace_end_s()
        self._note(node, _Due(at_s=ends_s, heard=False, session=None))

    def orphaned(self, session: Advance, holds: Callable[[], bool]) -> None:
        """The hub of the node's newest session has gone; silent unless it turns up elsewhere within the grace, or
        `holds` says when that is over that it was not so."""
        held = self._due.get(session.node)
        if held is None or _number(held) < session.session:
            self._note(session.node, _Due(at_s=self._grace_end_s(), heard=False, session=session, holds=holds))

    def _grace_end_s(self, heard_s: float | None = None) -> float:
        return (self._clock.monotonic_s() if heard_s is None else heard_s) + self._settings.grace_s

    def _note(self, node: str, due: _Due) -> None:
        held = self._due.get(node)
        if held is not None and _number(held) > _number(due):
            return  # what is told late of an older session says nothing any more
        self._due[node] = due
        heapq.heappush(self._heap, (due.at_s, due.heard, node))
        if len(self._heap) > 2 * len(self._due) + STALE_MAX:
            self._heap = [(due.at_s, due.heard, node) for node, due in self._due.items()]
            heapq.heapify(self._heap)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            while due := self._take(self._clock.monotonic_s()):
                async with asyncio.TaskGroup() as tasks:
                    for node, what in due.items():
                        tasks.create_task(self._write(node, what))
            delay = max(0.01, self._heap[0][0] - self._clock.monotonic_s()) if self._heap else None
            await until_set(self._wake, within_s=delay)

    def _take(self, now_s: float) -> dict[str, _Due]:
        """What is due, a few at a time: those are one transaction of the store."""
        due: dict[str, _Due] = {}
        while self._heap and self._heap[0][0] <= now_s and len(due) < WRITES_MAX:
            at_s, heard, node = heapq.heappop(self._heap)
            held = self._due.get(node)
            if held is not None and (held.at_s, held.heard) == (at_s, heard):
                due[node] = held
        return due

    async def _write(self, node: str, due: _Due) -> None:
        again_s = None
        try:
            if due.holds is None or due.holds():
                await self._say(node, due)
        except (NotFoundError, FencedError):
            pass  # it has gone, or has a newer session, whose hub has the say
        except SkerryError as error:
            log.warning("node condition not written node=%s error=%s", node, error)
            again_s = self._clock.monotonic_s() + self._settings.retry_s
        if self._due.get(node) is due:  # else something newer was told meanwhile
            if again_s is None:
                del self._due[node]
                if due.heard:
                    self._doubts.pop(node, None)
            else:
                self._note(node, replace(due, at_s=again_s))

    async def _say(self, node: str, due: _Due) -> None:
        kind = self._kinds.node
        key = kind.key("", node)
        stored = self._objects.read(key)
        if stored is None:
            self._doubts.pop(node, None)
            return  # it makes itself known with its first report
        transform: Transform
        transform = partial(with_heard if due.heard else with_silence, now_ms=self._clock.wall_ms())
        known = decode_object(stored.body)
        if transform(known) is known:
            return  # as far as this process knows; what others write is looked at when it shows up
        if due.session is None:
            await self._objects.update(kind, key, transform, subresource="status")
        else:
            effect = Effect(kind=kind, key=key, uid=stored.uid, subresource="status", transform=transform)
            await self._objects.report(due.session, [effect], [])


def _number(due: _Due) -> int:
    return -1 if due.session is None else due.session.session


def is_silent(node: JsonObject) -> bool:
    """Whether it was last said of the node that nothing is heard of it."""
    return str_at(condition_of(node, "Ready") or {}, "reason") == SILENT_REASON


def with_silence(node: JsonObject, *, now_ms: int) -> JsonObject:
    """The Node as it is when nothing is heard of it; itself where that was said already."""
    if is_silent(node):
        return node
    silence = Condition(type="Ready", status="Unknown", reason=SILENT_REASON, message=SILENT_MESSAGE)
    return _with_ready(node, silence, now_ms=now_ms)


def with_heard(node: JsonObject, *, now_ms: int) -> JsonObject:
    """The Node as it is when its gateway is heard: `Ready` is what the gateway last said of itself."""
    if condition_of(node, "Ready") is not None and not is_silent(node):
        return node
    told = condition_of(node, GATEWAY_READY)
    if told is None:
        return node  # it will say so itself
    status = "True" if str_at(told, "status") == "True" else "False"
    heard = Condition(type="Ready", status=status, reason=str_at(told, "reason"), message=str_at(told, "message"))
    return _with_ready(node, heard, now_ms=now_ms)


def _with_ready(node: JsonObject, condition: Condition, *, now_ms: int) -> JsonObject:
    conditions = with_condition(maps_at(node, "status", "conditions"), condition, now_ms=now_ms)
    return {**node, "status": {**map_at(node, "status"), "conditions": conditions}}
