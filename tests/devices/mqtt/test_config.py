"""What a Device says about MQTT: understood, or refused by the name of the field and the fix."""

from __future__ import annotations

import pytest

from devices.mqtt.config import parse_device, parse_property
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "sensor")


def prop(visitor: JsonObject) -> PropertyConfig:
    return PropertyConfig(
        name="x", type="INT", writable=True, unit="", minimum=None, maximum=None, collect_ms=1000, visitor=visitor
    )


@pytest.mark.parametrize(
    ("visitor", "says"),
    [
        ({}, "topic: required"),
        ({"topic": "a/#"}, "has a wildcard"),
        ({"topic": "$SYS/x"}, "not a topic that devices publish on"),
        ({"topic": "a", "pth": "$.x"}, "did you mean path?"),
        ({"topic": "a", "path": "x"}, "begin with $"),
        ({"commandTopic": "a", "commandTemplate": "on"}, "must contain ${value}"),
        ({"commandTopic": "a", "commandTemplate": "${value} ${name}"}, "no other"),
    ],
)
def test_a_mistake_in_a_property_is_refused(visitor: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_property(prop(visitor))
    assert says in str(refusal.value) and "spec.properties[x].visitors.configData" in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "host: required"),
        ({"host": "b", "passwordFile": "/x"}, "username: required with passwordFile"),
        ({"host": "b", "tls": {"certFile": "/x"}}, "belong together"),
        ({"host": "b", "availability": {"online": "1"}}, "availability.topic: required"),
        ({"host": "b", "password": "x"}, "did you mean passwordFile?"),
    ],
)
def test_a_mistake_in_the_protocol_is_refused(data: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_device(DeviceConfig(device=KEY, protocol="mqtt", protocol_config=data, properties=()))
    assert says in str(refusal.value)


def test_the_port_follows_from_tls() -> None:
    plain = DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "b"}, properties=())
    secure = DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "b", "tls": {}}, properties=())
    assert (parse_device(plain).broker.port, parse_device(secure).broker.port) == (1883, 8883)
