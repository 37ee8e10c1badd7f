"""What a gateway answers of its own history, without a cloud."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from edgecore.history.chunks import Kept
from edgecore.history.file import HistoryFile
from edgecore.history.keeper import NOT_HERE, WAITING_MAX, HistoryKeeper
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, NewReading
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.errors import UnavailableError
from skerry.objects.blocks import Reading
from skerry.objects.history import question_of
from skerry.objects.twins import DeviceName

DEVICE = DeviceName(namespace="default", name="plc", uid="u")
WALL_MS = 1_790_000_000_000


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(wall_ms=WALL_MS, monotonic_s=100.0)
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.file = HistoryFile(directory / "history.db", bytes_max=1 << 20, free_floor=0)
        self.trusted = True
        self.keeper = HistoryKeeper(
            self.store, self.file, node="eu-1", clock=self.clock, trusted=lambda: self.trusted
        )

    async def read(self, *seqs: int, value: str | None = "", quality: Any = "good") -> None:
        """One a second, from the newest backwards in one commit."""
        now_ms = round(self.clock.monotonic_s() * 1000)
        readings = [
            NewReading(
                Reading(DEVICE, "t", seq, str(seq) if value == "" else value, "INT", quality, "", 5, None, 0),
                now_ms - 1000 * (seqs[-1] - seq),
            )
            for seq in seqs
        ]
        await self.store.apply(EdgeBatch(readings=tuple(readings)))
        await asyncio.sleep(0)

    async def ask(self, **given: str) -> Any:
        question = question_of(lambda name: ({"property": "t"} | given).get(name, ""))
        return await self.keeper.answer("default", "plc", question)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()
    made.file.close()


def shown(page: Any) -> list[Any]:
    return [item["gap"]["count"] * -1 if "gap" in item else item["sequence"] for item in page["items"]]


async def paged(world: World, **given: str) -> list[Any]:
    page = await world.ask(**given)
    found = shown(page)
    while token := page["metadata"].get("continue"):
        page = await world.ask(**(given | {"after" if "after" in given else "continue": token}))
        found += shown(page)
    return found


async def test_a_reading_is_shown_as_the_cloud_shows_it(world: World) -> None:
    await world.read(1)
    world.trusted = False
    world.clock.advance(1)
    await world.read(2, value=None, quality="bad")
    page = await world.ask()
    assert (page["kind"], page["property"], page["metadata"]) == (
        "DeviceHistory",
        "t",
        {"name": "plc", "namespace": "default"},
    )
    first, second = page["items"]
    assert first == {
        "number": 1,
        "time": "2026-09-21T14:13:20.000000Z",
        "value": "1",
        "type": "INT",
        "quality": "good",
        "sequence": 1,
        "node": "eu-1",
    }
    assert (second["value"], second["quality"], second["estimated"]) == (None, "bad", True)


async def test_what_is_in_memory_and_what_is_written_are_one_history_in_pages(world: World) -> None:
    for first in range(1, 60, 10):
        await world.read(*range(first, first + 10))
        world.clock.advance(10)
        if first < 40:
            await world.keeper.flush()
    every = list(range(1, 61))
    assert await paged(world, limit="7") == every
    assert await paged(world, limit="7", order="newest") == every[::-1]
    assert await paged(world, limit="60") == every
    page = await world.ask(after="57")
    assert (shown(page), "continue" in page["metadata"]) == ([58, 59, 60], False)
    assert shown(await world.ask(after="3", limit="2")) == [4, 5]
    since = page["items"][1]["time"]
    assert shown(await world.ask(sinceTime=since)) == [59, 60]
    assert shown(await world.ask(untilTime=since, order="newest", limit="2")) == [59, 58]


async def test_numbers_that_are_not_kept_are_a_gap_on_whatever_page(world: World) -> None:
    for seqs in ((1, 2), (5, 6), (9,)):
        await world.read(*seqs)
        world.clock.advance(60)
    expected: list[int] = [1, 2, -2, 5, 6, -2, 9]
    for limit in range(1, 9):
        assert await paged(world, limit=str(limit)) == expected
        assert await paged(world, limit=str(limit), order="newest") == expected[::-1]
    gap = (await world.ask())["items"][2]
    assert (gap["gap"]["id"], gap["reason"], gap["node"]) == (3, NOT_HERE, "eu-1")
    steps = await world.ask(step="1m", aggregate="count")
    assert [(item["count"], item["dropped"]) for item in steps["items"]] == [(2, 2), (2, 2), (1, 0)]


async def test_steps_go_on_where_the_page_ended(world: World) -> None:
    await world.read(*range(1, 101))
    found: list[tuple[str, int]] = []
    page = await world.ask(step="10s", aggregate="max,count", limit="3")
    while True:
        found += [(item["max"], item["count"]) for item in page["items"]]
        token = page["metadata"].get("continue")
        if not token:
            break
        page = await world.ask(step="10s", aggregate="max,count", limit="3", **{"continue": token})
    assert sum(count for _, count in found) == 100
    assert found[-1][0] == "100"


async def test_it_is_written_by_and_by_and_at_the_end(world: World, tmp_path: Path) -> None:
    run = asyncio.create_task(world.keeper.run())
    await asyncio.sleep(0)
    await world.read(*range(1, WAITING_MAX + 1))
    await world.read(WAITING_MAX + 1)
    run.cancel()
    await asyncio.wait([run])
    again = HistoryFile(tmp_path / "history.db", bytes_max=1 << 20, free_floor=0)
    found = [
        each.reading.seq
        for chunk in again.chunks("default/plc/t", since_ms=0, until_ms=2**62, newest_first=False)
        for each in chunk.kept()
    ]
    again.close()
    assert found == list(range(1, WAITING_MAX + 2))


async def test_numbers_that_begin_anew_are_shown_and_asked_for_as_what_comes_later(world: World) -> None:
    await world.read(1, 2, 3)
    world.clock.advance(60)
    await world.read(1, 2)
    assert await paged(world, limit="2") == [1, 2, 3, 1, 2]
    assert await paged(world, limit="2", order="newest") == [2, 1, 3, 2, 1]
    assert await paged(world, limit="1", after="2") == [3, 1, 2]
    last = (await world.ask())["items"][-1]
    assert last["number"] == (1 << 40) + 2
    assert shown(await world.ask(after=str(last["number"]))) == []


class SlowFile:
    """Writes when it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.kept: list[int] = []
        self.closed = False

    def keep(self, series: Mapping[str, Sequence[Kept]]) -> None:
        assert self.may.wait(20)
        self.kept += [each.reading.seq for kept in series.values() for each in kept]

    def close(self) -> None:
        self.closed = True


async def test_what_is_flushed_twice_at_once_is_written_in_order_and_no_more_is_held_than_may_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecore.history.keeper.HELD_MAX", 3)
    slow = SlowFile()
    keeper = HistoryKeeper(world.store, cast(HistoryFile, slow), node="eu-1", clock=world.clock, trusted=lambda: True)
    run = asyncio.create_task(keeper.run())
    await asyncio.sleep(0)
    await world.read(1, 2)
    first = asyncio.create_task(keeper.flush())
    await asyncio.sleep(0)
    await world.read(3, 4)
    await world.read(5, 6)  # more than may be held while the disk is busy
    second = asyncio.create_task(keeper.flush())
    await asyncio.sleep(0.01)
    assert not first.done() and not second.done()
    slow.may.set()
    await asyncio.gather(first, second)
    assert slow.kept == [1, 2, 3, 4]
    run.cancel()
    await asyncio.wait([run])
    assert slow.closed


async def test_a_disk_that_takes_nothing_costs_this_history_and_nothing_else(world: World) -> None:
    world.file.close()
    await world.read(1)
    with pytest.raises(UnavailableError, match=r"history\.db"):
        await world.ask()
    assert world.store.outbox(after=0, limit=9), "it goes to the cloud"
