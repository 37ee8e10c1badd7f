"""What a manifest says about SNMP, and what is sent for a value."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from devices.port import DeviceConfig, PropertyConfig
from devices.snmp.config import SnmpDevice, Written, parse_device, written_value
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Value

V3: Mapping[str, bytes] = {"username": b"ann", "authPassword": b"authpass12", "privPassword": b"privpass12"}
HOST: JsonObject = {"host": "10.0.0.5"}


def device(
    protocol: JsonObject = HOST,
    visitor: JsonObject | None = None,
    secret: Mapping[str, bytes] = V3,
    type: str = "INT",
) -> SnmpDevice:
    prop = PropertyConfig(
        name="level",
        type=type,
        writable=True,
        unit="",
        minimum=None,
        maximum=None,
        collect_ms=1000,
        visitor={"oid": "1.3.6.1.2.1.1.3.0"} if visitor is None else visitor,
    )
    return parse_device(
        DeviceConfig(
            device=Key("devices.devices.kubeedge.io", "default", "one"),
            protocol="snmp",
            protocol_config=protocol,
            properties=(prop,),
            secret=secret,
        )
    )


def test_version_3_with_both_passwords_is_what_is_meant_where_nobody_says_otherwise() -> None:
    access = device().access
    assert (access.version, access.user, access.level, access.auth, access.priv) == (
        "3",
        "ann",
        "authPriv",
        "SHA256",
        "AES",
    )
    assert "authpass12" not in repr(access) and "privpass12" not in repr(device())
    without = device({**HOST, "securityLevel": "authNoPriv"}, secret={**V3}).access
    assert (without.auth_password, without.priv_password) == ("authpass12", "")
    old = device({**HOST, "version": "2c"}, secret={"community": b"s3cret"}).access
    assert old.community == "s3cret" and "s3cret" not in repr(old)


@pytest.mark.parametrize(
    ("type", "visitor", "value", "sent"),
    [
        ("INT", {}, 5, Written(kind="integer", value=5)),
        ("INT", {"writeType": "unsigned"}, 5, Written(kind="unsigned", value=5)),
        ("DOUBLE", {"scale": 0.1}, 21.5, Written(kind="integer", value=215)),
        ("BOOLEAN", {}, True, Written(kind="integer", value=1)),
        ("BOOLEAN", {}, False, Written(kind="integer", value=2)),
        ("BOOLEAN", {"values": {"0": False, "5": True}}, True, Written(kind="integer", value=5)),
        (
            "STRING",
            {"values": {"1": "off", "3": "heating"}, "writeType": "integer"},
            "heating",
            Written(kind="integer", value=3),
        ),
        ("STRING", {}, "öl", Written(kind="string", value="öl".encode())),
        ("STRING", {"writeType": "ip"}, "10.0.0.7", Written(kind="ip", value="10.0.0.7")),
        ("STRING", {"writeType": "oid"}, ".1.3.6", Written(kind="oid", value="1.3.6")),
        ("DOUBLE", {"writeType": "string"}, 21.5, Written(kind="string", value=b"21.5")),
        ("BYTES", {}, b"\x00\xff", Written(kind="string", value=b"\x00\xff")),
    ],
)
def test_a_value_is_sent_as_the_device_has_it(type: str, visitor: JsonObject, value: Value, sent: Written) -> None:
    made = device(visitor={"oid": "1.3.6.1", **visitor}, type=type)
    assert written_value(made.properties["level"], value) == sent


@pytest.mark.parametrize(
    ("type", "visitor", "value", "said"),
    [
        ("DOUBLE", {}, 21.5, "lies between two steps"),
        ("INT", {}, 2**31, "is not from -2147483648 to 2147483647"),
        ("INT", {"writeType": "unsigned"}, -1, "is not from 0"),
        ("STRING", {"writeType": "integer"}, "warm", "is no whole number"),
        ("STRING", {"writeType": "ip"}, "fe80::1", "is no IPv4 address"),
        ("STRING", {"writeType": "oid"}, "sysName", "is no object identifier"),
    ],
)
def test_what_the_device_has_no_form_for_is_refused(type: str, visitor: JsonObject, value: Value, said: str) -> None:
    made = device(visitor={"oid": "1.3.6.1", **visitor}, type=type)
    with pytest.raises(InvalidError, match=said):
        written_value(made.properties["level"], value)


@pytest.mark.parametrize(
    ("protocol", "visitor", "secret", "said"),
    [
        ({}, None, V3, "configData.host: required"),
        ({**HOST, "version": "4"}, None, V3, "version: '4' is not one of 1, 2c, 3"),
        ({**HOST, "version": "2c", "authProtocol": "SHA"}, None, {}, "authProtocol: only SNMP 3 has one"),
        ({**HOST, "authProtocol": "SHA1"}, None, V3, "authProtocol: 'SHA1' is not one of MD5, SHA"),
        (HOST, None, {}, "the Secret needs username for authPriv"),
        (HOST, None, {"username": b"ann", "authPassword": b"authpass12"}, "the Secret needs privPassword"),
        (HOST, None, {**V3, "authPassword": b"short"}, "fewer than 8 characters"),
        (HOST, None, {**V3, "password": b"hidden"}, "the Secret has 'password'; known are community"),
        (HOST, None, {**V3, "username": b"\xff"}, "not UTF-8"),
        (HOST, {"oid": "sysUpTime.0"}, V3, "[level].visitors.configData.oid: 'sysUpTime.0' is no number"),
        (HOST, {}, V3, "configData.oid: required"),
        (HOST, {"oid": "1.3", "path": "$.x"}, V3, "unknown field"),
        (HOST, {"oid": "1.3", "writeType": "int"}, V3, "writeType: 'int' is not one of integer"),
    ],
)
def test_a_mistake_names_the_field(
    protocol: JsonObject, visitor: JsonObject | None, secret: Mapping[str, bytes], said: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        device(protocol, visitor, secret)
    assert said in str(caught.value) and "hidden" not in str(caught.value)
