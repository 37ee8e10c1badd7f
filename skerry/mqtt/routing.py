"""Who hears a message: subscriptions by filter, groups that share one, and what is retained by topic.

Pure. Keeps sessions under their filters, and one message a topic within its bounds. Source: MQTT 5.0, sections
3.3.1.3 (retain), 3.3.4 (overlapping subscriptions), 3.8.3.1 (options), 4.8.2 (shared subscriptions).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from skerry.frozen import Frozen
from skerry.mqtt.kept import Message, Subscription
from skerry.mqtt.limits import Limits
from skerry.mqtt.session import LEVEL_BYTES, Session, is_expired, subscription_bytes
from skerry.mqtt.topics import FilterTree, TopicTree, shared


@dataclass(slots=True, eq=False)
class _Group:
    """Who share a subscription: each message goes to one of them."""

    members: dict[str, tuple[Session, Subscription]] = field(default_factory=dict[str, tuple[Session, Subscription]])
    turn: int = 0

    def choose(self) -> tuple[Session, Subscription] | None:
        """The next in turn of those that are there and have room, else of those that are there, else of all."""
        members = list(self.members.values())
        there = [each for each in members if each[0].connection is not None]
        free = [each for each in there if not each[0].queue]
        among = free or there or members
        if not among:
            return None
        self.turn += 1
        return among[self.turn % len(among)]


class Hearing(Frozen, kw_only=False):
    """One session that hears a message."""

    session: Session
    qos: int
    retain: bool
    ids: tuple[int, ...]


class Routes:
    """Subscriptions."""

    def __init__(self) -> None:
        self._plain: FilterTree[tuple[Session, Subscription]] = FilterTree()
        self._groups: FilterTree[_Group] = FilterTree()
        self._shares: dict[tuple[str, str], _Group] = {}
        self.count = 0

    def add(self, session: Session, subscription: Subscription) -> bool:
        """Whether it is new; else it replaces the one of the same filter."""
        wanted = subscription.wanted.filter
        new = wanted not in session.subscriptions
        self.count += new
        session.own(subscription_bytes(wanted) if new else 0)
        session.subscriptions[wanted] = subscription
        session.hushed.discard(wanted)
        self._hear(session, subscription)
        return new

    def _hear(self, session: Session, subscription: Subscription) -> None:
        group, filter = shared(subscription.wanted.filter)
        if not group:
            self._plain.put(filter, session.client, (session, subscription))
            return
        held = self._shares.get((group, filter))
        if held is None:
            held = self._shares[group, filter] = _Group()
            self._groups.put(filter, group, held)
        held.members[session.client] = session, subscription

    def remove(self, session: Session, wanted: str) -> bool:
        """Whether it was there."""
        if session.subscriptions.pop(wanted, None) is None:
            return False
        self.count -= 1
        session.own(-subscription_bytes(wanted))
        if wanted in session.hushed:
            session.hushed.discard(wanted)
        else:
            self._unhear(session, wanted)
        return True

    def _unhear(self, session: Session, wanted: str) -> None:
        group, filter = shared(wanted)
        if not group:
            self._plain.remove(filter, session.client)
            return
        held = self._shares[group, filter]
        del held.members[session.client]
        if not held.members:
            del self._shares[group, filter]
            self._groups.remove(filter, group)

    def hush(self, session: Session, wanted: str, hushed: bool) -> None:
        """Whether a subscription that is there hears nothing, or what it hears."""
        if hushed == (wanted in session.hushed):
            return
        if hushed:
            session.hushed.add(wanted)
            self._unhear(session, wanted)
        else:
            session.hushed.discard(wanted)
            self._hear(session, session.subscriptions[wanted])

    def hearings(self, message: Message) -> Sequence[Hearing]:
        """One for each session, however many of its subscriptions match (3.3.4)."""
        found = self._plain.find(message.topic)
        if len(found) == 1:
            heard = _heard(message, *found[0])
            hearings = [heard] if heard is not None else []
        else:
            hearings = list(_merged(message, found))
        if self._shares:
            for group in self._groups.find(message.topic):
                chosen = group.choose()
                if chosen is not None and (heard := _heard(message, *chosen)) is not None:
                    hearings.append(heard)
        return hearings


def _heard(message: Message, session: Session, subscription: Subscription) -> Hearing | None:
    wanted = subscription.wanted
    if wanted.no_local and session.client == message.origin:
        return None
    return Hearing(
        session,
        min(wanted.qos, message.qos),
        message.retain and wanted.as_published,
        (subscription.identifier,) if subscription.identifier else (),
    )


def _merged(message: Message, found: Sequence[tuple[Session, Subscription]]) -> Iterator[Hearing]:
    by_client: dict[str, Hearing] = {}
    for session, subscription in found:
        heard = _heard(message, session, subscription)
        if heard is None:
            continue
        before = by_client.get(session.client)
        if before is not None:
            heard = Hearing(
                session, max(before.qos, heard.qos), before.retain or heard.retain, before.ids + heard.ids
            )
        by_client[session.client] = heard
    yield from by_client.values()


def _size(message: Message) -> int:
    """Of one that is retained."""
    return message.size + LEVEL_BYTES * (message.topic.count("/") + 1)


class _Held(Frozen, kw_only=False):
    number: int
    message: Message


class Retained:
    """The newest message of each topic that was published to be kept."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tree: TopicTree[_Held] = TopicTree()
        self.newest = 0
        """The number of the message that came last."""
        self.bytes = 0
        """What all of it takes in memory."""

    def __len__(self) -> int:
        return len(self._tree)

    def has_room(self, message: Message, *, first: bool) -> bool:
        """`first`: for one that comes first."""
        before = self._tree.get(message.topic)
        size = _size(message) - (_size(before.message) if before else 0)
        share = 1 if first else 1 - self._limits.retained_reserved
        return self.bytes + size <= share * self._limits.retained_bytes and (
            before is not None or len(self._tree) < share * self._limits.retained
        )

    def put(self, message: Message) -> None:
        before = self._tree.get(message.topic)
        self.bytes += _size(message) - (_size(before.message) if before else 0)
        self.newest += 1
        self._tree.put(message.topic, _Held(self.newest, message))

    def clear(self, topic: str) -> bool:
        """Whether something was there."""
        before = self._tree.remove(topic)
        if before is not None:
            self.bytes -= _size(before.message)
        return before is not None

    def topics(self, filter: str) -> list[str]:
        """Of those that match."""
        return [held.message.topic for held in self._tree.find(filter)]

    def get(self, topic: str, until: int, now_s: float) -> Message | None:
        """What is retained of it; None: nothing, or what came after the message of this number."""
        held = self._tree.get(topic)
        if held is None or held.number > until or is_expired(held.message, now_s):
            return None
        return held.message

    def expired(self, now_s: float) -> list[str]:
        return [topic for topic, held in self._tree.items() if is_expired(held.message, now_s)]
