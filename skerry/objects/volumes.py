"""Storage that outlives pods, as both ends read it: claims, volumes, classes, and volumes that are a gateway's own.

Fields and annotations are Kubernetes' (core/v1, storage.k8s.io/v1, component-helpers `storage/volume`). A volume of
the provisioner `skerry.dev/local` is a directory of one gateway: the cloud says which gateway and under which handle,
the gateway knows where (docs/decisions/0380). Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, encode_object, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import annotations_of, being_deleted, controller_of, name_of, namespace_of, uid_of
from skerry.objects.quantity import Quantity, canonical, parse_quantity

CLAIMS: Final = "persistentvolumeclaims"
VOLUMES: Final = "persistentvolumes"
CLASSES: Final = "storageclasses.storage.k8s.io"

LOCAL: Final = "skerry.dev/local"
"""Provisioner of a StorageClass, and driver of its volumes, whose volumes are directories of gateways."""
DIRECTORY: Final = "skerry.dev/local-directory"
"""Finalizer: a gateway may still have the directory of this volume."""
NODE_ATTRIBUTE: Final = "skerry.dev/node"
"""In `csi.volumeAttributes` of such a volume: whose directory it is."""

CLAIM_PROTECTION: Final = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION: Final = "kubernetes.io/pv-protection"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER: Final = "volume.beta.kubernetes.io/storage-provisioner"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_BETA_DEFAULT_CLASS: Final = "storageclass.beta.kubernetes.io/is-default-class"
_BETA_CLASS: Final = "volume.beta.kubernetes.io/storage-class"

VOLUME_STATE: Final = "volume"
"""Kind of the report about a volume's directory; keyed by the volume's uid."""


class PodClaim(Frozen):
    """A claim that one of a pod's volumes uses."""

    volume: str
    name: str
    ephemeral: bool
    """Made for this pod alone, from its own template."""
    read_only: bool = False


def pod_claims(pod: JsonObject) -> Iterator[PodClaim]:
    """The claims that a pod's volumes use, in their order."""
    for volume in maps_at(pod, "spec", "volumes"):
        name = str_at(volume, "name")
        if isinstance(volume.get("persistentVolumeClaim"), dict):
            source = map_at(volume, "persistentVolumeClaim")
            yield PodClaim(
                volume=name,
                name=str_at(source, "claimName"),
                ephemeral=False,
                read_only=bool_at(source, "readOnly"),
            )
        elif isinstance(volume.get("ephemeral"), dict):
            yield PodClaim(volume=name, name=ephemeral_claim_name(name_of(pod), name), ephemeral=True)


def ephemeral_claim_name(pod: str, volume: str) -> str:
    """As Kubernetes forms it; two pods may come to one name, which is why the owner is checked."""
    return f"{pod}-{volume}"


def is_claim_of_pod(claim: JsonObject, pod: JsonObject) -> bool:
    """The claim was made for this very pod."""
    owner = controller_of(claim)
    return owner is not None and owner.uid == uid_of(pod)


def class_of(obj: JsonObject) -> str:
    """The class that a claim wants or a volume has; "" for none."""
    return annotations_of(obj).get(_BETA_CLASS) or str_at(obj, "spec", "storageClassName")


def says_class(claim: JsonObject) -> bool:
    """The claim says which class it wants, if only that it wants none."""
    return _BETA_CLASS in annotations_of(claim) or isinstance(map_at(claim, "spec").get("storageClassName"), str)


def is_default_class(storage_class: JsonObject) -> bool:
    annotations = annotations_of(storage_class)
    return "true" in (annotations.get(DEFAULT_CLASS), annotations.get(_BETA_DEFAULT_CLASS))


def waits_for_consumer(storage_class: JsonObject | None) -> bool:
    return str_at(storage_class, "volumeBindingMode") == "WaitForFirstConsumer"


def capacity_of(volume: JsonObject) -> Quantity:
    return _quantity(map_at(volume, "spec", "capacity"))


def request_of(claim: JsonObject) -> Quantity:
    return _quantity(map_at(claim, "spec", "resources", "requests"))


def _quantity(amounts: JsonObject) -> Quantity:
    value = amounts.get("storage")
    return parse_quantity(canonical(value)) if isinstance(value, str | int | float) else Quantity(0)


def mode_of(obj: JsonObject) -> str:
    return str_at(obj, "spec", "volumeMode") or "Filesystem"


def is_bound(claim: JsonObject) -> bool:
    """Both sides have agreed."""
    return bool(str_at(claim, "spec", "volumeName")) and BIND_COMPLETED in annotations_of(claim)


def is_for(volume: JsonObject, claim: JsonObject) -> bool:
    """The volume is promised to this claim: to its life, or to whoever has its name."""
    ref = map_at(volume, "spec", "claimRef")
    return (
        bool(ref)
        and str_at(ref, "name") == name_of(claim)
        and str_at(ref, "namespace") == namespace_of(claim)
        and str_at(ref, "uid") in ("", uid_of(claim))
    )


def gateway_of(volume: JsonObject) -> str:
    """Whose directory the volume is; "" where it is no gateway's own."""
    if str_at(volume, "spec", "csi", "driver") != LOCAL:
        return ""
    return str_at(volume, "spec", "csi", "volumeAttributes", NODE_ATTRIBUTE)


def handle_of(volume: JsonObject) -> str:
    """The name of its directory on the gateway; "" where it has none or one that can be no name."""
    handle = str_at(volume, "spec", "csi", "volumeHandle")
    fits = bool(handle) and handle not in (".", "..") and "/" not in handle and "\0" not in handle
    return handle if str_at(volume, "spec", "csi", "driver") == LOCAL and fits else ""


def is_to_be_removed(volume: JsonObject) -> bool:
    """The volume goes, and what is in its directory with it."""
    return (
        being_deleted(volume)
        and DIRECTORY in strs_at(volume, "metadata", "finalizers")
        and str_at(volume, "spec", "persistentVolumeReclaimPolicy") == "Delete"
        and VOLUME_PROTECTION not in strs_at(volume, "metadata", "finalizers")
    )


def without_directory(volume: JsonObject, *, fault: str) -> JsonObject:
    """The volume after its gateway told what became of its directory: free to go, or failed. Itself where nobody
    asked for that (any more)."""
    if not is_to_be_removed(volume):
        return volume
    if fault:
        status: JsonObject = {**map_at(volume, "status"), "phase": "Failed", "message": fault}
        return {**volume, "status": status}
    rest: list[Json] = [name for name in strs_at(volume, "metadata", "finalizers") if name != DIRECTORY]
    return {**volume, "metadata": {**map_at(volume, "metadata"), "finalizers": rest}}


class VolumeReport(Frozen):
    """What became of the directory of a volume that was to be removed. `fault` is "" when nothing of it is left."""

    name: str
    uid: str
    fault: str = ""

    def encode(self) -> bytes:
        return encode_object({"name": self.name, "uid": self.uid, "fault": self.fault})

    @classmethod
    def decode(cls, body: JsonObject) -> VolumeReport:
        """Raises `ProtocolError` where the volume is not named."""
        report = cls(name=str_at(body, "name"), uid=str_at(body, "uid"), fault=str_at(body, "fault"))
        if not (report.name and report.uid):
            raise ProtocolError("volume: name and uid are required")
        return report
