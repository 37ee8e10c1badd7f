"""The real forms of the `Clock` and `Ids` ports."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from pathlib import Path
from typing import Final

SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' generateName alphabet: no vowels, so no words; no 0, 1 and 3, which are misread."""


_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_UPTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime_s() -> float:
    """Seconds since the machine started, those in which it was suspended among them where the system counts those:
    CLOCK_MONOTONIC of Linux leaves them out, and a gateway that sleeps at night would date what waited too young,
    and begin commands whose time is over. Timers of the event loop do leave them out: they go off late, never early.
    """
    return time.clock_gettime(_UPTIME)


def boot_id() -> str:
    """Another one with each boot of the machine: what `uptime_s` said is worth nothing under another. "" where the
    system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return uptime_s()


class SystemIds:
    """The machine's randomness."""

    def uid(self) -> str:
        return str(uuid.uuid4())

    def token_hex(self, n_bytes: int) -> str:
        return secrets.token_hex(n_bytes)

    def suffix(self, length: int) -> str:
        return "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(length))

    def unit(self) -> float:
        return secrets.SystemRandom().random()


class SeededIds:
    """The same, from a seed: for simulations and tests."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose, never used for secrets

    def uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token_hex(self, n_bytes: int) -> str:
        return self._random.randbytes(n_bytes).hex()

    def suffix(self, length: int) -> str:
        return "".join(self._random.choice(SUFFIX_ALPHABET) for _ in range(length))

    def unit(self) -> float:
        return self._random.random()


class ManualClock:
    """A clock that a test or a simulation moves by hand; the wall may step, the monotonic never goes back."""

    def __init__(self, *, wall_ms: int = 1_750_000_000_000, monotonic_s: float = 1000.0) -> None:
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s

    def wall_ms(self) -> int:
        return self._wall_ms

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        assert seconds >= 0
        self._monotonic_s += seconds
        self._wall_ms += round(seconds * 1000)

    def step_wall(self, ms: int) -> None:
        """Set the wall clock forward, or back."""
        self._wall_ms += ms
