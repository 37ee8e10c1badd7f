"""What one process answered, in memory that its parent reads: counters of 64 bits, each written by one process
alone."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from typing import Final

from cloudcore.dns.replies import Reply
from skerry.dns.numbers import RCODES

_NAMES: Final = ("ready", "made", "dropped", "unsent", "truncated", "limited", "streams", "stream_answers")
_RCODES: Final = tuple(sorted(RCODES))
FIELDS: Final = (*_NAMES, *(RCODES[code].lower() for code in _RCODES))
SIZE: Final = 8 * len(FIELDS)


def shared_memory(processes: int) -> mmap.mmap:
    """For so many processes that are forked later."""
    return mmap.mmap(-1, max(mmap.PAGESIZE, processes * SIZE))


class Counts:
    """The counters of one process: `ready` answers were there, the others were made."""

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        self._cells = memoryview(memory)[number * SIZE : (number + 1) * SIZE].cast("Q")
        self._rcode_at = {code: len(_NAMES) + place for place, code in enumerate(_RCODES)}

    def add(self, reply: Reply) -> None:
        """One that was made."""
        cells = self._cells
        cells[1] += 1
        cells[self._rcode_at[reply.rcode]] += 1
        if reply.truncated:
            cells[4] += 1
        if reply.limited:
            cells[5] += 1

    def add_quick(self, rcode: int) -> None:
        """One that was made of what lay about; neither cut nor limited."""
        self._cells[1] += 1
        self._cells[self._rcode_at[rcode]] += 1

    @property
    def ready(self) -> int:
        return self._cells[0]

    @ready.setter
    def ready(self, value: int) -> None:
        self._cells[0] = value

    @property
    def dropped(self) -> int:
        return self._cells[2]

    @dropped.setter
    def dropped(self, value: int) -> None:
        self._cells[2] = value

    @property
    def unsent(self) -> int:
        return self._cells[3]

    @unsent.setter
    def unsent(self, value: int) -> None:
        self._cells[3] = value

    @property
    def streams(self) -> int:
        return self._cells[6]

    @streams.setter
    def streams(self, value: int) -> None:
        self._cells[6] = value

    @property
    def stream_answers(self) -> int:
        return self._cells[7]

    @stream_answers.setter
    def stream_answers(self, value: int) -> None:
        self._cells[7] = value

    def values(self) -> Mapping[str, int]:
        return dict(zip(FIELDS, self._cells.tolist(), strict=True))


def total(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(part[name] for part in parts) for name in FIELDS}
