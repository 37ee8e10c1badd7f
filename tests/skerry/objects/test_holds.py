"""Holding devices: who may, until when, and which of two holds counts."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.holds import (
    HOLD,
    HOLD_BY,
    HOLD_SINCE,
    HOLD_UNTIL,
    Holding,
    LocalHold,
    effective,
    holding_of,
    local_hold_from,
    local_hold_json,
    stamp_hold,
    with_holding,
)
from skerry.objects.json import JsonObject
from skerry.objects.meta import annotations_of

CLOUDS = Holding(reason="new pump", by="ann", since_ms=1000, until_ms=9000)
OURS = Holding(reason="cleaning", by="local:uid 0", since_ms=2000, until_ms=None)


def device(**annotations: str) -> JsonObject:
    return {"metadata": {"name": "plc", "annotations": {**annotations}}}


def held(reason: str, until: str = "") -> JsonObject:
    return device(**{HOLD: reason} | ({HOLD_UNTIL: until} if until else {}))


def stamped(old: JsonObject | None, new: JsonObject, *, now_ms: int = 1000, origin: str = "ann") -> JsonObject:
    return stamp_hold(old, new, now_ms=now_ms, origin=origin)


def test_the_api_server_says_who_holds_and_since_when_and_an_untouched_hold_stays_theirs() -> None:
    first = stamped(None, held("new pump", "1970-01-01T00:00:09Z"))
    assert holding_of(first) == CLOUDS
    assert stamped(first, first, now_ms=5000, origin="bob") is first
    forged = device(**annotations_of(first) | {HOLD_BY: "eve", HOLD_SINCE: "1970-01-01T00:00:00Z"})
    assert holding_of(stamped(first, forged, origin="eve")) == CLOUDS
    longer = stamped(first, held("new pump", "1970-01-01T00:01:00Z"), now_ms=5000, origin="bob")
    assert holding_of(longer) == Holding(reason="new pump", by="bob", since_ms=5000, until_ms=60_000)


def test_what_belongs_to_a_hold_goes_with_it() -> None:
    first = stamped(None, held("new pump"))
    left = device(**{name: text for name, text in annotations_of(first).items() if name != HOLD})
    assert annotations_of(stamped(first, left)) == {}
    untouched = device(other="1")
    assert stamped(None, untouched) is untouched


@pytest.mark.parametrize(
    ("reason", "until"), [("", ""), (" ", ""), ("x" * 600, ""), ("x", "soon"), ("x", "1970-01-01T00:00:01Z")]
)
def test_a_hold_without_a_reason_or_that_is_over_already_is_refused(reason: str, until: str) -> None:
    with pytest.raises(InvalidError, match="hold"):
        stamped(None, held(reason, until))


def test_the_gateways_own_hold_counts_first_and_what_was_released_there_not_before_it_is_said_anew() -> None:
    ours = LocalHold(uid="u", holding=OURS)
    assert effective(CLOUDS, ours, now_ms=5000) == OURS
    assert effective(CLOUDS, LocalHold(uid="u", released=CLOUDS), now_ms=5000) is None
    assert effective(replace(CLOUDS, since_ms=3000), LocalHold(uid="u", released=CLOUDS), now_ms=5000) is not None
    assert effective(None, None, now_ms=5000) is None


def test_a_hold_ends_by_time_where_the_time_is_known() -> None:
    assert effective(CLOUDS, None, now_ms=8999) == CLOUDS
    assert effective(CLOUDS, None, now_ms=9000) is None
    assert effective(CLOUDS, None, now_ms=None) == CLOUDS
    over = LocalHold(uid="u", holding=replace(OURS, until_ms=3000))
    assert effective(CLOUDS, over, now_ms=5000) == CLOUDS


def test_what_is_kept_reads_back_as_it_was() -> None:
    for local in (LocalHold(uid="u", holding=OURS), LocalHold(uid="u", released=CLOUDS), LocalHold(uid="u")):
        assert local_hold_from(local_hold_json(local)) == local
    assert holding_of(with_holding(device(), CLOUDS)) == CLOUDS
    assert annotations_of(with_holding(with_holding(device(), CLOUDS), None)) == {}
