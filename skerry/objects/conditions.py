"""Conditions: an object's status in single facts, each with the time of its last change.

Pure; a condition's `lastTransitionTime` moves only when its `status` does (Kubernetes API conventions,
"Typical status properties").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, maps_at, str_at
from skerry.objects.times import time_text

Truth = Literal["True", "False", "Unknown"]


class Condition(Frozen):
    """One fact as it now is."""

    type: str
    status: Truth
    reason: str
    message: str = ""
    observed_generation: int = 0
    """Written when not 0: only kinds with metav1.Condition have the field."""


def condition_of(obj: JsonObject, type_: str) -> JsonObject | None:
    """The condition of that type in the object's status, if it has one."""
    return find_condition(maps_at(obj, "status", "conditions"), type_)


def find_condition(conditions: Sequence[JsonObject], type_: str) -> JsonObject | None:
    return next((found for found in conditions if str_at(found, "type") == type_), None)


def is_true(obj: JsonObject, type_: str) -> bool:
    """Does the object's status say so? An absent condition is not true."""
    return str_at(condition_of(obj, type_) or {}, "status") == "True"


def with_condition(conditions: Sequence[JsonObject], condition: Condition, *, now_ms: int) -> list[Json]:
    """The conditions with this one set, in its old place; the input stays as it is."""
    old = find_condition(conditions, condition.type)
    new = _merged(old, condition, now_ms=now_ms)
    if old is None:
        return [*conditions, new]
    return [new if found is old else found for found in conditions]


def without_condition(conditions: Sequence[JsonObject], type_: str) -> list[Json]:
    return [found for found in conditions if str_at(found, "type") != type_]


def _merged(old: JsonObject | None, condition: Condition, *, now_ms: int) -> JsonObject:
    new: JsonObject = dict(old or {})
    changed = old is None or str_at(old, "status") != condition.status or not str_at(old, "lastTransitionTime")
    new |= {"type": condition.type, "status": condition.status, "reason": condition.reason}
    if changed:
        new["lastTransitionTime"] = time_text(now_ms)
    if condition.observed_generation:
        new["observedGeneration"] = condition.observed_generation
    if condition.message:
        new["message"] = condition.message
    else:
        new.pop("message", None)
    return new
