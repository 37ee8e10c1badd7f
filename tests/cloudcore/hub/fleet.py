"""A hub over the real registry, and gateways with the real link, all in one process, on links that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cloudcore.hub.elsewhere import Client
from cloudcore.hub.hub import Hub, HubParts, HubSettings
from cloudcore.hub.liveness import LivenessSettings
from cloudcore.hub.outcomes import kinds_in
from cloudcore.hub.places import PlaceSettings
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.placements import record_key
from cloudcore.runtime.election import Leadership
from cloudcore.runtime.informer import INDEXES
from cloudcore.store.cache import WatchCache, following
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Advance, Store
from edgecore.link.dial import Dialer
from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.link.streams import BodySource, StreamKinds, StreamSource
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, EdgeStore, NewReport, ReportClass
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SeededIds, SystemClock
from skerry.errors import AlreadyExistsError, UnavailableError
from skerry.objects.commands import CAPABILITY
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key
from skerry.objects.reports import NODE_STATUS, NodeStatusReport
from skerry.objects.scheme import Kind
from skerry.ports import Clock, Ids, Link
from skerry.sync.ports import SyncSettings
from skerry.transport.hosting import Talker
from skerry.transport.memory import MemoryLink, pair

AUTHORITIES = {"aa": "first", "bb": "second"}
"""Who signs certificates, by their keys."""
QUICK = PlaceSettings(retry_s_min=0.1)
"""Who is sent away comes back soon."""
SETTINGS = HubSettings(
    sync=SyncSettings(heartbeat_s=1.0), liveness=LivenessSettings(grace_s=0.05, lease_s=5.0), places=QUICK
)


async def eventually(holds: Callable[[], object], what: str = "it") -> None:
    """Wait for a level, at most ten seconds."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


class Replica:
    """A leadership that a test decides."""

    def __init__(self, identity: str = "alone", *, leading: bool = True) -> None:
        self.identity = identity
        self._leading = leading
        self._turn = asyncio.Event()

    @property
    def leading(self) -> bool:
        return self._leading

    async def changed(self) -> None:
        await self._turn.wait()

    def fence(self) -> Advance | None:
        return None

    def lead(self, leading: bool) -> None:
        self._leading = leading
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()


class SharedMemoryStore(MemoryStore):
    """A store in memory that several hubs of one process use as if they were several processes."""

    @property
    def shared(self) -> bool:
        return True


def node_report(*, ready: str = "True", site: str = "north") -> bytes:
    """What a gateway says of itself."""
    condition: JsonObject = {
        "type": "Ready",
        "status": ready,
        "reason": "EdgeReady",
        "message": "works",
        "lastTransitionTime": "2026-11-21T03:00:00Z",
        "lastHeartbeatTime": "2026-11-21T03:00:00Z",
    }
    return NodeStatusReport(labels={"site": site}, status={"conditions": [condition]}).encode()


class Gateway:
    """One gateway: store, link, and the wire to its hub."""

    def __init__(
        self,
        fleet: Fleet,
        node: str,
        store: EdgeStore,
        dialer: Dialer | None,
        kinds: StreamKinds,
    ) -> None:
        self.fleet = fleet
        self.node = node
        self.key = ""
        """What its certificate proves; "" for a link that proves none."""
        self.issuer = ""
        """Whose key signed that."""
        self.ids = SeededIds(3)
        self.wire: MemoryLink | None = None
        self.store = AsyncEdgeStore(store)
        settings = LinkSettings(
            node=node, agent_version="test", boot_id="boot", addresses=("one:1",), sync=SyncSettings(heartbeat_s=1.0)
        )
        parts = LinkParts(
            store=self.store,
            dialer=dialer or self.dial,
            clock=SystemClock(),
            ids=self.ids,
            streams=kinds,
            capabilities=fleet.capabilities,
        )
        self.link = EdgeLink(settings, parts)

    async def dial(self, address: str) -> Link:
        if self.fleet.down:
            raise UnavailableError("no route")
        edge, cloud = pair(edge_name=f"system:node:{self.node}", edge_key=self.key, edge_issuer=self.issuer)
        self.wire = edge
        self.fleet.tasks.create_task(self.fleet.hub.handle(cloud))
        return edge

    async def tell(self, report_class: ReportClass, kind: str, key: str, body: bytes) -> None:
        report = NewReport(report_class=report_class, kind=kind, key=key, body=body)
        await self.store.apply(EdgeBatch(reports=(report,)))

    async def tell_node(self, *, ready: str = "True") -> None:
        await self.tell("state", NODE_STATUS, "", node_report(ready=ready))

    def holds(self, resource: str, name: str, namespace: str = "ns") -> bool:
        return self.store.get(Key(resource, namespace, name)) is not None


@dataclass(slots=True, kw_only=True)
class Fleet:
    """The cloud's side."""

    objects: LocalObjects
    store: Store
    cache: WatchCache
    hub: Hub
    tasks: asyncio.TaskGroup
    down: bool = False
    capabilities: tuple[str, ...] = (CAPABILITY,)
    """Of the agents of gateways that come next."""

    def kind(self, resource: str) -> Kind:
        found = builtin_scheme().of_resource(resource)
        assert found is not None
        return found

    async def create(self, resource: str, name: str, namespace: str = "ns", **fields: Json) -> JsonObject:
        kind = self.kind(resource)
        place = namespace if kind.namespaced else ""
        obj: JsonObject = {"metadata": {"name": name}, **fields}
        return (await self.objects.create(kind, place, obj)).obj

    async def had_device(self, node: str, uid: str, name: str) -> None:
        """What the leader's record says of a device that was there once."""
        key = record_key(node)
        await self.create("configmaps", key.name, key.namespace, data={uid: f"2026-11-28T07:00:00Z ns/{name}"})

    async def update(self, resource: str, name: str, change: Callable[[JsonObject], JsonObject]) -> None:
        kind = self.kind(resource)
        await self.objects.update(kind, kind.key("ns" if kind.namespaced else "", name), change)

    def now(self, resource: str, name: str, namespace: str = "ns") -> JsonObject | None:
        kind = self.kind(resource)
        stored = self.cache.read(kind.key(namespace if kind.namespaced else "", name))
        return None if stored is None else self.cache.obj(stored)

    async def pod(self, name: str, node: str, *configs: str) -> JsonObject:
        volumes: list[Json] = [{"name": config, "configMap": {"name": config}} for config in configs]
        spec: JsonObject = {"nodeName": node, "containers": [{"name": "c", "image": "x"}], "volumes": volumes}
        return await self.create("pods", name, spec=spec)

    @asynccontextmanager
    async def gateway(
        self,
        node: str = "eu-1",
        *,
        store: EdgeStore | None = None,
        dialer: Dialer | None = None,
        sources: Mapping[str, StreamSource] | None = None,
        body_sources: Mapping[str, BodySource] | None = None,
        talkers: Mapping[str, Talker] | None = None,
        key: str = "",
    ) -> AsyncGenerator[Gateway]:
        clock = SystemClock()
        held = store or MemoryEdgeStore(incarnation=f"{node}-1", clock=clock)
        kinds = StreamKinds(sources=sources or {}, body_sources=body_sources or {}, talkers=talkers or {})
        gateway = Gateway(self, node, held, dialer, kinds)
        gateway.key = key
        running = asyncio.create_task(gateway.link.run())
        try:
            yield gateway
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def a_fleet(
    store: Store | None = None,
    settings: HubSettings = SETTINGS,
    leadership: Leadership | Callable[[WatchCache], Leadership] | None = None,
    replicas: Client | None = None,
    address: str = "",
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> AsyncGenerator[Fleet]:
    """A cloud with the namespaces `ns`, `default` and `kube-system`. Its leadership may be made of its cache."""
    scheme, ids, clock = builtin_scheme(), ids or SeededIds(1), clock or SystemClock()
    store = store or MemoryStore(MemoryState(epoch="e1"))
    async with following(store, indexes=INDEXES) as cache:
        rules = KindRules(CustomKinds(scheme))
        objects = LocalObjects(store=store, cache=cache, rules=rules, clock=clock, ids=ids)
        parts = HubParts(
            objects=objects,
            store=store,
            cache=cache,
            kinds=kinds_in(scheme),
            clock=clock,
            ids=ids,
            leadership=(leadership(cache) if callable(leadership) else leadership) or Replica(),
            replicas=replicas,
            authorities=AUTHORITIES,
        )
        hub = Hub(parts, settings)
        hub.leases.address = address
        async with asyncio.TaskGroup() as tasks:
            fleet = Fleet(objects=objects, store=store, cache=cache, hub=hub, tasks=tasks)
            with contextlib.suppress(AlreadyExistsError):  # another hub on this store has made them
                for name in ("ns", "default", "kube-system"):
                    await fleet.create("namespaces", name)
                await fleet.create("serviceaccounts", "default")
            running = tasks.create_task(hub.run())
            try:
                yield fleet
            finally:
                fleet.down = True
                running.cancel()
