"""What `skerry device` makes of objects: settings of protocols, and answers that speak of the past."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skerry.cli.device import ack_shown, config_lines
from skerry.objects.device_twins import TwinView
from skerry.objects.twins import Desired, Hlc, Vector


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
        conflict=None,
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
