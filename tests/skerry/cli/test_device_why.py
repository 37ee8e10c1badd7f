"""Why a value is what it is, in lines."""

from __future__ import annotations

import click

from skerry.cli.device_why import age_text, explanation_lines, headline, rehearsal_lines
from skerry.objects.json import JsonObject

TOLD: JsonObject = {
    "metadata": {"name": "boiler", "namespace": "default"},
    "node": "eu-1",
    "time": "2026-11-28T12:00:10.000000Z",
    "property": "setpoint",
    "device": {"state": "online"},
    "type": "FLOAT",
    "unit": "°C",
    "writable": True,
    "place": "unit 1 at plc:502, hr:2 (40003)",
    "asked": "every 1 s",
    "nextMs": 400,
    "raw": {"words": [200]},
    "steps": [{"name": "words", "says": "0x00C8"}, {"name": "value", "says": "20.0 (FLOAT)"}],
    "reading": {"value": "20.0", "quality": "good", "time": "2026-11-28T12:00:09.800000Z", "ageMs": 200},
    "twin": {"value": "20.0", "quality": "good", "gateway": "2026-11-28T12:00:00.000000Z"},
    "desired": {
        "value": "64",
        "origin": "ann",
        "side": "cloud",
        "version": "3.0",
        "time": "2026-11-28T11:59:10.000000Z",
        "conflict": {"value": "50", "origin": "local:uid 0", "side": "edge"},
    },
    "ack": {
        "state": "failed",
        "version": "3.0",
        "reason": "unit 1 is silent for 0.5 s",
        "time": "2026-11-28T12:00:05.000000Z",
    },
    "waits": {"reason": "the last attempt failed", "nextMs": 3000},
    "error": {"message": "unit 1 is silent for 0.5 s", "time": "2026-11-28T12:00:05.000000Z"},
}


def lines(told: JsonObject) -> dict[str, str]:
    return {line.about: line.says for line in explanation_lines(told)}


def test_everything_that_is_known_is_one_screen() -> None:
    assert headline(TOLD) == "boiler/setpoint = 20.0 °C, good, 0.2 s old"
    assert lines(TOLD) == {
        "device": "online at eu-1",
        "place": "unit 1 at plc:502, hr:2 (40003)",
        "asked": "every 1 s; next in 0.4 s",
        "words": "0x00C8",
        "value": "20.0 (FLOAT)",
        "quality": "good",
        "twin": "20.0 °C, good, told 10s ago",
        "wanted": "64 by ann (cloud), 60s ago; version 3.0",
        "conflict": "50 by local:uid 0 (edge) was wanted at the same time, and lost",
        "answer": "failed, 5s ago: unit 1 is silent for 0.5 s",
        "waits": "the last attempt failed; tried again in 3s",
        "last error": "unit 1 is silent for 0.5 s, 5s ago",
    }


def test_ages_are_by_the_gateways_own_clock_however_wrong_it_is() -> None:
    assert lines({**TOLD, "time": "1970-01-01T00:00:00.000000Z"})["twin"].endswith("told 0.0 s ago")


def test_what_is_not_known_is_left_out_or_said() -> None:
    bare: JsonObject = {
        "metadata": {"name": "boiler"},
        "node": "eu-1",
        "property": "t",
        "device": {"state": "invalid", "reason": "spec.protocol: no"},
    }
    assert headline(bare) == "boiler/t: nothing was read since the agent started"
    assert lines(bare) == {"device": "invalid at eu-1: spec.protocol: no", "served": "no: no driver asks for it"}
    assert lines({**TOLD, "desired": None, "ack": None, "waits": None})["wanted"] == "nothing"
    older: JsonObject = {"state": "verified", "version": "2.0", "time": "2026-11-28T12:00:05.000000Z"}
    assert lines({**TOLD, "ack": older})["answer"] == "verified an earlier version, 5s ago"


def test_a_rehearsal_ends_with_its_verdict() -> None:
    write: JsonObject = {
        "value": "64",
        "place": "unit 1 at plc:502, hr:2 (40003)",
        "steps": [{"name": "sent", "says": "function 6"}],
    }
    told = [click.unstyle(line) for line in rehearsal_lines({**TOLD, "write": write})]
    assert told == [
        "boiler/setpoint = 64 (now 20.0 °C), dry run",
        "",
        "  place       unit 1 at plc:502, hr:2 (40003)",
        "  sent        function 6",
        "  verdict     would be written",
    ]
    refused = [click.unstyle(line) for line in rehearsal_lines({**TOLD, "write": {**write, "refusal": "too hot"}})]
    assert refused[-1] == "  verdict     refused: too hot"


def test_ages_are_exact_where_that_matters() -> None:
    assert [age_text(ms) for ms in (-5, 400, 1999, 2000, 90_000)] == ["0.0 s", "0.4 s", "2.0 s", "2s", "90s"]
