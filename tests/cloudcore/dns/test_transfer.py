"""Transfers and signatures, judged by dnspython."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import dns.message
import dns.name
import dns.rcode
import dns.tsig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.dns.access import Access, read_keys, read_networks
from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.transfer import Delta, changed_rows, delta_of, is_newer
from cloudcore.dns.tsig import Key
from cloudcore.dns.zone import Zone, build
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of
from skerry.dns.records import Record
from skerry.errors import InvalidError
from tests.cloudcore.dns.conftest import STREAM

SECRET = b"0123456789abcdef"
KEY = Key(name=name_of("xfr"), algorithm=name_of("hmac-sha256"), secret=SECRET)
PEERS = {dns.name.from_text("xfr."): dns.tsig.Key("xfr.", SECRET, "hmac-sha256")}
NOW = 1_700_000_000
SMALL = parse_zone("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\nx 60 A 192.0.2.1", name_of("example.com"))


def version(serial: int, names: dict[int, int]) -> Zone:
    rows = "\n".join(f"n{name} 60 A 192.0.2.{value}" for name, value in names.items())
    return parse_zone(f"@ 60 SOA a b {serial} 2 3 4 5\n@ 60 NS a.test.\n{rows}", name_of("example.com"))


def signed(key: dns.tsig.Key) -> dns.message.Message:
    query = dns.message.make_query("x.example.com", "A")
    query.use_tsig(key)
    return query


def test_a_signed_query_has_a_signed_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    responder = Responder(Desk(zones={SMALL.origin: SMALL}, access=Access(keys={KEY.name: KEY})))
    query = signed(PEERS[dns.name.from_text("xfr.")])
    reply = responder.reply(query.to_wire(), STREAM, NOW)
    assert reply is not None
    assert dns.message.from_wire(reply.data, keyring=PEERS, request_mac=query.mac).had_tsig
    changed = reply.data.replace(bytes([192, 0, 2, 1]), bytes([192, 0, 2, 9]))
    with pytest.raises(dns.tsig.BadSignature):
        dns.message.from_wire(changed, keyring=PEERS, request_mac=query.mac)


@pytest.mark.parametrize(
    ("key", "late_s", "error"),
    [
        (dns.tsig.Key("other.", SECRET, "hmac-sha256"), 0, dns.tsig.PeerBadKey),
        (dns.tsig.Key("xfr.", SECRET, "hmac-sha512"), 0, dns.tsig.PeerBadKey),
        (dns.tsig.Key("xfr.", b"x" * 16, "hmac-sha256"), 0, dns.tsig.PeerBadSignature),
        (PEERS[dns.name.from_text("xfr.")], 301, dns.tsig.PeerBadTime),
    ],
)
def test_a_signature_that_does_not_hold_is_said_to(
    monkeypatch: pytest.MonkeyPatch, key: dns.tsig.Key, late_s: int, error: type[Exception]
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    responder = Responder(Desk(zones={SMALL.origin: SMALL}, access=Access(keys={KEY.name: KEY})))
    query = signed(key)
    reply = responder.reply(query.to_wire(), STREAM, NOW + late_s)
    assert reply is not None and reply.rcode == dns.rcode.NOTAUTH
    with pytest.raises(error):
        dns.message.from_wire(reply.data, keyring={key.name: key}, request_mac=query.mac)


def test_a_zone_goes_to_those_who_may_have_it() -> None:
    access = Access(networks=read_networks(("192.0.2.0/24", "2001:db8::/32")))
    responder = Responder(Desk(zones={SMALL.origin: SMALL}, access=access))
    query = dns.message.make_query("example.com", "AXFR").to_wire()
    for address, rcode in ((bytes([192, 0, 2, 1]), 0), (bytes([198, 51, 100, 1]), 5), (bytes(16), 5)):
        reply = responder.reply(query, Client(address=address, transport="tcp"), NOW)
        assert reply is not None and reply.rcode == rcode and (reply.more is not None) == (rcode == 0)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, 250)), min_size=2, max_size=6), st.data())
def test_changes_lead_from_any_known_serial_to_the_newest(steps: list[dict[int, int]], data: st.DataObject) -> None:
    zones = [version(serial, names) for serial, names in enumerate(steps, 1)]
    made = [delta_of(before, after) for before, after in pairwise(zones)]
    deltas = [delta for delta in made if delta is not None]
    start = data.draw(st.integers(0, len(zones) - 1))
    rows = changed_rows(zones[-1], deltas, zones[start].serial)
    assert rows is not None
    assert applied(zones[start], list(rows)) == zones[-1]
    assert changed_rows(zones[-1], deltas[1:], 1) is None


def applied(zone: Zone, rows: list[tuple[bytes, object]]) -> Zone:
    """As a secondary does it (RFC 1995 section 4)."""
    from cloudcore.dns.zone import Rrset
    from skerry.dns.numbers import SOA

    there = {(o, k, s.ttl, r) for o, node in zone.nodes.items() for k, s in node.items() for r in s.rdatas}
    if len(rows) == 1:
        return zone
    adding = True
    for owner, rrset in rows[1:-1]:
        assert isinstance(rrset, Rrset)
        if rrset.type == SOA:
            adding = not adding
        row = (owner, rrset.type, rrset.ttl, rrset.rdatas[0])
        (there.add if adding else there.remove)(row)
    return build(zone.origin, [Record(owner=o, type=k, ttl=t, rdata=r) for o, k, t, r in there])


def test_a_serial_that_stood_still_makes_no_change_to_tell() -> None:
    assert delta_of(version(5, {1: 1}), version(5, {1: 2})) is None
    assert isinstance(delta_of(version(4_294_967_295, {}), version(3, {})), Delta), "serials go round"
    assert is_newer(3, 4_294_967_295) and not is_newer(4_294_967_295, 3)


@pytest.mark.parametrize(
    "line",
    ["xfr. hmac-sha256", "xfr. hmac-md5 MDEyMzQ1Njc4OWFiY2RlZg==", "xfr. hmac-sha256 ###", "xfr. hmac-sha256 YWJj"],
)
def test_keys_that_are_none_are_refused_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# mine\ngood. hmac-sha256 MDEyMzQ1Njc4OWFiY2RlZg==\n{line}\n")
    with pytest.raises(InvalidError, match="line 3"):
        read_keys(path)
