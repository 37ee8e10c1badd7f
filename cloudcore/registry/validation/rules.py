"""What Rules, their endpoints and their messages may say by themselves. Pure.

What a rule's resources must say depends on the types of its endpoints, which are objects of their own: that is
checked at admission (`cloudcore.registry.routes`), with the fields named there as here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import Json, JsonObject, map_at, str_at, str_map_at
from skerry.objects.names import subdomain_faults
from skerry.objects.rules import SERVICE_BUS, TYPES, WITHIN_S_MAX
from skerry.validation.faults import forbidden, invalid, named, one_of, required

_PORT_MAX: Final = 65_535
FIXED: Final = ("rule", "nodeName", "topic", "payload", "payloadBase64", "heardTime", "incarnation", "order", "call")
"""Fields of a message that stay as they were told."""


def validate_rule(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    for name in ("source", "target"):
        yield from named(f"spec.{name}", str_at(spec, name), subdomain_faults)
        if not map_at(spec, f"{name}Resource"):
            yield required(f"spec.{name}Resource", f"say what of the {name} endpoint is meant")
    node = str_map_at(spec, "sourceResource").get("node_name", "")
    yield from named("spec.sourceResource[node_name]", node, subdomain_faults, needed=False)


def validate_endpoint(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    kind = str_at(spec, "ruleEndpointType")
    yield from one_of("spec.ruleEndpointType", kind, TYPES)
    properties = str_map_at(spec, "properties")
    if kind == SERVICE_BUS:
        yield from _validate_port(properties.get("service_port"))
    skip = properties.get("insecure_skip_verify")
    if skip not in (None, "true", "false"):
        yield invalid("spec.properties[insecure_skip_verify]", skip, 'must be "true" or "false"')
    within = properties.get("deliver_within_seconds")
    if within is not None and not _is_number(within, low=1, high=WITHIN_S_MAX):
        text = f"must be a number of seconds from 1 to {WITHIN_S_MAX}, as text"
        yield invalid("spec.properties[deliver_within_seconds]", within, text)
    ca = properties.get("ca")
    if ca is not None and "-----BEGIN CERTIFICATE-----" not in ca:
        yield invalid("spec.properties[ca]", ca[:40], "must be certificates in PEM, as in a ca.crt")


def _validate_port(port: str | None) -> Iterator[Cause]:
    field = "spec.properties[service_port]"
    if port is None:
        yield required(field, 'name the port of the service on the gateway, such as "8080"')
    elif not _is_number(port, low=1, high=_PORT_MAX):
        yield invalid(field, port, f"must be a number from 1 to {_PORT_MAX}, as text")


def _is_number(text: str, *, low: int, high: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(high)) and low <= int(text) <= high


def validate_message(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from named("spec.rule", str_at(spec, "rule"), subdomain_faults)
    if old is None:
        return
    before = map_at(old, "spec")
    for name in FIXED:
        if _said(spec, name) != _said(before, name):
            yield forbidden(f"spec.{name}", "what a gateway told is not changed; only redeliver can be")


def _said(spec: JsonObject, name: str) -> Json:
    return spec.get(name) or None
