"""WebSocket as a gateway speaks it, against the protocol core of an independent library."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol, State
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from skerry.transport.messages import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HEAD_BYTES_MAX,
    TOO_LARGE,
    Closing,
    MessageError,
    Messages,
    Ping,
    close_data,
    frame,
    masked,
    upgrade_answer,
    upgrade_request,
)

NONCE = bytes(range(16))
ACCEPT = accept_key("AAECAwQFBgcICQoLDA0ODw==").encode()


def a_server() -> Protocol:
    return Protocol(SERVER, state=State.OPEN, max_size=1 << 24)


def said(server: Protocol) -> bytes:
    return b"".join(server.data_to_send())


def unmasked(first: int, data: bytes) -> bytes:
    return bytes([first, len(data)]) + data


@given(data=st.binary(max_size=70_000), mask=st.binary(min_size=4, max_size=4))
def test_masking_twice_is_nothing_and_each_byte_is_masked_by_its_own(data: bytes, mask: bytes) -> None:
    once = masked(data, mask)
    assert masked(once, mask) == data
    assert once[:8] == bytes(byte ^ mask[at % 4] for at, byte in enumerate(data[:8]))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_001])
def test_a_server_understands_frames_of_each_length(size: int) -> None:
    server, data = a_server(), os.urandom(size)
    server.receive_data(frame(BINARY, data, os.urandom(4)))
    (event,) = server.events_received()
    assert isinstance(event, Frame)
    assert (event.opcode, bytes(event.data), event.fin) == (Opcode.BINARY, data, True)


def test_a_server_puts_fragments_together() -> None:
    server = a_server()
    for opcode, data, final in ((BINARY, b"one", False), (CONTINUATION, b"two", True)):
        server.receive_data(frame(opcode, data, os.urandom(4), final=final))
    assert [(each.opcode, each.fin) for each in server.events_received() if isinstance(each, Frame)] == [
        (Opcode.BINARY, False),
        (Opcode.CONT, True),
    ]


def test_a_server_understands_why_we_close() -> None:
    server = a_server()
    server.receive_data(frame(CLOSE, close_data(1000, "ä" * 100), os.urandom(4)))
    assert server.close_rcvd is not None
    assert server.close_rcvd.code == 1000
    assert server.close_rcvd.reason == "ä" * 61, "as much as has room, in whole letters"


@given(
    sizes=st.lists(st.integers(min_value=0, max_value=70_000), max_size=4),
    cut=st.integers(min_value=1, max_value=999),
)
def test_what_a_server_sends_arrives_however_it_is_cut(sizes: list[int], cut: int) -> None:
    server, sent = a_server(), [os.urandom(size) for size in sizes]
    for data in sent:
        server.send_binary(data)
        server.send_ping(b"?")
    stream, messages = said(server), Messages(1 << 20)
    found: list[object] = []
    for at in range(0, len(stream), cut):
        found += messages.feed(stream[at : at + cut])
    assert [each for each in found if not isinstance(each, Ping)] == sent
    assert sum(isinstance(each, Ping) for each in found) == len(sent)


def test_fragments_are_put_together_and_a_ping_between_them_is_heard() -> None:
    server = a_server()
    server.send_binary(b"one,", fin=False)
    server.send_ping(b"there?")
    server.send_continuation(b"two,", fin=False)
    server.send_continuation(b"three", fin=True)
    server.send_pong(b"nobody asked")
    server.send_close(1008, "certificate expired")
    assert [*Messages(100).feed(said(server))] == [
        Ping(data=b"there?"),
        b"one,two,three",
        Closing(code=1008, reason="certificate expired"),
    ]


def test_a_close_may_say_nothing() -> None:
    (closing,) = Messages(9).feed(unmasked(0x80 | CLOSE, b""))
    assert closing == Closing(code=1005, reason="")
    assert str(closing) == "1005"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (unmasked(0x81, b"text"), 1003),
        (unmasked(0xC2, b"deflated"), 1002),
        (b"\x82\x84abcdwxyz", 1002),
        (unmasked(0x80, b"the rest of nothing"), 1002),
        (unmasked(0x02, b"a") + unmasked(0x82, b"b"), 1002),
        (unmasked(0x83, b"an opcode of the future"), 1002),
        (unmasked(0x09, b"a ping in parts"), 1002),
        (b"\x89\x7e\x01\x00", 1002),
        (unmasked(0x88, b"\x03"), 1002),
        (unmasked(0x88, b"\x03\xed"), 1002),
        (unmasked(0x88, b"\x00\x01"), 1002),
        (unmasked(0x88, b"\x03\xe8\xff"), 1007),
        (b"\x82\x7e\x04\x01", 1009),
        (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
        (b"\x02\x7e\x02\x00" + bytes(512) + b"\x80\x7e\x02\x01", 1009),
    ],
)
def test_what_breaks_the_protocol_is_named_after_what_came_before(data: bytes, code: int) -> None:
    messages, found = Messages(1024), list[object]()
    with pytest.raises(MessageError) as fault:
        found.extend(messages.feed(unmasked(0x82, b"good")))
        found.extend(messages.feed(data))
    assert fault.value.code == code
    assert found == [b"good"]
    assert (code == TOO_LARGE) is ("longer than 1024" in str(fault.value))


@given(data=st.binary(max_size=300), cut=st.integers(min_value=1, max_value=300))
def test_any_bytes_are_taken_or_refused_and_never_kept_beyond_the_limit(data: bytes, cut: int) -> None:
    messages = Messages(64)
    try:
        for at in range(0, len(data), cut):
            for event in messages.feed(data[at : at + cut]):
                assert isinstance(event, Ping | Closing) or len(event) <= 64
    except MessageError:
        return


def test_a_server_agrees_to_our_upgrade_and_we_to_its_answer() -> None:
    server = ServerProtocol()
    server.receive_data(upgrade_request("cloud:10443", "/session", NONCE))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    assert (request.path, request.headers["Host"]) == ("/session", "cloud:10443")
    server.send_response(server.accept(request))
    server.send_binary(b"hello")
    answered = upgrade_answer(said(server), NONCE)
    assert answered is not None and answered.status == 101
    assert [*Messages(9).feed(answered.trailing)] == [b"hello"]


def test_a_refusal_has_its_status() -> None:
    answered = upgrade_answer(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno\n", NONCE)
    assert answered is not None and answered.status == 401


def test_an_answer_is_waited_for_until_it_is_whole_but_not_for_ever() -> None:
    assert upgrade_answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", NONCE) is None
    with pytest.raises(MessageError, match="too long"):
        upgrade_answer(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * HEAD_BYTES_MAX, NONCE)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"220 mail.example ESMTP\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 1x1 ?\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 1010\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 101 ok\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "something else"),
        (b"HTTP/1.1 101 ok\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", "something else"),
        (b"HTTP/1.1 101 ok\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "another upgrade"),
        (
            b"HTTP/1.1 101 ok\r\nUpgrade: websocket\r\nConnection: x, Upgrade\r\nSec-WebSocket-Accept: "
            + ACCEPT
            + b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "extension",
        ),
    ],
)
def test_what_is_no_answer_to_our_question_is_refused(answer: bytes, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        upgrade_answer(answer, NONCE)
