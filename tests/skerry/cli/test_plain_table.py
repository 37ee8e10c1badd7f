"""Tables of objects that come without: what a gateway shows of its pods and devices."""

from __future__ import annotations

import pytest

from skerry.cli.plain_table import plain_table
from skerry.objects.json import Json, JsonObject, list_at, maps_at

CREATED = {"name": "x", "creationTimestamp": "2026-11-21T04:00:00Z"}
NOW_MS = 1_795_233_600_000 + 90_000


def cells(obj: JsonObject, kind: str) -> list[Json]:
    return list_at(maps_at(plain_table([obj], kind, NOW_MS), "rows")[0], "cells")


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"running": {}}, "Running"),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, "CrashLoopBackOff"),
        ({"terminated": {"reason": "Completed"}}, "Completed"),
    ],
)
def test_a_pod_shows_what_its_containers_do(state: Json, word: str) -> None:
    status: JsonObject = {
        "phase": "Running",
        "containerStatuses": [{"ready": True, "restartCount": 2, "state": state}],
    }
    pod: JsonObject = {"metadata": {**CREATED}, "spec": {"containers": [{}, {}]}, "status": status}
    assert cells(pod, "Pod") == ["x", "1/2", word, "2", "90s"]


def test_a_pod_that_ends_says_so() -> None:
    pod: JsonObject = {"metadata": {**CREATED, "deletionTimestamp": "2026-11-21T04:01:00Z"}, "status": {}}
    assert cells(pod, "Pod")[2] == "Terminating"


def test_a_device_and_its_status_show_what_the_gateway_knows() -> None:
    spec: JsonObject = {
        "nodeName": "eu-1",
        "deviceModelRef": {"name": "boiler"},
        "protocol": {"protocolName": "modbus"},
    }
    assert cells({"metadata": {**CREATED}, "spec": spec}, "Device") == ["x", "eu-1", "boiler", "modbus", "90s"]
    status: JsonObject = {"state": "online", "lastOnlineTime": "2026-11-21T04:01:00Z"}
    assert cells({"metadata": {**CREATED}, "status": status}, "DeviceStatus") == ["x", "online", "30s ago", "90s"]


def test_other_kinds_show_name_and_age() -> None:
    assert cells({"metadata": {"name": "x"}}, "ConfigMap") == ["x", "<unknown>"]
