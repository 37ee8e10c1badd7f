"""The one module that knows paho-mqtt (2): a connection to a broker that loses no message on its own.

The session is persistent (`clean_session` off, a stable client id, QoS 1), and a message is acknowledged only
when `acknowledge` is called: until then the broker keeps it, and sends it again after a crash of ours. paho runs in
its own thread and reconnects with backoff; everything it tells is handed to the event loop. MQTT 3.1.1, which all
brokers speak. Imported only when an MQTT device exists.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices.mqtt.config import Broker
from devices.mqtt.port import Delivery, Hooks
from skerry.errors import UnavailableError

KEEPALIVE_S: Final = 20
"""A broker that does not answer for this long is gone."""

RECONNECT_S: Final = (1, 30)
"""A broker on the same gateway is back in seconds."""


class _Tls(Protocol):
    """The one method that paho leaves half typed."""

    def tls_set(self, ca_certs: str | None, certfile: str | None, keyfile: str | None) -> None: ...


class PahoConnection:
    """See the module. Implements `devices.mqtt.port.Connection`."""

    def __init__(self, broker: Broker, client_id: str, hooks: Hooks) -> None:
        self._broker = broker
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()
        self._life = 0
        self._begun = False
        """This loop knows of the connection, and has subscribed on it; paho knows of it earlier."""
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._topics: set[str] = set()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_socket_open = _send_at_once
        self._client.on_publish = self._on_publish

    def start(self) -> None:
        """See `Connection`."""
        broker = self._broker
        try:
            if broker.username:
                password = Path(broker.password_file).read_text().strip() if broker.password_file else None
                self._client.username_pw_set(broker.username, password)
            if broker.tls:
                cast(_Tls, self._client).tls_set(
                    broker.ca_file or None, broker.cert_file or None, broker.key_file or None
                )
        except OSError as error:
            raise UnavailableError(f"broker {broker}: {error}") from error
        self._client.connect_async(broker.host, broker.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    async def stop(self) -> None:
        """See `Connection`."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        for future in self._waiting.values():
            future.cancel()

    def subscribe(self, topics: set[str]) -> None:
        """See `Connection`."""
        dropped, added, self._topics = self._topics - topics, topics - self._topics, set(topics)
        # Where `_begin` is still to come, it subscribes: doing so twice would bring every retained message twice.
        if self._begun and self._client.is_connected():
            for topic in dropped:
                self._client.unsubscribe(topic)
            self._subscribe(added)

    def _subscribe(self, topics: set[str]) -> None:
        if topics:
            self._client.subscribe([(topic, 1) for topic in sorted(topics)])

    def acknowledge(self, delivery: Delivery) -> bool:
        """See `Connection`."""
        if delivery.life != self._life or not self._client.is_connected():
            return False
        if delivery.qos:
            self._client.ack(delivery.mid, delivery.qos)
        return True

    async def publish(self, topic: str, payload: str, *, retain: bool, qos: int, timeout_s: float) -> None:
        """See `Connection`."""
        if not self._client.is_connected():
            raise UnavailableError(f"no connection to broker {self._broker}")
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if info.is_published():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting[info.mid] = future
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError as error:
            raise UnavailableError(f"broker {self._broker} did not acknowledge within {timeout_s:g} s") from error
        finally:
            self._waiting.pop(info.mid, None)

    # --- in paho's thread ---------------------------------------------------------------------------------

    def _tell(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: object, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._tell(lambda: self._hooks.disconnected(f"broker {self._broker}: {code}"))
            return
        self._tell(self._begin)

    def _begin(self) -> None:
        self._life += 1
        self._begun = True
        self._subscribe(self._topics)
        self._hooks.connected()

    def _end(self, reason: str) -> None:
        self._begun = False
        self._hooks.disconnected(reason)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._tell(lambda: self._hooks.disconnected(f"cannot connect to broker {self._broker}"))

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: object, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._tell(lambda: self._end(f"connection to broker {self._broker} lost: {code}"))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        topic, payload, mid, qos = message.topic, bytes(message.payload), message.mid, message.qos
        retained, dup = message.retain, message.dup

        def deliver() -> None:
            self._hooks.delivered(
                Delivery(
                    life=self._life,
                    mid=mid,
                    topic=topic,
                    payload=payload,
                    qos=qos,
                    retained=retained,
                    redelivered=dup,
                )
            )

        self._tell(deliver)

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, _code: ReasonCode, _properties: Properties
    ) -> None:
        def published() -> None:
            future = self._waiting.get(mid)
            if future is not None and not future.done():
                future.set_result(None)

        self._tell(published)


def _send_at_once(_client: paho.Client, _data: Any, sock: Any) -> None:
    """Acknowledgements and commands are small. By Nagle's rule a command would wait until the broker's kernel has
    acknowledged the packet before it, which that delays by up to 40 ms; paho leaves the rule in force."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
