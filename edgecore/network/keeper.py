"""Keeps the directory in step with the edge store, and runs on it the cluster's DNS and the kernel's rules.

Keeps no data of its own: after a crash or a power cycle everything is read from the store, before the cloud is
dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecore.network.answers import Names
from edgecore.network.choice import candidates
from edgecore.network.claim import Claim
from edgecore.network.directory import KNOWN, Directory
from edgecore.network.footing import Footing
from edgecore.network.health import HealthPorts
from edgecore.network.ingress.settings import INGRESS
from edgecore.network.interface import hold_address, is_for_pods
from edgecore.network.neighbours import Neighbours
from edgecore.network.pod_network import PodNetwork
from edgecore.network.resolver import Resolving
from edgecore.network.routing import Routing
from edgecore.network.server import DnsServer
from edgecore.network.settings import DnsSettings, NetworkSettings
from edgecore.network.upstream import HostResolver, Upstream
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.functions import FUNCTIONS, NodeFunction
from skerry.objects.json import decode_object, map_at
from skerry.ports import Clock

if TYPE_CHECKING:
    from edgecore.network.ingress.keeper import IngressKeeper

LOG: Final = logging.getLogger(__name__)

AGAIN_S: Final = 10.0
_PORT: Final = 53
CIRCLE_S: Final = 10.0
"""Between two looks whether the servers of resolv.conf are others."""
_CIRCLE: Final = "the DNS servers in the gateway's /etc/resolv.conf ask this server; name others there"


class NetworkParts(Frozen):
    """What it works with."""

    node: str
    store: AsyncEdgeStore
    clock: Clock
    host_resolver: HostResolver
    directory: Path = Path()
    """The agent's data, where parts that have files keep them: whose this machine's network is, is said by it."""
    addresses: Callable[[], Sequence[str]] = tuple
    """Where others reach this gateway."""
    footing: Footing | None = None
    """What there was for the pods before this; it is closed by who made it."""


class Network:
    """Run `run` in a task group."""

    def __init__(self, parts: NetworkParts, settings: NetworkSettings) -> None:
        self._parts = parts
        self.directory = Directory(parts.node)
        self._changed_s = parts.clock.wall_ms() // 1000
        footing = parts.footing or Footing(claim=Claim(parts.directory))
        self._sockets = footing.sockets
        self._claim = claim = footing.claim
        self.routing = Routing(self.directory, candidates(settings.services), claim) if settings.services else None
        self.health = HealthPorts(self.directory) if settings.services else None
        self.pods: PodNetwork | None = None
        self.neighbours: Neighbours | None = None
        if settings.pods is not None:
            self.pods = PodNetwork(self.directory, settings.pods, claim, footing.file)
            self.neighbours = Neighbours(self.directory, self._poke)
        self.ingress: IngressKeeper | None = None
        if settings.ingress is not None:
            from edgecore.network.ingress.keeper import IngressKeeper, IngressParts  # only who has it pays

            with_proxy = IngressParts(
                node=parts.node,
                store=parts.store,
                clock=parts.clock,
                directory=parts.directory / INGRESS,
                addresses=parts.addresses,
            )
            self.ingress = IngressKeeper(with_proxy, settings.ingress, self.directory)
        self._dns = settings.dns
        self._unheard = ""
        """Why it can't listen."""
        self.server: DnsServer | None = None
        self._resolving: Resolving | None = None
        if settings.dns is not None:
            names = Names(self.directory, settings.dns.domain, lambda: self._changed_s)
            self._resolving = Resolving(names, Upstream(self._servers).ask, parts.clock)
            self.server = DnsServer(self._resolving, settings.dns.host, settings.dns.port)

    async def run(self) -> None:
        """Until cancelled."""
        stop_listening = self._parts.store.listen(self.committed)
        try:
            self._read()
            async with asyncio.TaskGroup() as tasks:
                if self.routing is not None:
                    tasks.create_task(self.routing.run())
                if self.health is not None:
                    tasks.create_task(self.health.run())
                if self.pods is not None:
                    tasks.create_task(self.pods.run())
                if self.neighbours is not None:
                    tasks.create_task(self.neighbours.run())
                if self.ingress is not None:
                    tasks.create_task(self.ingress.run())
                if self.server is not None and self._dns is not None:
                    tasks.create_task(self._answer(self.server, self._dns))
        finally:
            stop_listening()

    def functions(self) -> list[NodeFunction]:
        """What it does for the site, and what of that does not work."""
        told = [part.function for part in (self.routing, self.pods, self.ingress) if part is not None]
        found = [each for each in told if each is not None]
        if self.server is not None and self._dns is not None and (self.server.listens or self._unheard):
            at = (
                f"[{self._dns.host}]:{self._dns.port}"
                if ":" in self._dns.host
                else f"{self._dns.host}:{self._dns.port}"
            )
            circle = self._resolving is not None and self._resolving.circle
            works = self.server.listens and not circle
            if circle:
                self._unheard = f"names of others are refused: {_CIRCLE}"
            message = f"names below {self._dns.domain} are answered at {at}" if works else self._unheard
            reason = "Listening" if works else "Circle" if circle else "NotListening"
            found.append(NodeFunction(kind="ClusterDNS", works=works, reason=reason, message=message))
        return sorted(found, key=lambda each: FUNCTIONS.index(each.kind))

    async def _answer(self, server: DnsServer, dns: DnsSettings) -> None:
        """Where it can't listen, that is told once and tried again."""
        while not server.listens:
            try:
                if is_for_pods(dns.host):
                    await self._claim.take()
                    await hold_address(dns.host)
                await server.listen(self._sockets)
            except UnavailableError as error:
                if self._unheard != str(error):
                    LOG.warning("cluster DNS can't listen reason=%r", str(error))
                self._unheard = str(error)
                await asyncio.sleep(AGAIN_S)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run())
            tasks.create_task(self._look_for_circles())

    async def _look_for_circles(self) -> None:
        """When the gateway's servers are others than they were, and again while there is one."""
        known: Sequence[tuple[str, int]] = ()
        resolving = self._resolving
        assert resolving is not None, "it answers"
        while True:
            servers = self._servers()
            if servers and (servers != known or resolving.circle):
                was = resolving.circle
                with contextlib.suppress(UnavailableError):
                    await resolving.look_for_circle()
                    known = servers
                if resolving.circle and not was:
                    LOG.error("cluster DNS does not ask others: %s", _CIRCLE)
            await asyncio.sleep(CIRCLE_S)

    def _servers(self) -> Sequence[tuple[str, int]]:
        """Those of the gateway, but for this one: a question must not come back to who asks."""
        own = self._dns.host if self._dns is not None else ""
        return [(address, _PORT) for address in self._parts.host_resolver().servers if address != own]

    def _read(self) -> None:
        store = self._parts.store
        for resource in KNOWN:
            for held in store.list(resource):
                self.directory.put(held.key, decode_object(held.body))
        for uid, record in store.pods():
            self.directory.told(uid, map_at(decode_object(record), "status"))

    def committed(self, batch: EdgeBatch) -> None:
        """Take in what was just written."""
        known = [held for held in batch.puts if held.key.resource in KNOWN]
        for key in batch.deletes:
            self.directory.delete(key)
        for held in known:
            self.directory.put(held.key, decode_object(held.body))
        for uid, record in batch.pods:
            self.directory.told(uid, None if record is None else map_at(decode_object(record), "status"))
        if known or batch.deletes or batch.pods:
            self._poke()

    def _poke(self) -> None:
        """The directory says something else."""
        self._changed_s = max(self._changed_s + 1, self._parts.clock.wall_ms() // 1000)
        for part in (self.routing, self.health, self.pods, self.ingress):
            if part is not None:
                part.poke()
