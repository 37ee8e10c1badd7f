"""Runs controllers: workers that take keys from a queue and reconcile them, until told to stop.

An error in one key puts off that key alone and is logged when it begins, when it changes and when it ends. So does
one in telling whom a change concerns: the change is kept until that can be told. Keeps the queues, such changes and
the last error of each failing key in memory; a crash loses them, and the next start reconciles everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from cloudcore.registry.port import Objects
from cloudcore.runtime.events import EventRecorder
from cloudcore.runtime.informer import Informer, Keys, Seen, Subscriber
from cloudcore.runtime.workqueue import WorkQueue
from cloudcore.store.cache import WatchCache
from skerry.errors import ConflictError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.meta import Key
from skerry.objects.scheme import Kind, Scheme
from skerry.ports import Clock, Ids
from skerry.waits import until_set

log = logging.getLogger(__name__)

_CHANGES_MAX: Final = 8
"""Of one object, that are kept while nobody can tell whom they concern; of more, neighbours become one."""
_UNREAD_MAX: Final = 10_000
"""Objects with such changes, of one controller; the oldest is given up for one more."""
_RECONCILE_S_MAX: Final = 120.0
"""No single pass over a key takes longer; one that hangs is cut off and tried again."""


class Tools(Frozen):
    """What a controller works with."""

    objects: Objects
    cache: WatchCache
    scheme: Scheme
    clock: Clock
    ids: Ids

    def kind(self, resource: str) -> Kind:
        """A built-in kind by its resource (`deployments.apps`)."""
        kind = self.scheme.of_resource(resource)
        assert kind is not None, f"{resource} is a built-in kind"
        return kind

    def recorder(self, component: str) -> EventRecorder:
        return EventRecorder(self.objects, self.kind("events"), self.clock, component=component)


class UnfinishedError(SkerryError):
    """A pass could not reach its end, and has told so in the object's status: again, later each time, in silence."""


class Controller(Protocol):
    """Brings what is observed to what is desired, one key at a time."""

    @property
    def name(self) -> str: ...

    @property
    def workers(self) -> int:
        """How many keys are worked on at a time."""
        ...

    def watches(self) -> Sequence[Keys]:
        """What wakes it, and which keys that concerns."""
        ...

    def reconcile(self, key: Key) -> Awaitable[float | None]:
        """One pass. Seconds after which to look again, or None; an error means again, later each time."""
        ...


class _Unread(Frozen, kw_only=False):
    """Changes of an object of which could not be told whom they concern."""

    key: Key
    watch: str
    """By which resource it is watched."""

    def __str__(self) -> str:
        return f"{self.key} (whom it concerns)"


class _Runner:
    """One controller with its queue; a subscriber of the informer."""

    def __init__(self, controller: Controller, clock: Clock) -> None:
        self._controller = controller
        self._clock = clock
        self._queue: WorkQueue[Key | _Unread] = WorkQueue()
        self._news = asyncio.Event()
        self._errors: dict[Key | _Unread, str] = {}
        self._unread: dict[_Unread, tuple[Seen, ...]] = {}
        """Oldest first."""
        watches = controller.watches()
        self._watches = {watch.resource: watch.keys for watch in watches}
        assert len(self._watches) == len(watches), f"{controller.name} watches a resource once"

    @property
    def resources(self) -> frozenset[str] | None:
        return None if "" in self._watches else frozenset(self._watches)

    def restart(self) -> None:
        """Nothing to forget: keys are looked at as they are when their turn comes."""

    def see(self, change: Seen) -> None:
        for resource in (change.key.resource, ""):
            keys = self._watches.get(resource)
            if keys is not None:
                self._look(_Unread(change.key, resource), keys, change)

    def _look(self, unread: _Unread, keys: Callable[[Seen], Iterable[Key]], change: Seen) -> None:
        changes = (*self._unread.pop(unread, ()), change)
        try:
            for each in changes:
                self._add(keys(each))
        # The informer is everybody's: a fault of one controller about one object must not end it. A worker of that
        # controller looks again.
        except Exception:
            self._keep(unread, changes)

    def _keep(self, unread: _Unread, changes: tuple[Seen, ...]) -> None:
        if len(self._unread) >= _UNREAD_MAX:
            given_up = next(iter(self._unread))
            del self._unread[given_up]
            self._errors.pop(given_up, None)
            log.warning("too many to look at again controller=%s given_up=%s", self._controller.name, given_up)
        self._unread[unread] = _joined(changes) if len(changes) > _CHANGES_MAX else changes
        self._queue.add(unread)
        self._news.set()

    def _add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._queue.add(key)
            self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._controller.workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            now = self._clock.monotonic_s()
            key = self._queue.take(now)
            if key is None:
                await self._wait(self._queue.next_due(now), now)
                continue
            await self._pass(key)
            # A pass that finds nothing to do never awaits: let the others have their turn.
            await asyncio.sleep(0)

    async def _wait(self, due: float | None, now: float) -> None:
        self._news.clear()
        await until_set(self._news, within_s=None if due is None else max(due - now, 0.001))

    async def _pass(self, key: Key | _Unread) -> None:
        try:
            again_s = self._read(key) if isinstance(key, _Unread) else await self._reconcile(key)
        except (ConflictError, UnfinishedError):
            # Somebody else wrote in between; that is how it should go, and the next look knows more.
            self._queue.failed(key, self._clock.monotonic_s())
        except SkerryError as error:
            self._failed(key, error)
        # The root of a worker: a fault of ours in one key must not stop the others.
        except Exception as error:
            self._failed(key, error)
        else:
            self._succeeded(key, again_s)

    async def _reconcile(self, key: Key) -> float | None:
        async with asyncio.timeout(_RECONCILE_S_MAX):
            return await self._controller.reconcile(key)

    def _read(self, unread: _Unread) -> None:
        for change in self._unread.get(unread, ()):
            self._add(self._watches[unread.watch](change))
        self._unread.pop(unread, None)

    def _succeeded(self, key: Key | _Unread, again_s: float | None) -> None:
        if self._errors.pop(key, None) is not None:
            log.info("reconciles again controller=%s key=%s", self._controller.name, key)
        self._queue.done(key)
        if again_s is not None:
            self._queue.add_at(key, self._clock.monotonic_s() + again_s)
        self._news.set()

    def _failed(self, key: Key | _Unread, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if self._errors.get(key) != text:
            self._errors[key] = text
            fault = None if isinstance(error, SkerryError) else error
            log.warning(
                "reconcile failed controller=%s key=%s error=%s", self._controller.name, key, text, exc_info=fault
            )
        self._queue.failed(key, self._clock.monotonic_s())
        self._news.set()


def _joined(changes: tuple[Seen, ...]) -> tuple[Seen, ...]:
    """With the oldest two in one that may be: a deletion, and what has the name since, stay two."""
    at = next(at for at, each in enumerate(changes) if not each.deleted)
    return (*changes[:at], changes[at + 1].since(changes[at]), *changes[at + 2 :])


async def run_controllers(
    cache: WatchCache, clock: Clock, controllers: Sequence[Controller], subscribers: Sequence[Subscriber] = ()
) -> None:
    """Run controllers, and show changes to other subscribers, until cancelled.

    Raises `UnavailableError` when the watch cache can't follow its store any more.
    """
    runners = [_Runner(controller, clock) for controller in controllers]
    informer = Informer(cache, [*runners, *subscribers])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(informer.run())
        for runner in runners:
            tasks.create_task(runner.run())
