"""`skerry node doctor`: what is amiss with gateways and what they do for their sites, each with what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import click

from skerry.cli.backlog import NODES
from skerry.cli.client import path_of
from skerry.cli.output import say
from skerry.cli.target import Target, with_target
from skerry.frozen import Frozen
from skerry.objects.conditions import condition_of
from skerry.objects.functions import FUNCTIONS, FunctionKind
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import name_of

ILL_EXIT: Final = 1
_NEXT: Final[Mapping[FunctionKind, str]] = {
    "ServiceAddresses": "on the gateway: `apt install nftables conntrack`, run edgecore as root",
    "ClusterDNS": "on the gateway: who else listens there (`ss -lunp`), does edgecore run as root, is --cluster-dns "
    "an address of this machine",
    "PodNetwork": "on the gateway: `apt install containernetworking-plugins iproute2 nftables`, and its log",
    "Ingress": "on the gateway: `apt install haproxy`, who else has the ports (`ss -ltnp`), DATA/ingress/haproxy.log",
}
_PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure")


class Finding(Frozen):
    """One line about a node."""

    well: bool
    about: str
    text: str
    next: str = ""


def findings_of(node: JsonObject) -> Iterator[Finding]:
    """By the conditions of its Node: first whether it is there, then what it lacks, then what it does."""
    ready = condition_of(node, "Ready") or {}
    status, said = str_at(ready, "status"), str_at(ready, "message") or "it was never heard"
    if status == "True":
        yield Finding(well=True, about="Ready", text=said)
    elif status == "False":
        next_ = "on the gateway: its container runtime, and edgecore's log"
        yield Finding(well=False, about="Ready", text=said, next=next_)
    else:
        since = str_at(ready, "lastTransitionTime")
        text = f"not heard since {since}; what follows was so then" if since else said
        yield Finding(
            well=False, about="Ready", text=text, next="on site: power, network, `systemctl status edgecore`"
        )
    for kind in _PRESSURES:
        told = condition_of(node, kind) or {}
        if str_at(told, "status") == "True":
            yield Finding(well=False, about=kind, text=str_at(told, "message"), next="see howto/running-short.md")
    for function in FUNCTIONS:
        told = condition_of(node, function) or {}
        if not told:
            continue
        well = str_at(told, "status") == "True"
        yield Finding(well=well, about=function, text=str_at(told, "message"), next="" if well else _NEXT[function])


@click.command("doctor")
@click.argument("names", nargs=-1)
@with_target
def node_doctor(target: Target, names: tuple[str, ...]) -> None:
    """Show what is amiss with nodes, all or those with NAMES, and what to do next.

    Whether they are heard, what they are short of, and what they do for their sites: service addresses, cluster DNS,
    the pods' network, Ingress. The exit code is 1 where something is amiss.
    """
    client = target.client()
    if names:
        nodes = [client.request("GET", path_of(NODES, "", name)).obj for name in names]
    else:
        nodes = maps_at(client.request("GET", path_of(NODES)).obj, "items")
    ill = False
    for node in nodes:
        say(name_of(node))
        for finding in findings_of(node):
            ill |= not finding.well
            mark, colour = ("ok  ", None) if finding.well else ("ILL ", "red")
            say(f"  {mark}{finding.about:<17} {finding.text}", fg=colour)
            if finding.next:
                say(f"      {'next':<17} {finding.next}")
    if ill:
        raise SystemExit(ILL_EXIT)
