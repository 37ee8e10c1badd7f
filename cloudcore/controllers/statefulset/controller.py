"""Keeps each StatefulSet's pods and their claims, in order.

Keeps no data of its own: a crash between two writes leaves a step half done, and the next pass plans from what is
there. There is at most one pod for each ordinal, as a name is of one object: a pod that is to end is there until its
gateway has said that it ended, or somebody has deleted it by force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cloudcore.controllers.claiming import claim_all, claimants, owned
from cloudcore.controllers.history.keeping import RESOURCE as REVISIONS
from cloudcore.controllers.history.keeping import Kept, RevisionKeeper
from cloudcore.controllers.history.revisions import REVISION_HASH, Revision, expired, patched_template
from cloudcore.controllers.node_state import is_heard
from cloudcore.controllers.ownership import with_metadata
from cloudcore.controllers.statefulset.identity import (
    claim_names,
    identity_labels,
    new_claims,
    new_pod,
    ordinal_of,
    pod_name,
)
from cloudcore.controllers.statefulset.model import StatefulPod, StatefulSet, stateful_pod, stateful_set
from cloudcore.controllers.statefulset.plan import Observed, Plan, plan, turns
from cloudcore.controllers.statefulset.retention import is_stale, owned_claim
from cloudcore.controllers.statefulset.status import soonest_s, status_of
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import PODS_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import AlreadyExistsError, CallerError, NotFoundError
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, being_deleted, controller_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.volumes import CLAIMS

RESOURCE = "statefulsets.apps"


class StatefulSetController:
    """See the module."""

    name = "statefulset-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(RESOURCE)
        self._pods = tools.kind("pods")
        self._claims = tools.kind(CLAIMS)
        self._events = tools.recorder(self.name)
        self._history = RevisionKeeper(tools, label=REVISION_HASH)

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=RESOURCE, keys=lambda change: [change.key]),
            Keys(resource="pods", keys=self._of_owned),
            Keys(resource=REVISIONS, keys=self._of_owned),
            Keys(resource="nodes", keys=self._of_node),
        ]

    def _of_node(self, change: Seen) -> Iterable[Key]:
        """The sets with pods on a node that is heard again, or not any more."""
        before, after = change.before, change.after
        if before is not None and after is not None and is_heard(before) == is_heard(after):
            return
        for stored in self._tools.cache.indexed(PODS_BY_NODE, change.key.name):
            controller = controller_of(self._tools.cache.obj(stored))
            if controller is not None and controller.kind == self._kind.kind:
                yield Key(RESOURCE, stored.key.namespace, controller.name)

    def _of_owned(self, change: Seen) -> Iterable[Key]:
        return claimants(self._tools, self._kind, change)

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)
        owner = stateful_set(obj)
        if owner.leaving:
            # What belongs to it is the garbage collector's now; a revision made anew would hold the set up for ever.
            return None
        await claim_all(self._tools, obj, self._pods, fits=_has_ordinal(obj))
        history = await self._history.keep(obj)
        if history.present is None:
            await self._write(owner, {**map_at(obj, "status"), "collisionCount": owner.collisions + 1})
            raise UnfinishedError("another object has the name of the new revision")
        current = self._current(owner, history, history.present)
        planned = plan(owner, self._observe(owner, current, history.present))
        failure = await self._carry_out(owner, planned, current, history.present)
        observed = self._observe(owner, current, history.present)
        await self._write(owner, status_of(owner, observed))
        live = {pod.revision for pod in observed.pods} | {current.name, history.present.name}
        dead = [each for each in (*history.older, *history.twins) if each.name not in live]
        await self._history.drop(expired(dead, (), limit=owner.history_limit))
        if failure or planned.waits:
            raise UnfinishedError(failure or "claims of an earlier pod are not gone yet")
        return soonest_s(observed)

    def _current(self, owner: StatefulSet, history: Kept, present: Revision) -> Revision:
        """The revision that the pods had before the update; the present one where there is none."""
        name = str_at(owner.obj, "status", "currentRevision")
        known = (*history.older, *history.twins, present)
        return next((each for each in known if each.name == name), present)

    def _observe(self, owner: StatefulSet, current: Revision, present: Revision) -> Observed:
        pods: list[StatefulPod] = []
        for pod in owned(self._tools, owner.obj, self._pods, fits=_has_ordinal(owner.obj)):
            ordinal = ordinal_of(owner.obj, name_of(pod))
            assert ordinal is not None, "only those with an ordinal are its own"
            pods.append(stateful_pod(owner.obj, pod, ordinal, owner.min_ready_s))
        found = turns(
            owner,
            {pod.ordinal for pod in pods},
            lambda ordinal: is_stale(self._claims_of(owner, ordinal), pod_name(owner.obj, ordinal)),
        )
        return Observed(
            pods=sorted(pods, key=lambda pod: pod.ordinal),
            current=current.name,
            update=present.name,
            stale=found.stale,
            silent={pod.node for pod in pods if self._is_silent(pod.node)},
            now_ms=self._tools.clock.wall_ms(),
        )

    def _is_silent(self, node: str) -> bool:
        stored = self._tools.cache.read(Key("nodes", "", node)) if node else None
        return stored is not None and not is_heard(self._tools.cache.obj(stored))

    def _claims_of(self, owner: StatefulSet, ordinal: int) -> list[JsonObject]:
        """Those of the ordinal that are there."""
        keys = [self._claim_key(owner, name) for name in claim_names(owner.obj, ordinal).values()]
        found = [self._tools.objects.read(key) for key in keys]
        return [self._tools.cache.obj(stored) for stored in found if stored is not None]

    def _claim_key(self, owner: StatefulSet, name: str) -> Key:
        return self._claims.key(namespace_of(owner.obj), name)

    async def _carry_out(self, owner: StatefulSet, planned: Plan, current: Revision, present: Revision) -> str:
        """What kept it from making something; "" for nothing."""
        failures: list[str] = []
        for pod in planned.restart:
            await self._tell_over(owner, pod)
            await self._delete(owner, pod)
        for pod in planned.correct:
            await self._correct(owner, pod)
        for ordinal in planned.claims:
            failures += await self._make_claims(owner, ordinal)
        for ordinal in planned.create:
            failures += await self._make_claims(owner, ordinal) or await self._create(
                owner, ordinal, current, present
            )
        await self._own_claims(owner, planned)
        for pod in planned.delete:
            await self._delete(owner, pod)
        for pod in planned.away:
            text = f"Pod {name_of(pod.obj)} is updated when something is heard of its node {pod.node}"
            await self._events.say(owner.obj, Saying(type="Normal", reason="WaitingForNode", message=text))
        return "; ".join(failures)

    async def _create(self, owner: StatefulSet, ordinal: int, current: Revision, present: Revision) -> list[str]:
        revision = present if owner.is_updated_at(ordinal) else current
        template = map_at(owner.obj, "spec", "template") if revision is present else patched_template(revision.data)
        pod = new_pod(owner.obj, ordinal, template=template, revision=revision.name)
        try:
            await self._tools.objects.create(self._pods, namespace_of(owner.obj), pod)
        except AlreadyExistsError:
            text = f"Pod {name_of(pod)} is there already, and not this StatefulSet's"
            return [await self._refused(owner, "create", name_of(pod), text)]
        except CallerError as error:
            return [await self._refused(owner, "create", name_of(pod), str(error))]
        await self._succeeded(owner, "create", f"Pod {name_of(pod)}")
        return []

    async def _make_claims(self, owner: StatefulSet, ordinal: int) -> list[str]:
        for claim in new_claims(owner.obj, ordinal):
            name = name_of(claim)
            stored = self._tools.objects.read(self._claim_key(owner, name))
            if stored is not None:
                if being_deleted(self._tools.cache.obj(stored)):
                    return [f"pvc {name} is being deleted"]
                continue
            try:
                await self._tools.objects.create(self._claims, namespace_of(owner.obj), claim)
            except CallerError as error:
                return [await self._refused(owner, "create", pod_name(owner.obj, ordinal), str(error))]
            await self._succeeded(owner, "create", f"Claim {name} Pod {pod_name(owner.obj, ordinal)}")
        return []

    async def _own_claims(self, owner: StatefulSet, planned: Plan) -> None:
        """Say whose end ends each claim, before a pod goes."""
        condemned = {pod.ordinal for pod in planned.condemned}
        for obj in owned(self._tools, owner.obj, self._pods, fits=_has_ordinal(owner.obj)):
            ordinal = ordinal_of(owner.obj, name_of(obj))
            assert ordinal is not None, "only those with an ordinal are its own"
            for claim in self._claims_of(owner, ordinal):
                if owned_claim(claim, owner.obj, obj, condemned=ordinal in condemned) is not claim:
                    await self._own_claim(owner, claim, obj, condemned=ordinal in condemned)

    async def _own_claim(self, owner: StatefulSet, claim: JsonObject, pod: JsonObject, *, condemned: bool) -> None:
        def owned_now(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(claim):
                return current
            return owned_claim(current, owner.obj, pod, condemned=condemned)

        try:
            await self._tools.objects.update(self._claims, self._claim_key(owner, name_of(claim)), owned_now)
        except NotFoundError:
            # Somebody deleted it; a pod that needs it gets another.
            return

    async def _correct(self, owner: StatefulSet, pod: StatefulPod) -> None:
        def corrected(current: JsonObject) -> JsonObject:
            labels: JsonObject = {**labels_of(current), **identity_labels(owner.obj, pod.ordinal)}
            return with_metadata(current, labels=labels) if uid_of(current) == uid_of(pod.obj) else current

        await self._tools.objects.update(self._pods, self._pod_key(pod), corrected)
        await self._succeeded(owner, "update", f"Pod {name_of(pod.obj)}")

    async def _delete(self, owner: StatefulSet, pod: StatefulPod) -> None:
        try:
            options = DeleteOptions(uid=uid_of(pod.obj))
            await self._tools.objects.delete(self._pods, self._pod_key(pod), options)
        except NotFoundError:
            # Somebody else was faster; that is what was wanted.
            return
        await self._succeeded(owner, "delete", f"Pod {name_of(pod.obj)}")

    def _pod_key(self, pod: StatefulPod) -> Key:
        return self._pods.key(namespace_of(pod.obj), name_of(pod.obj))

    async def _tell_over(self, owner: StatefulSet, pod: StatefulPod) -> None:
        subject = f"StatefulSet {namespace_of(owner.obj)}/{owner.name} is recreating"
        if pod.phase == "Failed":
            text = f"{subject} failed Pod {name_of(pod.obj)}"
            saying = Saying(type="Warning", reason="RecreatingFailedPod", message=text)
        else:
            text = f"{subject} terminated Pod {name_of(pod.obj)}"
            saying = Saying(type="Normal", reason="RecreatingTerminatedPod", message=text)
        await self._events.say(owner.obj, saying)

    async def _succeeded(self, owner: StatefulSet, verb: str, what: str) -> None:
        word = "success" if what.startswith("Claim") else "successful"
        text = f"{verb} {what} in StatefulSet {owner.name} {word}"
        await self._events.say(owner.obj, Saying(type="Normal", reason=f"Successful{verb.title()}", message=text))

    async def _refused(self, owner: StatefulSet, verb: str, pod: str, why: str) -> str:
        text = f"{verb} Pod {pod} in StatefulSet {owner.name} failed error: {why}"
        await self._events.say(owner.obj, Saying(type="Warning", reason=f"Failed{verb.title()}", message=text))
        return text

    async def _write(self, owner: StatefulSet, status: JsonObject) -> None:
        if status == map_at(owner.obj, "status"):
            return
        uid = uid_of(owner.obj)

        def told(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid else current

        try:
            key = self._kind.key(namespace_of(owner.obj), owner.name)
            await self._tools.objects.update(self._kind, key, told, subresource="status")
        except NotFoundError:
            # Deleted meanwhile: nobody is left to tell.
            return


def _has_ordinal(owner: JsonObject) -> Callable[[JsonObject], bool]:
    """Of the pods that its selector matches, those whose name says that they are the set's."""
    return lambda pod: ordinal_of(owner, name_of(pod)) is not None
