"""KubeEdge's EdgeApplication (`apps.kubeedge.io/v1alpha1`): what it says, taken apart. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, list_at, map_at, maps_at, str_at, str_map_at

EDGE_APPLICATIONS: Final = "edgeapplications.apps.kubeedge.io"
PROCESSING: Final = "Processing"
AVAILABLE: Final = "Available"
LAST_APPLIED: Final = "apps.kubeedge.io/last-applied-template"
"""Annotation of an object: the manifest that it was made of, or changed to, last."""
WORKLOADS: Final = frozenset(
    {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "ReplicationController"}
)
"""Kinds of which each target has one of its own."""
_SUFFIX_LENGTH: Final = 8


class Target(Frozen):
    """Where the application is to run."""

    name: str
    """What its objects' names end in: the group's, or a hash of the labels."""
    group: str
    """"" where it is labels that select nodes."""
    selector: JsonObject
    """metav1.LabelSelector of nodes, where there is no group."""
    overriders: JsonObject


def targets_of(app: JsonObject) -> list[Target]:
    """In the order given."""
    scope = map_at(app, "spec", "workloadScope")
    found = [
        Target(name=str_at(each, "name"), group=str_at(each, "name"), selector={}, overriders=_overriders(each))
        for each in maps_at(scope, "targetNodeGroups")
    ]
    for each in maps_at(scope, "targetNodeLabels"):
        selector = map_at(each, "labelSelector")
        name = _suffix(selector)
        found.append(Target(name=name, group="", selector=selector, overriders=_overriders(each)))
    return found


def _suffix(selector: JsonObject) -> str:
    """As KubeEdge makes it of labels; it looks at nothing else, and what else there is is part of it here."""
    text = "".join(f"{name}{value}" for name, value in sorted(str_map_at(selector, "matchLabels").items()))
    if expressions := list_at(selector, "matchExpressions"):
        text += json.dumps(expressions, sort_keys=True, separators=(",", ":"))
    return f"ls-{hashlib.sha256(text.encode()).hexdigest()[:_SUFFIX_LENGTH]}"


def _overriders(target: JsonObject) -> JsonObject:
    return map_at(target, "overriders")


def manifests_of(app: JsonObject) -> Iterator[tuple[int, JsonObject]]:
    """With their places. What is no object is the caller's to refuse before."""
    for ordinal, manifest in enumerate(list_at(app, "spec", "workloadTemplate", "manifests")):
        if isinstance(manifest, dict):
            yield ordinal, manifest
