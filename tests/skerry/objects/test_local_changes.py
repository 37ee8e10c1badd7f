"""What is told of acts at a gateway."""

from __future__ import annotations

import pytest

from skerry.errors import ProtocolError
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.local_changes import ACTS, EVENTS, LocalChange, UpgradeHold, hold_of


@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_read_as_it_was_written(act: str) -> None:
    body: JsonObject = {"act": act, "by": "b", "atMs": 1000, "pod": "p", "container": "c", "untilMs": 5000}
    change = LocalChange.decode(body)
    assert LocalChange.decode(decode_object(change.encode())) == change
    assert change.shown()["time"] == "1970-01-01T00:00:01Z" and change.shown()["until"] == "1970-01-01T00:00:05Z"
    assert "by b at 1970-01-01T00:00:01Z" in change.sentence() and EVENTS[change.act]


@pytest.mark.parametrize("body", [{}, {"act": "explode"}, {"act": "stop", "by": "a\0"}])
def test_what_is_no_act_is_refused(body: JsonObject) -> None:
    with pytest.raises(ProtocolError):
        LocalChange.decode(body)


def test_words_of_any_length_are_cut() -> None:
    assert len(LocalChange.decode({"act": "stop", "reason": "x" * 9999}).reason) == 256


def test_a_hold_is_kept_and_ends_with_its_time() -> None:
    for until_ms in (None, 5000):
        hold = UpgradeHold(by="b", since_ms=1000, until_ms=until_ms, reason="r")
        assert hold_of(decode_object(hold.encode().encode())) == hold
        assert (hold.holds(4999), hold.holds(5000)) == (True, until_ms is None)
        assert hold.sentence().endswith(": r")
