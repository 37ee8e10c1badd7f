"""Which messages on the gateway's broker are for the cloud, by the rules that are held here; and which came before.
Pure; keeps nothing but what it is given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import being_deleted
from skerry.objects.rules import (
    EVENT_BUS,
    PAYLOAD_BYTES_MAX,
    REST,
    SERVICE_BUS,
    EndpointType,
    Rule,
    RuleMessage,
    endpoint_type,
    heard_topic,
    matches,
    rule_of,
    topic_faults,
)

DIGEST_BYTES: Final = 16
MARKS_MAX: Final = 1000
"""Ours asks for no more than 100 messages without an answer, which only brokers of MQTT 3.1.1 do not know."""


class Source(Frozen):
    """One rule that hears something."""

    namespace: str
    rule: str
    topic: str
    """The filter that the broker is asked for; of a rule from servicebus, its `target_url`."""


Endpoints: TypeAlias = "Mapping[tuple[str, str], JsonObject]"
"""By namespace and name."""


def sources_of(rules: Iterable[JsonObject], endpoints: Endpoints, *, node: str) -> tuple[Source, ...]:
    """Of rules from eventbus, in their order. A rule whose ends are not both there, or that is for another node,
    hears nothing."""
    return tuple(
        Source(
            namespace=rule.namespace,
            rule=rule.name,
            topic=heard_topic(rule.namespace, rule.source_resource["topic"]),
        )
        for rule in _to_rest(EVENT_BUS, rules, endpoints, node)
        if not topic_faults(rule.source_resource.get("topic", ""), wildcards=True)
    )


def called_of(rules: Iterable[JsonObject], endpoints: Endpoints, *, node: str) -> tuple[Source, ...]:
    """Of rules from servicebus: what applications may name."""
    return tuple(
        Source(namespace=rule.namespace, rule=rule.name, topic=rule.source_resource["target_url"])
        for rule in _to_rest(SERVICE_BUS, rules, endpoints, node)
        if rule.source_resource.get("target_url")
    )


def _to_rest(source: EndpointType, rules: Iterable[JsonObject], endpoints: Endpoints, node: str) -> Iterator[Rule]:
    for rule in (rule_of(obj) for obj in rules if not being_deleted(obj)):
        ends = [endpoints.get((rule.namespace, name)) for name in (rule.source, rule.target)]
        types = [None if end is None else endpoint_type(end) for end in ends]
        if types == [source, REST] and rule.node == node:
            yield rule


def messages_of(sources: Sequence[Source], topic: str, payload: bytes) -> tuple[RuleMessage, ...]:
    """One for each rule that means the topic."""
    large = len(payload) > PAYLOAD_BYTES_MAX
    return tuple(
        RuleMessage(
            namespace=source.namespace,
            rule=source.rule,
            topic=topic,
            payload=b"" if large else payload,
            left_out_bytes=len(payload) if large else 0,
        )
        for source in sources
        if matches(source.topic, topic)
    )


class Mark(Frozen, kw_only=False):
    """A message that was stored and that the broker may not know to be done: packet id and a digest."""

    mid: int
    digest: str


def mark_of(mid: int, topic: str, payload: bytes) -> Mark:
    return Mark(mid, hashlib.blake2s(topic.encode() + b"\0" + payload, digest_size=DIGEST_BYTES).hexdigest())


def marks_text(marks: Iterable[Mark]) -> str:
    return json.dumps([[mark.mid, mark.digest] for mark in marks], separators=(",", ":"))


def joined(held: Mapping[int, Mark], more: Iterable[Mark]) -> dict[int, Mark]:
    """With these as the newest. Beyond what any broker sends without an answer the oldest go: one of those may be
    told twice, none is lost."""
    marks = {mark.mid: mark for mark in more}
    kept = [mark for mark in held.values() if mark.mid not in marks]
    return {mark.mid: mark for mark in (*kept, *marks.values())[-MARKS_MAX:]}


def read_marks(text: str | None) -> dict[int, Mark]:
    """By packet id, in their order. Nothing where nothing was written, or nothing that makes sense: then a message
    may be told twice, none is lost."""
    try:
        told: Json = json.loads(text or "[]")
    except ValueError:
        return {}
    pairs = told if isinstance(told, list) else []
    return {
        pair[0]: Mark(pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int) and isinstance(pair[1], str)
    }
