"""Which directory of this gateway a pod's claim is.

A claim leads to its volume, and the volume to a place: a directory of the gateway's own (`skerry.dev/local`), made
when a pod first mounts it, below `DIR/volumes`; or a path that somebody prepared (`local`, `hostPath`). Everything is
read from the edge store, so that a pod starts with it offline. Each use is noted as a link in the pod's own
directory, which goes when nothing of the pod is left: a directory that is noted is not removed, whoever asks
(`edgecore.pods.local_volumes`). Words of refusals are a kubelet's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from edgecore.pods.env import ConfigError, Finder, Surroundings
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import being_deleted, labels_of, name_of, namespace_of, uid_of
from skerry.objects.select import node_selector
from skerry.objects.volumes import (
    CLAIMS,
    LOCAL,
    VOLUMES,
    PodClaim,
    gateway_of,
    handle_of,
    is_bound,
    is_claim_of_pod,
    mode_of,
)

KEPT: Final = "volumes"
"""Below the agent's directory: what outlives pods."""
_USES: Final = "claims"
"""Below a pod's directory: a link to each of those that it uses."""

HostPath = Callable[[JsonObject, Path], Path]
"""Checks a hostPath source, and makes it where it says so."""


class Ground(Frozen):
    """Where volumes are."""

    node: str
    kept: Path
    """`KEPT` of the agent."""
    root: Path
    """Where the paths of volumes that somebody prepared begin."""
    host_path: HostPath


class Claimed(Frozen):
    """Where a claim is."""

    place: Path
    takes_group: bool
    """The pod's fsGroup may have it: not what others on the machine use as well."""


def claimed(wanted: PodClaim, pod: JsonObject, find: Finder) -> JsonObject:
    """The volume of the claim. Raises `ConfigError` for one that is not there (yet)."""
    namespace = namespace_of(pod)
    claim = find(CLAIMS, wanted.name)
    before = f"error processing PVC {namespace}/{wanted.name}: "
    if claim is None:
        raise ConfigError(
            f'{before}failed to fetch PVC from API server: persistentvolumeclaims "{wanted.name}" not found'
        )
    if wanted.ephemeral and not is_claim_of_pod(claim, pod):
        raise ConfigError(
            f"PVC {namespace}/{wanted.name} was not created for pod {namespace}/{name_of(pod)} (pod is not owner)"
        )
    if being_deleted(claim):
        raise ConfigError(f"{before}PVC is being deleted")
    name = str_at(claim, "spec", "volumeName")
    if not is_bound(claim) or str_at(claim, "status", "phase") == "Lost":
        raise ConfigError(f"{before}PVC is not bound")
    volume = find(VOLUMES, name)
    if volume is None:
        raise ConfigError(f'failed to fetch PV "{name}" from API server: persistentvolumes "{name}" not found')
    if str_at(volume, "spec", "claimRef", "uid") != uid_of(claim):
        raise ConfigError(f'failed to get PV "{name}": it is bound to another claim')
    if mode_of(volume) != "Filesystem":
        text = f"volume {wanted.volume} has volumeMode {mode_of(volume)}, but is specified in volumeMounts"
        raise ConfigError(text)
    return volume


def mounted(wanted: PodClaim, pod_directory: Path, around: Surroundings, ground: Ground) -> Claimed:
    """The claim's directory, noted as used by this pod. Raises `ConfigError`, and `OSError` when the disk refuses."""
    volume = claimed(wanted, around.pod, around.find)
    if not _is_reached(volume, around.find("nodes", ground.node)):
        text = f'MountVolume.NodeAffinity check failed for volume "{name_of(volume)}" : no matching NodeSelectorTerms'
        raise ConfigError(text)
    place = place_of(volume, ground)
    note_use(pod_directory, wanted.volume, place)
    return Claimed(place=place, takes_group=not map_at(volume, "spec", "hostPath"))


def _is_reached(volume: JsonObject, node: JsonObject | None) -> bool:
    """A node of which nothing is known refuses nothing."""
    required = map_at(volume, "spec", "nodeAffinity", "required")
    if not required or node is None:
        return True
    try:
        return node_selector(required).matches(labels_of(node), name_of(node))
    except BadRequestError:
        return False


def place_of(volume: JsonObject, ground: Ground) -> Path:
    """The directory itself; the gateway's own is made where it is not there. Raises `ConfigError`, `OSError`."""
    name, spec = name_of(volume), map_at(volume, "spec")
    if str_at(spec, "csi", "driver") == LOCAL:
        handle = handle_of(volume)
        if not handle or gateway_of(volume) != ground.node:
            raise ConfigError(f'volume "{name}" is a directory of {gateway_of(volume) or "no gateway"}')
        return _own(ground.kept / handle)
    if map_at(spec, "local"):
        path = Path(str_at(spec, "local", "path"))
        if not path.is_absolute() or ".." in path.parts:
            raise ConfigError(f"local: {path} is not an absolute path without ..")
        place = ground.root / path.relative_to("/")
        if not place.exists():
            raise ConfigError(f'path "{path}" does not exist')
        return place
    if map_at(spec, "hostPath"):
        return ground.host_path(map_at(spec, "hostPath"), ground.root)
    kinds = [kind for kind, value in spec.items() if isinstance(value, dict) and kind not in _NO_SOURCES]
    raise ConfigError(
        f'volume "{name}" is {", ".join(kinds) or "nothing"}: this gateway mounts csi of {LOCAL}, hostPath and local'
    )


_NO_SOURCES: Final = ("capacity", "claimRef", "nodeAffinity")


def _own(place: Path) -> Path:
    """Everybody may write, as whoever runs in the container: who gets to it is decided by the mount."""
    if not place.is_dir():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(exist_ok=True)
        place.chmod(0o777)
    return place


def note_use(pod_directory: Path, volume: str, place: Path) -> None:
    """Say that the pod uses the directory, before it does. Durable: found by whoever looks at the disk."""
    uses = pod_directory / _USES
    link = uses / volume
    if link.is_symlink() and link.readlink() == place:
        return
    uses.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(place)


def used_places(pods: Path) -> Iterator[Path]:
    """What the pods of this gateway use, those that are on their way out included."""
    for uses in pods.glob(f"*/{_USES}"):
        for link in os.scandir(uses):
            if link.is_symlink():
                yield Path(link.path).readlink()
