"""What a broker knows of one client, also while it is away: subscriptions, and messages on their way to and from it.

Pure. A session has bounds: what is too much for its queue pushes out the oldest that was not sent, and is counted.
Source: MQTT 5.0, sections 4.1 (sessions), 4.3 (QoS), 4.4 (delivery again), 4.6 (order), 4.9 (flow control).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from skerry.mqtt.kept import (
    OVERHEAD_BYTES,
    Delivery,
    Message,
    Stage,
    Subscription,
    properties_bytes,
    text_bytes,
)
from skerry.mqtt.limits import Limits, Totals
from skerry.mqtt.packets import Will

PACKET_IDS: Final = 0xFFFF
SESSION_BYTES: Final = 2000
"""Of a session that holds nothing, in memory."""
SUBSCRIPTION_BYTES: Final = 500
"""Beside its filter, and the levels of that in the tree."""
LEVEL_BYTES: Final = 400
"""Of each level of a topic or filter in a tree."""
PACKET_ID_BYTES: Final = 100


def subscription_bytes(filter: str) -> int:
    return SUBSCRIPTION_BYTES + 3 * text_bytes(filter) + LEVEL_BYTES * (filter.count("/") + 1)


def will_bytes(will: Will | None) -> int:
    if will is None:
        return 0
    return text_bytes(will.topic) + len(will.payload) + OVERHEAD_BYTES + properties_bytes(will.properties)


@dataclass(slots=True, eq=False)
class Telling:
    """What a subscription is yet to be told of what is retained."""

    until: int
    """The newest message that was retained when the subscription was made."""
    topics: list[str] | None = None
    """That match, the next one last; None: nobody has looked."""


@dataclass(slots=True, eq=False)
class Session:
    """See the module."""

    client: str
    user: str
    totals: Totals
    expiry_s: int = 0
    connection: Connection | None = None
    """None: it is away."""
    left_s: float = 0.0
    will: Will | None = None
    will_due_s: float | None = None
    window: int = PACKET_IDS
    """The client's Receive Maximum."""
    orphaned_s: float | None = None
    """Since when its user is none."""
    subscriptions: dict[str, Subscription] = field(default_factory=dict[str, Subscription])
    hushed: set[str] = field(default_factory=set[str])
    """Subscriptions whose right was taken away."""
    tellings: dict[str, Telling] = field(default_factory=dict[str, Telling])
    """By subscription, in the order in which they are told."""
    queue: deque[Delivery] = field(default_factory=deque[Delivery])
    inflight: dict[int, Delivery] = field(default_factory=dict[int, Delivery])
    """By packet id, in the order of sending."""
    again: deque[Delivery] = field(default_factory=deque[Delivery])
    """Of those, what was sent on a connection before, and is to be on this one."""
    open: int = 0
    """Of those, what was sent on this connection."""
    received: set[int] = field(default_factory=set[int])
    """Packet ids of QoS 2 that came and were not released."""
    bytes: int = 0
    """Of the queue and of what is in flight."""
    inflight_bytes: int = 0
    own_bytes: int = 0
    dropped: int = 0
    last_number: int = 0
    last_packet_id: int = 0

    def own(self, size: int) -> None:
        """It holds so much more of what is counted as its own; negative: less."""
        self.own_bytes += size
        totals = self.totals
        totals.own_bytes += size
        held = totals.own_bytes_by_user.get(self.user, 0) + size
        if held:
            totals.own_bytes_by_user[self.user] = held
        else:
            totals.own_bytes_by_user.pop(self.user, None)

    def set_will(self, will: Will | None) -> None:
        self.own(will_bytes(will) - will_bytes(self.will))
        self.will = will

    def receive(self, packet_id: int) -> None:
        """A message of QoS 2 came, and is not released."""
        if packet_id not in self.received:
            self.received.add(packet_id)
            self.own(PACKET_ID_BYTES)

    def release(self, packet_id: int) -> bool:
        """Whether it was there."""
        if packet_id not in self.received:
            return False
        self.received.discard(packet_id)
        self.own(-PACKET_ID_BYTES)
        return True

    def pop_oldest(self) -> Delivery:
        """Of what waits; it goes."""
        oldest = self.queue.popleft()
        self._count(-oldest.message.size)
        return oldest

    def push(self, message: Message, *, qos: int, retain: bool, ids: tuple[int, ...]) -> Delivery:
        """It waits; `Room` was asked."""
        self.last_number += 1
        delivery = Delivery(number=self.last_number, message=message, qos=qos, retain=retain, subscription_ids=ids)
        self.queue.append(delivery)
        self._count(message.size)
        return delivery

    def restore(self, delivery: Delivery) -> None:
        """One that was kept, in the order of their numbers."""
        self.last_number = max(self.last_number, delivery.number)
        self._count(delivery.message.size)
        if delivery.stage == Stage.WAITS:
            self.queue.append(delivery)
        else:
            self.inflight[delivery.packet_id] = delivery
            self.inflight_bytes += delivery.message.size

    def resume(self) -> list[Delivery]:
        """A new connection, which begins with the whole of the client's Receive Maximum (4.9): what was released on
        one before."""
        self.open = 0
        for delivery in self.inflight.values():
            delivery.open = False
        self.again = deque(each for each in self.inflight.values() if each.stage == Stage.SENT)
        return [each for each in self.inflight.values() if each.stage == Stage.RELEASED]

    def next_again(self, limits: Limits) -> Delivery | None:
        """The oldest that is to be sent once more, if the client may be sent one."""
        while self.again and self.open < min(self.window, limits.inflight):
            delivery = self.again.popleft()
            if self.inflight.get(delivery.packet_id) is delivery and delivery.stage == Stage.SENT:
                return self._opened(delivery)
        return None

    def next(self, limits: Limits) -> Delivery | None:
        """The oldest that waits, with a packet id, if the client may be sent one more."""
        if not self.queue or self.open >= self.window or len(self.inflight) >= limits.inflight:
            return None
        size = self.queue[0].message.size
        if self.inflight and self.inflight_bytes + size > limits.inflight_bytes:
            return None
        delivery = self.queue.popleft()
        delivery.packet_id = self._next_packet_id()
        delivery.stage = Stage.SENT
        self.inflight[delivery.packet_id] = delivery
        self.inflight_bytes += size
        return self._opened(delivery)

    def _opened(self, delivery: Delivery) -> Delivery:
        delivery.open = True
        self.open += 1
        return delivery

    def settle(self, packet_id: int) -> Delivery | None:
        """It is done, acknowledged or of no use any more."""
        delivery = self.inflight.pop(packet_id, None)
        if delivery is not None:
            self.open -= delivery.open
            self.inflight_bytes -= delivery.message.size
            self._count(-delivery.message.size)
        return delivery

    def forget(self) -> None:
        """Its end: what it held counts no more."""
        self._count(-self.bytes)
        self.own(-self.own_bytes)
        self.queue.clear()
        self.inflight.clear()
        self.again.clear()
        self.inflight_bytes = self.open = 0

    def drop(self, of_no_use: Callable[[Message], bool]) -> Iterator[Delivery]:
        """What waits and is of no use any more goes."""
        kept: deque[Delivery] = deque()
        for delivery in self.queue:
            if of_no_use(delivery.message):
                self._count(-delivery.message.size)
                yield delivery
            else:
                kept.append(delivery)
        self.queue = kept

    def _count(self, size: int) -> None:
        self.bytes += size
        self.totals.queued_bytes += size

    def _next_packet_id(self) -> int:
        while True:
            self.last_packet_id = self.last_packet_id % PACKET_IDS + 1
            if self.last_packet_id not in self.inflight:
                return self.last_packet_id


@dataclass(slots=True, eq=False)
class Connection:
    """What holds for as long as a client is there."""

    number: int
    session: Session
    version: int
    keepalive_s: int
    heard_s: float
    packet_bytes_max: int | None
    credential: bytes | None
    """By which its user was let in."""
    aliases: dict[int, str] = field(default_factory=dict[int, str])


def is_expired(message: Message, now_s: float) -> bool:
    return message.expires_s is not None and message.expires_s <= now_s
