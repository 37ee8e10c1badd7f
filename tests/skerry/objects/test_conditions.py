"""Conditions change their time with their status only."""

from typing import Any

from skerry.objects.conditions import Condition, condition_of, is_true, with_condition, without_condition
from skerry.objects.json import maps_at

READY = Condition(type="Ready", status="True", reason="Fine", message="all well")


def test_the_time_moves_with_the_status_only():
    first = with_condition([], READY, now_ms=0)
    obj: Any = {"status": {"conditions": first}}
    again = with_condition(maps_at(obj, "status", "conditions"), READY, now_ms=5000)
    assert again == first
    other = Condition(type="Ready", status="False", reason="Broken", observed_generation=3)
    changed: Any = with_condition(maps_at(obj, "status", "conditions"), other, now_ms=5000)
    assert changed == [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Broken",
            "lastTransitionTime": "1970-01-01T00:00:05Z",
            "observedGeneration": 3,
        }
    ]
    assert is_true(obj, "Ready"), "the input stays as it was"


def test_a_condition_keeps_its_place_and_fields_of_others():
    conditions: Any = [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": "h", "lastTransitionTime": "t"},
        {"type": "B", "status": "Unknown"},
    ]
    changed: Any = with_condition(conditions, READY, now_ms=0)
    assert changed[0]["lastHeartbeatTime"] == "h"
    assert changed[0]["lastTransitionTime"] == "t"
    assert [c["type"] for c in changed] == ["Ready", "B"]


def test_conditions_are_found_and_removed_by_type():
    obj: Any = {"status": {"conditions": [{"type": "A", "status": "Unknown"}]}}
    assert condition_of(obj, "B") is None
    assert not is_true(obj, "A")
    assert not is_true(obj, "B")
    assert without_condition(maps_at(obj, "status", "conditions"), "A") == []
