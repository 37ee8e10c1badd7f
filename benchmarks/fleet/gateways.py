"""Thousands of gateways in one process: real TLS 1.3 with a certificate each, real WebSocket upgrades, real frames.

Only what stands around them is cheap: the WebSocket client is written by hand, the outbox is empty and the inventory
is in memory. The session is the product's own machine. Driven by lines of JSON on standard input, answers on standard
output: so that the hub's process can be measured alone.

Run by `benchmarks.hub`: python -m benchmarks.fleet.gateways DATA HOST PORT
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import ssl
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fleet.world import SHARED, node_name
from skerry.clocks import SystemClock
from skerry.objects.enrolment import HUB_SERVER_NAME
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span
from skerry.sync.edge import EdgeIdentity, EdgeSession, EdgeState
from skerry.sync.effects import CloseLink, Send, Write
from skerry.sync.ports import BootTimes, OutboxItem, Taken
from skerry.transport.driver import now_of
from skerry.transport.identity import SESSION_PATH
from skerry.wire.codec import decode, encode
from skerry.wire.frames import Start

CLOCK = SystemClock()
CONNECTING_MAX = 256
"""Handshakes at a time: more would only wait in the kernel's backlog."""


class NoReports:
    """An outbox with nothing in it."""

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxItem]:
        return ()

    def take(self, *, after: int, limit: int, lane: int | None = None, until: int | None = None) -> Taken[OutboxItem]:
        return Taken(items=())

    def give_back(self, seqs: Sequence[int]) -> None:
        assert not seqs, "nothing was taken"

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        """Nothing was taken before."""

    def outbox_head(self) -> int:
        return 0

    def outbox_left(self) -> int:
        return 0

    def outbox_starts(self) -> tuple[Start, ...]:
        return ()

    def note_sent(self, through: int) -> None:
        assert through == 0, "there is nothing to send"

    def boots(self) -> tuple[BootTimes, ...]:
        return ()


class Contexts(ssl.SSLContext):
    """One context for all gateways: each connection takes the certificate that was loaded last, which is its own."""

    certificate = ""

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        self.load_cert_chain(self.certificate)
        return super().wrap_bio(*arguments, **named)


class PerGateway:
    """What asyncio takes for a context."""

    def __init__(self, contexts: Contexts, certificate: str) -> None:
        self._contexts = contexts
        self._certificate = certificate

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        self._contexts.certificate = self._certificate
        return self._contexts.wrap_bio(*arguments, **named)


@dataclass(slots=True)
class Fleet:
    """All of them, and what was seen."""

    host: str
    port: int
    data: Path
    contexts: Contexts
    epoch: str = ""
    gateways: dict[int, Gateway] = field(default_factory=dict)
    settled: int = 0
    shared_s: dict[int, float] = field(default_factory=dict)
    """When each was given the shared ConfigMap last."""
    silent: int = 0
    """Sessions that ended because one side heard nothing."""
    busy: int = 0
    failed: int = 0
    welcome_s: list[float] = field(default_factory=list)
    pong_s: list[float] = field(default_factory=list)
    """How long answers to pings took."""
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTING_MAX))


class Gateway(asyncio.Protocol):
    """One gateway and, at times, its connection."""

    __slots__ = (
        *("buffer", "closed", "fleet", "held", "in_step", "number", "retry_s", "revision", "session", "timer"),
        *("transport", "upgraded", "wanted"),
    )

    def __init__(self, fleet: Fleet, number: int, held: dict[Key, Stamp]) -> None:
        self.fleet = fleet
        self.number = number
        self.held = held
        self.revision = Revision(0)
        self.session: EdgeSession | None = None
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.upgraded = False
        self.timer: asyncio.TimerHandle | None = None
        self.closed: asyncio.Event | None = None
        self.retry_s = 0.0
        self.wanted = True
        self.in_step = False

    async def run(self) -> None:
        """Dial until in a session; again when it ends, for as long as it is wanted."""
        loop = asyncio.get_running_loop()
        failures = 0
        while self.wanted:
            backoff_s = min(60.0, 2.0**failures) * (os.urandom(1)[0] / 255)
            try:
                async with self.fleet.gate:
                    self.closed = asyncio.Event()
                    self.upgraded, self.buffer = False, b""
                    context: Any = PerGateway(
                        self.fleet.contexts, str(self.fleet.data / "gateways" / f"{self.number}.pem")
                    )
                    source = f"127.{1 + self.number % 16}.0.1"
                    async with asyncio.timeout(60):
                        await loop.create_connection(
                            lambda: self,
                            self.fleet.host,
                            self.fleet.port,
                            ssl=context,
                            server_hostname=HUB_SERVER_NAME,
                            local_addr=(source, 0),
                        )
            except (OSError, TimeoutError):
                self.fleet.failed += 1
                failures += 1
                await asyncio.sleep(backoff_s)
                continue
            await self.closed.wait()
            self.closed = None
            if self.session is not None and self.session.session:
                failures = 0
            else:
                failures += 1
            await asyncio.sleep(self.retry_s or backoff_s)

    # --- the connection ---

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(
            f"GET {SESSION_PATH} HTTP/1.1\r\nHost: {HUB_SERVER_NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.upgraded:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self._leave()
                return
            self.upgraded, self.buffer = True, rest
            self._open()
        while (message := self._message()) is not None:
            session = self.session
            if session is None:
                return
            session.receive(decode(message), now_of(CLOCK))
            self.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.session is not None:
            self.session.lost("lost")
            self.pump()
        if self.closed is not None:
            self.closed.set()

    def _message(self) -> bytes | None:
        """One whole message out of the buffer. Fragments are joined; the server's frames are not masked."""
        parts, at, buffer = [], 0, self.buffer
        while len(buffer) >= at + 2:
            first, length = buffer[at], buffer[at + 1] & 127
            start = at + 2
            if length == 126:
                if len(buffer) < start + 2:
                    return None
                (length,) = struct.unpack_from("!H", buffer, start)
                start += 2
            elif length == 127:
                if len(buffer) < start + 8:
                    return None
                (length,) = struct.unpack_from("!Q", buffer, start)
                start += 8
            if len(buffer) < start + length:
                return None
            if first & 15 == 8:
                self._leave()
                return None
            parts.append(buffer[start : start + length])
            at = start + length
            if first & 128:
                self.buffer = buffer[at:]
                return b"".join(parts)
        return None

    def _say(self, data: bytes) -> None:
        """One binary message, masked with zeros, as RFC 6455 allows and nobody should."""
        if self.transport is None:
            return
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 130, 128 | size)
        elif size < 65536:
            head = struct.pack("!BBH", 130, 254, size)
        else:
            head = struct.pack("!BBQ", 130, 255, size)
        self.transport.write(head + b"\0\0\0\0" + data)

    # --- the session ---

    def _open(self) -> None:
        identity = EdgeIdentity(
            node=node_name(self.number),
            agent_version="simulated",
            incarnation=f"i-{self.number}",
            boot_id="b",
            epoch=self.fleet.epoch,
            revision=self.revision,
        )
        self.retry_s = 0.0
        self.session = EdgeSession(identity, self.held.items(), NoReports(), now_of(CLOCK))
        self.pump()

    def pump(self) -> None:
        session = self.session
        if session is None:
            return
        while effects := session.effects():
            for effect in effects:
                if isinstance(effect, Send):
                    self._say(encode(effect.frame))
                elif isinstance(effect, Write):
                    self._write(effect)
                    session.written(effect.number, now_of(CLOCK))
                elif isinstance(effect, CloseLink):
                    self._ended(effect)
        in_step = session.state is EdgeState.IN_STEP
        if in_step != self.in_step:
            self.in_step = in_step
            self.fleet.settled += 1 if in_step else -1
        self._arm(session)

    def _ended(self, how: CloseLink) -> None:
        self.fleet.silent += how.code == 4
        self.fleet.busy += how.code == 5
        self.retry_s = how.retry_after_s
        self._leave()

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _write(self, write: Write) -> None:
        for put in write.puts:
            self.held[put.key] = put.stamp
            if put.key.name == SHARED:
                self.fleet.shared_s[self.number] = time.monotonic()
        for key in write.deletes:
            self.held.pop(key, None)
        if write.void:
            for key, stamp in self.held.items():
                self.held[key] = Stamp(stamp.uid, Revision(0))
        if write.revision is not None:
            self.revision = write.revision
        if write.epoch:
            self.fleet.epoch = write.epoch

    def _arm(self, session: EdgeSession) -> None:
        deadline = session.deadline()
        if deadline is None or self.timer is not None:
            return
        delay = max(0.01, deadline - CLOCK.monotonic_s())
        self.timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self.timer = None
        if self.session is not None:
            self.session.tick(now_of(CLOCK))
            self.pump()


async def drive(fleet: Fleet) -> None:
    """Obey the lines on standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: dict[int, asyncio.Task[None]] = {}
    while line := await reader.readline():
        order = json.loads(line)
        answer: dict[str, Any] = {}
        match order["do"]:
            case "start":
                for number in range(order["first"], order["last"]):
                    gateway = fleet.gateways.get(number)
                    if gateway is None:
                        gateway = fleet.gateways[number] = Gateway(fleet, number, {})
                    gateway.wanted = True
                    tasks[number] = loop.create_task(gateway.run())
            case "drop":
                for gateway in fleet.gateways.values():
                    if gateway.transport is not None:
                        gateway.transport.abort()
            case "forget":
                fleet.shared_s.clear()
                fleet.silent = fleet.busy = fleet.failed = 0
            case "stop":
                for gateway in fleet.gateways.values():
                    gateway.wanted = False
                for task in tasks.values():
                    task.cancel()
                return
            case _:
                pass
        usage = resource.getrusage(resource.RUSAGE_SELF)
        answer |= {
            "settled": fleet.settled,
            "silent": fleet.silent,
            "busy": fleet.busy,
            "failed": fleet.failed,
            "shared": len(fleet.shared_s),
            "shared_last_s": max(fleet.shared_s.values(), default=0.0),
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }
        print(json.dumps(answer), flush=True)


def main() -> None:
    data, host, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    from asyncio import sslproto

    sslproto.SSLProtocol.max_size = 4096
    contexts = Contexts(ssl.PROTOCOL_TLS_CLIENT)
    contexts.minimum_version = ssl.TLSVersion.TLSv1_3
    contexts.load_verify_locations(cafile=str(data / "pki" / "ca.crt"))

    async def run() -> None:
        await drive(Fleet(host=host, port=port, data=data, contexts=contexts))

    asyncio.run(run())


if __name__ == "__main__":
    main()
