"""A line's figures, in fields for whoever asks how it does. Pure; keeps nothing."""

from __future__ import annotations

from devices.figures import LineFigures, UnitFigures
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.times import micro_time_text


def line_shown(figures: LineFigures, device: Key, *, node: str, now_ms: int) -> JsonObject:
    """`DeviceLine`. Rates are of the last minute, counts since the line was made; what is not known is left out."""
    out: JsonObject = {
        "kind": "DeviceLine",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"namespace": device.namespace, "name": device.name},
        "node": node,
        "time": micro_time_text(now_ms),
        "line": figures.line,
        "countedSeconds": round(figures.counted_s, 1),
        "requests": figures.requests,
        "requestsPerSecond": round(figures.requests_s, 2),
        "used": round(figures.used, 4),
        "waitingWrites": figures.waiting_writes,
        "waitingReads": figures.waiting_reads,
        "units": [_unit(unit) for unit in figures.units],
        "missedCycles": {**figures.missed},
    }
    if figures.needs is not None:
        out["needs"] = round(figures.needs, 4)
    if figures.down:
        out["down"] = figures.down
    return out


def _unit(unit: UnitFigures) -> JsonObject:
    out: JsonObject = {
        "unit": unit.unit,
        "devices": [*unit.devices],
        "requests": unit.requests,
        "silences": unit.silences,
        "wrongAnswers": unit.wrong_answers,
        "refusals": unit.refusals,
        "breaker": "open" if unit.alone_s else "closed",
    }
    return out | ({"nextMs": round(unit.alone_s * 1000)} if unit.alone_s else {})
