"""Where clients are, where they are sent, and what resolvers may keep of it."""

from __future__ import annotations

import gc
import ipaddress
from collections import Counter
from pathlib import Path

import dns.edns
import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.dns.lookup import Found
from cloudcore.dns.places import NOWHERE, Places
from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.servicefile import read_services
from cloudcore.dns.steering import GOOD_NOW, Endpoint, Policy, Service, choose
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import read_zone
from skerry.dns.names import name_of
from skerry.dns.numbers import AAAA, A
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.probing.probe import Probe

ORIGIN = name_of("example.com")
HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\nalias 60 CNAME www\n*.app 60 CNAME www\n"
SERVICES = """
places:
  europe: [192.0.2.0/24, "2001:db8:e::/48"]
  america: [198.51.100.0/24, 192.0.2.128/25]
orders:
  europe: [fra, iad]
  america: [iad, fra]
  default: [iad]
services:
  www:
    endpoints:
      - {address: 203.0.113.1, region: fra}
      - {address: "2001:db8::1", region: fra}
      - {address: 203.0.113.2, region: iad}
"""
WILD = """
services:
  "*.shop":
    policy: failover
    endpoints: [{address: 203.0.113.1, region: fra}, {address: 203.0.113.2, region: iad}]
    probe: {type: HTTP}
"""
NETWORKS = st.dictionaries(
    st.builds(
        lambda value, length: ipaddress.IPv4Network((value >> (32 - length) << (32 - length), length)),
        st.integers(0, 2**32 - 1),
        st.integers(1, 32),
    ),
    st.sampled_from(["a", "b", "c"]),
    max_size=12,
)


@settings(deadline=None)
@given(NETWORKS, st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_leaves_cover_everything_once_and_say_what_the_longest_network_says(
    networks: dict[ipaddress.IPv4Network, str], addresses: list[int]
) -> None:
    places = Places({**networks})
    after = 0
    for first, length, _ in places.leaves(4):
        assert first == after and first % (1 << (32 - length)) == 0, "no gap, no overlap, whole prefixes"
        after = first + (1 << (32 - length))
    assert after == 2**32
    edges = [int(net.network_address) for net in networks] + [int(net.broadcast_address) for net in networks]
    for address in addresses + edges:
        holding = [net for net in networks if ipaddress.IPv4Address(address) in net]
        wanted = networks[max(holding, key=lambda net: net.prefixlen)] if holding else NOWHERE
        assert places.find(address.to_bytes(4, "big"))[0] == wanted


def test_neighbours_of_one_place_are_one_leaf() -> None:
    halves = {ipaddress.ip_network("10.0.0.0/9"): "x", ipaddress.ip_network("10.128.0.0/9"): "x"}
    assert Places(halves).find(bytes([10, 1, 2, 3])) == ("x", 8)
    assert Places({}).find(bytes(16)) == (NOWHERE, 0)


def service(policy: Policy, *endpoints: Endpoint) -> Service:
    return Service(
        name=name_of("www.example.com"),
        ttl=30,
        policy=policy,
        endpoints=endpoints,
        places=Places({ipaddress.ip_network("192.0.2.0/24"): "near b"}),
        orders={NOWHERE: ("a", "b"), "near b": ("b", "a")},
    )


def at(last: int, region: str, **more: object) -> Endpoint:
    return Endpoint(address=bytes([203, 0, 113, last]), region=region, **more)  # type: ignore[arg-type]


def chosen(one: Service, client: str) -> list[int]:
    return [rdata[-1] for rdata in choose(one, A, ipaddress.ip_address(client).packed).rdatas]


def test_the_nearest_region_that_is_up_has_the_client() -> None:
    both = service("nearest", at(1, "a"), at(2, "b"), at(3, "b"))
    assert chosen(both, "192.0.2.9") == [2, 3] and chosen(both, "198.51.100.1") == [1]
    half = service("nearest", at(1, "a"), at(2, "b", up=False), at(3, "b"))
    assert chosen(half, "192.0.2.9") == [3]
    gone = service("nearest", at(1, "a"), at(2, "b", up=False), at(3, "b", up=False))
    assert chosen(gone, "192.0.2.9") == [1]


def test_scopes_are_of_places_and_not_of_who_is_up() -> None:
    for up in (True, False):
        one = service("nearest", at(1, "a"), at(2, "b", up=up))
        assert choose(one, A, bytes([192, 0, 2, 9])).scope == 24


def test_when_nobody_is_up_all_are() -> None:
    dead = service("nearest", at(1, "a", up=False), at(2, "b", up=False))
    assert chosen(dead, "192.0.2.9") == [2] and chosen(dead, "198.51.100.1") == [1]
    assert chosen(
        service("round_robin", at(1, "a", up=False), at(2, "b", up=False)), "::1".replace("::1", "10.0.0.1")
    )


def test_when_nobody_is_up_those_known_good_last_are_taken_and_who_went_down_with_them() -> None:
    down = [at(1, "a", up=False), at(2, "b", up=False, good_s=940), at(3, "c", up=False, good_s=1000)]
    assert chosen(service("round_robin", *down), "10.0.0.1") == [2, 3]
    assert chosen(service("failover", *down), "10.0.0.1") == [2]
    late = service("nearest", at(1, "a", up=False, good_s=900), *down[2:])
    assert chosen(late, "10.0.0.1") == [3], "c is not near, but it worked a minute longer"
    assert "known good last" in choose(late, A, bytes(4)).reason
    slow = Probe(type="TCP", host="x", port=80, interval_s=60.0)
    assert chosen(replace(late, probe=slow), "10.0.0.1") == [1], "within two probes nobody can tell"
    unknown = [at(4, "d", up=False), at(5, "e", up=False), at(6, "f", up=False, good_s=1000, drained=True)]
    assert chosen(service("round_robin", *unknown), "10.0.0.1") == [4, 5]
    reached = service("round_robin", at(1, "a", up=False, good_s=GOOD_NOW), *down[2:])
    assert chosen(reached, "10.0.0.1") == [1], "probes reach it, whatever the cloud says"


def test_failover_goes_in_the_order_written_whoever_asks() -> None:
    one = service("failover", at(1, "b", up=False), at(2, "a"), at(3, "c"))
    assert chosen(one, "192.0.2.9") == chosen(one, "198.51.100.1") == [2]
    assert choose(one, A, bytes(4)).scope == 0


def test_weights_divide_clients_and_who_goes_takes_only_its_own() -> None:
    three = service("weighted", at(1, "a", weight=1), at(2, "a", weight=2), at(3, "a", weight=0))
    clients = [f"10.{n // 250}.{n % 250}.7" for n in range(3000)]
    shares = Counter(chosen(three, client)[0] for client in clients)
    assert set(shares) == {1, 2} and 0.6 < shares[2] / 3000 < 0.73
    nothing = service("weighted", *(at(number, "a", weight=0) for number in (1, 2)), at(3, "a", up=False))
    shares = Counter(chosen(nothing, client)[0] for client in clients)
    assert set(shares) == {1, 2} and 0.45 < shares[2] / 3000 < 0.55, "the first had all of them"
    two = service("weighted", at(1, "a", weight=1), at(2, "a", weight=2, up=False), at(3, "a", weight=2))
    four = service("weighted", at(1, "a", weight=1), at(2, "a", weight=2), at(3, "a", weight=2))
    moved = [client for client in clients if chosen(two, client) != chosen(four, client)]
    assert all(chosen(four, client) == [2] for client in moved)
    assert chosen(four, "10.0.0.1") == chosen(four, "10.0.0.250"), "one /24, one endpoint"


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    (tmp_path / "example.com.zone").write_text(HEAD)
    (tmp_path / "example.com.services.yaml").write_text(SERVICES)
    return read_zone(tmp_path / "example.com.zone")


def asked(
    zone: Zone, name: str, kind: str, subnet: str, client: str = "203.0.113.99"
) -> tuple[list[str], int | None]:
    """Addresses, and the scope."""
    responder = Responder(Desk(zones={zone.origin: zone}))
    options: list[dns.edns.Option] = []
    if subnet:
        address, _, bits = subnet.partition("/")
        options = [dns.edns.ECSOption(address, int(bits))]
    query = dns.message.make_query(name, kind, use_edns=0, options=options)
    there = Client(address=ipaddress.ip_address(client).packed, transport="udp")
    replies = [responder.reply(query.to_wire(), there, 0.0) for _ in range(2)]
    assert replies[0] is not None and replies[1] is not None and replies[0].data == replies[1].data
    assert replies[0].lasting == bool(subnet and not subnet.endswith("/0")) or kind == "TXT"
    answer = dns.message.from_wire(replies[0].data)
    scopes = [option.scopelen for option in answer.options if isinstance(option, dns.edns.ECSOption)]
    addresses = [str(rdata) for rrset in answer.answer for rdata in rrset if rrset.rdtype.name == kind]
    return addresses, scopes[0] if scopes else None


def test_each_client_gets_its_own_answer_with_the_scope_of_its_leaf(zone: Zone) -> None:
    assert asked(zone, "www.example.com", "A", "192.0.2.0/25") == (["203.0.113.1"], 25)
    assert asked(zone, "www.example.com", "A", "192.0.2.128/25") == (["203.0.113.2"], 25)
    assert asked(zone, "www.example.com", "A", "198.51.100.0/24") == (["203.0.113.2"], 24)
    # More bits are wanted than were given: what is told is for the first address, and holds for that leaf.
    assert asked(zone, "www.example.com", "A", "192.0.0.0/16")[1] == 23
    assert asked(zone, "alias.example.com", "A", "192.0.2.0/25") == (["203.0.113.1"], 25)
    assert asked(zone, "x.app.example.com", "TXT", "192.0.2.0/25") == ([], 0)


def test_without_a_subnet_the_resolver_is_the_client(zone: Zone) -> None:
    assert asked(zone, "www.example.com", "A", "", "192.0.2.5") == (["203.0.113.1"], None)
    assert asked(zone, "www.example.com", "A", "", "198.51.100.5") == (["203.0.113.2"], None)
    # Who does not want to tell where he is (RFC 7871 section 7.1.2).
    assert asked(zone, "www.example.com", "A", "0.0.0.0/0", "192.0.2.5") == (["203.0.113.1"], 0)


def test_choices_are_kept_also_when_there_were_too_many(zone: Zone) -> None:
    responder = Responder(Desk(zones={zone.origin: zone}, kept_max=1))
    packet = dns.message.make_query("www.example.com", "A").to_wire()

    def kept(client: str, last: int) -> int:
        reply = responder.reply(packet, Client(address=ipaddress.ip_address(client).packed, transport="udp"), 0.0)
        assert reply is not None
        there = [each for each in gc.get_objects() if isinstance(each, Found) and each.answer]
        return sum(each.answer[-1][1].rdatas == (bytes([203, 0, 113, last]),) for each in there)

    before = kept("192.0.2.5", 2)
    assert kept("198.51.100.5", 2) == before + 1
    assert kept("192.0.2.5", 2) == before, "others took its place"


def test_other_types_of_a_service_are_of_nobodys_place(zone: Zone) -> None:
    assert asked(zone, "www.example.com", "TXT", "192.0.2.0/25") == ([], 0)
    assert asked(zone, "www.example.com", "AAAA", "198.51.100.0/24") == (["2001:db8::1"], 0), "the only one there is"
    assert choose(zone.services[name_of("www.example.com")], AAAA, bytes(16)).rdatas


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "a map"),
        ("services: {www: {endpoints: []}}", r"services\.www\.endpoints"),
        ("services: {www: {endpoints: [{address: x}]}}", r"endpoints\[0\]\.address"),
        ("services: {www: {policy: best, endpoints: [{address: 192.0.2.1}]}}", r"services\.www\.policy"),
        ("services: {www: {ttl: -1, endpoints: [{address: 192.0.2.1}]}}", r"services\.www\.ttl"),
        ("services: {www: {endpoints: [{address: 192.0.2.1, state: off}]}}", r"endpoints\[0\]\.state"),
        ("services: {www: {endpoints: [{address: 192.0.2.1, wieght: 1}]}}", "wieght"),
        ("services: {'a.*': {endpoints: [{address: 192.0.2.1}]}}", "first label alone"),
        ("services: {www.other.test.: {endpoints: [{address: 192.0.2.1}]}}", "not in the zone"),
        ("places: {a: [192.0.2.1/24]}", r"places\.a"),
        ("places: {a: [192.0.2.0/24], b: [192.0.2.0/24]}", "as well"),
        ("orders: {a: [x]}\nservices: {www: {endpoints: [{address: 192.0.2.1, region: y}]}}", r"orders\.a"),
        ("a: b: c", "YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "example.com.services.yaml"
    path.write_text(text)
    with pytest.raises(InvalidError, match=said):
        read_services(path, ORIGIN)


def test_addresses_are_a_zones_or_a_services(tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(HEAD + "www 60 A 192.0.2.1\n")
    (tmp_path / "example.com.services.yaml").write_text(SERVICES)
    with pytest.raises(InvalidError, match="is a service"):
        read_zone(tmp_path / "example.com.zone")
    (tmp_path / "example.com.zone").write_text(HEAD + "www 60 NS a.test.\n")
    with pytest.raises(InvalidError, match="delegation"):
        read_zone(tmp_path / "example.com.zone")


def test_a_wildcard_is_a_service_for_names_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(HEAD + "there.shop 60 A 192.0.2.77\nto 60 CNAME x.shop\n")
    (tmp_path / "example.com.services.yaml").write_text(WILD)
    zone = read_zone(tmp_path / "example.com.zone")
    responder = Responder(Desk(zones={zone.origin: zone}))

    def ask(name: str) -> list[str]:
        query = dns.message.make_query(f"{name}.example.com", "A")
        reply = responder.reply(query.to_wire(), Client(address=b"\1\2\3\4", transport="udp"), 1000.0)
        assert reply is not None
        answer = dns.message.from_wire(reply.data)
        return [f"{rrset.name} {item}" for rrset in answer.answer for item in rrset if rrset.rdtype == A]

    assert ask("a.shop") == ["a.shop.example.com. 203.0.113.1"]
    assert ask("b.c.shop") == ["b.c.shop.example.com. 203.0.113.1"]
    assert ask("to") == ["x.shop.example.com. 203.0.113.1"]
    assert ask("there.shop") == ["there.shop.example.com. 192.0.2.77"], "what is there has its own"
    service = zone.services[name_of("*.shop.example.com")]
    assert service.probe is not None and service.probe.host == "shop.example.com"
