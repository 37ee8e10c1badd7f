"""Whose turn it is at the door: connections that were accepted and are not through their handshake. Pure.

A handshake costs two milliseconds of a core, a thousand times more than accepting. After an outage of the cloud ten
thousand gateways want one in the same minute, behind bad links and behind shared addresses, and somebody hostile may
open connections that say nothing. So a connection first waits, for the price of a file descriptor, until it speaks;
then handshakes are begun address by address in turn: a site of five thousand behind one NAT does not keep a single
gateway elsewhere from its turn. Everything is bounded in number and in time. A crash leaves nothing.
"""

from __future__ import annotations

from collections import deque

from skerry.frozen import Frozen


class KnockLimits(Frozen):
    waiting_max: int = 4096
    """Connections that wait; beyond it the kernel's backlog fills, and then gateways dial again."""
    handshakes_max: int = 512
    """Handshakes at a time. Each waits for a round trip of its link, so there must be many, and holds some 60 KB."""
    of_address_max: int = 128
    """Handshakes at a time of one address: one NAT may have thousands of gateways behind it, one attacker, too."""
    silent_s_max: float = 20.0
    """How long a connection may say nothing."""
    crowded_s: float = 2.0
    """As long where all places are taken: a gateway's first words come with the third packet of its connection."""
    handshake_s_max: float = 6.0
    """How long a handshake may take while all are under way and somebody waits: five round trips of a second each."""


class Knocks:
    """Numbers stand for connections; the shell holds the sockets."""

    def __init__(self, limits: KnockLimits) -> None:
        self._limits = limits
        self._silent: dict[int, tuple[float, str]] = {}
        """Number -> (since when, address); in order of arrival."""
        self._ready: dict[str, deque[int]] = {}
        """By address, in the order in which addresses have their turn."""
        self._ready_count = 0
        self._shaking: dict[int, tuple[float, str]] = {}
        """Number -> (since when, address); in the order in which they began."""
        self._of_address: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        return len(self._silent) + self._ready_count

    @property
    def shaking(self) -> int:
        """Handshakes under way."""
        return len(self._shaking)

    @property
    def full(self) -> bool:
        """No further connection is to be accepted."""
        return self.waiting >= self._limits.waiting_max

    def arrived(self, number: int, address: str, now_s: float) -> None:
        assert not self.full, "accepted only while there is room"
        self._silent[number] = (now_s, address)

    def spoke(self, number: int) -> None:
        """Its first bytes are there."""
        _, address = self._silent.pop(number)
        self._ready.setdefault(address, deque()).append(number)
        self._ready_count += 1

    def gone(self, number: int) -> None:
        """It ended before it spoke."""
        self._silent.pop(number, None)

    def next(self, now_s: float) -> int | None:
        """Begin the handshake of this one; None when none is ready or there is no room."""
        if len(self._shaking) >= self._limits.handshakes_max:
            return None
        for address in self._ready:
            if self._of_address.get(address, 0) < self._limits.of_address_max:
                break
        else:
            return None
        line = self._ready.pop(address)
        number = line.popleft()
        if line:
            self._ready[address] = line  # behind the others now
        self._ready_count -= 1
        self._shaking[number] = (now_s, address)
        self._of_address[address] = self._of_address.get(address, 0) + 1
        return number

    def ended(self, number: int) -> None:
        """The handshake is over, one way or another."""
        _, address = self._shaking.pop(number)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def expired(self, now_s: float) -> list[int]:
        """Connections that have said nothing for too long, forgotten here: close them."""
        patience_s = self._limits.crowded_s if self.full else self._limits.silent_s_max
        late: list[int] = []
        for number, (since_s, _) in self._silent.items():
            if now_s < since_s + patience_s:
                break
            late.append(number)
        for number in late:
            del self._silent[number]
        return late

    def overdue(self, now_s: float) -> list[int]:
        """Handshakes that have taken too long for how many want their places: end them, oldest first, one for each
        that waits. It is `ended` that frees the place."""
        if len(self._shaking) < self._limits.handshakes_max:
            return []
        late: list[int] = []
        for number, (since_s, _) in self._shaking.items():
            if len(late) >= self._ready_count or now_s < since_s + self._limits.handshake_s_max:
                break
            late.append(number)
        return late
