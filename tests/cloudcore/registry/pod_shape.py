"""The shape of pods that gateways check files by, made of the definitions that the cloud checks requests by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from cloudcore.registry.definitions import INT_OR_STRING, QUANTITY, REF, Definitions, definitions
from skerry.objects.json import Json, JsonObject, map_at, str_at

SHAPE: Final = Path(__file__).parent.parent.parent.parent / "edgecore" / "pods" / "static" / "pod_shape.json"
_POD: Final = "io.k8s.api.core.v1.Pod"
_LETTERS: Final = {"string": "s", "boolean": "b", "integer": "i", "number": "f"}
_UNREAD: Final = frozenset({"status", "managedFields"})
"""Fields of which a file's content counts for nothing."""


def shape_text() -> str:
    known = definitions()
    found: dict[str, JsonObject] = {}
    waiting = [_POD]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        fields: JsonObject = {}
        for field, schema in map_at(known.plain(name), "properties").items():
            code, refs = ("*", []) if field in _UNREAD else _code(known, schema)
            fields[field] = code
            waiting += refs
        found[name] = fields
    short = {_short(name): dict(sorted(fields.items())) for name, fields in sorted(found.items())}
    lines = [f"{json.dumps(name)}: {json.dumps(fields, separators=(',', ':'))}" for name, fields in short.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _code(known: Definitions, schema: Json) -> tuple[str, list[str]]:
    ref = str_at(schema, "$ref").removeprefix(REF)
    if ref == QUANTITY:
        return "q", []
    if ref == INT_OR_STRING:
        return "x", []
    if ref.endswith("Time"):
        return "s", []
    if ref:
        is_open = not map_at(known.plain(ref), "properties")
        return ("*", []) if is_open else (f"@{_short(ref)}", [ref])
    kind = str_at(schema, "type")
    if kind == "array":
        code, refs = _code(known, map_at(schema, "items"))
        return f"l{code}", refs
    if kind == "object":
        items = map_at(schema, "additionalProperties")
        code, refs = _code(known, items) if items else ("*", [])
        return f"m{code}", refs
    return _LETTERS.get(kind, "*"), []
