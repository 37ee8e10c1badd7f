"""The broker for machines without mosquitto: MQTT 3.1.1 on loopback, for a few clients, until it is told to stop.

    python broker.py PORT USER PASSWORD_FILE        PORT 0 takes any free one; the first line on stdout says which

It does the one thing the demo rests on: what a client with a lasting session has not acknowledged is sent again, in
order, however the client went away. amqtt forgets that (docs/decisions/0115-a-small-broker-for-the-demo.md).
Sessions, retained messages and wills are in memory: they end with the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import signal
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
PACKET_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 64
WINDOW = 64
"""Messages sent to a client and not yet acknowledged; the rest wait in its queue."""
QUEUE_MAX = 100_000
"""Messages kept for a client that is away; then the oldest goes, and is counted on stderr at the end."""
BUFFER_BYTES_MAX = 1 << 20
"""A client that reads so slowly gets no more messages of QoS 0, which MQTT allows."""
CONNECT_S_MAX = 10.0


class ProtocolError(Exception):
    """A packet that MQTT 3.1.1 does not allow: the connection is closed (section 4.8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool = False


@dataclass(slots=True)
class Session:
    """What the broker knows of a client, also while it is away unless it asked for a clean session."""

    client: str
    clean: bool
    filters: dict[str, int] = field(default_factory=dict[str, int])
    queue: deque[Message] = field(default_factory=deque[Message])
    unacknowledged: dict[int, Message] = field(default_factory=dict[int, Message])
    """By packet id, in the order of sending."""
    received: set[int] = field(default_factory=set[int])
    """Packet ids of QoS 2 that came and were not yet released."""
    will: Message | None = None
    writer: asyncio.StreamWriter | None = None
    last_id: int = 0
    dropped: int = 0

    def next_id(self) -> int:
        while True:
            self.last_id = self.last_id % 0xFFFF + 1
            if self.last_id not in self.unacknowledged:
                return self.last_id

    def take(self, message: Message) -> None:
        if message.qos == 0:
            if self.writer and self.writer.transport.get_write_buffer_size() < BUFFER_BYTES_MAX:
                self.writer.write(publish_packet(message))
            return
        if len(self.queue) >= QUEUE_MAX:
            self.queue.popleft()
            self.dropped += 1
        self.queue.append(message)
        self.pump()

    def pump(self) -> None:
        while self.writer and self.queue and len(self.unacknowledged) < WINDOW:
            message = self.queue.popleft()
            number = self.next_id()
            self.unacknowledged[number] = message
            self.writer.write(publish_packet(message, number))

    def resume(self, writer: asyncio.StreamWriter) -> None:
        """Send again what was not acknowledged, in its order, before anything newer (section 4.4, 4.6)."""
        self.writer = writer
        for number, message in self.unacknowledged.items():
            writer.write(publish_packet(message, number, again=True))
        self.pump()


class Broker:
    def __init__(self, user: str, password: str) -> None:
        self._credentials = (user.encode(), password.encode())
        self._retained: dict[str, Message] = {}
        self.sessions: dict[str, Session] = {}
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its CONNECT to its end."""
        self.writers.add(writer)
        session: Session | None = None
        try:
            if len(self.writers) > CONNECTIONS_MAX:
                return
            session, silence_s = await self._welcome(reader, writer)
            while session and session.writer is writer:
                async with asyncio.timeout(silence_s):
                    kind, flags, body = await read_packet(reader)
                if kind == DISCONNECT:
                    session.will = None
                    return
                self._answer(session, writer, kind, flags, body)
                await writer.drain()
        except (ProtocolError, OSError, EOFError, TimeoutError, UnicodeDecodeError):
            pass  # section 4.8: the connection ends, and the will is published
        finally:
            self.writers.discard(writer)
            if session and session.writer is writer:
                self._left(session)
            writer.close()

    async def _welcome(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Session | None, float | None]:
        """The client's session, and after how long a silence it counts as gone; (None, None) when it was refused."""
        async with asyncio.timeout(CONNECT_S_MAX):
            kind, _, body = await read_packet(reader)
        if kind != CONNECT:
            raise ProtocolError("the first packet must be CONNECT")
        fields = Fields(body)
        name, level, flags, keep_alive_s = fields.text(), fields.byte(), fields.byte(), fields.number()
        client, clean = fields.text(), bool(flags & 2)
        will = None
        if flags & 4:
            topic, payload = fields.text(), fields.blob()
            will = Message(topic=topic, payload=payload, qos=min(flags >> 3 & 3, 1), retain=bool(flags & 32))
        given = (fields.blob() if flags & 128 else b"", fields.blob() if flags & 64 else b"")
        if name != "MQTT" or level != 4:
            refusal = 1
        elif not client and not clean:
            refusal = 2
        elif not all(hmac.compare_digest(*pair) for pair in zip(given, self._credentials, strict=True)):
            refusal = 4
        else:
            session = self._attach(client or secrets.token_hex(8), will, writer, clean=clean)
            return session, keep_alive_s * 1.5 or None
        writer.write(packet(CONNACK, bytes([0, refusal])))
        return None, None

    def _attach(self, client: str, will: Message | None, writer: asyncio.StreamWriter, *, clean: bool) -> Session:
        """The newer connection of a client replaces the older (section 3.1.4)."""
        session = self.sessions.get(client)
        if session and session.writer:
            older = session.writer
            self._left(session)
            older.close()
            session = self.sessions.get(client)
        known = session is not None and not clean
        if session is None or clean:
            session = self.sessions[client] = Session(client, clean)
        session.clean, session.will = clean, will
        writer.write(packet(CONNACK, bytes([int(known), 0])))
        session.resume(writer)
        return session

    def _left(self, session: Session) -> None:
        session.writer = None
        will, session.will = session.will, None
        if session.clean:
            self.sessions.pop(session.client, None)
        if will:
            self._route(will)

    def _answer(self, session: Session, writer: asyncio.StreamWriter, kind: int, flags: int, body: bytes) -> None:
        fields = Fields(body)
        if kind == PUBLISH:
            self._published(session, writer, flags, fields)
        elif kind == PUBACK:
            session.unacknowledged.pop(fields.number(), None)
            session.pump()
        elif kind == PUBREL:
            number = fields.number()
            session.received.discard(number)
            writer.write(packet(PUBCOMP, number.to_bytes(2, "big")))
        elif kind == SUBSCRIBE:
            self._subscribed(session, writer, fields)
        elif kind == UNSUBSCRIBE:
            number = fields.number()
            while fields:
                session.filters.pop(fields.text(), None)
            writer.write(packet(UNSUBACK, number.to_bytes(2, "big")))
        elif kind == PINGREQ:
            writer.write(packet(PINGRESP, b""))
        else:
            raise ProtocolError(f"packet type {kind} is not a client's to send")

    def _published(self, session: Session, writer: asyncio.StreamWriter, flags: int, fields: Fields) -> None:
        topic, qos = fields.text(), flags >> 1 & 3
        if qos == 3 or not topic or "+" in topic or "#" in topic:
            raise ProtocolError("a publication without a plain topic or with QoS 3")
        number = fields.number() if qos else 0
        message = Message(topic=topic, payload=fields.rest(), qos=min(qos, 1), retain=bool(flags & 1))
        if qos < 2:
            self._route(message)
        elif number not in session.received:
            session.received.add(number)
            self._route(message)
        if qos:
            writer.write(packet(PUBACK if qos == 1 else PUBREC, number.to_bytes(2, "big")))

    def _subscribed(self, session: Session, writer: asyncio.StreamWriter, fields: Fields) -> None:
        number, granted, added = fields.number(), bytearray(), list[tuple[str, int]]()
        while fields:
            wanted, qos = fields.text(), min(fields.byte(), 1)
            added.append((wanted, qos))
            session.filters[wanted] = qos
            granted.append(qos)
        writer.write(packet(SUBACK, number.to_bytes(2, "big") + granted))
        for wanted, qos in added:
            for message in [kept for kept in self._retained.values() if matches(wanted, kept.topic)]:
                session.take(replace(message, qos=min(qos, message.qos)))

    def _route(self, message: Message) -> None:
        if message.retain and message.payload:
            self._retained[message.topic] = message
        elif message.retain:
            self._retained.pop(message.topic, None)
        for session in list(self.sessions.values()):
            qos = max((qos for wanted, qos in session.filters.items() if matches(wanted, message.topic)), default=-1)
            if qos >= 0:
                session.take(replace(message, qos=min(qos, message.qos), retain=False))


class Fields:
    """Reads a packet's body from front to back. Raises `ProtocolError` at its end."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def __bool__(self) -> bool:
        return self._at < len(self._body)

    def _take(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) != count:
            raise ProtocolError("the packet ends early")
        self._at += count
        return taken

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def blob(self) -> bytes:
        return self._take(self.number())

    def text(self) -> str:
        return self.blob().decode()

    def rest(self) -> bytes:
        return self._take(len(self._body) - self._at)


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    left, length = len(body), bytearray()
    while True:
        left, digit = left >> 7, left & 0x7F
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([kind << 4 | flags]) + length + body


def publish_packet(message: Message, number: int = 0, *, again: bool = False) -> bytes:
    topic = message.topic.encode()
    head = len(topic).to_bytes(2, "big") + topic + (number.to_bytes(2, "big") if message.qos else b"")
    return packet(PUBLISH, head + message.payload, (8 if again else 0) | message.qos << 1 | int(message.retain))


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Type, flags, body. Raises `ProtocolError`, or `EOFError` when the connection ends."""
    first = (await reader.readexactly(1))[0]
    length = 0
    for shift in (0, 7, 14, 21):
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        if not digit & 0x80:
            break
    else:
        raise ProtocolError("a length of more than four bytes")
    if length > PACKET_BYTES_MAX:
        raise ProtocolError(f"a packet of {length} bytes")
    return first >> 4, first & 15, await reader.readexactly(length)


def matches(wanted: str, topic: str) -> bool:
    """Section 4.7: `+` is one level, `#` the rest; topics that begin with $ match no leading wildcard."""
    if topic.startswith("$") and wanted[:1] in ("+", "#"):
        return False
    levels: Iterator[str] = iter(topic.split("/"))
    for part in wanted.split("/"):
        if part == "#":
            return True
        level = next(levels, None)
        if level is None or part not in ("+", level):
            return False
    return next(levels, None) is None


async def main(port: int, user: str, password: str) -> None:
    broker = Broker(user, password)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", port)
    print(f"broker listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
    server.close()
    for writer in list(broker.writers):
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    dropped = sum(session.dropped for session in broker.sessions.values())
    if dropped:
        print(f"{dropped} messages were dropped from queues that were full", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text().strip()))
