"""What another server is told, and what it is not: names that somebody else has there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cloudcore.dns.exporting import Change, Place, Plan, Records, planned, wanted_of
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_zone, read_zone, type_text
from skerry.dns.names import name_of, text_of
from skerry.dns.numbers import AAAA, ANY, CNAME, MX, TXT, A
from skerry.probing.monitor import Counter

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


def holds(content: dict[Place, Records], change: Change) -> bool:
    """As a server looks at prerequisites (RFC 2136 section 3.2)."""
    for need in change.needs:
        there = content.get(need.place)
        if need.place[1] == ANY:
            if any(name == need.place[0] for name, _ in content):
                return False
        elif (there.rdatas if there is not None else None) != need.rdatas:
            return False
    return True


def served(content: dict[Place, Records], changes: tuple[Change, ...]) -> dict[Place, Records] | None:
    """What is there after an update, and after what servers pass over; None where it is refused."""
    if not all(holds(content, change) for change in changes):
        return None
    after = dict(content)
    for change in changes:
        for place, records in ((change.place, change.after), (change.mark, change.mark_after)):
            others = {kind for name, kind in after if name == place[0] and kind != place[1]}
            if records is None:
                after.pop(place, None)
            elif not (CNAME in others or (place[1] == CNAME and others)):
                after[place] = records
    return after


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
    assert "www.example.com. CNAME is there, and not ours" in made.conflicts[0]
    (change,) = made.changes
    assert change.after is change.mark_after is None, "its mark goes: what is marked is not there"
    assert not plan(ZONE, applied(after, made.changes)).changes


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


def test_what_external_dns_marked_for_the_same_owner_is_ours() -> None:
    text = 'a-www 60 TXT "heritage=external-dns,external-dns/owner=us,external-dns/resource=ingress/default/web"\n'
    content = there(parse_zone(HEAD + "www 60 A 192.0.2.9\n" + text, ORIGIN))
    assert WWW in {change.place for change in plan(ZONE, content).changes}
    assert not plan(ZONE, content, "others").changes[1:] and plan(ZONE, content, "others").conflicts


TEXTS = {
    A: "{name} 60 A 192.0.2.{number}\n",
    AAAA: "{name} 60 AAAA 2001:db8::{number}\n",
    CNAME: "{name} 60 CNAME r{number}.test.\n",
    TXT: '{name} 60 TXT "{number}"\n',
}


def a_zone(chance: random.Random, names: str, number: int) -> Zone:
    text = HEAD
    for name in names:
        kinds = [CNAME] if chance.random() < 0.3 else chance.sample([A, AAAA, TXT], chance.randint(0, 3))
        text += "".join(TEXTS[kind].format(name=name, number=number) for kind in kinds)
    return parse_zone(text, ORIGIN)


@pytest.mark.parametrize("seed", range(30))
def test_two_exporters_that_look_and_write_in_any_order_take_nothing_from_each_other(seed: int) -> None:
    """What one has there only he changes; what both want is one's whole."""
    chance = random.Random(seed)
    owners = ("eu", "us")
    content = there(parse_zone(HEAD + "theirs 60 A 198.51.100.1\n", ORIGIN))
    zones = {owner: a_zone(chance, "abcdef", at + 1) for at, owner in enumerate(owners)}
    seen: dict[str, list[tuple[Change, ...]]] = {owner: [] for owner in owners}

    def marked(place: Place, owner: str) -> bool:
        first, rest = place[0][1 : place[0][0] + 1], place[0][place[0][0] + 1 :]
        label = type_text(place[1]).lower().encode() + b"-" + first
        mark = content.get((bytes([len(label)]) + label + rest, TXT))
        return mark is not None and f"owner={owner},".encode() in b"".join(mark.rdatas)

    for step in range(120):
        owner = chance.choice(owners)
        other = owners[owner == owners[0]]
        if step < 80 and chance.random() < 0.1:
            zones[owner] = a_zone(chance, "abcdef", owners.index(owner) + 1)
        if seen[owner] and chance.random() < 0.6:
            before, kept = content, {place: each for place, each in content.items() if marked(place, other)}
            content = served(content, seen[owner].pop(0)) or content
            assert {place: content.get(place) for place in kept} == kept, (owner, before, content)
        else:
            changes = plan(zones[owner], content, owner).changes
            at = chance.randint(0, len(changes))
            seen[owner] = [part for part in (changes[:at], changes[at:]) if part]
    for owner in owners * 3:
        for change in plan(zones[owner], content, owner).changes:
            content = served(content, (change,)) or content
    assert content[name_of("theirs.example.com"), A] == Records(ttl=60, rdatas=frozenset({bytes([198, 51, 100, 1])}))
    for at, owner in enumerate(owners):
        made = plan(zones[owner], content, owner)
        assert not made.changes
        for place, wanted in wanted_of(zones[owner]).items():
            if marked(place, owner):
                assert content[place] == wanted, (owner, place)
            else:
                assert any(text_of(place[0]) in why for why in made.conflicts), "what is not there is told"
        assert not any(marked(place, owners[1 - at]) and marked(place, owner) for place in content)


FORGED = '"heritage=external-dns,external-dns/owner=us"'


def exported(zone: Zone, content: dict[Place, Records], rounds: int = 4, owner: str = "us") -> dict[Place, Records]:
    for _ in range(rounds):
        for change in plan(zone, content, owner).changes:
            content = served(content, (change,)) or content
    return content


@pytest.mark.parametrize(
    "forged",
    [
        f"a-www 60 TXT {FORGED}\n",
        f"a-www 60 TXT {FORGED}\ntxt-a-www 60 TXT {FORGED}\n",
        f"a-www 60 TXT {FORGED}\ntxt-a-www 60 CNAME away.test.\n",
    ],
)
def test_a_mark_that_a_tenant_writes_makes_nothing_of_somebodys_ours(forged: str) -> None:
    others = there(parse_zone(HEAD + "www 60 A 198.51.100.1\n", ORIGIN))
    for owner in ("us", "them"):
        content = exported(parse_zone(HEAD + forged, ORIGIN), others, owner=owner)
        assert content[WWW] == others[WWW]
        assert exported(parse_zone(HEAD, ORIGIN), content)[WWW] == others[WWW], "whoever else exports"
        assert exported(parse_zone(HEAD, ORIGIN), content, owner=owner) == others, "it goes without him"
        # One record of it at a time, as somebody would who tries.
        for line in forged.splitlines(keepends=True)[::-1]:
            content = exported(parse_zone(HEAD + line, ORIGIN), content, owner=owner)
            assert content[WWW] == others[WWW]


@pytest.mark.parametrize(
    "forged", [f"a-www 60 TXT {FORGED}\n", f"txt-a-www 60 TXT {FORGED}\n", "a-www 60 CNAME away.test.\n"]
)
def test_what_is_written_where_a_mark_is_keeps_nothing_of_ours_from_being_changed(forged: str) -> None:
    empty = there(parse_zone(HEAD, ORIGIN))
    forgery, both = (parse_zone(HEAD + text + forged, ORIGIN) for text in ("", "www 60 A 192.0.2.1\n"))
    ours = wanted_of(ZONE)[WWW]
    assert exported(both, exported(forgery, empty))[WWW] == ours, "it makes room"
    content = exported(both, exported(ZONE, empty))
    assert content[WWW] == ours
    assert WWW not in exported(forgery, content), "and goes when it is not wanted any more"


def test_a_moment_of_doubt_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(HEAD)
    (tmp_path / "example.com.services.yaml").write_text(
        "services: {www: {ttl: 30, probe: {type: TCP, port: 80}, endpoints: [{address: 192.0.2.1}]}}"
    )
    zone = read_zone(tmp_path / "example.com.zone")
    table = HealthTable.of_zones({ORIGIN: zone})
    place = WWW[0], bytes([192, 0, 2, 1])
    table.set_verdict(place, down=False, unsure=True, counter=Counter(failures=1))
    assert table.seen(zone.services[WWW[0]]).ttl == 15
    assert wanted_of(zone, table)[WWW] == Records(ttl=30, rdatas=frozenset({place[1]}))
