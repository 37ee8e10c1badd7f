"""Answers that are made without reading the query are those that reading it makes."""

from __future__ import annotations

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.dns.cookies import Cookies
from cloudcore.dns.limiter import Limiter, LimiterSettings
from cloudcore.dns.responder import Desk, Identity, Responder
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of
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


@settings(max_examples=400, deadline=None)
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
            quick = responder.quick(asked, end, NOW_S)
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
    quick = responder.quick(packet, packet.index(b"\0", 12) + 1, NOW_S)
    assert quick is not None
    answer = dns.message.from_wire(packet[:2] + quick[0])
    assert dns.message.from_wire(packet).is_response(answer) and "E" in answer.question[0].name.to_text()


@pytest.mark.parametrize("name", ["own.example.com", "www.own.example.com"])
def test_what_is_in_a_zone_below_is_that_zones_to_tell(name: str) -> None:
    responder = fresh()
    responder.reply(dns.message.make_query("mail.example.com", "A").to_wire(), HERE, NOW_S)
    packet = dns.message.make_query(name, "A").to_wire()
    quick = responder.quick(packet, packet.index(b"\0", 12) + 1, NOW_S)
    assert quick is not None and quick[1] == 0


def test_a_large_answer_is_not_made_quickly_for_a_stranger() -> None:
    responder = fresh()
    responder.reply(dns.message.make_query("mail.example.com", "MX").to_wire(), HERE, NOW_S)
    packet = dns.message.make_query("example.com", "MX").to_wire()
    assert responder.quick(packet, packet.index(b"\0", 12) + 1, NOW_S) is None
