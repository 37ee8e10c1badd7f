"""Whom the doctor asks, how often, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import pytest

from skerry.cli.client import Answer, Client
from skerry.cli.device_doctor import Patient, end, examined, print_patients
from skerry.cli.diagnosis import Finding
from skerry.cli.target import RefusedError
from skerry.errors import NotFoundError, SkerryError, UnavailableError
from skerry.objects.json import JsonObject

WELL: JsonObject = {"device": {"state": "online", "protocol": "virtual", "servedBy": "agent"}}


@dataclass
class Cloud:
    """Answers by path; a device on `away` is on a gateway that does not answer."""

    asked: list[str] = field(default_factory=list[str])
    away: frozenset[str] = frozenset()
    local: bool = False
    namespace: str = "default"

    def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, **_: object) -> Answer:
        self.asked.append(f"{method} {path.rpartition('/v1beta1/namespaces/default/')[2] or path}")
        name = path.split("/devices/")[-1].split("/")[0]
        if path.endswith("/checkup"):
            if name in self.away:
                raise UnavailableError("gateway is not connected")
            return Answer(status=200, body={**WELL, "metadata": {"namespace": "default", "name": name}}, warnings=())
        if path.endswith("/read"):
            return Answer(status=201, body={"properties": {"t": {"quality": "good", "value": "1"}}}, warnings=())
        if "/nodes/" in path:
            body: JsonObject = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            return Answer(status=200, body=body, warnings=())
        if path.endswith("/devicemodels/m"):
            return Answer(status=200, body={"metadata": {"name": "m"}, "spec": {}}, warnings=())
        raise NotFoundError(path)


def device(name: str, node: str = "eu-1") -> JsonObject:
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "nodeName": node,
            "deviceModelRef": {"name": "m"},
            "protocol": {"protocolName": "virtual", "configData": {}},
        },
    }


def seen(cloud: Cloud, *devices: JsonObject, live: bool = False) -> list[Patient]:
    return examined(cast(Client, cloud), devices, live=live)


def test_a_gateway_and_a_model_are_asked_about_once_and_no_device_unless_it_is_wanted() -> None:
    cloud = Cloud()
    patients = seen(cloud, device("a"), device("b"))
    assert [patient.title for patient in patients] == ["gateway eu-1", "default/a", "default/b"]
    assert cloud.asked == [
        "GET devicemodels/m", "GET /api/v1/nodes/eu-1", "GET devices/a/checkup", "GET devices/b/checkup",
    ]  # fmt: skip
    cloud.asked.clear()
    seen(cloud, device("a"), live=True)
    assert cloud.asked[-1] == "POST devices/a/read"


def test_a_gateway_that_does_not_answer_is_asked_for_one_device_alone() -> None:
    cloud = Cloud(away=frozenset({"a", "b"}))
    patients = seen(cloud, device("a"), device("b"), device("c", "eu-2"), live=True)
    assert [each for each in cloud.asked if each.endswith(("checkup", "read"))] == [
        "GET devices/a/checkup", "GET devices/c/checkup", "POST devices/c/read",
    ]  # fmt: skip
    levels = {
        patient.title: [each.check for each in patient.findings if each.level == "fault"] for patient in patients
    }
    assert levels["default/a"] == levels["default/b"] == ["gateway"] and levels["default/c"] == []


def patient(*findings: Finding) -> Patient:
    return Patient(kind="Device", namespace="default", name="a", node="eu-1", findings=findings)


def test_it_ends_with_the_first_fault_and_with_warnings_where_they_count() -> None:
    warned = Finding(level="warning", check="file", says="w")
    refused = Finding(level="fault", check="wanted", says="no", prop="p", kind="refused")
    away = Finding(level="fault", check="value", says="gone", kind="away")
    end([patient(warned)], strict=False)
    with pytest.raises(SkerryError, match="default/a: file: w"):
        end([patient(warned)], strict=True)
    with pytest.raises(RefusedError, match="default/a/p: wanted: no; and 1 more"):
        end([patient(warned, refused), patient(away)], strict=False)
    with pytest.raises(RefusedError, match="and 2 more"):
        end([patient(warned, refused), patient(away)], strict=True)


def test_what_a_broker_or_a_place_says_is_one_line_and_no_command_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    finding = Finding(level="fault", check="push", says="it answers 500\x1b[2J\n  ok      all is well\x07")
    patient = Patient(kind="Device", namespace="default", name="d", node="eu-1", findings=(finding,))
    print_patients([patient], "text", quiet=False)
    assert capsys.readouterr().out.splitlines() == [
        "default/d at eu-1: 1 fault, 0 warnings",
        "  fault   push             it answers 500\\u001b[2J\\u000a  ok      all is well\\u0007",
    ]
