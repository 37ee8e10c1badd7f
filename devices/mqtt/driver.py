"""The MQTT driver: messages to readings, desired values to commands.

No reading is lost between the broker and the store: a message is acknowledged only when every reading made of it is
durable (`stored`), and until then the broker keeps it. A message that comes again on a new connection before that
is recognised by its packet id; one that comes again after a restart of the agent by the sensor's own sequence number
(`sequencePath`), or else it is taken twice: that is what "at least once" means.

It keeps unacknowledged deliveries and the time of each device's last message in memory; nothing on disk. paho is
imported when the first device needs it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from devices.mqtt.config import Broker, MqttDevice, MqttProperty, parse_device
from devices.mqtt.payload import read_payload
from devices.mqtt.port import Connect, Connection, Delivery, Hooks
from devices.port import DeviceConfig, DeviceHealth, Reading, WriteResult
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.meta import Key
from skerry.objects.twins import Quality, Value, format_value, same_value
from skerry.ports import Clock

LOG = logging.getLogger(__name__)

PUBLISH_S_MAX: Final = 5.0
"""A broker that takes longer to acknowledge a command does not take it."""

AWAY_S_MAX: Final = 30.0
"""A broker that is restarted is back before; after it nobody can say that its last values still hold."""
LOOK_S: Final = 0.5
"""Between two looks at whether values have become stale."""


@dataclass(slots=True, kw_only=True)
class _Taken:
    """A message whose readings are not all durable yet."""

    delivery: Delivery
    waiting: int
    stored: bool = False


@dataclass(slots=True, kw_only=True)
class _Session:
    """One broker: its connection, and what came over it."""

    broker: Broker
    connection: Connection | None = None
    connected: bool = False
    reason: str = "not connected yet"
    away_since_s: float
    """When it was connected last, or first asked for."""
    unacknowledged: dict[int, _Taken] = field(default_factory=dict[int, "_Taken"])
    """By packet id."""


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What is known of one device's life."""

    heard_s: float
    available: bool = True
    stale: bool = False


class MqttDriver:
    """A `Driver`. See the module."""

    def __init__(
        self, *, clock: Clock, client_id: str, away_s_max: float = AWAY_S_MAX, connect: Connect | None = None
    ) -> None:
        """`client_id` names this gateway to brokers; sessions hang on it, so it stays the same over restarts.
        A broker may be away for `away_s_max` before the values that came over it count as old. `connect` makes
        connections; None: paho does, over the network."""
        self._away_s_max = away_s_max
        self._connection_of = connect or _over_the_network
        self._clock = clock
        self._client_id = client_id
        self._devices: dict[Key, MqttDevice] = {}
        self._topics: dict[tuple[Broker, str], list[tuple[MqttDevice, MqttProperty]]] = {}
        self._availability: dict[tuple[Broker, str], list[MqttDevice]] = {}
        self._sessions: dict[Broker, _Session] = {}
        self._seen: dict[Key, _Seen] = {}
        self._receipts: dict[int, tuple[_Session, _Taken]] = {}
        self._next_receipt = 1
        self._ready: deque[Reading] = deque()
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._verifying: dict[tuple[Key, str], list[Callable[[Reading], None]]] = {}

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`."""
        refused: list[tuple[Key, str]] = []
        self._devices = {}
        for config in devices:
            try:
                self._devices[config.device] = parse_device(config)
            except InvalidError as error:
                refused.append((config.device, str(error)))
        now_s = self._clock.monotonic_s()
        self._seen = {key: self._seen.get(key, _Seen(heard_s=now_s)) for key in self._devices}
        self._topics, self._availability = {}, {}
        for device in self._devices.values():
            for prop in device.properties.values():
                if prop.topic:
                    self._topics.setdefault((device.broker, prop.topic), []).append((device, prop))
            if device.availability:
                self._availability.setdefault((device.broker, device.availability.topic), []).append(device)
        self._changed.set()
        return refused

    async def run(self) -> None:
        """See `Driver`."""
        try:
            while True:
                self._changed.clear()
                await self._connect_all()
                self._look_for_stale()
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            for session in self._sessions.values():
                if session.connection:
                    await session.connection.stop()
            self._sessions = {}

    async def _connect_all(self) -> None:
        """Bring connections in line with the devices."""
        wanted = {device.broker for device in self._devices.values()}
        for broker in [broker for broker in self._sessions if broker not in wanted]:
            connection = self._sessions.pop(broker).connection
            if connection:
                await connection.stop()
        for broker in wanted:
            session = self._sessions.setdefault(
                broker, _Session(broker=broker, away_since_s=self._clock.monotonic_s())
            )
            if session.connection is None:
                self._connect(session)
            if session.connection is not None:
                topics = {topic for at, topic in (*self._topics, *self._availability) if at == broker}
                session.connection.subscribe(topics)

    def _connect(self, session: _Session) -> None:
        def connected() -> None:
            session.connected, session.reason = True, ""
            LOG.info("mqtt_connected broker=%s", session.broker)

        def disconnected(reason: str) -> None:
            if session.connected:
                LOG.info("mqtt_disconnected broker=%s reason=%r", session.broker, reason)
                session.away_since_s = self._clock.monotonic_s()
            session.connected, session.reason = False, reason

        hooks = Hooks(
            connected=connected,
            disconnected=disconnected,
            delivered=lambda delivery: self._delivered(session, delivery),
        )
        # One session for each broker: two with one id would throw each other out, if they lead to the same broker.
        suffix = hashlib.blake2b(repr(session.broker).encode(), digest_size=4).hexdigest()
        connection = self._connection_of(session.broker, f"skerry-{self._client_id}-{suffix}", hooks)
        try:
            connection.start()
        except UnavailableError as error:
            session.reason = str(error)  # a missing password file, say; tried again at the next look
            return
        session.connection = connection

    # --- messages -----------------------------------------------------------------------------------------

    def _delivered(self, session: _Session, delivery: Delivery) -> None:
        if self._came_again(session, delivery):
            return
        for device in self._availability.get((session.broker, delivery.topic), []):
            self._available(device, delivery.payload)
        owners = self._topics.get((session.broker, delivery.topic), [])
        taken = _Taken(delivery=delivery, waiting=len(owners))
        if not owners:
            self._acknowledge(session, taken)
            return
        if delivery.qos:
            session.unacknowledged[delivery.mid] = taken
        for device, prop in owners:
            receipt = self._next_receipt
            self._next_receipt += 1
            self._receipts[receipt] = session, taken
            self._heard(device)
            self._tell(self._reading(device, prop, delivery, receipt))

    def _came_again(self, session: _Session, delivery: Delivery) -> bool:
        """A message that we hold already, sent again because the connection broke before its acknowledgement."""
        held = session.unacknowledged.get(delivery.mid)
        if held is None or not delivery.redelivered or held.delivery.payload != delivery.payload:
            return False
        held.delivery = delivery  # it is acknowledged on the connection on which it came last
        if held.stored:
            self._acknowledge(session, held)
        return True

    def stored(self, receipts: Sequence[int]) -> None:
        """See `Driver`: acknowledge each message of which all is durable."""
        for receipt in receipts:
            session, taken = self._receipts.pop(receipt, (None, None))
            if session is None or taken is None:
                continue
            taken.waiting -= 1
            if taken.waiting == 0:
                taken.stored = True
                self._acknowledge(session, taken)

    def _acknowledge(self, session: _Session, taken: _Taken) -> None:
        if session.connection is None or not session.connection.acknowledge(taken.delivery):
            return  # it comes again, and is recognised then
        if session.unacknowledged.get(taken.delivery.mid) is taken:
            del session.unacknowledged[taken.delivery.mid]

    def _reading(self, device: MqttDevice, prop: MqttProperty, delivery: Delivery, receipt: int) -> Reading:
        value: Value | None = None
        quality: Quality = "bad"
        source_ms, source_seq, reason = self._clock.wall_ms(), None, ""
        try:
            said = read_payload(delivery.payload, prop.config.type, prop.layout)
            value, source_seq, quality = said.value, said.source_seq, "good"
            if said.source_ms is not None:
                source_ms = said.source_ms
            elif delivery.retained:
                quality, reason = "uncertain", "a retained message without a timestamp: of unknown age"
        except InvalidError as error:
            reason = str(error)
        return Reading(
            device=device.key,
            prop=prop.config.name,
            value=value,
            quality=quality,
            reason=reason,
            source_ms=source_ms,
            monotonic_s=self._clock.monotonic_s(),
            source_seq=source_seq,
            redelivered=delivery.redelivered,
            receipt=receipt,
        )

    def _tell(self, reading: Reading) -> None:
        # Bounded by the broker: it sends no more than its window of unacknowledged messages (20 in mosquitto).
        self._ready.append(reading)
        self._arrived.set()
        for waiter in self._verifying.get((reading.device, reading.prop), []):
            waiter(reading)

    async def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    # --- health -------------------------------------------------------------------------------------------

    def _heard(self, device: MqttDevice) -> None:
        seen = self._seen[device.key]
        seen.heard_s = self._clock.monotonic_s()
        seen.stale = False

    def _available(self, device: MqttDevice, payload: bytes) -> None:
        assert device.availability is not None
        text = payload.decode(errors="replace").strip()
        seen = self._seen[device.key]
        if text == device.availability.online:
            seen.available = True
        elif text == device.availability.offline:
            seen.available = False

    def _look_for_stale(self) -> None:
        """Say once of each device that went silent that its values are old."""
        for key, seen in self._seen.items():
            health = self._health_of(self._devices[key])
            if health.online or seen.stale or self._is_merely_unconnected(key):
                continue
            seen.stale = True
            for prop in self._devices[key].properties.values():
                if prop.topic:
                    self._tell(self._silence(key, prop, health.reason))

    def _is_merely_unconnected(self, key: Key) -> bool:
        """A broker that is away for a moment makes no value stale; the expiry does, if there is one."""
        device, seen = self._devices[key], self._seen[key]
        session = self._sessions.get(device.broker)
        away_s = self._clock.monotonic_s() - session.away_since_s if session else 0.0
        away = session is None or (not session.connected and away_s < self._away_s_max)
        return away and seen.available and not self._is_expired(device, seen)

    def _is_expired(self, device: MqttDevice, seen: _Seen) -> bool:
        return device.expire_s > 0 and self._clock.monotonic_s() - seen.heard_s > device.expire_s

    def _silence(self, key: Key, prop: MqttProperty, reason: str) -> Reading:
        return Reading(
            device=key,
            prop=prop.config.name,
            value=None,
            quality="bad",
            reason=reason,
            source_ms=self._clock.wall_ms(),
            monotonic_s=self._clock.monotonic_s(),
        )

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        return [self._health_of(device) for device in self._devices.values()]

    def _health_of(self, device: MqttDevice) -> DeviceHealth:
        session, seen = self._sessions.get(device.broker), self._seen[device.key]
        reason = ""
        if session is None or not session.connected:
            reason = session.reason if session else "not connected yet"
        elif not seen.available:
            reason = "the device is said to be offline"
        elif self._is_expired(device, seen):
            reason = f"no message for {device.expire_s:g} s"
        return DeviceHealth(device=device.key, online=not reason, reason=reason)

    # --- writing ------------------------------------------------------------------------------------------

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`: MQTT has no question to ask."""
        return Reading(
            device=device,
            prop=prop,
            value=None,
            quality="bad",
            reason="an MQTT device tells its values by itself; it can't be asked",
            source_ms=self._clock.wall_ms(),
            monotonic_s=self._clock.monotonic_s(),
        )

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`: publish the command, then await the value on the property's own topic. `once` is MQTT's
        QoS 0, and not retained: neither this client nor the broker sends it again."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return WriteResult(state="failed", reason=f"{device} has no property {prop} here", read_back=None)
        if not found.config.writable or not found.command_topic:
            return WriteResult(state="refused", reason=f"{prop} has no commandTopic", read_back=None)
        session = self._sessions.get(known.broker)
        if session is None or session.connection is None or not session.connected:
            reason = session.reason if session else "not connected yet"
            return WriteResult(state="failed", reason=reason, read_back=None)
        text = format_value(value)
        back: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()

        def verify(reading: Reading) -> None:
            if reading.value is None or back.done():
                return
            if same_value(found.config.type, format_value(reading.value), text, found.config.twin.tolerance):
                back.set_result(reading)

        waiters = self._verifying.setdefault((device, prop), [])
        waiters.append(verify)
        try:
            command = found.command.substitute(value=text)
            await session.connection.publish(
                found.command_topic,
                command,
                retain=found.command_retain and not once,
                qos=0 if once else 1,
                timeout_s=PUBLISH_S_MAX,
            )
            return await self._verdict(known, found, back)
        except UnavailableError as error:
            return WriteResult(state="failed", reason=str(error), read_back=None)
        finally:
            waiters.remove(verify)

    async def _verdict(self, device: MqttDevice, prop: MqttProperty, back: asyncio.Future[Reading]) -> WriteResult:
        if not prop.topic:
            return WriteResult(state="applied", reason="", read_back=None)
        try:
            async with asyncio.timeout(device.verify_s):
                await back
        except TimeoutError:
            reason = f"sent; the device did not tell this value within {device.verify_s:g} s"
            return WriteResult(state="applied", reason=reason, read_back=None)
        # The reading goes its own way to the store, with its message's receipt.
        return WriteResult(state="verified", reason="", read_back=None)

    async def close(self) -> None:
        """See `Driver`. Connections end with `run`."""
        self._devices, self._topics, self._availability, self._seen = {}, {}, {}, {}
        self._changed.set()


def _over_the_network(broker: Broker, client_id: str, hooks: Hooks) -> Connection:
    from devices.mqtt.client import PahoConnection  # paho costs memory: only who has MQTT devices pays

    return PahoConnection(broker, client_id, hooks)
