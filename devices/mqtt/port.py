"""What the MQTT driver asks of a connection to a broker, and what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from devices.mqtt.config import Broker
from skerry.frozen import Frozen


class Delivery(Frozen):
    """One message as delivered. `life` counts connections: an acknowledgement belongs to the connection on which
    its message came, for packet ids begin anew with the next."""

    life: int
    mid: int
    topic: str
    payload: bytes
    qos: int
    retained: bool
    redelivered: bool
    correlation: bytes = b""
    """Of a request that this answers (MQTT 5)."""


class Outgoing(Frozen):
    """One message to publish. What only MQTT 5 can say is left out on a connection of an older version."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int = 0
    """The broker may forget it when it could not be delivered for so long; 0: never."""
    response_topic: str = ""
    correlation: bytes = b""


class Hooks(Frozen):
    """Called on the event loop."""

    connected: Callable[[bool], None]
    """Whether the broker had a session of ours: messages may have waited in it."""
    disconnected: Callable[[str], None]
    delivered: Callable[[Delivery], None]
    refused: Callable[[str, str], None]
    """(topic, reason): the broker does not let us hear it."""


class Connection(Protocol):
    """A lasting session with a broker. `start` and `stop` once each; it connects again by itself."""

    @property
    def version(self) -> int:
        """5, or 4 for MQTT 3.1.1: the protocol level of the last connection that stood."""
        ...

    def start(self) -> None:
        """Connect, and stay connected. Raises `UnavailableError` when a file with credentials can't be read."""
        ...

    async def stop(self) -> None:
        """Let go. The broker keeps the session, and what is not acknowledged."""
        ...

    def subscribe(self, topics: set[str]) -> None:
        """Hear these topics, and no others; also after each reconnect."""
        ...

    def acknowledge(self, delivery: Delivery) -> bool:
        """The message is durable here: the broker may forget it. False when it came on an earlier connection: then it
        comes again, and is acknowledged on that occasion."""
        ...

    async def settled(self, *, timeout_s: float) -> bool:
        """Whether the broker has taken every acknowledgement that was given before this was asked. False where the
        connection is lost first, or the broker does not answer in time: then some may not have reached it."""
        ...

    async def publish(self, message: Outgoing, *, timeout_s: float) -> bool:
        """Returns when the broker has it (with QoS 0: when it is sent); False when the broker says that nobody has
        subscribed to it. Raises `UnavailableError`, also when the broker refuses it, and `UncertainError` where it
        was sent and not acknowledged: it is sent again, and may yet be published."""
        ...


Connect = Callable[[Broker, str, Hooks], Connection]
"""(broker, client id, hooks): a connection that has not been started."""
