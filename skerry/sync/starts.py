"""Where two copies of an outbox part: the starts of the agents that wrote it. Pure.

A store that is set back to an older copy gives the same numbers out again. Up to which number both are the same can't
be seen from numbers; but each start of an agent makes a random mark and keeps it, with the first number that it may
give out, until reports may have left. `Hello` tells those marks, the cloud keeps them with the life of the outbox,
in the transaction in which a session enters, and says in `Welcome` up to where what it holds is the teller's own
past: below the first start that only one of them knows. Written as text, `1f2e3d4c@101,9a8b7c6d@160`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.wire.frames import Start

TOLD_MAX: Final = 16
"""The oldest starts since reports may have left are kept and told by an edge: what is not told is not vouched for."""
KNOWN_MAX: Final = 64
"""Of one life of an outbox, the newest that a cloud keeps."""


class Starts(Frozen, kw_only=False):
    """Starts of one life of an outbox, oldest first."""

    starts: tuple[Start, ...] = ()

    @classmethod
    def read(cls, text: str) -> Starts:
        """What `text` wrote. Raises `InvalidError` where it did not."""
        return cls(tuple(map(_start, text.split(",")))) if text else cls()

    @property
    def text(self) -> str:
        return ",".join(f"{start.mark:x}@{start.first}" for start in self.starts)

    def begun(self, start: Start) -> Starts:
        """An edge's, with one more. A start that gave nothing out is of no account when the next one begins."""
        kept = self.starts[:-1] if self.starts and self.starts[-1].first == start.first else self.starts
        return Starts((*kept, start)) if len(kept) < TOLD_MAX else self

    def met(self, told: Sequence[Start], top: int) -> tuple[Starts, int]:
        """A cloud's, when an edge tells its own and `top` is the highest number received; and the number up to which
        what was received is that edge's past for sure. Where more was received it is another copy that told it, and
        nothing of this one is kept: it begins a new life."""
        if not told:
            return self, 0
        marks = [start.mark for start in self.starts]
        theirs = self.starts[marks.index(told[0].mark) :] if told[0].mark in marks else ()
        same = 0
        while same < min(len(theirs), len(told)) and theirs[same] == told[same]:
            same += 1
        if same == len(told):  # what came after the last one is not told
            return self, told[-1].first - 1
        parting = told[same].first
        common = min(start.first for start in (told[same], *theirs[same : same + 1])) - 1
        if top >= parting:
            return self, common
        before = [start for start in self.starts if start.first < parting]
        return Starts((*before, *told[same:])[-KNOWN_MAX:]), common


def _start(text: str) -> Start:
    mark, _, first = text.partition("@")
    try:
        return Start(mark=int(mark, 16), first=int(first))
    except ValueError:
        raise InvalidError(f"{text[:40]!r} is no start") from None
