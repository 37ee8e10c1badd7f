"""Through an independent HTTP proxy: TLS end to end, with a password, and a proxy that says no."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from edgecore.link.dial import websocket_dialer
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.ports import Link
from skerry.transport import websocket
from skerry.transport.dialled import DialledLink
from skerry.transport.identity import SESSION_PATH, nameless_context
from skerry.transport.proxy import Proxy, proxy_of
from skerry.transport.tunnel import Place, asked
from skerry.transport.websocket import Route
from tests.system.certificates import Site

pytestmark = pytest.mark.system

TINYPROXY = shutil.which("tinyproxy") or shutil.which("/usr/bin/tinyproxy")


@contextmanager
def tinyproxy(directory: Path, *connect_ports: int) -> Generator[int]:
    """The port of a proxy that wants a password, and lets CONNECT through to these ports alone."""
    if TINYPROXY is None:
        pytest.skip("tinyproxy is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = directory / "tinyproxy.conf"
    config.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n"
        f'BasicAuth site s3cret\nLogFile "{directory / "tinyproxy.log"}"\n'
        + "".join(f"ConnectPort {each}\n" for each in connect_ports)
    )
    process = subprocess.Popen([TINYPROXY, "-d", "-c", str(config)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not listening(port):
            assert time.monotonic() < deadline, "the proxy did not start"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def behind_tls(port: int, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """The port of the same proxy for who speaks TLS to it."""
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        further, back = await asyncio.open_connection("127.0.0.1", port)
        pipes.update(asyncio.create_task(pipe(*ends)) for ends in ((reader, back), (further, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def through(port: int, *, password: str = "s3cret") -> Proxy:
    proxy = proxy_of(f"http://site:{password}@127.0.0.1:{port}", {}, host="cloud")
    assert proxy is not None
    return proxy


async def test_a_link_goes_through_a_proxy_and_refusals_are_said_without_the_password(tmp_path: Path) -> None:
    site = Site(tmp_path)
    peers: list[str] = []

    async def echo(link: Link) -> None:
        peers.append(link.peer_name)
        await link.send(await link.receive())

    routes = {SESSION_PATH: Route(handle=echo, named=True)}
    async with websocket.listen("127.0.0.1", 0, site.server_context(), routes) as (host, hub_port):
        address = f"{host}:{hub_port}"
        with tinyproxy(tmp_path, hub_port) as port:
            dial = websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0, proxy=through(port))
            link = await dial(address)
            await link.send(b"hello")
            async with asyncio.timeout(10):
                assert await link.receive() == b"hello"
            await link.close(code=1000, reason="")
            assert peers == ["system:node:eu-1"], "TLS is end to end"
            link = await dial(address)
            assert isinstance(link, DialledLink)
            assert link.resumed, "a ticket is as good here as without a proxy"
            await link.close(code=1000, reason="")
            log = (tmp_path / "tinyproxy.log").read_text()
            assert f"CONNECT {address}" in log

            wrong = websocket_dialer(
                lambda: site.identity, SystemClock(), lambda: 0, proxy=through(port, password="wr0ng")
            )
            # RFC 9110 section 15.5.8 says 407; tinyproxy before 1.11.2 says 401.
            with pytest.raises(
                UnavailableError, match=rf"127.0.0.1:{port} opens no way \(40[17]\): it wants another user"
            ) as refused:
                await wrong(address)
            assert "wr0ng" not in str(refused.value)
            with pytest.raises(UnavailableError, match=r"opens no way \(403\): it has to allow CONNECT to "):
                await dial("127.0.0.1:1")


async def test_a_proxy_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    site = Site(tmp_path)
    dial = websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0, proxy=through(1))
    with pytest.raises(UnavailableError, match=r"the proxy http://127\.0\.0\.1:1") as failed:
        await dial("127.0.0.1:10443")
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_page_is_asked_for_through_a_proxy_also_where_that_speaks_tls_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    site = Site(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # whom this machine trusts
    context = nameless_context(tmp_path / "ca.pem", trust_clock=True)
    pages = {"/page": lambda: "what it says\n" * 2000}
    async with websocket.listen("127.0.0.1", 0, site.server_context(), {}, pages=pages) as (host, hub_port):
        with tinyproxy(tmp_path, hub_port) as plain:
            async with behind_tls(plain, site.server_context()) as port:
                proxy = Proxy(
                    scheme=scheme,
                    host="127.0.0.1",
                    port=plain if scheme == "http" else port,
                    user="site",
                    password="s3cret",
                )
                place = Place(host=host, port=hub_port, server_name="hub.skerry.internal", proxy=proxy)
                question = b"GET /page HTTP/1.1\r\nHost: hub\r\n\r\n"

                async def ask(where: Place) -> bytes:
                    async with asyncio.timeout(20):
                        return await asked(where, context, question, bytes_max=1 << 20)

                assert (await ask(place)).endswith(b"what it says\n" * 2000)
                wrong = replace(place, proxy=replace(proxy, password="wr0ng"))
                with pytest.raises(UnavailableError, match=r"opens no way \(40[17]\): it wants another user"):
                    await ask(wrong)
                with pytest.raises(UnavailableError, match=r"opens no way \(403\): it has to allow CONNECT to "):
                    await ask(replace(place, port=1))
                with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                    await ask(replace(place, server_name="somebody.else"))


async def test_a_proxy_that_answers_no_http_or_is_not_trusted_is_named(tmp_path: Path) -> None:
    site = Site(tmp_path)
    context = nameless_context(tmp_path / "ca.pem", trust_clock=True)

    async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(gibberish, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    proxy = Proxy(scheme="http", host="127.0.0.1", port=port)
    place = Place(host="127.0.0.1", port=1, server_name="x", proxy=proxy)
    with pytest.raises(UnavailableError, match=rf"the proxy http://127.0.0.1:{port} opens no way"):
        await asked(place, context, b"", bytes_max=1)
    server.close()
    async with behind_tls(1, site.server_context()) as tls_port:
        stranger = Proxy(scheme="https", host="127.0.0.1", port=tls_port)
        with pytest.raises(
            UnavailableError, match=r"the proxy https://.* can't be reached: .*CERTIFICATE_VERIFY_FAILED"
        ):
            await asked(replace(place, proxy=stranger), context, b"", bytes_max=1)
