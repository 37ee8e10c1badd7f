"""Rules: whether they work, and what became of their messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, int_at, str_at, str_map_at, strs_at
from skerry.objects.rules import GROUP, rule_of


def _rule(obj: JsonObject, now_ms: int) -> list[Json]:
    rule = rule_of(obj)
    ready = condition_of(obj, "Ready") or {}
    errors = strs_at(obj, "status", "errors")
    return [
        rule.name,
        f"{rule.source}:{_what(rule.source_resource)}",
        f"{rule.target}:{_what(rule.target_resource)}",
        rule.node or NONE,
        str_at(ready, "status", default="Unknown"),
        int_at(obj, "status", "successMessages"),
        int_at(obj, "status", "failMessages"),
        int_at(obj, "status", "waitingMessages"),
        age(obj, now_ms),
        str_at(ready, "message") if str_at(ready, "status") == "False" else (errors[-1] if errors else NONE),
    ]


def _what(resource: Mapping[str, str]) -> str:
    return next((resource[key] for key in ("path", "topic", "target_url", "resource") if key in resource), NONE)


def _endpoint(obj: JsonObject, now_ms: int) -> list[Json]:
    properties = str_map_at(obj, "spec", "properties")
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "ruleEndpointType"),
        age(obj, now_ms),
        ",".join(f"{name}={value}" for name, value in sorted(properties.items()) if name != "ca") or NONE,
    ]


def _message(obj: JsonObject, now_ms: int) -> list[Json]:
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "rule"),
        str_at(obj, "spec", "nodeName") or NONE,
        str_at(obj, "status", "phase", default="Pending"),
        int_at(obj, "status", "attempts"),
        str_at(obj, "status", "reason"),
        age(obj, now_ms),
        str_at(obj, "spec", "topic"),
        str_at(obj, "status", "message"),
    ]


PRINTERS: Final = {
    (GROUP, "Rule"): Printer(
        columns=columns(
            "Name",
            "Source",
            "Target",
            "Node",
            "Ready",
            "Success:integer",
            "Fail:integer",
            "Waiting:integer",
            "Age",
            wide=("Why",),
        ),
        cells=_rule,
    ),
    (GROUP, "RuleEndpoint"): Printer(columns=columns("Name", "Type", "Age", wide=("Properties",)), cells=_endpoint),
    ("skerry.dev", "RuleMessage"): Printer(
        columns=columns(
            "Name", "Rule", "Node", "Phase", "Attempts:integer", "Reason", "Age", wide=("Topic", "Message")
        ),
        cells=_message,
    ),
}
"""By (group, kind)."""
