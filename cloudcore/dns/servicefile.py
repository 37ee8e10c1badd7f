"""`ORIGIN.services.yaml` beside a zone file: names whose addresses depend on who asks.

Keeps nothing. Each field is checked, and named where it is wrong.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, cast

import yaml

from cloudcore.dns.alike import Alike, AlikeShelf
from cloudcore.dns.geography import BIAS_MAX, GeoRules
from cloudcore.dns.places import NOWHERE, Places
from cloudcore.dns.steering import POLICIES, SIZES, Canary, Endpoint, Policy, Service
from cloudcore.dns.zone import TTL_MAX
from skerry.dns.names import is_within, labels, name_of, text_of
from skerry.dns.numbers import AAAA, A
from skerry.dns.records import Record
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.probing.probe import probe_of

SUFFIX: Final = ".services.yaml"
WEIGHT_MAX: Final = 1_000_000
ENDPOINTS_MAX: Final = 1000
VOTES_MAX: Final = 15
_SERVICE_FIELDS: Final = {"policy", "ttl", "endpoints", "probe", "tiers", "sticky", "canary", "minUpPercent"}


def read_services(path: Path, origin: bytes) -> dict[bytes, Service]:
    """By name. Raises `InvalidError` that names file and field, `UnavailableError`."""
    try:
        document: object = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidError(f"{path}: is not YAML: {error}") from error
    try:
        return services_of(document, origin)
    except InvalidError as error:
        raise InvalidError(f"{path}: {error}") from error


def services_of(document: object, origin: bytes, *, strict: bool = True) -> dict[bytes, Service]:
    """What such a file says; not `strict`, as a cloud says it: an order may name regions that a service has
    none of, a service may have no endpoints, so that its name is there without addresses, and what a later cloud
    says beside is left out. Raises
    `InvalidError` that names the field."""
    known = {"places", "orders", "services", "geo", "latencies"} if strict else None
    return _services(_map(document, "the file", known), origin, strict=strict)


def records_of(services: Iterable[Service]) -> list[Record]:
    """As a zone holds them for whoever doesn't know who asks: other servers, and questions of other types."""
    return [
        Record(owner=service.name, type=kind, ttl=service.ttl, rdata=address)
        for service in services
        for kind in (A, AAAA)
        for address in service.addresses(kind)
    ]


def _services(document: dict[str, object], origin: bytes, *, strict: bool) -> dict[bytes, Service]:
    places = _places(document.get("places"))
    orders = {
        place: tuple(_texts(regions, f"orders.{place}"))
        for place, regions in _map(document.get("orders"), "orders").items()
    }
    orders = {NOWHERE if place == "default" else place: regions for place, regions in orders.items()}
    geo = _geo(document.get("geo"))
    ground = _Ground(
        places=places,
        orders=orders,
        geo=geo,
        latencies=_latencies(document.get("latencies")),
        shelf=AlikeShelf(places, geo),
    )
    found: dict[bytes, Service] = {}
    for name, about in _map(document.get("services"), "services").items():
        service = _service(name, about, origin, ground, few=1 if strict else 0)
        if strict and service.policy == "nearest":
            _check_orders(service, orders, f"services.{name}")
        found[service.name] = service
    return found


class _Ground(Frozen):
    """What all services of a zone have in common."""

    places: Places
    orders: dict[str, tuple[str, ...]]
    geo: GeoRules | None
    latencies: dict[str, tuple[str, ...]]
    shelf: AlikeShelf

    def alike(self, policy: Policy, endpoints: Sequence[Endpoint]) -> dict[int, Alike]:
        every = tuple(dict.fromkeys(each.region for each in endpoints))
        orders = {NOWHERE: every, **self.orders}
        measured = policy == "latency"
        table = self.latencies if measured else orders
        default = table.get(NOWHERE, orders[NOWHERE])
        found: dict[int, Alike] = {}
        for kind, size in SIZES.items():
            regions = frozenset(each.region for each in endpoints if len(each.address) == size)
            if (one := self.shelf.of(table, default, regions, measured=measured)) is not None:
                found[kind] = one
        return found


def _geo(given: object) -> GeoRules | None:
    if given is None:
        return None
    about = _map(given, "geo", {"subdivisions", "countries", "continents", "coordinates", "bias"})
    words = {
        name: {code.upper(): str(place) for code, place in _map(about.get(name), f"geo.{name}").items()}
        for name in ("subdivisions", "countries", "continents")
    }
    bias: dict[str, int] = {}
    for region, value in _map(about.get("bias"), "geo.bias").items():
        if not isinstance(value, int) or isinstance(value, bool) or not -BIAS_MAX <= value <= BIAS_MAX:
            raise InvalidError(f"geo.bias.{region}: a whole number from -{BIAS_MAX} to {BIAS_MAX} is wanted")
        bias[region] = value
    return GeoRules(
        subdivisions=words["subdivisions"],
        countries=words["countries"],
        continents=words["continents"],
        coordinates={
            region: _coordinates(value, f"geo.coordinates.{region}")
            for region, value in _map(about.get("coordinates"), "geo.coordinates").items()
        },
        bias=bias,
    )


def _coordinates(given: object, field: str) -> tuple[float, float]:
    numbers = cast("list[object]", given) if isinstance(given, list) else []
    made = [float(each) for each in numbers if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) != 2 or len(made) != 2 or not (-90 <= made[0] <= 90 and -180 <= made[1] <= 180):
        raise InvalidError(f"{field}: latitude and longitude are wanted, as [50.1, 8.7]")
    return made[0], made[1]


def _latencies(given: object) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for place, table in _map(given, "latencies").items():
        measured: dict[str, float] = {}
        for region, value in _map(table, f"latencies.{place}").items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e6:
                raise InvalidError(f"latencies.{place}.{region}: milliseconds are wanted")
            measured[region] = float(value)
        order = tuple(sorted(measured, key=lambda region: (measured[region], region)))
        found[NOWHERE if place == "default" else place] = order
    return found


def _places(given: object) -> Places:
    networks: dict[ipaddress.IPv4Network | ipaddress.IPv6Network, str] = {}
    for place, ranges in _map(given, "places").items():
        for text in _texts(ranges, f"places.{place}"):
            try:
                network = ipaddress.ip_network(text)
            except ValueError as error:
                raise InvalidError(f"places.{place}: {error}") from None
            if networks.setdefault(network, place) != place:
                raise InvalidError(f"places.{place}: {network} is in {networks[network]} as well")
    return Places(networks)


def _service(name: str, given: object, origin: bytes, ground: _Ground, *, few: int) -> Service:
    field = f"services.{name}"
    about = _map(given, field, _SERVICE_FIELDS if few else None)
    owner = _owner(name, origin)
    policy = about.get("policy", "nearest")
    if policy not in POLICIES:
        raise InvalidError(f"{field}.policy: {policy!r} is not one of {', '.join(POLICIES)}")
    ttl = _number(about.get("ttl", 30), f"{field}.ttl", TTL_MAX)
    listed = about.get("endpoints")
    if not isinstance(listed, list) or not few <= len(cast("list[object]", listed)) <= ENDPOINTS_MAX:
        raise InvalidError(f"{field}.endpoints: a list of {few} to {ENDPOINTS_MAX} is wanted")
    endpoints = tuple(
        _endpoint(each, f"{field}.endpoints[{number}]", strict=few > 0)
        for number, each in enumerate(cast("list[object]", listed))
    )
    probe = about.get("probe")
    every = tuple(dict.fromkeys(each.region for each in endpoints))
    return Service(
        name=owner,
        ttl=ttl,
        policy=policy,
        endpoints=endpoints,
        places=ground.places,
        orders={NOWHERE: every, **ground.orders},
        geo=ground.geo,
        latencies=ground.latencies,
        alike=ground.alike(policy, endpoints) if policy in ("nearest", "latency") else {},
        tiers=tuple(
            frozenset(_texts(tier, f"{field}.tiers")) for tier in _list(about.get("tiers"), f"{field}.tiers")
        ),
        sticky=about.get("sticky") is True,
        canary=_canary(about.get("canary"), f"{field}.canary"),
        up_share=_number(about.get("minUpPercent", 0), f"{field}.minUpPercent", 100) / 100,
        probe=None
        if probe is None
        else probe_of(probe, f"{field}.probe", text_of(owner).removeprefix("*.").rstrip(".")),
    )


def _canary(given: object, field: str) -> Canary | None:
    if given is None:
        return None
    about = _map(given, field, {"region", "percent"})
    region, percent = about.get("region"), about.get("percent")
    if not isinstance(region, str) or not region:
        raise InvalidError(f"{field}.region: the region that some clients are led to is wanted")
    if not isinstance(percent, int | float) or isinstance(percent, bool) or not 0 <= percent <= 100:
        raise InvalidError(f"{field}.percent: a number from 0 to 100 is wanted")
    return Canary(region=region, percent=float(percent))


def _check_orders(service: Service, orders: dict[str, tuple[str, ...]], field: str) -> None:
    regions = {each.region for each in service.endpoints}
    for place, order in orders.items():
        if not regions & set(order):
            raise InvalidError(f"orders.{place or 'default'}: names no region of {field}")


def _owner(name: str, origin: bytes) -> bytes:
    if name.endswith("."):
        owner = name_of(name).lower()
    else:
        owner = origin if name == "@" else name_of(f"{name}.{text_of(origin)}").lower()
    if not is_within(owner, origin):
        raise InvalidError(f"services.{name}: is not in the zone {text_of(origin)}")
    if b"*" in labels(owner)[1:]:
        raise InvalidError(f"services.{name}: * stands for the first label alone")
    return owner


def _endpoint(given: object, field: str, *, strict: bool) -> Endpoint:
    known = {"address", "region", "weight", "state", "reason", "votes"} if strict else None
    about = _map(given, field, known)
    try:
        address = ipaddress.ip_address(str(about.get("address", "")))
    except ValueError as error:
        raise InvalidError(f"{field}.address: {error}") from None
    state = about.get("state", "up")
    if state not in ("up", "down", "drained"):
        raise InvalidError(f"{field}.state: {state!r} is not up, down or drained")
    region = about.get("region", "")
    if not isinstance(region, str):
        raise InvalidError(f"{field}.region: a text is wanted")
    votes = _map(about.get("votes"), f"{field}.votes", {"up", "down"})
    weight = _number(about.get("weight", 1), f"{field}.weight", WEIGHT_MAX)
    assert len(address.packed) in SIZES.values(), "IPv4 or IPv6"
    return Endpoint(
        address=address.packed,
        region=region,
        weight=weight,
        up=state != "down",
        drained=state == "drained",
        reason=str(about.get("reason", "")),
        votes=(
            _number(votes.get("up", 0), f"{field}.votes.up", VOTES_MAX),
            _number(votes.get("down", 0), f"{field}.votes.down", VOTES_MAX),
        ),
    )


def _map(given: object, field: str, known: set[str] | None = None) -> dict[str, object]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidError(f"{field}: a map is wanted")
    found = {str(name): value for name, value in cast("dict[object, object]", given).items()}
    if known is not None and (strange := sorted(set(found) - known)):
        raise InvalidError(f"{field}: {strange[0]!r} is not one of {', '.join(sorted(known))}")
    return found


def _list(given: object, field: str) -> list[object]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise InvalidError(f"{field}: a list is wanted")
    return cast("list[object]", given)


def _texts(given: object, field: str) -> list[str]:
    if not isinstance(given, list):
        raise InvalidError(f"{field}: a list is wanted")
    return [str(each) for each in cast("list[object]", given)]


def _number(given: object, field: str, high: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= high:
        raise InvalidError(f"{field}: a whole number from 0 to {high} is wanted")
    return given
