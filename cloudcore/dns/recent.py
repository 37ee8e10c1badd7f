"""Queries whose answers were kept, in memory that outlives who answered them: who comes next makes their answers
ready before it is asked.

A ring of slots of a fixed size, written by the one process that reads a socket and read by the one that follows it.
They may do so at once: a query that is half written is no query, or another one, and its answer is never asked for.
Lost with the parent.
"""

from __future__ import annotations

import mmap
from typing import Final

SLOTS: Final = 65_536
SLOT: Final = 64
"""A byte of length and a query behind its id: names of 43 letters with EDNS. Longer ones are made when asked for."""


class Recent:
    """Of one socket. Pages that nothing is written to cost nothing."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SLOT)
        self._next = 0

    def add(self, query: bytes) -> None:
        if len(query) < SLOT:
            at = self._next * SLOT
            self._memory[at : at + 1 + len(query)] = bytes((len(query),)) + query
            self._next = (self._next + 1) % SLOTS

    def take_up(self) -> list[bytes]:
        """All that are there, each once; those that are added from now on lie behind them."""
        memory = self._memory
        found: dict[bytes, None] = {}
        used = next((at for at in range(0, SLOTS * SLOT, SLOT) if not memory[at]), SLOTS * SLOT)
        for at in range(0, used, SLOT):
            found[memory[at + 1 : at + 1 + memory[at]]] = None
        self._next = used // SLOT % SLOTS
        return list(found)

    def close(self) -> None:
        self._memory.close()
