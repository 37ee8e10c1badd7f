"""One list in every form: tables for people, JSON, YAML, CSV and names for programs, and `--fields` for both.

Rows are made once, of text; the objects behind them are what programs get. A table on a terminal is cut to its
width, and has colours; anywhere else every cell is whole and plain. Keeps nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Final

from skerry.cli.output import one_line, print_csv, print_data, print_table, say
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, dig

LISTED: Final = ("table", "wide", "json", "yaml", "jsonl", "csv", "name")
"""Forms of `-o`."""
_LEAST: Final = 6
"""Characters that a cell is not cut below."""
_FRACTION: Final = re.compile(r"(?<=T\d\d:\d\d:\d\d)\.\d+Z$")
_STEP: Final = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\['([^']+)'\]")


class Row(Frozen):
    """One thing: its cells, one a column of the listing, and the object that programs get."""

    cells: tuple[str, ...]
    obj: JsonObject
    name: str = ""
    """What `-o name` prints: `device/boiler`."""


class Listing(Frozen):
    """Columns by title (`NAME`); those in `wide` are left out of a plain table."""

    titles: tuple[str, ...]
    rows: tuple[Row, ...]
    wide: frozenset[str] = frozenset()

    def without(self, *titles: str) -> Listing:
        """The listing without these columns."""
        kept = [index for index, title in enumerate(self.titles) if title not in titles]
        rows = tuple(
            Row(cells=tuple(row.cells[index] for index in kept), obj=row.obj, name=row.name) for row in self.rows
        )
        return Listing(titles=tuple(self.titles[index] for index in kept), rows=rows, wide=self.wide)


def check_listed(form: str) -> str:
    """Raises `BadRequestError` for a form that there is not."""
    if form not in LISTED:
        raise BadRequestError(f"-o {form}: use one of {', '.join(LISTED)}")
    return form


def fields_of(text: str) -> tuple[str, ...]:
    """`name,state,.spec.nodeName` of `--fields`."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def print_listing(
    listing: Listing, form: str, fields: Sequence[str] = (), *, empty: str = "", one: bool = False
) -> None:
    """In that form. `empty`: what to tell people where there is nothing; `one`: JSON and YAML of the only row, not of
    a list. Raises `BadRequestError` for a field that there is not."""
    values = [[value_of(listing, row, field) for field in fields] for row in listing.rows]
    if not listing.rows:
        for field in fields:
            _known(listing, field)
    match form:
        case "json" | "yaml":
            _print_documents(listing, form, fields, values, one=one)
        case "jsonl":
            for row, held in zip(listing.rows, values, strict=True):
                say(json.dumps(_chosen(fields, held) if fields else row.obj, ensure_ascii=False))
        case "csv":
            _print_csv(listing, fields, values)
        case "name":
            for row in listing.rows:
                say(row.name)
        case _:
            if not listing.rows:
                say(empty, err=True)
            elif fields:
                print_table(
                    [_title(field) for field in fields], fitted([[_cell(each) for each in held] for held in values])
                )
            else:
                shown = listing if form == "wide" else listing.without(*listing.wide)
                if form != "wide" and sys.stdout.isatty():
                    shown = shown.without(*_empty(shown))
                cells = [[*row.cells] for row in shown.rows]
                print_table(shown.titles, fitted(cells, shown.titles))


def _print_documents(
    listing: Listing, form: str, fields: Sequence[str], values: Sequence[Sequence[Json]], *, one: bool
) -> None:
    items: list[Json] = [_chosen(fields, held) for held in values] if fields else [row.obj for row in listing.rows]
    if one and len(items) == 1:
        print_data(items[0], form)
    elif fields:
        print_data(items, form)
    else:
        print_data({"kind": "List", "apiVersion": "v1", "items": items}, form)


def _print_csv(listing: Listing, fields: Sequence[str], values: Sequence[Sequence[Json]]) -> None:
    if fields:
        print_csv([[field.removeprefix(".") for field in fields]])
        print_csv([_cell(each) for each in held] for held in values)
    else:
        print_csv([[title.lower() for title in listing.titles]])
        print_csv(row.cells for row in listing.rows)


def _chosen(fields: Sequence[str], values: Sequence[Json]) -> JsonObject:
    return {field.removeprefix("."): value for field, value in zip(fields, values, strict=True)}


def _title(field: str) -> str:
    return field.removeprefix(".").rsplit(".", 1)[-1].upper()


def _cell(value: Json) -> str:
    if value is None:
        return "<none>"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def value_of(listing: Listing, row: Row, field: str) -> Json:
    """A column by its title, or (`.spec.nodeName`) a place in the object. Raises `BadRequestError`."""
    _known(listing, field)
    if not field.startswith("."):
        return row.cells[[title.lower() for title in listing.titles].index(field.lower())]
    at: Json = row.obj
    for name, index, quoted in _STEP.findall(field):
        at = _item(at, int(index)) if index else dig(at, name or quoted)
    return at


def _item(holder: Json, index: int) -> Json:
    return holder[index] if isinstance(holder, list) and index < len(holder) else None


def _known(listing: Listing, field: str) -> None:
    if field.startswith("."):
        if "".join(found.group() for found in _STEP.finditer(field)) != field:
            raise BadRequestError(
                f"--fields {field}: a path is written as .spec.nodeName or .spec.properties[0].name"
            )
        return
    known = [title.lower() for title in listing.titles]
    if field.lower() not in known:
        raise BadRequestError(f"--fields {field}: use {', '.join(known)}, or a path such as .spec.nodeName")


def _empty(listing: Listing) -> list[str]:
    """Columns after the first in which nothing stands: a reason that nobody has."""
    return [title for at, title in enumerate(listing.titles) if at and not any(row.cells[at] for row in listing.rows)]


def fitted(rows: Sequence[Sequence[str]], titles: Sequence[str] = ()) -> list[list[str]]:
    """The rows with cells cut where they would not fit on the terminal; whole where there is none."""
    if not rows or not sys.stdout.isatty():
        return [[*row] for row in rows]
    rows = [[one_line(cell) for cell in row] for row in rows]
    columns = shutil.get_terminal_size().columns
    return narrowed(rows, titles or [""] * len(rows[0]), columns)


def narrowed(rows: Sequence[Sequence[str]], titles: Sequence[str], columns: int) -> list[list[str]]:
    """Within so many columns, if that can be: the last cell gives way first, down to its title or `_LEAST`, then
    fractions of seconds, then the widest of the others, one character after the other. The first, the name, stays
    whole."""
    cells = [[*row] for row in rows]
    if _excess(cells, titles, columns) > 0:
        cells = [[_FRACTION.sub("Z", cell) for cell in row] for row in cells]
    widths = _widths(cells, titles)
    floors = [max(len(title), _LEAST) for title in titles]
    last = len(widths) - 1
    while sum(widths[:-1]) + 3 * last + min(widths[-1], floors[-1]) > columns:
        widest = max(range(1, last), key=lambda at: widths[at] - floors[at], default=0)
        if not widest or widths[widest] <= floors[widest]:
            break
        widths[widest] -= 1
    widths[-1] = max(columns - sum(widths[:-1]) - 3 * last, _LEAST)
    return [[row[0], *map(cut, row[1:], widths[1:])] if last else [cut(row[0], widths[0])] for row in cells]


def _widths(rows: Sequence[Sequence[str]], titles: Sequence[str]) -> list[int]:
    return [max(len(line[at]) for line in (titles, *rows)) for at in range(len(titles))]


def _excess(rows: Sequence[Sequence[str]], titles: Sequence[str], columns: int) -> int:
    """By how many characters a table is too wide, its last column cut."""
    widths = _widths(rows, titles)
    widths[-1] = min(widths[-1], max(len(titles[-1]), _LEAST))
    return sum(widths) + 3 * (len(widths) - 1) - columns


def cut(text: str, room: int) -> str:
    """At most `room` characters, the last an ellipsis where something is missing."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"
