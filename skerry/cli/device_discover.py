"""`skerry device discover`: what speaks on a gateway's MQTT broker and is no Device yet, to look at and to apply."""

from __future__ import annotations

import click
import yaml

from skerry.cli.backlog import NODES, nodes_named
from skerry.cli.client import Client, path_of
from skerry.cli.listing import Listing, Row, print_listing
from skerry.cli.options import namespace_option
from skerry.cli.output import one_line, print_data, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.objects.device_questions import LISTEN_S, LISTEN_S_MAX
from skerry.objects.json import JsonObject, int_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of

FORMS = ("table", "wide", "json", "yaml")


@click.command("discover")
@click.argument("node", required=False, default="")
@namespace_option
@click.option("--seconds", default=LISTEN_S, type=click.IntRange(1, LISTEN_S_MAX), help="How long to listen.")
@click.option("-o", "--output", "form", default="table", help="table, wide, json, or yaml: manifests to apply.")
@with_target
def discover(target: Target, node: str, namespace: str, seconds: int, form: str) -> None:
    """Show what speaks on the MQTT broker of gateway NODE and is no Device yet.

    Devices that announce themselves to Home Assistant (zigbee2mqtt, ESPHome, Tasmota, ...), and apps and mappers that
    report in KubeEdge's topics. Make Devices of them: `skerry device discover eu-1 -o yaml | skerry apply -f -`. What
    can't be said without guessing is left out, with the reason on stderr. On a gateway NODE is the gateway itself.
    """
    if form not in FORMS:
        raise BadRequestError(f"-o {form}: use one of {', '.join(FORMS)}")
    client = target.client()
    told = told_by(client, node, namespace or client.namespace, seconds)
    devices = maps_at(told, "devices")
    if form == "json":
        print_data(told, form)
    elif form == "yaml":
        objects = [obj for each in devices for obj in maps_at(each, "objects")]
        say(yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True) if objects else "", nl=False)
    else:
        print_listing(
            devices_listed(devices), form, empty=f"Nothing new speaks on the broker {str_at(told, 'broker')}."
        )
    known = int_at(told, "known")
    if known and form != "json":
        say(f"{known} {'is a Device' if known == 1 else 'are Devices'} already.", err=True)
    if form != "json":
        for line in strs_at(told, "leftOut"):
            say(one_line(f"left out: {line}"), err=True)


def told_by(client: Client, node: str, namespace: str, seconds: int) -> JsonObject:
    """What the gateway answers. Raises `BadRequestError` where it is not clear which one is meant."""
    query = {"namespace": namespace, "seconds": str(seconds)}
    if client.local:
        told = client.request("GET", "/skerry/discovery", query=query).obj
        here = str_at(told, "metadata", "name")
        if node and node != here:
            raise BadRequestError(f"this gateway is {here}; ask the cloud about {node}")
        return told
    if not node:
        names = [name_of(each) for each in nodes_named(client, "")]
        if len(names) != 1:
            raise BadRequestError(
                f"on the broker of which gateway? Name one: {', '.join(names[:20]) or 'there is none'}"
            )
        node = names[0]
    return client.request("GET", path_of(NODES, "", node, "discovery"), query=query).obj


def devices_listed(devices: list[JsonObject]) -> Listing:
    """One row a device."""
    rows = [
        Row(
            cells=(
                str_at(each, "name"),
                str_at(each, "source"),
                str(len(strs_at(each, "properties"))),
                str(int_at(each, "writable")),
                str_at(each, "says"),
                ", ".join(strs_at(each, "properties")),
            ),
            obj=each,
            name=f"device/{str_at(each, 'name')}",
        )
        for each in devices
    ]
    titles = ("NAME", "SOURCE", "PROPERTIES", "WRITABLE", "SAYS", "NAMES")
    return Listing(titles=titles, rows=tuple(rows), wide=frozenset({"NAMES"}))
