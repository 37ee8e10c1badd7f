"""The nodes whose hub has gone: what the leader does about them.

Of the nodes that came to a hub, that hub has the say. When it dies nobody does, until the node turns up at another
one; for those that don't within the grace, the leader writes that they are silent. It looks through all nodes when it
begins to lead and whenever a hub leaves or dies, and at no other time. Keeps nothing; a new leader looks anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from cloudcore.hub.leases import HubLeases
from cloudcore.hub.liveness import Liveness
from cloudcore.runtime.election import Leadership
from cloudcore.store.port import Advance, Entry, Store
from skerry.errors import SkerryError

log = logging.getLogger(__name__)

_PAGE: Final = 1000
RETRY_S: Final = 2.0
"""After a store that did not answer."""


class Orphans:
    """See the module. Run `run` in a task group; for hubs that share a store."""

    def __init__(
        self,
        store: Store,
        leases: HubLeases,
        liveness: Liveness,
        leadership: Leadership,
        nodes: Callable[[], Iterable[str]],
    ) -> None:
        """`nodes`: those that have a Node object now."""
        self._store = store
        self._leases = leases
        self._liveness = liveness
        self._leadership = leadership
        self._nodes = nodes

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._leadership.leading:
                await self._leadership.changed()
                continue
            async with asyncio.TaskGroup() as tasks:
                reign = tasks.create_task(self._reign())
                await self._leadership.changed()
                reign.cancel()

    async def _reign(self) -> None:
        dead: list[str] = []
        while True:
            try:
                await self._look_through()
                for hub in dead:
                    await self._leases.bury(hub)
                dead = await self._leases.departures()
            except SkerryError as error:
                log.warning("nodes of hubs that left not looked through error=%s", error)
                await asyncio.sleep(RETRY_S)

    async def _look_through(self) -> None:
        entries: dict[str, Entry] = {}
        after = 0
        while page := await self._store.entries(after=after, limit=_PAGE):
            entries.update({entry.node: entry for entry in page})
            after = page[-1].number
        for node in self._nodes():
            entry = entries.get(node)
            if entry is None:
                self._liveness.orphaned(await self._last_session(node), lambda: self._leadership.leading)
            elif not self._leases.lives(entry.hub):
                self._liveness.orphaned(fence_of(entry), lambda hub=entry.hub: self._is_ours(hub))

    async def _last_session(self, node: str) -> Advance:
        """Of a node that came to no hub that gave its name: never, or to one of an older version."""
        position = await self._store.position(node)
        if position is None:
            return Advance(node=node, incarnation="", session=0, covered=())
        return Advance(node=node, incarnation=position.incarnation, session=position.session, covered=())

    def _is_ours(self, hub: str) -> bool:
        """Whether it is this process that speaks for the nodes of this hub."""
        return self._leadership.leading and not self._leases.lives(hub)


def fence_of(entry: Entry) -> Advance:
    """What fences a write that is made in the name of an entry's session."""
    return Advance(node=entry.node, incarnation=entry.incarnation, session=entry.session, covered=())
