"""What a pod's status says to those who count pods or speak to them. Pure; keeps nothing."""

from __future__ import annotations

from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, str_at


def is_over(pod: JsonObject) -> bool:
    """It has run to its end, well or not."""
    return str_at(pod, "status", "phase") in ("Succeeded", "Failed")


def is_ready(pod: JsonObject) -> bool:
    return is_true(pod, "Ready")
