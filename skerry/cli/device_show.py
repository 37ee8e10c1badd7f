"""`skerry device list|get|describe|events|watch`: devices as they are known to the cloud, or to their gateway."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Final

import click

from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import (
    Twin,
    complete_devices,
    complete_places,
    complete_properties,
    fields_option,
    find_model,
    find_twin,
    find_twins,
    output_option,
    split_name,
    status_events,
    view_of,
)
from skerry.cli.listing import Listing, Row, check_listed, fields_of, print_listing
from skerry.cli.options import everywhere_option, namespace_option
from skerry.cli.output import joined, one_line, print_csv, print_data, say, styled
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.device_models import is_writable, properties_in
from skerry.objects.device_twins import TwinView, twin_views
from skerry.objects.json import JsonObject, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.objects.scheme import Kind
from skerry.objects.times import human_duration, micro_time_text, ms_at
from skerry.objects.twins import same_value

_EVENTS: Final = Kind(group="", version="v1", kind="Event", plural="events", namespaced=True)
_WATCHED: Final = ("text", "jsonl", "csv")
_WIDE: Final = 110
"""Columns of a terminal in which all of a property fits on a line."""
_SAME: Final = 0.01
"""Of what is wanted: within this a reading may differ by the device's resolution, or the tolerance of its twin."""


@click.command("list")
@namespace_option
@everywhere_option
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@click.option("--node", default="", help="Only those of this node's gateway.")
@click.option("--state", default="", help="Only those that are online, offline, invalid or held.")
@output_option()
@fields_option
@with_target
def list_devices(
    target: Target,
    namespace: str,
    all_namespaces: bool,
    selector: str,
    node: str,
    state: str,
    form: str,
    fields: str,
) -> None:
    """List devices with their state and current values."""
    check_listed(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    twins = find_twins(client, place, selector, f"spec.nodeName={node}" if node else "")
    listing = devices_listed([twin for twin in twins if state in ("", twin.state)], time.time() * 1000)
    where = "" if all_namespaces else f" in namespace {place}"
    if not all_namespaces:
        listing = listing.without("NAMESPACE")
    print_listing(listing, form, fields_of(fields), empty=f"No devices found{where}.")


def devices_listed(twins: list[Twin], now_ms: float) -> Listing:
    """One row a device."""
    titles = ("NAMESPACE", "NAME", "NODE", "PROTOCOL", "MODEL", "STATE", "ONLINE", "VALUES")
    rows = tuple(
        Row(cells=_device_cells(twin, now_ms), obj=twin.shown(), name=f"device/{name_of(twin.device)}")
        for twin in twins
    )
    return Listing(titles=titles, rows=rows, wide=frozenset({"MODEL", "ONLINE"}))


def _device_cells(twin: Twin, now_ms: float) -> tuple[str, ...]:
    obj = twin.device
    online = str_at(twin.status, "status", "lastOnlineTime")
    return (
        namespace_of(obj),
        name_of(obj),
        str_at(obj, "spec", "nodeName") or "<none>",
        str_at(obj, "spec", "protocol", "protocolName") or "<none>",
        str_at(obj, "spec", "deviceModelRef", "name") or "<none>",
        twin.state,
        f"{human_duration((now_ms - ms_at(online)) / 1000)} ago" if online else "<never>",
        " ".join(f"{view.prop}={value_shown(view)}{_pending(view)}" for view in twin.views) or "<none>",
    )


@click.command("get")
@click.argument("name", shell_complete=complete_places)
@click.argument("prop", required=False, default="", shell_complete=complete_properties)
@namespace_option
@output_option()
@fields_option
@with_target
def get(target: Target, name: str, prop: str, namespace: str, form: str, fields: str) -> None:
    """Show the values of one device; with PROP (or NAME/PROP), that value alone, for scripts.

    JSON and YAML are of the Device; the other forms have a row a property.
    """
    check_listed(form)
    name, named = split_name(name)
    prop = prop or named
    client = target.client()
    twin = find_twin(client, namespace or client.namespace, name)
    if prop and form == "table" and not fields:
        view = view_of(twin, prop)
        if view.reported is None:
            raise UnavailableError(
                f"{name}/{prop} has no value: {view.reason or 'nothing was reported yet'}; "
                f"`skerry device why {name}/{prop}` says more"
            )
        say(view.reported)
        return
    if form in ("json", "yaml") and not prop and not fields:
        print_data(twin.shown(), form)
    elif form == "name" and not prop:
        say(f"device/{name}")
    else:
        views = [view_of(twin, prop)] if prop else twin.views
        listing = values_listed(name, namespace_of(twin.device), views, time.time() * 1000)
        print_listing(listing, form, fields_of(fields), empty=f"{name} has no properties.", one=bool(prop))


def values_listed(name: str, namespace: str, views: list[TwinView], now_ms: float) -> Listing:
    """One row a property."""
    titles = ("PROPERTY", "REPORTED", "UNIT", "QUALITY", "AGE", "DESIRED", "BY", "VERSION", "ACK", "REASON")
    rows = tuple(
        Row(
            cells=_value_cells(view, now_ms),
            obj=value_object(name, namespace, view),
            name=f"device/{name}/{view.prop}",
        )
        for view in views
    )
    return Listing(titles=titles, rows=rows, wide=frozenset({"BY", "VERSION"}))


def _value_cells(view: TwinView, now_ms: float) -> tuple[str, ...]:
    return (
        view.prop,
        view.reported if view.reported is not None else "-",
        view.unit or "-",
        view.quality,
        human_duration((now_ms - view.source_ms) / 1000) if view.source_ms else "never",
        view.desired.value if view.desired else "-",
        (view.desired.origin or "-") if view.desired else "-",
        str(view.desired.ver) if view.desired else "-",
        *ack_shown(view),
    )


def value_object(name: str, namespace: str, view: TwinView) -> JsonObject:
    """One property for programs; what is not known is left out."""
    obj: JsonObject = {
        "namespace": namespace,
        "device": name,
        "property": view.prop,
        "value": view.reported,
        "unit": view.unit,
        "type": view.type,
        "quality": view.quality,
        "reason": view.reason,
        "time": micro_time_text(view.source_ms) if view.source_ms else "",
    }
    if view.desired is not None:
        obj["desired"] = view.desired.value
        obj["by"] = view.desired.origin
        obj["version"] = str(view.desired.ver)
        obj["ack"] = view.ack_state
        obj["ackReason"] = view.ack_reason
    return {key: value for key, value in obj.items() if value not in ("", None)} | {"value": view.reported}


@click.command("describe")
@click.argument("name", shell_complete=complete_devices)
@namespace_option
@with_target
def describe(target: Target, name: str, namespace: str) -> None:
    """Show one device in full: where it is, how it is reached, each property and what became of what was wanted."""
    client = target.client()
    place = namespace or client.namespace
    twin = find_twin(client, place, name)
    for line in _head_lines(twin):
        say(line)
    say()
    listing = values_listed(name, place, twin.views, time.time() * 1000)
    wide = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= _WIDE
    print_listing(listing, "wide" if wide else "table", empty="No properties.")
    model = find_model(client, place, twin.device)
    if properties_in(model):
        say()
        print_listing(model_listed(model), "table")
    for line in _rest_lines(twin):
        say(line)
    if not client.local:
        say("\nEvents:")
        for line in _event_lines(client, twin.device) or ["  <none>"]:
            say(line)


def _head_lines(twin: Twin) -> Iterator[str]:
    obj = twin.device
    reason = f" ({twin.state_reason})" if twin.state_reason else ""
    yield f"Name:        {name_of(obj)}"
    yield f"Namespace:   {namespace_of(obj)}"
    labels = str_map_at(obj, "metadata", "labels")
    yield f"Labels:      {', '.join(f'{key}={value}' for key, value in labels.items()) or '<none>'}"
    yield f"Node:        {str_at(obj, 'spec', 'nodeName') or '<none>'}"
    yield f"Model:       {str_at(obj, 'spec', 'deviceModelRef', 'name') or '<none>'}"
    yield f"Protocol:    {str_at(obj, 'spec', 'protocol', 'protocolName') or '<none>'}"
    yield from (f"  {line}" for line in config_lines(map_at(obj, "spec", "protocol", "configData")))
    yield f"State:       {twin.state}{reason}"
    yield f"Last online: {str_at(twin.status, 'status', 'lastOnlineTime') or '<never>'}"


def model_listed(model: JsonObject) -> Listing:
    """One row a property."""
    rows: list[Row] = []
    for name, prop in properties_in(model).items():
        data = map_at(prop, "visitors", "configData")
        low, high = (str_at(prop, bound) or "-" for bound in ("minimum", "maximum"))
        bounds = f"{low} to {high}" if (low, high) != ("-", "-") else "-"
        where = " ".join(
            f"{key}={json.dumps(value) if not isinstance(value, str) else value}"
            for key, value in data.items()
            if key != "twin"
        )
        access = "read, write" if is_writable(prop) else "read"
        rows.append(
            Row(
                cells=(name, str_at(prop, "type"), access, str_at(prop, "unit") or "-", bounds, where or "-"),
                obj=prop,
            )
        )
    return Listing(titles=("PROPERTY", "TYPE", "ACCESS", "UNIT", "RANGE", "WHERE"), rows=tuple(rows))


def _rest_lines(twin: Twin) -> Iterator[str]:
    methods = maps_at(twin.device, "spec", "methods")
    if methods:
        yield "\nMethods:"
        for method in methods:
            names = ", ".join(strs_at(method, "propertyNames"))
            yield f"  {str_at(method, 'name')}({names})  {str_at(method, 'description')}".rstrip()
    for view in twin.views:
        lost = view.desired.conflict if view.desired else None
        if lost is not None:
            yield f"\nConflict in {view.prop}: {lost.value!r} by {lost.origin} ({lost.side}) lost."


@click.command("events")
@click.argument("name", shell_complete=complete_devices)
@namespace_option
@output_option()
@fields_option
@with_target
def events(target: Target, name: str, namespace: str, form: str, fields: str) -> None:
    """Show what happened to a device, as far as somebody wrote an Event of it: the cloud keeps them for an hour."""
    check_listed(form)
    client = target.client()
    if client.local:
        raise UnavailableError(
            "Events are kept by the cloud: ask it with --kubeconfig; here, `skerry device why` says how things are"
        )
    twin = find_twin(client, namespace or client.namespace, name)
    now_ms = time.time() * 1000
    rows = tuple(
        Row(cells=_event_cells(event, now_ms), obj=event, name=f"event/{name_of(event)}")
        for event in _events(client, twin.device)
    )
    titles = ("AGE", "TYPE", "REASON", "FROM", "MESSAGE")
    print_listing(Listing(titles=titles, rows=rows), form, fields_of(fields), empty=f"No events of {name}.")


def _events(client: Client, device: JsonObject) -> list[JsonObject]:
    query = {"fieldSelector": f"involvedObject.uid={uid_of(device)}"}
    found = maps_at(client.request("GET", path_of(_EVENTS, namespace_of(device)), query=query).obj, "items")
    return sorted(found, key=_when)


def _event_lines(client: Client, device: JsonObject) -> list[str]:
    now_ms = time.time() * 1000
    return ["  " + "   ".join(_event_cells(event, now_ms)) for event in _events(client, device)]


def _event_cells(event: JsonObject, now_ms: float) -> tuple[str, ...]:
    age = human_duration((now_ms - ms_at(_when(event))) / 1000) if _when(event) else "?"
    source = str_at(event, "source", "component") or str_at(event, "reportingComponent")
    return age, str_at(event, "type"), str_at(event, "reason"), source or "-", str_at(event, "message")


def _when(event: JsonObject) -> str:
    return (
        str_at(event, "lastTimestamp") or str_at(event, "eventTime") or str_at(event, "metadata", "creationTimestamp")
    )


# --- watching ---------------------------------------------------------------------------------------------


@click.command("watch")
@click.argument("name", required=False, default="", shell_complete=complete_places)
@namespace_option
@click.option("-l", "--selector", default="", help="Only devices with these labels.")
@click.option("--delta", is_flag=True, help="Show by how much each number moved.")
@click.option("-o", "--output", "form", default="text", help="text, jsonl or csv.")
@with_target
def watch(target: Target, name: str, namespace: str, selector: str, delta: bool, form: str) -> None:
    """Follow values as they change, with their quality: of one device, of NAME/PROP, or of all."""
    if form not in _WATCHED:
        raise BadRequestError(f"-o {form}: use one of {', '.join(_WATCHED)}")
    client = target.client()
    place = namespace or client.namespace
    name, prop = split_name(name)
    if name:
        twin = find_twin(client, place, name)  # a misspelt name would be watched for ever
        if prop:
            view_of(twin, prop)
    chosen = {name_of(twin.device) for twin in find_twins(client, place, selector)} if selector else None
    follower = Follower(form, delta=delta)
    if form == "csv":
        print_csv([Follower.COLUMNS])
    for status in status_events(client, place, name, timeout_s=None):
        if chosen is not None and name_of(status) not in chosen:
            continue
        for view in twin_views({}, status):
            if prop in ("", view.prop):
                follower.tell(name_of(status), namespace_of(status), view)


class Follower:
    """Prints each view that differs from the one before of its property."""

    COLUMNS: Final = ("time", "device", "property", "value", "unit", "quality", "ack", "reason")

    def __init__(self, form: str, *, delta: bool) -> None:
        self._form = form
        self._delta = delta
        self._seen: dict[tuple[str, str], TwinView] = {}

    def tell(self, name: str, namespace: str, view: TwinView) -> None:
        before = self._seen.get((name, view.prop))
        if before is not None and _telling(before) == _telling(view):
            return
        self._seen[name, view.prop] = view
        if self._form == "jsonl":
            obj = value_object(name, namespace, view)
            moved = delta_of(before, view)
            say(json.dumps(obj | ({"delta": moved} if self._delta and moved else {}), ensure_ascii=False))
        elif self._form == "csv":
            at = micro_time_text(view.source_ms) if view.source_ms else ""
            cells = (at, name, view.prop, view.reported or "", view.unit, view.quality, view.ack_state, view.reason)
            print_csv([cells])
        else:
            at = time.strftime("%H:%M:%S", time.localtime(view.source_ms / 1000)) if view.source_ms else "--:--:--"
            moved = delta_of(before, view) if self._delta else ""
            ack = f"  [{view.ack_state}]" if before is not None and before.ack_state != view.ack_state else ""
            colour = {"good": None, "uncertain": "yellow", "stale": "yellow"}.get(view.quality, "red")
            value = styled(one_line(value_shown(view)), fg=colour)
            say(joined([f"{at}  {name}/{view.prop} = ", value, f"  ({moved})" if moved else "", ack]))
        sys.stdout.flush()


def _telling(view: TwinView) -> tuple[str | None, str, str, str]:
    return view.reported, view.quality, view.ack_state, view.reason


def delta_of(before: TwinView | None, view: TwinView) -> str:
    """By how much a number moved, exactly, with its sign; "" where there is nothing to say."""
    if before is None or before.reported is None or view.reported is None or before.reported == view.reported:
        return ""
    try:
        moved = Decimal(view.reported) - Decimal(before.reported)
    except InvalidOperation:
        return ""
    return f"{moved:+f}"


# --- words ------------------------------------------------------------------------------------------------


def value_shown(view: TwinView) -> str:
    """`71.3°C`, and what is to be thought of it where that is not only good."""
    if view.reported is None:
        return f"({view.reason or view.quality})"
    mark = "" if view.quality == "good" else f"({view.quality})"
    return f"{view.reported}{view.unit}{mark}"


def _pending(view: TwinView) -> str:
    if view.desired is None or view.ack_state in ("applied", "verified"):
        return ""
    return f"→{view.desired.value}({view.ack_state})"


def config_lines(config: JsonObject) -> Iterator[str]:
    """Settings of a protocol, one a line, what belongs together indented; nothing secret."""
    for name, value in config.items():
        if any(word in name.lower() for word in ("password", "secret", "key")):
            yield f"{name}: (hidden)"
        elif isinstance(value, dict):
            yield f"{name}:"
            yield from (f"  {line}" for line in config_lines(value))
        else:
            yield f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def ack_shown(view: TwinView) -> tuple[str, str]:
    """(ACK, REASON): an answer is of when it was given, and says nothing of what a command or a hand did since."""
    if view.ack_state not in ("applied", "verified") or view.desired is None or view.reported is None:
        return view.ack_state or "-", view.ack_reason or view.reason
    if not delta_of_wish(view):
        return view.ack_state, view.ack_reason or view.reason
    return f"was {view.ack_state}", view.ack_reason or view.reason or "it reads otherwise since"


def delta_of_wish(view: TwinView) -> str:
    """How far a device is from what is wanted of it: a number with its sign, `differs` where there is none to tell,
    `unknown` while it has told nothing; "" where it is as it is wanted, or nothing is wanted."""
    if view.desired is None or view.desired.removed:
        return ""
    if view.reported is None:
        return "unknown"
    wanted = view.desired.value
    if same_value(view.type or "DOUBLE", view.reported, wanted, _SAME * abs(_number(wanted))):
        return ""
    try:
        return f"{Decimal(view.reported) - Decimal(wanted):+f}"
    except InvalidOperation:
        return "differs"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
