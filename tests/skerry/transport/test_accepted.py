"""What a hub keeps of a connection stays small, and what stands in for asyncio's parts does what they did."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager

from websockets.asyncio.server import Server
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from skerry.transport.accepted import (
    FRAGMENTS_MAX,
    PINGS_MAX,
    UNREAD_BYTES_MAX,
    Accepted,
    Few,
    ServerTls,
    TlsLimits,
)

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


class Wire(asyncio.Transport):
    """Under an open connection: takes what is written, and counts what nobody reads."""

    def __init__(self, *, unread: int = 0) -> None:
        super().__init__()
        self.unread = unread
        self.closed = self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unread

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


def an_open_connection(wire: Wire) -> Accepted:
    connection = a_connection()
    connection.connection_made(wire)
    connection.request = Request("/session", Headers())
    connection.protocol.state = State.OPEN
    return connection


def piece(opcode: Opcode, *, fin: bool = False) -> Frame:
    return Frame(opcode, b"", fin)


async def test_a_message_in_too_many_pieces_ends_the_connection() -> None:
    wire = Wire()
    connection = an_open_connection(wire)
    connection.process_event(piece(Opcode.BINARY))
    for _ in range(FRAGMENTS_MAX - 1):
        connection.process_event(piece(Opcode.CONT))
    assert not wire.closed
    connection.process_event(piece(Opcode.CONT))
    assert wire.closed


async def test_pieces_are_counted_for_each_message() -> None:
    wire = Wire()
    connection = an_open_connection(wire)
    for _ in range(3):
        connection.process_event(piece(Opcode.BINARY))
        for _ in range(FRAGMENTS_MAX - 1):
            connection.process_event(piece(Opcode.CONT))
        connection.process_event(piece(Opcode.CONT, fin=True))
    assert not wire.closed


async def test_pings_are_answered_in_a_burst_and_then_one_in_a_second() -> None:
    wire = Wire()
    connection = an_open_connection(wire)
    for _ in range(PINGS_MAX):
        connection.process_event(Frame(Opcode.PING, b""))
    assert not wire.closed
    connection.process_event(Frame(Opcode.PONG, b""))
    connection.process_event(Frame(Opcode.PING, b""))
    assert wire.closed


async def test_pings_long_ago_are_forgotten() -> None:
    wire = Wire()
    connection = an_open_connection(wire)
    connection.pinged_s = time.monotonic() - 1
    for _ in range(PINGS_MAX):
        connection.process_event(Frame(Opcode.PING, b""))
    assert not wire.closed


async def test_who_pings_and_does_not_read_is_given_up() -> None:
    wire = Wire(unread=UNREAD_BYTES_MAX)
    connection = an_open_connection(wire)
    connection.process_event(Frame(Opcode.PING, b""))
    assert not wire.aborted
    wire.unread += 1
    connection.process_event(Frame(Opcode.BINARY, b""))
    assert not wire.aborted, "what is sent to it waits for it elsewhere"
    connection.process_event(Frame(Opcode.PING, b""))
    assert wire.aborted


async def test_who_waits_at_the_door_hears_when_the_upgrade_is_over_or_never_will_be() -> None:
    loop = asyncio.get_running_loop()
    for leave in (Accepted.settle, lambda connection: connection.connection_lost(None)):
        connection = an_open_connection(Wire())
        settled = connection.settled = loop.create_future()
        leave(connection)
        assert settled.done()
        assert connection.settled is None
        connection.settle()


def test_few_things_come_out_in_the_order_in_which_they_went_in() -> None:
    few = Few("ab")
    few.append("c")
    few.appendleft("z")
    few.extend("de")
    assert [few.popleft() for _ in range(len(few))] == list("zabcde")
