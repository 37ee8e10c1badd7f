"""How often the cloud hears of a value that moves: each device once in a while, and then of all that moved.

Every reading is history of its own (`telemetry`). The twin that the cloud shows is one value that is written over and
over, an object there and a write for each. So a value that moves is told at once when its device has been quiet, and
then no more often than the interval; the last one always. What people wait for does not wait here: quality that
turned, answers to what was wanted, values read back. It takes along what does.

Pure, in memory. What is pending is marked in the twin's row (`TwinState.untold`), so that a crash does not keep the
last value of a device that never speaks again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgecore.twins.stage import Place
from skerry.objects.meta import Key


@dataclass(slots=True)
class Pace:
    interval_s: float
    _pending: dict[Key, set[Place]] = field(default_factory=dict[Key, "set[Place]"])
    _told_s: dict[Key, float] = field(default_factory=dict[Key, float])
    """When a device's values were told last; while something is pending of it, or not long ago."""

    def moved(self, place: Place) -> None:
        """Its value is to be told, when its device's turn comes."""
        self._pending.setdefault(place[0], set()).add(place)

    def forget(self, place: Place) -> None:
        """There is no such property any more."""
        places = self._pending.get(place[0], set())
        places.discard(place)
        if not places:
            self._pending.pop(place[0], None)

    @property
    def pending(self) -> frozenset[Place]:
        return frozenset(place for places in self._pending.values() for place in places)

    def due_s(self) -> float | None:
        """When the next device's turn comes; None while nothing is pending. Monotonic."""
        return min((self._turn_s(device) for device in self._pending), default=None)

    def take(self, now_s: float, told: Iterable[Place] = ()) -> set[Place]:
        """What is to be told now, beside what is `told` at once: for its device that is a turn like any other."""
        due = {place[0] for place in told}
        due |= {device for device in self._pending if self._turn_s(device) <= now_s}
        taken = {place for device in due for place in self._pending.pop(device, ())}
        self._told_s = {device: at for device, at in self._told_s.items() if now_s - at < self.interval_s}
        self._told_s |= dict.fromkeys(due, now_s)
        return taken

    def _turn_s(self, device: Key) -> float:
        return self._told_s.get(device, float("-inf")) + self.interval_s
