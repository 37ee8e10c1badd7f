"""The shape of KubeEdge's NodeGroup (`apps.kubeedge.io/v1alpha1`, KubeEdge 1.23), as OpenAPI definitions. Keeps no
data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import GroupParts, boolean, obj, string, strings, strings_list
from skerry.objects.json import JsonObject
from skerry.objects.node_groups import FAILED, GROUP, SUCCEEDED

PREFIX: Final = "io.kubeedge.apps.v1alpha1."
_PARTS: Final = GroupParts(prefix=PREFIX, group=GROUP, version="v1alpha1")


def application_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return {
        PREFIX + "NodeGroup": _PARTS.kind(
            "NodeGroup",
            "Nodes that belong together: a site, a shop, a line. A node is in one group at a time.",
            spec=_PARTS.ref("NodeGroupSpec", "Which nodes."),
            status=_PARTS.ref("NodeGroupStatus", "What became of each."),
        ),
        PREFIX + "NodeGroupList": _PARTS.list_kind("NodeGroup"),
        PREFIX + "NodeGroupSpec": obj(
            "Which nodes: those that are named, and those that have all the labels.",
            nodes=strings_list("Names of nodes."),
            matchLabels=strings("Labels that nodes have, all of them; {} is every node, and none is said without."),
            topologyEnabled=boolean("Services of the group's applications lead to its own nodes."),
        ),
        PREFIX + "NodeGroupStatus": obj(
            "What became of each node that it wants.",
            nodeStatuses=_PARTS.list_of("NodeStatus", "By name of the node."),
        ),
        PREFIX + "NodeStatus": obj(
            "One node.",
            required=("nodeName", "readyStatus", "selectionStatus"),
            nodeName=string("Its name."),
            readyStatus=string("Of its condition Ready.", "Ready", "NotReady", "Unknown"),
            selectionStatus=string("Whether it is in the group.", SUCCEEDED, FAILED),
            selectionStatusReason=string("Why it is not."),
        ),
    }
