"""For which clients a service's answers are the same, whoever of its endpoints is up: so that what resolvers keep of
them is kept as widely as is right (RFC 7871 section 7.2.1). Pure.

Places are alike where their orders name the service's own regions in the same order; so are networks of a database.
A service in one region is alike to everybody. What is up is no part of this, so scopes stay when somebody fails.
Whatever a database says is of one family of addresses, so no scope is 0 then.

Remembers of what a database says which class that is, bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cloudcore.dns.geography import GeoDatabase, GeoRules, Spot, judged
from cloudcore.dns.places import NOWHERE, Places

_ASK_DATABASE: Final = "?"
"""The class of clients of no place where a database tells more; no class of regions is called so."""
LEAVES_MAX: Final = 64
"""Ways in which services of one zone cut the same places."""
CLASSES_MAX: Final = 2_000
"""Of what a database says, by service's regions; then they are forgotten."""


def parts_of(
    names: Iterable[str], table: Mapping[str, tuple[str, ...]], default: tuple[str, ...], regions: frozenset[str]
) -> dict[str, str]:
    """Places by part: those of one part are alike. Whatever the regions are called, the same parts are called the
    same, so that what is made of them is made once."""
    numbers: dict[str, str] = {}
    return {
        place: numbers.setdefault(_class(table.get(place, default), regions), str(len(numbers)))
        for place in sorted(names)
    }


class Alike:
    """Of one service (or several with the same regions), for answers of one type."""

    def __init__(
        self,
        leaves: Places,
        table: Mapping[str, tuple[str, ...]],
        default: tuple[str, ...],
        regions: frozenset[str],
        rules: GeoRules | None,
        *,
        measured: bool,
    ) -> None:
        """`leaves` are of parts; `table` has regions by place, `default` those of others; `measured`: distances don't
        count."""
        self._leaves, self._regions, self._measured = leaves, regions, measured
        self._table, self._default, self._rules = table, default, rules
        self._classes: dict[tuple[object, ...], str] = {}

    @property
    def by_places(self) -> Places | None:
        """Clients by class; None where a database may tell more."""
        return self._leaves if self._rules is None else None

    def scope(self, address: bytes, geo: GeoDatabase | None) -> int:
        """Of answers to a client at a packed address."""
        found, bits = self._leaves.find(address)
        if found != _ASK_DATABASE or geo is None:
            return bits
        spot = geo.look(address)
        same = self._class_at(spot)
        told = geo.widened(address, spot.bits, lambda other: self._class_at(other) == same, self)
        return max(bits, told, 1)

    def _class_at(self, spot: Spot) -> str:
        assert self._rules is not None, "asked where a database tells more"
        said = spot.continent, spot.country, spot.subdivisions, spot.at
        made = self._classes.get(said)
        if made is None:
            if len(self._classes) >= CLASSES_MAX:
                self._classes.clear()
            found = judged(self._rules, spot)
            by_distance = bool(found.order) and not self._measured
            order = found.order if by_distance else self._table.get(found.place, self._default)
            made = self._classes[said] = _class(order, self._regions)
        return made


class AlikeShelf:
    """What services of one zone have in common of these: made once for all that are cut into the same parts, and for
    so many and no more, as regions are called what a tenant likes."""

    def __init__(self, places: Places, rules: GeoRules | None) -> None:
        self._places, self._rules = places, rules
        self._leaves: dict[tuple[tuple[str, str], ...], Places] = {}
        self._made: dict[tuple[bool, tuple[str, ...], frozenset[str]], Alike | None] = {}

    def of(
        self,
        table: Mapping[str, tuple[str, ...]],
        default: tuple[str, ...],
        regions: frozenset[str],
        *,
        measured: bool,
    ) -> Alike | None:
        """None: there are too many of them already; places are taken apart then, and resolvers keep more answers."""
        about = measured, default, regions
        if about not in self._made:
            # A database tells nothing that decides where there is one region.
            rules = self._rules if len(regions) > 1 else None
            leaves = self._leaves_of(parts_of(self._places.names, table, default, regions), rules)
            made = None if leaves is None else Alike(leaves, table, default, regions, rules, measured=measured)
            self._made[about] = made
        return self._made[about]

    def _leaves_of(self, parts: dict[str, str], rules: GeoRules | None) -> Places | None:
        if rules is not None:
            parts[NOWHERE] = _ASK_DATABASE
        about = tuple(parts.items())
        if about not in self._leaves:
            if len(self._leaves) >= LEAVES_MAX:
                return None
            self._leaves[about] = self._places.alike(parts)
        return self._leaves[about]


def _class(order: Iterable[str], regions: frozenset[str]) -> str:
    if len(regions) <= 1:
        return ""  # an order that lacks the only region leads there as well
    # No region's name has a line's end: who wrote that has all regions in a row.
    return "\n".join(["", *dict.fromkeys(region for region in order if region in regions)])
