"""Asking whether anybody speaks QUIC, against the packets of an independent library."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import closing
from typing import cast

import pytest
from aioquic._buffer import Buffer
from aioquic.quic.packet import (
    QuicProtocolVersion,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import UnansweredError, UnavailableError
from skerry.transport.sounding import DATAGRAM_BYTES, Sounding, sound

CHANCE = bytes(range(20))


def answer(question: bytes, *versions: int) -> bytes:
    header = pull_quic_header(Buffer(data=question), host_cid_length=8)
    return encode_quic_version_negotiation(
        source_cid=header.destination_cid, destination_cid=header.source_cid, supported_versions=[*versions]
    )


def test_a_question_is_a_whole_packet_of_a_version_that_nobody_has() -> None:
    question = Sounding(os.urandom(20)).question()
    header = pull_quic_header(Buffer(data=question), host_cid_length=8)
    assert len(question) == DATAGRAM_BYTES
    assert header.version is not None and header.version & 0x0F0F0F0F == 0x0A0A0A0A
    assert (len(header.destination_cid), len(header.source_cid)) == (8, 8)


def test_an_answer_tells_the_versions() -> None:
    sounding = Sounding(CHANCE)
    told = sounding.versions(answer(sounding.question(), QuicProtocolVersion.VERSION_1, 0x6B3343CF))
    assert told is not None and told == (1, 0x6B3343CF)


def test_an_answer_to_somebody_else_is_none() -> None:
    assert Sounding(CHANCE).versions(answer(Sounding(bytes(20)).question(), 1)) is None


@given(st.binary(max_size=60))
def test_other_bytes_are_no_answer(data: bytes) -> None:
    assert Sounding(CHANCE).versions(data) is None


class _Server(asyncio.DatagramProtocol):
    """Answers every second question: the first of each two got lost."""

    def __init__(self, *versions: int) -> None:
        self.versions = versions
        self.questions = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.questions += 1
        self.transport.sendto(b"noise", addr)
        if self.questions % 2 == 0:
            self.transport.sendto(answer(data, *self.versions), addr)


async def test_a_lost_question_is_asked_again_and_other_versions_are_refused() -> None:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: _Server(1), local_addr=("127.0.0.1", 0))
    address = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    await sound(address, default_port=1, within_s=20)
    assert server.questions >= 2  # a loop that is late asks once more
    server.versions = (0x6B3343CF,)
    with pytest.raises(UnavailableError, match="other versions"):
        await sound(address, default_port=1, within_s=20)
    transport.close()
    await asyncio.sleep(0)  # in which it is closed


async def test_nobody_and_silence_and_no_address_are_told_apart() -> None:
    with pytest.raises(UnansweredError, match=r"127\.0\.0\.1:1: .*refused"):
        await sound("127.0.0.1:1", default_port=1, within_s=20)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(UnansweredError, match="no answer over QUIC"):
            await sound(f"127.0.0.1:{silent.getsockname()[1]}", default_port=1, within_s=0.05)
    with pytest.raises(UnavailableError, match="is not HOST:PORT"):
        await sound("127.0.0.1:x", default_port=1, within_s=20)
    await asyncio.sleep(0)
