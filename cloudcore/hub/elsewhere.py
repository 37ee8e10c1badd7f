"""Gateways at other hubs: whom to ask for what only a live session can tell, and what is answered to the others.

Which hub a node came to last is in the store; whether that hub lives, and where it is reached, in its Lease. What the
others ask is answered from the sessions of this hub alone. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol

import orjson

from cloudcore.hub.leases import HubLeases
from cloudcore.hub.streams import FULL
from cloudcore.hub.traffic import TrafficLedger
from cloudcore.runtime.replicas import LENT_PATH, Replica, stream_path, traffic_path
from cloudcore.store.port import Store
from skerry.errors import SkerryError, UnavailableError
from skerry.objects.json import Json, encode_object
from skerry.objects.traffic import Usage
from skerry.ports import Pipe
from skerry.transport.hosting import StreamHost
from skerry.transport.pipes import relay


class Client(Protocol):
    """What is asked of `cloudcore.runtime.replicas.ReplicaClient`."""

    def open(self, replica: Replica, path: str, params: bytes) -> AbstractAsyncContextManager[Pipe]: ...

    async def ask(self, replica: Replica, path: str) -> bytes: ...


class NodesElsewhere:
    """Asks the replica to which a node is connected."""

    def __init__(self, store: Store, leases: HubLeases, client: Client | None) -> None:
        """`client` None: there are no other replicas."""
        self._store = store
        self._leases = leases
        self._client = client

    @asynccontextmanager
    async def open(self, node: str, kind: str, params: bytes) -> AsyncGenerator[Pipe]:
        """A stream to a node that is not connected here. Raises `UnavailableError` that names the replica, where it
        can't be had."""
        replica = await self._replica(node)
        if replica is None or self._client is None:
            raise UnavailableError(f"node {node} is not connected: its {kind} are on the gateway")
        async with self._client.open(replica, stream_path(node, kind), params) as pipe:
            yield pipe

    async def counted(self, node: str) -> Usage:
        """Bytes on the node's link that another replica counted and did not write down yet. Raises
        `UnavailableError`."""
        replica = await self._replica(node)
        if replica is None or self._client is None:
            return Usage()
        answer = await self._client.ask(replica, traffic_path(node))
        try:
            told: Json = orjson.loads(answer)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            raise UnavailableError(f"replica {replica.name} answers what makes no sense")
        return Usage.read(told)

    async def lent_ago_s(self) -> float | None:
        """See `cloudcore.hub.lending`: as the replica that leads says, whichever that is. None: nobody knows."""
        if self._client is None:
            return None
        for hub in self._leases.others():
            replica = Replica(name=hub, address=self._leases.address_of(hub), lives=partial(self._leases.lives, hub))
            if not replica.address:
                continue
            try:
                told: Json = orjson.loads(await self._client.ask(replica, LENT_PATH))
            except (SkerryError, orjson.JSONDecodeError):
                continue  # whoever leads may be another one
            ago_s = told.get("agoSeconds") if isinstance(told, dict) else None
            if isinstance(ago_s, int | float) and ago_s >= 0:
                return float(ago_s)
        return None

    async def _replica(self, node: str) -> Replica | None:
        """Where the node is; None: not at another replica, as far as is known."""
        entry = await self._store.entry(node) if self._leases.hub else None
        if entry is None or entry.hub == self._leases.hub:
            return None
        if not self._leases.lives(entry.hub):
            return None
        address = self._leases.address_of(entry.hub)
        if not address:
            raise UnavailableError(f"node {node} is at replica {entry.hub}, which does not say where it is reached")
        return Replica(name=entry.hub, address=address, lives=lambda: self._leases.lives(entry.hub))


class NodesHere:
    """Answers other replicas."""

    def __init__(
        self,
        streams_of: Callable[[str], StreamHost | None],
        traffic: TrafficLedger,
        lent_ago_s: Callable[[], float | None],
    ) -> None:
        self._streams_of = streams_of
        self._traffic = traffic
        self._lent_ago_s = lent_ago_s

    async def carry(self, node: str, kind: str, near: Pipe, params: bytes) -> None:
        """See `cloudcore.api.replicas.NodesHere`."""
        streams = self._streams_of(node)
        if streams is None:
            raise UnavailableError(f"node {node} is not connected to this replica any more; try again")
        async with streams.open(kind, params, full=FULL) as far:
            await relay(near, far)

    def counted(self, node: str) -> bytes:
        """See `cloudcore.api.replicas.NodesHere`."""
        return encode_object(self._traffic.waiting(node).shown())

    def lent(self) -> bytes:
        """See `cloudcore.api.replicas.NodesHere`."""
        return encode_object({"agoSeconds": self._lent_ago_s()})
