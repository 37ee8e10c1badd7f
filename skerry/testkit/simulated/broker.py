"""An MQTT broker on the network of simulated gateways, and the connections of the real driver to it.

The driver is the product's own; the client library under it is not: it has threads and sockets. What it does for the
driver (a lasting session, acknowledgements by hand, connecting again with backoff) a `SimulatedConnection` does in
virtual time. Passwords and certificates are not asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from devices.mqtt.config import Broker
from devices.mqtt.port import Delivery, Hooks, Outgoing
from edgecore.broker.server import OpenHouse
from skerry.errors import UnavailableError
from skerry.mqtt import broker as core
from skerry.mqtt import outbound
from skerry.mqtt.kept import Message
from skerry.mqtt.packets import V3, Ack, Connack, Connect, Kind, Packet, Publish, Subscribe, Unsubscribe, Wanted
from skerry.objects.json import Json
from skerry.testkit import arguments
from skerry.testkit.mqtt import LIMITS, PUBLISHED_MAX, Devices, payload_of, topic_of

TRIP_S: Final = 0.002
"""One way on a plant's network."""
RECONNECT_S: Final = (1.0, 30.0)
"""The first wait and the longest, doubling: as the client library is told to (`devices.mqtt.client`)."""


class SimulatedBroker:
    """Implements `skerry.testkit.Broker`."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        loop: asyncio.AbstractEventLoop,
        *,
        wall_s: Callable[[], float],
        note: Callable[[str], None],
        fault: Callable[[str], None],
    ) -> None:
        self.name = name
        self._host = host
        self._port = port
        self._loop = loop
        self._wall_s = wall_s
        self._note = note
        self._fault = fault
        self._runs = True
        self._published: deque[tuple[float, str, bytes]] = deque(maxlen=PUBLISHED_MAX)
        self._devices = Devices()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._connections: dict[int, SimulatedConnection] = {}
        self._last_number = 0
        self._broker = core.Broker(OpenHouse(), now_s=loop.time(), limits=LIMITS, heard=self._heard)

    @property
    def host(self) -> str:
        return self._host

    @property
    def port(self) -> int:
        return self._port

    @property
    def runs(self) -> bool:
        return self._runs

    @property
    def published(self) -> Sequence[tuple[float, str, bytes]]:
        return tuple(self._published)

    def publish(self, topic: str, payload: object, *, retain: bool = False) -> None:
        message = Message(topic=topic_of(topic), payload=payload_of(payload), qos=1, retain=retain)
        self._loop.call_soon(self._route, message)

    def _route(self, message: Message) -> None:
        self._broker.publish(message, self._loop.time())
        self._turn()

    def repeat(self, topic: str, payload: Json, *, every_s: float = 1.0) -> None:
        between_s = arguments.number(every_s, "repeat(every_s=...)", least=0.01)
        payload_of(payload)
        self._devices.tells(topic_of(topic), payload)
        if topic in self._timers:
            self._timers.pop(topic).cancel()
        if payload is not None:
            self._timers[topic] = self._loop.call_later(0, self._repeat, topic, between_s)

    def _repeat(self, topic: str, every_s: float) -> None:
        """Only while it runs: a device does not speak to a broker that is not there."""
        if self._runs:
            self._tell(topic)
        self._timers[topic] = self._loop.call_later(every_s, self._repeat, topic, every_s)

    def _tell(self, topic: str) -> None:
        payload = self._devices.payload(topic, self._wall_s())
        if payload is not None:
            self._route(Message(topic=topic, payload=payload, qos=1))

    def obey(self, command_topic: str, topic: str, *, path: str = "$", template: str = "${value}") -> None:
        self._devices.obeys(topic_of(command_topic), topic_of(topic), path, template)

    def _heard(self, message: Message) -> None:
        self._published.append((self._loop.time(), message.topic, message.payload))
        self._note(f"hears {message.topic} {message.payload.decode(errors='replace')[:80]}")
        if self._devices.is_misunderstood(message):
            self._note(f"obeys nothing of this form on {message.topic}: see the template of obey()")
        for topic in self._devices.commanded(message):
            self._tell(topic)

    def stop(self) -> None:
        self._runs = False
        self._fault("stopped")
        for connection in tuple(self._connections.values()):
            connection.broken("the broker stopped")

    def start(self) -> None:
        self._runs = True
        self._fault("started")

    # --- the network's side ---

    def entered(self, connection: SimulatedConnection) -> tuple[int, bool]:
        """A client connects: its number, and whether its session is one of before."""
        self._last_number += 1
        number = self._last_number
        hello = Connect(version=V3, client=connection.client, clean=False)
        self._broker.connect(number, "anybody", hello, assigned="", now_s=self._loop.time())
        self._connections[number] = connection
        return number, self._turn(number)

    def hear(self, number: int, packet: Packet) -> None:
        """A client's."""
        self._broker.receive(number, packet, self._loop.time())
        self._turn()

    def _turn(self, greeted: int = 0) -> bool:
        """Send what there is to send; whether the client that is greeted has a session of before."""
        while any(self._broker.tell(number, self._loop.time()) for number in tuple(self._broker.behind)):
            pass  # all at once: what it has room for is not what is simulated
        self._broker.take_changes()  # nothing outlives the process
        resumed = False
        for effect in self._broker.take_effects():
            connection = self._connections.get(effect.connection)
            if connection is None:
                continue
            match effect:
                case outbound.Send(_, Publish() as packet, _):
                    connection.deliver(packet)
                case outbound.Send(number, Connack() as packet, _):
                    resumed = resumed or (number == greeted and packet.resumed)
                case outbound.Close():
                    connection.broken("another client has taken its name")
                case _:
                    pass
        return resumed

    def gone(self, number: int) -> None:
        if self._connections.pop(number, None) is not None:
            self._broker.lost(number, self._loop.time())
            self._turn()


class SimulatedConnection:
    """Implements `devices.mqtt.port.Connection`. `find` gives the broker at a port, if there is one."""

    def __init__(
        self,
        broker: Broker,
        client: str,
        hooks: Hooks,
        loop: asyncio.AbstractEventLoop,
        find: Callable[[int], SimulatedBroker | None],
    ) -> None:
        self.client = client
        self._broker = broker
        self._hooks = hooks
        self._loop = loop
        self._find = find
        self._life = 0
        self._backoff_s = RECONNECT_S[0]
        self._topics: set[str] = set()
        self._there: tuple[SimulatedBroker, int] | None = None
        """The broker, and the number of the connection there."""
        self._dead = False
        self._coming: deque[tuple[int, Publish]] = deque()
        """What is on its way here, and in which life. Timers of one instant have no order."""

    @property
    def version(self) -> int:
        return V3

    def start(self) -> None:
        self._loop.call_later(2 * TRIP_S, self._connect)

    def _connect(self) -> None:
        if self._dead:
            return
        broker = self._find(self._broker.port)
        if broker is None or not broker.runs:
            self._hooks.disconnected(f"cannot connect to broker {self._broker}")
            self._again()
            return
        self._life += 1
        self._backoff_s = RECONNECT_S[0]
        number, known = broker.entered(self)
        self._there = broker, number
        self._subscribe(self._topics)
        self._hooks.connected(known)

    def _subscribe(self, topics: set[str]) -> None:
        if self._there is not None and topics:
            broker, number = self._there
            wanted = tuple(Wanted(filter=topic, qos=1) for topic in sorted(topics))
            broker.hear(number, Subscribe(packet_id=1, wanted=wanted))

    def _again(self) -> None:
        self._loop.call_later(self._backoff_s, self._connect)
        self._backoff_s = min(2 * self._backoff_s, RECONNECT_S[1])

    def deliver(self, packet: Publish) -> None:
        """The broker sends it."""
        self._coming.append((self._life, packet))
        self._loop.call_later(TRIP_S, self._arrive)

    def _arrive(self) -> None:
        life, packet = self._coming.popleft()
        if self._there is None or life != self._life:
            return
        self._hooks.delivered(
            Delivery(
                life=life,
                mid=packet.packet_id,
                topic=packet.topic,
                payload=packet.payload,
                qos=packet.qos,
                retained=packet.retain,
                redelivered=packet.again,
            )
        )

    def broken(self, reason: str) -> None:
        """The broker hangs up."""
        self._leave()
        if not self._dead:
            self._hooks.disconnected(f"connection to broker {self._broker} lost: {reason}")
            self._again()

    def die(self) -> None:
        """The process that it belonged to was killed, or its machine has no power: nothing more is heard of it."""
        self._dead = True
        self._leave()

    def _leave(self) -> None:
        there, self._there = self._there, None
        if there is not None:
            broker, number = there
            broker.gone(number)

    async def stop(self) -> None:
        self.die()

    def subscribe(self, topics: set[str]) -> None:
        dropped, added, self._topics = self._topics - topics, topics - self._topics, set(topics)
        if self._there is not None:
            broker, number = self._there
            if dropped:
                broker.hear(number, Unsubscribe(packet_id=1, filters=tuple(sorted(dropped))))
            self._subscribe(added)

    def acknowledge(self, delivery: Delivery) -> bool:
        if delivery.life != self._life or self._there is None:
            return False
        if delivery.qos:
            broker, number = self._there
            broker.hear(number, Ack(kind=Kind.PUBACK, packet_id=delivery.mid))
        return True

    async def settled(self, *, timeout_s: float) -> bool:
        there = self._there
        if there is None:
            return False
        await asyncio.sleep(TRIP_S)  # an acknowledgement takes no time here: what was sent is heard
        return self._there is there

    async def publish(self, message: Outgoing, *, timeout_s: float) -> bool:
        there = self._there
        if there is None:
            raise UnavailableError(f"no connection to broker {self._broker}")
        await asyncio.sleep(TRIP_S)
        if self._there is not there:  # each connection has a pair of its own
            if not message.qos:
                return True  # sent, and lost on its way
            await asyncio.sleep(timeout_s)
            raise UnavailableError(f"broker {self._broker} did not acknowledge within {timeout_s:g} s")
        broker, number = there
        broker.hear(
            number,
            Publish(
                topic=message.topic,
                payload=message.payload,
                qos=message.qos,
                retain=message.retain,
                packet_id=1 if message.qos else 0,
            ),
        )
        if message.qos:
            await asyncio.sleep(TRIP_S)
        return True
