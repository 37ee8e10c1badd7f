"""What a CustomResourceDefinition may say (`apiextensions-apiserver/pkg/apis/apiextensions/validation`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudcore.registry.custom import storage_version
from cloudcore.registry.regexes import compiled
from skerry.errors import Cause
from skerry.objects.json import JsonObject, bool_at, map_at, maps_at, str_at, strs_at
from skerry.objects.names import label_1035_faults, subdomain_faults
from skerry.validation.faults import duplicate, forbidden, immutable, invalid, named, one_of, required

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_DEPTH_MAX: Final = 60
_KEEP: Final = "x-kubernetes-preserve-unknown-fields"
_RULES: Final = "x-kubernetes-validations"


def validate_definition(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """The faults of a definition, and of changing it."""
    spec = map_at(obj, "spec")
    group, names = str_at(spec, "group"), map_at(spec, "names")
    plural, name = str_at(names, "plural"), str_at(obj, "metadata", "name")
    if name != f"{plural}.{group}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    yield from named("spec.group", group, subdomain_faults)
    if group and "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    yield from one_of("spec.scope", str_at(spec, "scope"), ("Cluster", "Namespaced"))
    yield from _validate_names("spec.names", names)
    yield from _validate_conversion(spec)
    yield from _validate_versions(obj, maps_at(spec, "versions"))
    if old is not None and any(
        str_at(c, "type") == "Established" and str_at(c, "status") == "True"
        for c in maps_at(old, "status", "conditions")
    ):
        before = map_at(old, "spec")
        yield from immutable("spec.group", spec.get("group"), before.get("group"))
        yield from immutable("spec.scope", spec.get("scope"), before.get("scope"))
        yield from immutable("spec.names.plural", names.get("plural"), map_at(before, "names").get("plural"))
        yield from immutable("spec.names.kind", names.get("kind"), map_at(before, "names").get("kind"))


def rules_not_evaluated(obj: JsonObject) -> bool:
    """Does a schema of the definition carry CEL rules?"""
    schemas = (map_at(v, "schema", "openAPIV3Schema") for v in maps_at(obj, "spec", "versions"))
    return any(_has_rules(schema) for schema in schemas)


def _has_rules(schema: JsonObject) -> bool:
    if schema.get(_RULES):
        return True
    below = [*map_at(schema, "properties").values(), schema.get("items"), schema.get("additionalProperties")]
    return any(_has_rules(one) for one in below if isinstance(one, dict))


def _validate_names(field: str, names: JsonObject) -> Iterator[Cause]:
    yield from named(f"{field}.plural", str_at(names, "plural"), label_1035_faults)
    yield from named(f"{field}.singular", str_at(names, "singular"), label_1035_faults, needed=False)
    for name in ("kind", "listKind"):
        value = str_at(names, name)
        if not value:
            yield required(f"{field}.{name}")
        for fault in label_1035_faults(value.lower()) if value else ():
            yield invalid(f"{field}.{name}", value, f"may have mixed case, but should otherwise match: {fault}")
    if str_at(names, "kind") and str_at(names, "kind") == str_at(names, "listKind"):
        yield invalid(f"{field}.listKind", str_at(names, "listKind"), "kind and listKind may not be the same")
    for name in ("shortNames", "categories"):
        for index, word in enumerate(strs_at(names, name)):
            yield from named(f"{field}.{name}[{index}]", word, label_1035_faults)


def _validate_conversion(spec: JsonObject) -> Iterator[Cause]:
    strategy = str_at(spec, "conversion", "strategy")
    if strategy == "Webhook":
        text = "conversion by webhook is not available; use None and versions that share their fields"
        yield forbidden("spec.conversion.strategy", text)
    else:
        yield from one_of("spec.conversion.strategy", strategy, ("None", "Webhook"))


def _validate_versions(obj: JsonObject, versions: list[JsonObject]) -> Iterator[Cause]:
    if not versions:
        yield required("spec.versions", "must have at least one version")
        return
    seen: set[str] = set()
    for index, version in enumerate(versions):
        here = f"spec.versions[{index}]"
        name = str_at(version, "name")
        yield from named(f"{here}.name", name, label_1035_faults)
        if name in seen:
            yield duplicate(f"{here}.name", name)
        seen.add(name)
        schema = map_at(version, "schema").get("openAPIV3Schema")
        if not isinstance(schema, dict):
            yield required(f"{here}.schema.openAPIV3Schema", "schemas are required")
        else:
            yield from _validate_schema(f"{here}.schema.openAPIV3Schema", schema, depth=0)
            if str_at(schema, "type") != "object":
                text = "must be object at the root"
                yield invalid(f"{here}.schema.openAPIV3Schema.type", str_at(schema, "type"), text)
        yield from _validate_columns(f"{here}.additionalPrinterColumns", version)
        yield from _validate_subresources(f"{here}.subresources", map_at(version, "subresources"))
    count = sum(bool_at(version, "storage") for version in versions)
    if count != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid("spec.versions", [str_at(v, "name") for v in versions], text)
    for stored in strs_at(obj, "status", "storedVersions"):
        if stored not in seen:
            yield invalid("status.storedVersions[0]", stored, "must appear in spec.versions")
    assert count != 1 or storage_version(obj), "the storage version has a name"


def _validate_columns(field: str, version: JsonObject) -> Iterator[Cause]:
    for index, column in enumerate(maps_at(version, "additionalPrinterColumns")):
        here = f"{field}[{index}]"
        if not str_at(column, "name"):
            yield required(f"{here}.name")
        yield from one_of(f"{here}.type", str_at(column, "type"), _COLUMN_TYPES)
        path = str_at(column, "jsonPath")
        if not path:
            yield required(f"{here}.jsonPath")
        elif not path.startswith("."):
            yield invalid(f"{here}.jsonPath", path, "must start with a dot")


def _validate_subresources(field: str, subresources: JsonObject) -> Iterator[Cause]:
    scale = subresources.get("scale")
    if not isinstance(scale, dict):
        return
    for name, roots in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".status.", ".spec.")),
    ):
        path = str_at(scale, name)
        if not path:
            if name != "labelSelectorPath":
                yield required(f"{field}.scale.{name}")
        elif not path.startswith(roots) or "[" in path:
            yield invalid(f"{field}.scale.{name}", path, f"should be a json path under {' or '.join(roots)}"[:-1])


def _validate_schema(field: str, schema: JsonObject, *, depth: int) -> Iterator[Cause]:
    if depth > _DEPTH_MAX:
        yield forbidden(field, f"schemas may be nested {_DEPTH_MAX} levels deep at most")
        return
    kind = str_at(schema, "type")
    free = bool_at(schema, _KEEP) or bool_at(schema, "x-kubernetes-int-or-string")
    if not kind and not free:
        where = "must not be empty for specified " + ("object fields" if depth else "root")
        yield required(f"{field}.type", where)
    elif kind and kind not in _TYPES:
        yield from one_of(f"{field}.type", kind, _TYPES)
    yield from (forbidden(f"{field}.{name}", text) for name, text in _NEVER.items() if name in schema)
    pattern = str_at(schema, "pattern")
    if pattern:
        try:
            compiled(pattern)
        except ValueError as error:
            yield invalid(f"{field}.pattern", pattern, f"must be a valid regular expression, but isn't: {error}")
    if kind == "array" and not isinstance(schema.get("items"), dict):
        yield required(f"{field}.items", "must be specified")
    if schema.get("properties") and isinstance(schema.get("additionalProperties"), dict):
        text = "additionalProperties and properties are mutual exclusive"
        yield forbidden(f"{field}.additionalProperties", text)
    if str_at(schema, "x-kubernetes-list-type") == "map" and not strs_at(schema, "x-kubernetes-list-map-keys"):
        text = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{field}.x-kubernetes-list-map-keys", text)
    for name, below in map_at(schema, "properties").items():
        if isinstance(below, dict):
            yield from _validate_schema(f"{field}.properties[{name}]", below, depth=depth + 1)
    for name in ("items", "additionalProperties"):
        below = schema.get(name)
        if isinstance(below, dict):
            yield from _validate_schema(f"{field}.{name}", below, depth=depth + 1)


_NEVER: Final = {
    "$ref": "$ref is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "patternProperties": "patternProperties is not supported",
    "id": "id is not supported",
    "$schema": "$schema is not supported",
    "additionalItems": "additionalItems is not supported",
}
