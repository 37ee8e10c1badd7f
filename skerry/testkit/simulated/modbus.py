"""Modbus devices on the network of simulated gateways: the TCP under the real driver, and the device that answers.

The gateway's side is the product's own, framing included; this is what it is connected to.
A device has four tables of 65,536 places and knows functions 1 to 6, 15, 16 and 22.

Source: MODBUS Application Protocol 1.1b3, sections 6 and 7; MODBUS Messaging on TCP/IP 1.0b, 3.1 (the header).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from skerry.testkit import arguments
from skerry.testkit.arguments import ADDRESSES
from skerry.testkit.simulated.loop import VirtualLoop

TRIP_S: Final = 0.002
"""One way on a plant's network."""
ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
_READS: Final = {1: "coils", 2: "discrete", 3: "holding", 4: "input"}


class Table(dict[int, int]):
    """Places by address; what was never set is 0. Refuses what a place can't hold."""

    def __init__(self, name: str, *, most: int) -> None:
        super().__init__()
        self._name = name
        self._most = most

    def __missing__(self, address: int) -> int:
        return 0

    def __setitem__(self, address: int, value: int) -> None:
        at = arguments.address(address, self._name)
        super().__setitem__(at, arguments.place(value, self._most, f"{self._name}[{at}]"))


class SimulatedPlc:
    """One device. Implements `skerry.testkit.Plc`."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        loop: VirtualLoop,
        *,
        note: Callable[[str], None],
        fault: Callable[[str], None],
    ) -> None:
        self.name = name
        self._host = host
        self._port = port
        self._loop = loop
        self._note = note
        self._fault = fault
        self._runs = True
        self._silent = False
        self._connections: list[_Connection] = []
        self.holding = Table("holding", most=0xFFFF)
        self.input = Table("input", most=0xFFFF)
        self.coils = Table("coils", most=1)
        self.discrete = Table("discrete", most=1)
        self._writes: list[tuple[float, str, int, tuple[int, ...]]] = []

    @property
    def host(self) -> str:
        return self._host

    @property
    def port(self) -> int:
        return self._port

    @property
    def writes(self) -> Sequence[tuple[float, str, int, tuple[int, ...]]]:
        return tuple(self._writes)

    def stop(self) -> None:
        self._runs = False
        self._fault("stopped")
        for connection in tuple(self._connections):
            connection.break_()

    def start(self) -> None:
        self._runs = True
        self._fault("started")

    def silence(self, *, silent: bool = True) -> None:
        self._silent = silent
        self._fault("falls silent" if silent else "answers again")

    # --- the network's side ---

    def connect(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
        """A new connection of a client. Raises `ConnectionRefusedError`."""
        if not self._runs:
            raise ConnectionRefusedError(f"{self._host}:{self._port} refused the connection")
        connection = _Connection(self, protocol, self._loop)
        self._connections.append(connection)
        return connection

    def gone(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def answer(self, request: bytes) -> bytes | None:
        """The answer to one request (unit, function, data) in the same form; None: silence."""
        if self._silent or not self._runs:
            return None
        unit, function, data = request[0], request[1], request[2:]
        try:
            body = self._carry_out(function, data)
        except _Refusal as refusal:
            return bytes((unit, function | 0x80, refusal.code))
        except struct.error:
            return bytes((unit, function | 0x80, ILLEGAL_VALUE))
        return bytes((unit, function)) + body

    def _carry_out(self, function: int, data: bytes) -> bytes:
        match function:
            case 1 | 2:
                return self._read_bits(function, data)
            case 3 | 4:
                return self._read_registers(function, data)
            case 5:
                address, value = struct.unpack(">HH", data)
                if value not in (0, 0xFF00):
                    raise _Refusal(ILLEGAL_VALUE)
                self._write("coils", address, (1 if value else 0,))
                return data
            case 6:
                address, value = struct.unpack(">HH", data)
                self._write("holding", address, (value,))
                return data
            case 15:
                address, count, size = struct.unpack(">HHB", data[:5])
                if not 1 <= count <= 1968 or size != (count + 7) // 8 or len(data) != 5 + size:
                    raise _Refusal(ILLEGAL_VALUE)
                bits = [data[5 + at // 8] >> (at % 8) & 1 for at in range(count)]
                self._write("coils", address, tuple(bits))
                return data[:4]
            case 16:
                address, count, size = struct.unpack(">HHB", data[:5])
                if not 1 <= count <= 123 or size != 2 * count or len(data) != 5 + size:
                    raise _Refusal(ILLEGAL_VALUE)
                self._write("holding", address, struct.unpack(f">{count}H", data[5:]))
                return data[:4]
            case 22:
                address, keep, add = struct.unpack(">HHH", data)
                self._write("holding", address, (self.holding[address] & keep | add & ~keep & 0xFFFF,))
                return data
            case _:
                raise _Refusal(ILLEGAL_FUNCTION)

    def _read_bits(self, function: int, data: bytes) -> bytes:
        address, count = struct.unpack(">HH", data)
        table: Table = getattr(self, _READS[function])
        if not 1 <= count <= 2000:
            raise _Refusal(ILLEGAL_VALUE)
        _check_range(address, count)
        packed = bytearray((count + 7) // 8)
        for at in range(count):
            packed[at // 8] |= table[address + at] << at % 8
        return bytes((len(packed),)) + bytes(packed)

    def _read_registers(self, function: int, data: bytes) -> bytes:
        address, count = struct.unpack(">HH", data)
        table: Table = getattr(self, _READS[function])
        if not 1 <= count <= 125:
            raise _Refusal(ILLEGAL_VALUE)
        _check_range(address, count)
        values = [table[address + at] for at in range(count)]
        return bytes((2 * count,)) + struct.pack(f">{count}H", *values)

    def _write(self, name: str, address: int, values: tuple[int, ...]) -> None:
        _check_range(address, len(values))
        table: Table = getattr(self, name)
        for at, value in enumerate(values):
            table[address + at] = value
        self._writes.append((self._loop.time(), name, address, values))
        self._note(f"written {name} {address} = {', '.join(str(value) for value in values)}")


class _Refusal(Exception):  # noqa: N818 - not an error of ours: what a device says
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _check_range(address: int, count: int) -> None:
    if address + count > ADDRESSES:
        raise _Refusal(ILLEGAL_ADDRESS)


class _Connection(asyncio.Transport):
    """A client's TCP connection to a device, as asyncio's protocols see one."""

    def __init__(self, plc: SimulatedPlc, protocol: asyncio.BaseProtocol, loop: VirtualLoop) -> None:
        super().__init__({"peername": (plc.host, plc.port), "sockname": ("192.0.2.2", 0)})
        self._plc = plc
        self._protocol: Any = protocol
        self._loop = loop
        self._closed = False
        self._received = b""
        loop.call_soon(self._protocol.connection_made, self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closed:
            self._loop.call_later(TRIP_S, self._arrive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 7:
            size = int.from_bytes(self._received[4:6])
            if len(self._received) < 6 + size:
                return
            head, request = self._received[:4], self._received[6 : 6 + size]
            self._received = self._received[6 + size :]
            answer = self._plc.answer(request)
            if answer is not None:
                whole = head + len(answer).to_bytes(2) + answer
                self._loop.call_later(TRIP_S, self._give, whole)

    def _give(self, data: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(data)

    def break_(self) -> None:
        """The device hangs up."""
        if not self._closed:
            self._closed = True
            self._plc.gone(self)
            self._loop.call_soon(self._protocol.connection_lost, None)

    def close(self) -> None:
        self.break_()

    def abort(self) -> None:
        self.break_()

    def is_closing(self) -> bool:
        return self._closed

    def get_write_buffer_size(self) -> int:
        return 0
