"""The authoritative algorithm, case by case."""

from __future__ import annotations

import dns.flags
import dns.rcode
import pytest

from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of
from tests.cloudcore.dns.conftest import ask, told

SOA = ["example.com. SOA ns1.example.com. host.example.com. 7 7200 900 1209600 300"]


def test_an_alias_is_followed_within_the_zone(responder: Responder) -> None:
    answer = ask(responder, "www.example.com")
    assert told(answer.answer) == ["mail.example.com. A 192.0.2.2", "www.example.com. CNAME mail.example.com."]
    assert answer.flags & dns.flags.AA and not answer.flags & dns.flags.RA
    assert told(ask(responder, "out.example.com").answer) == ["out.example.com. CNAME elsewhere.test."]
    assert told(ask(responder, "www.example.com", "CNAME").answer) == ["www.example.com. CNAME mail.example.com."]


def test_an_alias_of_nothing_is_nxdomain_with_the_alias(responder: Responder) -> None:
    answer = ask(responder, "nowhere.example.com")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert told(answer.answer) == ["nowhere.example.com. CNAME nobody.example.com."]
    assert told(answer.authority) == SOA


def test_an_alias_into_a_delegation_leads_there(responder: Responder) -> None:
    answer = ask(responder, "deleg.example.com")
    assert told(answer.answer) == ["deleg.example.com. CNAME a.sub.example.com."]
    assert told(answer.authority) == ["sub.example.com. NS ns.sub.example.com."]
    assert answer.flags & dns.flags.AA


def test_a_circle_of_aliases_ends(responder: Responder) -> None:
    assert len(told(ask(responder, "l1.example.com").answer)) == 2


def test_what_is_not_there_is_told_with_the_negative_ttl(responder: Responder) -> None:
    answer = ask(responder, "nobody.example.com")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert told(answer.authority) == SOA and answer.authority[0].ttl == 300


@pytest.mark.parametrize("kind", ["AAAA", "HTTPS", "TYPE999", "TXT"])
def test_a_name_without_the_type_is_no_data(responder: Responder, kind: str) -> None:
    answer = ask(responder, "ns1.example.com", kind)
    assert answer.rcode() == dns.rcode.NOERROR and not answer.answer and told(answer.authority) == SOA


def test_an_empty_non_terminal_exists(responder: Responder) -> None:
    for name in ("y.z.example.com", "z.example.com", "_tcp.example.com", "w.example.com"):
        answer = ask(responder, name)
        assert answer.rcode() == dns.rcode.NOERROR and not answer.answer and told(answer.authority) == SOA


def test_wildcards_stand_for_names_that_are_not_there(responder: Responder) -> None:
    assert told(ask(responder, "a.b.w.example.com", "TXT").answer) == ['a.b.w.example.com. TXT "hi"']
    assert told(ask(responder, "a.w.example.com", "A").authority) == SOA
    assert told(ask(responder, "a.wc.example.com").answer) == [
        "a.wc.example.com. CNAME mail.example.com.",
        "mail.example.com. A 192.0.2.2",
    ]
    # RFC 4592 section 2.2.1: a name that exists, if only by what is below it, is none of the wildcard's.
    assert ask(responder, "w.example.com", "TXT").answer == []
    assert told(ask(responder, "*.w.example.com", "TXT").answer) == ['*.w.example.com. TXT "hi"']


def test_a_delegation_is_referred_to_with_its_glue(responder: Responder) -> None:
    for name in ("sub.example.com", "a.b.sub.example.com", "ns.sub.example.com"):
        answer = ask(responder, name)
        assert not answer.flags & dns.flags.AA and not answer.answer
        assert told(answer.authority) == ["sub.example.com. NS ns.sub.example.com."]
        assert told(answer.additional) == ["ns.sub.example.com. A 192.0.2.9"]


def test_what_is_told_of_a_delegation_from_above_is_the_parents(responder: Responder, zone: Zone) -> None:
    answer = ask(responder, "sub.example.com", "DS")
    assert answer.flags & dns.flags.AA and len(told(answer.answer)) == 1
    child = parse_zone("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a", name_of("sub.example.com"))
    both = Responder(Desk(zones={zone.origin: zone, child.origin: child}))
    assert len(told(ask(both, "sub.example.com", "DS").answer)) == 1
    assert told(ask(both, "a.sub.example.com").authority)[0].startswith("sub.example.com. SOA")
    alone = Responder(Desk(zones={child.origin: child}))
    assert told(ask(alone, "sub.example.com", "DS").authority)[0].startswith("sub.example.com. SOA")


def test_dname_renames_what_is_below_it(responder: Responder) -> None:
    answer = ask(responder, "a.b.d.example.com")
    assert told(answer.answer) == ["a.b.d.example.com. CNAME a.b.other.test.", "d.example.com. DNAME other.test."]
    renamed = parse_zone(
        "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nd 60 DNAME e\nx.e 60 A 192.0.2.1", name_of("example.com")
    )
    alone = Responder(Desk(zones={renamed.origin: renamed}))
    assert len(told(ask(alone, "x.d.example.com").answer)) == 3
    assert len(told(ask(alone, "x.d.example.com", "CNAME").answer)) == 2, "who asks for the alias has it"
    long = ".".join(["x" * 60] * 3 + ["y" * 45]) + ".d.example.com"
    renamed = parse_zone(f"@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nd 60 DNAME {'z' * 60}.test.", name_of("example.com"))
    assert ask(Responder(Desk(zones={renamed.origin: renamed})), long).rcode() == dns.rcode.YXDOMAIN


def test_addresses_of_what_is_told_go_along(responder: Responder) -> None:
    wanted = ["mail.example.com. A 192.0.2.2", "mail.example.com. AAAA 2001:db8::2"]
    assert told(ask(responder, "example.com", "MX").additional) == wanted
    assert told(ask(responder, "_s._tcp.example.com", "SRV").additional) == wanted


def test_any_is_one_set(responder: Responder) -> None:
    assert [rrset.rdtype.name for rrset in ask(responder, "mail.example.com", "ANY").answer] == ["A"]
    assert [rrset.rdtype.name for rrset in ask(responder, "www.example.com", "ANY").answer] == ["CNAME"]


def test_types_that_nobody_knows_are_told_as_they_are(responder: Responder) -> None:
    assert told(ask(responder, "own.example.com", "TYPE65280").answer) == ["own.example.com. TYPE65280 \\# 3 abcdef"]


def test_other_zones_are_refused_with_the_reason(responder: Responder) -> None:
    answer = ask(responder, "example.org", use_edns=0)
    assert answer.rcode() == dns.rcode.REFUSED and not answer.authority
    assert [option.code for option in answer.options if option.otype == 15] == [20]
