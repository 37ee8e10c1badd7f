"""To wait for what a cloud does by itself within moments."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], *, wait_s: float = 10.0, between_s: float = 0.2) -> T | None:
    """What `look` finds; None where it found nothing in time."""
    until = time.monotonic() + wait_s
    while True:
        found = look()
        if found is not None or time.monotonic() >= until:
            return found
        time.sleep(between_s)
