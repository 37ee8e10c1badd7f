"""What a visitor says of a payload's form, checked and made exact.

Pure. One form a property: `path` and its like are JSON's, `regex`, `csv` and `binary` name another; with none of them
the payload is the value. A form that is given twice is an error: nobody could say which was meant.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Final

from devices.codec import Codec, RawType, positions
from devices.fields import decimal_in, int_in, map_in, refuse_unknown, text_in
from devices.payload import Binary, Columns, JsonPaths, Layout, Path, Regex, Source, Text, parse_path
from devices.port import PropertyConfig, Step
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject
from skerry.objects.twins import parse_value

LAYOUT_FIELDS: Final = (
    "path", "timestampPath", "sequencePath", "regex", "csv", "binary", "values", "scale", "valueOffset", "missing",
)  # fmt: skip

_BYTES: Final[dict[str, tuple[RawType, int]]] = {
    "int8": ("int8h", 1), "uint8": ("uint8h", 1), "int16": ("int16", 2), "uint16": ("uint16", 2),
    "int32": ("int32", 4), "uint32": ("uint32", 4), "int64": ("int64", 8), "uint64": ("uint64", 8),
    "float16": ("float16", 2), "float32": ("float32", 4), "float64": ("float64", 8), "bcd16": ("bcd16", 2),
    "bcd32": ("bcd32", 4), "string": ("string", 0), "bytes": ("bytes", 0),
}  # fmt: skip
"""How registers would hold it, and the bytes it takes; 0: as `length` says."""

VALUES_MAX: Final = 256


PAYLOAD_BYTES_SHOWN: Final = 1024
"""Of a payload: enough to see what a sensor says; a thousand properties then cost a megabyte."""
_SHOWN: Final = ("path", "regex", "csv", "binary", "values", "scale", "valueOffset")
"""Fields that say how a payload becomes a value."""


def layout_steps(visitor: JsonObject) -> list[Step]:
    """What is done to a payload, in the words of the manifest."""
    return [Step(name=name, says=_configured(visitor[name])) for name in _SHOWN if name in visitor]


def _configured(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shown_payload(payload: bytes) -> str:
    """On one line: as text where it is one (its end may be cut), else in hexadecimal."""
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return f"0x{payload.hex()}"
        text = payload[: error.start].decode()
    line = " ".join(text.split())
    return line if line.isprintable() else f"0x{payload.hex()}"


def parse_layout(data: JsonObject, prop: PropertyConfig, where: str) -> Layout:
    """Raises `InvalidError` that names the field and the fix."""
    missing = text_in(data, "missing", where=where, default="bad")
    if missing not in ("bad", "ignore"):
        raise InvalidError(f"{where}.missing: {missing!r} is neither bad nor ignore")
    scale = decimal_in(data, "scale", where=where, default="1")
    offset = decimal_in(data, "valueOffset", where=where, default="0")
    if scale == 0:
        raise InvalidError(f"{where}.scale: can't be 0")
    if (scale, offset) != (1, 0) and prop.type not in ("INT", "FLOAT", "DOUBLE"):
        raise InvalidError(f"{where}.scale: only numbers have one, and {prop.name} is of type {prop.type}")
    source = _source(data, prop, where, scale=scale, offset=offset)
    return Layout(
        source=source,
        values=_values(data, prop, where),
        scale=scale,
        offset=offset,
        missing_is_silence=missing == "ignore",
    )


def path_in(data: JsonObject, name: str, where: str) -> Path | None:
    """A path, or None where none is given. Raises `InvalidError`."""
    text = text_in(data, name, where=where, default="")
    if not text:
        return None
    try:
        return parse_path(text)
    except InvalidError as error:
        raise InvalidError(f"{where}.{name}: {error}") from error


def _source(data: JsonObject, prop: PropertyConfig, where: str, *, scale: Decimal, offset: Decimal) -> Source:
    paths = {name: path_in(data, name, where) for name in ("path", "timestampPath", "sequencePath")}
    in_json = next((name for name, path in paths.items() if path is not None), "")
    named = [name for name in (in_json, *(each for each in ("regex", "csv", "binary") if each in data)) if name]
    if len(named) > 1:
        raise InvalidError(f"{where}.{named[1]}: a payload has one form, and {named[0]} says another")
    match named:
        case ["regex"]:
            return _regex(text_in(data, "regex", where=where), f"{where}.regex")
        case ["csv"]:
            return _columns(map_in(data, "csv", where=where), f"{where}.csv")
        case ["binary"]:
            given = map_in(data, "binary", where=where)
            return _binary(given, prop, f"{where}.binary", scale=scale, offset=offset)
        case [_]:
            return JsonPaths(value=paths["path"], timestamp=paths["timestampPath"], sequence=paths["sequencePath"])
        case _:
            return Text()


def _regex(text: str, where: str) -> Regex:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InvalidError(f"{where}: {text!r} is not a regular expression: {error}") from error
    unknown = set(pattern.groupindex) - {"value", "timestamp", "sequence"}
    if unknown:
        raise InvalidError(f"{where}: group {min(unknown)!r} has no meaning: use value, timestamp or sequence")
    if "value" not in pattern.groupindex and (pattern.groups != 1 or pattern.groupindex):
        raise InvalidError(f"{where}: name the group that is the value: (?P<value>...)")
    return Regex(pattern=pattern)


def _columns(data: JsonObject, where: str) -> Columns:
    refuse_unknown(data, ("column", "timestampColumn", "sequenceColumn", "separator"), where)
    separator = text_in(data, "separator", where=where, default=",")
    if len(separator) != 1 or separator in '"\r\n':
        raise InvalidError(f"{where}.separator: must be one character, not {separator!r}")

    def column(name: str) -> int | None:
        return int_in(data, name, where=where, low=0, high=1000) if name in data else None

    return Columns(
        value=int_in(data, "column", where=where, low=0, high=1000),
        timestamp=column("timestampColumn"),
        sequence=column("sequenceColumn"),
        separator=separator,
    )


def _binary(data: JsonObject, prop: PropertyConfig, where: str, *, scale: Decimal, offset: Decimal) -> Binary:
    refuse_unknown(data, ("dataType", "offset", "length", "order", "bit", "encoding"), where)
    named = text_in(data, "dataType", where=where, default="uint8" if "bit" in data else None)
    if named not in _BYTES:
        raise InvalidError(f"{where}.dataType: {named!r} is not one of {', '.join(_BYTES)}")
    raw, length = _BYTES[named]
    if not length:
        length = int_in(data, "length", where=where, low=1, high=4096)
    elif "length" in data:
        raise InvalidError(f"{where}.length: {named} is {length} bytes long; only string and bytes have a length")
    bit = int_in(data, "bit", where=where, low=0, high=7) if "bit" in data else None
    if bit is not None and named != "uint8":
        raise InvalidError(f"{where}.bit: 0 to 7 of one byte, that at offset; leave dataType out")
    wanted = {"string": "STRING", "bytes": "BYTES"}.get(named)
    if (wanted or prop.type) != prop.type or (wanted is None and prop.type == "BYTES"):
        raise InvalidError(f"{where}.dataType: {named} is no {prop.type}")
    order = text_in(data, "order", where=where, default="ABCD")
    if raw not in ("string", "bytes") and length > 1:
        try:
            positions(order, length)
        except InvalidError as error:
            raise InvalidError(f"{where}.order: {error}") from error
    return Binary(
        codec=Codec(
            raw=raw,
            type=prop.type,
            count=max(1, length // 2),
            order=order if length > 1 else "ABCD",
            bit=bit,
            scale=scale,
            offset=offset,
            encoding=text_in(data, "encoding", where=where, default="utf-8"),
            minimum=prop.minimum,
            maximum=prop.maximum,
            tolerance=prop.twin.tolerance,
        ),
        offset=int_in(data, "offset", where=where, low=0, high=65535, default=0),
        length=length,
    )


def _values(data: JsonObject, prop: PropertyConfig, where: str) -> dict[str, str]:
    given, where = map_in(data, "values", where=where), f"{where}.values"
    if len(given) > VALUES_MAX:
        raise InvalidError(f"{where}: at most {VALUES_MAX}")
    if given and "binary" in data:
        raise InvalidError(f"{where}: texts have meanings, and binary has none")
    out: dict[str, str] = {}
    for theirs, ours in given.items():
        if isinstance(ours, dict | list) or ours is None:
            raise InvalidError(f"{where}[{theirs}]: must be one value")
        text = str(ours).lower() if isinstance(ours, bool) else str(ours)
        try:
            parse_value(prop.type, text)
        except InvalidError as error:
            raise InvalidError(f"{where}[{theirs}]: {error}") from error
        out[theirs] = text
    return out
