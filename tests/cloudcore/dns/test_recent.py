"""Queries that are handed on from who answered them to who comes next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudcore.dns.recent import SLOT, SLOTS, Recent


@pytest.fixture
def recent() -> Iterator[Recent]:
    made = Recent()
    yield made
    made.close()


def test_nothing_was_asked_at_first(recent: Recent) -> None:
    assert recent.take_up() == []


def test_each_is_there_once_and_those_too_long_are_not(recent: Recent) -> None:
    for query in (b"one", b"two", b"one", b"x" * SLOT, b"y" * (SLOT - 1)):
        recent.add(query)
    assert recent.take_up() == [b"one", b"two", b"y" * (SLOT - 1)]


def test_who_takes_up_adds_behind(recent: Recent) -> None:
    recent.add(b"one")
    recent.take_up()
    recent.add(b"two")
    assert recent.take_up() == [b"one", b"two"]


def test_the_oldest_go_when_it_is_full(recent: Recent) -> None:
    for number in range(SLOTS + 3):
        recent.add(b"%d" % number)
    found = recent.take_up()
    assert len(found) == SLOTS and b"2" not in found and b"3" in found and b"%d" % (SLOTS + 2) in found
