"""What `skerry device` makes of objects: settings of protocols, and answers that speak of the past."""

from __future__ import annotations

import json

import pytest

from skerry.cli.device_objects import Twin
from skerry.cli.device_show import Follower, ack_shown, config_lines, devices_listed
from skerry.frozen import replace
from skerry.objects.desired import Desired, Hlc, Vector
from skerry.objects.device_twins import TwinView
from skerry.objects.json import JsonObject


def test_settings_of_a_protocol_are_indented_and_nothing_secret_is_shown() -> None:
    lines = config_lines(
        {
            "slaveID": 1,
            "tcp": {"ip": "127.0.0.1", "port": 5020, "password": "geheim"},
            "mqttPassword": {"value": "geheim"},
            "topics": ["a", "b"],
            "swap": True,
        }
    )
    assert list(lines) == [
        "slaveID: 1",
        "tcp:",
        "  ip: 127.0.0.1",
        "  port: 5020",
        "  password: (hidden)",
        "mqttPassword: (hidden)",
        'topics: ["a", "b"]',
        "swap: true",
    ]


VIEW = TwinView(
    prop="setpoint",
    desired=Desired(
        value="64",
        ver=Vector(cloud=1),
        hlc=Hlc(1, 0),
        side="cloud",
        origin="ann",
        synced=True,
        expires_ms=None,
    ),
    reported="64.0",
    quality="good",
    reason="",
    type="DOUBLE",
    unit="",
    source_ms=1,
    received_ms=1,
    ack_state="verified",
    ack_reason="",
)


@pytest.mark.parametrize(
    ("reported", "state", "shown"),
    [
        ("64.0", "verified", ("verified", "")),
        ("63.98", "verified", ("verified", "")),
        ("30", "verified", ("was verified", "it reads otherwise since")),
        ("30", "applied", ("was applied", "it reads otherwise since")),
        ("30", "pending", ("pending", "")),
        (None, "verified", ("verified", "")),
        ("30", "", ("-", "")),
    ],
)
def test_an_answer_speaks_of_when_it_was_given(reported: str | None, state: str, shown: tuple[str, str]) -> None:
    assert ack_shown(replace(VIEW, reported=reported, ack_state=state)) == shown


def test_values_without_a_known_type_are_compared_as_numbers_where_they_are() -> None:
    assert ack_shown(replace(VIEW, type=""))[0] == "verified"
    assert ack_shown(replace(VIEW, type="STRING", reported="open"))[0] == "was verified"


def test_what_is_followed_is_told_once_with_its_change(capsys: pytest.CaptureFixture[str]) -> None:
    follower = Follower("text", delta=True)
    for reported, quality in (
        ("64.0", "good"),
        ("64.0", "good"),
        ("64.3", "good"),
        ("64.3", "stale"),
        ("open", "good"),
    ):
        follower.tell("boiler", "default", replace(VIEW, source_ms=0, reported=reported, quality=quality))
    assert capsys.readouterr().out.splitlines() == [
        "--:--:--  boiler/setpoint = 64.0",
        "--:--:--  boiler/setpoint = 64.3  (+0.3)",
        "--:--:--  boiler/setpoint = 64.3(stale)",
        "--:--:--  boiler/setpoint = open",
    ]


def test_programs_follow_lines_of_json_or_csv(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("jsonl", "csv"):
        follower = Follower(form, delta=True)
        follower.tell("boiler", "default", VIEW)
        follower.tell("boiler", "default", replace(VIEW, reported="64.5", ack_state="pending"))
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert json.loads(first)["value"] == "64.0" and "delta" not in json.loads(first)
    assert json.loads(second) | {"delta": "+0.5", "ack": "pending", "desired": "64"} == json.loads(second)
    assert third.startswith("1970-01-01T00:00:00.001000Z,boiler,setpoint,64.0,,good,verified,")
    assert fourth.split(",")[3] == "64.5"


def test_a_list_has_what_is_wanted_and_not_yet_there() -> None:
    device: JsonObject = {
        "metadata": {"name": "boiler", "namespace": "ns"},
        "spec": {
            "nodeName": "eu-1",
            "protocol": {"protocolName": "modbus"},
            "properties": [{"name": "setpoint", "desired": {"value": "64", "metadata": {}}}],
        },
    }
    status: JsonObject = {
        "status": {
            "state": "online",
            "lastOnlineTime": "2026-11-28T12:00:00Z",
            "twins": [{"propertyName": "setpoint", "reported": {"value": "20", "metadata": {"quality": "stale"}}}],
        }
    }
    listing = devices_listed([Twin(device=device, status=status)], 1_795_867_260_000)
    assert listing.rows[0].cells == (
        *("ns", "boiler", "eu-1", "modbus", "<none>", "online", "60s ago"),
        "setpoint=20(stale)→64(pending)",
    )
