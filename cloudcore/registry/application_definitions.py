"""The shape of KubeEdge's NodeGroup and EdgeApplication (`apps.kubeedge.io/v1alpha1`, KubeEdge 1.23), as OpenAPI
definitions; fields of ours are optional, and say so. Keeps no data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import GroupParts, boolean, int32, obj, string, strings, strings_list
from skerry.objects.edge_applications import AVAILABLE, PROCESSING
from skerry.objects.json import JsonObject
from skerry.objects.node_groups import FAILED, GROUP, SUCCEEDED

PREFIX: Final = "io.kubeedge.apps.v1alpha1."
_PARTS: Final = GroupParts(prefix=PREFIX, group=GROUP, version="v1alpha1")


def application_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return _node_group() | _application() | _overriders()


def _node_group() -> dict[str, JsonObject]:
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
            topologyEnabled=boolean(
                "Nodes of it that have no zone (topology.kubernetes.io/zone) get the group's name as theirs."
            ),
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


def _application() -> dict[str, JsonObject]:
    manifest: JsonObject = {
        "type": "object",
        "description": "A manifest: an object with apiVersion, kind and metadata.name.",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    }
    manifests: JsonObject = {"type": "array", "items": manifest, "description": "What it is made of."}
    return {
        PREFIX + "EdgeApplication": _PARTS.kind(
            "EdgeApplication",
            "Manifests that run in node groups, each with what is otherwise there.",
            spec=_PARTS.ref("EdgeApplicationSpec", "What, and where."),
            status=_PARTS.ref("EdgeApplicationStatus", "What became of each object."),
        ),
        PREFIX + "EdgeApplicationList": _PARTS.list_kind("EdgeApplication"),
        PREFIX + "EdgeApplicationSpec": obj(
            "What, and where.",
            required=("workloadScope",),
            workloadTemplate=_PARTS.ref("ResourceTemplate", "What."),
            workloadScope=_PARTS.ref("WorkloadScope", "Where."),
        ),
        PREFIX + "ResourceTemplate": obj("Manifests.", manifests=manifests),
        PREFIX + "WorkloadScope": obj(
            "Where: each target has workloads of its own.",
            targetNodeGroups=_PARTS.list_of("TargetNodeGroup", "Node groups."),
            targetNodeLabels=_PARTS.list_of("TargetNodeLabels", "Nodes by their labels."),
        ),
        PREFIX + "TargetNodeGroup": obj(
            "A node group.",
            required=("name",),
            name=string("Its name."),
            overriders=_PARTS.ref("Overriders", "What is otherwise there."),
        ),
        PREFIX + "TargetNodeLabels": obj(
            "Nodes by their labels.",
            labelSelector={
                "$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
                "description": "Which nodes.",
            },
            overriders=_PARTS.ref("Overriders", "What is otherwise there."),
        ),
        PREFIX + "EdgeApplicationStatus": obj(
            "What became of each object.",
            workloadStatus=_PARTS.list_of("ManifestStatus", "By place of the manifest, and name."),
        ),
        PREFIX + "ManifestStatus": obj(
            "One object.",
            required=("identifier",),
            identifier=_PARTS.ref("ResourceIdentifier", "Which."),
            conditions=string("Whether it is there and its pods are.", PROCESSING, AVAILABLE),
            message=string("Ours, and optional: why it is not as it is to be."),
        ),
        PREFIX + "ResourceIdentifier": obj(
            "An object of the application.",
            required=("ordinal",),
            ordinal=int32("The place of its manifest."),
            group=string("Of its kind."),
            version=string("Of its kind."),
            kind=string("Its kind."),
            resource=string("Its resource."),
            namespace=string("Where it is."),
            name=string("Its name."),
        ),
    }


def _overriders() -> dict[str, JsonObject]:
    patch_value: JsonObject = {"x-kubernetes-preserve-unknown-fields": True, "description": "The value."}
    env: JsonObject = {
        "type": "array",
        "items": {"$ref": "#/$defs/io.k8s.api.core.v1.EnvVar"},
        "description": "Variables.",
        "x-kubernetes-list-type": "atomic",
    }
    words = ("add", "remove")
    return {
        PREFIX + "Overriders": obj(
            "What is otherwise there.",
            replicas=int32("How many."),
            imageOverriders=_PARTS.list_of("ImageOverrider", "Parts of images."),
            envOverriders=_PARTS.list_of("EnvOverrider", "Environment of containers."),
            commandOverriders=_PARTS.list_of("CommandArgsOverrider", "Commands of containers."),
            argsOverriders=_PARTS.list_of("CommandArgsOverrider", "Arguments of containers."),
            resourcesOverriders=_PARTS.list_of("ResourcesOverrider", "Resources of containers."),
            labelsOverriders=_PARTS.list_of("LabelAnnotationOverrider", "Ours: labels of the object."),
            annotationsOverriders=_PARTS.list_of("LabelAnnotationOverrider", "Ours: annotations of the object."),
            plaintext=_PARTS.list_of("PlaintextOverrider", "Ours: steps of a JSON Patch, last."),
        ),
        PREFIX + "ImageOverrider": obj(
            "A part of an image.",
            required=("component", "operator"),
            predicate=_PARTS.ref("ImagePredicate", "Which image; all of the manifest without."),
            component=string("Which part.", "Registry", "Repository", "Tag"),
            operator=string("What is done.", "add", "remove", "replace"),
            value=string("With what."),
        ),
        PREFIX + "ImagePredicate": obj(
            "Which image.", required=("path",), path=string("A JSON pointer to it in the manifest.")
        ),
        PREFIX + "EnvOverrider": obj(
            "Environment of a container.",
            required=("containerName", "operator"),
            containerName=string("Which."),
            operator=string("What is done.", "add", "remove", "replace"),
            value=env,
        ),
        PREFIX + "CommandArgsOverrider": obj(
            "Words of a container.",
            required=("containerName", "operator"),
            containerName=string("Which."),
            operator=string("What is done.", *words),
            value=strings_list("The words."),
        ),
        PREFIX + "ResourcesOverrider": obj(
            "Resources of a container.",
            required=("containerName", "value"),
            containerName=string("Which."),
            value={
                "$ref": "#/$defs/io.k8s.api.core.v1.ResourceRequirements",
                "description": "In place of what the manifest says.",
            },
        ),
        PREFIX + "LabelAnnotationOverrider": obj(
            "Labels or annotations.",
            required=("operator",),
            operator=string("What is done.", "add", "remove", "replace"),
            value=strings("Which, and with what."),
        ),
        PREFIX + "PlaintextOverrider": obj(
            "A step of a JSON Patch (RFC 6902).",
            required=("operator", "path"),
            operator=string("What is done.", "add", "remove", "replace"),
            path=string("Where: a JSON pointer."),
            value=patch_value,
        ),
    }
