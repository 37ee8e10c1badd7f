"""How far a sink is, over refusals and what the history gave up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from cloudcore.sinks.halving import Refusal, Sent, send_halving
from cloudcore.sinks.port import RefusedRowsError
from cloudcore.sinks.progress import Held, HeldError, Progress, failing, paused, sending, within
from cloudcore.sinks.rows import Row
from cloudcore.store.port import StoredRecord
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from tests.cloudcore.sinks.test_forms import ROW


def records(*numbers: int) -> list[StoredRecord]:
    return [StoredRecord(series="d/p/t", number=number, at_ms=0, body=b"{}") for number in numbers]


def rows(*numbers: int) -> list[Row]:
    return [replace(ROW, number=number) for number in numbers]


@dataclass
class Picky:
    bad: set[int]
    formless: set[int] = field(default_factory=set[int])
    gone_at: int = 0
    calls: list[list[int]] = field(default_factory=list[list[int]])

    async def send(self, rows: Sequence[Row]) -> int:
        numbers = [row.number for row in rows]
        self.calls.append(numbers)
        if self.gone_at in numbers and not self.bad.intersection(numbers):
            raise UnavailableError("gone")
        if self.bad.intersection(numbers):
            raise RefusedRowsError("no")
        return len(self.formless.intersection(numbers))

    async def close(self) -> None: ...


async def test_rows_at_fault_are_found_in_halves_and_the_others_are_sent_in_order() -> None:
    picky, sent = Picky({3}, formless={5}), Sent()
    await send_halving(picky, rows(1, 2, 3, 4, 5, 6), sent, refused_max=100)
    assert picky.calls == [[1, 2, 3, 4, 5, 6], [1, 2, 3], [1], [2, 3], [2], [3], [4, 5, 6]]
    assert (sent.taken, sent.skipped, sent.through, sent.proves_nothing) == (4, 1, 6, False)
    assert [refusal.row.number for refusal in sent.refused] == [3]


async def test_it_ends_where_many_were_refused_and_none_was_taken() -> None:
    sent = Sent()
    await send_halving(Picky(set(range(1, 65))), rows(*range(1, 65)), sent, refused_max=3)
    assert (len(sent.refused), sent.through, sent.proves_nothing) == (3, 3, True)
    sent = Sent()
    await send_halving(Picky(set(range(2, 65))), rows(*range(1, 65)), sent, refused_max=3)
    assert (sent.taken, len(sent.refused), sent.through) == (1, 63, 64), "here one is: they are at fault"


async def test_what_is_done_is_known_where_the_rest_fails() -> None:
    sent = Sent()
    with pytest.raises(UnavailableError):
        await send_halving(Picky({4}, gone_at=3), rows(1, 2, 3, 4), sent, refused_max=9)
    assert (sent.taken, sent.through, sent.refused) == (2, 2, [])


def test_what_lacks_between_numbers_was_trimmed() -> None:
    progress = Progress(cursor=10, trimmed=1)
    moved = progress.moved(records(13, 14, 17), 14)
    assert (moved.cursor, moved.trimmed) == (14, 3)
    assert (progress.moved((), 20).cursor, progress.moved((), 20).trimmed) == (20, 11)


def test_what_became_of_rows_is_added() -> None:
    (row,) = rows(3)
    sent = Sent(taken=5, skipped=2, refused=[Refusal(row, "old"), Refusal(row, "no")])
    counted = Progress(cursor=1, sent=1, skipped=1, refused=1, last_refused="before").counted(sent)
    assert (counted.sent, counted.skipped, counted.refused) == (6, 3, 3)
    assert counted.last_refused == "plant/pump-1/flow of 2026-09-21T14:13:20.000000Z: no"
    assert counted.counted(Sent(taken=1)).last_refused == counted.last_refused
    assert len(Refusal(row, "x" * 900).text) == 500


HELD = Held.of(records(11, 13, 14, 15), Sent(skipped=1, refused=[Refusal(r, "no") for r in rows(13, 14)], through=14))


def test_rows_that_wait_are_known_by_the_first_of_them_and_by_how_many_there_are() -> None:
    assert (HELD.first.row.number, HELD.last.row.number, HELD.before, HELD.through) == (13, 14, 2, 14)
    assert (HELD.records, HELD.refused, HELD.skipped) == (3, 2, 1)
    more = HELD.widened(records(15, 18), Sent(refused=[Refusal(rows(18)[0], "never")], skipped=1))
    assert (more.first, more.last.why, more.before, more.through) == (HELD.first, "never", 2, 18)
    assert (more.records, more.refused, more.skipped) == (5, 3, 2)
    same = HELD.widened((), Sent())
    assert same == HELD


def test_when_the_first_is_taken_it_goes_on_from_there() -> None:
    told = HELD.first_taken(Progress(cursor=10, sent=3, trimmed=4), skipped=0)
    assert (told.cursor, told.sent, told.skipped, told.refused, told.trimmed) == (13, 4, 0, 0, 5)
    assert HELD.first_taken(Progress(cursor=10), skipped=1).sent == 0


def test_when_another_is_taken_they_are_counted_and_passed_over() -> None:
    told = HELD.passed_over(Progress(cursor=10, refused=7, skipped=2, trimmed=4))
    assert (told.cursor, told.refused, told.skipped, told.trimmed) == (14, 9, 3, 5)
    assert told.last_refused.endswith(": no")


def test_a_batch_has_no_more_bytes_than_it_may_have_and_one_row_at_least() -> None:
    found = records(1, 2, 3, 4)
    assert [len(within(found, most)) for most in (1, 2, 3, 4, 8, 99)] == [1, 1, 1, 2, 4, 4]
    assert within((), 9) == ()


def test_a_status_is_read_back() -> None:
    told = Progress(cursor=5, sent=4, skipped=3, refused=2, trimmed=1, last_refused="x", behind=9)
    assert Progress.of({"status": told.shown()}, newest=50) == replace(told, behind=0)
    assert Progress.of({"status": told.shown()}, newest=3).cursor == 3, "a store that was restored has fewer"
    assert Progress.of({}, newest=8) == Progress(cursor=8)
    assert "lastRefused" not in Progress(cursor=1).shown()


def test_readiness_has_its_reason() -> None:
    sink: JsonObject = {"metadata": {"generation": 4}}
    assert (sending(sink).status, sending(sink).reason, sending(sink).observed_generation) == ("True", "Sending", 4)
    assert (paused(sink).status, paused(sink).reason) == ("False", "Paused")
    assert (
        failing(sink, UnavailableError("x" * 900)).reason,
        len(failing(sink, UnavailableError("x" * 900)).message),
    ) == (
        "Failing",
        500,
    )
    assert failing(sink, HeldError("none")).reason == "Refused"
