"""Sets of sequence numbers as few spans: which of an outbox's numbers are accounted for.

A `Spans` is a value: spans in order, none empty, none touching the next. A crash leaves whatever a store kept of
it, which is written and read as text (`1-50,90-95`). The arithmetic is pure and costs what the spans cost, not
what the numbers in them do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from skerry.errors import InvalidError
from skerry.frozen import Frozen


class Span(NamedTuple):
    """Every number from `first` to `through`, both included."""

    first: int
    through: int


class Spans(Frozen, kw_only=False):
    """See the module. Make one with `Spans()`, `upto`, `read` or `add`."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def upto(cls, through: int) -> Spans:
        """Everything from 1 on; nothing for 0."""
        return cls((Span(1, through),)) if through > 0 else cls()

    @classmethod
    def read(cls, text: str) -> Spans:
        """What `text` wrote. Raises `InvalidError` where it did not."""
        return cls.of(Span(*_numbers(part)) for part in text.split(",") if part)

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Spans:
        """These spans, which must be in order, with room between. Raises `InvalidError`."""
        checked = tuple(spans)
        floor = -1  # the first may begin with 1
        for span in checked:
            if not floor + 1 < span.first <= span.through:
                raise InvalidError(f"{span.first}-{span.through} is no span after {floor}")
            floor = span.through
        return cls(checked)

    @property
    def text(self) -> str:
        return ",".join(f"{span.first}-{span.through}" for span in self.spans)

    @property
    def top(self) -> int:
        """The highest number in it; 0 when empty."""
        return self.spans[-1].through if self.spans else 0

    @property
    def unbroken(self) -> int:
        """Up to which every number from 1 on is in it."""
        return self.spans[0].through if self.spans and self.spans[0].first == 1 else 0

    def __contains__(self, number: int) -> bool:
        return self.meets(Span(number, number))

    def __len__(self) -> int:
        """How many spans."""
        return len(self.spans)

    def meets(self, span: Span) -> bool:
        """Some number of the span is in it."""
        at = bisect_right(self.spans, (span.through, _HIGHEST))
        return at > 0 and self.spans[at - 1].through >= span.first

    def covers(self, span: Span) -> bool:
        """Every number of the span is in it."""
        at = bisect_right(self.spans, (span.first, _HIGHEST))
        return at > 0 and self.spans[at - 1].through >= span.through

    def add(self, span: Span) -> Spans:
        """With the span's numbers; what touches becomes one."""
        first, through = span
        before = [one for one in self.spans if one.through < first - 1]
        after = [one for one in self.spans if one.first > through + 1]
        for one in self.spans[len(before) : len(self.spans) - len(after)]:
            first, through = min(first, one.first), max(through, one.through)
        return Spans((*before, Span(first, through), *after))

    def holes(self, through: int) -> tuple[Span, ...]:
        """What lacks of 1 to `through`, lowest first."""
        found: list[Span] = []
        begin = 1
        for span in self.spans:
            if span.first > through:
                break
            if span.first > begin:
                found.append(Span(begin, span.first - 1))
            begin = span.through + 1
        if begin <= through:
            found.append(Span(begin, through))
        return tuple(found)


_HIGHEST = 2**63
"""Above any number: finds the last span that begins at or below one."""


def _numbers(part: str) -> tuple[int, int]:
    first, _, through = part.partition("-")
    if not (first.isdecimal() and through.isdecimal()):
        raise InvalidError(f"{part[:40]!r} is no span of numbers")
    return int(first), int(through)
