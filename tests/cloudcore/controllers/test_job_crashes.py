"""Jobs under a controller that crashes at any of its writes: no pod is counted twice, and none is lost.

What happens follows from a seed. Gateways end pods, well or not, and people delete some, in the middle of it all.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from cloudcore.controllers.job.controller import JobController
from cloudcore.controllers.job.model import TRACKING, is_finished
from cloudcore.registry.bodies import object_of
from cloudcore.runtime.informer import INDEXES
from cloudcore.store.cache import following
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Batch
from skerry.errors import ConflictError, NotFoundError, UnavailableError
from skerry.objects.meta import Revision
from skerry.objects.times import time_text
from tests.cloudcore.controllers.test_job import NODE, job
from tests.cloudcore.worlds import World

SEEDS = range(24)


class Mortal(MemoryStore):
    """Takes so many writes, and then none until it is revived."""

    left: int | None = None

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        if self.left == 0:
            raise UnavailableError("crashed")
        if self.left is not None:
            self.left -= 1
        return await super().commit(batch)


class Story:
    """One Job, from its beginning to its end."""

    def __init__(self, world: World, store: Mortal, chance: random.Random, *, indexed: bool) -> None:
        self.world, self.store, self.chance, self.indexed = world, store, chance, indexed
        self.ended: dict[str, str] = {}
        """How each pod ended, by uid: as its gateway told it, or by its deletion, whichever came first."""
        self.controller = JobController(world.tools)

    async def passes(self, *, crash: bool) -> None:
        """A pass, perhaps cut short by a crash, after which another process goes on."""
        self.store.left = self.chance.randrange(6) if crash else None
        try:
            for key in [self.world.key("jobs.batch", "sum"), *(pod.key for pod in self.world.objects.select("pods"))]:
                await self.controller.reconcile(key)
        except* (UnavailableError, ConflictError, NotFoundError):
            self.controller = JobController(self.world.tools)
        self.store.left = None

    async def strike(self) -> None:
        """Something happens to a pod."""
        pods = [pod for pod in self.world.all("pods") if pod["status"]["phase"] in ("Pending", "Running")]
        if not pods:
            return
        pod = self.chance.choice(pods)
        name, uid, deleting = pod["metadata"]["name"], pod["metadata"]["uid"], "deletionTimestamp" in pod["metadata"]
        match self.chance.randrange(5):
            case 0 if not deleting:
                self.ended.setdefault(uid, "failed")
                await self.world.delete("pods", name)
            case 1 | 2:
                self.ended.setdefault(uid, "failed")
                await self._told(name, "Failed", 1)
            case _:
                self.ended.setdefault(uid, "failed" if deleting else "succeeded")
                await self._told(name, "Failed" if deleting else "Succeeded", int(deleting))

    async def _told(self, name: str, phase: str, code: int) -> None:
        terminated = {"exitCode": code, "finishedAt": time_text(self.world.clock.wall_ms())}
        statuses = [{"name": "c", "state": {"terminated": terminated}}]
        await self.world.set_status("pods", name, phase=phase, containerStatuses=statuses)

    @property
    def job(self) -> Any:
        return self.world.get("jobs.batch", "sum")


async def tell(seed: int, *, indexed: bool) -> Story:
    chance = random.Random(seed)
    store = Mortal(MemoryState(epoch="e1"))
    async with following(store, indexes=INDEXES) as cache:
        story = Story(World(store, cache, (), real_rules=True), store, chance, indexed=indexed)
        await story.world.create("nodes", NODE)
        more: Any = {"completionMode": "Indexed"} if indexed else {}
        await story.world.create("jobs.batch", job(completions=5, parallelism=3, backoffLimit=1000, **more))
        for _ in range(400):
            await story.passes(crash=chance.randrange(3) > 0)
            for _ in range(chance.randrange(3)):
                await story.strike()
            story.world.clock.advance(chance.choice((0, 5, 600)))
            if is_finished(story.job):
                break
        for _ in range(5):
            await story.passes(crash=False)
        assert is_finished(story.job), story.job["status"]
        await check(story, store)
        return story


async def check(story: Story, store: Mortal) -> None:
    status = story.job["status"]
    told = list(story.ended.values())
    assert status.get("failed", 0) == told.count("failed"), (status, story.ended)
    if story.indexed:
        assert (status["completedIndexes"], status["succeeded"]) == ("0-4", 5)
    else:
        assert status["succeeded"] == told.count("succeeded")
    assert status["succeeded"] == 5
    assert status["uncountedTerminatedPods"] == {}
    assert not any(TRACKING in pod["metadata"].get("finalizers", []) for pod in story.world.all("pods"))
    before = (0, 0)
    for change in await store.changes(after=Revision(0), limit=100_000):
        if change.key.resource == "jobs.batch" and change.after is not None:
            now: Any = object_of(change.after).get("status") or {}
            counters = (now.get("succeeded", 0), now.get("failed", 0))
            assert counters[0] >= before[0] and counters[1] >= before[1], "a counter fell"
            before = counters


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("indexed", [False, True])
async def test_each_pod_counts_once_however_often_the_controller_crashes(seed: int, *, indexed: bool) -> None:
    await tell(seed, indexed=indexed)
