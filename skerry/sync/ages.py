"""How old a report is, on a gateway whose clock may be wrong. Pure; the whole story is docs/explanation/time.md.

Within one boot the monotonic clock tells exactly. A report of an earlier boot is dated by the cloud's clock where
that boot ever heard it. Where it did not, the report lies between the newest time known when its boot began and the
first time known after it: the wall clock's word is taken when it lies between these two, and never otherwise. All
rests on what the edge store keeps of each boot (`BootTimes`); with a crash goes nothing that was not written there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from skerry.frozen import Frozen, replace
from skerry.sync.ports import BootTimes, Instant, OutboxItem, Reading

DRIFT_MAX: Final = 0.0005
"""A gateway's quartz is off by up to 100 parts in a million, more in heat and cold; this is generous."""


AHEAD_MS_MAX: Final = 30 * 86_400_000
"""A wall clock this far beyond the newest time known contradicts it. The hub's certificates are renewed when a third
of their ninety days is left: one that an honest hub shows is good for a clock that is ahead by less."""


def clock_is_wrong(*, wall_ms: int, floor_ms: int) -> bool:
    """Whether a gateway's wall clock can't judge certificates, by the newest time that the gateway knows (0: none).

    Behind it, it is surely wrong: a Pi boots in 1970. Far ahead, either it is, or the gateway was off for long. To
    judge by the newest time known is then safe in both cases: see docs/explanation/time.md.
    """
    return wall_ms < floor_ms or (floor_ms > 0 and wall_ms > floor_ms + AHEAD_MS_MAX)


class Within(NamedTuple):
    """A moment on the cloud's clock, as far as it is known."""

    earliest_ms: int
    latest_ms: int

    @property
    def middle_ms(self) -> int:
        return (self.earliest_ms + self.latest_ms) // 2


class Age(Frozen):
    """How old a report is."""

    ms: int
    """Never negative."""
    error_ms: int | None
    """How far off that may be, either way; None where nobody knows."""
    estimated: bool
    """No clock that was known to be right counted it."""


def cloud_time(reading: Reading, monotonic_ms: float) -> Within:
    """What the cloud's clock read when this boot's monotonic clock read that, before the reading or after."""
    since_said, since_heard = monotonic_ms - reading.said_ms, monotonic_ms - reading.heard_ms
    return Within(
        math.floor(reading.server_ms + since_heard - abs(since_heard) * DRIFT_MAX),
        math.ceil(reading.server_ms + since_said + abs(since_said) * DRIFT_MAX),
    )


def known_ms(boots: Sequence[BootTimes]) -> int:
    """The newest time of the cloud that has certainly passed, as the last of these boots, oldest first, knows;
    0 where none ever heard it."""
    known = 0
    for boot in boots:
        known = _passed(_opening(boot, known), boot.last_ms - boot.opened_ms)
    return known


def _opening(boot: BootTimes, known: int) -> int:
    """The earliest that the cloud's clock may have read when this boot began, after `known`; 0 for nothing known.

    A boot that heard the cloud's clock knows by itself: older words may come from a cloud whose clock was wrong.
    """
    if boot.reading is not None:
        return cloud_time(boot.reading, boot.opened_ms).earliest_ms
    return max(boot.floor_ms, known)


def _passed(earliest_ms: int, elapsed_ms: int) -> int:
    """At least this, so much later by a quartz that may be fast; 0 stays "nothing known"."""
    return earliest_ms + math.floor(max(0, elapsed_ms) * (1 - DRIFT_MAX)) if earliest_ms > 0 else 0


def _before(latest_ms: int, elapsed_ms: int) -> int:
    return latest_ms - math.floor(max(0, elapsed_ms) * (1 - DRIFT_MAX))


class Chronology:
    """Dates the reports of one session, from the boots before it and what `Welcome` said."""

    def __init__(self, boots: Sequence[BootTimes], boot_id: str, reading: Reading) -> None:
        """`boots`: oldest first. `boot_id`: the present one, which `reading` is of."""
        self._boot_id = boot_id
        self._reading = reading
        present = next((boot for boot in boots if boot.boot_id == boot_id), None)
        if present is None:
            present = BootTimes(boot_id=boot_id, opened_ms=reading.said_ms, last_ms=reading.said_ms)
        ordered = [boot for boot in boots if boot.boot_id != boot_id]
        ordered.append(replace(present, reading=reading))
        self._began = cloud_time(reading, present.opened_ms).latest_ms
        self._boots: dict[str, tuple[BootTimes, int, int]] = {}
        """By id: the boot, the earliest that it began, and the latest that it was over."""
        known = 0
        openings: list[int] = []
        for boot in ordered:
            openings.append(_opening(boot, known))
            known = _passed(openings[-1], boot.last_ms - boot.opened_ms)
        over = self._began
        for boot, opening in reversed(list(zip(ordered, openings, strict=True))[:-1]):
            self._boots[boot.boot_id] = (boot, opening, over)
            if boot.reading is not None:
                over = cloud_time(boot.reading, boot.opened_ms).latest_ms
            else:
                over = _before(over, boot.last_ms - boot.opened_ms)

    def age_of(self, item: OutboxItem, now: Instant) -> Age:
        """How old that report is now."""
        now_ms = now.monotonic_s * 1000
        if item.boot_id == self._boot_id:
            return Age(ms=max(0, round(now_ms) - item.monotonic_ms), error_ms=0, estimated=False)
        clock = cloud_time(self._reading, now_ms)
        boot, opening, over = self._boots.get(item.boot_id, (None, 0, self._began))
        if boot is not None and boot.reading is not None:
            at = cloud_time(boot.reading, item.monotonic_ms)
            return _age(clock, at, at.middle_ms, estimated=False)
        if boot is None:
            at = Within(0, over)
        else:
            latest = _before(over, boot.last_ms - item.monotonic_ms)
            at = Within(_passed(opening, item.monotonic_ms - boot.opened_ms), latest)
        known = at.earliest_ms > 0
        at = Within(min(at), max(at))  # they contradict each other where the cloud's clock stepped back
        if at.earliest_ms <= item.wall_ms <= at.latest_ms:
            best = item.wall_ms
        else:
            best = at.middle_ms if known else at.latest_ms
        age = _age(clock, at, best, estimated=True)
        return age if known else replace(age, error_ms=None)


def _age(now: Within, at: Within, best_ms: int, *, estimated: bool) -> Age:
    age = max(0, now.middle_ms - best_ms)
    youngest, oldest = now.earliest_ms - at.latest_ms, now.latest_ms - at.earliest_ms
    return Age(ms=age, error_ms=max(age - youngest, oldest - age, 0), estimated=estimated)
