"""The Leases of hubs in kube-system: this one's, renewed, and the others', watched.

A hub that is alone with its store has one, `skerry-hub`, for people to see. Where several share a store each has one
of its own, named after its replica, with the address where the others reach it; a stop takes it away, a crash leaves
it to end. Keeps what was seen of the others; whoever starts anew gives each its full time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import Final

from cloudcore.hub.peers import NAMESPACE, Peers, hub_lease, lease_name, renewed_lease
from cloudcore.registry.port import DeleteOptions, Objects
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Store, Stored
from skerry.errors import AlreadyExistsError, ConflictError, GoneError, NotFoundError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import Key
from skerry.objects.scheme import Kind
from skerry.objects.times import micro_time_text
from skerry.ports import Clock
from skerry.waits import until_set

log = logging.getLogger(__name__)

RENEWALS: Final = 4
"""As many renewals must fail until the others take a hub for dead."""


class LeaseParts(Frozen):
    """What the Leases are kept with."""

    objects: Objects
    store: Store
    cache: WatchCache
    kind: Kind
    clock: Clock


class HubLeases:
    """See the module. Run `run` in a task group, then `release`."""

    def __init__(self, parts: LeaseParts, *, hub: str, renew_s: float) -> None:
        """`hub` names this one among several; "" where it is alone."""
        self.hub = hub
        self.address = ""
        """Where the other replicas reach this one; known once the API listens."""
        self._parts = parts
        self._renew_s = renew_s
        self._peers = Peers()
        self._news = asyncio.Event()
        self._has_left = False
        """A Lease went away since `departures` returned last."""
        self._failed = False
        self._renewed_s = parts.clock.monotonic_s()
        """When the renewal that succeeded last was begun, monotonic."""

    def holds(self) -> bool:
        """Whether the others still believe in this hub: its Lease has not ended. Always of one that is alone."""
        age_s = self._parts.clock.monotonic_s() - self._renewed_s
        return not self.hub or age_s < RENEWALS * self._renew_s

    # --- the others ---

    def lives(self, hub: str) -> bool:
        """Whether this hub, or another one, is to be believed in."""
        return hub == self.hub or self._peers.lives(hub, self._parts.clock.monotonic_s())

    def address_of(self, hub: str) -> str:
        """HOST:PORT of its replica's API; "" where that is not known."""
        return self._peers.address(hub)

    def others(self) -> list[str]:
        """Hubs beside this one that are to be believed in, by name."""
        return self._peers.living(self._parts.clock.monotonic_s())

    async def departures(self) -> list[str]:
        """Return once a hub has left, or its Lease has ended; those whose Lease is still there, to be buried.

        The store is asked before anybody is taken for dead, for a cache that lags would bury the living. Raises
        `UnavailableError`. For one task at a time.
        """
        while True:
            self._news.clear()
            for hub in self._peers.dead(self._parts.clock.monotonic_s()):
                await self._look_at(hub)
            now_s = self._parts.clock.monotonic_s()
            found = self._peers.dead(now_s)
            if found or self._has_left:
                self._has_left = False
                return found
            end_s = self._peers.next_end_s(now_s)
            await until_set(self._news, within_s=None if end_s is None else max(0.01, end_s - now_s))

    async def bury(self, hub: str) -> None:
        """Take away the Lease of a dead hub, unless it is renewed just now. Raises as `Objects.delete`."""
        stored = await self._look_at(hub)
        if stored is None or self.lives(hub):
            return
        with suppress(NotFoundError, ConflictError):
            await self._parts.objects.delete(self._parts.kind, stored.key, DeleteOptions(revision=stored.revision))
            log.info("hub is dead hub=%s", hub)

    async def _look_at(self, hub: str) -> Stored | None:
        """The Lease as the store has it."""
        stored = await self._parts.store.get(self._key(hub))
        lease = None if stored is None else hub_lease(decode_object(stored.body))
        if lease is None:
            self._peers.forget(hub)
            self._has_left = True
        else:
            self._peers.see(lease, self._parts.clock.monotonic_s())
        return stored

    # --- running ---

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew())
            if self.hub:
                tasks.create_task(self._follow())

    async def release(self) -> None:
        """Say that this hub, one of several, serves nobody any more. Raises as `Objects.delete`."""
        if self.hub:
            with suppress(NotFoundError):
                await self._parts.objects.delete(self._parts.kind, self._key(self.hub))

    async def _follow(self) -> None:
        while True:
            with suppress(GoneError):  # too slow for the ring of changes: all of them once more
                async for change in self._parts.cache.watch(self._parts.kind.stored_as, initial=True):
                    body = change.after or change.before
                    lease = None if body is None else hub_lease(decode_object(body))
                    if lease is None or lease.hub == self.hub:
                        continue
                    if change.after is None:
                        self._peers.forget(lease.hub)
                        self._has_left = True
                    else:
                        self._peers.see(lease, self._parts.clock.monotonic_s())
                    self._news.set()

    async def _renew(self) -> None:
        kind, name = self._parts.kind, lease_name(self.hub)
        while True:
            begun_s = self._parts.clock.monotonic_s()
            now = micro_time_text(self._parts.clock.wall_ms())
            renew = partial(renewed_lease, now=now, duration_s=round(RENEWALS * self._renew_s), address=self.address)
            try:
                try:
                    await self._parts.objects.update(kind, kind.key(NAMESPACE, name), renew)
                except NotFoundError:
                    await self._parts.objects.create(kind, NAMESPACE, renew(_new(name)))
                if self._failed:
                    log.info("hub lease renewed again lease=%s", name)
                self._failed = False
                self._renewed_s = begun_s
            except AlreadyExistsError:
                continue
            except SkerryError as error:
                if not self._failed:
                    log.warning("hub lease not renewed lease=%s error=%s", name, error)
                self._failed = True
            await asyncio.sleep(self._renew_s)

    def _key(self, hub: str) -> Key:
        return self._parts.kind.key(NAMESPACE, lease_name(hub))


def _new(name: str) -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
