"""The one module that knows paho-mqtt (2): a connection to a broker that loses no message on its own.

The session is persistent (a stable client id, QoS 1), and a message is acknowledged only when `acknowledge` is
called: until then the broker keeps it, and sends it again after a crash of ours. paho runs in its own thread and
reconnects with backoff; everything it tells is handed to the event loop. MQTT 5 is tried first, and 3.1.1 where the
broker says that it does not speak it, or hangs up on it twice; what worked is remembered until the agent ends.
Imported only when an MQTT device exists.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, cast

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices.credentials import UnusableFileError, read_secret, tls_context
from devices.mqtt.collected import Collected
from devices.mqtt.config import Broker
from devices.mqtt.library import paho
from devices.mqtt.port import Delivery, Hooks, Outgoing
from devices.payload import PAYLOAD_BYTES_MAX
from skerry.errors import UnavailableError, UncertainError
from skerry.transport.handshakes import closing_on_refusal
from skerry.transport.mqtt_ends import end

LOG = logging.getLogger(__name__)

KEEPALIVE_S: Final = 20
"""A broker that does not answer for this long is gone."""

RECONNECT_S: Final = (1, 30)
"""A broker on the same gateway is back in seconds."""

RECEIVE_MAX: Final = 100
"""Messages that the broker may send without our acknowledgement (MQTT 5, 3.1.2.11.3): as many as wait for one commit,
and no more than memory has to hold while the store takes none."""

PACKET_BYTES_MAX: Final = 4 * PAYLOAD_BYTES_MAX
"""Of one packet; larger ones a broker of MQTT 5 keeps from us (3.1.2.11.4)."""

HANGUPS_MAX: Final = 2
"""An old broker may close the connection on a version that it does not know; so may one that is being stopped."""

DIAGNOSIS_S: Final = 5.0
"""So long a broker that can't be connected to is asked why."""

GOODBYE_S: Final = 1.0
"""So long the last word of an agent that ends is waited for."""

NO_SUBSCRIBERS: Final = 0x10
UNSUPPORTED_VERSION: Final = 0x84
FAILURES: Final = 0x80
"""Reason codes from here on are failures (MQTT 5, 2.4)."""
BARRIER: Final = "$skerry/barrier"
"""A topic that nobody subscribes to: packets of a connection are taken in their order (MQTT 5, 4.6), so the answer to
its being unsubscribed says that all before it were taken. paho tells nobody of a PINGRESP."""


class _Half(Protocol):
    """Methods that paho leaves half typed."""

    def tls_set_context(self, context: ssl.SSLContext) -> None: ...


class PahoConnection:
    """See the module. Implements `devices.mqtt.port.Connection`."""

    def __init__(self, broker: Broker, client_id: str, hooks: Hooks) -> None:
        self._broker = broker
        self._client_id = client_id
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()
        self._life = 0
        self._begun = False
        """This loop knows of the connection, and has subscribed on it; paho knows of it earlier."""
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._topics: set[str] = set()
        self._asked: dict[int, list[str]] = {}
        """Topics by the packet that subscribed to them."""
        self._barriers: dict[int, asyncio.Future[bool]] = {}
        self._granted: set[str] = set()
        """Subscriptions that the broker's session holds, as far as this process knows."""
        self._hangups = 0
        self._quick = broker.version == "auto"
        """The first that hangs up is dialled again at once; who goes on hanging up is not, by either version."""
        self._proven = False
        """A connection stood with this version: who hangs up now has another reason."""
        self._version = MQTTProtocolVersion.MQTTv311 if broker.version == "3.1.1" else MQTTProtocolVersion.MQTTv5
        self._client = self._make()
        self._leaving: set[asyncio.Task[Any]] = set()
        """Threads of clients that were replaced, on their way out."""

    @property
    def version(self) -> int:
        """See `Connection`."""
        return int(self._version)

    def _make(self) -> paho.Client:
        five = self._version == MQTTProtocolVersion.MQTTv5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else False,
            protocol=self._version,
            manual_ack=True,
        )
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = _send_at_once
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        return client

    def start(self) -> None:
        """See `Connection`."""
        broker, client = self._broker, self._client
        try:
            _identify(client, broker)
        except UnusableFileError as error:
            raise UnusableFileError(f"broker {broker}: {error}") from error
        if broker.presence is not None:
            client.will_set(broker.presence.topic, broker.presence.offline, qos=1, retain=True)
        if self._version == MQTTProtocolVersion.MQTTv5:
            client.connect_async(
                broker.host,
                broker.port,
                keepalive=KEEPALIVE_S,
                clean_start=False,
                properties=_properties(
                    PacketTypes.CONNECT,
                    SessionExpiryInterval=broker.session_expiry_s,
                    ReceiveMaximum=RECEIVE_MAX,
                    MaximumPacketSize=PACKET_BYTES_MAX,
                ),
            )
        else:
            client.connect_async(broker.host, broker.port, keepalive=KEEPALIVE_S)
        client.loop_start()

    async def stop(self) -> None:
        """See `Connection`."""
        await asyncio.gather(*self._leaving, return_exceptions=True)
        presence = self._broker.presence
        if presence is not None and self._client.is_connected():
            said = Outgoing(topic=presence.topic, payload=presence.offline.encode(), retain=True)
            try:
                await self.publish(said, timeout_s=GOODBYE_S)
            except UnavailableError as error:
                LOG.info("mqtt_goodbye_unheard broker=%s reason=%r", self._broker, str(error))
        await self._let_go()
        for future in (*self._waiting.values(), *self._barriers.values()):
            future.cancel()

    async def _let_go(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(end, self._client)

    def subscribe(self, topics: set[str]) -> None:
        """See `Connection`."""
        dropped, added, self._topics = self._topics - topics, topics - self._topics, set(topics)
        # Where `_begin` is still to come, it subscribes: doing so twice would bring every retained message twice.
        if self._begun and self._client.is_connected():
            self._granted -= dropped
            for topic in dropped:
                self._client.unsubscribe(topic)
            self._subscribe(added)

    def _subscribe(self, topics: Iterable[str]) -> None:
        wanted = sorted(topics)
        if wanted:
            code, mid = self._client.subscribe([(topic, 1) for topic in wanted])
            if code == paho.MQTT_ERR_SUCCESS and mid is not None:
                self._asked[mid] = wanted

    def acknowledge(self, delivery: Delivery) -> bool:
        """See `Connection`."""
        if delivery.life != self._life or not self._client.is_connected():
            return False
        if delivery.qos:
            self._client.ack(delivery.mid, delivery.qos)
        return True

    async def settled(self, *, timeout_s: float) -> bool:
        """See `Connection`."""
        if not self._begun or not self._client.is_connected():
            return False
        code, mid = self._client.unsubscribe(BARRIER)
        if code != paho.MQTT_ERR_SUCCESS or mid is None:
            return False
        future = self._barriers[mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return False
        finally:
            self._barriers.pop(mid, None)

    async def publish(self, message: Outgoing, *, timeout_s: float) -> bool:
        """See `Connection`."""
        if not self._client.is_connected():
            raise UnavailableError(f"no connection to broker {self._broker}")
        info = self._client.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retain, properties=self._said_of(message)
        )
        if not message.qos and info.is_published():
            return True
        future: asyncio.Future[int] = self._loop.create_future()
        self._waiting[info.mid] = future
        try:
            async with asyncio.timeout(timeout_s):
                code = await future
        except TimeoutError as error:
            raise UncertainError(f"broker {self._broker} did not acknowledge within {timeout_s:g} s") from error
        finally:
            self._waiting.pop(info.mid, None)
        if code >= FAILURES:
            reason = ReasonCode(PacketTypes.PUBACK, identifier=code)
            raise UnavailableError(f"broker {self._broker} refuses a message on {message.topic}: {reason}")
        return code != NO_SUBSCRIBERS

    def _said_of(self, message: Outgoing) -> Properties | None:
        if self._version != MQTTProtocolVersion.MQTTv5:
            return None
        said: dict[str, Any] = {}
        if message.expiry_s:
            said["MessageExpiryInterval"] = message.expiry_s
        if message.response_topic:
            said["ResponseTopic"] = message.response_topic
        if message.correlation:
            said["CorrelationData"] = message.correlation
        return _properties(PacketTypes.PUBLISH, **said)

    # --- on the loop --------------------------------------------------------------------------------------

    def _begin(self, *, resumed: bool) -> None:
        self._life += 1
        self._begun = self._proven = True
        self._hangups = 0
        self._quick = self._broker.version == "auto"
        self._asked.clear()
        if not resumed:
            self._granted.clear()
        # A session that was resumed has its subscriptions; once more would bring every retained message once more,
        # of which nobody could say how old it is.
        self._subscribe(self._topics - self._granted)
        presence = self._broker.presence
        if presence is not None:
            self._client.publish(presence.topic, presence.online, qos=1, retain=True)
        self._hooks.connected(resumed)

    def _end(self, client: paho.Client, reason: str) -> None:
        if client is not self._client:
            return
        begun, self._begun = self._begun, False
        self._pass_barriers(self._barriers, taken=False)
        if not begun and not self._proven:
            self._hangups += 1
            if self._hangups >= HANGUPS_MAX:
                self._change_version(reason)
            elif self._quick:
                # An old broker is asked at once whether it meant that; paho would wait for a second and more.
                self._quick = False
                self._dial_anew(self._version)
        self._hooks.disconnected(reason)

    def _refused(self, client: paho.Client, code: int, reason: str) -> None:
        if client is not self._client:
            return
        self._hangups = 0
        if code == UNSUPPORTED_VERSION:
            self._change_version(reason)
        self._hooks.disconnected(reason)

    def _change_version(self, reason: str) -> None:
        """Try the other version, where both may be used: that paho goes on with the same is of no use."""
        if self._broker.version != "auto":
            return
        self._hangups = 0
        self._proven = False
        five = self._version == MQTTProtocolVersion.MQTTv5
        LOG.info("mqtt_version broker=%s version=%s reason=%r", self._broker, "3.1.1" if five else "5", reason)
        other = MQTTProtocolVersion.MQTTv311 if five else MQTTProtocolVersion.MQTTv5
        self._dial_anew(other)

    def _dial_anew(self, version: MQTTProtocolVersion) -> None:
        """With a client that has not waited yet."""
        former = self._client
        former.disconnect()  # it dials no more, though its thread may sleep for as long as it meant to wait
        self._version = version
        self._client = self._make()
        try:
            self.start()
        except UnavailableError as error:
            self._hooks.disconnected(str(error))
        leaving = asyncio.create_task(asyncio.to_thread(end, former))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _answered(self, mid: int, codes: list[int]) -> None:
        for topic, code in zip(self._asked.pop(mid, ()), codes, strict=False):
            if code < FAILURES:
                self._granted.add(topic)
            elif topic in self._topics:
                words = str(ReasonCode(PacketTypes.SUBACK, identifier=code))
                self._hooks.refused(topic, f"broker {self._broker} does not let it be heard: {words}")

    def _pass_barriers(self, mids: Iterable[int], *, taken: bool) -> None:
        for future in [self._barriers[mid] for mid in mids if mid in self._barriers]:
            if not future.done():
                future.set_result(taken)

    # --- in paho's thread ---------------------------------------------------------------------------------

    def _tell(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _on_connect(
        self,
        client: paho.Client,
        _data: Any,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            reason, value = f"broker {self._broker}: {code}", code.value
            self._tell(lambda: self._refused(client, value, reason))
            return
        resumed = flags.session_present
        self._tell(lambda: self._begin(resumed=resumed))

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        reason = f"cannot connect to broker {self._broker}: {_obstacle(self._broker)}"
        self._tell(lambda: self._hooks.disconnected(reason))

    def _on_disconnect(
        self, client: paho.Client, _data: Any, _flags: object, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._tell(lambda: self._end(client, f"connection to broker {self._broker} lost: {code}"))

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        topic, payload, mid, qos = message.topic, bytes(message.payload), message.mid, message.qos
        retained, dup = message.retain, message.dup
        correlation = bytes(getattr(message.properties, "CorrelationData", b"")) if message.properties else b""

        def deliver() -> None:
            if client is not self._client:
                return
            self._hooks.delivered(
                Delivery(
                    life=self._life,
                    mid=mid,
                    topic=topic,
                    payload=payload,
                    qos=qos,
                    retained=retained,
                    redelivered=dup,
                    correlation=correlation,
                )
            )

        self._tell(deliver)

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        value = code.value

        def published() -> None:
            future = self._waiting.get(mid)
            if future is not None and not future.done():
                future.set_result(value)

        self._tell(published)

    def _on_subscribe(
        self, client: paho.Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Properties
    ) -> None:
        values = [code.value for code in codes]
        self._tell(lambda: self._answered(mid, values) if client is self._client else None)

    def _on_unsubscribe(
        self, client: paho.Client, _data: Any, mid: int, _codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._tell(lambda: self._pass_barriers((mid,), taken=True) if client is self._client else None)


def collect(
    broker: Broker, filters: Iterable[str], *, client_id: str, seconds: float
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """What is retained on these topics, and said within so many seconds, the newest of each; and what of it is left
    out, for people. Leaves no session at the broker. Raises `UnavailableError`. Blocks."""
    collected = Collected()
    refusal = ""
    for version in _VERSIONS[broker.version]:
        listener = _Listener(broker, sorted(filters), client_id, version, collected)
        if not (refusal := listener.listen(seconds)):
            unheard = [f"{topic}: the broker does not let the gateway hear it" for topic in listener.unheard]
            return collected.documents, (*unheard, *collected.left_out())
        if not listener.other_version:
            break
    raise UnavailableError(f"broker {broker}: {refusal}")


_VERSIONS: Final = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}


class _Listener:
    """One connection that listens for a while. Its callbacks run in paho's thread."""

    def __init__(
        self,
        broker: Broker,
        filters: Sequence[str],
        client_id: str,
        version: MQTTProtocolVersion,
        collected: Collected,
    ) -> None:
        self._broker = broker
        self._five = version == MQTTProtocolVersion.MQTTv5
        self._filters = filters
        self._collected = collected
        self._begun = False
        self._refusal = ""
        self.unheard: dict[str, None] = {}
        self.other_version = False
        """It was refused as its version is unknown there, or as an old broker refuses what it does not know."""
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            clean_session=None if self._five else True,
        )
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._answered
        self._client.on_message = lambda _client, _data, message: collected.take(
            message.topic, bytes(message.payload)
        )

    def listen(self, seconds: float) -> str:
        """For so long; why it could not, or "". Raises `UnavailableError`."""
        client, broker = self._client, self._broker
        try:
            _identify(client, broker)
            if self._five:
                # What is larger the broker keeps to itself: otherwise one message fills the memory before it is seen.
                said = _properties(PacketTypes.CONNECT, MaximumPacketSize=PACKET_BYTES_MAX)
                client.connect(broker.host, broker.port, keepalive=KEEPALIVE_S, clean_start=True, properties=said)
            else:
                client.connect(broker.host, broker.port, keepalive=KEEPALIVE_S)
        except (OSError, UnavailableError) as error:
            raise UnavailableError(f"broker {broker}: {error}") from error
        client.loop_start()
        try:
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s and not self._refusal:
                time.sleep(0.05)
        finally:
            client.disconnect()
            end(client)
        return self._refusal

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self.other_version = code.value == UNSUPPORTED_VERSION
            self._refusal = str(code)
        else:
            self._begun = True
            client.subscribe([(each, 0) for each in self._filters])

    def _disconnected(
        self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        if not self._begun and not self._refusal and code.is_failure:
            self.other_version = True
            self._refusal = f"it closes the connection: {code}"

    def _answered(
        self, _client: paho.Client, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, code in zip(self._filters, codes, strict=False):
            if code.value >= FAILURES:
                self.unheard[topic] = None


def _identify(client: paho.Client, broker: Broker) -> None:
    """Raises `UnusableFileError`."""
    if broker.username:
        password = read_secret(broker.password_file) if broker.password_file else None
        client.username_pw_set(broker.username, password)
    if broker.tls:
        cast(_Half, client).tls_set_context(closing_on_refusal(_context_of(broker)))


def _context_of(broker: Broker) -> ssl.SSLContext:
    return tls_context(ca_file=broker.ca_file, cert_file=broker.cert_file, key_file=broker.key_file)


def _obstacle(broker: Broker) -> str:
    """What stands in the way of a connection; paho keeps it to itself. Tries once, and blocks."""
    try:
        with socket.create_connection((broker.host, broker.port), timeout=DIAGNOSIS_S) as raw:
            if not broker.tls:
                return "it did not answer"
            with _context_of(broker).wrap_socket(raw, server_hostname=broker.host):
                return "it did not answer"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not good: {error.verify_message}"
    except ssl.SSLError as error:
        return f"TLS failed: {error.reason or error}"
    except OSError as error:
        return error.strerror or str(error)
    except UnavailableError as error:
        return str(error)


def _properties(packet: int, **said: Any) -> Properties:
    """paho's own form: names of the specification as attributes, checked when they are set."""
    made = Properties(packet)
    for name, value in said.items():
        setattr(made, name, value)
    return made


def _send_at_once(_client: paho.Client, _data: Any, sock: Any) -> None:
    """Acknowledgements and commands are small. By Nagle's rule a command would wait until the broker's kernel has
    acknowledged the packet before it, which that delays by up to 40 ms; paho leaves the rule in force."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
