"""`skerry node traffic`: bytes on the links of gateways, from the cloud's book or from the gateway's own."""

from __future__ import annotations

import time

import click

from skerry.cli.backlog import NODES, backlog
from skerry.cli.client import Client, path_of
from skerry.cli.gateway_acts import local_changes
from skerry.cli.logs import seconds_of
from skerry.cli.node_doctor import node_doctor
from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.bandwidth import bandwidth_text
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.objects.times import time_text
from skerry.objects.traffic import CLASSES, HOUR_MS, TrafficBook, Usage, size_text, whole_since


@click.group("node")
def node() -> None:
    """Nodes and their links."""


node.add_command(backlog)
node.add_command(local_changes)
node.add_command(node_doctor)


@node.command("traffic")
@click.argument("name", required=False, default="")
@click.option("--since", default="1d", help="Of how long: 1h, 1d, 30d.")
@click.option("-o", "--output", "form", default="table", help="table, wide, json or yaml.")
@with_target
def traffic(target: Target, name: str, since: str, form: str) -> None:
    """Show how many bytes gateways took and gave; with NAME, by class. Up is from the gateway to the cloud.

    FRAMES are what Skerry says, ON THE NETWORK is what the link carried for it: TLS, TCP and IP included. CAP is what
    it may carry now, up and down, by the annotation skerry.dev/bandwidth and (asked on the gateway) its own setting.
    Books have whole hours, and whole days where it is more than three ago. A DAY is reckoned from the time that the
    figures are of, an hour at least. A node that was deleted still shows its past where NAME is given.
    """
    if form not in ("table", "wide", "json", "yaml"):
        raise BadRequestError(f"-o {form}: use one of table, wide, json, yaml")
    span_s = seconds_of(since)
    if span_s < HOUR_MS // 1000:
        raise BadRequestError(f"--since {since}: the books have whole hours; write 1h or more")
    client = target.client()
    now_ms = round(time.time() * 1000)
    books = _books(client, name, now_ms - span_s * 1000)
    if form in ("json", "yaml"):
        items: list[Json] = [*books.values()]
        print_data(items[0] if len(items) == 1 else {"kind": "List", "apiVersion": "v1", "items": items}, form)
        return
    told = {each: _told(book, now_ms - span_s * 1000, now_ms) for each, book in books.items()}
    if len(told) == 1 and (name or client.local):
        ((each, only),) = told.items()
        _print_classes(each, only)
        _print_cap(map_at(books[each], "bandwidth"))
    elif told:
        say(f"since {min(each.since for each in told.values())}", err=True)
        caps = {each: map_at(book, "bandwidth") for each, book in books.items()}
        _print_nodes(told, caps, wide=form == "wide")
    else:
        say("No nodes found.", err=True)


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


class _Told(Frozen):
    """What is said of one node."""

    usage: Usage
    since: str
    """Where the first hour or day begins that counts."""
    covered_s: int
    """How long that is, the time before the node was known left out."""

    @property
    def a_day(self) -> str:
        """What it makes a day, where it is of an hour or more: of less, nobody can tell."""
        return size_text(round(self.usage.wire * 86_400 / self.covered_s)) if self.covered_s >= 3600 else "-"


def _told(book: JsonObject, since_ms: int, now_ms: int) -> _Told:
    """As the server added it up; a gateway leaves that to its readers."""
    if "total" in book:
        usage = Usage.read(map_at(book, "total"))
        return _Told(usage=usage, since=str_at(book, "since"), covered_s=int_at(book, "coveredSeconds"))
    read = TrafficBook.read(book)
    since_ms = whole_since(since_ms, now_ms)
    first_ms = now_ms if read.begin_ms is None else read.begin_ms
    covered_s = max(0, now_ms - max(since_ms, first_ms)) // 1000
    return _Told(usage=read.since(since_ms), since=time_text(since_ms), covered_s=covered_s)


def _print_classes(name: str, told: _Told) -> None:
    usage = told.usage
    say(f"{name}, since {told.since}")
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
        say(f"cap: {line}")
        say(f"plan: {str_at(bandwidth, 'plan')}")
    if wrong := str_at(bandwidth, "invalid"):
        say(f"not in force: {wrong}", fg="yellow")


def _cap_text(bandwidth: JsonObject) -> str:
    return f"{str_at(bandwidth, 'up')}/{str_at(bandwidth, 'down')}" if "up" in bandwidth else "-"


def _print_nodes(told: dict[str, _Told], caps: dict[str, JsonObject], *, wide: bool) -> None:
    headers = ["NODE", "UP", "DOWN", "TOTAL", "A DAY", "CAP"]
    if wide:
        headers += [each.upper() for each in CLASSES]
    rows: list[list[str]] = []
    for name, each_told in told.items():
        usage = each_told.usage
        row = [name, size_text(usage.wire_up), size_text(usage.wire_down), size_text(usage.wire)]
        row.append(each_told.a_day)
        row.append(_cap_text(caps[name]))
        if wide:
            row += [size_text(usage.up.get(each, 0) + usage.down.get(each, 0)) for each in CLASSES]
        rows.append(row)
    print_table(headers, rows)
