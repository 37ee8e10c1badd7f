"""What changed since it was written down last, gathered into rows when somebody asks.

Pure. A delivery that came and was acknowledged in between leaves no row at all. Of sessions that end with their
connection only a will is kept: it is to be published after a power cut as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from skerry.frozen import replace
from skerry.mqtt.kept import Changes, Delivery, DeliveryKey, DeliveryRow, Message, SessionRow, Subscription
from skerry.mqtt.session import Session


def keeps(session: Session) -> bool:
    """Whether what waits for it is kept on disk."""
    return session.expiry_s > 0


class Ledger:
    """See the module."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known` are clients of which something is kept."""
        self._known = set(known)
        self._ended: set[str] = set()
        self._sessions: set[str] = set()
        self._subscriptions: set[tuple[str, str]] = set()
        self._deliveries: dict[DeliveryKey, Delivery | None] = {}
        """None: it is done."""
        self._received: dict[tuple[str, int], bool] = {}
        self._retained: dict[str, Message | None] = {}

    def session(self, session: Session) -> None:
        if keeps(session) or session.will is not None:
            self._sessions.add(session.client)
            self._known.add(session.client)

    def ended(self, client: str) -> None:
        """Nothing of it is kept. What is noted of the client from here on is of another session."""
        if client not in self._known:
            return
        self._known.discard(client)
        self._ended.add(client)
        self._sessions.discard(client)
        self._subscriptions = {place for place in self._subscriptions if place[0] != client}
        self._deliveries = {key: held for key, held in self._deliveries.items() if key[0] != client}
        self._received = {place: held for place, held in self._received.items() if place[0] != client}

    def concerns(self, client: str) -> bool:
        """Whether there is something to write of the client's session itself."""
        return client in self._ended or client in self._sessions

    def subscription(self, session: Session, filter: str) -> None:
        if keeps(session):
            self._subscriptions.add((session.client, filter))

    def delivery(self, session: Session, delivery: Delivery) -> None:
        """It is new, or at another stage."""
        if keeps(session):
            self._deliveries[session.client, delivery.number] = delivery

    def done(self, session: Session, delivery: Delivery) -> None:
        if delivery.saved:
            self._deliveries[session.client, delivery.number] = None
        else:
            self._deliveries.pop((session.client, delivery.number), None)

    def received(self, session: Session, packet_id: int, *, here: bool) -> None:
        if keeps(session):
            self._received[session.client, packet_id] = here

    def retained(self, topic: str, message: Message | None) -> None:
        """None: nothing is, any more."""
        self._retained[topic] = message

    @property
    def is_empty(self) -> bool:
        return not (
            self._ended
            or self._sessions
            or self._subscriptions
            or self._deliveries
            or self._received
            or self._retained
        )

    def take(self, sessions: Mapping[str, Session]) -> Changes:
        """What there is to write; from here on it counts as written."""
        new = [(key, held) for key, held in self._deliveries.items() if held is not None and not held.saved]
        changes = Changes(
            ended=tuple(self._ended),
            sessions=tuple(_row(sessions[client]) for client in self._sessions),
            unsubscribed=tuple(
                place for place in self._subscriptions if place[1] not in _filters(sessions, place[0])
            ),
            subscribed=tuple(
                (client, _subscription(sessions[client], filter))
                for client, filter in self._subscriptions
                if filter in _filters(sessions, client)
            ),
            done=tuple(key for key, held in self._deliveries.items() if held is None),
            deliveries=tuple(_delivery_row(client, held) for (client, _), held in new),
            staged=tuple(
                (client, held.number, held.packet_id, held.stage)
                for (client, _), held in self._deliveries.items()
                if held is not None and held.saved
            ),
            forgotten=tuple(place for place, here in self._received.items() if not here),
            received=tuple(place for place, here in self._received.items() if here),
            cleared=tuple(topic for topic, message in self._retained.items() if message is None),
            retained=tuple(message for message in self._retained.values() if message is not None),
        )
        for _, held in new:
            held.saved = True
        for noted in (
            self._ended, self._sessions, self._subscriptions, self._deliveries, self._received, self._retained
        ):  # fmt: skip
            noted.clear()
        return changes


def _filters(sessions: Mapping[str, Session], client: str) -> Iterable[str]:
    return sessions[client].subscriptions if client in sessions else ()


def _subscription(session: Session, filter: str) -> Subscription:
    return replace(session.subscriptions[filter], telling=filter in session.tellings)


def _row(session: Session) -> SessionRow:
    return SessionRow(
        client=session.client,
        user=session.user,
        expiry_s=session.expiry_s,
        left_s=None if session.connection is not None else session.left_s,
        will=session.will,
        will_due_s=session.will_due_s,
    )


def _delivery_row(client: str, held: Delivery) -> DeliveryRow:
    return DeliveryRow(
        client=client,
        number=held.number,
        qos=held.qos,
        retain=held.retain,
        subscription_ids=held.subscription_ids,
        packet_id=held.packet_id,
        stage=held.stage,
        message=held.message,
    )


def joined(earlier: Changes, later: Changes) -> Changes:
    """Both as one, for a disk that did not take the earlier. What the later ends is of no use in the earlier, and
    what was never written need not be deleted: however long it lasts, this is no more than a broker holds."""
    gone, done = set(later.ended), set(later.done)
    unwritten = {(row.client, row.number) for row in earlier.deliveries}
    stages = {(client, number): (packet_id, stage) for client, number, packet_id, stage in later.staged}
    kept = [row for row in earlier.deliveries if row.client not in gone and (row.client, row.number) not in done]
    moved = [
        replace(row, packet_id=stages[row.client, row.number][0], stage=stages[row.client, row.number][1])
        if (row.client, row.number) in stages
        else row
        for row in kept
    ]
    topics = {*later.cleared, *(message.topic for message in later.retained)}
    places = {*later.received, *later.forgotten}
    filters = {*later.unsubscribed, *((client, each.wanted.filter) for client, each in later.subscribed)}
    known = {row.client for row in later.sessions}
    return Changes(
        ended=tuple(dict.fromkeys((*earlier.ended, *later.ended))),
        sessions=(*(row for row in earlier.sessions if row.client not in gone | known), *later.sessions),
        unsubscribed=(
            *(p for p in earlier.unsubscribed if p[0] not in gone and p not in filters),
            *later.unsubscribed,
        ),
        subscribed=(
            *(p for p in earlier.subscribed if p[0] not in gone and (p[0], p[1].wanted.filter) not in filters),
            *later.subscribed,
        ),
        done=(
            *(key for key in earlier.done if key[0] not in gone),
            *(key for key in later.done if key not in unwritten),
        ),
        deliveries=(*moved, *later.deliveries),
        staged=(*(row for row in earlier.staged if row[0] not in gone and row[:2] not in done), *later.staged),
        forgotten=(*(p for p in earlier.forgotten if p[0] not in gone and p not in places), *later.forgotten),
        received=(*(p for p in earlier.received if p[0] not in gone and p not in places), *later.received),
        cleared=(*(topic for topic in earlier.cleared if topic not in topics), *later.cleared),
        retained=(*(message for message in earlier.retained if message.topic not in topics), *later.retained),
    )
