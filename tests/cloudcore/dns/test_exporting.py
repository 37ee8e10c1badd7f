"""What another server is told, and what it is not: names that somebody else has there."""

from __future__ import annotations

from pathlib import Path

from cloudcore.dns.exporting import Change, Place, Plan, Records, planned, wanted_of
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_zone, read_zone, type_text
from skerry.dns.names import name_of
from skerry.dns.numbers import CNAME, MX, TXT, A

ORIGIN = name_of("example.com")
HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n"
ZONE = parse_zone(HEAD + "www 60 A 192.0.2.1\n@ 60 MX 10 mail\n", ORIGIN)
WWW = name_of("www.example.com"), A


def there(*zones: Zone) -> dict[Place, Records]:
    return {
        (name, kind): Records(ttl=rrset.ttl, rdatas=frozenset(rrset.rdatas))
        for zone in zones
        for name, node in zone.nodes.items()
        for kind, rrset in node.items()
    }


def plan(zone: Zone, content: dict[Place, Records], owner: str = "us") -> Plan:
    return planned(wanted_of(zone), content, owner=owner, zone=zone, words=type_text)


def applied(content: dict[Place, Records], changes: tuple[Change, ...]) -> dict[Place, Records]:
    after = dict(content)
    for change in changes:
        for place, records in ((change.place, change.after), (change.mark, change.mark_after)):
            if records is None:
                after.pop(place, None)
            else:
                after[place] = records
    return after


def test_what_is_not_there_is_made_with_a_mark_and_then_all_is_well() -> None:
    empty = there(parse_zone(HEAD, ORIGIN))
    first = plan(ZONE, empty)
    assert {change.place for change in first.changes} == {WWW, (ORIGIN, MX)} and not first.conflicts
    after = applied(empty, first.changes)
    (mark,) = after[name_of("a-www.example.com"), TXT].rdatas
    assert (name_of("mx-.example.com"), TXT) in after, "beside the top is another zone"
    assert mark[1:].startswith(b"heritage=external-dns,external-dns/owner=us,")
    assert plan(ZONE, after) == Plan()


def test_what_is_not_wanted_any_more_goes_with_its_mark_and_nothing_else_does() -> None:
    others = there(parse_zone(HEAD + "old 60 A 192.0.2.9\n", ORIGIN))
    after = applied(others, plan(ZONE, others).changes)
    assert applied(after, plan(parse_zone(HEAD, ORIGIN), after).changes) == others


def test_what_somebody_else_has_stays_his_and_is_told() -> None:
    for text in ("www 60 A 198.51.100.1\n", "www 60 CNAME elsewhere.test.\n"):
        content = there(parse_zone(HEAD + text, ORIGIN))
        made = plan(ZONE, content)
        assert {change.place for change in made.changes} == {(ORIGIN, MX)}
        assert "www.example.com." in made.conflicts[0] and "not ours" in made.conflicts[0]
    empty = there(parse_zone(HEAD, ORIGIN))
    theirs = applied(empty, plan(ZONE, empty, "them").changes)
    assert not plan(ZONE, theirs).changes and len(plan(ZONE, theirs).conflicts) == 2
    del theirs[WWW]
    assert "marked as another's" in "".join(plan(ZONE, theirs).conflicts)


def test_an_alias_that_somebody_made_where_our_addresses_went_is_told_and_stays() -> None:
    """Servers pass over addresses beside an alias without a word (RFC 2136 section 3.4.2.2)."""
    empty = there(parse_zone(HEAD, ORIGIN))
    after = applied(empty, plan(ZONE, empty).changes)
    del after[WWW]
    after |= there(parse_zone(HEAD + "www 60 CNAME elsewhere.test.\n", ORIGIN))
    made = plan(ZONE, after)
    assert not made.changes and "www.example.com. CNAME is there, and not ours" in made.conflicts[0]


def test_addresses_become_an_alias_in_one_step() -> None:
    empty = there(parse_zone(HEAD, ORIGIN))
    before = applied(empty, plan(ZONE, empty).changes)
    alias = parse_zone(HEAD + "www 60 CNAME elsewhere.test.\n@ 60 MX 10 mail\n", ORIGIN)
    changes = plan(alias, before).changes
    assert [(change.place[1], change.after is None) for change in changes] == [(A, True), (CNAME, False)]
    assert plan(alias, applied(before, changes)) == Plan()


def test_of_services_those_are_told_who_are_up(tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(HEAD)
    (tmp_path / "example.com.services.yaml").write_text(
        "services: {www: {ttl: 5, endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2, state: down}]}}"
    )
    zone = read_zone(tmp_path / "example.com.zone")
    assert wanted_of(zone)[WWW] == Records(ttl=5, rdatas=frozenset({bytes([192, 0, 2, 1])}))
    (tmp_path / "example.com.services.yaml").write_text(
        "services: {www: {endpoints: [{address: 192.0.2.1, state: down}, {address: 192.0.2.2, state: drained}]}}"
    )
    zone = read_zone(tmp_path / "example.com.zone")
    assert wanted_of(zone)[WWW].rdatas == {bytes([192, 0, 2, 1])}, "nobody is up, so all are taken"
