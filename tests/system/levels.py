"""How system tests wait: they look at a level again and again, the more rarely the longer they have waited.

A look at a cloud takes five to ten milliseconds of a processor from it and from the test, one with kubectl sixty.
Twenty of them a second, for as many tests as run at once, were a good part of what the suite computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

PAUSE_S_MIN: Final = 0.05
PAUSE_S_MAX: Final = 0.3
SHARE: Final = 0.1
"""Of what was waited already, the longest that anybody waits too long."""

Found = TypeVar("Found")


def pause_s(waited_s: float) -> float:
    """How long to wait for the next look."""
    return min(PAUSE_S_MAX, max(PAUSE_S_MIN, SHARE * waited_s))


def reached(look: Callable[[], Found], why_not: Callable[[], str], *, within_s: float) -> Found:
    """Look until there is something to be seen, and give it; fail with what `why_not` says when it takes too long."""
    began = time.monotonic()
    while not (found := look()):
        waited_s = time.monotonic() - began
        assert waited_s < within_s, f"not reached in {within_s:g} s: {why_not()}"
        time.sleep(pause_s(waited_s))
    return found
