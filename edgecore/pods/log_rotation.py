"""Keeps the logs of containers within their bounds: renames one that has grown too large, has its runtime open a new
one, compresses older ones, removes the oldest. As a kubelet does it (`containerLogMaxSize`, `containerLogMaxFiles`).

A runtime that rotates by itself is left to it, but for the compression. Keeps nothing. A crash at any point leaves
files that are read in their order: one that was renamed and not opened anew is opened at the next look, a compression
that was cut is made again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgecore.pods.log_files import COMPRESSED, UNFINISHED, remove_quietly, rotated_files, rotated_name
from edgecore.pods.port import ContainerState, Runtime
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.frozen import Frozen
from skerry.ports import Clock

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
"""A kubelet's containerLogMonitorInterval."""
LEVEL: Final = 6
"""Of the compression: gzip's own default."""
BLOCK_BYTES: Final = 64 * 1024


class RotationSettings(Frozen):
    """How much is kept of each container's log."""

    bytes_max: int = 10 << 20
    """A kubelet's default: containerLogMaxSize."""
    files_max: int = 5
    """A kubelet's default: containerLogMaxFiles. With the one that is written."""


class LogRotation:
    """Run `run` in a task group."""

    def __init__(self, runtime: Runtime, directory: Path, clock: Clock, settings: RotationSettings) -> None:
        """`directory`: of all logs, `NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log` below it."""
        self._runtime = runtime
        self._directory = directory
        self._clock = clock
        self._settings = settings
        self._faults: set[Path] = set()
        """Said already of these logs, that they can't be kept within their bounds."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except (UnavailableError, OSError) as error:
                log.warning("logs are not looked at reason=%s", error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once. Raises `UnavailableError`, `OSError`."""
        for place in list(_places(self._directory)):
            try:
                if not self._runtime.abilities.rotates_logs:
                    await self._rotate(place)
                for path in _compressible(place):
                    await asyncio.to_thread(compress, path)
                self._faults.discard(place)
            except (InvalidError, OSError) as error:
                if place not in self._faults:
                    log.warning("logs are not rotated directory=%s reason=%s", place, error)
                self._faults.add(place)

    async def _rotate(self, place: Path) -> None:
        """Of one container: a log that is too large, and one that is not there."""
        logs = list(_logs(place))
        grown = [path for path in logs if _size(path) >= self._settings.bytes_max]
        if logs and not grown:
            return
        uid = place.parent.name.rpartition("_")[2]
        for state in await self._runtime.list(uid):
            path = place / f"{state.attempt}.log"
            if state.name != place.name or state.phase != "running":
                continue
            if path in grown:
                await self._renew(path, state)
            elif not path.exists():
                # Renamed by an agent that ended then, or removed by somebody who needed room.
                await self._reopen(state)

    async def _renew(self, path: Path, state: ContainerState) -> None:
        older = rotated_name(path, self._clock.wall_ms())
        os.rename(path, older)  # noqa: PTH104 - at once, as the runtime is to be told at once
        try:
            await self._reopen(state)
        except (InvalidError, UnavailableError):
            _take_back(path, older)
            raise
        kept = max(self._settings.files_max - 1, 0)
        rotated = rotated_files(path)
        for old in rotated[: len(rotated) - kept]:
            remove_quietly(old)

    async def _reopen(self, state: ContainerState) -> None:
        try:
            await self._runtime.reopen_log(state.id)
        except NotFoundError:
            return  # it has ended meanwhile: nothing is written any more


def _take_back(path: Path, older: Path) -> None:
    if not path.exists():
        older.rename(path)


def _places(directory: Path) -> Iterator[Path]:
    """The directories of containers."""
    for pod in _directories(directory):
        yield from _directories(pod)


def _directories(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _logs(place: Path) -> Iterator[Path]:
    with os.scandir(place) as entries:
        yield from (Path(entry.path) for entry in entries if entry.name.endswith(".log"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _compressible(place: Path) -> list[Path]:
    """Rotated files but the newest of each log, from which somebody may still be reading what was written last."""
    try:
        names = [entry.name for entry in place.iterdir()]
    except FileNotFoundError:
        return []
    logs = {name.partition(".log.")[0] for name in names if ".log." in name}
    return [
        path
        for number in sorted(logs)
        for path in rotated_files(place / f"{number}.log")[:-1]
        if path.suffix != COMPRESSED
    ]


def compress(path: Path) -> None:
    """In its place comes `path` with `.gz`, whole or not at all."""
    import gzip  # only who has much to say pays

    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with path.open("rb") as source, unfinished.open("wb") as target:
            with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=LEVEL, filename="", mtime=0) as packed:
                shutil.copyfileobj(source, packed, BLOCK_BYTES)
            target.flush()
            os.fsync(target.fileno())
            os.fchmod(target.fileno(), os.fstat(source.fileno()).st_mode & 0o777)
        unfinished.rename(path.with_name(path.name + COMPRESSED))
    except FileNotFoundError:
        return  # removed as the oldest, or with its pod, meanwhile
    except OSError:
        remove_quietly(unfinished)
        raise
    remove_quietly(path)
