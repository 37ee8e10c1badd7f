"""Device rules: whether they are carried out, and what came of it. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns, since
from skerry.objects.conditions import condition_of
from skerry.objects.device_rules import node_of_rule
from skerry.objects.json import Json, JsonObject, bool_at, int_at, str_at, strs_at


def _rule(obj: JsonObject, now_ms: int) -> list[Json]:
    ready = condition_of(obj, "Ready") or {}
    errors = strs_at(obj, "status", "errors")
    fired = str_at(obj, "status", "lastFiredTime")
    return [
        str_at(obj, "metadata", "name"),
        node_of_rule(obj) or NONE,
        str_at(obj, "spec", "mode", default="Enforce"),
        str_at(ready, "status", default="Unknown"),
        "true" if bool_at(obj, "status", "active") else "false",
        int_at(obj, "status", "firings"),
        int_at(obj, "status", "alarmCount"),
        since(fired, now_ms) if fired else NONE,
        age(obj, now_ms),
        str_at(obj, "spec", "when") or str_at(obj, "spec", "schedule"),
        str_at(ready, "message") if str_at(ready, "status") == "False" else (errors[-1] if errors else NONE),
    ]


PRINTERS: Final = {
    ("skerry.dev", "DeviceRule"): Printer(
        columns=columns(
            "Name",
            "Node",
            "Mode",
            "Ready",
            "Active",
            "Firings:integer",
            "Alarms:integer",
            "Last-Fired",
            "Age",
            wide=("When", "Why"),
        ),
        cells=_rule,
    ),
}
"""By (group, kind)."""
