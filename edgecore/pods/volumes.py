"""Volumes of a pod as directories of the gateway, kept up to date while the pod runs.

ConfigMaps, Secrets, projected and downward API volumes are written as the kubelet's atomic writer does: files in a
directory of their own, which a `..data` link names; changing the link changes all files at once. They are below
`DIR/pods/UID/volumes`; a crash leaves the old or the new set, and at worst a directory that no link names, which the
next write removes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from edgecore.pods.claims import Ground, mounted
from edgecore.pods.env import (
    ConfigError,
    Surroundings,
    data_of,
    environment,
    expand,
    field_value,
    not_found,
    resource_value,
)
from edgecore.pods.memory_volumes import MEMORY, memory_bytes_of, mount_memory, stays_on_disk
from edgecore.pods.port import ImageMount, Mount
from skerry.errors import AwaitedError, BadRequestError, UnansweredError, UnavailableError
from skerry.files import unavailable
from skerry.frozen import Frozen
from skerry.objects.enrolment import TRUST_FIELD
from skerry.objects.json import JsonObject, bool_at, dig, int_at, map_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.trust_bundles import anchors_of, picked
from skerry.objects.volumes import pod_claims

_MODE: Final = 0o644
_MOUNTED_BY_DEFAULT: Final = "kube-api-access-"
"""How the names of volumes begin that admission gives to pods which do not opt out."""
_TOKEN_S: Final = 3600
"""As the API fills it in."""


class File(Frozen, kw_only=False):
    """One file of a written volume."""

    content: bytes
    mode: int


def files_of(volume: JsonObject, around: Surroundings) -> dict[str, File] | None:
    """The files of a written volume by relative path; None for a volume that is not written (emptyDir, hostPath).

    Raises `ConfigError` for what is not there and not optional.
    """
    for kind in ("configMap", "secret", "downwardAPI"):
        if isinstance(volume.get(kind), dict):
            source = map_at(volume, kind)
            return _source_files(kind, source, int_at(source, "defaultMode", default=_MODE), around)
    if not isinstance(volume.get("projected"), dict):
        return None
    files: dict[str, File] = {}
    default_mode = int_at(volume, "projected", "defaultMode", default=_MODE)
    for source in maps_at(volume, "projected", "sources"):
        for kind in ("configMap", "secret", "downwardAPI"):
            if isinstance(source.get(kind), dict):
                files |= _source_files(kind, map_at(source, kind), default_mode, around)
        if isinstance(source.get("clusterTrustBundle"), dict):
            projection = map_at(source, "clusterTrustBundle")
            files[_relative(str_at(projection, "path"))] = File(_anchors(projection, around), default_mode)
        if isinstance(source.get("serviceAccountToken"), dict):
            token = map_at(source, "serviceAccountToken")
            found = _token(token, around, str_at(volume, "name"))
            if found is not None:
                files[_relative(str_at(token, "path"))] = File(found, default_mode)
    return files


def _anchors(projection: JsonObject, around: Surroundings) -> bytes:
    """Of a bundle by its name, or of all of a signer that the labels pick."""
    name, optional = str_at(projection, "name"), bool_at(projection, "optional")
    bundles = around.bundles()
    if name:
        found = [each for each in bundles if name_of(each) == name]
        missing = f'clustertrustbundle "{name}" not found'
    else:
        try:
            found = picked(projection, bundles)
        except BadRequestError as error:
            raise ConfigError(f"while parsing label selector: {error}") from error
        missing = "combination of signerName and labelSelector matched zero ClusterTrustBundles"
    if not found and not optional:
        raise ConfigError(missing)
    return anchors_of(found)


def _token(source: JsonObject, around: Surroundings, volume: str) -> bytes | None:
    """None: it comes later. What every pod finds mounted and few read holds up no pod while nobody can be asked
    (docs/decisions/0351)."""
    seconds = int_at(source, "expirationSeconds", default=_TOKEN_S)
    try:
        return around.tokens(around.pod, str_at(source, "audience"), seconds).encode()
    except UnansweredError as error:
        if volume.startswith(_MOUNTED_BY_DEFAULT):
            return None
        raise ConfigError(str(error)) from error
    except AwaitedError:
        raise
    except UnavailableError as error:
        raise ConfigError(str(error)) from error


def _source_files(kind: str, source: JsonObject, mode: int, around: Surroundings) -> dict[str, File]:
    if kind == "downwardAPI":
        return {_relative(str_at(item, "path")): _downward(item, mode, around) for item in maps_at(source, "items")}
    resource = "configmaps" if kind == "configMap" else "secrets"
    name = str_at(source, "name") or str_at(source, "secretName")
    found = around.find(resource, name)
    optional = bool_at(source, "optional")
    if found is None:
        if optional:
            return {}
        raise ConfigError(not_found(resource, name))
    data = data_of(resource, found)
    items = maps_at(source, "items")
    if not items:
        return {key: File(content, mode) for key, content in data.items()}
    files: dict[str, File] = {}
    for item in items:
        key = str_at(item, "key")
        if key in data:
            files[_relative(str_at(item, "path"))] = File(data[key], int_at(item, "mode", default=mode))
        elif not optional:
            raise ConfigError(f"references non-existent {'config' if kind == 'configMap' else 'secret'} key: {key}")
    return files


def _downward(item: JsonObject, mode: int, around: Surroundings) -> File:
    ref = map_at(item, "resourceFieldRef")
    text = resource_value(ref, {}, around) if ref else field_value(str_at(item, "fieldRef", "fieldPath"), around)
    return File(text.encode(), int_at(item, "mode", default=mode))


def _relative(path: str) -> str:
    """Below the volume and nowhere else. Admission says so too, but what writes files checks for itself."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or pure.parts[0].startswith(".."):
        raise ConfigError(f"not a path inside a volume: {path!r}")
    return str(pure)


def with_authority(trust: JsonObject, pem: str) -> JsonObject:
    """The ConfigMap by which pods know the API, knowing this gateway's own as well."""
    text = str_at(trust, "data", TRUST_FIELD)
    if not pem or not text:
        return trust
    return {**trust, "data": {**map_at(trust, "data"), TRUST_FIELD: f"{text.rstrip()}\n{pem}"}}


def private_pods(directory: Path) -> Path:
    """Where the volumes of all pods are, for the agent's eyes alone: Secrets are in it, and containers see their
    volumes through mounts of their own. Raises `UnavailableError`."""
    place = directory / "pods"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.chmod(0o700)
    except OSError as error:
        raise unavailable(place, error) from error
    return place


class Ways(Frozen):
    """How volumes are had of this gateway."""

    kept: Path
    """What outlives pods is below it."""
    root: Path = Path("/")
    """Where the paths of hostPath volumes begin."""
    off_disk: Callable[[Path], bool] = stays_on_disk
    """Puts an empty directory, made or not, into memory; False where it stays as it is."""


_SECRET_KINDS: Final = ("secret", "projected", "downwardAPI")
"""Those that a kubelet keeps in memory."""


def sync_volumes(directory: Path, around: Surroundings, ways: Ways) -> dict[str, Path]:
    """Make all volumes of the pod, and bring the written ones up to date: their places by volume name. `directory` is
    the pod's own, in one that is there (`private_pods`).

    Raises `ConfigError` naming the volume; `OSError` when the disk refuses; `AwaitedError` while a token is asked
    for.
    """
    places: dict[str, Path] = {}
    group = dig(around.pod, "spec", "securityContext", "fsGroup")
    ground = Ground(node=around.node.name, kept=ways.kept, root=ways.root, host_path=_host_path)
    claims = {claim.volume: claim for claim in pod_claims(around.pod)}
    for volume in maps_at(around.pod, "spec", "volumes"):
        name = str_at(volume, "name")
        if isinstance(volume.get("image"), dict):
            continue  # the runtime's
        try:
            if isinstance(volume.get("hostPath"), dict):
                places[name] = _host_path(map_at(volume, "hostPath"), ways.root)
                continue
            if name in claims:
                found = mounted(claims[name], directory, around, ground)
                _give(found.place, group if found.takes_group else None, 0o2770)
                places[name] = found.place
                continue
            place = directory / "volumes" / name
            files = files_of(volume, around)
            if str_at(volume, "emptyDir", "medium") == MEMORY and not os.path.ismount(place):
                size = memory_bytes_of(volume, around.pod, gateway_bytes=around.node.memory_bytes)
                mount_memory(place, size)
                _give(place, group, 0o2770)
        except ConfigError as error:
            raise ConfigError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        directory.mkdir(exist_ok=True)
        is_new = not place.exists()
        is_secret = any(isinstance(volume.get(kind), dict) for kind in _SECRET_KINDS)
        if (is_secret and ways.off_disk(place)) or is_new:
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777 if files is None else 0o755)
            _give(place, group, 0o2770)
        if files is not None:
            write_files(place, files, group if isinstance(group, int) else None)
        places[name] = place
    return places


def _give(place: Path, group: object, extra: int) -> None:
    """fsGroup: the group owns it and may do what `extra` says. Only root can give; else everything is the agent's."""
    if isinstance(group, int) and os.geteuid() == 0:
        os.chown(place, -1, group)
        place.chmod(stat.S_IMODE(place.stat().st_mode) | extra)


def write_files(place: Path, files: Mapping[str, File], group: int | None = None) -> bool:
    """Make the volume hold exactly these files, at once. False when it did already."""
    link = place / "..data"
    if link.is_symlink() and _holds(link, files):
        return False
    number = 0
    while (place / f"..{number}").exists():
        number += 1
    new = place / f"..{number}"
    new.mkdir()
    new.chmod(0o755)
    for path, file in files.items():
        target = new / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
        _give(target, group, 0o440)
    step = place / "..data_tmp"
    step.unlink(missing_ok=True)
    step.symlink_to(new.name)
    step.rename(link)
    _show(place, {PurePosixPath(path).parts[0] for path in files})
    for other in place.glob("..*"):
        if other.name != new.name and other.is_dir() and not other.is_symlink():
            shutil.rmtree(other, ignore_errors=True)
    return True


def _holds(link: Path, files: Mapping[str, File]) -> bool:
    there = {str(path.relative_to(link)): path for path in link.rglob("*") if path.is_file()}
    return there.keys() == files.keys() and all(
        path.read_bytes() == files[name].content
        and stat.S_IMODE(path.stat().st_mode) & ~0o440 == files[name].mode & ~0o440
        for name, path in there.items()
    )


def _show(place: Path, names: set[str]) -> None:
    """The names that a container sees, each a link through `..data`."""
    for name in names:
        if not (place / name).is_symlink():
            (place / name).symlink_to(f"..data/{name}")
    for entry in place.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            with contextlib.suppress(FileNotFoundError):
                entry.unlink()


_CHECKS: Final[Mapping[str, tuple[Callable[[int], bool], str]]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def _host_path(source: JsonObject, root: Path) -> Path:
    path, kind = Path(str_at(source, "path")), str_at(source, "type")
    if not path.is_absolute() or ".." in path.parts:
        raise ConfigError(f"hostPath: {path} is not an absolute path without ..")
    path = root / path.relative_to("/")
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    if not path.exists():
        raise ConfigError(f"hostPath type check failed: {path} does not exist")
    if kind in _CHECKS:
        check, noun = _CHECKS[kind]
        if not check(path.stat().st_mode):
            raise ConfigError(f"hostPath type check failed: {path} is not {noun}")
    return path


_REFERENCE: Final = re.compile(r"\$\([^)]*\)")
_WRITABLE: Final = ("emptyDir", "hostPath", "persistentVolumeClaim", "ephemeral")


def mounts_of(
    container: JsonObject,
    around: Surroundings,
    places: Mapping[str, Path],
    images: Mapping[str, ImageMount] | None = None,
) -> tuple[Mount, ...]:
    """Where a container sees its volumes. Written volumes are read-only, as a kubelet mounts them. `images`: what is
    mounted for volumes that are images, by their names; None: there are none."""
    writable = _writable_volumes(around.pod)
    read_only = {claim.volume for claim in pod_claims(around.pod) if claim.read_only}
    mounts: list[Mount] = []
    for mount in maps_at(container, "volumeMounts"):
        name = str_at(mount, "name")
        if images and name in images:
            mounts.append(_image_mount(mount, container, around, images[name]))
            continue
        if name not in places:
            raise ConfigError(f'volume "{name}" of {namespace_of(around.pod)} is not in spec.volumes')
        part = _part_of(mount, container, around)
        is_written = name not in writable
        mounts.append(
            Mount(
                host_path=_within(places[name], part) if is_written and part else places[name],
                container_path=_mount_path(str_at(mount, "mountPath")),
                read_only=is_written or name in read_only or bool_at(mount, "readOnly"),
                propagation=_propagation(str_at(mount, "mountPropagation")),
                sub_path="" if is_written else part,
            )
        )
    return tuple(mounts)


def _image_mount(mount: JsonObject, container: JsonObject, around: Surroundings, image: ImageMount) -> Mount:
    return Mount(
        host_path=Path("/"),
        container_path=_mount_path(str_at(mount, "mountPath")),
        read_only=True,
        sub_path=_part_of(mount, container, around),
        image=image,
    )


def _writable_volumes(pod: JsonObject) -> set[str]:
    return {
        str_at(volume, "name")
        for volume in maps_at(pod, "spec", "volumes")
        if any(isinstance(volume.get(kind), dict) for kind in _WRITABLE)
    }


def leads_into_the_writable(pod: JsonObject, mount: JsonObject) -> bool:
    """It shows a part of a volume in which containers may write."""
    is_part = bool(str_at(mount, "subPath") or str_at(mount, "subPathExpr"))
    return is_part and str_at(mount, "name") in _writable_volumes(pod)


def _part_of(mount: JsonObject, container: JsonObject, around: Surroundings) -> str:
    """What of the volume is mounted; "" for all."""
    expression = str_at(mount, "subPathExpr")
    path = str_at(mount, "subPath")
    if expression:
        variables = dict(environment(container, around))
        path = expand(expression, variables)
        if _REFERENCE.search(path):
            raise ConfigError(f"subPathExpr {expression!r} names a variable that the container has not")
    if not path:
        return ""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\n" in path or "\0" in path:
        raise ConfigError(f"subPath {path!r} is not a path inside its volume")
    return "" if str(pure) == "." else str(pure)


def _within(place: Path, part: str) -> Path:
    """A file of a volume that only the agent writes, behind the links of its writer."""
    found = (place / part).resolve()
    if not found.exists() or not found.is_relative_to(place.resolve()):
        raise ConfigError(f"failed to prepare subPath: the volume has no {part!r}")
    return found


def _propagation(said: str) -> Literal["private", "host_to_container", "bidirectional"]:
    match said:
        case "HostToContainer":
            return "host_to_container"
        case "Bidirectional":
            return "bidirectional"
        case _:
            return "private"


def _mount_path(path: str) -> str:
    pure = PurePosixPath("/", path)
    if ".." in pure.parts or str(pure) == "/" or "\n" in path:
        raise ConfigError(f"mountPath {path!r} can't be a mount point")
    return str(pure)
