"""Who answers while processes with new zones take over, in the order of what can happen; and the pipes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudcore.dns.handover import READY_S_MAX, Handover, Words

OLD = {1, 2}


@pytest.fixture
def handover() -> Handover:
    made = Handover({0, 1}, OLD)
    made.started(11, 0, 100.0)
    made.started(12, 1, 100.0)
    return made


def test_those_before_go_when_all_new_ones_read_and_not_when_they_are_ready(handover: Handover) -> None:
    handover.told(11, "ready")
    assert not handover.is_ready() and not handover.is_over()
    handover.told(12, "ready")
    assert handover.is_ready() and not handover.is_over()
    handover.told(11, "reading")
    assert handover.is_ready() and not handover.is_over()
    handover.told(12, "reading")
    assert handover.is_over() and handover.before == OLD


def test_one_that_ends_before_it_is_ready_is_started_again_and_those_before_stay(handover: Handover) -> None:
    handover.told(11, "ready")
    assert handover.ended(12) and handover.failures == 1
    assert not handover.is_ready() and not handover.let and handover.before == OLD
    handover.started(13, 1, 101.0)
    handover.told(13, "ready")
    assert handover.is_ready()


def test_one_that_ends_after_it_was_ready_is_no_longer_counted(handover: Handover) -> None:
    handover.told(11, "ready")
    handover.told(12, "ready")
    assert handover.ended(11)
    assert not handover.is_ready()


def test_one_that_is_not_ready_in_time_is_named_once(handover: Handover) -> None:
    handover.told(11, "ready")
    assert handover.deadline == 100.0 + READY_S_MAX
    assert handover.overdue(100.0 + READY_S_MAX - 1) == ()
    assert handover.overdue(100.0 + READY_S_MAX) == (12,)
    assert handover.overdue(100.0 + READY_S_MAX) == () and handover.deadline is None


def test_where_one_of_those_before_ends_nobody_waits_for_the_others(handover: Handover) -> None:
    assert not handover.ended(1)
    assert handover.let and handover.before == {2} and handover.failures == 0


def test_others_of_the_server_are_no_part_of_it(handover: Handover) -> None:
    handover.started(20, -2, 100.0)
    handover.told(20, "reading")
    assert not handover.ended(20) and not handover.let
    assert handover.waiting == (11, 12)


def test_who_reads_already_is_not_among_those_that_wait(handover: Handover) -> None:
    handover.told(11, "reading")
    assert handover.waiting == (12,)


@pytest.fixture
def words() -> Iterator[Words]:
    made = Words()
    yield made
    made.close()


def test_words_come_whole_and_nothing_is_nothing(words: Words) -> None:
    assert words.take() == []
    words.say("ready")
    words.say("reading")
    told = words.take()
    assert [word for _, word in told] == ["ready", "reading"] and len({pid for pid, _ in told}) == 1


def test_each_who_waits_is_let_once(words: Words) -> None:
    words.let()
    words.wait()
    words.wait()
    words.forget()
    words.let()
    words.wait()
