"""An MQTT broker without its network, and the devices that speak through it. Both backends play by these rules. Pure.

It does the one thing that gateways rest on: what a client with a lasting session has not acknowledged is sent again,
in order, however the client went away. Sessions and retained messages are in memory.

Source: MQTT 3.1.1 (OASIS), sections 3.1.2.4 (sessions), 3.3.1.3 (retained), 4.4 (delivery again), 4.7 (topics).
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from devices.payload import Path, parse_path
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject

WINDOW: Final = 64
"""Messages sent to a client and not yet acknowledged; the rest wait in its queue."""
QUEUE_MAX: Final = 100_000
"""Messages kept for a client that is away; then the oldest goes, and is counted."""
PUBLISHED_MAX: Final = 10_000
"""Messages of gateways that are remembered; then the oldest is forgotten."""
NUMBER: Final = "${n}"
"""In what a device tells: how many times it told it."""
TIME: Final = "${at}"
"""In what a device tells: the time, in seconds since 1970."""
VALUE: Final = "${value}"
"""In the template of a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool = False


Deliver = Callable[[Message, int, bool], None]
"""(message, packet id or 0 with QoS 0, whether it was sent before)."""


@dataclass(slots=True)
class Session:
    """What the broker knows of a client, also while it is away unless it asked for a clean session."""

    client: str
    clean: bool
    filters: dict[str, int] = field(default_factory=dict[str, int])
    queue: deque[Message] = field(default_factory=deque[Message])
    unacknowledged: dict[int, Message] = field(default_factory=dict[int, Message])
    """By packet id, in the order of sending."""
    received: set[int] = field(default_factory=set[int])
    """Packet ids of QoS 2 that came and were not yet released."""
    will: Message | None = None
    deliver: Deliver | None = None
    """While the client is there."""
    last_id: int = 0
    dropped: int = 0

    def take(self, message: Message) -> None:
        if message.qos == 0:
            if self.deliver:
                self.deliver(message, 0, False)
            return
        if len(self.queue) >= QUEUE_MAX:
            self.queue.popleft()
            self.dropped += 1
        self.queue.append(message)
        self.pump()

    def pump(self) -> None:
        while self.deliver and self.queue and len(self.unacknowledged) < WINDOW:
            message = self.queue.popleft()
            number = self._next_id()
            self.unacknowledged[number] = message
            self.deliver(message, number, False)

    def acknowledged(self, number: int) -> None:
        self.unacknowledged.pop(number, None)
        self.pump()

    def resume(self, deliver: Deliver) -> None:
        """The client is there again: what it has not acknowledged is sent again, in order (section 4.4)."""
        self.deliver = deliver
        for number, message in list(self.unacknowledged.items()):
            deliver(message, number, True)
        self.pump()

    def _next_id(self) -> int:
        while True:
            self.last_id = self.last_id % 0xFFFF + 1
            if self.last_id not in self.unacknowledged:
                return self.last_id


class Exchange:
    """Sessions and what is retained: who gets which message."""

    def __init__(self, heard: Callable[[Message], None]) -> None:
        """`heard` is told of every message that a client publishes."""
        self._heard = heard
        self._retained: dict[str, Message] = {}
        self.sessions: dict[str, Session] = {}

    def session(self, client: str, *, clean: bool) -> tuple[Session, bool]:
        """The client's session, and whether it is one of before. Whoever holds it lets go first (`left`)."""
        held = self.sessions.get(client)
        known = held is not None and not clean
        if held is None or clean:
            held = self.sessions[client] = Session(client, clean)
        held.clean = clean
        return held, known

    def left(self, session: Session) -> None:
        """The client is gone; its will is published."""
        session.deliver = None
        will, session.will = session.will, None
        if session.clean and self.sessions.get(session.client) is session:
            del self.sessions[session.client]
        if will:
            self.route(will)

    def subscribe(self, session: Session, filters: Sequence[tuple[str, int]]) -> None:
        """What is retained of them is sent at once."""
        session.filters.update(filters)
        for wanted, qos in filters:
            for message in [kept for kept in self._retained.values() if matches(wanted, kept.topic)]:
                session.take(replace(message, qos=min(qos, message.qos)))

    def publish(self, message: Message) -> None:
        """A client's."""
        self.route(message)
        self._heard(message)

    def route(self, message: Message) -> None:
        if message.retain and message.payload:
            self._retained[message.topic] = message
        elif message.retain:
            self._retained.pop(message.topic, None)
        for session in list(self.sessions.values()):
            qos = max((qos for wanted, qos in session.filters.items() if matches(wanted, message.topic)), default=-1)
            if qos >= 0:
                session.take(replace(message, qos=min(qos, message.qos), retain=False))


def matches(wanted: str, topic: str) -> bool:
    """Section 4.7: `+` is one level, `#` the rest; topics that begin with $ match no leading wildcard."""
    if topic.startswith("$") and wanted[:1] in ("+", "#"):
        return False
    levels: Iterator[str] = iter(topic.split("/"))
    for part in wanted.split("/"):
        if part == "#":
            return True
        level = next(levels, None)
        if level is None or part not in ("+", level):
            return False
    return next(levels, None) is None


# --- devices that speak through it ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Obedience:
    """What a device does with a command."""

    topic: str
    """Where it tells what became of it."""
    path: Path
    """Which place of what it tells takes the value."""
    template: re.Pattern[str]


class Devices:
    """What devices tell again and again, and what they do when they are told to."""

    def __init__(self) -> None:
        self._documents: dict[str, Json] = {}
        self._counts: dict[str, int] = {}
        self._obeyed: dict[str, list[Obedience]] = {}

    def tells(self, topic: str, document: Json) -> None:
        """From now on so; None: nothing more."""
        if document is None:
            self._documents.pop(topic, None)
        else:
            self._documents[topic] = document

    def obeys(self, command_topic: str, topic: str, path: str, template: str) -> None:
        """Raises `InvalidError`."""
        self._obeyed.setdefault(command_topic, []).append(
            Obedience(topic=topic, path=parse_path(path), template=pattern_of(template))
        )

    def payload(self, topic: str, at_s: float) -> bytes | None:
        """What is told on the topic at this time; None: nothing."""
        if topic not in self._documents:
            return None
        self._counts[topic] = self._counts.get(topic, 0) + 1
        return payload_of(_filled(self._documents[topic], self._counts[topic], at_s))

    def commanded(self, message: Message) -> list[str]:
        """The topics on which something is told now that a gateway has published this."""
        told: list[str] = []
        for each in self._obeyed.get(message.topic, []):
            found = each.template.fullmatch(message.payload.decode(errors="replace"))
            if found is not None:
                self._documents[each.topic] = _set(
                    self._documents.get(each.topic), each.path, _value(found.group("value"))
                )
                told.append(each.topic)
        return list(dict.fromkeys(told))

    def is_misunderstood(self, message: Message) -> bool:
        """Whether somebody waits for commands on its topic, and none of them takes one of this form."""
        waiting = self._obeyed.get(message.topic, [])
        text = message.payload.decode(errors="replace")
        return bool(waiting) and not any(each.template.fullmatch(text) for each in waiting)


def topic_of(topic: object) -> str:
    """Raises `InvalidError` for what nobody can publish on."""
    if not isinstance(topic, str) or not topic or "+" in topic or "#" in topic or "\x00" in topic:
        raise InvalidError(f"topic: a plain MQTT topic such as site/mast, not {topic!r}")
    return topic


def payload_of(payload: object) -> bytes:
    """Text and bytes as they are, all else as JSON. Raises `InvalidError`."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    try:
        return json.dumps(payload, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidError(f"payload: text, bytes, or what JSON can say, not {payload!r} ({error})") from error


def pattern_of(template: str) -> re.Pattern[str]:
    """What a command looks like that says a value. Raises `InvalidError`."""
    before, found, after = template.partition(VALUE)
    if not found or VALUE in after:
        raise InvalidError(f"template: has {VALUE} in it, once, not {template!r}")
    return re.compile(re.escape(before) + "(?P<value>.*)" + re.escape(after), re.DOTALL)


def _value(text: str) -> Json:
    try:
        said: Json = json.loads(text)
    except ValueError:
        return text
    return said


def _filled(document: Json, number: int, at_s: float) -> Json:
    if document == NUMBER:
        return number
    if document == TIME:
        return round(at_s, 3)
    if isinstance(document, dict):
        return {name: _filled(value, number, at_s) for name, value in document.items()}
    if isinstance(document, list):
        return [_filled(value, number, at_s) for value in document]
    return document


def _set(document: Json, path: Path, value: Json) -> Json:
    """The document with the value at this place, and every step to it."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        items = [*document] if isinstance(document, list) else []
        items += [None] * (step + 1 - len(items))
        items[step] = _set(items[step], rest, value)
        return items
    fields: JsonObject = dict(document) if isinstance(document, dict) else {}
    fields[step] = _set(fields.get(step), rest, value)
    return fields


def document_of(places: Mapping[Path, Json]) -> Json:
    """What a device tells that has these values at these places; () alone for a payload that is the value."""
    document: Json = None
    for path, value in places.items():
        document = _set(document, path, value)
    return document
