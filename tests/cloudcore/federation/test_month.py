"""A region that is cut off for a month, with rollouts of its own, and healed: what was changed there is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from skerry.objects.federation import DRIFT, MANAGED, REGION_OBJECTS
from skerry.objects.times import ms_at
from tests.cloudcore.federation.test_partitions import FEDERATED, Two, federated, two

DAYS = 30


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def edit(pair: Two, name: str, value: str) -> None:
    """Somebody in the region rolls out something of his own."""
    await pair.region.update("configmaps", name, lambda obj: {**obj, "data": {**obj["data"], "v": value}})


def taken_out(obj: Any) -> Any:
    """Of the federation's hands, by somebody in the region."""
    labels = {**obj["metadata"]["labels"], MANAGED: "false"}
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def clusters(pair: Two, name: str) -> Any:
    return pair.world.get(FEDERATED, name)["status"]["clusters"]


def told(pair: Two, name: str) -> Any:
    (cluster,) = clusters(pair, name)
    return [(each["path"], each["found"], each["outcome"]) for each in cluster.get("drift", [])]


async def test_a_month_alone_ends_as_the_policies_say_and_all_of_it_is_told(stack: AsyncExitStack) -> None:
    pair = await two(stack)
    keeps = federated("keeps", 1, here=True)
    keeps["metadata"]["annotations"] = {DRIFT: "Keep"}
    for made in (federated("reverts", 1, here=True), federated("quiet", 1, here=True), keeps):
        await pair.world.create(FEDERATED, made)
    for name in ("goes", "both", "mine"):
        await pair.world.create(FEDERATED, federated(name, 1, here=True))
    await pair.settle()
    await pair.region.update("configmaps", "mine", taken_out)
    await pair.settle()
    await pair.region.create("configmaps", {"metadata": {"name": "own"}, "data": {"v": "ours"}})
    pair.up = False
    for day in range(DAYS):
        pair.world.clock.advance(86_400)
        pair.region.clock.advance(86_400)
        for name in ("reverts", "keeps"):
            await edit(pair, name, f"day {day}")
        await pair.region.update("configmaps", "own", lambda obj, day=day: {**obj, "data": {"v": f"own {day}"}})
        await edit(pair, "both", f"here {day}")
        await edit(pair, "goes", f"gone {day}")
        await edit(pair, "mine", f"mine {day}")
        theirs = federated("both", 200 + day, here=True)
        await pair.world.update(FEDERATED, "both", lambda obj, new=theirs: {**obj, "spec": new["spec"]})
        if day == DAYS // 2:
            pair.restart()
        wished = federated("quiet", 100 + day, here=True)
        await pair.world.update(FEDERATED, "quiet", lambda obj, new=wished: {**obj, "spec": new["spec"]})
        await pair.settle()
        assert pair.there()["reverts"] == {"v": f"day {day}"}, "cut off, people help themselves"
        assert pair.there()["quiet"] == {"v": "1"}
        assert pair.there()["both"] == {"v": f"here {day}"}
    await pair.world.delete(FEDERATED, "goes")
    await pair.settle()
    assert "goes" in pair.there(), "silence removes nothing"
    rows = pair.world.all("memberobjects.skerry.dev")
    assert len(rows) == 7, "a month of changes is one row for each object, one that goes, and the namespace"

    healed_ms = pair.region.clock.wall_ms()
    pair.up = True
    await pair.settle()
    for stored in pair.region.cache.select(REGION_OBJECTS):
        await pair.applies.reconcile(stored.key)
    await pair.settle()
    last = f"day {DAYS - 1}"
    assert pair.there() == {
        "reverts": {"v": "1"},
        "keeps": {"v": last},
        "quiet": {"v": str(100 + DAYS - 1)},
        "both": {"v": str(200 + DAYS - 1)},
        "mine": {"v": f"mine {DAYS - 1}"},
    }
    assert told(pair, "both") == [("/data/v", f'"here {DAYS - 1}"', "Reverted")], (
        "both changed it: one goes, and is told"
    )
    assert told(pair, "quiet") == [], "nobody changed it here"
    by_name = {row["spec"]["object"]["name"]: row["status"] for row in pair.world.all("memberobjects.skerry.dev")}
    assert by_name["mine"]["code"] == "ManagedLabelFalse"
    (lost,) = pair.region.events("DriftDeleted")
    assert f'/data/v ("gone {DAYS - 1}")' in lost["message"], "what is deleted with somebody's work in it is told"
    assert told(pair, "reverts") == [("/data/v", f'"{last}"', "Reverted")]
    assert told(pair, "keeps") == [("/data/v", f'"{last}"', "Kept")]
    assert pair.region.events("DriftReverted"), "who works there reads it there"
    assert pair.region.get("configmaps", "own")["data"] == {"v": f"own {DAYS - 1}"}
    assert pair.world.get(FEDERATED, "goes") is None
    assert len(pair.world.all("memberobjects.skerry.dev")) == 6, "its tombstone is carried out"
    ages = [each["observedAt"] for name in ("reverts", "both") for each in clusters(pair, name)]
    assert all(ms_at(each) >= healed_ms for each in ages), "what is told was seen after the month"
    before = (pair.world.cache.revision, pair.region.cache.revision)
    await pair.settle()
    for stored in pair.region.cache.select(REGION_OBJECTS):
        await pair.applies.reconcile(stored.key)
    await pair.settle()
    assert before == (pair.world.cache.revision, pair.region.cache.revision), "then it is quiet"
