"""Free-form configuration (`CustomizedValue`) as KubeEdge puts it into `google.protobuf.Any`, and back.

A text is a StringValue, a truth value a BoolValue, a number a FloatValue: KubeEdge reads JSON's numbers as doubles
and writes them so. A whole number that 32 bits of float can't hold goes as Int64Value, which its mapper framework
reads as well: KubeEdge would round it. Lists and objects, which KubeEdge refuses, are ListValue and Struct, Protocol
Buffers' own JSON; its framework leaves out what it does not know. Pure.

Sources: KubeEdge's `dtcommon.ConvertDevice`, its mapper framework's `DecodeAnyValue`; google/protobuf/{wrappers,
struct}.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final

from devices.dmi.codec import fields_of
from devices.dmi.messages import Any
from skerry.errors import ProtocolError
from skerry.objects.json import Json, JsonObject
from skerry.wire.fields import delimited, varint
from skerry.wire.tables import complement, signed, text_of

TYPES: Final = "type.googleapis.com/google.protobuf."
DEPTH_MAX: Final = 32
FLOAT_MAX: Final = 3.4028235e38


def anys(data: JsonObject) -> Mapping[str, Any]:
    """Every field that has a value."""
    return {name: any_of(value) for name, value in data.items() if value is not None}


def any_of(value: Json) -> Any:
    """One value, wrapped. None is Protocol Buffers' JSON null."""
    match value:
        case str():
            return _wrapped("StringValue", delimited(1, value.encode()) if value else b"")
        case bool():
            return _wrapped("BoolValue", b"\x08\x01" if value else b"")
        case int() if not _is_float32(value) and -(2**63) <= value < 2**63:
            return _wrapped("Int64Value", b"\x08" + varint(complement(value)))
        case int() | float():
            number = max(-FLOAT_MAX, min(FLOAT_MAX, float(value))) if math.isfinite(value) else float(value)
            return _wrapped("FloatValue", b"\x0d" + struct.pack("<f", number) if number else b"")
        case list():
            return _wrapped("ListValue", b"".join(delimited(1, _json(each, 0)) for each in value))
        case dict():
            return _wrapped("Struct", _struct(value, 0))
        case None:
            return _wrapped("Value", _json(None, 0))


def json_of(value: Any) -> Json:
    """What was wrapped. A float of 32 bits is the shortest decimal that rounds to it, as Go's JSON writes it: 23.1
    stays 23.1. Raises `ProtocolError` for a type that is none of JSON."""
    name = value.type_url.rpartition("/")[2].removeprefix("google.protobuf.")
    held = dict(fields_of(value.value)) if name.endswith("Value") and name != "ListValue" else {}
    match name:
        case "StringValue":
            return text_of(held.get(1, b""))
        case "BoolValue":
            return signed(held.get(1, 0), 64) != 0
        case "Int32Value" | "Int64Value":
            return signed(held.get(1, 0), 32 if name == "Int32Value" else 64)
        case "UInt32Value" | "UInt64Value":
            return signed(held.get(1, 0), 65)
        case "FloatValue":
            return _shortest(_unpacked("<f", held.get(1, bytes(4))))
        case "DoubleValue":
            return _whole(_unpacked("<d", held.get(1, bytes(8))))
        case "Struct":
            return _read_struct(value.value, 0)
        case "ListValue":
            return _read_list(value.value, 0)
        case "Value":
            return _read(value.value, 0)
        case _:
            raise ProtocolError(f"configuration of type {value.type_url!r} is none of JSON")


def _wrapped(name: str, value: bytes) -> Any:
    return Any(type_url=TYPES + name, value=value)


def _is_float32(value: int) -> bool:
    return abs(value) < 2**64 and int(struct.unpack("<f", struct.pack("<f", float(value)))[0]) == value


def _struct(value: JsonObject, depth: int) -> bytes:
    return b"".join(
        delimited(1, delimited(1, name.encode()) + delimited(2, _json(each, depth))) for name, each in value.items()
    )


def _json(value: Json, depth: int) -> bytes:
    """A `google.protobuf.Value`."""
    if depth >= DEPTH_MAX:
        return b"\x08\x00"
    match value:
        case None:
            return b"\x08\x00"
        case bool():
            return b"\x20" + varint(value)
        case int() | float():
            return b"\x11" + struct.pack("<d", float(value))
        case str():
            return delimited(3, value.encode())
        case dict():
            return delimited(5, _struct(value, depth + 1))
        case list():
            return delimited(6, b"".join(delimited(1, _json(each, depth + 1)) for each in value))


def _read(data: bytes, depth: int) -> Json:
    if depth > DEPTH_MAX + 1:
        raise ProtocolError(f"configuration is nested deeper than {DEPTH_MAX}")
    out: Json = None
    for number, value in fields_of(data):
        match number:
            case 2:
                out = _whole(_unpacked("<d", value))
            case 3:
                out = text_of(value)
            case 4:
                out = signed(value, 64) != 0
            case 5:
                out = _read_struct(_message(value), depth)
            case 6:
                out = _read_list(_message(value), depth)
            case _:
                out = None
    return out


def _read_struct(data: bytes, depth: int) -> JsonObject:
    out: JsonObject = {}
    for number, entry in fields_of(data):
        if number == 1:
            pair = dict(fields_of(_message(entry)))
            out[text_of(pair.get(1, b""))] = _read(_message(pair.get(2, b"")), depth + 1)
    return out


def _read_list(data: bytes, depth: int) -> list[Json]:
    return [_read(_message(each), depth + 1) for number, each in fields_of(data) if number == 1]


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtocolError("a number where a message should be")
    return value


def _unpacked(form: str, data: int | bytes) -> float:
    raw = _message(data)
    if len(raw) != struct.calcsize(form):
        raise ProtocolError("a number of the wrong size")
    return float(struct.unpack(form, raw)[0])


def _shortest(number: float) -> Json:
    if not math.isfinite(number):
        return number
    for digits in range(1, 10):
        short = float(f"{number:.{digits}g}")
        if abs(short) <= FLOAT_MAX and struct.pack("<f", short) == struct.pack("<f", number):
            return _whole(short)
    return _whole(number)


def _whole(number: float) -> Json:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
