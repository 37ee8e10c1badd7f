"""The MQTT driver: messages to readings, desired values to commands.

No reading is lost between the broker and the store: a message is acknowledged only when every reading made of it is
durable (`stored`), and until then the broker keeps it. A message that comes again on a new connection before that
is recognised by its packet id; one that comes again after a restart of the agent by the sensor's own sequence number
(`sequencePath`), or else it is taken twice: that is what "at least once" means. (Messages of QoS 0 nobody keeps; of
those that come faster than the store takes them, `UNSTORED_MAX` wait.)

It keeps unacknowledged deliveries and the time of each device's last message in memory; nothing on disk. paho is
imported when the first device needs it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from devices.credentials import refuse_files_elsewhere
from devices.inflow import Inflow, no_value
from devices.mqtt.config import (
    Availability,
    Broker,
    MqttDevice,
    MqttProperty,
    Response,
    parse_device,
)
from devices.mqtt.explain import CORRELATION, Note, explanation, note_of, refused, rehearsal
from devices.mqtt.outgoing import MQTT_5, Wording, with_request
from devices.mqtt.port import Connect, Connection, Delivery, Hooks, Outgoing
from devices.mqtt.requests import Request, Requests, judge, outcome
from devices.mqtt.sessions import Backlog, Seen, Session, Taken, health_of, is_merely_unconnected
from devices.payload import (
    Said,
    read_payload,
)
from devices.port import DeviceConfig, DeviceHealth, Explanation, Reading, Rehearsal, WriteResult, WriteState
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import replace
from skerry.objects.meta import Key
from skerry.objects.twins import Quality, Value, format_value, same_value
from skerry.ports import Clock
from skerry.waits import until_set

LOG = logging.getLogger(__name__)

PUBLISH_S_MAX: Final = 5.0
"""A broker that takes longer to acknowledge a command does not take it."""

AWAY_S_MAX: Final = 30.0
"""A broker that is restarted is back before; after it nobody can say that its last values still hold."""
LOOK_S: Final = 0.5
"""Between two looks at whether values have become stale."""

WAITED_S_MIN: Final = 5.0
"""A broker that was away for less can't have kept a message for longer: its time of arrival is near enough."""
BACKLOG_S_MAX: Final = 60.0
"""So long after a connection messages are taken for old at most, where the broker does not say when they end."""

UNSTORED_MAX: Final = 10_000
"""Readings of messages that no broker keeps (QoS 0) which wait for the store; beyond, the newest are dropped."""


class MqttDriver:
    """A `Driver`. See the module."""

    def __init__(
        self,
        *,
        clock: Clock,
        client_id: str,
        away_s_max: float = AWAY_S_MAX,
        connect: Connect | None = None,
        gateways: Broker | None = None,
        credentials: Path | None = None,
    ) -> None:
        """`client_id` names this gateway to brokers; sessions hang on it, so it stays the same over restarts.
        A broker may be away for `away_s_max` before the values that came over it count as old. `connect` makes
        connections; None: paho does, over the network. `gateways` is the broker of devices that name none,
        `credentials` where the files are that they name (None: anywhere)."""
        self._credentials = credentials
        self._away_s_max = away_s_max
        self._gateways = gateways
        self._connection_of = connect or _over_the_network
        self._clock = clock
        self._client_id = client_id
        self._devices: dict[Key, MqttDevice] = {}
        self._topics: dict[tuple[Broker, str], list[tuple[MqttDevice, MqttProperty]]] = {}
        self._availability: dict[tuple[Broker, str], list[tuple[MqttDevice, Availability]]] = {}
        self._answers: set[tuple[Broker, str]] = set()
        self._requests = Requests(f"{clock.wall_ms():x}")
        self._sessions: dict[Broker, Session] = {}
        self._seen: dict[Key, Seen] = {}
        self._receipts: dict[int, tuple[Session, Taken]] = {}
        self._next_receipt = 1
        self._inflow = Inflow()
        self._changed = asyncio.Event()
        self._verifying: dict[tuple[Key, str], list[Callable[[Reading], None]]] = {}
        self._notes: dict[tuple[Key, str], Note] = {}

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`."""
        refused: list[tuple[Key, str]] = []
        self._devices = {}
        for config in devices:
            try:
                device = parse_device(config, self._gateways)
                if device.broker != self._gateways:
                    where = "spec.protocol.configData"
                    refuse_files_elsewhere(config.protocol_config, self._credentials, where)
                self._devices[config.device] = device
            except InvalidError as error:
                refused.append((config.device, str(error)))
        now_s = self._clock.monotonic_s()
        self._seen = {key: self._seen.get(key, Seen(heard_s=now_s)) for key in self._devices}
        self._notes = {place: note for place, note in self._notes.items() if place[0] in self._devices}
        self._topics, self._availability, self._answers = {}, {}, set()
        for device in self._devices.values():
            for prop in device.properties.values():
                if prop.topic:
                    self._topics.setdefault((device.broker, prop.topic), []).append((device, prop))
                if prop.response is not None:
                    self._answers.add((device.broker, self._answer_topic(device.broker, prop.response)))
            for said in device.availability:
                self._availability.setdefault((device.broker, said.topic), []).append((device, said))
            self._seen[device.key].away &= {said.topic for said in device.availability}
        self._changed.set()
        return refused

    def _answer_topic(self, broker: Broker, response: Response) -> str:
        return response.topic or f"{self._session_name(broker)}/response"

    def _session_name(self, broker: Broker) -> str:
        # One session for each broker: two with one id would throw each other out, if they lead to the same broker.
        suffix = hashlib.blake2b(repr(broker).encode(), digest_size=4).hexdigest()
        return f"skerry-{self._client_id}-{suffix}"

    async def run(self) -> None:
        """See `Driver`."""
        try:
            while True:
                self._changed.clear()
                await self._connect_all()
                self._look_for_stale()
                await self._mark_backlogs()
                await until_set(self._changed, within_s=LOOK_S)
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
                broker, Session(broker=broker, away_since_s=self._clock.monotonic_s())
            )
            if session.connection is None:
                self._connect(session)
            if session.connection is not None:
                places = (*self._topics, *self._availability, *self._answers)
                topics = {topic for at, topic in places if at == broker} | {self._backlog_topic(broker)}
                session.refused = {topic: why for topic, why in session.refused.items() if topic in topics}
                session.connection.subscribe(topics)

    def _connect(self, session: Session) -> None:
        def connected(resumed: bool) -> None:
            session.connected, session.reason, session.refused = True, "", {}
            session.backlog = self._backlog(session) if resumed else None
            session.seen_s = self._clock.monotonic_s()
            self._changed.set()
            level = session.connection.version if session.connection else 0
            version = "5" if level == MQTT_5 else "3.1.1"
            LOG.info("mqtt_connected broker=%s version=%s", session.broker, version)

        def disconnected(reason: str) -> None:
            if session.connected:
                LOG.info("mqtt_disconnected broker=%s reason=%r", session.broker, reason)
                session.away_since_s = session.seen_s = self._clock.monotonic_s()
            session.connected, session.reason = False, reason

        hooks = Hooks(
            connected=connected,
            disconnected=disconnected,
            delivered=lambda delivery: self._delivered(session, delivery),
            refused=lambda topic, reason: self._refused(session, topic, reason),
        )
        connection = self._connection_of(session.broker, self._session_name(session.broker), hooks)
        try:
            connection.start()
        except UnavailableError as error:
            session.reason = str(error)  # a missing password file, say; tried again at the next look
            return
        session.connection = connection

    def _backlog(self, session: Session) -> Backlog | None:
        now_s = self._clock.monotonic_s()
        if session.seen_s is None:
            reason = "it may have waited at the broker since before the agent was started"
        elif now_s - session.seen_s > WAITED_S_MIN:
            reason = f"it may have waited at the broker for up to {now_s - session.seen_s:.0f} s"
        else:
            return None
        marker = f"{self._clock.wall_ms():x}-{now_s:.6f}".encode()
        return Backlog(reason=reason, until_s=now_s + BACKLOG_S_MAX, marker=marker)

    def _backlog_topic(self, broker: Broker) -> str:
        return f"{self._session_name(broker)}/backlog"

    async def _mark_backlogs(self) -> None:
        """A broker sends in the order in which it got: when this comes back, all that waited has come."""
        for session in list(self._sessions.values()):
            backlog = session.backlog
            if backlog is None or backlog.marked or session.connection is None or not session.connected:
                continue
            backlog.marked = True
            message = Outgoing(topic=self._backlog_topic(session.broker), payload=backlog.marker)
            try:
                await session.connection.publish(message, timeout_s=PUBLISH_S_MAX)
            except UnavailableError as error:
                LOG.info("mqtt_backlog_unmarked broker=%s reason=%r", session.broker, str(error))

    def _waited(self, session: Session, delivery: Delivery) -> str:
        """Why the time at which a message arrives says nothing of when it was sent; "" when it does."""
        backlog = session.backlog
        if backlog is None or not delivery.qos or delivery.retained:
            return ""
        if self._clock.monotonic_s() > backlog.until_s:
            session.backlog = None
            return ""
        return backlog.reason

    def _refused(self, session: Session, topic: str, reason: str) -> None:
        """Values that we are not let hear are none, and their devices are told of with the reason."""
        session.refused[topic] = reason
        LOG.warning("mqtt_topic_refused broker=%s topic=%r reason=%r", session.broker, topic, reason)
        for device, prop in self._topics.get((session.broker, topic), []):
            self._tell(self._silence(device.key, prop, f"topic {topic}: {reason}"))

    # --- messages -----------------------------------------------------------------------------------------

    def _delivered(self, session: Session, delivery: Delivery) -> None:
        if self._came_again(session, delivery):
            return
        for device, said in self._availability.get((session.broker, delivery.topic), []):
            self._seen[device.key].take(said, delivery.payload)
        if (session.broker, delivery.topic) in self._answers:
            self._requests.heard(session.broker, delivery)
        owners = self._topics.get((session.broker, delivery.topic), [])
        if not delivery.qos and len(self._inflow) >= UNSTORED_MAX:
            self._drop(session, delivery)
            owners = []
        if session.backlog is not None and delivery.payload == session.backlog.marker:
            session.backlog = None
        waited = self._waited(session, delivery)
        readings = [reading for each in owners if (reading := self._reading(*each, delivery, waited))]
        for device, _ in owners:
            self._heard(device)
        for reading in readings:
            place = (reading.device, reading.prop)
            self._notes[place] = note_of(self._notes.get(place), delivery, reading)
        taken = Taken(delivery=delivery, waiting=len(readings))
        if not readings:
            self._acknowledge(session, taken)
            return
        if delivery.qos:
            session.unacknowledged[delivery.mid] = taken
        for reading in readings:
            receipt = self._next_receipt
            self._next_receipt += 1
            self._receipts[receipt] = session, taken
            self._tell(replace(reading, receipt=receipt))

    def _drop(self, session: Session, delivery: Delivery) -> None:
        session.dropped += 1
        if session.dropped == 1 or session.dropped % UNSTORED_MAX == 0:
            LOG.warning(
                "mqtt_dropped broker=%s topic=%r messages=%d reason='of QoS 0, and the store is too slow'",
                session.broker,
                delivery.topic,
                session.dropped,
            )

    def _came_again(self, session: Session, delivery: Delivery) -> bool:
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

    def _acknowledge(self, session: Session, taken: Taken) -> None:
        if session.connection is None or not session.connection.acknowledge(taken.delivery):
            return  # it comes again, and is recognised then
        if session.unacknowledged.get(taken.delivery.mid) is taken:
            del session.unacknowledged[taken.delivery.mid]

    def _reading(self, device: MqttDevice, prop: MqttProperty, delivery: Delivery, waited: str) -> Reading | None:
        """What the message says of a property; None when it says nothing of it."""
        value: Value | None = None
        quality: Quality = "bad"
        source_ms, source_seq, reason = self._clock.wall_ms(), None, ""
        try:
            said = read_payload(delivery.payload, prop.config.type, prop.layout)
            if said is None:
                return None
            value, source_seq = said.value, said.source_seq
            quality, reason = _quality(prop, delivery, said, waited)
            if said.source_ms is not None:
                source_ms = said.source_ms
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
        )

    def _tell(self, reading: Reading) -> None:
        # Bounded by the broker, which sends no more than a window of unacknowledged messages, and by `UNSTORED_MAX`.
        self._inflow.tell(reading)
        for waiter in self._verifying.get((reading.device, reading.prop), []):
            waiter(reading)

    def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        return self._inflow.readings()

    # --- health -------------------------------------------------------------------------------------------

    def _heard(self, device: MqttDevice) -> None:
        seen = self._seen[device.key]
        seen.heard_s = self._clock.monotonic_s()
        seen.stale = False

    def _look_for_stale(self) -> None:
        """Say once of each device that went silent that its values are old."""
        for key, seen in self._seen.items():
            device = self._devices[key]
            health = self._health_of(device)
            if health.online or seen.stale:
                continue
            session, now_s = self._sessions.get(device.broker), self._clock.monotonic_s()
            if is_merely_unconnected(device, session, seen, now_s, away_s_max=self._away_s_max):
                continue
            seen.stale = True
            for prop in device.properties.values():
                if prop.topic:
                    self._tell(self._silence(key, prop, health.reason))

    def _silence(self, key: Key, prop: MqttProperty, reason: str) -> Reading:
        return no_value(key, prop.config.name, reason, self._clock)

    def _health_of(self, device: MqttDevice) -> DeviceHealth:
        session, seen = self._sessions.get(device.broker), self._seen[device.key]
        return health_of(device, session, seen, self._clock.monotonic_s())

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        return [self._health_of(device) for device in self._devices.values()]

    # --- writing and asking -------------------------------------------------------------------------------

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`: ask on the property's `readTopic`, and take the first value that is told after it."""
        known, found = self._find(device, prop)
        if known is None or found is None or found.question is None:
            return self._none(device, prop, "an MQTT device tells its values by itself; it can't be asked")
        connection = self._connected(known)
        if isinstance(connection, str):
            return self._none(device, prop, connection)
        back: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()

        def told(reading: Reading) -> None:
            if not back.done():
                back.set_result(reading)

        waiters = self._verifying.setdefault((device, prop), [])
        waiters.append(told)
        request = self._request(known, found) if found.response and found.response.value is not None else None
        wait_s = request.response.timeout_s if request else known.verify_s
        try:
            message = self._wording(known, found, request).question(found.question)
            message = with_request(message, request, version=connection.version)
            await connection.publish(message, timeout_s=PUBLISH_S_MAX)
            async with asyncio.timeout(wait_s):
                waits: list[asyncio.Future[Any]] = [back] if request is None else [back, request.answer]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return back.result() if back.done() else self._answered(known, found, request)
        except TimeoutError:
            return self._none(device, prop, f"asked; the device did not tell within {wait_s:g} s")
        except (UnavailableError, InvalidError) as error:
            return self._none(device, prop, str(error))
        finally:
            waiters.remove(told)
            if request is not None:
                self._requests.forget(known.broker, request)

    def _answered(self, device: MqttDevice, prop: MqttProperty, request: Request | None) -> Reading:
        assert request is not None and prop.response is not None, "something was waited for"
        verdict = judge(prop, prop.response, request.answer.result().payload)
        if verdict.value is None:
            return self._none(device.key, prop.config.name, verdict.reason or "the answer has no value")
        return self._good(device.key, prop.config.name, verdict.value)

    def _find(self, device: Key, prop: str) -> tuple[MqttDevice | None, MqttProperty | None]:
        known = self._devices.get(device)
        return known, known.properties.get(prop) if known else None

    def _none(self, device: Key, prop: str, reason: str) -> Reading:
        return no_value(device, prop, reason, self._clock)

    def _good(self, device: Key, prop: str, value: Value) -> Reading:
        return Reading(
            device=device,
            prop=prop,
            value=value,
            quality="good",
            reason="",
            source_ms=self._clock.wall_ms(),
            monotonic_s=self._clock.monotonic_s(),
        )

    def _connected(self, device: MqttDevice) -> Connection | str:
        """The connection, or why there is none."""
        session = self._sessions.get(device.broker)
        if session is None or session.connection is None or not session.connected:
            return session.reason if session else "not connected yet"
        return session.connection

    def _request(self, device: MqttDevice, prop: MqttProperty) -> Request:
        assert prop.response is not None
        topic = self._answer_topic(device.broker, prop.response)
        return self._requests.ask(device.broker, topic, prop.response)

    def _wording(self, device: MqttDevice, prop: MqttProperty, request: Request | None) -> Wording:
        return Wording(device, prop, request, wall_ms=self._clock.wall_ms())

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`: publish the command, then await the device's answer, or the value on the property's own
        topic. `once` is MQTT's QoS 0, and not retained: neither this client nor the broker sends it again."""
        known, found = self._find(device, prop)
        if known is None or found is None:
            return _result("failed", f"{device} has no property {prop} here")
        if not found.config.writable or found.command is None:
            return _result("refused", f"{prop} has no commandTopic")
        connection = self._connected(known)
        if isinstance(connection, str):
            return _result("failed", connection)
        back: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        text = format_value(value)

        def verify(reading: Reading) -> None:
            if reading.value is None or back.done():
                return
            if same_value(found.config.type, format_value(reading.value), text, found.config.twin.tolerance):
                back.set_result(reading)

        waiters = self._verifying.setdefault((device, prop), [])
        waiters.append(verify)
        request = self._request(known, found) if found.response is not None else None
        try:
            message = self._wording(known, found, request).command(found.command, value)
            if once:
                message = replace(message, qos=0, retain=False)
            message = with_request(message, request, version=connection.version)
            heard = await connection.publish(message, timeout_s=PUBLISH_S_MAX)
            if not heard and not message.retain:
                return _result("failed", f"nobody has subscribed to {message.topic}")
            return await self._verdict(known, found, value, back, request)
        except InvalidError as error:
            return _result("refused", str(error))
        except UnavailableError as error:
            return _result("failed", str(error))
        finally:
            waiters.remove(verify)
            if request is not None:
                self._requests.forget(known.broker, request)

    async def _verdict(
        self,
        device: MqttDevice,
        prop: MqttProperty,
        value: Value,
        back: asyncio.Future[Reading],
        request: Request | None,
    ) -> WriteResult:
        answered = ""
        if request is not None:
            try:
                async with asyncio.timeout(request.response.timeout_s):
                    delivery = await request.answer
            except TimeoutError:
                return _result("failed", f"sent; the device did not answer within {request.response.timeout_s:g} s")
            verdict = judge(prop, request.response, delivery.payload)
            done = outcome(prop, verdict, value)
            if done is not None:
                if verdict.value is not None and not prop.topic:
                    return replace(done, read_back=self._good(device.key, prop.config.name, verdict.value))
                return done
            answered = "taken by the device; "
        if not prop.topic:
            return _result("applied", "")
        try:
            async with asyncio.timeout(device.verify_s):
                await back
        except TimeoutError:
            reason = f"{answered or 'sent; '}the device did not tell this value within {device.verify_s:g} s"
            return _result("applied", reason)
        # The reading goes its own way to the store, with its message's receipt.
        return _result("verified", "")

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`."""
        known, found = self._find(device, prop)
        if known is None or found is None:
            return None
        return explanation(known, found, self._notes.get((device, prop)), self._health_of(known))

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`."""
        known, found = self._find(device, prop)
        if known is None or found is None:
            return None
        if not found.config.writable or found.command is None:
            return refused(known, found, value, f"{prop} has no commandTopic")
        request: Request | None = None
        if found.response is not None:
            answer: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
            topic = self._answer_topic(known.broker, found.response)
            request = Request(topic=topic, correlation=CORRELATION, response=found.response, answer=answer)
        try:
            message = self._wording(known, found, request).command(found.command, value)
        except InvalidError as error:
            return refused(known, found, value, str(error))
        return rehearsal(known, found, value, message)

    async def close(self) -> None:
        """See `Driver`. Connections end with `run`."""
        self._devices, self._topics, self._availability, self._seen = {}, {}, {}, {}
        self._answers = set()
        self._changed.set()


def _quality(prop: MqttProperty, delivery: Delivery, said: Said, waited: str) -> tuple[Quality, str]:
    if said.source_ms is None and delivery.retained:
        return "uncertain", "a retained message without a timestamp: of unknown age"
    if said.source_ms is None and waited:
        return "uncertain", f"a message without a timestamp: {waited}"
    return prop.config.quality_of(said.value)


def _result(state: WriteState, reason: str) -> WriteResult:
    return WriteResult(state=state, reason=reason, read_back=None)


def _over_the_network(broker: Broker, client_id: str, hooks: Hooks) -> Connection:
    from devices.mqtt.client import PahoConnection  # paho costs memory: only who has MQTT devices pays

    return PahoConnection(broker, client_id, hooks)
