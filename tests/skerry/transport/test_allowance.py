"""One peer's share of the processor: bursts are free, and who takes without end is held to a quarter."""

from __future__ import annotations

import pytest

from skerry.transport.allowance import BURST_S, LOOK_S, SHARE, Allowance, Others


def taken(allowance: Allowance, *, begin_s: float, seconds: float, piece_s: float = 0.001) -> float:
    """What a peer gets in so many seconds that always has work."""
    now_s, worked_s = begin_s, 0.0
    while now_s < begin_s + seconds:
        if allowance.used_up(now_s):
            now_s += piece_s
            continue
        now_s += piece_s
        worked_s += piece_s
        allowance.took(piece_s, now_s)
    return worked_s


def test_a_burst_is_free() -> None:
    allowance = Allowance()
    allowance.took(BURST_S * 0.99, 100.0)
    assert not allowance.used_up(100.0)
    allowance.took(BURST_S * 0.02, 100.0)
    assert allowance.used_up(100.0)


def test_who_takes_without_end_gets_its_share() -> None:
    allowance = Allowance()
    first = taken(allowance, begin_s=0.0, seconds=10.0)
    assert first == pytest.approx(BURST_S + 10.0 * SHARE, abs=0.1)
    assert taken(allowance, begin_s=10.0, seconds=100.0) == pytest.approx(100.0 * SHARE, abs=0.1)


def test_who_rested_has_its_burst_again_and_no_more() -> None:
    allowance = Allowance()
    taken(allowance, begin_s=0.0, seconds=100.0)
    allowance.took(0.0, 1e6)
    assert taken(allowance, begin_s=1e6, seconds=1.0, piece_s=0.01) == pytest.approx(1.0)
    assert taken(allowance, begin_s=2e6, seconds=10.0) == pytest.approx(BURST_S + 10.0 * SHARE, abs=0.1)


def seen(others_s: float, greedy_s: float) -> bool:
    """Whether others are busy, after a look at so much work of both."""
    others = Others()
    others.busy(100.0, 7.0)
    others.not_theirs(greedy_s)
    return others.busy(100.0 + LOOK_S, 7.0 + greedy_s + others_s)


def test_a_peer_may_have_what_nobody_else_wants() -> None:
    assert not seen(others_s=0.01, greedy_s=0.9 * LOOK_S)
    assert seen(others_s=0.5 * LOOK_S, greedy_s=0.4 * LOOK_S)


def test_what_is_not_known_counts_as_busy() -> None:
    others = Others()
    assert others.busy(100.0, 7.0)
    assert others.busy(100.0 + LOOK_S / 2, 7.0), "not looked at yet"
    assert not others.busy(100.0 + LOOK_S, 7.0)
    assert others.busy(200.0, 7.0), "of long ago"
