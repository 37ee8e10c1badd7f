"""Runs each Job to its end.

Keeps what it has read of each pod (`observing`), when a Job of many pods may be looked at again (`pace`), and what it
has seen of each Job's failures, for the while that it waits before a pod is replaced; after a crash, or with another
leader, that is what the pods that are there still tell. Everything else is in the Job's status and in
its pods' finalizers (`status`): whatever was done before a crash is found again. Reads after a write see that write,
and a key has one worker at a time: no expectations are needed (docs/decisions/0010).

A pod whose gateway is silent goes on: it has not failed, nothing replaces it, and its end counts when it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cloudcore.controllers.claiming import claim_all
from cloudcore.controllers.garbage.plan import without_finalizer
from cloudcore.controllers.job.backoff import Record, recalled
from cloudcore.controllers.job.model import (
    JOBS,
    TRACKING,
    Job,
    JobPod,
    is_finished,
    is_ours,
    is_tracked,
    read_job,
)
from cloudcore.controllers.job.observing import Observer
from cloudcore.controllers.job.plan import Step, plan
from cloudcore.controllers.job.pods import new_pod
from cloudcore.controllers.job.status import Said, counted, settled
from cloudcore.controllers.ownership import selector_of, selects, with_finalizer
from cloudcore.controllers.pace import Pace
from cloudcore.controllers.pod_templates import Failure
from cloudcore.controllers.pod_writing import PodWriter
from cloudcore.registry.job_selectors import lacks_selector
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import BY_OWNER, PODS_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import BadRequestError, InvalidError, NotFoundError
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, being_deleted, controller_of, name_of, namespace_of, uid_of

PODS: Final = "pods"
_LATER_S_MAX: Final = 3600.0
"""A deadline may be farther away than anybody can wait for at once."""


class JobController:
    """See the module."""

    name = "job-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pods = tools.kind(PODS)
        self._jobs = tools.kind(JOBS)
        self._events = tools.recorder(self.name)
        self._writer = PodWriter(tools, self._events)
        self._records: dict[str, Record] = {}
        """By the uid of the Job, as long as that is under way."""
        self._observer = Observer(tools)
        self._pace = Pace()

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=JOBS, keys=self._of_job),
            Keys(resource=PODS, keys=self._of_pod),
            Keys(resource="nodes", keys=self._of_node),
        ]

    def _of_job(self, change: Seen) -> Iterable[Key]:
        """The Job; and of one that is gone, the pods that nobody counts any more."""
        if not change.deleted:
            return [change.key]
        uid = uid_of(change.last)
        self._records.pop(uid, None)
        return [change.key] + [
            item.key for item in self._tools.cache.indexed(BY_OWNER, uid) if item.key.resource == PODS
        ]

    def _of_pod(self, change: Seen) -> Iterable[Key]:
        """The Job that controls the pod, or controlled it, or might adopt it; and the pod, if its end is to be
        counted and nobody may be there to do it."""
        namespace = change.key.namespace
        for pod in (change.before, change.after):
            controller = None if pod is None else controller_of(pod)
            if controller is not None and controller.kind == "Job":
                yield Key(JOBS, namespace, controller.name)
        if change.after is None:
            return
        controller = controller_of(change.after)
        if controller is None:
            yield from self._matching(change.after)
        if is_tracked(change.after) and (controller is None or controller.kind == "Job"):
            yield change.key

    def _of_node(self, change: Seen) -> Iterable[Key]:
        """Nobody will tell how pods ended whose node is no more."""
        if not change.deleted:
            return
        for item in self._tools.cache.indexed(PODS_BY_NODE, change.key.name):
            controller = controller_of(self._tools.cache.obj(item))
            if controller is not None and controller.kind == "Job":
                yield Key(JOBS, item.key.namespace, controller.name)

    def _matching(self, pod: JsonObject) -> Iterable[Key]:
        """The Jobs under way that select the pod. One that is being deleted adopts nothing."""
        cache = self._tools.cache
        for stored in cache.select(JOBS, namespace=namespace_of(pod)):
            job = cache.obj(stored)
            if not is_finished(job) and not being_deleted(job) and is_ours(job) and selects(job, pod):
                yield stored.key

    async def reconcile(self, key: Key) -> float | None:
        if key.resource == PODS:
            await self._let_go(key)
            return None
        stored = self._tools.cache.read(key)
        if stored is None:
            self._forget(key)
            return None
        obj = self._tools.cache.obj(stored)
        if not is_ours(obj):
            return None
        if is_finished(obj):
            self._records.pop(uid_of(obj), None)
            self._forget(key)
            await self._let_all_go(obj)
            return None
        try:
            if lacks_selector(obj):
                # It was written when nothing acted on Jobs yet: writing it again gives it what it lacks.
                await self._tools.objects.update(self._jobs, key, lambda current: current)
                return None
            selector_of(obj)
        except (BadRequestError, InvalidError) as error:
            # Nobody judged it when it was written. Its next change is a reason to look again, and nothing else is.
            await self._say(
                obj, Said("InvalidSelector", f"Pods can neither be found nor made: {error}", warning=True)
            )
            if being_deleted(obj):
                await self._let_all_go(obj)
            return None
        wait_s = self._pace.wait_s(key, now_s=self._tools.clock.monotonic_s())
        if wait_s > 0:
            return wait_s
        await claim_all(self._tools, obj, self._pods, finalizer=TRACKING)
        return await self._pass(key, obj)

    def _forget(self, key: Key) -> None:
        self._observer.forget(key)
        self._pace.forget(key)

    async def _pass(self, key: Key, obj: JsonObject) -> float | None:
        job = read_job(obj)
        began_s = self._tools.clock.monotonic_s()
        pods = await self._observer.observe(key, job)
        now_ms = self._tools.clock.wall_ms()
        record = self._records.get(uid_of(obj))
        step = plan(job, pods, recalled(pods, now_ms=now_ms) if record is None else record, now_ms=now_ms)
        count = counted(job, pods, step, now_ms=now_ms)
        self._pace.looked(key, size=len(pods), began_s=began_s, now_s=self._tools.clock.monotonic_s())
        if count.release or step.end:
            # Before anything is done: after a crash it is found there.
            obj = await self._tell(obj, count.status)
        self._records[uid_of(obj)] = step.record
        failure = await self._carry_out(job, step)
        await self._release(count.release)
        job = read_job({**obj, "status": count.status})
        status, news = settled(job, await self._observer.observe(key, job), step, now_ms=now_ms)
        obj = await self._tell(obj, status)
        for said in news:
            await self._say(obj, said)
        if failure is not None:
            raise UnfinishedError(failure.message)
        return None if step.again_ms is None else min(max(step.again_ms - now_ms, 1) / 1000, _LATER_S_MAX)

    async def _carry_out(self, job: Job, step: Step) -> Failure | None:
        await self._writer.delete_all(job.obj, [pod.obj for pod in step.end])
        async with asyncio.TaskGroup() as tasks:
            for pod in step.track:
                tasks.create_task(self._write_finalizers(pod.obj, with_finalizer))
        # What is too much never counts: what would count goes first.
        await self._release(step.drop)
        await self._writer.delete_all(job.obj, [pod.obj for pod in step.drop])
        return await self._writer.create_all(job.obj, [new_pod(job, new) for new in step.make])

    async def _release(self, pods: Iterable[JobPod]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for pod in pods:
                if pod.tracked:
                    tasks.create_task(self._write_finalizers(pod.obj, without_finalizer))

    async def _write_finalizers(self, pod: JsonObject, write: Callable[[JsonObject, str], JsonObject]) -> None:
        uid = uid_of(pod)

        def written(current: JsonObject) -> JsonObject:
            return write(current, TRACKING) if uid_of(current) == uid else current

        try:
            await self._tools.objects.update(self._pods, self._pods.key(namespace_of(pod), name_of(pod)), written)
        except NotFoundError:
            # It is gone, and its finalizer with it.
            return

    async def _let_go(self, key: Key) -> None:
        """Nobody counts the pod, whose Job is gone or never was."""
        stored = self._tools.cache.read(key)
        pod = None if stored is None else self._tools.cache.obj(stored)
        if pod is None or not is_tracked(pod):
            return
        controller = controller_of(pod)
        if controller is None:
            is_left = next(iter(self._matching(pod)), None) is None
        else:
            job = self._tools.cache.read(Key(JOBS, key.namespace, controller.name))
            is_left = controller.kind == "Job" and (job is None or job.uid != controller.uid)
        if is_left:
            await self._write_finalizers(pod, without_finalizer)

    async def _let_all_go(self, job: JsonObject) -> None:
        """Nobody will count any more of its pods, whatever their labels."""
        cache, uid = self._tools.cache, uid_of(job)
        found = [cache.obj(item) for item in cache.indexed(BY_OWNER, uid) if item.key.resource == PODS]
        async with asyncio.TaskGroup() as tasks:
            for pod in found:
                controller = controller_of(pod)
                if is_tracked(pod) and controller is not None and controller.uid == uid:
                    tasks.create_task(self._write_finalizers(pod, without_finalizer))

    async def _tell(self, obj: JsonObject, status: JsonObject) -> JsonObject:
        """The Job as it is then. Raises `ConflictError` where somebody else changed it: what was decided on what it
        was is not written over that."""
        if status == map_at(obj, "status"):
            return obj
        key = self._jobs.key(namespace_of(obj), name_of(obj))
        told: JsonObject = {**obj, "status": status}
        try:
            return (await self._tools.objects.update(self._jobs, key, lambda _: told, subresource="status")).obj
        except NotFoundError:
            # Deleted meanwhile: nobody is left to tell.
            return told

    async def _say(self, obj: JsonObject, said: Said) -> None:
        kind = "Warning" if said.warning else "Normal"
        await self._events.say(obj, Saying(type=kind, reason=said.reason, message=said.message))
