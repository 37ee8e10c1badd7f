"""What a link costs over QUIC and over WebSocket, in the same run: a handshake, a message, a copy, an end, memory.

    python -m benchmarks transports

Both ends are in this one process on loopback, so a figure is the processor's time of both together. A short handshake
is one by ticket. An end is measured among many connections, as aioquic's own
server searches the ids of all of them. Medians of several runs.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cloudcore.pki.certificates import issue_client, issue_server, new_authority
from edgecore.link.dial import websocket_dialer
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.objects.enrolment import HUB_SERVER_NAME
from skerry.ports import Link
from skerry.transport import quic, quic_server, websocket
from skerry.transport.identity import SESSION_PATH, Identity
from skerry.transport.quic_tls import Tickets
from skerry.transport.websocket import Route

HANDSHAKES: Final = 100
MESSAGES: Final = 1000
MESSAGE_BYTES: Final = 200
BULK_BYTES: Final = 16 << 20
BULK_FRAME_BYTES: Final = 56 * 1024
"""A piece of a copy on a fast link: `skerry.sync.streams.CHUNK_BYTES_MAX`."""
MANY: Final = 1000
RUNS: Final = 3

Dial = Callable[[], Awaitable[Link]]


def identity_in(home: Path) -> Identity:
    """A CA, a server's and a gateway's certificate, in files."""
    now = datetime.now(UTC)
    authority = new_authority(name="bench", now=now)
    server = issue_server(authority, names=[HUB_SERVER_NAME], now=now)
    node = issue_client(authority, user="system:node:bench", groups=[], now=now, valid=timedelta(days=30))
    (home / "ca.pem").write_text(authority.pem)
    (home / "server.pem").write_text(server.certificate_pem + server.key_pem)
    (home / "node.crt").write_text(node.certificate_pem)
    (home / "node.key").write_text(node.key_pem)
    return Identity(ca_file=home / "ca.pem", certificate_file=home / "node.crt", key_file=home / "node.key")


async def echo(link: Link) -> None:
    try:
        while True:
            frame = await link.receive()
            if len(frame) < BULK_FRAME_BYTES:
                await link.send(frame)
    except UnavailableError:
        return


@asynccontextmanager
async def over_websocket(home: Path, identity: Identity, *, tickets: bool) -> AsyncGenerator[Dial]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(home / "server.pem")
    context.load_verify_locations(cafile=home / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 1
    websocket.limit_tls_read_buffers()
    routes = {SESSION_PATH: Route(handle=echo, named=True)}
    async with websocket.listen("127.0.0.1", 0, context, routes) as (host, port):
        resuming = websocket_dialer(lambda: identity, SystemClock(), lambda: 0)

        async def dial() -> Link:
            kept = resuming if tickets else websocket_dialer(lambda: identity, SystemClock(), lambda: 0)
            return await kept(f"{host}:{port}")

        yield dial


@asynccontextmanager
async def over_quic(home: Path, identity: Identity, tickets: Tickets | None) -> AsyncGenerator[Dial]:
    credentials = quic_server.HubCredentials(
        server_files={HUB_SERVER_NAME: home / "server.pem"},
        roots_pem=(home / "ca.pem").read_text(),
        reset_key=bytes(32),
        clock=SystemClock(),
    )
    async with quic_server.listen("127.0.0.1", 0, credentials, {SESSION_PATH: echo}, idle_s=600) as (host, port):

        async def dial() -> Link:
            judgement = quic.Judgement(wall_ms=SystemClock().wall_ms(), floor_ms=0)
            kept = Tickets() if tickets is None else tickets
            return await quic.dial(f"{host}:{port}", quic.gateway_keys(identity), kept, judgement)

        yield dial


async def said(link: Link) -> None:
    await link.send(bytes(MESSAGE_BYTES))
    await link.receive()


async def handshake_ms(dial: Dial) -> float:
    """Processor time of a dial, one message there and back, and a close."""
    began = time.process_time()
    for _ in range(HANDSHAKES):
        link = await dial()
        await said(link)
        await link.close(code=1000, reason="")
    return (time.process_time() - began) / HANDSHAKES * 1000


async def message_us(dial: Dial) -> float:
    """Processor time of a message of 200 bytes there and back."""
    link = await dial()
    await said(link)
    began = time.process_time()
    for _ in range(MESSAGES):
        await said(link)
    spent = (time.process_time() - began) / MESSAGES * 1e6
    await link.close(code=1000, reason="")
    return spent


async def bulk(dial: Dial) -> tuple[float, float]:
    """MiB per second of one stream, and milliseconds of the processor for each MiB."""
    link = await dial()
    await said(link)
    piece = bytes(BULK_FRAME_BYTES)
    began, worked = time.monotonic(), time.process_time()
    for _ in range(BULK_BYTES // BULK_FRAME_BYTES):
        await link.send(piece, stream=2)
    await link.send(b"all of it", stream=2)
    await link.receive()
    passed, spent = time.monotonic() - began, time.process_time() - worked
    await link.close(code=1000, reason="")
    mib = BULK_BYTES / (1 << 20)
    return mib / passed, spent / mib * 1000


def resident_kib() -> float:
    rows = Path("/proc/self/status").read_text().splitlines()
    return float(next(row.split()[1] for row in rows if row.startswith("VmRSS")))


async def many(dial: Dial) -> tuple[float, float]:
    """KiB of both ends of an idle link; milliseconds of the processor that an end of one takes among the others."""
    gc.collect()
    before = resident_kib()
    links = [await dial() for _ in range(MANY)]
    for link in links:
        await said(link)
    gc.collect()
    each = (resident_kib() - before) / MANY
    began = time.process_time()
    for link in links[:HANDSHAKES]:
        await link.close(code=1000, reason="")
    await asyncio.sleep(0.5)  # closing connections linger a while, and are forgotten then
    spent = (time.process_time() - began) / HANDSHAKES * 1000
    for link in links:
        link.abort()
    return each, spent


async def measured() -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        identity = identity_in(home)
        rows: list[tuple[str, str]] = []
        forms = (
            ("WebSocket", lambda: over_websocket(home, identity, tickets=False)),
            ("WebSocket by ticket", lambda: over_websocket(home, identity, tickets=True)),
            ("QUIC", lambda: over_quic(home, identity, None)),
            ("QUIC by ticket", lambda: over_quic(home, identity, Tickets())),
        )
        for name, form in forms:
            async with AsyncExitStack() as stack:
                dial = await stack.enter_async_context(form())
                shaken = statistics.median([await handshake_ms(dial) for _ in range(RUNS)])
                rows.append((f"{name}: handshake, a message, an end, both ends", f"{shaken:.2f} ms"))
                if name.endswith("by ticket"):
                    continue
                told = statistics.median([await message_us(dial) for _ in range(RUNS)])
                rows.append((f"{name}: {MESSAGE_BYTES} bytes there and back, both ends", f"{told:.0f} µs"))
                pace, cost = sorted([await bulk(dial) for _ in range(RUNS)])[RUNS // 2]
                rows.append((f"{name}: a copy of {BULK_BYTES >> 20} MiB, both ends in one core", f"{pace:.1f} MiB/s"))
                rows.append((f"{name}: a MiB of a copy, both ends", f"{cost:.0f} ms"))
                each, spent = await many(dial)
                rows.append((f"{name}: memory of an idle link, both ends", f"{each:.0f} KiB"))
                rows.append((f"{name}: an end among {MANY} links, both ends", f"{spent:.2f} ms"))
        return rows


def main() -> list[tuple[str, str]]:
    """Rows of (what, figure)."""
    return asyncio.run(measured())
