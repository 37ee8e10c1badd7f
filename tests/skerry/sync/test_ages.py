"""How old a report is, for every history of boots: within its bound, never in the future, in order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.frozen import replace
from skerry.sync.ages import AHEAD_MS_MAX, Age, Chronology, clock_is_wrong, cloud_time, known_ms
from skerry.sync.ports import BootTimes, Instant, Reading
from tests.skerry.sync.conversation import Item

T0_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def at(monotonic_ms: int) -> Instant:
    return Instant(monotonic_s=monotonic_ms / 1000, wall_ms=0)


def boot(name: str, *, floor_ms: int = 0, last_ms: int = HOUR_MS, reading: Reading | None = None) -> BootTimes:
    return BootTimes(boot_id=name, opened_ms=5000, last_ms=last_ms, floor_ms=floor_ms, reading=reading)


def heard(server_ms: int, *, at_ms: int = 10_000, trip_ms: int = 200) -> Reading:
    return Reading(said_ms=at_ms, heard_ms=at_ms + trip_ms, server_ms=server_ms)


def test_within_a_boot_the_monotonic_clock_tells_exactly() -> None:
    chronology = Chronology((), "now", heard(T0_MS))
    age = chronology.age_of(Item(seq=1, boot_id="now", monotonic_ms=4000, wall_ms=0), at(9000))
    assert age == Age(ms=5000, error_ms=0, estimated=False)
    assert chronology.age_of(Item(seq=1, boot_id="now", monotonic_ms=9001), at(9000)).ms == 0


def test_a_boot_that_heard_the_cloud_dates_its_reports_whatever_its_wall_clock_said() -> None:
    boots = (boot("a", reading=heard(T0_MS)), boot("b"))
    chronology = Chronology(boots, "b", heard(T0_MS + 10 * HOUR_MS))
    age = chronology.age_of(Item(seq=1, boot_id="a", monotonic_ms=60_100, wall_ms=7), at(10_100))
    assert not age.estimated
    assert abs(age.ms - (10 * HOUR_MS - 50_000)) <= 1
    assert age.error_ms is not None
    assert 200 <= age.error_ms <= 300, "two half round trips, and the drift of fifty seconds"


def test_a_boot_that_heard_nothing_lies_between_its_neighbours() -> None:
    boots = (boot("a", reading=heard(T0_MS)), boot("dark", last_ms=2 * HOUR_MS), boot("b"))
    chronology = Chronology(boots, "b", heard(T0_MS + 11 * HOUR_MS))
    dark = Item(seq=1, boot_id="dark", monotonic_ms=HOUR_MS, wall_ms=7)
    age = chronology.age_of(dark, at(10_100))
    assert age.estimated
    # Not before an hour of each boot has passed, nor after an hour before the next began.
    assert age.ms == pytest.approx(5 * HOUR_MS, abs=20_000)
    assert age.error_ms == pytest.approx(4 * HOUR_MS, abs=20_000)
    by_wall = chronology.age_of(replace(dark, wall_ms=T0_MS + 3 * HOUR_MS), at(10_100))
    assert by_wall.ms == pytest.approx(8 * HOUR_MS, abs=200), "a wall clock that may be right is believed"
    assert by_wall.error_ms == pytest.approx(7 * HOUR_MS, abs=20_000)


def test_where_nothing_was_known_before_nobody_knows_the_bound() -> None:
    boots = (boot("dark"), boot("b"))
    chronology = Chronology(boots, "b", heard(T0_MS))
    dark = Item(seq=1, boot_id="dark", monotonic_ms=HOUR_MS, wall_ms=T0_MS - HOUR_MS)
    age = chronology.age_of(dark, at(10_100))
    assert (age.error_ms, age.estimated) == (None, True)
    assert age.ms == pytest.approx(HOUR_MS, abs=200)
    in_2040 = chronology.age_of(replace(dark, wall_ms=T0_MS + 10**12), at(10_100))
    assert in_2040.ms == pytest.approx(5100, abs=200), "as late as can be: just before this boot"
    unheard_of = chronology.age_of(replace(dark, boot_id="lost"), at(10_100))
    assert (unheard_of.error_ms, unheard_of.estimated) == (None, True)


def test_a_cloud_whose_clock_stepped_back_widens_the_bound() -> None:
    boots = (boot("dark", floor_ms=T0_MS + 100 * HOUR_MS), boot("b"))
    chronology = Chronology(boots, "b", heard(T0_MS))
    age = chronology.age_of(Item(seq=1, boot_id="dark", monotonic_ms=HOUR_MS, wall_ms=7), at(10_100))
    assert age.ms == 0
    assert age.error_ms == pytest.approx(101 * HOUR_MS, abs=10_000)


def test_the_newest_time_known_grows_with_each_boot() -> None:
    assert known_ms(()) == 0
    assert known_ms((boot("a"), boot("b"))) == 0
    known = known_ms((boot("a", floor_ms=T0_MS), boot("b")))
    assert T0_MS + 2 * HOUR_MS - 15_000 < known <= T0_MS + 2 * HOUR_MS
    assert known_ms((boot("a", floor_ms=T0_MS), boot("b", reading=heard(T0_MS - HOUR_MS)))) < T0_MS, (
        "the cloud's word"
    )


def test_a_reading_tells_between_which_moments() -> None:
    assert cloud_time(heard(T0_MS), 10_100) == (T0_MS - 101, T0_MS + 101)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One boot as it truly was, milliseconds."""

    off: int
    starts_at: int
    open_for: int
    heard_at: int | None
    trip: int
    answered: float
    drift: float
    lag: int
    """Of the last note, behind the last report."""


def a_life() -> st.SearchStrategy[Life]:
    return st.builds(
        Life,
        off=st.integers(0, 10**9),
        starts_at=st.integers(0, 60_000),
        open_for=st.integers(0, 10**8),
        heard_at=st.none() | st.integers(0, 10**8),
        trip=st.integers(0, 20_000),
        answered=st.floats(0, 1),
        drift=st.floats(-0.0004, 0.0004),
        lag=st.integers(0, 60_000),
    )


def _reading(life: Life, began_ms: int, heard_at: int) -> Reading:
    """What the boot heard: the cloud's time at a moment between the two."""
    said = life.starts_at + heard_at
    server = began_ms + (said + life.answered * life.trip) / (1 + life.drift)
    return Reading(said_ms=said, heard_ms=said + life.trip, server_ms=round(server))


@given(lives=st.lists(a_life(), min_size=1, max_size=5), wall_ms=st.integers(-(10**13), 10**13), floor=st.booleans())
def test_an_age_is_within_its_bound_and_not_negative(lives: list[Life], wall_ms: int, floor: bool) -> None:
    began_ms = T0_MS
    boots: list[BootTimes] = []
    truth: list[tuple[Item, float]] = []
    for number, life in enumerate(lives):
        began_ms += life.off
        end = life.starts_at + life.open_for
        reading = _reading(life, began_ms, min(life.heard_at, life.open_for)) if life.heard_at is not None else None
        floor_ms = max(known_ms(boots), T0_MS if floor else 0)
        last = max(life.starts_at, end - life.lag)
        boots.append(
            BootTimes(boot_id=str(number), opened_ms=life.starts_at, last_ms=last, floor_ms=floor_ms, reading=reading)
        )
        for moment in (life.starts_at, (life.starts_at + end) // 2, end):
            item = Item(seq=1, boot_id=str(number), monotonic_ms=moment, wall_ms=wall_ms)
            truth.append((item, began_ms + moment / (1 + life.drift)))
        began_ms += round(end / (1 + life.drift)) + life.trip + 1
    present = lives[-1]
    reading = _reading(present, began_ms, 0)
    boots.append(BootTimes(boot_id="now", opened_ms=present.starts_at, last_ms=present.starts_at))
    now_ms = reading.heard_ms + 500
    true_now = began_ms + now_ms / (1 + present.drift)
    chronology = Chronology(boots, "now", reading)
    for item, happened_ms in truth:
        age = chronology.age_of(item, at(now_ms))
        assert age.ms >= 0
        if age.error_ms is not None:
            assert abs(true_now - happened_ms - age.ms) <= age.error_ms + 3
        else:
            assert age.estimated


def test_a_clock_is_wrong_that_contradicts_what_is_known() -> None:
    assert clock_is_wrong(wall_ms=T0_MS - 1, floor_ms=T0_MS)
    assert not clock_is_wrong(wall_ms=T0_MS, floor_ms=T0_MS)
    assert not clock_is_wrong(wall_ms=T0_MS + AHEAD_MS_MAX, floor_ms=T0_MS)
    assert clock_is_wrong(wall_ms=T0_MS + AHEAD_MS_MAX + 1, floor_ms=T0_MS)
    assert not clock_is_wrong(wall_ms=T0_MS, floor_ms=0), "nothing known contradicts nothing"
