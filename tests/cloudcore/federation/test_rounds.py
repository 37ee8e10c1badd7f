"""Whose turn it is, among the rows of a member that is dialled."""

from __future__ import annotations

from cloudcore.federation.rounds import AGAIN_S, FIRST_S, MOST_S, SOON_S, Rounds


def test_what_is_in_order_is_looked_at_again_from_time_to_time() -> None:
    rounds = Rounds()
    for _ in range(9):
        rounds.settled("a", 1, 0.0, news=False)
    assert rounds.due({"a": 1, "b": 1}, AGAIN_S - 1) == ["b"]
    assert rounds.due({"a": 1, "b": 1}, AGAIN_S) == ["a", "b"]


def test_news_are_looked_after_soon_and_then_ever_later() -> None:
    def waits(rounds: Rounds, *, news: bool) -> float:
        rounds.settled("a", 1, 0.0, news=news)
        return next(second for second in range(1000) if rounds.due({"a": 1}, second))

    rounds = Rounds()
    assert [waits(rounds, news=number == 0) for number in range(5)] == [SOON_S, 20, 40, AGAIN_S, AGAIN_S]
    assert waits(rounds, news=True) == SOON_S
    assert waits(rounds, news=False) == 2 * SOON_S
    rounds.failed("a", 1, 0.0)
    assert waits(rounds, news=False) == SOON_S, "it has come into order"


def test_a_change_of_what_is_wanted_is_tried_at_once() -> None:
    rounds = Rounds()
    rounds.failed("a", 1, 0.0)
    assert rounds.due({"a": 1}, 1.0) == []
    assert rounds.due({"a": 2}, 1.0) == ["a"]


def test_what_failed_waits_ever_longer_and_comes_after_the_others() -> None:
    rounds = Rounds()
    waits = [rounds.failed("a", 1, 0.0) for _ in range(8)]
    assert waits[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert waits[-1] == MOST_S
    assert rounds.due({"a": 1, "b": 1}, MOST_S) == ["b", "a"]
    rounds.settled("a", 1, 0.0, news=True)
    assert rounds.failed("a", 1, 0.0) == FIRST_S


def test_a_row_that_is_gone_is_forgotten() -> None:
    rounds = Rounds()
    rounds.failed("a", 1, 0.0)
    rounds.due({}, 0.0)
    assert rounds.failures("a") == 0


def test_what_is_served_nowhere_is_looked_for_at_every_pass() -> None:
    rounds = Rounds()
    assert [rounds.missing("a", 1, 0.0) for _ in range(8)] == [FIRST_S] * 8
    assert rounds.due({"a": 1}, FIRST_S) == ["a"]
