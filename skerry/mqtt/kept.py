"""What a broker keeps on disk, as rows: sessions, what waits for them, and what is retained.

Pure. `Changes` is what one turn of the broker changed; `Kept` is everything, as it is read when it starts. Times are
the broker's own seconds (`now_s`); who writes them down turns them into times that outlive the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.mqtt.packets import NONE, Properties, Wanted, Will


class Message(Frozen):
    """What somebody published."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    """As it was published."""
    properties: Properties = NONE
    """Those that travel on."""
    origin: str = ""
    """The client that published it."""
    expires_s: float | None = None
    """None: it does not."""

    @property
    def size(self) -> int:
        """What it costs to keep in memory."""
        return text_bytes(self.topic) + len(self.payload) + OVERHEAD_BYTES + properties_bytes(self.properties)


OVERHEAD_BYTES: Final = 400
"""Of a message in memory, beside its topic and payload, with its place in a queue."""
PROPERTIES_BYTES: Final = 320
PAIR_BYTES: Final = 160
"""Of a user property, beside its two texts."""


def text_bytes(text: str) -> int:
    """What its letters take in memory, at most."""
    return len(text) if text.isascii() else 4 * len(text)


def properties_bytes(properties: Properties) -> int:
    """Of those that travel on."""
    if properties is NONE:
        return 0
    texts = text_bytes(properties.content_type or "") + text_bytes(properties.response_topic or "")
    pairs = sum(text_bytes(name) + text_bytes(value) + PAIR_BYTES for name, value in properties.user)
    return PROPERTIES_BYTES + texts + len(properties.correlation or b"") + pairs


class Stage(IntEnum):
    """Of a message on its way to a client."""

    WAITS = 0
    SENT = 1
    RELEASED = 2
    """PUBREL was sent: the client has the message, and is not to get it again."""


@dataclass(slots=True, kw_only=True, eq=False)
class Delivery:
    """A message of QoS 1 or 2 for one client."""

    number: int
    """Counts the session's; the order in which they are sent."""
    message: Message
    qos: int
    retain: bool = False
    subscription_ids: tuple[int, ...] = ()
    packet_id: int = 0
    stage: Stage = Stage.WAITS
    saved: bool = False
    """A row of it was given to be written."""
    open: bool = False
    """Sent on this connection and not acknowledged: it counts for the client's Receive Maximum."""


class Subscription(Frozen):
    wanted: Wanted
    identifier: int = 0
    """0: none."""
    telling: bool = False
    """Of a row: it was not told all that was retained when it was made."""


class SessionRow(Frozen):
    client: str
    user: str
    expiry_s: int
    left_s: float | None
    """When the client went; None: it is there."""
    will: Will | None = None
    will_due_s: float | None = None
    """When the will of a client that went is to be published."""


DeliveryKey: TypeAlias = tuple[str, int]
"""Client and number."""


class DeliveryRow(Frozen):
    client: str
    number: int
    qos: int
    retain: bool
    subscription_ids: tuple[int, ...]
    packet_id: int
    stage: Stage
    message: Message


class Changes(Frozen):
    """In the order of the fields: what is deleted of a session's goes before what is put of it."""

    ended: tuple[str, ...] = ()
    """Sessions of which nothing is kept any more."""
    sessions: tuple[SessionRow, ...] = ()
    unsubscribed: tuple[tuple[str, str], ...] = ()
    subscribed: tuple[tuple[str, Subscription], ...] = ()
    done: tuple[DeliveryKey, ...] = ()
    deliveries: tuple[DeliveryRow, ...] = ()
    staged: tuple[tuple[str, int, int, Stage], ...] = ()
    """Client, number, packet id and stage of deliveries that are kept already."""
    forgotten: tuple[tuple[str, int], ...] = ()
    """Client and packet id of messages of QoS 2 that were released."""
    received: tuple[tuple[str, int], ...] = ()
    cleared: tuple[str, ...] = ()
    """Topics of which nothing is retained any more."""
    retained: tuple[Message, ...] = ()


@dataclass(slots=True, kw_only=True)
class Kept:
    """Everything."""

    sessions: list[SessionRow] = field(default_factory=list[SessionRow])
    subscriptions: list[tuple[str, Subscription]] = field(default_factory=list[tuple[str, Subscription]])
    deliveries: list[DeliveryRow] = field(default_factory=list[DeliveryRow])
    """In the order of their numbers."""
    received: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    retained: list[Message] = field(default_factory=list[Message])
