"""That a pod is ended for a reason which is not its own: the condition DisruptionTarget. Pure.

(Kubernetes, "Pod disruption conditions".) A Job may say that such an end is no failure. Keeps nothing.
"""

from __future__ import annotations

from skerry.objects.conditions import Condition, with_condition
from skerry.objects.json import JsonObject, map_at, maps_at
from skerry.objects.meta import being_deleted
from skerry.objects.pods import is_over


def disrupted(pod: JsonObject, *, reason: str, message: str, now_ms: int) -> JsonObject:
    """The pod with the condition; itself where it ends, or has ended, already."""
    if is_over(pod) or being_deleted(pod):
        return pod
    condition = Condition(type="DisruptionTarget", status="True", reason=reason, message=message)
    conditions = with_condition(maps_at(pod, "status", "conditions"), condition, now_ms=now_ms)
    return {**pod, "status": {**map_at(pod, "status"), "conditions": conditions}}
