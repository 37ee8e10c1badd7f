"""`skerry device conflicts`: where both sides wanted something without knowing of each other, and what came of it.

Whatever the policy said, the value that lost is kept beside the one that won until somebody writes again. With the
policy `manual` nothing is carried out before a person has chosen.
"""

from __future__ import annotations

import click

from skerry.cli.client import path_of
from skerry.cli.device_objects import (
    DEVICES,
    Twin,
    complete_devices,
    complete_places,
    fields_option,
    find_twin,
    find_twins,
    output_option,
    split_name,
    view_of,
)
from skerry.cli.device_set import Wishes, with_wishes, write_device
from skerry.cli.listing import Listing, Row, check_listed, fields_of, print_listing
from skerry.cli.options import everywhere_option, namespace_option
from skerry.cli.output import say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.desired import Desired
from skerry.objects.json import JsonObject
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.times import micro_time_text


@click.group("conflicts")
def conflicts() -> None:
    """Values that were wanted at the same time: what won, what lost, and what waits for a person."""


@conflicts.command("list")
@click.argument("name", required=False, default="", shell_complete=complete_devices)
@namespace_option
@everywhere_option
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@click.option("--waiting", is_flag=True, help="Only those that wait for a person.")
@output_option()
@fields_option
@with_target
def list_conflicts(
    target: Target,
    name: str,
    namespace: str,
    all_namespaces: bool,
    selector: str,
    waiting: bool,
    form: str,
    fields: str,
) -> None:
    """List conflicts of one device, or of all."""
    check_listed(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    twins = [find_twin(client, place, name)] if name else find_twins(client, place, selector)
    listing = conflicts_listed(twins, waiting=waiting)
    if not all_namespaces:
        listing = listing.without("NAMESPACE")
    print_listing(listing, form, fields_of(fields), empty="No conflicts.")


def conflicts_listed(twins: list[Twin], *, waiting: bool = False) -> Listing:
    """One row a conflict."""
    rows: list[Row] = []
    for twin in twins:
        for view in twin.views:
            wanted = view.desired
            if wanted is not None and wanted.conflict is not None and (wanted.waiting or not waiting):
                rows.append(_row(twin, view.prop, wanted, wanted.conflict))
    titles = ("NAMESPACE", "DEVICE", "PROPERTY", "STATE", "WANTED", "BY", "SIDE", "LOST", "LOST BY", "LOST SIDE")
    return Listing(titles=titles, rows=tuple(rows))


def _row(twin: Twin, prop: str, wanted: Desired, lost: Desired) -> Row:
    namespace, name = namespace_of(twin.device), name_of(twin.device)
    state = "waiting" if wanted.waiting else "settled"
    gone = "(nothing)" if lost.removed else lost.value
    cells = (namespace, name, prop, state, wanted.value, wanted.origin or "-", wanted.side)
    obj: JsonObject = {
        "namespace": namespace,
        "device": name,
        "property": prop,
        "state": state,
        "wanted": {"value": wanted.value, "by": wanted.origin, "side": wanted.side, "version": str(wanted.ver)},
        "lost": {
            "value": None if lost.removed else lost.value,
            "by": lost.origin,
            "side": lost.side,
            "time": micro_time_text(lost.hlc.wall_ms),
        },
    }
    return Row(cells=(*cells, gone, lost.origin or "-", lost.side), obj=obj, name=f"device/{name}/{prop}")


@conflicts.command("resolve")
@click.argument("place", metavar="NAME/PROP", shell_complete=complete_places)
@namespace_option
@click.option(
    "--take", type=click.Choice(["cloud", "edge", "desired"]), default=None, help="Whose value it shall be."
)
@click.option("--value", default=None, help="Another value, of nobody's.")
@with_target
def resolve(target: Target, place: str, namespace: str, take: str | None, value: str | None) -> None:
    """Settle a conflict: `skerry device conflicts resolve boiler/setpoint --take edge`.

    `desired` is what is wanted now, once more. On the gateway itself the choice is written there, and the cloud hears
    of it.
    """
    name, prop = split_name(place)
    if not prop:
        raise BadRequestError(f"name the property: skerry device conflicts resolve {name}/PROPERTY --take edge")
    if (take is None) == (value is None):
        raise BadRequestError("say --take cloud, --take edge, --take desired, or --value VALUE")
    client = target.client()
    where = namespace or client.namespace
    wanted = view_of(find_twin(client, where, name), prop).desired
    if wanted is None or wanted.conflict is None:
        raise NotFoundError(
            f"{name}/{prop} has no conflict; `skerry device conflicts list` shows those that there are"
        )
    chosen = value if value is not None else chosen_of(wanted, take or "")
    if client.local:
        body: JsonObject = {"value": value} if value is not None else {"take": take}
        client.request("PUT", f"{path_of(DEVICES, where, name)}/twins/{prop}", body=body)
    else:
        wishes = Wishes(values={prop: chosen}, take=take or "")
        write_device(client, where, name, lambda obj: with_wishes(obj, wishes), wishes=wishes)
    say(f"{name}/{prop} = {chosen} wanted")


def chosen_of(wanted: Desired, take: str) -> str:
    """The value of that side. Raises `BadRequestError` where it has none."""
    if take == "desired":
        return wanted.value
    for held in (wanted, wanted.conflict):
        if held is not None and held.side == take:
            if held.removed:
                raise BadRequestError(f"the {take} wants nothing: `skerry device unset` makes that so")
            return held.value
    raise BadRequestError(f"the {take} wanted nothing of its own here: take the other, desired, or give a --value")
