"""When what a gateway told took place, so that the order of time is the order in which it happened.

A report's time is the cloud's clock less the report's age, and so too late by as long as its frame was on the way:
two neighbours in two frames may seem to have changed places. The gateway's numbers know better. So a time is moved
between those of the numbers around it, where they are known, as far as a frame's way explains; beyond that somebody's
clock was set, and the time is believed.

Kept with each life of a node's outbox, in the transaction of the effects: the times at the edges of each span that
was received, for what is still to come lies between spans (`7:1790000000000,9:1790000004000`). Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from cloudcore.store.port import Record
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.spans import Span, Spans

TRANSIT_MS_MAX: Final = 15 * 60_000
"""No frame is longer on its way: a window of full frames at half a kilobyte a second."""


class Dated(NamedTuple):
    seq: int
    at_ms: int


class Dates(Frozen, kw_only=False):
    """See the module. `Dates()` is that of a new outbox."""

    known: tuple[Dated, ...] = ()
    """In order of number."""

    @classmethod
    def read(cls, text: str) -> Dates:
        """What `text` wrote. Raises `InvalidError` where it did not."""
        try:
            known = tuple(Dated(*map(int, part.split(":"))) for part in text.split(",") if part)
        except (ValueError, TypeError) as error:
            raise InvalidError(f"{text[:40]!r} is no list of dates") from error
        return cls(known)

    @property
    def text(self) -> str:
        return ",".join(f"{seq}:{at_ms}" for seq, at_ms in self.known)

    def placed(self, records: Sequence[Record], received: Spans) -> tuple[Dates, tuple[Record, ...]]:
        """The records with times that their numbers allow, in the order given; and what is known once all that is
        received is `received`."""
        known = list(self.known)
        found = list(records)
        for at in sorted(range(len(found)), key=lambda at: (found[at].hole, found[at].seq)):
            record = found[at]
            if not record.seq:
                continue
            place = bisect_left(known, (record.seq,))
            before = known[place - 1].at_ms if place else None
            after = next((one.at_ms for one in known[place : place + 2] if one.seq > record.seq), None)
            at_ms = _between(record, before, after)
            if at_ms != record.at_ms:
                found[at] = replace(record, at_ms=at_ms)
            if not record.hole:
                known.insert(place, Dated(record.seq, at_ms))
        return Dates(tuple(one for span in received.spans for one in _edges(known, span))), tuple(found)


def _between(record: Record, before: int | None, after: int | None) -> int:
    at_ms = record.at_ms
    if before is not None and at_ms < before and _explained(record, before - at_ms):
        at_ms = before
    if after is not None and at_ms > after and _explained(record, at_ms - after):
        at_ms = after
    return at_ms


def _explained(record: Record, off_ms: int) -> bool:
    return record.error_ms is None or off_ms <= TRANSIT_MS_MAX + record.error_ms


def _edges(known: list[Dated], span: Span) -> list[Dated]:
    """The first and the last of a span; below what begins with 1 nothing comes any more."""
    inside = known[bisect_left(known, (span.first,)) : bisect_right(known, (span.through, _LATEST))]
    first = [] if span.first == 1 else inside[:1]
    return first + inside[-1:] if len(inside) > 1 or not first else first


_LATEST: Final = 2**63
