"""What stays of a block where a full outbox thins: readings that were read, at every turn of the curve."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecore.store.port import OutboxReport
from edgecore.store.thinning import SPANS_MS, Thinned, staying, thinned
from skerry.frozen import replace
from skerry.objects.blocks import TELEMETRY_BLOCK, Reading, decode_block, encode_block
from skerry.objects.twins import DeviceName, Quality

DEVICE = DeviceName(namespace="default", name="plc", uid="u")
END_MS = 600_000


def reading(at_ms: int, value: str | None, *, prop: str = "t", quality: Quality = "good") -> Reading:
    return Reading(DEVICE, prop, at_ms, value, "FLOAT", quality, "", 5, None, END_MS - at_ms)


def row(*block: Reading, seq: int = 1000) -> OutboxReport:
    return OutboxReport(
        seq=seq,
        report_class="telemetry",
        kind=TELEMETRY_BLOCK,
        key="",
        body=encode_block(block),
        wall_ms=0,
        boot_id="b",
        monotonic_ms=END_MS,
    )


def test_of_a_minute_stay_the_lowest_the_highest_and_the_last() -> None:
    values = ["3", "9", "4", "-2", "5", "4"]
    block = tuple(reading(at * 1000, value) for at, value in enumerate(values))
    assert staying(block, 60_000, end_ms=END_MS) == {1, 3, 5}
    later = (*block, *(reading(60_000 + at * 1000, "7") for at in range(4)))
    assert staying(later, 60_000, end_ms=END_MS) == {1, 3, 5, 6, 9}


def test_of_large_whole_numbers_stay_the_lowest_and_the_highest_though_as_doubles_they_are_one() -> None:
    values = ["9007199254740994", "9007199254740992", "9007199254740995", "9007199254740993"]
    block = tuple(reading(at * 1000, value) for at, value in enumerate(values))
    assert staying(block, 60_000, end_ms=END_MS) == {1, 2, 3}


def test_what_is_not_good_stays_and_texts_stay_where_they_turn() -> None:
    block = (
        reading(0, "1"),
        reading(1, None, quality="bad"),
        reading(2, "2", quality="uncertain"),
        reading(3, "off", prop="mode"),
        reading(4, "off", prop="mode"),
        reading(5, "on", prop="mode"),
        reading(6, "on", prop="mode"),
    )
    assert staying(block, 60_000, end_ms=END_MS) == {0, 1, 2, 3, 5, 6}


def test_what_goes_and_what_stays_have_the_numbers_of_the_block() -> None:
    parts = thinned(row(*(reading(at * 1000, str(at % 7)) for at in range(60))), 0)
    assert parts is not None
    gone, left = parts
    assert (left.seq, gone.seq) == (1000, 1000 - left.count)
    assert gone.count + left.count == 60
    both = [*decode_block(gone.body), *decode_block(left.body)]
    assert sorted(each.seq for each in both) == [at * 1000 for at in range(60)]
    assert thinned(left, 0) is None, "little would go"


def test_a_block_of_which_little_would_go_and_a_page_that_broke_are_left() -> None:
    assert thinned(row(reading(0, "1"), reading(60_000, "2")), 0) is None
    assert thinned(replace(row(reading(0, "1")), body=b"x"), 0) is None


@given(
    st.lists(st.tuples(st.integers(0, 599_000), st.integers(-50, 50)), min_size=1, max_size=80),
    st.sampled_from([0, 1]),
)
def test_no_span_loses_its_extremes_or_its_end(told: list[tuple[int, int]], level: int) -> None:
    block = tuple(reading(at_ms, str(value)) for at_ms, value in sorted(told))
    stay = staying(block, SPANS_MS[level], end_ms=END_MS)
    for span in {each.seq // SPANS_MS[level] for each in block}:
        here = [at for at, each in enumerate(block) if each.seq // SPANS_MS[level] == span]
        values = [int(block[at].value or "") for at in here]
        left = [int(block[at].value or "") for at in here if at in stay]
        assert (min(left), max(left), left[-1]) == (min(values), max(values), values[-1])
        assert len(left) <= 3


def test_how_far_it_is_is_read_back() -> None:
    far = Thinned().after(0, 70).after(1, 30)
    assert Thinned.read(far.text) == far == Thinned((70, 30))
    assert Thinned.read("") == Thinned.read("a,b") == Thinned()
