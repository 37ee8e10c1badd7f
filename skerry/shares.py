"""How many connections each client has, and whether one more may have its place. In memory only.

A server has room for so many in all, and for so many of one address: whoever takes all that it can get takes no
other's.
"""

from __future__ import annotations

from collections import Counter

from skerry.frozen import Frozen


class Bound(Frozen):
    """Connections, those that are there counted."""

    total: int
    of_one: int


class Shares:
    """By client's address."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self._open.total()

    def has_room(self, address: str, bound: Bound, *, shares: bool = True) -> bool:
        """Whether there is room for one more from there. `shares` False: the address is of many, and has it all."""
        return self.total < bound.total and (not shares or self._open[address] < bound.of_one)

    def is_within(self, address: str, bound: Bound, *, shares: bool = True) -> bool:
        """The same of those that have been taken in already."""
        return self.total <= bound.total and (not shares or self._open[address] <= bound.of_one)

    def take(self, address: str) -> None:
        self._open[address] += 1

    def give(self, address: str) -> None:
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]
