"""Waiting for a level, on a time of the test's own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from skerry.errors import InvalidError
from skerry.testkit.waiting import SEEN_MAX, Patience, UnmetError, eventually, patience, throughout


@dataclass
class Hours:
    now_s: float = 0.0

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


def test_the_first_true_answer_is_given() -> None:
    time = Hours()
    assert eventually(time, lambda: "there" if time.now_s >= 3 else None, Patience()) == "there"
    assert time.now_s == 3


def test_a_condition_is_looked_at_once_more_when_the_time_is_over() -> None:
    time = Hours()
    assert eventually(time, lambda: time.now_s == 0.6, Patience(within_s=0.6))


def test_what_is_not_there_yet_or_not_as_asserted_is_waited_for() -> None:
    time, found = Hours(), dict[str, int]()

    def condition() -> bool:
        if time.now_s >= 1:
            found["x"] = int(time.now_s)
        assert found["x"] == 2, "not two"
        return True

    assert eventually(time, condition, Patience())
    assert time.now_s == 2


def test_asking_what_is_not_there_is_waited_for_and_a_slip_of_the_pen_is_not() -> None:
    time = Hours()
    assert eventually(time, lambda: ("text" if time.now_s > 1 else None).upper() + "!", Patience()) == "TEXT!"  # pyright: ignore
    with pytest.raises(AttributeError, match="uper"):
        eventually(time, lambda: "text".uper() + "!", Patience())  # pyright: ignore


def test_the_next_of_nothing_is_waited_for() -> None:
    time, found = Hours(), list[str]()

    def condition() -> str:
        if time.now_s >= 2:
            found.append("web-1")
        return next(name for name in found if name.startswith("web"))

    assert eventually(time, condition, Patience()) == "web-1"
    with pytest.raises(UnmetError, match=r"at +2.000 s  StopIteration: there is none"):
        throughout(time, lambda: next(iter([])), Patience())


def test_how_long_and_how_often_is_checked() -> None:
    asked = patience(10, "within_s", every_s=None, usual_s=0.25, message="")
    assert (asked.within_s, asked.every_s) == (10, 0.25)
    for within_s, every_s, said in ((-1, None, "within_s: time does not"), (1, 0, "every_s: time has to pass")):
        with pytest.raises(InvalidError, match=said):
            patience(within_s, "within_s", every_s=every_s, usual_s=0.25, message="")
    with pytest.raises(InvalidError, match="takes a function"):
        eventually(Hours(), True, Patience())  # pyright: ignore[reportArgumentType]


def test_another_error_of_a_condition_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(Hours(), lambda: 1 / 0, Patience())


def test_a_failure_tells_each_change_once_with_its_time() -> None:
    time = Hours()
    with pytest.raises(UnmetError) as caught:
        eventually(time, lambda: time.now_s >= 5 and None, Patience(within_s=10))
    text = str(caught.value)
    assert "not within 10 s: " in text
    assert "time.now_s >= 5 and None" in text
    assert text.splitlines()[1:] == [
        "seen in 41 looks:",
        "  at     0.000 s  False",
        "  at     5.000 s  None",
    ]


def test_of_many_changes_the_first_and_the_last_are_told() -> None:
    time = Hours()
    with pytest.raises(UnmetError) as caught:
        eventually(time, lambda: [] if False else _never(time), Patience(within_s=20, message="it"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "not within 20 s: it"
    assert len(lines) == 2 + SEEN_MAX + 1
    assert "LookupError: 0.0" in lines[2]
    assert "more changes" in lines[2 + SEEN_MAX // 2]
    assert "LookupError: 20.0" in lines[-1]


def _never(time: Hours) -> object:
    raise LookupError(str(time.now_s))


def test_throughout_fails_at_the_first_look_at_which_it_is_not_true() -> None:
    time = Hours()
    throughout(time, lambda: True, Patience(within_s=3))
    assert time.now_s == 3
    with pytest.raises(UnmetError, match=r"no longer true after 2.000 of 60 s: it stays"):
        throughout(time, lambda: time.now_s < 5, Patience(message="it stays"))
