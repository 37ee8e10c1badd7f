"""Which nodes are heard, and what their `Ready` condition says about it.

Heartbeats stay in memory: a condition is written when a node falls silent or is heard again, and one Lease
stands for the whole hub, so that steady state costs writes in proportion to hubs, not nodes. Silence kills
nothing: only the condition changes (SYNC, promise 8). After a crash every node that is not heard within the
grace counts as silent.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from cloudcore.hub.effects import GATEWAY_READY, Kinds
from cloudcore.registry.port import Objects
from skerry.errors import AlreadyExistsError, NotFoundError, SkerryError
from skerry.objects.conditions import Condition, condition_of, with_condition
from skerry.objects.json import JsonObject, ensure_map, map_at, maps_at, str_at
from skerry.objects.times import micro_time_text
from skerry.ports import Clock

log = logging.getLogger(__name__)

WRITES_MAX: Final = 32
"""Conditions written at a time: enough for the store to commit them as one group, few enough to leave room in it."""
STALE_MAX: Final = 1024
"""Outdated entries of the heap, beyond as many as there are nodes, before it is made anew."""
SILENT_REASON = "NodeStatusUnknown"
SILENT_MESSAGE = "Skerry: the gateway is silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessSettings:
    grace_s: float = 40.0
    """From the last that was heard of a node to `Ready` Unknown, though never before its session has ended: a link
    that flaps should not flap the condition (kube-controller-manager's node-monitor-grace-period has the same
    default)."""
    lease_s: float = 10.0
    """Between two renewals of the hub's Lease."""
    retry_s: float = 5.0
    """After a write that failed."""
    hub: str = "skerry-hub"
    """Name of the hub's Lease in kube-system."""


class Liveness:
    """Told by the sessions, writes by itself. Run `run` in a task group."""

    def __init__(self, objects: Objects, kinds: Kinds, clock: Clock, settings: LivenessSettings) -> None:
        self._objects = objects
        self._kinds = kinds
        self._clock = clock
        self._settings = settings
        self._due: dict[str, tuple[float, bool]] = {}
        """Node -> (when to write, heard?)."""
        self._heap: list[tuple[float, bool, str]] = []
        """The same by time, and entries that something newer has replaced in `_due`."""
        self._wake = asyncio.Event()

    def start(self, nodes: Iterable[str]) -> None:
        """Nodes that exist: silent unless they are heard within the grace."""
        for node in nodes:
            if node not in self._due:
                self.silent(node)

    def heard(self, node: str) -> None:
        """A session of the node is open."""
        self._note(node, self._clock.monotonic_s(), heard=True)

    def silent(self, node: str, *, heard_s: float | None = None) -> None:
        """The node's last session has ended. `heard_s` (monotonic) is given where that was noticed by silence alone:
        the grace has been running since. A link that was closed, or broke, was heard to do so."""
        since_s = self._clock.monotonic_s() if heard_s is None else heard_s
        self._note(node, since_s + self._settings.grace_s, heard=False)

    def _note(self, node: str, due_s: float, *, heard: bool) -> None:
        self._due[node] = (due_s, heard)
        heapq.heappush(self._heap, (due_s, heard, node))
        if len(self._heap) > 2 * len(self._due) + STALE_MAX:
            self._heap = [(due_s, heard, node) for node, (due_s, heard) in self._due.items()]
            heapq.heapify(self._heap)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_conditions())
            tasks.create_task(self._renew_lease())

    async def _write_conditions(self) -> None:
        while True:
            self._wake.clear()
            while due := self._take(self._clock.monotonic_s()):
                async with asyncio.TaskGroup() as tasks:
                    for node, (due_s, heard) in due.items():
                        tasks.create_task(self._write(node, due_s, heard=heard))
            delay = max(0.01, self._heap[0][0] - self._clock.monotonic_s()) if self._heap else None
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _take(self, now_s: float) -> dict[str, tuple[float, bool]]:
        """What is due, a few at a time: those are one transaction of the store."""
        due: dict[str, tuple[float, bool]] = {}
        while self._heap and self._heap[0][0] <= now_s and len(due) < WRITES_MAX:
            due_s, heard, node = heapq.heappop(self._heap)
            if self._due.get(node) == (due_s, heard):
                due[node] = (due_s, heard)
        return due

    async def _write(self, node: str, due_s: float, *, heard: bool) -> None:
        transform: Callable[[JsonObject], JsonObject]
        transform = partial(with_heard if heard else with_silence, now_ms=self._clock.wall_ms())
        kind = self._kinds.node
        again_s = None
        try:
            await self._objects.update(kind, kind.key("", node), transform, subresource="status")
        except NotFoundError:
            pass  # it makes itself known with its first report
        except SkerryError as error:
            log.warning("node condition not written node=%s error=%s", node, error)
            again_s = self._clock.monotonic_s() + self._settings.retry_s
        if self._due.get(node) == (due_s, heard):  # else something newer was told meanwhile
            if again_s is None:
                del self._due[node]
            else:
                self._note(node, again_s, heard=heard)

    async def _renew_lease(self) -> None:
        kind = self._kinds.lease
        name = self._settings.hub
        while True:
            now = micro_time_text(self._clock.wall_ms())
            transform = partial(_renewed, now=now, duration_s=round(4 * self._settings.lease_s))
            try:
                try:
                    await self._objects.update(kind, kind.key("kube-system", name), transform)
                except NotFoundError:
                    await self._objects.create(kind, "kube-system", _lease(name, transform))
            except AlreadyExistsError:
                continue
            except SkerryError as error:
                log.warning("hub lease not renewed lease=%s error=%s", name, error)
            await asyncio.sleep(self._settings.lease_s)


def with_silence(node: JsonObject, *, now_ms: int) -> JsonObject:
    """The Node as it is when nothing is heard of it."""
    silence = Condition(type="Ready", status="Unknown", reason=SILENT_REASON, message=SILENT_MESSAGE)
    return _with_ready(node, silence, now_ms=now_ms)


def with_heard(node: JsonObject, *, now_ms: int) -> JsonObject:
    """The Node as it is when its gateway is heard: `Ready` is what the gateway last said of itself."""
    ready = condition_of(node, "Ready")
    if ready is not None and str_at(ready, "reason") != SILENT_REASON:
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


def _lease(name: str, transform: Callable[[JsonObject], JsonObject]) -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": "kube-system"}
    return transform({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})


def _renewed(lease: JsonObject, *, now: str, duration_s: int) -> JsonObject:
    new: JsonObject = {**lease, "spec": {**map_at(lease, "spec")}}
    spec = ensure_map(new, "spec")
    spec["holderIdentity"] = str_at(lease, "metadata", "name")
    spec["leaseDurationSeconds"] = duration_s
    spec["renewTime"] = now
    spec.setdefault("acquireTime", now)
    return new
