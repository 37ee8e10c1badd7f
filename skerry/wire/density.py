"""Which streams are worth deflating. Pure.

Deflating takes a third of what sending a copy costs, and archives, images and random bytes get no smaller by it. A
stream whose last piece stayed as large is sent as it is for a while, and then tried again: a copy has many files.
"""

from __future__ import annotations

from typing import Final

PIECES_PASSED: Final = 63
"""Sent as they are after one that stayed as large: the attempt costs a little over a hundredth then."""
PIECE_BYTES_MIN: Final = 1024
"""Of a smaller one nothing can be told."""
STREAMS_MAX: Final = 256


class Density:
    """What was seen of the streams of one link."""

    __slots__ = ("_passed",)

    def __init__(self) -> None:
        self._passed: dict[int, int] = {}

    def deflate(self, stream: int) -> bool:
        """Whether the next piece of it is worth an attempt."""
        left = self._passed.get(stream, 0)
        if left > 1:
            self._passed[stream] = left - 1
        elif left:
            del self._passed[stream]
        return not left

    def saw(self, stream: int, before: int, after: int) -> None:
        """A piece of so many bytes became a frame of so many."""
        if before >= PIECE_BYTES_MIN and after > before - before // 16:
            if len(self._passed) >= STREAMS_MAX:
                self._passed.clear()
            self._passed[stream] = PIECES_PASSED
