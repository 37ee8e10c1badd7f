"""The watch cache over the memory store: lists, indexes, watches, and what happens to the slow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from cloudcore.store.cache import CacheSettings, Index, WatchCache, following
from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import ABSENT, Batch, Change, Delete, Put
from skerry.errors import GoneError, NotFoundError, UnavailableError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, Revision

PODS_BY_NODE = {"node": Index(resource="pods", values=lambda obj: [str_at(obj, "spec", "nodeName")])}


def make_store() -> MemoryStore:
    return MemoryStore(MemoryState(epoch="e1"))


def body(name: str, **fields: object) -> bytes:
    return json.dumps({"metadata": {"name": name, "labels": {"app": name}}, **fields}, separators=(",", ":")).encode()


def put(resource: str, namespace: str, name: str, **fields: object) -> Put:
    return Put(key=Key(resource, namespace, name), uid=f"uid-{name}", body=body(name, **fields), expected=None)


async def write(store: MemoryStore, cache: WatchCache | None, *writes: Put | Delete) -> Revision:
    revision = (await store.commit(Batch(writes=writes)))[-1]
    if cache is not None:
        await cache.wait_for(revision, timeout_s=5)
    return revision


def names(cache: WatchCache, resource: str, namespace: str = "") -> list[str]:
    return [stored.key.name for stored in cache.select(resource, namespace=namespace)]


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    found: list[Change] = []
    async with asyncio.timeout(5):
        async for change in changes:
            found.append(change)
            if len(found) == count:
                break
    return found


async def test_what_was_there_before_and_what_comes_after_is_read_in_order() -> None:
    store = make_store()
    await write(store, None, put("pods", "b", "x"), put("pods", "a", "z"), put("nodes", "", "n"))
    async with following(store) as cache:
        await write(store, cache, put("pods", "a", "b"))
        assert names(cache, "pods") == ["b", "z", "x"]
        assert names(cache, "pods", "a") == ["b", "z"]
        assert cache.resources() == ["nodes", "pods"]
        await write(store, cache, Delete(key=Key("pods", "a", "z"), expected=None))
        assert names(cache, "pods") == ["b", "x"]
        assert cache.read(Key("pods", "a", "z")) is None
        assert cache.count("pods") == 2
        assert cache.read(Key("pods", "b", "x")) == await store.get(Key("pods", "b", "x"))


async def test_an_index_follows_an_object_that_moves_and_goes() -> None:
    store = make_store()
    await write(store, None, put("pods", "a", "p", spec={"nodeName": "n1"}))
    async with following(store, indexes=PODS_BY_NODE) as cache:
        assert [stored.key.name for stored in cache.indexed("node", "n1")] == ["p"]
        await write(store, cache, put("pods", "a", "p", spec={"nodeName": "n2"}))
        assert cache.indexed("node", "n1") == ()
        assert cache.indexed("node", "n2") == (cache.read(Key("pods", "a", "p")),)
        await write(store, cache, Delete(key=Key("pods", "a", "p"), expected=None))
        assert cache.indexed("node", "n2") == ()


async def test_labels_are_those_of_the_object_as_it_is_now() -> None:
    store = make_store()
    async with following(store) as cache:
        await write(store, cache, put("pods", "a", "p"))
        old = cache.read(Key("pods", "a", "p"))
        assert old is not None
        assert cache.facts(old).labels == {"app": "p"}
        assert cache.facts(old) is cache.facts(old)
        changed = Put(key=old.key, uid=old.uid, body=b'{"metadata":{"labels":{"app":"q"}}}', expected=None)
        await write(store, cache, changed)
        new = cache.read(old.key)
        assert new is not None
        assert cache.facts(new).labels == {"app": "q"}
        assert cache.facts(old).labels == {"app": "p"}
        assert str_at(cache.obj(new), "metadata", "resourceVersion") == str(new.revision)


async def test_a_watch_from_a_revision_before_the_cache_began_reads_the_log_and_then_goes_on() -> None:
    store = make_store()
    first = await write(store, None, put("pods", "a", "p1"))
    await write(store, None, put("nodes", "", "n"), put("pods", "a", "p2"))
    async with following(store) as cache:
        changes = cache.watch("pods", after=first)
        await write(store, cache, put("nodes", "", "n"), put("pods", "a", "p3"))
        assert [change.key.name for change in await take(changes, 2)] == ["p2", "p3"]
        everything = cache.watch(None, after=first)
        assert [change.revision for change in await take(everything, 4)] == [2, 3, 4, 5]


async def test_a_watch_with_initial_objects_shows_each_once_and_then_what_changes() -> None:
    store = make_store()
    await write(store, None, put("pods", "a", "p1"), put("pods", "a", "p2"))
    async with following(store) as cache:
        changes = cache.watch("pods", initial=True)
        await write(store, cache, Delete(key=Key("pods", "a", "p1"), expected=None))
        seen = await take(changes, 3)
        assert [(change.key.name, change.after is None) for change in seen] == [
            ("p1", False),
            ("p2", False),
            ("p1", True),
        ]


async def test_a_watcher_too_slow_for_the_ring_is_told_that_it_is_gone() -> None:
    store = make_store()
    async with following(store, settings=CacheSettings(ring=4)) as cache:
        changes = cache.watch("pods")
        await write(store, cache, put("pods", "a", "p"))
        await take(changes, 1)
        slow = cache.watch("pods")
        await write(store, cache, put("pods", "a", "p"))
        await anext(slow)
        for _ in range(20):
            await write(store, cache, put("pods", "a", "p"))
        with pytest.raises(GoneError):
            await take(slow, 20)


async def test_a_watch_below_the_compacted_revision_is_gone() -> None:
    store = make_store()
    await write(store, None, put("pods", "a", "p1"), put("pods", "a", "p2"))
    await store.compact(Revision(2))
    async with following(store) as cache:
        with pytest.raises(GoneError):
            await take(cache.watch("pods", after=Revision(1)), 1)


async def test_waiting_for_a_revision_that_does_not_come_ends_at_the_deadline() -> None:
    async with following(make_store()) as cache:
        with pytest.raises(UnavailableError, match="not yet at 7"):
            await cache.wait_for(Revision(7), timeout_s=0.01)


async def test_watchers_and_waiters_learn_that_the_cache_stopped() -> None:
    store = make_store()
    async with following(store) as cache:
        changes = cache.watch("pods")
        waiting = asyncio.create_task(cache.wait_for(Revision(9), timeout_s=5))
        await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="stopped"):
        await take(changes, 1)
    with pytest.raises(UnavailableError, match="stopped"):
        await waiting


async def test_writes_while_the_cache_loads_are_neither_lost_nor_shown_twice() -> None:
    class BusyStore(MemoryStore):
        async def resources(self) -> Sequence[str]:
            await self.commit(Batch(writes=(put("pods", "a", "late-1"), put("pods", "a", "late-2"))))
            return await super().resources()

    store = BusyStore(MemoryState(epoch="e1"))
    await write(store, None, put("nodes", "", "n"), put("pods", "a", "p"))
    async with following(store) as cache:
        assert cache.revision == await store.revision()
        assert names(cache, "pods") == ["late-1", "late-2", "p"]
        await write(store, cache, put("pods", "a", "last"))
        assert names(cache, "pods") == ["last", "late-1", "late-2", "p"]


async def test_the_cache_goes_on_from_where_its_store_broke_off() -> None:
    def plan(operation: Operation, number: int) -> Fault | None:
        return Fault(error=UnavailableError("a hiccup")) if operation == "watch" and number in (2, 3) else None

    memory = make_store()
    async with following(FailingStore(memory, plan), settings=CacheSettings(retry_s=0.001)) as cache:
        changes = cache.watch("pods")
        for name in ("a", "b", "c"):
            await write(memory, cache, put("pods", "ns", name))
        assert names(cache, "pods") == ["a", "b", "c"]
        assert [change.revision for change in await take(changes, 3)] == [1, 2, 3]


async def test_a_cache_that_the_log_was_compacted_past_says_so_and_ends() -> None:
    store = make_store()
    cache = WatchCache(store)
    await cache.load()
    await write(store, None, put("pods", "ns", "a"), put("pods", "ns", "b"))
    await store.compact(Revision(1))
    with pytest.raises(GoneError):
        await cache.run()
    with pytest.raises(UnavailableError, match="can't follow its store"):
        await cache.wait_for(Revision(0), timeout_s=1)


async def test_a_watch_replayed_over_its_initial_objects_gives_what_the_cache_has() -> None:
    chance = random.Random(5)
    store = make_store()
    async with following(store, indexes=PODS_BY_NODE) as cache:

        async def writer(number: int) -> None:
            for _ in range(40):
                name, node = f"p{chance.randrange(12)}", f"n{chance.randrange(3)}"
                wanted: Put | Delete = put("pods", f"ns{number % 2}", name, spec={"nodeName": node})
                if chance.random() < 0.3:
                    wanted = Delete(key=wanted.key, expected=None)
                with contextlib.suppress(NotFoundError):
                    await write(store, cache, wanted)

        writing = [asyncio.create_task(writer(number)) for number in range(4)]
        await writing[0]
        changes = cache.watch("pods", initial=True)
        await asyncio.gather(*writing)
        last = put("pods", "zz", "last")
        await write(store, cache, last)
        replayed: dict[Key, bytes] = {}
        async for change in changes:
            if change.after is None:
                del replayed[change.key]
            else:
                replayed[change.key] = change.after
            if change.key == last.key:
                break
        current = cache.select("pods")
        assert {stored.key: stored.body for stored in current} == replayed
        assert [stored.key for stored in current] == sorted(replayed)
        for node in ("n0", "n1", "n2"):
            expected = {key for key, found in replayed.items() if json.loads(found).get("spec") == {"nodeName": node}}
            assert {stored.key for stored in cache.indexed("node", node)} == expected


async def test_parsed_objects_are_kept_within_the_bound() -> None:
    store = make_store()
    async with following(store, settings=CacheSettings(parsed=2)) as cache:
        parsed: list[JsonObject] = []
        for name in ("a", "b", "c"):
            await write(store, cache, put("pods", "a", name))
            stored = cache.read(Key("pods", "a", name))
            assert stored is not None
            parsed.append(cache.obj(stored))
        newest = cache.read(Key("pods", "a", "c"))
        oldest = cache.read(Key("pods", "a", "a"))
        assert newest is not None
        assert oldest is not None
        assert cache.obj(newest) is parsed[2]
        assert cache.obj(oldest) is not parsed[0]
        assert oldest.revision > ABSENT
