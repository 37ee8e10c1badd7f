"""A StatefulSet and its pods as the plan sees them: parsed and immutable. Pure; keeps nothing."""

from __future__ import annotations

from cloudcore.controllers.history.revisions import HASH
from cloudcore.controllers.pod_state import available_at_ms
from cloudcore.controllers.portions import portion
from cloudcore.controllers.statefulset.identity import identity_labels
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, dig, int_at, str_at
from skerry.objects.meta import being_deleted, generation_of, labels_of, name_of
from skerry.objects.pods import is_ready


class StatefulSet(Frozen):
    """What the set asks for."""

    obj: JsonObject
    name: str
    replicas: int
    start: int
    """The first ordinal."""
    ordered: bool
    """One after the other, each when those before it are available."""
    on_delete: bool
    partition: int
    """So many of the first keep the revision that they have."""
    unavailable_max: int
    min_ready_s: int
    history_limit: int
    collisions: int
    generation: int
    leaving: bool

    @property
    def ordinals(self) -> range:
        return range(self.start, self.start + self.replicas)

    def is_updated_at(self, ordinal: int) -> bool:
        """A pod made there is of the newest revision, whatever it was before."""
        return self.on_delete or ordinal >= self.start + self.partition


def stateful_set(obj: JsonObject) -> StatefulSet:
    replicas = int_at(obj, "spec", "replicas", default=1)
    unavailable = dig(obj, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable")
    most = 1 if unavailable is None else portion(unavailable, replicas, round_up=False)
    return StatefulSet(
        obj=obj,
        name=name_of(obj),
        replicas=replicas,
        start=int_at(obj, "spec", "ordinals", "start"),
        ordered=str_at(obj, "spec", "podManagementPolicy") != "Parallel",
        on_delete=str_at(obj, "spec", "updateStrategy", "type") == "OnDelete",
        partition=int_at(obj, "spec", "updateStrategy", "rollingUpdate", "partition"),
        unavailable_max=max(most, 1),
        min_ready_s=int_at(obj, "spec", "minReadySeconds"),
        history_limit=int_at(obj, "spec", "revisionHistoryLimit", default=10),
        collisions=int_at(obj, "status", "collisionCount"),
        generation=generation_of(obj),
        leaving=being_deleted(obj),
    )


class StatefulPod(Frozen):
    """One pod of the set."""

    obj: JsonObject
    ordinal: int
    revision: str
    """Name of its revision."""
    phase: str
    leaving: bool
    ready: bool
    available_ms: int | None
    """From when on it counts as available; None while it isn't ready."""
    node: str
    """Where it runs; "" while it has no place."""
    is_itself: bool
    """It bears the labels of its ordinal."""

    @property
    def is_over(self) -> bool:
        return self.phase in ("Failed", "Succeeded")

    def is_available(self, min_ready_s: int, now_ms: int) -> bool:
        return self.available_ms is not None and (min_ready_s == 0 or self.available_ms <= now_ms)


def stateful_pod(owner: JsonObject, obj: JsonObject, ordinal: int, min_ready_s: int) -> StatefulPod:
    labels = labels_of(obj)
    runs = str_at(obj, "status", "phase") == "Running"
    return StatefulPod(
        obj=obj,
        ordinal=ordinal,
        revision=labels.get(HASH, ""),
        phase=str_at(obj, "status", "phase"),
        leaving=being_deleted(obj),
        ready=runs and is_ready(obj),
        available_ms=available_at_ms(obj, min_ready_s) if runs else None,
        node=str_at(obj, "spec", "nodeName"),
        is_itself=identity_labels(owner, ordinal).items() <= labels.items(),
    )
