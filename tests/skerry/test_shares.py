"""Places of connections."""

from __future__ import annotations

from skerry.shares import Bound, Shares

BOUND = Bound(total=3, of_one=2)


def test_one_client_takes_its_share_and_all_of_them_what_there_is() -> None:
    shares = Shares()
    for _ in range(2):
        assert shares.has_room("a", BOUND)
        shares.take("a")
    assert not shares.has_room("a", BOUND) and shares.has_room("b", BOUND)
    assert shares.is_within("a", BOUND)
    shares.take("b")
    assert not shares.has_room("c", BOUND) and shares.total == 3
    shares.give("a")
    assert shares.has_room("a", BOUND) and shares.has_room("c", BOUND)


def test_an_address_of_many_has_no_share() -> None:
    shares = Shares()
    for _ in range(3):
        assert shares.has_room("127.0.0.1", BOUND, shares=False)
        shares.take("127.0.0.1")
    assert not shares.has_room("127.0.0.1", BOUND, shares=False)
    assert shares.is_within("127.0.0.1", BOUND, shares=False) and not shares.is_within("127.0.0.1", BOUND)


def test_what_was_given_back_is_forgotten() -> None:
    shares = Shares()
    shares.take("a")
    shares.give("a")
    assert shares.total == 0
