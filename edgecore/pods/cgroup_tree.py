"""The kernel's cgroups as directories: makes them with their limits, on v1 in each hierarchy, on v2 in the one; finds
what ended for want of memory; takes them away again.

Keeps nothing: cgroups outlive the agent and go with the power. The pure part is `cgroup_plan`.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecore.pods.cgroup_plan import Limits, Version, files_of

MOUNT: Final = Path("/sys/fs/cgroup")
CONTROLLERS: Final = ("cpu", "memory", "pids", "hugetlb")
"""Those in which limits are set."""
PROCESSES: Final = "cgroup.procs"


class CgroupTree:
    """See the module."""

    def __init__(self, mount: Path = MOUNT) -> None:
        self._mount = mount
        self.version: Version = 2 if (mount / "cgroup.controllers").exists() else 1
        self._places = self._found()

    def _found(self) -> dict[str, Path]:
        """Directory by controller."""
        if self.version == 2:
            return dict.fromkeys(_words(self._mount / "cgroup.controllers"), self._mount)
        # Of two controllers in one hierarchy, the names of both lead there.
        return {name: self._mount / name for name in CONTROLLERS if (self._mount / name).is_dir()}

    @property
    def fault(self) -> str:
        """Why no limits can be set here; "" where they can."""
        missing = [name for name in ("cpu", "memory") if name not in self._places]
        if missing:
            return f"the kernel has no cgroup controller {' and none '.join(missing)} below {self._mount}"
        closed = [str(place) for place in self._places.values() if not os.access(place, os.W_OK)]
        return f"cgroups may not be made in {closed[0]}" if closed else ""

    def make(self, steps: Sequence[str], limits: Limits) -> None:
        """The cgroup at these steps from the root, with these limits: anew, or changed. Raises `OSError`."""
        wanted = files_of(limits, self.version)
        for place in self._hierarchies():
            self._directory(place, steps)
        for controller, file, text in wanted:
            place = self._places.get(controller)
            if place is not None:
                _write(place.joinpath(*steps) / file, text)

    def _hierarchies(self) -> list[Path]:
        return sorted({place for name, place in self._places.items() if self.version == 2 or name in CONTROLLERS})

    def _directory(self, place: Path, steps: Sequence[str]) -> None:
        for step in steps:
            if self.version == 2:
                self._delegate(place)
            place /= step
            place.mkdir(exist_ok=True)

    def _delegate(self, place: Path) -> None:
        """What is below has these controllers as well."""
        on = _words(place / "cgroup.subtree_control")
        for name in _words(place / "cgroup.controllers"):
            if name in CONTROLLERS and name not in on:
                _write(place / "cgroup.subtree_control", f"+{name}")

    def places(self, steps: Sequence[str]) -> list[Path]:
        """The directories of one cgroup."""
        return [place.joinpath(*steps) for place in self._hierarchies()]

    def remove(self, steps: Sequence[str]) -> bool:
        """With all below, in every hierarchy there is: runtimes use more than we do. What runs in it is killed, and
        False given: it is gone a moment later."""
        roots = [self._mount]
        if self.version == 1:
            roots = [each for each in self._mount.iterdir() if each.is_dir() and not each.is_symlink()]
        gone = [_removed(root.joinpath(*steps)) for root in roots]
        return all(gone)


def _removed(place: Path) -> bool:
    if not place.is_dir():
        return True
    for folder, _, _ in os.walk(place, topdown=False):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            for pid in _words(Path(folder) / PROCESSES):
                with contextlib.suppress(ProcessLookupError, ValueError):
                    os.kill(int(pid), signal.SIGKILL)
            return False
    return True


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except FileNotFoundError:
        return []


def _write(file: Path, text: str) -> None:
    """In one write, as the kernel wants it."""
    fd = os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
