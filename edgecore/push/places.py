"""Pushes over the wire: one HTTP request each, or one message on a connection to a broker that is kept.

Everything heavy (h11, TLS, paho) is imported with the first push that needs it. Passwords and tokens are read from
their files for each connection. Keeps a few connections to brokers in memory, for as long as they are used, and
nothing else.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from zlib import crc32

from devices.credentials import UnusableFileError, read_secret, refuse_elsewhere
from devices.http.driver import Asked
from devices.mqtt.config import Broker
from devices.mqtt.port import Connect, Connection, Delivery, Hooks, Outgoing
from devices.pushes import HttpPush, InfluxPush, MqttPush, OtelPush, PushTarget, content_type_of
from edgecore.push.plan import AWAY, NEVER_TAKEN
from skerry.errors import InvalidError, SkerryError, UnavailableError
from skerry.waits import end_tasks, until_set

ACKNOWLEDGE_S_MAX: Final = 10.0
CONNECT_S_MAX: Final = 10.0
IDLE_S: Final = 60.0
"""A connection to a broker that nothing was sent over for so long is ended: it has a thread."""
LINKS_MAX: Final = 16
"""Connections to brokers, however many Devices name."""
ANSWER_BYTES_MAX: Final = 64 * 1024
_OK: Final = range(200, 300)


class RefusedError(SkerryError):
    """The place will not take this push, whenever it comes."""


class TurnedAwayError(SkerryError):
    """The place is there, and does not take this push now: its path is not there, or its topic not allowed."""


class Places(Protocol):
    """Where pushes go."""

    async def push(self, target: PushTarget, payload: bytes) -> None:
        """Returns when the place has it. Raises `UnavailableError` where it is away for all,
        `TurnedAwayError`, and `RefusedError`."""
        ...

    async def keep(self, brokers: frozenset[Broker]) -> None:
        """Let go of all brokers but these."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Link:
    """A connection to a broker."""

    connection: Connection
    known: asyncio.Event = field(default_factory=asyncio.Event)
    """It is connected, or why it is not."""
    reason: str = "the broker does not answer"
    """"" while it is connected."""
    users: int = 0
    """Pushes that wait for it."""
    used_s: float = 0.0
    """When one last did, by the loop's clock."""


class NetworkPlaces:
    """Implements `Places` over the network."""

    def __init__(
        self,
        node: str,
        connect: Connect | None = None,
        *,
        credentials: Path | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        """`credentials`: where the files are that Devices may name; None: anywhere."""
        self._idle_s = idle_s
        self._sweeping: asyncio.Task[None] | None = None
        self._ending = 0
        """Connections that are on their way out, and still have a thread."""
        self._node = node
        self._credentials = credentials
        self._connect: Connect = connect or _over_the_network
        self._links: dict[Broker, _Link] = {}

    async def push(self, target: PushTarget, payload: bytes) -> None:
        """See `Places`."""
        try:
            if not isinstance(target.to, MqttPush) or target.to.broker not in self._links:
                for path in target.files:
                    refuse_elsewhere(path, self._credentials, "visitors.configData.push")
            match target.to:
                case MqttPush():
                    await self._publish(target.to, payload)
                case InfluxPush():
                    await self._post(target.to.http, content_type_of(target), payload, scheme="Token")
                case OtelPush():
                    await self._post(target.to.http, content_type_of(target), payload, scheme="Bearer")
                case HttpPush():
                    await self._post(target.to, content_type_of(target), payload, scheme="Bearer")
        except (UnusableFileError, InvalidError) as error:  # the place may well be there, for others
            raise TurnedAwayError(str(error)) from error

    async def _publish(self, to: MqttPush, payload: bytes) -> None:
        link = await self._link(to.broker)
        link.users += 1
        try:
            await self._publish_over(link, to, payload)
        finally:
            link.users -= 1
            link.used_s = asyncio.get_running_loop().time()
            self._sweep_later()

    async def _link(self, broker: Broker) -> _Link:
        """The one that there is, or another in the place of who was idle for longest."""
        link = self._links.get(broker)
        if link is not None:
            return link
        if self._is_full():
            idle = [each for each, held in self._links.items() if not held.users]
            if idle:
                await self._end(min(idle, key=lambda each: self._links[each].used_s))
        link = self._links.get(broker)  # another push may have made it meanwhile
        if link is None:
            if self._is_full():
                raise UnavailableError(f"waits for one of {LINKS_MAX} connections to brokers")
            link = self._links[broker] = self._open(broker)
        return link

    def _sweep_later(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """End what is idle, until nothing is connected."""
        try:
            while self._links:
                now_s = asyncio.get_running_loop().time()
                for broker in [each for each, held in self._links.items() if not held.users]:
                    held = self._links.get(broker)
                    if held is not None and not held.users and held.used_s + self._idle_s <= now_s:
                        await self._end(broker)
                await asyncio.sleep(self._idle_s / 2)
        finally:
            self._sweeping = None

    def _is_full(self) -> bool:
        return len(self._links) + self._ending >= LINKS_MAX

    async def _end(self, broker: Broker) -> None:
        link = self._links.pop(broker)
        self._ending += 1
        try:
            await link.connection.stop()
        finally:
            self._ending -= 1

    async def _publish_over(self, link: _Link, to: MqttPush, payload: bytes) -> None:
        if not await until_set(link.known, within_s=CONNECT_S_MAX) or link.reason:
            raise UnavailableError(f"no connection: {link.reason}")
        message = Outgoing(topic=to.topic, payload=payload, qos=to.qos, retain=to.retained)
        try:
            await link.connection.publish(message, timeout_s=ACKNOWLEDGE_S_MAX)
        except UnavailableError as error:
            if link.reason:
                raise
            raise TurnedAwayError(str(error)) from error  # the connection stands: others may be taken

    def _open(self, broker: Broker) -> _Link:
        def connected(_resumed: bool) -> None:
            link.reason = ""
            link.known.set()

        def disconnected(reason: str) -> None:
            link.reason = reason or "the broker hung up"
            link.known.set()

        hooks = Hooks(connected=connected, disconnected=disconnected, delivered=_unheard, refused=_unsubscribed)
        who = crc32(repr(broker).encode())  # two connections with one id would throw each other out
        link = _Link(connection=self._connect(broker, f"skerry-{self._node}-push-{who:08x}", hooks))
        link.connection.start()
        return link

    async def _post(self, to: HttpPush, content_type: str, payload: bytes, *, scheme: str) -> None:
        from devices.http.client import HttpClient  # h11 and TLS cost memory: only who pushes over HTTP pays

        headers = {"Content-Type": content_type, **await asyncio.to_thread(_credentials, to, scheme)}
        client = HttpClient(to.origin, to.tls, timeout_s=to.timeout_s, bytes_max=ANSWER_BYTES_MAX)
        try:
            answer = await client.exchange(Asked(method="POST", target=to.target, headers=headers, body=payload))
        finally:
            await client.close()
        if answer.status in _OK:
            return
        reason = f"it answers {answer.status}{_said(answer.body)}"
        if answer.status in NEVER_TAKEN:
            raise RefusedError(reason)
        if answer.status in AWAY:
            raise UnavailableError(reason)
        raise TurnedAwayError(reason)

    async def keep(self, brokers: frozenset[Broker]) -> None:
        """See `Places`."""
        for broker in [each for each in self._links if each not in brokers]:
            await self._end(broker)

    async def close(self) -> None:
        """See `Places`."""
        if self._sweeping is not None:
            await end_tasks(self._sweeping)
        await self.keep(frozenset())


def _unheard(_delivery: Delivery) -> None:
    """Nothing was subscribed to."""


def _unsubscribed(_topic: str, _reason: str) -> None:
    """Nothing was subscribed to."""


def _said(body: bytes) -> str:
    """The beginning of what a server says in plain words. It is read on terminals and in logs, so nothing in it may
    command them."""
    words = " ".join(body[:400].decode(errors="replace").split())
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)
    return f": {text[:120]}" if text and not text.startswith("<") else ""


def _credentials(to: HttpPush, scheme: str) -> dict[str, str]:
    """Raises `UnusableFileError`. Reads files, and blocks."""
    if to.token_file:
        return {"Authorization": f"{scheme} {read_secret(to.token_file)}"}
    if to.username:
        pair = f"{to.username}:{read_secret(to.password_file)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {}


def _over_the_network(broker: Broker, client_id: str, hooks: Hooks) -> Connection:
    try:
        from devices.mqtt.client import PahoConnection  # paho costs memory: only who pushes over MQTT pays
    except ImportError as error:
        raise UnavailableError(
            f"MQTT needs {error.name}, which is not installed: pip install 'skerry[edge]'"
        ) from error
    return PahoConnection(broker, client_id, hooks)
