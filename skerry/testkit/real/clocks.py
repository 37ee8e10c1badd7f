"""A gateway's wall clock, which tests may set: libfaketime in the programs that run there.

The kernel has one wall clock for all its namespaces, so the programs are told another one by a library loaded before
theirs. It reads the offset from a file once a second; a step is seen within that. Monotonic clocks are left alone.
Keeps the offset in that file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skerry.errors import UnavailableError

LIBRARIES: Final = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
BOOT_1970_S: Final = 60.0
"""How long after the epoch a machine without a clock of its own says that it is, when its agent starts."""


def library() -> Path:
    """Raises `UnavailableError` that says what to install."""
    for pattern in LIBRARIES:
        for found in sorted(Path("/").glob(pattern.lstrip("/"))):
            return found
    raise UnavailableError(
        "a gateway's clock can't be set: libfaketime is not installed (apt-get install libfaketime)"
    )


@dataclass(slots=True)
class FakedClock:
    """One gateway's, by a file that its programs read."""

    file: Path
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        self._write()

    @property
    def env(self) -> Mapping[str, str]:
        """For every program that should see this clock. Raises `UnavailableError` when it can't be had."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    @property
    def wall_ms(self) -> int:
        """What the gateway's clock says now."""
        return round((time.time() + self.offset_s) * 1000)

    def step(self, seconds: float) -> None:
        """Set it forward, or back when negative."""
        self.offset_s += seconds
        self._write()

    def forget(self) -> None:
        """As a machine without a battery: at its boot it says 1970."""
        self.offset_s = BOOT_1970_S - time.time()
        self._write()

    def _write(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.offset_s:+.3f}s\n")
        new.replace(self.file)
