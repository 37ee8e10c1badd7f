"""What went through a pod's network, as the kernel counts it for a process of that network. Keeps nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

COUNTERS_BYTES_MAX: Final = 256 * 1024


def read_network(pid: int) -> tuple[int, int]:
    """Bytes received and sent over all interfaces but loopback; (0, 0) when the process is gone."""
    try:
        with Path(f"/proc/{pid}/net/dev").open(encoding="utf-8", errors="replace") as file:
            return counted(file.read(COUNTERS_BYTES_MAX))
    except OSError:
        return 0, 0


def counted(table: str) -> tuple[int, int]:
    """The sums of such a table (proc(5), /proc/net/dev)."""
    received = sent = 0
    for line in table.splitlines()[2:]:
        name, sign, rest = line.partition(":")
        fields = rest.split()
        if sign and name.strip() != "lo" and len(fields) >= 9:
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent
