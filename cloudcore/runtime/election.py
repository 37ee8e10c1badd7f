"""Whether this replica leads: the candidate of `candidacy`, run on the Lease kube-system/skerry-cloudcore.

Of several cloudcores on one database each answers requests and serves gateways; what must be done by one alone
(controllers, scheduler, housekeeping) is done by the leader. The lease says who that is. It does not keep a leader
from writing that was held up, by a stopped process or a slow database, until another one had taken over: for that,
taking the lease is also entering a session in the store (`Store.enter`), and every write of the leader carries it
(`fence`). The store refuses the writes of an older session, however late they come.

Keeps nothing but the Lease. A crash leaves it held, and the next leader waits until it has not changed for as long as
it says; a stop leaves it free, and the next one leads at once.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final, Protocol

from cloudcore.registry.bodies import body_of, object_of
from cloudcore.runtime.candidacy import (
    ElectionSettings,
    LeaseRecord,
    Observed,
    claim,
    free_at_s,
    leads_until_s,
    observe,
    record_of,
    released,
    with_record,
)
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import ABSENT, Advance, Batch, Put, Standing, Store, Stored
from skerry.errors import (
    AlreadyExistsError,
    ConflictError,
    FencedError,
    GoneError,
    NotFoundError,
    UnavailableError,
)
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.times import micro_time_text, time_text
from skerry.ports import Clock, Ids
from skerry.waits import until_set

log: Final = logging.getLogger(__name__)

LEASE: Final = Key("leases.coordination.k8s.io", "kube-system", "skerry-cloudcore")
SESSIONS: Final = "cloudcore:leader"
"""Whose sessions the leaders' are, in the store. No node is called so: their names have no colon."""
RELEASE_S_MAX: Final = 2.0
"""A stop waits no longer for a database; the lease ends by itself."""

_LOOK_S: Final = 0.05
"""At least between two attempts."""
_LOST: Final = (ConflictError, AlreadyExistsError, NotFoundError)
"""Another one wrote the Lease, or somebody deleted it."""


class Leadership(Protocol):
    """Who asks whether this replica leads."""

    @property
    def leading(self) -> bool: ...

    @property
    def identity(self) -> str:
        """Of this replica, for as long as its process lives; good as a part of an object's name."""
        ...

    async def changed(self) -> None:
        """Return once `leading` is other than it was when this was called."""
        ...

    def fence(self) -> Advance | None:
        """What each write of the leader's work carries; None where there is only one process that could write.

        Raises `FencedError` when this replica does not lead.
        """
        ...


class Alone(Frozen):
    """The leadership of a process that shares its store with nobody: it always leads, and writes nothing for it."""

    identity: str = "cloudcore"
    leading: bool = True

    async def changed(self) -> None:
        await asyncio.get_running_loop().create_future()

    def fence(self) -> Advance | None:
        return None


class _Reign(Frozen):
    """One time of leading, without a break."""

    session: int
    renewed_s: float
    """When the last renewal was begun that succeeded."""


class Election:
    """`Leadership` among the processes on one store. Run `run` in a task group; `release` when its work has ended."""

    def __init__(
        self,
        store: Store,
        cache: WatchCache,
        clock: Clock,
        ids: Ids,
        *,
        identity: str,
        settings: ElectionSettings | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._ids = ids
        self._identity = identity
        self._settings = settings or ElectionSettings()
        self._seen: Observed | None = None
        self._reign: _Reign | None = None
        self._turn = asyncio.Event()
        """Set when the present state of leading or not ends, and then replaced."""
        self._news = asyncio.Event()
        """The Lease was left free."""
        self._failed = False

    @property
    def leading(self) -> bool:
        return self._reign is not None

    @property
    def identity(self) -> str:
        return self._identity

    async def changed(self) -> None:
        await self._turn.wait()

    def fence(self) -> Advance | None:
        if self._reign is None:
            raise FencedError(f"replica {self._identity} does not lead")
        return self._advance(self._reign.session)

    async def run(self) -> None:
        """Until cancelled. Raises `UnavailableError` when the watch cache can't follow its store any more."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                await (self._follow() if self._reign is None else self._lead(self._reign))

    async def release(self) -> None:
        """Leave the lease free, if this replica holds it; its work must have ended before."""
        reign = self._reign
        if reign is None:
            return
        self._end("it stops")
        with suppress(TimeoutError, UnavailableError, *_LOST):
            async with asyncio.timeout(RELEASE_S_MAX):
                stored = await self._store.get(LEASE)
                if stored is not None and record_of(object_of(stored.body)).holder == self._identity:
                    left = released(record_of(object_of(stored.body)), now=self._now())
                    await self._write(stored, left, reign.session)

    # --- following ---

    async def _follow(self) -> None:
        """Look at the lease once, take it when it is free, and wait for the next look."""
        self._news.clear()
        wait_s = self._settings.retry_s
        try:
            stored = await self._store.get(LEASE)
            now_s = self._clock.monotonic_s()
            self._seen = observe(self._seen, _record(stored), now_s)
            free_s = free_at_s(self._seen, self._identity)
            if now_s >= free_s:
                await self._take(stored, self._seen)
            else:
                # Not all candidates at one instant: the first to come spares the others their attempt.
                wait_s = max(_LOOK_S, min(wait_s, free_s - now_s)) * (1 + self._ids.unit() / 5)
            self._told(None)
        except UnavailableError as error:
            self._told(error)
        except _LOST:
            pass  # another candidate was faster
        if self._reign is None:
            await until_set(self._news, within_s=wait_s)

    async def _take(self, stored: Stored | None, seen: Observed) -> None:
        """Raises what `Store.commit` raises, as soon as another one has the lease, and `UnavailableError`."""
        began_s = self._clock.monotonic_s()
        wanted = claim(seen, self._identity, now=self._now(), settings=self._settings)
        try:
            async with asyncio.timeout(self._settings.renew_s_max):
                # Whoever comes too late enters no more, or would fence who has the lease by now.
                standing = Standing(key=LEASE, revision=ABSENT if stored is None else stored.revision)
                session = (await self._store.enter(SESSIONS, self._identity, while_at=standing)).session
                await self._write(stored, wanted, session)
        except TimeoutError as error:
            raise UnavailableError("the store takes too long for taking the lease") from error
        if self._clock.monotonic_s() >= leads_until_s(began_s, self._settings):
            return
        self._seen = observe(self._seen, wanted, began_s)
        self._reign = _Reign(session=session, renewed_s=began_s)
        self._turn_over()
        log.info("leading identity=%s reign=%d", self._identity, session)

    # --- leading ---

    async def _lead(self, reign: _Reign) -> None:
        """Renew once, or find out that this replica leads no longer."""
        now_s = self._clock.monotonic_s()
        end_s = leads_until_s(reign.renewed_s, self._settings)
        await asyncio.sleep(max(0.0, min(reign.renewed_s + self._settings.retry_s, end_s) - now_s))
        began_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(max(0.0, end_s - began_s)):
                await self._renew(reign)
        except UnavailableError as error:
            self._told(error)
            await asyncio.sleep(min(self._settings.retry_s, max(_LOOK_S, end_s - self._clock.monotonic_s())))
            if self._clock.monotonic_s() >= end_s:
                self._end(self._too_late)
        except TimeoutError:
            self._end(self._too_late)
        except _LOST as error:
            self._end(str(error))
        else:
            self._told(None)
            self._reign = _Reign(session=reign.session, renewed_s=began_s)

    @property
    def _too_late(self) -> str:
        return f"it could not renew its lease for {self._settings.renew_s_max:g} s"

    async def _renew(self, reign: _Reign) -> None:
        """Raises one of `_LOST` when another one holds the lease or has entered, `UnavailableError`."""
        stored = await self._store.get(LEASE)
        record = _record(stored)
        if record is not None and record.holder != self._identity:
            raise ConflictError(f"the lease is held by {record.holder or 'nobody'}")
        self._seen = observe(self._seen, record, self._clock.monotonic_s())
        await self._write(
            stored, claim(self._seen, self._identity, now=self._now(), settings=self._settings), reign.session
        )

    def _end(self, why: str) -> None:
        self._reign = None
        self._turn_over()
        log.info("following identity=%s reason=%s", self._identity, why)

    def _turn_over(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    # --- the Lease ---

    async def _write(self, stored: Stored | None, record: LeaseRecord, session: int) -> None:
        if stored is None:
            uid = self._ids.uid()
            obj, expected = _lease(uid, time_text(self._clock.wall_ms())), ABSENT
        else:
            uid, obj, expected = stored.uid, object_of(stored.body), stored.revision
        put = Put(key=LEASE, uid=uid, body=body_of(with_record(obj, record)), expected=expected)
        await self._store.commit(Batch(writes=(put,), advance=self._advance(session), urgent=True))

    def _advance(self, session: int) -> Advance:
        return Advance(node=SESSIONS, incarnation=self._identity, session=session, covered=())

    async def _listen(self) -> None:
        """A lease that was left is taken at once, not at the next look."""
        while True:
            with suppress(GoneError):
                async for change in self._cache.watch(LEASE.resource):
                    if change.key == LEASE and (
                        change.after is None or not record_of(object_of(change.after)).holder
                    ):
                        self._news.set()

    def _told(self, error: UnavailableError | None) -> None:
        if error is not None and not self._failed:
            log.warning("the leader's lease can't be asked for reason=%s", error)
        self._failed = error is not None

    def _now(self) -> str:
        return micro_time_text(self._clock.wall_ms())


def _record(stored: Stored | None) -> LeaseRecord | None:
    return None if stored is None else record_of(object_of(stored.body))


def _lease(uid: str, now: str) -> JsonObject:
    metadata: JsonObject = {
        "name": LEASE.name,
        "namespace": LEASE.namespace,
        "uid": uid,
        "creationTimestamp": now,
    }
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
