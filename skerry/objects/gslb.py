"""What DNS is asked to answer, and by whom: k8gb's Gslb (both groups), our GlobalService, external-dns' DNSEndpoint,
and the zones that these come into. Pure; keeps nothing.

A `Wish` is what a Gslb or a GlobalService says, in one form. `DnsSnapshot` is what servers answer from: made by a
controller, followed by `cloudcore dns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.hosts import is_address
from skerry.objects.ingresses import INGRESSES
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, read_json, str_at, strs_at
from skerry.objects.meta import Key, annotations_of, name_of, namespace_of
from skerry.objects.select import LabelSelector, label_selector

K8GB: Final = "k8gb.io"
K8GB_BEFORE: Final = "k8gb.absa.oss"
EXTERNAL_DNS: Final = "externaldns.k8s.io"
GLOBAL_SERVICES: Final = "globalservices.skerry.dev"
DNS_ENDPOINTS: Final = "dnsendpoints.externaldns.k8s.io"
DNS_ZONES: Final = "dnszones.skerry.dev"
DNS_SNAPSHOTS: Final = "dnssnapshots.skerry.dev"
GSLBS: Final = (f"gslbs.{K8GB}", f"gslbs.{K8GB_BEFORE}")
WISHES: Final = (*GSLBS, GLOBAL_SERVICES)
"""Resources that say how names are answered."""
EXPOSED: Final = ("k8gb.io/exposed-ip-addresses", "skerry.dev/exposed-ip-addresses")
"""Annotations of a Gslb: addresses in place of those that its Ingress is reached at."""
HOSTNAMES: Final = "k8gb.io/exposed-hostnames"
"""Annotation of k8gb's that asks for addresses to be looked up by the controller."""
HOSTNAME: Final = ("k8gb.io/hostname", "external-dns.alpha.kubernetes.io/hostname")
"""Annotations of a Gslb that refers to what has no hosts of its own, or of that itself: hosts."""
PROBE: Final = "skerry.dev/probe"
"""Annotation of a Gslb: how its addresses are tried, in JSON as a GlobalService says it; `none`: not at all."""
NO_PROBE: Final = "None"
"""Type of a probe that is none, where the zone has one for all."""
REGION_LABEL: Final = "topology.kubernetes.io/region"
TTL_DEFAULT_S: Final = 30
POLICIES: Final[Mapping[str, str]] = {
    "Nearest": "nearest",
    "Latency": "latency",
    "Failover": "failover",
    "Weighted": "weighted",
    "Tiers": "tiers",
    "RoundRobin": "round_robin",
}
"""Of a GlobalService, and what services of zones call them."""
STRATEGIES: Final[Mapping[str, str]] = {"roundRobin": "round_robin", "failover": "failover", "geoip": "nearest"}
"""Of a Gslb."""
GATEWAY_API: Final = "gateway.networking.k8s.io"
ISTIO: Final = "networking.istio.io"
ROUTES: Final = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
GATEWAYS: Final = f"gateways.{GATEWAY_API}"
ISTIO_GATEWAYS: Final = f"gateways.{ISTIO}"
LISTENER_SETS: Final = f"listenersets.{GATEWAY_API}"
VIRTUAL_SERVICES: Final = f"virtualservices.{ISTIO}"
REFERRED: Final[Mapping[tuple[str, str], str]] = {
    ("networking.k8s.io", "Ingress"): INGRESSES,
    ("", "Service"): "services",
    (ISTIO, "VirtualService"): VIRTUAL_SERVICES,
    **{(GATEWAY_API, kind): f"{kind.lower()}s.{GATEWAY_API}" for kind in ROUTES},
}
"""Kinds that hosts and addresses may come from, by group."""
GROUPS: Final[Mapping[str, str]] = {kind: group for group, kind in REFERRED}
NAMELESS: Final = ("Service", "TCPRoute", "UDPRoute")
"""Kinds that have no field for hosts."""
HEALTHY: Final = "Healthy"
UNHEALTHY: Final = "Unhealthy"
NOT_FOUND: Final = "NotFound"


class Reference(Frozen):
    """Ingresses or Services, by name or by labels."""

    resource: str
    """"" for a kind that nothing is known of."""
    namespace: str
    name: str = ""
    selector: LabelSelector | None = None
    kind: str = ""

    def refers_to(self, obj: JsonObject, key: Key) -> bool:
        if key.resource != self.resource or key.namespace != self.namespace:
            return False
        return key.name == self.name if self.name else self.selector is not None and self.selector.selects(obj)


class Address(Frozen):
    """Where something is reached, as somebody wrote it."""

    address: str
    region: str = ""
    weight: int = -1
    """-1: what its region has."""


class Wish(Frozen):
    key: Key
    policy: str
    ttl: int
    hosts: tuple[str, ...] = ()
    """Those that are written; others come from what it refers to."""
    primary: str = ""
    order: tuple[str, ...] = ()
    weights: Mapping[str, int] = {}
    all_healthy: bool = False
    """Every service behind a host has to be healthy, not any."""
    reference: Reference | None = None
    embedded: JsonObject | None = None
    """The spec of an Ingress, in the form of the Gslb."""
    addresses: tuple[Address, ...] = ()
    probe: JsonObject | None = None
    """How its addresses are tried; empty for not at all, None for as the zone says."""
    blend: Mapping[str, Json] = {}
    """What a service of a zone has beside its policy, as it is."""
    votes: Mapping[tuple[str, str], tuple[int, int]] = {}
    """Of gateways that try a host's address: how many say up, and down."""
    drains: tuple[JsonObject, ...] = ()
    complaints: tuple[str, ...] = ()
    """Annotations that can't be meant."""


def wish_of(key: Key, obj: JsonObject) -> Wish:
    return _of_global_service(key, obj) if key.resource == GLOBAL_SERVICES else _of_gslb(key, obj)


def _of_gslb(key: Key, obj: JsonObject) -> Wish:
    strategy = map_at(obj, "spec", "strategy")
    weights = {region: int_at(strategy, "weight", region) for region in map_at(strategy, "weight")}
    policy = STRATEGIES.get(str_at(strategy, "type"), "round_robin")
    return Wish(
        key=key,
        policy="weighted" if weights and policy == "round_robin" else policy,
        ttl=int_at(strategy, "dnsTtlSeconds") or TTL_DEFAULT_S,
        primary=str_at(strategy, "primaryGeoTag"),
        weights=weights,
        all_healthy=str_at(obj, "spec", "serviceHealthPolicy") == "All",
        reference=_gslb_reference(key, obj),
        embedded=map_at(obj, "spec", "ingress") or None,
        addresses=exposed(obj),
        hosts=hosts_said(obj) if str_at(obj, "spec", "resourceRef", "kind") in NAMELESS else (),
        probe=probe_said(key, obj),
        votes=_votes(obj),
        complaints=_complaints(obj),
    )


def hosts_said(obj: JsonObject) -> tuple[str, ...]:
    """By an annotation, for what has no field for them."""
    said = annotations_of(obj)
    text = next((said[name] for name in HOSTNAME if said.get(name)), "")
    return tuple(dict.fromkeys(each.lower().rstrip(".") for each in text.replace(",", " ").split()))


def probe_said(key: Key, obj: JsonObject) -> JsonObject | None:
    """Of a `Wish`; an annotation that can't be read is none."""
    if key.resource == GLOBAL_SERVICES:
        given = map_at(obj, "spec", "probe")
        return {} if str_at(given, "type") == NO_PROBE else given or None
    try:
        return probe_annotated(obj)
    except InvalidError:
        return {}


def probe_annotated(obj: JsonObject) -> JsonObject | None:
    """What the annotation of a Gslb says. Raises `InvalidError`."""
    text = annotations_of(obj).get(PROBE, "")
    if not text:
        return None
    if text.lower() == "none":
        return {}
    given = read_json(text)
    if not isinstance(given, dict) or not given:
        raise InvalidError('must be a map as {"type": "HTTPS", "path": "/healthz"}, or none')
    return given


def probe_for(said: JsonObject | None, zone: JsonObject) -> JsonObject | None:
    """How the addresses of a host are tried, given what its owner says and the spec of its zone; None: not at all."""
    return (map_at(zone, "probe") if said is None else said) or None


def _votes(obj: JsonObject) -> Mapping[tuple[str, str], tuple[int, int]]:
    return {
        (str_at(row, "host"), str_at(row, "address")): (int_at(row, "up"), int_at(row, "down"))
        for row in maps_at(obj, "status", "observations")
    }


def exposed(obj: JsonObject) -> tuple[Address, ...]:
    """Addresses that the annotation gives; what is none is left out."""
    said = annotations_of(obj)
    text = next((said[name] for name in EXPOSED if said.get(name)), "")
    return tuple(Address(address=each) for each in text.replace(",", " ").split() if is_address(each))


def _complaints(obj: JsonObject) -> tuple[str, ...]:
    said = annotations_of(obj)
    found = [
        f"annotation {name}: {each[:64]!r} is no IP address, and left out"
        for name in EXPOSED
        for each in said.get(name, "").replace(",", " ").split()[:100]
        if not is_address(each)
    ]
    if said.get(HOSTNAMES):
        found.append(f"annotation {HOSTNAMES} is of no effect here: name the addresses by {EXPOSED[0]}")
    return tuple(found)


def _gslb_reference(key: Key, obj: JsonObject) -> Reference | None:
    given = map_at(obj, "spec", "resourceRef")
    if map_at(obj, "spec", "ingress"):
        return Reference(resource=INGRESSES, namespace=key.namespace, name=key.name, kind="Ingress")
    if not given:
        return None
    return _reference(key.namespace, str_at(given, "apiVersion").rpartition("/")[0], given)


def _reference(namespace: str, group: str, given: JsonObject) -> Reference:
    kind = str_at(given, "kind")
    selector = {name: given[name] for name in ("matchLabels", "matchExpressions") if given.get(name)}
    return Reference(
        resource=REFERRED.get((group, kind), ""),
        namespace=namespace,
        name=str_at(given, "name"),
        selector=label_selector(selector) if selector else None,
        kind=kind,
    )


def _of_global_service(key: Key, obj: JsonObject) -> Wish:
    spec = map_at(obj, "spec")
    given = map_at(spec, "resourceRef")
    order = tuple(strs_at(spec, "regionOrder"))
    return Wish(
        key=key,
        policy=POLICIES.get(str_at(spec, "policy"), "nearest"),
        ttl=int_at(spec, "ttlSeconds", default=TTL_DEFAULT_S),
        hosts=tuple(each.lower().rstrip(".") for each in strs_at(spec, "hosts")),
        primary=order[0] if order else "",
        order=order,
        weights={region: int_at(spec, "weights", region) for region in map_at(spec, "weights")},
        all_healthy=str_at(spec, "healthPolicy") == "All",
        reference=_reference(key.namespace, GROUPS.get(str_at(given, "kind"), ""), given) if given else None,
        addresses=tuple(
            Address(
                address=str_at(each, "address"),
                region=str_at(each, "region"),
                weight=int_at(each, "weight", default=-1),
            )
            for each in maps_at(spec, "endpoints")
        ),
        probe=probe_said(key, obj),
        blend={name: spec[name] for name in ("tiers", "sticky", "canary", "minUpPercent") if name in spec},
        votes=_votes(obj),
        drains=tuple(maps_at(spec, "drains")),
    )


def embedded_ingress(gslb: JsonObject) -> JsonObject:
    """The Ingress that a Gslb with an embedded spec stands for, without its owner: k8gb makes it, and so do we."""
    given = map_at(gslb, "spec", "ingress")
    spec = {name: given[name] for name in ("ingressClassName", "rules", "tls") if given.get(name)}
    if given.get("backend"):
        spec["defaultBackend"] = given["backend"]
    meta: JsonObject = {"name": name_of(gslb), "namespace": namespace_of(gslb)}
    kept = {
        name: value
        for name, value in annotations_of(gslb).items()
        if not name.startswith("kubectl.kubernetes.io/") and name not in EXPOSED
    }
    if kept:
        meta["annotations"] = {**kept}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec}
