"""Replicas on one store, in virtual time: one leads at a time, and what an earlier leader writes late is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from cloudcore.registry.bodies import body_of, object_of
from cloudcore.runtime.candidacy import record_of
from cloudcore.runtime.election import LEASE, Alone, Election
from cloudcore.runtime.parts import PartFailedError, lead
from cloudcore.store.cache import WatchCache
from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Advance, Batch, Position, Put, Standing
from skerry.clocks import SeededIds
from skerry.errors import FencedError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import str_at
from skerry.objects.meta import Key, Revision
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.wire.frames import Start
from tests.cloudcore.worlds import make_world

POD = Key("pods", "d", "p")


class LoopClock:
    """The loop's own time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def wall_ms(self) -> int:
        return 1_750_000_000_000 + round(1000 * self._loop.time())

    def monotonic_s(self) -> float:
        return 1000 + self._loop.time()


class Line(FailingStore):
    """A replica's way to the store: it can be cut, and it can hold back what was sent, which arrives all the same."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, self._plan)
        self.cut = False
        self.delays_s: Callable[[], float] = lambda: 0.0
        self.held = asyncio.Event()
        self.held.set()
        self._sent: set[asyncio.Task[tuple[Revision, ...]]] = set()

    def _plan(self, operation: Operation, _number: int) -> Fault | None:
        return Fault(error=UnavailableError("cut")) if self.cut and operation != "watch" else None

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        async def arrive() -> tuple[Revision, ...]:
            await self.held.wait()
            await asyncio.sleep(self.delays_s())
            return await FailingStore.commit(self, batch)

        task = asyncio.get_running_loop().create_task(arrive())
        self._sent.add(task)
        task.add_done_callback(self._arrived)
        return await asyncio.shield(task)

    async def enter(
        self,
        node: str,
        incarnation: str,
        *,
        hub: str = "",
        while_at: Standing | None = None,
        starts: Sequence[Start] = (),
    ) -> Position:
        await asyncio.sleep(self.delays_s())
        return await super().enter(node, incarnation, hub=hub, while_at=while_at, starts=starts)

    def _arrived(self, task: asyncio.Task[tuple[Revision, ...]]) -> None:
        self._sent.discard(task)
        if not task.cancelled():
            task.exception()


@dataclass(slots=True)
class Replica:
    """One process: its line, its candidate, and a part that only a leader runs."""

    line: Line
    cache: WatchCache
    election: Election
    world: World
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    reigns: list[tuple[float, float | None]] = field(default_factory=list[tuple[float, float | None]])

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        await self.cache.load()
        self.tasks = [loop.create_task(self.cache.run()), loop.create_task(lead(self.election, self._parts))]

    async def stop(self) -> None:
        self.tasks[1].cancel()
        await asyncio.gather(self.tasks[1], return_exceptions=True)
        self.kill()

    def kill(self) -> None:
        """With not a word more: nothing of it reaches the store."""
        self.line.cut = True
        for task in self.tasks:
            task.cancel()

    async def end(self) -> None:
        self.kill()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _parts(self) -> dict[str, Awaitable[None]]:
        return {"work": self._work()}

    async def _work(self) -> None:
        self.world.working.append(self)
        self.world.most = max(self.world.most, len(self.world.working))
        begun = asyncio.get_running_loop().time()
        self.reigns.append((begun, None))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.world.working.remove(self)
            self.reigns[-1] = (begun, asyncio.get_running_loop().time())


class World:
    """Several replicas on one store."""

    def __init__(self, count: int) -> None:
        self.loop = VirtualLoop()
        self.store = MemoryStore(MemoryState(epoch="e1"))
        self.working: list[Replica] = []
        self.most = 0
        self.replicas = [self.loop.do(self._made(number)) for number in range(count)]

    async def _made(self, number: int) -> Replica:
        line = Line(self.store)
        cache = WatchCache(line)
        election = Election(line, cache, LoopClock(self.loop), SeededIds(number), identity=f"r{number}")
        return Replica(line=line, cache=cache, election=election, world=self)

    def start(self) -> None:
        for replica in self.replicas:
            self.loop.do(replica.start())

    def end(self) -> None:
        for replica in self.replicas:
            replica.line.held.set()
            self.loop.do(replica.end())
        self.loop.advance(1)
        self.loop.close()

    @property
    def leader(self) -> Replica:
        (found,) = [replica for replica in self.replicas if replica.election.leading]
        return found

    def until(self, condition: Callable[[], bool], *, s_max: float) -> float:
        """Seconds until the condition holds."""
        begun = self.loop.time()
        while not condition():
            assert self.loop.time() < begun + s_max, "it does not come about"
            self.loop.advance(0.05)
        return self.loop.time() - begun

    def lease(self) -> tuple[str, int]:
        record = record_of(object_of(self.store.state.objects[LEASE].body))
        return record.holder, record.transitions


@contextmanager
def a_world(count: int) -> Generator[World]:
    world = World(count)
    try:
        yield world
    finally:
        world.end()


def pod(revision: int = 0) -> Put:
    return Put(key=POD, uid="u", body=b'{"metadata":{"name":"p","namespace":"d","n":%d}}' % revision, expected=None)


def test_the_first_leads_at_once_and_stays_for_as_long_as_it_renews() -> None:
    with a_world(3) as world:
        world.start()
        world.loop.advance(0.1)
        first = world.leader
        world.loop.advance(120)
        assert world.leader is first
        assert world.lease() == (first.election.identity, 0)
        assert world.most == 1
        lease = object_of(world.store.state.objects[LEASE].body)
        assert str_at(lease, "metadata", "uid")
        assert str_at(lease, "spec", "acquireTime") < str_at(lease, "spec", "renewTime")


def test_one_that_stops_hands_over_at_once() -> None:
    with a_world(3) as world:
        world.start()
        world.loop.advance(60)
        first = world.leader
        world.loop.do(first.stop())
        assert world.until(lambda: bool(world.working), s_max=5) < 0.5
        assert world.leader is not first
        assert world.lease() == (world.leader.election.identity, 1)
        assert world.most == 1


def test_one_that_dies_is_followed_when_its_lease_has_ended() -> None:
    with a_world(3) as world:
        world.start()
        world.loop.advance(60)
        first = world.leader
        world.loop.do(first.end())
        took_s = world.until(lambda: bool(world.working), s_max=60)
        assert 12 < took_s < 20
        assert world.leader is not first


def test_a_leader_that_cannot_renew_stops_before_another_one_leads() -> None:
    with a_world(2) as world:
        world.start()
        world.loop.advance(60)
        first = world.leader
        first.line.cut = True
        world.loop.advance(7)
        assert first.election.leading, "a database that restarts is no reason to stop"
        world.until(lambda: bool(world.working) and world.working[0] is not first, s_max=60)
        ended = first.reigns[-1][1]
        assert ended is not None
        assert world.working[0].reigns[-1][0] - ended > 2
        first.line.cut = False
        world.loop.advance(60)
        assert world.leader is not first, "it may follow again, and does not take anything back"
        assert world.most == 1


def test_a_short_outage_of_the_store_changes_nothing() -> None:
    with a_world(3) as world:
        world.start()
        world.loop.advance(60)
        first = world.leader
        for replica in world.replicas:
            replica.line.cut = True
        world.loop.advance(6)
        for replica in world.replicas:
            replica.line.cut = False
        world.loop.advance(60)
        assert world.leader is first
        assert len(first.reigns) == 1


def test_what_an_earlier_leader_has_under_way_is_refused() -> None:
    with a_world(2) as world:
        world.start()
        world.loop.advance(60)
        first = world.leader
        first.line.held.clear()

        async def send() -> asyncio.Task[tuple[Revision, ...]]:
            fence = first.election.fence()
            return asyncio.get_running_loop().create_task(first.line.commit(Batch(writes=(pod(),), advance=fence)))

        late = world.loop.do(send())
        world.until(lambda: bool(world.working) and world.working[0] is not first, s_max=60)
        second = world.leader
        assert world.loop.do(second.line.commit(Batch(writes=(pod(2),), advance=second.election.fence())))
        first.line.held.set()
        world.loop.advance(1)
        assert isinstance(late.exception(), FencedError)
        assert b'"n":2' in world.store.state.objects[POD].body
        with pytest.raises(FencedError):
            first.election.fence()
        assert world.leader is second, "nor does its renewal that was under way count"


def give(world: World, holder: str) -> None:
    """As an administrator edits the Lease."""
    stored = world.store.state.objects[LEASE]
    held = world.leader.election.identity
    body = stored.body.replace(f'"holderIdentity":"{held}"'.encode(), f'"holderIdentity":"{holder}"'.encode())
    put = Put(key=LEASE, uid=stored.uid, body=_unstamped(body), expected=None)
    world.loop.do(world.store.commit(Batch(writes=(put,))))


def test_who_was_deposed_by_hand_stops_its_work() -> None:
    with a_world(2) as world:
        world.start()
        world.loop.advance(60)
        give(world, "hand")
        world.until(lambda: not world.working, s_max=3)
        world.until(lambda: bool(world.working), s_max=30)
        assert world.lease()[1] == 1
        assert world.most == 1


def test_whom_the_lease_is_given_to_by_hand_leads() -> None:
    with a_world(3) as world:
        world.start()
        world.loop.advance(60)
        first = world.leader
        heir = next(replica for replica in world.replicas if replica is not first)
        give(world, heir.election.identity)
        # For up to two seconds the first works on, and nothing that it writes is taken.
        world.until(lambda: world.working == [heir], s_max=6)
        world.loop.advance(30)
        assert world.working == [heir]


def _unstamped(body: bytes) -> bytes:
    obj = object_of(body)
    return body_of(obj)


def test_all_start_at_once_on_an_empty_store_and_one_leads() -> None:
    for seed in range(20):
        with a_world(3) as world:
            for replica in world.replicas[seed % 3 :] + world.replicas[: seed % 3]:
                world.loop.do(replica.start())
            world.loop.advance(30)
            assert world.most == 1
            assert len(world.leader.reigns) == 1


def test_of_those_that_are_woken_at_once_the_slower_ones_do_no_harm() -> None:
    for seed in range(20):
        with a_world(3) as world:
            for number, replica in enumerate(world.replicas):
                chance = SeededIds(100 * seed + number)
                replica.line.delays_s = lambda chance=chance: chance.unit() / 2
            world.start()
            world.loop.advance(20)
            first = world.leader
            assert len(first.reigns) == 1
            world.loop.do(first.stop())
            world.loop.advance(20)
            assert [len(replica.reigns) for replica in world.replicas if replica is world.leader] == [1]
            assert world.most == 1


def test_alone_one_leads_always_and_writes_nothing() -> None:
    loop = VirtualLoop()
    begun: list[str] = []

    async def work() -> None:
        begun.append("work")
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        alone = Alone()
        assert alone.leading
        assert alone.fence() is None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await lead(alone, lambda: {"work": work()})

    loop.do(main())
    loop.close()
    assert begun == ["work"]


def test_a_part_that_fails_is_named_and_the_lease_is_left() -> None:
    with a_world(1) as world:
        (replica,) = world.replicas

        async def fail() -> None:
            await asyncio.sleep(5)
            raise UnavailableError("no more")

        async def main() -> None:
            await replica.cache.load()
            running = asyncio.get_running_loop().create_task(replica.cache.run())
            with pytest.RaisesGroup(
                pytest.RaisesGroup(pytest.RaisesExc(PartFailedError, match="the scheduler failed: no"))
            ):
                await lead(replica.election, lambda: {"scheduler": fail()})
            running.cancel()

        world.loop.do(main())
        assert world.lease()[0] == ""


async def test_writes_of_an_earlier_reign_are_refused_and_not_tried_again() -> None:
    async with make_world() as plane:
        await plane.create("configmaps", {"metadata": {"name": "c"}})
        first = (await plane.store.enter("leader", "a")).session
        advance = Advance(node="leader", incarnation="a", session=first, covered=())
        asked: list[int] = []

        def fence() -> Advance:
            asked.append(first)
            return advance

        fenced = replace(plane.objects, fence=fence)
        kind, key = plane.kind("configmaps"), plane.key("configmaps", "c")
        await fenced.update(kind, key, lambda obj: {**obj, "data": {"by": "first"}})
        await plane.store.enter("leader", "b")
        asked.clear()
        with pytest.raises(FencedError):
            await fenced.update(kind, key, lambda obj: {**obj, "data": {"by": "late"}})
        with pytest.raises(FencedError):
            await fenced.delete(kind, key)
        with pytest.raises(FencedError):
            await fenced.create(kind, "d", {"metadata": {"generateName": "more-"}})
        assert len(asked) == 3
        assert plane.get("configmaps", "c")["data"] == {"by": "first"}
        assert plane.names("configmaps") == ["c"]
