"""Answers that were made, ready to be sent again: by the bytes of the question behind its number. Pure.

They hold for as long as the directory says the same. Where a name has several addresses there is an answer for each
turn: clients take the first. Bounded; when there is no room all are forgotten, and made again as they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

ANSWERS_MAX: Final = 2000
BYTES_MAX: Final = 512 << 10
TURNS_MAX: Final = 8
"""Answers to one question that differ in which address comes first."""
QUESTION_BYTES_MAX: Final = 300
_ENTRY_BYTES: Final = 200
"""What an entry takes beside its bytes, about."""


class _Turns:
    __slots__ = ("answers", "next")

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.answers = answers
        self.next = 0


class ReadyAnswers:
    """`generation` says which state of what is known they are of."""

    def __init__(self, generation: Callable[[], int]) -> None:
        self._generation = generation
        self._of = -1
        self._kept: dict[bytes, bytes | _Turns] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def get(self, packet: bytes) -> bytes | None:
        """The whole answer to it."""
        if self._generation() != self._of:
            self._forget()
            return None
        kept = self._kept.get(packet[2:])
        if kept is None:
            return None
        if isinstance(kept, bytes):
            return packet[:2] + kept
        kept.next = turn = (kept.next + 1) % len(kept.answers)
        return packet[:2] + kept.answers[turn]

    def put(self, packet: bytes, answers: Sequence[bytes]) -> None:
        """Answers to it, each whole."""
        size = sum(len(each) for each in answers) + len(packet) + _ENTRY_BYTES
        if len(packet) > QUESTION_BYTES_MAX or size > BYTES_MAX:
            return
        if len(self._kept) >= ANSWERS_MAX or self._bytes + size > BYTES_MAX or self._generation() != self._of:
            self._forget()
        if packet[2:] in self._kept:
            return
        rest = [each[2:] for each in answers]
        self._kept[packet[2:]] = rest[0] if len(rest) == 1 else _Turns(rest)
        self._bytes += size

    def _forget(self) -> None:
        self._kept.clear()
        self._bytes = 0
        self._of = self._generation()
