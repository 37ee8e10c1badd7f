"""`skerry node traffic`: bytes on the links of gateways, from the cloud's book or from the gateway's own."""

from __future__ import annotations

import time

import click

from skerry.cli.backlog import NODES, backlog
from skerry.cli.client import Client, path_of
from skerry.cli.logs import seconds_of
from skerry.cli.output import print_data, print_table
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.objects.bandwidth import bandwidth_text
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.objects.times import time_text
from skerry.objects.traffic import CLASSES, TrafficBook, Usage, size_text


@click.group("node")
def node() -> None:
    """Nodes and their links."""


node.add_command(backlog)


@node.command("traffic")
@click.argument("name", required=False, default="")
@click.option("--since", default="1d", help="Of how long: 1h, 1d, 30d.")
@click.option("-o", "--output", "form", default="table", help="table, wide, json or yaml.")
@with_target
def traffic(target: Target, name: str, since: str, form: str) -> None:
    """Show how many bytes gateways took and gave; with NAME, by class. Up is from the gateway to the cloud.

    FRAMES are what Skerry says, ON THE NETWORK is what the link carried for it: TLS, TCP and IP included. CAP is what
    it may carry now, up and down, by the annotation skerry.dev/bandwidth and (asked on the gateway) its own setting.
    """
    if form not in ("table", "wide", "json", "yaml"):
        raise BadRequestError(f"-o {form}: use one of table, wide, json, yaml")
    client = target.client()
    span_s = seconds_of(since)
    since_ms = round(time.time() * 1000) - span_s * 1000
    books = _books(client, name, since_ms)
    if form in ("json", "yaml"):
        items: list[Json] = [*books.values()]
        print_data(items[0] if len(items) == 1 else {"kind": "List", "apiVersion": "v1", "items": items}, form)
        return
    totals = {each: _total(book, since_ms) for each, book in books.items()}
    if len(totals) == 1 and (name or client.local):
        ((each, usage),) = totals.items()
        _print_classes(each, usage, since)
        _print_cap(map_at(books[each], "bandwidth"))
    elif totals:
        caps = {each: map_at(book, "bandwidth") for each, book in books.items()}
        _print_nodes(totals, caps, span_s, wide=form == "wide")
    else:
        click.echo("No nodes found.", err=True)


def _books(client: Client, name: str, since_ms: int) -> dict[str, JsonObject]:
    if client.local:
        book = client.request("GET", "/skerry/traffic").obj
        here = str_at(book, "metadata", "name")
        if name and name != here:
            raise BadRequestError(f"this gateway is {here}; ask the cloud about {name}")
        return {here: book}
    query = {"sinceTime": time_text(since_ms)}
    names = [name] if name else [name_of(obj) for obj in maps_at(client.request("GET", path_of(NODES)).obj, "items")]
    return {
        each: client.request("GET", path_of(NODES, "", each, "traffic"), query=query).obj for each in sorted(names)
    }


def _total(book: JsonObject, since_ms: int) -> Usage:
    """As the server added it up; a gateway leaves that to its readers."""
    return Usage.read(map_at(book, "total")) if "total" in book else TrafficBook.read(book).since(since_ms)


def _print_classes(name: str, usage: Usage, since: str) -> None:
    click.echo(f"{name}, the last {since}")
    rows = [
        [each, size_text(usage.up.get(each, 0)), size_text(usage.down.get(each, 0))]
        for each in CLASSES
        if usage.up.get(each) or usage.down.get(each)
    ]
    rows.append(["frames", size_text(sum(usage.up.values())), size_text(sum(usage.down.values()))])
    rows.append(["on the network", size_text(usage.wire_up), size_text(usage.wire_down)])
    print_table(["CLASS", "UP", "DOWN"], rows)


def _print_cap(bandwidth: JsonObject) -> None:
    if line := bandwidth_text(bandwidth):
        click.echo(f"cap: {line}")
        click.echo(f"plan: {str_at(bandwidth, 'plan')}")
    if wrong := str_at(bandwidth, "invalid"):
        click.secho(f"not in force: {wrong}", fg="yellow")


def _cap_text(bandwidth: JsonObject) -> str:
    return f"{str_at(bandwidth, 'up')}/{str_at(bandwidth, 'down')}" if "up" in bandwidth else "-"


def _print_nodes(totals: dict[str, Usage], caps: dict[str, JsonObject], span_s: int, *, wide: bool) -> None:
    headers = ["NODE", "UP", "DOWN", "TOTAL", "A DAY", "CAP"]
    if wide:
        headers += [each.upper() for each in CLASSES]
    rows: list[list[str]] = []
    for name, usage in totals.items():
        row = [name, size_text(usage.wire_up), size_text(usage.wire_down), size_text(usage.wire)]
        row.append(size_text(round(usage.wire * 86_400 / span_s)))
        row.append(_cap_text(caps[name]))
        if wide:
            row += [size_text(usage.up.get(each, 0) + usage.down.get(each, 0)) for each in CLASSES]
        rows.append(row)
    print_table(headers, rows)
