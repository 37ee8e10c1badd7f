"""A Deployment and its ReplicaSets as the plan sees them: parsed, immutable, with Kubernetes' arithmetic. Pure.

The numbers that one controller leaves for the next pass are kept where Kubernetes keeps them: in annotations of the
ReplicaSets (`deployment.kubernetes.io/revision`, `desired-replicas`, `max-replicas`), so that kubectl's rollout
commands read them, and a crash loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cloudcore.controllers.pod_templates import template_hash
from cloudcore.controllers.portions import portion
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, dig, int_at, map_at, str_at, str_map_at
from skerry.objects.meta import annotations_of, being_deleted, generation_of, labels_of, name_of, uid_of
from skerry.objects.times import ms_at

REVISION: Final = "deployment.kubernetes.io/revision"
_DIGITS_MAX: Final = 19
"""Revisions are Go's int64, and conformance uses all of it."""
REVISION_HISTORY: Final = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS: Final = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS: Final = "deployment.kubernetes.io/max-replicas"
TEMPLATE_HASH: Final = "pod-template-hash"
_NOT_COPIED: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)
_NO_DEADLINE: Final = 2**31 - 1
_HISTORY_LENGTH_MAX: Final = 2000


class Set(Frozen):
    """One ReplicaSet of the deployment. `replicas` is what its spec asks for, and what a plan may change."""

    name: str
    uid: str
    created_ms: int
    replicas: int
    annotations: Mapping[str, str]
    actual: int
    """status.replicas."""
    ready: int
    available: int
    caught_up: bool
    """Its controller has seen its newest spec."""
    leaving: bool
    template: JsonObject
    labels: Mapping[str, str]
    obj: JsonObject

    @property
    def revision(self) -> int:
        return _number(self.annotations.get(REVISION, "")) or 0

    @property
    def desired(self) -> int | None:
        """How many replicas the deployment wanted when it last scaled this set."""
        return _number(self.annotations.get(DESIRED_REPLICAS, ""))

    @property
    def most(self) -> int | None:
        """How many pods the deployment allowed then, surge included."""
        return _number(self.annotations.get(MAX_REPLICAS, ""))

    @property
    def age(self) -> tuple[int, str]:
        """Sorts oldest first."""
        return (self.created_ms, self.name)


def replica_set(obj: JsonObject) -> Set:
    return Set(
        name=name_of(obj),
        uid=uid_of(obj),
        created_ms=ms_at(str_at(obj, "metadata", "creationTimestamp")),
        replicas=int_at(obj, "spec", "replicas", default=1),
        annotations=annotations_of(obj),
        actual=int_at(obj, "status", "replicas"),
        ready=int_at(obj, "status", "readyReplicas"),
        available=int_at(obj, "status", "availableReplicas"),
        caught_up=int_at(obj, "status", "observedGeneration") >= generation_of(obj),
        leaving=being_deleted(obj),
        template=map_at(obj, "spec", "template"),
        labels=labels_of(obj),
        obj=obj,
    )


class Deployment(Frozen):
    """What the deployment asks for."""

    name: str
    namespace: str
    replicas: int
    recreate: bool
    paused: bool
    leaving: bool
    surge: int
    """Pods beyond `replicas` that a roll may run; 0 when it recreates."""
    unavailable_max: int
    """Pods below `replicas` that a roll may leave; 0 when it recreates."""
    min_ready_s: int
    history_limit: int
    deadline_s: int | None
    collisions: int
    generation: int
    annotations: Mapping[str, str]
    template: JsonObject
    obj: JsonObject

    @property
    def most(self) -> int:
        return self.replicas + self.surge


def deployment(obj: JsonObject) -> Deployment:
    replicas = int_at(obj, "spec", "replicas", default=1)
    recreate = str_at(obj, "spec", "strategy", "type") == "Recreate"
    surge, unavailable = (0, 0) if recreate else _fenceposts(obj, replicas)
    deadline_s = int_at(obj, "spec", "progressDeadlineSeconds", default=_NO_DEADLINE)
    return Deployment(
        name=name_of(obj),
        namespace=str_at(obj, "metadata", "namespace"),
        replicas=replicas,
        recreate=recreate,
        paused=bool_at(obj, "spec", "paused"),
        leaving=being_deleted(obj),
        surge=surge,
        unavailable_max=min(unavailable, replicas),
        min_ready_s=int_at(obj, "spec", "minReadySeconds"),
        history_limit=int_at(obj, "spec", "revisionHistoryLimit", default=10),
        deadline_s=None if deadline_s >= _NO_DEADLINE else deadline_s,
        collisions=int_at(obj, "status", "collisionCount"),
        generation=generation_of(obj),
        annotations=annotations_of(obj),
        template=map_at(obj, "spec", "template"),
        obj=obj,
    )


def _fenceposts(obj: JsonObject, replicas: int) -> tuple[int, int]:
    """maxSurge rounded up and maxUnavailable rounded down; both 0 would never move, so then one may be missing."""
    rolling = map_at(obj, "spec", "strategy", "rollingUpdate")
    surge = portion(dig(rolling, "maxSurge"), replicas, round_up=True)
    unavailable = portion(dig(rolling, "maxUnavailable"), replicas, round_up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def same_template(one: JsonObject, other: JsonObject) -> bool:
    """Equal but for the hash label that the controller itself puts there."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: JsonObject) -> JsonObject:
    metadata = dict(map_at(template, "metadata"))
    labels = {name: value for name, value in map_at(metadata, "labels").items() if name != TEMPLATE_HASH}
    metadata["labels"] = labels
    # Go writes a null creationTimestamp into templates; it says nothing.
    kept: JsonObject = {name: value for name, value in metadata.items() if value not in (None, {}, [])}
    return {**template, "metadata": kept}


def copied_annotations(owner: Deployment) -> dict[str, str]:
    """The deployment's annotations that its sets carry too."""
    return {name: value for name, value in owner.annotations.items() if name not in _NOT_COPIED}


def with_revision(owner: Deployment, known: Mapping[str, str], revision: int) -> dict[str, str]:
    """A set's annotations, now that it is the newest: revisions it had before go into its history."""
    annotations = {**known, **copied_annotations(owner)}
    old = _number(known.get(REVISION, ""))
    if old is None or old < revision:
        annotations[REVISION] = str(revision)
        if old is not None:
            history = [*filter(None, known.get(REVISION_HISTORY, "").split(",")), str(old)]
            while len(",".join(history)) > _HISTORY_LENGTH_MAX:
                history.pop(0)
            annotations[REVISION_HISTORY] = ",".join(history)
    return annotations


def scaled_annotations(owner: Deployment, known: Mapping[str, str]) -> dict[str, str]:
    return {**known, DESIRED_REPLICAS: str(owner.replicas), MAX_REPLICAS: str(owner.most)}


def new_replica_set(owner: Deployment, reference: JsonObject, *, replicas: int, revision: int) -> JsonObject:
    """The set for the deployment's present template, as sent to the API."""
    code = template_hash(owner.template, owner.collisions)
    labels = {**str_map_at(owner.template, "metadata", "labels"), TEMPLATE_HASH: code}
    selector = map_at(owner.obj, "spec", "selector")
    template_metadata: JsonObject = {**map_at(owner.template, "metadata"), "labels": dict(labels)}
    annotations = scaled_annotations(owner, with_revision(owner, {}, revision))
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{owner.name}-{code}",
            "namespace": owner.namespace,
            "labels": dict(labels),
            "annotations": dict(annotations),
            "ownerReferences": [reference],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": owner.min_ready_s,
            "selector": {**selector, "matchLabels": {**map_at(selector, "matchLabels"), TEMPLATE_HASH: code}},
            "template": {**owner.template, "metadata": template_metadata},
        },
    }


def find_new(owner: Deployment, sets: Iterable[Set]) -> Set | None:
    """The set of the present template; the oldest, should there be two."""
    found = (each for each in sorted(sets, key=lambda each: each.age) if same_template(each.template, owner.template))
    return next(found, None)


def _number(text: str) -> int | None:
    return int(text) if text.removeprefix("-").isdecimal() and len(text) <= _DIGITS_MAX else None
