"""What a printer is, and how it makes a metav1.Table.

Source: Kubernetes' `pkg/printers` and metav1 Table. Columns of priority 1 are those of `-o wide`. Pure: `now` is
an argument; AGE is a string that the server computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, str_at
from skerry.objects.times import human_duration, ms_at

UNKNOWN: Final = "<unknown>"
NONE: Final = "<none>"
IncludeObject = Literal["None", "Metadata", "Object"]


class Column(Frozen):
    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


class Printer(Frozen):
    """Columns of a kind, and how an object fills them at `now` (milliseconds since the epoch)."""

    columns: tuple[Column, ...]
    cells: Callable[[JsonObject, int], list[Json]]


def columns(*names: str, wide: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Columns by name; `wide` ones follow. `NAME:integer` gives a type."""
    return (*(_column(name, 0) for name in names), *(_column(name, 1) for name in wide))


def _column(text: str, priority: int) -> Column:
    name, _, type_ = text.partition(":")
    return Column(
        name=name,
        type=type_ or "string",
        format="name" if name == "Name" else "",
        description=_DESCRIPTIONS.get(name, ""),
        priority=priority,
    )


_DESCRIPTIONS: Final = {
    "Name": "Unique within its namespace, or within the cluster.",
    "Age": "Time since the object was created.",
}


def include_object(text: str) -> IncludeObject:
    """The `includeObject` parameter. Raises `BadRequestError`."""
    match text:
        case "" | "Metadata":
            return "Metadata"
        case "None":
            return "None"
        case "Object":
            return "Object"
        case _:
            raise BadRequestError(f'unrecognized includeObject value: "{text}"')


def table(
    printer: Printer,
    objects: Iterable[JsonObject],
    *,
    now_ms: int,
    include: IncludeObject,
    version: str,
    headed: bool,
) -> JsonObject:
    """metav1.Table without metadata."""
    rows: list[Json] = []
    for obj in objects:
        cells = printer.cells(obj, now_ms)
        assert len(cells) == len(printer.columns), f"a cell for each column of {str_at(obj, 'kind')}"
        row: JsonObject = {"cells": cells}
        match include:
            case "Metadata":
                row["object"] = partial_metadata(obj, version=version)
            case "Object":
                row["object"] = obj
            case "None":
                pass
        rows.append(row)
    heads: list[Json] = [_head(column) for column in printer.columns] if headed else []
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {},
        "columnDefinitions": heads,
        "rows": rows,
    }


def partial_metadata(obj: JsonObject, *, version: str) -> JsonObject:
    """metav1.PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": map_at(obj, "metadata"),
    }


def _head(column: Column) -> JsonObject:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


# --- cells that many kinds share -------------------------------------------------------------------------------


def age(obj: JsonObject, now_ms: int) -> str:
    """Since creation."""
    return since(str_at(obj, "metadata", "creationTimestamp"), now_ms)


def since(time: str, now_ms: int) -> str:
    """Between a time and now, as people say it; `<unknown>` for no time."""
    return human_duration((now_ms - ms_at(time)) / 1000) if time else UNKNOWN


def joined(values: Iterable[str]) -> str:
    """`a,b`, or `<none>`."""
    return ",".join(values) or NONE


def labels_text(labels: dict[str, str]) -> str:
    """A map of labels or a plain selector."""
    return joined(f"{name}={value}" for name, value in sorted(labels.items()))
