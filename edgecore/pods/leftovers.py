"""Directories of pods that nobody knows any more: of a power cut between a pod's end and their removal.

Keeps nothing. Looked for once in an agent's life, when the store is known to equal the cloud's view: in a store that
was lost every pod is unknown, and what they wrote is wanted.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

from edgecore.pods.memory_volumes import MOUNTS, mount_points, unmount_own
from edgecore.pods.parts import POD_LOGS

log = logging.getLogger(__name__)


def remove_leftovers(directory: Path, known: Container[str], mounts: Path = MOUNTS) -> int:
    """Remove volumes and logs of all pods but those `known` by uid; how many directories that were. One in which
    something is mounted that is not ours stays: what is there may be somebody's."""
    removed = 0
    for uid, place in _places(directory):
        if uid in known:
            continue
        unmount_own(place, mounts)
        if any(mount.is_relative_to(place.resolve()) for mount in mount_points(mounts)):
            continue
        shutil.rmtree(place, ignore_errors=True)
        log.info("directory of an unknown pod removed path=%s", place)
        removed += 1
    return removed


def _places(directory: Path) -> Iterator[tuple[str, Path]]:
    """Uid and directory."""
    for parent, of_logs in ((directory / "pods", False), (directory / POD_LOGS, True)):
        for place in parent.iterdir() if parent.is_dir() else ():
            if place.is_dir() and not place.is_symlink() and (not of_logs or place.name.count("_") == 2):
                yield place.name.rsplit("_", 1)[-1], place
