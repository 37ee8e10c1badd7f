"""Bodies as Go's typed clients send them: protobuf, with every field that is no pointer present.

The counterpart of `cloudcore.api.protobuf`, on the same table of numbers; that the numbers are right is proved
with kubectl's own bodies elsewhere. What this shows is that no kind's life depends on JSON.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from cloudcore.registry.definitions import INT_OR_STRING, QUANTITY, REF, definitions
from cloudcore.registry.go_fields import go_fields
from cloudcore.registry.kinds import builtin_scheme
from skerry.objects.scheme import split_api_version

MEDIA: Final = "application/vnd.kubernetes.protobuf"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_OF_SUBRESOURCE: Final = {
    "scale": ("autoscaling/v1", "Scale"),
    "binding": ("v1", "Binding"),
    "eviction": ("policy/v1", "Eviction"),
    "token": ("authentication.k8s.io/v1", "TokenRequest"),
}
_SCHEME: Final = builtin_scheme()
_JSON_INSIDE: Final = "io.k8s.apiextensions-apiserver."
"""Schemas of CRDs have shapes of their own on the wire; the suite's CRD client sends JSON as well."""


def encoded(path: str, obj: dict[str, Any]) -> bytes | None:
    """The body for a path of a built-in kind; None where Go's clients would send JSON."""
    api_version, kind = _kind_at(path)
    if not kind:
        return None
    group, version = split_api_version(api_version)
    name = definitions().name_of_kind(group, version, kind)
    if name is None or name.startswith(_JSON_INSIDE) or not go_fields().numbers(name):
        return None
    types = _field(1, api_version.encode()) + _field(2, kind.encode())
    return b"k8s\x00" + _field(1, types) + _field(2, _message(name, obj)) + _field(3, b"") + _field(4, b"")


def _kind_at(path: str) -> tuple[str, str]:
    parts = path.strip("/").split("/")
    group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1], parts[2:])
    version, rest = rest[0], rest[1:]
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        rest = rest[2:]
    if len(rest) > 2 and rest[2] in _OF_SUBRESOURCE:
        return _OF_SUBRESOURCE[rest[2]]
    found = _SCHEME.at(group, version, rest[0])
    return ("", "") if found is None else (found.api_version, found.kind)


def _message(name: str, obj: dict[str, Any]) -> bytes:
    plain = definitions().plain(name) if name in definitions() else {}
    schemas: Any = plain.get("properties", {})
    required: Any = plain.get("required", [])
    fields, omitted = go_fields(), go_fields().omitted(name)
    out = b""
    for number, field in fields.numbers(name).items():
        schema = schemas.get(field)
        if schema is not None:
            value = obj.get(field)
            always = field in omitted or field in required
            out += b"".join(_field(number, each) for each in _values(schema, value, always=always))
    for number, inner in fields.embedded(name).items():
        body = _message(inner, obj) if inner in definitions() else _sources(inner, schemas, obj)
        out += _field(number, body)
    return out


def _sources(name: str, schemas: Any, obj: dict[str, Any]) -> bytes:
    """A struct that OpenAPI shows as fields of its parent."""
    return b"".join(
        _field(number, each)
        for number, field in go_fields().numbers(name).items()
        if field in schemas
        for each in _values(schemas[field], obj.get(field), always=False)
    )


def _values(schema: Any, value: Any, *, always: bool) -> Iterator[int | bytes]:
    if schema.get("type") == "array":
        yield from (_one(schema["items"], each) for each in value or ())
    elif "additionalProperties" in schema:
        for key, each in (value or {}).items():
            yield _field(1, key.encode()) + _field(2, _map_value(schema["additionalProperties"], each))
    elif value is not None or always:
        yield _one(schema, value)


def _map_value(schema: Any, value: Any) -> int | bytes:
    if schema.get("type") == "array":
        return b"".join(_field(1, _one(schema["items"], each)) for each in value)
    return _one(schema, value)


def _one(schema: Any, value: Any) -> int | bytes:
    ref = schema.get("$ref", "").removeprefix(REF)
    if ref == QUANTITY:
        return _field(1, str(value or "0").encode())
    if ref == INT_OR_STRING:
        text, number = (value, 0) if isinstance(value, str) else ("", value or 0)
        return _field(1, int(bool(text))) + _field(2, number) + _field(3, text.encode())
    if ref in (f"{_META}Time", f"{_META}MicroTime"):
        return b"" if value is None else _time(value)
    if ref in (f"{_META}FieldsV1", "io.k8s.apimachinery.pkg.runtime.RawExtension"):
        return _field(1, json.dumps(value).encode())
    if ref:
        return _message(ref, value or {})
    match schema.get("type"), schema.get("format"):
        case "string", "byte":
            return base64.b64decode(value or "")
        case "string", _:
            return (value or "").encode()
        case (("integer" | "boolean"), _):
            return int(value or 0)
        case _:
            return struct.pack("<d", value or 0)


def _time(text: str) -> bytes:
    moment = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = moment.days * 86400 + moment.seconds
    return _field(1, seconds) + _field(2, moment.microseconds * 1000)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
