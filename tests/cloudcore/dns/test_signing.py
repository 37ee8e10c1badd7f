"""Keys in their files, and signatures on what is answered, as dnspython checks them."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Literal, cast

import dns.dnssec
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.NSEC
import dns.rrset
import pytest

from cloudcore.dns.access import Access, read_networks
from cloudcore.dns.keys import by_zone, generate, read_keys, set_state
from cloudcore.dns.limiter import Pace
from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.signing import ZoneSigner
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of
from skerry.errors import InvalidError, NotFoundError

ORIGIN = name_of("example.com")
TEXT = (
    "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS ns.Example.com.\nns 60 A 192.0.2.1\nwww 60 CNAME NS\n"
    "*.w 60 A 192.0.2.2\nd 60 DNAME ns\nsub 60 NS ns.sub\nns.sub 60 A 192.0.2.3\n"
)
NOW = 1_800_000_000.0
CLIENT = Client(address=b"\1\2\3\4", transport="tcp")


@pytest.fixture
def signer(tmp_path: Path) -> ZoneSigner:
    generate(tmp_path, "Example.com")
    return ZoneSigner(parse_zone(TEXT, ORIGIN), by_zone(read_keys(tmp_path))[ORIGIN])


def responder_of(signer: ZoneSigner) -> Responder:
    access = Access(networks=read_networks(("1.2.3.4/32",)))
    return Responder(Desk(zones={ORIGIN: signer.zone}, signers={ORIGIN: signer}, access=access))


def ask(signer: ZoneSigner, name: str, kind: str, *, wants: bool = True) -> dns.message.Message:
    responder = responder_of(signer)
    query = dns.message.make_query(name, kind, want_dnssec=wants, use_edns=0)
    reply = responder.reply(query.to_wire(), CLIENT, NOW)
    assert reply is not None
    return dns.message.from_wire(reply.data)


def check(signer: ZoneSigner, section: list[dns.rrset.RRset]) -> set[str]:
    """The types that are signed, each of which holds."""
    origin = dns.name.from_text("example.com")
    keys = ask(signer, "example.com", "DNSKEY").answer[0]
    signed: set[str] = set()
    for rrset in section:
        if rrset.rdtype == dns.rdatatype.RRSIG:
            of = next(each for each in section if each.name == rrset.name and each.rdtype == rrset.covers)
            dns.dnssec.validate(of, rrset, {origin: keys}, now=NOW)
            signed.add(dns.rdatatype.to_text(rrset.covers))
    return signed


@pytest.mark.parametrize(
    ("name", "kind", "signed"),
    [
        ("example.com", "DNSKEY", {"DNSKEY"}),
        ("NS.example.com", "A", {"A"}),
        ("www.example.com", "A", {"CNAME", "A"}),
        ("x.y.w.example.com", "A", {"A"}),
        ("x.d.example.com", "A", {"DNAME"}),
    ],
)
def test_answers_are_signed(signer: ZoneSigner, name: str, kind: str, signed: set[str]) -> None:
    assert check(signer, ask(signer, name, kind).answer) == signed


@pytest.mark.parametrize(
    ("name", "kind", "types"),
    [
        ("nowhere.example.com", "A", "RRSIG NSEC TYPE128"),
        ("w.example.com", "A", "RRSIG NSEC"),
        ("x.w.example.com", "AAAA", "A RRSIG NSEC"),
        ("ns.example.com", "MX", "A RRSIG NSEC"),
        ("sub.example.com", "DS", "NS RRSIG NSEC"),
        ("example.com", "A", "NS SOA RRSIG NSEC DNSKEY"),
    ],
)
def test_what_is_not_there_is_proven(signer: ZoneSigner, name: str, kind: str, types: str) -> None:
    told = ask(signer, name, kind)
    assert told.rcode() == dns.rcode.NOERROR and check(signer, told.authority) == {"SOA", "NSEC"}
    nsec = next(each for each in told.authority if each.rdtype == dns.rdatatype.NSEC)
    assert nsec.name == dns.name.from_text(name)
    assert nsec.to_text().split(" NSEC ", 1)[1].partition(" ")[2].replace("NXNAME", "TYPE128") == types


def test_a_delegation_without_ds_is_proven_to_have_none(signer: ZoneSigner) -> None:
    told = ask(signer, "x.sub.example.com", "A")
    assert check(signer, told.authority) == {"NSEC"}


@pytest.mark.parametrize(
    ("name", "kind", "covered"),
    [
        ("ns.example.com", "NSEC", {"NSEC"}),
        ("nowhere.example.com", "NSEC", {"NSEC"}),
        ("www.example.com", "NSEC", {"NSEC"}),
        ("ns.example.com", "RRSIG", {"A"}),
        ("www.example.com", "RRSIG", {"CNAME"}),
        ("nowhere.example.com", "RRSIG", {"NSEC"}),
        ("x.w.example.com", "RRSIG", {"A"}),
    ],
)
@pytest.mark.parametrize("wants", [True, False])
def test_proofs_and_signatures_that_are_asked_for_are_told(
    signer: ZoneSigner, name: str, kind: str, covered: set[str], wants: bool
) -> None:
    """Their absence would be proven by a bitmap that says that they are there."""
    told = ask(signer, name, kind, wants=wants)
    assert told.rcode() == dns.rcode.NOERROR and not told.authority
    if kind == "NSEC":
        assert told.answer[0].rdtype == dns.rdatatype.NSEC
    found = {each.covers for each in told.answer if each.rdtype == dns.rdatatype.RRSIG}
    assert {dns.rdatatype.to_text(each) for each in found} == (covered if wants or kind == "RRSIG" else set())


@pytest.mark.parametrize("name", ["w.example.com", "nowhere.example.com", "ns.example.com"])
def test_anything_is_answered_or_proven(signer: ZoneSigner, name: str) -> None:
    told = ask(signer, name, "ANY")
    assert told.rcode() == dns.rcode.NOERROR
    assert check(signer, told.answer) | check(signer, told.authority) in ({"A"}, {"SOA", "NSEC"})


def test_what_is_of_bitmaps_alone_is_no_question(signer: ZoneSigner) -> None:
    told = ask(signer, "ns.example.com", "TYPE128")
    assert told.rcode() == dns.rcode.FORMERR
    assert "30" in str(told.options[0].to_text())


@pytest.mark.parametrize("size", [253, 254, 255])
def test_a_proof_for_a_name_without_room_behind_it_denies_nothing_but_that_name(
    signer: ZoneSigner, size: int
) -> None:
    left = size - len(ORIGIN)
    parts = [63] * (left // 64) + ([left % 64 - 1] if left % 64 > 1 else [])
    name = "".join("x" * part + "." for part in parts)
    if left % 64 == 1:
        name = name.replace("x.", ".", 1).replace("x" * 62 + ".", "x" * 31 + "." + "x" * 31 + ".", 1)
    asked = dns.name.from_text(name + "example.com")
    assert len(asked.to_wire() or b"") == size
    told = ask(signer, asked.to_text(), "A")
    nsec = next(each for each in told.authority if each.rdtype == dns.rdatatype.NSEC)
    following = cast("dns.rdtypes.ANY.NSEC.NSEC", nsec[0]).next
    assert asked < following, "the apex would deny the whole zone behind the name"
    assert following.is_subdomain(dns.name.from_text("example.com"))


def test_a_transfer_is_of_the_zone_without_keys(signer: ZoneSigner) -> None:
    """A secondary that had DNSKEYs without signatures would be bogus to all who validate."""
    reply = responder_of(signer).reply(dns.message.make_query("example.com", "AXFR").to_wire(), CLIENT, NOW)
    assert reply is not None
    told = dns.message.from_wire(reply.data, xfr=True)
    kinds = {each.rdtype for each in told.answer}
    assert dns.rdatatype.SOA in kinds and not kinds & {dns.rdatatype.DNSKEY, dns.rdatatype.RRSIG}


def test_denials_have_a_pace_and_those_that_were_made_are_had_again(tmp_path: Path) -> None:
    generate(tmp_path, "example.com")
    signer = ZoneSigner(parse_zone(TEXT, ORIGIN), by_zone(read_keys(tmp_path))[ORIGIN], Pace(2))
    responder = responder_of(signer)

    def told(name: str, transport: Literal["udp", "tcp"] = "udp", now: float = NOW) -> tuple[int, bool]:
        query = dns.message.make_query(f"{name}.example.com", "A", want_dnssec=True, use_edns=0)
        reply = responder.reply(query.to_wire(), Client(address=b"\1\2\3\4", transport=transport), now)
        assert reply is not None
        return reply.rcode, reply.truncated

    assert [told(name) for name in ("a1", "a2")] == [(0, False)] * 2
    assert told("a3") == (0, True), "who might not be where he says comes over TCP"
    assert told("a1") == (0, False), "it is there"
    assert told("ns") == (0, False), "what is in the zone is signed whatever happens"
    assert [told(name, "tcp") for name in ("b1", "b2")] == [(0, False)] * 2, "who is where he says has his own"
    assert told("b3", "tcp") == (dns.rcode.SERVFAIL, False), "and asks another server"
    assert told("a3", now=NOW + 1) == (0, False)


def test_a_denial_is_over_when_the_name_is_there(tmp_path: Path) -> None:
    generate(tmp_path, "example.com")
    keys = by_zone(read_keys(tmp_path))[ORIGIN]
    before = ZoneSigner(parse_zone(TEXT, ORIGIN), keys)
    assert not ask(before, "new.example.com", "A").answer
    after = ZoneSigner(parse_zone(TEXT + "new 60 A 192.0.2.9\n", ORIGIN), keys)
    assert check(after, ask(after, "new.example.com", "A").answer) == {"A"}


def test_who_asks_for_no_proof_is_told_as_ever(signer: ZoneSigner) -> None:
    told = ask(signer, "nowhere.example.com", "A", wants=False)
    assert told.rcode() == dns.rcode.NXDOMAIN
    assert [each.rdtype for each in told.authority] == [dns.rdatatype.SOA]


def test_a_roll_goes_by_names_of_files(tmp_path: Path) -> None:
    first, second = generate(tmp_path, "example.com"), generate(tmp_path, "example.com.")
    assert (first.state, second.state) == ("active", "published")
    with pytest.raises(InvalidError, match="no key that signs"):
        set_state(tmp_path, "example.com", first.tag, "retired")
    assert set_state(tmp_path, "example.com", second.tag, "active").state == "active"
    assert {each.tag: each.state for each in read_keys(tmp_path)} == {first.tag: "retired", second.tag: "active"}
    with pytest.raises(NotFoundError):
        set_state(tmp_path, "example.com", 70_000, "active")
    (tmp_path / "other.pem").write_text("x")
    with pytest.raises(InvalidError, match="is not called"):
        read_keys(tmp_path)


def test_signing_leaves_nothing_to_the_collector(signer: ZoneSigner) -> None:
    """Which is off where datagrams are answered."""
    ask(signer, "www.example.com", "A")  # what is made once, by libraries as well
    responder = responder_of(signer)
    names = ["www.example.com", "ns.example.com", "no.example.com", "a.w.example.com", "x.d.example.com"]
    packets = [dns.message.make_query(name, "A", want_dnssec=True, use_edns=0).to_wire() for name in names]
    gc.collect()
    gc.disable()
    try:
        for packet in packets:
            responder.reply(packet, CLIENT, NOW)
        assert gc.collect() == 0
    finally:
        gc.enable()
