"""Carries out the plan of each Deployment.

Keeps no data of its own: revisions, sizes and the time of the last progress are in the objects. A crash between two
writes leaves a step half done; the next pass plans from what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.controllers.claiming import claim_all, owned
from cloudcore.controllers.deployment.model import (
    REVISION,
    Deployment,
    Set,
    deployment,
    new_replica_set,
    replica_set,
    same_template,
)
from cloudcore.controllers.deployment.plan import (
    Action,
    ChangeSet,
    DropSet,
    MakeSet,
    NoteRevision,
    Observed,
    Plan,
    plan,
)
from cloudcore.controllers.deployment.status import Made, deadline_in_s, status_of, with_collision
from cloudcore.controllers.ownership import controller_reference, selects, with_metadata
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import BY_OWNER, Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from skerry.errors import AlreadyExistsError, CallerError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at
from skerry.objects.meta import Key, controller_of, name_of, namespace_of, uid_of
from skerry.objects.pods import is_over

RESOURCE = "deployments.apps"
_SETS = "replicasets.apps"


class _Outcome(Frozen):
    """What carrying out the actions came to."""

    made: Made
    collided: bool = False


class DeploymentController:
    """See the module."""

    name = "deployment-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(RESOURCE)
        self._sets = tools.kind(_SETS)
        self._events = tools.recorder(self.name)

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=RESOURCE, keys=lambda change: [change.key]),
            Keys(resource=_SETS, keys=self._of_set),
            Keys(resource="pods", keys=self._of_pod),
        ]

    def _of_set(self, change: Seen) -> Iterable[Key]:
        for obj in (change.before, change.after):
            controller = None if obj is None else controller_of(obj)
            if controller is not None and controller.kind == "Deployment":
                yield Key(RESOURCE, change.key.namespace, controller.name)
        if change.after is not None and controller_of(change.after) is None:
            for stored in self._tools.cache.select(RESOURCE, namespace=change.key.namespace):
                if selects(self._tools.cache.obj(stored), change.after):
                    yield stored.key

    def _of_pod(self, change: Seen) -> Iterable[Key]:
        """A pod that is over or gone may be the last one a recreating deployment waits for."""
        if not change.deleted and not is_over(change.last):
            return
        controller = controller_of(change.last)
        if controller is None or controller.kind != "ReplicaSet":
            return
        stored = self._tools.cache.read(Key(_SETS, change.key.namespace, controller.name))
        owner = None if stored is None else controller_of(self._tools.cache.obj(stored))
        if owner is not None and owner.kind == "Deployment":
            yield Key(RESOURCE, change.key.namespace, owner.name)

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)
        owner = deployment(obj)
        await claim_all(self._tools, obj, self._sets)
        sets = [replica_set(each) for each in owned(self._tools, obj, self._sets)]
        planned = plan(owner, Observed(sets=sets, old_pods_run=owner.recreate and self._old_pods_run(owner, sets)))
        outcome = await self._carry_out(owner, planned)
        if outcome.collided:
            owner = with_collision(owner)
        now_ms = self._tools.clock.wall_ms()
        status = status_of(owner, planned, outcome.made, now_ms=now_ms)
        await self._tell(key, obj, status)
        if outcome.made.failure or outcome.collided:
            raise UnfinishedError(outcome.made.failure or "another object has the new ReplicaSet's name")
        return deadline_in_s(owner, status, now_ms=now_ms)

    def _old_pods_run(self, owner: Deployment, sets: Sequence[Set]) -> bool:
        cache = self._tools.cache
        old = [each for each in sets if not same_template(each.template, owner.template)]
        pods = (item for each in old for item in cache.indexed(BY_OWNER, each.uid) if item.key.resource == "pods")
        return any(not is_over(cache.obj(item)) for item in pods)

    async def _carry_out(self, owner: Deployment, planned: Plan) -> _Outcome:
        made = Made()
        for action in planned.actions:
            if isinstance(action, MakeSet):
                outcome = await self._make(owner, action)
                if outcome.collided or outcome.made.failure:
                    return outcome
                made = outcome.made
            else:
                await self._act(owner, action)
        return _Outcome(made=made)

    async def _act(self, owner: Deployment, action: Action) -> None:
        match action:
            case MakeSet():
                raise AssertionError("making a set has an outcome, and goes through _make")
            case ChangeSet():
                await self._change(owner, action)
            case DropSet(target=target):
                await self._drop(target)
            case NoteRevision(revision=revision):
                await self._tools.objects.update(
                    self._kind, self._key(owner), lambda current: _annotated(current, {REVISION: revision})
                )

    async def _make(self, owner: Deployment, action: MakeSet) -> _Outcome:
        reference = controller_reference(owner.obj)
        obj = new_replica_set(owner, reference, replicas=action.replicas, revision=action.revision)
        try:
            await self._tools.objects.create(self._sets, owner.namespace, obj)
        except AlreadyExistsError:
            return _Outcome(made=Made(), collided=not self._is_ours(owner, obj))
        except CallerError as error:
            text = f"Failed to create new replica set {name_of(obj)!r}: {error}"
            await self._say(owner, "ReplicaSetCreateError", text, warning=True)
            return _Outcome(made=Made(failure=text))
        if action.replicas:
            await self._say(owner, "ScalingReplicaSet", _scaled_text("up", name_of(obj), 0, action.replicas))
        return _Outcome(made=Made(name=name_of(obj)))

    def _is_ours(self, owner: Deployment, wanted: JsonObject) -> bool:
        """The set of that name was made by an earlier life of this process, and fits."""
        stored = self._tools.cache.read(self._set_key(wanted))
        if stored is None:
            return True
        found = self._tools.cache.obj(stored)
        controller = controller_of(found)
        fits = same_template(map_at(found, "spec", "template"), owner.template)
        return controller is not None and controller.uid == uid_of(owner.obj) and fits

    async def _change(self, owner: Deployment, action: ChangeSet) -> None:
        target = action.target

        def changed(current: JsonObject) -> JsonObject:
            if uid_of(current) != target.uid:
                return current
            spec: JsonObject = {
                **map_at(current, "spec"),
                "replicas": action.replicas,
                "minReadySeconds": action.min_ready_s,
            }
            return _annotated({**current, "spec": spec}, dict(action.annotations))

        await self._tools.objects.update(self._sets, self._set_key(target.obj), changed)
        if action.replicas != target.replicas:
            direction = "up" if action.replicas > target.replicas else "down"
            text = _scaled_text(direction, target.name, target.replicas, action.replicas)
            await self._say(owner, "ScalingReplicaSet", text)

    async def _drop(self, target: Set) -> None:
        try:
            await self._tools.objects.delete(
                self._sets, self._set_key(target.obj), DeleteOptions(uid=target.uid, propagation="Background")
            )
        except NotFoundError:
            return

    async def _tell(self, key: Key, obj: JsonObject, status: JsonObject) -> None:
        if status == map_at(obj, "status"):
            return
        uid = uid_of(obj)

        def told(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid else current

        try:
            await self._tools.objects.update(self._kind, key, told, subresource="status")
        except NotFoundError:
            # Deleted meanwhile: nobody is left to tell.
            return

    async def _say(self, owner: Deployment, reason: str, message: str, *, warning: bool = False) -> None:
        saying = Saying(type="Warning" if warning else "Normal", reason=reason, message=message)
        await self._events.say(owner.obj, saying)

    def _key(self, owner: Deployment) -> Key:
        return self._kind.key(owner.namespace, owner.name)

    def _set_key(self, obj: JsonObject) -> Key:
        return self._sets.key(namespace_of(obj), name_of(obj))


def _scaled_text(direction: str, name: str, before: int, after: int) -> str:
    return f"Scaled {direction} replica set {name} from {before} to {after}"


def _annotated(obj: JsonObject, annotations: dict[str, str]) -> JsonObject:
    merged: dict[str, Json] = {**map_at(obj, "metadata", "annotations"), **annotations}
    return with_metadata(obj, annotations=merged)
