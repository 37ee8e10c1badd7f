"""How system tests wait."""

from __future__ import annotations

import pytest

from tests.system.levels import PAUSE_S_MAX, PAUSE_S_MIN, SHARE, pause_s, reached


def test_who_waits_longer_looks_more_rarely_and_never_waits_a_tenth_too_long() -> None:
    waited_s = [0.0, 0.1, 1.0, 2.0, 100.0]
    pauses = [pause_s(each) for each in waited_s]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (PAUSE_S_MIN, PAUSE_S_MAX)
    assert all(pause <= max(PAUSE_S_MIN, SHARE * each) for pause, each in zip(pauses, waited_s, strict=True))


def test_what_is_there_is_given_without_a_pause() -> None:
    assert reached(lambda: "found", lambda: "", within_s=0) == "found"


def test_what_does_not_come_is_named() -> None:
    with pytest.raises(AssertionError, match="not reached in 0 s: a leader"):
        reached(lambda: None, lambda: "a leader", within_s=0)
