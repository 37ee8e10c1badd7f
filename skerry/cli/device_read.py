"""`skerry device read`: what a device says now, or what was read a moment ago, or what its twin holds."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import (
    DEVICES,
    complete_places,
    complete_properties,
    fields_option,
    find_twin,
    output_option,
    split_name,
    view_of,
)
from skerry.cli.device_show import value_object
from skerry.cli.device_why import age_text
from skerry.cli.listing import Listing, Row, check_listed, fields_of, print_listing
from skerry.cli.logs import seconds_of
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.target import DeadlineError, Target, with_target
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, list_at, map_at, str_at
from skerry.objects.meta import namespace_of


@click.command("read")
@click.argument("name", shell_complete=complete_places)
@click.argument("props", nargs=-1, shell_complete=complete_properties)
@namespace_option
@click.option("--live", is_flag=True, help="Ask the device, whatever was read before. (The default.)")
@click.option("--fresh", default="", help="What was read no longer ago than this will do: 5s, 1m.")
@click.option("--twin", "of_twin", is_flag=True, help="What the twin holds: nobody is asked.")
@click.option("--raw", is_flag=True, help="Show the registers or the message as well.")
@click.option("--timeout", default="20s", help="How long the device may take.")
@output_option()
@fields_option
@with_target
def read(
    target: Target,
    name: str,
    props: Sequence[str],
    namespace: str,
    live: bool,
    fresh: str,
    of_twin: bool,
    raw: bool,
    timeout: str,
    form: str,
    fields: str,
) -> None:
    """Read a device now: `skerry device read boiler/temperature`, `skerry device read boiler --fresh 5s`.

    One property is printed as its value alone. The gateway must be connected: for one that may come back later, there
    is `skerry device refresh`. Exit codes: 6 when the device did not answer in time, 7 when there is no value.
    """
    check_listed(form)
    if live + bool(fresh) + of_twin > 1:
        raise BadRequestError("--live, --fresh and --twin exclude each other")
    name, named = split_name(name)
    wanted = list(dict.fromkeys(prop for prop in (named, *props) if prop))
    client = target.client()
    place = namespace or client.namespace
    if of_twin:
        listing = _of_twin(client, place, name, wanted)
    else:
        body: JsonObject = {
            "properties": [*wanted],
            "freshMs": seconds_of(fresh) * 1000 if fresh else 0,
            "timeoutSeconds": seconds_of(timeout),
        }
        told = client.request("POST", path_of(DEVICES, place, name, "read"), body=body).obj
        listing = readings_listed(told)
    shown = listing if raw or form in ("json", "yaml", "jsonl") else listing.without("RAW")
    if len(wanted) == 1 and form == "table" and not fields and not raw:
        value = dig(shown.rows[0].obj, "value")
        if value is not None:
            say(str(value))
    else:
        print_listing(shown, form, fields_of(fields), empty=f"{name} has no properties.", one=len(wanted) == 1)
    check_read(name, listing)


def readings_listed(told: JsonObject) -> Listing:
    """One row a property, of what the gateway answered."""
    rows: list[Row] = []
    device, namespace = str_at(told, "metadata", "name"), str_at(told, "metadata", "namespace")
    for prop, reading in map_at(told, "properties").items():
        held = reading if isinstance(reading, dict) else {}
        value = dig(held, "value")
        cells = (
            prop,
            str(value) if value is not None else "-",
            str_at(held, "unit") or "-",
            str_at(held, "quality"),
            age_text(int_at(held, "ageMs")) if dig(held, "ageMs") is not None else "-",
            str_at(held, "from") or "-",
            raw_text(map_at(held, "raw")),
            str_at(held, "reason"),
        )
        obj: JsonObject = {"namespace": namespace, "device": device, "property": prop, **held}
        rows.append(Row(cells=cells, obj=obj, name=f"device/{device}/{prop}"))
    return Listing(titles=("PROPERTY", "VALUE", "UNIT", "QUALITY", "AGE", "FROM", "RAW", "REASON"), rows=tuple(rows))


def _of_twin(client: Client, place: str, name: str, wanted: Sequence[str]) -> Listing:
    twin = find_twin(client, place, name)
    views = [view_of(twin, prop) for prop in wanted] if wanted else twin.views
    now_ms = time.time() * 1000
    rows = tuple(
        Row(
            cells=(
                view.prop,
                view.reported if view.reported is not None else "-",
                view.unit or "-",
                view.quality,
                age_text(round(now_ms - view.source_ms)) if view.source_ms else "never",
                "twin",
                "-",
                view.reason,
            ),
            obj=value_object(name, namespace_of(twin.device), view) | {"from": "twin"},
            name=f"device/{name}/{view.prop}",
        )
        for view in views
    )
    return Listing(titles=("PROPERTY", "VALUE", "UNIT", "QUALITY", "AGE", "FROM", "RAW", "REASON"), rows=rows)


def raw_text(raw: JsonObject) -> str:
    """`0x3333 0x41BB` of registers, the payload of a message."""
    words = list_at(raw, "words")
    if words:
        return " ".join(f"0x{word:04X}" for word in words if isinstance(word, int))
    shown: Json = raw.get("payload", raw.get("value"))
    return str(shown) if shown is not None else "-"


def check_read(name: str, listing: Listing) -> None:
    """Raises `DeadlineError` and `UnavailableError` where something has no value: scripts look at the exit code."""
    empty = [row.obj for row in listing.rows if dig(row.obj, "value") is None]
    if not empty:
        return
    said = "; ".join(f"{str_at(obj, 'property')}: {str_at(obj, 'reason') or 'no value yet'}" for obj in empty)
    first = f"{name}/{str_at(empty[0], 'property')}"
    message = f"no value of {name}: {said}; `skerry device why {first}` says more"
    raise DeadlineError(message) if all(bool_at(obj, "late") for obj in empty) else UnavailableError(message)
