"""How much longer a gateway may run what is lent to it."""

from __future__ import annotations

import pytest

from edgecore.pods.lending import ASK_S_MAX, ASK_S_MIN, REFUSED_S_MAX, Lending
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.pod_leases import Question, answer, left_of


def lent(boot: str = "b", kept: JsonObject | None = None) -> Lending:
    return Lending(boot, kept or {})


def test_an_answer_counts_from_when_it_was_asked_for() -> None:
    lending = lent()
    lending.answered({"p": 60.0}, asked={"p": ""}, asked_s=100.0, now_s=150.0)
    assert lending.left_s("p", "", 150.0) == 10.0
    assert lending.left_s("p", "", 161.0) == 0.0
    assert lending.left_s("another", "", 150.0) == 0.0


def test_what_was_lent_is_not_taken_back_and_what_was_not_asked_for_is_not_taken() -> None:
    lending = lent()
    lending.answered({"p": 60.0, "q": 60.0}, asked={"p": ""}, asked_s=100.0, now_s=100.0)
    lending.answered({}, asked={"p": ""}, asked_s=110.0, now_s=110.0)
    assert lending.left_s("p", "", 110.0) == 50.0
    assert lending.left_s("q", "", 110.0) == 0.0


def test_it_lasts_over_a_restart_and_not_over_a_boot() -> None:
    lending = lent()
    lending.answered({"p": 60.0}, asked={"p": ""}, asked_s=100.0, now_s=100.0)
    assert lent("b", lending.shown()).left_s("p", "", 110.0) == 50.0
    assert lent("another", lending.shown()).left_s("p", "", 5.0) == 0.0
    assert lent("", Lending("", lending.shown()).shown()).left_s("p", "", 5.0) == 0.0, "boots can't be told apart"


def test_how_long_ago_it_ended_is_told_over_a_restart_and_after_a_boot_it_was_before_that() -> None:
    lending = lent()
    lending.answered({"p": 60.0}, asked={"p": ""}, asked_s=100.0, now_s=100.0)
    assert (lending.over_s("p", "", 159.0), lending.over_s("p", "", 160.0), lending.over_s("p", "", 200.0)) == (
        0,
        0,
        40,
    )
    assert lent("b", lending.shown()).over_s("p", "", 200.0) == 40.0
    assert lent("another", lending.shown()).over_s("p", "", 5.0) == 5.0
    assert lending.over_s("p", "60/x", 200.0) == 0.0, "nobody counts on its end"
    lending.asks({"p": "60/x"}, 200.0)
    assert (lending.over_s("p", "60/x", 250.0), lending.over_s("p", "", 275.0)) == (0.0, 15.0)


def test_it_asks_often_enough_that_a_lost_question_ends_nothing_and_seldom_enough() -> None:
    lending = lent()
    lending.answered({"p": 60.0, "q": 3000.0}, asked={"p": "", "q": ""}, asked_s=0.0, now_s=0.0)
    assert lending.ask_again_s({"p": "", "q": ""}, 0.0) == 12.0
    assert lending.ask_again_s({"q": ""}, 0.0) == ASK_S_MAX
    assert lending.ask_again_s({"p": ""}, 59.9) == ASK_S_MIN
    waits: list[float] = []
    for _ in range(8):
        lending.answered({}, asked={"r": ""}, asked_s=0.0, now_s=0.0)
        waits.append(lending.ask_again_s({"r": ""}, 0.0))
    assert waits == sorted(waits)
    assert waits[-1] == REFUSED_S_MAX
    lending.hasten()
    assert lending.ask_again_s({"r": ""}, 0.0) == 1.0


@pytest.mark.parametrize("body", [b'{"leftMs": {"p": -5, "q": 0}}', b'{"leftMs": []}', b"{}"])
def test_an_answer_that_lends_nothing_lends_nothing(body: bytes) -> None:
    assert left_of(body) == {}


@pytest.mark.parametrize("body", [b'{"leftMs": ' + b"[" * 60_000, b"not json", b"\xff"])
def test_an_answer_that_is_no_json_is_an_error_that_is_heeded(body: bytes) -> None:
    with pytest.raises(InvalidError):
        left_of(body)


def test_no_answer_lends_more_than_the_longest_lease() -> None:
    assert left_of(answer({"p": 10**12})) == {"p": 3600.0}
    asked = Question(pods=("b", "a"), untold={"b": "60/x"})
    assert Question.decode(asked.encode()) == Question(pods=("a", "b"), untold={"b": "60/x"})


def test_what_ran_before_it_was_lent_runs_on_until_it_is_asked_for() -> None:
    lending = lent()
    assert lending.left_s("p", "60/x", 100.0) is None
    assert lending.ask_again_s({"p": "60/x"}, 100.0) == 1.0, "it is asked for soon"
    assert lending.asks({"p": "60/x", "q": ""}, 100.0)
    assert lending.left_s("p", "60/x", 110.0) == 50.0
    assert not lending.asks({"p": "60/x", "q": ""}, 110.0), "its end counts from the first question"
    assert lending.left_s("p", "60/x", 160.0) == 0.0
    assert lending.left_s("p", "", 110.0) == 50.0, "the question arrived, and its answer did not"
    assert lending.left_s("q", "", 110.0) == 0.0


def test_an_answer_counts_beside_the_first_question() -> None:
    lending = lent()
    lending.asks({"p": "60/x"}, 100.0)
    lending.answered({"p": 40.0}, asked={"p": "60/x"}, asked_s=100.0, now_s=101.0)
    assert lending.left_s("p", "", 110.0) == 50.0, "nobody counts on an earlier end"
    lending.answered({"p": 60.0}, asked={"p": ""}, asked_s=120.0, now_s=120.0)
    assert lending.left_s("p", "", 130.0) == 50.0


def test_a_mark_that_goes_and_comes_back_counts_from_its_first_question_and_another_anew() -> None:
    lending = lent()
    lending.asks({"p": "60/x"}, 100.0)
    assert lending.left_s("p", "60/x", 130.0) == 30.0
    assert lending.left_s("p", "60/y", 1000.0) is None, "a mark that nobody was asked by"
    lending.asks({"p": "60/y"}, 1000.0)
    assert lending.left_s("p", "60/y", 1010.0) == 50.0


def test_a_first_question_lasts_over_a_restart_and_what_it_gave_not_over_a_boot() -> None:
    lending = lent()
    lending.asks({"p": "60/x"}, 100.0)
    kept = lending.shown_asked()
    assert Lending("b", {}, kept).left_s("p", "60/x", 110.0) == 50.0
    another = Lending("another", {}, kept)
    assert another.left_s("p", "60/x", 5.0) == 0.0, "somebody may have counted on its end since"
    assert another.left_s("q", "60/z", 5.0) is None, "nobody was asked"
    another.doubt({"q": "60/z"})
    assert another.left_s("q", "60/z", 5.0) == 0.0
    assert Lending("", {}, Lending("", {}, kept).shown_asked()).left_s("p", "60/x", 5.0) == 0.0


@pytest.mark.parametrize("untold", ["true", "/x", "-1/x", "9" * 5000 + "/x", "٣/x"])
def test_a_mark_that_makes_no_sense_gives_no_time(untold: str) -> None:
    lending = lent()
    lending.asks({"p": untold}, 100.0)
    assert lending.left_s("p", untold, 100.0) == 0.0
