"""What the agent counts about itself, for `/metrics`: its link, what waits for the cloud, its pods and devices.

Keeps the counters of this life of the agent, and of pods that have not begun to run when they came; Prometheus knows
that counters begin again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Final

from edgecore.local_api.kinds import POD
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.ports import LocalParts
from edgecore.store.port import EdgeBatch
from skerry.forms.exposition import Family, Sample, counter, gauge, histogram
from skerry.objects.json import JsonObject, decode_object, maps_at, str_at
from skerry.objects.meta import Key

BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
STARTING_MAX: Final = 1000


class Meters:
    """`listen` while it is in use."""

    def __init__(self, parts: LocalParts, objects: LocalObjects) -> None:
        self._parts = parts
        self._objects = objects
        self._sessions = 0
        self._starting: dict[Key, float] = {}
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._total_s = 0.0

    def listen(self) -> Callable[[], None]:
        return self._parts.store.listen(self._committed)

    def welcomed(self) -> None:
        """The cloud has taken a session up."""
        self._sessions += 1

    def _committed(self, batch: EdgeBatch) -> None:
        now_s = self._parts.clock.monotonic_s()
        for held in batch.puts:
            if held.key.resource != POD.resource or len(self._starting) >= STARTING_MAX:
                continue
            if not str_at(decode_object(held.body), "status", "startTime"):
                self._starting.setdefault(held.key, now_s)
        for key in batch.deletes:
            self._starting.pop(key, None)
        for _, body in batch.pods:
            if body is not None and self._starting:
                self._started(decode_object(body), now_s)

    def _started(self, record: JsonObject, now_s: float) -> None:
        key = Key(POD.resource, str_at(record, "namespace"), str_at(record, "name"))
        if str_at(record, "status", "phase") not in ("", "Pending") and key in self._starting:
            took_s = now_s - self._starting.pop(key)
            self._counts[bisect_left(BOUNDS_S, took_s)] += 1
            self._total_s += took_s

    def families(self) -> list[Family]:
        node = Family("kubelet_node_name", "gauge", "The node's name.", (Sample(1, (("node", self._parts.node),)),))
        return [node, *self._link(), *self._outbox(), *self._pods(), *self._devices()]

    def _link(self) -> list[Family]:
        link = self._parts.link
        labels = (("state", link.status.state), ("transport", link.status.transport))
        return [
            gauge("skerry_link_connected", "1 while the cloud is reached.", link.connected),
            gauge("skerry_link_cut", "1 while an operator holds the link cut.", link.is_cut),
            Family("skerry_link_state", "gauge", "What the link does now.", (Sample(1, labels),)),
            gauge(
                "skerry_link_since_seconds",
                "When it was connected or lost last, since unix epoch in seconds.",
                link.status.since_ms / 1000,
            ),
            counter("skerry_link_sessions_total", "Sessions with the cloud since the agent began.", self._sessions),
            counter("skerry_link_reconnects_total", "Sessions after the first.", max(0, self._sessions - 1)),
        ]

    def _outbox(self) -> list[Family]:
        stats = self._parts.store.stats()
        reports = tuple(Sample(each.reports, (("class", each.report_class),)) for each in stats.waiting)
        sizes = tuple(Sample(each.size_bytes, (("class", each.report_class),)) for each in stats.waiting)
        dropped = tuple(Sample(gap.total, (("class", gap.report_class),)) for gap in stats.gaps)
        return [
            gauge("skerry_outbox_bytes", "Bytes that wait for the cloud.", stats.outbox_bytes),
            gauge("skerry_outbox_reports", "Reports that wait for the cloud.", stats.outbox_reports),
            Family("skerry_outbox_class_reports", "gauge", "Reports that wait, by class.", reports),
            Family("skerry_outbox_class_bytes", "gauge", "Bytes that wait, by class.", sizes),
            Family("skerry_outbox_dropped_total", "counter", "Reports that were dropped, by class.", dropped),
            gauge("skerry_store_objects", "Objects of the cloud that are held.", stats.objects),
        ]

    def _pods(self) -> list[Family]:
        phases: Counter[str] = Counter()
        states: Counter[str] = Counter()
        restarts = 0
        for pod in self._objects.list(POD, ""):
            phases[str_at(pod, "status", "phase") or "Pending"] += 1
            for status in maps_at(pod, "status", "containerStatuses"):
                state = status.get("state")
                states[next(iter(state), "waiting") if isinstance(state, dict) else "waiting"] += 1
                count = status.get("restartCount")
                restarts += count if isinstance(count, int) else 0
        return [
            Family(
                "skerry_pods",
                "gauge",
                "Pods of this gateway, by phase.",
                tuple(Sample(count, (("phase", phase),)) for phase, count in sorted(phases.items())),
            ),
            gauge("kubelet_running_pods", "Number of pods that run.", phases["Running"]),
            Family(
                "kubelet_running_containers",
                "gauge",
                "Number of containers, by state.",
                tuple(
                    Sample(count, (("container_state", "exited" if state == "terminated" else state),))
                    for state, count in sorted(states.items())
                ),
            ),
            gauge("skerry_container_restarts", "Restarts of all containers that are here.", restarts),
            histogram(
                "kubelet_pod_start_duration_seconds",
                "Duration in seconds from the pod's arrival on the gateway until it runs.",
                bounds=BOUNDS_S,
                counts=self._counts,
                total=self._total_s,
            ),
        ]

    def _devices(self) -> list[Family]:
        states = Counter(device.state for device in self._parts.twins.devices())
        samples = tuple(Sample(count, (("state", state),)) for state, count in sorted(states.items()))
        return [Family("skerry_devices", "gauge", "Devices of this gateway, by state.", samples)]
