"""What a server of somebody else is told by DNS UPDATE (RFC 2136): the difference between our zone and his. Pure.

Names are owned as external-dns owns them: a TXT record `TYPE-NAME` says whose a set of records is. What is there
without our mark is somebody's, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from cloudcore.dns.steering import SIZES, candidates
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from skerry.dns.names import LABEL_MAX, NAME_MAX, text_of
from skerry.dns.numbers import AAAA, ANY, CNAME, DNSKEY, NS, NSEC, RRSIG, SOA, TXT, A
from skerry.frozen import Frozen

NEVER: Final = frozenset({SOA, DNSKEY, RRSIG, NSEC})
MARK_TTL: Final = 300
_COMPARED: Final = (A, AAAA, TXT)
"""Types without names in their data, whose letters servers keep in different ways."""
Place = tuple[bytes, int]
"""A name in lower case and a type."""
Words = Callable[[int], str]
"""What a type is called."""


class Records(Frozen):
    ttl: int
    rdatas: frozenset[bytes]


Content = Mapping[Place, Records]


class Need(Frozen):
    """What has to be so there for a change to be made, as it was when we looked."""

    place: Place
    """With type ANY, all of the name."""
    rdatas: frozenset[bytes] | None
    """None: nothing is there."""


class Change(Frozen):
    """Of one set and its mark. `after` is None where it goes."""

    place: Place
    mark: Place
    before: Records | None
    after: Records | None
    mark_after: Records | None
    needs: tuple[Need, ...] = ()


class Plan(Frozen):
    changes: tuple[Change, ...] = ()
    conflicts: tuple[str, ...] = ()


def wanted_of(zone: Zone, health: HealthTable | None = None) -> dict[Place, Records]:
    """All of a zone but what each server says of itself; of services, the addresses that are up for anybody."""
    found: dict[Place, Records] = {}
    for name, node in zone.nodes.items():
        service = zone.services.get(name)
        # Not with the TTL of a moment in which somebody may soon be down: each would be a change there.
        now = health.seen(service) if service is not None and health is not None else service
        for kind, rrset in node.items():
            if kind in NEVER or (kind == NS and name == zone.origin):
                continue
            ttl, rdatas = rrset.ttl, frozenset(rrset.rdatas)
            if service is not None and now is not None and kind in SIZES:
                rdatas, ttl = frozenset(each.address for each in candidates(now, kind)) or rdatas, service.ttl
            found[name, kind] = Records(ttl=ttl, rdatas=rdatas)
    return found


def planned(wanted: Content, there: Content, *, owner: str, zone: Zone, words: Words) -> Plan:
    """What makes `there` what is wanted, as far as it is ours. What somebody changes after we looked is told by the
    needs of each change."""
    marks = {place: _mark(place, words, zone.origin) for place in {*wanted, *there}}
    said = _said(owner, zone)
    marked = _Marked(there, origin=zone.origin, words=words)
    mine = {place for place in marks if marked.by(place, owner)}
    names: dict[bytes, set[int]] = {}
    for name, kind in there:
        names.setdefault(name, set()).add(kind)
    names_of_marks = {mark for place, mark in marks.items() if mark is not None and place in mine | set(wanted)}
    # What of ours is where a mark has to be now, goes; and an alias would keep the mark out without a word.
    crowding = {place for place in wanted if place[0] in names_of_marks and place[1] in (TXT, CNAME)}
    changes: list[Change] = []
    conflicts: list[str] = []
    for place in sorted(wanted):
        mark = marks[place]
        if mark is None or place in crowding or (mark, CNAME) in there:
            conflicts.append(f"{_text(place, words)} has no room for a mark")
        elif place not in mine and (mark, TXT) in there:
            conflicts.append(f"{_text(place, words)} is marked as another's")
        elif (place not in mine or place not in there) and (other := _somebodys(place, mine, names, words)):
            conflicts.append(other)
            if place in mine:
                # Its mark alone is ours: made beside what somebody made at the same time.
                changes.append(_change(place, mark, there, names, None, None))
        else:
            after, before = wanted[place], there.get(place)
            if before != after or place not in mine:
                mark_after = Records(ttl=MARK_TTL, rdatas=said)
                changes.append(_change(place, mark, there, names, after, mark_after))
    for place in sorted(mine - (wanted.keys() - crowding)):
        mark = marks[place]
        assert mark is not None, "what is ours is marked"
        changes.append(_change(place, mark, there, names, None, None))
    # What goes makes room: an alias for what was addresses.
    return Plan(changes=tuple(sorted(changes, key=lambda each: each.after is not None)), conflicts=tuple(conflicts))


class _Marked:
    """Which sets are marked. A text that is itself marked is a record, which somebody who writes a zone has put where
    the mark of another's set would be, to have it taken for ours."""

    def __init__(self, there: Content, *, origin: bytes, words: Words) -> None:
        self._there = there
        self._origin = origin
        self._words = words

    def by(self, place: Place, owner: str = "") -> bool:
        """Whether it is marked as this owner's, or as anybody's. Marks of marks are followed: each is longer than
        what it marks, so that they end."""
        mark = _mark(place, self._words, self._origin)
        if mark is None or not _is_mark(_rdatas(self._there, (mark, TXT)), owner):
            return False
        return not self.by((mark, TXT))


def _change(
    place: Place,
    mark: bytes,
    there: Content,
    names: Mapping[bytes, Collection[int]],
    after: Records | None,
    mark_after: Records | None,
) -> Change:
    name, kind = place
    before, mark_before = there.get(place), there.get((mark, TXT))
    needs = [Need(place=(mark, TXT), rdatas=mark_before.rdatas if mark_before is not None else None)]
    if before is None:
        needs.append(Need(place=place, rdatas=None))
        if after is not None:
            # Servers pass over what goes beside an alias, and an alias beside anything, without a word.
            alone = kind == CNAME and not names.get(name)
            needs.append(Need(place=(name, ANY) if alone else (name, CNAME), rdatas=None))
    elif kind in _COMPARED:
        needs.append(Need(place=place, rdatas=before.rdatas))
    return Change(
        place=place,
        mark=(mark, TXT),
        before=before,
        after=after,
        mark_after=mark_after,
        # An alias of ours goes in the same message as addresses come: it is there until then.
        needs=tuple(need for need in needs if need.rdatas is not None or need.place not in there),
    )


def _somebodys(place: Place, mine: Collection[Place], names: Mapping[bytes, Collection[int]], words: Words) -> str:
    name, kind = place
    for other in names.get(name, ()):
        if (name, other) not in mine and (other == kind or CNAME in (kind, other)):
            return f"{_text((name, other), words)} is there, and not ours"
    return ""


def _is_mark(rdatas: Iterable[bytes], owner: str) -> bool:
    """Whether a mark is of this owner, or of any for "", whatever external-dns or we noted beside."""
    for rdata in rdatas:
        said = strings_of(rdata).decode("utf-8", "replace").strip('"').split(",")
        if said[0] == "heritage=external-dns" and (not owner or f"external-dns/owner={owner}" in said):
            return True
    return False


def strings_of(rdata: bytes) -> bytes:
    """Of a TXT record, put together."""
    found, at = b"", 0
    while at < len(rdata):
        found += rdata[at + 1 : at + 1 + rdata[at]]
        at += 1 + rdata[at]
    return found


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
