"""Keeps each ReplicaSet at its number of pods.

Keeps no data of its own. Reads after a write see that write, and a key has one worker at a time, so that a pass
counts the pods the pass before it made: no expectations are needed (docs/decisions/0010). A crash in the middle
leaves some of the pods made; the next start counts and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from cloudcore.controllers.claiming import claim_all, owned
from cloudcore.controllers.replicaset.plan import (
    Failure,
    Plan,
    new_pod,
    next_available_s,
    plan,
    status_of,
)
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import BY_OWNER, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import CallerError, NotFoundError
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, controller_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.select import label_selector

RESOURCE = "replicasets.apps"


class ReplicaSetController:
    """See the module."""

    name = "replicaset-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pods = tools.kind("pods")
        self._sets = tools.kind(RESOURCE)
        self._events = tools.recorder(self.name)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource=RESOURCE, keys=lambda change: [change.key]), Keys(resource="pods", keys=self._of_pod)]

    def _of_pod(self, change: Seen) -> Iterable[Key]:
        """The set that controls the pod, or controlled it, or might adopt it."""
        namespace = change.key.namespace
        for pod in (change.before, change.after):
            controller = None if pod is None else controller_of(pod)
            if controller is not None and controller.kind == "ReplicaSet":
                yield Key(RESOURCE, namespace, controller.name)
        if change.after is not None and controller_of(change.after) is None:
            yield from self._sets_matching(namespace, change.after)

    def _sets_matching(self, namespace: str, pod: JsonObject) -> Iterable[Key]:
        labels = labels_of(pod)
        for stored in self._tools.cache.select(RESOURCE, namespace=namespace):
            if label_selector(map_at(self._tools.cache.obj(stored), "spec", "selector")).matches(labels):
                yield stored.key

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        replica_set = self._tools.cache.obj(stored)
        await claim_all(self._tools, replica_set, self._pods)
        pods = owned(self._tools, replica_set, self._pods)
        failure = await self._carry_out(replica_set, plan(replica_set, pods, self._related(replica_set)))
        pods = owned(self._tools, replica_set, self._pods)
        now_ms = self._tools.clock.wall_ms()
        await self._tell(key, replica_set, status_of(replica_set, pods, failure, now_ms=now_ms))
        if failure is not None:
            raise UnfinishedError(failure.message)
        return next_available_s(replica_set, pods, now_ms=now_ms)

    def _related(self, replica_set: JsonObject) -> list[JsonObject]:
        """Pods of the other sets of the same Deployment: a node with many of them is left first."""
        owner = controller_of(replica_set)
        if owner is None:
            return []
        cache = self._tools.cache
        sisters = [item.uid for item in cache.indexed(BY_OWNER, owner.uid) if item.key.resource == RESOURCE]
        others = [item for uid in sisters if uid != uid_of(replica_set) for item in cache.indexed(BY_OWNER, uid)]
        return [cache.obj(item) for item in others if item.key.resource == "pods"]

    async def _carry_out(self, replica_set: JsonObject, step: Plan) -> Failure | None:
        """Create in batches of 1, 2, 4 ...: when everything is refused (a quota), little was tried in vain."""
        left = step.create
        batch = 1
        while left > 0:
            count = min(batch, left)
            async with asyncio.TaskGroup() as tasks:
                tries = [tasks.create_task(self._create(replica_set)) for _ in range(count)]
            refusal = next((found for found in (done.result() for done in tries) if found is not None), None)
            if refusal is not None:
                return refusal
            left -= count
            batch *= 2
        async with asyncio.TaskGroup() as tasks:
            for pod in step.delete:
                tasks.create_task(self._delete(replica_set, pod))
        return None

    async def _create(self, replica_set: JsonObject) -> Failure | None:
        try:
            written = await self._tools.objects.create(self._pods, namespace_of(replica_set), new_pod(replica_set))
        except CallerError as error:
            message = f"Error creating: {error}"
            await self._events.say(replica_set, Saying(type="Warning", reason="FailedCreate", message=message))
            return Failure(reason="FailedCreate", message=str(error))
        message = f"Created pod: {name_of(written.obj)}"
        await self._events.say(replica_set, Saying(type="Normal", reason="SuccessfulCreate", message=message))
        return None

    async def _delete(self, replica_set: JsonObject, pod: JsonObject) -> None:
        try:
            await self._tools.objects.delete(self._pods, self._key(pod), DeleteOptions(uid=uid_of(pod)))
        except NotFoundError:
            # Somebody else was faster; that is what was wanted.
            return
        message = f"Deleted pod: {name_of(pod)}"
        await self._events.say(replica_set, Saying(type="Normal", reason="SuccessfulDelete", message=message))

    async def _tell(self, key: Key, replica_set: JsonObject, status: JsonObject) -> None:
        if status == map_at(replica_set, "status"):
            return
        uid = uid_of(replica_set)

        def told(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid else current

        try:
            await self._tools.objects.update(self._sets, key, told, subresource="status")
        except NotFoundError:
            # Deleted meanwhile: nobody is left to tell.
            return

    def _key(self, pod: JsonObject) -> Key:
        return self._pods.key(namespace_of(pod), name_of(pod))
