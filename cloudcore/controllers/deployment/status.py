"""What a Deployment's status says: counts, and whether it is available and getting on. Pure.

The words are Kubernetes' (`pkg/controller/deployment/progress.go`): kubectl's `rollout status` and conformance tests
read the reasons. Keeps nothing; the time of the last progress is kept in the Progressing condition.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.controllers.deployment.model import Deployment, Set
from cloudcore.controllers.deployment.plan import Plan
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import Condition, Truth, find_condition, with_condition, without_condition
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.times import ms_at, time_text

DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
DONE = "NewReplicaSetAvailable"


class Made(Frozen):
    """What became of making the new ReplicaSet in this pass."""

    name: str = ""
    """Of the set that was made; "" when none was."""
    failure: str = ""
    """Why it could not be made."""


class _Counts(Frozen):
    replicas: int
    updated: int
    ready: int
    available: int
    unavailable: int


def status_of(owner: Deployment, planned: Plan, made: Made, *, now_ms: int) -> JsonObject:
    """apps/v1 DeploymentStatus after this pass."""
    counts = _count(planned.sets, planned.new)
    old = map_at(owner.obj, "status")
    status: JsonObject = {
        "observedGeneration": owner.generation,
        "replicas": counts.replicas,
        "updatedReplicas": counts.updated,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "unavailableReplicas": counts.unavailable,
    }
    status = {name: value for name, value in status.items() if value}
    if owner.collisions:
        status["collisionCount"] = owner.collisions
    teller = _Teller(owner, maps_at(old, "conditions"), now_ms)
    teller.available(enough=counts.available >= owner.replicas - owner.unavailable_max)
    if not owner.leaving:
        teller.pausing()
        teller.making(made)
        if planned.progress:
            teller.progress(counts, _counted(old), planned.new)
        teller.failing(planned)
    if teller.conditions:
        status["conditions"] = [*teller.conditions]
    return status


def deadline_in_s(owner: Deployment, status: JsonObject, *, now_ms: int) -> float | None:
    """Seconds until lack of progress must be told; None when none is awaited."""
    condition = find_condition(maps_at(status, "conditions"), "Progressing")
    if owner.deadline_s is None or owner.paused or condition is None:
        return None
    if str_at(condition, "reason") in (DONE, DEADLINE_EXCEEDED):
        return None
    at_ms = ms_at(str_at(condition, "lastUpdateTime"), default=now_ms) + owner.deadline_s * 1000
    # A second later, since the time of the last progress was cut to whole seconds.
    return max(at_ms - now_ms, 0) / 1000 + 1


def _count(sets: Sequence[Set], new: Set | None) -> _Counts:
    available = sum(each.available for each in sets)
    return _Counts(
        replicas=sum(each.actual for each in sets),
        updated=0 if new is None else new.actual,
        ready=sum(each.ready for each in sets),
        available=available,
        unavailable=max(sum(each.replicas for each in sets) - available, 0),
    )


def _counted(status: JsonObject) -> _Counts:
    return _Counts(
        replicas=int_at(status, "replicas"),
        updated=int_at(status, "updatedReplicas"),
        ready=int_at(status, "readyReplicas"),
        available=int_at(status, "availableReplicas"),
        unavailable=int_at(status, "unavailableReplicas"),
    )


class _Teller:
    """The conditions as they become."""

    def __init__(self, owner: Deployment, conditions: list[JsonObject], now_ms: int) -> None:
        self._owner = owner
        self._now_ms = now_ms
        self.conditions = conditions

    def available(self, *, enough: bool) -> None:
        if enough:
            self._tell("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            text = "Deployment does not have minimum availability."
            self._tell("Available", "False", "MinimumReplicasUnavailable", text)

    def pausing(self) -> None:
        """The clock of progress stands still while paused."""
        if self._owner.deadline_s is None:
            return
        reason = self._reason()
        if self._owner.paused and reason not in ("DeploymentPaused", DEADLINE_EXCEEDED):
            self._tell("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        elif not self._owner.paused and reason == "DeploymentPaused":
            self._tell("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")

    def making(self, made: Made) -> None:
        if self._owner.deadline_s is None:
            return
        if made.failure:
            self._tell("Progressing", "False", "ReplicaSetCreateError", made.failure)
        elif made.name:
            text = f'Created new replica set "{made.name}"'
            self._tell("Progressing", "True", "NewReplicaSetCreated", text)

    def progress(self, counts: _Counts, before: _Counts, new: Set | None) -> None:
        if self._owner.deadline_s is None:
            self.conditions = _maps(without_condition(self.conditions, "Progressing"))
            return
        if counts.replicas == counts.updated and self._reason() == DONE:
            return
        subject = f'ReplicaSet "{new.name}"' if new is not None else f'Deployment "{self._owner.name}"'
        if self._complete(counts):
            self._tell("Progressing", "True", DONE, f"{subject} has successfully progressed.")
        elif _moved(counts, before):
            self._touch("ReplicaSetUpdated", f"{subject} is progressing.")
        elif self._timed_out():
            self._tell("Progressing", "False", DEADLINE_EXCEEDED, f"{subject} has timed out progressing.")
        elif not self._reason() and new is not None:
            self._tell("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{new.name}"')

    def failing(self, planned: Plan) -> None:
        """A set that can't create pods says so; the deployment repeats it, the new set's words first."""
        ranked = sorted(planned.sets, key=lambda each: planned.new is None or each.uid != planned.new.uid)
        for each in ranked:
            found = find_condition(maps_at(each.obj, "status", "conditions"), "ReplicaFailure")
            if found is not None:
                self._tell("ReplicaFailure", "True", str_at(found, "reason"), str_at(found, "message"))
                return
        self.conditions = _maps(without_condition(self.conditions, "ReplicaFailure"))

    def _complete(self, counts: _Counts) -> bool:
        wanted = self._owner.replicas
        return counts.updated == counts.replicas == wanted and counts.available >= wanted

    def _timed_out(self) -> bool:
        condition = find_condition(self.conditions, "Progressing")
        if condition is None or str_at(condition, "reason") == DONE:
            return False
        if str_at(condition, "reason") == DEADLINE_EXCEEDED:
            return True
        assert self._owner.deadline_s is not None, "asked only where there is a deadline"
        since_ms = ms_at(str_at(condition, "lastUpdateTime"), default=self._now_ms)
        return self._now_ms > since_ms + self._owner.deadline_s * 1000

    def _reason(self) -> str:
        return str_at(find_condition(self.conditions, "Progressing") or {}, "reason")

    def _tell(self, type_: str, status: Truth, reason: str, message: str) -> None:
        """Unless it was said already: a condition's time of update tells when something was new."""
        known = find_condition(self.conditions, type_)
        if known is not None and str_at(known, "status") == status and str_at(known, "reason") == reason:
            return
        self._write(Condition(type=type_, status=status, reason=reason, message=message))

    def _touch(self, reason: str, message: str) -> None:
        """Progress was made just now, even if the words are the same as before."""
        self._write(Condition(type="Progressing", status="True", reason=reason, message=message))

    def _write(self, condition: Condition) -> None:
        written = _maps(with_condition(self.conditions, condition, now_ms=self._now_ms))
        stamp: JsonObject = {"lastUpdateTime": time_text(self._now_ms)}
        self.conditions = [
            {**found, **stamp} if str_at(found, "type") == condition.type else found for found in written
        ]


def _moved(counts: _Counts, before: _Counts) -> bool:
    return (
        counts.updated > before.updated
        or counts.replicas - counts.updated < before.replicas - before.updated
        or counts.ready > before.ready
        or counts.available > before.available
    )


def _maps(values: Sequence[Json]) -> list[JsonObject]:
    return [value for value in values if isinstance(value, dict)]


def with_collision(owner: Deployment) -> Deployment:
    """The deployment once another object was found under its new set's name."""
    return replace(owner, collisions=owner.collisions + 1)
