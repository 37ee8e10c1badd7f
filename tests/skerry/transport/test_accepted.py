"""What a hub keeps of a connection stays small, and what stands in for asyncio's parts does what they did."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Generator
from contextlib import contextmanager

from websockets.asyncio.server import Server
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from skerry.transport.accepted import Accepted, Few, ServerTls, TlsLimits

LIMITS = TlsLimits(handshake_s_max=5, shutdown_s_max=5)


async def _nobody(_: object) -> None:
    raise AssertionError("nothing is accepted here")


def a_connection() -> Accepted:
    return Accepted(ServerProtocol(), Server(_nobody))


@contextmanager
def a_tls_connection(connection: Accepted | None = None) -> Generator[ServerTls]:
    shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    tls = ServerTls(connection or a_connection(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), shaken, LIMITS)
    if connection is not None:
        connection.connection_made(tls._app_transport)
    yield tls
    tls.connection_lost(None)


async def test_no_attribute_of_a_connection_needs_a_dictionary() -> None:
    connection = a_connection()
    with a_tls_connection(connection) as tls:
        assert vars(connection) == {}
        assert vars(tls) == {}


async def test_connections_share_their_read_buffer() -> None:
    with a_tls_connection() as one, a_tls_connection() as other:
        assert one.get_buffer(-1) is other.get_buffer(64 * 1024)
        assert len(one.get_buffer(-1)) == 4096


async def test_what_the_handshake_left_is_forgotten() -> None:
    connection = a_connection()
    request = Request("/session", Headers({"Host": "hub"}))
    with a_tls_connection(connection):
        connection.request = request
        connection.shrink()
    assert connection.request is not None and connection.request is not request
    assert not request.headers
    assert isinstance(connection.drain_waiters, Few)


def test_few_things_come_out_in_the_order_in_which_they_went_in() -> None:
    few = Few("ab")
    few.append("c")
    few.appendleft("z")
    few.extend("de")
    assert [few.popleft() for _ in range(len(few))] == list("zabcde")
