"""The OpenAPI v2 document as JSON, and as gnostic's protobuf, which kubectl 1.28 and older insist on. Pure.

Field numbers are those of gnostic's `OpenAPIv2.proto` (facts of that wire format). Values without a schema travel
as `Any.yaml`; JSON is YAML.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cloudcore.api.openapi_paths import Operation, PathItem
from skerry.objects.json import Json, JsonObject, list_at, map_at, maps_at, str_at

_PLACES: Final = {"name": "name of the object", "namespace": "the namespace of the object"}
PRODUCES: Final = ("application/json", "application/yaml")


def document(items: Sequence[PathItem], definitions: dict[str, Json], *, version: str) -> JsonObject:
    """The document of these paths and definitions; `version` as `/version` says it."""
    paths: JsonObject = {item.path: _path_item(item) for item in items}
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": dict(definitions),
    }


def _path_item(item: PathItem) -> Json:
    out: JsonObject = {op.method: _operation(op) for op in item.operations}
    if item.named:
        out["parameters"] = [
            {"name": n, "in": "path", "required": True, "type": "string", "description": _PLACES[n]}
            for n in item.named
        ]
    return out


def _operation(op: Operation) -> Json:
    parameters: list[Json] = [
        {"name": p.name, "in": "query", "type": p.type, "description": p.description, "uniqueItems": True}
        for p in op.parameters
    ]
    if op.body:
        schema: JsonObject = {"$ref": f"#/definitions/{op.body}"}
        needed = op.action in ("post", "put", "patch")
        parameters.append({"name": "body", "in": "body", "required": needed, "schema": schema})
    answer: JsonObject = {"description": "OK", "schema": {"$ref": f"#/definitions/{op.answer}"}}
    responses: JsonObject = dict.fromkeys(op.codes, answer)
    responses["401"] = {"description": "Unauthorized"}
    return {
        "operationId": op.id,
        "description": op.description,
        "consumes": [*op.consumes],
        "produces": [*PRODUCES],
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": op.action,
        "x-kubernetes-group-version-kind": op.gvk,
    }


# --- protobuf ----------------------------------------------------------------------------------------------------

_METHODS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
_SCHEMA_TEXTS: Final = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_SCHEMA_DOUBLES: Final = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_SCHEMA_BOOLS: Final = {"exclusiveMaximum": 8, "exclusiveMinimum": 10, "uniqueItems": 16}
_SCHEMA_INTS: Final = {
    "maxLength": 11,
    "minLength": 12,
    "maxItems": 14,
    "minItems": 15,
    "maxProperties": 17,
    "minProperties": 18,
}


def to_protobuf(doc: JsonObject) -> bytes:
    """A v2 document as a gnostic `Document`."""
    paths = b"".join(_put(2, _named(path, _pb_path(item))) for path, item in map_at(doc, "paths").items())
    definitions = _named_schemas(map_at(doc, "definitions"))
    info = _text(1, str_at(doc, "info", "title")) + _text(2, str_at(doc, "info", "version"))
    return _text(1, "2.0") + _put(2, info) + _put(8, paths) + _put(9, definitions)


def _pb_path(item: Json) -> bytes:
    out = b"".join(
        _put(number, _pb_operation(map_at(item, method)))
        for method, number in _METHODS.items()
        if map_at(item, method)
    )
    return out + b"".join(_put(9, _put(1, _pb_parameter(p))) for p in maps_at(item, "parameters"))


def _pb_operation(op: JsonObject) -> bytes:
    responses = b"".join(
        _put(1, _named(code, _put(1, _pb_response(answer)))) for code, answer in map_at(op, "responses").items()
    )
    return b"".join(
        (
            _text(3, str_at(op, "description")),
            _text(5, str_at(op, "operationId")),
            _texts(6, list_at(op, "produces")),
            _texts(7, list_at(op, "consumes")),
            *(_put(8, _put(1, _pb_parameter(parameter))) for parameter in maps_at(op, "parameters")),
            _put(9, responses),
            _extensions(13, op),
        )
    )


def _pb_response(answer: Json) -> bytes:
    schema = map_at(answer, "schema")
    return _text(1, str_at(answer, "description")) + (_put(2, _put(1, _pb_schema(schema))) if schema else b"")


def _pb_parameter(parameter: JsonObject) -> bytes:
    required = _number(1, 1) if parameter.get("required") is True else b""
    place, name, about = str_at(parameter, "in"), str_at(parameter, "name"), str_at(parameter, "description")
    if place == "body":
        body = _text(1, about) + _text(2, name) + _text(3, place) + (_number(4, 1) if required else b"")
        return _put(1, body + _put(5, _pb_schema(map_at(parameter, "schema"))))
    plain = required + _text(2, place) + _text(3, about) + _text(4, name)
    if place == "path":
        return _put(2, _put(4, plain + _text(5, str_at(parameter, "type"))))
    return _put(2, _put(3, plain + _text(6, str_at(parameter, "type"))))


def _pb_schema(schema: JsonObject) -> bytes:
    parts: list[bytes] = []
    for name, value in schema.items():
        if name in _SCHEMA_TEXTS and isinstance(value, str):
            parts.append(_text(_SCHEMA_TEXTS[name], value))
        elif name in _SCHEMA_DOUBLES and isinstance(value, int | float):
            parts.append(_key(_SCHEMA_DOUBLES[name], 1) + struct.pack("<d", value))
        elif name in _SCHEMA_BOOLS and value is True:
            parts.append(_number(_SCHEMA_BOOLS[name], 1))
        elif name in _SCHEMA_INTS and isinstance(value, int):
            parts.append(_number(_SCHEMA_INTS[name], value))
        else:
            encode = _SCHEMA_PARTS.get(name)
            if encode is not None:
                parts.append(encode(value))
    return b"".join(parts) + _extensions(31, schema)


def _pb_additional(value: Json) -> bytes:
    if isinstance(value, dict):
        return _put(21, _put(1, _pb_schema(value)))
    return _put(21, _number(2, 1)) if value is True else b""


def _pb_items(value: Json) -> bytes:
    return _put(23, _put(1, _pb_schema(value))) if isinstance(value, dict) else b""


_SCHEMA_PARTS: Final[dict[str, Callable[[Json], bytes]]] = {
    "default": lambda value: _put(5, _any(value)),
    "required": lambda value: _texts(19, value if isinstance(value, list) else ()),
    "enum": lambda value: b"".join(_put(20, _any(one)) for one in (value if isinstance(value, list) else ())),
    "additionalProperties": _pb_additional,
    "type": lambda value: _put(22, _text(1, value)) if isinstance(value, str) else b"",
    "items": _pb_items,
    "properties": lambda value: _put(25, _named_schemas(value)) if isinstance(value, dict) else b"",
    "example": lambda value: _put(30, _any(value)),
}


def _named_schemas(schemas: JsonObject) -> bytes:
    return b"".join(
        _put(1, _named(name, _pb_schema(schema))) for name, schema in schemas.items() if isinstance(schema, dict)
    )


def _extensions(number: int, owner: JsonObject) -> bytes:
    return b"".join(_put(number, _named(name, _any(value))) for name, value in owner.items() if name.startswith("x-"))


def _any(value: Json) -> bytes:
    return _text(2, json.dumps(value, separators=(",", ":")) + "\n")


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _put(2, value)


def _put(number: int, raw: bytes) -> bytes:
    return _key(number, 2) + _varint(len(raw)) + raw


def _text(number: int, text: str) -> bytes:
    return _put(number, text.encode()) if text else b""


def _texts(number: int, texts: Iterable[Json]) -> bytes:
    return b"".join(_text(number, text) for text in texts if isinstance(text, str))


def _number(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
