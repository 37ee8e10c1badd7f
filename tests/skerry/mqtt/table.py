"""A broker on a table: clients that speak packets with it, a clock that is moved, and a disk that may be lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from skerry.frozen import replace
from skerry.mqtt.broker import Broker
from skerry.mqtt.kept import Changes, DeliveryRow, Kept, Message, SessionRow, Subscription
from skerry.mqtt.limits import Limits
from skerry.mqtt.outbound import Close, Send
from skerry.mqtt.packets import (
    FOREVER,
    V5,
    Ack,
    Connack,
    Connect,
    Granted,
    Kind,
    Packet,
    Properties,
    Publish,
    Subscribe,
    Wanted,
)

P = TypeVar("P")


def lasting(seconds: int = FOREVER, **more: Any) -> dict[str, Any]:
    """What a client says that has its session kept."""
    return {"clean": False, "properties": Properties(session_expiry_s=seconds, **more)}


@dataclass
class Disk:
    """What rows are there, as any table would hold them."""

    sessions: dict[str, SessionRow] = field(default_factory=dict[str, SessionRow])
    subscriptions: dict[tuple[str, str], Subscription] = field(default_factory=dict[tuple[str, str], Subscription])
    deliveries: dict[tuple[str, int], DeliveryRow] = field(default_factory=dict[tuple[str, int], DeliveryRow])
    received: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    retained: dict[str, Message] = field(default_factory=dict[str, Message])

    def commit(self, changes: Changes) -> None:
        for client in changes.ended:
            self.sessions.pop(client, None)
            for held in (self.subscriptions, self.deliveries):
                for key in [key for key in held if key[0] == client]:
                    del held[key]  # type: ignore[arg-type]
            self.received = {place for place in self.received if place[0] != client}
        self.sessions |= {row.client: row for row in changes.sessions}
        for place in changes.unsubscribed:
            self.subscriptions.pop(place, None)
        self.subscriptions |= {(client, each.wanted.filter): each for client, each in changes.subscribed}
        for key in changes.done:
            self.deliveries.pop(key, None)
        self.deliveries |= {(row.client, row.number): row for row in changes.deliveries}
        for client, number, packet_id, stage in changes.staged:
            if (client, number) in self.deliveries:
                row = self.deliveries[client, number]
                self.deliveries[client, number] = replace(row, packet_id=packet_id, stage=stage)
        self.received = (self.received - set(changes.forgotten)) | set(changes.received)
        for topic in changes.cleared:
            self.retained.pop(topic, None)
        self.retained |= {message.topic: message for message in changes.retained}

    def kept(self) -> Kept:
        return Kept(
            sessions=list(self.sessions.values()),
            subscriptions=[(client, each) for (client, _), each in self.subscriptions.items()],
            deliveries=[self.deliveries[key] for key in sorted(self.deliveries)],
            received=sorted(self.received),
            retained=list(self.retained.values()),
        )


@dataclass
class Rules:
    """Implements `Guard`: what may not be published on, and heard."""

    unpublished: set[str] = field(default_factory=set[str])
    unheard: set[str] = field(default_factory=set[str])
    unknown: set[str] = field(default_factory=set[str])
    passwords: dict[str, bytes] = field(default_factory=dict[str, bytes])
    first: set[str] = field(default_factory=set[str])
    """Users that come first."""

    def credential(self, user: str) -> bytes | None:
        return None if user in self.unknown else self.passwords.get(user, b"")

    def comes_first(self, user: str) -> bool:
        return user in self.first

    def may_connect(self, user: str, client: str) -> bool:
        return user in self.first or not client.startswith("own-")

    def may_publish(self, user: str, client: str, topic: str) -> bool:
        return topic not in self.unpublished

    def may_hear(self, user: str, client: str, filter: str) -> bool:
        return filter not in self.unheard


class Table:
    def __init__(self, limits: Limits | None = None, rules: Rules | None = None) -> None:
        self.limits, self.rules = limits, rules or Rules()
        self.disk = Disk()
        self.now_s = 1000.0
        self.broker = Broker(self.rules, now_s=self.now_s, limits=limits)
        self.clients: dict[int, Client] = {}
        self.last = 0

    def client(self, name: str, *, version: int = V5, clean: bool = True, user: str = "u", **more: object) -> Client:
        """It connects; its CONNACK is among what it got."""
        self.last += 1
        client = self.clients[self.last] = Client(self, self.last, version)
        packet = Connect(version=version, client=name, clean=clean, **more)  # type: ignore[arg-type]
        self.broker.connect(self.last, user, packet, assigned=f"auto-{self.last}", now_s=self.now_s)
        self.turn()
        return client

    def turn(self) -> None:
        while any(self.broker.tell(number, self.now_s) for number in tuple(self.broker.behind)):
            pass
        changes = self.broker.take_changes()
        if changes is not None:
            self.disk.commit(changes)
        for effect in self.broker.take_effects():
            client = self.clients[effect.connection]
            match effect:
                case Send(_, packet, _):
                    client.inbox.append(packet)
                case Close():
                    client.closed = True

    def review(self) -> None:
        self.broker.review(self.now_s)
        self.turn()

    def after(self, seconds: float) -> None:
        self.now_s += seconds
        self.broker.tick(self.now_s)
        self.turn()

    def power_cut(self) -> None:
        """All but the disk is lost."""
        self.clients.clear()
        self.broker = Broker(self.rules, now_s=self.now_s, limits=self.limits, kept=self.disk.kept())


@dataclass
class Client:
    table: Table
    number: int
    version: int
    inbox: list[Packet] = field(default_factory=list[Packet])
    closed: bool = False

    def send(self, packet: Packet) -> None:
        self.table.broker.receive(self.number, packet, self.table.now_s)
        self.table.turn()

    def vanish(self) -> None:
        self.table.broker.lost(self.number, self.table.now_s)
        self.table.turn()

    def got(self, kind: type[P]) -> list[P]:
        """Taken out of the inbox."""
        found = [packet for packet in self.inbox if isinstance(packet, kind)]
        self.inbox = [packet for packet in self.inbox if not isinstance(packet, kind)]
        return found

    def welcome(self) -> Connack:
        return self.got(Connack)[0]

    def messages(self) -> list[tuple[str, bytes]]:
        return [(packet.topic, packet.payload) for packet in self.got(Publish)]

    def publish(self, topic: str, payload: bytes = b"x", *, qos: int = 0, id: int = 1, **more: object) -> None:
        self.send(Publish(topic=topic, payload=payload, qos=qos, packet_id=id if qos else 0, **more))  # type: ignore[arg-type]

    def subscribe(self, filter: str, qos: int = 0, *, identifier: int = 0, **more: object) -> tuple[int, ...]:
        properties = Properties(subscription_ids=(identifier,) if identifier else ())
        wanted = Wanted(filter=filter, qos=qos, **more)  # type: ignore[arg-type]
        self.send(Subscribe(packet_id=9, wanted=(wanted,), properties=properties))
        return self.got(Granted)[0].reasons

    def ack(self, packet: Publish, kind: Kind = Kind.PUBACK, reason: int = 0) -> None:
        self.send(Ack(kind=kind, packet_id=packet.packet_id, reason=reason))  # type: ignore[arg-type]
