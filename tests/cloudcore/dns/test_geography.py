"""Clients placed by a database that another library wrote, and the policies that blend regions."""

from __future__ import annotations

import ipaddress
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from cloudcore.dns.explain import explain
from cloudcore.dns.geography import GeoDatabase, GeoRules, Spot, distance_km, judged
from cloudcore.dns.servicefile import services_of
from cloudcore.dns.steering import Choice, Service, choose
from cloudcore.dns.zone import build
from cloudcore.dns.zonefile import parse_records, with_services
from skerry.dns.names import name_of
from skerry.dns.numbers import A
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import replace

ORIGIN = name_of("example.com")
WWW = name_of("www.example.com")
FRANKFURT, WASHINGTON, TOKYO = (50.1, 8.7), (38.9, -77.0), (35.7, 139.7)
NETWORKS: dict[str, Any] = {
    "5.0.0.0/8": {"continent": {"code": "EU"}, "country": {"iso_code": "DE"}},
    "6.0.0.0/9": {
        "continent": {"code": "NA"},
        "country": {"iso_code": "US"},
        "subdivisions": [{"iso_code": "CA"}],
    },
    "6.128.0.0/9": {"continent": {"code": "NA"}, "country": {"iso_code": "US"}},
    "7.0.0.0/16": {"location": {"latitude": 48.9, "longitude": 2.3}},
    "7.1.0.0/16": {"location": {"latitude": 45.5, "longitude": -73.6}},
}
DOCUMENT: dict[str, Any] = {
    "places": {"office": ["5.1.2.0/24"]},
    "orders": {"office": ["tyo"], "europe": ["fra", "iad"], "west": ["tyo", "iad"], "default": ["iad", "fra", "tyo"]},
    "geo": {
        "subdivisions": {"US-CA": "west"},
        "countries": {"DE": "europe"},
        "coordinates": {"fra": [*FRANKFURT], "iad": [*WASHINGTON]},
    },
    "services": {
        "www": {
            "endpoints": [
                {"address": f"203.0.113.{number}", "region": region}
                for number, region in enumerate(("fra", "fra", "iad", "tyo"), 1)
            ]
        }
    },
}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> GeoDatabase:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City", float_type="f64")
    for network, record in NETWORKS.items():
        writer.insert_network(IPSet([network]), record)
    path = tmp_path_factory.mktemp("geo") / "test.mmdb"
    writer.to_db_file(str(path))
    return GeoDatabase(path)


def service(**changed: Any) -> Service:
    about = {**DOCUMENT, "services": {"www": {**DOCUMENT["services"]["www"], **changed}}}
    return services_of(about, ORIGIN)[WWW]


def at(address: str, one: Service, geo: GeoDatabase | None = None) -> Choice:
    return choose(one, A, ipaddress.ip_address(address).packed, geo)


def last(choice: Choice) -> list[int]:
    return [each[-1] for each in choice.rdatas]


@pytest.mark.parametrize(
    ("address", "answer", "scope"),
    [
        ("5.1.2.3", [4], 24),
        ("5.9.9.9", [1, 2], 13),
        ("6.1.1.1", [4], 9),
        ("6.200.1.1", [3], 9),
        ("7.0.1.1", [1, 2], 16),
        ("7.1.1.1", [3], 16),
    ],
)
def test_own_networks_go_first_then_subdivision_country_and_distance(
    database: GeoDatabase, address: str, answer: list[int], scope: int
) -> None:
    choice = at(address, service(), database)
    assert last(choice) == answer
    assert choice.scope == scope


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1) | st.integers(5 << 24, 8 << 24), min_size=2, max_size=30))
def test_scopes_never_overlap_whatever_the_database_and_the_places_say(
    database: GeoDatabase, addresses: list[int]
) -> None:
    seen: set[ipaddress.IPv4Network] = set()
    for address in addresses:
        choice = choose(service(), A, address.to_bytes(4, "big"), database)
        shift = 32 - choice.scope
        seen.add(ipaddress.IPv4Network((address >> shift << shift, choice.scope)))
    ordered = sorted(seen)
    assert not any(one.overlaps(other) for one, other in pairwise(ordered))


def test_bias_moves_the_border_and_distance_is_the_worlds() -> None:
    assert 6_500 < distance_km(FRANKFURT, WASHINGTON) < 6_600
    rules = GeoRules(coordinates={"fra": FRANKFURT, "iad": WASHINGTON})
    azores = Spot(bits=24, at=(38.7, -27.2))
    assert judged(rules, azores).order == ("fra", "iad")
    assert judged(replace(rules, bias={"iad": 50}), azores).order == ("iad", "fra")
    assert judged(replace(rules, bias={"fra": -50}), azores).order == ("iad", "fra")
    assert judged(rules, Spot(bits=8)).order == ()


def test_each_step_is_told(database: GeoDatabase) -> None:
    records = parse_records("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n", ORIGIN)
    zone = with_services(records, ORIGIN, {WWW: service()})
    for address, words in (
        ("5.1.2.3", "in a network of office (/24)"),
        ("5.9.9.9", "(Test-City) has it at DE EU (/8): country DE is europe"),
        ("7.0.1.1", "fra 4"),
    ):
        told = explain({ORIGIN: zone}, WWW, A, ipaddress.ip_address(address).packed, None, database)
        assert words in "\n".join(str(step) for step in told["steps"])  # type: ignore[union-attr]
    assert build(ORIGIN, records).serial == 1


def test_what_is_no_database_is_told_by_its_flag(tmp_path: Path) -> None:
    (tmp_path / "bad.mmdb").write_bytes(b"nothing")
    with pytest.raises(InvalidError, match=r"--geo .*no database"):
        GeoDatabase(tmp_path / "bad.mmdb")
    with pytest.raises(UnavailableError, match="--geo"):
        GeoDatabase(tmp_path / "nowhere.mmdb")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"geo": {"cities": {}}}, "geo: 'cities'"),
        ({"geo": {"coordinates": {"fra": [100, 0]}}}, "geo.coordinates.fra"),
        ({"geo": {"bias": {"fra": 100}}}, "geo.bias.fra"),
        ({"latencies": {"europe": {"fra": "fast"}}}, "latencies.europe.fra"),
        ({"services": {"www": {**DOCUMENT["services"]["www"], "canary": {"region": "fra"}}}}, "canary.percent"),
        ({"services": {"www": {**DOCUMENT["services"]["www"], "minUpPercent": 101}}}, "minUpPercent"),
        ({"services": {"www": {**DOCUMENT["services"]["www"], "tiers": "fra"}}}, "tiers"),
    ],
)
def test_what_can_not_be_meant_is_refused_by_field(document: Any, field: str) -> None:
    with pytest.raises(InvalidError, match=field):
        services_of({**DOCUMENT, **document}, ORIGIN)


def test_latency_takes_the_region_that_was_measured_to_be_quickest(database: GeoDatabase) -> None:
    about = {**DOCUMENT, "latencies": {"europe": {"iad": 90, "fra": 95, "tyo": 200}, "default": {"fra": 1}}}
    about["services"] = {"www": {**DOCUMENT["services"]["www"], "policy": "latency"}}
    one = services_of(about, ORIGIN)[WWW]
    assert last(at("5.9.9.9", one, database)) == [3]
    assert last(at("100.1.1.1", one, database)) == [1, 2]


def spread(one: Service) -> Counter[int]:
    return Counter(last(at(f"10.{number >> 8}.{number & 255}.1", one))[0] for number in range(2000))


def test_tiers_are_spread_by_weight_and_the_next_is_taken_when_one_is_down() -> None:
    one = service(policy="tiers", tiers=[["fra", "iad"], ["tyo"]])
    assert set(spread(one)) == {1, 2, 3} and min(spread(one).values()) > 500
    down = replace(one, endpoints=tuple(replace(each, up=each.region == "tyo") for each in one.endpoints))
    assert set(spread(down)) == {4}
    lost = replace(one, endpoints=tuple(replace(each, up=each.address[-1] != 1) for each in one.endpoints))
    moved = [
        address
        for address in (f"10.0.{number}.1" for number in range(256))
        if at(address, one).rdatas != at(address, lost).rdatas
    ]
    assert all(last(at(address, one)) == [1] for address in moved), "nobody else's clients move"


def test_sticky_clients_have_one_address_of_their_region_and_keep_it() -> None:
    one = service(sticky=True)
    fra = replace(one, orders={"": ("fra",)})
    assert set(spread(fra)) == {1, 2} and at("10.0.0.1", fra).scope == 24
    assert at("10.0.0.1", fra).rdatas == at("10.0.0.200", fra).rdatas


def test_a_canary_has_its_part_of_the_clients_and_gives_them_back_when_it_fails() -> None:
    one = replace(service(canary={"region": "tyo", "percent": 10}), orders={"": ("tyo", "fra", "iad")})
    there = spread(one)
    assert 120 < there[4] < 280 and set(there) == {1, 4} | set(there)
    down = replace(one, endpoints=tuple(replace(each, up=each.region != "tyo") for each in one.endpoints))
    assert spread(down)[4] == 0
    alone = replace(one, endpoints=tuple(replace(each, up=each.region == "tyo") for each in one.endpoints))
    assert spread(alone)[4] == 2000, "what works is better than nothing"


def test_a_region_with_too_few_up_is_left_out_unless_all_are_so() -> None:
    one = replace(service(minUpPercent=60), orders={"": ("fra", "iad", "tyo")})
    half = replace(one, endpoints=tuple(replace(each, up=each.address[-1] != 1) for each in one.endpoints))
    assert last(at("10.0.0.1", one)) == [1, 2] and last(at("10.0.0.1", half)) == [3]
    only = replace(half, endpoints=half.endpoints[:2])
    assert last(at("10.0.0.1", only)) == [2]
