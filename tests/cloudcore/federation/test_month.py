"""A region that is cut off for a month, with rollouts of its own, and healed: what was changed there is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from skerry.objects.federation import DRIFT, REGION_OBJECTS
from tests.cloudcore.federation.test_partitions import FEDERATED, Two, federated, two

DAYS = 30


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def edit(pair: Two, name: str, value: str) -> None:
    """Somebody in the region rolls out something of his own."""
    await pair.region.update("configmaps", name, lambda obj: {**obj, "data": {**obj["data"], "v": value}})


def told(pair: Two, name: str) -> Any:
    (cluster,) = pair.world.get(FEDERATED, name)["status"]["clusters"]
    return [(each["path"], each["found"], each["outcome"]) for each in cluster.get("drift", [])]


async def test_a_month_alone_ends_as_the_policies_say_and_all_of_it_is_told(stack: AsyncExitStack) -> None:
    pair = await two(stack)
    keeps = federated("keeps", 1, here=True)
    keeps["metadata"]["annotations"] = {DRIFT: "Keep"}
    for made in (federated("reverts", 1, here=True), federated("quiet", 1, here=True), keeps):
        await pair.world.create(FEDERATED, made)
    await pair.world.create(FEDERATED, federated("goes", 1, here=True))
    await pair.settle()
    await pair.region.create("configmaps", {"metadata": {"name": "own"}, "data": {"v": "ours"}})
    pair.up = False
    for day in range(DAYS):
        pair.world.clock.advance(86_400)
        pair.region.clock.advance(86_400)
        for name in ("reverts", "keeps"):
            await edit(pair, name, f"day {day}")
        wished = federated("quiet", 100 + day, here=True)
        await pair.world.update(FEDERATED, "quiet", lambda obj, new=wished: {**obj, "spec": new["spec"]})
        await pair.settle()
        assert pair.there()["reverts"] == {"v": f"day {day}"}, "cut off, people help themselves"
        assert pair.there()["quiet"] == {"v": "1"}
    await pair.world.delete(FEDERATED, "goes")
    await pair.settle()
    assert "goes" in pair.there(), "silence removes nothing"
    rows = pair.world.all("memberobjects.skerry.dev")
    assert len(rows) == 5, "a month of changes is one row for each object: three, one that goes, and the namespace"

    pair.up = True
    await pair.settle()
    for stored in pair.region.cache.select(REGION_OBJECTS):
        await pair.applies.reconcile(stored.key)
    await pair.settle()
    last = f"day {DAYS - 1}"
    assert pair.there() == {"reverts": {"v": "1"}, "keeps": {"v": last}, "quiet": {"v": str(100 + DAYS - 1)}}
    assert told(pair, "reverts") == [("/data/v", f'"{last}"', "Reverted")]
    assert told(pair, "keeps") == [("/data/v", f'"{last}"', "Kept")]
    assert pair.region.events("DriftReverted"), "who works there reads it there"
    assert pair.region.get("configmaps", "own")["data"] == {"v": "ours"}
    assert pair.world.get(FEDERATED, "goes") is None
