"""What a Device says about MQTT: understood, or refused by the name of the field and the fix."""

from __future__ import annotations

import pytest

from devices.mqtt.config import Broker, parse_device, parse_property
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
        ({"commandTopic": "a", "commandTemplate": "${value} costs 3 $"}, "is written $$"),
        ({"topic": "a", "commandTemplate": "${value}"}, "commandTopic: required with commandTemplate"),
        ({"topic": "a", "response": {}}, "response: of what?"),
        ({"commandTopic": "a", "response": {"ok": "yes"}}, "statusPath: required with ok"),
        ({"commandTopic": "a", "response": {"ok": {}, "statusPath": "$"}}, "ok: must be a text"),
        ({"commandTopic": "a", "response": {"valuePath": "x"}}, "response.valuePath: 'x' is not a path"),
        ({"commandTopic": "a", "readTopic": "b"}, "readTopic: needs a topic"),
        ({"topic": "a", "readTemplate": "x"}, "readTopic: required with readTemplate"),
        ({"commandTopic": "a", "binary": {"dataType": "uint8", "offset": 2}}, "commandTemplate: required, as"),
    ],
)
def test_a_mistake_in_a_property_is_refused(visitor: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_property(prop(visitor))
    assert says in str(refusal.value) and "spec.properties[x].visitors.configData" in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "host: required, as the gateway has no broker itself (run --mqtt-broker)"),
        ({"port": 1883}, "host: required with port"),
        ({"username": "ann"}, "host: required with username"),
        ({"tls": {}}, "host: required with tls"),
        ({"host": "b", "passwordFile": "/x"}, "username: required with passwordFile"),
        ({"host": "b", "tls": {"certFile": "/x"}}, "belong together"),
        ({"host": "b", "availability": {"online": "1"}}, "availability.topic: required"),
        ({"host": "b", "password": "x"}, "did you mean passwordFile?"),
        ({"host": "b", "version": 4}, "'4' is not one of auto, 5, 3.1.1"),
        ({"host": "b", "presence": {"online": "1"}}, "presence.topic: required"),
        ({"host": "b", "availability": [{"topic": "a"}, "b"]}, "availability[1]: must be an object"),
        ({"host": "b", "availability": [{"topic": "a"}] * 9}, "at most 8"),
    ],
)
def test_a_mistake_in_the_protocol_is_refused(data: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_device(DeviceConfig(device=KEY, protocol="mqtt", protocol_config=data, properties=()), None)
    assert says in str(refusal.value)


def test_the_port_follows_from_tls() -> None:
    plain = DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "b"}, properties=())
    secure = DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "b", "tls": {}}, properties=())
    assert (parse_device(plain, None).broker.port, parse_device(secure, None).broker.port) == (1883, 8883)


def test_a_device_that_names_no_broker_is_on_the_gateways() -> None:
    own = Broker(host="127.0.0.1", port=1884, username="edgecore", password_file="/p")
    bare = DeviceConfig(device=KEY, protocol="mqtt", protocol_config={}, properties=())
    assert parse_device(bare, own).broker == own
    said: JsonObject = {"version": "5", "sessionExpiryS": 60, "presence": {"topic": "here"}}
    more = parse_device(DeviceConfig(device=KEY, protocol="mqtt", protocol_config=said, properties=()), own).broker
    assert (more.host, more.port, more.password_file, more.version) == ("127.0.0.1", 1884, "/p", "5")
    assert more.session_expiry_s == 60 and more.presence is not None and more.presence.topic == "here"
    named = DeviceConfig(device=KEY, protocol="mqtt", protocol_config={"host": "b"}, properties=())
    assert parse_device(named, own).broker == Broker(host="b", port=1883)
