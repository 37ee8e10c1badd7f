"""The directory of static pods, looked at again and again: what its files say is what runs.

What a file said last that made sense is kept in `DATA/static-pods.json`: a file that was half written when the power
went, or that somebody is editing, ends no pod. A crash leaves that file as it was or as it is to be.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from edgecore.pods.static.manifest import (
    FILE_BYTES_MAX,
    Place,
    StaticPod,
    decode_kept,
    encode_kept,
    read_static_pod,
)
from edgecore.pods.static.shape import structs
from skerry.errors import InvalidError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.json import decode_object, encode_object
from skerry.objects.meta import Key
from skerry.ports import Clock

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
FILES_MAX: Final = 110
"""As many pods as a node may have."""


class Fault(Frozen):
    """Something about a file that somebody has to see to."""

    file: str
    why: str
    """Names the field, where it is about one."""


class _Mark(NamedTuple):
    """Changes when a file does."""

    inode: int
    size: int
    changed_ns: int
    created_ns: int


class StaticPods:
    """See the module. Read once when it is made; run `run` in a task group."""

    def __init__(self, directory: Path | None, kept: Path, *, node: str, clock: Clock) -> None:
        """`directory`, or a single file; None: there are no static pods. Raises nothing for what is in it."""
        self._directory = directory
        self._kept = kept
        self._node = node
        self._clock = clock
        self._marks: dict[str, _Mark] = {}
        """Of files as they were read."""
        self._coming: dict[str, _Mark] = {}
        """Of files that looked otherwise at the last look: they are read when they stay so."""
        self._by_file: dict[str, StaticPod] = {}
        self._wrong: dict[str, str] = {}
        """Why a file makes no pod, or none but the one that it made before."""
        self._pods: dict[Key, StaticPod] = {}
        self._faults: dict[str, Fault] = {}
        self._fault = ""
        """Why the directory can't be looked at; "" where it can."""
        self._listeners: list[Callable[[frozenset[Key]], None]] = []
        self._last_good = self._remembered()
        self._look(at_once=True)

    @property
    def pods(self) -> Mapping[Key, StaticPod]:
        """What is to run."""
        return self._pods

    @property
    def faults(self) -> tuple[Fault, ...]:
        """By name of the file; of the directory first."""
        whole = (Fault(file=str(self._directory), why=self._fault),) if self._fault else ()
        return whole + tuple(self._faults[file] for file in sorted(self._faults))

    def listen(self, changed: Callable[[frozenset[Key]], None]) -> Callable[[], None]:
        """Told which pods came, went or are other ones now, and (of none) when other files are wrong. The result ends
        it."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            faults = self.faults
            changed = self._look(at_once=False)
            if changed or self.faults != faults:
                for listener in (*self._listeners,):
                    listener(changed)

    # --- looking ---

    def _look(self, *, at_once: bool) -> frozenset[Key]:
        """One look; what it changed. `at_once`: nobody writes now who is not done within a power cut."""
        marks = self._list()
        if marks is None:
            return frozenset()
        before = self._pods
        self._by_file = {file: pod for file, pod in self._by_file.items() if file in marks}
        self._wrong = {file: why for file, why in self._wrong.items() if file in marks}
        fresh = {file: mark for file, mark in marks.items() if self._marks.get(file) != mark}
        due = fresh if at_once else {file: mark for file, mark in fresh.items() if self._coming.get(file) == mark}
        self._coming = fresh
        if due:
            self._read(due)
        self._marks = {file: mark for file, mark in self._marks.items() if file in marks} | due
        self._pods, faults = self._sorted_out()
        self._keep()
        self._tell(faults)
        return frozenset(
            key for key in before.keys() | self._pods.keys() if _uid(before.get(key)) != _uid(self._pods.get(key))
        )

    def _list(self) -> dict[str, _Mark] | None:
        """The files that count; None where that can't be known now."""
        if self._directory is None:
            return {}
        try:
            paths = sorted(self._directory.iterdir()) if self._directory.is_dir() else [self._directory]
            found: dict[str, _Mark] = {}
            for path in paths:
                if path.name.startswith("."):
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue  # it went meanwhile, or is a link to nowhere
                if stat.S_ISREG(status.st_mode):
                    found[path.name] = _Mark(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            self._fault = ""
        except OSError as error:
            if str(error) != self._fault:
                log.warning("static pods can't be looked for path=%s reason=%s", self._directory, error)
            self._fault = str(error)
            return None
        return found

    def _read(self, due: Mapping[str, _Mark]) -> None:
        known = structs()
        for file in sorted(due):
            assert self._directory is not None, "nothing is due without one"
            path = self._directory / file if self._directory.is_dir() else self._directory
            try:
                self._by_file[file] = read_static_pod(file, self._content(path), self._place(path), known)
            except (InvalidError, OSError) as error:
                self._wrong[file] = str(error) if isinstance(error, InvalidError) else f"it can't be read: {error}"
                former = self._by_file.get(file) or self._last_good.get(file)
                if former is not None:
                    self._by_file[file] = former
            else:
                self._wrong.pop(file, None)

    def _content(self, path: Path) -> bytes:
        with path.open("rb") as opened:
            if stat.S_IMODE(path.stat().st_mode) & stat.S_IWOTH:
                raise InvalidError("everybody may write it, and whoever does is root: chmod o-w")
            return opened.read(FILE_BYTES_MAX + 1)

    def _place(self, path: Path) -> Place:
        return Place(node=self._node, path=str(path.absolute()), seen_ms=self._clock.wall_ms())

    def _sorted_out(self) -> tuple[dict[Key, StaticPod], dict[str, Fault]]:
        """By name, and what is wrong by file. Of two files that name one pod the first counts."""
        found: dict[Key, StaticPod] = {}
        wrong = dict(self._wrong)
        for file in sorted(self._by_file):
            pod = self._by_file[file]
            if pod.key in found:
                why = f"metadata.name: the pod {pod.key.namespace}/{pod.key.name} is that of {found[pod.key].file}"
                wrong.setdefault(file, why)
            elif len(found) >= FILES_MAX:
                wrong.setdefault(file, f"there are {FILES_MAX} static pods already")
            else:
                found[pod.key] = pod
                if file in wrong:
                    wrong[file] += "; what it said before goes on"
                elif pod.unknown:
                    wrong[file] = f"{', '.join(pod.unknown)}: unknown, and left out"
        return found, {file: Fault(file=file, why=why) for file, why in wrong.items()}

    def _tell(self, faults: dict[str, Fault]) -> None:
        before, self._faults = self._faults, faults
        for file, fault in sorted(faults.items()):
            if before.get(file) != fault:
                log.warning("static pod file=%s reason=%s", file, fault.why)
        for file in sorted(before.keys() - faults.keys()):
            log.info("static pod is in order now, or gone file=%s", file)

    # --- what is kept ---

    def _remembered(self) -> dict[str, StaticPod]:
        try:
            return decode_kept(decode_object(self._kept.read_bytes()), self._node)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AssertionError) as error:
            log.warning("what static pods said last can't be read and is forgotten error=%s", error)
            return {}

    def _keep(self) -> None:
        if {file: pod.uid for file, pod in self._by_file.items()} == {
            file: pod.uid for file, pod in self._last_good.items()
        }:
            return
        try:
            rows = [self._by_file[file] for file in sorted(self._by_file)]
            write_private(self._kept, encode_object(encode_kept(rows)))
        except UnavailableError as error:
            log.warning("what static pods say can't be kept error=%s", error)
            return
        self._last_good = dict(self._by_file)


def _uid(pod: StaticPod | None) -> str:
    return "" if pod is None else pod.uid
