"""What a DaemonSet's status says: apps/v1 DaemonSetStatus. Pure.

The numbers are of the nodes that are waited for: those that are heard and ready, and those away whose pod was in
order when they were last heard, so that `kubectl rollout status` ends. The others are told of in the condition
`NodesAway` (docs/decisions/0610).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudcore.controllers.daemonset.model import DaemonSet, Observed, Place
from cloudcore.controllers.daemonset.plan import is_proven, suspects
from skerry.objects.conditions import Condition, find_condition, with_condition, without_condition
from skerry.objects.json import Json, JsonObject, int_at, maps_at, str_at

AWAY: Final = "NodesAway"
_NAMES_MAX: Final = 10
_ALWAYS: Final[tuple[str, ...]] = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
)
_OFTEN: Final[tuple[str, ...]] = ("updatedNumberScheduled", "numberAvailable", "numberUnavailable")


def status_of(owner: DaemonSet, observed: Observed) -> JsonObject:
    counts: dict[str, int] = dict.fromkeys((*_ALWAYS, *_OFTEN), 0)
    for place in observed.places:
        if place.verdict.open or is_settled(owner, observed, place):
            _count(counts, owner, observed, place)
        elif place.pods and not place.verdict.meant:
            counts["numberMisscheduled"] += 1
    counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
    status: JsonObject = {name: counts[name] for name in _ALWAYS}
    status |= {name: counts[name] for name in _OFTEN if counts[name]}
    status["observedGeneration"] = owner.generation
    if owner.collisions:
        status["collisionCount"] = owner.collisions
    conditions = _conditions(owner, observed)
    if conditions:
        status["conditions"] = conditions
    return status


def _count(counts: dict[str, int], owner: DaemonSet, observed: Observed, place: Place) -> None:
    counts["desiredNumberScheduled"] += 1
    if not place.pods:
        return
    first = min(place.pods, key=lambda pod: pod.age)
    counts["currentNumberScheduled"] += 1
    counts["numberReady"] += first.ready
    counts["numberAvailable"] += is_proven(owner, observed, place, first)
    counts["updatedNumberScheduled"] += first.hash == observed.hash


def is_settled(owner: DaemonSet, observed: Observed, place: Place) -> bool:
    """Nothing is awaited of the node, open or not: its pod is of the revision that it should be of, and works."""
    return place.verdict.meant and any(
        (owner.on_delete or pod.hash == observed.hash) and not pod.leaving and is_proven(owner, observed, place, pod)
        for pod in place.pods
    )


def soonest_s(owner: DaemonSet, observed: Observed) -> float | None:
    """Seconds until one more ready pod becomes available; None when no clock can change the status."""
    if owner.min_ready_s == 0:
        return None
    instants = [
        pod.ready_ms + owner.min_ready_s * 1000
        for place in observed.places
        if place.node.silent_since_ms is None
        for pod in place.pods
        if pod.ready
    ]
    waits = [instant - observed.now_ms for instant in instants if instant > observed.now_ms]
    return min(waits) / 1000 if waits else None


def _conditions(owner: DaemonSet, observed: Observed) -> list[Json]:
    known = maps_at(owner.obj, "status", "conditions")
    away = [
        place
        for place in observed.places
        if place.verdict.meant and not place.verdict.open and not is_settled(owner, observed, place)
    ]
    if not away:
        return without_condition(known, AWAY)
    silenced = suspects(owner, observed)
    if silenced:
        reason = "SilentSinceUpdate"
        message = (
            f"{_listed(silenced)} went silent with the present revision before it was seen to work; as it may be the "
            "revision, they count as unavailable until more nodes show that it works"
        )
    else:
        reason = "WaitingForNodes"
        message = f"{_listed(away)} cannot be reached or are not ready, and get the present revision when they are"
    condition = Condition(type=AWAY, status="True", reason=reason, message=message)
    return with_condition(known, condition, now_ms=observed.now_ms)


def _listed(places: Sequence[Place]) -> str:
    names = sorted(place.node.name for place in places)
    more = len(names) - _NAMES_MAX
    listed = ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
    return f"{len(names)} node(s) ({listed})"


def news(owner: DaemonSet, status: JsonObject) -> str:
    """What the condition says, where it is new or an update begins; "" else: links come and go without a word."""
    now = find_condition(maps_at(status, "conditions"), AWAY)
    before = find_condition(maps_at(owner.obj, "status", "conditions"), AWAY)
    if now is None:
        return ""
    begins = int_at(owner.obj, "status", "observedGeneration") != owner.generation and now != before
    is_new = before is None or str_at(before, "reason") != str_at(now, "reason")
    return str_at(now, "message") if is_new or begins else ""
