"""How many processes and threads a container has, as its cgroup counts them, version 1 or 2. Keeps nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")


def read_pids(pid: int, proc: Path = Path("/proc"), cgroups: Path = CGROUPS) -> int:
    """Of the container whose process that is; 0 where nothing counts them, or it is gone."""
    if not pid:
        return 0
    try:
        place = pids_place((proc / str(pid) / "cgroup").read_text())
        return int((cgroups / place / "pids.current").read_text())
    except (OSError, ValueError):
        return 0


def pids_place(table: str) -> str:
    """Below the cgroups, by a process's table of them (cgroups(7), /proc/PID/cgroup)."""
    found = ""
    for line in table.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "pids" in controllers.split(","):
            return f"pids{path}"
        if number == "0" and not controllers:
            found = path.lstrip("/")
    return found
