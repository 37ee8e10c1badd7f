"""How results look: tables for people, JSON and YAML for programs. Colour only on a terminal.

All that commands print goes through here (a rule in `tests/repo`). Names, reasons and messages come from devices,
brokers and whoever else speaks to a gateway: a control character in them would move the cursor, rename the window or
hide a line. It is shown as JSON writes it (`\\u001b`), so that a document that is printed stays what it is.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Final

import click

from skerry.errors import BadRequestError
from skerry.objects.json import Json, JsonObject, list_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind

FORMATS: Final = ("table", "wide", "json", "yaml", "name")

_GOOD: Final = frozenset(
    {"Ready", "Running", "Active", "True", "online", "good", "verified", "Completed", "Bound", "Succeeded"}
)
_WAITING: Final = frozenset(
    {
        *("Pending", "ContainerCreating", "Terminating", "Unknown", "stale", "pending", "uncertain"),
        *("Delivered", "Cancelled"),
    }
)
_BAD: Final = frozenset(
    {
        *(
            "NotReady",
            "CrashLoopBackOff",
            "Error",
            "Failed",
            "offline",
            "bad",
            "refused",
            "failed",
            "expired",
            "False",
        ),
        *("Expired", "Rejected"),
    }
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f]")
"""All that Unicode calls control (Cc), but tabs, and ends of lines, to which NEL belongs."""
_LINE_ENDS: Final = re.compile(r"[\n\x85\u2028\u2029]")


class Styled(str):
    """Without control characters of anybody else's, and with colours of ours."""

    __slots__ = ()


def plain(text: str) -> str:
    """With each control character as JSON writes it."""
    return text if isinstance(text, Styled) else _CONTROL.sub(_escaped, text)


def one_line(text: str) -> str:
    """`plain`, and within its line."""
    return _LINE_ENDS.sub(_escaped, plain(text))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def styled(text: str, *, fg: str | None = None, bold: bool = False) -> Styled:
    return Styled(click.style(plain(text), fg=fg, bold=bold or None))


def joined(parts: Sequence[str], between: str = "") -> Styled:
    """Of styled and other text."""
    return Styled(between.join(plain(part) for part in parts))


def say(text: str = "", *, fg: str | None = None, bold: bool = False, nl: bool = True, err: bool = False) -> None:
    """Print it; what does not come from `styled` is `plain`."""
    click.echo(styled(text, fg=fg, bold=bold) if fg or bold else plain(text), nl=nl, err=err)


def say_over(text: str = "") -> None:
    """On stderr in place of the line that stands there; "" wipes it."""
    click.echo(f"\r{plain(text):<32}" if text else f"\r{'':<32}\r", nl=False, err=True)


def print_csv(rows: Iterable[Sequence[str]]) -> None:
    """Cell by cell as they are, but on a terminal."""
    shown = plain if sys.stdout.isatty() else str
    csv.writer(sys.stdout, lineterminator="\n").writerows([shown(cell) for cell in row] for row in rows)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as kubectl lays them out (three blanks between), with words that matter in colour."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = _widths([headers, *cells])
    say(_line(headers, widths).rstrip(), bold=True)
    _print_rows(cells, widths)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of each column; the last is as wide as it is."""
    last = len(rows[0]) - 1
    return [max(len(row[index]) for row in rows) if index < last else 0 for index in range(last + 1)]


def _print_rows(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    for row in rows:
        filled = max((index for index, cell in enumerate(row) if cell), default=0)
        shown = [
            _coloured(cell, width if index < filled else 0)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            if index <= filled
        ]
        say(joined(shown, "   "))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _coloured(cell: str, width: int) -> str:
    text = cell.ljust(width)
    word = cell.split(",")[0]
    if word in _GOOD:
        return styled(text, fg="green")
    if word in _WAITING:
        return styled(text, fg="yellow")
    if word in _BAD:
        return styled(text, fg="red")
    return text


class ServerTable:
    """`meta.k8s.io/v1` Tables as the server computed them, one after the other.

    In a watch only the first names its columns (KEP 1164); it gives those that follow their columns and widths.
    """

    def __init__(self, *, wide: bool, with_namespace: bool) -> None:
        self._wide = wide
        self._with_namespace = with_namespace
        self._columns: list[tuple[int, str]] = []
        self._widths: list[int] = []

    def show(self, table: JsonObject) -> None:
        first = not self._columns
        if first:
            self._columns = [
                (index, str_at(column, "name").upper())
                for index, column in enumerate(maps_at(table, "columnDefinitions"))
                if self._wide or not column.get("priority")
            ]
        rows = [
            [one_line(namespace_of(_row_object(row))), *cells] if self._with_namespace else cells
            for row in maps_at(table, "rows")
            for cells in [[_cell(list_at(row, "cells"), index) for index, _ in self._columns]]
        ]
        titles = [title for _, title in self._columns]
        if self._with_namespace:
            titles.insert(0, "NAMESPACE")
        if first:
            self._widths = _widths([titles, *rows])
            say(_line(titles, self._widths).rstrip(), bold=True)
        _print_rows(rows, self._widths)


def resource_name(kind: Kind, name: str) -> str:
    """`pod/web-1`, `deployment.apps/web`: as kubectl names objects with `-o name`."""
    singular = kind.singular or kind.kind.lower()
    return f"{singular}.{kind.group}/{name}" if kind.group else f"{singular}/{name}"


def _row_object(row: JsonObject) -> JsonObject:
    value = row.get("object")
    return value if isinstance(value, dict) else {}


def _cell(cells: list[Json], index: int) -> str:
    value = cells[index] if index < len(cells) else None
    if value is None:
        return "<none>"
    return one_line(value) if isinstance(value, str) else json.dumps(value)


def print_data(value: Json, form: str) -> None:
    """JSON or YAML, keys sorted as kubectl sorts them."""
    if form == "json":
        say(json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False))
        return
    import yaml

    yaml.safe_dump(value, sys.stdout, default_flow_style=False, sort_keys=True, allow_unicode=True)


def print_names(objects: Sequence[JsonObject], kind: Kind) -> None:
    for obj in objects:
        say(resource_name(kind, name_of(obj)))


def check_format(form: str) -> str:
    if form not in FORMATS:
        raise BadRequestError(f"-o {form}: use one of {', '.join(FORMATS)}")
    return form


def print_warnings(warnings: Sequence[str]) -> None:
    for text in warnings:
        say("Warning: ", fg="yellow", nl=False, err=True)
        say(text, err=True)
