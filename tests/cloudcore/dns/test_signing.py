"""Keys in their files, and signatures on what is answered, as dnspython checks them."""

from __future__ import annotations

from pathlib import Path

import dns.dnssec
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from cloudcore.dns.keys import by_zone, generate, read_keys, set_state
from cloudcore.dns.names import name_of
from cloudcore.dns.responder import Client, Desk, Responder
from cloudcore.dns.signing import ZoneSigner
from cloudcore.dns.zonefile import parse_zone
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


def ask(signer: ZoneSigner, name: str, kind: str, *, wants: bool = True) -> dns.message.Message:
    responder = Responder(Desk(zones={ORIGIN: signer.zone}, signers={ORIGIN: signer}))
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
