"""Through an independent HTTP proxy: TLS end to end, with a password, and a proxy that says no."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgecore.link.dial import websocket_dialer
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.ports import Link
from skerry.transport import websocket
from skerry.transport.proxy import Proxy, proxy_of
from skerry.transport.websocket import SESSION_PATH, Route
from tests.system.certificates import Site

pytestmark = pytest.mark.system

TINYPROXY = shutil.which("tinyproxy") or shutil.which("/usr/bin/tinyproxy")


@contextmanager
def tinyproxy(directory: Path, *, connect_port: int) -> Generator[int]:
    """The port of a proxy that wants a password, and lets CONNECT through to one port alone."""
    if TINYPROXY is None:
        pytest.skip("tinyproxy is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = directory / "tinyproxy.conf"
    config.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n"
        f'BasicAuth site s3cret\nConnectPort {connect_port}\nLogFile "{directory / "tinyproxy.log"}"\n'
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
        with tinyproxy(tmp_path, connect_port=hub_port) as port:
            dial = websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0, proxy=through(port))
            link = await dial(address)
            await link.send(b"hello")
            async with asyncio.timeout(10):
                assert await link.receive() == b"hello"
            await link.close(code=1000, reason="")
            assert peers == ["system:node:eu-1"], "TLS is end to end"
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
    with pytest.raises(UnavailableError, match=r"through the proxy http://127\.0\.0\.1:1") as failed:
        await dial("127.0.0.1:10443")
    assert "s3cret" not in str(failed.value)
