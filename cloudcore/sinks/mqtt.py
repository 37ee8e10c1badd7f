"""Rows to an MQTT broker, each a message of QoS 1, in order.

The broker has acknowledged all of them when `send` returns. Keeps one connection, whose thread is paho's; messages
that were not acknowledged are not kept here but sent again from the history.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import urlsplit

from cloudcore.sinks.port import RefusedRowsError, Secret, SlowError
from cloudcore.sinks.rows import Row
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, str_at
from skerry.transport.handshakes import closing_on_refusal
from skerry.transport.mqtt_ends import end

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

TIMEOUT_S: Final = 30.0
CLOSE_S: Final = 5.0
TOPIC_BYTES_MAX: Final = 65_535
BODY_BYTES_MAX: Final = 256_000_000
"""What a packet may have, less what is around it (MQTT 3.1.1, 1.5.3 and 2.2.3)."""
TOPIC: Final = "skerry/{namespace}/{device}/{property}"
NAMES: Final = ("namespace", "device", "property", "node")
_UNSAFE: Final = str.maketrans({"+": "_", "#": "_", "/": "_", "\x00": "_"})


class _Half(Protocol):
    """A method that paho leaves half typed."""

    def tls_set_context(self, context: ssl.SSLContext) -> None: ...


def topic_of(template: str, row: Row) -> str:
    """A name stays within its level."""
    names = {"namespace": row.namespace, "device": row.device, "property": row.prop, "node": row.node}
    topic = template
    for name, value in names.items():
        topic = topic.replace("{" + name + "}", value.translate(_UNSAFE))
    return topic


class MqttReceiver:
    """See the module. The Secret's `username` and `password` are ours at the broker, `ca.crt` its authorities."""

    def __init__(self, spec: JsonObject, secret: Secret, *, client_id: str, epoch: str) -> None:
        self._address = urlsplit(str_at(spec, "url"))
        self._template = str_at(spec, "topic") or TOPIC
        self._secret = secret
        self._client_id = client_id
        self._epoch = epoch
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sink-mqtt")
        """paho waits in threads; those of everybody else are not for that."""
        self._client: Client | None = None

    async def send(self, rows: Sequence[Row]) -> int:
        messages = [self._message(row) for row in rows]
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._send, messages)
        except SlowError:
            await self.close()
            raise
        except (OSError, ValueError, RuntimeError, TimeoutError) as error:
            await self.close()
            raise UnavailableError(f"{type(error).__name__}: {error}"[:300]) from error
        return 0

    def _message(self, row: Row) -> tuple[str, bytes]:
        """Raises `RefusedRowsError` for a row that no message can tell."""
        topic = topic_of(self._template, row)
        if len(topic.encode()) > TOPIC_BYTES_MAX:
            raise RefusedRowsError(f"its topic is longer than {TOPIC_BYTES_MAX} bytes")
        body = json.dumps(row.shown(self._epoch), separators=(",", ":"), ensure_ascii=False).encode()
        if len(body) > BODY_BYTES_MAX:
            raise RefusedRowsError(f"it is longer than {BODY_BYTES_MAX} bytes")
        return topic, body

    def _send(self, messages: Sequence[tuple[str, bytes]]) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        if self._client is None:
            self._client = self._connected()
        if not self._client.is_connected():
            raise ConnectionError("the broker has hung up")
        under_way = [self._client.publish(topic, body, qos=1) for topic, body in messages]
        for message in under_way:
            message.wait_for_publish(max(0.001, deadline_s - time.monotonic()))
            if message.is_published():
                continue
            if not self._client.is_connected():
                raise ConnectionError("the broker has hung up")
            raise SlowError(f"the broker has not acknowledged in {TIMEOUT_S:.0f} s")

    def _connected(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, reconnect_on_failure=False)
        client.max_inflight_messages_set(100)
        secure = self._address.scheme == "mqtts"
        if secure:
            context = ssl.create_default_context(cadata=self._secret.get("ca.crt") or None)
            cast(_Half, client).tls_set_context(closing_on_refusal(context))
        if self._secret.get("username"):
            client.username_pw_set(self._secret["username"], self._secret.get("password", ""))
        answered, refused = threading.Event(), list[str]()

        def told(_client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: object) -> None:
            if reason.is_failure:
                refused.append(str(reason))
            answered.set()

        client.on_connect = told
        client.connect_timeout = TIMEOUT_S / 3
        client.connect(self._address.hostname or "", self._address.port or (8883 if secure else 1883))
        client.loop_start()
        if not answered.wait(TIMEOUT_S / 3) or refused:
            _end(client)
            raise ConnectionError(f"the broker refuses: {refused[0]}" if refused else "the broker does not answer")
        return client

    async def close(self) -> None:
        """Behind what the thread is at; nobody waits for long, and the thread ends by its own deadlines."""
        client, self._client = self._client, None
        if client is not None:
            ending = asyncio.get_running_loop().run_in_executor(self._thread, _end, client)
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await ending
        self._thread.shutdown(wait=False)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sink-mqtt")


def _end(client: Client) -> None:
    client.disconnect()
    end(client)
