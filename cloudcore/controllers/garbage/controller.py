"""Collects objects whose owners are gone, and carries out foreground and orphaning deletions.

The watch cache's index by owner is all it needs to know; it keeps nothing of its own, and a crash loses nothing: the
informer's first pass looks at every object that has an owner or is going. An owner of a kind that isn't served is
taken to stand: what can't be looked up is no reason to delete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cloudcore.controllers.garbage.plan import (
    FOREGROUND,
    ORPHAN,
    Collect,
    CutLoose,
    Fate,
    Forget,
    LetGo,
    Wait,
    fate_of,
    plan,
    unblocked,
    without_finalizer,
    without_owners,
)
from cloudcore.registry.port import DeleteOptions, Propagation
from cloudcore.runtime.informer import BY_OWNER, Keys, Seen
from cloudcore.runtime.manager import Tools
from cloudcore.store.port import Stored
from skerry.errors import ConflictError, NotFoundError
from skerry.objects.json import JsonObject, dig
from skerry.objects.meta import Key, OwnerReference, being_deleted, owners_of, uid_of
from skerry.objects.scheme import split_api_version


class GarbageController:
    """See the module."""

    name = "garbage-collector"
    workers = 10

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._concerned)]

    def _concerned(self, change: Seen) -> Iterable[Key]:
        """What the change may decide: the object itself, its owners that wait for it, its dependents."""
        obj = change.last
        if not change.deleted and change.before is not None and _ties(change.before) == _ties(obj):
            return
        owners = owners_of(obj)
        going = change.deleted or being_deleted(obj)
        if not change.deleted and (owners or going):
            yield change.key
        for owner in [*owners, *(owners_of(change.before) if change.before is not None else ())]:
            found = self._owner_key(change.key, owner)
            if found is not None:
                yield found
        if going:
            for dependent in self._tools.cache.indexed(BY_OWNER, uid_of(obj)):
                yield dependent.key

    def _owner_key(self, dependent: Key, owner: OwnerReference) -> Key | None:
        """None for a kind that isn't served, or a namespaced owner of a cluster-scoped object (which is invalid)."""
        group, version = split_api_version(owner.api_version)
        kind = self._tools.scheme.named(group, version, owner.kind)
        if kind is None or (kind.namespaced and not dependent.namespace):
            return None
        return kind.key(dependent.namespace if kind.namespaced else "", owner.name)

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)
        dependents = [*self._tools.cache.indexed(BY_OWNER, stored.uid)]
        parsed = [self._tools.cache.obj(each) for each in dependents]
        match plan(obj, self._fates(key, obj), parsed):
            case None:
                return None
            case CutLoose():
                for each in dependents:
                    await self._change(each.key, each.uid, _cut(stored.uid))
                await self._change(key, stored.uid, lambda current: without_finalizer(current, ORPHAN))
            case LetGo():
                await self._change(key, stored.uid, lambda current: without_finalizer(current, FOREGROUND))
            case Wait(ask=ask):
                await self._collect_all(dependents, {uid_of(each) for each in ask})
            case Forget(uids=uids):
                await self._change(key, stored.uid, lambda current: without_owners(current, uids))
            case Collect(propagation=propagation, unblock=unblock):
                if unblock:
                    await self._change(key, stored.uid, unblocked)
                await self._delete(stored, propagation)
        return None

    def _fates(self, key: Key, obj: JsonObject) -> dict[str, Fate]:
        fates: dict[str, Fate] = {}
        for owner in owners_of(obj):
            found = self._owner_key(key, owner)
            if found is None:
                fates[owner.uid] = "solid"
                continue
            stored = self._tools.cache.read(found)
            fates[owner.uid] = fate_of(None if stored is None else self._tools.cache.obj(stored), owner.uid)
        return fates

    async def _collect_all(self, dependents: Sequence[Stored], wanted: set[str]) -> None:
        """Those that block, decided one by one as if their turn had come: each may have other owners that stand."""
        for each in dependents:
            if each.uid in wanted:
                await self.reconcile(each.key)

    async def _change(self, key: Key, uid: str, change: Callable[[JsonObject], JsonObject]) -> None:
        kind = self._tools.scheme.of_stored(key.resource)
        if kind is None:
            return

        def transform(current: JsonObject) -> JsonObject:
            return change(current) if uid_of(current) == uid else current

        try:
            await self._tools.objects.update(kind, key, transform)
        except NotFoundError:
            # It has gone by itself.
            return

    async def _delete(self, stored: Stored, propagation: Propagation) -> None:
        kind = self._tools.scheme.of_stored(stored.key.resource)
        if kind is None:
            return
        options = DeleteOptions(uid=stored.uid, propagation=propagation)
        try:
            await self._tools.objects.delete(kind, stored.key, options)
        except (NotFoundError, ConflictError):
            # Gone, or another object has its name now: not the one that was meant.
            return


def _cut(owner_uid: str) -> Callable[[JsonObject], JsonObject]:
    return lambda current: without_owners(current, frozenset({owner_uid}))


def _ties(obj: JsonObject) -> tuple[object, ...]:
    """All that garbage collection looks at."""
    metadata = dig(obj, "metadata")
    return tuple(dig(metadata, name) for name in ("ownerReferences", "finalizers", "deletionTimestamp"))
