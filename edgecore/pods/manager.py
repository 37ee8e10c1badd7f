"""One worker for each pod that this gateway has, had, or still runs something of.

Keeps no data: the pods are those of the edge store, of its records and of the runtime, found again at each start
before anything is dialled. A pod runs because it is in the store; whether there is a link does not matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from edgecore.pods.dead_runs import surplus
from edgecore.pods.deletions import beside
from edgecore.pods.first_look import FirstLook
from edgecore.pods.holding import Stopped
from edgecore.pods.leftovers import remove_leftovers
from edgecore.pods.parts import PodParts
from edgecore.pods.records import PodRecord
from edgecore.pods.resizing import sum_of
from edgecore.pods.sources import GatewayPod, GatewayPods
from edgecore.pods.status import Ending
from edgecore.pods.storage_watch import Limited, StorageWatch
from edgecore.pods.worker import FAILED_AGAIN_S, PodWorker
from edgecore.store.port import META_EPOCH, EdgeBatch
from skerry.errors import NotFoundError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, uid_of
from skerry.objects.trust_bundles import BUNDLES
from skerry.objects.volumes import CLAIMS, VOLUMES
from skerry.waits import until_set

log = logging.getLogger(__name__)

PODS: Final = "pods"
CLEAR_S_MAX: Final = 30.0
"""For finished pods to be cleared away, when room is short."""
ORPHANS_S: Final = 10.0
"""How often it is asked whether unknown containers may go."""
DEAD_LOOK_S: Final = 60.0
"""How often it is looked whether more runs that are over are kept than should be: a kubelet's rhythm."""
INPUTS: Final = frozenset({"configmaps", "secrets", CLAIMS})


class PodManager:
    """Run `run` in a task group; cancelling it stops no container.

    `in_step` says whether the store is known to equal the cloud's view. Containers of pods of which the store knows
    nothing at all (it was lost and made anew) go on until then: they may be wanted.
    """

    def __init__(self, parts: PodParts, in_step: Callable[[], bool]) -> None:
        self._parts = replace(parts, others=self._held_beside)
        self._pods = GatewayPods(parts.store, parts.files)
        self._in_step = in_step
        self._orphans: set[str] = set()
        self._swept = False
        """Directories of unknown pods were looked for."""
        self._workers: dict[str, PodWorker] = {}
        self._keys: dict[str, Key] = {}
        self._look = asyncio.Event()
        self._first: FirstLook | None = None
        """For those that are there at the start."""
        self.under_way = asyncio.Event()
        """Each of those has looked, and asked the runtime for what it needs."""
        self.begun = asyncio.Event()
        """Each of those has looked, and done what it could."""

    @property
    def count(self) -> int:
        """Pods with a worker now."""
        return len(self._workers)

    def has(self, uid: str) -> bool:
        """A worker looks after that pod."""
        return uid in self._workers

    def find(self, key: Key, uid: str = "") -> GatewayPod | None:
        """The pod that somebody means by its name, and perhaps by the uid that the cloud knows."""
        return self._pods.find(key, uid)

    def restart(self, uid: str, attempts: Mapping[str, int]) -> None:
        """End these runs of its containers, and start them again without delay. `has` it."""
        self._workers[uid].restart(attempts)

    def stopped(self, uid: str) -> Stopped | None:
        """Who stopped that pod here, if somebody did. `has` it."""
        return self._workers[uid].stopped

    async def write(self, uid: str, change: Callable[[PodRecord], PodRecord], batch: EdgeBatch) -> None:
        """Commit a change of that pod's record with what else belongs to it. Raises `NotFoundError` where it has gone
        meanwhile."""
        worker = self._workers.get(uid)
        if worker is None:
            raise NotFoundError("the pod has gone from this gateway meanwhile")
        await worker.write(change, batch)

    def refresh(self, uid: str) -> None:
        """Something that the pod's volumes are made of is another now, or is there at last."""
        if uid in self._workers:
            self._workers[uid].poke(retry=True)

    def wake(self, uid: str) -> None:
        """Something may be otherwise with that pod, if it is here."""
        if uid in self._workers:
            self._workers[uid].poke()

    def fence(self, uid: str) -> None:
        """The lease of that pod, if it is here, is over."""
        if uid in self._workers:
            self._workers[uid].fence()

    def end(self, uid: str, ending: Ending, grace_s: float) -> None:
        """End that pod for good: it stays in the store with phase Failed and this reason. `has` it."""
        self._workers[uid].end(ending, grace_s)

    def active(self) -> list[tuple[JsonObject, Path]]:
        """The pods that run, or are to run, and where the logs of each are."""
        return [found for worker in self._workers.values() if (found := worker.active()) is not None]

    async def clear_finished(self) -> int:
        """Take away what finished pods left with the runtime; of how many that was. What takes too long goes on."""
        cleared = [worker.clear() for worker in self._workers.values() if worker.may_be_cleared]
        try:
            async with asyncio.timeout(CLEAR_S_MAX):
                for each in cleared:
                    await each.wait()
        except TimeoutError:
            log.warning("containers of finished pods are not gone yet")
        return len(cleared)

    def clear_surplus(self) -> int:
        """Take away what the longest finished pods left, where more than the limit is kept; of how many pods."""
        pods = [worker.dead for worker in self._workers.values()]
        going = surplus(pods, self._parts.dead, self._parts.clock.wall_ms())
        for uid in going:
            self._workers[uid].clear()
        return len(going)

    async def _bound_dead(self) -> None:
        while True:
            await asyncio.sleep(DEAD_LOOK_S)
            self.clear_surplus()

    async def until_cleared(self, uid: str) -> None:
        """Until nothing is left of an evicted pod but its status."""
        if uid in self._workers:
            await self._workers[uid].until_cleared()

    def _writing(self) -> list[Limited]:
        pods = self._parts.directory / "pods"
        return [Limited(pod=pod, directory=pods / uid_of(pod), logs=logs) for pod, logs in self.active()]

    def _held_beside(self, uid: str) -> Mapping[str, int]:
        return sum_of(worker.holds for other, worker in self._workers.items() if other != uid)

    def refresh_all(self) -> None:
        """The same for every pod."""
        for worker in self._workers.values():
            worker.poke(retry=True)

    def moved(self, address: str) -> None:
        """The gateway is reached by this address from now on: its pods tell it, and those that start hear of it."""
        node = self._parts.node
        if address == node.address:
            return
        self._parts = replace(self._parts, node=replace(node, address=address))
        for worker in self._workers.values():
            worker.move(self._parts.node)

    async def run(self) -> None:
        files = self._parts.files
        stops = [self._parts.store.listen(self._committed), *([files.listen(self._changed)] if files else [])]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear())
                tasks.create_task(self._parts.lent.run(self.wake, self.fence))
                tasks.create_task(self._bound_dead())
                tasks.create_task(StorageWatch(self._parts.runtime, self._writing, self.end).run())
                await self._adopt(tasks)
                self._begin(tasks)
                self._first = None
                tasks.create_task(self._until_begun())
                while True:
                    await self._look_again()
                    self._look.clear()
                    self._begin(tasks)
        finally:
            for stop in stops:
                stop()

    async def _adopt(self, tasks: asyncio.TaskGroup) -> None:
        """Workers for what an earlier agent left: records of pods, and containers."""
        first = self._first = FirstLook()
        for uid, body in self._parts.store.pods():
            record = PodRecord.decode(body)
            self._add(tasks, Key(PODS, record.namespace, record.name), uid, record)
        while True:
            try:
                containers = await self._parts.runtime.list()
                sandboxes = await self._parts.runtime.sandboxes()
                first.tell(containers, sandboxes)
                break
            except UnavailableError as error:
                first.fail()
                log.warning("runtime does not answer runtime=%s reason=%s", self._parts.runtime.name, error)
                await asyncio.sleep(FAILED_AGAIN_S)
        self._orphans = {state.pod_uid for state in (*containers, *sandboxes)} - self._workers.keys()

    async def _until_begun(self) -> None:
        first = [*self._workers.values()]
        for worker in first:
            await worker.under_way.wait()
        self.under_way.set()
        for worker in first:
            await worker.begun.wait()
        self.begun.set()

    async def _look_again(self) -> None:
        await until_set(self._look, within_s=None if self._swept else ORPHANS_S)

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        for key, uid in self._pods.wanted():
            # What a file says now begins when what it said before has ended: both would want the same ports.
            if not (self._pods.is_static(key, uid) and self._has_another(key, uid)):
                self._add(tasks, key, uid, None)
        self._orphans -= self._workers.keys()
        if self._orphans and self._in_step():
            for uid in sorted(self._orphans):
                log.warning("stopping containers of an unknown pod uid=%s", uid)
                self._add(tasks, Key(PODS, "unknown", uid), uid, None)
            self._orphans.clear()
        if not self._swept and self._in_step():
            self._swept = True
            tasks.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Who is known is asked at each directory: a pod's worker is there before its directory is."""
        try:
            await beside(partial(remove_leftovers, self._parts.directory, self._workers))
        except OSError as error:
            log.warning("directories of unknown pods are not looked for reason=%s", error)

    def _has_another(self, key: Key, uid: str) -> bool:
        return any(held == key and other != uid for other, held in self._keys.items())

    def _add(self, tasks: asyncio.TaskGroup, key: Key, uid: str, record: PodRecord | None) -> None:
        if uid not in self._workers:
            worker = self._workers[uid] = PodWorker(self._parts, key, uid, record, self._first)
            self._keys[uid] = key
            tasks.create_task(self._work(uid, worker))

    async def _work(self, uid: str, worker: PodWorker) -> None:
        await worker.run()
        del self._workers[uid], self._keys[uid]
        for other in self._workers.values():
            if other.is_deferred:
                other.poke()
        self._look.set()  # it may have come back while its end was written down

    async def _hear(self) -> None:
        async for uid in self._parts.runtime.changes():
            if uid in self._workers:
                self._workers[uid].poke()

    def _changed(self, files: frozenset[Key]) -> None:
        """Files say something else."""
        self._look.set()
        for uid, key in self._keys.items():
            if key in files:
                self._workers[uid].poke(retry=True)

    def _committed(self, batch: EdgeBatch) -> None:
        changed = [*(held.key for held in batch.puts), *batch.deletes]
        pods = {key for key in changed if key.resource == PODS}
        inputs = {key.namespace for key in changed if key.resource in INPUTS}
        if pods:
            self._look.set()
        restored = any(name == META_EPOCH for name, _ in batch.meta)
        volumes = any(key.resource in (VOLUMES, BUNDLES) for key in changed)
        for uid, key in self._keys.items():
            if key in pods or key.namespace in inputs or volumes:
                self._workers[uid].poke(retry=True)
            elif restored:
                self._workers[uid].poke()
