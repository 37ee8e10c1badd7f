"""Where a run keeps its files, and how what a killed run left behind is found and taken away.

Each run has a directory `skerry-kit-…` in the system's place for temporary files, with `owner` in it: the pid and the
start of the process whose run it is. Namespaces, interfaces and processes go by themselves with their owner
(`namespaces`, `machine`). What is left after SIGKILL is the directory; and, should a machine without root have been
killed too, processes that bear the directory's name in their environment or their command.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

PREFIX: Final = "skerry-kit-"
RUN_VARIABLE: Final = "SKERRY_KIT_RUN"


def new_run() -> Path:
    """A directory for this run; first, those of runs that are gone are removed."""
    home = Path(tempfile.gettempdir())
    remove_stale(home)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
    (directory / "owner").write_text(f"{os.getpid()} {began(os.getpid())}\n")
    return directory


def remove_stale(home: Path) -> list[Path]:
    """Directories of runs whose owner is gone, and their processes. Those of other users are theirs to remove."""
    stale = [path for path in home.glob(f"{PREFIX}*") if path.stat().st_uid == os.geteuid() and _is_orphaned(path)]
    for directory in stale:
        for pid in processes_of(directory):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)
    return stale


def processes_of(run: Path) -> list[int]:
    """Processes that bear this run's name."""
    mark, name = f"{RUN_VARIABLE}={run}".encode(), os.fsencode(run) + b"/"
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                marked = mark in (entry / "environ").read_bytes().split(b"\0")
                if marked or name in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def began(pid: int) -> int:
    """When a process started, in the kernel's ticks; 0 when it is gone (proc(5), field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == b"Z" else int(fields[19])


def _is_orphaned(directory: Path) -> bool:
    try:
        pid, since = (directory / "owner").read_text().split()
    except (OSError, ValueError):
        return False  # being made, or not ours to judge
    return began(int(pid)) != int(since)
