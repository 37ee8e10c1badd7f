"""Who is up, in memory that all processes of the server share: written by the prober and the parent, looked at by
those that answer, once a batch.

    8 bytes  a number that moves when an answer may be another
    1 byte   whether what the cloud sees is too old to go by
    8 bytes  of each endpoint: whether it is down, whether that may change soon, whether it is drained;
             then the monitor's counts, which a prober of the next generation goes on from, votes of gateways, and
    4 bytes  when it was known good last

A table is made with each generation of zones, in the memory of the one before while that has room: the prober goes on
through most reloads. Nothing of it outlives the processes but what the prober writes to disk.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from cloudcore.dns.steering import GOOD_NOW, Endpoint, Service
from cloudcore.dns.zone import Zone
from skerry.frozen import replace
from skerry.probing.monitor import Counter, answer_ttl

_HEAD: Final = 16
_SLOT: Final = 12
_NUMBER: Final = struct.Struct("@Q")
_GOOD: Final = struct.Struct("@i")
_GOOD_AT: Final = 8
_LONG_AGO: Final = 0
"""The second in which the machine began: nothing was good then."""
_GOOD_STEP_S: Final = 30
"""While it is down, another answer is worth so much more knowledge of when it was good."""
_STALE_AT: Final = 8
_VOTES: Final = 7
SLOTS_MIN: Final = 4096
"""Room for endpoints that come later."""
DOWN: Final = 1
Place = tuple[bytes, bytes]
"""A service's name, and an address of it."""


class HealthTable:
    """`slots` are endpoints by their place."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.slots: Mapping[Place, int] = {place: number for number, place in enumerate(places)}
        self._room = max(SLOTS_MIN, 2 * len(self.slots))
        self._taken = len(self.slots)
        """Slots that were ever somebody's; none is given to another while this memory lives."""
        self._memory = mmap.mmap(-1, _HEAD + _SLOT * self._room)

    @classmethod
    def of_zones(cls, zones: Mapping[bytes, Zone], before: HealthTable | None = None) -> HealthTable:
        """Of all endpoints of all services; what the table before knew of them is known. It lies in the same memory
        where there is room, so that who writes into the one before writes into this one."""
        services = [service for zone in zones.values() for service in zone.services.values()]
        places = dict.fromkeys((each.name, endpoint.address) for each in services for endpoint in each.endpoints)
        if before is None:
            return cls(places)
        added = [place for place in places if place not in before.slots]
        if before._taken + len(added) <= before._room:
            made = cls(())
            made._memory, made._room = before._memory, before._room
            made._taken = before._taken + len(added)
            slots = dict(zip(added, range(before._taken, made._taken), strict=True))
            made.slots = {place: slots[place] if place in slots else before.slots[place] for place in places}
            return made
        made = cls(places)
        made._memory[_STALE_AT] = before._memory[_STALE_AT]
        for place, slot in made.slots.items():
            if place in before.slots:
                made._write(slot, before._read(before.slots[place]))
        return made

    def shares(self, other: HealthTable) -> bool:
        """Whether both lie in one memory."""
        return self._memory is other._memory

    @property
    def number(self) -> int:
        return _NUMBER.unpack_from(self._memory)[0]

    def _moved(self) -> None:
        _NUMBER.pack_into(self._memory, 0, self.number + 1)

    def _read(self, slot: int) -> bytes:
        at = _HEAD + slot * _SLOT
        return self._memory[at : at + _SLOT]

    def _write(self, slot: int, data: bytes) -> None:
        at = _HEAD + slot * _SLOT
        self._memory[at : at + _SLOT] = data

    @property
    def stale(self) -> bool:
        return self._memory[_STALE_AT] == 1

    def set_stale(self, *, stale: bool) -> None:
        if stale != self.stale:
            self._memory[_STALE_AT] = int(stale)
            self._moved()

    def counter(self, place: Place) -> Counter:
        """As the monitor left it."""
        own, failures, successes, more = self._read(self.slots[place])[3:_VOTES]
        return Counter(
            state="down" if own == DOWN else "up",
            failures=failures,
            successes=successes,
            flaps=more >> 1,
            proven=more & 1 == 1,
        )

    def set_verdict(
        self, place: Place, *, down: bool, unsure: bool, counter: Counter, good_s: int | None = None
    ) -> bool:
        """Whether it is another than before."""
        slot = self.slots[place]
        old = self._read(slot)
        own = DOWN if counter.state == "down" else 0
        more = counter.flaps << 1 | counter.proven
        counts = bytes([own, min(counter.failures, 255), min(counter.successes, 255), more])
        new, at = bytes([int(down), int(unsure)]), _HEAD + slot * _SLOT
        # Not the byte between them and the last, which are the parent's.
        self._memory[at + 3 : at + _VOTES] = counts
        before_s = self.good_s(place)
        known = (before_s is None) == (good_s is None)
        much = down and abs((good_s or 0) - (before_s or 0)) >= _GOOD_STEP_S
        moved = new != old[:2] or not known or much
        if moved or not down:
            _GOOD.pack_into(self._memory, at + _GOOD_AT, _LONG_AGO if good_s is None else good_s)
        if not moved:
            return False
        self._memory[at : at + 2] = new
        self._moved()
        return new[0] != old[0]

    def set_votes(self, services: Iterable[Service]) -> None:
        """What gateways say, as the cloud told it last."""
        for service in services:
            for each in service.endpoints:
                slot = self.slots[service.name, each.address]
                self._memory[_HEAD + slot * _SLOT + _VOTES] = each.votes[0] << 4 | each.votes[1]

    def votes(self, place: Place) -> tuple[int, int]:
        """How many gateways say up, and down; nobody where the cloud was not heard for long."""
        told = 0 if self.stale else self._read(self.slots[place])[_VOTES]
        return told >> 4, told & 15

    def good_s(self, place: Place) -> int | None:
        """When it was known good last, by the monotonic clock; None where that is not known, or long ago."""
        at_s: int = _GOOD.unpack_from(self._memory, _HEAD + self.slots[place] * _SLOT + _GOOD_AT)[0]
        return None if at_s == _LONG_AGO else at_s

    def set_drained(self, place: Place, *, drained: bool) -> None:
        slot = self.slots[place]
        old = self._read(slot)
        if old[2] != drained:
            self._memory[_HEAD + slot * _SLOT + 2] = int(drained)
            self._moved()

    def is_down(self, place: Place) -> bool:
        return self._read(self.slots[place])[0] == DOWN

    def is_unsure(self, place: Place) -> bool:
        return self._read(self.slots[place])[1] == 1

    def seen(self, service: Service) -> Service:
        """The service with its endpoints as they are now, and the TTL that this allows."""
        unsure = False
        endpoints: list[Endpoint] = []
        for each in service.endpoints:
            place = service.name, each.address
            if place not in self.slots:
                endpoints.append(each)
                continue
            down, maybe, drained = self._read(self.slots[place])[:3]
            probed = service.probe is not None
            unsure |= probed and maybe == 1
            # What the cloud saw long ago is worth less than what is tried now.
            inside = each.up or (probed and self.stale)
            up = inside and not (probed and down == DOWN)
            reason = each.reason if not inside else "probes say so" if not up else each.reason
            drained = each.drained or drained == 1
            good_s = self.good_s(place) if probed and not up else None
            if good_s is not None and down != DOWN:
                good_s = GOOD_NOW
            endpoints.append(replace(each, up=up, drained=drained, reason=reason, good_s=good_s))
        return replace(service, endpoints=tuple(endpoints), ttl=answer_ttl(service.ttl, unsure=unsure))
