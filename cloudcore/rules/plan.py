"""What is done about the messages of one rule: which is sent next, and what becomes of it then. Pure.

Messages of a rule go out one after the other, in the order in which their gateway heard them. One that does not get
through is sent again with growing pauses until its time is over, and the others wait behind it: a target that is away
loses nothing and finds everything in order. Where the target answers, and refuses this one message again and again,
the others go past it. Who gets an answer of "never" (400, 413 and the like) is given up at once. What is given up
stays, with the reason, until somebody deletes it or has it sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, str_at
from skerry.objects.meta import name_of
from skerry.objects.times import micro_time_text, ms_at, time_text

BACKOFF_S_MIN: Final = 1.0
BACKOFF_S_MAX: Final = 300.0
PATIENCE: Final = 5
"""Refusals of a message after which the others go past it."""
LATER: Final = frozenset({401, 403, 404, 405, 407, 408, 409, 421, 423, 425, 429})
"""Answers of the 400s that may be others tomorrow: whoever runs the target mends a path, a password, a limit."""
REASON_LENGTH_MAX: Final = 256
DEAD_MAX: Final = 1000
"""Messages of one rule that were given up and are kept for people to look at."""
DEAD_LENGTH_MAX: Final = 8 * 1024 * 1024
"""Of their payloads together, as text."""


class Answered(Frozen):
    """The target's answer."""

    status: int
    words: str = ""
    """The beginning of its body."""
    body: bytes = b""


class Unreached(Frozen):
    """There was none."""

    why: str


Answer: TypeAlias = "Answered | Unreached"


class Send(Frozen):
    """The message is due."""

    message: JsonObject


class GiveUp(Frozen):
    """Its time is over."""

    message: JsonObject


class Revive(Frozen):
    """Somebody wants it to be tried again."""

    message: JsonObject


class Wait(Frozen):
    """Nothing is due before then; None: nothing waits."""

    until_ms: int | None


Step: TypeAlias = Send | GiveUp | Revive | Wait


def in_order(messages: Iterable[JsonObject]) -> list[JsonObject]:
    """As their gateway heard them: by its own numbers, which begin anew with each life of its outbox. Times would not
    do: they are estimates, and jump by the milliseconds that a frame takes."""
    found = list(messages)
    begun: dict[str, str] = {}
    for message in found:
        life, made = str_at(message, "spec", "incarnation"), str_at(message, "metadata", "creationTimestamp")
        begun[life] = min(begun.get(life, made), made)

    def place(message: JsonObject) -> tuple[str, str, int, str]:
        life = str_at(message, "spec", "incarnation")
        return begun[life], life, int_at(message, "spec", "order"), name_of(message)

    return sorted(found, key=place)


def waits(message: JsonObject) -> bool:
    return str_at(message, "status", "phase", default="Pending") == "Pending"


def next_step(messages: Sequence[JsonObject], *, within_s: int, now_ms: int) -> Step:
    """`messages`: of one rule, in order."""
    until_ms: int | None = None
    for message in messages:
        if not waits(message):
            if bool_at(message, "spec", "redeliver"):
                return Revive(message=message)
            continue
        if now_ms >= deadline_ms(message, within_s=within_s):
            return GiveUp(message=message)
        next_ms = due_ms(message)
        if now_ms >= next_ms:
            return Send(message=message)
        until_ms = next_ms if until_ms is None else min(until_ms, next_ms)
        if not _steps_aside(message):
            break
    return Wait(until_ms=until_ms)


def beyond(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Which of those that were given up have no room any more: the newest are kept. `messages`: of one rule, in
    order."""
    gone: list[JsonObject] = []
    count = size = 0
    for message in reversed(messages):
        if waits(message) or bool_at(message, "spec", "redeliver"):
            continue
        count += 1
        size += len(str_at(message, "spec", "payload")) + len(str_at(message, "spec", "payloadBase64"))
        if count > DEAD_MAX or size > DEAD_LENGTH_MAX:
            gone.append(message)
    gone.reverse()
    return gone


def deadline_ms(message: JsonObject, *, within_s: int) -> int:
    """From when on it is given up. It counts from when the cloud had it: a gateway may have been away for a week."""
    said = str_at(message, "status", "deadlineTime")
    if said:
        return ms_at(said)
    return ms_at(str_at(message, "metadata", "creationTimestamp")) + 1000 * within_s


def due_ms(message: JsonObject) -> int:
    """When it may be sent next."""
    attempts = int_at(message, "status", "attempts")
    last = str_at(message, "status", "lastAttemptTime")
    if not attempts or not last:
        return 0
    return ms_at(last) + round(1000 * min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(attempts - 1, 20)))


def _steps_aside(message: JsonObject) -> bool:
    return str_at(message, "status", "reason") == "Refused" and int_at(message, "status", "attempts") >= PATIENCE


def taken(answer: Answer) -> bool:
    return isinstance(answer, Answered) and 200 <= answer.status < 300


def after(message: JsonObject, answer: Answer, *, within_s: int, now_ms: int) -> JsonObject:
    """The status of a message that its target has not taken."""
    never = isinstance(answer, Answered) and 400 <= answer.status < 500 and answer.status not in LATER
    return {
        **map_at(message, "status"),
        "phase": "Dead" if never else "Pending",
        "attempts": int_at(message, "status", "attempts") + 1,
        "lastAttemptTime": micro_time_text(now_ms),
        "deadlineTime": time_text(deadline_ms(message, within_s=within_s)),
        "reason": "Refused" if isinstance(answer, Answered) else "Unreached",
        "message": why(answer),
    }


def why(answer: Answer) -> str:
    match answer:
        case Answered():
            said = f": {' '.join(answer.words.split())}" if answer.words.strip() else ""
            return f"the target answers {answer.status}{said}"[:REASON_LENGTH_MAX]
        case Unreached():
            return f"the target is not reached: {answer.why}"[:REASON_LENGTH_MAX]


def given_up(message: JsonObject) -> JsonObject:
    """The status of a message whose time is over; what was wrong last stays to be read."""
    status = map_at(message, "status")
    last = str_at(status, "message") or "it was never sent"
    return {**status, "phase": "Dead", "reason": "Expired", "message": f"no more time; {last}"[:REASON_LENGTH_MAX]}


def revived(message: JsonObject, *, within_s: int, now_ms: int) -> JsonObject:
    """The status of one that is tried again."""
    return {
        "phase": "Pending",
        "attempts": 0,
        "deadlineTime": time_text(now_ms + 1000 * within_s),
        "message": str_at(message, "status", "message"),
    }
