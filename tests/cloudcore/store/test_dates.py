"""Times follow the gateway's numbers, as far as a frame's way explains what contradicts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.store.dates import TRANSIT_MS_MAX, Dated, Dates
from cloudcore.store.port import Record
from skerry.errors import InvalidError
from skerry.objects.spans import Span, Spans
from skerry.wire.frames import SPANS_MAX


def record(seq: int, at_ms: int, *, error_ms: int | None = 0, hole: bool = False) -> Record:
    return Record(series="s", at_ms=at_ms, body=b"", seq=seq, error_ms=error_ms, hole=hole)


def times(dates: Dates, records: list[Record], received: Spans) -> tuple[Dates, list[int]]:
    dates, placed = dates.placed(records, received)
    assert [one.seq for one in placed] == [one.seq for one in records], "the order given"
    return dates, [one.at_ms for one in placed]


def spans(*pairs: tuple[int, int]) -> Spans:
    return Spans.of(Span(*pair) for pair in pairs)


def test_the_backlog_ends_no_later_than_what_was_read_after_it() -> None:
    dates, live = times(Dates(), [record(10, 5_000), record(11, 6_000)], spans((10, 11)))
    assert live == [5_000, 6_000]
    dates, backlog = times(dates, [record(8, 4_000), record(9, 5_300)], spans((8, 11)))
    assert backlog == [4_000, 5_000], "its frame was 300 ms longer on its way"
    assert dates.known == (Dated(8, 4_000), Dated(11, 6_000))
    dates, first = times(dates, [record(7, 4_001)], spans((1, 11)))
    assert first == [4_000]
    assert dates.known == (Dated(11, 6_000),), "below a span from 1 on nothing comes any more"


def test_what_comes_next_is_no_earlier_than_what_was_before() -> None:
    dates, _ = times(Dates(), [record(1, 5_000)], spans((1, 1)))
    _, later = times(dates, [record(2, 4_900), record(3, 4_950), record(4, 5_100)], spans((1, 4)))
    assert later == [5_000, 5_000, 5_100]


def test_the_two_lanes_frames_of_one_commit_are_told_apart_by_number() -> None:
    _, found = times(Dates(), [record(9, 9_000), record(1, 1_000), record(2, 9_500)], spans((1, 2), (9, 9)))
    assert found == [9_500, 1_000, 9_500], "in order of number: what is wrong by transit is moved to its neighbour"


@pytest.mark.parametrize("off_ms", [TRANSIT_MS_MAX, TRANSIT_MS_MAX + 1])
def test_a_clock_that_was_set_is_believed(off_ms: int) -> None:
    now = 10 * TRANSIT_MS_MAX
    dates, _ = times(Dates(), [record(1, now)], spans((1, 1)))
    _, later = times(dates, [record(2, now - off_ms)], spans((1, 2)))
    assert later == [now if off_ms == TRANSIT_MS_MAX else now - off_ms]
    dates, _ = times(Dates(), [record(5, now)], spans((5, 5)))
    _, earlier = times(dates, [record(4, now + off_ms)], spans((4, 5)))
    assert earlier == [now if off_ms == TRANSIT_MS_MAX else now + off_ms]


def test_a_time_that_is_an_estimate_gives_way_as_far_as_it_may_be_off() -> None:
    now = 10 * TRANSIT_MS_MAX
    dates, _ = times(Dates(), [record(5, now)], spans((5, 5)))
    late = now + TRANSIT_MS_MAX + 7
    assert times(dates, [record(4, late, error_ms=7)], spans((4, 5)))[1] == [now]
    assert times(dates, [record(4, late, error_ms=6)], spans((4, 5)))[1] == [late]
    assert times(dates, [record(4, 10 * late, error_ms=None)], spans((4, 5)))[1] == [now], "nobody knows how far"


def test_a_hole_stands_among_its_neighbours_and_moves_none_of_them() -> None:
    told = [record(3, 999_999, error_ms=None, hole=True), record(2, 2_000), record(9, 9_000)]
    dates, found = times(Dates(), told, spans((1, 9)))
    assert found == [9_000, 2_000, 9_000]
    assert dates.known == (Dated(9, 9_000),)
    again, found = times(dates, [record(3, 1, error_ms=None, hole=True)], spans((1, 9)))
    assert (again, found) == (dates, [1])


def test_a_record_without_a_number_stays_where_it_is() -> None:
    dates, found = times(Dates((Dated(4, 400),)), [record(0, 900), record(5, 300)], spans((4, 5)))
    assert (found, dates.known) == ([900, 400], (Dated(4, 400), Dated(5, 400)))


def test_text_gives_back_what_was_written() -> None:
    dates = Dates((Dated(4, 400), Dated(9, 1_790_000_000_000)))
    assert Dates.read(dates.text) == dates
    assert Dates.read("") == Dates()
    for broken in ("4", "4:", "a:1", "1:2:3"):
        with pytest.raises(InvalidError):
            Dates.read(broken)


@given(st.data())
def test_in_whatever_order_frames_come_the_order_of_time_is_that_of_the_numbers(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    ages = st.integers(0, TRANSIT_MS_MAX)
    truth = sorted(data.draw(st.lists(st.integers(0, 3_600_000), min_size=count, max_size=count)))
    cuts = sorted(data.draw(st.sets(st.integers(2, count), max_size=8))) if count > 1 else []
    frames = [Span(*pair) for pair in zip([1, *cuts], [*(cut - 1 for cut in cuts), count], strict=True)]
    received, dates, placed = Spans(), Dates(), dict[int, int]()
    for frame in data.draw(st.permutations(frames)):
        transit = data.draw(ages)
        records = [record(seq, truth[seq - 1] + transit) for seq in range(frame.first, frame.through + 1)]
        received = received.add(frame)
        dates, found = dates.placed(records, received)
        placed |= {one.seq: one.at_ms for one in found}
        assert Dates.read(dates.text) == dates
        assert len(dates.known) <= 2 * len(received) <= 2 * SPANS_MAX
    in_order = [placed[seq] for seq in range(1, count + 1)]
    assert in_order == sorted(in_order)
    assert all(abs(at_ms - true) <= TRANSIT_MS_MAX for at_ms, true in zip(in_order, truth, strict=True))
