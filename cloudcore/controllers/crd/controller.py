"""Establishes what CustomResourceDefinitions define, and deletes a definition's objects before it goes.

Keeps, in memory, which schemas' defaults the stored objects have; `CustomKinds` holds what is served, here at once,
on other replicas by their own `ServedDefinitions`. A crash in the middle of deleting objects leaves the definition
with its finalizer, and the next leader goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.controllers.crd.plan import is_served, names_taken, status_of, terminating, wants_cleanup
from cloudcore.registry.custom import CLEANUP_FINALIZER, RESOURCE, CustomKinds, kinds_of, storage_version
from cloudcore.registry.port import DeleteOptions
from cloudcore.registry.structural import lacking_defaults
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import InvalidError, NotFoundError
from skerry.objects.json import Json, JsonObject, map_at, str_at, strs_at
from skerry.objects.meta import Key, being_deleted, uid_of
from skerry.objects.scheme import Kind

_AGAIN_S: Final = 0.5
"""While objects with finalizers of their own are going."""


class DefinitionController:
    """See the module."""

    name = "crd-controller"
    workers = 1

    def __init__(self, tools: Tools, custom: CustomKinds) -> None:
        self._tools = tools
        self._custom = custom
        self._kind = tools.kind(RESOURCE)
        self._completed: dict[str, JsonObject] = {}
        """By definition: the schema whose defaults all stored objects have."""

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource=RESOURCE, keys=self._of_definition)]

    def _of_definition(self, change: Seen) -> Iterable[Key]:
        """The definition itself, and those of its group, whose names may be free now."""
        yield change.key
        if change.after is None or change.before is None:
            group = str_at(change.last, "spec", "group")
            for stored in self._tools.cache.select(RESOURCE):
                if str_at(self._tools.cache.obj(stored), "spec", "group") == group:
                    yield stored.key

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            self._custom.withdraw(key.name)
            self._completed.pop(key.name, None)
            return None
        crd = self._tools.cache.obj(stored)
        if being_deleted(crd):
            return await self._clean_up(key, crd)
        taken = names_taken(crd, self._definitions(), self._tools.scheme)
        status = status_of(crd, taken, now_ms=self._tools.clock.wall_ms())
        if status != map_at(crd, "status"):
            crd = await self._tell(key, crd, status) or crd
        if is_served(crd):
            self._custom.serve(crd)
            await self._complete_stored(key, crd)
        return None

    async def _complete_stored(self, key: Key, crd: JsonObject) -> None:
        """Give the stored objects the defaults that the schema has by now (docs/decisions/0052)."""
        kind = _stored_kind(crd)
        custom = self._custom.of(kind) if kind is not None else None
        if kind is None or custom is None or self._completed.get(key.name) == custom.schema:
            return
        for stored in self._tools.cache.select(key.name):
            wanted = lacking_defaults(custom.schema, self._tools.cache.obj(stored))
            if wanted is not None:
                await self._complete(kind, stored.key, custom.schema)
        self._completed[key.name] = custom.schema

    async def _complete(self, kind: Kind, key: Key, schema: JsonObject) -> None:
        def completed(current: JsonObject) -> JsonObject:
            return lacking_defaults(schema, current) or current

        try:
            await self._tools.objects.update(kind, key, completed)
        except (NotFoundError, InvalidError):
            # Gone; or refused by what else the schema says by now: as in Kubernetes it stays as it is until
            # somebody writes it, and that writer is told.
            return

    def _definitions(self) -> list[JsonObject]:
        return [self._tools.cache.obj(stored) for stored in self._tools.cache.select(RESOURCE)]

    async def _clean_up(self, key: Key, crd: JsonObject) -> float | None:
        """Delete the objects; when none is left, let the definition go."""
        if not wants_cleanup(crd, CLEANUP_FINALIZER):
            return None
        kind = _stored_kind(crd)
        if kind is not None:
            await self._delete_all(kind)
        # Nobody makes another from when the deletion was asked for, on whatever replica, and all that was made before
        # is in a cache that shows this.
        left = len(self._tools.cache.select(key.name))
        status = terminating(crd, left=left, now_ms=self._tools.clock.wall_ms())
        if status != map_at(crd, "status"):
            await self._tell(key, crd, status)
        if left:
            return _AGAIN_S
        await self._release(key)
        return None

    async def _delete_all(self, kind: Kind) -> None:
        for stored in self._tools.cache.select(kind.stored_as):
            if being_deleted(self._tools.cache.obj(stored)):
                continue
            try:
                await self._tools.objects.delete(kind, stored.key, DeleteOptions())
            except NotFoundError:
                # Gone by itself: that is what was wanted.
                continue

    async def _tell(self, key: Key, crd: JsonObject, status: JsonObject) -> JsonObject | None:
        uid = uid_of(crd)

        def told(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid else current

        try:
            written = await self._tools.objects.update(self._kind, key, told, subresource="status")
        except NotFoundError:
            # Deleted meanwhile: nobody is left to tell.
            return None
        return written.obj

    async def _release(self, key: Key) -> None:
        def released(current: JsonObject) -> JsonObject:
            kept: list[Json] = [
                name for name in strs_at(current, "metadata", "finalizers") if name != CLEANUP_FINALIZER
            ]
            return {**current, "metadata": {**map_at(current, "metadata"), "finalizers": kept}}

        try:
            await self._tools.objects.update(self._kind, key, released)
        except NotFoundError:
            # Released by somebody else already.
            return


def _stored_kind(crd: JsonObject) -> Kind | None:
    """Any served version will do to delete by; objects of a definition that serves none can't be reached."""
    kinds = [custom.kind for custom in kinds_of(crd)]
    stored = storage_version(crd)
    return next((kind for kind in kinds if kind.version == stored), kinds[0] if kinds else None)
