"""How much a node may tell: a pace and a room for its Events, and a count of what was refused.

A gateway has a certificate, not our trust: what it tells is kept for an hour (Events) or for weeks (readings), and is
held in the memory of every replica. What is refused is receipted like the rest, or everything behind it would wait.
Keeps, for each node that told an Event, when its pace is free again, and the last pods that left their nodes; a crash
forgets both: a node has its burst again, and what it tells late of a pod that is gone is refused.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from skerry.frozen import Frozen
from skerry.objects.meta import Key
from skerry.ports import Clock

log = logging.getLogger(__name__)

Refusal: TypeAlias = Literal[
    "malformed",
    "event-subject",
    "event-pace",
    "event-room",
    "reading-device",
    "reading-size",
    "message-rule",
    "message-room",
]
REFUSALS: Final[tuple[Refusal, ...]] = get_args(Refusal)
"""Why something that a node told came to nothing; each is counted from the start of the process."""
_LOGGED_S: Final = 3600.0
"""At most one line in this time for a node and a reason."""


class BoundSettings(Frozen):
    """What a node may tell. An Event is bounded to some 8 KiB, so that a node's are at most 16 MiB."""

    events_burst: int = 1000
    """Events at once: those of an outage, say."""
    events_per_s: float = 0.5
    events_max: int = 2048
    """Events of one node that are in the store; they expire after an hour."""
    messages_max: int = 10_000
    """Messages of one node's rules that wait in the store. Those that were given up have room of their own."""
    message_bytes_max: int = 32 * 1024 * 1024
    """Of them together."""
    departed_max: int = 10_000
    """Pods of all nodes that are remembered after they left."""


@dataclass(slots=True)
class _Silence:
    """Refusals of a node for a reason that the log has not told yet."""

    until_s: float
    count: int = 0


@dataclass(slots=True, kw_only=True)
class Bounds:
    """One for all sessions of a hub: a node that comes again has no new burst."""

    clock: Clock
    events_of: Callable[[str], int]
    """How many Events of a node the store has."""
    messages_of: Callable[[str], tuple[int, int]]
    """How many messages of a node's rules wait in the store, and how many bytes they take."""
    settings: BoundSettings = field(default_factory=BoundSettings)
    refusals: Counter[Refusal] = field(default_factory=Counter[Refusal])
    _free_s: dict[str, float] = field(default_factory=dict[str, float])
    """When a node's whole burst is there again, monotonic."""
    _silences: dict[tuple[str, Refusal], _Silence] = field(default_factory=dict[tuple[str, Refusal], _Silence])
    _departed: OrderedDict[str, tuple[str, Key]] = field(default_factory=OrderedDict[str, tuple[str, Key]])
    """By uid: the node that a pod was on, and its name."""

    def allows_event(self, node: str, *, new: bool) -> bool:
        """Whether there is room for one more Event of the node (or for a later state of one); it takes its place."""
        settings = self.settings
        if new and self.events_of(node) >= settings.events_max:
            self.refuse(node, "event-room")
            return False
        now_s = self.clock.monotonic_s()
        free_s = max(now_s, self._free_s.get(node, now_s)) + 1 / settings.events_per_s
        if free_s > now_s + settings.events_burst / settings.events_per_s:
            self.refuse(node, "event-pace")
            return False
        self._free_s[node] = free_s
        return True

    def allows_message(self, node: str, size: int) -> bool:
        """Whether there is room for one more message of the node."""
        count, held = self.messages_of(node)
        if count < self.settings.messages_max and held + size <= self.settings.message_bytes_max:
            return True
        self.refuse(node, "message-room")
        return False

    def refuse(self, node: str, why: Refusal) -> bool:
        """Count it; tell it at once, and after that once an hour with the number. Whether it was told now."""
        self.refusals[why] += 1
        now_s = self.clock.monotonic_s()
        silence = self._silences.get((node, why))
        if silence is not None and now_s < silence.until_s:
            silence.count += 1
            return False
        count = 1 + (silence.count if silence is not None else 0)
        self._silences[node, why] = _Silence(now_s + _LOGGED_S)
        log.warning("reports refused node=%s why=%s count=%d", node, why, count)
        return True

    def left(self, node: str, uid: str, key: Key) -> None:
        """A pod of the node is gone; the gateway may still have something to tell of it."""
        self._departed[uid] = (node, key)
        self._departed.move_to_end(uid)
        if len(self._departed) > self.settings.departed_max:
            self._departed.popitem(last=False)

    def was_on(self, node: str, uid: str, key: Key) -> bool:
        """Whether this pod was on the node until it left."""
        return self._departed.get(uid) == (node, key)
