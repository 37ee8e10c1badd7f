"""Begins the Jobs of each CronJob at their times.

Keeps nothing. A Job is made under a name that its minute gives it, and noted in the status after that: after a crash
in between it is found by its name, and never made twice. Times are by the cloud's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.controllers.cronjob.plan import Said, new_job, plan, with_begun, without
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import BY_OWNER, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import AlreadyExistsError, CallerError, ConflictError, NotFoundError
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, controller_of, name_of, namespace_of, uid_of

CRON_JOBS: Final = "cronjobs.batch"
_JOBS: Final = "jobs.batch"
_LATER_S_MAX: Final = 300.0
"""How late a Job begins at most when the cloud's clock is put forward meanwhile."""


class CronJobController:
    """See the module."""

    name = "cronjob-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(CRON_JOBS)
        self._jobs = tools.kind(_JOBS)
        self._events = tools.recorder(self.name)

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=CRON_JOBS, keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource=_JOBS, keys=self._of_job),
        ]

    def _of_job(self, change: Seen) -> Iterable[Key]:
        for job in (change.before, change.after):
            controller = None if job is None else controller_of(job)
            if controller is not None and controller.kind == "CronJob":
                yield Key(CRON_JOBS, change.key.namespace, controller.name)

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        cron = self._tools.cache.obj(stored)
        now_ms = self._tools.clock.wall_ms()
        step = plan(cron, self._controlled(cron), now_ms=now_ms)
        for said in step.said:
            await self._say(cron, said)
        status = step.status
        for reference in step.replaced:
            await self._end(cron, str_at(reference, "name"), str_at(reference, "uid"))
            status = without(status, str_at(reference, "uid"))
        failure = ""
        if step.begins_ms is not None:
            status, failure = await self._begin(cron, status, step.begins_ms)
        for job in step.forget:
            await self._end(cron, name_of(job), uid_of(job))
        await self._tell(cron, status)
        if failure:
            raise UnfinishedError(failure)
        return None if step.again_ms is None else min(max(step.again_ms - now_ms, 1) / 1000, _LATER_S_MAX)

    def _controlled(self, cron: JsonObject) -> list[JsonObject]:
        cache = self._tools.cache
        items = [item for item in cache.indexed(BY_OWNER, uid_of(cron)) if item.key.resource == _JOBS]
        jobs = [cache.obj(item) for item in items]
        return [job for job in jobs if (owner := controller_of(job)) is not None and owner.uid == uid_of(cron)]

    async def _begin(self, cron: JsonObject, status: JsonObject, at_ms: int) -> tuple[JsonObject, str]:
        """The status with the Job of that time, and why there is none; "" where there is."""
        wanted = new_job(cron, at_ms)
        try:
            made = (await self._tools.objects.create(self._jobs, namespace_of(cron), wanted)).obj
        except AlreadyExistsError:
            return self._found(cron, status, name_of(wanted), at_ms), ""
        except CallerError as error:
            await self._say(cron, Said("FailedCreate", f"Error creating job: {error}", warning=True))
            return status, str(error)
        await self._say(cron, Said("SuccessfulCreate", f"Created job {name_of(made)}"))
        return with_begun(status, made, at_ms), ""

    def _found(self, cron: JsonObject, status: JsonObject, name: str, at_ms: int) -> JsonObject:
        """A Job of that name is there: ours, made before a crash, or somebody else's, which is left alone."""
        stored = self._tools.cache.read(self._jobs.key(namespace_of(cron), name))
        job = None if stored is None else self._tools.cache.obj(stored)
        owner = None if job is None else controller_of(job)
        if job is None or owner is None or owner.uid != uid_of(cron):
            return status
        return with_begun(status, job, at_ms)

    async def _end(self, cron: JsonObject, name: str, uid: str) -> None:
        key = self._jobs.key(namespace_of(cron), name)
        try:
            await self._tools.objects.delete(self._jobs, key, DeleteOptions(uid=uid, propagation="Background"))
        except (NotFoundError, ConflictError):
            # It is gone, and the name perhaps another's.
            return
        await self._say(cron, Said("SuccessfulDelete", f"Deleted job {name}"))

    async def _tell(self, cron: JsonObject, status: JsonObject) -> None:
        if status == map_at(cron, "status"):
            return
        key = self._kind.key(namespace_of(cron), name_of(cron))
        told: JsonObject = {**cron, "status": status}
        try:
            await self._tools.objects.update(self._kind, key, lambda _: told, subresource="status")
        except NotFoundError:
            # Deleted meanwhile: nobody is left to tell.
            return

    async def _say(self, cron: JsonObject, said: Said) -> None:
        kind = "Warning" if said.warning else "Normal"
        await self._events.say(cron, Saying(type=kind, reason=said.reason, message=said.message))
