"""An MQTT 3.1.1 broker as a program of its own, and the devices that speak through it.

    python -m skerry.testkit.real.broker PORT                       told what to do on standard input, as `plc` is
    python -m skerry.testkit.real.broker PORT USER PASSWORD_FILE    on loopback, until it is told to stop
    python -m skerry.testkit.real.broker PORT anybody               the same for whoever comes

With a user it is the demo's, for machines without mosquitto: PORT 0 takes any free one, and the first line on stdout
says which (docs/decisions/0115-a-small-broker-for-the-demo.md). Told what to do it takes whoever comes, and listens
where it is told to, in one network namespace after another. Sessions, retained messages and wills end with it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from skerry.testkit.mqtt import PUBLISHED_MAX, Devices, Exchange, Message, Session
from skerry.testkit.real.namespaces import bound_in

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
PACKET_BYTES_MAX: Final = 1 << 20
CONNECTIONS_MAX: Final = 64
BUFFER_BYTES_MAX: Final = 1 << 20
"""A client that reads so slowly gets no more messages of QoS 0, which MQTT allows."""
CONNECT_S_MAX: Final = 10.0


class ProtocolError(Exception):
    """A packet that MQTT 3.1.1 does not allow: the connection is closed (section 4.8)."""


class Broker:
    """The network around an exchange."""

    def __init__(
        self, user: str = "", password: str = "", heard: Callable[[Message], None] = lambda message: None
    ) -> None:
        """Without a user: whoever comes may."""
        self._credentials = (user.encode(), password.encode()) if user else None
        self.exchange = Exchange(heard)
        self._holders: dict[str, asyncio.StreamWriter] = {}
        """Who speaks for a client."""
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its CONNECT to its end."""
        self.writers.add(writer)
        session: Session | None = None
        try:
            if len(self.writers) > CONNECTIONS_MAX:
                return
            session, silence_s = await self._welcome(reader, writer)
            while session and self._holders.get(session.client) is writer:
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
            if session and self._holders.get(session.client) is writer:
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
        name, level = fields.text(), fields.byte()
        if name != "MQTT" or level != 4:
            # What follows is of another version, and may be laid out in another way (section 3.1.2.2).
            writer.write(packet(CONNACK, bytes([0, 1])))
            return None, None
        flags, keep_alive_s = fields.byte(), fields.number()
        client, clean = fields.text(), bool(flags & 2)
        will = None
        if flags & 4:
            topic, payload = fields.text(), fields.blob()
            will = Message(topic=topic, payload=payload, qos=min(flags >> 3 & 3, 1), retain=bool(flags & 32))
        given = (fields.blob() if flags & 128 else b"", fields.blob() if flags & 64 else b"")
        if not client and not clean:
            refusal = 2
        elif self._credentials and not all(
            hmac.compare_digest(*pair) for pair in zip(given, self._credentials, strict=True)
        ):
            refusal = 4
        else:
            session = self._attach(client or secrets.token_hex(8), will, writer, clean=clean)
            return session, keep_alive_s * 1.5 or None
        writer.write(packet(CONNACK, bytes([0, refusal])))
        return None, None

    def _attach(self, client: str, will: Message | None, writer: asyncio.StreamWriter, *, clean: bool) -> Session:
        """The newer connection of a client replaces the older (section 3.1.4)."""
        older = self._holders.get(client)
        if older is not None:
            self._left(self.exchange.sessions[client])
            older.close()
        session, known = self.exchange.session(client, clean=clean)
        session.will = will
        self._holders[client] = writer
        writer.write(packet(CONNACK, bytes([int(known), 0])))

        def deliver(message: Message, number: int, again: bool) -> None:
            if message.qos or writer.transport.get_write_buffer_size() < BUFFER_BYTES_MAX:
                writer.write(publish_packet(message, number, again=again))

        session.resume(deliver)
        return session

    def _left(self, session: Session) -> None:
        self._holders.pop(session.client, None)
        self.exchange.left(session)

    def hang_up(self) -> None:
        """Every connection ends."""
        for writer in list(self.writers):
            writer.transport.abort()

    def _answer(self, session: Session, writer: asyncio.StreamWriter, kind: int, flags: int, body: bytes) -> None:
        fields = Fields(body)
        if kind == PUBLISH:
            self._published(session, writer, flags, fields)
        elif kind == PUBACK:
            session.acknowledged(fields.number())
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
            self.exchange.publish(message)
        elif number not in session.received:
            session.received.add(number)
            self.exchange.publish(message)
        if qos:
            writer.write(packet(PUBACK if qos == 1 else PUBREC, number.to_bytes(2, "big")))

    def _subscribed(self, session: Session, writer: asyncio.StreamWriter, fields: Fields) -> None:
        number, filters = fields.number(), list[tuple[str, int]]()
        while fields:
            filters.append((fields.text(), min(fields.byte(), 1)))
        writer.write(packet(SUBACK, number.to_bytes(2, "big") + bytes(qos for _, qos in filters)))
        self.exchange.subscribe(session, filters)


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


@dataclass(slots=True)
class Steward:
    """The broker as a test run holds it: told what to do, one answer for each order."""

    port: int
    published: list[tuple[float, str, bytes]] = field(default_factory=list[tuple[float, str, bytes]])
    devices: Devices = field(default_factory=Devices)
    broker: Broker = field(init=False)
    _places: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _servers: list[asyncio.Server] = field(default_factory=list[asyncio.Server])
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict[str, asyncio.TimerHandle])

    def __post_init__(self) -> None:
        self.broker = Broker(heard=self._heard)

    def _heard(self, message: Message) -> None:
        self.published.append((time.time(), message.topic, message.payload))
        del self.published[:-PUBLISHED_MAX]
        for topic in self.devices.commanded(message):
            self._tell(topic)

    def _tell(self, topic: str) -> None:
        payload = self.devices.payload(topic, time.time())
        if payload is not None:
            self.broker.exchange.route(Message(topic=topic, payload=payload, qos=1))

    def _repeat(self, topic: str, every_s: float) -> None:
        """Only while it listens: a device does not speak to a broker that is not there."""
        if self._servers:
            self._tell(topic)
        self._timers[topic] = asyncio.get_running_loop().call_later(every_s, self._repeat, topic, every_s)

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """One order; its answer, with `error` when it could not be done."""
        match order["do"]:
            case "listen":
                self._places.append((order["namespace"], order["host"]))
                return await self._listen(*self._places[-1])
            case "publish":
                payload = base64.b64decode(order["payload"])
                self.broker.exchange.route(
                    Message(topic=order["topic"], payload=payload, qos=1, retain=order["retain"])
                )
            case "repeat":
                topic = order["topic"]
                self.devices.tells(topic, order["document"])
                if topic in self._timers:
                    self._timers.pop(topic).cancel()
                if order["document"] is not None:
                    self._repeat(topic, order["every_s"])
            case "obey":
                self.devices.obeys(order["command_topic"], order["topic"], order["path"], order["template"])
            case "published":
                told = [(at_s, topic, base64.b64encode(data).decode()) for at_s, topic, data in self.published]
                return {"published": told}
            case "stop":
                for server in self._servers:
                    server.close()
                self._servers.clear()
                self.broker.hang_up()
            case "start":
                if not self._servers:
                    answers = [await self._listen(*place) for place in self._places]
                    return next(filter(None, answers), answers[0] if answers else {})
            case _:
                return {"error": f"no such order: {order['do']}"}
        return {}

    async def _listen(self, namespace: str, host: str) -> dict[str, Any]:
        try:
            place = bound_in(namespace, host, self.port)
        except OSError as error:
            return {"error": f"port {self.port}: {error.strerror}"}
        self._servers.append(await asyncio.start_server(self.broker.serve, sock=place))
        return {}


async def stewarded(port: int) -> None:
    """Obey until standard input is closed."""
    steward = Steward(port)
    reader = asyncio.StreamReader(limit=4 * PACKET_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    while line := await reader.readline():
        sys.stdout.write(json.dumps(await steward.obey(json.loads(line))) + "\n")
        sys.stdout.flush()


async def alone(port: int, user: str, password: str) -> None:
    """Serve on loopback until SIGTERM."""
    broker = Broker(user, password)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", port)
    sys.stdout.write(f"broker listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()
    for writer in list(broker.writers):
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    dropped = sum(session.dropped for session in broker.exchange.sessions.values())
    if dropped:
        sys.stderr.write(f"{dropped} messages were dropped from queues that were full\n")


def main(argv: list[str]) -> None:
    if len(argv) == 1:
        asyncio.run(stewarded(int(argv[0])))
        return
    user, password = "", ""
    if argv[1:] != ["anybody"]:
        user, password = argv[1], Path(argv[2]).read_text().strip()
    asyncio.run(alone(int(argv[0]), user, password))


if __name__ == "__main__":
    main(sys.argv[1:])
