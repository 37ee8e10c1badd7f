"""Removes pods that are bound to a Node which is not there any more: nobody is left to end them.

Keeps since when it has missed the Node of each such pod; after a crash, or with another leader, they have their
quarantine once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from cloudcore.controllers.stranded.plan import QUARANTINE_S, is_bound, with_end
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import PODS_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, uid_of


class StrandedController:
    """See the module."""

    name = "pod-garbage-collector"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind("pods")
        self._since: dict[Key, tuple[str, float]] = {}
        """Uid of the pod, and since when its Node is missed (monotonic, s)."""

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="nodes", keys=self._of_node), Keys(resource="pods", keys=self._of_pod)]

    def _of_node(self, change: Seen) -> Iterable[Key]:
        if not (change.deleted or change.is_new):
            return []
        return [each.key for each in self._tools.cache.indexed(PODS_BY_NODE, change.key.name)]

    def _of_pod(self, change: Seen) -> Iterable[Key]:
        """One that was bound just now, or is seen for the first time; or one that is gone."""
        if change.deleted:
            self._since.pop(change.key, None)
            return []
        was_bound = change.before is not None and is_bound(change.before)
        return [change.key] if is_bound(change.last) and not was_bound else []

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            self._since.pop(key, None)
            return None
        pod = self._tools.cache.obj(stored)
        if not is_bound(pod) or self._has_node(pod):
            self._since.pop(key, None)
            return None
        now_s = self._tools.clock.monotonic_s()
        uid, since_s = self._since.get(key, ("", now_s))
        if uid != uid_of(pod):
            since_s = now_s
        self._since[key] = (uid_of(pod), since_s)
        if now_s < since_s + QUARANTINE_S:
            return since_s + QUARANTINE_S - now_s
        # A conflict is for the queue: the next look knows more.
        with contextlib.suppress(NotFoundError):
            await self._end(key, uid_of(pod))
        self._since.pop(key, None)
        return None

    def _has_node(self, pod: JsonObject) -> bool:
        return self._tools.objects.read(Key("nodes", "", str_at(pod, "spec", "nodeName"))) is not None

    async def _end(self, key: Key, uid: str) -> None:
        now_ms = self._tools.clock.wall_ms()

        def told(current: JsonObject) -> JsonObject:
            return with_end(current, now_ms=now_ms) if uid_of(current) == uid else current

        await self._tools.objects.update(self._kind, key, told, subresource="status")
        await self._tools.objects.delete(self._kind, key, DeleteOptions(uid=uid, grace_s=0))
