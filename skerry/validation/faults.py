"""The sentences in which a field is refused (apimachinery `pkg/util/validation/field`). Pure.

Clients and conformance tests match these texts. A cause's message leaves the field out: whoever makes the whole
error puts `field: ` before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from skerry.errors import Cause
from skerry.objects.json import Json, JsonObject


def required(field: str, detail: str = "") -> Cause:
    return _cause(field, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def invalid(field: str, value: Json, detail: str) -> Cause:
    return _cause(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")


def wrong_type(field: str, value: Json, detail: str) -> Cause:
    return _cause(field, "FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {detail}")


def duplicate(field: str, value: Json) -> Cause:
    return _cause(field, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def not_found(field: str, value: Json) -> Cause:
    return _cause(field, "FieldValueNotFound", f"Not found: {shown(value)}")


def unsupported(field: str, value: Json, supported: Iterable[str]) -> Cause:
    words = ", ".join(json.dumps(word) for word in supported)
    return _cause(field, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {words}")


def forbidden(field: str, detail: str) -> Cause:
    return _cause(field, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(field: str, bytes_max: int) -> Cause:
    return _cause(field, "FieldValueTooLong", f"Too long: may not be more than {bytes_max} bytes")


def too_many(field: str, count: int, count_max: int) -> Cause:
    return _cause(field, "FieldValueTooMany", f"Too many: {count}: must have at most {count_max} items")


def shown(value: Json) -> str:
    """A value inside a sentence: text in quotes, everything else as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def named(field: str, value: str, check: Callable[[str], list[str]], *, needed: bool = True) -> Iterator[Cause]:
    """A field that holds a name: missing, or refused by `check` (one of `skerry.objects.names`)."""
    if not value:
        if needed:
            yield required(field)
        return
    for fault in check(value):
        yield invalid(field, value, fault)


def one_of(field: str, value: str, supported: Iterable[str], *, needed: bool = True) -> Iterator[Cause]:
    """A field that holds one of a few words."""
    words = list(supported)
    if not value:
        if needed:
            yield required(field)
    elif value not in words:
        yield unsupported(field, value, words)


def at_least(field: str, obj: JsonObject, name: str, least: int) -> Iterator[Cause]:
    """An integer field of `obj`, where it is set."""
    value = obj.get(name)
    if isinstance(value, int) and value < least:
        # Kubernetes has a sentence of its own for 0 (IsNegativeErrorMsg) and for 1.
        detail = f"must be greater than or equal to {least}" if least != 1 else "must be greater than 0"
        yield invalid(f"{field}.{name}" if field else name, value, detail)


def port_number(field: str, value: Json) -> Iterator[Cause]:
    if isinstance(value, int) and not 1 <= value <= 65_535:
        yield invalid(field, value, "must be between 1 and 65535, inclusive")


def immutable(field: str, new: Json, old: Json) -> Iterator[Cause]:
    if new != old:
        yield invalid(field, new, "field is immutable")


def _cause(field: str, reason: str, message: str) -> Cause:
    return Cause(field=field, reason=reason, message=message)
