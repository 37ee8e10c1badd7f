"""What an edge sends: the prompt lane first and in order, live before backlog, everything once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.frozen import replace
from skerry.objects.blocks import TELEMETRY_BLOCK, decode_block, encode_block
from skerry.objects.blocks import Reading as BlockReading
from skerry.objects.spans import Span, Spans
from skerry.objects.twins import DeviceName, decode_telemetry
from skerry.sync.ages import Chronology
from skerry.sync.effects import Prune
from skerry.sync.intake import Intake
from skerry.sync.ports import Instant, Reading, SyncSettings
from skerry.sync.received import Received
from skerry.sync.upstream import JUMP_SPANS_MAX, PASSED_MAX, WRITE_S, Upstream
from skerry.wire.frames import BULK, PROMPT, SPANS_MAX, Receipt, Reports
from tests.skerry.sync.conversation import FakeOutbox, Item, at

CHRONOLOGY = Chronology((), "boot", Reading(said_ms=0, heard_ms=0, server_ms=1_790_000_000_000))
SETTINGS = SyncSettings(report_frames=2, reports_max=3, backlog_frames=1)


def telemetry(*seqs: int) -> list[Item]:
    return [Item(seq=seq) for seq in seqs]


def event(*seqs: int) -> list[Item]:
    return [Item(seq=seq, kind="event") for seq in seqs]


def an_upstream(*items: Item, received: Received | None = None, settings: SyncSettings = SETTINGS) -> Upstream:
    outbox = FakeOutbox()
    outbox.add(*sorted(items, key=lambda item: item.seq))
    upstream = Upstream(outbox, settings)
    upstream.welcomed(2, received or Received(), CHRONOLOGY)
    return upstream


def said(frames: list[Reports]) -> list[tuple[int, Span, list[int], bool]]:
    return [(frame.lane, frame.span, [report.seq for report in frame.reports], frame.late) for frame in frames]


def sent(upstream: Upstream, now: Instant) -> list[Reports]:
    return upstream.frames(now, SETTINGS.part_bytes)


def receipt_of(frame: Reports) -> Receipt:
    return Receipt(lane=frame.lane, first=frame.span.first, through=frame.span.through)


def test_prompt_goes_first_then_a_short_backlog_in_order() -> None:
    upstream = an_upstream(*telemetry(1, 3, 5), *event(2, 4))
    assert said(sent(upstream, at(0))) == [
        (PROMPT, Span(1, 4), [2, 4], False),
        (BULK, Span(1, 5), [1, 3, 5], False),
    ]


def test_live_telemetry_overtakes_a_long_backlog_and_that_follows_beside_it() -> None:
    outbox = FakeOutbox()
    outbox.add(*telemetry(*range(1, 8)))
    upstream = Upstream(outbox, SETTINGS)
    upstream.welcomed(2, Received(), CHRONOLOGY)
    (first,) = sent(upstream, at(0))
    assert said([first]) == [(BULK, Span(1, 3), [1, 2, 3], True)]
    outbox.add(*telemetry(8), *event(9))
    assert said(sent(upstream, at(0))) == [(PROMPT, Span(1, 9), [9], False), (BULK, Span(8, 8), [8], False)]
    assert upstream.receipt(receipt_of(first)) == Prune(lane=BULK, first=1, through=3)
    assert said(sent(upstream, at(0))) == [(BULK, Span(4, 6), [4, 5, 6], True)]


def test_the_backlog_waits_while_what_is_urgent_fills_its_window() -> None:
    outbox = FakeOutbox()
    outbox.add(*telemetry(*range(1, 8)))
    upstream = Upstream(outbox, SETTINGS)
    upstream.welcomed(2, Received(), CHRONOLOGY)
    (late,) = sent(upstream, at(0))
    outbox.add(*telemetry(*range(8, 15)))
    live = sent(upstream, at(0))
    assert [frame.late for frame in live] == [False, False]
    upstream.receipt(receipt_of(late))
    assert sent(upstream, at(0)) == [], "one live frame has no room: the backlog gives way"
    upstream.receipt(receipt_of(live[0]))
    assert said(sent(upstream, at(0))) == [(BULK, Span(14, 14), [14], False)], "the window is full again"
    upstream.receipt(receipt_of(live[1]))
    assert said(sent(upstream, at(0))) == [(BULK, Span(4, 6), [4, 5, 6], True)]


def test_over_a_long_way_the_backlog_goes_on_though_the_windows_of_what_is_urgent_are_always_full() -> None:
    """Each turn the oldest receipt comes, and more has been read than its frame had."""
    outbox = FakeOutbox()
    outbox.add(*telemetry(*range(1, 9)))
    upstream = Upstream(outbox, replace(SETTINGS, reports_max=1, backlog_frames=2))
    upstream.welcomed(2, Received(), CHRONOLOGY)
    flying = sent(upstream, at(0))
    late = [frame.span for frame in flying]
    assert late == [Span(1, 1), Span(2, 2)]
    for frame in flying:
        upstream.receipt(receipt_of(frame))
    outbox.add(*telemetry(*range(9, 200)))
    live = sent(upstream, at(0))
    late, order = list[Span](), list[bool]()
    while len(late) < 3:
        upstream.receipt(receipt_of(live.pop(0)))
        for frame in sent(upstream, at(0)):
            order.append(frame.late)
            (late.append(frame.span) if frame.late else live.append(frame))
            if frame.late:
                upstream.receipt(receipt_of(frame))
    assert late == [Span(3, 3), Span(4, 4), Span(5, 5)]
    places = [at for at, is_late in enumerate(order) if is_late]
    assert [after - before for before, after in pairwise(places)] == [PASSED_MAX + 1] * 2


def test_what_is_left_of_a_hole_is_accounted_for_though_nothing_is_in_it() -> None:
    received = Received((Spans(), Spans.read("3-4,9-20")))
    upstream = an_upstream(*telemetry(2, 21), received=received)
    live, first = sent(upstream, at(0))
    assert said([live, first]) == [(BULK, Span(21, 21), [21], False), (BULK, Span(1, 2), [2], True)]
    upstream.receipt(receipt_of(first))
    assert said(sent(upstream, at(0))) == [(BULK, Span(5, 8), [], True)], "all of it was replaced or dropped"


def test_what_a_write_has_hold_of_is_neither_sent_nor_passed_over_and_is_asked_for_again() -> None:
    outbox = FakeOutbox(held_from=6)
    outbox.add(*telemetry(*range(1, 21)))
    upstream = Upstream(outbox, replace(SETTINGS, report_frames=8))
    upstream.welcomed(2, Received(), CHRONOLOGY)
    got: list[tuple[Span, list[int]]] = []
    for now_s in (0.0, 1.0):
        while frames := sent(upstream, at(now_s)):
            got += [(span, seqs) for _, span, seqs, _ in said(frames)]
            for frame in frames:
                upstream.receipt(receipt_of(frame))
        if outbox.held_from is not None:
            assert got == [(Span(1, 3), [1, 2, 3]), (Span(4, 5), [4, 5])]
            assert upstream.deadline() == pytest.approx(WRITE_S)
        outbox.held_from = None
    assert [seq for _, seqs in got for seq in seqs] == list(range(1, 21))
    assert got[-1][0].through == 20
    assert upstream.deadline() is None


def test_a_backlog_goes_no_faster_than_its_rate_and_says_when_it_goes_on() -> None:
    body = bytes(1000)
    settings = replace(SETTINGS, backlog_bytes_s=1000, reports_max=2)
    items = [Item(seq=seq, body=body) for seq in range(1, 31)]
    upstream = an_upstream(*items, settings=settings)
    assert upstream.deadline() is None
    count = 0
    while frames := sent(upstream, at(0)):
        count += sum(len(frame.reports) for frame in frames)
        for frame in frames:
            upstream.receipt(receipt_of(frame))
    assert 7 <= count <= 10, "eight seconds' worth at once"
    deadline = upstream.deadline()
    assert deadline is not None
    assert sent(upstream, at(deadline - 0.1)) == []
    assert len(sent(upstream, at(deadline))) == 1
    assert upstream.deadline() is None, "now it waits for a receipt"


def test_with_too_many_spans_live_telemetry_waits_in_order() -> None:
    spans = Spans.of(Span(2 * number, 2 * number) for number in range(1, JUMP_SPANS_MAX + 2))
    top = spans.top
    upstream = an_upstream(*telemetry(*range(top + 1, top + 9)), received=Received((Spans(), spans)))
    frames = sent(upstream, at(0))
    assert said(frames)[0] == (BULK, Span(top + 1, top + 3), [top + 1, top + 2, top + 3], False)
    few = Spans(spans.spans[:JUMP_SPANS_MAX])
    upstream = an_upstream(*telemetry(*range(top + 1, top + 9)), received=Received((Spans(), few)))
    assert said(sent(upstream, at(0)))[0][3], "here it jumps: the first frame is of the backlog"


def test_what_has_arrived_is_forgotten_at_welcome() -> None:
    upstream = Upstream(FakeOutbox(), SETTINGS)
    assert upstream.welcomed(2, Received((Spans.upto(9), Spans.read("1-4,6-7"))), CHRONOLOGY) == [
        Prune(lane=0, first=1, through=9),
        Prune(lane=1, first=1, through=4),
        Prune(lane=1, first=6, through=7),
    ]


def test_an_outbox_hears_what_the_cloud_has_before_it_is_asked_for_more() -> None:
    outbox = FakeOutbox(out={3, 4})
    upstream = Upstream(outbox, SETTINGS)
    upstream.welcomed(2, Received((Spans.upto(9), Spans.read("1-4,6-7"))), CHRONOLOGY)
    assert (outbox.settled, outbox.out) == ([(0, Span(1, 9)), (1, Span(1, 4)), (1, Span(6, 7))], set())
    upstream.welcomed(1, Received((Spans.upto(9), Spans.upto(9))), CHRONOLOGY)
    assert outbox.settled == [(None, Span(1, 9))]


@pytest.mark.parametrize("knows", [True, False])
def test_only_what_goes_into_a_frame_stays_taken(knows: bool) -> None:
    """A look takes many rows, and a frame has room for a few: the others may still be dropped for what is new."""
    outbox = FakeOutbox()
    outbox.add(*(block(2 * number, 2) for number in range(1, 11)))
    upstream = Upstream(outbox, replace(SETTINGS, reports_max=9, readings_max=5))
    upstream.welcomed(2, Received(), CHRONOLOGY, blocks=knows)
    told = said(sent(upstream, at(0)))
    if knows:
        assert told == [(BULK, Span(1, 4), [2, 4], True)]
        assert outbox.out == {2, 4}
    else:
        assert told == [(BULK, Span(1, 5), [1, 2, 3, 4, 5], True)]
        assert outbox.out == {2, 4, 6}, "also a block of which only a part went"


def test_a_look_at_a_hole_takes_nothing_behind_it() -> None:
    outbox = FakeOutbox()
    outbox.add(*(block(2 * number, 2) for number in range(1, 11)))
    upstream = Upstream(outbox, replace(SETTINGS, reports_max=9))
    upstream.welcomed(2, Received((Spans(), Spans.read("1-2,7-20"))), CHRONOLOGY, blocks=True)
    assert said(sent(upstream, at(0))) == [(BULK, Span(3, 6), [4, 6], True)]
    assert outbox.out == {4, 6}


@pytest.mark.parametrize("text", ["2-4", "1-2,4-5"])
def test_a_prompt_lane_in_pieces_is_nothing_that_a_cloud_can_have(text: str) -> None:
    upstream = Upstream(FakeOutbox(), SETTINGS)
    with pytest.raises(ProtocolError, match="in pieces"):
        upstream.welcomed(2, Received((Spans.read(text), Spans())), CHRONOLOGY)


@pytest.mark.parametrize(
    "receipt",
    [
        Receipt(lane=0, first=1, through=2),
        Receipt(lane=1, first=2, through=3),
        Receipt(lane=1, first=1, through=2),
        Receipt(lane=1, first=1, through=9),
        Receipt(through=3),
    ],
)
def test_a_receipt_for_what_was_not_sent_is_refused(receipt: Receipt) -> None:
    upstream = an_upstream(*telemetry(1, 2, 3))
    (frame,) = sent(upstream, at(0))
    with pytest.raises(ProtocolError, match="not sent"):
        upstream.receipt(receipt)
    upstream.receipt(receipt_of(frame))
    with pytest.raises(ProtocolError, match="not sent"):
        upstream.receipt(receipt_of(frame))


@given(st.data())
def test_over_any_cuts_everything_arrives_once_in_order_and_in_few_spans(data: st.DataObject) -> None:
    """Sessions end anywhere: frames sent and never received, received and never receipted."""
    outbox = FakeOutbox()
    received, effects, seq = Received(), list[tuple[int, int]](), 0

    def grow() -> None:
        nonlocal seq
        for kind in data.draw(st.lists(st.sampled_from(["telemetry", "telemetry", "event"]), max_size=6)):
            seq += 1
            outbox.add(Item(seq=seq, kind=kind))

    for cut in [*data.draw(st.lists(st.integers(0, 8), max_size=12)), None]:
        grow()
        upstream, intake = Upstream(outbox, SETTINGS), Intake(2, received)
        for prune in upstream.welcomed(2, received, CHRONOLOGY):
            forget(outbox, prune)
        turn = 0
        while cut is None or turn < cut:
            turn += 1
            if cut is not None:
                grow()
            frames = sent(upstream, at(turn))
            for frame in frames if cut is None else frames[: data.draw(st.integers(0, len(frames)))]:
                intake.take(frame, at(turn))
            commit = intake.commit("i")
            if commit is None:
                break
            for lane, span in commit.covered:
                received = received.add(lane, span)
            effects += [(PROMPT if d.report.kind == "event" else BULK, d.report.seq) for d in commit.reports]
            receipts = intake.committed()
            if cut is not None and len(frames) != len(commit.covered):
                break
            for receipt in receipts:
                forget(outbox, upstream.receipt(receipt))
    assert sorted(number for _, number in effects) == list(range(1, seq + 1))
    prompt = [number for lane, number in effects if lane == PROMPT]
    assert prompt == sorted(prompt)
    assert len(received.lanes[BULK]) <= SPANS_MAX
    assert not outbox.items


def forget(outbox: FakeOutbox, prune: Prune) -> None:
    outbox.items = [
        item for item in outbox.items if item.lane != prune.lane or not prune.first <= item.seq <= prune.through
    ]


DEVICE = DeviceName(namespace="default", name="boiler", uid="uid")


def block(last: int, count: int, *, ago_ms: int = 0) -> Item:
    """With the numbers up to `last`, which are also the readings' own."""
    readings = tuple(
        BlockReading(DEVICE, "p", seq, str(seq), "INT", "good", "", seq, None, ago_ms + last - seq)
        for seq in range(last - count + 1, last + 1)
    )
    return Item(seq=last, kind=TELEMETRY_BLOCK, body=encode_block(readings))


def told_readings(frames: list[Reports]) -> list[int]:
    found: list[int] = []
    for report in (report for frame in frames for report in frame.reports):
        if report.kind == TELEMETRY_BLOCK:
            seqs = [reading.seq for reading in decode_block(report.body)]
            assert seqs == list(range(report.seq - len(seqs) + 1, report.seq + 1)), "each has its own number"
            found += seqs
        else:
            assert decode_telemetry(report.body).seq == report.seq
            found.append(report.seq)
    return found


@pytest.mark.parametrize("knows", [True, False])
@given(data=st.data())
def test_readings_of_blocks_are_told_once_whatever_was_received_of_them(data: st.DataObject, knows: bool) -> None:
    outbox = FakeOutbox()
    last = 0
    for count in data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)):
        last += count
        outbox.add(block(last, count))
    cuts = sorted(data.draw(st.sets(st.integers(1, last), max_size=4)))
    had = Spans()
    for first, through in zip(cuts[::2], cuts[1::2], strict=False):
        had = had.add(Span(first, through))
    upstream = Upstream(outbox, replace(SETTINGS, readings_max=3, backlog_frames=2))
    upstream.welcomed(2, Received((Spans(), had)), CHRONOLOGY, blocks=knows)
    intake = Intake(2, Received((Spans(), had)))
    found: list[int] = []
    while frames := sent(upstream, at(0)):
        for frame in frames:
            intake.take(frame, at(0))
            upstream.receipt(receipt_of(frame))
        found += told_readings(frames)
    received = {seq for span in had.spans for seq in range(span.first, span.through + 1)}
    assert sorted(found) == sorted(set(range(1, last + 1)) - received)


def test_a_reading_told_alone_is_as_old_as_it_is() -> None:
    outbox = FakeOutbox()
    outbox.add(replace(block(3, 3, ago_ms=10), wall_ms=1000, monotonic_ms=500))
    for knows, ages in ((False, [512, 511, 510]), (True, [500])):
        upstream = Upstream(outbox, SETTINGS)
        upstream.welcomed(2, Received(), CHRONOLOGY, blocks=knows)
        (frame,) = sent(upstream, at(1))
        assert [report.age_ms for report in frame.reports] == ages
        assert [report.wall_ms for report in frame.reports] == [1500 - age for age in ages]


def test_readings_count_where_a_frame_or_a_short_backlog_is_full() -> None:
    upstream = an_upstream(block(2, 2), block(4, 2), block(6, 2), settings=replace(SETTINGS, readings_max=4))
    upstream.welcomed(2, Received(), CHRONOLOGY, blocks=True)
    frames = sent(upstream, at(0))
    assert [(frame.span, frame.late) for frame in frames] == [(Span(1, 4), True)], "six are a long one"


def test_what_is_no_block_any_more_does_not_hold_up_the_rest() -> None:
    broken = block(2, 2)
    items = (replace(broken, body=broken.body[:5]), block(4, 2))
    upstream = an_upstream(*items)
    upstream.welcomed(2, Received(), CHRONOLOGY)
    (frame,) = sent(upstream, at(0))
    assert [report.seq for report in frame.reports] == [2, 3, 4]
    Intake(2, Received()).take(frame, at(0))
