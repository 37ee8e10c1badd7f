"""The devices that speak through a broker, by whose rules both backends play. The broker is `skerry.mqtt`'s. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from devices.mqtt.config import Broker
from devices.payload import Path, parse_path
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.mqtt.kept import Message
from skerry.mqtt.limits import Limits
from skerry.objects.json import Json, JsonObject

PUBLISHED_MAX: Final = 10_000
"""Messages of gateways that are remembered; then the oldest is forgotten."""
NUMBER: Final = "${n}"
"""In what a device tells: how many times it told it."""
TIME: Final = "${at}"
"""In what a device tells: the time, in seconds since 1970."""
VALUE: Final = "${value}"
"""In the template of a command."""
GATEWAYS: Final = Broker(host="127.0.0.1", port=1883)
"""The broker of devices that name none."""
LIMITS: Final = Limits(queue=100_000, queue_bytes=256 << 20, total_bytes=512 << 20)
"""Of a broker on a machine that runs tests: it keeps what a gateway misses for days."""


class Obedience(Frozen):
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
