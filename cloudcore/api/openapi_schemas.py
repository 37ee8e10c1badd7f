"""Which definitions a document needs, in the form of its version: built-in ones, and those of custom kinds. Pure.

OpenAPI 3.0 ignores what stands beside a `$ref`, so Kubernetes' v3 documents wrap it in `allOf`; v2 documents do
not. Custom kinds' schemas are published whole in v3; v2 has no words for half of it, and a client that validates by
it must not refuse what the server takes, so there they are cut back to what v2 can say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from cloudcore.registry.custom import CustomKind
from cloudcore.registry.definitions import INT_OR_STRING, OBJECT_META, QUANTITY, REF, Definitions
from skerry.objects.json import Json, JsonObject, bool_at, map_at
from skerry.objects.scheme import Kind

Version = Literal["v2", "v3"]
_PREFIX: Final = {"v2": "#/definitions/", "v3": "#/components/schemas/"}
_PATCH: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
_KEEP: Final = "x-kubernetes-preserve-unknown-fields"
_LIST_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_NOT_IN_V2: Final = ("nullable", "oneOf", "anyOf", "not", "allOf", "default", "x-kubernetes-validations")
_CUSTOM_META: Final[dict[str, str]] = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object.",
    "kind": "Kind is a string value representing the REST resource this object represents.",
}


def custom_name(kind: Kind) -> str:
    """`com.example.stable.v1.CronTab`: the group's domain backwards."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def schemas_for(
    names: Iterable[str], known: Definitions, custom: Iterable[CustomKind], version: Version
) -> dict[str, Json]:
    """The definitions of these names, of the custom kinds, and everything that they refer to."""
    out: dict[str, Json] = {}
    wanted: list[str] = [OBJECT_META, _LIST_META, *names]
    for kind in custom:
        name = custom_name(kind.kind)
        out[name] = _custom_schema(kind, version)
        out[f"{name}List"] = _custom_list(kind, version)
    while wanted:
        name = wanted.pop()
        if name in out or (name not in known and name != _PATCH):
            continue
        schema: JsonObject = known.plain(name) if name in known else {"type": "object"}
        out[name] = _written(name, schema, version, wanted)
    return dict(sorted(out.items()))


def _written(name: str, schema: JsonObject, version: Version, refs: list[str]) -> Json:
    """A definition in the document's own form; the names it refers to are added to `refs`."""
    if name == INT_OR_STRING:
        if version == "v2":
            return {**schema_text(schema), "type": "string", "format": "int-or-string"}
        return {**schema_text(schema), "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
    if name == QUANTITY:
        if version == "v2":
            return {**schema_text(schema), "type": "string"}
        return {**schema_text(schema), "oneOf": [{"type": "string"}, {"type": "number"}]}
    return _rewritten(schema, version, refs)


def schema_text(schema: JsonObject) -> JsonObject:
    """A schema's description alone."""
    return {"description": schema["description"]} if "description" in schema else {}


def _rewritten(value: Json, version: Version, refs: list[str]) -> Json:
    if isinstance(value, list):
        return [_rewritten(item, version, refs) for item in value]
    if not isinstance(value, dict):
        return value
    ref = value.get("$ref")
    if not isinstance(ref, str) or not ref.startswith(REF):
        return {name: _rewritten(item, version, refs) for name, item in value.items()}
    name = ref.removeprefix(REF)
    refs.append(name)
    beside: JsonObject = {key: item for key, item in value.items() if key != "$ref"}
    target: JsonObject = {"$ref": _PREFIX[version] + name}
    if version == "v2" or not beside:
        return beside | target
    beside["allOf"] = [target]
    return beside


def _custom_schema(custom: CustomKind, version: Version) -> Json:
    kind = custom.kind
    schema: JsonObject = dict(custom.schema)
    if version == "v2":
        schema = _for_v2(schema)
    if bool_at(custom.schema, _KEEP) and version == "v2":
        schema = {"type": "object", **schema_text(schema)}
    else:
        metadata: JsonObject = {"$ref": _PREFIX[version] + OBJECT_META}
        if version == "v3":
            metadata = {"allOf": [{**metadata}]}
        typed: JsonObject = {name: {"type": "string", "description": text} for name, text in _CUSTOM_META.items()}
        described: JsonObject = {"description": "Standard object's metadata."}
        schema["properties"] = {**map_at(schema, "properties"), **typed, "metadata": described | metadata}
    gvk: JsonObject = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    schema["x-kubernetes-group-version-kind"] = [gvk]
    return schema


def _custom_list(custom: CustomKind, version: Version) -> Json:
    kind = custom.kind
    fields: JsonObject = {name: {"type": "string", "description": text} for name, text in _CUSTOM_META.items()}
    items: JsonObject = {"type": "array", "items": {"$ref": _PREFIX[version] + custom_name(kind)}}
    fields["metadata"] = {"$ref": _PREFIX[version] + _LIST_META}
    fields["items"] = items
    gvk: JsonObject = {"group": kind.group, "version": kind.version, "kind": kind.list_kind}
    return {
        "description": f"{kind.list_kind} is a list of {kind.kind}",
        "type": "object",
        "required": ["items"],
        "properties": fields,
        "x-kubernetes-group-version-kind": [gvk],
    }


def _for_v2(schema: JsonObject) -> JsonObject:
    """What v2 can say of a structural schema, and nothing that would make a client refuse too much."""
    out: JsonObject = {}
    keep = bool_at(schema, _KEEP)
    free = keep or bool_at(schema, "x-kubernetes-int-or-string") or bool_at(schema, "nullable")
    for name, value in schema.items():
        if name in _NOT_IN_V2 or (free and name == "type") or (keep and name in ("properties", "items", "required")):
            continue
        if name == "properties" and isinstance(value, dict):
            out[name] = {key: _for_v2(below) for key, below in value.items() if isinstance(below, dict)}
        elif name in ("items", "additionalProperties") and isinstance(value, dict):
            out[name] = _for_v2(value)
        else:
            out[name] = value
    if out.get("type") == "array" and "items" not in out:
        del out["type"]
    return out
