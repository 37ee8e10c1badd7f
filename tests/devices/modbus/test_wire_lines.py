"""Lines without transaction ids, on pseudo-terminals and over TCP, against a slave that misbehaves."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from devices.bus import ExceptionAnswerError, LineDownError, Request, SilentError, WrongAnswerError
from devices.modbus.channels import channel_to
from devices.modbus.endpoints import Endpoint, SerialEndpoint, TcpEndpoint
from devices.modbus.frames import FRAMINGS
from devices.modbus.settings import WireSettings
from devices.modbus.wire import StreamWire
from skerry.clocks import SeededIds
from skerry.errors import UnavailableError
from tests.devices.evil_slave import FAULTS, EvilSlave, on_a_pty, on_tcp
from tests.devices.raw_slave import Slave

pytestmark = pytest.mark.system

READ = Request(unit=1, function=3, address=100, count=2)
WHOLE = int(os.environ.get("SKERRY_BUS_READS", "0"))
"""So many reads in place of a few hundred: `make bus`."""


def wire_to(endpoint: Endpoint, **settings: object) -> StreamWire:
    made = WireSettings(**{"timeout_s": 0.2, "drain_s": 0.1, **settings})  # pyright: ignore[reportArgumentType]
    return StreamWire(
        channel_to(endpoint, connect_s=2), FRAMINGS[endpoint.framing](), made, name=str(endpoint), ids=SeededIds(1)
    )


def serial(slave: EvilSlave, **more: object) -> SerialEndpoint:
    framing = "ascii" if slave.ascii else "rtu"
    return SerialEndpoint(path=slave.port, baud=115200, framing=framing, **more)  # pyright: ignore


@pytest.mark.parametrize("as_text", [False, True])
async def test_reads_and_writes_of_every_function_on_a_serial_line(as_text: bool) -> None:
    async with on_a_pty(EvilSlave(ascii=as_text)) as slave:
        wire = wire_to(serial(slave), timeout_s=5)
        assert await wire.transact(READ) == (100, 101)
        assert await wire.transact(Request(unit=2, function=4, address=7)) == (7,)
        assert await wire.transact(Request(unit=1, function=5, address=3, values=(1,))) == ()
        await wire.transact(Request(unit=1, function=15, address=8, values=(1, 0, 1)))
        assert await wire.transact(Request(unit=1, function=1, address=3, count=8)) == (1, 0, 0, 0, 0, 1, 0, 1)
        await wire.transact(Request(unit=1, function=6, address=50, values=(9,)))
        await wire.transact(Request(unit=1, function=16, address=51, values=(8, 7)))
        await wire.transact(Request(unit=1, function=22, address=50, values=(0xFFFE, 0)))
        assert await wire.transact(Request(unit=1, function=3, address=50, count=3)) == (8, 8, 7)
        await wire.close()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("late", "silent")])
@pytest.mark.parametrize("as_text", [False, True])
async def test_nothing_but_the_right_answer_is_taken_and_the_line_goes_on_after_it(fault: str, as_text: bool) -> None:
    async with on_a_pty(EvilSlave(faults={fault: 1.0}, ascii=as_text)) as slave:
        wire = wire_to(serial(slave))
        with pytest.raises((WrongAnswerError, SilentError)):
            await wire.transact(READ)
        slave.faults.clear()
        await wire.reset()
        assert await wire.transact(READ) == (100, 101)
        await wire.close()


async def test_after_a_silence_the_line_is_quiet_until_nothing_late_comes_any_more() -> None:
    async with on_a_pty(EvilSlave(faults={"late": 1.0}, late_s=(0.45, 0.45))) as slave:
        wire = wire_to(serial(slave), timeout_s=0.3, drain_s=0.3)
        with pytest.raises(SilentError, match=r"unit 1 is silent for 0\.3 s"):
            await wire.transact(READ)
        slave.faults.clear()
        await wire.reset()
        assert await wire.transact(Request(unit=1, function=3, address=500, count=2)) == (500, 501)
        # The late answer came 0.15 s into the quiet, which was counted anew from it.
        assert slave.sent_s[1] - slave.sent_s[0] >= 0.45 + 0.3
        await wire.close()


async def test_bytes_that_nobody_asked_for_make_the_line_quiet_before_it_goes_on() -> None:
    async with on_a_pty(EvilSlave()) as slave:
        wire = wire_to(serial(slave))
        assert await wire.transact(READ) == (100, 101)
        slave.speak(slave.framed(slave.answer(bytes([1, 3, 0, 9, 0, 2])) or b""))
        while not wire.strays:
            await wire.ready()
            await asyncio.sleep(0.01)
        assert wire.drain_s > 0.1, "an answer that came of itself was later than the quiet: it is longer now"
        assert await wire.transact(READ) == (100, 101)
        await wire.close()


async def test_a_barrier_goes_first_after_a_disturbance() -> None:
    async with on_a_pty(EvilSlave(faults={"silent": 1.0})) as slave:
        wire = wire_to(serial(slave), barriers=frozenset({1}))
        with pytest.raises(SilentError):
            await wire.transact(READ)
        slave.faults.clear()
        await wire.reset()
        before = slave.requests
        assert await wire.transact(READ) == (100, 101)
        assert slave.requests == before + 2, "a nonce, then the request"
        assert await wire.transact(READ) == (100, 101)
        assert slave.requests == before + 3
        await wire.close()


async def test_a_unit_that_does_not_know_the_barrier_is_asked_without() -> None:
    slave = EvilSlave(faults={"silent": 1.0}, memory=Slave())
    slave.answer = lambda request: (
        bytes([request[0], 0x88, 1]) if request[1] == 8 else EvilSlave.answer(slave, request)
    )
    async with on_a_pty(slave):
        wire = wire_to(serial(slave), barriers=frozenset({1}))
        with pytest.raises(SilentError):
            await wire.transact(READ)
        slave.faults.clear()
        await wire.reset()
        assert await wire.transact(READ) == (100, 101)
        await wire.close()


async def test_an_adapter_that_hears_itself() -> None:
    async with on_a_pty(EvilSlave(with_echo=True)) as slave:
        wire = wire_to(serial(slave), local_echo=True)
        assert await wire.transact(READ) == (100, 101)
        await wire.transact(Request(unit=1, function=6, address=50, values=(9,)))
        await wire.close()
        deaf = wire_to(serial(slave))
        with pytest.raises(UnavailableError):
            await deaf.transact(READ)
        await deaf.close()


async def test_a_port_has_one_master_and_a_missing_one_is_said_to_be() -> None:
    async with on_a_pty(EvilSlave()) as slave:
        wire = wire_to(serial(slave))
        await wire.transact(READ)
        with pytest.raises(LineDownError, match="is in use by another program: a line has one master"):
            await wire_to(serial(slave)).transact(READ)
        await wire.close()
    with pytest.raises(LineDownError, match="there is no /dev/ttyNOWHERE: is the adapter plugged in"):
        await wire_to(SerialEndpoint(path="/dev/ttyNOWHERE", baud=9600)).transact(READ)


async def test_an_exception_is_an_answer() -> None:
    async with on_a_pty(EvilSlave(memory=Slave(illegal=frozenset({101})))) as slave:
        wire = wire_to(serial(slave))
        with pytest.raises(ExceptionAnswerError, match="exception 2"):
            await wire.transact(READ)
        assert await wire.transact(Request(unit=1, function=3, address=7)) == (7,)
        await wire.close()


async def _many(wire: StreamWire, slave: EvilSlave, reads: int) -> tuple[int, int]:
    """(right, without a value); a wrong one fails."""
    chance, right, none = random.Random(3), 0, 0
    for _ in range(reads):
        address, count = chance.randrange(60_000), chance.choice((1, 2, 2, 2, 4))
        try:
            got = await wire.transact(Request(unit=1, function=chance.choice((3, 4)), address=address, count=count))
        except UnavailableError:
            none += 1
            await wire.reset()
            continue
        assert got == tuple(range(address, address + count)), f"{got} for {address}, after {slave.seen}"
        right += 1
    return right, none


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("where", ["pty", "tcp"])
async def test_late_answers_give_no_wrong_value(where: str, as_text: bool) -> None:
    reads = WHOLE or 250
    slave = EvilSlave(faults={"late": 0.08}, late_s=(0.04, 0.08), ascii=as_text)
    async with on_a_pty(slave) if where == "pty" else on_tcp(slave):
        wire = wire_to(_endpoint(slave, where), timeout_s=0.03, drain_s=0.08)
        right, none = await _many(wire, slave, reads)
        await wire.close()
    assert slave.seen["late"] >= 0.04 * reads
    assert none >= slave.seen["late"] and right >= 0.5 * reads


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("where", ["pty", "tcp"])
async def test_no_fault_of_a_line_gives_a_wrong_value(where: str, as_text: bool) -> None:
    reads = WHOLE or 250
    slave = EvilSlave(faults=dict.fromkeys(FAULTS, 0.02), late_s=(0.04, 0.08), ascii=as_text)
    async with on_a_pty(slave) if where == "pty" else on_tcp(slave):
        wire = wire_to(_endpoint(slave, where), timeout_s=0.03, drain_s=0.08)
        right, _ = await _many(wire, slave, reads)
        await wire.close()
    assert len(slave.seen) == len(FAULTS) or reads < 250
    assert right >= 0.4 * reads


def _endpoint(slave: EvilSlave, where: str) -> Endpoint:
    if where == "pty":
        return serial(slave)
    return TcpEndpoint(host="127.0.0.1", port=slave.tcp_port, framing="ascii" if slave.ascii else "rtu")
