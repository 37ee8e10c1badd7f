"""The product's MQTT broker as a program of its own, and the devices that speak through it.

    python -m skerry.testkit.real.broker PORT                       told what to do on standard input, as `plc` is
    python -m skerry.testkit.real.broker PORT USER PASSWORD_FILE    on loopback, until it is told to stop
    python -m skerry.testkit.real.broker PORT anybody               the same for whoever comes

With a user it is the demo's, for machines without mosquitto: PORT 0 takes any free one, and the first line on stdout
says which. Told what to do it takes whoever comes, and listens
where it is told to, in one network namespace after another. Sessions, retained messages and wills end with it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgecore.broker.journal import MemoryJournal
from edgecore.broker.server import Book, BrokerServer, OpenHouse, ServerParts
from skerry.clocks import SystemClock, SystemIds
from skerry.listening import listening_socket
from skerry.mqtt.kept import Message
from skerry.testkit.mqtt import LIMITS, PUBLISHED_MAX, Devices
from skerry.testkit.real.namespaces import bound_in
from skerry.waits import end_tasks

LINE_BYTES_MAX: Final = 4 << 20
"""Of one order on standard input."""


@dataclass(slots=True)
class OneUser(OpenHouse):
    """Who knows the password may do all."""

    user: str
    password: bytes

    async def admit(self, username: str | None, password: bytes | None) -> str | None:
        known = hmac.compare_digest((username or "").encode(), self.user.encode())
        return self.user if hmac.compare_digest(password or b"", self.password) and known else None


def server_of(book: Book, heard: Callable[[Message], None] = lambda message: None) -> BrokerServer:
    """A broker that forgets everything when it ends. Nothing listens yet."""
    return BrokerServer(
        ServerParts(
            version="testkit",
            listeners=(),
            journal=MemoryJournal(),
            book=book,
            clock=SystemClock(),
            ids=SystemIds(),
            limits=LIMITS,
            heard=heard,
        )
    )


@dataclass(slots=True)
class Steward:
    """The broker as a test run holds it: told what to do, one answer for each order."""

    port: int
    published: list[tuple[float, str, bytes]] = field(default_factory=list[tuple[float, str, bytes]])
    devices: Devices = field(default_factory=Devices)
    server: BrokerServer = field(init=False)
    _places: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _servers: list[asyncio.Server] = field(default_factory=list[asyncio.Server])
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict[str, asyncio.TimerHandle])

    def __post_init__(self) -> None:
        self.server = server_of(OpenHouse(), self._heard)

    def _heard(self, message: Message) -> None:
        self.published.append((time.time(), message.topic, message.payload))
        del self.published[:-PUBLISHED_MAX]
        for topic in self.devices.commanded(message):
            self._tell(topic)

    def _tell(self, topic: str) -> None:
        payload = self.devices.payload(topic, time.time())
        if payload is not None:
            self._publish(Message(topic=topic, payload=payload, qos=1))

    def _publish(self, message: Message) -> None:
        self.server.broker.publish(message, self.server.now_s())
        self.server.schedule()

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
                self._publish(Message(topic=order["topic"], payload=payload, qos=1, retain=order["retain"]))
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
                self.server.hang_up()
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
        self._servers.append(await self.server.serve_on(place))
        return {}


async def stewarded(port: int) -> None:
    """Obey until standard input is closed."""
    steward = Steward(port)
    running = asyncio.create_task(steward.server.run())
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    while line := await reader.readline():
        sys.stdout.write(json.dumps(await steward.obey(json.loads(line))) + "\n")
        sys.stdout.flush()
    await end_tasks(running)


async def alone(port: int, book: Book) -> None:
    """Serve on loopback until SIGTERM."""
    server = server_of(book)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    place = listening_socket("127.0.0.1", port, backlog=100)
    listener = await server.serve_on(place)
    running = asyncio.create_task(server.run())
    sys.stdout.write(f"broker listening on 127.0.0.1:{place.getsockname()[1]}\n")
    sys.stdout.flush()
    await stopped.wait()
    listener.close()
    await end_tasks(running)
    dropped = server.broker.figures["publish/messages/dropped"]
    if dropped:
        sys.stderr.write(f"{dropped} messages were dropped from queues that were full\n")


def main(argv: list[str]) -> None:
    if len(argv) == 1:
        asyncio.run(stewarded(int(argv[0])))
        return
    book: Book = OpenHouse()
    if argv[1:] != ["anybody"]:
        book = OneUser(argv[1], Path(argv[2]).read_bytes().strip())
    asyncio.run(alone(int(argv[0]), book))


if __name__ == "__main__":
    main(sys.argv[1:])
