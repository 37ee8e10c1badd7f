"""The local API over TLS: what the resident agent loads for it, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from edgecore.local_api.access import Access
from edgecore.local_api.answers import Answer
from edgecore.local_api.certificates import CA_FILE, make, make_missing
from edgecore.local_api.places import Door, Place
from edgecore.local_api.requests import Request, Stream
from edgecore.local_api.secure import HANDSHAKE_S_MAX, SERVED, SecureApi
from edgecore.local_api.served import ServedCertificates
from edgecore.pods.own_address import own_addresses
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock


class Answers:
    async def answer(self, request: Request) -> Answer | Stream:
        return Answer(body="/".join(request.parts).encode())


def api(directory: Path, port: int, made: list[str], host: str = "127.0.0.1") -> SecureApi:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    access = Access(store, clock, node="gate-1", connected=lambda: False)
    doors = [Door(place=Place(host=host, port=port))]
    served = ServedCertificates(directory, store, clock, hosts=[host])
    return SecureApi(doors, served, Answers(), access, names=["gate-1"], made=lambda: made.append("made"))


def test_what_serves_it_never_loads_the_library_that_makes_certificates() -> None:
    """It takes more memory than the rest of the API; a program that ends makes them."""
    names = "edgecore.local_api.secure, edgecore.local_api.guard, edgecore.local_api.server"
    program = f"import sys, {names}; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_a_directory_that_cant_be_written_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    made: list[str] = []
    with caplog.at_level("WARNING"):
        task = asyncio.create_task(api(tmp_path / "file", 1, made).run())
        try:
            async with asyncio.timeout(60):
                while "is not served on TCP" not in caplog.text:
                    await asyncio.wait((task,), timeout=0.05)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert "its certificate can't be made" in caplog.text and made == []


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
async def test_an_address_that_comes_with_the_first_pod_is_listened_at_before(
    tmp_path: Path, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, ["localhost"])
    with caplog.at_level("INFO"):
        task = asyncio.create_task(api(tmp_path, 10_559, [], host).run())
        try:
            async with asyncio.timeout(60):
                while "local API" not in caplog.text:
                    await asyncio.wait((task,), timeout=0.05)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert f"local API on TCP host={host}:10559" in caplog.text


async def test_who_finds_no_room_hears_so_and_one_address_takes_not_all(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    task = asyncio.create_task(api(tmp_path, port, [], "0.0.0.0").run())
    own = _own_address()

    async def asked(address: str, held: list[asyncio.StreamWriter]) -> bytes:
        """What a request is answered over a connection that stays open."""
        trust = ssl.create_default_context(cafile=str(tmp_path / CA_FILE))
        trust.check_hostname = False
        reader, writer = await asyncio.open_connection(address, port, ssl=trust)
        held.append(writer)
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        return (await reader.readline()).split()[1]

    held: list[asyncio.StreamWriter] = []
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await asked("127.0.0.1", held) == b"200"
                    break
                except OSError:
                    await asyncio.wait((task,), timeout=0.05)
            if own:  # a machine without an address has nobody else to ask from
                assert [await asked(own, held) for _ in range(SERVED.of_one)] == [b"200"] * SERVED.of_one
                assert await asked(own, held) == b"429"
            assert await asked("127.0.0.1", held) == b"200"
            for writer in held:
                writer.close()
            while own and await asked(own, held) != b"200":
                await asyncio.wait((task,), timeout=0.05)
    finally:
        for writer in held:
            writer.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _own_address() -> str:
    """One of this machine that is not on loopback."""
    (address,) = own_addresses()
    return "" if address.startswith("127.") else address


class SteppedLoop(asyncio.SelectorEventLoop):
    """Its clock is set forward by whoever tests, so that nobody waits for it."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def test_who_begins_no_tls_is_hung_up_on(tmp_path: Path) -> None:
    """asyncio's own deadline is a minute, and 224 such connections are all that there is room for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    make_missing(tmp_path, ServedCertificates(tmp_path, *nothing(), hosts=["127.0.0.1"]).names, ["gate-1"])

    async def hangs_up() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        task = asyncio.create_task(api(tmp_path, port, []).run())
        try:
            silent = await reached(port, task)
            spoken = await reached(port, task)  # taken in after the silent one
            trust = ssl.create_default_context(cafile=str(tmp_path / CA_FILE))
            await spoken[1].start_tls(trust, server_hostname="localhost")
            loop.ahead_s = HANDSHAKE_S_MAX + 1
            assert await silent[0].read() == b""
            for _, writer in (silent, spoken):
                writer.transport.abort()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        runner.run(asyncio.wait_for(hangs_up(), 40 + HANDSHAKE_S_MAX))


async def reached(port: int, task: asyncio.Task[None]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.wait((task,), timeout=0.05)


def nothing() -> tuple[AsyncEdgeStore, ManualClock]:
    clock = ManualClock()
    return AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock)), clock
