"""Protobuf request bodies as the JSON they mean.

Go clients built on client-go 0.32 and later send built-in kinds as protobuf and have no fallback, so bodies
must be understood; answers may always be JSON. The wire form is Kubernetes' envelope (`k8s\\0` and an `Unknown`)
around messages whose numbers come from `cloudcore.registry.go_fields` and whose types come from the OpenAPI
definitions. Unknown numbers are skipped, as protobuf demands.

Pure but for the cache of compiled messages, which only saves time; a crash leaves nothing.
Sources: protobuf's encoding guide, apimachinery `pkg/runtime/generated.proto` and its hand-written types.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, TypeAlias, cast

from cloudcore.registry.definitions import INT_OR_STRING, QUANTITY, REF, Definitions, definitions
from cloudcore.registry.go_fields import GoFields, go_fields
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, str_at
from skerry.objects.scheme import split_api_version

_MAGIC: Final = b"k8s\x00"
_DEPTH_MAX: Final = 100
"""Messages within messages. CRD schemas are the deepest thing known; Go's own protobuf limit is 10,000."""
_VARINT_BYTES_MAX: Final = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_RAW_JSON: Final = frozenset(
    {
        f"{_META}FieldsV1",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    }
)
_SCHEMA: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"

Wire: TypeAlias = "int | bytes"
"""A field's value on the wire: a varint, or the bytes of anything else."""
Reader = Callable[[Wire, int], Json]
"""Wire value and depth -> JSON."""


class _Field(Frozen, kw_only=False):
    """How one number of a message is read."""

    name: str
    read: Reader
    form: str
    """one, list, packed (a list of numbers), map, embedded."""
    omitted: bool = False
    """Left out when zero."""


class ProtobufDecoder:
    """Decodes request bodies."""

    def __init__(self, definitions: Definitions, fields: GoFields) -> None:
        self._definitions = definitions
        self._go_fields = fields
        self._messages: dict[str, dict[int, _Field]] = {}

    def decode(self, body: bytes) -> JsonObject:
        """The object in a request body, with apiVersion and kind.

        Raises `BadRequestError` for bytes that are no such object, or an object of a kind without protobuf form.
        """
        if not body.startswith(_MAGIC):
            raise BadRequestError("provided data does not appear to be a protobuf message, expected prefix k8s")
        api_version, kind, raw, encoding, media_type = _envelope(body)
        if encoding:
            raise BadRequestError(f"unable to decode: content encoding {encoding!r} is not supported")
        if media_type == "application/json":
            return _json_object(raw)
        group, version = split_api_version(api_version)
        name = self._definitions.name_of_kind(group, version, kind)
        if name is None or not self._go_fields.numbers(name):
            raise BadRequestError(f'no kind "{kind}" is registered for version "{api_version}" with a protobuf form')
        obj: JsonObject = {"kind": kind, "apiVersion": api_version}
        return obj | self.message(name, raw)

    def message(self, name: str, raw: bytes, depth: int = 0) -> JsonObject:
        """One message of a definition."""
        if depth > _DEPTH_MAX:
            raise BadRequestError("unable to decode: the protobuf message is nested too deeply")
        fields = self._fields(name)
        out: JsonObject = {}
        for number, wire in _wire(raw):
            field = fields.get(number)
            if field is not None:
                _take(out, field, wire, depth)
        return out

    def _fields(self, name: str) -> dict[int, _Field]:
        fields = self._messages.get(name)
        if fields is None:
            schemas = map_at(self._definitions.plain(name) if name in self._definitions else {}, "properties")
            omitted = self._go_fields.omitted(name)
            fields = {
                number: self._field(field, schemas.get(field), omitted=field in omitted)
                for number, field in self._go_fields.numbers(name).items()
                if field in schemas
            }
            for number, embedded in self._go_fields.embedded(name).items():
                fields[number] = _Field("", self._embedded(name, embedded), "embedded")
            self._messages[name] = fields
        return fields

    def _field(self, name: str, schema: Json, *, omitted: bool) -> _Field:
        if str_at(schema, "type") == "array":
            items = map_at(schema, "items")
            packed = str_at(items, "type") in ("integer", "number", "boolean")
            return _Field(name, self._reader(items), "packed" if packed else "list")
        values = map_at(schema, "additionalProperties")
        if values:
            return _Field(name, self._map_entry(values), "map")
        return _Field(name, self._reader(schema), "one", omitted)

    def _embedded(self, parent: str, name: str) -> Reader:
        """An embedded struct may be unknown to OpenAPI (VolumeSource): its types are then its parent's."""
        if name in self._definitions:
            return lambda wire, depth: self.message(name, _bytes(wire), depth + 1)
        schemas = map_at(self._definitions.plain(parent), "properties")
        fields = {
            number: self._field(field, schemas[field], omitted=False)
            for number, field in self._go_fields.numbers(name).items()
            if field in schemas
        }

        def read(wire: Wire, depth: int) -> Json:
            out: JsonObject = {}
            for number, inner in _wire(_bytes(wire)):
                field = fields.get(number)
                if field is not None:
                    _take(out, field, inner, depth + 1)
            return out

        return read

    def _map_entry(self, values: JsonObject) -> Reader:
        """An entry is a message {1 key, 2 value}; read as a list of the two."""
        read = self._reader(values)
        absent: Wire = 0 if str_at(values, "type") in ("integer", "boolean") else b""
        if str_at(values, "type") == "array":
            # A map's value can't be repeated on the wire; Go wraps the list in a message {1 items}.
            read_item = self._reader(map_at(values, "items"))

            def read_list(wire: Wire, depth: int) -> Json:
                return [read_item(item, depth + 1) for number, item in _wire(_bytes(wire)) if number == 1]

            read = read_list

        def read_entry(wire: Wire, depth: int) -> Json:
            fields = dict(_wire(_bytes(wire)))
            return [_text(fields.get(1, b"")), read(fields.get(2, absent), depth + 1)]

        return read_entry

    def _reader(self, schema: Json) -> Reader:
        ref = str_at(schema, "$ref").removeprefix(REF)
        if ref:
            return self._named_reader(ref)
        match str_at(schema, "type"), str_at(schema, "format"):
            case "string", "byte":
                return lambda wire, _depth: base64.b64encode(_bytes(wire)).decode()
            case "string", _:
                return lambda wire, _depth: _text(wire)
            case "boolean", _:
                return lambda wire, _depth: bool(_integer(wire))
            case "integer", _:
                return lambda wire, _depth: _integer(wire)
            case "number", _:
                return _double
            case _:
                return lambda wire, _depth: _json_of_raw(_bytes(wire))

    def _named_reader(self, name: str) -> Reader:
        if name == QUANTITY:
            return lambda wire, _depth: _text(dict(_wire(_bytes(wire))).get(1, b""))
        if name == INT_OR_STRING:
            return _int_or_string
        if name in (f"{_META}Time", f"{_META}MicroTime"):
            digits = 6 if name.endswith("MicroTime") else 0
            return lambda wire, _depth: _time(_bytes(wire), digits=digits)
        if name in _RAW_JSON:
            return lambda wire, _depth: _json_of_raw(_bytes(dict(_wire(_bytes(wire))).get(1, b"null")))
        if name == f"{_SCHEMA}OrStringArray":
            return lambda wire, depth: self._schema_or(_bytes(wire), depth + 1, strings=True)
        if name.startswith(_SCHEMA) and name != _SCHEMA:
            return lambda wire, depth: self._schema_or(_bytes(wire), depth + 1, strings=False)
        return lambda wire, depth: self.message(name, _bytes(wire), depth + 1)

    def _schema_or(self, raw: bytes, depth: int, *, strings: bool) -> Json:
        """JSONSchemaPropsOrBool {1 allows, 2 schema}, OrArray and OrStringArray {1 schema, 2 list}."""
        schema: Json = None
        listed: list[Json] = []
        allows: Json = None
        for number, wire in _wire(raw):
            if isinstance(wire, int):
                allows = bool(wire)
            elif number == 1 or allows is not None:
                schema = self.message(_SCHEMA, wire, depth)
            else:
                listed.append(_text(wire) if strings else self.message(_SCHEMA, wire, depth))
        if schema is not None:
            return schema
        return allows if allows is not None else listed


@lru_cache(maxsize=1)
def protobuf_decoder() -> ProtobufDecoder:
    """The decoder of built-in kinds; messages are compiled as they are met."""
    return ProtobufDecoder(definitions(), go_fields())


def _take(out: JsonObject, field: _Field, wire: Wire, depth: int) -> None:
    """Put one field of a message into its object."""
    match field.form:
        case "list":
            cast(list[Json], out.setdefault(field.name, [])).append(field.read(wire, depth))
        case "packed":
            numbers = cast(list[Json], out.setdefault(field.name, []))
            numbers.extend(field.read(number, depth) for number in _unpacked(wire))
        case "map":
            key, value = cast(list[Json], field.read(wire, depth))
            cast(JsonObject, out.setdefault(field.name, {}))[cast(str, key)] = value
        case "embedded":
            out.update(cast(JsonObject, field.read(wire, depth)))
        case _:
            value = field.read(wire, depth)
            # Go writes every field that is no pointer; None is a zero time.
            if value is not None and (value or not field.omitted or isinstance(value, dict)):
                out[field.name] = value


def _envelope(body: bytes) -> tuple[str, str, bytes, str, str]:
    """apiVersion, kind, raw, contentEncoding, contentType of runtime.Unknown."""
    fields = dict(_wire(body[len(_MAGIC) :]))
    meta = dict(_wire(_bytes(fields.get(1, b""))))
    return (
        _text(meta.get(1, b"")),
        _text(meta.get(2, b"")),
        _bytes(fields.get(2, b"")),
        _text(fields.get(3, b"")),
        _text(fields.get(4, b"")),
    )


def _wire(raw: bytes) -> Iterator[tuple[int, Wire]]:
    """Field numbers and values of a message. Raises `BadRequestError` when the bytes are not one."""
    at, end = 0, len(raw)
    while at < end:
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(raw, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(raw, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise BadRequestError(f"unable to decode: protobuf wire type {kind} is not in use")
        if length > end - at:
            raise BadRequestError("unable to decode: the protobuf message ends too early")
        yield tag >> 3, raw[at : at + length]
        at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for index in range(at, min(at + _VARINT_BYTES_MAX, len(raw))):
        byte = raw[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, index + 1
        shift += 7
    raise BadRequestError("unable to decode: a number in the protobuf message does not end")


def _bytes(wire: Wire) -> bytes:
    if isinstance(wire, int):
        raise BadRequestError("unable to decode: a number stands where the protobuf message has bytes")
    return wire


def _text(wire: Wire) -> str:
    try:
        return _bytes(wire).decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("unable to decode: a string in the protobuf message is not UTF-8") from error


def _integer(wire: Wire) -> int:
    """Negative numbers are 64-bit two's complement."""
    if isinstance(wire, bytes):
        raise BadRequestError("unable to decode: bytes stand where the protobuf message has a number")
    return wire - (1 << 64) if wire >> 63 else wire


def _double(wire: Wire, _depth: int) -> Json:
    raw = _bytes(wire)
    number: float = struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0]
    return int(number) if number.is_integer() else number


def _unpacked(wire: Wire) -> Iterator[Wire]:
    """One number of a list, or several packed into bytes."""
    if isinstance(wire, int):
        yield wire
        return
    at = 0
    while at < len(wire):
        value, at = _varint(wire, at)
        yield value


def _int_or_string(wire: Wire, _depth: int) -> Json:
    fields = dict(_wire(_bytes(wire)))
    if fields.get(1, 0) == 1:
        return _text(fields.get(3, b""))
    return _integer(fields.get(2, 0))


def _time(raw: bytes, *, digits: int) -> Json:
    """RFC 3339 text; None for Go's zero time, which is an empty message."""
    if not raw:
        return None
    fields = dict(_wire(raw))
    seconds, nanos = _integer(fields.get(1, 0)), _integer(fields.get(2, 0))
    if not (_SECONDS_MIN <= seconds <= _SECONDS_MAX and 0 <= nanos < 1_000_000_000):
        raise BadRequestError("unable to decode: a time in the protobuf message is out of range")
    moment = (_EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds" if digits else "seconds") + "Z"


def _json_of_raw(raw: bytes) -> Json:
    try:
        value: Json = json.loads(raw or b"null")
    except ValueError as error:
        raise BadRequestError("unable to decode: JSON inside the protobuf message is malformed") from error
    return value


def _json_object(raw: bytes) -> JsonObject:
    value = _json_of_raw(raw)
    if not isinstance(value, dict):
        raise BadRequestError("unable to decode: JSON inside the protobuf envelope is no object")
    return value
