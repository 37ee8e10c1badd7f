"""Which poll is due, and which unit is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devices.schedule import Breakers, BreakerSettings, Poll, Schedule


def test_missed_cycles_are_skipped_and_counted_and_the_rhythm_is_kept() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.configure([Poll(key="a", period_s=1.0)], 100.0)
    due = schedule.next()
    assert due is not None
    first = due[1]
    assert 100.0 <= first < 101.0
    assert schedule.done("a", first + 3.5) == 3
    assert schedule.next() == ("a", first + 4.0)


def test_a_new_set_keeps_the_time_of_what_stays() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.configure([Poll(key="a", period_s=1.0), Poll(key="b", period_s=1.0)], 0.0)
    schedule.done("a", 0.9)
    before = dict([schedule.next() or ("", 0.0)])
    schedule.configure([Poll(key="a", period_s=1.0), Poll(key="b", period_s=1.0)], 50.0)
    assert dict([schedule.next() or ("", 0.0)]) == before
    schedule.configure([], 50.0)
    assert schedule.next() is None


def test_the_earliest_poll_comes_first() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.configure([Poll(key=key, period_s=10.0) for key in "abc"], 0.0)
    seen: list[float] = []
    for _ in range(3):
        due = schedule.next()
        assert due is not None
        seen.append(due[1])
        schedule.done(due[0], due[1])
    assert seen == sorted(seen) and len(set(seen)) == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.1, 3.0)), max_size=40), st.integers(1, 6))
def test_whatever_is_done_the_earliest_is_next(told: list[tuple[int, float]], count: int) -> None:
    schedule: Schedule[int] = Schedule()
    schedule.configure([Poll(key=key, period_s=1.0 + key / 3) for key in range(count)], 0.0)
    now_s = 0.0
    for key, step_s in told:
        now_s += step_s
        schedule.done(key, now_s)
        moments = [at_s for each in range(count) if (at_s := schedule.due_s(each)) is not None]
        found = schedule.next()
        assert found is not None
        assert found[1] == min(moments) == schedule.due_s(found[0])


def test_a_unit_is_left_alone_ever_longer_while_it_is_silent_and_at_once_back_when_it_answers() -> None:
    breakers: Breakers[int] = Breakers(BreakerSettings(silences_max=2, backoff_s_min=1.0, backoff_s_max=4.0))
    breakers.silent(3, 0.0, 0.999)
    assert breakers.wait_s(3, 0.0) == 0
    waits: list[float] = []
    now = 0.0
    for _ in range(4):
        breakers.silent(3, now, 0.999)
        waits.append(round(breakers.wait_s(3, now)))
        now += breakers.wait_s(3, now)
        assert breakers.wait_s(3, now) == 0
    assert waits == [1, 2, 4, 4]
    assert breakers.wait_s(4, 0.0) == 0
    breakers.answered(3)
    breakers.silent(3, now, 0.0)
    assert breakers.wait_s(3, now) == 0


def test_a_unit_that_does_not_answer_takes_no_more_than_its_share_from_the_others() -> None:
    breakers: Breakers[int] = Breakers(BreakerSettings(silences_max=1, backoff_s_max=8.0, share_max=0.025))
    breakers.silent(3, 0.0, 0.0, cost_s=2.0)
    assert breakers.wait_s(3, 0.0) == 80
    breakers.silent(4, 0.0, 0.999)
    assert 0 < breakers.wait_s(4, 0.0) <= 1, "alone on its line it costs nobody anything"
