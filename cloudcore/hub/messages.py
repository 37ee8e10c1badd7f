"""Messages that a gateway tells for a rule, as objects that wait for their target; and how much room those take.

A message is made in the transaction of its receipt, under a name that follows from its number in the gateway's
outbox: told twice, it is one. It belongs to its Rule and goes with it. Keeps sums by node, which are made again when
messages have come or gone; a crash loses nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from cloudcore.store.cache import WatchCache
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import uid_of
from skerry.objects.rules import GROUP, MESSAGES, RuleMessage, payload_json
from skerry.objects.times import micro_time_text
from skerry.sync.effects import DatedReport

_STEM_LENGTH_MAX: Final = 200


def message_name(rule: str, *, node: str, incarnation: str, seq: int) -> str:
    digest = hashlib.blake2s(f"{node}\0{incarnation}\0{seq}".encode(), digest_size=8).hexdigest()
    return f"{rule[:_STEM_LENGTH_MAX].rstrip('.-')}.{digest}"


def message_object(
    told: RuleMessage, rule: JsonObject, dated: DatedReport, *, node: str, incarnation: str, name: str
) -> JsonObject:
    """The RuleMessage of a Rule that is there."""
    return {
        "apiVersion": "skerry.dev/v1",
        "kind": "RuleMessage",
        "metadata": {
            "namespace": told.namespace,
            "name": name,
            "ownerReferences": [
                {"apiVersion": f"{GROUP}/v1", "kind": "Rule", "name": told.rule, "uid": uid_of(rule)},
            ],
        },
        "spec": {
            "rule": told.rule,
            "nodeName": node,
            "topic": told.topic,
            "heardTime": micro_time_text(dated.at_ms),
            "incarnation": incarnation,
            "order": dated.report.seq,
        }
        | payload_json(told.payload)
        | ({"call": told.call} if told.call else {}),
        "status": {"phase": "Pending"} | _call_ends(told, dated),
    }


def _call_ends(told: RuleMessage, dated: DatedReport) -> JsonObject:
    return {"deadlineTime": micro_time_text(dated.at_ms + told.within_ms)} if told.call else {}


class MessageRoom:
    """How many messages of each node wait in the store, and how many bytes they take. Those that were given up are
    bounded by rule (`cloudcore.rules.plan.beyond`): what nobody looks at must not keep out what is new."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._seen = -1
        self._held: Mapping[str, tuple[int, int]] = {}

    def of(self, node: str) -> tuple[int, int]:
        changed = self._cache.changed(MESSAGES)
        if changed != self._seen:
            self._held = self._counted()
            self._seen = changed
        return self._held.get(node, (0, 0))

    def _counted(self) -> Mapping[str, tuple[int, int]]:
        held: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for stored in self._cache.select(MESSAGES):
            message = self._cache.obj(stored)
            if str_at(message, "status", "phase") == "Dead":
                continue
            node = str_at(message, "spec", "nodeName")
            count, size = held[node]
            held[node] = count + 1, size + len(stored.body)
        return held
