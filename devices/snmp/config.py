"""What a Device and its model say about SNMP, checked and made exact.

Pure. docs/reference/devices.md describes every field. Communities and passwords are in a Secret, never in a Device,
which is read by many.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, cast

from devices.fields import int_in, refuse_unknown, text_in
from devices.layouts import parse_layout
from devices.payload import Layout, written_text
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Value

PROTOCOL_FIELDS: Final = (
    "host", "port", "version", "securityLevel", "authProtocol", "privProtocol", "contextName", "timeoutMs", "retries",
    "oidsMax", "verifyDelayMs",
)  # fmt: skip
VISITOR_FIELDS: Final = ("oid", "writeType", "values", "scale", "valueOffset", "regex")
SECRET_KEYS: Final = ("community", "username", "authPassword", "privPassword")

Version = Literal["1", "2c", "3"]
Level = Literal["noAuthNoPriv", "authNoPriv", "authPriv"]
Auth = Literal["MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512"]
Priv = Literal["DES", "AES", "AES192", "AES256"]
Kind = Literal["integer", "unsigned", "ticks", "string", "oid", "ip"]
LEVELS: Final[tuple[Level, ...]] = ("noAuthNoPriv", "authNoPriv", "authPriv")
AUTHS: Final[tuple[Auth, ...]] = ("MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512")
PRIVS: Final[tuple[Priv, ...]] = ("DES", "AES", "AES192", "AES256")
KINDS: Final[tuple[Kind, ...]] = ("integer", "unsigned", "ticks", "string", "oid", "ip")
PASSWORD_MIN: Final = 8
"""Characters (RFC 3414, 11.2)."""

TRUTH: Final[Mapping[str, str]] = {"1": "true", "2": "false"}
"""TruthValue of RFC 2579: what a BOOLEAN is where nobody says otherwise."""

_OID: Final = re.compile(r"[012](\.\d{1,10}){1,127}")


class Access(
    Frozen,
    hidden=(
        "community",
        "auth_password",
        "priv_password",
    ),
):
    """Who we are to a device; where that is the same, an engine is shared."""

    version: Version
    community: str = ""
    user: str = ""
    level: Level = "authPriv"
    auth: Auth = "SHA256"
    priv: Priv = "AES"
    auth_password: str = ""
    priv_password: str = ""


class Target(Frozen):
    """Where a device is, and how patient one is with it."""

    host: str
    port: int
    context: str
    timeout_s: float
    retries: int


class Written(Frozen):
    """A value as it is sent."""

    kind: Kind
    value: int | bytes | str


class SnmpProperty(Frozen):
    config: PropertyConfig
    oid: str
    layout: Layout
    kind: Kind


class SnmpDevice(Frozen):
    key: Key
    access: Access
    target: Target
    oids_max: int
    verify_delay_s: float
    properties: dict[str, SnmpProperty]


def parse_device(config: DeviceConfig) -> SnmpDevice:
    """Raises `InvalidError` that names the field and the fix."""
    where, data = "spec.protocol.configData", config.protocol_config
    refuse_unknown(data, PROTOCOL_FIELDS, where)
    return SnmpDevice(
        key=config.device,
        access=_access(data, config.secret, where),
        target=Target(
            host=text_in(data, "host", where=where),
            port=int_in(data, "port", where=where, low=1, high=65535, default=161),
            context=text_in(data, "contextName", where=where, default=""),
            timeout_s=int_in(data, "timeoutMs", where=where, low=10, high=60_000, default=2000) / 1000,
            retries=int_in(data, "retries", where=where, low=0, high=10, default=1),
        ),
        oids_max=int_in(data, "oidsMax", where=where, low=1, high=100, default=20),
        verify_delay_s=int_in(data, "verifyDelayMs", where=where, low=0, high=60_000, default=0) / 1000,
        properties={prop.name: _property(prop) for prop in config.properties},
    )


def _access(data: JsonObject, secret: Mapping[str, bytes], where: str) -> Access:
    version = text_in(data, "version", where=where, default="3").removeprefix("v")
    if version not in ("1", "2c", "3"):
        raise InvalidError(f"{where}.version: {version!r} is not one of 1, 2c, 3")
    texts = _texts(secret, f"{where}.secretRef")
    if version != "3":
        for name in ("securityLevel", "authProtocol", "privProtocol", "contextName"):
            if name in data:
                raise InvalidError(f"{where}.{name}: only SNMP 3 has one")
        return Access(version=cast(Version, version), community=texts.get("community", "public"))
    level = _one_of(data, "securityLevel", LEVELS, where, default="authPriv")
    auth = _one_of(data, "authProtocol", AUTHS, where, default="SHA256")
    priv = _one_of(data, "privProtocol", PRIVS, where, default="AES")
    needed = ["username", *(["authPassword"] if level != "noAuthNoPriv" else [])]
    needed += ["privPassword"] if level == "authPriv" else []
    for name in needed:
        if not texts.get(name):
            raise InvalidError(f"{where}.secretRef: the Secret needs {name} for {level} (version 3)")
        if name != "username" and len(texts[name]) < PASSWORD_MIN:
            raise InvalidError(f"{where}.secretRef: {name} of the Secret has fewer than {PASSWORD_MIN} characters")
    return Access(
        version="3",
        user=texts["username"],
        level=cast(Level, level),
        auth=cast(Auth, auth),
        priv=cast(Priv, priv),
        auth_password=texts["authPassword"] if "authPassword" in needed else "",
        priv_password=texts["privPassword"] if "privPassword" in needed else "",
    )


def _texts(secret: Mapping[str, bytes], where: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in secret.items():
        if name not in SECRET_KEYS:
            raise InvalidError(f"{where}: the Secret has {name!r}; known are {', '.join(SECRET_KEYS)}")
        try:
            texts[name] = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidError(f"{where}: {name} of the Secret is not UTF-8 text") from error
    return texts


def _one_of(data: JsonObject, name: str, known: tuple[str, ...], where: str, *, default: str) -> str:
    text = text_in(data, name, where=where, default=default)
    if text not in known:
        raise InvalidError(f"{where}.{name}: {text!r} is not one of {', '.join(known)}")
    return text


def _property(prop: PropertyConfig) -> SnmpProperty:
    where, data = f"spec.properties[{prop.name}].visitors.configData", prop.visitor
    refuse_unknown(data, VISITOR_FIELDS, where)
    oid = text_in(data, "oid", where=where).removeprefix(".")
    if not _OID.fullmatch(oid):
        raise InvalidError(
            f"{where}.oid: {oid!r} is no number such as 1.3.6.1.2.1.1.3.0 (snmptranslate -On finds that of a name)"
        )
    layout = parse_layout(
        {name: value for name, value in data.items() if name not in ("oid", "writeType")}, prop, where
    )
    if prop.type == "BOOLEAN" and not layout.values:
        layout = replace(layout, values=TRUTH)
    kind = _one_of(
        data, "writeType", KINDS, where, default="string" if prop.type in ("STRING", "BYTES") else "integer"
    )
    return SnmpProperty(config=prop, oid=oid, layout=layout, kind=cast(Kind, kind))


_RANGES: Final[Mapping[Kind, tuple[int, int]]] = {
    "integer": (-(2**31), 2**31 - 1),
    "unsigned": (0, 2**32 - 1),
    "ticks": (0, 2**32 - 1),
}


def written_value(prop: SnmpProperty, value: Value) -> Written:
    """What is sent for a value. Raises `InvalidError` where the device has no form for it."""
    if isinstance(value, bytes):
        return Written(kind="string", value=value)
    text = written_text(value, prop.config.type, prop.layout)
    match prop.kind:
        case "string":
            return Written(kind="string", value=text.encode())
        case "oid":
            if not _OID.fullmatch(text.removeprefix(".")):
                raise InvalidError(f"{text!r} is no object identifier")
            return Written(kind="oid", value=text.removeprefix("."))
        case "ip":
            try:
                return Written(kind="ip", value=str(ipaddress.IPv4Address(text)))
            except ValueError as error:
                raise InvalidError(f"{text!r} is no IPv4 address") from error
        case _:
            return Written(kind=prop.kind, value=_whole(text, *_RANGES[prop.kind]))


def _whole(text: str, low: int, high: int) -> int:
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise InvalidError(f"{text!r} is no whole number: give writeType: string, or values") from error
    if number != number.to_integral_value():
        raise InvalidError(f"{text} lies between two steps of what the device takes: whole numbers (see scale)")
    if not low <= number <= high:
        raise InvalidError(f"{text} is not from {low} to {high}")
    return int(number)
