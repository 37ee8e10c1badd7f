"""Readings on their way to whoever keeps them."""

from __future__ import annotations

import asyncio

from devices.inflow import Inflow, no_value
from devices.port import Reading
from skerry.clocks import ManualClock
from skerry.objects.meta import Key

DEVICE = Key("devices.devices.kubeedge.io", "default", "one")


def reading(prop: str) -> Reading:
    return no_value(DEVICE, prop, "away", ManualClock())


async def take(inflow: Inflow, count: int) -> list[str]:
    taken: list[str] = []
    async for each in inflow.readings():
        taken.append(each.prop)
        if len(taken) == count:
            break
    return taken


async def test_what_is_told_is_taken_in_order() -> None:
    inflow = Inflow()
    for prop in "abc":
        inflow.tell(reading(prop))
    assert len(inflow) == 3
    assert await take(inflow, 3) == ["a", "b", "c"]
    assert (len(inflow), inflow.dropped) == (0, 0)


async def test_whoever_waits_is_woken_each_time() -> None:
    inflow = Inflow()
    taking = asyncio.create_task(take(inflow, 2))
    await asyncio.sleep(0)
    inflow.tell(reading("a"))
    while len(inflow):
        await asyncio.sleep(0)
    inflow.tell(reading("b"))
    assert await taking == ["a", "b"]


async def test_where_there_is_no_room_the_oldest_goes_and_is_counted() -> None:
    inflow = Inflow(most=2)
    for prop in "abcd":
        inflow.tell(reading(prop))
    assert inflow.dropped == 2
    assert await take(inflow, 2) == ["c", "d"]


def test_a_reading_without_a_value_says_why_and_when() -> None:
    clock = ManualClock()
    made = no_value(DEVICE, "level", "no answer", clock)
    assert (made.value, made.quality, made.reason) == (None, "bad", "no answer")
    assert (made.source_ms, made.monotonic_s) == (clock.wall_ms(), clock.monotonic_s())
