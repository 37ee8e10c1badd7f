"""Parts of the simulated backend by themselves: the loop, the disk, the wire, the Modbus device."""

from __future__ import annotations

import asyncio
import struct
from random import Random

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.simulated.disk import Disk
from skerry.testkit.simulated.loop import StandstillError, VirtualLoop
from skerry.testkit.simulated.modbus import SimulatedPlc
from skerry.testkit.simulated.transcript import Transcript
from skerry.testkit.simulated.wire import Route, WireEnd
from skerry.wire.codec import encode
from skerry.wire.frames import Ping


@pytest.fixture
def loop():
    made = VirtualLoop()
    yield made
    made.close()


def test_the_clock_jumps_to_the_next_timer(loop: VirtualLoop) -> None:
    seen: list[float] = []
    loop.call_later(86_400, lambda: seen.append(loop.time()))
    loop.advance(86_399)
    assert (seen, loop.time()) == ([], 86_399)
    loop.advance(1)
    assert seen == [86_400]


def test_a_deadline_is_as_late_as_it_says(loop: VirtualLoop) -> None:
    async def wait() -> None:
        async with asyncio.timeout(7):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        loop.do(wait())
    assert loop.time() == 7


def test_threads_are_not_needed(loop: VirtualLoop) -> None:
    async def work() -> int:
        return await asyncio.to_thread(lambda: 42)

    assert loop.do(work()) == 42


def test_waiting_for_what_nobody_will_do_is_said(loop: VirtualLoop) -> None:
    with pytest.raises(StandstillError):
        loop.do(asyncio.Event().wait())


def test_a_killed_process_leaves_some_of_its_writes_in_order_and_tells_nobody(loop: VirtualLoop) -> None:
    reached: set[int] = set()
    for seed in range(40):
        disk, written = Disk(loop), list[int]()
        futures = [disk.submit(written.append, number) for number in range(4)]
        disk.cut(Random(seed))
        assert written == list(range(len(written)))
        assert [future.exception() is None for future in futures] == [n < len(written) for n in range(4)]
        reached.add(len(written))
        assert isinstance(disk.submit(written.append, 9).exception(), UnavailableError)
    assert reached == {0, 1, 2, 3, 4}


def wired(loop: VirtualLoop) -> tuple[Route, WireEnd, list[WireEnd]]:
    accepted: list[WireEnd] = []
    transcript = Transcript(loop)
    transcript.close()  # no log lines are wanted here
    route = Route("edge", loop, Random(1), transcript, lambda: accepted.append)
    return route, loop.do(route.dial("system:node:edge", loop.time)), accepted


def test_frames_of_one_instant_keep_their_order(loop: VirtualLoop) -> None:
    route, edge, (cloud,) = wired(loop)
    frames = [encode(Ping(number=number)) for number in range(50)]

    async def exchange() -> list[bytes]:
        for frame in frames:
            await edge.send(frame)
        return [await cloud.receive() for _ in frames]

    assert loop.do(exchange()) == frames
    assert route.bytes == {"up": sum(map(len, frames)), "down": 0}
    assert cloud.peer_name == "system:node:edge"


def test_what_is_sent_into_silence_arrives_when_that_ends(loop: VirtualLoop) -> None:
    route, edge, (cloud,) = wired(loop)
    route.faults.silent.add("up")
    frame = encode(Ping(number=1))
    loop.do(edge.send(frame))
    loop.advance(100)
    assert cloud.heard_s == 0
    route.healed()
    assert loop.do(cloud.receive()) == frame


def test_a_cut_is_noticed_by_both_ends_and_power_by_neither(loop: VirtualLoop) -> None:
    route, edge, (cloud,) = wired(loop)
    route.cut()
    for end in (edge, cloud):
        with pytest.raises(UnavailableError):
            loop.do(end.receive())
    route, edge, (cloud,) = wired(loop)
    route.hang_up("up", power=False)
    waiting = loop.create_task(cloud.receive())
    loop.advance(1000)
    assert not waiting.done()
    waiting.cancel()


@pytest.fixture
def plc(loop: VirtualLoop) -> SimulatedPlc:
    return SimulatedPlc("plc", "127.0.0.1", 502, loop, note=lambda _: None, fault=lambda _: None)


def test_a_modbus_device_answers_every_function_it_knows(plc: SimulatedPlc) -> None:
    def ask(function: int, *words: int, tail: bytes = b"") -> bytes | None:
        return plc.answer(bytes((1, function)) + struct.pack(f">{len(words)}H", *words) + tail)

    assert ask(16, 10, 2, tail=b"\x04\x00\x07\x00\x08") == bytes.fromhex("0110000a0002")
    assert ask(3, 10, 2) == bytes.fromhex("01030400070008")
    assert ask(6, 10, 9) == bytes.fromhex("0106000a0009")
    assert ask(22, 10, 0xF0, 0x06) == bytes.fromhex("0116000a00f00006")
    assert plc.holding[10] == 0x06
    plc.input[3] = 5
    assert ask(4, 3, 1) == bytes.fromhex("01040200 05".replace(" ", ""))
    assert ask(15, 0, 10, tail=b"\x02\x05\x02") == bytes.fromhex("010f0000000a")
    assert ask(5, 1, 0xFF00) == bytes.fromhex("01050001ff00")
    assert ask(1, 0, 10) == bytes.fromhex("0101020702")
    plc.discrete[8] = 1
    assert ask(2, 8, 1) == bytes.fromhex("01020101")
    assert [write[1:] for write in plc.writes] == [
        ("holding", 10, (7, 8)),
        ("holding", 10, (9,)),
        ("holding", 10, (6,)),
        ("coils", 0, (1, 0, 1, 0, 0, 0, 0, 0, 0, 1)),
        ("coils", 1, (1,)),
    ]


@pytest.mark.parametrize(
    ("request_hex", "answer_hex"),
    [
        ("010300000000", "018303"),
        ("01030000007e", "018303"),
        ("0103ffff0002", "018302"),
        ("010500010001", "018503"),
        ("011000000002020007", "019003"),
        ("012b0e0100", "01ab01"),
        ("0103", "018303"),
    ],
)
def test_a_modbus_device_refuses_what_the_protocol_forbids(
    plc: SimulatedPlc, request_hex: str, answer_hex: str
) -> None:
    assert plc.answer(bytes.fromhex(request_hex)) == bytes.fromhex(answer_hex)


def test_a_silent_device_says_nothing(plc: SimulatedPlc) -> None:
    plc.silence()
    assert plc.answer(bytes.fromhex("010300000001")) is None
