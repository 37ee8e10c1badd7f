"""`skerry node backlog`: what waits to come up from gateways, as the cloud was told or as the gateway counts it."""

from __future__ import annotations

import time
from typing import Final

import click

from skerry.cli.client import Client, path_of
from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.objects.reports import BACKLOG
from skerry.objects.scheme import Kind
from skerry.objects.times import human_duration, ms_at
from skerry.objects.traffic import size_text

NODES: Final = Kind(group="", version="v1", kind="Node", plural="nodes", namespaced=False)


@click.command("backlog")
@click.argument("name", required=False, default="")
@click.option("-o", "--output", "form", default="table", help="table, json or yaml.")
@with_target
def backlog(target: Target, name: str, form: str) -> None:
    """Show what waits on gateways to be told to the cloud, since when, and what had to be dropped.

    From the cloud: as each gateway said last, in steps, and nothing while reports arrive. With --data, on a gateway:
    exact, by class, link or no link.
    """
    if form not in ("table", "json", "yaml"):
        raise BadRequestError(f"-o {form}: use one of table, json, yaml")
    client = target.client()
    if client.local:
        _here(client, name, form)
        return
    shown = [backlog_told(obj) for obj in nodes_named(client, name)]
    if form != "table":
        items: list[Json] = [*shown]
        print_data(items[0] if name else {"kind": "List", "apiVersion": "v1", "items": items}, form)
    elif shown:
        rows = [[str_at(each, part) for part in ("node", "waits", "since", "message")] for each in shown]
        now_ms = round(time.time() * 1000)
        for row in rows:
            row[2] = human_duration((now_ms - ms_at(row[2])) / 1000) if row[2] else "<unknown>"
        print_table(["NODE", "WAITS", "SINCE", "WHAT"], rows)
    else:
        say("No nodes found.", err=True)


def nodes_named(client: Client, name: str) -> list[JsonObject]:
    """The Node of that name, or all."""
    if name:
        return [client.request("GET", path_of(NODES, "", name)).obj]
    return sorted(maps_at(client.request("GET", path_of(NODES)).obj, "items"), key=name_of)


def backlog_told(node: JsonObject) -> JsonObject:
    """What waits on it, as it said last. A gateway that is not heard may have told something else long ago."""
    condition = condition_of(node, BACKLOG)
    silent = str_at(condition_of(node, "Ready"), "status") == "Unknown"
    return {
        "node": name_of(node),
        "waits": "Unknown" if silent else str_at(condition, "status", default="Unknown"),
        "since": str_at(condition, "lastTransitionTime"),
        "message": f"not heard; said last: {str_at(condition, 'message')}"
        if silent
        else str_at(condition, "message"),
    }


def dropped_shown(gap: JsonObject | None) -> str:
    """How many reports of a class were dropped; nobody may know all of them."""
    total = int_at(gap, "total")
    if not bool_at(gap, "unknown"):
        return str(total)
    return f"at least {total}" if total else "unknown"


def _here(client: Client, name: str, form: str) -> None:
    status = client.request("GET", "/skerry/status").obj
    here, outbox = str_at(status, "node"), map_at(status, "outbox")
    if name and name != here:
        raise BadRequestError(f"this gateway is {here}; ask the cloud about {name}")
    kept = kept_writes(client)
    if form != "table":
        print_data({"node": here, **outbox, "keptWrites": [*kept]}, form)
        return
    waits = {str_at(each, "class"): each for each in maps_at(outbox, "waiting")}
    gaps = {str_at(each, "class"): each for each in maps_at(outbox, "gaps")}
    rows = [
        [
            each,
            str(int_at(waits.get(each), "reports")),
            size_text(int_at(waits.get(each), "bytes")),
            str_at(waits.get(each), "since", default="-"),
            dropped_shown(gaps.get(each)),
        ]
        for each in sorted({*waits, *gaps})
    ]
    if rows:
        print_table(["CLASS", "REPORTS", "SIZE", "SINCE", "DROPPED"], rows)
    else:
        say(f"{here}: nothing waits for the cloud, and nothing was dropped.")
    if kept:
        say("\nWritten here by applications while there was no link:")
        parts = ("time", "by", "kind", "target", "what")
        print_table([part.upper() for part in parts], [[str_at(row, part) for part in parts] for row in kept])


def kept_writes(client: Client) -> list[JsonObject]:
    """What applications wrote at this gateway that the cloud has not taken yet; nothing from an older agent."""
    try:
        return maps_at(client.request("GET", "/skerry/kept-writes").obj, "items")
    except NotFoundError:
        return []
