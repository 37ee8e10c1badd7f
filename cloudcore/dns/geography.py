"""Where a client is by a database in MaxMind's format, and what that means: a place by its subdivision, country or
continent, or the order of regions by how far they are.

The database is read in place, from memory that all processes share; what was looked up is remembered, bounded. A
database tells an answer for whole networks of its own, none of which lies in another, so its prefix is the scope.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, cast

from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import Json, float_at, map_at, maps_at, str_at

REMEMBERED_MAX: Final = 50_000
JOINED_MAX: Final = 32
"""Networks of a database that are joined to one scope: each is looked up when a client's is first asked for."""
EARTH_KM: Final = 6371.0
BIAS_MAX: Final = 99


class GeoRules(Frozen):
    """What a zone makes of where clients are."""

    subdivisions: Mapping[str, str] = {}
    """Places by ISO 3166-2 codes (US-CA)."""
    countries: Mapping[str, str] = {}
    continents: Mapping[str, str] = {}
    coordinates: Mapping[str, tuple[float, float]] = {}
    """Latitude and longitude of regions."""
    bias: Mapping[str, int] = {}
    """By region, from -99 (as if it were far) to 99 (near), as Route 53's geoproximity has it."""


class Spot(Frozen):
    """What a database says of an address."""

    bits: int
    """Of the network that it says this of."""
    continent: str = ""
    country: str = ""
    subdivisions: tuple[str, ...] = ()
    """The smallest first, with the country before each."""
    at: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        words = [*self.subdivisions, self.country, self.continent]
        words += [f"{self.at[0]:.1f},{self.at[1]:.1f}"] if self.at is not None else []
        return " ".join(word for word in words if word) or "nothing"


class _Metadata(Protocol):
    ip_version: int
    database_type: str
    build_epoch: int


class _Reader(Protocol):
    """Of maxminddb, whose own types lack parameters."""

    def metadata(self) -> _Metadata: ...

    def get_with_prefix_len(
        self, ip_address: ipaddress.IPv4Address | ipaddress.IPv6Address, /
    ) -> tuple[Json, int]: ...


class GeoDatabase:
    """`look` at addresses."""

    def __init__(self, path: Path) -> None:
        """Raises `UnavailableError`, `InvalidError`."""
        import maxminddb

        try:
            opened: object = maxminddb.open_database(str(path))  # pyright: ignore[reportUnknownMemberType]
            self._reader = cast("_Reader", opened)
        except OSError as error:
            raise UnavailableError(f"--geo {path}: {error.strerror or error}") from error
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise InvalidError(f"--geo {path}: is no database in MaxMind's format: {error}") from error
        self._six = self._reader.metadata().ip_version == 6
        self._known: dict[bytes, Spot] = {}
        self._joined: set[tuple[object, int, int, int]] = set()
        """Prefixes that were found to be alike, by to whom: bits of an address, its first ones, and how many. None is
        in another."""
        self.kind = self._reader.metadata().database_type
        self.made_s = self._reader.metadata().build_epoch

    def look(self, address: bytes) -> Spot:
        """At a packed address."""
        spot = self._known.get(address)
        if spot is None:
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            spot = self._known[address] = self._read(address)
        return spot

    def widened(self, address: bytes, bits: int, is_alike: Callable[[Spot], bool], about: object) -> int:
        """How many bits of the address say as much, of the network that the database has it in (`bits`): those of the
        largest prefix of at most `JOINED_MAX` of its networks that are all alike. Whether a prefix is such a one
        depends on the prefix alone, so that no two of these overlap; it is looked for once for all that are `about`
        the same."""
        size = 8 * len(address)
        value = int.from_bytes(address, "big")
        for fewer in range(bits, -1, -1):
            if (about, size, value >> (size - fewer), fewer) in self._joined:
                return fewer
        found = self._widened(value >> (size - bits) << (size - bits), size, bits, is_alike)
        if len(self._joined) >= REMEMBERED_MAX:
            self._joined.clear()
        self._joined.add((about, size, value >> (size - found), found))
        return found

    def _widened(self, first: int, size: int, bits: int, is_alike: Callable[[Spot], bool]) -> int:
        count = 1
        while bits:
            # The other half of the next larger prefix.
            at = first ^ 1 << (size - bits)
            end = at + (1 << (size - bits))
            while at < end and count < JOINED_MAX:
                spot = self.look(at.to_bytes(size // 8, "big"))
                if not is_alike(spot):
                    return bits
                count += 1
                at += 1 << (size - spot.bits)
            if at < end:
                return bits
            bits -= 1
            first = first >> (size - bits) << (size - bits)
        return bits

    def _read(self, address: bytes) -> Spot:
        if len(address) == 16 and not self._six:
            return Spot(bits=0)
        told, bits = self._reader.get_with_prefix_len(ipaddress.ip_address(address))
        record: Json = told
        country = str_at(record, "country", "iso_code") or str_at(record, "registered_country", "iso_code")
        codes = [str_at(each, "iso_code") for each in maps_at(record, "subdivisions")]
        where = map_at(record, "location")
        at = None
        if "latitude" in where and "longitude" in where:
            at = float_at(where, "latitude"), float_at(where, "longitude")
        return Spot(
            bits=bits,
            continent=str_at(record, "continent", "code"),
            country=country,
            subdivisions=tuple(f"{country}-{code}" for code in reversed(codes) if code),
            at=at,
        )


class Found(Frozen):
    """What rules make of a spot: a place, or an order of regions, or neither."""

    place: str = ""
    order: tuple[str, ...] = ()
    why: str = "says nothing that the zone has a rule for"


def judged(rules: GeoRules, spot: Spot) -> Found:
    for code in spot.subdivisions:
        if place := rules.subdivisions.get(code):
            return Found(place=place, why=f"subdivision {code} is {place}")
    if place := rules.countries.get(spot.country):
        return Found(place=place, why=f"country {spot.country} is {place}")
    if place := rules.continents.get(spot.continent):
        return Found(place=place, why=f"continent {spot.continent} is {place}")
    if spot.at is None or not rules.coordinates:
        return Found()
    far = {region: distance_km(spot.at, at) for region, at in rules.coordinates.items()}
    felt = {region: _biased(km, rules.bias.get(region, 0)) for region, km in far.items()}
    order = tuple(sorted(felt, key=lambda region: (felt[region], region)))
    words = [
        f"{region} {far[region]:.0f} km" + (f" as {felt[region]:.0f}" if rules.bias.get(region) else "")
        for region in order
    ]
    return Found(order=order, why=", ".join(words))


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Along the great circle."""
    north, east, north_too, east_too = (math.radians(each) for each in (*one, *other))
    half = math.sin((north_too - north) / 2) ** 2
    half += math.cos(north) * math.cos(north_too) * math.sin((east_too - east) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def _biased(km: float, bias: int) -> float:
    return km * (1 - bias / 100) if bias >= 0 else km / (1 + bias / 100)
