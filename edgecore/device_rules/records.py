"""What is kept of a device rule: whether it is in force, what it did, and how far its last firing has come. Pure.

A record is written in the transaction of the firing that it tells of, before anything is done, and once more when
each action is begun and when it has ended. So a crash leaves either nothing of a firing, or all of it with what was
not begun yet; and of an action that was begun it is known that nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, cast, get_args

from skerry.frozen import Frozen, replace
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    decode_object,
    encode_object,
    int_at,
    list_at,
    maps_at,
    str_at,
)
from skerry.objects.times import time_text

RECENT_MAX: Final = 5
"""Firings that are kept for people."""
ERRORS_MAX: Final = 10
ERROR_LENGTH_MAX: Final = 512
SAID_LENGTH_MAX: Final = 200
"""Of what was said, as it is shown."""

ActionState: TypeAlias = Literal["staged", "begun", "done", "failed", "unknown", "yielded", "shadow", "cancelled"]
"""`staged`: it will be done. `begun`: it is under way, and a crash leaves it `unknown`, unless what it did can be
looked up. `yielded`: what somebody else wanted stands. `shadow`: it would have been done. `cancelled`: the rule went
away or was changed first."""
OVER: Final[frozenset[ActionState]] = frozenset({"done", "failed", "unknown", "yielded", "shadow", "cancelled"})
What: TypeAlias = Literal["fired", "ended"]
Counted: TypeAlias = Literal[
    "firings", "endings", "shadowFirings", "skipped", "failedActions", "unknownActions", "yieldedActions"
]
COUNTED: Final[tuple[Counted, ...]] = get_args(Counted)
_COUNTED_AS: Final[dict[ActionState, Counted]] = {
    "failed": "failedActions",
    "unknown": "unknownActions",
    "yielded": "yieldedActions",
}


class ActionRecord(Frozen):
    """One thing that a firing does."""

    form: str
    """set, publish, call, alarm."""
    target: str
    """For people: boiler/pump, a topic, port and path, a severity."""
    said: str
    """The value, the payload, the message."""
    state: ActionState = "staged"
    reason: str = ""
    at_ms: int = 0
    """Of its state."""
    attempts: int = 0
    answer: str = ""
    """What the device, the broker or the service has answered."""


class Firing(Frozen):
    """Once that a rule acted."""

    number: int
    """Of this rule, from 1; endings are counted with them."""
    what: What
    at_ms: int
    condition: str
    """Its parts with what they came to, for people."""
    values: tuple[tuple[str, str, str], ...]
    """(name, value, quality) of what it was decided by."""
    actions: tuple[ActionRecord, ...] = ()
    spec: str = ""
    """Digest of the spec whose actions they are."""

    @property
    def is_over(self) -> bool:
        return all(action.state in OVER for action in self.actions)

    def with_action(self, index: int, action: ActionRecord) -> Firing:
        return replace(self, actions=(*self.actions[:index], action, *self.actions[index + 1 :]))


class RuleRecord(Frozen):
    """One rule on this gateway."""

    spec: str = ""
    """Digest of the spec that it is of."""
    active: bool = False
    """It fired, and its end has not come."""
    number: int = 0
    """Of the last firing."""
    fired_ms: int = 0
    """When it fired last; 0: never."""
    ended_ms: int = 0
    fired: tuple[int, ...] = ()
    """When it fired, the newest, as many as its limit counts: what rests are counted from. They move with a clock
    that is set, other than what is told to people."""
    halted: str = ""
    """Why it does not fire, though it might; "" for nothing."""
    halted_until_ms: int = 0
    counts: tuple[int, ...] = (0,) * len(COUNTED)
    current: Firing | None = None
    """What is under way."""
    recent: tuple[Firing, ...] = ()
    """What is over, the newest last."""
    errors: tuple[str, ...] = ()

    def counted(self, what: Counted, by: int = 1) -> RuleRecord:
        at = COUNTED.index(what)
        return replace(self, counts=(*self.counts[:at], self.counts[at] + by, *self.counts[at + 1 :]))

    def with_error(self, text: str, at_ms: int) -> RuleRecord:
        errors = (*self.errors, f"{time_text(at_ms)}: {text}"[:ERROR_LENGTH_MAX])
        return replace(self, errors=errors[-ERRORS_MAX:])

    def with_action(self, index: int, action: ActionRecord) -> RuleRecord:
        """The firing under way has come so far. When all of it is over, it is."""
        assert self.current is not None, "an action belongs to a firing"
        firing = self.current.with_action(index, action)
        record = replace(self, current=firing)
        if action.state in _COUNTED_AS:
            record = record.counted(_COUNTED_AS[action.state])
        if action.state in ("failed", "unknown"):
            record = record.with_error(f"{action.form} {action.target}: {action.reason}", action.at_ms)
        return record.settled()

    def settled(self) -> RuleRecord:
        """What is over is put with what was, as much of it as is shown."""
        if self.current is None or not self.current.is_over:
            return self
        actions = tuple(replace(action, said=action.said[:SAID_LENGTH_MAX]) for action in self.current.actions)
        recent = (*self.recent, replace(self.current, actions=actions))[-RECENT_MAX:]
        return replace(self, current=None, recent=recent)

    def cancelled(self, why: str, at_ms: int) -> RuleRecord:
        """What was not begun is not done."""
        record = self
        for index, action in enumerate(() if self.current is None else self.current.actions):
            if action.state == "staged" and record.current is not None:
                record = record.with_action(index, replace(action, state="cancelled", reason=why, at_ms=at_ms))
        return record

    def encode(self) -> bytes:
        counts: JsonObject = dict(zip(COUNTED, self.counts, strict=True))
        return encode_object(
            {
                "spec": self.spec,
                "active": self.active,
                "number": self.number,
                "firedMs": self.fired_ms,
                "endedMs": self.ended_ms,
                "fired": [*self.fired],
                "halted": self.halted,
                "haltedUntilMs": self.halted_until_ms,
                "counts": counts,
                "current": None if self.current is None else _firing_json(self.current),
                "recent": [_firing_json(firing) for firing in self.recent],
                "errors": [*self.errors],
            }
        )


def decode_record(body: bytes) -> RuleRecord:
    data = decode_object(body)
    current, spec = data.get("current"), str_at(data, "spec")
    return RuleRecord(
        spec=spec,
        active=bool_at(data, "active"),
        number=int_at(data, "number"),
        fired_ms=int_at(data, "firedMs"),
        ended_ms=int_at(data, "endedMs"),
        fired=tuple(at for at in list_at(data, "fired") if isinstance(at, int)),
        halted=str_at(data, "halted"),
        halted_until_ms=int_at(data, "haltedUntilMs"),
        counts=tuple(int_at(data, "counts", name) for name in COUNTED),
        current=_firing_from(current, spec) if isinstance(current, dict) else None,
        recent=tuple(_firing_from(firing, spec) for firing in maps_at(data, "recent")),
        errors=tuple(text for text in list_at(data, "errors") if isinstance(text, str)),
    )


def _firing_json(firing: Firing) -> JsonObject:
    values: list[Json] = [[*value] for value in firing.values]
    return {
        "number": firing.number,
        "what": firing.what,
        "atMs": firing.at_ms,
        "condition": firing.condition,
        "values": values,
        "actions": [_action_json(action) for action in firing.actions],
        "spec": firing.spec,
    }


def _firing_from(data: JsonObject, spec: str) -> Firing:
    """`spec`: of the record, for a firing that does not say it."""
    values = [entry for entry in list_at(data, "values") if isinstance(entry, list) and len(entry) == 3]
    return Firing(
        number=int_at(data, "number"),
        what="ended" if str_at(data, "what") == "ended" else "fired",
        at_ms=int_at(data, "atMs"),
        condition=str_at(data, "condition"),
        values=tuple((str(name), str(value), str(quality)) for name, value, quality in values),
        actions=tuple(_action_from(action) for action in maps_at(data, "actions")),
        spec=str_at(data, "spec", default=spec),
    )


def _action_json(action: ActionRecord) -> JsonObject:
    return {
        "form": action.form,
        "target": action.target,
        "said": action.said,
        "state": action.state,
        "reason": action.reason,
        "atMs": action.at_ms,
        "attempts": action.attempts,
        "answer": action.answer,
    }


def _action_from(data: JsonObject) -> ActionRecord:
    state = str_at(data, "state")
    return ActionRecord(
        form=str_at(data, "form"),
        target=str_at(data, "target"),
        said=str_at(data, "said"),
        state=cast(ActionState, state) if state in get_args(ActionState) else "unknown",
        reason=str_at(data, "reason"),
        at_ms=int_at(data, "atMs"),
        attempts=int_at(data, "attempts"),
        answer=str_at(data, "answer"),
    )


# --- for people -------------------------------------------------------------------------------------------


def shown_record(record: RuleRecord) -> JsonObject:
    """What an object's status says of it."""
    firings = [*record.recent, *(() if record.current is None else (record.current,))]
    told: JsonObject = {
        "active": record.active,
        **{name: count for name, count in zip(COUNTED, record.counts, strict=True) if count},
        "recent": [_shown_firing(firing) for firing in firings],
        "errors": [*record.errors],
    }
    if record.fired_ms:
        told["lastFiredTime"] = time_text(record.fired_ms)
    if record.ended_ms:
        told["lastEndedTime"] = time_text(record.ended_ms)
    return told


def _shown_firing(firing: Firing) -> JsonObject:
    return {
        "number": firing.number,
        "what": firing.what,
        "time": time_text(firing.at_ms),
        "condition": firing.condition,
        "values": shown_values(firing.values),
        "actions": [_shown_action(action) for action in firing.actions],
    }


def shown_values(values: Iterable[tuple[str, str, str]]) -> list[Json]:
    return [{"name": name, "value": value, "quality": quality} for name, value, quality in values]


def _shown_action(action: ActionRecord) -> JsonObject:
    shown: JsonObject = {
        "form": action.form,
        "target": action.target,
        "said": action.said[:SAID_LENGTH_MAX],
        "state": action.state,
    }
    if action.at_ms:
        shown["time"] = time_text(action.at_ms)
    if action.reason:
        shown["reason"] = action.reason
    if action.answer:
        shown["answer"] = action.answer
    return shown
