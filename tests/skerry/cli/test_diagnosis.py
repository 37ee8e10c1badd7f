"""What is wrong with a device: evidence in, findings out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.cli.diagnosis import UNKNOWN_PATH, Evidence, Finding, diagnosed, error_of, gateway_findings, worst
from skerry.cli.target import exit_code
from skerry.errors import BadRequestError, ForbiddenError, NotFoundError, UnavailableError
from skerry.forms.status import UNKNOWN_RESOURCE
from skerry.objects.json import JsonObject

DEVICE: JsonObject = {
    "kind": "Device",
    "metadata": {"namespace": "plant", "name": "boiler"},
    "spec": {"nodeName": "eu-1", "deviceModelRef": {"name": "m"}},
}
READY: JsonObject = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
GOOD: JsonObject = {"quality": "good", "value": "64", "ageMs": 300}


def prop(**changed: Any) -> JsonObject:
    return {
        "property": "setpoint", "type": "INT", "periodMs": 1000, "nextMs": 700, "reading": GOOD,
        "twin": {"quality": "good", "value": "64"}, **changed,
    }  # fmt: skip


def told(**changed: Any) -> JsonObject:
    return {
        "kind": "DeviceCheckup",
        "metadata": {"namespace": "plant", "name": "boiler"},
        "node": "eu-1",
        "device": {"state": "online", "protocol": "modbus", "servedBy": "agent"},
        "properties": [prop()],
        "files": [],
        "pushes": [],
        "gateway": {
            "clockTrusted": True,
            "outbox": {"reports": 0, "oldestMs": 0, "dropped": 0},
            "disk": {"freeBytes": 1 << 34, "bytes": 1 << 35},
        },
        **changed,
    }


def evidence(**changed: Any) -> Evidence:
    values: dict[str, Any] = {
        "device": DEVICE, "model": {"metadata": {"name": "m"}}, "problem": "", "local": False, "node": READY,
        "node_known": True, "link": {}, "told": told(), "live": None,
    }  # fmt: skip
    return Evidence(**{**values, **changed})


def bad(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(each.level, each.check, each.kind) for each in findings if each.level in ("warning", "fault")]


def test_a_device_that_is_well_has_nothing_to_do() -> None:
    found = [*diagnosed(evidence()), *gateway_findings(evidence())]
    assert worst(found) == "ok" and all(each.next == "" for each in found)
    assert {each.check for each in found} >= {
        "declaration", "driver", "state", "values", "wanted", "node", "clock", "queue", "disk",
    }  # fmt: skip


UNIT: JsonObject = {"unit": 1, "devices": ["plant/boiler"], "requests": 100, "silences": 4, "wrongAnswers": 1}
LATE: JsonObject = {"reason": "not read within 20 s", "late": True}


def wish(state: str, **changed: Any) -> dict[str, Any]:
    answered = {"ack": {"state": state}} if state else {}
    return {"told": told(properties=[prop(desired={"value": "9"}, **answered, **changed)])}


CASES: list[tuple[dict[str, Any], tuple[str, str, str], int]] = [
    ({"model": None}, ("fault", "model", "missing"), 3),
    ({"problem": "spec.protocol.configData.slaveID: must be"}, ("fault", "declaration", "refused"), 5),
    ({"device": {**DEVICE, "spec": {}}}, ("fault", "node", "missing"), 3),
    ({"told": NotFoundError("no")}, ("fault", "gateway", "missing"), 3),
    ({"told": NotFoundError(UNKNOWN_PATH)}, ("warning", "gateway", ""), 1),
    ({"told": UnavailableError("not connected")}, ("fault", "gateway", "away"), 7),
    ({"told": BadRequestError("does not know the question")}, ("warning", "gateway", ""), 1),
    ({"told": ForbiddenError("you may not")}, ("fault", "gateway", ""), 1),
    ({"told": told(device={"state": "waiting", "protocol": "opcua"})}, ("fault", "driver", "away"), 7),
    ({"told": told(device={"state": "invalid", "invalid": "x"})}, ("fault", "declaration", "refused"), 5),
    ({"told": told(device={"state": "offline", "reason": "unit 1 is silent"})}, ("fault", "state", "late"), 6),
    (
        {"told": told(files=[{"field": "a.serialPort", "path": "/dev/ttyS9", "problem": "No such file"}])},
        ("fault", "file", "refused"),
        5,
    ),
    ({"told": told(line={"line": "/dev/ttyS0", "down": "busy"})}, ("fault", "line", "away"), 7),
    ({"told": told(line={"line": "x", "needs": 1.43})}, ("fault", "budget", "late"), 6),
    ({"told": told(line={"line": "x", "needs": 0.9})}, ("warning", "budget", ""), 1),
    ({"told": told(line={"units": [UNIT]})}, ("warning", "unit", ""), 1),
    ({"told": told(line={"missedCycles": {"plant/boiler": 3}})}, ("warning", "cycles", ""), 1),
    ({"live": {"properties": {"a": {"reason": "silent"}}}}, ("fault", "answer", "away"), 7),
    (
        {"live": {"properties": {"a": LATE}}},
        ("fault", "answer", "late"),
        6,
    ),
    ({"live": UnavailableError("gone")}, ("fault", "answer", "away"), 7),
    ({"told": told(properties=[prop(reading={}, error={"message": "silent"})])}, ("fault", "value", "away"), 7),
    ({"told": told(properties=[prop(reading={"quality": "bad"})])}, ("fault", "value", "away"), 7),
    ({"told": told(properties=[prop(reading={**GOOD, "quality": "uncertain"})])}, ("warning", "value", ""), 1),
    ({"told": told(properties=[prop(reading={**GOOD, "ageMs": 60_000})])}, ("warning", "value", ""), 1),
    (
        {"told": told(properties=[prop(desired={"value": "64", "conflict": {"waiting": True, "value": "9"}})])},
        ("fault", "conflict", "conflict"),
        4,
    ),
    (
        {"told": told(properties=[prop(desired={"value": "99"}, ack={"state": "refused", "reason": "above 90"})])},
        ("fault", "wanted", "refused"),
        5,
    ),
    (
        {"told": told(properties=[prop(desired={"value": "9"}, ack={"state": "failed"})])},
        ("fault", "wanted", "late"),
        6,
    ),
    (
        {"told": told(properties=[prop(desired={"value": "9"}, ack={"state": "expired"})])},
        ("warning", "wanted", ""),
        1,
    ),
    (wish(""), ("warning", "wanted", ""), 1),
    (
        {"told": told(properties=[prop(desired={"value": "9"}, ack={"state": "verified"})])},
        ("warning", "wanted", ""),
        1,
    ),
    (
        {"told": told(pushes=[{"property": "p", "place": "http://h", "waiting": 5, "reason": "away"}])},
        ("warning", "push", ""),
        1,
    ),
]


@pytest.mark.parametrize(("changed", "wanted", "code"), CASES)
def test_what_is_wrong_is_found_with_what_to_do_and_its_exit_code(
    changed: dict[str, Any], wanted: tuple[str, str, str], code: int
) -> None:
    found = diagnosed(evidence(**changed))
    assert wanted in bad(found)
    first = next(each for each in found if (each.level, each.check, each.kind) == wanted)
    assert first.next or first.check == "answer", "there is always something to do"
    assert exit_code(error_of(first, "x")) == code


def test_a_value_within_its_tolerance_or_that_can_t_be_read_back_is_as_it_is_wanted() -> None:
    near = prop(
        type="FLOAT", twin={"value": "64.05"}, desired={"value": "64"}, ack={"state": "verified"}, tolerance=0.1
    )
    taken = prop(twin={"value": "1"}, desired={"value": "64"}, ack={"state": "applied"})
    assert bad(diagnosed(evidence(told=told(properties=[near, taken])))) == []


def test_what_is_only_written_or_told_by_the_device_itself_is_not_late() -> None:
    written = {"property": "horn", "type": "BOOLEAN", "periodMs": 1000}
    rare = {"property": "door", "type": "BOOLEAN", "periodMs": 1000, "reading": {**GOOD, "ageMs": 9_000_000}}
    assert bad(diagnosed(evidence(told=told(properties=[written, rare])))) == []


def test_what_was_not_read_yet_is_no_fault() -> None:
    found = diagnosed(evidence(told=told(properties=[prop(reading={})])))
    assert bad(found) == [] and "not read yet since the agent started; in 0s" in [each.says for each in found]


def test_a_device_that_is_held_is_no_fault_and_says_how_to_go_on() -> None:
    held = told(device={"state": "held", "reason": "held by ann", "protocol": "modbus", "servedBy": "agent"})
    found = diagnosed(evidence(told=held))
    assert bad(found) == []
    assert any("skerry device release boiler" in each.next for each in found)


def test_what_a_device_suffers_by_its_gateway_is_said_of_the_gateway() -> None:
    away: JsonObject = {
        "status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "silent since 3"}]}
    }
    assert bad(gateway_findings(evidence(node=away))) == [("fault", "node", "away")]
    assert bad(gateway_findings(evidence(node=None))) == [("fault", "node", "missing")]
    assert bad(gateway_findings(evidence(node=None, node_known=False))) == [], "who may not read Nodes"
    gateway = {
        "clockTrusted": False,
        "outbox": {"reports": 9, "oldestMs": 90_000, "dropped": 7},
        "disk": {"freeBytes": 1 << 20, "bytes": 1 << 30},
    }
    found = gateway_findings(evidence(told=told(gateway=gateway)))
    assert bad(found) == [
        ("warning", "clock", ""), ("warning", "queue", ""), ("warning", "gaps", ""), ("fault", "disk", ""),
    ]  # fmt: skip
    cut = {"state": "closed", "cut": True}
    found = gateway_findings(evidence(local=True, node=None, node_known=False, link=cut, told=told(gateway=gateway)))
    assert ("warning", "cloud", "") in bad(found) and ("warning", "queue", "") not in bad(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_gateway_that_tells_otherwise_than_this_release_is_judged_as_far_as_it_is_understood(
    data: st.DataObject,
) -> None:
    gateway: Any = told(
        line={"line": "x", "needs": 0.5, "units": [UNIT], "missedCycles": {}},
        files=[{"field": "f", "path": "/x"}],
        pushes=[{"place": "p"}],
        properties=[prop(desired={"value": "64"}, ack={"state": "verified"})],
    )
    holders: list[Any] = [gateway]
    while holders:
        holder = holders.pop()
        for key in [*holder] if isinstance(holder, dict) else range(len(holder)):
            if data.draw(st.integers(0, 4)) == 0:
                holder[key] = data.draw(JSON)
            elif isinstance(holder[key], dict | list):
                holder[key] = holder[key].copy()
                holders.append(holder[key])
    for finding in (*diagnosed(evidence(told=gateway)), *gateway_findings(evidence(told=gateway))):
        assert isinstance(finding.says, str)


@pytest.mark.parametrize(("local", "who"), [(False, "the cloud"), (True, "its agent")])
def test_a_server_that_knows_no_check_ups_is_not_taken_for_a_gateway_without_the_device(
    local: bool, who: str
) -> None:
    assert UNKNOWN_PATH == UNKNOWN_RESOURCE, "as the cloud says it"
    (found,) = [
        each for each in diagnosed(evidence(told=NotFoundError(UNKNOWN_PATH), local=local)) if each.check == "gateway"
    ]
    assert found.says == f"can't be asked: {who} is of an older release, which knows no check-ups"
    assert found.next.startswith(f"update {who}")
