"""Parts of volumes in which containers write, mounted by the agent for runtimes that mount volumes as a whole.

The way to the part is opened step by step without following links out of it, and what is held open is mounted below
the pod's directory: the runtime gets a path in which no container can put a link (docs/decisions/0343). Keeps
nothing: mounts outlive the agent and not the boot; they go with the run that has them, or with the pod.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from edgecore.pods.env import ConfigError
from edgecore.pods.memory_volumes import libc_call, mounted_below
from edgecore.pods.port import Mount
from skerry.frozen import replace

PARTS: Final = "parts"
"""Directory of them, in that of the pod."""
_BIND: Final = 4096
"""MS_BIND (mount(2))."""
_DETACH: Final = 2


def with_parts(mounts: tuple[Mount, ...], directory: Path, name: str, attempt: int) -> tuple[Mount, ...]:
    """The same, with parts in places of their own; `directory` is the pod's. Raises `ConfigError`."""
    if not any(mount.sub_path and mount.image is None for mount in mounts):
        return mounts
    if os.geteuid() != 0:
        raise ConfigError("subPath of a volume that containers write needs an agent that runs as root")
    end_parts(directory, name, attempt)  # of a start that did not come to its end
    found: list[Mount] = []
    for index, mount in enumerate(mounts):
        if mount.sub_path and mount.image is None:
            place = directory / PARTS / name / str(attempt) / str(index)
            try:
                _bind(mount, place)
            except OSError as error:
                raise ConfigError(f"failed to prepare subPath for volumeMount {mount.sub_path!r}: {error}") from error
            mount = replace(mount, host_path=place, sub_path="")
        found.append(mount)
    return tuple(found)


def _bind(mount: Mount, place: Path) -> None:
    from edgecore.pods.runtimes.apart.beneath import beneath  # only who has such volumes needs it

    fd = beneath(str(mount.host_path), mount.sub_path)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        fault = libc_call("mount", f"/proc/self/fd/{fd}".encode(), os.fsencode(place), None, _BIND, None)
        if fault:
            raise OSError(fault, os.strerror(fault))
    finally:
        os.close(fd)


def end_parts(directory: Path, name: str, attempt: int) -> None:
    """Of one run. Nothing is removed in which something is mounted still."""
    place = directory / PARTS / name / str(attempt)
    if not place.is_dir():
        return
    for each in reversed(mounted_below(place)):
        libc_call("umount2", os.fsencode(each), _DETACH)
    for each in place.iterdir():
        try:
            if each.is_dir():
                each.rmdir()
            else:
                each.unlink()
        except OSError:
            return
    place.rmdir()
