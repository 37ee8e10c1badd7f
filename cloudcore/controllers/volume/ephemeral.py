"""Makes the claims of generic ephemeral volumes: one for each pod and volume, which goes with the pod.

Kubernetes' "Generic ephemeral volumes". Keeps nothing; a claim that a crash left unmade is made after the next start,
and garbage collection ends those whose pod is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.controllers.ownership import controller_reference
from cloudcore.controllers.pod_state import is_active
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, CallerError
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, controller_of, name_of
from skerry.objects.volumes import CLAIMS, ephemeral_claim_name


def ephemeral_claim(pod: JsonObject, volume: JsonObject) -> JsonObject:
    """The claim that a pod's ephemeral volume asks for."""
    template = map_at(volume, "ephemeral", "volumeClaimTemplate")
    metadata = {key: map_at(template, "metadata", key) for key in ("labels", "annotations")}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            **{key: value for key, value in metadata.items() if value},
            "name": ephemeral_claim_name(name_of(pod), str_at(volume, "name")),
            "ownerReferences": [controller_reference({"apiVersion": "v1", "kind": "Pod", **pod})],
        },
        "spec": map_at(template, "spec"),
    }


class EphemeralController:
    """See the module."""

    name = "ephemeral-volume-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(CLAIMS)
        self._events = tools.recorder("ephemeral_volume")

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="pods", keys=_of_pod), Keys(resource=CLAIMS, keys=_of_claim)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        pod = None if stored is None else self._tools.cache.obj(stored)
        if pod is None or not is_active(pod):
            return None
        for volume in _ephemeral(pod):
            claim = ephemeral_claim(pod, volume)
            if self._tools.objects.read(Key(CLAIMS, key.namespace, name_of(claim))) is None:
                await self._make(key, pod, claim, str_at(volume, "name"))
        return None

    async def _make(self, key: Key, pod: JsonObject, claim: JsonObject, volume: str) -> None:
        try:
            await self._tools.objects.create(self._kind, key.namespace, claim)
        except AlreadyExistsError:
            return
        except CallerError as error:
            message = f"ephemeral volume {volume}: create PVC {name_of(claim)}: {error}"
            await self._events.say(pod, Saying(type="Warning", reason="FailedBinding", message=message))
            raise


def _ephemeral(pod: JsonObject) -> list[JsonObject]:
    return [volume for volume in maps_at(pod, "spec", "volumes") if isinstance(volume.get("ephemeral"), dict)]


def _of_pod(change: Seen) -> Iterable[Key]:
    return [] if change.deleted or not _ephemeral(change.last) else [change.key]


def _of_claim(change: Seen) -> Iterable[Key]:
    """A claim that went before its pod is made again."""
    owner = controller_of(change.last)
    if not change.deleted or owner is None or owner.kind != "Pod":
        return []
    return [Key("pods", change.key.namespace, owner.name)]
