"""Columns that a CustomResourceDefinition describes, read with the JSONPath subset that definitions may use. Pure.

The subset (apiextensions `additionalPrinterColumns`): `.a.b`, `['a.b']`, `[0]`, `[*]` and `..`-free paths, and
filters `[?(@.type=="Ready")]` of equality. What a path does not find shows as an empty cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from skerry.errors import BadRequestError
from skerry.forms.tables.table import UNKNOWN, Column, Printer, age, columns, since
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, dig, str_at


class PrinterColumn(Frozen):
    """One additional printer column of a CustomResourceDefinition version."""

    name: str
    type: str
    json_path: str
    format: str = ""
    description: str = ""
    priority: int = 0


Step = Callable[[list[Json]], list[Json]]

_TOKEN: Final = re.compile(
    r"""\.(?P<field>[^.\[\]'"{}()\s]+)
      | \[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[\?\(\s*@(?P<where>(?:\.[\w-]+|\['[^']*'\])+)\s*(?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[\w.-]+)\s*\)\]""",
    re.VERBOSE,
)


@lru_cache(maxsize=2048)
def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path. Raises `BadRequestError` for what this subset does not have."""
    bare = text.strip().removeprefix("{").removesuffix("}")
    steps: list[Step] = []
    at = 0
    while at < len(bare):
        found = _TOKEN.match(bare, at)
        if found is None:
            raise BadRequestError(f"unsupported JSON path {text!r} at {bare[at:]!r}")
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    if (field := found["field"] or found["quoted"]) is not None:
        return _everything if field == "*" else (lambda values: _field(values, field))
    if found["index"] is not None:
        index = int(found["index"])
        return lambda values: [
            value[index] for value in values if isinstance(value, list) and -len(value) <= index < len(value)
        ]
    if found["all"]:
        return _everything
    where = parse_path(found["where"])
    wanted = found["value"].strip("\"'")
    equal = found["op"] == "=="
    return lambda values: [
        item for item in _everything(values) if any(text(value) == wanted for value in _walk(where, item)) is equal
    ]


def _field(values: list[Json], name: str) -> list[Json]:
    return [value[name] for value in values if isinstance(value, dict) and name in value]


def _everything(values: list[Json]) -> list[Json]:
    out: list[Json] = []
    for value in values:
        match value:
            case list():
                out += value
            case dict():
                out += value.values()
            case _:
                pass
    return out


def _walk(steps: tuple[Step, ...], value: Json) -> list[Json]:
    values: list[Json] = [value]
    for step in steps:
        values = step(values)
    return values


def find(path: str, obj: JsonObject) -> list[Json]:
    """What a path finds, in order."""
    return _walk(parse_path(path), obj)


def text(value: Json) -> str:
    """A value as a cell shows it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
        case _:
            return json.dumps(value, separators=(",", ":"))


def _cell(column: PrinterColumn, obj: JsonObject, now_ms: int) -> Json:
    found = [value for value in find(column.json_path, obj) if value is not None]
    if not found:
        return None
    match column.type:
        case "date":
            when = text(found[0])
            try:
                return since(when, now_ms)
            except BadRequestError:
                return UNKNOWN
        case "integer" | "number" if isinstance(found[0], int | float) and not isinstance(found[0], bool):
            return found[0]
        case "boolean" if isinstance(found[0], bool):
            return found[0]
        case _:
            return ",".join(text(value) for value in found)


def custom_printer(given: tuple[PrinterColumn, ...]) -> Printer:
    """Name, then what the definition says; where it says nothing, Age."""
    if not given:
        return DEFAULT
    heads = tuple(
        Column(
            name=column.name,
            type=column.type,
            format=column.format,
            description=column.description,
            priority=column.priority,
        )
        for column in given
    )

    def cells(obj: JsonObject, now_ms: int) -> list[Json]:
        return [str_at(obj, "metadata", "name"), *(_cell(column, obj, now_ms) for column in given)]

    return Printer(columns=(*columns("Name"), *heads), cells=cells)


def _default(obj: JsonObject, now_ms: int) -> list[Json]:
    assert isinstance(dig(obj, "metadata"), dict), "every object has metadata"
    return [str_at(obj, "metadata", "name"), age(obj, now_ms)]


DEFAULT: Final = Printer(columns=columns("Name", "Age"), cells=_default)
"""For kinds nobody described."""
