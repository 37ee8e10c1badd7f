"""Structural schemas of custom resources: pruning, defaulting and validation of objects. Pure.

The schema language is apiextensions.k8s.io/v1 `JSONSchemaProps` in its structural form: what may stand where is
said outside of `allOf`, `anyOf`, `oneOf` and `not`, which only narrow it further. Sentences are those of
kube-openapi's validator, which clients match. CEL rules (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Final, cast

from cloudcore.registry.regexes import compiled
from cloudcore.registry.schema import DEPTH_MAX, MapKey, MismatchError, Walk, go_kind
from skerry.errors import BadRequestError, Cause
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, clone, int_at, list_at, map_at, maps_at, str_at, strs_at
from skerry.objects.times import parse_time
from skerry.validation.faults import (
    duplicate,
    invalid,
    required,
    too_long,
    too_many,
    unsupported,
    wrong_type,
)

_KEEP: Final = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED: Final = "x-kubernetes-embedded-resource"
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"
_TYPE_META: Final = ("apiVersion", "kind")
CAUSES_MAX: Final = 100
"""More causes help nobody, and a list of a million wrong items would make a million."""


# --- pruning -----------------------------------------------------------------------------------------------------


Decode = Callable[[Json, Walk], Json]
"""Decodes metadata, which has one shape in all objects and in those embedded in them."""


def as_it_is(value: Json, _walk: Walk) -> Json:
    """A `Decode` for objects whose metadata was decoded when they were written."""
    return value


def pruned(schema: JsonObject, obj: JsonObject, walk: Walk, metadata: Decode = as_it_is) -> JsonObject:
    """The object without fields that its schema does not have; they are noted in `walk`."""
    return _Pruning(walk, metadata).map(schema, obj, embedded=True)


class _Pruning(Frozen, kw_only=False):
    walk: Walk
    metadata: Decode

    def value(self, schema: JsonObject, value: Json) -> Json:
        if isinstance(value, dict):
            return self.map(schema, value, embedded=bool_at(schema, _EMBEDDED))
        items = map_at(schema, "items")
        if not isinstance(value, list) or not items:
            return value
        out: list[Json] = []
        for index, item in enumerate(value):
            self.walk.path.append(index)
            out.append(self.value(items, item))
            self.walk.path.pop()
        return out

    def map(self, schema: JsonObject, value: JsonObject, *, embedded: bool) -> JsonObject:
        properties = map_at(schema, "properties")
        further = schema.get("additionalProperties")
        keep = bool_at(schema, _KEEP) or further is True
        if len(self.walk.path) > DEPTH_MAX:
            raise MismatchError("exceeded max depth")
        out: JsonObject = {}
        for name, item in value.items():
            below = properties.get(name)
            if embedded and name == "metadata":
                # It has the one shape of all metadata, whatever the schema says of it.
                if item is not None:
                    self.walk.path.append(name)
                    out[name] = self.metadata(item, self.walk)
                    self.walk.path.pop()
            elif embedded and name in _TYPE_META:
                out[name] = item
            elif isinstance(below, dict):
                out[name] = self._step(below, item, name)
            elif isinstance(further, dict):
                out[name] = self._step(further, item, MapKey(name))
            elif keep:
                out[name] = item
            else:
                self.walk.note_unknown(name)
        return out

    def _step(self, schema: JsonObject, item: Json, step: str | MapKey) -> Json:
        self.walk.path.append(step)
        done = self.value(schema, item)
        self.walk.path.pop()
        return done


# --- defaults ----------------------------------------------------------------------------------------------------


def set_defaults(schema: JsonObject, value: Json) -> None:
    """Put defaults in, in place. A null that its schema does not allow counts as absent."""
    if isinstance(value, dict):
        properties = map_at(schema, "properties")
        for name, below in properties.items():
            if not isinstance(below, dict):
                continue
            if name in value and value[name] is None and not bool_at(below, "nullable"):
                del value[name]
            if name not in value and "default" in below:
                value[name] = _copy(below["default"])
            if name in value:
                set_defaults(below, value[name])
        further = schema.get("additionalProperties")
        if isinstance(further, dict):
            for name, item in value.items():
                if name not in properties:
                    set_defaults(further, item)
    elif isinstance(value, list):
        items = map_at(schema, "items")
        if items:
            for item in value:
                set_defaults(items, item)


def lacking_defaults(schema: JsonObject, obj: JsonObject) -> JsonObject | None:
    """A stored object with the defaults its schema has by now; None when it lacks none.

    None, too, for an object with fields that the schema no longer has: writing it would prune them, and what a
    definition dropped by mistake must survive until somebody writes the object on purpose.
    """
    walk = Walk()
    pruned(schema, obj, walk)
    if walk.unknown:
        return None
    completed = clone(obj)
    set_defaults(schema, completed)
    return completed if completed != obj else None


def _copy(value: Json) -> Json:
    copied: Json = json.loads(json.dumps(value))
    return copied


# --- validation --------------------------------------------------------------------------------------------------


def validate(schema: JsonObject, obj: JsonObject) -> tuple[Cause, ...]:
    """What the schema refuses of an object, at most `CAUSES_MAX` causes."""
    causes: list[Cause] = []
    for cause in _validate(schema, obj, ""):
        causes.append(cause)
        if len(causes) == CAUSES_MAX:
            break
    return tuple(causes)


def _validate(schema: JsonObject, value: Json, path: str) -> Iterator[Cause]:
    if value is None and bool_at(schema, "nullable"):
        return
    type_fault = _type_fault(schema, value, path)
    if type_fault is not None:
        yield type_fault
        return
    yield from _validate_enum(schema, value, path)
    match value:
        case bool() | None:
            pass
        case str():
            yield from _validate_text(schema, value, path)
        case int() | float():
            yield from _validate_number(schema, value, path)
        case list():
            yield from _validate_list(schema, value, path)
        case dict():
            yield from _validate_map(schema, value, path)
    yield from _validate_junctors(schema, value, path)


def _type_fault(schema: JsonObject, value: Json, path: str) -> Cause | None:
    kind = str_at(schema, "type")
    if bool_at(schema, _INT_OR_STRING):
        good = isinstance(value, str | int) and not isinstance(value, bool)
        kind = "integer,string"
    else:
        good = not kind or _TYPES[kind](value) if kind in _TYPES else True
    if good:
        return None
    found = _openapi_kind(value)
    where = path or "<nil>"
    return wrong_type(where, found, f'{where} in body must be of type {kind}: "{found}"')


_TYPES: Final[dict[str, Callable[[Json], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda v: (
        (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer())
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _openapi_kind(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return go_kind(value)


def _validate_enum(schema: JsonObject, value: Json, path: str) -> Iterator[Cause]:
    allowed = list_at(schema, "enum")
    if allowed and not any(_same(value, one) for one in allowed):
        yield unsupported(path, value, (one if isinstance(one, str) else json.dumps(one) for one in allowed))


def _same(a: Json, b: Json) -> bool:
    """JSON equality: 1 is not true."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _validate_text(schema: JsonObject, value: str, path: str) -> Iterator[Cause]:
    if "maxLength" in schema and len(value) > int_at(schema, "maxLength"):
        yield too_long(path, int_at(schema, "maxLength"))
    if len(value) < int_at(schema, "minLength"):
        yield invalid(path, value, f"{path} in body should be at least {int_at(schema, 'minLength')} chars long")
    pattern = str_at(schema, "pattern")
    if pattern and not compiled(pattern).found_in(value):
        yield invalid(path, value, f"{path} in body should match '{pattern}'")
    form = str_at(schema, "format")
    check = _FORMATS.get(form)
    if check is not None and not check(value):
        yield invalid(path, value, f'{path} in body must be of type {form}: "{value}"')


def _validate_number(schema: JsonObject, value: float, path: str) -> Iterator[Cause]:
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if isinstance(least, int | float):
        open_end = bool_at(schema, "exclusiveMinimum")
        if value < least or (open_end and value == least):
            words = "greater than" if open_end else "greater than or equal to"
            yield invalid(path, value, f"{path} in body should be {words} {_plain(least)}")
    if isinstance(most, int | float):
        open_end = bool_at(schema, "exclusiveMaximum")
        if value > most or (open_end and value == most):
            words = "less than" if open_end else "less than or equal to"
            yield invalid(path, value, f"{path} in body should be {words} {_plain(most)}")
    if isinstance(step, int | float) and step and (value / step) % 1:
        yield invalid(path, value, f"{path} in body should be a multiple of {_plain(step)}")
    bits = {"int32": 31, "int64": 63}.get(str_at(schema, "format"))
    if bits and not -(1 << bits) <= value < 1 << bits:
        yield invalid(path, value, f"{path} in body must be of type {str_at(schema, 'format')}: {_plain(value)}")


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)


def _validate_list(schema: JsonObject, value: list[Json], path: str) -> Iterator[Cause]:
    if "maxItems" in schema and len(value) > int_at(schema, "maxItems"):
        yield too_many(path, len(value), int_at(schema, "maxItems"))
        return
    if len(value) < int_at(schema, "minItems"):
        yield invalid(path, len(value), f"{path} in body should have at least {int_at(schema, 'minItems')} items")
    items = map_at(schema, "items")
    if items:
        for index, item in enumerate(value):
            yield from _validate(items, item, f"{path}[{index}]")
    kind = str_at(schema, "x-kubernetes-list-type")
    if bool_at(schema, "uniqueItems") and len({_text(item) for item in value}) < len(value):
        yield invalid(path, value, f"{path} in body shouldn't contain duplicates")
    if kind == "set":
        yield from _validate_distinct(path, value, [_text(item) for item in value])
    elif kind == "map":
        keys = strs_at(schema, "x-kubernetes-list-map-keys")
        of = [{key: item.get(key) for key in keys if key in item} if isinstance(item, dict) else {} for item in value]
        yield from _validate_distinct(path, cast(list[Json], of), [_text(item) for item in of])


def _validate_distinct(path: str, shown: list[Json], texts: list[str]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, text in enumerate(texts):
        if text in seen:
            yield duplicate(f"{path}[{index}]", shown[index])
        seen.add(text)


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


def _validate_map(schema: JsonObject, value: JsonObject, path: str) -> Iterator[Cause]:
    if "maxProperties" in schema and len(value) > int_at(schema, "maxProperties"):
        yield too_many(path, len(value), int_at(schema, "maxProperties"))
    if len(value) < int_at(schema, "minProperties"):
        text = f"{path} in body should have at least {int_at(schema, 'minProperties')} properties"
        yield invalid(path, value, text)
    for name in strs_at(schema, "required"):
        if name not in value:
            yield required(_join(path, name))
    properties = map_at(schema, "properties")
    further = schema.get("additionalProperties")
    for name, item in value.items():
        below = properties.get(name, further)
        if isinstance(below, dict):
            yield from _validate(below, item, _join(path, name))
    if bool_at(schema, _EMBEDDED):
        for name in ("apiVersion", "kind"):
            if not str_at(value, name):
                yield required(_join(path, name), "must not be empty")


def _validate_junctors(schema: JsonObject, value: Json, path: str) -> Iterator[Cause]:
    where = path or "<nil>"
    shown = value if isinstance(value, str | int | float) else None
    any_of, one_of, all_of = (maps_at(schema, name) for name in ("anyOf", "oneOf", "allOf"))
    for one in all_of:
        yield from _validate(one, value, path)
    if any_of and not any(_holds(one, value, path) for one in any_of):
        yield invalid(path, shown, f'"{where}" must validate at least one schema (anyOf)')
    if one_of:
        count = sum(_holds(one, value, path) for one in one_of)
        if count != 1:
            found = "none valid" if not count else f"{count} valid alternatives"
            yield invalid(path, shown, f'"{where}" must validate one and only one schema (oneOf). Found {found}')
    refused = schema.get("not")
    if isinstance(refused, dict) and _holds(refused, value, path):
        yield invalid(path, shown, f'"{where}" must not validate the schema (not)')


def _holds(schema: JsonObject, value: Json, path: str) -> bool:
    return next(_validate(schema, value, path), None) is None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# --- formats -----------------------------------------------------------------------------------------------------


class _Parses(Frozen, kw_only=False):
    """Good when a parser takes it."""

    parse: Callable[[str], object]

    def __call__(self, text: str) -> bool:
        try:
            self.parse(text)
        except (ValueError, BadRequestError, binascii.Error):
            return False
        return True


_HOST: Final = re.compile(r"(?i)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
_GO_DURATION: Final = re.compile(
    r"[+-]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*)"
)
_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "date-time": _Parses(parse_time),
    "date": lambda text: re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", text) is not None,
    "byte": _Parses(lambda text: base64.b64decode(text, validate=True)),
    "ipv4": _Parses(ipaddress.IPv4Address),
    "ipv6": _Parses(ipaddress.IPv6Address),
    "cidr": _Parses(lambda text: ipaddress.ip_interface(text) if "/" in text else int("no mask")),
    "uuid": _Parses(uuid.UUID),
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None,
    "hostname": lambda text: len(text) <= 255 and _HOST.fullmatch(text) is not None,
    "uri": lambda text: re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S*", text) is not None,
    "mac": lambda text: re.fullmatch(r"([0-9A-Fa-f]{2}[:-]){5}([0-9A-Fa-f]{2})", text) is not None,
    "duration": lambda text: _GO_DURATION.fullmatch(text) is not None,
}
