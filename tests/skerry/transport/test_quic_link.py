"""What a QUIC connection holds of a peer that sends pieces behind holes, and announces what never comes."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from skerry.errors import ProtocolError
from skerry.transport.framing import varint
from skerry.transport.quic_connection import (
    CRYPTO_HOLES_MAX,
    HOLES_MAX,
    SESSION_STREAM,
    LinkConnection,
    quic_configuration,
)
from skerry.transport.quic_link import STREAM_FRAME_BYTES_MAX, _Lane
from skerry.wire.codec import FRAME_BYTES_MAX


def a_connection() -> LinkConnection:
    """A hub's, of which nothing is known yet."""

    def nobody() -> Any:
        raise AssertionError("there is no handshake here")

    configuration = quic_configuration(is_client=False, protocols=["skerry/1/session"], idle_s=60)
    configuration.certificate = configuration.private_key = cast("Any", object())  # never shown
    return LinkConnection(
        configuration=configuration,
        make_tls=nobody,
        original_destination_connection_id=b"12345678",
    )


def arrived(connection: LinkConnection, stream: int, offset: int) -> None:
    """One byte of a stream."""
    words = varint(stream) + varint(offset) + varint(1) + b"x"
    connection._handle_stream_frame(cast("Any", None), 0x0E, Buffer(data=words))


def test_pieces_behind_holes_are_bounded() -> None:
    connection = a_connection()
    for number in range(HOLES_MAX):
        arrived(connection, 0, 2 * number + 1)
    arrived(connection, 0, 1)
    with pytest.raises(QuicConnectionError, match="too many pieces"):
        arrived(connection, 0, 2 * HOLES_MAX + 1)


def test_pieces_in_order_are_not_counted() -> None:
    connection = a_connection()
    for number in range(10 * HOLES_MAX):
        arrived(connection, 4, number)


def test_pieces_of_a_handshake_are_bounded_more() -> None:
    connection = a_connection()
    connection._crypto_streams = {Epoch.INITIAL: QuicStream()}
    context = cast("Any", _Context())
    for number in range(CRYPTO_HOLES_MAX):
        words = varint(2 * number + 1) + varint(1) + b"x"
        connection._handle_crypto_frame(context, 0x06, Buffer(data=words))
    with pytest.raises(QuicConnectionError, match="too many pieces"):
        connection._handle_crypto_frame(context, 0x06, Buffer(data=varint(10_001) + varint(1) + b"x"))


class _Context:
    epoch = Epoch.INITIAL
    time = 0.0


def test_a_node_stream_takes_no_frame_as_large_as_a_sessions() -> None:
    node, session = _Lane(4, 2), _Lane(SESSION_STREAM, 0)
    node.reader.feed(varint(STREAM_FRAME_BYTES_MAX) + b"x")
    assert node.reader.next() is None
    node = _Lane(8, 4)
    node.reader.feed(varint(STREAM_FRAME_BYTES_MAX + 1))
    with pytest.raises(ProtocolError):
        node.reader.next()
    session.reader.feed(varint(FRAME_BYTES_MAX))
    assert session.reader.next() is None
