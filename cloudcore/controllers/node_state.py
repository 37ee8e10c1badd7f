"""What a node's status says to those who run something on it. Pure; keeps nothing."""

from __future__ import annotations

from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, str_at


def is_heard(node: JsonObject) -> bool:
    """Somebody there says how it is, be it that it isn't ready; of a silent one, and one that never came, nobody
    does."""
    return str_at(condition_of(node, "Ready") or {}, "status") in ("True", "False")
