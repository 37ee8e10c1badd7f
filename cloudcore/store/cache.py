"""The watch cache: current objects as JSON bytes, and the changes since, for lists, watches and controllers.

It follows the log of one store and keeps each current object's bytes, sorted keys per resource, the secondary
indexes asked for, and rings of recent changes (one for each resource, one for all). Objects are parsed when
somebody looks, and a bounded number of parsed ones is kept. Nothing is durable: a crash loses it all, and the
next start loads it again from the store.

Everything but `load`, `run` and the waiting is synchronous, so a caller that doesn't await sees one revision.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import sys
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import orjson

from cloudcore.store.port import Change, Page, Store, Stored
from cloudcore.store.ring import Ring
from skerry.errors import GoneError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key, Revision, labels_of, owners_of

log: Final = logging.getLogger(__name__)

_AFTER_ALL_NAMES: Final = "\U0010ffff"


class CacheSettings(Frozen):
    ring: int = 4096
    """Changes kept per resource (four times that for all of them together); older ones are in the log."""
    ring_bytes: int = 16 * 1024 * 1024
    """States kept per resource (twice that for all of them together): what churn may cost in memory."""
    parsed: int = 1024
    """Parsed objects kept; about 16 KB each for a pod."""
    retry_s: float = 1.0
    """Pause before asking a store again that was unavailable."""
    load_page: int = 2000
    """Objects asked of the store at a time while loading."""


class Index(Frozen):
    """A secondary index: which values each object is found under."""

    resource: str | None
    """The resource indexed; None: all."""
    values: Callable[[JsonObject], Iterable[str]]


class Facts(Frozen):
    """What lists, selectors and garbage collection ask of an object's metadata, parsed once."""

    labels: Mapping[str, str]
    owner_uids: tuple[str, ...]
    controller_uid: str
    """Of the owner that manages it; "" for none."""
    uid: str


class Snapshot(Frozen):
    """Objects of a resource at one revision; watching after that revision misses nothing."""

    items: Sequence[Stored]
    revision: Revision


class _Resource:
    """The current objects of one resource."""

    __slots__ = ("changed_at", "facts", "loaded_at", "objects", "places", "ring")

    def __init__(self, *, floor: Revision, settings: CacheSettings) -> None:
        self.objects: dict[tuple[str, str], Stored] = {}
        self.places: list[tuple[str, str]] = []
        self.facts: dict[tuple[str, str], Facts] = {}
        self.ring = Ring(floor=floor, limit=settings.ring, max_bytes=settings.ring_bytes)
        self.loaded_at = floor
        self.changed_at = floor

    def put(self, stored: Stored) -> None:
        place = (stored.key.namespace, stored.key.name)
        if place not in self.objects:
            if not self.places or place > self.places[-1]:
                self.places.append(place)
            else:
                insort(self.places, place)
        self.objects[place] = stored
        self.facts.pop(place, None)

    def remove(self, place: tuple[str, str]) -> None:
        if self.objects.pop(place, None) is not None:
            del self.places[bisect_left(self.places, place)]
            self.facts.pop(place, None)

    def select(self, namespace: str) -> list[Stored]:
        objects = self.objects
        if not namespace:
            return [objects[place] for place in self.places]
        start = bisect_left(self.places, (namespace, ""))
        end = bisect_right(self.places, (namespace, _AFTER_ALL_NAMES))
        return [objects[place] for place in self.places[start:end]]


class WatchCache:
    """See the module. `load` once, then `run` for as long as it is used; `following` does both."""

    def __init__(
        self, store: Store, *, indexes: Mapping[str, Index] | None = None, settings: CacheSettings | None = None
    ) -> None:
        self._store = store
        self._settings = settings or CacheSettings()
        self._indexes = dict(indexes or {})
        self._indexed: dict[str, dict[str, dict[Key, Stored]]] = {name: {} for name in self._indexes}
        self._index_values: dict[str, dict[Key, tuple[str, ...]]] = {name: {} for name in self._indexes}
        self._resources: dict[str, _Resource] = {}
        self._all = Ring(floor=Revision(0), limit=4 * self._settings.ring, max_bytes=2 * self._settings.ring_bytes)
        self._revision = Revision(0)
        self._floor = Revision(0)
        self._waiting: list[tuple[Revision, int, asyncio.Future[None]]] = []
        self._tickets = 0
        self._parsed: OrderedDict[Revision, JsonObject] = OrderedDict()
        self._failed: UnavailableError | None = None

    # Reading

    @property
    def epoch(self) -> str:
        """Of the store behind."""
        return self._store.epoch

    @property
    def revision(self) -> Revision:
        """The newest revision applied."""
        return self._revision

    def resources(self) -> Sequence[str]:
        """The resources that have objects now, sorted."""
        return sorted(name for name, resource in self._resources.items() if resource.objects)

    def read(self, key: Key) -> Stored | None:
        resource = self._resources.get(key.resource)
        return None if resource is None else resource.objects.get((key.namespace, key.name))

    def select(self, resource: str, *, namespace: str = "") -> Sequence[Stored]:
        """Objects of a resource ("" namespace: in all), ordered by (namespace, name)."""
        found = self._resources.get(resource)
        return () if found is None else found.select(namespace)

    def count(self, resource: str) -> int:
        found = self._resources.get(resource)
        return 0 if found is None else len(found.objects)

    def changed(self, resource: str) -> Revision:
        """Grows with every change of an object of the resource: what was made from them is good until then."""
        found = self._resources.get(resource)
        return Revision(0) if found is None else found.changed_at

    def snapshot(self, resource: str, *, namespace: str = "") -> Snapshot:
        return Snapshot(items=self.select(resource, namespace=namespace), revision=self._revision)

    def indexed(self, index: str, value: str) -> Sequence[Stored]:
        """Objects that the named index finds under `value`, in no order."""
        return tuple(self._indexed[index].get(value, {}).values())

    def count_indexed(self, index: str, value: str) -> int:
        """How many those are."""
        return len(self._indexed[index].get(value, ()))

    def obj(self, stored: Stored) -> JsonObject:
        """The object, parsed. Shared with other readers: never change it (`clone` first)."""
        found = self._parsed.get(stored.revision)
        if found is None:
            found = _parse(stored.body)
            self._parsed[stored.revision] = found
            if len(self._parsed) > self._settings.parsed:
                self._parsed.popitem(last=False)
        else:
            self._parsed.move_to_end(stored.revision)
        return found

    def facts(self, stored: Stored) -> Facts:
        """Labels, owners and uid; parsed once for as long as the object stays as it is."""
        resource = self._resources.get(stored.key.resource)
        place = (stored.key.namespace, stored.key.name)
        current = resource is not None and resource.objects.get(place) is stored
        if resource is not None and current and (known := resource.facts.get(place)) is not None:
            return known
        facts = _facts(stored, self._parsed.get(stored.revision) or _parse(stored.body))
        if resource is not None and current:
            resource.facts[place] = facts
        return facts

    async def list_at(
        self,
        resource: str,
        *,
        at: Revision,
        namespace: str = "",
        after: tuple[str, str] | None = None,
        limit: int = 0,
    ) -> Page:
        """A page as of a revision, from the store. Raises `GoneError` below the compacted one."""
        return await self._store.list(resource, namespace=namespace, at=at, after=after, limit=limit)

    # Following

    def watch(
        self, resource: str | None, *, after: Revision | None = None, initial: bool = False
    ) -> AsyncIterator[Change]:
        """Changes of a resource (None: of all) after a revision (None: from now on), in order, none missing.

        With `initial`, first every current object as a creation at its own revision, then what changes from
        now on. The iterator raises `GoneError` when the history was compacted, or when its reader fell so far
        behind that the ring moved on: a slow watcher is dropped, never waited for. Raises `UnavailableError`
        when the cache can no longer follow its store.
        """
        assert not (initial and after is not None), "initial objects are those of now"
        start = self._revision if after is None else after
        items: list[Stored] = []
        if initial:
            names = self.resources() if resource is None else (resource,)
            items = [stored for name in names for stored in self.select(name)]
        return self._watch(self._ring(resource), resource, start, items)

    async def wait_for(self, revision: Revision, *, timeout_s: float) -> None:
        """Wait until the cache is at `revision` or later. Raises `UnavailableError` when it takes too long."""
        if self._failed is not None:
            raise self._failed
        if revision <= self._revision:
            return
        future = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._waiting, (revision, self._tickets, future))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError as error:
            text = f"the watch cache is at revision {self._revision}, not yet at {revision}"
            raise UnavailableError(text) from error

    async def catch_up(self, *, timeout_s: float) -> None:
        """Wait until the cache has all that any process had committed by now: what "consistent" means for a read.

        Costs nothing where this process alone writes, else a question to the store. Raises `UnavailableError`.
        """
        if self._store.shared:
            await self.wait_for(await self._store.revision(), timeout_s=timeout_s)

    async def missed_since(self, seen: Revision, *, timeout_s: float) -> bool:
        """Whether other processes had written what the cache did not show at `seen`; now it does. Raises as
        `catch_up`."""
        if not self._store.shared:
            return False
        await self.catch_up(timeout_s=timeout_s)
        return self._revision != seen

    async def load(self) -> None:
        """Take in every current object. Call once, before `run`."""
        start = await self._store.revision()
        self._floor = self._revision = start
        self._all.restart(floor=start)
        newest = start
        for name in await self._store.resources():
            newest = max(newest, await self._load_resource(sys.intern(name)))
        while self._revision < newest:
            for change in await self._store.changes(after=self._revision):
                self._apply(change)

    async def run(self) -> None:
        """Follow the store's log until cancelled; an unavailable store is asked again, from where it broke off.

        Raises `GoneError` when the log was compacted past us; then and at the end every waiter is told.
        """
        failed = False
        try:
            while True:
                try:
                    async for change in self._store.watch(after=self._revision):
                        self._apply(change)
                        failed = False
                except UnavailableError as error:
                    if not failed:
                        log.warning("cache lost its store revision=%d reason=%s", self._revision, error)
                    failed = True
                await asyncio.sleep(self._settings.retry_s)
        except GoneError as error:
            self._fail(UnavailableError(f"the watch cache can't follow its store: {error}"))
            raise
        finally:
            if self._failed is None:
                self._fail(UnavailableError("the watch cache is stopped"))

    async def _load_resource(self, name: str) -> Revision:
        resource = self._resource(name)
        after: tuple[str, str] | None = None
        at: Revision | None = None
        while True:
            page = await self._store.list(name, at=at, after=after, limit=self._settings.load_page)
            at = page.revision
            for item in page.items:
                key = Key(name, sys.intern(item.key.namespace), item.key.name)
                stored = Stored(key=key, uid=item.uid, revision=item.revision, body=item.body)
                resource.put(stored)
                self._index(None, stored)
            if page.next_after is None:
                break
            after = page.next_after
        # The log is read from before this list was made: what the list has already is not applied again.
        resource.loaded_at = resource.changed_at = at
        return at

    def _resource(self, name: str) -> _Resource:
        found = self._resources.get(name)
        if found is None:
            found = self._resources[name] = _Resource(floor=self._floor, settings=self._settings)
        return found

    def _ring(self, resource: str | None) -> Ring:
        return self._all if resource is None else self._resource(resource).ring

    def _apply(self, change: Change) -> None:
        assert change.revision == self._revision + 1, "the log is dense"
        resource = self._resource(change.key.resource)
        place = (change.key.namespace, change.key.name)
        if change.revision > resource.loaded_at:
            old = resource.objects.get(place)
            if change.after is None:
                resource.remove(place)
                self._unindex(old)
            else:
                stored = Stored(key=change.key, uid=change.uid, revision=change.revision, body=change.after)
                resource.put(stored)
                self._index(old, stored)
            if old is not None:
                self._parsed.pop(old.revision, None)
        self._revision = resource.changed_at = change.revision
        resource.ring.append((change,))
        self._all.append((change,))
        while self._waiting and self._waiting[0][0] <= change.revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    def _index(self, old: Stored | None, new: Stored) -> None:
        obj: JsonObject | None = None
        for name, index in self._indexes.items():
            if index.resource not in (None, new.key.resource):
                continue
            obj = obj if obj is not None else _parse(new.body)
            values = tuple(index.values(obj))
            before = self._index_values[name].get(new.key, ()) if old is not None else ()
            for value in before:
                if value not in values:
                    self._drop(name, value, new.key)
            for value in values:
                self._indexed[name].setdefault(value, {})[new.key] = new
            if values:
                self._index_values[name][new.key] = values
            else:
                self._index_values[name].pop(new.key, None)

    def _unindex(self, old: Stored | None) -> None:
        if old is not None:
            for name in self._indexes:
                for value in self._index_values[name].pop(old.key, ()):
                    self._drop(name, value, old.key)

    def _drop(self, name: str, value: str, key: Key) -> None:
        found = self._indexed[name][value]
        del found[key]
        if not found:
            del self._indexed[name][value]

    async def _watch(
        self, ring: Ring, resource: str | None, after: Revision, items: list[Stored]
    ) -> AsyncIterator[Change]:
        for stored in items:
            yield Change(revision=stored.revision, key=stored.key, uid=stored.uid, before=None, after=stored.body)
        items.clear()
        seen = after
        while ring.after(seen, limit=0) is None:
            changes = await self._store.changes(after=seen)
            for change in changes:
                seen = change.revision
                if resource in (None, change.key.resource):
                    yield change
            assert changes, "what has left the ring is in the log"
        while True:
            found = ring.after(seen, limit=256)
            if found is None:
                text = f"too old resource version: {seen} ({ring.floor}): the watcher is too slow"
                raise GoneError(text, compacted=ring.floor)
            for change in found:
                yield change
                seen = change.revision
            if self._failed is not None:
                raise self._failed
            if not found:
                await ring.news()

    def _fail(self, error: UnavailableError) -> None:
        self._failed = error
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
        self._all.close()
        for resource in self._resources.values():
            resource.ring.close()


@asynccontextmanager
async def following(
    store: Store, *, indexes: Mapping[str, Index] | None = None, settings: CacheSettings | None = None
) -> AsyncGenerator[WatchCache, None]:
    """A loaded cache that follows `store` inside the block."""
    cache = WatchCache(store, indexes=indexes, settings=settings)
    await cache.load()
    async with asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(cache.run())
        try:
            yield cache
        finally:
            follower.cancel()


def _parse(body: bytes) -> JsonObject:
    value: Json = orjson.loads(body)
    assert isinstance(value, dict), "stored objects are JSON objects"
    return value


def _facts(stored: Stored, obj: JsonObject) -> Facts:
    owners = owners_of(obj)
    return Facts(
        labels=labels_of(obj),
        owner_uids=tuple(owner.uid for owner in owners),
        controller_uid=next((owner.uid for owner in owners if owner.controller), ""),
        uid=stored.uid,
    )
