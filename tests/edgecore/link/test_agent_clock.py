"""The agent's clock: the cloud's time once it is known, and never before what is known."""

from __future__ import annotations

import pytest

from edgecore.link.cloud_time import AgentClock
from skerry.clocks import ManualClock
from skerry.sync.ports import BootTimes, Reading

T0_MS = 1_790_000_000_000
YEAR_MS = 365 * 86_400_000


def a_clock(machine: ManualClock, *, known_ms: int = 0, reading: Reading | None = None) -> AgentClock:
    return AgentClock(machine, (BootTimes(boot_id="b", opened_ms=0, last_ms=0, reading=reading),), known_ms)


@pytest.mark.parametrize("wall_ms", [60_000, T0_MS + 14 * YEAR_MS])
def test_after_welcome_it_is_the_clouds_whatever_the_wall_clock_does(wall_ms: int) -> None:
    machine = ManualClock(wall_ms=wall_ms, monotonic_s=10.0)
    clock = a_clock(machine, known_ms=T0_MS - YEAR_MS)
    clock.hear(Reading(said_ms=9_900, heard_ms=10_100, server_ms=T0_MS))
    assert abs(clock.wall_ms() - T0_MS) <= 1
    assert T0_MS - 110 <= clock.known_ms() <= T0_MS - 100
    assert clock.trusted
    machine.advance(3600)
    assert abs(clock.wall_ms() - (T0_MS + 3_600_000)) <= 1
    machine._wall_ms -= YEAR_MS
    assert abs(clock.wall_ms() - (T0_MS + 3_600_000)) <= 1, "a step of the wall clock is not seen"
    assert clock.monotonic_s() == 3610.0


def test_an_agent_that_starts_again_within_the_boot_knows_the_time_at_once() -> None:
    machine = ManualClock(wall_ms=60_000, monotonic_s=100.0)
    clock = a_clock(machine, reading=Reading(said_ms=10_000, heard_ms=10_000, server_ms=T0_MS))
    assert abs(clock.wall_ms() - (T0_MS + 90_000)) <= 1
    assert clock.trusted


def test_before_welcome_it_is_the_wall_clock_but_never_before_what_is_known() -> None:
    machine = ManualClock(wall_ms=60_000, monotonic_s=10.0)
    clock = a_clock(machine, known_ms=T0_MS)
    machine.advance(1000)
    assert T0_MS + 999_000 <= clock.wall_ms() == clock.known_ms() <= T0_MS + 1_000_000
    assert not clock.trusted
    machine._wall_ms = T0_MS + 86_400_000
    assert clock.wall_ms() == T0_MS + 86_400_000
    assert clock.trusted
    machine._wall_ms = T0_MS + 14 * YEAR_MS
    assert not clock.trusted, "in 2040"
    assert clock.wall_ms() == clock.known_ms() < T0_MS + 1_001_000


def test_where_nothing_was_ever_known_a_wall_clock_that_was_set_is_believed() -> None:
    machine = ManualClock(wall_ms=60_000)
    clock = a_clock(machine)
    assert (clock.wall_ms(), clock.known_ms(), clock.trusted) == (60_000, 0, False)
    machine._wall_ms = T0_MS
    assert (clock.wall_ms(), clock.known_ms(), clock.trusted) == (T0_MS, 0, True)
