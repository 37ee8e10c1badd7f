"""What a pod needs beside itself, read from its spec. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import Key, namespace_of
from skerry.objects.trust_bundles import BUNDLES, names_of
from skerry.objects.volumes import CLAIMS, pod_claims


def references_of(pod: JsonObject) -> frozenset[Key]:
    """The ConfigMaps, Secrets, PersistentVolumeClaims, ClusterTrustBundles and the ServiceAccount that it names."""
    namespace = namespace_of(pod)
    own = {Key(resource, namespace, name) for resource, name in (*_of_pod(pod), *_of_volumes(pod)) if name}
    return frozenset(own | {Key(BUNDLES, "", name) for name in names_of(pod)})


def _of_pod(pod: JsonObject) -> Iterator[tuple[str, str]]:
    yield "serviceaccounts", str_at(pod, "spec", "serviceAccountName")
    for secret in maps_at(pod, "spec", "imagePullSecrets"):
        yield "secrets", str_at(secret, "name")
    for part in ("containers", "initContainers", "ephemeralContainers"):
        for container in maps_at(pod, "spec", part):
            for source in maps_at(container, "envFrom"):
                yield "configmaps", str_at(source, "configMapRef", "name")
                yield "secrets", str_at(source, "secretRef", "name")
            for variable in maps_at(container, "env"):
                yield "configmaps", str_at(variable, "valueFrom", "configMapKeyRef", "name")
                yield "secrets", str_at(variable, "valueFrom", "secretKeyRef", "name")


def _of_volumes(pod: JsonObject) -> Iterator[tuple[str, str]]:
    for claim in pod_claims(pod):
        yield CLAIMS, claim.name
    for volume in maps_at(pod, "spec", "volumes"):
        yield "configmaps", str_at(volume, "configMap", "name")
        yield "secrets", str_at(volume, "secret", "secretName")
        for source in maps_at(volume, "projected", "sources"):
            yield "configmaps", str_at(source, "configMap", "name")
            yield "secrets", str_at(source, "secret", "name")
        for driver in volume.values():  # cephfs, csi, flexVolume, iscsi ... name a Secret in `secretRef`
            yield "secrets", str_at(driver, "secretRef", "name")
