"""What services, endpoints and networking may say (`pkg/apis/{core,discovery,networking}/validation`). Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import Json, JsonObject, int_at, list_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.names import label_1123_faults, port_name_faults, subdomain_faults
from skerry.validation.faults import (
    duplicate,
    forbidden,
    immutable,
    invalid,
    named,
    one_of,
    port_number,
    required,
    too_many,
)
from skerry.validation.metadata import validate_labels

_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_POLICIES: Final = ("Cluster", "Local")
_DISTRIBUTIONS: Final = ("PreferClose", "PreferSameNode", "PreferSameZone")
_STICKY_S_MAX: Final = 86_400
_ENDPOINTS_MAX: Final = 1000
_ADDRESSES_MAX: Final = 100
_SLICE_PORTS_MAX: Final = 20_000
_PATH_TYPES: Final = ("Exact", "Prefix", "ImplementationSpecific")


def validate_service(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    kind = str_at(spec, "type")
    ports = maps_at(spec, "ports")
    yield from one_of("spec.type", kind, _TYPES)
    yield from one_of("spec.sessionAffinity", str_at(spec, "sessionAffinity"), ("ClientIP", "None"))
    yield from validate_labels("spec.selector", str_map_at(spec, "selector"))
    if kind == "ExternalName":
        yield from named("spec.externalName", str_at(spec, "externalName").lower(), subdomain_faults)
        if str_at(spec, "clusterIP"):
            yield forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'")
    elif not ports and str_at(spec, "clusterIP") != "None":
        yield required("spec.ports")
    yield from _validate_ports(ports, kind)
    yield from _validate_addresses(spec)
    yield from _validate_traffic(spec, kind)
    if old is not None:
        yield from _validate_same_address(spec, map_at(old, "spec"))


def _validate_ports(ports: list[JsonObject], kind: str) -> Iterator[Cause]:
    names: set[str] = set()
    bound: set[tuple[int, str]] = set()
    for index, port in enumerate(ports):
        here = f"spec.ports[{index}]"
        name, number, protocol = str_at(port, "name"), int_at(port, "port"), str_at(port, "protocol")
        if len(ports) > 1 and not name:
            yield required(f"{here}.name")
        yield from named(f"{here}.name", name, label_1123_faults, needed=False)
        if name and name in names:
            yield duplicate(f"{here}.name", name)
        names.add(name)
        yield from port_number(f"{here}.port", number)
        yield from one_of(f"{here}.protocol", protocol, _PROTOCOLS)
        target = port.get("targetPort")
        if isinstance(target, str):
            yield from named(f"{here}.targetPort", target, port_name_faults)
        else:
            yield from port_number(f"{here}.targetPort", target)
        if int_at(port, "nodePort") and kind in ("ClusterIP", "ExternalName"):
            yield forbidden(f"{here}.nodePort", f"may not be used when `type` is '{kind}'")
        yield from port_number(f"{here}.nodePort", int_at(port, "nodePort") or None)
        if (number, protocol) in bound:
            yield duplicate(here, {"port": number, "protocol": protocol})
        bound.add((number, protocol))


def _validate_addresses(spec: JsonObject) -> Iterator[Cause]:
    for index, address in enumerate(strs_at(spec, "clusterIPs")):
        if address != "None":
            yield from _validate_address(f"spec.clusterIPs[{index}]", address)
    for index, address in enumerate(strs_at(spec, "externalIPs")):
        yield from _validate_address(f"spec.externalIPs[{index}]", address)


def _validate_address(field: str, address: str) -> Iterator[Cause]:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        yield invalid(field, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def _validate_traffic(spec: JsonObject, kind: str) -> Iterator[Cause]:
    """Who may come in, and where it goes."""
    outside = kind in ("LoadBalancer", "NodePort") or bool(strs_at(spec, "externalIPs"))
    external = str_at(spec, "externalTrafficPolicy")
    if external and not outside:
        yield invalid("spec.externalTrafficPolicy", external, "may only be set for externally-accessible services")
    else:
        yield from one_of("spec.externalTrafficPolicy", external, _POLICIES, needed=outside)
    internal = str_at(spec, "internalTrafficPolicy")
    yield from one_of("spec.internalTrafficPolicy", internal, _POLICIES, needed=kind != "ExternalName")
    near = str_at(spec, "trafficDistribution")
    yield from one_of("spec.trafficDistribution", near, _DISTRIBUTIONS, needed=False)
    health = int_at(spec, "healthCheckNodePort")
    if health and not (kind == "LoadBalancer" and external == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", health, why)
    for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec.get(name) is not None and kind != "LoadBalancer":
            yield forbidden(f"spec.{name}", "may only be used when `type` is 'LoadBalancer'")
    yield from _validate_stickiness(spec)


def _validate_stickiness(spec: JsonObject) -> Iterator[Cause]:
    here = "spec.sessionAffinityConfig"
    if str_at(spec, "sessionAffinity") == "None":
        if spec.get("sessionAffinityConfig") is not None:
            yield forbidden(here, "must not be set when session affinity is None")
        return
    seconds = int_at(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds", default=1)
    if not 1 <= seconds <= _STICKY_S_MAX:
        why = f"must be greater than 0 and less than {_STICKY_S_MAX}"
        yield invalid(f"{here}.clientIP.timeoutSeconds", seconds, why)


def _validate_same_address(spec: JsonObject, old: JsonObject) -> Iterator[Cause]:
    given = str_at(old, "clusterIP")
    if "ExternalName" in (str_at(spec, "type"), str_at(old, "type")):
        return
    if given and str_at(spec, "clusterIP") != given:
        yield invalid("spec.clusterIPs[0]", spec.get("clusterIPs"), "may not change once set")
    second, before = strs_at(spec, "clusterIPs")[1:], strs_at(old, "clusterIPs")[1:]
    if second and before and second != before:
        yield invalid("spec.clusterIPs[1]", spec.get("clusterIPs"), "may not change once set")
    if given and strs_at(spec, "ipFamilies")[:1] != (strs_at(old, "ipFamilies") or strs_at(spec, "ipFamilies"))[:1]:
        yield invalid("spec.ipFamilies[0]", spec.get("ipFamilies"), "may not change once set")
    health = int_at(old, "healthCheckNodePort")
    if health and int_at(spec, "healthCheckNodePort") not in (0, health):
        yield from immutable("spec.healthCheckNodePort", spec.get("healthCheckNodePort"), health)


def validate_endpoint_slice(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    family = str_at(obj, "addressType")
    yield from one_of("addressType", family, ("FQDN", "IPv4", "IPv6"))
    endpoints = maps_at(obj, "endpoints")
    if len(endpoints) > _ENDPOINTS_MAX:
        yield too_many("endpoints", len(endpoints), _ENDPOINTS_MAX)
    for index, endpoint in enumerate(endpoints[:_ENDPOINTS_MAX]):
        addresses = strs_at(endpoint, "addresses")
        here = f"endpoints[{index}].addresses"
        if not addresses:
            yield required(here, "must contain at least 1 address")
        if len(addresses) > _ADDRESSES_MAX:
            yield too_many(here, len(addresses), _ADDRESSES_MAX)
        for number, address in enumerate(addresses[:_ADDRESSES_MAX]):
            yield from _validate_of_family(f"{here}[{number}]", address, family)
    yield from _validate_slice_ports(maps_at(obj, "ports"))
    if old is not None:
        yield from immutable("addressType", obj.get("addressType"), old.get("addressType"))


def _validate_of_family(field: str, address: str, family: str) -> Iterator[Cause]:
    if family == "FQDN":
        yield from named(field, address, subdomain_faults)
        return
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        yield invalid(field, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        return
    if f"IPv{found.version}" != family:
        yield invalid(field, address, f"must be an {family} address")


def _validate_slice_ports(ports: list[JsonObject]) -> Iterator[Cause]:
    if len(ports) > _SLICE_PORTS_MAX:
        yield too_many("ports", len(ports), _SLICE_PORTS_MAX)
    names: set[str] = set()
    for index, port in enumerate(ports):
        name = str_at(port, "name")
        yield from named(f"ports[{index}].name", name, label_1123_faults, needed=False)
        if name in names:
            yield duplicate(f"ports[{index}].name", name)
        names.add(name)
        yield from one_of(f"ports[{index}].protocol", str_at(port, "protocol"), _PROTOCOLS)


def validate_ingress(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    rules = maps_at(spec, "rules")
    backend = spec.get("defaultBackend")
    if not rules and backend is None:
        yield invalid("spec", spec, "either `defaultBackend` or `rules` must be specified")
    if isinstance(backend, dict):
        yield from _validate_backend("spec.defaultBackend", backend)
    for index, rule in enumerate(rules):
        here = f"spec.rules[{index}]"
        host = str_at(rule, "host")
        yield from named(f"{here}.host", host.removeprefix("*."), subdomain_faults, needed=False)
        if "http" in rule and not list_at(rule, "http", "paths"):
            yield required(f"{here}.http.paths")
        for number, path in enumerate(maps_at(rule, "http", "paths")):
            yield from _validate_path(f"{here}.http.paths[{number}]", path)


def _validate_path(field: str, path: JsonObject) -> Iterator[Cause]:
    kind, text = str_at(path, "pathType"), str_at(path, "path")
    if not kind:
        yield required(f"{field}.pathType", "pathType must be specified")
    yield from one_of(f"{field}.pathType", kind, _PATH_TYPES, needed=False)
    if kind in ("Exact", "Prefix") and not text.startswith("/"):
        yield invalid(f"{field}.path", text, "must be an absolute path")
    yield from _validate_backend(f"{field}.backend", map_at(path, "backend"))


def _validate_backend(field: str, backend: JsonObject) -> Iterator[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(field, "", "cannot set both resource and service backends")
    elif service is None and resource is None:
        yield required(field, "exactly one of service or resource must be specified")
    elif isinstance(service, dict):
        yield from named(f"{field}.service.name", str_at(service, "name"), label_1123_faults)
        number: Json = map_at(service, "port").get("number")
        if not number and not str_at(service, "port", "name"):
            yield required(field, "port name or number is required")
        yield from port_number(f"{field}.service.port.number", number)
