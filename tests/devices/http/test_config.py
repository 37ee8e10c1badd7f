"""What a manifest says about HTTP."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from devices.http.config import HttpDevice, parse_device
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


def device(
    protocol: JsonObject, visitor: JsonObject | None = None, secret: Mapping[str, bytes] | None = None
) -> HttpDevice:
    prop = PropertyConfig(
        name="level",
        type="DOUBLE",
        writable=True,
        unit="",
        minimum=None,
        maximum=None,
        collect_ms=1000,
        visitor={"url": "state"} if visitor is None else visitor,
    )
    return parse_device(
        DeviceConfig(
            device=Key("devices.devices.kubeedge.io", "default", "one"),
            protocol="http",
            protocol_config=protocol,
            properties=(prop,),
            secret=secret or {},
        )
    )


BASE: JsonObject = {"url": "http://10.0.0.5/api/"}


@pytest.mark.parametrize(
    ("base", "url", "target", "authority"),
    [
        ("http://10.0.0.5", "state", "/state", "10.0.0.5"),
        ("http://10.0.0.5/api/", "state?x=1", "/api/state?x=1", "10.0.0.5"),
        ("http://10.0.0.5/api/", "/state", "/state", "10.0.0.5"),
        ("http://plc:8080/api", "state", "/state", "plc:8080"),
        ("https://[fe80::1]/", "https://[fe80::1]:443/a", "/a", "[fe80::1]"),
        ("http://plc/", "", "/", "plc"),
    ],
)
def test_a_url_is_taken_from_the_devices_own(base: str, url: str, target: str, authority: str) -> None:
    parsed = device({"url": base}, {"url": url})
    question = parsed.properties["level"].question
    assert question is not None and (question.target, parsed.origin.authority) == (target, authority)


def test_credentials_come_from_the_secret_and_are_never_shown() -> None:
    parsed = device(BASE, None, {"username": b"ann", "password": b"s3cret"})
    assert parsed.credentials == {"Authorization": "Basic YW5uOnMzY3JldA=="}
    assert device(BASE, None, {"token": b"t0ken\n"}).credentials == {"Authorization": "Bearer t0ken"}
    parsed = device({"url": "https://plc/"}, None, {"header.X-Key": b"k3y", "tls.crt": b"CERT", "tls.key": b"PRIV"})
    assert parsed.credentials == {"X-Key": "k3y"} and parsed.tls.key_pem == "PRIV"
    for text in (repr(parsed), repr(device(BASE, None, {"token": b"t0ken"}))):
        assert not any(secret in text for secret in ("k3y", "PRIV", "t0ken"))


def test_what_is_sent_has_the_type_that_it_reads_as() -> None:
    def type_of(visitor: JsonObject) -> str:
        command = device(BASE, {"url": "s", **visitor}).properties["level"].command
        assert command is not None
        return command.type

    assert type_of({"writeTemplate": '{"level": ${json}}'}) == "application/json"
    assert type_of({"writeTemplate": "level=${value}"}) == "text/plain; charset=utf-8"
    assert type_of({"writeTemplate": "level=${value}", "writeType": "application/x-www-form-urlencoded"}) == (
        "application/x-www-form-urlencoded"
    )


@pytest.mark.parametrize(
    ("protocol", "visitor", "said"),
    [
        ({}, None, "configData.url: required"),
        ({"url": "plc/api"}, None, "configData.url: must be a URL such as"),
        ({"url": "ftp://plc/"}, None, "configData.url: must be a URL such as"),
        ({"url": "http://plc:99999/"}, None, "configData.url: 'http://plc:99999/' is no URL"),
        ({"url": "http://ann:pw@plc/"}, None, "credentials belong into a Secret"),
        ({"url": "http://plc/a b"}, None, "written as %20"),
        ({"ulr": "http://plc/"}, None, "did you mean url"),
        ({**BASE, "headers": {"Authorization": "Bearer x"}}, None, "headers.Authorization: credentials belong"),
        ({**BASE, "headers": {"Host": "x"}}, None, "headers.Host: 'Host' can't be set"),
        ({**BASE, "headers": {"X": "a\r\nB: c"}}, None, "headers.X: has characters"),
        ({**BASE, "tls": {}}, None, "configData.tls: the url begins with http://"),
        ({"url": "https://plc/", "tls": {"certFile": "a"}}, None, "certFile and keyFile belong together"),
        ({**BASE, "timeoutMs": 1}, None, "timeoutMs: must be a whole number from 10"),
        (BASE, {}, "[level].visitors.configData.url: required"),
        (BASE, {"url": "http://other/x"}, "url: must be at http://10.0.0.5"),
        (BASE, {"url": "//other/x"}, "url: must be at http://10.0.0.5"),
        (BASE, {"url": "http://[10.0.0.5/x"}, "url: 'http://[10.0.0.5/x' is no URL"),
        (BASE, {"url": "x", "method": "PUT"}, "method: 'PUT' does not read"),
        (BASE, {"url": "x", "body": "y"}, "method: must be POST"),
        (BASE, {"writeUrl": "x", "method": "POST"}, "url: required with method"),
        (BASE, {"url": "x", "writeMethod": "GET"}, "writeMethod: 'GET' does not write"),
        (BASE, {"url": "x", "writeTemplate": "on"}, "writeTemplate: must contain"),
        (BASE, {"url": "x", "writeTemplate": "${vaule}"}, "${vaule} is unknown"),
        (BASE, {"url": "x", "path": "state"}, "path: 'state' is not a path"),
    ],
)
def test_a_mistake_names_the_field(protocol: JsonObject, visitor: JsonObject | None, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        device(protocol, visitor)
    assert said in str(caught.value)


def test_a_secret_that_makes_no_sense_is_refused_without_what_is_in_it() -> None:
    for secret, said in (
        ({"token": b"hidden", "password": b"hidden"}, "both a token and a password"),
        ({"token": b"hidden\r\nX: y"}, "has characters"),
        ({"tls.crt": b"hidden"}, "tls.crt and tls.key belong together"),
        ({"username": b"\xff"}, "username of the Secret is not UTF-8"),
    ):
        with pytest.raises(InvalidError) as caught:
            device({"url": "https://plc/"}, None, secret)
        assert said in str(caught.value) and "hidden" not in str(caught.value)
