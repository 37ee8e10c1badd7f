"""Services of applications on the gateway that answer, take their time, break off and talk too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from edgecore.rules.services import PORT_REQUESTS_MAX, Services
from skerry.errors import UnavailableError, UncertainError
from skerry.objects.rule_calls import CALL_BYTES_MAX, ServiceRequest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Line: 1\r\nX-Line: 2\r\n\r\nhi"


@dataclass
class Service:
    """Answers each request with `answer`, in pieces; what it was sent."""

    port: int = 0
    answer: tuple[bytes, ...] = (OK,)
    pause_s: float = 0.0
    """Before each piece."""
    open: int = 0
    heard: list[bytes] = field(default_factory=list[bytes])
    holds: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self.take(reader, writer)
        except (ConnectionError, EOFError):
            return  # who asked has gone
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self.open -= 1

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        self.heard.append(head + await reader.readexactly(length))
        await self.holds.wait()
        for piece in self.answer:
            await asyncio.sleep(self.pause_s)
            writer.write(piece)


@asynccontextmanager
async def serving(service: Service, *, held: bool = False) -> AsyncGenerator[Service]:
    if not held:
        service.holds.set()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    async with server:
        yield service
        service.holds.set()
        async with asyncio.timeout(30):
            while service.open:
                await asyncio.sleep(0.001)


def request(port: int, **more: str) -> ServiceRequest:
    headers = (("X-A", "1"), ("x-a", "ü"), ("Accept", "text/plain"))
    return ServiceRequest(method=more.get("method", "POST"), port=port, target="/a/b?c=1", headers=headers)


async def test_a_service_is_asked_as_it_was_said_and_its_answer_is_the_answer() -> None:
    async with serving(Service()) as service:
        reply = await Services().ask(request(service.port), b"body")
    assert (reply.status, reply.body) == (200, b"hi")
    assert reply.headers == (("X-Line", "1"), ("X-Line", "2"))
    (heard,) = service.heard
    assert heard.startswith(b"POST /a/b?c=1 HTTP/1.1\r\n")
    assert heard.endswith(b"\r\n\r\nbody")
    assert f"Host: 127.0.0.1:{service.port}\r\n".encode() in heard
    assert b"X-A: 1\r\nx-a: \xfc\r\nAccept: text/plain\r\n" in heard
    assert heard.count(b"Accept") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nto its end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nto its end\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nto its end",
    ],
)
async def test_answers_of_every_form_are_read_whole(answer: bytes) -> None:
    async with serving(Service(answer=(answer[:30], answer[30:]))) as service:
        assert (await Services().ask(request(service.port), b"")).body == b"to its end"


async def test_a_service_that_is_not_there_was_not_asked() -> None:
    async with serving(Service()) as service:
        port = service.port
    with pytest.raises(UnavailableError, match="can't be asked") as caught:
        await Services().ask(request(port), b"")
    assert not isinstance(caught.value, UncertainError)
    with pytest.raises(UnavailableError, match="can't be asked"):
        await Services().ask(ServiceRequest(method="POST", port=port, target="no path"), b"")


@pytest.mark.parametrize("answer", [b"", OK[:-1], b"no HTTP at all\r\n\r\n"])
async def test_a_service_that_breaks_off_may_have_done_it(answer: bytes) -> None:
    async with serving(Service(answer=(answer,))) as service:
        with pytest.raises(UncertainError, match="broke off"):
            await Services().ask(request(service.port), b"")


async def test_an_answer_is_waited_for_as_a_whole_and_not_from_piece_to_piece() -> None:
    drops = (OK[:-2], b"h") + (b"",) * 20
    async with serving(Service(answer=drops, pause_s=0.05)) as service:
        with pytest.raises(UncertainError, match="not answered within"):
            await Services(within_s=0.3).ask(request(service.port), b"")


async def test_an_answer_that_is_too_large_is_not_read_to_its_end() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (CALL_BYTES_MAX + 1)
    async with serving(Service(answer=(answer,))) as service:
        with pytest.raises(UncertainError, match="more than"):
            await Services().ask(request(service.port), b"")


async def test_a_slow_service_holds_up_itself_alone() -> None:
    services = Services(within_s=30)
    async with serving(Service(), held=True) as slow, serving(Service()) as quick:
        waiting = [asyncio.create_task(services.ask(request(slow.port), b"")) for _ in range(PORT_REQUESTS_MAX + 1)]
        async with asyncio.timeout(30):
            while len(slow.heard) < PORT_REQUESTS_MAX:
                await asyncio.sleep(0)
            assert (await services.ask(request(quick.port), b"")).status == 200
        assert len(slow.heard) == PORT_REQUESTS_MAX
        slow.holds.set()
        assert [reply.status for reply in await asyncio.gather(*waiting)] == [200] * (PORT_REQUESTS_MAX + 1)


async def test_who_gets_no_turn_was_not_asked() -> None:
    services = Services(within_s=0.2)
    async with serving(Service(), held=True) as slow:
        patient = Services(within_s=30)
        patient._asked = services._asked  # the same turns, and more time
        waiting = [asyncio.create_task(patient.ask(request(slow.port), b"")) for _ in range(PORT_REQUESTS_MAX)]
        while len(slow.heard) < PORT_REQUESTS_MAX:
            await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="takes no more") as caught:
            await services.ask(request(slow.port), b"")
        assert not isinstance(caught.value, UncertainError)
        slow.holds.set()
        await asyncio.gather(*waiting)
