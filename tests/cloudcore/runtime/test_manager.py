"""The manager: who is woken by what, and what an error does."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from cloudcore.runtime.informer import BY_OWNER, INDEXES, PODS_BY_NODE, Keys, Seen, Subscriber
from cloudcore.runtime.manager import run_controllers
from cloudcore.store.cache import following
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Batch, Delete, Put
from skerry.clocks import SystemClock
from skerry.errors import BadRequestError, ConflictError, UnavailableError
from skerry.objects.json import str_at
from skerry.objects.meta import Key


def put(name: str, **fields: object) -> Put:
    body = json.dumps({"metadata": {"name": name, "namespace": "d"}, **fields}, separators=(",", ":")).encode()
    return Put(key=Key("pods", "d", name), uid=f"uid-{name}", body=body, expected=None)


class Recording:
    """A controller that notes its keys and does what it is told."""

    name = "recording"
    workers = 2

    def __init__(self, act: Callable[[Key], Awaitable[float | None]] | None = None, resource: str = "pods") -> None:
        self.keys: list[str] = []
        self._act = act
        self._resource = resource
        self._news = asyncio.Event()

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource=self._resource, keys=lambda change: [change.key])]

    async def reconcile(self, key: Key) -> float | None:
        self.keys.append(key.name)
        self._news.set()
        return None if self._act is None else await self._act(key)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def running(store: MemoryStore, *controllers: Recording, subscribers: Sequence[Subscriber] = ()):
    async with following(store, indexes=INDEXES) as cache, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_controllers(cache, SystemClock(), controllers, subscribers))
        yield cache
        task.cancel()


def make_store() -> MemoryStore:
    return MemoryStore(MemoryState(epoch="e1"))


async def test_what_exists_and_what_changes_wakes_the_controller():
    store = make_store()
    await store.commit(Batch(writes=(put("old"),)))
    controller = Recording()
    everything = Recording(resource="")
    async with running(store, controller, everything):
        await controller.until(lambda: "old" in controller.keys)
        await store.commit(Batch(writes=(put("new"),)))
        await controller.until(lambda: "new" in controller.keys)
        await store.commit(Batch(writes=(Delete(key=Key("pods", "d", "old"), expected=None),)))
        await controller.until(lambda: controller.keys.count("old") == 2)
        await everything.until(lambda: everything.keys.count("old") == 2)


async def test_an_error_puts_off_one_key_alone_and_is_logged_once(caplog):
    caplog.set_level(logging.INFO, "cloudcore.runtime.manager")
    failures = 3

    async def act(key: Key) -> float | None:
        nonlocal failures
        if key.name == "bad" and failures:
            failures -= 1
            raise UnavailableError("the disk is away")
        return None

    store = make_store()
    await store.commit(Batch(writes=(put("bad"), put("good"))))
    controller = Recording(act)
    async with running(store, controller):
        await controller.until(lambda: controller.keys.count("bad") == 4)
    assert controller.keys.count("good") == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_conflict_is_tried_again_without_a_word(caplog):
    conflicts = 1

    async def act(key: Key) -> float | None:
        nonlocal conflicts
        if conflicts:
            conflicts -= 1
            raise ConflictError("modified")
        return None

    store = make_store()
    await store.commit(Batch(writes=(put("a"),)))
    controller = Recording(act)
    async with running(store, controller):
        await controller.until(lambda: controller.keys.count("a") == 2)
    assert not caplog.records


async def test_our_own_fault_in_one_key_does_not_stop_the_others():
    async def act(key: Key) -> float | None:
        assert key.name != "bad"
        return None

    store = make_store()
    await store.commit(Batch(writes=(put("bad"),)))
    controller = Recording(act)
    async with running(store, controller):
        await controller.until(lambda: controller.keys.count("bad") >= 2)
        await store.commit(Batch(writes=(put("good"),)))
        await controller.until(lambda: "good" in controller.keys)


async def test_a_fault_in_telling_whom_a_change_concerns_ends_nobody_and_is_looked_at_again(caplog):
    class Faulty(Recording):
        faults = 2

        def watches(self) -> Sequence[Keys]:
            return [Keys(resource="pods", keys=self._of_pod)]

        def _of_pod(self, change: Seen) -> Iterable[Key]:
            yield Key("pods", "d", "first")
            if change.key.name == "bad" and self.faults:
                self.faults -= 1
                raise BadRequestError('"in" is not a valid label selector operator')
            yield change.key

    caplog.set_level(logging.INFO, "cloudcore.runtime.manager")
    store = make_store()
    await store.commit(Batch(writes=(put("bad"),)))
    faulty, other = Faulty(), Recording()
    async with running(store, faulty, other):
        await faulty.until(lambda: "bad" in faulty.keys)
        await store.commit(Batch(writes=(put("good"),)))
        await faulty.until(lambda: "good" in faulty.keys)
        await other.until(lambda: {"bad", "good"} <= {*other.keys})
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_changes_that_could_not_be_told_of_are_told_of_each():
    """Who had the pod before the first of them, or in between, is woken too."""

    class Faulty(Recording):
        broken = True

        def watches(self) -> Sequence[Keys]:
            return [Keys(resource="pods", keys=self._of_pod)]

        def _of_pod(self, change: Seen) -> Iterable[Key]:
            assert not self.broken
            for obj in (change.before, change.after):
                if obj is not None:
                    yield Key("pods", "d", str_at(obj, "owner"))

    store = make_store()
    await store.commit(Batch(writes=(put("a", owner="one"),)))
    faulty, other = Faulty(), Recording()
    faulty.broken = False
    async with running(store, faulty, other):
        await faulty.until(lambda: faulty.keys == ["one"])
        faulty.broken = True
        await store.commit(Batch(writes=(put("a", owner="two"),)))
        await store.commit(Batch(writes=(put("a", owner="three"),)))
        await store.commit(Batch(writes=(put("z"),)))
        await other.until(lambda: "z" in other.keys)
        faulty.broken = False
        await faulty.until(lambda: {"one", "two", "three"} <= {*faulty.keys[1:]})


async def test_what_went_untold_is_gone_though_another_has_its_name():
    told: list[str] = []

    class Faulty(Recording):
        broken = True

        def watches(self) -> Sequence[Keys]:
            return [Keys(resource="pods", keys=self._of_pod)]

        def _of_pod(self, change: Seen) -> Iterable[Key]:
            assert not self.broken
            told.append(f"{str_at(change.last, 'owner')} {'gone' if change.deleted else 'new'}")
            yield change.key

    store = make_store()
    faulty, other = Faulty(), Recording(resource="pods")
    async with running(store, faulty, other):
        for owner in ("one", "two"):
            await store.commit(Batch(writes=(put("a", owner=owner),)))
            await other.until(lambda: len(other.keys) % 2 == 1)
            if owner == "one":
                await store.commit(Batch(writes=(Delete(key=Key("pods", "d", "a"), expected=None),)))
                await other.until(lambda: len(other.keys) % 2 == 0)
        faulty.broken = False
        await faulty.until(lambda: faulty.keys == ["a"])
    assert told == ["one new", "one gone", "two new"]


async def test_what_is_kept_of_untold_changes_has_a_bound_and_loses_no_end():
    told: list[str] = []

    class Faulty(Recording):
        broken = True

        def watches(self) -> Sequence[Keys]:
            return [Keys(resource="pods", keys=self._of_pod)]

        def _of_pod(self, change: Seen) -> Iterable[Key]:
            assert not self.broken
            told.append("gone" if change.deleted else str_at(change.last, "owner"))
            yield change.key

    store = make_store()
    faulty, other = Faulty(), Recording(resource="pods")
    async with running(store, faulty, other):
        gone = Delete(key=Key("pods", "d", "a"), expected=None)
        writes = [*(put("a", owner=str(number)) for number in range(20)), gone, put("a", owner="next")]
        for number, write in enumerate(writes):
            await store.commit(Batch(writes=(write,)))
            await other.until(lambda number=number: len(other.keys) > number)
        faulty.broken = False
        await faulty.until(lambda: "a" in faulty.keys)
    assert told[-2:] == ["gone", "next"]
    assert len(told) == 8


async def test_a_controller_can_ask_to_look_again():
    looks = 0

    async def act(key: Key) -> float | None:
        nonlocal looks
        looks += 1
        return 0.01 if looks < 3 else None

    store = make_store()
    await store.commit(Batch(writes=(put("a"),)))
    controller = Recording(act)
    async with running(store, controller):
        await controller.until(lambda: looks == 3)


async def test_subscribers_see_before_and_after_in_order():
    class Looking:
        resources = frozenset({"pods"})

        def __init__(self) -> None:
            self.seen: list[tuple[str, str, bool]] = []

        def restart(self) -> None:
            self.seen.clear()

        def see(self, change: Seen) -> None:
            before = str_at(change.before or {}, "phase")
            self.seen.append((before, str_at(change.last, "phase"), change.deleted))

    store = make_store()
    await store.commit(Batch(writes=(put("a", phase="1"),)))
    looking, controller = Looking(), Recording()
    async with running(store, controller, subscribers=[looking]):
        await controller.until(lambda: len(controller.keys) == 1)
        await store.commit(Batch(writes=(put("a", phase="2"),)))
        await store.commit(Batch(writes=(Delete(key=Key("pods", "d", "a"), expected=None),)))
        await controller.until(lambda: len(looking.seen) == 3)
    assert looking.seen == [("", "1", False), ("1", "2", False), ("2", "2", True)]


async def test_pods_are_indexed_by_node_and_objects_by_owner():
    store = make_store()
    pod = put("a", spec={"nodeName": "eu-1"})
    owned = json.loads(pod.body)
    owned["metadata"]["ownerReferences"] = [{"uid": "u1"}]
    await store.commit(
        Batch(
            writes=(
                Put(key=pod.key, uid="u", body=json.dumps(owned, separators=(",", ":")).encode(), expected=None),
                put("b"),
            )
        )
    )
    async with running(store) as cache:
        assert [stored.key.name for stored in cache.indexed(PODS_BY_NODE, "eu-1")] == ["a"]
        assert [stored.key.name for stored in cache.indexed(BY_OWNER, "u1")] == ["a"]
