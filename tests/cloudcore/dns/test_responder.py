"""Packets in, packets out: EDNS, sizes, errors, limits."""

from __future__ import annotations

import gc
import random
import struct
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.dns.cookies import Cookies, siphash
from cloudcore.dns.limiter import Limiter, LimiterSettings
from cloudcore.dns.lookup import Found
from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Desk, Identity, Responder
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of
from tests.cloudcore.dns.conftest import HERE, STREAM, ZONE, ask, option, told

KEY = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
PARSED = parse_zone(ZONE, name_of("example.com"))


def desk(zone: Zone, rate: int = 1000, factor: float = 3) -> Desk:
    return Desk(
        zones={zone.origin: zone},
        identity=Identity(nsid="ns-a"),
        cookies=Cookies([KEY]),
        limiter=Limiter(LimiterSettings(rate=rate, factor=factor), b"seed"),
    )


def raw(responder: Responder, packet: bytes, client: Client = HERE, now_s: float = 1000.0) -> bytes | None:
    reply = responder.reply(packet, client, now_s)
    return None if reply is None else reply.data


def test_the_question_comes_back_in_its_own_letters(responder: Responder) -> None:
    query = dns.message.make_query("wWw.eXample.COM", "A")
    answer = raw(responder, query.to_wire())
    assert answer is not None and answer[12:33] == query.to_wire()[12:33]
    assert dns.message.from_wire(answer).answer[0].name.to_text() == "wWw.eXample.COM."


def test_an_unknown_version_of_edns_is_badvers_without_an_answer(responder: Responder) -> None:
    answer = ask(responder, "mail.example.com", use_edns=100)
    assert answer.rcode() == dns.rcode.BADVERS and answer.edns == 0 and not answer.answer


def test_edns_is_answered_only_where_it_was_asked_with(responder: Responder) -> None:
    assert ask(responder, "mail.example.com").edns == -1
    answer = ask(responder, "mail.example.com", use_edns=0, payload=4096, ednsflags=0x80 | dns.flags.DO)
    assert answer.edns == 0 and answer.payload == 1232 and answer.ednsflags == dns.flags.DO


def test_unknown_options_are_ignored(responder: Responder) -> None:
    answer = ask(responder, "mail.example.com", use_edns=0, options=[option(100, b"x")])
    assert answer.rcode() == 0 and answer.options == ()


def test_the_server_tells_its_name_when_asked(responder: Responder) -> None:
    answer = ask(responder, "mail.example.com", use_edns=0, options=[option(3, b"")])
    assert [each.to_wire() for each in answer.options] == [b"ns-a"]
    query = dns.message.make_query("id.server", "TXT", rdclass="CH")
    told_by = raw(responder, query.to_wire())
    assert told_by is not None and '"ns-a"' in str(dns.message.from_wire(told_by).answer[0])


def test_what_does_not_fit_is_cut_and_whole_over_a_stream(responder: Responder) -> None:
    cut = ask(responder, "big.example.com", "TXT", use_edns=0, payload=4096)
    assert cut.flags & dns.flags.TC and not cut.answer
    assert len(ask(responder, "big.example.com", "TXT", client=STREAM).answer) == 1


def test_what_may_be_left_out_is_left_out_first() -> None:
    many = "\n".join(f"@ 60 MX {n} m{n}\nm{n} 60 A 192.0.2.{n}\nm{n} 60 AAAA 2001:db8::{n}" for n in range(1, 20))
    zone = parse_zone(f"@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n{many}", name_of("example.com"))
    answer = ask(Responder(Desk(zones={zone.origin: zone})), "example.com", "MX")
    assert not answer.flags & dns.flags.TC and len(told(answer.answer)) == 19 and 0 < len(answer.additional) < 38


def test_glue_that_does_not_fit_cuts_the_referral() -> None:
    rows = [f"sub 60 NS n{n}.sub\nn{n}.sub 60 A 192.0.2.{n}\nn{n}.sub 60 AAAA 2001:db8::{n}" for n in range(1, 13)]
    many = "\n".join(rows)
    zone = parse_zone(f"@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n{many}", name_of("example.com"))
    assert ask(Responder(Desk(zones={zone.origin: zone})), "x.sub.example.com").flags & dns.flags.TC


def test_the_cookie_of_rfc_9018_is_ours(zone: Zone) -> None:
    cookies = Cookies([KEY])
    full = bytes.fromhex("2464c4abcf10c957010000005cf79f111f8130c3eee29480")
    address = bytes([198, 51, 100, 100])
    assert cookies.check(full, address, 1559731985) == (full, True)
    assert cookies.check(full, bytes([198, 51, 100, 101]), 1559731985)[1] is False
    assert cookies.check(full, address, 1559731985 + 3601)[1] is False
    renewed, good = cookies.check(full, address, 1559731985 + 1801)
    assert good and renewed != full
    former = Cookies([b"k" * 16, KEY])
    made, good = former.check(full, address, 1559731985)
    assert good and former.check(made, address, 1559731985) == (made, True)


def test_siphash_is_the_reference_implementations() -> None:
    # Appendix A of the SipHash paper: key 00..0f, input 00..0e.
    assert siphash(bytes(range(16)), bytes(range(15))) == struct.pack("<Q", 0xA129CA6149BE45E5)


def test_large_answers_to_whom_has_no_cookie_have_a_rate(zone: Zone) -> None:
    responder = Responder(desk(zone, rate=0))
    query = dns.message.make_query("example.com", "MX").to_wire()
    answer = dns.message.from_wire(raw(responder, query) or b"")
    assert answer.flags & dns.flags.TC and not answer.answer
    responder = Responder(desk(zone, rate=0, factor=0))
    asked = dns.message.make_query("example.com", "MX", use_edns=0, options=[option(10, b"12345678")])
    first = dns.message.from_wire(raw(responder, asked.to_wire()) or b"")
    assert first.rcode() == dns.rcode.BADCOOKIE
    proven = dns.message.make_query("example.com", "MX", use_edns=0, options=[*first.options])
    assert dns.message.from_wire(raw(responder, proven.to_wire()) or b"").rcode() == 0


def test_a_rate_recovers_with_time(zone: Zone) -> None:
    limiter = Limiter(LimiterSettings(rate=2), b"")
    sizes = {"answer_size": 400, "query_size": 40}
    address = bytes([192, 0, 2, 1])
    assert [limiter.allows(address, now_s=10.0, **sizes) for _ in range(3)] == [True, True, False]
    assert limiter.allows(bytes([192, 0, 2, 200]), now_s=10.0, **sizes) is False
    assert limiter.allows(bytes([192, 0, 3, 1]), now_s=10.0, **sizes) is True
    assert limiter.allows(address, now_s=10.6, **sizes) is True
    assert limiter.allows(address, answer_size=100, query_size=40, now_s=10.6) is True


@pytest.mark.parametrize("data", [b"1234567", b"1" * 9, b"1" * 15, b"1" * 41, b""])
def test_a_cookie_of_no_length_is_a_format_error(responder: Responder, data: bytes) -> None:
    assert ask(responder, "example.com", use_edns=0, options=[option(10, data)]).rcode() == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\x01\x18",
        b"\0\x03\x08\0\x01",
        b"\0\x01\x21\0\x01\x02\x03\x04\x05",
        b"\0\x01\x18\x01\x01\x02\x03",
        b"\0\x01\x18\0\x01\x02",
        b"\0\x01\x17\0\x01\x02\x03",
        b"\0\x01\0\0\0",
    ],
)
def test_a_client_subnet_that_breaks_its_rules_is_a_format_error(responder: Responder, data: bytes) -> None:
    assert ask(responder, "example.com", use_edns=0, options=[option(8, data)]).rcode() == 1


def test_a_client_subnet_comes_back_with_scope_zero_where_it_does_not_matter(responder: Responder) -> None:
    answer = ask(responder, "example.com", use_edns=0, options=[option(8, b"\0\x01\x18\0\x0a\x01\x02")])
    assert [each.to_wire() for each in answer.options] == [b"\0\x01\x18\0\x0a\x01\x02"]


def test_odd_packets_are_answered_as_the_rules_have_it(responder: Responder) -> None:
    query = dns.message.make_query("example.com", "A").to_wire()
    assert raw(responder, query[:11]) is None
    assert raw(responder, b"ab\x80" + query[3:]) is None, "an answer is never answered"
    two = query[:4] + b"\0\x02" + query[6:] + query[12:]
    none = query[:4] + b"\0\0" + query[6:12]
    behind = query + b"x"
    looped = query[:12] + b"\xc0\x0c" + query[-4:]
    for packet in (two, none, behind, looped, query[:-1]):
        answer = raw(responder, packet)
        assert answer is not None and answer[3] & 15 == 1 and answer[:2] == query[:2]
    update = query[:2] + b"\x28" + query[3:]
    status = query[:2] + b"\x10" + query[3:]
    for packet in (update, status):
        answer = raw(responder, packet)
        assert answer is not None and answer[3] & 15 == 4
    opts = dns.message.make_query("example.com", "A", use_edns=0).to_wire()
    twice = opts[:11] + b"\x02" + opts[12:] + opts[-11:]
    assert (raw(responder, twice) or b"")[3] & 15 == 1


def test_transfers_are_refused_where_nobody_may_have_them(responder: Responder) -> None:
    assert ask(responder, "example.com", "AXFR", client=STREAM).rcode() == dns.rcode.REFUSED


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_break_it_and_no_answer_is_out_of_bounds(data: st.DataObject) -> None:
    responder = Responder(desk(PARSED, rate=0))
    names = ["example.com", "www.example.com", "big.example.com", "a.w.example.com", "q.test"]
    name = data.draw(st.sampled_from(names))
    kind = data.draw(st.sampled_from(["A", "TXT", "MX", "ANY", "NS", "AXFR", "TYPE300"]))
    packet = bytearray(dns.message.make_query(name, kind, use_edns=data.draw(st.sampled_from([-1, 0]))).to_wire())
    for _ in range(data.draw(st.integers(0, 6))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        packet = packet[: data.draw(st.integers(0, len(packet)))]
    answer = raw(responder, bytes(packet))
    if answer is None:
        assert len(packet) < 12 or packet[2] & 0x80
        return
    assert answer[:2] == packet[:2] and answer[2] & 0x80
    assert len(answer) <= max(3 * len(packet), len(packet) + 40) and len(answer) <= 1232
    dns.message.from_wire(answer, ignore_trailing=False)


def kept_by(ask_all: Callable[[Responder], None], desk: Desk) -> int:
    """Sections that a responder holds after all was asked."""
    responder = Responder(desk)
    ask(responder, "www.example.com", "A")
    gc.collect()
    before = sum(isinstance(each, Found) for each in gc.get_objects())
    ask_all(responder)
    gc.collect()
    return sum(isinstance(each, Found) for each in gc.get_objects()) - before


@pytest.mark.parametrize("name", ["sub.example.com", "mail.example.com", "l1.example.com"])
@pytest.mark.parametrize("dnssec", [False, True])
def test_types_that_a_name_has_not_are_not_kept_without_end(zone: Zone, name: str, dnssec: bool) -> None:
    def ask_all(responder: Responder) -> None:
        for kind in (*range(60, 100), *range(300, 600)):
            packet = dns.message.make_query(name, f"TYPE{kind}", want_dnssec=dnssec).to_wire()
            assert responder.quick(packet, packet.index(b"\0", 12) + 1, HERE.address, 1000.0) is None
            assert raw(responder, packet) is not None

    assert kept_by(ask_all, Desk(zones={zone.origin: zone}, kept_max=10)) <= 10
    assert kept_by(ask_all, Desk(zones={zone.origin: zone})) <= 40


def test_answering_leaves_nothing_to_the_collector() -> None:
    """Which is off where datagrams are answered: a look at all that is ready there would keep questions waiting."""
    responder, chance = Responder(desk(PARSED, rate=0)), random.Random(7)
    packets = [
        dns.message.make_query(name, kind, use_edns=edns, options=[*options]).to_wire()
        for name in ("example.com", "www.example.com", "nobody.example.com", "a.w.example.com", "q.test")
        for kind in ("A", "MX", "AXFR", "ANY")
        for edns, options in ((-1, []), (0, []), (1, []), (0, [option(10, b"12345678")]), (0, [option(8, b"")]))
    ]
    packets += [bytes(chance.choice([byte, byte, byte ^ 4]) for byte in each) for each in packets]
    gc.collect()
    gc.disable()
    try:
        for packet in packets:
            responder.quick(packet, packet.find(b"\0", 12) + 1, HERE.address, 1000.0)
            responder.reply(packet, HERE, 1000.0)
        assert gc.collect() == 0
    finally:
        gc.enable()
