"""What a gateway would make of a device, told before it has it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import yaml

from devices.commands.preview import preview
from skerry.cli.device_plan import sent_lines
from skerry.cli.plugged import previewed
from skerry.objects.json import JsonObject, ensure_map, map_at, maps_at, str_at

EXAMPLE = Path(__file__).parents[3] / "examples" / "04-plc" / "device.yaml"


def example() -> tuple[JsonObject, JsonObject]:
    model, device = cast("list[JsonObject]", list(yaml.safe_load_all(EXAMPLE.read_text())))
    return model, device


def test_registers_are_told_before_the_gateway_has_the_device() -> None:
    model, device = example()
    told = preview(device, model, {"setpoint": "64", "fan": "true"})
    assert str_at(told, "problem") == ""
    sent = {
        prop: maps_at(told, "writes", prop, "requests")[0] for prop in map_at(told, "writes")
    }  # fmt: skip
    assert sent["setpoint"] == {"unit": 1, "function": 6, "table": "holding", "address": 2, "values": [640]}
    assert (sent["fan"]["function"], sent["fan"]["address"]) == (5, 1)
    assert previewed(device, model, {"setpoint": "64"}) == preview(device, model, {"setpoint": "64"})


def test_what_can_t_be_written_says_why() -> None:
    model, device = example()
    writes = map_at(preview(device, model, {"setpoint": "91", "temperature": "1", "speed": "1"}), "writes")
    assert "above the maximum of 90" in str_at(writes, "setpoint", "refusal")
    assert "read-only" in str_at(writes, "temperature", "refusal")
    assert "no property 'speed'" in str_at(writes, "speed", "refusal")
    assert "between two steps" in str_at(
        preview(device, model, {"setpoint": "61.25"}), "writes", "setpoint", "refusal"
    )


def test_a_device_that_its_gateway_would_call_invalid_is_told_of_with_its_field() -> None:
    model, device = example()
    ensure_map(device, "spec", "protocol", "configData")["timeoutMS"] = 500
    assert "timeoutMS" in str_at(preview(device, model, {}), "problem")


def test_of_other_protocols_values_are_checked_and_requests_are_not_made_up() -> None:
    model, device = example()
    device["spec"] = {**map_at(device, "spec"), "protocol": {"protocolName": "opcua", "configData": {}}}
    told = preview(device, model, {"setpoint": "64"})
    assert told == {"problem": "", "writes": {}}
    assert "above" in str_at(preview(device, model, {"setpoint": "91"}), "writes", "setpoint", "refusal")


def speaking(
    protocol: str, config: JsonObject, visitor: JsonObject, type: str = "FLOAT"
) -> tuple[JsonObject, JsonObject]:
    """A model and a device of one property, as any of them has it."""
    held: JsonObject = {"name": "setpoint", "type": type, "visitors": {"configData": visitor}}
    model: JsonObject = {"kind": "DeviceModel", "metadata": {"name": "m"}, "spec": {"properties": [held]}}
    spec: JsonObject = {
        "nodeName": "eu-1",
        "deviceModelRef": {"name": "m"},
        "protocol": {"protocolName": protocol, "configData": config},
        "properties": [{"name": "setpoint"}],
    }
    return model, {"kind": "Device", "metadata": {"name": "d"}, "spec": spec}


@pytest.mark.parametrize(
    ("protocol", "config", "visitor", "sent"),
    [
        (
            "http",
            {"url": "http://10.0.0.5/api/", "secretRef": {"name": "s"}},
            {"url": "set", "writeTemplate": '{"set": ${json}}'},
            'PUT http://10.0.0.5/api/set, application/json: {"set": 42.5}',
        ),
        (
            "mqtt",
            {"host": "10.0.0.6"},
            {"topic": "t", "commandTopic": "t/set", "commandTemplate": "${device}=${value}", "commandRetain": True},
            "publish on t/set at 10.0.0.6:1883, QoS 1, retained: d=42.5",
        ),
        (
            "snmp",
            {"host": "10.0.0.7", "secretRef": {"name": "s"}},
            {"oid": "1.3.6.1.4.1.1.0", "scale": 0.1},
            "set 1.3.6.1.4.1.1.0 to integer 425",
        ),
    ],
)
def test_what_other_drivers_would_send_is_told_as_they_would_send_it(
    protocol: str, config: JsonObject, visitor: JsonObject, sent: str
) -> None:
    model, device = speaking(protocol, config, visitor)
    told = preview(device, model, {"setpoint": "42.5"})
    assert (told["problem"], sent_lines(map_at(told, "writes", "setpoint"))) == ("", [sent])


def test_what_other_drivers_would_refuse_is_refused() -> None:
    model, device = speaking("mqtt", {"host": "b"}, {"topic": "t"})
    told = preview(device, model, {"setpoint": "1"})
    assert str_at(told, "writes", "setpoint", "refusal") == "setpoint has no commandTopic"
    model, device = speaking("virtual", {}, {"initial": "1", "refuse": ["2"]}, "INT")
    assert "won't take 2" in str_at(preview(device, model, {"setpoint": "2"}), "writes", "setpoint", "refusal")
    model, device = speaking("snmp", {"host": "h"}, {"oid": "1.3.6.1.4.1.1.0"})
    assert "the Secret needs username" in str_at(preview(device, model, {}), "problem"), "there is none"
    model, device = speaking("snmp", {"host": "h", "secretRef": {"name": "s"}}, {"oid": "boiler"})
    assert "is no number such as" in str_at(preview(device, model, {}), "problem")


def test_a_secret_that_only_the_gateway_has_is_no_fault() -> None:
    model, device = example()
    model["spec"] = {"protocol": "http", "properties": [{"name": "t", "type": "INT"}]}
    held: JsonObject = {"url": "https://10.0.0.5/", "secretRef": {"name": "s"}}
    device["spec"] = {
        "deviceModelRef": {"name": "boiler"},
        "protocol": {"protocolName": "http", "configData": held},
    }
    assert str_at(preview(device, model, {}), "problem") == ""
    assert held["secretRef"] == {"name": "s"}
    held["url"] = "ftp://x"
    del held["secretRef"]
    assert "spec.protocol.configData.url" in str_at(preview(device, model, {}), "problem")
