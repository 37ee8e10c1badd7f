"""Sets of completion indexes, as an Indexed Job's status writes them: `0,2-5,7,8`. Pure; keeps nothing.

The form is that of batch/v1 JobStatus.completedIndexes: ascending, three or more in a row as `first-last`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from skerry.frozen import Frozen


class Indexes(Frozen, kw_only=False):
    """Ascending spans (first, last) that neither meet nor touch: a Job may have a hundred thousand indexes."""

    spans: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        return sum(last - first + 1 for first, last in self.spans)

    def __contains__(self, index: int) -> bool:
        at = bisect_left(self.spans, index, key=lambda span: span[1])
        return at < len(self.spans) and self.spans[at][0] <= index

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __str__(self) -> str:
        return ",".join(_parts(self.spans))

    def __or__(self, other: Indexes) -> Indexes:
        spans: list[tuple[int, int]] = []
        for first, last in sorted((*self.spans, *other.spans)):
            if spans and first <= spans[-1][1] + 1:
                spans[-1] = (spans[-1][0], max(spans[-1][1], last))
            else:
                spans.append((first, last))
        return Indexes(tuple(spans))

    def common(self, other: Indexes) -> int:
        """How many are in both."""
        count, mine, theirs = 0, 0, 0
        while mine < len(self.spans) and theirs < len(other.spans):
            (first, last), (their_first, their_last) = self.spans[mine], other.spans[theirs]
            count += max(0, min(last, their_last) - max(first, their_first) + 1)
            if last <= their_last:
                mine += 1
            else:
                theirs += 1
        return count

    def lacking(self, completions: int, count: int) -> list[int]:
        """The first `count` indexes below `completions` that are not in here."""
        found: list[int] = []
        candidate = 0
        for first, last in (*self.spans, (completions, completions)):
            end = min(first, completions, candidate + count - len(found))
            found.extend(range(candidate, end))
            candidate = max(candidate, last + 1)
            if len(found) >= count or candidate >= completions:
                break
        return found


def index_set(indexes: Iterable[int]) -> Indexes:
    return Indexes(tuple((each, each) for each in set(indexes))) | Indexes()


def parse_indexes(text: str, completions: int) -> Indexes:
    """What a status says, without what is not below `completions` (any more); a part that makes no sense is passed
    over, as it was checked when it was written."""
    return Indexes(tuple(_spans(text, completions))) | Indexes()


def _spans(text: str, completions: int) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or len(part) > 32:
            continue
        low, high = int(first), min(int(last or first), completions - 1)
        if low <= high:
            yield low, high


def _parts(spans: Iterable[tuple[int, int]]) -> Iterator[str]:
    for first, last in spans:
        if last > first + 1:
            yield f"{first}-{last}"
        else:
            yield from (str(each) for each in range(first, last + 1))
