"""Turns of sessions: each once, in order, and others in between."""

from __future__ import annotations

import asyncio

from cloudcore.hub.pushing import ROUND, Pushing
from tests.cloudcore.hub.fleet import eventually


class Recording:
    """A session that notes its turns."""

    def __init__(self, name: int, turns: list[int]) -> None:
        self.name = name
        self.turns = turns

    def push(self) -> None:
        self.turns.append(self.name)


async def test_each_has_one_turn_in_order_and_others_run_in_between() -> None:
    turns: list[int] = []
    seen: list[int] = []
    pushing = Pushing()
    sessions = [Recording(name, turns) for name in range(10 * ROUND)]
    for session in (*sessions, *sessions):
        pushing.add(session)
    pushing.discard(sessions[3])
    running = asyncio.create_task(pushing.run())
    while len(turns) < len(sessions) - 1:
        await asyncio.sleep(0)
        seen.append(len(turns))
    assert turns == [name for name in range(len(sessions)) if name != 3]
    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= ROUND
    assert not len(pushing)
    pushing.add(sessions[3])
    await eventually(lambda: turns[-1] == 3)
    running.cancel()
