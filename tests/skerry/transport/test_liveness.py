"""Whether a client is still there: by its kernel, by a ping that can't be written, and never by its being slow."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from skerry.errors import UnavailableError
from skerry.transport.liveness import OptionSocket, TcpState, Unasked, attended, gone, keep_alive, tcp_state


@dataclass
class Plain:
    """A kernel's socket, as far as it is asked."""

    state: int = 1
    unacknowledged: int = 0
    quiet_ms: int = 0
    family: int = socket.AF_INET
    options: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def getsockopt(self, _level: int, _name: int, buflen: int, /) -> bytes:
        return struct.pack("=B7x16xI28xI", self.state, self.unacknowledged, self.quiet_ms)[:buflen]

    def setsockopt(self, _level: int, name: int, value: int, /) -> None:
        self.options.append((name, value))


@dataclass
class Client:
    kernel_socket: OptionSocket | None = None
    pings: int = 0
    until: Callable[[int], None] = lambda _count: None

    async def ping(self) -> None:
        self.pings += 1
        self.until(self.pings)


@pytest.mark.parametrize(
    ("state", "is_over"),
    [
        (TcpState(established=True, unanswered=False, quiet_s=100), False),
        (TcpState(established=True, unanswered=True, quiet_s=1), False),
        (TcpState(established=True, unanswered=True, quiet_s=30), True),
        (TcpState(established=True, unanswered=False, quiet_s=180), True),
        (TcpState(established=False, unanswered=False, quiet_s=0), True),
    ],
)
def test_a_peer_is_gone_that_closed_or_acknowledges_nothing(state: TcpState, is_over: bool) -> None:
    assert state.is_over == is_over


def test_what_the_kernel_says_is_read_and_a_unix_socket_says_nothing() -> None:
    read = tcp_state(Plain(unacknowledged=2, quiet_ms=1500))
    assert read == TcpState(established=True, unanswered=True, quiet_s=1.5)
    assert tcp_state(Plain(family=socket.AF_UNIX)) is None


def test_the_kernels_own_figures_are_where_they_are_looked_for() -> None:
    near, far = socket.socket(), socket.socket()
    with near, far, socket.create_server(("127.0.0.1", 0)) as server:
        near.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            keep_alive(accepted)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            found = tcp_state(accepted)
            assert found is not None and found.established and not found.unanswered and found.quiet_s < 60
            near.close()
            while (found := tcp_state(accepted)) is not None and found.established:
                pass
            assert found is not None and found.is_over


async def test_a_client_that_answers_is_asked_on_and_one_whose_ping_fails_is_gone() -> None:
    def fail(count: int) -> None:
        if count == 3:
            raise UnavailableError("the client has gone")

    client = Client(Plain(), until=fail)
    async with asyncio.timeout(20):
        await gone(client, every_s=0)
    assert client.pings == 3


async def test_a_client_that_has_closed_is_gone_though_nobody_reads_what_it_said() -> None:
    plain = Plain()

    def close(count: int) -> None:
        if count == 2:
            plain.state = 8  # CLOSE_WAIT

    client = Client(plain, until=close)
    async with asyncio.timeout(20):
        await gone(client, every_s=0)
    assert client.pings == 2


async def test_work_ends_with_its_client_and_goes_on_without_pings_where_none_are_spoken() -> None:
    plain, ended = Plain(), asyncio.Event()

    async def work() -> None:
        try:
            plain.state = 7
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async with asyncio.timeout(20):
        await attended(work(), Unasked(Client(plain)), every_s=0)
    assert ended.is_set()


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise UnavailableError("the gateway")

    with pytest.raises(UnavailableError, match="the gateway"):
        await attended(work(), Client(), every_s=60)
