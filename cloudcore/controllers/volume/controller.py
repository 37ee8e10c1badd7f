"""Carries out what is planned for claims and volumes.

Keeps nothing; whatever a crash leaves half done is found by looking at the objects: each step brings them nearer to
agreeing, and none depends on the one before having been made by the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cloudcore.controllers.volume.claims import (
    Around,
    AskFor,
    Bind,
    Grow,
    Lose,
    Make,
    TakeClass,
    Unselect,
    Wait,
    plan_claim,
)
from cloudcore.controllers.volume.volumes import Complete, Delete, LetGo, Phase, Unbind, freed, let_go, plan_volume
from cloudcore.registry.port import DeleteOptions
from cloudcore.registry.volumes import default_class, holding, promised
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import (
    CLAIMS_BY_CLASS,
    PODS_BY_CLAIM,
    VOLUMES_BY_CLAIM,
    VOLUMES_BY_CLASS,
    Keys,
    Seen,
    class_value,
)
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, ConflictError, NotFoundError
from skerry.objects.json import Json, JsonObject, list_at, map_at, str_at
from skerry.objects.meta import Key, annotations_of, name_of, uid_of, with_annotations
from skerry.objects.volumes import (
    BETA_PROVISIONER,
    CLAIMS,
    CLASSES,
    LOCAL,
    PROVISIONER,
    SELECTED_NODE,
    VOLUMES,
    class_of,
    gateway_of,
    is_bound,
    is_for,
    request_of,
)

Transform = Callable[[JsonObject], JsonObject]

_COMPONENT: Final = "persistentvolume-controller"


class VolumeController:
    """See the module. Its keys are those of claims and of volumes."""

    name = "persistentvolume-binder"
    workers = 4

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._claims = tools.kind(CLAIMS)
        self._volumes = tools.kind(VOLUMES)
        self._events = tools.recorder(_COMPONENT)

    # What wakes it

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=CLAIMS, keys=self._of_claim),
            Keys(resource=VOLUMES, keys=self._of_volume),
            Keys(resource=CLASSES, keys=self._of_class),
            Keys(resource="nodes", keys=self._of_node),
        ]

    def _of_claim(self, change: Seen) -> Iterable[Key]:
        if not change.deleted:
            yield change.key
        for obj in (change.before, change.after):
            name = str_at(obj, "spec", "volumeName")
            if name:
                yield Key(VOLUMES, "", name)
        for stored in self._tools.cache.indexed(VOLUMES_BY_CLAIM, _place(change.key)):
            yield stored.key

    def _of_volume(self, change: Seen) -> Iterable[Key]:
        if not change.deleted:
            yield change.key
        volume = change.last
        ref = map_at(volume, "spec", "claimRef")
        if ref:
            yield Key(CLAIMS, str_at(ref, "namespace"), str_at(ref, "name"))
        elif str_at(volume, "status", "phase") == "Available" and not change.deleted:
            yield from self._pending(class_of(volume))

    def _of_class(self, change: Seen) -> Iterable[Key]:
        return [] if change.deleted else [*self._pending(change.key.name), *self._pending("")]

    def _of_node(self, change: Seen) -> Iterable[Key]:
        """A node is gone, and its directories with it."""
        if not change.deleted:
            return []
        cache = self._tools.cache
        return [stored.key for stored in cache.select(VOLUMES) if gateway_of(cache.obj(stored)) == change.key.name]

    def _pending(self, name: str) -> list[Key]:
        return [stored.key for stored in self._tools.cache.indexed(CLAIMS_BY_CLASS, class_value(name))]

    # Claims

    async def reconcile(self, key: Key) -> float | None:
        obj = self._read(key)
        if obj is not None:
            await (self._claim(key, obj) if key.resource == CLAIMS else self._volume(key, obj))
        return None

    def _read(self, key: Key) -> JsonObject | None:
        stored = self._tools.objects.read(key)
        return None if stored is None else self._tools.cache.obj(stored)

    def _around(self, key: Key, claim: JsonObject) -> Around:
        cache = self._tools.cache
        wanted = class_of(claim)
        named = str_at(claim, "spec", "volumeName")
        if is_bound(claim):
            return Around(named=self._read(Key(VOLUMES, "", named)), volumes=(), storage_class=None, default=None)
        candidates = {
            stored.key: stored
            for stored in (
                *cache.indexed(VOLUMES_BY_CLASS, class_value(wanted)),
                *cache.indexed(VOLUMES_BY_CLAIM, _place(key)),
            )
        }
        node = annotations_of(claim).get(SELECTED_NODE, "")
        pods = (cache.obj(stored) for stored in cache.indexed(PODS_BY_CLAIM, _place(key)))
        return Around(
            named=self._read(Key(VOLUMES, "", named)) if named else None,
            volumes=[cache.obj(stored) for stored in candidates.values()],
            storage_class=self._read(Key(CLASSES, "", wanted)) if wanted else None,
            default=default_class(cache.obj(stored) for stored in cache.select(CLASSES)),
            node=self._read(Key("nodes", "", node)) if node else None,
            waiting_pod=next((name_of(pod) for pod in pods if not str_at(pod, "spec", "nodeName")), ""),
        )

    async def _claim(self, key: Key, claim: JsonObject) -> None:
        step = plan_claim(claim, self._around(key, claim))
        try:
            match step:
                case Bind(volume=volume):
                    await self._bind(key, claim, volume)
                case Make(volume=volume):
                    await self._make(key, claim, volume)
                case AskFor(provisioner=provisioner):
                    await self._ask(key, claim, provisioner)
                case TakeClass(name=name):
                    await self._change(key, claim, lambda now: _with_spec(now, storageClassName=name))
                case Unselect(reason=reason, message=message):
                    await self._say(claim, reason, message, warning=True)
                    await self._change(key, claim, _unselected)
                case Wait(reason=reason, message=message, warning=warning):
                    if reason:
                        await self._say(claim, reason, message, warning=warning)
                case Lose(reason=reason, message=message):
                    await self._change(key, claim, lambda now: _with_status(now, phase="Lost"), status=True)
                    await self._say(claim, reason, message, warning=True)
                case Grow(volume=volume):
                    await self._grow(claim, volume)
                case None:
                    return
        except NotFoundError as error:
            # The claim or the volume went meanwhile: what is there now decides.
            raise ConflictError(str(error)) from error

    async def _bind(self, key: Key, claim: JsonObject, volume: JsonObject) -> None:
        volume_key = Key(VOLUMES, "", name_of(volume))

        def promise(now: JsonObject) -> JsonObject:
            if map_at(now, "spec", "claimRef") and not is_for(now, claim):
                raise ConflictError(f"{volume_key} was given to another claim")
            return promised(now, claim)

        def give(now: JsonObject) -> JsonObject:
            if str_at(now, "spec", "volumeName") not in ("", name_of(volume)):
                raise ConflictError(f"{key} was given another volume")
            return holding(now, volume)

        if promised(volume, claim) is not volume:
            await self._change(volume_key, volume, promise)
        if str_at(volume, "status", "phase") != "Bound":
            await self._change(volume_key, volume, lambda now: _with_status(now, phase="Bound"), status=True)
        if holding(claim, volume) is not claim:
            await self._change(key, claim, give)
        if _told(claim, volume) is not claim:
            await self._change(key, claim, lambda now: _told(now, volume), status=True)

    async def _make(self, key: Key, claim: JsonObject, volume: JsonObject) -> None:
        await self._change(key, claim, lambda now: with_annotations(now, _asked(LOCAL)))
        try:
            await self._tools.objects.create(self._volumes, "", volume)
        except AlreadyExistsError:
            return  # made by an earlier look
        message = f"Successfully provisioned volume {name_of(volume)}"
        await self._say(claim, "ProvisioningSucceeded", message)

    async def _ask(self, key: Key, claim: JsonObject, provisioner: str) -> None:
        await self._change(key, claim, lambda now: with_annotations(now, _asked(provisioner)))
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
            "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered."
        )
        await self._say(claim, "ExternalProvisioning", message)

    async def _grow(self, claim: JsonObject, volume: JsonObject) -> None:
        size = str(request_of(claim))

        def grown(now: JsonObject) -> JsonObject:
            return _with_spec(now, capacity={**map_at(now, "spec", "capacity"), "storage": size})

        await self._change(Key(VOLUMES, "", name_of(volume)), volume, grown)
        await self._say(claim, "VolumeResizeSuccessful", "Resize volume succeeded")

    # Volumes

    async def _volume(self, key: Key, volume: JsonObject) -> None:
        ref = map_at(volume, "spec", "claimRef")
        claim_key = Key(CLAIMS, str_at(ref, "namespace"), str_at(ref, "name"))
        claim = self._read(claim_key) if ref else None
        gateway = gateway_of(volume)
        node_exists = bool(gateway) and self._read(Key("nodes", "", gateway)) is not None
        try:
            match plan_volume(volume, claim, node_exists=node_exists):
                case Phase() as phase:
                    await self._phase(key, volume, phase)
                case Delete():
                    await self._tools.objects.delete(self._volumes, key, DeleteOptions(uid=uid_of(volume)))
                case Unbind():
                    await self._change(key, volume, freed)
                case LetGo():
                    await self._change(key, volume, let_go)
                case Complete():
                    assert claim is not None, "it has no volume yet"
                    await self._claim(claim_key, claim)
                case None:
                    return
        except NotFoundError:
            return  # gone by itself

    async def _phase(self, key: Key, volume: JsonObject, phase: Phase) -> None:
        told: dict[str, Json] = {"phase": phase.phase}
        if phase.message:
            told["message"] = phase.message
        await self._change(key, volume, lambda now: _with_status(now, **told), status=True)
        if phase.reason:
            await self._say(volume, phase.reason, phase.message, warning=True)

    # Both

    async def _change(self, key: Key, obj: JsonObject, change: Transform, *, status: bool = False) -> None:
        """Change this life of the object; another life of its name, or none, is a conflict."""
        uid = uid_of(obj)

        def transform(now: JsonObject) -> JsonObject:
            if uid_of(now) != uid:
                raise ConflictError(f"{key} is another one now")
            return change(now)

        kind = self._claims if key.resource == CLAIMS else self._volumes
        await self._tools.objects.update(kind, key, transform, subresource="status" if status else "")

    async def _say(self, about: JsonObject, reason: str, message: str, *, warning: bool = False) -> None:
        saying = Saying(type="Warning" if warning else "Normal", reason=reason, message=message)
        await self._events.say(about, saying)


def _place(key: Key) -> str:
    return f"{key.namespace}/{key.name}"


def _asked(provisioner: str) -> dict[str, str]:
    return {PROVISIONER: provisioner, BETA_PROVISIONER: provisioner}


def _with_spec(obj: JsonObject, **fields: Json) -> JsonObject:
    return {**obj, "spec": {**map_at(obj, "spec"), **fields}}


def _with_status(obj: JsonObject, **fields: Json) -> JsonObject:
    kept = {name: value for name, value in map_at(obj, "status").items() if name not in ("message", "reason")}
    return {**obj, "status": {**kept, **fields}}


def _told(claim: JsonObject, volume: JsonObject) -> JsonObject:
    """The claim, saying what it has; itself where it says so already."""
    told: JsonObject = {
        **map_at(claim, "status"),
        "phase": "Bound",
        "accessModes": list_at(volume, "spec", "accessModes"),
        "capacity": dict(map_at(volume, "spec", "capacity")),
    }
    return claim if map_at(claim, "status") == told else {**claim, "status": told}


def _unselected(claim: JsonObject) -> JsonObject:
    annotations: JsonObject = {name: value for name, value in annotations_of(claim).items() if name != SELECTED_NODE}
    return {**claim, "metadata": {**map_at(claim, "metadata"), "annotations": annotations}}
