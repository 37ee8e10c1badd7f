"""`skerry device ack|delta`: what became of what is wanted, and where devices are not as they are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import click

from skerry.cli.device_objects import (
    Twin,
    complete_devices,
    fields_option,
    find_twin,
    find_twins,
    output_option,
)
from skerry.cli.device_show import ack_shown, delta_of_wish, value_object
from skerry.cli.listing import Listing, Row, check_listed, fields_of, print_listing
from skerry.cli.options import everywhere_option, namespace_option
from skerry.cli.target import Target, with_target
from skerry.objects.device_twins import TwinView
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.times import human_duration

DONE: Final = frozenset({"applied", "verified"})


@click.group("ack")
def ack() -> None:
    """The answers of devices to what is wanted of them."""


@ack.command("list")
@click.argument("name", required=False, default="", shell_complete=complete_devices)
@namespace_option
@everywhere_option
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@click.option("--open", "only_open", is_flag=True, help="Only what the device does not have.")
@click.option("--state", default="", help="Only pending, applied, verified, refused, failed or expired.")
@output_option()
@fields_option
@with_target
def list_acks(
    target: Target,
    name: str,
    namespace: str,
    all_namespaces: bool,
    selector: str,
    only_open: bool,
    state: str,
    form: str,
    fields: str,
) -> None:
    """List what is wanted with its answer: of one device, or of all. `--open`: what is still to come, or won't."""
    check_listed(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    twins = [find_twin(client, place, name)] if name else find_twins(client, place, selector)

    def chosen(view: TwinView) -> bool:
        return (view.ack_state not in DONE if only_open else True) and state in ("", view.ack_state or "pending")

    listing = wanted_listed(twins, chosen, time.time() * 1000)
    listing = listing if all_namespaces else listing.without("NAMESPACE")
    print_listing(listing, form, fields_of(fields), empty="Nothing of the kind is wanted.")


@click.command("delta")
@click.argument("name", required=False, default="", shell_complete=complete_devices)
@namespace_option
@everywhere_option
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@output_option()
@fields_option
@with_target
def delta(
    target: Target, name: str, namespace: str, all_namespaces: bool, selector: str, form: str, fields: str
) -> None:
    """List where devices are not as they are wanted: what is wanted, what they told, and why they differ."""
    check_listed(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    twins = [find_twin(client, place, name)] if name else find_twins(client, place, selector)
    listing = wanted_listed(twins, lambda view: delta_of_wish(view) != "", time.time() * 1000)
    listing = listing if all_namespaces else listing.without("NAMESPACE")
    print_listing(listing, form, fields_of(fields), empty="All is as it is wanted.")


def wanted_listed(twins: Sequence[Twin], chosen: Callable[[TwinView], bool], now_ms: float) -> Listing:
    """One row a value that is wanted."""
    rows = tuple(
        _row(twin, view, now_ms)
        for twin in twins
        for view in twin.views
        if view.desired is not None and not view.desired.removed and chosen(view)
    )
    titles = (
        *("NAMESPACE", "DEVICE", "PROPERTY", "WANTED", "REPORTED", "DELTA"),
        *("BY", "SINCE", "VERSION", "ACK", "REASON"),
    )
    return Listing(titles=titles, rows=rows, wide=frozenset({"VERSION"}))


def _row(twin: Twin, view: TwinView, now_ms: float) -> Row:
    namespace, name, wanted = namespace_of(twin.device), name_of(twin.device), view.desired
    assert wanted is not None, "the caller looked"
    state, reason = ack_shown(view)
    gone = delta_of_wish(view)
    cells = (
        *(namespace, name, view.prop, wanted.value, view.reported if view.reported is not None else "-"),
        gone or "-",
        wanted.origin or "-",
        human_duration(max(0.0, now_ms - wanted.hlc.wall_ms) / 1000),
        str(wanted.ver),
        "pending" if state == "-" else state,
        reason,
    )
    obj = value_object(name, namespace, view) | {"delta": gone}
    return Row(cells=cells, obj=obj, name=f"device/{name}/{view.prop}")
