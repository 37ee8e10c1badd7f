"""What a server of somebody else is told by DNS UPDATE (RFC 2136): the difference between our zone and his. Pure.

Names are owned as external-dns owns them: a TXT record `TYPE-NAME` says whose a set of records is. What is there
without our mark is somebody's, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from cloudcore.dns.steering import SIZES
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from skerry.dns.names import LABEL_MAX, NAME_MAX, text_of
from skerry.dns.numbers import CNAME, DNSKEY, NS, NSEC, RRSIG, SOA, TXT
from skerry.frozen import Frozen

NEVER: Final = frozenset({SOA, DNSKEY, RRSIG, NSEC})
MARK_TTL: Final = 300
Place = tuple[bytes, int]
"""A name in lower case and a type."""
Words = Callable[[int], str]
"""What a type is called."""


class Records(Frozen):
    ttl: int
    rdatas: frozenset[bytes]


Content = Mapping[Place, Records]


class Change(Frozen):
    """Of one set and its mark. `after` is None where it goes."""

    place: Place
    mark: Place
    before: Records | None
    after: Records | None
    mark_after: Records | None


class Plan(Frozen):
    changes: tuple[Change, ...] = ()
    conflicts: tuple[str, ...] = ()


def wanted_of(zone: Zone, health: HealthTable | None = None) -> dict[Place, Records]:
    """All of a zone but what each server says of itself; of services, the addresses that are up for anybody."""
    found: dict[Place, Records] = {}
    for name, node in zone.nodes.items():
        service = zone.services.get(name)
        now = health.seen(service) if service is not None and health is not None else service
        for kind, rrset in node.items():
            if kind in NEVER or (kind == NS and name == zone.origin):
                continue
            ttl, rdatas = rrset.ttl, frozenset(rrset.rdatas)
            if now is not None and kind in SIZES:
                there = [each for each in now.endpoints if len(each.address) == SIZES[kind] and not each.drained]
                up = frozenset(each.address for each in there if each.up)
                rdatas, ttl = up or frozenset(each.address for each in there) or rdatas, now.ttl
            found[name, kind] = Records(ttl=ttl, rdatas=rdatas)
    return found


def planned(wanted: Content, there: Content, *, owner: str, zone: Zone, words: Words) -> Plan:
    """What makes `there` what is wanted, as far as it is ours."""
    marks = {place: _mark(place, words, zone.origin) for place in {*wanted, *there}}
    said = _said(owner, zone)
    mine = {place for place, mark in marks.items() if mark is not None and said & _rdatas(there, (mark, TXT))}
    places_of_marks = {
        (mark, TXT) for place, mark in marks.items() if mark is not None and place in mine | set(wanted)
    }
    changes: list[Change] = []
    conflicts: list[str] = []
    for place in sorted(wanted):
        mark = marks[place]
        if mark is None or place in places_of_marks:
            conflicts.append(f"{_text(place, words)} has no room for a mark")
        elif place not in mine and (mark, TXT) in there:
            conflicts.append(f"{_text(place, words)} is marked as another's")
        elif (place not in mine or place not in there) and (other := _somebodys(place, mine, there, words)):
            conflicts.append(other)
        else:
            after, before = wanted[place], there.get(place)
            if before != after or place not in mine:
                mark_after = Records(ttl=MARK_TTL, rdatas=said)
                changes.append(
                    Change(place=place, mark=(mark, TXT), before=before, after=after, mark_after=mark_after)
                )
    for place in sorted(mine - set(wanted)):
        mark = marks[place]
        assert mark is not None, "what is ours is marked"
        changes.append(Change(place=place, mark=(mark, TXT), before=there.get(place), after=None, mark_after=None))
    # What goes makes room: an alias for what was addresses.
    return Plan(changes=tuple(sorted(changes, key=lambda each: each.after is not None)), conflicts=tuple(conflicts))


def _somebodys(place: Place, mine: Iterable[Place], there: Content, words: Words) -> str:
    name, kind = place
    owned = set(mine)
    for other in there:
        if other[0] != name or other in owned:
            continue
        if other[1] == kind or CNAME in (kind, other[1]):
            return f"{_text(other, words)} is there, and not ours"
    return ""


def _rdatas(there: Content, place: Place) -> frozenset[bytes]:
    found = there.get(place)
    return found.rdatas if found is not None else frozenset()


def _mark(place: Place, words: Words, origin: bytes) -> bytes | None:
    """external-dns' name for the mark of a set: the type before the first label, and at the top a label of its own,
    since beside the top is another zone. None where it has no room."""
    name, kind = place
    prefix = words(kind).lower().encode() + b"-"
    first, rest = (b"", name) if name == origin else (name[1 : name[0] + 1], name[name[0] + 1 :])
    label = prefix + first
    made = bytes([len(label)]) + label + rest if len(label) <= LABEL_MAX else b""
    return made if made and len(made) <= NAME_MAX else None


def _said(owner: str, zone: Zone) -> frozenset[bytes]:
    text = (
        f"heritage=external-dns,external-dns/owner={owner},external-dns/resource=dnszone/{text_of(zone.origin)[:-1]}"
    )
    data = text.encode()[:255]
    return frozenset({bytes([len(data)]) + data})


def _text(place: Place, words: Words) -> str:
    return f"{text_of(place[0])} {words(place[1])}"
