"""OpenAPI v3 documents: one for each group version, as Kubernetes publishes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudcore.api.openapi_paths import META, Operation, PathItem
from skerry.objects.json import Json, JsonObject

_ANSWERS: Final = ("application/json", "application/yaml")
_PLACES: Final = {"name": "name of the object", "namespace": "the namespace of the object"}


def document(items: Sequence[PathItem], schemas: dict[str, Json], *, version: str) -> JsonObject:
    """The document of these paths and schemas; `version` as `/version` says it."""
    paths: JsonObject = {item.path: _path_item(item) for item in items}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "components": {"schemas": dict(schemas)},
    }


def names_in(items: Sequence[PathItem]) -> set[str]:
    """Definitions that the operations mention."""
    mentioned = {name for item in items for op in item.operations for name in (op.body, op.answer) if name}
    return {*mentioned, f"{META}Status", f"{META}WatchEvent", f"{META}DeleteOptions"}


def _path_item(item: PathItem) -> Json:
    out: JsonObject = {op.method: _operation(op) for op in item.operations}
    if item.named:
        out["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": _PLACES[name],
                "schema": {"type": "string", "uniqueItems": True},
            }
            for name in item.named
        ]
    return out


def _operation(op: Operation) -> Json:
    parameters: list[Json] = [
        {
            "name": parameter.name,
            "in": "query",
            "description": parameter.description,
            "schema": {"type": parameter.type, "uniqueItems": True},
        }
        for parameter in op.parameters
    ]
    answer: JsonObject = {"schema": {"$ref": f"#/components/schemas/{op.answer}"}}
    content: JsonObject = dict.fromkeys(_ANSWERS, answer)
    responses: JsonObject = {code: {"description": "OK", "content": content} for code in op.codes}
    responses["401"] = {"description": "Unauthorized"}
    out: JsonObject = {
        "operationId": op.id,
        "description": op.description,
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": op.action,
        "x-kubernetes-group-version-kind": op.gvk,
    }
    if op.body:
        body: JsonObject = {"schema": {"$ref": f"#/components/schemas/{op.body}"}}
        out["requestBody"] = {"content": dict.fromkeys(op.consumes, body)}
    return out
