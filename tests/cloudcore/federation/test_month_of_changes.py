"""A region that is cut off for a month in which everything is changed on both sides: placed elsewhere and back,
deleted and made anew, disabled and enabled, rolled out and pruned. Healed, it has what is declared, and is told what
was there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    REGION_OBJECTS,
    REVISIONS,
    ROLLOUT_POLICIES,
    TYPES,
)
from skerry.objects.meta import uid_of
from skerry.objects.times import time_text
from tests.cloudcore.federation.test_partitions import FEDERATED, Two, federated, two

DAYS = 30
PRUNED = 3
"""Versions that are kept."""
NAMES = (
    "again",
    "elsewhere",
    "anew",
    "gone",
    "theirs",
    "removed",
    "versions",
    "disabled",
    "while-disabled",
    "both-anew",
)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def declare(pair: Two, name: str, value: str, *, here: bool = True) -> None:
    made = federated(name, 0, here=here)
    made["spec"]["template"]["data"]["v"] = value
    if pair.world.get(FEDERATED, name) is None:
        await pair.world.create(FEDERATED, made)
    else:
        await pair.world.update(FEDERATED, name, lambda obj: {**obj, "spec": made["spec"]})


async def propagation(pair: Two, word: str) -> None:
    key = pair.world.kind(TYPES).key(NAMESPACE, "configmaps")
    changed = lambda obj: {**obj, "spec": {**obj["spec"], "propagation": word}}  # noqa: E731
    await pair.world.objects.update(pair.world.kind(TYPES), key, changed)


async def by_hand(pair: Two, name: str, value: str) -> None:
    """Somebody in the region deletes it, and makes one of his own of that name."""
    await pair.region.delete("configmaps", name)
    await pair.region.create("configmaps", {"metadata": {"name": name}, "data": {"v": value}})


async def day_of(pair: Two, day: int) -> None:
    """What happens on it, on both sides."""
    await declare(pair, "versions", f"version {day}")
    match day:
        case 2:
            for name in ("again", "elsewhere"):
                await declare(pair, name, "away", here=False)
            await pair.world.delete(FEDERATED, "anew")
            await pair.world.delete(FEDERATED, "both-anew")
            await pair.world.delete(FEDERATED, "gone")
        case 4:
            await by_hand(pair, "theirs", "of their own")
            await by_hand(pair, "both-anew", "of their own")
            await pair.region.delete("configmaps", "removed")
        case 6:
            await declare(pair, "again", "back")
            await declare(pair, "anew", "of another life")
            await declare(pair, "both-anew", "of another life")
        case 9:
            await propagation(pair, "Disabled")
        case 10:
            await declare(pair, "disabled", "changed while disabled")
            await pair.world.delete(FEDERATED, "while-disabled")
        case 20:
            await propagation(pair, "Enabled")
        case _:
            return


async def heard(pair: Two, *, ready: bool) -> None:
    pair.up = ready
    word, now = ("True" if ready else "False"), time_text(pair.world.clock.wall_ms())
    condition: Any = {"type": "Ready", "status": word, "lastTransitionTime": now}
    kind = pair.world.kind(MEMBERS)
    told = lambda obj: {**obj, "status": {**obj.get("status", {}), "conditions": [condition]}}  # noqa: E731
    await pair.world.objects.update(kind, kind.key(NAMESPACE, "r"), told, subresource="status")


async def healed(pair: Two) -> None:
    await heard(pair, ready=True)
    await pair.settle()
    for stored in pair.region.cache.select(REGION_OBJECTS):
        await pair.applies.reconcile(stored.key)
    await pair.settle()


async def test_a_month_of_changes_on_both_sides_ends_as_is_declared_and_nothing_is_overwritten_silently(
    stack: AsyncExitStack,
) -> None:
    pair = await two(stack)
    await heard(pair, ready=True)
    targets = [{"kind": "FederatedConfigMap", "name": "versions"}]
    waves = {"waves": [{"name": "all", "clusterSelector": {}}], "revisionHistoryLimit": PRUNED}
    policy = {"targets": targets, **waves, "minReadySeconds": 0}
    await pair.world.create(ROLLOUT_POLICIES, {"metadata": {"name": "p"}, "spec": policy})
    for name in NAMES:
        await declare(pair, name, "before")
    await pair.settle()
    assert set(pair.there()) == set(NAMES)
    kept = {name: uid_of(pair.region.get("configmaps", name)) for name in ("again", "versions", "disabled")}
    await heard(pair, ready=False)
    for day in range(DAYS):
        for world in (pair.world, pair.region):
            world.clock.advance(86_400)
        await day_of(pair, day)
        await pair.settle()
        for world in (pair.world, pair.region):
            await world.store.compact(world.cache.revision)
        if day == DAYS // 2:
            pair.restart()
    alone = {name: pair.region.get("configmaps", name) for name in NAMES}
    assert {name for name, obj in alone.items() if obj is None} == {"removed"}, "silence removes nothing"
    assert len(pair.world.all(REVISIONS)) <= PRUNED + 2, "a month of versions is pruned"

    await healed(pair)
    assert pair.there() == {
        "again": {"v": "back"},
        "anew": {"v": "of another life"},
        "both-anew": {"v": "of another life"},
        "theirs": {"v": "before"},
        "removed": {"v": "before"},
        "versions": {"v": f"version {DAYS - 1}"},
        "disabled": {"v": "changed while disabled"},
    }
    assert {name: uid_of(pair.region.get("configmaps", name)) for name in kept} == kept, "none was made anew for it"
    left = {row["spec"]["object"]["name"] for row in pair.world.all(MEMBER_OBJECTS)} - {"d"}
    assert left == set(pair.there()), "all tombstones are carried out"
    said = "\n".join(event["message"] for event in pair.region.all("events"))
    told: dict[str, Any] = {
        name: [each["found"] for each in cluster.get("drift", [])]
        for name in ("theirs", "both-anew", "removed")
        for cluster in pair.world.get(FEDERATED, name)["status"]["clusters"]
    }
    assert told["theirs"] == ['"of their own"'] and told["both-anew"] == ['"of their own"']
    assert told["removed"], "that somebody deleted it is told"
    assert said.count("of their own") >= 2, "and read where he works"
    await healed(pair)
    revision = pair.world.cache.revision, pair.region.cache.revision
    await pair.settle()
    for stored in pair.region.cache.select(REGION_OBJECTS):
        await pair.applies.reconcile(stored.key)
    await pair.settle()
    assert (pair.world.cache.revision, pair.region.cache.revision) == revision, "then it is quiet"
