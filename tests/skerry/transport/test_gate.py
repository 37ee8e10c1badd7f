"""A cap on a driver's link: what waits for it, what does not, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from skerry.clocks import ManualClock
from skerry.objects.bandwidth import parse_bandwidth
from skerry.objects.meta import Revision
from skerry.sync.edge import EdgeIdentity, EdgeSession
from skerry.sync.effects import EdgeEffect
from skerry.sync.priorities import Priority
from skerry.sync.traffic import wire_size
from skerry.transport.driver import Driver, now_of
from skerry.transport.gate import Gate
from skerry.transport.memory import MemoryLink
from skerry.wire.codec import decode, encode
from skerry.wire.frames import (
    Close,
    CloseCode,
    Frame,
    Hello,
    Ping,
    Pong,
    Reports,
    StreamCredit,
    StreamData,
    StreamOpen,
)
from tests.skerry.sync.conversation import FakeOutbox, Item, welcome


class Counting:
    """A link of which the kernel counts."""

    sent: int | None = 1000

    def wire_bytes(self) -> tuple[int, int] | None:
        return None if self.sent is None else (self.sent, 0)


def gate(clock: ManualClock, text: str = "16kbit", knows_time: Callable[[], bool] = lambda: True) -> Gate:
    made = Gate("up", clock, knows_time)
    made.hold([parse_bandwidth(text)])
    made.look()
    return made


def test_what_the_kernel_counted_beyond_the_frames_is_paid_for_once() -> None:
    clock, link = ManualClock(), Counting()
    cap = gate(clock)
    cap.begin(link)
    cap.took(500, Priority.LIVE)
    link.sent = 1000 + wire_size(500)
    assert cap.opens_s(Priority.LIVE) == 0.0
    link.sent += 4000  # sent again on a bad line, and acknowledgements
    opens_s = cap.opens_s(Priority.LIVE)
    for _ in range(2):
        assert (
            cap.opens_s(Priority.LIVE)
            == opens_s
            == pytest.approx(clock.monotonic_s() + (4000 + wire_size(500) - 2000) / 2000, abs=0.01)
        )
    link.sent = None
    assert cap.opens_s(Priority.LIVE) == opens_s
    assert cap.opens_s(Priority.LIVENESS) == cap.opens_s(Priority.PROMPT) == 0.0


def test_what_was_sent_before_a_cap_is_not_paid_for() -> None:
    clock, link = ManualClock(), Counting()
    cap = gate(clock, "unlimited")
    cap.begin(link)
    link.sent = 5_000_000
    assert cap.opens_s(Priority.BACKFILL) == 0.0
    cap.hold([parse_bandwidth("16kbit")])
    assert cap.look()
    assert cap.opens_s(Priority.BACKFILL) == 0.0


def test_an_account_goes_over_to_the_next_link() -> None:
    clock, link = ManualClock(), Counting()
    cap = gate(clock)
    cap.begin(link)
    cap.took(20_000, Priority.LIVE)
    other = Counting()
    other.sent = 7000
    cap.begin(other)
    cap.end(link)
    other.sent += 2000
    opens_s = cap.opens_s(Priority.LIVE)
    assert opens_s is not None and opens_s > clock.monotonic_s() + 10
    cap.end(other)
    other.sent += 2000
    assert cap.opens_s(Priority.LIVE) == opens_s


def test_the_time_is_asked_for_and_only_believed_when_it_is_known() -> None:
    clock = ManualClock(wall_ms=1_795_867_200_000)
    known = [False]
    cap = gate(clock, "06:00-08:00 16kbit; else 64kbit", lambda: known[0])
    assert (cap.rate, cap.wall_ms()) == (2000, None)
    known[0] = True
    assert cap.look() and cap.rate == 8000
    clock.advance(59)
    assert cap.minute_s() == pytest.approx(clock.monotonic_s() + 1)


class Apart(MemoryLink):
    """Carries node streams apart."""

    @property
    def apart(self) -> bool:
        return True


class Rig:
    """An edge's session under a cap, and the other end of its link."""

    def __init__(self, text: str, kind: type[MemoryLink] = MemoryLink) -> None:
        self.clock = ManualClock()
        self.link, self.cloud = kind(peer_name="cloud"), MemoryLink(peer_name="x")
        self.link.peer, self.cloud.peer = self.cloud, self.link
        self.outbox = FakeOutbox()
        identity = EdgeIdentity(
            node="eu-1", agent_version="0", incarnation="i", boot_id="b", epoch="e1", revision=Revision(0)
        )
        self.session = EdgeSession(identity, (), self.outbox, now_of(self.clock))
        self.driver: Driver[EdgeEffect] = Driver(self.link, self.session, self.clock)
        self.gate = gate(self.clock, text)
        self.driver.limit(self.gate)

    async def begin(self) -> asyncio.Task[object]:
        running: asyncio.Task[object] = asyncio.create_task(self.driver.run(lambda effect: None))
        assert isinstance(decode(await self.cloud.receive()), Hello)
        await self.cloud.send(encode(welcome(version=2)))
        while not self.session.session:
            await asyncio.sleep(0)
        return running

    async def told(self) -> list[Frame | None]:
        """All that comes now."""
        self.driver.kick()
        for _ in range(50):
            await asyncio.sleep(0)
        return [decode(self.link_frame) for self.link_frame in self._drained()]

    def _drained(self) -> list[bytes]:
        taken: list[bytes] = []
        while not self.cloud.arrived.empty():
            taken.append(self.cloud.arrived.get_nowait())
        return taken


def readings(rig: Rig, count: int) -> None:
    first = rig.outbox.head + 1
    rig.outbox.add(*(Item(seq=seq, body=b"x" * 900) for seq in range(first, first + count)))
    rig.session.appended(rig.driver.now())


async def test_readings_wait_for_the_cap_and_signs_of_life_do_not() -> None:
    rig = Rig("pause")
    running = await rig.begin()
    readings(rig, 3)
    assert not [frame for frame in await rig.told() if isinstance(frame, Reports)]
    await rig.cloud.send(encode(Ping(number=9)))
    assert await rig.told() == [Pong(number=9)]
    rig.clock.advance(20)
    rig.gate.hold([parse_bandwidth("1mbit")])
    rig.driver.limit(rig.gate)
    rig.clock.advance(0.1)
    (told,) = [frame for frame in await rig.told() if isinstance(frame, Reports)]
    assert {report.age_ms for report in told.reports} == {told.reports[0].age_ms}
    assert told.reports[0].age_ms >= 20_000, "as old as it is when it goes"
    rig.cloud.cut()
    await running


async def test_a_session_that_ends_says_so_under_any_cap() -> None:
    rig = Rig("pause")
    running = await rig.begin()
    readings(rig, 3)
    await rig.told()
    rig.session.close(CloseCode.DONE, "the agent stops", rig.driver.now())
    assert Close(code=CloseCode.DONE, reason="the agent stops") in await rig.told()
    rig.cloud.cut()
    await running


@pytest.mark.parametrize("kind", [MemoryLink, Apart])
async def test_streams_keep_to_the_cap_whether_they_are_carried_apart_or_not(kind: type[MemoryLink]) -> None:
    rig = Rig("16kbit", kind)
    running = await rig.begin()
    await rig.cloud.send(encode(StreamOpen(stream=1, kind="logs", params=b"{}", credit=64 * 1024)))
    assert any(isinstance(frame, StreamCredit) for frame in await rig.told())
    rig.session.streams.send(1, Random(1).randbytes(64 * 1024))
    first = [frame for frame in await rig.told() if isinstance(frame, StreamData)]
    assert len(first) <= 1, "not what the credit allows, but what the cap does"
    assert rig.session.streams.room(1) == 0, "and whoever writes, waits"
    carried = len(first)
    for _ in range(30):
        rig.clock.advance(1)
        carried += sum(isinstance(frame, StreamData) for frame in await rig.told())
    assert carried <= 8
    rig.cloud.cut()
    await running
