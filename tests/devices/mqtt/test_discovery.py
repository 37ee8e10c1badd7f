"""Devices that announce themselves to Home Assistant, as zigbee2mqtt, ESPHome and Tasmota do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from devices.mqtt.config import parse_device
from devices.mqtt.discovery import Discovered, Place, discover
from devices.port import DeviceConfig
from skerry.objects.json import JsonObject, maps_at
from skerry.objects.meta import Key

PLACE = Place(node="eu-1", namespace="default", protocol={"host": "127.0.0.1", "port": 1883})

Z2M = "homeassistant/{}/0x00158d0001/{}/config"
Z2M_SHARED: dict[str, Any] = {
    "availability": [
        {"topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}"},
        {"topic": "zigbee2mqtt/hall/availability", "value_template": "{{ value_json.state }}"},
    ],
    "availability_mode": "all",
    "device": {
        "identifiers": ["zigbee2mqtt_0x00158d0001"],
        "manufacturer": "Aqara",
        "model": "T1 (x)",
        "name": "Hall sensor",
    },
    "origin": {"name": "Zigbee2MQTT", "sw": "2.1.0"},
    "state_topic": "zigbee2mqtt/hall",
}


def z2m(**documents: dict[str, Any]) -> dict[str, bytes]:
    """Documents by `component_object`."""
    return {
        Z2M.format(*key.split("__")): json.dumps({**Z2M_SHARED, **said}).encode() for key, said in documents.items()
    }


def found(documents: dict[str, bytes]) -> Discovered:
    return discover(documents, "homeassistant", PLACE)


def visitors(told: Discovered) -> dict[str, JsonObject]:
    """By property, of the one device."""
    assert [obj["kind"] for obj in told.objects] == ["DeviceModel", "Device"]
    properties = maps_at(told.objects[1], "spec", "properties")
    return {prop["name"]: prop["visitors"]["configData"] for prop in properties}  # type: ignore[index, call-overload, misc]


def models(told: Discovered) -> dict[str, JsonObject]:
    return {prop["name"]: prop for prop in maps_at(told.objects[0], "spec", "properties")}  # type: ignore[misc]


def test_a_device_of_zigbee2mqtt_becomes_one_of_ours() -> None:
    told = found(
        z2m(
            sensor__temperature={
                "name": "Temperature",
                "unique_id": "0x_temperature",
                "value_template": "{{ value_json.temperature }}",
                "unit_of_measurement": "°C",
                "state_class": "measurement",
            },
            binary_sensor__contact={
                "name": "Contact",
                "payload_on": False,
                "payload_off": True,
                "value_template": "{{ value_json.contact }}",
            },
            switch__relay={
                "name": "Relay",
                "command_topic": "zigbee2mqtt/hall/set",
                "payload_on": "ON",
                "payload_off": "OFF",
                "value_template": '{{ value_json["state"] }}',
            },
            number__offset={
                "name": "Offset",
                "command_topic": "zigbee2mqtt/hall/set/offset",
                "min": -5,
                "max": 5,
                "value_template": "{{ value_json.offset | float(0) }}",
            },
            select__mode={
                "name": "Mode",
                "command_topic": "zigbee2mqtt/hall/set/mode",
                "options": ["auto", "off"],
                "value_template": "{{ value_json.mode }}",
            },
            device_automation__press={"automation_type": "trigger", "topic": "x"},
            sensor__sum={"name": "Sum", "value_template": "{{ value_json.a + value_json.b }}"},
        )
    )
    device = told.objects[1]
    assert device["metadata"] == {
        "name": "hall-sensor",
        "namespace": "default",
        "annotations": {"skerry.dev/discovered": "zigbee2mqtt_0x00158d0001 Aqara T1 (x)"},
    }
    made = visitors(told)
    assert made["Temperature"] == {"topic": "zigbee2mqtt/hall", "path": "$.temperature", "missing": "ignore"}
    assert made["Contact"]["values"] == {"false": True, "true": False}
    assert made["Relay"]["commandTopic"] == "zigbee2mqtt/hall/set" and made["Relay"]["path"] == '$["state"]'
    assert models(told)["Offset"] == {
        "name": "Offset",
        "type": "FLOAT",
        "accessMode": "ReadWrite",
        "minimum": "-5",
        "maximum": "5",
    }
    assert made["Mode"]["values"] == {"auto": "auto", "off": "off"}
    protocol: Any = device["spec"]
    assert protocol["protocol"]["configData"]["availability"] == [
        {"topic": "zigbee2mqtt/bridge/state", "online": "online", "offline": "offline", "path": "$.state"},
        {"topic": "zigbee2mqtt/hall/availability", "online": "online", "offline": "offline", "path": "$.state"},
    ]
    assert sorted(line.split(": ", 1)[1] for line in told.skipped) == [
        "its template is more than a place in the payload: '{{ value_json.a + value_json.b }}'",
        "no property of ours is like its platform, device_automation",
    ]


def test_abbreviations_and_the_base_topic_are_written_out() -> None:
    """As Tasmota and ESPHome write them."""
    document = {
        "~": "tele/plug/",
        "name": "Plug",
        "stat_t": "~STATE",
        "cmd_t": "cmnd/plug/POWER",
        "val_tpl": "{{value_json.POWER}}",
        "pl_on": "ON",
        "pl_off": "OFF",
        "avty_t": "~LWT",
        "pl_avail": "Online",
        "pl_not_avail": "Offline",
        "exp_aft": 90,
        "ret": True,
        "uniq_id": "plug_RL_1",
        "dev": {"ids": ["plug"], "name": "Plug", "mf": "Tasmota", "mdl": "Sonoff"},
    }
    told = found({"homeassistant/switch/plug_RL_1/config": json.dumps(document).encode()})
    (visitor,) = visitors(told).values()
    assert visitor == {
        "topic": "tele/plug/STATE",
        "path": "$.POWER",
        "missing": "ignore",
        "commandTopic": "cmnd/plug/POWER",
        "commandRetain": True,
        "values": {"ON": True, "OFF": False},
    }
    spec: Any = told.objects[1]["spec"]
    assert spec["protocol"]["configData"] == {
        "host": "127.0.0.1",
        "port": 1883,
        "availability": [{"topic": "tele/plug/LWT", "online": "Online", "offline": "Offline"}],
        "expireAfterMs": 90_000,
    }


def test_a_document_of_a_whole_device_has_many_entities() -> None:
    document = {
        "dev": {"ids": "ea33", "name": "Bla"},
        "o": {"name": "bla2mqtt", "sw": "2.1"},
        "stat_t": "bla/state",
        "cmps": {
            "temp": {"p": "sensor", "unit_of_meas": "°C", "val_tpl": "{{ value_json.t }}", "uniq_id": "t"},
            "gone": {"p": "sensor"},
            "restart": {"p": "button", "cmd_t": "bla/restart", "pl_prs": "now"},
            "lamp": {
                "p": "light",
                "schema": "json",
                "cmd_t": "bla/lamp/set",
                "stat_t": "bla/lamp",
                "brightness": True,
                "bri_scl": 254,
            },
            "blind": {"p": "cover", "cmd_t": "bla/blind/set", "pos_t": "bla/blind/pos", "set_pos_t": "bla/blind/to"},
            "door": {"p": "lock", "cmd_t": "bla/door/set", "stat_t": "bla/door"},
            "heat": {
                "p": "climate",
                "curr_temp_t": "bla/now",
                "temp_cmd_t": "bla/to",
                "temp_stat_t": "bla/state",
                "temp_stat_tpl": "{{ value_json.set }}",
                "mode_cmd_t": "bla/mode",
            },
            "odd": {"p": "number", "cmd_t": "bla/n", "command_template": "{{ value * 2 }}"},
            "cost": {"p": "number", "cmd_t": "bla/c", "command_template": '{"$": {{ value | int }}}'},
        },
    }
    told = found({"homeassistant/device/ea33/config": json.dumps(document).encode()})
    made = visitors(told)
    assert "gone" not in made and "odd" not in made
    assert made["temp"]["topic"] == "bla/state"
    assert made["restart"] == {"commandTopic": "bla/restart", "values": {"now": True}}
    assert made["lamp"]["commandTemplate"] == '{"state": "${value}"}'
    assert models(told)["lamp_brightness"]["maximum"] == "254"
    assert made["blind_command"]["values"] == {"OPEN": "OPEN", "CLOSE": "CLOSE", "STOP": "STOP"}
    assert made["door"]["values"] == {"LOCK": True, "UNLOCK": False, "LOCKED": True, "UNLOCKED": False}
    assert {"heat_current", "heat_temperature", "heat_mode", "blind_position"} <= set(made)
    assert made["cost"]["commandTemplate"] == '{"$$": ${value}}'
    assert told.skipped == ("Bla, odd: its template does more than put the value in: '{{ value * 2 }}'",)


def test_what_we_announce_ourselves_is_not_found() -> None:
    ours = {"origin": {"name": "skerry"}, "components": {"x": {"platform": "sensor", "state_topic": "t"}}}
    assert found({"homeassistant/device/x/config": json.dumps(ours).encode()}) == Discovered(devices=(), skipped=())


def test_two_devices_of_one_name_are_told_apart_in_the_same_way_each_time() -> None:
    def one(id: str) -> bytes:
        return json.dumps({"device": {"identifiers": [id], "name": "Lamp"}, "state_topic": id}).encode()

    documents = {"homeassistant/sensor/a/config": one("a"), "homeassistant/sensor/b/config": one("b")}
    names = [obj["metadata"]["name"] for obj in found(documents).objects]  # type: ignore[index, call-overload]
    assert names == ["lamp", "lamp", "lamp-71beeff9", "lamp-71beeff9"]
    assert found(dict(reversed(documents.items()))) == found(documents)


@pytest.mark.parametrize(
    ("topic", "payload", "says"),
    [
        ("homeassistant/device/x/config", b"{", "it is not JSON"),
        ("homeassistant/device/x/config", b"[]", "not a JSON object"),
        ("homeassistant/device/x/config", b'{"device": {"ids": "x"}}', "it has no components"),
        ("homeassistant/sensor/x/config", b'{"state_topic": "a/#"}', "has a wildcard"),
        ("homeassistant/switch/x/config", b'{"state_topic": "a"}', "it has no command_topic"),
    ],
)
def test_what_makes_no_sense_is_left_out_with_its_reason(topic: str, payload: bytes, says: str) -> None:
    told = found({topic: payload, "homeassistant/sensor/gone/config": b""})
    assert told.objects == () and len(told.skipped) == 1 and says in told.skipped[0]


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=8),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(
                ["dev", "cmps", "p", "name", "stat_t", "cmd_t", "val_tpl", "avty", "t", "ids", "~", "x", "ops", "min"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, some.sampled_from(["device", "sensor", "switch", "light", "climate", "cover", "select", "x"]))
def test_whatever_is_announced_our_driver_takes_what_comes_of_it(document: object, component: str) -> None:
    topic = f"homeassistant/{component}/a/config"
    told = found({topic: json.dumps(document).encode()})
    for obj in told.objects:
        json.dumps(obj)
        if obj["kind"] == "Device":
            spec: Any = obj["spec"]
            parse_device(
                DeviceConfig(
                    device=Key("d", "n", "x"),
                    protocol="mqtt",
                    protocol_config=spec["protocol"]["configData"],
                    properties=(),
                ),
                None,
            )
