"""Opens the edge store of a directory, for one agent at a time, and goes on where the file is not what it was.

A file that fails its check (`damage`) is set aside under another name and a new store is made. What is sound of its
small tables is taken over at once, and the life of its outbox goes on where that is known; what waited in it is saved
beside the running agent (`salvage`), and what can't be is told to the cloud as gaps.

Kept: `edge.lock`, held while an agent uses the directory; in it, which store that was.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from edgecore.store.damage import GONE, META_DAMAGE, DamageNote, Examined, examine, is_suspect, trust
from edgecore.store.database import FILE_NAME
from edgecore.store.port import EdgeBatch
from edgecore.store.set_aside import begin_salvage, drop_surplus, name_aside, salvage_from, set_aside
from edgecore.store.sqlite import SqliteEdgeStore, StoreSettings
from skerry.errors import DamagedError, UnavailableError
from skerry.files import unavailable
from skerry.frozen import Frozen, replace
from skerry.ports import Clock, Ids

LOG: Final = logging.getLogger(__name__)


class OpenedStore(Frozen):
    """What `open_store` gives."""

    store: SqliteEdgeStore
    set_aside: Path | None
    """Where a damaged file was moved; None when nothing was wrong."""
    damage: str
    """What was wrong with it, in SQLite's words, or `GONE`; "" when nothing was."""
    taken_over: tuple[str, ...]
    """The tables of the damaged file that were sound and that the new store has."""


def open_store(settings: StoreSettings, clock: Clock, ids: Ids) -> OpenedStore:
    """Open or make the store of this directory.

    Raises `UnavailableError` when another agent has it open, when it was written by a newer version, or when the
    directory can't be written; `StorageFullError` when there is no room for it.
    """
    try:
        settings.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(settings.directory / "edge.lock")
    except OSError as error:
        raise UnavailableError(f"opening the edge store in {settings.directory}: {error.strerror}") from error
    try:
        _drop_surplus(settings)  # room for what may have to be made anew
        opened = _known_again(_opened(settings, lock, clock, ids), lock)
        trust(settings.directory)
        if opened.set_aside is not None:
            _drop_surplus(settings)
    except BaseException:
        lock.close()
        raise
    return opened


def _known_again(opened: OpenedStore, lock: TextIO) -> OpenedStore:
    """Say it where this is another store than the last one here: an empty file, or one whose WAL is gone, is not a
    damaged one, and all that the gateway knew is gone as well. The file of the lock remembers which it was."""
    incarnation = opened.store.incarnation
    is_lost = False
    try:
        before = Path(lock.name).read_text()
        is_lost = bool(before) and before != incarnation and not opened.damage
        if is_lost:  # first: else a power cut in between keeps it secret
            opened.store.apply(EdgeBatch(meta=((META_DAMAGE, DamageNote(damage=GONE).text),)))
        if before != incarnation:
            lock.truncate(0)
            lock.write(incarnation)
            lock.flush()
    except (OSError, UnicodeDecodeError, UnavailableError) as error:
        LOG.warning("which edge store this is can't be remembered reason=%s", error)
    return replace(opened, damage=GONE) if is_lost else opened


def _drop_surplus(settings: StoreSettings) -> None:
    spare = salvage_from(settings.directory)
    drop_surplus(settings.directory, settings.free_bytes, floor=settings.budgets.free_floor, spare=spare)


def _opened(settings: StoreSettings, lock: TextIO, clock: Clock, ids: Ids) -> OpenedStore:
    path = settings.directory / FILE_NAME
    again = partial(SqliteEdgeStore, lock, settings, clock, ids, Examined())
    target = salvage_from(settings.directory)
    if target is not None and target.exists() and not path.exists():
        set_aside(path, target)  # a crash came in between
    examined = examine(path, suspect=is_suspect(settings.directory))
    damage = examined.damage
    if not damage:
        _private(path)
        try:
            store = SqliteEdgeStore(lock, settings, clock, ids, examined)
        except DamagedError as error:  # in what was not asked of
            damage = str(error)
        else:
            if target is None or not target.exists() or store.follows(target):
                return OpenedStore(store=store, set_aside=None, damage="", taken_over=())
            return _taking_over(store, target, "seen by a start that was cut short", again)
    target = name_aside(path, clock.wall_ms())
    begin_salvage(target)
    set_aside(path, target)
    _private(path)
    return _taking_over(again(), target, damage, again)


def _taking_over(
    store: SqliteEdgeStore, damaged: Path, damage: str, again: Callable[[], SqliteEdgeStore]
) -> OpenedStore:
    """Opened once more, for it goes on with the life of the damaged one."""
    try:
        taken_over = store.take_over(damaged, damage)
    finally:
        store.disconnect()
    return OpenedStore(store=again(), set_aside=damaged, damage=damage, taken_over=taken_over)


def _lock(path: Path) -> TextIO:
    """Held until closed or the process ends, however it ends."""
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UnavailableError(f"another agent uses {path.parent} (it holds {path.name})") from None
    return lock


def _private(path: Path) -> None:
    """Secrets of the cloud are in it; what SQLite keeps beside it gets the same mode. Raises `UnavailableError`."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise unavailable(path, error) from error
