"""Several hubs of one cloud and their gateways, in virtual time: cloudcore's own `Hub`, `Liveness`, `Orphans`,
`HubLeases` and `Election` over one store in memory, and the agent's own `EdgeLink`. Nothing of them is pretended.

What stands around them is: each hub's way to the store (`HubStore`), which is slow, breaks, or keeps the last answer
for itself; links as the test kit simulates them (`skerry.testkit.simulated.wire`); and processes that die, stop, or
hang. One that hangs neither reads nor writes: what it had begun takes effect when it goes on, however late that is.
A killed hub leaves the store what it had; a killed gateway its disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

from cloudcore.hub.hub import HubSettings
from cloudcore.runtime.election import Election
from cloudcore.store.cache import WatchCache
from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.memory import MemoryState
from cloudcore.store.port import Batch, Change, Entry, Page, Position, Standing, Stored
from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import ConflictError, FencedError, SkerryError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision
from skerry.objects.reports import NODE_STATUS
from skerry.ports import Link
from skerry.testkit.simulated.chance import CloudClock, ids_of
from skerry.testkit.simulated.disk import Disk
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.transcript import Transcript
from skerry.testkit.simulated.wire import Route, WireEnd
from skerry.wire.codec import decode
from skerry.wire.frames import Start, Welcome
from tests.cloudcore.hub.fleet import Fleet, SharedMemoryStore, a_fleet, node_report
from tests.sim.hub_checkers import HubCheckers

T = TypeVar("T")

SETTINGS: Final = HubSettings()
"""What the product runs with: the promises are about its own times."""
STARTS_S: Final = 0.5
TELLS_S: Final = 23.0
"""Between two reports of a gateway: commits that an older session may be late with. The last gateway has nothing to
tell after the first, so that a hub which can't commit keeps it."""
WORKS_S: Final = 7.0
"""Between two writes of the leader's own."""
LANDS: Final = 0.5
"""How often what was asked of a store that is lost had taken effect all the same."""
WORK: Final = "work"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPlant:
    """Bugs planted to see that the checkers catch them."""

    unfenced_store: bool = False
    unfenced_leader: bool = False
    uncontradicted: bool = False
    no_grace: bool = False
    all_taken_for_dead: bool = False
    orphans_left: bool = False
    deaf_to_ends: bool = False
    deaf_to_entries: bool = False


class Database(SharedMemoryStore):
    """What all hubs share, and who looks at each of its transactions."""

    def __init__(self, checkers: HubCheckers, plant: HubPlant) -> None:
        super().__init__(MemoryState(epoch="epoch-1"))
        self._checkers = checkers
        self._plant = plant

    async def commit_of(self, hub: str, batch: Batch) -> tuple[Revision, ...]:
        advance = batch.advance
        done = batch
        if self._plant.unfenced_store and advance is not None:
            position = await self.position(advance.node)
            newest = advance.session if position is None else position.session
            done = replace(batch, advance=replace(advance, session=newest, covered=()))
        revisions = await self.commit(done)
        self._checkers.committed(hub, batch)
        return revisions


class HubStore(FailingStore):
    """One hub's way to the database."""

    def __init__(self, database: Database, host: HubHost) -> None:
        super().__init__(database, self._plan)
        self._database = database
        self._host = host
        self._replica = host.replica
        self.dead = False
        """The process it was opened by is."""

    def _plan(self, operation: Operation, number: int) -> Fault | None:
        lost = UnavailableError("the database does not answer")
        if self.dead:
            return Fault(error=lost)
        if not self._host.cut_off:
            return None
        landed = operation in ("commit", "enter") and self._host.random.random() < LANDS
        return Fault(error=lost, after=landed)

    async def _through(self, work: Coroutine[Any, Any, T]) -> T:
        """There and back."""
        try:
            await self._host.way()
        except BaseException:
            work.close()
            raise
        done = await work
        await self._host.way()
        return done

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        return await self._through(self._commit(batch))

    async def _commit(self, batch: Batch) -> tuple[Revision, ...]:
        fault = self._before("commit")
        revisions = await self._database.commit_of(self._replica, batch)
        self._after(fault)
        return revisions

    async def enter(
        self,
        node: str,
        incarnation: str,
        *,
        hub: str = "",
        while_at: Standing | None = None,
        starts: Sequence[Start] = (),
    ) -> Position:
        entering = super().enter(node, incarnation, hub=hub, while_at=while_at, starts=starts)
        return await self._through(entering)

    async def get(self, key: Key) -> Stored | None:
        return await self._through(super().get(key))

    async def list(
        self,
        resource: str,
        *,
        namespace: str = "",
        at: Revision | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 0,
    ) -> Page:
        return await self._through(super().list(resource, namespace=namespace, at=at, after=after, limit=limit))

    async def changes(self, *, after: Revision, limit: int = 1000) -> Sequence[Change]:
        return await self._through(super().changes(after=after, limit=limit))

    async def revision(self) -> Revision:
        return await self._through(super().revision())

    async def entries(self, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        return await self._through(super().entries(after=after, limit=limit))

    async def position(self, node: str) -> Position | None:
        return await self._through(super().position(node))

    async def watch(self, *, after: Revision) -> AsyncIterator[Change]:
        async for change in super().watch(after=after):
            await self._host.way()
            yield change

    async def watch_entries(self, *, after: int) -> AsyncIterator[Entry]:
        async for entry in super().watch_entries(after=after):
            await self._host.way()
            yield entry


class HubEnd:
    """A hub's end of a link: what arrives there is noted, and a hub that hangs neither reads nor writes."""

    def __init__(self, end: WireEnd, node: str, host: HubHost) -> None:
        self._end = end
        self._node = node
        self._host = host
        self._welcomed_s = 0.0
        self._session = 0
        """Until Welcome."""

    @property
    def apart(self) -> bool:
        return self._end.apart

    @property
    def heard_s(self) -> float:
        return self._end.heard_s

    @property
    def peer_name(self) -> str:
        return self._end.peer_name

    @property
    def peer_key(self) -> str:
        return self._end.peer_key

    @property
    def peer_issuer(self) -> str:
        return self._end.peer_issuer

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        await self._host.awake()
        await self._end.send(data, stream=stream, last=last)
        frame = decode(data)
        if isinstance(frame, Welcome):
            self._welcomed_s, self._session = self._host.world.loop.time(), frame.session

    async def receive(self) -> bytes:
        checkers = self._host.world.checkers
        try:
            data = await self._end.receive()
        except UnavailableError:
            checkers.ended(self._node)
            raise
        await self._host.awake()
        checkers.heard(self._node, session=self._session, welcomed_s=self._welcomed_s)
        return data

    async def close(self, *, code: int, reason: str) -> None:
        await self._host.awake()
        self._host.world.checkers.ended(self._node)
        await self._end.close(code=code, reason=reason)

    def abort(self) -> None:
        self._host.world.checkers.ended(self._node)
        self._end.abort()


class HubHost:
    """A machine with a hub: its process, and what is wrong with it."""

    def __init__(self, world: HubWorld, name: str) -> None:
        self.world = world
        self.name = name
        self.random = Random(f"{world.seed}/{name}")
        self.fleet: Fleet | None = None
        self.election: Election | None = None
        self.cut_off = False
        """From the database."""
        self.slow_s = 0.0
        """What an answer of the database takes at most, each way."""
        self._goes = asyncio.Event()
        self._goes.set()
        self._stops = asyncio.Event()
        self._process: asyncio.Task[None] | None = None
        self._store: HubStore | None = None
        self._lives = 0

    @property
    def replica(self) -> str:
        """Of this life, as the product names it."""
        return f"{self.name}-{self._lives}"

    @property
    def up(self) -> bool:
        return self._process is not None and not self._process.done()

    @property
    def hangs(self) -> bool:
        return not self._goes.is_set()

    async def awake(self) -> None:
        await self._goes.wait()

    async def way(self) -> None:
        """To the database or back."""
        if self.slow_s:
            await asyncio.sleep(self.random.random() * self.slow_s)
        await self._goes.wait()

    # --- what happens to it ---

    def start(self) -> None:
        if not self.up:
            self._lives += 1
            self._stops = asyncio.Event()
            self._process = asyncio.get_running_loop().create_task(self._run(self._stops), name=self.name)

    def kill(self, *, power: bool = False) -> None:
        """`power`: the machine lives, and its kernel closes the links."""
        if self._process is None:
            return
        for node in self.world.gateways:
            self.world.routes[node, self.name].hang_up("down", power=power)
        if self._store is not None:
            self._store.dead = True
        self.fleet = self.election = None
        self._process.cancel()
        self.go_on()

    def stop(self) -> None:
        """Orderly."""
        self.go_on()
        self._stops.set()

    def hang(self) -> None:
        self._goes.clear()

    def go_on(self) -> None:
        self._goes.set()

    # --- what it does ---

    async def _run(self, stops: asyncio.Event) -> None:
        while not stops.is_set():
            try:
                await self._live(stops)
            except* SkerryError:
                await asyncio.sleep(1.0)  # it could not begin: its supervisor tries again

    async def _live(self, stops: asyncio.Event) -> None:
        world = self.world
        ids = ids_of(world.seed, self.replica)
        store = self._store = HubStore(world.database, self)

        def candidate(cache: WatchCache) -> Election:
            return Election(store, cache, world.clock, ids, identity=self.replica)

        made: list[Election] = []
        async with a_fleet(
            store,
            SETTINGS,
            lambda cache: made.append(candidate(cache)) or made[0],
            address=f"{self.name}:1",
            clock=world.clock,
            ids=ids,
        ) as fleet:
            self._sicken(fleet)
            candidacy = fleet.tasks.create_task(made[0].run())
            work = fleet.tasks.create_task(self._work(fleet, made[0]))
            self.fleet, self.election = fleet, made[0]
            await stops.wait()
            self.fleet = self.election = None
            work.cancel()
            candidacy.cancel()
            await made[0].release()

    def _sicken(self, fleet: Fleet) -> None:
        """Plant a bug."""
        plant, hub = self.world.plant, fleet.hub

        def nothing(*_: object, **__: object) -> None:
            """What should be done is left."""

        if plant.uncontradicted:
            hub._contradict = nothing
        if plant.no_grace:
            hub.liveness._settings = replace(SETTINGS.liveness, grace_s=1.0)
        if plant.all_taken_for_dead:
            hub.leases.lives = lambda hub: hub == self.replica
        if plant.orphans_left:
            hub.liveness.orphaned = nothing
        if plant.deaf_to_ends:
            hub.liveness.silent = nothing
        if plant.deaf_to_entries:
            hub.liveness.entered = nothing

    async def _work(self, fleet: Fleet, election: Election) -> None:
        """Something that the leader alone may write."""
        fence: Callable[[], Any] = (lambda: None) if self.world.plant.unfenced_leader else election.fence
        objects = replace(fleet.objects, fence=fence)
        kind = fleet.kind("configmaps")

        def done(obj: JsonObject) -> JsonObject:
            return {**obj, "data": {"by": self.replica, "at": str(self.world.loop.time())}}

        while True:
            await asyncio.sleep(WORKS_S)
            if not election.leading:
                continue
            try:
                if fleet.now("configmaps", WORK) is None:
                    await objects.create(kind, "ns", {"metadata": {"name": WORK}})
                else:
                    await objects.update(kind, kind.key("ns", WORK), done)
            except (UnavailableError, FencedError, ConflictError):
                continue

    def accept(self, node: str, end: WireEnd) -> None:
        if self.fleet is not None and not self.fleet.down:
            self.fleet.tasks.create_task(self.fleet.hub.handle(HubEnd(end, node, self)))
        else:
            end.abort()


class GatewayHost:
    """A machine with a gateway: its disk, which outlives its agent, and its ways to each hub."""

    def __init__(self, world: HubWorld, name: str, addresses: tuple[str, ...], *, quiet: bool) -> None:
        self.world = world
        self.name = name
        self._quiet = quiet
        self._addresses = addresses
        self._store = MemoryEdgeStore(incarnation=f"{name}-1", clock=world.clock)
        self.link: EdgeLink | None = None
        self._agent: asyncio.Task[None] | None = None
        self._boots = 0

    @property
    def up(self) -> bool:
        return self._agent is not None

    def start(self) -> None:
        if self._agent is None:
            self._boots += 1
            self._agent = asyncio.get_running_loop().create_task(self._run(), name=self.name)

    def kill(self, *, power: bool) -> None:
        """`power`: only the agent dies, and its kernel closes the links."""
        if self._agent is None:
            return
        for hub in self.world.hubs:
            self.world.routes[self.name, hub].hang_up("up", power=power)
        self._agent.cancel()
        self._agent = self.link = None

    async def _run(self) -> None:
        world = self.world
        store = AsyncEdgeStore(self._store, Disk(world.loop))
        settings = LinkSettings(
            node=self.name, agent_version="test", boot_id=f"boot-{self._boots}", addresses=self._addresses
        )
        parts = LinkParts(
            store=store, dialer=self._dial, clock=world.clock, ids=ids_of(world.seed, self.name, self._boots)
        )
        self.link = EdgeLink(settings, parts)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.link.run())
            for number in range(1 << 32):
                body = node_report(site=f"{self._boots}-{number}")
                report = NewReport(report_class="state", kind=NODE_STATUS, key="", body=body)
                await store.apply(EdgeBatch(reports=(report,)))
                if self._quiet:
                    return
                await asyncio.sleep(TELLS_S)

    async def _dial(self, address: str) -> Link:
        route = self.world.routes[self.name, address]
        return await route.dial(f"system:node:{self.name}", self.world.clock.monotonic_s)


@dataclass(slots=True)
class HubWorld:
    """See the module. Make it on its loop."""

    loop: VirtualLoop
    seed: int
    plant: HubPlant
    transcript: Transcript
    hubs: dict[str, HubHost] = field(default_factory=dict[str, HubHost])
    gateways: dict[str, GatewayHost] = field(default_factory=dict[str, GatewayHost])
    routes: dict[tuple[str, str], Route] = field(default_factory=dict[tuple[str, str], Route])
    clock: CloudClock = field(init=False)
    checkers: HubCheckers = field(init=False)
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.clock = CloudClock(self.loop)
        self.checkers = HubCheckers(self)
        self.database = Database(self.checkers, self.plant)

    async def begin(self, hubs: int, gateways: int) -> None:
        names = tuple(f"hub-{number}" for number in range(hubs))
        for name in names:
            self.hubs[name] = HubHost(self, name)
        for number in range(gateways):
            node = f"eu-{number}"
            first = number % hubs
            self.gateways[node] = GatewayHost(self, node, names[first:] + names[:first], quiet=number == gateways - 1)
            for name in names:
                self.routes[node, name] = self._route(node, name)
        for hub in self.hubs.values():
            hub.start()
            await asyncio.sleep(STARTS_S)
        for gateway in self.gateways.values():
            gateway.start()

    def hub_of(self, node: str) -> HubHost | None:
        """Where its newest session is; None: at none, or in a process that has ended."""
        entry = self.database.state.entries.get(node)
        host = None if entry is None else self.hubs[entry.hub.rpartition("-")[0]]
        return host if host is not None and entry is not None and host.up and host.replica == entry.hub else None

    def _route(self, node: str, name: str) -> Route:
        random = Random(f"{self.seed}/{node}/{name}")
        host = self.hubs[name]

        def listener() -> Callable[[WireEnd], None] | None:
            return (lambda end: host.accept(node, end)) if host.fleet is not None else None

        return Route(f"{node}~{name}", self.loop, random, self.transcript, listener)

    def end(self) -> None:
        """Nobody does anything any more."""
        for gateway in self.gateways.values():
            gateway.kill(power=False)
        for hub in self.hubs.values():
            hub.kill()
