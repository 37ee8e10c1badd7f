"""Rows sent to a receiver in order, in halves where something of them is refused, until the rows at fault are found.

A receiver that refuses everything (a wrong URL, a missing header, a database that was dropped) answers as one does to
rows at fault. So rows are believed to be at fault only where others are taken beside them, and who looks gives up
when many were refused one by one and none was taken. Keeps nothing but what it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cloudcore.sinks.port import Receiver, RefusedRowsError
from cloudcore.sinks.rows import Row
from skerry.objects.times import micro_time_text


class Refusal(NamedTuple):
    """A row that was refused alone, and what was said."""

    row: Row
    why: str

    @property
    def text(self) -> str:
        """Which row, for people."""
        row = self.row
        return f"{row.namespace}/{row.device}/{row.prop} of {micro_time_text(row.at_ms)}: {self.why}"[:500]


@dataclass(slots=True)
class Sent:
    """What became of rows, in order; good also where it ended early."""

    taken: int = 0
    skipped: int = 0
    """Rows that the other side has no form for."""
    refused: list[Refusal] = field(default_factory=list[Refusal])
    through: int = 0
    """Number of the last row that is done with."""

    @property
    def proves_nothing(self) -> bool:
        """Rows were refused, and none was taken beside them."""
        return bool(self.refused) and not self.taken


async def send_halving(receiver: Receiver, rows: Sequence[Row], sent: Sent, *, refused_max: int) -> None:
    """Send at least one row; `sent` grows as that goes on. It ends early where so many were refused and none was
    taken. Raises `UnavailableError`."""
    try:
        skipped = await receiver.send(rows)
    except RefusedRowsError as error:
        if len(rows) == 1:
            sent.refused.append(Refusal(rows[0], str(error)))
            sent.through = rows[0].number
            return
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            if not sent.proves_nothing or len(sent.refused) < refused_max:
                await send_halving(receiver, half, sent, refused_max=refused_max)
        return
    sent.taken += len(rows) - skipped
    sent.skipped += skipped
    sent.through = rows[-1].number
