"""A Modbus TCP device as a program of its own, whose memory the test run reads and writes.

    python -m skerry.testkit.real.plc PORT

It listens where it is told to: on every address of one network namespace after another, with the same memory, so
that each site has it on its own network. Public functions 1 to 6, 15 and 16 of the Modbus Application Protocol 1.1b3.
Told what to do by lines of JSON on standard input, one answer each; keeps its memory until that is closed.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from skerry.testkit.real.namespaces import bound_in

READS: Final = {1: "coils", 2: "discrete", 3: "holding", 4: "input"}
TABLES: Final = {**READS, 5: "coils", 6: "holding", 15: "coils", 16: "holding"}
BITS: Final = frozenset({"coils", "discrete"})
ILLEGAL_FUNCTION, ILLEGAL_VALUE = 1, 3
READ_BITS_MAX, READ_WORDS_MAX = 2000, 125
ADU_BYTES_MAX: Final = 260
WRITES_MAX: Final = 10_000
"""Remembered; then the oldest is forgotten."""


class RefusedError(Exception):
    """An exception response of this code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception code {code}")
        self.code = code


class Memory:
    """Four tables, and what was written to them from outside."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[int, int]] = {name: {} for name in ("coils", "discrete", "holding", "input")}
        self.writes: list[tuple[float, str, int, list[int]]] = []

    def answer(self, request: bytes) -> bytes:
        """A response PDU to a request PDU. Raises `RefusedError`."""
        function = request[0]
        table = TABLES.get(function)
        if table is None:
            raise RefusedError(ILLEGAL_FUNCTION)
        if len(request) < 5:
            raise RefusedError(ILLEGAL_VALUE)
        address, value = struct.unpack_from(">HH", request, 1)
        if function <= 4:
            return bytes([function]) + self._read(table, address, value)
        self._write(table, address, self._values(function, request, value))
        return request[:5]

    def _read(self, table: str, address: int, count: int) -> bytes:
        most = READ_BITS_MAX if table in BITS else READ_WORDS_MAX
        if not 1 <= count <= most or address + count > 65_536:
            raise RefusedError(ILLEGAL_VALUE)
        held = self.tables[table]
        values = [held.get(address + place, 0) for place in range(count)]
        if table not in BITS:
            return struct.pack(f">B{count}H", 2 * count, *values)
        packed = sum(bit << place for place, bit in enumerate(values)).to_bytes((count + 7) // 8, "little")
        return bytes([len(packed)]) + packed

    def _values(self, function: int, request: bytes, value: int) -> list[int]:
        if function == 5:
            if value not in (0, 0xFF00):
                raise RefusedError(ILLEGAL_VALUE)
            return [int(value != 0)]
        if function == 6:
            return [value]
        size = (value + 7) // 8 if function == 15 else 2 * value
        if value == 0 or len(request) != 6 + size or request[5] != size:
            raise RefusedError(ILLEGAL_VALUE)
        if function == 15:
            bits = int.from_bytes(request[6:], "little")
            return [bits >> place & 1 for place in range(value)]
        return [*struct.unpack(f">{value}H", request[6:])]

    def _write(self, table: str, address: int, values: Sequence[int]) -> None:
        if address + len(values) > 65_536:
            raise RefusedError(ILLEGAL_VALUE)
        self.tables[table].update((address + place, value) for place, value in enumerate(values))
        self.writes.append((time.time(), table, address, [*values]))
        del self.writes[:-WRITES_MAX]


class Device:
    """The program: its memory, and its listeners."""

    def __init__(self, port: int) -> None:
        self.memory = Memory()
        self._port = port
        self._places: list[tuple[str, str]] = []
        self._servers: list[asyncio.Server] = []
        self._peers: set[asyncio.StreamWriter] = set()
        self._silent = False

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """One order; its answer, with `error` when it could not be done."""
        match order["do"]:
            case "listen":
                self._places.append((order["namespace"], order["host"]))
                return await self._listen(*self._places[-1])
            case "get":
                return {"value": self.memory.tables[order["table"]].get(order["address"], 0)}
            case "held":
                return {"addresses": sorted(self.memory.tables[order["table"]])}
            case "set":
                self.memory.tables[order["table"]][order["address"]] = order["value"]
            case "unset":
                self.memory.tables[order["table"]].pop(order["address"], None)
            case "writes":
                return {"writes": self.memory.writes}
            case "silence":
                self._silent = order["silent"]
            case "stop":
                self._stop()
            case "start":
                answers = [await self._listen(*place) for place in self._places]
                return next(filter(None, answers), answers[0])
            case _:
                return {"error": f"no such order: {order['do']}"}
        return {}

    async def _listen(self, namespace: str, host: str) -> dict[str, Any]:
        try:
            place = bound_in(namespace, host, self._port)
        except OSError as error:
            return {"error": f"port {self._port}: {error.strerror}"}
        self._servers.append(await asyncio.start_server(self._talk, sock=place))
        return {}

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for peer in self._peers:
            peer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.add(writer)
        try:
            while True:
                transaction, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                if protocol != 0 or not 2 <= length <= ADU_BYTES_MAX - 6:
                    return
                request = await reader.readexactly(length - 1)
                if self._silent:
                    continue
                try:
                    answer = self.memory.answer(request)
                except RefusedError as refusal:
                    answer = bytes([request[0] | 0x80, refusal.code])
                writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # a peer that goes away is a peer that goes away
        finally:
            self._peers.discard(writer)
            writer.transport.abort()


async def serve(device: Device) -> None:
    """Obey until standard input is closed."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    while line := await reader.readline():
        sys.stdout.write(json.dumps(await device.obey(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(Device(int(sys.argv[1]))))
