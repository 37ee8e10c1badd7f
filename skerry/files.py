"""Private files that are replaced as a whole: keys, certificates, what a daemon writes down for itself.

A crash at any moment leaves the file that was there or the one that comes after, never a part of one; a temporary
file `.NAME.*` may be left beside it. Keeps no data of its own.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from skerry.errors import StorageFullError, UnavailableError


def write_private(path: Path, content: bytes) -> None:
    """Replace a file (mode 0600) atomically and durably. Raises `UnavailableError`, on a full disk
    `StorageFullError`."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise unavailable(path, error) from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, after a rename. Raises `OSError`."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unavailable(path: Path, error: OSError) -> UnavailableError:
    """A failed access in our own words; a full disk is told apart."""
    if error.errno == errno.ENOSPC:
        return StorageFullError(f"no room to write {path}")
    return UnavailableError(f"{path}: {error.strerror or error}")
