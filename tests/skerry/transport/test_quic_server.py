"""What a QUIC endpoint takes in at all: datagrams of a sensible length, from peers that left time for others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from skerry.transport.allowance import BURST_S, Allowance
from skerry.transport.quic_server import DATAGRAM_BYTES_MAX, ID_BYTES, Endpoint

PEER = ("192.0.2.1", 4433)
OWN_ID = bytes(range(ID_BYTES))


class Sent(asyncio.DatagramTransport):
    """Keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.datagrams: list[bytes] = []

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.datagrams.append(bytes(data))


class Carried:
    """A connection that counts what it is given."""

    def __init__(self) -> None:
        self.allowance = Allowance()
        self.taken = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.taken += 1


def an_endpoint() -> tuple[Endpoint, Sent]:
    endpoint, sent = Endpoint(cast("Any", None), {}, idle_s=60), Sent()
    endpoint.connection_made(sent)
    return endpoint, sent


def of_an_unknown_version(size: int) -> bytes:
    """A long header (RFC 9000 section 17.2), which is answered with the versions that are spoken."""
    head = b"\xc0\x0a\x0a\x0a\x0a" + bytes([8]) + b"d" * 8 + bytes([8]) + b"s" * 8
    return head + bytes(size - len(head))


async def test_a_datagram_longer_than_any_network_carries_is_dropped_unread() -> None:
    endpoint, sent = an_endpoint()
    endpoint.datagram_received(of_an_unknown_version(DATAGRAM_BYTES_MAX), PEER)
    assert len(sent.datagrams) == 1
    endpoint.datagram_received(of_an_unknown_version(DATAGRAM_BYTES_MAX + 1), PEER)
    assert len(sent.datagrams) == 1


async def test_a_connection_that_took_its_share_is_left_alone_and_no_other() -> None:
    endpoint, sent = an_endpoint()
    greedy, other = Carried(), Carried()
    packet = b"\x40" + OWN_ID + bytes(30)
    endpoint._table[OWN_ID] = cast("Any", greedy)
    endpoint._table[OWN_ID[::-1]] = cast("Any", other)
    endpoint.datagram_received(packet, PEER)
    assert greedy.taken == 1
    greedy.allowance.took(2 * BURST_S, asyncio.get_running_loop().time())
    endpoint.datagram_received(packet, PEER)
    endpoint.datagram_received(b"\x40" + OWN_ID[::-1] + bytes(30), PEER)
    assert (greedy.taken, other.taken) == (1, 1)
    assert sent.datagrams == []


async def test_the_time_that_a_connection_takes_is_counted() -> None:
    endpoint, _ = an_endpoint()

    class Busy(Carried):
        def datagram_received(self, data: bytes, addr: object) -> None:
            super().datagram_received(data, addr)
            sum(range(200_000))

    busy = Busy()
    endpoint._table[OWN_ID] = cast("Any", busy)
    before_s = busy.allowance._paid_s
    endpoint.datagram_received(b"\x40" + OWN_ID + bytes(30), PEER)
    assert busy.allowance._paid_s > before_s
