"""JSON as it comes off the wire, and typed ways to look into it.

Objects of a hundred kinds pass through Skerry as JSON; their shape was checked against the kind's schema when
they were written. Code behind that boundary reads single fields through these accessors, which treat a field
that is absent, null or (in an object that bypassed the schema) of another type as absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn, TypeAlias, cast

from skerry.errors import InvalidError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"


def dig(obj: Json, *path: str) -> Json:
    """The value at `path`, or None where the path ends early."""
    for step in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


def str_at(obj: Json, *path: str, default: str = "") -> str:
    value = dig(obj, *path)
    return value if isinstance(value, str) else default


def int_at(obj: Json, *path: str, default: int = 0) -> int:
    value = dig(obj, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def float_at(obj: Json, *path: str, default: float = 0.0) -> float:
    value = dig(obj, *path)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def bool_at(obj: Json, *path: str, default: bool = False) -> bool:
    value = dig(obj, *path)
    return value if isinstance(value, bool) else default


def map_at(obj: Json, *path: str) -> JsonObject:
    """The object at `path` itself (a write to it writes into `obj`), or a new empty one."""
    value = dig(obj, *path)
    return value if isinstance(value, dict) else {}


def list_at(obj: Json, *path: str) -> list[Json]:
    """The list at `path` itself, or a new empty one."""
    value = dig(obj, *path)
    return value if isinstance(value, list) else []


def maps_at(obj: Json, *path: str) -> list[JsonObject]:
    """The objects in the list at `path`; anything else in that list is left out."""
    return [item for item in list_at(obj, *path) if isinstance(item, dict)]


def strs_at(obj: Json, *path: str) -> list[str]:
    """The strings in the list at `path`."""
    return [item for item in list_at(obj, *path) if isinstance(item, str)]


def str_map_at(obj: Json, *path: str) -> dict[str, str]:
    """The string-valued fields of the object at `path`: labels, annotations, selectors, ConfigMap data."""
    return {name: value for name, value in map_at(obj, *path).items() if isinstance(value, str)}


def ensure_map(obj: JsonObject, *path: str) -> JsonObject:
    """The object at `path`, made (and every step to it) where it is missing."""
    for step in path:
        value = obj.get(step)
        if not isinstance(value, dict):
            value = {}
            obj[step] = value
        obj = value
    return obj


def to_json(values: Mapping[str, str]) -> JsonObject:
    """A string map as a JSON object (dict is invariant, so the checker needs the copy as much as we do)."""
    return dict(values)


def clone(obj: JsonObject) -> JsonObject:
    """A deep copy. Decoding again is about ten times cheaper than `copy.deepcopy`."""
    return cast(JsonObject, json.loads(json.dumps(obj)))


def decode_object(data: bytes) -> JsonObject:
    """Bytes that we wrote ourselves, as an object. Input from outside goes through a parser that explains itself."""
    value: Json = json.loads(data)
    assert isinstance(value, dict), "stored objects are JSON objects"
    return value


def read_json(text: str | bytes, what: str = "it") -> Json:
    """What others say, such as a message on a broker. `what` it is, for who is told. Raises `InvalidError`, also for
    what could not be written out again: half of a surrogate pair, a number that is none."""
    try:
        said = text.decode() if isinstance(text, bytes) else text
        value: Json = json.loads(said, parse_constant=_no_constant)
        if "\\u" in said:  # UTF-8 has no halves: they come from escapes alone
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidError(
            f"{what} is not JSON: \\u{ord(error.object[error.start]):x} is half of a character"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{what} is not JSON: {error}") from error
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def encode_object(obj: JsonObject) -> bytes:
    """Compact UTF-8 JSON, as stored, served and sent."""
    return json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()
