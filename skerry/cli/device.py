"""`skerry device`: look at devices as twins, and set what they should do.

The same commands, with the same words, talk to the cloud and to the agent of a gateway that is offline. Device
objects say what is wanted; the DeviceStatus of the same name, kept current by the gateway, says what is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import click

from skerry.cli.client import Client, Server, path_of
from skerry.cli.command import call, refresh
from skerry.cli.logs import seconds_of
from skerry.cli.output import check_format, print_data, print_table
from skerry.cli.target import DeadlineError, RefusedError, Target, with_target
from skerry.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from skerry.objects.device_twins import TwinView, property_of, twin_views
from skerry.objects.json import JsonObject, clone, decode_object, ensure_map, list_at, map_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind
from skerry.objects.times import human_duration, micro_time_text, time_text
from skerry.objects.twins import same_value

DEVICES: Final = Kind(
    group="devices.kubeedge.io", version="v1beta1", kind="Device", plural="devices", namespaced=True
)
MODELS: Final = Kind(
    group="devices.kubeedge.io", version="v1beta1", kind="DeviceModel", plural="devicemodels", namespaced=True
)
STATUSES: Final = Kind(
    group="devices.kubeedge.io", version="v1beta1", kind="DeviceStatus", plural="devicestatuses", namespaced=True
)
_DONE: Final = {"applied": ("applied", "verified"), "verified": ("verified",)}
_RETRIES: Final = 5
_SAME: Final = 0.01
"""Of what is wanted: within this a reading may differ by the device's resolution, or the tolerance of its twin."""


@click.group("device")
def device() -> None:
    """Devices as twins: what is wanted of them, and what they last told."""


device.add_command(call)
device.add_command(refresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A Device and its DeviceStatus."""

    device: JsonObject
    status: JsonObject

    @property
    def views(self) -> list[TwinView]:
        return twin_views(self.device, self.status)

    @property
    def state(self) -> str:
        return str_at(self.status, "status", "state") or str_at(self.device, "status", "state") or "unknown"


@device.command("list")
@click.option("-n", "--namespace", default="")
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("-l", "--selector", default="")
@click.option("-o", "--output", "form", default="table", help="table, wide, json, yaml or name.")
@with_target
def list_devices(target: Target, namespace: str, all_namespaces: bool, selector: str, form: str) -> None:
    """List devices with their state and current values."""
    check_format(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    twins = _twins(client, place, selector)
    if form in ("json", "yaml"):
        print_data({"kind": "List", "apiVersion": "v1", "items": [_shown(twin) for twin in twins]}, form)
        return
    if form == "name":
        for twin in twins:
            click.echo(f"device/{name_of(twin.device)}")
        return
    if not twins:
        click.echo("No devices found.", err=True)
        return
    headers = ["NAME", "NODE", "PROTOCOL", "STATE", "VALUES"]
    rows = [_row(twin) for twin in twins]
    if form == "wide":
        headers.insert(3, "MODEL")
        for row, twin in zip(rows, twins, strict=True):
            row.insert(3, str_at(twin.device, "spec", "deviceModelRef", "name") or "<none>")
    if not place:
        headers.insert(0, "NAMESPACE")
        for row, twin in zip(rows, twins, strict=True):
            row.insert(0, namespace_of(twin.device))
    print_table(headers, rows)


@device.command("get")
@click.argument("name")
@click.argument("prop", required=False, default="")
@click.option("-n", "--namespace", default="")
@click.option("-o", "--output", "form", default="table", help="table, wide, json, yaml or name.")
@with_target
def get(target: Target, name: str, prop: str, namespace: str, form: str) -> None:
    """Show the values of one device; with PROP, that value alone, for scripts."""
    check_format(form)
    client = target.client()
    twin = _twin(client, namespace or client.namespace, name)
    if prop:
        view = next((view for view in twin.views if view.prop == prop), None)
        if view is None:
            known = ", ".join(view.prop for view in twin.views) or "none"
            raise NotFoundError(f"device {name} has no property {prop!r} (it has: {known})")
        if view.reported is None:
            raise UnavailableError(f"{name}/{prop} has no value: {view.reason or 'nothing was reported yet'}")
        click.echo(view.reported)
        return
    if form in ("json", "yaml"):
        print_data(_shown(twin), form)
    elif form == "name":
        click.echo(f"device/{name}")
    else:
        _print_values(twin)


@device.command("describe")
@click.argument("name")
@click.option("-n", "--namespace", default="")
@with_target
def describe(target: Target, name: str, namespace: str) -> None:
    """Show one device in full: where it is, how it is reached, each property and what became of what was wanted."""
    client = target.client()
    twin = _twin(client, namespace or client.namespace, name)
    obj = twin.device
    click.echo(f"Name:        {name}")
    click.echo(f"Namespace:   {namespace_of(obj)}")
    click.echo(f"Node:        {str_at(obj, 'spec', 'nodeName') or '<none>'}")
    click.echo(f"Model:       {str_at(obj, 'spec', 'deviceModelRef', 'name') or '<none>'}")
    click.echo(f"Protocol:    {str_at(obj, 'spec', 'protocol', 'protocolName') or '<none>'}")
    for line in config_lines(map_at(obj, "spec", "protocol", "configData")):
        click.echo(f"  {line}")
    click.echo(f"State:       {twin.state}{_state_reason(twin)}")
    click.echo(f"Last online: {str_at(twin.status, 'status', 'lastOnlineTime') or '<never>'}")
    click.echo()
    _print_values(twin)
    for view in twin.views:
        lost = view.desired.conflict if view.desired else None
        if lost is not None:
            click.echo(f"\nConflict in {view.prop}: {lost.value!r} by {lost.origin} ({lost.side}) lost.")


@device.command("set")
@click.argument("name")
@click.argument("values", nargs=-1, required=True)
@click.option("-n", "--namespace", default="")
@click.option(
    "--wait", "wait_for", type=click.Choice(["applied", "verified"]), default=None, help="Until the device has it."
)
@click.option("--timeout", default="30s", help="How long --wait waits.")
@click.option("--ttl", default="", help="Don't apply it any more after this: 10m, 2h.")
@click.option("--if-match", default="", help="Only if the Device is still at this resourceVersion.")
@with_target
def set_values(
    target: Target,
    name: str,
    values: Sequence[str],
    namespace: str,
    wait_for: str | None,
    timeout: str,
    ttl: str,
    if_match: str,
) -> None:
    """Want values of a device: `skerry device set boiler setpoint=64 --wait verified`.

    Exit codes: 5 when the device refuses, 6 when it did not answer in time (the value stays wanted), 4 when
    --if-match no longer holds.
    """
    client = target.client()
    place = namespace or client.namespace
    wanted = dict(_assignment(text) for text in values)
    deadline_s = seconds_of(timeout)
    expires = time_text(int(time.time() * 1000) + seconds_of(ttl) * 1000) if ttl else ""
    if client.local:
        _set_here(client, place, name, wanted, expires)
    else:
        set_in_cloud(client, place, name, wanted, expires=expires, if_match=if_match)
    if wait_for is None:
        click.echo(f"{name}: {', '.join(f'{prop}={value}' for prop, value in wanted.items())} wanted")
        return
    _wait(client, place, name, list(wanted), _DONE[wait_for], deadline_s)


@device.command("watch")
@click.argument("name", required=False, default="")
@click.option("-n", "--namespace", default="")
@with_target
def watch(target: Target, name: str, namespace: str) -> None:
    """Follow values as they change, of one device or of all."""
    client = target.client()
    place = namespace or client.namespace
    if name:
        _twin(client, place, name)  # a misspelt name would be watched for ever
    seen: dict[tuple[str, str], tuple[str | None, str, str]] = {}
    for status in _status_events(client, place, name, timeout_s=None):
        for view in twin_views({}, status):
            line = (view.reported, view.quality, view.ack_state)
            key = (name_of(status), view.prop)
            if seen.get(key) == line:
                continue
            seen[key] = line
            at = time.strftime("%H:%M:%S", time.localtime(view.source_ms / 1000)) if view.source_ms else "--:--:--"
            click.echo(f"{at}  {key[0]}/{view.prop} = {_value(view)}")


# --- reading ----------------------------------------------------------------------------------------------


def _twins(client: Client, place: str, selector: str) -> list[Twin]:
    query = {"labelSelector": selector} if selector else {}
    devices = maps_at(client.request("GET", path_of(DEVICES, place), query=query).obj, "items")
    statuses = maps_at(client.request("GET", path_of(STATUSES, place)).obj, "items")
    by_name = {(namespace_of(status), name_of(status)): status for status in statuses}
    return [Twin(device=obj, status=by_name.get((namespace_of(obj), name_of(obj)), {})) for obj in devices]


def _twin(client: Client, place: str, name: str) -> Twin:
    obj = client.request("GET", path_of(DEVICES, place, name)).obj
    try:
        status = client.request("GET", path_of(STATUSES, place, name)).obj
    except NotFoundError:
        status = {}  # a device that has not told anything yet
    return Twin(device=obj, status=status)


def _status_events(client: Client, place: str, name: str, *, timeout_s: int | None) -> Iterator[JsonObject]:
    """DeviceStatus objects as they are and then as they change, until the time is over."""
    query = {"watch": "true"}
    if name:
        query["fieldSelector"] = f"metadata.name={name}"
    if timeout_s is not None:
        query["timeoutSeconds"] = str(max(1, timeout_s))
    for line in client.lines(path_of(STATUSES, place), query=query):
        event = decode_object(line)
        if str_at(event, "type") == "ERROR":
            raise UnavailableError(str_at(event, "object", "message") or "the watch ended")
        if str_at(event, "type") in ("ADDED", "MODIFIED"):
            yield map_at(event, "object")


# --- writing ----------------------------------------------------------------------------------------------


def _assignment(text: str) -> tuple[str, str]:
    prop, sign, value = text.partition("=")
    if not sign or not prop:
        raise BadRequestError(f"{text!r}: write PROPERTY=VALUE")
    return prop, value


def set_in_cloud(
    client: Server, place: str, name: str, wanted: dict[str, str], *, expires: str = "", if_match: str = ""
) -> None:
    """Want these values of a device, by its object in the cloud. Raises what the server refuses with."""
    for attempt in range(_RETRIES):
        obj = client.request("GET", path_of(DEVICES, place, name)).obj
        _check_properties(client, place, obj, list(wanted))
        changed = clone(obj)
        if if_match:
            ensure_map(changed, "metadata")["resourceVersion"] = if_match
        for prop, value in wanted.items():
            _want(changed, prop, value, expires)
        try:
            client.request("PUT", path_of(DEVICES, place, name), query={"fieldManager": "skerry"}, body=changed)
        except ConflictError:
            if if_match or attempt == _RETRIES - 1:
                raise
            continue
        return


def _check_properties(client: Server, place: str, obj: JsonObject, props: Sequence[str]) -> None:
    """A property that neither the device nor its model has would make the whole device's configuration wrong."""
    unknown = [prop for prop in props if property_of(obj, prop) is None]
    if not unknown:
        return
    model_name = str_at(obj, "spec", "deviceModelRef", "name")
    model = client.request("GET", path_of(MODELS, place, model_name)).obj if model_name else {}
    known = [str_at(entry, "name") for entry in maps_at(model, "spec", "properties")]
    for prop in unknown:
        if prop not in known:
            raise NotFoundError(
                f"device {name_of(obj)} has no property {prop!r} (it has: {', '.join(known) or 'none'})"
            )


def _want(obj: JsonObject, prop: str, value: str, expires: str) -> None:
    entry = property_of(obj, prop)
    if entry is None:
        entry: JsonObject | None = {"name": prop}
        spec = ensure_map(obj, "spec")
        spec["properties"] = [*list_at(spec, "properties"), entry]
    desired = ensure_map(entry, "desired")
    desired["value"] = value
    metadata = ensure_map(desired, "metadata")
    metadata.pop("expires", None)
    # Asked for again, a value is carried out again, also where the device was changed by hand in the meantime.
    metadata["requested"] = micro_time_text(time.time_ns() // 1_000_000)
    if expires:
        metadata["expires"] = expires


def _set_here(client: Client, place: str, name: str, wanted: dict[str, str], expires: str) -> None:
    """On the gateway, twins may be written with or without the cloud; the two are merged when they meet."""
    for prop, value in wanted.items():
        body: JsonObject = {"value": value}
        if expires:
            body["expires"] = expires
        path = f"{path_of(DEVICES, place, name)}/twins/{prop}"
        client.request("PUT", path, body=body)


def _wait(client: Client, place: str, name: str, props: list[str], done: Sequence[str], timeout_s: int) -> None:
    """Until every property is acknowledged. Raises `RefusedError` and `DeadlineError`."""
    started_s = time.monotonic()
    twin = _twin(client, place, name)
    while True:
        views = {view.prop: view for view in twin.views}
        for prop in props:
            view = views.get(prop)
            if view is not None and view.ack_state in ("refused", "expired"):
                raise RefusedError(f"{name}/{prop}: {view.ack_state}: {view.ack_reason or 'no reason given'}")
        if all((view := views.get(prop)) is not None and view.ack_state in done for prop in props):
            break
        left_s = timeout_s - (time.monotonic() - started_s)
        if left_s <= 0:
            states = ", ".join(f"{prop} {_progress(views.get(prop))}" for prop in props)
            if twin.state != "online":
                states += f"; the device is {twin.state}{_state_reason(twin)}"
            raise DeadlineError(f"not {done[0]} after {timeout_s} s: {states}; what was wanted stays wanted")
        for _ in _status_events(client, place, name, timeout_s=int(left_s) + 1):
            break
        time.sleep(0.05)  # a watch begins with the state we may just have seen
        twin = _twin(client, place, name)
    elapsed_ms = (time.monotonic() - started_s) * 1000
    for prop in props:
        view = views[prop]
        click.secho(f"{name}/{prop} = {_value(view)} {view.ack_state} ({elapsed_ms:.0f} ms)", fg="green")


def _progress(view: TwinView | None) -> str:
    if view is None:
        return "was not reported yet"
    return f"is {view.ack_state or 'pending'}{': ' + view.ack_reason if view.ack_reason else ''}"


# --- showing ----------------------------------------------------------------------------------------------


def _shown(twin: Twin) -> JsonObject:
    """The Device, its status brought up to date from its DeviceStatus."""
    obj = clone(twin.device)
    if twin.status:
        ensure_map(obj, "status").update(clone(map_at(twin.status, "status")))
    return obj


def _row(twin: Twin) -> list[str]:
    obj = twin.device
    values = " ".join(f"{view.prop}={_value(view)}{_pending(view)}" for view in twin.views)
    return [
        name_of(obj),
        str_at(obj, "spec", "nodeName") or "<none>",
        str_at(obj, "spec", "protocol", "protocolName") or "<none>",
        twin.state,
        values or "<none>",
    ]


def _value(view: TwinView) -> str:
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
    if same_value(view.type or "DOUBLE", view.reported, view.desired.value, _SAME * abs(_number(view.desired.value))):
        return view.ack_state, view.ack_reason or view.reason
    return f"was {view.ack_state}", view.ack_reason or view.reason or "it reads otherwise since"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _state_reason(twin: Twin) -> str:
    holder = maps_at(twin.status, "status", "extensions", "conditions") or maps_at(
        twin.device, "status", "conditions"
    )
    message = next((str_at(condition, "message") for condition in holder), "")
    return f" ({message})" if message else ""


def _print_values(twin: Twin) -> None:
    now_ms = time.time() * 1000
    rows = [
        [
            view.prop,
            view.reported if view.reported is not None else "-",
            view.unit or "-",
            view.quality,
            human_duration((now_ms - view.source_ms) / 1000) if view.source_ms else "never",
            view.desired.value if view.desired else "-",
            *ack_shown(view),
        ]
        for view in twin.views
    ]
    print_table(["PROPERTY", "REPORTED", "UNIT", "QUALITY", "AGE", "DESIRED", "ACK", "REASON"], rows)
