"""Keeps claims that pods use, and volumes that claims have, until they are used no more.

By Kubernetes' finalizers `kubernetes.io/pvc-protection` and `kubernetes.io/pv-protection` ("Storage Object in Use
Protection"). Keeps nothing; what a crash leaves held is let go after the next start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.controllers.garbage.plan import without_finalizer
from cloudcore.controllers.ownership import with_metadata
from cloudcore.controllers.pod_state import is_over
from cloudcore.runtime.informer import PODS_BY_CLAIM, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, list_at, str_at, strs_at
from skerry.objects.meta import Key, being_deleted, name_of, uid_of
from skerry.objects.volumes import (
    CLAIM_PROTECTION,
    CLAIMS,
    VOLUME_PROTECTION,
    VOLUMES,
    is_claim_of_pod,
    pod_claims,
)

_FINALIZERS = {CLAIMS: CLAIM_PROTECTION, VOLUMES: VOLUME_PROTECTION}


def guarded(obj: JsonObject, finalizer: str, *, used: bool) -> JsonObject:
    """The object, held while it is used or may come to be; itself where nothing changes."""
    held = finalizer in strs_at(obj, "metadata", "finalizers")
    if not being_deleted(obj):
        return obj if held else with_metadata(obj, finalizers=[*list_at(obj, "metadata", "finalizers"), finalizer])
    return without_finalizer(obj, finalizer) if held and not used else obj


def uses(pod: JsonObject, claim: JsonObject) -> bool:
    """The pod is on a node, which may have the claim's volume mounted."""
    if not str_at(pod, "spec", "nodeName"):
        return False
    for each in pod_claims(pod):
        if each.name == name_of(claim) and (not each.ephemeral or (not is_over(pod) and is_claim_of_pod(claim, pod))):
            return True
    return False


class ProtectionController:
    """See the module."""

    name = "storage-protection-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=CLAIMS, keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource=VOLUMES, keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource="pods", keys=self._left),
        ]

    def _left(self, change: Seen) -> Iterable[Key]:
        """Claims that wait to go, which the pod may have been the last to use."""
        if not change.deleted and not is_over(change.last):
            return
        for each in pod_claims(change.last):
            key = Key(CLAIMS, change.key.namespace, each.name)
            stored = self._tools.cache.read(key)
            if stored is not None and being_deleted(self._tools.cache.obj(stored)):
                yield key

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.objects.read(key)
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)

        def guard(now: JsonObject) -> JsonObject:
            if uid_of(now) != stored.uid:
                return now
            return guarded(now, _FINALIZERS[key.resource], used=self._used(key, now))

        if guard(obj) is obj:
            return None
        try:
            await self._tools.objects.update(self._tools.kind(key.resource), key, guard)
        except NotFoundError:
            return None
        return None

    def _used(self, key: Key, obj: JsonObject) -> bool:
        if key.resource == VOLUMES:
            return str_at(obj, "status", "phase") == "Bound"
        cache = self._tools.cache
        pods = cache.indexed(PODS_BY_CLAIM, f"{key.namespace}/{key.name}")
        return any(uses(cache.obj(stored), obj) for stored in pods)
