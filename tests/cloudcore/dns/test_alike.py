"""How widely resolvers may keep an answer: as widely as it is the same, and no wider."""

from __future__ import annotations

import ipaddress
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from cloudcore.dns.alike import LEAVES_MAX
from cloudcore.dns.geography import JOINED_MAX, GeoDatabase, Spot
from cloudcore.dns.servicefile import services_of
from cloudcore.dns.steering import Choice, Service, choose
from skerry.dns.names import name_of
from skerry.dns.numbers import AAAA, A
from skerry.frozen import replace

ORIGIN, WWW = name_of("example.com"), name_of("www.example.com")
ORDERS = {
    "germany": ["fra", "iad"],
    "france": ["fra", "sin", "iad"],
    "canada": ["iad", "fra"],
    "japan": ["sin"],
    "default": ["iad", "fra"],
}
ENDPOINTS = [{"address": "203.0.113.1", "region": "fra"}, {"address": "203.0.113.2", "region": "iad"}]
LARGEST = 2**32


def service(places: dict[str, list[str]], endpoints: list[dict[str, Any]] | None = None, **more: Any) -> Service:
    orders = {place: regions for place, regions in ORDERS.items() if place in places or place == "default"}
    about = {"places": places, "orders": orders, "services": {"www": {"endpoints": endpoints or ENDPOINTS}}, **more}
    return services_of(about, ORIGIN, strict=False)[WWW]


def at(one: Service, address: str | int, geo: GeoDatabase | None = None, kind: int = A) -> Choice:
    return choose(one, kind, ipaddress.ip_address(address).packed, geo)


def test_places_from_which_the_same_regions_are_near_share_a_scope() -> None:
    one = service({"germany": ["10.0.0.0/16"], "france": ["10.1.0.0/16"], "canada": ["10.4.0.0/16"]})
    # To a service that is not in Singapore, France is as Germany.
    assert at(one, "10.0.1.1").scope == at(one, "10.1.1.1").scope == 15
    # Canada's order is everybody's: it is no place of its own, and 10.4/16 is in the widest prefix beside theirs.
    assert at(one, "10.4.1.1").scope == at(one, "10.7.1.1").scope == 14
    assert at(one, "200.1.1.1").scope == 1


def test_a_service_in_one_region_is_the_same_to_everybody() -> None:
    places = {"germany": ["10.0.0.0/16"], "canada": ["10.4.0.0/16"]}
    assert at(service(places, ENDPOINTS[:1]), "10.0.1.1").scope == 0
    six = [*ENDPOINTS, {"address": "2001:db8::1", "region": "fra"}]
    assert at(service(places, six), "10.0.1.1").scope == 16
    assert at(service(places, six), "10.0.1.1", kind=AAAA).scope == 0, "addresses of IPv6 are in one region alone"


def test_scope_zero_is_everybody_and_not_all_of_one_family() -> None:
    one = service({"germany": ["0.0.0.0/0"]})
    assert (at(one, "10.0.0.1").rdatas, at(one, "10.0.0.1").scope) == ((b"\xcb\0\x71\1",), 1)
    assert (at(one, "2001:db8::1").rdatas, at(one, "2001:db8::1").scope) == ((b"\xcb\0\x71\2",), 1)
    assert at(service({"canada": ["0.0.0.0/0"]}), "10.0.0.1").scope == 0, "which is as everywhere else"
    apart = replace(one, alike={})
    assert at(apart, "10.0.0.1").scope == at(apart, "2001:db8::1").scope == 1


FAMILIES = (ipaddress.IPv4Network, ipaddress.IPv6Network)
EITHER = st.builds(
    lambda family, value, length: str(
        family((value << (family(0).max_prefixlen - 8) & -1 << (family(0).max_prefixlen - length), length))
    ),
    st.sampled_from(FAMILIES),
    st.integers(0, 255),
    st.integers(0, 8),
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(EITHER, st.sampled_from(["germany", "france", "canada", "japan"]), max_size=6), st.booleans())
def test_who_keeps_answers_by_scope_tells_nobody_of_either_family_anothers(
    networks: dict[str, str], merged: bool
) -> None:
    places: dict[str, list[str]] = {}
    for network, place in networks.items():
        places.setdefault(place, []).append(network)
    one = service(places) if merged else replace(service(places), alike={})
    kept: dict[ipaddress.IPv4Network | ipaddress.IPv6Network | None, tuple[bytes, ...]] = {}
    for family in FAMILIES:
        for value in range(0, 256, 3):
            size = family(0).max_prefixlen
            choice = at(one, str(family(value << (size - 8))[0]))
            scope = family((value << (size - 8) & -1 << (size - choice.scope), choice.scope))
            assert kept.setdefault(scope if choice.scope else None, choice.rdatas) == choice.rdatas
    assert None not in kept or len(kept) == 1, "what is told to everybody is told to everybody"


NETWORKS = st.builds(
    lambda value, length: str(ipaddress.IPv4Network((value >> (32 - length) << (32 - length), length))),
    st.integers(0, LARGEST - 1) | st.integers(10 << 24, (10 << 24) + 0xFFFF),
    st.integers(1, 32),
)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(NETWORKS, st.sampled_from(["germany", "france", "canada", "japan"]), max_size=10),
    st.lists(st.integers(0, LARGEST - 1) | st.integers(10 << 24, (10 << 24) + 0xFFFF), max_size=10),
    st.sets(st.sampled_from([0, 1])),
)
def test_a_scope_is_the_largest_prefix_that_is_answered_alike(
    networks: dict[str, str], addresses: list[int], down: set[int]
) -> None:
    places: dict[str, list[str]] = {}
    for network, place in networks.items():
        places.setdefault(place, []).append(network)
    one = service(places)
    edges = [int(edge) for each in networks for net in [ipaddress.IPv4Network(each)] for edge in (net[0], net[-1])]
    scopes = {
        ipaddress.IPv4Network((address >> (32 - bits) << (32 - bits), bits)): choice.rdatas
        for address in {*addresses, *edges, *(edge + 1 for edge in edges if edge + 1 < LARGEST)}
        for choice in [at(one, address)]
        for bits in [choice.scope]
    }
    assert not any(this.overlaps(that) for this, that in pairwise(sorted(scopes)))
    for scope, rdatas in scopes.items():
        inside = [edge for edge in (*edges, int(scope[0]), int(scope[-1])) if ipaddress.IPv4Address(edge) in scope]
        assert all(at(one, edge).rdatas == rdatas for edge in inside), "one answer in one scope"
        if scope.prefixlen:
            # Half a step wider there is another answer, or half of it would be told a wider scope.
            wider = scope.supernet()
            around = [*edges, int(wider[0]), int(wider[-1])]
            around += [each + step for each in edges for step in (-1, 1) if 0 <= each + step < LARGEST]
            answers = {at(one, each).rdatas for each in around if ipaddress.IPv4Address(each) in wider}
            assert len(answers) > 1
    failing = replace(one, endpoints=tuple(replace(e, up=n not in down) for n, e in enumerate(one.endpoints)))
    for scope in scopes:
        assert at(failing, int(scope[0])).scope == scope.prefixlen, "it is not of who is up"


def written(path: Path, networks: dict[str, str]) -> GeoDatabase:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-Country")
    for number, (network, country) in enumerate(networks.items()):
        # Each is a record of its own: the writer joins those that are alike.
        writer.insert_network(IPSet([network]), {"country": {"iso_code": country, "geoname_id": number}})
    writer.to_db_file(str(path))
    return GeoDatabase(path)


GEO: dict[str, Any] = {"countries": {"DE": "germany", "FR": "france", "CA": "canada"}}


def of_countries(places: dict[str, list[str]] | None = None) -> Service:
    about = {"orders": ORDERS, "geo": GEO, "places": places or {}, "services": {"www": {"endpoints": ENDPOINTS}}}
    return services_of(about, ORIGIN, strict=False)[WWW]


def test_networks_of_a_database_that_are_answered_alike_share_a_scope(tmp_path: Path) -> None:
    networks = {f"20.0.{n}.0/24": ("DE", "FR")[n % 2] for n in range(16)}
    networks |= {f"20.1.{n}.0/24": ("DE", "CA")[n % 2] for n in range(16)}
    networks |= {f"20.2.{n}.0/24": "DE" for n in range(2 * JOINED_MAX)}
    geo = written(tmp_path / "a.mmdb", networks)
    one = of_countries()
    assert at(one, "20.0.3.1", geo).scope == 20
    assert at(one, "20.1.3.1", geo).scope == 24
    assert at(one, "20.2.3.1", geo).scope == at(one, "20.2.40.1", geo).scope == 19, "so many are joined, and no more"
    own = of_countries({"canada": ["20.0.4.0/24"]})
    assert at(own, "20.0.3.1", geo).scope == 22, "a network of places has an answer of its own"
    assert at(own, "20.0.4.1", geo).scope == 24


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_database_says_is_of_one_family(tmp_path: Path, version: Literal[4, 6]) -> None:
    writer = MMDBWriter(ip_version=version, database_type="Test-Country")
    halves = ["0.0.0.0/1", "128.0.0.0/1"] if version == 4 else ["::/1", "8000::/1"]
    writer.insert_network(IPSet(halves[:1]), {"country": {"iso_code": "DE"}})
    writer.insert_network(IPSet(halves[1:]), {"country": {"iso_code": "FR"}})
    writer.to_db_file(str(tmp_path / "a.mmdb"))
    geo = GeoDatabase(tmp_path / "a.mmdb")
    one = of_countries()
    for each in (one, replace(one, alike={})):
        assert at(each, "10.0.0.1", geo).scope >= 1 and at(each, "2001:db8::1", geo).scope >= 1
        if version == 4:
            assert at(each, "10.0.0.1", geo).rdatas != at(each, "2001:db8::1", geo).rdatas


def test_a_database_is_not_asked_for_a_service_in_one_region(tmp_path: Path) -> None:
    geo = written(tmp_path / "a.mmdb", {"20.0.0.0/24": "DE"})
    about = {"orders": ORDERS, "geo": GEO, "services": {"www": {"endpoints": ENDPOINTS[:1]}}}
    one = services_of(about, ORIGIN, strict=False)[WWW]
    assert at(one, "20.0.0.1", geo).scope == at(one, "2001:db8::1", geo).scope == 0


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> GeoDatabase:
    lands = ["DE", "FR", "CA", "XX"]
    networks = {f"10.0.{n}.0/24": lands[n * n % 7 % 4] for n in range(0, 200, 3)}
    networks |= {f"10.1.0.{n * 16}/28": lands[n % 3 % 2] for n in range(16)}
    return written(tmp_path_factory.mktemp("geo") / "b.mmdb", networks)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(NETWORKS, st.sampled_from(["germany", "canada"]), max_size=4),
    st.lists(st.integers(10 << 24, (10 << 24) + 0x1FFFF), min_size=2, max_size=40),
)
def test_scopes_of_a_database_never_overlap_and_hold_one_answer(
    scattered: GeoDatabase, networks: dict[str, str], addresses: list[int]
) -> None:
    places: dict[str, list[str]] = {}
    for network, place in networks.items():
        places.setdefault(place, []).append(network)
    one = of_countries(places)
    found: dict[ipaddress.IPv4Network, tuple[bytes, ...]] = {}
    for address in addresses:
        choice = at(one, address, scattered)
        scope = ipaddress.IPv4Network((address >> (32 - choice.scope) << (32 - choice.scope), choice.scope))
        assert found.setdefault(scope, choice.rdatas) == choice.rdatas
    assert not any(this.overlaps(that) for this, that in pairwise(sorted(found)))


def test_regions_of_any_name_cut_the_same_places_once() -> None:
    places = {"germany": ["10.0.0.0/16"], "canada": ["10.4.0.0/16"]}
    orders = {"germany": ["fra", "iad"], "canada": ["iad", "fra"], "default": ["iad", "fra"]}
    services = {
        f"s{n}": {"endpoints": [*ENDPOINTS, {"address": "203.0.113.9", "region": f"r{n}"}]} for n in range(90)
    }
    found = services_of({"places": places, "orders": orders, "services": services}, ORIGIN)
    assert len({id(one.alike[A].by_places) for one in found.values()}) == 1


def test_too_many_ways_to_cut_places_leave_them_apart() -> None:
    places = {f"p{n}": [f"10.{n}.0.0/16"] for n in range(100)}
    orders = {f"p{n}": [f"r{n}", "iad"] for n in range(100)} | {"default": ["iad"]}
    services = {
        f"s{n}": {"endpoints": [*ENDPOINTS, {"address": "203.0.113.9", "region": f"r{n}"}]} for n in range(100)
    }
    found = services_of({"places": places, "orders": orders, "services": services}, ORIGIN, strict=False)
    assert len({id(one.alike[A].by_places) for one in found.values() if A in one.alike}) == LEAVES_MAX - 1
    for n in range(100):
        one = found[name_of(f"s{n}.example.com")]
        assert at(one, f"10.{n}.0.1").rdatas == (b"\xcb\0\x71\x09",) and at(one, f"10.{n}.0.1").scope == 16


def test_a_prefix_is_looked_for_once_for_all_its_addresses(tmp_path: Path) -> None:
    geo = written(tmp_path / "a.mmdb", {f"20.0.{n}.0/24": "DE" for n in range(16)})
    looked: list[Spot] = []

    def is_alike(spot: Spot) -> bool:
        looked.append(spot)
        return spot.country == "DE"

    bits = [geo.widened(bytes([20, 0, n % 16, n]), 24, is_alike, "us") for n in range(200)]
    assert set(bits) == {20} and len(looked) < 40
    assert geo.widened(bytes([20, 0, 3, 3]), 24, lambda _: False, "others") == 24
