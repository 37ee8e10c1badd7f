"""`skerry device set|unset`: want values of a device, rehearse it, and wait until the device has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import click

from skerry.cli.backlog import NODES
from skerry.cli.client import Client, Server, path_of
from skerry.cli.device_objects import (
    DEVICES,
    MODELS,
    Twin,
    complete_assignments,
    complete_devices,
    complete_properties,
    find_twin,
    output_option,
    property_names,
    status_events,
)
from skerry.cli.device_show import value_shown
from skerry.cli.device_why import rehearsal_lines
from skerry.cli.listing import Listing, Row, check_listed, print_listing
from skerry.cli.logs import seconds_of
from skerry.cli.options import namespace_option
from skerry.cli.output import print_data, say
from skerry.cli.target import DeadlineError, QueuedError, RefusedError, Target, with_target
from skerry.errors import BadRequestError, ConflictError, ForbiddenError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.conditions import condition_of
from skerry.objects.device_desired import property_of
from skerry.objects.device_twins import TwinView
from skerry.objects.json import Json, JsonObject, clone, ensure_map, list_at, map_at, str_at
from skerry.objects.meta import name_of
from skerry.objects.times import micro_time_text, time_text

DONE: Final = {"applied": ("applied", "verified"), "verified": ("verified",)}
_RETRIES: Final = 5
_TOLD_S: Final = 2.0
"""After so long a wait says what it waits for."""


class Wishes(Frozen):
    """What is wanted of one device, and on what terms."""

    values: dict[str, str]
    """By property."""
    expires: str = ""
    """RFC 3339; "" for never."""
    reason: str = ""
    """For whoever reads it later."""
    if_match: str = ""
    """What its writer has seen: the Device's resourceVersion, or the version of what is wanted (3.1)."""
    on_reconnect: str = ""
    """What becomes of it where the gateway is away: apply, confirm, drop; "" for what the model says."""
    take: str = ""
    """Of a conflict, whose value it is: cloud, edge, desired."""

    @property
    def revision(self) -> str:
        """The resourceVersion that must hold; "" for any."""
        return "" if "." in self.if_match else self.if_match

    def metadata(self) -> JsonObject:
        """As the API has it beside each value."""
        said = {
            "expires": self.expires,
            "reason": self.reason,
            "onReconnect": self.on_reconnect,
            "take": self.take,
            "ifMatch": self.if_match if "." in self.if_match else "",
        }
        return {name: text for name, text in said.items() if text}


@click.command("set")
@click.argument("name", shell_complete=complete_devices)
@click.argument("values", nargs=-1, required=True, shell_complete=complete_assignments)
@namespace_option
@click.option(
    "--wait", "wait_for", type=click.Choice(["applied", "verified"]), default=None, help="Until the device has it."
)
@click.option("--timeout", default="30s", help="How long --wait waits.")
@click.option("--ttl", default="", help="Don't apply it any more after this: 10m, 2h.")
@click.option(
    "--if-match", default="", help="Only if this is still so: a resourceVersion, or a value's version (3.1)."
)
@click.option(
    "--on-reconnect",
    type=click.Choice(["apply", "confirm", "drop"]),
    default=None,
    help="If the gateway is away: carry it out when it is back, wait for a yes, or forget it.",
)
@click.option("--reason", default="", help="Why, for whoever asks later; kept with the value.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, to the register; write nothing.")
@output_option("text", "text, table, json, yaml, jsonl, csv or name")
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
    on_reconnect: str | None,
    reason: str,
    dry_run: bool,
    form: str,
) -> None:
    """Want values of a device: `skerry device set boiler setpoint=64 --wait verified`.

    Exit codes: 5 when the device refuses, 6 when it did not answer in time and 7 when its gateway is not heard (the
    value stays wanted), 4 when --if-match no longer holds.
    """
    if form != "text":
        check_listed(form)
    client = target.client()
    place = namespace or client.namespace
    wishes = Wishes(
        values=dict(assignment(text) for text in values),
        expires=time_text(int(time.time() * 1000) + seconds_of(ttl) * 1000) if ttl else "",
        reason=reason,
        if_match=if_match,
        on_reconnect=on_reconnect or "",
    )
    deadline_s = seconds_of(timeout)
    if dry_run:
        _rehearse(client, place, name, wishes, form)
        return
    if client.local:
        _set_here(client, place, name, wishes)
    else:
        write_device(client, place, name, lambda obj: with_wishes(obj, wishes), wishes=wishes)
    if wait_for is None:
        _print_wanted(name, wishes, form)
        return
    waited = wait_for_device(client, place, name, list(wishes.values), DONE[wait_for], deadline_s)
    _print_done(name, waited, form)


@click.command("unset")
@click.argument("name", shell_complete=complete_devices)
@click.argument("props", nargs=-1, required=True, shell_complete=complete_properties)
@namespace_option
@click.option("--if-match", default="", help="Only if the Device is still at this resourceVersion.")
@with_target
def unset(target: Target, name: str, props: Sequence[str], namespace: str, if_match: str) -> None:
    """Want nothing of these properties any more. The device keeps what it holds; nothing is written to it."""
    client = target.client()
    place = namespace or client.namespace
    wishes = Wishes(values=dict.fromkeys(props, ""), if_match=if_match)
    if client.local:
        _write_here(client, place, name, [{"name": prop, "value": None} for prop in wishes.values], wishes)
    else:
        write_device(client, place, name, lambda obj: without_wishes(obj, props), wishes=wishes)
    say(f"{name}: nothing is wanted of {', '.join(props)}")


# --- writing ----------------------------------------------------------------------------------------------


def assignment(text: str) -> tuple[str, str]:
    """`setpoint=64`. Raises `BadRequestError`."""
    prop, sign, value = text.partition("=")
    if not sign or not prop:
        raise BadRequestError(f"{text!r}: write PROPERTY=VALUE")
    return prop, value


def set_in_cloud(client: Server, place: str, name: str, wanted: dict[str, str], *, expires: str = "") -> None:
    """Want these values of a device, by its object in the cloud. Raises what the server refuses with."""
    wishes = Wishes(values=wanted, expires=expires)
    write_device(client, place, name, lambda obj: with_wishes(obj, wishes), wishes=wishes)


def write_device(
    client: Server,
    place: str,
    name: str,
    change: Callable[[JsonObject], JsonObject],
    *,
    wishes: Wishes,
    dry_run: bool = False,
) -> JsonObject:
    """The Device changed, and again where somebody else wrote in between (but not with `if_match`)."""
    query = {"fieldManager": "skerry"} | ({"dryRun": "All"} if dry_run else {})
    attempt = 0
    while True:
        attempt += 1
        obj = client.request("GET", path_of(DEVICES, place, name)).obj
        _check_properties(client, place, obj, list(wishes.values))
        changed = change(obj)
        if wishes.revision:
            ensure_map(changed, "metadata")["resourceVersion"] = wishes.revision
        try:
            return client.request("PUT", path_of(DEVICES, place, name), query=query, body=changed).obj
        except ConflictError:
            if wishes.revision or attempt == _RETRIES:
                raise


def _check_properties(client: Server, place: str, obj: JsonObject, props: Sequence[str]) -> None:
    """A property that neither the device nor its model has would make the whole device's configuration wrong."""
    unknown = [prop for prop in props if property_of(obj, prop) is None]
    if not unknown:
        return
    model_name = str_at(obj, "spec", "deviceModelRef", "name")
    model = client.request("GET", path_of(MODELS, place, model_name)).obj if model_name else {}
    known = property_names(obj, model)
    for prop in unknown:
        if prop not in known:
            raise NotFoundError(
                f"device {name_of(obj)} has no property {prop!r} (it has: {', '.join(known) or 'none'})"
            )


def with_wishes(obj: JsonObject, wishes: Wishes) -> JsonObject:
    """The Device wanting these values; a property is added where the instance does not name it yet."""
    changed = clone(obj)
    for prop, value in wishes.values.items():
        entry = property_of(changed, prop)
        if entry is None:
            entry: JsonObject | None = {"name": prop}
            spec = ensure_map(changed, "spec")
            spec["properties"] = [*list_at(spec, "properties"), entry]
        desired = ensure_map(entry, "desired")
        desired["value"] = value
        metadata = ensure_map(desired, "metadata")
        for held in ("expires", "reason", "onReconnect"):
            metadata.pop(held, None)
        # Asked for again, a value is carried out again, also where the device was changed by hand in the meantime.
        metadata["requested"] = micro_time_text(time.time_ns() // 1_000_000)
        metadata |= wishes.metadata()
    return changed


def without_wishes(obj: JsonObject, props: Sequence[str]) -> JsonObject:
    """The Device wanting nothing of these properties."""
    changed = clone(obj)
    for prop in props:
        entry = property_of(changed, prop)
        if entry is not None:
            entry.pop("desired", None)
    return changed


def _set_here(client: Client, place: str, name: str, wishes: Wishes) -> None:
    """On the gateway, twins may be written with or without the cloud; the two are merged when they meet."""
    if wishes.on_reconnect:
        raise BadRequestError("--on-reconnect: this is the gateway itself; it is for those who write in the cloud")
    if wishes.reason:
        raise BadRequestError("--reason: is kept with the Device in the cloud; ask it with --kubeconfig")
    terms: JsonObject = {"expires": wishes.expires} if wishes.expires else {}
    entries: list[JsonObject] = [{"name": prop, "value": value} | terms for prop, value in wishes.values.items()]
    _write_here(client, place, name, entries, wishes)


def _write_here(client: Client, place: str, name: str, entries: Sequence[JsonObject], wishes: Wishes) -> None:
    """All at once, or none."""
    if wishes.revision:
        raise BadRequestError(
            "--if-match: on a gateway, give the version of the value, as `device get -o wide` has it"
        )
    version: JsonObject = {"ifMatch": wishes.if_match} if wishes.if_match else {}
    body: JsonObject = {"properties": [entry | version for entry in entries]}
    client.request("PUT", path_of(DEVICES, place, name, "twins"), body=body)


# --- rehearsing -------------------------------------------------------------------------------------------


def _rehearse(client: Client, place: str, name: str, wishes: Wishes, form: str) -> None:
    """What the cloud's checks say, then what the gateway would send. Nothing is kept of it."""
    if not client.local:
        write_device(client, place, name, lambda obj: with_wishes(obj, wishes), wishes=wishes, dry_run=True)
    told = [
        client.request("GET", path_of(DEVICES, place, name, "explain"), query={"property": prop, "value": value}).obj
        for prop, value in wishes.values.items()
    ]
    if form in ("text", "table", "wide"):
        for number, explanation in enumerate(told):
            if number:
                say()
            for line in rehearsal_lines(explanation):
                say(line)
    else:
        print_listing(rehearsals_listed(name, told), form)
    refused = [each for each in told if str_at(each, "write", "refusal")]
    if refused:
        why = "; ".join(f"{str_at(each, 'property')}: {str_at(each, 'write', 'refusal')}" for each in refused)
        raise RefusedError(f"nothing of it would be written to {name} as asked: {why}")


def rehearsals_listed(name: str, told: Sequence[JsonObject]) -> Listing:
    """One row a property."""
    rows = tuple(
        Row(
            cells=(
                name,
                str_at(each, "property"),
                str_at(each, "write", "value"),
                str_at(each, "place"),
                str_at(each, "write", "refusal") or "would be written",
            ),
            obj=map_at(each, "write") | {"device": name, "property": str_at(each, "property")},
            name=f"device/{name}/{str_at(each, 'property')}",
        )
        for each in told
    )
    return Listing(titles=("DEVICE", "PROPERTY", "VALUE", "PLACE", "VERDICT"), rows=rows)


# --- waiting ----------------------------------------------------------------------------------------------


class Waited(Frozen):
    """How it ended well."""

    views: dict[str, TwinView]
    elapsed_ms: float


def wait_for_device(
    client: Client, place: str, name: str, props: list[str], done: Sequence[str], timeout_s: int
) -> Waited:
    """Until every property is acknowledged. Raises `RefusedError`, `DeadlineError` and `QueuedError`."""
    started_s = time.monotonic()
    twin, told = find_twin(client, place, name), False
    while True:
        views = {view.prop: view for view in twin.views}
        for prop in props:
            view = views.get(prop)
            if view is not None and view.ack_state in ("refused", "expired"):
                raise RefusedError(f"{name}/{prop}: {view.ack_state}: {view.ack_reason or 'no reason given'}")
        if all((view := views.get(prop)) is not None and view.ack_state in done for prop in props):
            found = {prop: views[prop] for prop in props}
            return Waited(views=found, elapsed_ms=(time.monotonic() - started_s) * 1000)
        spent_s = time.monotonic() - started_s
        if spent_s >= timeout_s:
            raise _not_in_time(client, twin, [(prop, views.get(prop)) for prop in props], done[0], timeout_s)
        if spent_s >= _TOLD_S and not told:
            told = True
            waits = ", ".join(f"{prop} {_progress(views.get(prop))}" for prop in props)
            say(f"  {waits}; waiting for {timeout_s - spent_s:.0f} s more", err=True)
        left_s = timeout_s - spent_s if told else min(timeout_s, _TOLD_S) - spent_s
        for _ in status_events(client, place, name, timeout_s=int(left_s) + 1):
            break
        time.sleep(0.05)  # a watch begins with the state we may just have seen
        twin = find_twin(client, place, name)


def _not_in_time(
    client: Client, twin: Twin, views: Sequence[tuple[str, TwinView | None]], done: str, timeout_s: int
) -> DeadlineError | QueuedError:
    states = ", ".join(f"{prop} {_progress(view)}" for prop, view in views)
    node = str_at(twin.device, "spec", "nodeName")
    if not client.local and node and not is_heard(client, node):
        return QueuedError(
            f"queued: gateway {node} is not heard ({states}); what was wanted stays wanted, and is carried out when "
            f"it is back: see `skerry get node {node}`"
        )
    if twin.state != "online":
        states += f"; the device is {twin.state}{f' ({twin.state_reason})' if twin.state_reason else ''}"
    more = f"`skerry device why {name_of(twin.device)}/{views[0][0]}` says more"
    return DeadlineError(f"not {done} after {timeout_s} s: {states}; what was wanted stays wanted; {more}")


def is_heard(client: Client, node: str) -> bool:
    """As the cloud knows; who may not read the Node is told nothing of it."""
    try:
        obj = client.request("GET", path_of(NODES, "", node)).obj
    except (NotFoundError, ForbiddenError):
        return True
    return str_at(condition_of(obj, "Ready"), "status") != "Unknown"


def _progress(view: TwinView | None) -> str:
    if view is None:
        return "was not reported yet"
    return f"is {view.ack_state or 'pending'}{': ' + view.ack_reason if view.ack_reason else ''}"


def _print_wanted(name: str, wishes: Wishes, form: str) -> None:
    if form in ("text", "table", "wide"):
        say(f"{name}: {', '.join(f'{prop}={value}' for prop, value in wishes.values.items())} wanted")
        return
    _print_results([_result(name, prop, value, "wanted", "") for prop, value in wishes.values.items()], form)


def _print_done(name: str, waited: Waited, form: str) -> None:
    if form in ("text", "table", "wide"):
        for prop, view in waited.views.items():
            done = f"{name}/{prop} = {value_shown(view)} {view.ack_state} ({waited.elapsed_ms:.0f} ms)"
            say(done, fg="green")
        return
    results = [
        _result(name, prop, view.desired.value if view.desired else "", view.ack_state, view.reported or "")
        for prop, view in waited.views.items()
    ]
    _print_results(results, form)


def _result(name: str, prop: str, wanted: str, state: str, value: str) -> JsonObject:
    return {"device": name, "property": prop, "wanted": wanted, "state": state, "value": value}


def _print_results(results: Sequence[JsonObject], form: str) -> None:
    if form in ("json", "yaml"):
        items: list[Json] = [*results]
        print_data(items, form)
        return
    rows = tuple(
        Row(
            cells=tuple(str(value) for value in result.values()),
            obj=result,
            name=f"device/{str_at(result, 'device')}/{str_at(result, 'property')}",
        )
        for result in results
    )
    print_listing(Listing(titles=("DEVICE", "PROPERTY", "WANTED", "STATE", "VALUE"), rows=rows), form)
