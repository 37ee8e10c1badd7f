"""`skerry device history`: what a property was, as rows, as steps, or as a picture in the terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import click
from click.core import ParameterSource

from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import DEVICES, complete_places, fields_option, split_name
from skerry.cli.device_wanted import read_wanted, wanted_listed
from skerry.cli.listing import LISTED, Listing, Row, fields_of, print_listing
from skerry.cli.logs import seconds_of
from skerry.cli.options import namespace_option
from skerry.cli.output import say, say_over
from skerry.cli.pictures import Reading, columns_of, number_text, plot, reading_of, sparkline
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.history import aggregates_of
from skerry.objects.json import JsonObject, dig, int_at, map_at, maps_at, str_at
from skerry.objects.times import micro_time_text, parse_time, time_text

ROWS_MAX: Final = 1_000_000
"""Read for one look; beyond, a shorter time is asked for."""
_PAGE: Final = 10_000
_HEIGHT: Final = 10
_FORMS: Final = (*LISTED, "plot")


@click.command("history")
@click.argument("name", shell_complete=complete_places)
@click.argument("prop", required=False, default="")
@namespace_option
@click.option("--since", default="1h", help="From so long ago, or from a time on: 90s, 2h, 7d, 2026-11-28T06:00:00Z.")
@click.option("--until", default="", help="Up to so long ago, or to a time.")
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Only the newest N rows.")
@click.option("--step", default="", help="One row for each 500ms, 10s, 1m, 1h, 1d, made where the history is.")
@click.option(
    "--aggregate",
    "--agg",
    "aggregate",
    default="min,max,avg",
    help="What a step shows: min, max, avg, first, last, count.",
)
@click.option("--gaps", is_flag=True, help="Only what a gateway had to drop.")
@click.option("--desired", is_flag=True, help="What was wanted instead: by whom, and what became of it.")
@click.option("-o", "--output", "form", default="table", help="table, wide, json, yaml, jsonl, csv or plot.")
@fields_option
@with_target
def history(
    target: Target,
    name: str,
    prop: str,
    namespace: str,
    since: str,
    until: str,
    limit: int | None,
    step: str,
    aggregate: str,
    gaps: bool,
    desired: bool,
    form: str,
    fields: str,
) -> None:
    """Show what a property was: `skerry device history boiler/temperature --since 24h --step 10m`.

    Every reading that was told, in order of time, with its quality, and the holes where a gateway had to drop some.
    `-o plot` draws it, `-o csv` is for a spreadsheet. `--desired` shows what was wanted of the device, or of one of
    its properties, from the beginning of the log on where no --since is given; on a gateway from its own log.
    """
    if form not in _FORMS or form == "name":
        raise BadRequestError(f"-o {form}: use one of {', '.join(each for each in _FORMS if each != 'name')}")
    name, named = split_name(name)
    prop = prop or named
    if desired:
        _wanted(target, namespace, name, prop, since if _was_given("since") else "", limit, form, fields)
        return
    if not prop:
        raise BadRequestError(f"name a property: skerry device history {name}/PROPERTY")
    now_ms = round(time.time() * 1000)
    since_ms, until_ms = moment(since, now_ms), moment(until, now_ms) if until else now_ms
    if since_ms >= until_ms:
        raise BadRequestError(f"--since {since}: must lie before --until {until or 'now'}")
    client = target.client()
    place = namespace or client.namespace
    empty = f"Nothing of {name}/{prop} since {time_text(since_ms)}."
    if step:
        if gaps or form == "plot" or limit is not None:
            raise BadRequestError("--step: without --gaps, --limit and -o plot, which are of readings")
        names = aggregates_of(aggregate)
        thinned = {"step": step, "aggregate": ",".join(names)}
        steps = read_steps(client, place, name, prop, since_ms, until_ms, thinned)
        print_listing(steps_listed(steps, names), form, fields_of(fields), empty=empty)
        return
    rows = read_rows(client, place, name, prop, since_ms, until_ms, limit)
    if gaps:
        rows = [row for row in rows if map_at(row, "gap")]
    if form == "plot":
        _draw(rows, since_ms=since_ms, until_ms=until_ms)
        return
    if form == "table" and sys.stdout.isatty() and rows and not gaps and not fields:
        say(_summary(rows, since_ms=since_ms, until_ms=until_ms))
    print_listing(rows_listed(rows), form, fields_of(fields), empty=empty)


def _was_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def _wanted(
    target: Target, namespace: str, name: str, prop: str, since: str, limit: int | None, form: str, fields: str
) -> None:
    for option in ("until", "step", "aggregate", "gaps"):
        if _was_given(option):
            raise BadRequestError(f"--{option}: belongs to the history of values, and not to --desired")
    if form == "plot":
        raise BadRequestError("-o plot: what was wanted can't be drawn")
    client = target.client()
    since_ms = moment(since, round(time.time() * 1000)) if since else None
    items = read_wanted(client, namespace or client.namespace, name, prop, since_ms=since_ms, limit=limit)
    listing = wanted_listed(name, items)
    what = f"{name}/{prop}" if prop else name
    print_listing(listing, form, fields_of(fields), empty=f"Nothing was wanted of {what}.")


def moment(text: str, now_ms: int) -> int:
    """`2h` ago, or a time. Raises `BadRequestError`."""
    if text[:4].isdecimal() and "-" in text:
        return parse_time(text)
    return now_ms - seconds_of(text) * 1000


def moment_ahead(text: str, now_ms: int) -> int:
    """In `2h`, or a time. Raises `BadRequestError`."""
    if text[:4].isdecimal() and "-" in text:
        return parse_time(text)
    return now_ms + seconds_of(text) * 1000


def read_rows(
    client: Client, place: str, name: str, prop: str, since_ms: int, until_ms: int, limit: int | None
) -> list[JsonObject]:
    """In order of time, the newest `limit` of them. Raises `BadRequestError` for more than can be read."""
    order = "newest" if limit is not None else "oldest"
    query = {"property": prop, "order": order} | _between(since_ms, until_ms)
    rows: list[JsonObject] = []
    for page in _pages(client, place, name, query):
        rows += maps_at(page, "items")
        if limit is not None and len(rows) >= limit:
            break
        if len(rows) > ROWS_MAX:
            raise BadRequestError(
                f"there are more than {ROWS_MAX} readings since then: give a later --since, or --step"
            )
        if sys.stderr.isatty():
            say_over(f"  {len(rows)} readings ...")
    if sys.stderr.isatty() and len(rows) >= _PAGE:
        say_over()
    return rows if limit is None else rows[:limit][::-1]


def read_steps(
    client: Client, place: str, name: str, prop: str, since_ms: int, until_ms: int, thinned: dict[str, str]
) -> list[JsonObject]:
    """As the server made them. Raises `BadRequestError` for more than anybody reads."""
    rows: list[JsonObject] = []
    query = {"property": prop} | thinned | _between(since_ms, until_ms)
    for page in _pages(client, place, name, query):
        if not int_at(page, "stepMs"):
            raise UnavailableError("the server is too old to make steps: leave --step out")
        rows += maps_at(page, "items")
        if len(rows) > ROWS_MAX:
            raise BadRequestError(f"there are more than {ROWS_MAX} steps since then: give a longer --step")
    return rows


def _between(since_ms: int, until_ms: int) -> dict[str, str]:
    return {"sinceTime": micro_time_text(since_ms), "untilTime": micro_time_text(until_ms)}


def _pages(client: Client, place: str, name: str, query: dict[str, str]) -> Iterator[JsonObject]:
    query = {**query, "limit": str(_PAGE)}
    while True:
        page = client.request("GET", path_of(DEVICES, place, name, "history"), query=query).obj
        yield page
        query["continue"] = str_at(page, "metadata", "continue")
        if not query["continue"]:
            return


def rows_listed(rows: Sequence[JsonObject]) -> Listing:
    """One row a reading or hole."""
    made = tuple(Row(cells=_cells(row), obj=row) for row in rows)
    titles = ("TIME", "VALUE", "QUALITY", "SEQUENCE", "NODE", "REASON")
    return Listing(titles=titles, rows=made, wide=frozenset({"SEQUENCE", "NODE"}))


def _cells(row: JsonObject) -> tuple[str, ...]:
    gap = map_at(row, "gap")
    at = str_at(row, "time")
    if gap:
        why = str_at(row, "reason") or (
            "thinned out" if int_at(gap, "thinned") == int_at(gap, "count") else "dropped"
        )
        what = f"{int_at(gap, 'count')} readings {why}, {str_at(gap, 'from')} to {str_at(gap, 'to')}"
        return at, "-", "gap", "-", str_at(row, "node"), what
    value, number = dig(row, "value"), dig(row, "sequence")
    doubt = "the gateway's clock was not known to be right" if dig(row, "estimated") else ""
    reason = "; ".join(part for part in (str_at(row, "reason"), doubt) if part)
    shown = value if isinstance(value, str) else "-"
    return at, shown, str_at(row, "quality"), str(number or "-"), str_at(row, "node"), reason


def steps_listed(steps: Sequence[JsonObject], names: Sequence[str]) -> Listing:
    """One row a step."""
    made: list[Row] = []
    for step in steps:
        values = [dig(step, name) for name in names]
        counts = [str(int_at(step, name)) for name in ("uncertain", "bad", "dropped")]
        cells = (str_at(step, "time"), *("-" if value is None else str(value) for value in values), *counts)
        made.append(Row(cells=cells, obj=step))
    titles = ("TIME", *(name.upper() for name in names), "UNCERTAIN", "BAD", "DROPPED")
    return Listing(titles=titles, rows=tuple(made))


def _summary(rows: Sequence[JsonObject], *, since_ms: int, until_ms: int) -> str:
    readings = [reading_of(row) for row in rows if not map_at(row, "gap")]
    width = min(60, shutil.get_terminal_size().columns - 30)
    numbers = [reading.number for reading in readings if reading.number is not None]
    if not numbers or width < 10:
        return f"{len(readings)} readings"
    line = sparkline(columns_of(readings, since_ms=_begin(readings, since_ms), until_ms=until_ms, width=width))
    return f"{number_text(min(numbers))} {line} {number_text(max(numbers))}   {len(readings)} readings"


def _begin(readings: Sequence[Reading], since_ms: int) -> int:
    """Where a picture begins: not long before there was anything."""
    return max(since_ms, readings[0].at_ms) if readings else since_ms


def _draw(rows: Sequence[JsonObject], *, since_ms: int, until_ms: int) -> None:
    readings = [reading_of(row) for row in rows if not map_at(row, "gap")]
    begin_ms = _begin(readings, since_ms)
    columns = max(20, shutil.get_terminal_size().columns - 16)
    lines = plot(columns_of(readings, since_ms=begin_ms, until_ms=until_ms, width=columns), _HEIGHT)
    if not lines:
        say("No numbers to draw.", err=True)
        return
    for line in lines:
        say(line.rstrip())
    margin = lines[0].index("┤")
    first, last = (time.strftime("%d.%m. %H:%M", time.localtime(at / 1000)) for at in (begin_ms, until_ms))
    say(f"{' ' * margin}└{'─' * columns}")
    say(f"{' ' * (margin + 1)}{first}{last:>{columns - len(first)}}")
