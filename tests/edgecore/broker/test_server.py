"""The shell's own promises, on transports that are lists of bytes: what waits for the disk, and who for whom."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from edgecore.broker import server as module
from edgecore.broker.journal import MemoryJournal
from edgecore.broker.server import BrokerServer, OpenHouse, Peer, ServerParts, common_name
from edgecore.broker.users import UserBook, add_user, remove_user
from skerry.clocks import SeededIds, SystemClock
from skerry.errors import UnavailableError
from skerry.mqtt.codec import encode
from skerry.mqtt.fields import varint
from skerry.mqtt.kept import Changes, Kept, Message, SessionRow, Subscription
from skerry.mqtt.limits import Limits
from skerry.mqtt.packets import FOREVER, V5, Ack, Kind, Publish, Wanted

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xD0, 0xE0


@dataclass
class FakeTransport:
    """Implements what a peer uses of a transport."""

    written: bytearray = field(default_factory=bytearray)
    buffered: int = 0
    reading: bool = True
    closing: bool = False
    max_size: int = 1 << 18
    certificate: Any = None
    reset: bool = False
    """The client has reset the connection, and nobody has seen it."""

    def get_extra_info(self, name: str) -> Any:
        return self.certificate if name == "peercert" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self.reset:
            raise OSError(errno.ENOTCONN, "not connected")
        self.closing = True

    def kinds(self) -> list[int]:
        """The packets written, by the first half of their first byte."""
        found, at = [], 0
        while at < len(self.written):
            length = self.written[at + 1]
            step = 2
            if length & 0x80:
                length, step = (length & 0x7F) | self.written[at + 2] << 7, 3
            found.append(self.written[at] & 0xF0)
            at += step + length
        return found


class SlowJournal(MemoryJournal):
    """Commits when it is let; raises what it is told to. Implements `Journal`."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = kept or Kept()
        self.go = threading.Event()
        self.go.set()
        self.fails = 0
        self.commits: list[Changes] = []

    def load(self) -> Kept:
        return self.kept

    def commit(self, changes: Changes) -> None:
        self.go.wait(20)
        if self.fails:
            self.fails -= 1
            raise UnavailableError("no room")
        self.commits.append(changes)


class Strict(OpenHouse):
    async def admit(self, username: str | None, password: bytes | None) -> str | None:
        return username if password == b"right" else None


@dataclass
class Stage:
    server: BrokerServer
    journal: SlowJournal

    def arrive(self) -> tuple[Peer, FakeTransport]:
        peer, transport = Peer(self.server), FakeTransport()
        peer.connection_made(cast(asyncio.BaseTransport, transport))
        return peer, transport

    async def greet(self, name: str, *, lasting: bool = False) -> tuple[Peer, FakeTransport]:
        peer, transport = self.arrive()
        peer.data_received(hello(name, lasting=lasting))
        await until(lambda: CONNACK in transport.kinds())
        return peer, transport


def hello(name: str, *, lasting: bool = False, user: str = "", password: str = "") -> bytes:
    properties = b"\x05\x11\xff\xff\xff\xff" if lasting else b"\x00"
    flags = (0 if lasting else 2) | (0xC0 if user else 0)
    body = b"\x00\x04MQTT\x05" + bytes((flags,)) + b"\x00\x00" + properties
    for text in (name, *((user, password) if user else ())):
        body += len(text).to_bytes(2, "big") + text.encode()
    return b"\x10" + varint(len(body)) + body


def subscribe(filter: str, qos: int) -> bytes:
    body = b"\x00\x01\x00" + len(filter).to_bytes(2, "big") + filter.encode() + bytes((qos,))
    return b"\x82" + varint(len(body)) + body


def publish(topic: str, qos: int = 1, payload: bytes = b"x", number: int = 1) -> bytes:
    return encode(Publish(topic=topic, payload=payload, qos=qos, packet_id=number if qos else 0), V5)


async def until(true: Callable[[], object], deadline_s: float = 10.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not true():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(limits: Limits | None = None, book: Any = None, kept: Kept | None = None) -> AsyncGenerator[Stage]:
    journal = SlowJournal(kept)
    server = BrokerServer(
        ServerParts(
            version="v",
            listeners=[],
            journal=journal,
            book=book or OpenHouse(),
            clock=SystemClock(),
            ids=SeededIds(1),
            limits=limits or Limits(),
        )
    )
    task = asyncio.create_task(server.run())
    try:
        yield Stage(server, journal)
    finally:
        journal.go.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_acknowledgement_waits_until_the_message_is_durable() -> None:
    async with serving() as stage:
        hearer, heard = await stage.greet("h", lasting=True)
        hearer.data_received(subscribe("a", 1))
        await until(lambda: SUBACK in heard.kinds())
        publisher, told = await stage.greet("p")
        stage.journal.go.clear()
        publisher.data_received(publish("a"))
        await asyncio.sleep(0.05)
        assert PUBACK not in told.kinds() and PUBLISH not in heard.kinds()
        stage.journal.go.set()
        await until(lambda: PUBACK in told.kinds())
        assert any(changes.deliveries for changes in stage.journal.commits)
        assert PUBLISH in heard.kinds()


async def test_many_turns_share_a_commit_and_order_is_kept() -> None:
    async with serving() as stage:
        hearer, heard = await stage.greet("h", lasting=True)
        hearer.data_received(subscribe("a", 1))
        await until(lambda: SUBACK in heard.kinds())
        publisher, told = await stage.greet("p")
        told.written.clear()
        stage.journal.go.clear()
        before = len(stage.journal.commits)
        for number in range(1, 21):
            publisher.data_received(publish("a", number=number))
            await asyncio.sleep(0)
        stage.journal.go.set()
        await until(lambda: told.kinds().count(PUBACK) == 20)
        assert len(stage.journal.commits) - before <= 4
        numbers = [told.written[at + 3] for at in range(len(told.written) - 3) if told.written[at] == PUBACK]
        assert numbers == sorted(numbers)


async def test_a_disk_that_takes_nothing_is_tried_again_and_nothing_is_acknowledged_before(
    monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    async with serving() as stage:
        hearer, heard = await stage.greet("h", lasting=True)
        hearer.data_received(subscribe("a", 1))
        await until(lambda: SUBACK in heard.kinds())
        publisher, told = await stage.greet("p")
        stage.journal.fails = 5
        publisher.data_received(publish("a"))
        await until(lambda: stage.journal.fails < 3)
        assert PUBACK not in told.kinds()
        publisher.data_received(publish("a", number=2))
        await until(lambda: told.kinds().count(PUBACK) == 2)
        assert len(stage.journal.commits[-1].deliveries) == 2
        assert caplog.text.count("broker_unwritten") == 1


async def test_messages_of_qos_0_wait_for_no_disk() -> None:
    async with serving() as stage:
        hearer, heard = await stage.greet("h")
        hearer.data_received(subscribe("a", 0))
        await until(lambda: SUBACK in heard.kinds())
        stage.journal.go.clear()
        publisher, _ = await stage.greet("p")
        publisher.data_received(publish("a", 0))
        await until(lambda: PUBLISH in heard.kinds())


async def test_a_disk_that_takes_nothing_stops_what_waits_for_it_and_nothing_else() -> None:
    async with serving() as stage:
        keeper, kept = await stage.greet("k", lasting=True)
        keeper.data_received(subscribe("a", 1))
        hearer, heard = await stage.greet("h")
        hearer.data_received(subscribe("#", 0))
        await until(lambda: SUBACK in kept.kinds() and SUBACK in heard.kinds())
        stage.journal.go.clear()
        publisher, told = await stage.greet("p")  # a client without a session to keep
        publisher.data_received(publish("a", 1) + b"\xc0\x00")
        await until(lambda: PINGRESP in told.kinds() and PUBLISH in heard.kinds())
        for number in range(3000):
            publisher.data_received(publish("b", 0, b"x" * 100, number))
            await asyncio.sleep(0)
        await until(lambda: heard.kinds().count(PUBLISH) == 3001)
        assert hearer.held_bytes == 0 and PUBACK not in told.kinds() and PUBLISH not in kept.kinds()
        late, greeted = stage.arrive()
        late.data_received(hello("late", lasting=True) + b"\xc0\x00")
        await until(lambda: late.held_bytes)
        assert not greeted.kinds()  # its session is to be kept: nothing goes before its CONNACK
        stage.journal.go.set()
        await until(lambda: PUBACK in told.kinds() and greeted.kinds() == [CONNACK, PINGRESP])


async def test_what_waits_for_the_disk_before_a_connack_is_bounded() -> None:
    async with serving() as stage:
        keeper, kept = await stage.greet("k", lasting=True)
        keeper.data_received(subscribe("a", 0))
        await until(lambda: SUBACK in kept.kinds())
        stage.journal.go.clear()
        back, greeted = stage.arrive()
        back.data_received(hello("k", lasting=True))
        await until(lambda: back.held_bytes)
        publisher, _ = await stage.greet("p")
        for number in range(module.HELD_MAX + 500):
            publisher.data_received(publish("a", 0, number=number))
            await asyncio.sleep(0)
        dropped = stage.server.broker.figures["publish/messages/dropped"]
        assert 500 <= dropped < 510 and back.held_bytes < 100 * module.HELD_MAX
        stage.journal.go.set()
        await until(lambda: greeted.kinds().count(PUBLISH) + dropped == module.HELD_MAX + 500)


async def test_who_is_to_go_is_not_kept_for_a_disk_that_takes_nothing(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "GOODBYE_S", 0.05)
    async with serving() as stage:
        peer, transport = await stage.greet("c", lasting=True)
        stage.journal.go.clear()
        peer.data_received(subscribe("a", 1))
        await asyncio.sleep(0)
        peer.data_received(b"\xf0\x00")  # AUTH: it is dismissed
        await until(lambda: transport.closing)


async def test_a_client_that_resets_its_connection_while_it_is_closed_ends_nothing_but_that() -> None:
    """It ended the broker, and with it the agent: a last word that had waited for the disk found no connection."""
    async with serving() as stage:
        peer, transport = await stage.greet("c", lasting=True)
        transport.reset = True
        stage.journal.go.clear()
        peer.data_received(subscribe("a", 1))
        await asyncio.sleep(0)
        peer.data_received(b"\xe0\x00")  # DISCONNECT
        stage.journal.go.set()
        await until(lambda: transport.closing)
        _, other = await stage.greet("d", lasting=True)
        assert other.kinds() == [CONNACK]


async def test_what_is_left_out_for_a_slow_reader_is_counted() -> None:
    async with serving() as stage:
        slow, heard = await stage.greet("h")
        slow.data_received(subscribe("a", 0))
        await until(lambda: SUBACK in heard.kinds())
        heard.buffered = module.UNSENT_BYTES_MAX + 1
        publisher, told = await stage.greet("p")
        publisher.data_received(publish("a", 0) + b"\xc0\x00")
        await until(lambda: PINGRESP in told.kinds())
        assert stage.server.broker.dropped() == {"h": 1}
        assert stage.server.broker.figures["publish/messages/dropped"] == 1


async def test_what_is_retained_is_told_as_fast_as_it_is_read_and_all_of_it() -> None:
    async with serving() as stage:
        server = stage.server
        for number in range(1000):
            message = Message(topic=f"homeassistant/{number}", payload=b"x" * 600, qos=0, retain=True)
            server.broker.publish(message, server.now_s())
        slow, heard = await stage.greet("h")
        heard.buffered = module.TOLD_BYTES_MAX + 1
        slow.data_received(subscribe("homeassistant/#", 0) + b"\xc0\x00")
        await until(lambda: PINGRESP in heard.kinds())
        await asyncio.sleep(5 * module.TELL_S)
        assert PUBLISH not in heard.kinds()
        heard.buffered = 0
        await until(lambda: heard.kinds().count(PUBLISH) == 1000)
        assert not server.broker.behind and server.broker.figures["publish/messages/dropped"] == 0


async def test_a_client_that_does_not_read_loses_qos_0_and_is_read_from_no_more() -> None:
    async with serving() as stage:
        slow, heard = await stage.greet("h")
        slow.data_received(subscribe("a", 1))
        await until(lambda: SUBACK in heard.kinds())
        publisher, told = await stage.greet("p")
        heard.buffered = module.UNSENT_BYTES_MAX + 1
        slow.pause_writing()
        assert not heard.reading
        publisher.data_received(publish("a", 0) + publish("a", 1))
        await until(lambda: PUBACK in told.kinds())
        assert heard.kinds().count(PUBLISH) == 1  # that of QoS 1: at most as many as are allowed under way
        slow.data_received(b"\xc0\x00")
        await asyncio.sleep(0.01)
        assert PINGRESP not in heard.kinds()
        heard.buffered = 0
        slow.resume_writing()
        assert heard.reading
        await until(lambda: PINGRESP in heard.kinds())


async def test_a_wrong_password_is_answered_late_and_closes(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "REFUSED_S", 0.05)
    async with serving(book=Strict()) as stage:
        peer, transport = stage.arrive()
        peer.data_received(hello("c", user="ann", password="wrong") + b"\xc0\x00")
        assert not transport.reading
        await until(lambda: transport.closing)
        assert bytes(transport.written) == b"\x20\x03\x00\x86\x00"
        peer, transport = stage.arrive()
        peer.data_received(hello("c", user="ann", password="right") + b"\xc0\x00")
        await until(lambda: transport.kinds() == [CONNACK, PINGRESP])  # what came meanwhile is followed


async def test_a_version_that_is_not_spoken_is_answered_so() -> None:
    async with serving() as stage:
        peer, transport = stage.arrive()
        peer.data_received(b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00")
        assert bytes(transport.written) == b"\x20\x02\x00\x01" and transport.closing
        peer, transport = stage.arrive()
        peer.data_received(b"GET / HTTP/1.1\r\n\r\n")
        assert transport.written == b"" and transport.closing


async def test_connections_that_say_nothing_are_bounded_and_keep_nobody_out() -> None:
    async with serving(Limits(connections=2)) as stage:
        _, first = await stage.greet("first")
        transports = [stage.arrive()[1] for _ in range(10)]
        assert len(stage.server.peers) == 4 and not first.closing
        assert [transport.closing for transport in transports] == [True] * 7 + [False] * 3
        _, second = await stage.greet("second")
        assert second.kinds() == [CONNACK] and not second.closing


async def test_packets_that_never_come_whole_are_bounded_and_the_largest_goes(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "PARTIAL_BYTES_MAX", 100_000)
    async with serving() as stage:
        good, fine = await stage.greet("good")
        hostile = [await stage.greet(f"h{number}") for number in range(3)]
        for _ in range(10):
            for peer, transport in hostile:
                if not transport.closing:
                    peer.data_received((b"\x30\xff\xff\x07" if not peer.partial_bytes else b"") + b"x" * 10_000)
                    await asyncio.sleep(0)
            assert sum(peer.partial_bytes for peer in stage.server.peers.values()) <= 100_000
        assert [transport.written.endswith(b"\xe0\x02\x97\x00") for _, transport in hostile].count(True) >= 2
        good.data_received(publish("a", 1, b"x" * 30_000))
        await until(lambda: PUBACK in fine.kinds())
        for peer, _ in (*hostile, (good, fine)):
            peer.connection_lost(None)
        assert stage.server._partial_bytes == 0


async def test_a_user_that_is_removed_is_disconnected(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.01)

    class Book(OpenHouse):
        removed = False

        def refresh(self) -> int:
            return int(self.removed)

        def credential(self, user: str) -> bytes | None:
            return None if self.removed else b""

    book = Book()
    async with serving(book=book) as stage:
        _, transport = await stage.greet("c")
        book.removed = True
        await until(lambda: transport.closing)
        assert transport.written.endswith(b"\xe0\x02\x98\x00")


async def test_a_change_of_users_that_a_login_has_seen_first_counts_all_the_same(
    monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.3)
    path = tmp_path / "users.json"
    for name in ("ann", "bob"):
        add_user(path, name, b"right")
    async with serving(book=UserBook(path, b"agent's")) as stage:
        peer, transport = stage.arrive()
        peer.data_received(hello("c", user="ann", password="right"))
        await until(lambda: CONNACK in transport.kinds())
        remove_user(path, "ann")
        other, answered = stage.arrive()
        other.data_received(hello("d", user="bob", password="right"))
        await until(lambda: CONNACK in answered.kinds())
        await until(lambda: transport.closing)
        assert transport.written.endswith(b"\xe0\x02\x98\x00") and not answered.closing


async def test_sessions_of_before_are_looked_at_by_the_rights_of_now(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "ann", b"right", subscribe=["b"])
    kept = Kept(
        sessions=[SessionRow(client="c", user="ann", expiry_s=FOREVER, left_s=0)],
        subscriptions=[("c", Subscription(wanted=Wanted(filter=filter))) for filter in ("a", "b")],
    )
    async with serving(book=UserBook(path, b"agent's"), kept=kept) as stage:
        now_s = stage.server.now_s()
        await until(lambda: stage.server.broker.publish(Message(topic="a", payload=b"", qos=0), now_s) == 0)
        assert stage.server.broker.publish(Message(topic="b", payload=b"", qos=0), now_s) == 1


@pytest.mark.parametrize(
    ("names", "name"),
    [([("CN", "ann")], "ann"), ([], ""), ([("CN", "ann"), ("CN", "bob")], ""), ([("O", "ann")], "")],
)
async def test_a_certificate_says_who_it_is_by_its_one_common_name(names: list[tuple[str, str]], name: str) -> None:
    subject = tuple(((("commonName" if key == "CN" else "organizationName"), value),) for key, value in names)
    assert common_name({"subject": subject}) == name
    assert common_name(None) == "" and common_name({}) == ""


async def test_where_certificates_are_asked_for_a_password_is_of_no_use(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "REFUSED_S", 0.01)
    path = tmp_path / "users.json"
    for user in ("ann", "bob"):
        add_user(path, user, b"right")
    async with serving(book=UserBook(path, b"agent's")) as stage:
        for account, let_in in ((("", ""), True), (("ann", ""), True), (("bob", "right"), False)):
            transport = FakeTransport(certificate={"subject": ((("commonName", "ann"),),)})
            peer = Peer(stage.server, certified=True)
            peer.connection_made(cast(asyncio.BaseTransport, transport))
            peer.data_received(hello("c", user=account[0], password=account[1]))
            await until(lambda: CONNACK in transport.kinds())  # noqa: B023
            assert transport.closing is not let_in
            peer.connection_lost(None)


async def test_figures_are_told_to_whoever_wants_them() -> None:
    async with serving() as stage:
        peer, transport = await stage.greet("c")
        peer.data_received(subscribe("$SYS/broker/clients/connected", 0))
        await until(lambda: PUBLISH in transport.kinds() or PUBLISH | 1 in transport.kinds())


async def test_at_its_end_clients_are_told() -> None:
    async with serving() as stage:
        _, transport = await stage.greet("c")
    assert transport.written.endswith(b"\xe0\x02\x8b\x00") and transport.closing


async def test_an_acknowledgement_of_ours_is_understood() -> None:
    async with serving() as stage:
        hearer, heard = await stage.greet("h", lasting=True)
        hearer.data_received(subscribe("a", 1))
        publisher, told = await stage.greet("p")
        publisher.data_received(publish("a"))
        await until(lambda: PUBLISH in heard.kinds() and PUBACK in told.kinds())
        hearer.data_received(encode(Ack(kind=Kind.PUBACK, packet_id=1), V5))
        await until(lambda: any(changes.done for changes in stage.journal.commits))
