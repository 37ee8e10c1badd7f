"""Commands: what was asked of which gateway, and what became of it. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
from skerry.objects.commands import GROUP, action_of, described, phase_of
from skerry.objects.json import Json, JsonObject, map_at, str_at
from skerry.objects.times import human_duration, ms_at


def _command(obj: JsonObject, now_ms: int) -> list[Json]:
    action, target = described(action_of(map_at(obj, "spec", "action")))
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "nodeName") or NONE,
        action,
        target or NONE,
        phase_of(obj),
        str_at(obj, "status", "reason"),
        age(obj, now_ms),
        str_at(obj, "spec", "issued", "by") or NONE,
        _duration(obj, now_ms),
        str_at(obj, "status", "message"),
    ]


def _duration(obj: JsonObject, now_ms: int) -> str:
    """From its beginning to its end, or until now."""
    started, finished = str_at(obj, "status", "startedTime"), str_at(obj, "status", "finishedTime")
    if not started:
        return NONE
    return human_duration(((ms_at(finished) if finished else now_ms) - ms_at(started)) / 1000)


PRINTERS: Final = {
    (GROUP, "Command"): Printer(
        columns=columns(
            "Name", "Node", "Action", "Target", "Phase", "Reason", "Age", wide=("By", "Duration", "Message")
        ),
        cells=_command,
    )
}
"""By (group, kind)."""
