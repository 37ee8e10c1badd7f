"""Up to where two copies of an outbox are the same, told from the starts of those who wrote them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import InvalidError
from skerry.sync.starts import KNOWN_MAX, TOLD_MAX, Starts
from skerry.wire.frames import Start


def starts(*pairs: tuple[int, int]) -> Starts:
    return Starts(tuple(Start(mark=mark, first=first) for mark, first in pairs))


def test_what_is_written_is_read() -> None:
    some = starts((0xA1, 1), (0xFFFFFFFF, 4711))
    assert some.text == "a1@1,ffffffff@4711"
    assert Starts.read(some.text) == some
    assert Starts.read("") == Starts()
    for wrong in ("a1", "a1@", "x@1", "1@2,"):
        with pytest.raises(InvalidError):
            Starts.read(wrong)


def test_a_start_that_gave_nothing_out_gives_way_and_the_oldest_are_kept() -> None:
    assert starts((1, 5)).begun(Start(mark=2, first=5)) == starts((2, 5))
    assert starts((1, 5)).begun(Start(mark=2, first=6)) == starts((1, 5), (2, 6))
    full = starts(*((number, number) for number in range(1, TOLD_MAX + 1)))
    assert full.begun(Start(mark=99, first=99)) == full
    assert full.begun(Start(mark=99, first=TOLD_MAX)) == starts(
        *((number, number) for number in range(1, TOLD_MAX)), (99, TOLD_MAX)
    )


@pytest.mark.parametrize(
    ("known", "told", "top", "after", "common"),
    [
        ((), ((1, 1),), 0, ((1, 1),), 0),
        (((1, 1),), ((2, 50),), 49, ((1, 1), (2, 50)), 49),
        (((1, 1),), ((1, 1), (2, 50)), 0, ((1, 1), (2, 50)), 49),
        # A copy made offline: the original went on as 3, or in the same start, or was copied while it ran.
        (((1, 1), (3, 50)), ((1, 1), (2, 50)), 80, ((1, 1), (3, 50)), 49),
        (((1, 1),), ((1, 1), (2, 50)), 80, ((1, 1),), 49),
        (((1, 1), (3, 70)), ((1, 1), (2, 50)), 80, ((1, 1), (3, 70)), 49),
        # What the other one told and never used counts for nothing once this one goes on.
        (((1, 1), (3, 50)), ((1, 1), (2, 50)), 49, ((1, 1), (2, 50)), 49),
        # Nothing is known of its first start: as far as it may have sent.
        (((7, 3),), ((2, 50), (4, 60)), 80, ((7, 3),), 49),
        # The same one again; what came after is not told.
        (((1, 1), (2, 50)), ((1, 1), (2, 50)), 49, ((1, 1), (2, 50)), 49),
        (((1, 1), (2, 50), (3, 60)), ((1, 1), (2, 50)), 80, ((1, 1), (2, 50), (3, 60)), 49),
        (((1, 1),), (), 80, ((1, 1),), 0),
    ],
)
def test_a_cloud_tells_up_to_where_it_holds_the_tellers_past(
    known: tuple[tuple[int, int], ...],
    told: tuple[tuple[int, int], ...],
    top: int,
    after: tuple[tuple[int, int], ...],
    common: int,
) -> None:
    assert starts(*known).met(starts(*told).starts, top) == (starts(*after), common)


def test_a_cloud_keeps_the_newest() -> None:
    known = starts(*((number, number) for number in range(1, KNOWN_MAX + 1)))
    after, _ = known.met((Start(mark=999, first=999),), 0)
    assert len(after.starts) == KNOWN_MAX
    assert after.starts[-1].mark == 999


class Gateway:
    """An outbox as its numbers and starts: each number is what one start wrote."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.starts = Starts()

    def copy(self) -> Gateway:
        other = Gateway()
        other.written, other.starts = list(self.written), self.starts
        return other

    def run(self, mark: int, writes: int) -> None:
        self.starts = self.starts.begun(Start(mark=mark, first=len(self.written) + 1))
        self.written += [mark] * writes


@given(
    st.lists(st.integers(0, 3), max_size=20),
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
    st.lists(st.integers(0, 3), min_size=1, max_size=20),
)
def test_what_is_said_to_be_common_is(before: list[int], original: list[int], copied: list[int]) -> None:
    """Whatever both wrote offline, and however often they started."""
    one = Gateway()
    for number, writes in enumerate(before, start=1):
        one.run(number, writes)
    other = one.copy()
    for number, writes in enumerate(original, start=100):
        one.run(number, writes)
    for number, writes in enumerate(copied, start=200):
        other.run(number, writes)
    known, _ = Starts().met(one.starts.starts, 0)
    _, common = known.met(other.starts.starts, len(one.written))
    assert other.written[:common] == one.written[:common]
    if len(before) + len(copied) < TOLD_MAX:
        assert common >= min(len(one.written), sum(before)), "all of what is, while none is left out"
