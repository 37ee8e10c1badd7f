"""Devices with their twins, as `skerry device` finds them: in the cloud or on the gateway, with the same words.

Device objects say what is wanted; the DeviceStatus of the same name, kept current by the gateway, says what is. Here
is how both are found, how their names are completed, and the options that all commands about devices share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, ParamSpec, TypeAlias

import click
from click.shell_completion import CompletionItem

from skerry.cli.client import Client, path_of
from skerry.cli.target import Target
from skerry.errors import NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.device_models import properties_in
from skerry.objects.device_twins import TwinView, twin_views
from skerry.objects.json import JsonObject, clone, decode_object, ensure_map, map_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind

P = ParamSpec("P")
Option: TypeAlias = Callable[[Callable[P, None]], Callable[P, None]]

_GROUP: Final = "devices.kubeedge.io"
DEVICES: Final = Kind(group=_GROUP, version="v1beta1", kind="Device", plural="devices", namespaced=True)
MODELS: Final = Kind(group=_GROUP, version="v1beta1", kind="DeviceModel", plural="devicemodels", namespaced=True)
STATUSES: Final = Kind(group=_GROUP, version="v1beta1", kind="DeviceStatus", plural="devicestatuses", namespaced=True)


class Twin(Frozen):
    """A Device and its DeviceStatus."""

    device: JsonObject
    status: JsonObject

    @property
    def views(self) -> list[TwinView]:
        return twin_views(self.device, self.status)

    @property
    def state(self) -> str:
        return str_at(self.status, "status", "state") or str_at(self.device, "status", "state") or "unknown"

    @property
    def state_reason(self) -> str:
        """Why it is not online; "" where nobody said."""
        holder = maps_at(self.status, "status", "extensions", "conditions") or maps_at(
            self.device, "status", "conditions"
        )
        return next((str_at(condition, "message") for condition in holder), "")

    def shown(self) -> JsonObject:
        """The Device, its status brought up to date from its DeviceStatus."""
        obj = clone(self.device)
        if self.status:
            ensure_map(obj, "status").update(clone(map_at(self.status, "status")))
        return obj


def find_twins(client: Client, place: str, selector: str = "", fields: str = "") -> list[Twin]:
    """All in a namespace ("": in all); `selector` by labels, `fields` by fields such as `spec.nodeName=eu-1`."""
    query = {"labelSelector": selector} if selector else {}
    query |= {"fieldSelector": fields} if fields else {}
    devices = maps_at(client.request("GET", path_of(DEVICES, place), query=query).obj, "items")
    statuses = maps_at(client.request("GET", path_of(STATUSES, place)).obj, "items")
    by_name = {(namespace_of(status), name_of(status)): status for status in statuses}
    return [Twin(device=obj, status=by_name.get((namespace_of(obj), name_of(obj)), {})) for obj in devices]


def find_twin(client: Client, place: str, name: str) -> Twin:
    """Raises `NotFoundError`, which says what to do next."""
    try:
        obj = client.request("GET", path_of(DEVICES, place, name)).obj
    except NotFoundError as error:
        raise NotFoundError(f"{error}; `skerry device list -A` shows what there is") from error
    try:
        status = client.request("GET", path_of(STATUSES, place, name)).obj
    except NotFoundError:
        status = {}  # a device that has not told anything yet
    return Twin(device=obj, status=status)


def find_model(client: Client, place: str, device: JsonObject) -> JsonObject:
    """The device's DeviceModel; empty where it has none, or the object is not there."""
    name = str_at(device, "spec", "deviceModelRef", "name")
    try:
        return client.request("GET", path_of(MODELS, place, name)).obj if name else {}
    except NotFoundError:
        return {}


def property_names(device: JsonObject, model: JsonObject) -> list[str]:
    """As the model has them, then those that only the device names."""
    return list(dict.fromkeys([*properties_in(model), *properties_in(device)]))


def view_of(twin: Twin, prop: str) -> TwinView:
    """One property. Raises `NotFoundError` with those that there are."""
    view = next((view for view in twin.views if view.prop == prop), None)
    if view is None:
        known = ", ".join(view.prop for view in twin.views) or "none"
        raise NotFoundError(f"device {name_of(twin.device)} has no property {prop!r} (it has: {known})")
    return view


def split_name(text: str) -> tuple[str, str]:
    """`boiler/temperature` as device and property; the property "" where none is named, as in `boiler`."""
    name, _, prop = text.partition("/")
    return name, prop


def status_events(client: Client, place: str, name: str, *, timeout_s: int | None) -> Iterator[JsonObject]:
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


# --- options and completion -------------------------------------------------------------------------------


def completing_client(ctx: click.Context) -> tuple[Client, str]:
    """Whom to ask for names while a command is typed, and for which namespace."""
    client = (ctx.find_object(Target) or Target()).client()
    return client, ctx.params.get("namespace") or client.namespace


def complete_devices(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of devices. A server that does not answer completes nothing, and disturbs nobody who types."""
    try:
        client, place = completing_client(ctx)
        found = maps_at(client.request("GET", path_of(DEVICES, place)).obj, "items")
    except (SkerryError, OSError):
        return []
    return [
        CompletionItem(name_of(obj), help=str_at(obj, "spec", "nodeName"))
        for obj in found
        if name_of(obj).startswith(incomplete)
    ]


def _completed(ctx: click.Context, name: str, incomplete: str, *, before: str, after: str) -> list[CompletionItem]:
    try:
        client, place = completing_client(ctx)
        device = client.request("GET", path_of(DEVICES, place, name)).obj
        names = property_names(device, find_model(client, place, device))
    except (SkerryError, OSError):
        return []
    return [
        CompletionItem(f"{before}{prop}{after}", type="nospace" if after else "plain")
        for prop in names
        if prop.startswith(incomplete)
    ]


def complete_properties(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the properties of the device that was named before."""
    return _completed(ctx, str(ctx.params.get("name", "")), incomplete, before="", after="")


def complete_assignments(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`setpoint=`; what comes after the sign only its user knows."""
    if "=" in incomplete:
        return []
    return _completed(ctx, str(ctx.params.get("name", "")), incomplete, before="", after="=")


def complete_places(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`boiler` and, after its slash, `boiler/temperature`."""
    name, slash, prop = incomplete.partition("/")
    if not slash:
        return complete_devices(ctx, param, incomplete)
    return _completed(ctx, name, prop, before=f"{name}/", after="")


fields_option: Final = click.option(
    "--fields", default="", help="Columns to show, and places in the object: name,state,.spec.nodeName."
)


def output_option(default: str = "table", words: str = "table, wide, json, yaml, jsonl, csv or name") -> Option[P]:
    """`-o`, with its forms in the help."""
    return click.option("-o", "--output", "form", default=default, help=f"{words}.")
