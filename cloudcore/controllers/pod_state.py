"""What a pod's status says to those who count pods. Pure; keeps nothing."""

from __future__ import annotations

from collections.abc import Iterable

from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.objects.meta import being_deleted
from skerry.objects.pods import is_over, is_ready
from skerry.objects.times import ms_at


def is_active(pod: JsonObject) -> bool:
    """It counts as a replica: neither over nor being deleted."""
    return not is_over(pod) and not being_deleted(pod)


def ready_since_ms(pod: JsonObject) -> int:
    """When it became ready; 0 for a pod that isn't."""
    condition = condition_of(pod, "Ready")
    if condition is None or str_at(condition, "status") != "True":
        return 0
    return ms_at(str_at(condition, "lastTransitionTime"))


def available_at_ms(pod: JsonObject, min_ready_s: int) -> int | None:
    """From when on a ready pod counts as available; None while it isn't ready."""
    if not is_ready(pod):
        return None
    return ready_since_ms(pod) + min_ready_s * 1000


def is_available(pod: JsonObject, min_ready_s: int, now_ms: int) -> bool:
    """Ready, and that for as long as asked. Without such a while no clock is asked: the gateway's may be ahead."""
    at_ms = available_at_ms(pod, min_ready_s)
    return at_ms is not None and (min_ready_s == 0 or at_ms <= now_ms)


def soonest_available_s(pods: Iterable[JsonObject], min_ready_s: int, *, now_ms: int) -> float | None:
    """Seconds until one more of these ready pods is available; None when no clock can make one so."""
    if min_ready_s == 0:
        return None
    instants = [available_at_ms(pod, min_ready_s) for pod in pods]
    waits = [at_ms - now_ms for at_ms in instants if at_ms is not None and at_ms > now_ms]
    return min(waits) / 1000 if waits else None


def restarts(pod: JsonObject) -> int:
    """Of its containers, together."""
    return sum(int_at(status, "restartCount") for status in maps_at(pod, "status", "containerStatuses"))
