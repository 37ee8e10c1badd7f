"""The embedded broker under a user who means ill: its memory has a bound, and another user's messages go on.

Bytes are made here by hand, so that no rule of ours stands between a test and the broker; the good user is paho's.
`SKERRY_BROKER_HOSTILE=1` plays it at full size (`make broker`): 10,000 connections, a million subscriptions.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from edgecore.broker.users import add_user
from tests.system import test_broker
from tests.system.test_broker import Client, Server, connected, subscribed, until

pytestmark = pytest.mark.system

server = test_broker.server

FULL: Final = bool(os.environ.get("SKERRY_BROKER_HOSTILE"))
PEAK_MIB_MAX: Final = 320
"""Of the whole process, whatever one user does: its share of each bound, and what Python makes of it."""
FOREVER: Final = b"\x05\x11\xff\xff\xff\xff"
"""Properties of a CONNECT whose session is kept."""


def many(full: int, few: int) -> int:
    return full if FULL else few


def text(said: str) -> bytes:
    return struct.pack("!H", len(said)) + said.encode()


def packet(first: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes((digit | (128 if left else 0),))
        if not left:
            return bytes((first,)) + length + body


def hello(
    user: str, name: str, *, five: bool = True, lasting: bool = False, will: bytes = b"", password: str = "x"
) -> bytes:
    flags = 0xC0 | (0 if lasting else 2) | (4 if will else 0)
    body = text("MQTT") + bytes((5 if five else 4, flags)) + b"\x00\x00"
    if five:
        body += FOREVER if lasting else b"\x00"
    body += text(name)
    if will:
        body += b"\x00" + text("w") + struct.pack("!H", len(will)) + will
    return packet(0x10, body + text(user) + text(password))


def subscribe(filters: Iterable[str], qos: int) -> bytes:
    return packet(0x82, b"\x00\x01\x00" + b"".join(text(each) + bytes((qos,)) for each in filters))


def publish(
    topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, number: int = 1, five: bool = True
) -> bytes:
    head = text(topic) + (struct.pack("!H", number) if qos else b"") + (b"\x00" if five else b"")
    return packet(0x30 | qos << 1 | retain, head + payload)


@dataclass
class Mallory:
    """Knows her password, and keeps her connections open."""

    port: int
    user: str
    stack: ExitStack = field(default_factory=ExitStack)

    def dial(self, first: bytes = b"") -> socket.socket:
        peer = self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=20))
        peer.settimeout(5)
        if first:
            send(peer, first)
        return peer

    def enter(self, name: str, *, five: bool = True, lasting: bool = False, will: bytes = b"") -> socket.socket:
        """Waits for the answer: the first four bytes of it."""
        peer = self.dial(hello(self.user, name, five=five, lasting=lasting, will=will))
        with suppress(OSError):
            peer.recv(4)
        return peer


def send(peer: socket.socket, data: bytes) -> bool:
    """Whether all of it was taken."""
    try:
        peer.sendall(data)
    except OSError:
        return False
    return True


# --- what she does ------------------------------------------------------------------------------------------------


def opens_thousands_of_connections(mallory: Mallory) -> None:
    for at in range(many(10_000, 1500)):
        if at % 500 == 0:
            mallory.stack.close()  # as many as one program has at once
        mallory.dial(hello(mallory.user, "c", password="wrong") if at % 10 == 0 else b"\x10" if at % 2 else b"")


def sends_packets_that_never_come_whole(mallory: Mallory) -> None:
    for at in range(100):
        send(mallory.enter(f"partial-{at}"), b"\x30\xff\xff\x3e" + bytes(many(1_000_000, 400_000)))


def subscribes_to_a_million_filters(mallory: Mallory) -> None:
    left = many(1_000_000, 60_000)
    session = 0
    while left > 0:
        peer = mallory.enter(f"subscriber-{session}", lasting=True)
        for packet_number in range(4):
            filters = (f"{session}/{packet_number}/{'+/' * 20}{number}" for number in range(250))
            if not send(peer, subscribe(filters, 1)):
                break
        left -= 1000
        session += 1
        if session % 90 == 0:
            mallory.stack.close()


def leaves_wills_and_sessions(mallory: Mallory) -> None:
    for at in range(many(2000, 400)):
        mallory.enter(f"will-{at}", lasting=True, will=bytes(60_000))
        if at % 90 == 0:
            mallory.stack.close()


def reads_nothing_of_what_she_makes_others_send(mallory: Mallory) -> None:
    for at in range(60):
        send(mallory.enter(f"slow-{at}", lasting=at % 2 == 0), subscribe(["flood/#"], at % 3))
    publisher = mallory.enter("flood")
    for number in range(many(4000, 400)):
        if not send(publisher, publish("flood/x", bytes(50_000), qos=number % 2, number=number % 60_000 + 1)):
            publisher = mallory.enter("flood")


def retains_all_there_is(mallory: Mallory) -> None:
    publisher = mallory.enter("retainer")
    for number in range(many(30_000, 4000)):
        if not send(publisher, publish(f"{number}/" + "x/" * 100, bytes(1000), retain=True)):
            publisher = mallory.enter("retainer")
    for at in range(20):
        send(mallory.enter(f"reader-{at}"), subscribe(["#", "+/#", "+/+/#"] * 80, 0))


def releases_nothing(mallory: Mallory) -> None:
    for at in range(many(40, 4)):
        peer = mallory.enter(f"old-{at}", five=False, lasting=True)
        for number in range(1, 0x10000, many(1, 4)):
            if not send(peer, publish("two", b"", qos=2, number=number, five=False)):
                break


DEEDS: Final[tuple[Callable[[Mallory], None], ...]] = (
    opens_thousands_of_connections,
    sends_packets_that_never_come_whole,
    subscribes_to_a_million_filters,
    leaves_wills_and_sessions,
    reads_nothing_of_what_she_makes_others_send,
    retains_all_there_is,
    releases_nothing,
)


# --- what others see ----------------------------------------------------------------------------------------------


@contextmanager
def carrying_on(good: Client) -> Generator[list[float]]:
    """The good user says and hears all the time; how long each message took."""
    took: list[float] = []
    stop = threading.Event()

    def go_on() -> None:
        number = 0
        while not stop.is_set():
            began_s = time.monotonic()
            good.say("good/t", b"%d" % number)
            until(lambda: good.heard and bytes(good.heard[-1].payload) == b"%d" % number)  # noqa: B023
            took.append(time.monotonic() - began_s)
            number += 1
            time.sleep(0.01)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join(90)
        assert not thread.is_alive()


def peak_mib(server: Server) -> int:
    assert server.process is not None
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


@pytest.mark.timeout(3600 if FULL else 300)
def test_whatever_one_user_does_memory_has_a_bound_and_others_go_on(server: Server) -> None:
    server.anybody = False
    users = server.directory / "users.json"
    for user in ("good", *(f"mallory-{at}" for at in range(len(DEEDS)))):
        add_user(users, user, b"x")
    server.start()
    with connected(server.port, "good", account=("good", "x")) as good:
        subscribed(good, "good/t")
        with carrying_on(good) as took:
            for at, deed in enumerate(DEEDS):  # by an account for each: what one has is not another's
                before, began_s = len(took), time.monotonic()
                mallory = Mallory(server.port, f"mallory-{at}")
                with mallory.stack:
                    deed(mallory)
                    until(lambda: len(took) > before)  # noqa: B023
                print(
                    f"{deed.__name__}: {time.monotonic() - began_s:.1f} s, {len(took) - before} messages of another, "
                    f"{max(took[before:]):.2f} s at most, {peak_mib(server)} MiB at most"
                )
        assert not good.ended
        assert [int(payload) for payload in good.payloads()] == list(range(len(good.heard)))
        with connected(server.port, "late", account=("good", "x")) as late:
            subscribed(late, "good/t")
            late.say("good/t", b"late")
            until(lambda: late.heard)
    assert peak_mib(server) < PEAK_MIB_MAX
    log = (server.directory / "log").read_text()
    assert "Traceback" not in log and server.process is not None and server.process.poll() is None
