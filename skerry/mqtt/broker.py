"""An MQTT broker without its network, disk and clock: packets and `now_s` in, packets to send and rows to write out.

Whoever runs it decides on bytes and passwords, and keeps one rule: what `take_effects` gives, but for what need not
wait, is sent when all that had changed by then is durable. Then nothing that was acknowledged is lost to a crash, and
no message of QoS 2 comes twice.

In memory: connections, sessions, what waits for them and what is retained, all bounded (`Limits`). A broker that is
made of what was kept goes on where it was; clients that were there have a while to come back before their wills are
published.

Source: MQTT Version 5.0 and MQTT Version 3.1.1 (OASIS).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol, assert_never

from skerry.frozen import replace
from skerry.mqtt.codec import forwarded
from skerry.mqtt.kept import Changes, Delivery, Kept, Message, Subscription, text_bytes
from skerry.mqtt.ledger import Ledger, keeps
from skerry.mqtt.limits import Counts, Limits, Totals
from skerry.mqtt.outbound import Close, Effect, Outbound, Send
from skerry.mqtt.packets import (
    FAILURES,
    FOREVER,
    V5,
    Ack,
    Connack,
    Connect,
    Farewell,
    Granted,
    Kind,
    Packet,
    PacketError,
    Ping,
    Properties,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
    Wanted,
    Will,
)
from skerry.mqtt.room import Room
from skerry.mqtt.routing import Retained, Routes
from skerry.mqtt.session import (
    PACKET_ID_BYTES,
    PACKET_IDS,
    SESSION_BYTES,
    Connection,
    Session,
    Telling,
    is_expired,
    subscription_bytes,
    will_bytes,
)
from skerry.mqtt.telling import Teller
from skerry.mqtt.topics import SHARE, may_subscribe, shared

CLIENT_BYTES_MAX: Final = 256
"""Of a client id."""
BACK_S_MAX: Final = 10.0
"""So long a client that was there may take to come back to a broker that was started anew."""
SWEEP_S: Final = 30.0
"""Between two looks for messages whose time is over."""
ORPHAN_S_MAX: Final = 3600.0
"""So long the session of a user who was removed is kept: one that is made anew soon has lost nothing."""
SYS: Final = "$SYS/"
"""Topics on which the broker itself speaks."""


class Guard(Protocol):
    """Who may do what. Its answers may change: `Broker.review` is told."""

    def credential(self, user: str) -> bytes | None:
        """What its password is known by: another one after it was changed. None: it is no user."""
        ...

    def comes_first(self, user: str) -> bool:
        """Whether it is whoever runs the broker: there is room for it, and the client ids that it wants are its."""
        ...

    def may_connect(self, user: str, client: str) -> bool: ...
    def may_publish(self, user: str, client: str, topic: str) -> bool: ...
    def may_hear(self, user: str, client: str, filter: str) -> bool: ...


class Broker:
    """See the module."""

    def __init__(
        self,
        guard: Guard,
        *,
        now_s: float,
        limits: Limits | None = None,
        kept: Kept | None = None,
        heard: Callable[[Message], None] = lambda message: None,
    ) -> None:
        """`heard` is told of every message that a client publishes."""
        self.limits = limits or Limits()
        self.counts = Counts()
        self._guard = guard
        self._heard = heard
        self._totals = Totals()
        self._connections: dict[int, Connection] = {}
        self._sessions: dict[str, Session] = {}
        self._routes = Routes()
        self._retained = Retained(self.limits)
        self._ledger = Ledger(row.client for row in kept.sessions) if kept else Ledger()
        room = Room(self.limits, self._totals, self._sessions, guard.comes_first)
        self._out = Outbound(self.limits, self._totals, self.counts, self._ledger, room, self._may_hear)
        self._teller = Teller(self.limits, self._retained, self._ledger, self._out)
        self._swept_s = now_s
        if kept is not None:
            self._restore(kept, now_s)

    def _restore(self, kept: Kept, now_s: float) -> None:
        for row in kept.sessions:
            session = self._sessions[row.client] = Session(row.client, row.user, self._totals)
            session.own(SESSION_BYTES)
            session.expiry_s, session.will_due_s = row.expiry_s, row.will_due_s
            session.set_will(row.will)
            session.left_s = now_s if row.left_s is None else row.left_s
            if row.left_s is None and row.will is not None:
                session.will_due_s = now_s + max(row.will.properties.will_delay_s or 0, BACK_S_MAX)
        for each in kept.deliveries:
            if each.client in self._sessions:
                self._sessions[each.client].restore(
                    Delivery(
                        number=each.number,
                        message=each.message,
                        qos=each.qos,
                        retain=each.retain,
                        subscription_ids=each.subscription_ids,
                        packet_id=each.packet_id,
                        stage=each.stage,
                        saved=True,
                    )
                )
        for client, packet_id in kept.received:
            if client in self._sessions:
                self._sessions[client].receive(packet_id)
        for message in kept.retained:
            self._retained.put(message)
        for client, subscription in kept.subscriptions:
            if client in self._sessions:
                session = self._sessions[client]
                self._routes.add(session, replace(subscription, telling=False))
                if subscription.telling:
                    session.tellings[subscription.wanted.filter] = Telling(until=self._retained.newest)

    # --- what its shell asks ------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        effects, self._out.effects = self._out.effects, []
        return effects

    @property
    def has_changes(self) -> bool:
        """Whether something is to be durable before the effects that are there now."""
        return not self._ledger.is_empty

    def take_changes(self) -> Changes | None:
        """All that is to be."""
        return None if self._ledger.is_empty else self._ledger.take(self._sessions)

    @property
    def behind(self) -> Collection[int]:
        """Connections on which there is something retained yet to be told."""
        return self._teller.behind

    def tell(self, number: int, now_s: float) -> bool:
        """Tell a portion of it, to a client that reads; whether there was something to do."""
        return self._teller.go_on(number, now_s)

    def unsent(self, number: int) -> None:
        """A message that may be left out for a client that reads too slowly was."""
        connection = self._connections.get(number)
        if connection is not None:
            self.counts.sent -= 1
            connection.session.dropped += 1
            self._totals.dropped += 1

    @property
    def figures(self) -> Mapping[str, int]:
        """What it holds, and what it did since it was started, by their topics below $SYS/broker."""
        return {
            "clients/connected": len(self._connections),
            "clients/total": len(self._sessions),
            "subscriptions/count": self._routes.count,
            "retained messages/count": len(self._retained),
            "retained messages/bytes": self._retained.bytes,
            "retained messages/unkept": self.counts.unretained,
            "messages/received": self.counts.received,
            "messages/sent": self.counts.sent,
            "messages/stored/bytes": self._totals.queued_bytes,
            "sessions/bytes": self._totals.own_bytes,
            "publish/messages/dropped": self._totals.dropped,
            "publish/messages/refused": self.counts.refused,
        }

    def dropped(self) -> Mapping[str, int]:
        """By client, what its queue had no room for."""
        return {client: session.dropped for client, session in self._sessions.items() if session.dropped}

    def review(self, now_s: float) -> None:
        """Users or their rights have changed. Who is no user any more, or has a new password, is cut off; what may be
        heard no more is not, nor what waits of it. A subscription stays, and hears again when its right is back."""
        for session in tuple(self._sessions.values()):
            credential = self._guard.credential(session.user)
            known = credential is not None
            if session.connection is not None and session.connection.credential != credential:
                self.dismiss(session.connection.number, Reason.ADMINISTRATIVE, now_s)
            if not known and session.orphaned_s is None:
                session.orphaned_s = now_s
            elif known:
                session.orphaned_s = None
            if self._sessions.get(session.client) is session:
                self._review(session, known=known)

    def _review(self, session: Session, *, known: bool) -> None:
        for wanted in session.subscriptions:
            self._routes.hush(session, wanted, not self._may_hear(session, shared(wanted)[1]))
        if known:  # else nobody gets it, unless the user is made anew: then it is looked at again
            self._out.withhold(session)

    def _may_hear(self, session: Session, filter: str) -> bool:
        return self._guard.may_hear(session.user, session.client, filter)

    # --- connections --------------------------------------------------------------------------------------

    def connect(self, number: int, user: str, packet: Connect, *, assigned: str, now_s: float) -> None:
        """A client whose password was right. `assigned` names one that gave itself no name."""
        refusal = self._refusal(user, packet)
        if refusal is not None:
            self._out.effects += (Send(number, Connack(reason=refusal), waits=False), Close(number))
            return
        client = packet.client or assigned
        expiry_s = packet.properties.session_expiry_s or 0
        if packet.version != V5:
            expiry_s = 0 if packet.clean else FOREVER
        session, resumed = self._admit(client, user, packet, now_s)
        session.expiry_s = expiry_s
        session.set_will(packet.will)
        session.window = packet.properties.receive_max or PACKET_IDS
        session.connection = self._connections[number] = Connection(
            number=number,
            session=session,
            version=packet.version,
            keepalive_s=packet.keepalive_s,
            heard_s=now_s,
            credential=self._guard.credential(user),
            packet_bytes_max=packet.properties.packet_bytes_max,
        )
        if resumed and not keeps(session):
            self._ledger.ended(client)  # it ends with this connection: nothing of it is kept any more
            for delivery in (*session.inflight.values(), *session.queue):
                delivery.saved = False
        elif keeps(session):
            self._note_whole(session)
        self._ledger.session(session)
        welcome = self._welcome(packet, assigned, resumed=resumed)
        self._out.send(session, welcome, waits=self._ledger.concerns(client))
        self._out.resend(session, now_s)
        self._teller.resume(session)

    def _note_whole(self, session: Session) -> None:
        """A session that begins to be kept, with what it holds already."""
        for filter in session.subscriptions:
            self._ledger.subscription(session, filter)
        for delivery in (*session.inflight.values(), *session.queue):
            if not delivery.saved:
                self._ledger.delivery(session, delivery)

    def _refusal(self, user: str, packet: Connect) -> Reason | None:
        client, will = packet.client, packet.will
        held, first = self._sessions.get(client), self._guard.comes_first(user)
        if packet.properties.auth_method is not None:
            return Reason.BAD_METHOD
        if not client and packet.version != V5 and not packet.clean:
            return Reason.BAD_CLIENT
        if len(client) > CLIENT_BYTES_MAX or not self._guard.may_connect(user, client):
            return Reason.BAD_CLIENT
        if held is not None and held.user != user and not first:
            return Reason.BAD_CLIENT  # a session is its user's: what waits there is for nobody else
        if will is not None and not self._may_publish(user, client, will.topic):
            return Reason.NOT_AUTHORIZED
        if not self._has_room(user, held, will, first=first):
            return Reason.QUOTA
        return None

    def _may_own(self, user: str, own_bytes: int, size: int) -> bool:
        """Whether a session that holds so much may hold so much more (`Limits.own_bytes`)."""
        limits, totals = self.limits, self._totals
        if size <= 0:
            return True
        if own_bytes + size > limits.own_bytes:
            return False
        of_user = totals.own_bytes_by_user.get(user, 0)
        return self._guard.comes_first(user) or (
            of_user + size <= limits.own_bytes_user and totals.own_bytes + size <= limits.own_bytes_total
        )

    def _has_room(self, user: str, held: Session | None, will: Will | None, *, first: bool) -> bool:
        """For a connection more, and a session where the client has none."""
        limits, kept_free = self.limits, 0 if first else self.limits.reserved
        if held is None or held.connection is None:
            of_user = sum(each.session.user == user for each in self._connections.values())
            if len(self._connections) >= limits.connections - kept_free:
                return False
            if of_user >= limits.connections_user and not first:
                return False
        size = SESSION_BYTES * (held is None) + will_bytes(will) - will_bytes(held.will if held else None)
        if not self._may_own(user, held.own_bytes if held else 0, size):
            return False
        if held is not None:
            return True
        of_user = sum(each.user == user for each in self._sessions.values())
        return len(self._sessions) < limits.sessions - kept_free and (first or of_user < limits.sessions_user)

    def _admit(self, client: str, user: str, packet: Connect, now_s: float) -> tuple[Session, bool]:
        """The client's session, and whether it is one of before (3.1.2.4)."""
        held = self._sessions.get(client)
        goes_on = held is not None and held.user == user and not packet.clean
        if held is not None and held.connection is not None:
            # The newer connection of a client replaces the older (3.1.4-3); a will that has time is not for this.
            delay_s = held.will.properties.will_delay_s if held.will else None
            older = held.connection
            self._dismiss(older, Reason.TAKEN_OVER)
            self._end(older, will=not goes_on or not delay_s, now_s=now_s, goes_on=goes_on)
            held = self._sessions.get(client)
        if held is not None and goes_on and keeps(held):
            held.will_due_s = None
            return held, True
        if held is not None:
            if keeps(held):
                self._publish_will(held, now_s)
            self._end_session(held)
        made = self._sessions[client] = Session(client, user, self._totals)
        made.own(SESSION_BYTES)
        return made, False

    def _welcome(self, packet: Connect, assigned: str, *, resumed: bool) -> Connack:
        if packet.version != V5:
            return Connack(resumed=resumed)
        limits = self.limits
        return Connack(
            resumed=resumed,
            properties=Properties(
                receive_max=limits.receive,
                packet_bytes_max=limits.packet_bytes,
                topic_alias_max=limits.aliases,
                assigned_client=None if packet.client else assigned,
            ),
        )

    def broken(self, number: int, error: PacketError, now_s: float) -> None:
        """The client sent what MQTT does not allow: its connection ends, and it is told why (4.13)."""
        self.dismiss(number, error.reason, now_s)

    def dismiss(self, number: int, reason: Reason, now_s: float) -> None:
        """End a connection from here."""
        connection = self._connections.get(number)
        if connection is None:
            self._out.effects.append(Close(number))
            return
        self._dismiss(connection, reason)
        self._end(connection, will=True, now_s=now_s)

    def lost(self, number: int, now_s: float) -> None:
        """The network has ended it. Of one that ended before, nothing is to be done."""
        connection = self._connections.get(number)
        if connection is not None:
            self._end(connection, will=True, now_s=now_s)

    def _dismiss(self, connection: Connection, reason: Reason) -> None:
        if connection.version == V5:
            self._out.effects.append(Send(connection.number, Farewell(reason=reason)))
        self._out.effects.append(Close(connection.number))

    def _end(self, connection: Connection, *, will: bool, now_s: float, goes_on: bool = False) -> None:
        """`goes_on`: another connection takes the session over at once."""
        session = connection.session
        del self._connections[connection.number]
        self._teller.gone(connection.number)
        session.connection, session.left_s = None, now_s
        delay_s = min(session.will.properties.will_delay_s or 0, session.expiry_s) if session.will else 0
        if not will or goes_on:
            if will:
                self._publish_will(session, now_s)
            session.set_will(None)
        elif delay_s:
            session.will_due_s = now_s + delay_s
        else:
            self._publish_will(session, now_s)
        if not keeps(session):
            self._end_session(session)
        else:
            self._ledger.session(session)

    def _publish_will(self, session: Session, now_s: float) -> None:
        will, session.will_due_s = session.will, None
        session.set_will(None)
        if will is None or not self._may_publish(session.user, session.client, will.topic):
            return  # there is none, or its right is gone
        first = self._guard.comes_first(session.user)
        self._publish(_message_of(will, session.client, now_s), now_s, first=first)

    def _end_session(self, session: Session) -> None:
        for filter in tuple(session.subscriptions):
            self._routes.remove(session, filter)
        session.forget()
        if self._sessions.get(session.client) is session:
            del self._sessions[session.client]
        self._ledger.ended(session.client)

    # --- packets ------------------------------------------------------------------------------------------

    def receive(self, number: int, packet: Packet, now_s: float) -> None:
        """A client's. Whatever it is, it does no harm to others."""
        connection = self._connections.get(number)
        if connection is None:
            return  # it was dismissed, and these were on their way
        connection.heard_s = now_s
        try:
            self._receive(connection, packet, now_s)
        except PacketError as error:
            self.broken(number, error, now_s)

    def _receive(self, connection: Connection, packet: Packet, now_s: float) -> None:
        match packet:
            case Publish():
                self._published(connection, packet, now_s)
            case Ack():
                self._out.acknowledged(connection.session, packet, now_s)
            case Subscribe():
                self._subscribe(connection, packet)
            case Unsubscribe():
                self._unsubscribe(connection.session, packet)
            case Ping():
                self._out.send(connection.session, Ping(kind=Kind.PINGRESP), waits=False)
            case Farewell():
                self._farewell(connection, packet, now_s)
            case Connect() | Connack() | Granted():
                raise PacketError(Reason.PROTOCOL_ERROR, "not now, and not from a client")
            case _:
                assert_never(packet)

    def _farewell(self, connection: Connection, packet: Farewell, now_s: float) -> None:
        if packet.kind == Kind.AUTH:
            raise PacketError(Reason.PROTOCOL_ERROR, "AUTH without a method")
        session, expiry_s = connection.session, packet.properties.session_expiry_s
        if expiry_s is not None:
            if expiry_s and not session.expiry_s:
                raise PacketError(Reason.PROTOCOL_ERROR, "a session can't be kept that was not to be")
            session.expiry_s = expiry_s
        self._out.effects.append(Close(connection.number))
        self._end(connection, will=bool(packet.reason), now_s=now_s)

    # --- messages from clients ----------------------------------------------------------------------------

    def _published(self, connection: Connection, packet: Publish, now_s: float) -> None:
        session = connection.session
        topic = _topic(connection, packet, self.limits)
        self.counts.received += 1
        if packet.qos == 2:
            if packet.packet_id in session.received:
                self._out.send(session, Ack(kind=Kind.PUBREC, packet_id=packet.packet_id))
                return
            if connection.version == V5 and len(session.received) >= self.limits.receive:
                raise PacketError(Reason.RECEIVE_MAX, f"more than {self.limits.receive} messages without an answer")
            if not self._may_own(session.user, session.own_bytes, PACKET_ID_BYTES):
                raise PacketError(Reason.QUOTA, "too many messages that are not released")
        reason = self._take(session, topic, packet, now_s)
        if packet.qos == 1:
            self._out.send(session, Ack(kind=Kind.PUBACK, packet_id=packet.packet_id, reason=reason))
        elif packet.qos == 2:
            if reason < FAILURES:
                session.receive(packet.packet_id)
                self._ledger.received(session, packet.packet_id, here=True)
            elif connection.version != V5:
                session.receive(packet.packet_id)  # 3.1.1 can't say no: what was refused goes the usual way
            self._out.send(session, Ack(kind=Kind.PUBREC, packet_id=packet.packet_id, reason=reason))

    def _take(self, session: Session, topic: str, packet: Publish, now_s: float) -> Reason:
        """What becomes of a message."""
        if not self._may_publish(session.user, session.client, topic):
            self.counts.refused += 1
            return Reason.NOT_AUTHORIZED
        expiry_s = packet.properties.message_expiry_s
        message = Message(
            topic=topic,
            payload=packet.payload,
            qos=packet.qos,
            retain=packet.retain,
            properties=forwarded(packet.properties),
            origin=session.client,
            expires_s=None if expiry_s is None else now_s + expiry_s,
        )
        first = self._guard.comes_first(session.user)
        assert session.connection is not None, "it has just spoken"
        if packet.qos and session.connection.version == V5 and not self._may_retain(message, first=first):
            self.counts.refused += 1
            return Reason.QUOTA
        count = self._publish(message, now_s, first=first)
        self._heard(message)
        return Reason.SUCCESS if count else Reason.NO_SUBSCRIBERS

    def _may_publish(self, user: str, client: str, topic: str) -> bool:
        return not topic.startswith((SYS, SHARE)) and self._guard.may_publish(user, client, topic)

    def publish(self, message: Message, now_s: float) -> int:
        """A message of whoever runs the broker. How many hear it."""
        return self._publish(message, now_s, first=True)

    def _publish(self, message: Message, now_s: float, *, first: bool) -> int:
        if message.retain:
            self._retain(message, first=first)
        hearings = self._routes.hearings(message)
        for heard in hearings:
            self._out.deliver(heard.session, message, qos=heard.qos, retain=heard.retain, ids=heard.ids, now_s=now_s)
        return len(hearings)

    def _may_retain(self, message: Message, *, first: bool) -> bool:
        return not (message.retain and message.payload) or self._retained.has_room(message, first=first)

    def _retain(self, message: Message, *, first: bool) -> None:
        ours = message.topic.startswith(SYS)
        room = self._may_retain(message, first=first)
        if message.payload and room:
            self._retained.put(message)
            if not ours:
                self._ledger.retained(message.topic, message)
            return
        self.counts.unretained += not room
        if self._retained.clear(message.topic) and not ours:
            self._ledger.retained(message.topic, None)  # what is there is older: whoever subscribes would believe it

    # --- subscriptions ------------------------------------------------------------------------------------

    def _subscribe(self, connection: Connection, packet: Subscribe) -> None:
        session = connection.session
        identifier = packet.properties.subscription_ids[0] if packet.properties.subscription_ids else 0
        reasons: list[int] = []
        granted: list[tuple[Subscription, bool]] = []
        for wanted in packet.wanted:
            refusal = self._refusal_of(session, wanted)
            reasons.append(wanted.qos if refusal is None else refusal)
            if refusal is None:
                subscription = Subscription(wanted=wanted, identifier=identifier)
                granted.append((subscription, self._routes.add(session, subscription)))
                self._ledger.subscription(session, wanted.filter)
        self._out.send(session, Granted(kind=Kind.SUBACK, packet_id=packet.packet_id, reasons=tuple(reasons)))
        for subscription, new in granted:
            self._teller.begin(session, subscription, new=new)

    def _refusal_of(self, session: Session, wanted: Wanted) -> Reason | None:
        if not may_subscribe(wanted.filter):
            return Reason.BAD_FILTER
        group, filter = shared(wanted.filter)
        if group and wanted.no_local:
            raise PacketError(Reason.PROTOCOL_ERROR, "no local in a shared subscription")
        if not self._may_hear(session, filter):
            return Reason.NOT_AUTHORIZED
        if wanted.filter not in session.subscriptions and len(session.subscriptions) >= self.limits.subscriptions:
            return Reason.QUOTA
        size = subscription_bytes(wanted.filter)
        if wanted.filter not in session.subscriptions and not self._may_own(session.user, session.own_bytes, size):
            return Reason.QUOTA
        return None

    def _unsubscribe(self, session: Session, packet: Unsubscribe) -> None:
        reasons: list[int] = []
        for filter in packet.filters:
            known = self._routes.remove(session, filter)
            session.tellings.pop(filter, None)
            self._ledger.subscription(session, filter)
            reasons.append(Reason.SUCCESS if known else Reason.NO_SUBSCRIPTION)
        self._out.send(session, Granted(kind=Kind.UNSUBACK, packet_id=packet.packet_id, reasons=tuple(reasons)))

    # --- time ---------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Once a second, or thereabouts."""
        for connection in list(self._connections.values()):
            # One and a half times what the client said without a word from it (3.1.2.10).
            if connection.keepalive_s and now_s - connection.heard_s > 1.5 * connection.keepalive_s:
                self.dismiss(connection.number, Reason.SILENT, now_s)
        for session in [each for each in self._sessions.values() if each.connection is None]:
            if session.will_due_s is not None and session.will_due_s <= now_s:
                self._publish_will(session, now_s)
                self._ledger.session(session)
            away = session.expiry_s != FOREVER and now_s - session.left_s >= session.expiry_s
            orphaned = session.orphaned_s is not None and now_s - session.orphaned_s >= ORPHAN_S_MAX
            if orphaned or (away and session.will_due_s is None):
                self._end_session(session)
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._sweep(now_s)

    def _sweep(self, now_s: float) -> None:
        for topic in self._retained.expired(now_s):
            self._retained.clear(topic)
            self._ledger.retained(topic, None)
        for session in self._sessions.values():
            for delivery in session.drop(lambda message: is_expired(message, now_s)):
                self._ledger.done(session, delivery)


def _topic(connection: Connection, packet: Publish, limits: Limits) -> str:
    """With aliases understood (3.3.2.3.4). Raises `PacketError`."""
    alias = packet.properties.topic_alias
    if alias is None:
        return packet.topic
    if alias > limits.aliases:
        raise PacketError(Reason.BAD_ALIAS, f"topic alias {alias}; {limits.aliases} are allowed")
    if packet.topic:
        connection.aliases[alias] = packet.topic
        if sum(map(text_bytes, connection.aliases.values())) > limits.alias_bytes:
            raise PacketError(Reason.QUOTA, f"topic aliases of more than {limits.alias_bytes} bytes")
    elif alias not in connection.aliases:
        raise PacketError(Reason.PROTOCOL_ERROR, f"topic alias {alias} stands for nothing")
    return connection.aliases[alias]


def _message_of(will: Will, client: str, now_s: float) -> Message:
    expiry_s = will.properties.message_expiry_s
    return Message(
        topic=will.topic,
        payload=will.payload,
        qos=will.qos,
        retain=will.retain,
        properties=forwarded(will.properties),
        origin=client,
        expires_s=None if expiry_s is None else now_s + expiry_s,
    )
