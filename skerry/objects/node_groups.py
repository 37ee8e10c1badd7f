"""KubeEdge's NodeGroup (`apps.kubeedge.io/v1alpha1`): which nodes are in which, and what a group says of its nodes.

A node is in one group at a time, and its label says in which. Where several want a node, it stays in the one that has
it; else it goes to the oldest. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, bool_at, map_at, str_at, str_map_at, strs_at
from skerry.objects.meta import being_deleted, name_of
from skerry.objects.sites import ZONE_LABEL

GROUP: Final = "apps.kubeedge.io"
NODE_GROUPS: Final = "nodegroups.apps.kubeedge.io"
BELONGING_TO: Final = "apps.kubeedge.io/belonging-to"
"""Label of a node: its group."""
ZONE_OF_GROUP: Final = "skerry.dev/zone-of-group"
"""Annotation of a node: the zone that its group gave it."""
TOPOLOGY: Final = "apps.kubeedge.io/service-topology"
"""Annotation of a Service; its EndpointSlices then have the label `BELONGING_TO` of their endpoints' nodes."""
RANGE_NODE_GROUP: Final = "range-nodegroup"
FINALIZER: Final = "apps.kubeedge.io/nodegroup-controller"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
_READY: Final = {"True": "Ready", "False": "NotReady"}


def wants(group: JsonObject, node: JsonObject) -> bool:
    """Whether a group is to have a node: by name, or by labels, where it gives any (`{}` is every node)."""
    if being_deleted(group):
        return False
    spec = map_at(group, "spec")
    if name_of(node) in strs_at(spec, "nodes"):
        return True
    if spec.get("matchLabels") is None:
        return False
    labels = labels_of(node)
    return all(labels.get(name) == value for name, value in str_map_at(spec, "matchLabels").items())


def labels_of(node: JsonObject) -> dict[str, str]:
    return dict(str_map_at(node, "metadata", "labels"))


def group_of(node: JsonObject) -> str:
    """The group in which the node is; "" for none."""
    return labels_of(node).get(BELONGING_TO, "")


def is_a_zone(group: JsonObject) -> bool:
    """Whether its nodes are a zone by themselves."""
    return bool_at(group, "spec", "topologyEnabled")


def in_group(node: JsonObject, group: str, *, zoned: bool) -> JsonObject:
    """The node with the labels of a group, "" for none; itself where it has them. A zone that somebody else gave it
    stays: which site it is in is not a group's to say then."""
    before, notes = labels_of(node), dict(str_map_at(node, "metadata", "annotations"))
    labels = {name: value for name, value in before.items() if name != BELONGING_TO}
    if group:
        labels[BELONGING_TO] = group
    ours = notes.pop(ZONE_OF_GROUP, "")
    if ours and labels.get(ZONE_LABEL) == ours:
        del labels[ZONE_LABEL]
    if zoned and ZONE_LABEL not in labels:
        labels[ZONE_LABEL] = notes[ZONE_OF_GROUP] = group
    if labels == before and notes == str_map_at(node, "metadata", "annotations"):
        return node
    metadata: JsonObject = {**map_at(node, "metadata"), "labels": {**labels}}
    if notes or "annotations" in metadata:
        metadata["annotations"] = {**notes}
    return {**node, "metadata": metadata}


def keeps_to_group(service: JsonObject) -> bool:
    """Whether who asks a Service is led to endpoints of its own node group alone."""
    return str_map_at(service, "metadata", "annotations").get(TOPOLOGY) == RANGE_NODE_GROUP


def group_for(node: JsonObject, groups: Iterable[JsonObject]) -> str:
    """The group in which the node is to be; "" for none."""
    wanting = [group for group in groups if wants(group, node)]
    names = [name_of(group) for group in sorted(wanting, key=_age)]
    present = group_of(node)
    return present if present in names else next(iter(names), "")


def _age(group: JsonObject) -> tuple[str, str]:
    return str_at(group, "metadata", "creationTimestamp"), name_of(group)


def node_statuses(group: JsonObject, nodes: Iterable[JsonObject]) -> list[Json]:
    """`status.nodeStatuses`, in order of name; `nodes` are all that there are."""
    by_name = {name_of(node): node for node in nodes}
    told = {name: _node_status(group, node) for name, node in by_name.items() if wants(group, node)}
    for name in strs_at(group, "spec", "nodes"):
        if name not in by_name:
            told[name] = _status(name, "Unknown", "node does not exist")
    return [told[name] for name in sorted(told)]


def _node_status(group: JsonObject, node: JsonObject) -> JsonObject:
    ready = _READY.get(str_at(condition_of(node, "Ready") or {}, "status"), "Unknown")
    name, present = name_of(node), group_of(node)
    if present == name_of(group):
        return _status(name, ready)
    if present:
        return _status(name, ready, f"node {name} has already belonged to NodeGroup {present}")
    return _status(name, ready, f"node {name} has not been labelled yet")


def _status(name: str, ready: str, failure: str = "") -> JsonObject:
    told: JsonObject = {"nodeName": name, "readyStatus": ready}
    if failure:
        return told | {"selectionStatus": FAILED, "selectionStatusReason": failure}
    return told | {"selectionStatus": SUCCEEDED}
