"""What an object needs beside itself on a node: pure readings of pods and devices. Keeps nothing.

Source of the fields: Kubernetes core/v1 PodSpec; KubeEdge devices.kubeedge.io/v1beta1 DeviceSpec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.objects.json import JsonObject, dig, maps_at, str_at
from skerry.objects.meta import Key, namespace_of

NODES: Final = "nodes"
PODS: Final = "pods"
SERVICES: Final = "services"
SLICES: Final = "endpointslices.discovery.k8s.io"
DEVICES: Final = "devices.devices.kubeedge.io"
MODELS: Final = "devicemodels.devices.kubeedge.io"
_CONFIG_MAPS: Final = "configmaps"
_SECRETS: Final = "secrets"
_CLAIMS: Final = "persistentvolumeclaims"
_ACCOUNTS: Final = "serviceaccounts"

ARRIVAL: Final = (NODES, _ACCOUNTS, _CONFIG_MAPS, _SECRETS, _CLAIMS, SERVICES, SLICES, MODELS, DEVICES, PODS)
"""The resources of a view, what is referred to before what refers: the order in which they are sent."""


def node_of(key: Key, obj: JsonObject) -> str:
    """The node that an object is for by itself; "" for none."""
    if key.resource == NODES:
        return key.name
    return str_at(obj, "spec", "nodeName") if key.resource in (PODS, DEVICES) else ""


def references_of(key: Key, obj: JsonObject) -> tuple[Key, ...]:
    """What the object refers to, each once, in the order in which it must arrive."""
    if key.resource == PODS:
        found = dict.fromkeys(_pod_references(namespace_of(obj), obj))
        return tuple(sorted(found, key=lambda ref: (ARRIVAL.index(ref.resource), ref.name)))
    if key.resource == DEVICES:
        model = str_at(obj, "spec", "deviceModelRef", "name")
        return (Key(MODELS, key.namespace, model),) if model else ()
    return ()


def _pod_references(namespace: str, pod: JsonObject) -> Iterator[Key]:
    account = str_at(pod, "spec", "serviceAccountName")
    if account:
        yield Key(_ACCOUNTS, namespace, account)
    for secret in maps_at(pod, "spec", "imagePullSecrets"):
        yield from _named(_SECRETS, namespace, str_at(secret, "name"))
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in maps_at(pod, "spec", field):
            yield from _container_references(namespace, container)
    for volume in maps_at(pod, "spec", "volumes"):
        yield from _volume_references(namespace, volume)


def _container_references(namespace: str, container: JsonObject) -> Iterator[Key]:
    for source in maps_at(container, "envFrom"):
        yield from _named(_CONFIG_MAPS, namespace, str_at(source, "configMapRef", "name"))
        yield from _named(_SECRETS, namespace, str_at(source, "secretRef", "name"))
    for variable in maps_at(container, "env"):
        yield from _named(_CONFIG_MAPS, namespace, str_at(variable, "valueFrom", "configMapKeyRef", "name"))
        yield from _named(_SECRETS, namespace, str_at(variable, "valueFrom", "secretKeyRef", "name"))


def _volume_references(namespace: str, volume: JsonObject) -> Iterator[Key]:
    yield from _named(_CONFIG_MAPS, namespace, str_at(volume, "configMap", "name"))
    yield from _named(_SECRETS, namespace, str_at(volume, "secret", "secretName"))
    yield from _named(_CLAIMS, namespace, str_at(volume, "persistentVolumeClaim", "claimName"))
    for source in maps_at(volume, "projected", "sources"):
        yield from _named(_CONFIG_MAPS, namespace, str_at(source, "configMap", "name"))
        yield from _named(_SECRETS, namespace, str_at(source, "secret", "name"))
    for driver in volume.values():  # cephfs, csi, flexVolume, iscsi ... name a Secret in `secretRef`
        if isinstance(driver, dict) and isinstance(dig(driver, "secretRef"), dict):
            yield from _named(_SECRETS, namespace, str_at(driver, "secretRef", "name"))


def _named(resource: str, namespace: str, name: str) -> Iterator[Key]:
    if name:
        yield Key(resource, namespace, name)
