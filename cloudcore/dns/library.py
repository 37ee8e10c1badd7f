"""The zones that a directory holds, read again when a file has changed.

Keeps, of each file, what it was made of (size, time of change, inode), so that a reload costs what has changed. A
file that can't be read any more keeps the zone that it was, and says so: a slip of the pen must not take a name off
the net.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cloudcore.dns.snapshot import SUFFIX as SNAPSHOT
from cloudcore.dns.snapshot import read_snapshot
from cloudcore.dns.transfer import DELTAS_MAX, Delta, delta_of
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import SUFFIX, read_zone, services_beside
from skerry.dns.names import text_of
from skerry.errors import SkerryError, UnavailableError
from skerry.frozen import Frozen


class Loaded(Frozen):
    """What a look at the directory came to."""

    zones: Mapping[bytes, Zone]
    problems: tuple[str, ...]
    """A line each, for people; of each, the zone that was there before is in `zones`."""
    changed: tuple[str, ...]
    """Zones that are new, other, or gone."""
    deltas: Mapping[bytes, tuple[Delta, ...]] = {}
    """By zone, the oldest first; each goes on where the one before it ended."""


class _Shelf(Frozen):
    stamp: tuple[int, ...]
    zone: Zone


class Library:
    """What is to be served, and what it was before."""

    def __init__(self, directory: Path | None, snapshots: Path | None = None, copies: Path | None = None) -> None:
        """Of zone files, snapshots of a cloud's zones, and copies of other servers' zones; they go in this order."""
        self._copies = copies
        self._directory = directory
        self._snapshots = snapshots
        self._shelves: dict[Path, _Shelf] = {}
        self._zones: dict[bytes, Zone] = {}
        self._deltas: dict[bytes, tuple[Delta, ...]] = {}

    def load(self) -> Loaded:
        """Raises `UnavailableError` where there is no directory to read."""
        files = _listed(self._directory, SUFFIX) if self._directory is not None else []
        paths = files + (_listed(self._snapshots, SNAPSHOT) if self._snapshots is not None else [])
        paths += _listed(self._copies, SUFFIX) if self._copies is not None else []
        before = {path: shelf.zone for path, shelf in self._shelves.items()}
        problems: list[str] = []
        for path in paths:
            try:
                self._look(path)
            except SkerryError as error:
                problems.append(f"{error}{'; what it was is served' if path in before else ''}")
        for path in set(self._shelves) - set(paths):
            del self._shelves[path]
        zones: dict[bytes, Zone] = {}
        for path in [path for path in paths if path in self._shelves]:
            zone = self._shelves[path].zone
            if zone.origin in zones:
                problems.append(f"{path}: {text_of(zone.origin)} is in another file as well, which is served")
            else:
                zones[zone.origin] = zone
        after = {path: shelf.zone for path, shelf in self._shelves.items()}
        differ = {path for path in {*before, *after} if before.get(path) is not after.get(path)}
        names = {text_of((after.get(path) or before[path]).origin) for path in differ}
        self._follow(zones)
        deltas = dict(self._deltas)
        return Loaded(zones=zones, problems=tuple(problems), changed=tuple(sorted(names)), deltas=deltas)

    def _follow(self, zones: dict[bytes, Zone]) -> None:
        """Remember what has changed. A zone that changed without another serial has no history any more: what others
        have of it can't be told apart."""
        for origin in {*self._deltas, *self._zones}:
            before, after = self._zones.get(origin), zones.get(origin)
            if before is after or before is None:
                continue
            delta = delta_of(before, after) if after is not None else None
            self._deltas[origin] = (*self._deltas.get(origin, ()), delta)[-DELTAS_MAX:] if delta is not None else ()
        self._zones = zones

    def _look(self, path: Path) -> None:
        try:
            told = path.stat()
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}") from error
        stamp = (told.st_size, told.st_mtime_ns, told.st_ino, *_stamp(services_beside(path)))
        shelf = self._shelves.get(path)
        if shelf is not None and shelf.stamp == stamp:
            return
        zone = read_snapshot(path) if path.name.endswith(SNAPSHOT) else read_zone(path)
        if shelf is not None and zone == shelf.zone:
            zone = shelf.zone
        self._shelves[path] = _Shelf(stamp=stamp, zone=zone)


def _listed(directory: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.name.endswith(suffix) and path.name[0] != ".")
    except OSError as error:
        raise UnavailableError(f"{directory}: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, ...]:
    """Of a file that need not be there."""
    try:
        told = path.stat()
    except OSError:
        return ()
    return told.st_size, told.st_mtime_ns, told.st_ino
