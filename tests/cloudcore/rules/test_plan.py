"""Which message of a rule goes next, and what becomes of those that do not get through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.rules.plan import (
    BACKOFF_S_MAX,
    DEAD_LENGTH_MAX,
    DEAD_MAX,
    PATIENCE,
    Answer,
    Answered,
    GiveUp,
    Revive,
    Send,
    Unreached,
    Wait,
    after,
    beyond,
    given_up,
    in_order,
    next_step,
    revived,
    taken,
)
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.times import time_text

NOW_MS = 1_790_000_000_000
WITHIN_S = 3600


def message(order: int = 1, **status: str | int) -> JsonObject:
    return {
        "metadata": {"name": f"m{order}", "creationTimestamp": time_text(NOW_MS)},
        "spec": {"order": order, "heardTime": time_text(NOW_MS)},
        "status": {"phase": "Pending", **status},
    }


def failed(one: JsonObject, answer: Answer, *, at_ms: int = NOW_MS) -> JsonObject:
    return {**one, "status": after(one, answer, within_s=WITHIN_S, now_ms=at_ms)}


def step(*messages: JsonObject, at_s: float = 0) -> object:
    return next_step(in_order(messages), within_s=WITHIN_S, now_ms=NOW_MS + round(1000 * at_s))


def test_numbers_decide_and_not_times_which_are_estimates() -> None:
    early = message(2)
    early["spec"] = {**map_at(early, "spec"), "heardTime": time_text(NOW_MS - 5000)}
    assert step(early, message(1)) == Send(message=message(1))


def test_a_later_life_of_the_outbox_comes_after_the_one_before() -> None:
    before, after_it = message(100), message(1)
    before["spec"] = {**map_at(before, "spec"), "incarnation": "z"}
    after_it["spec"] = {**map_at(after_it, "spec"), "incarnation": "a"}
    after_it["metadata"] = {**map_at(after_it, "metadata"), "creationTimestamp": time_text(NOW_MS + 60_000)}
    assert in_order([after_it, before]) == [before, after_it]


def test_messages_go_in_the_order_in_which_they_were_heard() -> None:
    assert step(message(2), message(10), message(1)) == Send(message=message(1))
    assert step() == Wait(until_ms=None)


def test_the_others_wait_behind_one_that_is_not_reached() -> None:
    first = failed(message(1), Unreached(why="refused"))
    assert step(first, message(2)) == Wait(until_ms=NOW_MS + 1000)
    assert step(first, message(2), at_s=1) == Send(message=first)


@given(st.integers(1, 60))
def test_pauses_grow_to_a_bound(attempts: int) -> None:
    one = message(1)
    for _ in range(attempts):
        one = failed(one, Unreached(why="away"))
    waiting = step(one)
    assert isinstance(waiting, Wait)
    assert waiting.until_ms is not None
    assert waiting.until_ms - NOW_MS == round(1000 * min(BACKOFF_S_MAX, 2 ** (attempts - 1)))


def test_where_a_target_refuses_one_message_the_others_go_past_it_after_a_while() -> None:
    one = message(1)
    for number in range(PATIENCE):
        assert isinstance(step(one, message(2)), Send if not number else Wait)
        one = failed(one, Answered(status=500))
    assert step(one, message(2)) == Send(message=message(2))


def test_a_target_that_is_away_is_never_gone_past() -> None:
    one = message(1)
    for _ in range(3 * PATIENCE):
        one = failed(one, Unreached(why="away"))
    assert isinstance(step(one, message(2)), Wait)


@pytest.mark.parametrize("status", [400, 406, 410, 411, 413, 414, 415, 422, 431])
def test_an_answer_of_never_gives_a_message_up(status: int) -> None:
    one = failed(message(1), Answered(status=status, words="no\n such  thing"))
    assert str_at(one, "status", "phase") == "Dead"
    assert str_at(one, "status", "message") == f"the target answers {status}: no such thing"
    assert step(one, message(2)) == Send(message=message(2))


@pytest.mark.parametrize("status", [301, 308, 401, 403, 404, 408, 409, 429, 500, 502, 503, 504])
def test_an_answer_that_may_be_another_tomorrow_does_not(status: int) -> None:
    assert str_at(failed(message(1), Answered(status=status)), "status", "phase") == "Pending"


@pytest.mark.parametrize(("answer", "is_taken"), [(200, True), (202, True), (204, True), (199, False), (300, False)])
def test_what_is_of_the_200s_is_taken(answer: int, *, is_taken: bool) -> None:
    assert taken(Answered(status=answer)) is is_taken
    assert not taken(Unreached(why="away"))


def test_a_message_whose_time_is_over_is_given_up_with_what_was_wrong_last() -> None:
    one = failed(message(1), Unreached(why="refused"))
    assert step(one, at_s=WITHIN_S - 1) == Send(message=one)
    assert step(one, message(2), at_s=WITHIN_S) == GiveUp(message=one)
    status = given_up(one)
    assert (status["phase"], status["reason"]) == ("Dead", "Expired")
    assert status["message"] == "no more time; the target is not reached: refused"


def test_one_that_was_given_up_is_tried_again_where_somebody_wants_it() -> None:
    dead: JsonObject = {**message(1), "status": given_up(message(1))}
    assert step(dead) == Wait(until_ms=None)
    wanted: JsonObject = {**dead, "spec": {**map_at(dead, "spec"), "redeliver": True}}
    assert step(message(2), wanted) == Revive(message=wanted)
    later_ms = NOW_MS + 2 * 3_600_000
    again: JsonObject = {**dead, "status": revived(wanted, within_s=WITHIN_S, now_ms=later_ms)}
    assert next_step([again], within_s=WITHIN_S, now_ms=later_ms) == Send(message=again)


def test_of_what_was_given_up_the_newest_are_kept() -> None:
    dead = [message(order, phase="Dead") for order in range(DEAD_MAX + 2)]
    wanted: JsonObject = {**dead[1], "spec": {"redeliver": True}}
    waiting = message(7)
    assert beyond([dead[0], wanted, waiting, *dead[2:]]) == [dead[0]]
    assert beyond(dead[2:]) == []


def test_large_messages_that_were_given_up_have_less_room() -> None:
    half: JsonObject = {"payload": "x" * (DEAD_LENGTH_MAX // 2)}
    dead: list[JsonObject] = [
        {**message(order, phase="Dead"), "spec": {**half, "order": order}} for order in range(3)
    ]
    assert beyond(dead) == dead[:1]
