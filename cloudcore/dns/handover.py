"""How processes with new zones take over from those before them, so that at each moment somebody answers who is warm.

A new process tells its parent that it is ready: its zones and answers lie there. When one is ready at each seat all
are let read, and when all read those before them are told to finish. One that ends before, or is not ready in time,
is started again, and who was there answers on (docs/decisions/0451).

`Handover` decides and keeps who has told what; a crash of the parent ends all of them. `Words` is the pipes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Literal

READY_S_MAX: Final = 30.0
"""From its start until a process is ready; longer, and another is started. Answers are warmed for a third of it."""
WARM_S_MAX: Final = 10.0
Word = Literal["ready", "reading"]
_WORDS: Final[tuple[Word, ...]] = ("ready", "reading")
_TOLD: Final = struct.Struct("@iB")
_GO: Final = b"g" * 1024
"""One for each process that ever waits."""


class Handover:
    """From the processes `before` to one new at each of the seats. Pure."""

    def __init__(self, seats: Collection[int], before: Collection[int]) -> None:
        self.seats = frozenset(seats)
        self.before = set(before)
        self.let = False
        """Whether those who are ready may read."""
        self.failures = 0
        self._seat_of: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self._told: dict[int, Word] = {}

    @property
    def waiting(self) -> tuple[int, ...]:
        """Processes that were started for it and do not read yet."""
        return tuple(pid for pid in self._seat_of if self._told.get(pid) != "reading")

    def started(self, pid: int, seat: int, now: float) -> None:
        if seat in self.seats:
            self._seat_of[pid] = seat
            self._due[pid] = now + READY_S_MAX

    def told(self, pid: int, word: Word) -> None:
        if pid in self._seat_of:
            self._told[pid] = word
            self._due.pop(pid, None)

    def ended(self, pid: int) -> bool:
        """Whether it was one of the new ones, which is to be started again. Where one of those before has ended by
        itself nobody may read at its seat, so nobody waits for the others any more."""
        if pid in self.before:
            self.before.discard(pid)
            self.let = True
            return False
        self._told.pop(pid, None)
        self._due.pop(pid, None)
        if self._seat_of.pop(pid, None) is None:
            return False
        self.failures += 1
        return True

    def overdue(self, now: float) -> tuple[int, ...]:
        """Those who should have been ready; each is named once."""
        late = tuple(pid for pid, at in self._due.items() if at <= now)
        for pid in late:
            del self._due[pid]
        return late

    @property
    def deadline(self) -> float | None:
        return min(self._due.values(), default=None)

    def is_ready(self) -> bool:
        """Whether somebody waits at each seat."""
        return self._seats_of(_WORDS) == self.seats

    def is_over(self) -> bool:
        """Whether somebody new reads at each seat, so that those before may go."""
        return self._seats_of(("reading",)) == self.seats

    def _seats_of(self, words: Collection[Word]) -> frozenset[int]:
        return frozenset(self._seat_of[pid] for pid, word in self._told.items() if word in words)


class Words:
    """What processes tell their parent, and what the parent lets them do: pipes that are there when they are
    forked."""

    def __init__(self) -> None:
        self._heard, self._say = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._heard, False)
        self._go, self._let = os.pipe2(os.O_CLOEXEC)

    def fileno(self) -> int:
        """Of the parent's ear."""
        return self._heard

    def take(self) -> list[tuple[int, Word]]:
        """What was told since; each is written as a whole, being small."""
        with suppress(BlockingIOError):
            return [(pid, _WORDS[word]) for pid, word in _TOLD.iter_unpack(os.read(self._heard, 800 * _TOLD.size))]
        return []

    def let(self) -> None:
        os.write(self._let, _GO)

    def forget(self) -> None:
        """Another handover begins: nobody may go yet. Those who wait still hold the pipe of their own."""
        os.close(self._go)
        os.close(self._let)
        self._go, self._let = os.pipe2(os.O_CLOEXEC)

    def say(self, word: Word) -> None:
        """In a child."""
        os.write(self._say, _TOLD.pack(os.getpid(), _WORDS.index(word)))

    def wait(self) -> None:
        """In a child, until it is let."""
        os.read(self._go, 1)

    def close(self) -> None:
        for end in (self._heard, self._say, self._go, self._let):
            os.close(end)
