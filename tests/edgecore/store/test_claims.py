"""Rows of the outbox in hand: what a transaction has hold of is not given out, what was given out is not dropped."""

from __future__ import annotations

from collections.abc import Sequence

from edgecore.store.claims import Claims
from edgecore.store.packing import Tail, Tails
from edgecore.store.port import OutboxReport, ReportClass
from skerry.frozen import replace
from skerry.objects.blocks import TELEMETRY_BLOCK
from skerry.objects.spans import Span
from skerry.sync.ports import Taken


def row(seq: int, report_class: ReportClass = "telemetry") -> OutboxReport:
    return OutboxReport(
        seq=seq, report_class=report_class, kind="k", key="", body=b"", wall_ms=0, boot_id="b", monotonic_ms=0
    )


ROWS = [row(4), row(6), row(9)]


def given(claims: Claims, rows: Sequence[OutboxReport] = ROWS) -> Taken[OutboxReport]:
    return claims.take(lambda: rows, ("telemetry",), 0)


def growing(*seqs: int) -> Claims:
    return Claims(Tails(rows=tuple(Tail(seq=seq, readings=1, text=0, since_ms=0) for seq in seqs)))


def test_what_may_grow_now_and_what_follows_it_waits_for_the_transaction() -> None:
    claims = growing(6)
    claims.begin(10, packs=True)
    assert claims.growing == {6}
    assert given(claims) == Taken(items=ROWS[:1], complete=False)
    claims.end(None)
    assert given(claims) == Taken(items=ROWS, complete=True)


def test_a_transaction_without_readings_holds_nothing() -> None:
    claims = growing(6)
    claims.begin(10, packs=False)
    assert given(claims).complete


def test_what_was_given_out_grows_no_more() -> None:
    claims = growing(9)
    given(claims)
    claims.begin(10_000, packs=True)
    assert claims.growing == frozenset()


def test_while_some_of_a_class_are_dropped_none_of_it_is_given_out_and_what_is_out_stays() -> None:
    claims = Claims()
    given(claims, ROWS[:2])
    claims.begin(10, packs=False)
    assert claims.spared("telemetry") == {4, 6}
    assert given(claims) == Taken(items=(), complete=False)
    assert claims.take(lambda: [row(5, "event")], ("state", "event", "alarm"), 0).items, "the other lane goes on"
    claims.end(None)
    assert given(claims).items == ROWS


def test_what_arrived_is_out_no_more_in_its_own_lane() -> None:
    claims = Claims()
    given(claims)
    claims.arrived(1, 6, ("state", "event", "alarm"))
    assert claims.spared("telemetry") == {4, 6, 9}
    claims.arrived(5, 9, ("telemetry",))
    assert claims.spared("telemetry") == {4}
    claims.arrived(4, 4, ("telemetry",))
    assert claims.spared("telemetry") == frozenset()
    given(claims)
    claims.reset(Tails())
    assert claims.spared("telemetry") == frozenset()


def test_what_was_not_sent_after_all_and_what_lies_behind_is_spared_no_more() -> None:
    claims = Claims()
    rows = [*ROWS[:2], row(7)]
    assert claims.take(lambda: rows, ("telemetry",), 0, until=6).items == rows[:2]
    assert claims.spared("telemetry") == {4, 6}
    claims.give_back([6, 7])
    assert claims.spared("telemetry") == {4}


def test_a_session_that_begins_leaves_in_hand_only_what_the_cloud_has() -> None:
    """A link on which no receipt ever comes would otherwise keep all that is old."""
    block = replace(row(40), kind=TELEMETRY_BLOCK, body=b"\x01" + (10).to_bytes(2, "little"))
    cases: list[tuple[list[tuple[tuple[ReportClass, ...], Span]], set[int]]] = [
        ([], set()),
        ([(("state", "event"), Span(1, 99))], set()),
        ([(("telemetry",), Span(5, 6))], {6}),
        ([(("telemetry",), Span(1, 30))], {4, 6, 9}),
        ([(("telemetry",), Span(9, 31))], {9, 40}),
    ]
    claims = Claims()
    for settled, left in cases:
        claims = Claims()
        given(claims, [*ROWS, block])
        claims.welcomed(settled)
        assert claims.spared("telemetry") == left, settled
    claims.arrived(31, 40, ("telemetry",))
    assert claims.spared("telemetry") == {9}
