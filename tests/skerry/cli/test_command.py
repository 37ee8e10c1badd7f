"""How long a command is waited for, and what is said when that is over."""

from __future__ import annotations

import pytest

from skerry.cli.command import WORD_S, Patience


def test_without_a_wish_it_is_the_deadline_and_then_the_time_limit() -> None:
    patience = Patience(None, 30.0)
    assert 30 < patience.left_s() <= 30 + WORD_S
    assert patience.over("delivered") == (
        "is delivered, and its deadline is over: not begun in time, as far as is known here"
    )
    patience.begin(600)
    assert 600 < patience.left_s() <= 600 + WORD_S
    assert patience.over("running").startswith("is running, and its time limit is over")
    before_s = patience.until_s
    patience.begin(600)
    assert patience.until_s == before_s, "it is begun once"


@pytest.mark.parametrize("begun", [False, True])
def test_a_wish_holds_whatever_happens(begun: bool) -> None:
    patience = Patience(90, 30.0)
    if begun:
        patience.begin(600)
    assert 80 < patience.left_s() <= 90
    assert patience.over("pending") == "is pending after 90 s"
