"""Probes of servers that are as bad as they can be: each comes to a word in time, and to the right one."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpclib.health.check import ServiceStatus
from grpclib.health.service import OVERALL, Health
from grpclib.server import Server

from skerry.probing.attempts import tried
from skerry.probing.probe import NOT_PERMITTED, probe_of

pytestmark = pytest.mark.system

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def serving(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # who probes goes away when he has heard enough
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def saying(*pieces: bytes, pause_s: float = 0.0) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return serve


async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD)
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def asked(port: int, **more: Any) -> str:
    given = {"type": "HTTP", "port": port, "intervalSeconds": 2, "timeoutSeconds": 1, **more}
    began = time.monotonic()
    reason = await tried("127.0.0.1", probe_of(given, "p", "www.example.com"))
    assert time.monotonic() < began + 5, "bounded, whatever it does"
    return reason


@pytest.mark.parametrize(
    ("serve", "more", "reason"),
    [
        (saying(HEAD), {}, ""),
        (saying(b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n"), {}, ""),
        (saying(b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n"), {"statuses": ["200-299"]}, "status 301"),
        (saying(b"HTTP/1.1 503 Away\r\n\r\n"), {}, "status 503"),
        (saying(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", HEAD), {"statuses": ["200"]}, ""),
        (saying(b"HTTP/1.1 100 Continue\r\n\r\n" * 50), {}, "status 100"),
        (saying(HEAD, b"all is ", b"fine", pause_s=0.05), {"body": "is fine"}, ""),
        (
            saying(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"7\r\nall is \r\n4;x=y\r\nfine\r\n0\r\n\r\n",
            ),
            {"body": "is fine"},
            "",
        ),
        (
            saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", b"a\r\n0123456789\r\n0\r\n\r\n"),
            {"body": "a"},
            "don't have the text",
        ),
        (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), {"body": "a"}, "invalid literal"),
        (saying(HEAD, *[b"."] * 100, pause_s=0.1), {"body": "fine"}, "no answer in 1 s"),
        (endless, {"body": "fine"}, "don't have the text"),
        (silent, {}, "no answer in 1 s"),
        (silent, {"type": "TLS"}, "no answer in 1 s"),
        (saying(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000), {}, "limit"),
        (saying(b"SSH-2.0-x\r\n\r\n"), {}, "no answer of HTTP/1"),
        (saying(b"HTTP/1.1 2000000000000000 OK\r\n\r\n"), {}, "no answer of HTTP/1"),
        (saying(HEAD), {"type": "TLS"}, "no answer in 1 s"),
        (saying(HEAD * 2), {"type": "GRPC"}, "bytes"),
        (silent, {"type": "TCP"}, ""),
    ],
)
async def test_a_hostile_server_is_judged_in_time(serve: Serve, more: dict[str, Any], reason: str) -> None:
    async with serving(serve) as port:
        told = await asked(port, **more)
    assert reason in told and bool(told) == bool(reason), told


async def test_a_port_where_nobody_is_is_refused() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert await asked(probe.getsockname()[1]) == "Connection refused"


def context_of(directory: Path, name: str, days: int) -> ssl.SSLContext:
    """A server with a certificate of its own making, valid for so many days from yesterday."""
    key = ec.generate_private_key(ec.SECP256R1())
    about = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    made = (
        x509.CertificateBuilder()
        .subject_name(about)
        .issuer_name(about)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(since)
        .not_valid_after(since + datetime.timedelta(days=30 + days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(made.public_bytes(pem) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    return context


@pytest.mark.parametrize(
    ("days", "more", "reason"),
    [
        (10, {}, ""),
        (10, {"certificateDaysMin": 5}, ""),
        (10, {"certificateDaysMin": 20}, "valid for 10.0 days more"),
        (-1, {"certificateDaysMin": 1}, "valid for -1.0 days more"),
        (-1, {}, ""),
        (10, {"verify": True}, "certificate verify failed"),
    ],
)
@pytest.mark.parametrize("kind", ["TLS", "HTTPS"])
async def test_a_certificate_is_looked_at_as_the_probe_says(
    tmp_path: Path, kind: str, days: int, more: dict[str, Any], reason: str
) -> None:
    async with serving(saying(HEAD), context_of(tmp_path, "www.example.com", days)) as port:
        told = await asked(port, type=kind, **more)
    assert reason.lower() in told.lower() and bool(told) == bool(reason), told


async def test_grpc_is_good_while_the_service_serves() -> None:
    state = ServiceStatus()
    server = Server([Health({OVERALL: [state]})])
    await server.start("127.0.0.1", 0)
    port = server._server.sockets[0].getsockname()[1]  # type: ignore[union-attr] - grpclib tells it nowhere else
    try:
        for serves in (True, False, True):
            state.set(serves)
            told = await asked(port, type="GRPC")
            assert told == ("" if serves else "the service is not serving")
        assert await asked(port, type="GRPC", service="nobody.Knows") == "the answer has no health in it"
    finally:
        server.close()
        await server.wait_closed()


def test_echo_that_is_not_permitted_says_so_and_nothing_of_the_target() -> None:
    """In a process that may open no such socket."""
    program = """
import asyncio, os
from skerry.probing.attempts import tried
from skerry.probing.probe import probe_of
open("/proc/sys/net/ipv4/ping_group_range", "w").write("1 0")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(asyncio.run(tried("127.0.0.1", probe_of({"type": "ICMP"}, "p", "x"))))
"""
    command = ["unshare", "--net", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == NOT_PERMITTED, done.stderr
