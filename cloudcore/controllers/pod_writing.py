"""Makes and deletes the pods of one owner, and tells of each by an Event of the owner's. Keeps nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from cloudcore.controllers.pod_templates import Failure
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.events import EventRecorder, Saying
from cloudcore.runtime.manager import Tools
from skerry.errors import CallerError, NotFoundError
from skerry.objects.json import JsonObject
from skerry.objects.meta import name_of, namespace_of, uid_of


class PodWriter:
    """See the module. Events are those of Kubernetes' `pkg/controller` (RealPodControl)."""

    def __init__(self, tools: Tools, events: EventRecorder) -> None:
        self._tools = tools
        self._kind = tools.kind("pods")
        self._events = events

    async def create_all(self, owner: JsonObject, pods: Sequence[JsonObject]) -> Failure | None:
        """In batches of 1, 2, 4 ...: when everything is refused (a quota), little was tried in vain. A refusal
        ends it, and is returned."""
        done, batch = 0, 1
        while done < len(pods):
            coming = pods[done : done + batch]
            async with asyncio.TaskGroup() as tasks:
                tries = [tasks.create_task(self._create(owner, pod)) for pod in coming]
            refusal = next((found for found in (each.result() for each in tries) if found is not None), None)
            if refusal is not None:
                return refusal
            done += len(coming)
            batch *= 2
        return None

    async def delete_all(self, owner: JsonObject, pods: Iterable[JsonObject]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for pod in pods:
                tasks.create_task(self._delete(owner, pod))

    async def _create(self, owner: JsonObject, pod: JsonObject) -> Failure | None:
        try:
            written = await self._tools.objects.create(self._kind, namespace_of(owner), pod)
        except CallerError as error:
            message = f"Error creating: {error}"
            await self._events.say(owner, Saying(type="Warning", reason="FailedCreate", message=message))
            return Failure(reason="FailedCreate", message=str(error))
        message = f"Created pod: {name_of(written.obj)}"
        await self._events.say(owner, Saying(type="Normal", reason="SuccessfulCreate", message=message))
        return None

    async def _delete(self, owner: JsonObject, pod: JsonObject) -> None:
        key = self._kind.key(namespace_of(pod), name_of(pod))
        try:
            await self._tools.objects.delete(self._kind, key, DeleteOptions(uid=uid_of(pod)))
        except NotFoundError:
            # Somebody else was faster; that is what was wanted.
            return
        message = f"Deleted pod: {name_of(pod)}"
        await self._events.say(owner, Saying(type="Normal", reason="SuccessfulDelete", message=message))
