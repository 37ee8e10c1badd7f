"""Damaged stores that are set aside, for people to look at: a few, and only while the disk has room for them.

Files `NAME.damaged-MILLISECONDS`, and what SQLite keeps beside each. A card that damages its store once a month
would otherwise fill itself with copies. A crash between two deletions leaves the rest to the next start.
`edge.salvage` names the one whose outbox is being saved (`salvage`), from before it is set aside until that is done.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from skerry.errors import UnavailableError
from skerry.files import write_private

LOG: Final = logging.getLogger(__name__)

KEPT: Final = 2
META_SALVAGE: Final = "outbox_salvage"
"""Name in `meta`: how far the salvage of a damaged outbox is (`Salvage.text`)."""
_NAME: Final = re.compile(r".+\.damaged-(\d+)(-wal|-shm)?")


def name_aside(path: Path, wall_ms: int) -> Path:
    """What the file is to be called."""
    return path.with_name(f"{path.name}.damaged-{wall_ms}")


def set_aside(path: Path, target: Path) -> None:
    """Move the file and what SQLite keeps beside it, for people to look at. Again after a crash: what is left."""
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))


def drop_surplus(directory: Path, free_bytes: Callable[[Path], int], *, floor: int, spare: Path | None) -> None:
    """Keep the newest ones, and of these only as many as leave that much free on the disk; and the spared one. What
    can't be deleted stays: it is in nobody's way but room's."""
    found: dict[int, list[Path]] = {}
    for path in directory.iterdir():
        if (name := _NAME.fullmatch(path.name)) is not None:
            found.setdefault(int(name[1]), []).append(path)
    for place, at_ms in enumerate(sorted(found), start=1):
        if place > len(found) - KEPT and free_bytes(directory) >= floor:
            return
        if spare in found[at_ms]:
            continue
        try:
            for path in found[at_ms]:
                path.unlink()
        except OSError as error:
            LOG.warning("a damaged store can't be dropped path=%s reason=%s", found[at_ms][0], error.strerror)
            return
        LOG.warning("a damaged store that was set aside is dropped path=%s", min(found[at_ms]))


# --- what is saved of one ---


def salvage_from(directory: Path) -> Path | None:
    """The file that is being salvaged; None for none."""
    try:
        name = _mark(directory).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return directory / name if name and "/" not in name else None


def begin_salvage(target: Path) -> None:
    """Before a damaged file gets this name. Where there is no room to note it, only a crash right then loses it."""
    with suppress(UnavailableError):
        write_private(_mark(target.parent), f"{target.name}\n".encode())


def end_salvage(directory: Path) -> None:
    """All is brought over."""
    _mark(directory).unlink(missing_ok=True)


def _mark(directory: Path) -> Path:
    return directory / "edge.salvage"
