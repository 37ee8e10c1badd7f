"""The one module that knows pymodbus (3.16), and does not trust it.

The library frames requests and answers, nothing more: no retries, no reconnecting of its own, no value codec. It
checks neither the function code nor the number of registers of an answer, and takes an answer without a
transaction id for any request: so `_checked` compares everything. After a silence the connection is thrown away
(`reset`): a late answer then arrives at a socket that nobody reads. Imported only when a Modbus device exists.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import Protocol, cast

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException, ModbusIOException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from devices.bus import ExceptionAnswerError, LineDownError, Request, SilentError, WrongAnswerError

# The library logs an error for each silence; health reports say it once, with the reason.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class _MaskAnswer(Protocol):
    and_mask: int
    or_mask: int


class TcpWire:
    """A `Wire` over Modbus TCP. Connects when first needed; one connection, whatever the number of units."""

    def __init__(self, host: str, port: int, *, timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._client: AsyncModbusTcpClient | None = None

    async def transact(self, request: Request) -> tuple[int, ...]:
        """See `Wire`."""
        if not self.connected:
            # Some slaves hang up on a connection that was idle; that is no reason for a missing value.
            await self.reset()
        client = self._client or await self._connect()
        pdu = _pdu(request)
        try:
            answer = await client.execute(False, pdu)
        except ModbusIOException as error:
            raise SilentError(f"unit {request.unit} is silent for {self._timeout_s:g} s") from error
        except ConnectionException as error:
            raise LineDownError(f"{self._host}:{self._port} closed the connection") from error
        except (ModbusException, OSError, ValueError, struct.error) as error:
            raise WrongAnswerError(f"unreadable answer: {error}") from error
        return _checked(request, pdu, answer)

    @property
    def connected(self) -> bool:
        """As far as the socket knows."""
        return self._client is not None and self._client.connected

    async def _connect(self) -> AsyncModbusTcpClient:
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._connection_changed,
        )
        # A count of unanswered requests after which the library would close on its own: `reset` decides that.
        client.set_max_no_responses(1_000_000)
        self._client = client
        try:
            connected = await client.connect()
        except OSError as error:
            connected, cause = False, error
        else:
            cause = None
        if not connected:
            await self.reset()
            raise LineDownError(f"cannot connect to {self._host}:{self._port}") from cause
        return client

    def _connection_changed(self, connected: bool) -> None:
        """A request in flight fails at once when the peer hangs up; the library would wait for its timeout."""
        if connected or self._client is None:
            return
        waiting = cast("asyncio.Future[ModbusPDU]", self._client.ctx.response_future)
        if not waiting.done():
            waiting.set_exception(ConnectionException("the peer hung up"))
            # When nobody waits for it, the error is told by the next request.
            waiting.exception()

    async def reset(self) -> None:
        """Throw the connection away; the next request opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def close(self) -> None:
        await self.reset()


def _pdu(request: Request) -> ModbusPDU:
    unit, address, values = request.unit, request.address, list(request.values)
    bits = [bool(value) for value in values]
    match request.function:
        case 1:
            return ReadCoilsRequest(address=address, count=request.count, dev_id=unit)
        case 2:
            return ReadDiscreteInputsRequest(address=address, count=request.count, dev_id=unit)
        case 3:
            return ReadHoldingRegistersRequest(address=address, count=request.count, dev_id=unit)
        case 4:
            return ReadInputRegistersRequest(address=address, count=request.count, dev_id=unit)
        case 5:
            return WriteSingleCoilRequest(address=address, bits=bits, dev_id=unit)
        case 6:
            return WriteSingleRegisterRequest(address=address, registers=values, dev_id=unit)
        case 15:
            return WriteMultipleCoilsRequest(address=address, bits=bits, dev_id=unit)
        case 16:
            return WriteMultipleRegistersRequest(address=address, registers=values, dev_id=unit)
        case 22:
            return MaskWriteRegisterRequest(address=address, and_mask=values[0], or_mask=values[1], dev_id=unit)
        case other:
            raise AssertionError(f"function {other} is never asked for")


def _checked(request: Request, sent: ModbusPDU, answer: ModbusPDU) -> tuple[int, ...]:
    """The answer's values, once everything about it agrees with the request."""
    if answer.transaction_id != sent.transaction_id:
        raise WrongAnswerError(f"answer to transaction {answer.transaction_id}, not {sent.transaction_id}")
    if answer.dev_id != request.unit:
        raise WrongAnswerError(f"unit {answer.dev_id} answered for unit {request.unit}")
    if isinstance(answer, ExceptionResponse):
        if answer.function_code & 0x7F != request.function:
            raise WrongAnswerError(f"exception of function {answer.function_code & 0x7F}, not {request.function}")
        raise ExceptionAnswerError(int(answer.exception_code))
    if answer.function_code != request.function:
        raise WrongAnswerError(f"function {answer.function_code} answered for {request.function}")
    if request.function in (3, 4):
        if len(answer.registers) != request.count:
            raise WrongAnswerError(f"{len(answer.registers)} registers instead of {request.count}")
        return tuple(answer.registers)
    if request.function in (1, 2):
        if len(answer.bits) != (request.count + 7) // 8 * 8:
            raise WrongAnswerError(f"{len(answer.bits)} bits instead of {request.count}")
        return tuple(int(bit) for bit in answer.bits[: request.count])
    _check_echo(request, answer)
    return ()


def _check_echo(request: Request, answer: ModbusPDU) -> None:
    """A write's answer repeats what was written, or how much."""
    same = answer.address == request.address
    match request.function:
        case 5:
            same = same and [int(bit) for bit in answer.bits[:1]] == list(request.values)
        case 6:
            same = same and answer.registers == list(request.values)
        case 22:
            masks = cast(_MaskAnswer, answer)
            same = same and (masks.and_mask, masks.or_mask) == request.values
        case _:
            same = same and answer.count == len(request.values)
    if not same:
        raise WrongAnswerError(f"the echo of function {request.function} differs from the request")
