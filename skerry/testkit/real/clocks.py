"""A gateway's wall clock, which tests may set: a library of ours in the programs that run there.

The kernel has one wall clock for all its namespaces, so the programs are told another one by a library that is loaded
before theirs, made of wall_clock.c by the machine's compiler. Waits and monotonic clocks are left alone: Debian's
libfaketime moves them as well, and so made the agent look slow that was tried with it.

Keeps the offset in a file, which the programs have mapped: a step is seen at once; and the library beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skerry.errors import UnavailableError

SOURCE: Final = Path(__file__).with_name("wall_clock.c")
COMPILERS: Final = ("cc", "gcc", "clang")
BOOT_1970_S: Final = 60.0
"""How long after the epoch a machine without a clock of its own says that it is, when its agent starts."""
_BYTES: Final = 8


def compiler() -> str:
    """What makes the library. Raises `UnavailableError` that says what to install."""
    for name in COMPILERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise UnavailableError("a gateway's clock can't be set: there is no C compiler (apt-get install gcc libc6-dev)")


def library(place: Path) -> Path:
    """The library, at this path; made where it is not there. Raises `UnavailableError` as `compiler` does."""
    if place.exists():
        return place
    chosen = compiler()
    new = place.with_suffix(".new")
    made = subprocess.run(
        [chosen, "-shared", "-fPIC", "-O2", "-o", new, SOURCE, "-ldl"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        said = made.stderr.strip().partition("\n")[0]
        raise UnavailableError(
            f"a gateway's clock can't be set: {chosen} does not compile (apt-get install libc6-dev): {said}"
        )
    new.replace(place)
    return place


@dataclass(slots=True)
class FakedClock:
    """One gateway's, by a file that its programs read."""

    file: Path
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        self.file.write_bytes(bytes(_BYTES))
        self._write()

    @property
    def env(self) -> Mapping[str, str]:
        """For every program that should see this clock. Raises `UnavailableError` when it can't be had."""
        return {
            "LD_PRELOAD": str(library(self.file.with_name(f"{self.file.name}.so"))),
            "SKERRY_WALL_CLOCK_FILE": str(self.file),
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
        """In place: the programs have this file mapped."""
        with self.file.open("r+b", buffering=0) as file:
            file.write(round(self.offset_s * 1e9).to_bytes(_BYTES, sys.byteorder, signed=True))
