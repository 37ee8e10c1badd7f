"""Services and what stands behind them, configuration, identities. Columns of kubectl. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, UNKNOWN, Printer, age, columns, joined, labels_text
from skerry.objects.json import Json, JsonObject, dig, int_at, list_at, map_at, maps_at, str_at, str_map_at, strs_at

_SHOWN_MAX: Final = 3
"""Addresses and ports that are named before the rest is counted."""


def _name(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "name")


def _ingress_addresses(obj: JsonObject) -> list[str]:
    rows = maps_at(obj, "status", "loadBalancer", "ingress")
    return [str_at(row, "ip") or str_at(row, "hostname") for row in rows]


def _external(service: JsonObject) -> str:
    listed = strs_at(service, "spec", "externalIPs")
    match str_at(service, "spec", "type"):
        case "ExternalName":
            return str_at(service, "spec", "externalName") or NONE
        case "LoadBalancer":
            return ",".join([*_ingress_addresses(service), *listed]) or "<pending>"
        case _:
            return joined(listed)


def _port(port: JsonObject) -> str:
    number, node = int_at(port, "port"), int_at(port, "nodePort")
    return f"{number}:{node}/{str_at(port, 'protocol')}" if node else f"{number}/{str_at(port, 'protocol')}"


def _service(obj: JsonObject, now_ms: int) -> list[Json]:
    return [
        _name(obj),
        str_at(obj, "spec", "type"),
        str_at(obj, "spec", "clusterIP") or NONE,
        _external(obj),
        joined(_port(port) for port in maps_at(obj, "spec", "ports")),
        age(obj, now_ms),
        labels_text(str_map_at(obj, "spec", "selector")),
    ]


def _shortened(values: list[str]) -> str:
    if not values:
        return NONE
    more = f" + {len(values) - _SHOWN_MAX} more..." if len(values) > _SHOWN_MAX else ""
    return ",".join(values[:_SHOWN_MAX]) + more


def _endpoints(obj: JsonObject, now_ms: int) -> list[Json]:
    places: list[str] = []
    for subset in maps_at(obj, "subsets"):
        ports = maps_at(subset, "ports")
        for address in maps_at(subset, "addresses"):
            ip = str_at(address, "ip")
            host = f"[{ip}]" if ":" in ip else ip
            places += [f"{host}:{int_at(port, 'port')}" for port in ports] or [ip]
    return [_name(obj), _shortened(places), age(obj, now_ms)]


def _endpoint_slice(obj: JsonObject, now_ms: int) -> list[Json]:
    ports = [str(port["port"]) for port in maps_at(obj, "ports") if isinstance(port.get("port"), int)]
    addresses = [address for endpoint in maps_at(obj, "endpoints") for address in strs_at(endpoint, "addresses")]
    return [
        _name(obj),
        str_at(obj, "addressType"),
        "<unset>" if not list_at(obj, "ports") else _shortened(ports),
        "<unset>" if not list_at(obj, "endpoints") else _shortened(addresses),
        age(obj, now_ms),
    ]


def _ingress(obj: JsonObject, now_ms: int) -> list[Json]:
    hosts = [host for rule in maps_at(obj, "spec", "rules") if (host := str_at(rule, "host"))]
    return [
        _name(obj),
        str_at(obj, "spec", "ingressClassName") or NONE,
        _shortened(hosts) if hosts else "*",
        ",".join(_ingress_addresses(obj)),
        "80, 443" if list_at(obj, "spec", "tls") else "80",
        age(obj, now_ms),
    ]


def _ingress_class(obj: JsonObject, now_ms: int) -> list[Json]:
    parameters = map_at(obj, "spec", "parameters")
    shown = NONE
    if parameters:
        group = str_at(parameters, "apiGroup")
        kind = str_at(parameters, "kind")
        shown = f"{f'{kind}.{group}' if group else kind}/{str_at(parameters, 'name')}"
    return [_name(obj), str_at(obj, "spec", "controller"), shown, age(obj, now_ms)]


def _network_policy(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), labels_text(str_map_at(obj, "spec", "podSelector", "matchLabels")), age(obj, now_ms)]


def _config_map(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), len(map_at(obj, "data")) + len(map_at(obj, "binaryData")), age(obj, now_ms)]


def _secret(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), str_at(obj, "type"), len(map_at(obj, "data")), age(obj, now_ms)]


def _service_account(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), len(list_at(obj, "secrets")), age(obj, now_ms)]


def _ip_address(obj: JsonObject, now_ms: int) -> list[Json]:
    parent = map_at(obj, "spec", "parentRef")
    path = "/".join(
        part
        for part in (
            ".".join(word for word in (str_at(parent, "resource"), str_at(parent, "group")) if word),
            str_at(parent, "namespace"),
            str_at(parent, "name"),
        )
        if part
    )
    return [_name(obj), path or UNKNOWN, age(obj, now_ms)]


def _service_cidr(obj: JsonObject, now_ms: int) -> list[Json]:
    return [_name(obj), ",".join(strs_at(obj, "spec", "cidrs")) or str(dig(obj, "spec", "cidrs")), age(obj, now_ms)]


PRINTERS: Final = {
    ("", "Service"): Printer(
        columns=columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)),
        cells=_service,
    ),
    ("", "Endpoints"): Printer(columns=columns("Name", "Endpoints", "Age"), cells=_endpoints),
    ("discovery.k8s.io", "EndpointSlice"): Printer(
        columns=columns("Name", "AddressType", "Ports", "Endpoints", "Age"), cells=_endpoint_slice
    ),
    ("networking.k8s.io", "Ingress"): Printer(
        columns=columns("Name", "Class", "Hosts", "Address", "Ports", "Age"), cells=_ingress
    ),
    ("networking.k8s.io", "IngressClass"): Printer(
        columns=columns("Name", "Controller", "Parameters", "Age"), cells=_ingress_class
    ),
    ("networking.k8s.io", "NetworkPolicy"): Printer(
        columns=columns("Name", "Pod-Selector", "Age"), cells=_network_policy
    ),
    ("networking.k8s.io", "IPAddress"): Printer(columns=columns("Name", "ParentRef", "Age"), cells=_ip_address),
    ("networking.k8s.io", "ServiceCIDR"): Printer(columns=columns("Name", "CIDRs", "Age"), cells=_service_cidr),
    ("", "ConfigMap"): Printer(columns=columns("Name", "Data", "Age"), cells=_config_map),
    ("", "Secret"): Printer(columns=columns("Name", "Type", "Data:integer", "Age"), cells=_secret),
    ("", "ServiceAccount"): Printer(columns=columns("Name", "Secrets:integer", "Age"), cells=_service_account),
}
"""By (group, kind)."""
