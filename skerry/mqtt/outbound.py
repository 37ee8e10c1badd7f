"""Messages on their way from a broker to its clients: queues, what is under way, and what was acknowledged.

Pure. Keeps nothing itself: what waits is each session's, what is to be written down the ledger's; `effects` is what
is to be sent, in order, until somebody takes it. Source: MQTT 5.0, sections 4.3 (QoS), 4.4 (delivery again), 4.6
(order), 4.9 (flow control).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from skerry.frozen import Frozen, replace
from skerry.mqtt.codec import encode
from skerry.mqtt.kept import Delivery, Message, Stage
from skerry.mqtt.ledger import Ledger
from skerry.mqtt.limits import Counts, Limits, Totals
from skerry.mqtt.packets import FAILURES, Ack, Kind, Packet, PacketError, Publish, Reason
from skerry.mqtt.room import Room
from skerry.mqtt.session import Session, is_expired


class Send(Frozen, kw_only=False):
    connection: int
    packet: Packet
    droppable: bool = False
    """Of QoS 0: for a client that reads too slowly it may be left out."""
    waits: bool = True
    """For what changed until now to be durable; else it may be sent before what waits, once the client is let in."""


class Close(Frozen, kw_only=False):
    connection: int


Effect: TypeAlias = Send | Close


class Outbound:
    """See the module."""

    def __init__(
        self,
        limits: Limits,
        totals: Totals,
        counts: Counts,
        ledger: Ledger,
        room: Room,
        may_hear: Callable[[Session, str], bool],
    ) -> None:
        self.effects: list[Effect] = []
        self._may_hear = may_hear
        self._limits = limits
        self._totals = totals
        self._counts = counts
        self._ledger = ledger
        self._room = room

    def deliver(
        self,
        session: Session,
        message: Message,
        *,
        qos: int,
        retain: bool,
        ids: tuple[int, ...],
        now_s: float,
        droppable: bool = True,
    ) -> None:
        """`droppable`: with QoS 0, a client that reads too slowly does not get it."""
        if not qos:
            if session.connection is not None:
                packet = _packet(message, qos=0, retain=retain, ids=ids, now_s=now_s)
                self._send_message(session, packet, droppable=droppable)
            return
        has_room, gone = self._room.make(session, message.size)
        for other, delivery in gone:
            self._ledger.done(other, delivery)
        if has_room:
            self._ledger.delivery(session, session.push(message, qos=qos, retain=retain, ids=ids))
            self.pump(session, now_s)

    def pump(self, session: Session, now_s: float) -> None:
        """What the client may be sent now."""
        while session.connection is not None:
            if (delivery := session.next_again(self._limits)) is not None:
                if self._may_hear(session, delivery.message.topic):
                    self._send_delivery(session, delivery, now_s, again=True)
                else:
                    self._settle(session, delivery)  # it got lost, and its right was taken away since
            elif (delivery := session.next(self._limits)) is None:
                return
            elif is_expired(delivery.message, now_s):
                self._settle(session, delivery)
            else:
                self._ledger.delivery(session, delivery)
                self._send_delivery(session, delivery, now_s)

    def _send_delivery(self, session: Session, delivery: Delivery, now_s: float, *, again: bool = False) -> None:
        packet = _packet(
            delivery.message, qos=delivery.qos, retain=delivery.retain, ids=delivery.subscription_ids, now_s=now_s
        )
        if not self._send_message(session, replace(packet, packet_id=delivery.packet_id, again=again)):
            self._settle(session, delivery)

    def _send_message(self, session: Session, packet: Publish, *, droppable: bool = False) -> bool:
        """Whether the client may be sent a packet of this size (3.1.2.11.4); what it may not is as if it was sent."""
        assert session.connection is not None, "its client is there"
        most = session.connection.packet_bytes_max
        if most is not None and len(encode(packet, session.connection.version)) > most:
            session.dropped += 1
            self._totals.dropped += 1
            return False
        self._counts.sent += 1
        self.effects.append(Send(session.connection.number, packet, droppable, waits=packet.qos > 0))
        return True

    def resend(self, session: Session, now_s: float) -> None:
        """What was under way, in order (4.4), then what waits."""
        for delivery in session.resume():
            self.send(session, Ack(kind=Kind.PUBREL, packet_id=delivery.packet_id))
        self.pump(session, now_s)

    def withhold(self, session: Session) -> None:
        """Nothing waits any more that the client may not hear."""
        for delivery in session.drop(lambda message: not self._may_hear(session, message.topic)):
            self._ledger.done(session, delivery)

    def acknowledged(self, session: Session, packet: Ack, now_s: float) -> None:
        number = packet.packet_id
        if packet.kind == Kind.PUBREL:
            known = session.release(number)
            self._ledger.received(session, number, here=False)
            reason = Reason.SUCCESS if known else Reason.ID_NOT_FOUND
            self.send(session, Ack(kind=Kind.PUBCOMP, packet_id=number, reason=reason))
            return
        delivery = session.inflight.get(number)
        if packet.kind == Kind.PUBREC:
            self._received_by_client(session, delivery, packet)
        elif delivery is not None and (packet.kind == Kind.PUBACK) == (delivery.qos == 1):
            if packet.kind == Kind.PUBCOMP and delivery.stage != Stage.RELEASED:
                raise PacketError(Reason.PROTOCOL_ERROR, "PUBCOMP before PUBREL")
            self._settle(session, delivery)
        self.pump(session, now_s)

    def _received_by_client(self, session: Session, delivery: Delivery | None, packet: Ack) -> None:
        if delivery is None or delivery.qos != 2:
            reason = Reason.ID_NOT_FOUND
        elif packet.reason >= FAILURES:
            self._settle(session, delivery)
            return
        else:
            reason = Reason.SUCCESS
            delivery.stage = Stage.RELEASED
            self._ledger.delivery(session, delivery)
        self.send(session, Ack(kind=Kind.PUBREL, packet_id=packet.packet_id, reason=reason))

    def _settle(self, session: Session, delivery: Delivery) -> None:
        session.settle(delivery.packet_id)
        self._ledger.done(session, delivery)

    def send(self, session: Session, packet: Packet, *, waits: bool = True) -> None:
        assert session.connection is not None, "its client is there"
        self.effects.append(Send(session.connection.number, packet, waits=waits))


def _packet(message: Message, *, qos: int, retain: bool, ids: tuple[int, ...], now_s: float) -> Publish:
    """With as much of its time as is left (3.3.2.3.3)."""
    properties = message.properties
    if ids or message.expires_s is not None:
        left_s = None if message.expires_s is None else max(1, round(message.expires_s - now_s))
        properties = replace(properties, subscription_ids=ids, message_expiry_s=left_s)
    return Publish(topic=message.topic, payload=message.payload, qos=qos, retain=retain, properties=properties)
