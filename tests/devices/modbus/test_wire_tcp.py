"""Modbus TCP on a real socket, against a slave that lies, stalls and hangs up."""

from __future__ import annotations

import asyncio

import pytest

from devices.bus import ExceptionAnswerError, LineDownError, Request, SilentError, WrongAnswerError
from devices.modbus.channels import channel_to
from devices.modbus.endpoints import TcpEndpoint
from devices.modbus.frames import TcpFraming
from devices.modbus.settings import WireSettings
from devices.modbus.wire import StreamWire
from skerry.clocks import SeededIds
from skerry.errors import UnavailableError
from tests.devices.raw_slave import Slave, running, until

pytestmark = pytest.mark.system

READ = Request(unit=1, function=3, address=100, count=2)


def tcp_wire(port: int, *, timeout_s: float) -> StreamWire:
    return StreamWire(
        channel_to(TcpEndpoint(host="127.0.0.1", port=port), connect_s=timeout_s),
        TcpFraming(),
        WireSettings(timeout_s=timeout_s),
        name=f"127.0.0.1:{port}",
        ids=SeededIds(1),
    )


async def ask(slave: Slave, request: Request = READ, *, timeout_s: float = 0.2) -> tuple[int, ...]:
    async with running(slave):
        wire = tcp_wire(slave.port, timeout_s=timeout_s)
        try:
            return await wire.transact(request)
        finally:
            await wire.close()


async def test_reads_and_writes_of_every_function() -> None:
    slave = Slave()
    async with running(slave):
        wire = tcp_wire(slave.port, timeout_s=1)
        assert await wire.transact(READ) == (100, 101)
        assert await wire.transact(Request(unit=1, function=4, address=7)) == (7,)
        assert await wire.transact(Request(unit=1, function=5, address=3, values=(1,))) == ()
        await wire.transact(Request(unit=1, function=15, address=8, values=(1, 0, 1)))
        assert await wire.transact(Request(unit=1, function=1, address=3, count=8)) == (1, 0, 0, 0, 0, 1, 0, 1)
        assert await wire.transact(Request(unit=1, function=2, address=3, count=1)) == (1,)
        await wire.transact(Request(unit=1, function=6, address=50, values=(9,)))
        await wire.transact(Request(unit=1, function=16, address=51, values=(8, 7)))
        await wire.transact(Request(unit=1, function=22, address=50, values=(0xFFFE, 0)))
        assert await wire.transact(Request(unit=1, function=3, address=50, count=3)) == (8, 8, 7)
        await wire.close()
    assert slave.connections == 1


@pytest.mark.parametrize(
    ("twist", "error"),
    [
        (lambda _, frame: None, SilentError),  # silent
        (lambda _, frame: b"\x00\x63" + frame[2:], SilentError),  # another transaction
        (lambda _, frame: b"\x00\x00" + frame[2:], SilentError),  # no transaction id
        (lambda _, frame: frame[:6] + b"\x09" + frame[7:], WrongAnswerError),  # another unit
        (lambda _, frame: frame[:7] + b"\x04" + frame[8:], WrongAnswerError),  # another function
        (lambda request, _: Slave.frame(request, b"\x03\x02\x00\x07"), WrongAnswerError),  # one register of two
        (lambda request, _: Slave.frame(request, b"\x03\x06" + bytes(6)), WrongAnswerError),  # three of two
        (lambda request, _: Slave.frame(request, b"\x84\x02"), WrongAnswerError),  # another's exception
        (lambda _, frame: frame[:9], SilentError),  # cut short
        (lambda _, frame: b"\x15\x03\x99\x01\x02\x03\x04\x05\x06\x07\x08", WrongAnswerError),  # garbage
    ],
)  # fmt: skip
async def test_no_answer_but_the_right_one_is_taken(twist: object, error: type[UnavailableError]) -> None:
    slave = Slave(twist=twist)  # pyright: ignore[reportArgumentType] - a table of lambdas
    with pytest.raises(error):
        await ask(slave)


async def test_an_answer_in_pieces_is_put_together() -> None:
    assert await ask(Slave(in_pieces=True), timeout_s=2) == (100, 101)


async def test_exceptions_are_told_by_their_names() -> None:
    with pytest.raises(ExceptionAnswerError, match="exception 2: illegal data address"):
        await ask(Slave(illegal=frozenset({101})))


async def test_a_peer_that_hangs_up_fails_the_request_at_once_and_the_next_one_reconnects() -> None:
    async with running(Slave(hangs_up=True)) as slave:
        wire = tcp_wire(slave.port, timeout_s=30)
        async with asyncio.timeout(5):
            for _ in range(2):
                with pytest.raises(LineDownError, match="closed the connection"):
                    await wire.transact(READ)
        await wire.close()
    assert slave.connections == 2


async def test_a_peer_that_hung_up_while_idle_costs_no_value() -> None:
    async with running(Slave()) as slave:
        wire = tcp_wire(slave.port, timeout_s=2)
        assert await wire.transact(READ) == (100, 101)
        slave.hang_up_now()
        await until(lambda: not wire.connected)
        assert await wire.transact(READ) == (100, 101)
        await wire.close()


async def test_no_connection_is_a_line_down() -> None:
    async with running(Slave()) as slave:
        port = slave.port
    with pytest.raises(LineDownError, match="cannot connect to"):
        await tcp_wire(port, timeout_s=0.5).transact(READ)
