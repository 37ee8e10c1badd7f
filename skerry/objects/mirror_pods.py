"""Static pods and their mirrors: what a gateway runs because a file says so, and what the cloud shows of it.

The names of annotations and what a mirror pod may not name are Kubernetes' (`pkg/kubelet/types`, admission plugins
NodeRestriction and ServiceAccount). Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of, uid_of

CONFIG_HASH: Final = "kubernetes.io/config.hash"
CONFIG_SOURCE: Final = "kubernetes.io/config.source"
CONFIG_SEEN: Final = "kubernetes.io/config.seen"
CONFIG_MIRROR: Final = "kubernetes.io/config.mirror"
"""Annotation of a mirror pod: the uid of the static pod that it shows, which is the hash of what its file says."""
FILE: Final = "file"
_MARK: Final = CONFIG_MIRROR.encode()


def mirrored_uid(pod: JsonObject) -> str:
    """The uid of the static pod that this one shows; "" where it is no mirror."""
    return annotations_of(pod).get(CONFIG_MIRROR, "")


def may_mirror(body: bytes) -> bool:
    """False where the encoded pod is no mirror for certain: most are not, and need not be read to know."""
    return _MARK in body


def mirror_of(static: JsonObject, node_uid: str) -> JsonObject:
    """What the cloud is asked to show of a static pod: owned by its Node, with which it goes."""
    metadata = map_at(static, "metadata")
    annotations: JsonObject = {**map_at(metadata, "annotations"), CONFIG_MIRROR: uid_of(static)}
    owner: JsonObject = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": str_at(static, "spec", "nodeName"),
        "uid": node_uid,
        "controller": True,
    }
    kept: JsonObject = {name: metadata[name] for name in ("name", "namespace", "labels") if name in metadata}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "annotations": annotations, "ownerReferences": [owner]},
        "spec": map_at(static, "spec"),
    }


def api_references(pod: JsonObject) -> Iterator[tuple[str, str]]:
    """What of the API a pod names, and a static pod may not: the field, and the plural noun of what it names."""
    spec = map_at(pod, "spec")
    for name in ("serviceAccountName", "serviceAccount"):
        if str_at(spec, name):
            yield f"spec.{name}", "service accounts"
    if maps_at(spec, "imagePullSecrets"):
        yield "spec.imagePullSecrets", "secrets"
    if maps_at(spec, "resourceClaims"):
        yield "spec.resourceClaims", "resourceclaims"
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(maps_at(spec, part)):
            yield from _of_container(f"spec.{part}[{index}]", container)
    for index, volume in enumerate(maps_at(spec, "volumes")):
        yield from _of_volume(f"spec.volumes[{index}]", volume)


def _of_container(field: str, container: JsonObject) -> Iterator[tuple[str, str]]:
    for index, source in enumerate(maps_at(container, "envFrom")):
        for name, noun in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if source.get(name) is not None:
                yield f"{field}.envFrom[{index}].{name}", noun
    for index, variable in enumerate(maps_at(container, "env")):
        for name, noun in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if map_at(variable, "valueFrom").get(name) is not None:
                yield f"{field}.env[{index}].valueFrom.{name}", noun


_VOLUMES: Final = {
    "configMap": "configmaps",
    "secret": "secrets",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims",
}
_PROJECTED: Final = {
    "configMap": "configmaps",
    "secret": "secrets",
    "serviceAccountToken": "service accounts",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "service accounts",
}
_SECRET_NAMES: Final = ("secretRef", "nodePublishSecretRef")


def _of_volume(field: str, volume: JsonObject) -> Iterator[tuple[str, str]]:
    for name, source in volume.items():
        if name in _VOLUMES and source is not None:
            yield f"{field}.{name}", _VOLUMES[name]
        yield from _of_driver(f"{field}.{name}", source)
    for index, source in enumerate(maps_at(volume, "projected", "sources")):
        for name, noun in _PROJECTED.items():
            if source.get(name) is not None:
                yield f"{field}.projected.sources[{index}].{name}", noun


def _of_driver(field: str, source: Json) -> Iterator[tuple[str, str]]:
    """Drivers of volumes that name a Secret: cephfs, csi, flexVolume, iscsi, azureFile and others."""
    for name in _SECRET_NAMES:
        if str_at(source, name, "name"):
            yield f"{field}.{name}", "secrets"
    if field.endswith(".azureFile") and str_at(source, "secretName"):
        yield f"{field}.secretName", "secrets"
