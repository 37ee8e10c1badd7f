"""Where a cap meets a link: asks the clocks, counts what goes out, and says when the next frame may go.

The rules are in `skerry.sync.throttle`. One gate is of one node and one direction, and outlives its links. What is
counted is the network's traffic: each frame with the headers it will have, at once, and beyond that whatever the
kernel says was sent (repetitions, acknowledgements) as soon as it says so. In memory; a crash begins with an empty
account.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skerry.objects.bandwidth import BandwidthPlan, Direction
from skerry.ports import Clock
from skerry.sync.priorities import Priority
from skerry.sync.throttle import Throttle, Urgency, urgency_of
from skerry.sync.traffic import WireCounted, wire_size


def _yes() -> bool:
    return True


class Gate:
    """See the module. `knows_time`: whether the wall clock is to be believed."""

    __slots__ = ("_begun", "_clock", "_counted", "_knows_time", "_link", "_throttle", "plans")

    def __init__(self, direction: Direction, clock: Clock, knows_time: Callable[[], bool] = _yes) -> None:
        self._throttle = Throttle(direction)
        self._clock = clock
        self._knows_time = knows_time
        self._link: object = None
        self._begun = 0
        """What the link had sent when it was begun with."""
        self._counted = 0
        """What was taken from the account since."""
        self.plans: tuple[BandwidthPlan, ...] = ()
        """What holds."""

    @property
    def rate(self) -> int | None:
        """Bytes in a second, as of the last look; None: unlimited, 0: nothing but what is urgent."""
        return self._throttle.rate

    def hold(self, plans: Sequence[BandwidthPlan]) -> None:
        """These plans hold from now on; kick whoever sends."""
        self.plans = tuple(plans)
        self._throttle.hold(plans)

    def begin(self, link: object) -> None:
        """What is sent goes over this link now."""
        self._link = link
        self._begun, self._counted = self._sent(), 0

    def end(self, link: object) -> None:
        """Nothing more is sent over this link, nor is it kept."""
        if self._link is link:
            self.begin(None)

    def wall_ms(self) -> int | None:
        """The time by which plans are read; None while it is not known."""
        return self._clock.wall_ms() if self._knows_time() else None

    def look(self) -> bool:
        """See what time it is; whether that changes the rate."""
        before = self._throttle.rate
        changed = self._throttle.at(self._clock.monotonic_s(), self.wall_ms())
        if changed and before is None:
            self.begin(self._link)
        return changed

    def opens_s(self, priority: Priority) -> float | None:
        """When a frame of this class may go, monotonic seconds, if nothing changes; 0.0: now. None: not at this
        rate."""
        if self._throttle.rate is None:
            return 0.0
        now_s = self._clock.monotonic_s()
        more = self._sent() - self._begun - self._counted
        if more > 0:
            self._counted += more
            self._throttle.took(more, Urgency.CAPPED, now_s)
        opens_s = self._throttle.opens_s(urgency_of(priority), now_s)
        return 0.0 if opens_s is not None and opens_s <= now_s else opens_s

    def minute_s(self) -> float:
        """When the minute is over in which rates stay what they are, monotonic seconds."""
        wall_ms = self._clock.wall_ms()
        return self._clock.monotonic_s() + (60_000 - wall_ms % 60_000) / 1000

    def took(self, size: int, priority: Priority) -> None:
        """A frame of this size goes out."""
        if self._throttle.rate is not None:
            count = wire_size(size)
            self._counted += count
            self._throttle.took(count, urgency_of(priority), self._clock.monotonic_s())

    def _sent(self) -> int:
        now = self._link.wire_bytes() if isinstance(self._link, WireCounted) else None
        return self._begun + self._counted if now is None else now[0]
