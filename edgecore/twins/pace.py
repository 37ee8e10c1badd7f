"""How often the disk is synced for readings, and how often the cloud hears of a value that moves.

Both have a credit: whoever was quiet may do many at once, each without a wait; whoever goes on and on pays it back at
a fixed rate. So a button that is pressed is seen in the cloud after milliseconds, and a meter that never stops costs
no more than its rate (docs/decisions/0230).

Every reading is history of its own (`telemetry`). The twin that the cloud shows is one value that is written over and
over, an object there and a write for each; so each device has a credit of its own for being told of, and in its turn
all of it that moved is told, the last value always. What people wait for does not wait here: quality that turned,
answers to what was wanted, values read back. It takes along what does.

Pure, in memory. What is pending is marked in the twin's row (`TwinState.untold`), so that a crash does not keep the
last value of a device that never speaks again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgecore.twins.stage import Place
from skerry.objects.meta import Key


@dataclass(slots=True)
class Credit:
    """Up to `size` at once after a silence, and one an interval in the long run (ITU-T I.371, virtual scheduling)."""

    interval_s: float
    size: int
    _repaid_s: float = float("-inf")
    """When all of it is there again, if nothing more is spent; monotonic."""

    def due_s(self) -> float:
        """When the next one is allowed; long ago where it is now."""
        return self._repaid_s - (self.size - 1) * self.interval_s

    def spend(self, now_s: float) -> None:
        """One was done, allowed or not: beyond the whole credit nothing is owed."""
        repaid_s = max(self._repaid_s, now_s) + self.interval_s
        self._repaid_s = min(repaid_s, now_s + self.size * self.interval_s)

    def is_whole(self, now_s: float) -> bool:
        return self._repaid_s <= now_s


@dataclass(slots=True)
class Pace:
    """What the cloud is to be told of moving values, and when."""

    interval_s: float
    size: int = 1
    """Of a device's credit."""
    _pending: dict[Key, set[Place]] = field(default_factory=dict[Key, "set[Place]"])
    _spent: dict[Key, Credit] = field(default_factory=dict[Key, Credit])
    """The credits that are not whole."""

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
        """What is to be told now, beside what is `told` at once: that takes along what else moved of its device, and
        costs no credit."""
        taken = {place for device in {place[0] for place in told} for place in self._pending.pop(device, ())}
        due = [device for device in self._pending if self._turn_s(device) <= now_s]
        taken |= {place for device in due for place in self._pending.pop(device)}
        self._spent = {device: credit for device, credit in self._spent.items() if not credit.is_whole(now_s)}
        for device in due:
            self._spent.setdefault(device, Credit(self.interval_s, self.size)).spend(now_s)
        return taken

    def _turn_s(self, device: Key) -> float:
        credit = self._spent.get(device)
        return float("-inf") if credit is None else credit.due_s()
