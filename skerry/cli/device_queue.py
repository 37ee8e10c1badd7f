"""`skerry device queue`: what waits on a gateway for the cloud, how fast it goes, and what had to be dropped and why.

On the gateway the figures are its outbox's own, by class. In the cloud they are what it said last (a condition of its
Node), and holes are those of the histories of its devices. Nothing is sent earlier or thrown away by looking.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

import click

from skerry.cli.backlog import backlog_told, dropped_shown, nodes_named
from skerry.cli.client import Client
from skerry.cli.device_history import moment, read_rows
from skerry.cli.device_objects import (
    complete_places,
    fields_option,
    find_model,
    find_twin,
    output_option,
    property_names,
    split_name,
    view_of,
)
from skerry.cli.listing import Listing, Row, check_listed, fields_of, print_listing
from skerry.cli.logs import seconds_of
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.target import DeadlineError, QueuedError, Target, with_target
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.times import human_duration, ms_at
from skerry.objects.traffic import size_text

CLASSES: Final = ("alarm", "state", "event", "telemetry", "log")
_LOOK_S: Final = 0.5
_TOLD_S: Final = 5.0
"""How often a wait says how far it is."""
_REASONS: Final = {
    "expired": "their time was over before the cloud could be told",
    "forRoom": "the disk was nearly full",
    "damaged": "the store's file was damaged",
}


class Sample(Frozen):
    """What a gateway says of its outbox, and when it was asked."""

    at_s: float
    status: JsonObject

    @property
    def waiting(self) -> dict[str, JsonObject]:
        return {str_at(each, "class"): each for each in maps_at(self.status, "outbox", "waiting")}

    @property
    def gaps(self) -> dict[str, JsonObject]:
        return {str_at(each, "class"): each for each in maps_at(self.status, "outbox", "gaps")}

    @property
    def pushes(self) -> dict[str, JsonObject]:
        """By device, property, place and method."""
        found = maps_at(self.status, "pushes")
        return {
            f"{str_at(each, 'namespace')}/{str_at(each, 'device')} {str_at(each, 'property')} "
            f"to {str_at(each, 'place')} ({str_at(each, 'method')})": each
            for each in found
        }

    @property
    def reports(self) -> int:
        return sum(int_at(each, "reports") for each in self.waiting.values())


@click.group("queue")
def queue() -> None:
    """What waits on gateways for the cloud, and what was lost."""


@queue.command("status")
@click.argument("node", required=False, default="")
@click.option("--sample", default="2s", show_default=True, help="Look twice, so far apart, to tell how fast it goes.")
@output_option()
@fields_option
@with_target
def status(target: Target, node: str, sample: str, form: str, fields: str) -> None:
    """Show what waits: on a gateway by class, with bytes, the oldest and how fast it grows or goes; in the cloud what
    each gateway said last."""
    check_listed(form)
    client = target.client()
    if not client.local:
        listing = nodes_listed([backlog_told(obj) for obj in nodes_named(client, node)], time.time() * 1000)
        print_listing(listing, form, fields_of(fields), empty="No nodes found.")
        return
    first = _sample(client, node)
    apart_s = seconds_of(sample)
    if apart_s:
        time.sleep(apart_s)
    listing = classes_listed(first, _sample(client, node))
    print_listing(listing, form, fields_of(fields), empty="Nothing waits, and nothing was dropped.")


def _sample(client: Client, node: str) -> Sample:
    found = client.request("GET", "/skerry/status").obj
    here = str_at(found, "node")
    if node and node != here:
        raise BadRequestError(f"this gateway is {here}; ask the cloud about {node}")
    return Sample(at_s=time.monotonic(), status=found)


def nodes_listed(told: Sequence[JsonObject], now_ms: float) -> Listing:
    """One row a gateway."""
    rows = tuple(
        Row(
            cells=(
                str_at(each, "node"),
                str_at(each, "waits"),
                human_duration((now_ms - ms_at(str_at(each, "since"))) / 1000) if str_at(each, "since") else "-",
                str_at(each, "message") or "-",
            ),
            obj=each,
            name=f"node/{str_at(each, 'node')}",
        )
        for each in told
    )
    return Listing(titles=("NODE", "WAITS", "SINCE", "WHAT"), rows=rows)


def classes_listed(first: Sample, last: Sample) -> Listing:
    """One row a class of reports of which any wait, or were dropped."""
    before, now, gaps = first.waiting, last.waiting, last.gaps
    names = sorted({*before, *now, *gaps}, key=lambda name: (CLASSES.index(name) if name in CLASSES else 9, name))
    rows: list[Row] = []
    for name in names:
        held = now.get(name)
        rate = _rate(before.get(name), held, last.at_s - first.at_s)
        oldest = str_at(held, "since")
        age = human_duration(int_at(held, "ageMs") / 1000) if held is not None else "-"
        cells = (
            name,
            str(int_at(held, "reports")),
            size_text(int_at(held, "bytes")),
            age,
            f"{rate:+.1f}/s" if rate else "-",
            dropped_shown(gaps.get(name)),
            "-",
        )
        obj: JsonObject = {
            "node": str_at(last.status, "node"),
            "class": name,
            "reports": int_at(held, "reports"),
            "bytes": int_at(held, "bytes"),
            "oldest": oldest or None,
            "perSecond": round(rate, 3),
            "dropped": int_at(gaps.get(name), "total"),
        }
        rows.append(Row(cells=cells, obj=obj, name=f"queue/{name}"))
    rows += _pushes_listed(first, last)
    return Listing(titles=("CLASS", "WAITING", "SIZE", "OLDEST", "RATE", "DROPPED", "FAILS"), rows=tuple(rows))


def _pushes_listed(first: Sample, last: Sample) -> list[Row]:
    """One row for each place to which readings of a device are pushed, and wait or were dropped."""
    before, rows = first.pushes, list[Row]()
    for name, held in last.pushes.items():
        rate = _growth(int_at(before.get(name), "waiting"), int_at(held, "waiting"), last.at_s - first.at_s)
        cells = (
            f"push of {name}",
            str(int_at(held, "waiting")),
            size_text(int_at(held, "bytes")),
            "-",
            f"{rate:+.1f}/s" if rate else "-",
            str(int_at(held, "dropped")),
            str_at(held, "reason") or "-",
        )
        obj: JsonObject = {"node": str_at(last.status, "node"), "class": "push", **held, "perSecond": round(rate, 3)}
        rows.append(Row(cells=cells, obj=obj, name=f"queue/push/{name}"))
    return rows


def _rate(before: JsonObject | None, now: JsonObject | None, apart_s: float) -> float:
    """Reports a second by which it grows."""
    return _growth(int_at(before, "reports"), int_at(now, "reports"), apart_s)


def _growth(before: int, now: int, apart_s: float) -> float:
    return (now - before) / apart_s if apart_s > 0 else 0.0


# --- holes ------------------------------------------------------------------------------------------------


@queue.command("gaps")
@click.argument("name", metavar="[NAME[/PROP]]", required=False, default="", shell_complete=complete_places)
@namespace_option
@click.option("--since", default="24h", show_default=True, help="In the cloud: holes no older than this.")
@output_option("text", "text, table, wide, json, yaml, jsonl, csv or name")
@fields_option
@with_target
def gaps(target: Target, name: str, namespace: str, since: str, form: str, fields: str) -> None:
    """Say what had to be dropped, from when to when, and why: on a gateway by class; in the cloud, of NAME, by
    property, from its history."""
    if form != "text":
        check_listed(form)
    client = target.client()
    if client.local:
        if name:
            raise BadRequestError(
                "on a gateway, holes are counted by class: leave NAME out, or ask with --kubeconfig"
            )
        found = _sample(client, "")
        told = [class_gap(each, str_at(found.status, "node")) for each in found.gaps.values()]
    else:
        if not name:
            raise BadRequestError(
                "in the cloud, holes are in the history of a device: name it, as in `skerry device queue gaps boiler`"
            )
        told = _device_gaps(client, namespace or client.namespace, name, since)
    listing = gaps_listed([gap for gap in told if int_at(gap, "dropped") or bool_at(gap, "unknown")])
    if form == "text" and not fields:
        for row in listing.rows:
            say(sentence(row.obj))
        if not listing.rows:
            say("Nothing was dropped.", err=True)
        return
    print_listing(listing, "table" if form == "text" else form, fields_of(fields), empty="Nothing was dropped.")


def class_gap(gap: JsonObject, node: str) -> JsonObject:
    """What a gateway says of a class, with why in words."""
    counts: dict[str, int] = {field: int_at(gap, field) for field in _REASONS}
    dropped = int_at(gap, "dropped")
    full = dropped - sum(counts.values())
    why = [
        f"{_REASONS[field]}" + (f" ({count})" if count < dropped else "") for field, count in counts.items() if count
    ]
    if full > 0:
        why.append("the class had used up its room" + (f" ({full})" if full < dropped else ""))
    return {
        "stream": str_at(gap, "class"),
        "node": node,
        "dropped": dropped,
        "total": int_at(gap, "total"),
        "unknown": bool_at(gap, "unknown"),
        "from": str_at(gap, "from"),
        "to": str_at(gap, "to"),
        "why": ", ".join(why) or "nobody knows",
    }


def _device_gaps(client: Client, place: str, name: str, since: str) -> list[JsonObject]:
    name, prop = split_name(name)
    twin = find_twin(client, place, name)
    if prop:
        view_of(twin, prop)
    names = [prop] if prop else property_names(twin.device, find_model(client, place, twin.device))
    now_ms = round(time.time() * 1000)
    found: list[JsonObject] = []
    for each in names:
        rows = read_rows(client, place, name, each, moment(since, now_ms), now_ms, None)
        found += series_gaps(f"{name}/{each}", rows)
    return found


def series_gaps(stream: str, rows: Sequence[JsonObject]) -> list[JsonObject]:
    """The holes in a history, each once: a later row of the same hole stands for the earlier ones."""
    latest: dict[tuple[str, str, str], JsonObject] = {}
    for row in rows:
        gap = map_at(row, "gap")
        if not gap:
            continue
        key = (str_at(row, "node"), str_at(gap, "life"), str(gap.get("id")))
        if key not in latest or int_at(gap, "count") >= int_at(latest[key], "gap", "count"):
            latest[key] = row
    return [
        {
            "stream": stream,
            "node": str_at(row, "node"),
            "dropped": int_at(row, "gap", "count"),
            "from": str_at(row, "gap", "from"),
            "to": str_at(row, "gap", "to"),
            "why": "the gateway had to drop them before the cloud had them",
        }
        for row in latest.values()
    ]


def gaps_listed(told: Sequence[JsonObject]) -> Listing:
    """One row a hole."""
    fields = ("stream", "node", "dropped", "from", "to", "why")
    rows = tuple(
        Row(
            cells=tuple(_number(gap) if field == "dropped" else str_at(gap, field) or "-" for field in fields),
            obj=gap,
            name=f"gap/{str_at(gap, 'stream')}",
        )
        for gap in told
    )
    return Listing(titles=tuple(field.upper() for field in fields), rows=rows, wide=frozenset({"NODE"}))


def _number(gap: JsonObject) -> str:
    count = f"{int_at(gap, 'dropped'):,}"
    return f"at least {count}" if bool_at(gap, "unknown") else count


def sentence(gap: Mapping[str, object]) -> str:
    """`telemetry: 4,812 dropped, 2026-11-28T03:00:00Z to 2026-11-28T07:10:00Z: the class had used up its room`."""
    obj: JsonObject = {name: value for name, value in gap.items() if isinstance(value, str | int | bool)}
    total = int_at(obj, "total")
    more = f"; {total:,} since the outbox was made" if total > int_at(obj, "dropped") else ""
    span = f"{str_at(obj, 'from')} to {str_at(obj, 'to')}" if str_at(obj, "from") else "at an unknown time"
    return f"{str_at(obj, 'stream')}: {_number(obj)} dropped, {span}, because {str_at(obj, 'why')}{more}"


# --- waiting until it is empty ----------------------------------------------------------------------------


@queue.command("drain")
@click.argument("node", required=False, default="")
@click.option("--timeout", default="5m", show_default=True, help="How long to wait.")
@click.option("--below", type=click.IntRange(0), default=0, help="On a gateway: until no more than this wait.")
@with_target
def drain(target: Target, node: str, timeout: str, below: int) -> None:
    """Wait until what waited for the cloud is there: before a gateway is switched off, say.

    On a gateway what is written meanwhile does not count: it waits for what waits now. Exit codes: 6 not in time, 7
    the gateway is out of reach of the cloud (what waits stays, and goes up by itself when it is back).
    """
    client = target.client()
    until_s = time.monotonic() + seconds_of(timeout)
    if client.local:
        _drain_here(client, node, until_s, below)
        return
    if not node:
        raise BadRequestError("name the gateway: skerry device queue drain NODE")
    while True:
        told = backlog_told(nodes_named(client, node)[0])
        if str_at(told, "waits") == "False":
            say(f"{node}: nothing waits long")
            return
        if str_at(told, "waits") == "Unknown":
            raise QueuedError(f"{node} is {str_at(told, 'message') or 'not heard'}")
        if time.monotonic() >= until_s:
            raise DeadlineError(f"{node}: {str_at(told, 'message')} after {timeout}; it goes on by itself")
        time.sleep(_LOOK_S)


def _drain_here(client: Client, node: str, until_s: float, below: int) -> None:
    began_s = said_s = time.monotonic()
    while True:
        now = _sample(client, node)
        left, link = left_of(now, began_s), map_at(now.status, "link")
        if left <= below and (not left or now.reports <= below):
            here = str_at(now.status, "node")
            say(f"{here}: {left} wait" if left else f"{here}: all that waited is in the cloud")
            return
        if bool_at(link, "cut"):
            raise QueuedError(f"{left} wait, and the link is cut by hand: `skerry link heal` brings it back")
        if str_at(link, "state") != "connected":
            why = str_at(link, "lastError") or str_at(link, "state")
            raise QueuedError(f"{left} wait, and the cloud is out of reach ({why}); they go up when it is back")
        if time.monotonic() >= until_s:
            raise DeadlineError(f"{left} still wait; they go on by themselves")
        if time.monotonic() - said_s >= _TOLD_S:
            said_s = time.monotonic()
            say(f"  {left} wait", err=True)
        time.sleep(_LOOK_S)


def left_of(now: Sample, began_s: float) -> int:
    """How many wait, at most, in classes of which the oldest was written before the wait began; of a class whose
    oldest is younger, all that waited then has gone."""
    return sum(
        int_at(each, "reports")
        for each in now.waiting.values()
        if "ageMs" not in each or int_at(each, "ageMs") > (now.at_s - began_s) * 1000
    )
