"""The loop around a machine: frames go in order, ends are orderly, and a stuck link does not hold anybody."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref

import pytest

from skerry.clocks import ManualClock, SystemClock
from skerry.errors import UnavailableError
from skerry.objects.meta import Revision
from skerry.ports import Clock
from skerry.sync.edge import EdgeIdentity, EdgeSession, EdgeState
from skerry.sync.effects import EdgeEffect, Write
from skerry.sync.ports import Instant, SyncSettings
from skerry.sync.priorities import FRAMES_MAX
from skerry.sync.streams import CHUNK_BYTES
from skerry.transport.driver import STREAMS_TURN_BYTES, TURN_FRAMES, Driver, now_of
from skerry.transport.memory import IN_FLIGHT_MAX, MemoryLink, pair
from skerry.transport.turns import TURN_S
from skerry.wire.codec import decode, encode
from skerry.wire.frames import Close, CloseCode, Hello, Objects, Ping, Pong, Reports, StreamData, StreamOpen
from tests.skerry.sync.conversation import FakeOutbox, Item, welcome


def a_session(
    link: MemoryLink,
    settings: SyncSettings | None = None,
    outbox: FakeOutbox | None = None,
    clock: Clock | None = None,
) -> tuple[EdgeSession, Driver[EdgeEffect]]:
    clock = clock or SystemClock()
    identity = EdgeIdentity(
        node="eu-1", agent_version="0", incarnation="i", boot_id="b", epoch="e1", revision=Revision(0)
    )
    session = EdgeSession(identity, (), outbox or FakeOutbox(), now_of(clock), settings)
    return session, Driver(link, session, clock)


async def test_frames_go_out_in_order_and_a_good_end_is_said() -> None:
    edge, cloud = pair(edge_name="x")
    session, driver = a_session(edge)
    running = asyncio.create_task(driver.run(lambda effect: None))
    assert isinstance(decode(await cloud.receive()), Hello)
    await cloud.send(encode(welcome()))
    for number in range(3):
        await cloud.send(encode(Ping(number=number)))
    assert [decode(await cloud.receive()) for _ in range(3)] == [Pong(number=number) for number in range(3)]
    session.close(CloseCode.DONE, "the agent stops", driver.now())
    driver.kick()
    assert decode(await cloud.receive()) == Close(code=CloseCode.DONE, reason="the agent stops")
    how = await running
    assert (how.code, how.by_peer) == (CloseCode.DONE, False)
    with pytest.raises(UnavailableError):
        await cloud.receive()


async def test_bytes_that_are_no_frame_end_the_session_with_a_reason() -> None:
    edge, cloud = pair(edge_name="x")
    _, driver = a_session(edge)
    running = asyncio.create_task(driver.run(lambda effect: None))
    await cloud.receive()
    await cloud.send(b"\xff\xff\xff")
    close = decode(await cloud.receive())
    assert isinstance(close, Close)
    assert close.code == CloseCode.PROTOCOL
    assert (await running).code == CloseCode.PROTOCOL


async def test_a_cut_link_ends_the_session() -> None:
    edge, cloud = pair(edge_name="x")
    session, driver = a_session(edge)
    running = asyncio.create_task(driver.run(lambda effect: None))
    await cloud.receive()
    cloud.cut()
    assert (await running).code == CloseCode.FAILED
    assert session.state is EdgeState.CLOSED


class Working(ManualClock):
    """By which each frame takes so long: a driver looks at the wall once for each."""

    def __init__(self, takes_s: float) -> None:
        super().__init__()
        self._takes_s = takes_s

    def wall_ms(self) -> int:
        self.advance(self._takes_s)
        return super().wall_ms()


class Flooding(MemoryLink):
    """Always has one more ping ready, for so many."""

    def __init__(self, count: int) -> None:
        super().__init__(peer_name="cloud")
        self.peer = MemoryLink(peer_name="edge")
        self.left = count
        self.taken = 0

    async def receive(self) -> bytes:
        if self.left == 0:
            raise UnavailableError("the flood is over")
        self.left -= 1
        self.taken += 1
        return encode(Ping(number=1))


@pytest.mark.parametrize(("takes_s", "most"), [(0.0, TURN_FRAMES), (TURN_S / 4, 4), (3 * TURN_S, 1)])
async def test_a_peer_that_floods_is_not_heard_alone(takes_s: float, most: int) -> None:
    clock = Working(takes_s)
    link = Flooding(10 * most)
    session, driver = a_session(link, clock=clock)
    session.receive(welcome(), driver.now())
    running = asyncio.create_task(driver.run(lambda effect: None))
    turns: list[int] = []
    while not running.done():
        before = link.taken
        await asyncio.sleep(0)
        turns.append(link.taken - before)
    assert link.taken == 10 * most, "nothing is lost"
    assert max(turns) == most


async def test_time_passes_for_a_session_whose_link_takes_nothing() -> None:
    """Nobody reads at the other end: the sender waits, the deadline comes all the same."""
    edge, cloud = pair(edge_name="x")
    for _ in range(IN_FLIGHT_MAX):
        await edge.send(b"")
    session, driver = a_session(edge, SyncSettings(greeting_s_max=0.05))
    how = await asyncio.wait_for(driver.run(lambda effect: None), 5)
    assert how.code == CloseCode.SILENT
    assert session.state is EdgeState.CLOSED
    assert cloud.ended.is_set()


class Narrow(MemoryLink):
    """Takes a frame only when told to."""

    def __init__(self, *, peer_name: str) -> None:
        super().__init__(peer_name=peer_name)
        self.room = asyncio.Semaphore(0)

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        await self.room.acquire()
        await super().send(data)


def narrow() -> tuple[Narrow, MemoryLink]:
    edge, cloud = Narrow(peer_name="cloud"), MemoryLink(peer_name="x")
    edge.peer, cloud.peer = cloud, edge
    return edge, cloud


async def test_a_sign_of_life_goes_before_reports_that_wait() -> None:
    edge, cloud = narrow()
    outbox = FakeOutbox()
    outbox.add(*(Item(seq=number, body=b"x" * 900) for number in range(1, 400)))
    session, driver = a_session(edge, SyncSettings(part_bytes=4096), outbox)
    running = asyncio.create_task(driver.run(lambda effect: None))
    edge.room.release()
    assert isinstance(decode(await cloud.receive()), Hello)
    await cloud.send(encode(welcome()))
    await cloud.send(encode(Ping(number=7)))
    while not edge.arrived.empty() or session.state is not EdgeState.IN_STEP:
        await asyncio.sleep(0)
    for _ in range(2):
        edge.room.release()
    first, second = [decode(await cloud.receive()) for _ in range(2)]
    assert isinstance(first, Reports), "it was being sent when the ping came"
    assert second == Pong(number=7)
    cloud.cut()
    await running


async def test_a_peer_that_asks_and_does_not_read_is_given_up() -> None:
    edge, cloud = narrow()
    session, driver = a_session(edge)

    def perform(effect: EdgeEffect) -> None:
        if isinstance(effect, Write):
            session.written(effect.number, driver.now())

    running = asyncio.create_task(driver.run(perform))
    edge.room.release()
    await cloud.receive()
    await cloud.send(encode(welcome()))
    for number in range(FRAMES_MAX + 3):
        await cloud.send(encode(Objects(batch=number + 1, revision=Revision(10), puts=(), deletes=(), more=False)))
    how = await asyncio.wait_for(running, 5)
    assert "asks for more than it reads" in how.reason


class Trickling(MemoryLink):
    """Bytes of a frame that is not whole yet arrived at 77 s."""

    @property
    def heard_s(self) -> float:
        return 77.0


async def test_bytes_that_trickle_in_are_told_to_the_session_before_time_is() -> None:
    link = Trickling(peer_name="cloud")
    link.peer = MemoryLink(peer_name="edge")
    session, driver = a_session(link, SyncSettings(greeting_s_max=0.05))
    told: list[float] = []
    session.progressed = told.append  # type: ignore[method-assign]
    await asyncio.wait_for(driver.run(lambda effect: None), 5)
    assert told[-1] == 77.0


class Mute(MemoryLink):
    """Its peer answers nothing, a close neither."""

    async def close(self, *, code: int, reason: str) -> None:
        await self.ended.wait()


async def test_a_silent_peer_is_given_up_without_waiting_for_its_answer() -> None:
    link = Mute(peer_name="cloud")
    link.peer = MemoryLink(peer_name="edge")
    _, driver = a_session(link, SyncSettings(greeting_s_max=0.05))
    how = await asyncio.wait_for(driver.run(lambda effect: None), 1)
    assert how.code == CloseCode.SILENT


async def test_cancelling_closes_the_link() -> None:
    edge, cloud = pair(edge_name="x")
    _, driver = a_session(edge)
    running = asyncio.create_task(driver.run(lambda effect: None))
    await cloud.receive()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cloud.ended.is_set()


async def test_work_of_a_session_is_waited_for_and_its_errors_come_out() -> None:
    edge, cloud = pair(edge_name="x")
    session, driver = a_session(edge)
    go_on = asyncio.Event()
    done: list[bool] = []

    async def work() -> None:
        await go_on.wait()
        done.append(True)

    running = asyncio.create_task(driver.run(lambda effect: None))
    await cloud.receive()
    driver.spawn(work())
    session.lost("gone")
    driver.kick()
    finished, _ = await asyncio.wait((running,), timeout=0.05)
    assert not finished
    go_on.set()
    await running
    assert done == [True]


async def test_a_session_whose_link_was_lost_is_freed_without_the_collector() -> None:
    edge, cloud = pair(edge_name="x")
    _, driver = a_session(edge)
    freed = weakref.ref(driver)
    gc.disable()
    try:
        running = asyncio.create_task(driver.run(lambda effect: None))
        del driver, _
        await cloud.receive()
        cloud.abort()
        await running
        del running, edge, cloud
        await asyncio.sleep(0)
        assert freed() is None
    finally:
        gc.enable()


async def test_a_fault_in_a_session_is_its_own_and_nobody_elses_who_tells_it_something() -> None:
    edge, cloud = pair(edge_name="x")
    session, driver = a_session(edge)

    def perform(effect: EdgeEffect) -> None:
        raise ZeroDivisionError(f"while {type(effect).__name__}")

    running = asyncio.create_task(driver.run(perform))
    await cloud.receive()
    session.receive(welcome(), driver.now())
    driver.kick()
    driver.kick()
    with pytest.raises(ZeroDivisionError, match="while Welcomed"):
        await running
    assert cloud.ended.is_set()
    driver.kick()


async def test_what_is_told_to_a_session_whose_work_has_failed_reaches_nobody() -> None:
    edge, cloud = pair(edge_name="x")
    session, driver = a_session(edge)
    hold = asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            hold.set()
            session.receive(welcome(), driver.now())
            driver.kick()

    def perform(effect: EdgeEffect) -> None:
        driver.spawn(asyncio.sleep(0))

    running = asyncio.create_task(driver.run(perform))
    await cloud.receive()
    driver.spawn(linger())
    await asyncio.sleep(0)
    driver.spawn(fail())
    with pytest.raises(ExceptionGroup) as raised:
        await running
    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
    assert hold.is_set()


async def test_a_fault_when_time_passes_is_the_sessions_own() -> None:
    """Nothing else would hear of it: the loop logs what a timer raises, and the session would hang."""
    edge, cloud = pair(edge_name="x")
    session, driver = a_session(edge)

    def tick(now: Instant) -> None:
        raise ZeroDivisionError

    session.tick = tick
    session.deadline = lambda: 0.0
    running = asyncio.create_task(driver.run(lambda effect: None))
    await cloud.receive()
    with pytest.raises(ZeroDivisionError):
        await running
    assert cloud.ended.is_set()


async def test_a_copy_without_end_leaves_bulk_reports_their_turns() -> None:
    edge, cloud = pair(edge_name="x")
    outbox = FakeOutbox()
    session, driver = a_session(edge, outbox=outbox)
    running = asyncio.create_task(driver.run(lambda effect: None))
    await cloud.receive()
    await cloud.send(encode(welcome()))
    await cloud.send(encode(StreamOpen(stream=1, kind="copy", params=b"", credit=10**9)))
    await asyncio.sleep(0)
    streamed = 0
    outbox.add(Item(seq=1))
    session.appended(driver.now())
    reports = 0
    async with asyncio.timeout(30):
        while reports == 0:
            if room := session.streams.room(1):
                session.streams.send(1, os.urandom(room))
            driver.kick()
            match decode(await cloud.receive()):
                case StreamData(data=data):
                    streamed += len(data)
                case Reports():
                    reports += 1
                case _:
                    pass
    assert streamed <= STREAMS_TURN_BYTES + 64 * 1024 + IN_FLIGHT_MAX * CHUNK_BYTES
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
