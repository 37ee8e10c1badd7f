"""What of a block of readings stays where a full outbox thins: the shape of every curve, in readings that were read.

Of each series and span of time stay the lowest reading, the highest, the last, and every one that is not good. So
nothing is an average that somebody takes for a reading, and a peak of a second is still there. What goes is counted
as what is dropped is, and told to have gone from between others. Pure.

A span is a minute at first; when there is nothing left to thin, ten minutes; then the oldest go as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from edgecore.store.port import OutboxReport
from skerry.errors import ProtocolError
from skerry.frozen import Frozen, replace
from skerry.objects.blocks import TELEMETRY_BLOCK, Block, decode_block, encode_block
from skerry.objects.history import exact_of

SPANS_MS: Final = (60_000, 600_000)
"""By level."""
LEFT_MAX: Final = 0.75
"""A block of which more than this part would stay is left as it is."""


class Thinned(Frozen, kw_only=False):
    """Up to which number blocks were thinned, by level: the next one is looked for behind it."""

    through: tuple[int, ...] = (0,) * len(SPANS_MS)

    @classmethod
    def read(cls, text: str) -> Thinned:
        """What `text` wrote; what is none is as of a new outbox."""
        parts = text.split(",")
        if len(parts) != len(SPANS_MS) or not all(part.isdecimal() for part in parts):
            return cls()
        return cls(tuple(map(int, parts)))

    @property
    def text(self) -> str:
        return ",".join(map(str, self.through))

    def after(self, level: int, seq: int) -> Thinned:
        return Thinned((*self.through[:level], seq, *self.through[level + 1 :]))


def thinned(report: OutboxReport, level: int) -> tuple[OutboxReport, OutboxReport] | None:
    """What goes of a block, and what stays, which keeps its number; None where little would go. The numbers of what
    goes are the lower ones: whoever counts them finds as many as there were."""
    if report.kind != TELEMETRY_BLOCK:
        return None
    try:
        block = decode_block(report.body)
    except ProtocolError:
        return None  # a page that broke is for the check of the store
    stays = staying(block, SPANS_MS[level], end_ms=report.monotonic_ms)
    if not stays or len(stays) > LEFT_MAX * len(block):
        return None
    left = tuple(block[at] for at in sorted(stays))
    gone = tuple(reading for at, reading in enumerate(block) if at not in stays)
    return (
        replace(report, seq=report.seq - len(left), body=encode_block(gone)),
        replace(report, body=encode_block(left)),
    )


def staying(block: Block, span_ms: int, *, end_ms: int) -> set[int]:
    """Which of its readings stay, by their places. `end_ms` is the time of the row, by the monotonic clock."""
    parts: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    stay: set[int] = set()
    for at, reading in enumerate(block):
        if reading.quality != "good" or reading.value is None:
            stay.add(at)
        else:
            parts[reading.series, (end_ms - reading.ago_ms) // span_ms].append(at)
    for places in parts.values():
        stay.add(places[-1])
        numbers = [(exact_of(block[at].value or ""), at) for at in places]
        known = [(number, at) for number, at in numbers if number is not None]
        if known:
            stay |= {min(known)[1], max(known)[1]}
        else:  # texts: where they change
            stay |= {at for before, at in zip([None, *places], places, strict=False) if _turns(block, before, at)}
    return stay


def _turns(block: Block, before: int | None, at: int) -> bool:
    return before is None or block[before].value != block[at].value
