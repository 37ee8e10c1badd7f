"""Routes of the Gateway API and VirtualServices of Istio, as far as a Gslb has to know them: hosts, the Services
behind them, and whose addresses they are reached at. Pure.

These kinds are custom ones, put in by whoever uses them; nothing of them is checked here that is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from skerry.objects.gslb import GATEWAYS, ISTIO_GATEWAYS, LISTENER_SETS, VIRTUAL_SERVICES, hosts_said
from skerry.objects.json import JsonObject, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key

SERVICES: Final = "services"
_MESH: Final = "mesh"


def hosts_of(key: Key, obj: JsonObject) -> list[str]:
    """Names; what stands for any name at all is none."""
    named = strs_at(obj, "spec", "hosts" if key.resource == VIRTUAL_SERVICES else "hostnames")
    named = [each.lower().rstrip(".") for each in named] or [*hosts_said(obj)]
    return [each for each in named if each != "*"]


def services_of(key: Key, obj: JsonObject) -> Iterator[Key]:
    if key.resource == VIRTUAL_SERVICES:
        for protocol in ("http", "tls", "tcp"):
            for rule in maps_at(obj, "spec", protocol):
                for route in maps_at(rule, "route"):
                    yield _destination(str_at(route, "destination", "host"), key.namespace)
        return
    for rule in maps_at(obj, "spec", "rules"):
        for each in maps_at(rule, "backendRefs"):
            if str_at(each, "kind") in ("", "Service") and not str_at(each, "group"):
                yield Key(SERVICES, str_at(each, "namespace") or key.namespace, str_at(each, "name"))


def _destination(host: str, namespace: str) -> Key:
    """A short name is of the namespace; a long one says its own (reviews.shop.svc.cluster.local)."""
    labels = host.split(".")
    return Key(SERVICES, labels[1] if len(labels) > 2 and labels[2] == "svc" else namespace, labels[0])


def parents_of(key: Key, obj: JsonObject) -> list[Key]:
    """The gateways that lead to it, and sets of listeners that others have put into gateways."""
    if key.resource == VIRTUAL_SERVICES:
        named = [each for each in strs_at(obj, "spec", "gateways") if each != _MESH]
        pairs = [each.rpartition("/") for each in named]
        return [Key(ISTIO_GATEWAYS, space or key.namespace, name) for space, _, name in pairs]
    if key.resource == LISTENER_SETS:
        # Sets go into gateways alone; else one that names itself would lead round and round.
        parent = _parent(map_at(obj, "spec", "parentRef"), key)
        return [parent] if parent.resource == GATEWAYS else []
    rows = maps_at(obj, "spec", "parentRefs")
    return [_parent(each, key) for each in rows if str_at(each, "kind") in ("", "Gateway", "ListenerSet")]


def _parent(given: JsonObject, child: Key) -> Key:
    resource = LISTENER_SETS if str_at(given, "kind") == "ListenerSet" else GATEWAYS
    return Key(resource, str_at(given, "namespace") or child.namespace, str_at(given, "name"))


def selected_by(gateway: JsonObject) -> JsonObject:
    """Labels of the Services that an Istio gateway is reached by."""
    return map_at(gateway, "spec", "selector")


def addresses_of(parents: Iterable[JsonObject]) -> Iterator[str]:
    """Of Gateways, and of Services that gateways are reached by."""
    for parent in parents:
        for row in maps_at(parent, "status", "addresses"):
            if str_at(row, "type") in ("", "IPAddress"):
                yield str_at(row, "value")
        for row in maps_at(parent, "status", "loadBalancer", "ingress"):
            yield str_at(row, "ip")
        yield from strs_at(parent, "spec", "externalIPs")
