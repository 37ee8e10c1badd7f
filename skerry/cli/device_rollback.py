"""`skerry device rollback`: want again what was wanted of a device before.

The cloud and each gateway keep a log of what was wanted (`devices/NAME/desiredlog`). Going back is a write like any
other: it has an author and a version, is checked against the model as it is now, and can be gone back from. Keeps
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import click

from skerry.cli.client import Client, path_of
from skerry.cli.device_history import moment
from skerry.cli.device_objects import (
    DEVICES,
    complete_places,
    find_model,
    find_twin,
    output_option,
    split_name,
)
from skerry.cli.device_plan import sent_lines
from skerry.cli.device_set import DONE, Wishes, wait_for_device, with_wishes, without_wishes, write_device
from skerry.cli.device_wanted import NOTHING, read_wanted
from skerry.cli.listing import LISTED, Listing, Row, print_listing
from skerry.cli.logs import seconds_of
from skerry.cli.options import namespace_option
from skerry.cli.output import resource_name, say
from skerry.cli.plugged import previewed
from skerry.cli.target import RefusedError, Target, with_target
from skerry.errors import BadRequestError, GoneError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.device_desired import IF_MATCH, REVISION, desired_of
from skerry.objects.device_models import properties_in
from skerry.objects.json import Json, JsonObject, int_at, map_at, str_at
from skerry.objects.meta import annotations_of, name_of, uid_of
from skerry.objects.times import ms_at

LIMIT_MAX: Final = 1000
"""Entries of the log that the API gives at most."""


class Return(Frozen):
    """One property that is to be as it was."""

    prop: str
    before: str | None
    """What is wanted now; None: nothing."""
    after: str | None
    number: int
    """Of the entry of the log that is gone back behind, the oldest of them."""


def _said(value: object) -> str:
    return value if isinstance(value, str) else NOTHING


@click.command("rollback")
@click.argument("name", metavar="NAME[/PROP]", shell_complete=complete_places)
@namespace_option
@click.option(
    "--to", default="", help="As it was after this: a NUMBER, REVISION or (of one property) VERSION of the log."
)
@click.option("--since", default="", help="As it was then: 2h ago, or at 2026-12-01T16:00:00Z.")
@click.option("--dry-run", is_flag=True, help="Say what would be wanted and written; want nothing.")
@click.option(
    "--wait", "wait_for", type=click.Choice(["applied", "verified"]), default=None, help="Until the device has it."
)
@click.option("--timeout", default="30s", help="How long --wait waits.")
@click.option("--reason", default="", help="Why, for whoever asks later; kept with the values.")
@output_option("text", "text, table, wide, json, yaml, jsonl, csv or name")
@with_target
def rollback(
    target: Target,
    name: str,
    namespace: str,
    to: str,
    since: str,
    dry_run: bool,
    wait_for: str | None,
    timeout: str,
    reason: str,
    form: str,
) -> None:
    """Want again what was wanted before: `skerry device rollback boiler --since 2h`, `boiler/setpoint --to 3.0`.

    Without --to and --since, the last change is taken back. All values are written at once, or none. What is wanted
    by somebody else meanwhile is a conflict (4).
    """
    if form not in ("text", *LISTED):
        raise BadRequestError(f"-o {form}: use one of {', '.join(('text', *LISTED))}")
    if to and since:
        raise BadRequestError("give --to or --since")
    client = target.client()
    name, prop = split_name(name)
    place, deadline_s = namespace or client.namespace, seconds_of(timeout)
    device = find_twin(client, place, name).device
    since_ms = moment(since, round(time.time() * 1000)) if since else None
    items = read_wanted(client, place, name, prop, since_ms=None, limit=LIMIT_MAX)[::-1]
    items = [item for item in items if str_at(item, "uid") in ("", uid_of(device))]
    plan = returns(device, taken_back(items, to=to, since_ms=since_ms, prop=prop))
    listing = _returns_listed(client, place, device, plan)
    if dry_run or not plan:
        _print_returns(name, listing, plan, form)
        _refuse(listing)
        return
    _refuse(listing)
    if reason and client.local:
        raise BadRequestError("--reason: is kept with the Device in the cloud; ask it with --kubeconfig")
    _want(client, place, device, plan, reason or f"back to what was wanted {_when(to, since)}")
    _print_returns(name, listing, plan, form, done=True)
    wanted = [one.prop for one in plan if one.after is not None]
    if wait_for is not None and wanted:
        wait_for_device(client, place, name, wanted, DONE[wait_for], deadline_s)


def _when(to: str, since: str) -> str:
    return f"after {to}" if to else f"{since} before" if since else "before"


# --- pure -------------------------------------------------------------------------------------------------


def taken_back(items: Sequence[JsonObject], *, to: str, since_ms: int | None, prop: str) -> list[JsonObject]:
    """The entries of the log, newest first, that came after the moment that is meant: those to be undone.

    Raises `NotFoundError` for an entry that there is not, `GoneError` where the log does not reach back so far.
    """
    if since_ms is not None:
        later = [item for item in items if ms_at(str_at(item, "time")) > since_ms]
        if len(later) == len(items) == LIMIT_MAX:
            raise GoneError(f"the log of {LIMIT_MAX} changes does not reach back so far", compacted=0)
        return later
    if not to:
        if not items:
            raise NotFoundError("nothing was wanted before, as far as the log goes back")
        return _last_write(items)
    fields = ("version",) if "." in to else ("number", "revision")
    if "." in to and not prop:
        raise BadRequestError(f"--to {to} is the version of one property: name it, as in NAME/PROP")
    found = next((at for at, item in enumerate(items) if to in (str(item.get(field)) for field in fields)), None)
    if found is None:
        shows = "`skerry device history NAME --desired -o wide` shows those that it has"
        raise NotFoundError(f"the log has no change {to}; {shows}")
    # Several properties that were wanted in one write share its revision, and it is complete with the newest.
    return [*items[:found]]


def _last_write(items: Sequence[JsonObject]) -> list[JsonObject]:
    """The changes of the newest write: all that came with one revision."""
    revision = str_at(items[0], "revision")
    return [item for item in items if revision and str_at(item, "revision") == revision] or [items[0]]


def returns(device: JsonObject, undone: Sequence[JsonObject]) -> list[Return]:
    """What is to be wanted so that it is as before these changes; nothing where it is so already."""
    oldest: dict[str, JsonObject] = {str_at(item, "property"): item for item in undone}
    found: list[Return] = []
    for prop, item in oldest.items():
        before = item.get("before")
        wanted = desired_of(device, prop)
        now = wanted.value if wanted is not None else None
        after = before if isinstance(before, str) else None
        if now != after:
            found.append(Return(prop=prop, before=now, after=after, number=int_at(item, "number")))
    return found


# --- writing and showing ----------------------------------------------------------------------------------


def _want(client: Client, place: str, device: JsonObject, plan: Sequence[Return], reason: str) -> None:
    wishes = Wishes(values={one.prop: one.after for one in plan if one.after is not None}, reason=reason)
    gone = [one.prop for one in plan if one.after is None]
    if client.local:
        entries: list[Json] = [{"name": one.prop, "value": one.after} for one in plan]
        body: JsonObject = {"properties": entries, "ifMatch": annotations_of(device).get(REVISION, "")}
        client.request("PUT", path_of(DEVICES, place, name_of(device), "twins"), body=body)
        return
    revision = annotations_of(device).get(REVISION, "")

    def changed(obj: JsonObject) -> JsonObject:
        made = without_wishes(with_wishes(obj, wishes), gone)
        annotations = {**map_at(made, "metadata", "annotations"), IF_MATCH: revision}
        if revision:
            made["metadata"] = {**map_at(made, "metadata"), "annotations": annotations}
        return made

    write_device(client, place, name_of(device), changed, wishes=wishes)


def _returns_listed(client: Client, place: str, device: JsonObject, plan: Sequence[Return]) -> Listing:
    """One row a property, with what would be sent to the device."""
    model = find_model(client, place, device)
    values = {one.prop: one.after for one in plan if one.after is not None}
    told = previewed(device, model, values) if values and properties_in(model) else None
    rows: list[Row] = []
    for one in plan:
        held = map_at(told, "writes", one.prop)
        sent = "; ".join(sent_lines(held))
        refusal = str_at(held, "refusal")
        verdict = f"refused: {refusal}" if refusal else sent or ("-" if one.after is None else "as its driver does")
        obj: JsonObject = {
            "device": name_of(device),
            "property": one.prop,
            "before": one.before,
            "value": one.after,
            "number": one.number,
            **({"write": held} if held else {}),
        }
        cells = (one.prop, _said(one.before), _said(one.after), verdict)
        rows.append(Row(cells=cells, obj=obj, name=f"{resource_name(DEVICES, name_of(device))}/{one.prop}"))
    return Listing(titles=("PROPERTY", "NOW", "THEN", "SENT"), rows=tuple(rows))


def _refuse(listing: Listing) -> None:
    refused = [f"{row.cells[0]}: {row.cells[3]}" for row in listing.rows if row.cells[3].startswith("refused")]
    if refused:
        raise RefusedError(f"nothing is changed: {'; '.join(refused)}")


def _print_returns(name: str, listing: Listing, plan: Sequence[Return], form: str, *, done: bool = False) -> None:
    if form != "text":
        print_listing(listing, form, empty=f"{name} is as it was.")
        return
    if not plan:
        say(f"{name} is as it was: nothing to go back from.")
    for row in listing.rows:
        prop, now, then, sent = row.cells
        say(f"{name}/{prop}  {now} -> {then}{' wanted' if done else ''}")
        if not done and sent != "-":
            say(f"    {sent}" if sent.startswith(("refused: ", "as its ")) else f"    sends {sent}")
