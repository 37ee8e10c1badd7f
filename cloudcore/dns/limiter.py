"""How many answers that are worth a forger's while a network is sent in a second (response rate limiting). Pure.

What is no larger than three times its query is nothing to a forger, who could send to the victim himself, and is not
counted by default. Counts live in a table of fixed size, by a keyed hash of the network: two that share a place share
its room. A crash forgets them.
"""

from __future__ import annotations

from array import array
from typing import Final

from skerry.frozen import Frozen

PLACES: Final = 1 << 15


class LimiterSettings(Frozen):
    rate: int = 100
    """Answers per second and network that are large for their queries; 0: none without a cookie."""
    factor: float = 3.0
    """From so many times its query an answer is large; 0: every answer is counted."""
    v4_bits: int = 24
    v6_bits: int = 56


class Limiter:
    """Token buckets that hold a second's room."""

    def __init__(self, settings: LimiterSettings, seed: bytes) -> None:
        self.settings = settings
        self._seed = seed
        self._room = array("d", [float(settings.rate)]) * PLACES
        self._at = array("d", [0.0]) * PLACES
        self._v4 = settings.v4_bits // 8
        self._v6 = settings.v6_bits // 8

    def allows(self, address: bytes, *, answer_size: int, query_size: int, now_s: float) -> bool:
        """Whether an answer of this size may go to an address that was not proven."""
        if answer_size <= self.settings.factor * query_size and self.settings.factor:
            return True
        network = address[: self._v4] if len(address) == 4 else address[: self._v6]
        place = hash((self._seed, network)) % PLACES
        room = self._room[place] + max(0.0, now_s - self._at[place]) * self.settings.rate
        self._at[place] = now_s
        room = min(room, float(self.settings.rate))
        if room < 1.0:
            self._room[place] = room
            return False
        self._room[place] = room - 1.0
        return True


class SpentError(Exception):
    """Between a signer and its responder: no more signatures are made just now."""


class Pace:
    """So many a second in this process, and as many for whom has proven where they are; 0: as many as are asked
    for."""

    def __init__(self, rate: int) -> None:
        self._rate = float(rate)
        self._room = [self._rate, self._rate]
        self._at = [0.0, 0.0]

    def takes(self, now_s: float, *, proven: bool) -> bool:
        """Whether there is room for one; it is taken."""
        if not self._rate:
            return True
        room = self._room[proven] + max(0.0, now_s - self._at[proven]) * self._rate
        self._at[proven] = now_s
        self._room[proven] = min(room, self._rate)
        if self._room[proven] < 1.0:
            return False
        self._room[proven] -= 1.0
        return True
