"""When a pod whose Node is not there is taken for gone, and what is said of it then. Pure; keeps nothing.

A deleted Node is somebody's word that the gateway does not come back, unlike silence (SYNC.md, promise 8). The words
are those of Kubernetes' pod garbage collector, by which Jobs know that it was no failure of the pod's.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.conditions import Condition, with_condition
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.pods import is_over

QUARANTINE_S: Final = 40.0
"""Kubernetes waits as long: a Node that is made anew, as by joining with `--force`, keeps its pods."""


def is_bound(pod: JsonObject) -> bool:
    return bool(str_at(pod, "spec", "nodeName"))


def with_end(pod: JsonObject, *, now_ms: int) -> JsonObject:
    """The pod as it is told of a last time."""
    status = map_at(pod, "status")
    disruption = Condition(
        type="DisruptionTarget", status="True", reason="DeletionByPodGC", message="PodGC: node no longer exists"
    )
    conditions = with_condition(maps_at(status, "conditions"), disruption, now_ms=now_ms)
    phase = str_at(status, "phase") if is_over(pod) else "Failed"
    return {**pod, "status": {**status, "conditions": conditions, "phase": phase}}
