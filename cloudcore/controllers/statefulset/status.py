"""What a StatefulSet's status says: apps/v1 StatefulSetStatus. Pure; keeps nothing."""

from __future__ import annotations

from cloudcore.controllers.statefulset.model import StatefulSet
from cloudcore.controllers.statefulset.plan import Observed
from skerry.objects.json import JsonObject, list_at


def status_of(owner: StatefulSet, observed: Observed) -> JsonObject:
    staying = [pod for pod in observed.pods if not pod.leaving]
    ready = [pod for pod in observed.pods if pod.ready]
    updated = sum(pod.revision == observed.update for pod in staying)
    current = sum(pod.revision == observed.current for pod in staying)
    is_done = not owner.on_delete and updated == len(ready) == len(observed.pods) == owner.replicas
    counts = {
        "readyReplicas": len(ready),
        "currentReplicas": updated if is_done else current,
        "updatedReplicas": updated,
    }
    status: JsonObject = {
        "replicas": len(observed.pods),
        "availableReplicas": sum(pod.is_available(owner.min_ready_s, observed.now_ms) for pod in ready),
        "currentRevision": observed.update if is_done else observed.current,
        "updateRevision": observed.update,
        "observedGeneration": owner.generation,
        "collisionCount": owner.collisions,
    }
    status |= {name: count for name, count in counts.items() if count}
    conditions = list_at(owner.obj, "status", "conditions")
    return {**status, "conditions": conditions} if conditions else status


def soonest_s(observed: Observed) -> float | None:
    """Seconds until one more ready pod becomes available; None when no clock can change anything."""
    instants = [pod.available_ms for pod in observed.pods if pod.available_ms is not None]
    waits = [instant - observed.now_ms for instant in instants if instant > observed.now_ms]
    return min(waits) / 1000 if waits else None
