"""The three patches Kubernetes clients send: JSON Patch, JSON Merge Patch, strategic merge patch.

Pure: the object given is never changed, a new one is returned (it may share unchanged parts with the old). Strategic
merge needs to know how each list merges; `MergeRules` says so, and `OpenApiRules` reads that from the kind's
OpenAPI definitions (`x-kubernetes-patch-strategy`, `x-kubernetes-patch-merge-key`).

Sources: RFC 7386, RFC 6902, Kubernetes' "strategic merge patch" design page and apimachinery's behaviour.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, Protocol, cast

from skerry.errors import BadRequestError, InvalidError, TooLargeError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, clone, list_at, map_at, str_at

JSON_PATCH_OPERATIONS_MAX: Final = 10_000
JSON_PATCH_COPIED_BYTES_MAX: Final = 3 * 1024 * 1024
"""What all `copy` operations of one patch may copy together: nested copies grow without end otherwise."""
_REFUSED: Final = "the server rejected our request due to an error in our request"


# --- RFC 7386 ----------------------------------------------------------------------------------------------------


def merge_patch(obj: JsonObject, patch: JsonObject) -> JsonObject:
    """JSON Merge Patch: maps merge, null removes, everything else replaces."""
    merged = dict(obj)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = merge_patch(map_at(obj, name), value)
        else:
            merged[name] = value
    return merged


# --- RFC 6902 ----------------------------------------------------------------------------------------------------


class _Patch(Protocol):
    def apply(self, doc: Json, in_place: bool) -> Json: ...


class _Pointer(Protocol):
    def resolve(self, doc: Json) -> Json: ...


class _JsonPatchLibrary(Protocol):
    """What we use of `jsonpatch`, which carries no types."""

    JsonPatch: Callable[[list[JsonObject]], _Patch]
    JsonPointer: Callable[[str], _Pointer]
    JsonPatchException: type[Exception]
    JsonPointerException: type[Exception]
    InvalidJsonPatch: type[Exception]


def json_patch(obj: JsonObject, operations: Json) -> JsonObject:
    """JSON Patch, all operations or none.

    Raises `BadRequestError` for what is no patch, `TooLargeError` over 10,000 operations, `InvalidError` when an
    operation can't be carried out (a failed `test`, a path that leads nowhere).
    """
    steps = _operations(operations)
    library = cast(_JsonPatchLibrary, importlib.import_module("jsonpatch"))
    try:
        patches = [library.JsonPatch([step]) for step in steps]
    except (library.InvalidJsonPatch, library.JsonPointerException) as error:
        raise BadRequestError(f"error decoding patch: {error}") from error
    patched: Json = clone(obj)
    copied = 0
    try:
        for step, patch in zip(steps, patches, strict=True):
            if step["op"] == "copy":
                source = library.JsonPointer(str_at(step, "from")).resolve(patched)
                copied += len(json.dumps(source))
                if copied > JSON_PATCH_COPIED_BYTES_MAX:
                    raise InvalidError(_REFUSED)
            patched = patch.apply(patched, in_place=True)
    # TypeError, KeyError, IndexError: the library's own way of saying that a path leads through a string or number.
    except (
        library.JsonPatchException,
        library.JsonPointerException,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
    ) as error:
        raise InvalidError(_REFUSED) from error
    if not isinstance(patched, dict):
        raise InvalidError(_REFUSED)
    return patched


def _operations(operations: Json) -> list[JsonObject]:
    if not isinstance(operations, list):
        raise BadRequestError("error decoding patch: a JSON patch is a list of operations")
    if len(operations) > JSON_PATCH_OPERATIONS_MAX:
        raise TooLargeError(
            f"The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {len(operations)}"
        )
    steps = [step for step in operations if isinstance(step, dict)]
    if len(steps) != len(operations):
        raise BadRequestError("error decoding patch: an operation is an object")
    for step in steps:
        if not isinstance(step.get("op"), str) or not isinstance(step.get("path"), str):
            raise BadRequestError('error decoding patch: an operation has "op" and "path"')
        if step["op"] in ("copy", "move") and not isinstance(step.get("from"), str):
            raise BadRequestError('error decoding patch: copy and move have "from"')
    return steps


# --- strategic merge ---------------------------------------------------------------------------------------------

_DIRECTIVE: Final = "$patch"
_ORDER: Final = "$setElementOrder/"
_DELETE_PRIMITIVES: Final = "$deleteFromPrimitiveList/"
_RETAIN_KEYS: Final = "$retainKeys"
_DEPTH_MAX: Final = 200


class FieldRule(Frozen):
    """How one field merges."""

    strategy: Literal["merge", "replace", ""] = ""
    """Lists: `merge` by key or as a set, else the patch's list replaces. Maps: `replace`, else they merge."""
    merge_key: str = ""
    """Which field tells the elements of a merging list of maps apart; "" for a list of plain values."""
    below: MergeRules
    """The rules of the field's own fields; for a list, of each element's."""


class MergeRules(Protocol):
    """How the fields of one type merge. Unknown fields merge as maps and replace as lists."""

    def field(self, name: str) -> FieldRule: ...


class OpenApiRules:
    """Merge rules out of OpenAPI (v2 `definitions` or v3 `components.schemas`): `$ref`s are followed as met."""

    def __init__(self, definitions: Mapping[str, Json], schema: JsonObject) -> None:
        self._definitions = definitions
        self._schema = schema

    @classmethod
    def of(cls, definitions: Mapping[str, Json], name: str) -> OpenApiRules:
        """The rules of a named definition; of an unknown one, those of an unknown type."""
        found = definitions.get(name)
        return cls(definitions, found if isinstance(found, dict) else {})

    def field(self, name: str) -> FieldRule:
        schema = map_at(self._schema, "properties", name)
        if not schema and isinstance(self._schema.get("additionalProperties"), dict):
            schema = map_at(self._schema, "additionalProperties")
        strategies = str_at(schema, "x-kubernetes-patch-strategy").split(",")
        value = self._resolved(schema)
        element = map_at(value, "items")
        return FieldRule(
            # `retainKeys` may stand beside a strategy: it is a directive in the patch that acts, not this word.
            strategy="merge" if "merge" in strategies else "replace" if "replace" in strategies else "",
            merge_key=str_at(schema, "x-kubernetes-patch-merge-key"),
            below=OpenApiRules(self._definitions, self._resolved(element) if element else value),
        )

    def _resolved(self, schema: JsonObject) -> JsonObject:
        """Follow `$ref`, which Kubernetes' v3 documents wrap in a one-element allOf."""
        for _ in range(10):
            target = str_at(schema, "$ref") or str_at(_first_of(schema, "allOf"), "$ref")
            if not target:
                return schema
            found = self._definitions.get(target.rpartition("/")[2])
            schema = found if isinstance(found, dict) else {}
        return schema


def _first_of(schema: JsonObject, name: str) -> Json:
    """The first element of a list field, or None."""
    found = list_at(schema, name)
    return found[0] if found else None


def strategic_merge_patch(obj: JsonObject, patch: JsonObject, rules: MergeRules) -> JsonObject:
    """Strategic merge patch with every directive: `$patch`, `$setElementOrder`, `$deleteFromPrimitiveList`,
    `$retainKeys`. Raises `BadRequestError` for a patch that contradicts itself or its rules."""
    return _merge_map(obj, patch, rules, 0)


def _merge_map(old: JsonObject, patch: JsonObject, rules: MergeRules, depth: int) -> JsonObject:
    if depth > _DEPTH_MAX:
        raise BadRequestError("the patch is nested too deeply")
    if _DIRECTIVE in patch:
        return _whole_map_directive(patch)
    merged = _retained(old, patch) if _RETAIN_KEYS in patch else dict(old)
    for name in [name for name in patch if name.startswith(_DELETE_PRIMITIVES)]:
        _delete_primitives(merged, name.removeprefix(_DELETE_PRIMITIVES), patch[name])
    for name, value in patch.items():
        if name == _RETAIN_KEYS or name.startswith((_DELETE_PRIMITIVES, _ORDER)):
            continue
        if value is None:
            merged.pop(name, None)
        else:
            _merge_field(merged, name, value, patch.get(_ORDER + name), rules.field(name), depth)
    for name in [name.removeprefix(_ORDER) for name in patch if name.startswith(_ORDER)]:
        _order_untouched(merged, name, patch, rules)
    return merged


def _whole_map_directive(patch: JsonObject) -> JsonObject:
    match patch[_DIRECTIVE]:
        case "replace":
            return {name: value for name, value in patch.items() if name != _DIRECTIVE}
        case "delete":
            return {}
        case other:
            raise BadRequestError(f"unknown patch type: {json.dumps(other)} found in {json.dumps(patch)[:200]}")


def _retained(old: JsonObject, patch: JsonObject) -> JsonObject:
    kept = patch[_RETAIN_KEYS]
    if not isinstance(kept, list):
        raise BadRequestError("invalid patch format of retainKeys")
    for name, value in patch.items():
        directive = name == _RETAIN_KEYS or name.startswith((_DELETE_PRIMITIVES, _ORDER))
        if not directive and value is not None and name not in kept:
            raise BadRequestError("invalid patch format of retainKeys")
    return {name: value for name, value in old.items() if name in kept}


def _delete_primitives(merged: JsonObject, name: str, gone: Json) -> None:
    if not isinstance(gone, list):
        raise BadRequestError("invalid patch format of primitive list")
    have = merged.get(name)
    if isinstance(have, list):
        merged[name] = [value for value in have if value not in gone]


def _merge_field(merged: JsonObject, name: str, value: Json, order: Json, rule: FieldRule, depth: int) -> None:
    old = merged.get(name)
    if isinstance(old, dict) and isinstance(value, dict) and rule.strategy != "replace":
        merged[name] = _merge_map(old, value, rule.below, depth + 1)
    elif isinstance(old, list) and isinstance(value, list) and rule.strategy == "merge":
        merged[name] = _merge_list(old, value, order, rule, depth + 1)
    else:
        kept = _without_directives(value)
        if kept is None:
            merged.pop(name, None)
        else:
            merged[name] = kept


def _without_directives(value: Json) -> Json:
    """A patch's value where there was none: nulls, and everything that only says how to merge, fall away."""
    match value:
        case dict():
            if _DIRECTIVE in value:
                return None
            plain: JsonObject = {}
            for name, inner in value.items():
                if name == _RETAIN_KEYS or name.startswith((_ORDER, _DELETE_PRIMITIVES)):
                    continue
                kept = _without_directives(inner)
                if kept is not None:
                    plain[name] = kept
            return plain
        case list():
            kept_items = [_without_directives(item) for item in value]
            return [kept for kept, item in zip(kept_items, value, strict=True) if kept is not None or item is None]
        case _:
            return value


def _merge_list(old: Sequence[Json], patch: Sequence[Json], order: Json, rule: FieldRule, depth: int) -> list[Json]:
    if not rule.merge_key:
        merged = _unique([*old, *patch])
        return _ordered(merged, _order_list(order) or list(patch), old, _plain_identity)
    identity = _identity_by(rule.merge_key)
    edits: list[JsonObject] = []
    merged = [*old]
    replace = False
    for element in _maps(patch):
        match element.get(_DIRECTIVE):
            case None:
                edits.append(element)
            case "delete":
                gone = identity(element)
                merged = [have for have in merged if identity(have) != gone]
            case "replace":
                replace = True
            case other:
                raise BadRequestError(f"unknown patch type: {json.dumps(other)} found in a list element")
    if replace:
        return [_without_directives(element) for element in edits]
    _check_order(edits, order, identity)
    at = {identity(have): index for index, have in enumerate(_maps(merged))}
    for element in edits:
        index = at.get(identity(element))
        if index is None:
            at[identity(element)] = len(merged)
            merged.append(_without_directives(element))
        else:
            have = merged[index]
            assert isinstance(have, dict), "a list that merges by key holds maps"
            merged[index] = _merge_map(have, element, rule.below, depth)
    wanted: list[Json] = _order_list(order) or [*edits]
    return _ordered(merged, wanted, old, identity)


def _order_untouched(merged: JsonObject, name: str, patch: JsonObject, rules: MergeRules) -> None:
    """`$setElementOrder` for a list whose elements the patch leaves as they are: sorting is all it asks."""
    have = merged.get(name)
    if isinstance(patch.get(name), list) or name in patch or not isinstance(have, list):
        return
    rule = rules.field(name)
    identity = _identity_by(rule.merge_key) if rule.merge_key else _plain_identity
    merged[name] = _ordered(have, _order_list(patch[_ORDER + name]), have, identity)


Identity = Callable[[Json], str]


def _plain_identity(value: Json) -> str:
    return json.dumps(value)


def _identity_by(merge_key: str) -> Identity:
    def identity(element: Json) -> str:
        if not isinstance(element, dict):
            raise BadRequestError("a list that merges by key holds objects")
        if merge_key not in element:
            raise BadRequestError(
                f"map: {json.dumps(element)[:200]} does not contain declared merge key: {merge_key}"
            )
        return json.dumps(element[merge_key])

    return identity


def _maps(elements: Sequence[Json]) -> list[JsonObject]:
    maps = [element for element in elements if isinstance(element, dict)]
    if len(maps) != len(elements):
        raise BadRequestError("a list that merges by key holds objects")
    return maps


def _unique(values: Sequence[Json]) -> list[Json]:
    return list({_plain_identity(value): value for value in reversed(values)}.values())[::-1]


def _order_list(order: Json) -> list[Json]:
    if order is None:
        return []
    if not isinstance(order, list):
        raise BadRequestError("invalid patch format of setElementOrder list")
    return order


def _check_order(edits: Sequence[JsonObject], order: Json, identity: Identity) -> None:
    """Elements of the patch must stand in `$setElementOrder`, and in that order."""
    wanted = [identity(element) for element in _order_list(order)]
    if not wanted:
        return
    rest = iter(wanted)
    if not all(identity(element) in rest for element in edits):
        raise BadRequestError("the order in patch list doesn't match $setElementOrder list")


def _ordered(merged: Sequence[Json], wanted: Sequence[Json], old: Sequence[Json], identity: Identity) -> list[Json]:
    """Elements the patch names in the patch's order; the others keep their old place among them.

    An element that only the server has comes before a named one only where it stood before it; elements that are
    new to the server therefore come first, which is what Kubernetes does with an added container.
    """
    rank = {identity(element): index for index, element in enumerate(wanted)}
    place = {identity(element): index for index, element in enumerate(old)}
    named = sorted((item for item in merged if identity(item) in rank), key=lambda item: rank[identity(item)])
    others = [item for item in merged if identity(item) not in rank]
    result: list[Json] = []
    taken = 0
    for item in others:
        mine = place.get(identity(item))
        while taken < len(named):
            theirs = place.get(identity(named[taken]))
            if mine is not None and theirs is not None and mine < theirs:
                break
            result.append(named[taken])
            taken += 1
        result.append(item)
    return [*result, *named[taken:]]


def difference(before: Mapping[str, Json], after: Mapping[str, Json]) -> JsonObject:
    """The merge patch (RFC 7396) from one to the other; {} where they are the same."""
    patch: JsonObject = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := difference(old, value):
                patch[name] = inner
        elif name not in before or value != old:
            patch[name] = value
    return patch
