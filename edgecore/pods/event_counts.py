"""Events of one pod that say again what was said: the same Event with a higher count, as client-go has it.

(client-go `tools/record/events_cache.go`: of one reason the tenth message within ten minutes begins to be combined.)
Pure. What was said is kept in memory by whoever asks: after a restart of the agent counts begin anew, as a kubelet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, TypeVar

from edgecore.pods.events import Happening
from skerry.frozen import Frozen, field

MESSAGES_MAX: Final = 10
"""Of one reason that are told one by one."""
SIMILAR_MS: Final = 600_000
COMBINED: Final = "(combined from similar events): "
KEPT_MAX: Final = 64
"""Kinds of events of one pod."""

_Key: TypeAlias = tuple[str, str, str, bool]
_Reason: TypeAlias = tuple[str, bool]
_Name = TypeVar("_Name")
_Of = TypeVar("_Of")


class Occurrence(Frozen):
    """One Event as it is to be told now."""

    suffix: str
    """Of its name: that of the first time."""
    message: str
    count: int
    first_ms: int


class Similar(Frozen):
    """What was said for one reason."""

    messages: frozenset[str]
    last_ms: int


class Counts(Frozen):
    """What was said, oldest first."""

    seen: Mapping[_Key, Occurrence] = field(default_factory=dict[_Key, Occurrence])
    similar: Mapping[_Reason, Similar] = field(default_factory=dict[_Reason, Similar])


def observed(counts: Counts, what: Happening, *, suffix: str, now_ms: int) -> tuple[Counts, Occurrence]:
    """The counts with this as well, and the Event to tell; `suffix` is for one that is new."""
    reason = (what.reason, what.warning)
    before = counts.similar.get(reason)
    # (A clock that was set back keeps them together: they can't have been said in the future.)
    if before is None or now_ms - before.last_ms > SIMILAR_MS:
        before = Similar(messages=frozenset(), last_ms=now_ms)
    container, message, key = what.container, what.message, what.message
    if len(before.messages | {message}) < MESSAGES_MAX:
        similar = Similar(messages=before.messages | {message}, last_ms=now_ms)
    else:
        similar = Similar(messages=before.messages, last_ms=now_ms)
        container, message, key = "", COMBINED + message, COMBINED
    named = (what.reason, container, key, what.warning)
    held = counts.seen.get(named)
    now = Occurrence(suffix=suffix, message=message, count=1, first_ms=now_ms)
    if held is not None:
        now = Occurrence(suffix=held.suffix, message=message, count=held.count + 1, first_ms=held.first_ms)
    return Counts(seen=_newest(counts.seen, named, now), similar=_newest(counts.similar, reason, similar)), now


def _newest(held: Mapping[_Name, _Of], name: _Name, value: _Of) -> dict[_Name, _Of]:
    kept = {other: each for other, each in held.items() if other != name}
    if len(kept) >= KEPT_MAX:
        del kept[next(iter(kept))]
    return {**kept, name: value}
