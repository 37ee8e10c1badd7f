"""A session rests after its turns for as long as others have work, and not a moment longer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from skerry.clocks import ManualClock
from skerry.transport.turns import IDLE_S, OTHERS, TURN_S, Turns


@dataclass(slots=True)
class Other:
    """Works for so long in each round of the loop."""

    clock: ManualClock
    each_s: float
    rounds: int = 0

    async def run(self) -> None:
        while True:
            self.rounds += 1
            self.clock.advance(self.each_s)
            await asyncio.sleep(0)


async def rounds_of_a_rest(each_s: float, worked_s: float) -> int:
    clock = ManualClock()
    other = Other(clock, each_s)
    running = asyncio.create_task(other.run())
    await asyncio.sleep(0)
    before = other.rounds
    await Turns(clock).rest(worked_s)
    running.cancel()
    return other.rounds - before


async def test_others_have_three_times_as_long_as_a_turn_took() -> None:
    assert OTHERS == 3
    assert await rounds_of_a_rest(1 / 16, 5 / 16) == 15
    assert await rounds_of_a_rest(4 / 16, 5 / 16) == 4


async def test_one_who_takes_long_is_enough() -> None:
    assert await rounds_of_a_rest(1.0, 0.005) == 1


async def test_where_nobody_has_work_it_goes_on_at_once() -> None:
    assert await rounds_of_a_rest(IDLE_S / 2, 0.5) == 1
    assert await rounds_of_a_rest(0.001, 0.0) == 1, "one round at least"


async def test_what_else_works_for_the_same_session_is_no_other() -> None:
    """Reading and committing of one session rest side by side, and go on side by side."""
    clock = ManualClock()
    turns = Turns(clock)
    rested: list[str] = []

    async def work(name: str) -> None:
        turn = turns.begin()
        for _ in range(3):
            clock.advance(2 * TURN_S)
            await turn.step()
            rested.append(name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work("reading"))
        tasks.create_task(work("committing"))
    assert rested == ["reading", "committing"] * 3


@pytest.mark.parametrize(("piece_s", "pieces"), [(TURN_S * 0.26, 4), (TURN_S * 1.1, 1), (TURN_S * 3, 1)])
async def test_a_turn_ends_when_its_time_is_used_up(piece_s: float, pieces: int) -> None:
    clock = ManualClock()
    turn = Turns(clock).begin()
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    for _ in range(5):
        before = rounds
        for _ in range(pieces - 1):
            clock.advance(piece_s)
            await turn.step()
            assert rounds == before, "goes on"
        clock.advance(piece_s)
        await turn.step()
        assert rounds > before
    counting.cancel()
