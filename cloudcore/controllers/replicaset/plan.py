"""How many pods a ReplicaSet or ReplicationController lacks or has too many, whom to delete first, its status. Pure.

Rules and order are those of Kubernetes' replicaset controller (`pkg/controller/controller_utils.go`,
ActivePodsWithRanks). Keeps nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from cloudcore.controllers.pod_state import (
    is_active,
    is_available,
    ready_since_ms,
    restarts,
    soonest_available_s,
)
from cloudcore.controllers.pod_templates import Failure
from skerry.frozen import Frozen
from skerry.objects.conditions import Condition, find_condition, with_condition, without_condition
from skerry.objects.json import Json, JsonObject, int_at, maps_at, str_at, str_map_at
from skerry.objects.meta import annotations_of, being_deleted, generation_of, labels_of
from skerry.objects.pods import is_ready
from skerry.objects.times import ms_at

BURST_MAX: Final = 500
"""Pods created or deleted in one pass; the next pass goes on."""
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK: Final = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


class Plan(Frozen):
    """What to do about the number of pods: at most one of the two isn't empty."""

    create: int = 0
    delete: tuple[JsonObject, ...] = ()


def plan(replica_set: JsonObject, pods: Sequence[JsonObject], related: Sequence[JsonObject] = ()) -> Plan:
    """`pods` are those the set controls. `related` are pods of its sister sets, for spreading over nodes."""
    if being_deleted(replica_set):
        return Plan()
    active = [pod for pod in pods if is_active(pod)]
    excess = len(active) - int_at(replica_set, "spec", "replicas", default=1)
    if excess < 0:
        return Plan(create=min(-excess, BURST_MAX))
    if excess == 0:
        return Plan()
    count = min(excess, BURST_MAX)
    return Plan(delete=tuple(_in_order_of_deletion(active, [*active, *related])[:count]))


def _in_order_of_deletion(pods: Sequence[JsonObject], neighbours: Sequence[JsonObject]) -> list[JsonObject]:
    """Those whose loss matters least first; `neighbours` tell which nodes hold several."""
    active = {id(pod): pod for pod in neighbours if is_active(pod)}
    crowd = Counter(str_at(pod, "spec", "nodeName") for pod in active.values())

    def rank(pod: JsonObject) -> tuple[int, ...]:
        node = str_at(pod, "spec", "nodeName")
        return (
            1 if node else 0,
            _PHASE_RANK.get(str_at(pod, "status", "phase"), 1),
            1 if is_ready(pod) else 0,
            _deletion_cost(pod),
            -crowd[node],
            -ready_since_ms(pod),
            -restarts(pod),
            -ms_at(str_at(pod, "metadata", "creationTimestamp")),
        )

    return sorted(pods, key=rank)


def _deletion_cost(pod: JsonObject) -> int:
    """An annotation that isn't a 32 bit integer counts as none."""
    text = annotations_of(pod).get(DELETION_COST, "")
    return int(text) if text.removeprefix("-").isdecimal() and len(text) <= 11 else 0


def status_of(
    replica_set: JsonObject, pods: Sequence[JsonObject], failure: Failure | None, *, now_ms: int
) -> JsonObject:
    """apps/v1 ReplicaSetStatus, which is core/v1 ReplicationControllerStatus too."""
    min_ready_s = int_at(replica_set, "spec", "minReadySeconds")
    template_labels = str_map_at(replica_set, "spec", "template", "metadata", "labels")
    active = [pod for pod in pods if is_active(pod)]
    counts = {
        "fullyLabeledReplicas": sum(template_labels.items() <= labels_of(pod).items() for pod in active),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(is_available(pod, min_ready_s, now_ms) for pod in active),
    }
    status: JsonObject = {"replicas": len(active), "observedGeneration": generation_of(replica_set)}
    status |= {name: count for name, count in counts.items() if count}
    conditions = _conditions(maps_at(replica_set, "status", "conditions"), failure, now_ms=now_ms)
    if conditions:
        status["conditions"] = conditions
    return status


def _conditions(known: Sequence[JsonObject], failure: Failure | None, *, now_ms: int) -> list[Json]:
    if failure is None:
        return without_condition(known, "ReplicaFailure")
    told = find_condition(known, "ReplicaFailure")
    if told is not None and str_at(told, "reason") == failure.reason:
        # The message names a pod that never was, another one at each try: a new text would wake us for ever.
        return [*known]
    condition = Condition(type="ReplicaFailure", status="True", reason=failure.reason, message=failure.message)
    return with_condition(known, condition, now_ms=now_ms)


def next_available_s(replica_set: JsonObject, pods: Sequence[JsonObject], *, now_ms: int) -> float | None:
    """Seconds until one more ready pod becomes available; None when no clock can change the status."""
    min_ready_s = int_at(replica_set, "spec", "minReadySeconds")
    return soonest_available_s([pod for pod in pods if is_active(pod)], min_ready_s, now_ms=now_ms)
