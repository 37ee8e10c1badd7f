"""What objects an EdgeApplication is to have, and what has to change for it.

Of a workload each target has one, named after it, held to its nodes, with its overriders; of anything else there is
one for all. A user's own node selector stays beside the target's (KubeEdge's replaces it). What changes is what the
manifest changed since it was applied last: what others wrote into the object (a cluster address, replicas of an
autoscaler) stays. Pure.
"""

from __future__ import annotations

from cloudcore.controllers.edgeapplication.overriders import overridden, pod_spec_place
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.edge_applications import (
    WORKLOADS,
    Target,
    manifests_of,
    targets_of,
)
from skerry.objects.json import Json, JsonObject, clone, list_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import namespace_of
from skerry.objects.node_groups import BELONGING_TO, RANGE_NODE_GROUP, TOPOLOGY


class Wanted(Frozen):
    """An object that is to be."""

    ordinal: int
    """The place of its manifest."""
    obj: JsonObject


class Fault(Frozen):
    """Why a manifest is no object, or not for one target."""

    ordinal: int
    obj: JsonObject
    """As far as it is known."""
    why: str


def plan(app: JsonObject) -> tuple[list[Wanted], list[Fault]]:
    """In the order of manifests and targets. A fault in one leaves the others."""
    wanted: list[Wanted] = []
    faults: list[Fault] = []
    targets = targets_of(app)
    for ordinal, manifest in manifests_of(app):
        try:
            obj = _own(manifest, app, ordinal)
        except InvalidError as error:
            faults.append(Fault(ordinal=ordinal, obj=manifest, why=str(error)))
            continue
        if str_at(obj, "kind") not in WORKLOADS:
            wanted.append(Wanted(ordinal=ordinal, obj=_ranged(obj)))
            continue
        for target in targets:
            try:
                wanted.append(Wanted(ordinal=ordinal, obj=_for_target(obj, target)))
            except InvalidError as error:
                why = f"target {target.group or target.name}: {error}"
                faults.append(Fault(ordinal=ordinal, obj=obj, why=why))
    return wanted, faults


def _own(manifest: JsonObject, app: JsonObject, ordinal: int) -> JsonObject:
    """A copy of the manifest in the application's namespace."""
    obj = clone(manifest)
    at = f"spec.workloadTemplate.manifests[{ordinal}]"
    for field in ("apiVersion", "kind"):
        if not str_at(obj, field):
            raise InvalidError(f"{at}.{field}: Required value")
    metadata = map_at(obj, "metadata")
    if not str_at(metadata, "name"):
        raise InvalidError(f"{at}.metadata.name: Required value")
    if str_at(metadata, "namespace", default=namespace_of(app)) != namespace_of(app):
        raise InvalidError(f"{at}.metadata.namespace: it is {namespace_of(app)}, the application's, or not given")
    obj.pop("status", None)
    obj["metadata"] = {**metadata, "namespace": namespace_of(app)}
    return obj


def _ranged(obj: JsonObject) -> JsonObject:
    if str_at(obj, "kind") != "Service" or str_at(obj, "apiVersion") != "v1":
        return obj
    annotations = {**str_map_at(obj, "metadata", "annotations"), TOPOLOGY: RANGE_NODE_GROUP}
    return {**obj, "metadata": {**map_at(obj, "metadata"), "annotations": {**annotations}}}


def _for_target(manifest: JsonObject, target: Target) -> JsonObject:
    obj = overridden(manifest, target.overriders)
    obj["metadata"] = {**map_at(obj, "metadata"), "name": f"{str_at(obj, 'metadata', 'name')}-{target.name}"}
    place = pod_spec_place(obj)
    if not place:
        raise InvalidError("the manifest has no pod")
    pod = map_at(obj, *place)
    if target.group:
        pod["nodeSelector"] = {**str_map_at(pod, "nodeSelector"), BELONGING_TO: target.group}
    else:
        pod["affinity"] = _held(map_at(pod, "affinity"), target.selector)
    return obj


def _held(affinity: JsonObject, selector: JsonObject) -> JsonObject:
    """With the nodes of the labels in each of its terms: terms are alternatives."""
    labels: list[Json] = [
        {"key": name, "operator": "In", "values": [value]}
        for name, value in sorted(str_map_at(selector, "matchLabels").items())
    ]
    labels += maps_at(selector, "matchExpressions")
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = maps_at(affinity, "nodeAffinity", field, "nodeSelectorTerms") or [{}]
    held: list[Json] = [{**term, "matchExpressions": [*list_at(term, "matchExpressions"), *labels]} for term in terms]
    node: JsonObject = {**map_at(affinity, "nodeAffinity"), field: {"nodeSelectorTerms": held}}
    return {**affinity, "nodeAffinity": node}
