"""Keeps each DaemonSet at one pod on each node that it is for, and rolls its updates.

Keeps in memory how often pods have failed on a node of late. All else is in the objects: a crash between two writes
leaves a step half done, and the next pass plans from what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.controllers.claiming import claim_all, claimants, owned
from cloudcore.controllers.daemonset.failures import Failures
from cloudcore.controllers.daemonset.model import (
    DaemonPod,
    DaemonSet,
    Observed,
    daemon_set,
    new_pod,
)
from cloudcore.controllers.daemonset.nodes import node_facts
from cloudcore.controllers.daemonset.observing import Observer
from cloudcore.controllers.daemonset.plan import Plan, manage, roll
from cloudcore.controllers.daemonset.status import news, soonest_s, status_of
from cloudcore.controllers.history.keeping import RESOURCE as REVISIONS
from cloudcore.controllers.history.keeping import RevisionKeeper
from cloudcore.controllers.history.revisions import HASH, Revision, expired
from cloudcore.controllers.ownership import selector_of, with_metadata
from cloudcore.controllers.pace import Pace
from cloudcore.controllers.pod_templates import Failure
from cloudcore.controllers.pod_writing import PodWriter
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import NotFoundError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, labels_of, name_of, namespace_of, uid_of

RESOURCE = "daemonsets.apps"
BURST_MAX = 250
"""Pods created or deleted in one pass, as in Kubernetes; the next pass goes on."""


class DaemonSetController:
    """See the module."""

    name = "daemonset-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(RESOURCE)
        self._pods = tools.kind("pods")
        self._events = tools.recorder(self.name)
        self._writer = PodWriter(tools, self._events)
        self._history = RevisionKeeper(tools, label=HASH)
        self._failures = Failures()
        self._observer = Observer(tools)
        self._pace = Pace()

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=RESOURCE, keys=lambda change: [change.key]),
            Keys(resource="pods", keys=self._of_owned),
            Keys(resource=REVISIONS, keys=self._of_owned),
            Keys(resource="nodes", keys=self._of_node),
        ]

    def _of_owned(self, change: Seen) -> Iterable[Key]:
        return claimants(self._tools, self._kind, change)

    def _of_node(self, change: Seen) -> Iterable[Key]:
        """All sets, when something changed that decides."""
        before, after = change.before, change.after
        if before is not None and after is not None and node_facts(before) == node_facts(after):
            return []
        return [stored.key for stored in self._tools.cache.select(RESOURCE)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            self._observer.forget(key)
            self._pace.forget(key)
            return None
        began_s = self._tools.clock.monotonic_s()
        wait_s = self._pace.wait_s(key, now_s=began_s)
        if wait_s > 0:
            return wait_s
        try:
            return await self._pass(key, self._tools.cache.obj(stored))
        finally:
            nodes, now_s = self._tools.cache.count("nodes"), self._tools.clock.monotonic_s()
            self._pace.looked(key, size=nodes, began_s=began_s, now_s=now_s)

    async def _pass(self, key: Key, obj: JsonObject) -> float | None:
        owner = daemon_set(obj)
        if owner.leaving:
            return None
        if not map_at(obj, "spec", "selector") or selector_of(obj).everything:
            await self._say(
                owner, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required."
            )
            return None
        await claim_all(self._tools, obj, self._pods)
        history = await self._history.keep(obj)
        if history.present is None:
            await self._tell(replace(owner, collisions=owner.collisions + 1), None)
            raise UnfinishedError("another object has the name of the new revision")
        await self._unite(owner, history.present, history.twins)
        failure, wait_s = await self._sync(key, owner, history.present)
        observed = await self._observer.observe(key, owner, history.present.hash)
        live = {pod.hash for place in observed.places for pod in place.pods if pod.hash}
        await self._history.drop(expired(history.older, live, limit=owner.history_limit))
        await self._tell(owner, observed)
        if failure is not None:
            raise UnfinishedError(failure.message)
        return min((each for each in (wait_s, soonest_s(owner, observed)) if each is not None), default=None)

    async def _unite(self, owner: DaemonSet, present: Revision, twins: Sequence[Revision]) -> None:
        """Several revisions of one template: pods of any are of the one that is kept."""
        if not twins:
            return
        hashes = {twin.hash for twin in twins} - {present.hash}
        for pod in owned(self._tools, owner.obj, self._pods):
            if labels_of(pod).get(HASH) in hashes:
                label: JsonObject = {**labels_of(pod), HASH: present.hash}
                key = self._pods.key(namespace_of(pod), name_of(pod))
                await self._tools.objects.update(
                    self._pods, key, lambda current, label=label: with_metadata(current, labels=label)
                )
        await self._history.drop(twins)

    async def _sync(self, key: Key, owner: DaemonSet, present: Revision) -> tuple[Failure | None, float | None]:
        """Manage, then roll what is there after that. A refusal, and seconds until a pod that failed may go."""
        planned = manage(owner, await self._observer.observe(key, owner, present.hash))
        ripe, wait_s = self._ripe(owner, planned.replace)
        for pod in ripe:
            await self._tell_over(owner, pod)
        failure = await self._carry_out(owner, present, planned, ripe)
        if failure is None and not owner.on_delete:
            step = roll(owner, await self._observer.observe(key, owner, present.hash))
            failure = await self._carry_out(owner, present, step, ())
        return failure, wait_s

    def _ripe(self, owner: DaemonSet, over: Sequence[DaemonPod]) -> tuple[list[DaemonPod], float | None]:
        """Pods that are over and may go now; seconds until the next may."""
        now_s = self._tools.clock.monotonic_s()
        uid = uid_of(owner.obj)
        waits = {id(pod): self._failures.wait_s(uid, pod.node, now_s=now_s) for pod in over if pod.phase == "Failed"}
        ripe = [pod for pod in over if not waits.get(id(pod))]
        for pod in ripe:
            if pod.phase == "Failed":
                self._failures.failed(uid, pod.node, now_s=now_s)
        return ripe, min((each for each in waits.values() if each), default=None)

    async def _tell_over(self, owner: DaemonSet, pod: DaemonPod) -> None:
        where = f"{pod.key.namespace}/{pod.key.name} on node {pod.node}"
        if pod.phase == "Failed":
            text = f"Found failed daemon pod {where}, will try to kill it"
            await self._say(owner, "FailedDaemonPod", text)
        else:
            text = f"Found succeeded daemon pod {where}, will try to delete it"
            await self._events.say(owner.obj, Saying(type="Normal", reason="SucceededDaemonPod", message=text))

    async def _carry_out(
        self, owner: DaemonSet, present: Revision, planned: Plan, ripe: Sequence[DaemonPod]
    ) -> Failure | None:
        going = [pod.reference for pod in (*planned.delete, *ripe)]
        coming = [new_pod(owner, node, present.hash) for node in planned.create]
        failure = await self._writer.create_all(owner.obj, coming[:BURST_MAX])
        await self._writer.delete_all(owner.obj, going[:BURST_MAX])
        return failure

    async def _tell(self, owner: DaemonSet, observed: Observed | None) -> None:
        if observed is None:
            status: JsonObject = {**map_at(owner.obj, "status"), "collisionCount": owner.collisions}
        else:
            status = status_of(owner, observed)
        if status == map_at(owner.obj, "status"):
            return
        text = news(owner, status)
        uid = uid_of(owner.obj)

        def told(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid else current

        try:
            key = self._kind.key(namespace_of(owner.obj), owner.name)
            await self._tools.objects.update(self._kind, key, told, subresource="status")
        except NotFoundError:
            # Deleted meanwhile: nobody is left to tell.
            return
        if text:
            await self._events.say(owner.obj, Saying(type="Normal", reason="NodesAway", message=text))

    async def _say(self, owner: DaemonSet, reason: str, message: str) -> None:
        await self._events.say(owner.obj, Saying(type="Warning", reason=reason, message=message))
