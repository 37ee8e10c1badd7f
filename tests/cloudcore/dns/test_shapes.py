"""Answers that are made without reading the query are those that reading it makes."""

from __future__ import annotations

from functools import cache

import dns.message
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.dns.cookies import Cookies
from cloudcore.dns.limiter import Limiter, LimiterSettings
from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Desk, Identity, Responder
from cloudcore.dns.servicefile import services_of
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_records, parse_zone, with_services
from skerry.dns.names import name_of
from skerry.probing.monitor import Counter
from tests.cloudcore.dns.conftest import HERE, ZONE, option

NOW_S = 1000.0
PARSED = parse_zone(ZONE, name_of("example.com"))
BELOW = parse_zone("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\nwww 60 A 192.0.2.8", name_of("own.example.com"))
NAMES = [
    "example.com",
    "www.example.com",
    "mail.example.com",
    "big.example.com",
    "nobody.example.com",
    "l1.example.com",
    "x.nobody.example.com",
    "a.w.example.com",
    "b.wc.example.com",
    "y.z.example.com",
    "a.sub.example.com",
    "sub.example.com",
    "a.d.example.com",
    "own.example.com",
    "www.own.example.com",
    "no.own.example.com",
    "q.test",
    ".",
    "out.example.com",
    "nowhere.example.com",
    r"a\000b.example.com",
    r"a\000.example.com",
]
TYPES = ["A", "AAAA", "TXT", "MX", "CNAME", "NS", "SOA", "DS", "ANY", "HTTPS", "NSEC", "RRSIG", "AXFR", "TYPE300"]


def fresh() -> Responder:
    """Of two zones, one in the other without a delegation."""
    return Responder(
        Desk(
            zones={PARSED.origin: PARSED, BELOW.origin: BELOW},
            identity=Identity(nsid="ns-a"),
            cookies=Cookies([b"k" * 16]),
            limiter=Limiter(LimiterSettings(rate=1_000_000), b"seed"),
        )
    )


def packets() -> st.SearchStrategy[bytes]:
    edns = st.sampled_from(
        [
            {},
            {"use_edns": 0, "payload": 1232},
            {"use_edns": 0, "payload": 512, "want_dnssec": True},
            {"use_edns": 0, "payload": 4096, "options": [option(3, b"")]},
            {"use_edns": 0, "options": [option(8, b"\0\x01\x18\0\x0a\x01\x02")]},
            {"use_edns": 0, "options": [option(10, b"12345678")]},
            {"use_edns": 1},
        ]
    )
    return st.builds(
        lambda name, kind, options: dns.message.make_query(name, kind, **options).to_wire(),
        st.sampled_from(NAMES),
        st.sampled_from(TYPES),
        edns,
    )


def zeros(packet: bytes) -> list[int]:
    """Behind every zero byte: where a name may seem to end."""
    return [0, *(at + 1 for at in range(12, len(packet)) if packet[at] == 0)]


@settings(max_examples=150, deadline=None)
@given(st.lists(packets(), min_size=1, max_size=8), packets(), st.data())
def test_a_quick_answer_is_the_one_that_reading_makes(learnt: list[bytes], asked: bytes, data: st.DataObject) -> None:
    responder = fresh()
    for packet in learnt:
        responder.reply(packet, HERE, NOW_S)
    if data.draw(st.booleans()):
        broken = bytearray(asked)
        broken[data.draw(st.integers(2, len(asked) - 1))] = data.draw(st.integers(0, 255))
        asked = bytes(broken)
    # Twice: what one has made, the next may find.
    for _ in range(2):
        for end in zeros(asked):
            quick = responder.quick(asked, end, HERE.address, NOW_S)
            if quick is None:
                continue
            reply = fresh().reply(asked, HERE, NOW_S)
            assert reply is not None
            assert (quick[0], quick[1]) == (reply.data[2:], reply.rcode)
            assert not reply.truncated and not reply.limited


@pytest.mark.parametrize("name", ["mail.example.com", "nobody.example.com", "a.w.example.com", "x.sub.example.com"])
def test_a_name_that_nobody_has_asked_for_needs_no_reading(name: str) -> None:
    responder = fresh()
    responder.reply(dns.message.make_query("www.example.com", "A").to_wire(), HERE, NOW_S)
    packet = dns.message.make_query(name.replace("e", "E"), "A").to_wire()
    quick = responder.quick(packet, packet.index(b"\0", 12) + 1, HERE.address, NOW_S)
    assert quick is not None
    answer = dns.message.from_wire(packet[:2] + quick[0])
    assert dns.message.from_wire(packet).is_response(answer) and "E" in answer.question[0].name.to_text()


@pytest.mark.parametrize("name", ["own.example.com", "www.own.example.com"])
def test_what_is_in_a_zone_below_is_that_zones_to_tell(name: str) -> None:
    responder = fresh()
    responder.reply(dns.message.make_query("mail.example.com", "A").to_wire(), HERE, NOW_S)
    packet = dns.message.make_query(name, "A").to_wire()
    quick = responder.quick(packet, packet.index(b"\0", 12) + 1, HERE.address, NOW_S)
    assert quick is not None and quick[1] == 0


def test_a_large_answer_is_not_made_quickly_for_a_stranger() -> None:
    responder = fresh()
    responder.reply(dns.message.make_query("mail.example.com", "MX").to_wire(), HERE, NOW_S)
    packet = dns.message.make_query("example.com", "MX").to_wire()
    assert responder.quick(packet, packet.index(b"\0", 12) + 1, HERE.address, NOW_S) is None


SERVED = """
places:
  europe: [192.0.2.0/24, "2001:db8:e::/48"]
  france: [192.0.3.0/24]
  america: [198.51.100.0/24, 192.0.2.128/25]
orders: {europe: [fra, iad], france: [fra, sin, iad], america: [iad, fra], default: [iad, fra]}
services:
  www: {endpoints: &all [{address: 203.0.113.1, region: fra}, {address: "2001:db8::1", region: fra},
    {address: 203.0.113.2, region: iad}, {address: 203.0.113.3, region: iad}], probe: {type: TCP, port: 80}}
  one: {endpoints: [{address: 203.0.113.1, region: fra}, {address: 203.0.113.7, region: fra}]}
  heavy: {policy: weighted, endpoints: *all}
  sticky: {sticky: true, endpoints: *all}
  canary: {canary: {region: fra, percent: 50}, endpoints: *all}
  "*.any": {endpoints: *all}
"""
HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\nalias 60 CNAME www\nx.any 60 TXT here\n"
SUBNETS = st.one_of(
    st.none(),
    st.builds(
        lambda address, source: (1, source, (address >> (32 - source) << (32 - source)).to_bytes(4, "big")),
        st.sampled_from([0xC0000201, 0xC0000281, 0xC0000305, 0xC6336401, 0x0A000001]),
        st.sampled_from([0, 16, 23, 24, 25, 32]),
    ),
    st.just((2, 48, bytes.fromhex("20010db8000e") + bytes(10))),
)


@cache
def served() -> Zone:
    origin = name_of("example.com")
    return with_services(parse_records(HEAD, origin), origin, services_of(yaml.safe_load(SERVED), origin))


def subnet_option(family: int, source: int, address: bytes) -> bytes:
    return bytes([0, family, source, 0]) + address[: (source + 7) // 8]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["www", "one", "heavy", "sticky", "canary", "q.any", "x.any", "alias", "gone", "WWW"]),
            st.sampled_from(["A", "AAAA", "TXT"]),
            SUBNETS,
            st.sampled_from([b"\xc0\0\x02\x01", b"\xc0\0\x02\x81", b"\x7f\0\0\x01"]),
            st.integers(0, 2),
        ),
        min_size=2,
        max_size=10,
    )
)
def test_a_quick_answer_of_a_service_is_the_one_that_reading_makes(
    asked: list[tuple[str, str, tuple[int, int, bytes] | None, bytes, int]],
) -> None:
    zone = served()
    table = HealthTable.of_zones({zone.origin: zone})
    responder = Responder(Desk(zones={zone.origin: zone}, health=table))
    down = next(iter(table.slots))
    for name, kind, subnet, address, turn in asked:
        if turn == 2:
            table.set_verdict(down, down=not table.is_down(down), unsure=False, counter=Counter())
        options = [option(8, subnet_option(*subnet))] if subnet else []
        packet = dns.message.make_query(f"{name}.example.com", kind, use_edns=0, options=[*options]).to_wire()
        if turn == 1 and subnet and subnet[1] % 8:
            packet = packet[:-1] + bytes([packet[-1] | 1])
        client = Client(address=address, transport="udp")
        responder.look(NOW_S)
        quick = responder.quick(packet, packet.index(b"\0", 12) + 1, address, NOW_S)
        reply = Responder(Desk(zones={zone.origin: zone}, health=table)).reply(packet, client, NOW_S)
        assert reply is not None
        if quick is not None:
            assert (quick[0], quick[1]) == (reply.data[2:], reply.rcode)
            assert quick[2] != "long" or not reply.steered
            other = Client(address=b"\xc6\x33\x64\x01", transport="udp")
            said = Responder(Desk(zones={zone.origin: zone}, health=table)).reply(packet, other, NOW_S)
            assert quick[2] == "never" or (said is not None and said.data == reply.data)
        responder.reply(packet, client, NOW_S)


def test_another_subnet_of_the_same_length_needs_no_reading() -> None:
    zone = served()
    responder = Responder(Desk(zones={zone.origin: zone}))
    for address, found in ((b"\xc0\0\x02\0", None), (b"\xc0\0\x03\0", b"\0\x01\x18\x18\xc0\0\x03")):
        options = [option(8, subnet_option(1, 24, address))]
        packet = dns.message.make_query("www.example.com", "A", use_edns=0, options=[*options]).to_wire()
        quick = responder.quick(packet, packet.index(b"\0", 12) + 1, HERE.address, NOW_S)
        assert (quick is None) == (found is None)
        if quick is not None and found is not None:
            assert found[:3] in quick[0] and quick[0].endswith(found[4:])
        responder.reply(packet, HERE, NOW_S)


def test_an_answer_for_all_of_one_family_is_not_kept_for_the_other() -> None:
    origin = name_of("example.com")
    about = {**yaml.safe_load(SERVED), "places": {"europe": ["0.0.0.0/0"]}}
    about["orders"] = {"europe": ["fra", "iad"], "default": ["iad", "fra"]}
    zone = with_services(parse_records(HEAD, origin), origin, services_of(about, origin))
    packet = dns.message.make_query("www.example.com", "A").to_wire()
    for address, last in ((b"\xc0\0\2\1", [1]), (bytes.fromhex("20010db8") + bytes(12), [2, 3])):
        responder = Responder(Desk(zones={zone.origin: zone}))
        reply = responder.reply(packet, Client(address=address, transport="udp"), NOW_S)
        assert reply is not None and not reply.lasting
        quick = responder.quick(packet, packet.index(b"\0", 12) + 1, address, NOW_S)
        assert quick is not None and quick[2] == "never"
        answer = dns.message.from_wire(reply.data).answer[0]
        assert sorted(int(str(rdata).rpartition(".")[2]) for rdata in answer) == last
