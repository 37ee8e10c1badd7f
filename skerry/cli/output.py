"""How results look: tables for people, JSON and YAML for programs. Colour only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
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


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as kubectl lays them out (three blanks between), with words that matter in colour."""
    widths = _widths([headers, *rows])
    click.secho(_line(headers, widths).rstrip(), bold=True)
    _print_rows(rows, widths)


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
        click.echo("   ".join(shown))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _coloured(cell: str, width: int) -> str:
    text = cell.ljust(width)
    word = cell.split(",")[0]
    if word in _GOOD:
        return click.style(text, fg="green")
    if word in _WAITING:
        return click.style(text, fg="yellow")
    if word in _BAD:
        return click.style(text, fg="red")
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
            [namespace_of(_row_object(row)), *cells] if self._with_namespace else cells
            for row in maps_at(table, "rows")
            for cells in [[_cell(list_at(row, "cells"), index) for index, _ in self._columns]]
        ]
        titles = [title for _, title in self._columns]
        if self._with_namespace:
            titles.insert(0, "NAMESPACE")
        if first:
            self._widths = _widths([titles, *rows])
            click.secho(_line(titles, self._widths).rstrip(), bold=True)
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
    return value if isinstance(value, str) else json.dumps(value)


def print_data(value: Json, form: str) -> None:
    """JSON or YAML, keys sorted as kubectl sorts them."""
    if form == "json":
        json.dump(value, sys.stdout, indent=4, sort_keys=True, ensure_ascii=False)
        click.echo()
        return
    import yaml

    yaml.safe_dump(value, sys.stdout, default_flow_style=False, sort_keys=True, allow_unicode=True)


def print_names(objects: Sequence[JsonObject], kind: Kind) -> None:
    for obj in objects:
        click.echo(resource_name(kind, name_of(obj)))


def check_format(form: str) -> str:
    if form not in FORMATS:
        raise BadRequestError(f"-o {form}: use one of {', '.join(FORMATS)}")
    return form


def print_warnings(warnings: Sequence[str]) -> None:
    for text in warnings:
        click.secho("Warning: ", fg="yellow", nl=False, err=True)
        click.echo(text, err=True)
