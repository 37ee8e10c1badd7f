"""What an edge may report: nothing twice, nothing out of order in the prompt lane, nothing without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import ProtocolError
from skerry.frozen import replace
from skerry.objects.spans import Span, Spans
from skerry.sync.intake import (
    COMMIT_REPORTS_MAX,
    FRAME_READINGS_MAX,
    LATE_AFTER,
    WAITING_BYTES_MAX,
    WAITING_FRAMES_MAX,
    WAITING_REPORTS_MAX,
    Intake,
)
from skerry.sync.received import Received
from skerry.wire.frames import BULK, PROMPT, SPANS_MAX, Receipt, Report, Reports
from tests.skerry.sync.conversation import at

HELD = Received((Spans.upto(10), Spans.read("1-10,21-30")))


def report(seq: int, kind: str = "telemetry", body: bytes = b"{}") -> Report:
    return Report(seq=seq, kind=kind, key="k", body=body, wall_ms=1, age_ms=0)


def frame(lane: int, first: int, *seqs: int, through: int = 0) -> Reports:
    return Reports(reports=tuple(report(seq) for seq in seqs), lane=lane, first=first, through=through)


def seqs(intake: Intake) -> list[int]:
    commit = intake.commit("i")
    return [dated.report.seq for dated in commit.reports] if commit else []


def test_frames_of_both_lanes_are_committed_together_and_receipted_each() -> None:
    intake = Intake(2, HELD)
    for taken in (frame(0, 11, 12), frame(0, 13, 14, 15), frame(1, 31, 33), frame(1, 11, through=20)):
        intake.take(taken, at(0))
    assert (commit := intake.commit("i"))
    assert commit.covered == ((0, Span(11, 12)), (0, Span(13, 15)), (1, Span(31, 33)), (1, Span(11, 20)))
    assert [dated.report.seq for dated in commit.reports] == [12, 14, 15, 33]
    assert intake.commit("i") is None, "one at a time"
    assert intake.committed() == (
        Receipt(lane=0, first=11, through=15),
        Receipt(lane=1, first=31, through=33),
        Receipt(lane=1, first=11, through=20),
    )
    assert intake.commit("i") is None


def test_what_is_of_now_goes_before_a_backlog_and_either_has_a_receipt_of_its_own() -> None:
    intake = Intake(2, HELD)
    late = replace(frame(1, 31, 31, through=40), late=True)
    for taken in (replace(frame(1, 11, through=20), late=True), late, frame(1, 41, 41), frame(0, 11, 12)):
        intake.take(taken, at(0))
    assert seqs(intake) == [41, 12]
    assert intake.committed() == (Receipt(lane=1, first=41, through=41), Receipt(lane=0, first=11, through=12))
    intake.take(frame(1, 42, 42), at(0))
    assert seqs(intake) == [42], "also what came later"
    assert intake.committed() == (Receipt(lane=1, first=42, through=42),)
    assert seqs(intake) == [31]
    assert intake.committed() == (Receipt(lane=1, first=11, through=20), Receipt(lane=1, first=31, through=40))


def test_a_backlog_has_its_turn_beside_live_reports_that_never_end() -> None:
    intake = Intake(2, HELD)
    for number in (11, 12):
        intake.take(replace(frame(1, number, number), late=True), at(0))
    committed: list[list[int]] = []
    for number in range(31, 43):
        intake.take(frame(1, number, number), at(0))
        committed.append(seqs(intake))
        intake.committed()
        if number == 37:
            intake.take(replace(frame(1, 13, 13), late=True), at(0))
    live = [[number] for number in range(31, 35)]
    assert committed[: LATE_AFTER + 1] == [*live, [11, 12]]
    assert committed[5:7] == [[35, 36], [37]], "nothing of it waited"
    assert committed[7:] == [[38], [39], [40], [41], [13]]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (frame(2, 11, 11), "lane 2"),
        (frame(0, 0, 11), "account for 0"),
        (frame(0, 11), "account for 11 to 0"),
        (frame(1, 35, 34), "account for 35 to 34"),
        (frame(0, 11, 12, 12), "report 12 after 12"),
        (frame(0, 11, 13, through=12), "report 13 after 10"),
        (frame(0, 10, 11), "received before"),
        (frame(0, 12, 12), "report 12 of the prompt lane after 10"),
        (frame(1, 15, 21), "received before"),
        (frame(1, 20, 20, through=40), "received before"),
    ],
)
def test_what_an_edge_may_not_say(bad: Reports, why: str) -> None:
    intake = Intake(2, HELD)
    with pytest.raises(ProtocolError, match=why):
        intake.take(bad, at(0))
    intake.take(frame(0, 11, 11), at(0))
    assert seqs(intake) == [11], "what was refused left nothing"


def test_what_waits_for_a_commit_counts_as_received() -> None:
    intake = Intake(2, HELD)
    intake.take(frame(1, 40, 41), at(0))
    with pytest.raises(ProtocolError, match="received before"):
        intake.take(frame(1, 41, 42), at(0))


def test_a_lane_in_too_many_spans_is_refused_and_one_that_closes_a_hole_is_not() -> None:
    spans = Spans.of(Span(3 * number, 3 * number) for number in range(1, SPANS_MAX + 1))
    intake = Intake(2, Received((Spans(), spans)))
    with pytest.raises(ProtocolError, match="more than 64 spans"):
        intake.take(frame(1, 1, 1), at(0))
    intake.take(frame(1, 4, through=5), at(0))
    intake.take(frame(1, 1, 1), at(0))


@pytest.mark.parametrize("lanes", [1, 2])
def test_an_edge_that_waits_for_no_receipt_is_stopped(lanes: int) -> None:
    big = b"x" * (1024 * 1024)

    def fill(intake: Intake, per_frame: int, body: bytes) -> int:
        frames = 0
        while True:
            first = 11 + frames * per_frame
            reports = tuple(report(first + n, body=body) for n in range(per_frame))
            try:
                intake.take(Reports(reports=reports, first=first if lanes == 2 else 0), at(0))
            except ProtocolError as error:
                assert "more reports without a receipt" in str(error)
                return frames
            frames += 1

    assert fill(Intake(lanes, Received.upto(10)), 1, b"") == WAITING_FRAMES_MAX
    assert fill(Intake(lanes, Received.upto(10)), 1024, b"") == WAITING_REPORTS_MAX // 1024
    assert fill(Intake(lanes, Received.upto(10)), 1, big) == WAITING_BYTES_MAX // (1024 * 1024) - 1


def test_room_comes_back_with_the_commit_and_a_transaction_is_bounded() -> None:
    intake = Intake(2, Received())
    for turn in range(3):
        first = turn * 8192 + 1
        for part in (first, first + 4096):
            intake.take(frame(0, part, *range(part, part + 4096)), at(0))
        assert len(seqs(intake)) == 4096, f"no second frame joins {COMMIT_REPORTS_MAX}"
        intake.committed()
        assert len(seqs(intake)) == 4096
        intake.committed()


def test_version_1_counts_for_every_lane_and_says_receipts_its_way() -> None:
    intake = Intake(1, Received.upto(3))
    intake.take(Reports(reports=()), at(0))
    intake.take(Reports(reports=(report(5), report(6, "event"))), at(0))
    intake.take(Reports(reports=(report(9),)), at(0))
    assert (commit := intake.commit("i"))
    assert commit.covered == ((0, Span(4, 6)), (1, Span(4, 6)), (0, Span(7, 9)), (1, Span(7, 9)))
    assert intake.committed() == (Receipt(through=9),)
    for bad in ((5,), (10, 10), (11, 10)):
        with pytest.raises(ProtocolError, match="after"):
            intake.take(Reports(reports=tuple(report(seq) for seq in bad)), at(0))


def test_a_version_1_edge_repeats_what_version_2_brought_and_it_counts_once() -> None:
    """An agent that was taken back to 0.1.0: its cloud knows more than one position can say."""
    intake = Intake(1, Received((Spans.upto(20), Spans.read("1-10,18-22"))))
    oversize = report(14, "oversize", b'{"kind":"telemetry","bytes":2000000}')
    told = (report(11), report(12, "event"), oversize, report(18), report(20, "pod_status"), report(23))
    intake.take(Reports(reports=told), at(0))
    assert (commit := intake.commit("i"))
    assert [dated.report.seq for dated in commit.reports] == [11, 14, 23]
    assert commit.covered == ((0, Span(21, 23)), (1, Span(11, 17)), (1, Span(23, 23)))
    assert intake.committed() == (Receipt(through=23),)
    damaged = (report(24, "oversize", b"not JSON"), report(25, "oversize", b"[]"))
    intake.take(Reports(reports=damaged), at(0))
    assert seqs(intake) == [24, 25]


def test_a_report_is_dated_by_its_age_and_never_before_time_began() -> None:
    intake = Intake(2, Received())
    reports = (replace(report(1), age_ms=1500), replace(report(2), age_ms=2**62))
    intake.take(Reports(reports=reports, first=1), at(9))
    assert (commit := intake.commit("i"))
    assert [dated.at_ms for dated in commit.reports] == [at(9).wall_ms - 1500, 0]


STEPS = st.lists(st.tuples(st.sampled_from([PROMPT, BULK]), st.integers(0, 40), st.integers(0, 40)), max_size=40)


@given(STEPS, st.data())
def test_whatever_an_edge_sends_nothing_takes_effect_twice(
    steps: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    intake = Intake(2, HELD)
    effects: list[tuple[int, int]] = []

    def commit() -> bool:
        if found := intake.commit("i"):
            effects.extend((PROMPT if d.report.kind == "event" else BULK, d.report.seq) for d in found.reports)
            intake.committed()
        return found is not None

    for lane, first, through in steps:
        seqs = data.draw(st.lists(st.integers(max(first, 1), max(first, through, 1)), unique=True).map(sorted))
        reports = tuple(report(seq, "event" if lane == PROMPT else "telemetry") for seq in seqs)
        try:
            intake.take(Reports(reports=reports, lane=lane, first=first, through=through), at(0))
        except ProtocolError:
            continue
        if data.draw(st.booleans()):
            commit()
    while commit():
        pass
    assert len(effects) == len(set(effects))
    assert not [seq for lane, seq in effects if seq in HELD.lanes[lane]]
    prompt = [seq for lane, seq in effects if lane == PROMPT]
    assert prompt == sorted(prompt)


def of_block(seq: int, count: int) -> Report:
    return report(seq, "telemetry_block", b"\x01" + count.to_bytes(2, "little"))


def test_each_reading_of_a_block_counts_where_a_transaction_is_full() -> None:
    intake = Intake(2, Received())
    for number in (1, 2, 3):
        of = Reports(reports=(of_block(number * 512, 512),), lane=1, first=number * 512 - 511)
        intake.take(of, at(0))
    assert COMMIT_REPORTS_MAX == 2 * 512
    assert seqs(intake) == [512, 1024]


def test_a_frame_has_no_more_readings_than_a_transaction_may_have() -> None:
    many = tuple(of_block(512 * number, 512) for number in range(1, FRAME_READINGS_MAX // 512 + 2))
    Intake(2, Received()).take(Reports(reports=many[:-1], lane=1, first=1), at(0))
    with pytest.raises(ProtocolError, match="readings in one frame"):
        Intake(2, Received()).take(Reports(reports=many, lane=1, first=1), at(0))
