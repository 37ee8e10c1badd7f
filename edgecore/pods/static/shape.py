"""What a file may say of a pod, field by field: types are checked and unknown fields named, as the cloud's API does.

The shape is a table made of Kubernetes' definitions (`docs/tools/make_pod_shape.py`): by the name of a struct, its
fields with a code each: s text, b boolean, i integer, f number, q quantity, x integer or text, * anything, @NAME a
struct, l and m lists and maps of what follows. Read when there is a file to check, and not kept. Pure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject, decode_object, map_at, str_map_at
from skerry.objects.quantity import canonical

_TABLE: Final = Path(__file__).parent / "pod_shape.json"
_DEPTH_MAX: Final = 60
UNKNOWN_MAX: Final = 20
"""Unknown fields that are named; more of them help nobody."""
_TYPES: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "s": ((str,), "text"),
    "b": ((bool,), "true or false"),
    "i": ((int,), "a whole number"),
    "f": ((int, float), "a number"),
    "q": ((str, int, float), "a quantity"),
    "x": ((str, int), "a whole number or text"),
}

Structs: TypeAlias = "dict[str, dict[str, str]]"


def structs() -> Structs:
    """The table."""
    table = decode_object(_TABLE.read_bytes())
    return {name: str_map_at(table, name) for name in table}


class Walk:
    """One object along the table."""

    def __init__(self, known: Structs) -> None:
        self._known = known
        self.unknown: list[str] = []
        """Paths of fields that are not known, and were left out."""

    def pod(self, said: JsonObject) -> JsonObject:
        """The pod without unknown fields and nulls, quantities in their one form. Raises `InvalidError` naming the
        field for a value of a wrong type."""
        found = self._struct("Pod", said, "", 0)
        found.pop("status", None)
        map_at(found, "metadata").pop("managedFields", None)
        return found

    def _value(self, code: str, value: Json, path: str, depth: int) -> Json:
        if depth > _DEPTH_MAX:
            raise InvalidError(f"{path}: nested too deeply")
        kind, rest = code[:1], code[1:]
        match kind:
            case "*":
                return value
            case "@":
                if not isinstance(value, dict):
                    raise _wrong(path, value, "an object")
                return self._struct(rest, value, path, depth)
            case "l":
                if not isinstance(value, list):
                    raise _wrong(path, value, "a list")
                return [self._item(rest, item, f"{path}[{at}]", depth + 1) for at, item in enumerate(value)]
            case "m":
                if not isinstance(value, dict):
                    raise _wrong(path, value, "an object")
                return {name: self._item(rest, item, f"{path}[{name}]", depth + 1) for name, item in value.items()}
            case _:
                return _plain(kind, value, path)

    def _item(self, code: str, value: Json, path: str, depth: int) -> Json:
        if value is None and code == "s":
            return ""  # as Go has it
        return self._value(code, value, path, depth)

    def _struct(self, name: str, value: JsonObject, path: str, depth: int) -> JsonObject:
        fields = self._known[name]
        found: JsonObject = {}
        for field, item in value.items():
            here = f"{path}.{field}" if path else field
            code = fields.get(field)
            if code is None:
                if len(self.unknown) < UNKNOWN_MAX:
                    self.unknown.append(here)
            elif item is not None:
                found[field] = self._value(code, item, here, depth + 1)
        return found


def _plain(kind: str, value: Json, path: str) -> Json:
    types, noun = _TYPES[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise _wrong(path, value, noun)
    if kind == "q":
        assert isinstance(value, str | int | float)
        try:
            return canonical(value)
        except InvalidError as error:
            raise InvalidError(f"{path}: {error}") from error
    if kind in "ix" and isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InvalidError(f"{path}: {value} has more than 64 bits")
    return value


_NOUNS: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}


def _wrong(path: str, value: Json, wanted: str) -> InvalidError:
    return InvalidError(f"{path}: {wanted} is wanted, and {_NOUNS[type(value)]} is there")
