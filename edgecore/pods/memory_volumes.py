"""Volumes in memory: emptyDir as large as the pod may use of memory, and whatever may be secret.

Keeps nothing: what is mounted is the kernel's, outlives the agent and not the boot. Whoever takes a pod's directory
away unmounts first.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Final

from edgecore.pods.env import ConfigError
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.quantity import parse_quantity

MEMORY: Final = "Memory"
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
MOUNTS: Final = Path("/proc/self/mounts")
_NOSUID_NODEV: Final = 2 | 4
"""MS_NOSUID, MS_NODEV (mount(2))."""
_DETACH: Final = 2
"""MNT_DETACH (umount(2)): also while somebody still looks into it."""


def memory_bytes_of(volume: JsonObject, pod: JsonObject, *, gateway_bytes: int) -> int:
    """The least of the gateway's memory, what the pod's containers may use of it together, and the volume's limit."""
    limits = [_bytes(str_at(each, "resources", "limits", "memory")) for each in maps_at(pod, "spec", "containers")]
    sizes = (gateway_bytes, sum(limits), _bytes(str_at(volume, "emptyDir", "sizeLimit")))
    return min((size for size in sizes if size > 0), default=0)


def _bytes(text: str) -> int:
    try:
        return parse_quantity(text).units if text else 0
    except InvalidError:
        return 0


def mount_memory(place: Path, size_bytes: int) -> None:
    """Unless it is mounted already. Raises `ConfigError` where this agent may not mount."""
    if os.path.ismount(place):
        return
    if os.geteuid() != 0:
        raise ConfigError("emptyDir.medium Memory needs an agent that runs as root")
    place.mkdir(parents=True, exist_ok=True)
    options = "mode=0777" + (f",size={size_bytes}" if size_bytes else "")
    fault = libc_call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", _NOSUID_NODEV, options.encode())
    if fault:
        raise ConfigError(f"mounting a tmpfs of {size_bytes} bytes: {os.strerror(fault)}")


def keep_off_disk(place: Path) -> bool:
    """A tmpfs there for what is secret, that is not swapped where the kernel can see to that. False where there is
    one already, where something lies there in which containers may be looking, and where this agent may not mount:
    then it stays as it is."""
    if os.geteuid() != 0 or os.path.ismount(place) or (place.is_dir() and any(place.iterdir())):
        return False
    place.mkdir(parents=True, exist_ok=True)
    for options in (b"mode=0755,noswap", b"mode=0755"):
        fault = libc_call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", _NOSUID_NODEV, options)
        if fault != errno.EINVAL:  # as kernels before 6.4 say of the first
            return not fault
    return False


def stays_on_disk(_: Path) -> bool:
    """Where nothing is mounted."""
    return False


def unmount_below(directory: Path) -> None:
    """Every volume of a pod that is mounted there, and every part of one."""
    for place in reversed(mounted_below(directory)):
        if place.relative_to(directory.resolve()).parts[0] in ("volumes", "parts"):
            libc_call("umount2", os.fsencode(place), _DETACH)


def unmount_own(directory: Path, mounts: Path = MOUNTS) -> None:
    """The volumes of a pod that are in memory and the parts of volumes, and nothing that somebody mounted in them."""
    for place in reversed(mounted_below(directory, mounts)):
        steps = place.relative_to(directory.resolve()).parts
        if (steps[0], len(steps)) in (("volumes", 2), ("parts", 4)):
            libc_call("umount2", os.fsencode(place), 0)  # refused where something is mounted in it


def mounted_below(directory: Path, mounts: Path = MOUNTS) -> list[Path]:
    """Mount points, those that hold others first (`/proc/self/mounts`, proc_pid_mounts(5))."""
    try:
        found = mount_points(mounts)
    except OSError:
        return []
    real = directory.resolve()  # as the kernel names it
    return [place for place in found if place != real and place.is_relative_to(real)]


def mount_points(mounts: Path = MOUNTS) -> list[Path]:
    """All, as the kernel names them. Raises `OSError`."""
    return [Path(os.fsdecode(_ESCAPED.sub(_plain, line.split(b" ")[1]))) for line in mounts.read_bytes().splitlines()]


def _plain(escaped: re.Match[bytes]) -> bytes:
    return bytes([int(escaped[1], 8)])


def libc_call(name: str, *arguments: object) -> int:
    """The error number of a call of libc's; 0 for none."""
    import ctypes  # a megabyte that only such volumes need

    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if getattr(libc, name)(*arguments) else 0
