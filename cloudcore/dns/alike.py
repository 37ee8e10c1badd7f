"""For which clients a service's answers are the same, whoever of its endpoints is up: so that what resolvers keep of
them is kept as widely as is right (RFC 7871 section 7.2.1). Pure.

Places are alike where their orders name the service's own regions in the same order; so are networks of a database.
A service in one region is alike to everybody. What is up is no part of this, so scopes stay when somebody fails.
Whatever a database says is of one family of addresses, so no scope is 0 then.

Remembers of clients' addresses how wide what is alike to them is, bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cloudcore.dns.geography import REMEMBERED_MAX, GeoDatabase, GeoRules, Spot, judged
from cloudcore.dns.places import NOWHERE, Places

_ASK_DATABASE: Final = "?"
"""The class of clients of no place where a database tells more; no class of regions is called so."""


class Alike:
    """Of one service (or several with the same regions), for answers of one type."""

    def __init__(
        self,
        places: Places,
        table: Mapping[str, tuple[str, ...]],
        default: tuple[str, ...],
        regions: Iterable[str],
        rules: GeoRules | None,
        *,
        measured: bool,
    ) -> None:
        """`table` has regions by place, `default` those of others; `measured`: distances don't count."""
        self._regions = frozenset(regions)
        if len(self._regions) <= 1:
            rules = None  # nothing that it tells decides
        self._table, self._default, self._rules, self._measured = table, default, rules, measured
        classes = {place: self._class(table.get(place, default)) for place in places.names}
        if rules is not None:
            classes[NOWHERE] = _ASK_DATABASE
        self._leaves = places.alike(classes)
        self._bits: dict[bytes, int] = {}

    @property
    def by_places(self) -> Places | None:
        """Clients by class; None where a database may tell more."""
        return self._leaves if self._rules is None else None

    def scope(self, address: bytes, geo: GeoDatabase | None) -> int:
        """Of answers to a client at a packed address."""
        found, bits = self._leaves.find(address)
        if found != _ASK_DATABASE or geo is None:
            return bits
        told = self._bits.get(address)
        if told is None:
            if len(self._bits) >= REMEMBERED_MAX:
                self._bits.clear()
            spot = geo.look(address)
            same = self._class_at(spot)
            told = geo.widened(address, spot.bits, lambda other: self._class_at(other) == same)
            self._bits[address] = told
        return max(bits, told, 1)

    def _class_at(self, spot: Spot) -> str:
        assert self._rules is not None, "asked where a database tells more"
        found = judged(self._rules, spot)
        if found.order and not self._measured:
            return self._class(found.order)
        return self._class(self._table.get(found.place, self._default))

    def _class(self, order: Iterable[str]) -> str:
        if len(self._regions) <= 1:
            return ""  # an order that lacks the only region leads there as well
        # No region's name has a line's end: who wrote that has all regions in a row.
        return "\n".join(["", *dict.fromkeys(region for region in order if region in self._regions)])
