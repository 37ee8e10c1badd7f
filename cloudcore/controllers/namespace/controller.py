"""Empties namespaces that are going, and lets them go.

Keeps the names of the namespaces that are going, so that only what happens in those is looked at; after a crash the
informer's first pass tells them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from cloudcore.controllers.namespace.plan import FINALIZER, Content, conditions_of, content, finalized, to_delete
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import ConflictError, NotFoundError
from skerry.objects.json import JsonObject, list_at, map_at, strs_at
from skerry.objects.meta import Key, being_deleted, uid_of

RESOURCE = "namespaces"
_AGAIN_S = 1.0
"""When something could not be asked to go just now. What has been asked wakes us when it has gone."""
_AT_A_TIME = 64
"""Deletions written at a time: as many as the store commits as one group."""


class NamespaceController:
    """See the module."""

    name = "namespace-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(RESOURCE)
        self._going: set[str] = set()

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._concerned)]

    def _concerned(self, change: Seen) -> Iterable[Key]:
        if change.key.resource == RESOURCE:
            if change.after is not None and being_deleted(change.after):
                self._going.add(change.key.name)
                return [change.key]
            self._going.discard(change.key.name)
        elif change.key.namespace in self._going:
            return [Key(RESOURCE, "", change.key.namespace)]
        return []

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        namespace = self._tools.cache.obj(stored)
        if not being_deleted(namespace) or FINALIZER not in strs_at(namespace, "spec", "finalizers"):
            return None
        # Twice: where the pods go at once, so does the rest.
        await self._delete(to_delete(self._left(key.name)))
        await self._delete(to_delete(self._left(key.name)))
        left = self._left(key.name)
        if left:
            await self._tell(key, namespace, left)
            return _AGAIN_S if to_delete(left) else None
        await self._finish(key, namespace)
        return None

    def _left(self, name: str) -> list[Content]:
        cache = self._tools.cache
        return [
            content(item.key, cache.obj(item))
            for resource in cache.resources()
            for item in cache.select(resource, namespace=name)
            if item.key.namespace == name
        ]

    async def _delete(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), _AT_A_TIME):
            async with asyncio.TaskGroup() as tasks:
                for key in keys[start : start + _AT_A_TIME]:
                    tasks.create_task(self._delete_one(key))

    async def _delete_one(self, key: Key) -> None:
        kind = self._tools.scheme.of_stored(key.resource)
        if kind is None:
            # Its definition is being removed, which removes its objects as well.
            return
        try:
            await self._tools.objects.delete(kind, key, DeleteOptions(propagation="Background"))
        except (NotFoundError, ConflictError):
            # Gone already, or changed just now: then it is looked at again.
            return

    async def _tell(self, key: Key, namespace: JsonObject, left: Sequence[Content]) -> None:
        now_ms = self._tools.clock.wall_ms()
        conditions = conditions_of(namespace, left, now_ms=now_ms)
        if conditions == list_at(namespace, "status", "conditions"):
            return
        uid = uid_of(namespace)

        def told(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid:
                return current
            return {**current, "status": {**map_at(current, "status"), "conditions": conditions}}

        await self._tools.objects.update(self._kind, key, told, subresource="status")

    async def _finish(self, key: Key, namespace: JsonObject) -> None:
        uid = uid_of(namespace)

        def let_go(current: JsonObject) -> JsonObject:
            return finalized(current) if uid_of(current) == uid else current

        try:
            await self._tools.objects.update(self._kind, key, let_go, subresource="finalize")
        except NotFoundError:
            return
