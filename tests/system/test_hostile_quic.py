"""Peers that mean ill, over real QUIC, against a real cloudcore: datagrams of rubbish, floods of first packets from
addresses that are not theirs, streams without number, end or order. The good gateway beside them notices nothing.

Who gets in and who does not, one by one: test_quic_link.py.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from skerry.frozen import replace
from skerry.transport.framing import varint as short_varint
from skerry.wire.codec import FRAME_BYTES_MAX, encode
from skerry.wire.frames import Close, CloseCode, Ping, Pong, StreamOpen, Welcome
from tests.system.hostile_ground import BAD, Ground, hostile_ground
from tests.system.hostile_peers import (
    QuicPeer,
    closing,
    first_packet,
    hello,
    place_of,
    stream_frame,
    varint,
)
from tests.system.real_fleet import NODE, until

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKERRY_TRANSPORT", "quic")  # of the good gateway
        with hostile_ground(tmp_path_factory.mktemp("ground")) as ground:
            until(lambda: ground.link()["transport"] == "quic", "the good gateway to be on QUIC")
            yield ground


@pytest.fixture
def ground(battle: Ground) -> Iterator[Ground]:
    yield battle
    battle.unmoved()


def session(ground: Ground) -> QuicPeer:
    """One of the bad node, welcomed."""
    peer = QuicPeer(ground.quic, ground.own).shaken()
    peer.say(hello(BAD))
    peer.hear_a(Welcome)
    peer.connection.let_go()
    return peer


def welcomed(ground: Ground) -> None:
    """Anybody still gets in."""
    peer = session(ground)
    with closing([peer]):
        peer.say(Ping(number=3))
        assert peer.hear_a(Pong) == Pong(number=3)


# --- who is not known ---


def test_datagrams_of_rubbish_are_dropped(ground: Ground) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        for number in range(3000):
            first = bytes([(0x00, 0x40, 0xC0, 0xD0, 0xE0, 0xF0)[number % 6]])
            plain.sendto(first + os.urandom((0, 1, 20, 1200, 1500, 60_000)[number // 6 % 6]), place_of(ground.quic))
    ground.tell()


def test_first_packets_from_everywhere_are_asked_to_prove_their_address(ground: Ground) -> None:
    """127.0.0.0/8 stands for forged addresses: nobody there answers what is sent to it."""
    packets = [first_packet() for _ in range(40)]
    before = ground.rss()
    for number in range(6000):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
            packet = bytearray(packets[number % 40])
            plain.sendto(bytes(packet), place_of(ground.quic))
    ground.tell()
    assert ground.rss() - before < 64 * 1024 * 1024
    welcomed(ground)


def test_a_first_packet_in_a_thousand_pieces_costs_no_second(ground: Ground) -> None:
    """Pieces of a ClientHello, each behind a hole: what is looked through for each grows with their number."""
    for _ in range(5):
        peer = QuicPeer(ground.quic, ground.none)
        with closing([peer]):
            peer.connection.let_go()
            peer.connection.rogue_initial.extend(
                b"".join(piece(150 * packet + number) for number in range(150)) for packet in range(50)
            )
            peer.run(0.5)
    ground.tell()


def piece(number: int) -> bytes:
    """A CRYPTO frame of one byte, behind a hole."""
    return b"\x06" + varint(2 * number + 1000) + b"\x01x"


@pytest.mark.parametrize("what", ["nothing", "of another CA", "expired", "a server's"])
def test_who_has_no_certificate_of_ours_gets_no_session(ground: Ground, what: str) -> None:
    papers = ground.none if what == "nothing" else ground.wrong_papers()[what]
    peer = QuicPeer(ground.quic, papers)
    with closing([peer]):
        assert peer.is_ended()


def test_early_data_of_any_length_is_not_even_decrypted(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        peer.until(lambda: peer.tickets)
        ticket = replace(peer.tickets[0], max_early_data_size=0xFFFFFFFF)
    before = ground.rss()
    eager = QuicPeer(ground.quic, ground.own, ticket=ticket)
    with closing([eager]):
        eager.connection.let_go()
        for _ in range(20):
            eager.connection.send_stream_data(0, bytes(1024 * 1024))
        eager.run(2)
        assert not eager.connection.tls.early_data_accepted
    assert ground.rss() - before < 64 * 1024 * 1024


# --- who is ---


def test_a_certificate_of_one_node_opens_no_session_of_another(ground: Ground) -> None:
    peer = QuicPeer(ground.quic, ground.own).shaken()
    with closing([peer]):
        peer.say(hello(NODE))
        said = peer.hear_a(Close)
        assert isinstance(said, Close)
        assert said.code == CloseCode.REFUSED


def test_a_stream_in_a_hundred_thousand_pieces_ends_the_link(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        peer.pour(stream_frame(4, 2 * number + 1, b"x") for number in range(50_000))
        assert peer.is_ended()
        assert peer.ended is not None
        assert "pieces" in peer.ended.reason_phrase


def test_frames_as_large_as_can_be_announced_on_every_stream_fill_no_memory(ground: Ground) -> None:
    before = ground.rss()
    peer = session(ground)
    with closing([peer]):
        piece = bytes(1000)
        for stream in range(4, 4 * 64, 4):
            begin = short_varint(stream // 2) + short_varint(FRAME_BYTES_MAX)
            peer.pour([stream_frame(stream, 0, begin)])
        for at in range(0, 100_000, 1000):
            peer.pour(stream_frame(stream, 6 + at, piece) for stream in range(4, 4 * 64, 4))
            if peer.ended is not None:
                break
        peer.run(2)
        assert ground.rss() - before < 64 * 1024 * 1024


def test_more_streams_than_are_allowed_end_the_link(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        peer.pour(stream_frame(4 * number, 0, b"") for number in range(1, 200))
        assert peer.is_ended()


def test_streams_of_unknown_kinds_are_closed_one_after_the_other(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        for number in range(1, 300):
            frame = encode(StreamOpen(stream=2 * number, kind="exec", params=b"{}", credit=100))
            body = short_varint(2 * number) + short_varint(len(frame)) + frame
            peer.connection.send_stream_data(4 * number, body, end_stream=True)
            peer.turn()
            peer.until(lambda at=number: at < 30 or peer.connection._remote_max_streams_bidi > at + 8)
        peer.say(Ping(number=4))
        assert peer.hear_a(Pong) == Pong(number=4)


@pytest.mark.parametrize(
    "frame",
    [
        bytes([0x1F]),  # of no known type
        bytes([0x04]) + varint(0) + varint(0) + varint(2**40),  # RESET_STREAM far beyond what was allowed
        bytes([0x05]) + varint(0) + varint(0),  # STOP_SENDING of the session
        bytes([0x11]) + varint(3) + varint(9),  # MAX_STREAM_DATA of a stream that is the hub's to open
        bytes([0x0A]) + varint(2) + varint(1) + b"x",  # STREAM, one way: none is allowed
        bytes([0x0E]) + varint(0) + varint(2**40) + varint(1) + b"x",  # STREAM far beyond what was allowed
        bytes([0x06]) + varint(2**20) + varint(1) + b"x",  # CRYPTO far beyond
        bytes([0x30]) + b"datagram",
        bytes([0x1E]),  # HANDSHAKE_DONE, which is a server's
        bytes([0x18, 0x40]),  # half a NEW_CONNECTION_ID
    ],
)
def test_frames_that_no_gateway_sends_end_the_link_alone(ground: Ground, frame: bytes) -> None:
    peer = session(ground)
    with closing([peer]):
        peer.pour([frame])
        assert peer.is_ended()


@pytest.mark.parametrize(
    "frame",
    [
        bytes([0x01]),  # PING
        bytes([0x1A]) + b"12345678",  # PATH_CHALLENGE
        bytes([0x19, 0x00]),  # RETIRE_CONNECTION_ID
        bytes([0x10]) + varint(1),  # MAX_DATA
        bytes([0x16]) + varint(1),  # STREAMS_BLOCKED
    ],
)
def test_a_flood_of_small_frames_holds_up_nobody(ground: Ground, frame: bytes) -> None:
    peer = session(ground)

    def flood() -> None:
        for _ in range(300):
            peer.pour([frame] * 500, batch=500)
            if peer.ended is not None:
                return

    with closing([peer]):
        running = threading.Thread(target=flood, daemon=True)
        running.start()
        while running.is_alive():
            assert ground.tell() < 10
            running.join(0.2)


def test_datagrams_as_large_as_the_kernel_takes_are_dropped(ground: Ground) -> None:
    """Sixty thousand frames in one of them would be worked on in one go."""
    peer = session(ground)
    with closing([peer]):
        peer.connection.let_go(datagram_bytes=60_000)
        for _ in range(30):
            peer.pour([bytes([0x01])] * 50_000, batch=50_000)
        ground.tell()


def test_packets_copied_from_a_good_connection_to_elsewhere_do_nothing(ground: Ground) -> None:
    """Replayed from another address: the path does not move, for the packet's number is old."""
    peer = session(ground)
    with closing([peer]):
        peer.connection.send_stream_data(0, short_varint(4) + encode(Ping(number=5))[:4])
        made = peer.connection.datagrams_to_send(now=time.monotonic())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            for _ in range(3):
                for data, _ in made:
                    peer.sock.send(data)
                    plain.sendto(data, place_of(ground.quic))
        peer.run(0.5)
        peer.say(Ping(number=6))
        peer.until(lambda: peer._heard or peer.ended is not None)
