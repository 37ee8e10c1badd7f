"""Volumes that are directories of gateways: what is made for a claim, and when it may go. Pure; keeps nothing.

The cloud makes no directory. It says in a PersistentVolume which gateway has it and under which handle; the gateway
makes it when a pod first mounts it, and tells when it is removed, for which a finalizer waits (docs/decisions/0380).
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.volumes import allows
from skerry.objects.json import Json, JsonObject, list_at, map_at, str_at, strs_at
from skerry.objects.meta import labels_of, name_of, namespace_of, uid_of
from skerry.objects.volumes import (
    DIRECTORY,
    LOCAL,
    NODE_ATTRIBUTE,
    PROVISIONED_BY,
    mode_of,
    request_of,
)

_HOSTNAME: Final = "kubernetes.io/hostname"
_MODES: Final = ("ReadWriteOnce", "ReadWriteOncePod")


def refusal(claim: JsonObject, storage_class: JsonObject, node: JsonObject) -> str:
    """Why no directory of this node can be what the claim wants; "" when one can."""
    if mode_of(claim) != "Filesystem":
        return f"{LOCAL} volumes are directories, and volumeMode is {mode_of(claim)}"
    shared = [mode for mode in strs_at(claim, "spec", "accessModes") if mode not in _MODES]
    if shared:
        return f"{LOCAL} volumes are of one node: accessModes may be {' or '.join(_MODES)}, not {shared[0]}"
    if isinstance(map_at(claim, "spec").get("selector"), dict):
        return "claim.Spec.Selector is not supported"
    if map_at(claim, "spec", "dataSource") or map_at(claim, "spec", "dataSourceRef"):
        return f"{LOCAL} volumes begin empty: dataSource is not supported"
    if not allows(storage_class, labels_of(node)):
        return f'node "{name_of(node)}" is not in allowedTopologies of the class'
    return ""


def volume_for(claim: JsonObject, storage_class: JsonObject, node: JsonObject) -> JsonObject:
    """The volume that is made for this life of the claim, always under the same name."""
    name = f"pvc-{uid_of(claim)}"
    hostname = labels_of(node).get(_HOSTNAME, name_of(node))
    values: list[Json] = [hostname]
    term: JsonObject = {"matchExpressions": [{"key": _HOSTNAME, "operator": "In", "values": values}]}
    annotations: JsonObject = {PROVISIONED_BY: LOCAL}
    finalizers: list[Json] = [DIRECTORY]
    spec: JsonObject = {
        "capacity": {"storage": str(request_of(claim))},
        "accessModes": list_at(claim, "spec", "accessModes"),
        "persistentVolumeReclaimPolicy": str_at(storage_class, "reclaimPolicy") or "Delete",
        "storageClassName": name_of(storage_class),
        "volumeMode": "Filesystem",
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace_of(claim),
            "name": name_of(claim),
            "uid": uid_of(claim),
        },
        "csi": {"driver": LOCAL, "volumeHandle": name, "volumeAttributes": {NODE_ATTRIBUTE: name_of(node)}},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": annotations, "finalizers": finalizers},
        "spec": spec,
    }
