"""Keeps each ReplicaSet, and each ReplicationController, at its number of pods.

Keeps no data of its own. Reads after a write see that write, and a key has one worker at a time, so that a pass
counts the pods the pass before it made: no expectations are needed (docs/decisions/0010). A crash in the middle
leaves some of the pods made; the next start counts and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.controllers.claiming import claim_all, claimants, owned
from cloudcore.controllers.pod_templates import Failure, templated_pod
from cloudcore.controllers.pod_writing import PodWriter
from cloudcore.controllers.replicaset.plan import (
    Plan,
    next_available_s,
    plan,
    status_of,
)
from cloudcore.runtime.informer import BY_OWNER, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, controller_of, uid_of

RESOURCE = "replicasets.apps"


class ReplicaSetController:
    """See the module."""

    name = "replicaset-controller"
    workers = 5
    resource = RESOURCE

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pods = tools.kind("pods")
        self._sets = tools.kind(self.resource)
        self._writer = PodWriter(tools, tools.recorder(self.name))

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=self.resource, keys=lambda change: [change.key]),
            Keys(resource="pods", keys=self._of_pod),
        ]

    def _of_pod(self, change: Seen) -> Iterable[Key]:
        return claimants(self._tools, self._sets, change)

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
        sisters = [item.uid for item in cache.indexed(BY_OWNER, owner.uid) if item.key.resource == self.resource]
        others = [item for uid in sisters if uid != uid_of(replica_set) for item in cache.indexed(BY_OWNER, uid)]
        return [cache.obj(item) for item in others if item.key.resource == "pods"]

    async def _carry_out(self, replica_set: JsonObject, step: Plan) -> Failure | None:
        template = map_at(replica_set, "spec", "template")
        failure = await self._writer.create_all(replica_set, [templated_pod(replica_set, template)] * step.create)
        if failure is None:
            await self._writer.delete_all(replica_set, step.delete)
        return failure

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


class ReplicationControllerController(ReplicaSetController):
    """The same for the older kind, which differs in its name and in the form of its selector."""

    name = "replication-controller"
    resource = "replicationcontrollers"
