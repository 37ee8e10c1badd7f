"""What to do about the commands that this gateway holds: pure, from what is held, noted, running and known of time.

The promise is *at most once*, and it rests on four rules.

1. Nothing is carried out before its `Begin` is durable here and known to the cloud (`CarryOut`). A store that is set
   back to a copy from before is found out by what the cloud has of it, and begins a new life: rule 3.
2. A command that has a record beyond Delivered is never begun again: one that was running when the agent died is
   `Unknown`, for good.
3. A command is begun only by the life of the store (the incarnation) that the cloud knew when it was given: a store
   that has forgotten what it did has another one.
4. A command is begun only while the cloud's clock surely reads less than its deadline. Who doesn't know the cloud's
   time waits.

Rules 3 and 4 are what lets a record be forgotten: once the deadline is over, the command would only expire again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from edgecore.commands.records import CommandRecord, Moment, delivered
from skerry.frozen import Frozen, replace
from skerry.objects.commands import CommandSpec, Phase, Refusal, command_spec, lane_of
from skerry.objects.json import JsonObject
from skerry.objects.meta import namespace_of

RUNNING_MAX: Final = 4
"""At a time, each of another device or pod."""
RECORDS_MAX: Final = 1000
"""Records that must be kept; beyond, a further command waits (and expires, should it come to that)."""
REMEMBERED_MAX: Final = 200
"""Records that are kept for people alone: their commands are over, and can't come again."""


class Seen(Frozen):
    """Everything that decides."""

    held: Mapping[str, JsonObject]
    """Command objects in the edge store, by uid."""
    records: Mapping[str, CommandRecord]
    running: frozenset[str]
    """Begun by this agent and not ended."""
    waiting: frozenset[str]
    """Of those, what is not carried out yet."""
    known: frozenset[str]
    """Of those that wait, where the cloud has the report that they are begun."""
    stopping: frozenset[str]
    """Of those, asked to stop."""
    refusals: Mapping[str, Refusal]
    """By uid, of those that could not be begun now."""
    incarnation: str
    epoch: str
    cloud_ms: int | None
    """The latest that the cloud's clock may read now; None where that is not known."""
    now: Moment


class Keep(Frozen):
    """Write the record, and tell the cloud."""

    record: CommandRecord


class Begin(Frozen):
    """Write the record, and tell the cloud. When it knows, the command is carried out."""

    record: CommandRecord


class CarryOut(Frozen):
    """Act: here and in the cloud it is known that the command is begun."""

    record: CommandRecord


class Halt(Frozen):
    """Ask the running command to stop before its next step."""

    uid: str


class Forget(Frozen):
    """Remove the record."""

    uid: str


_End: TypeAlias = tuple[Phase, str, str]
"""Phase, reason, message."""
Step: TypeAlias = Keep | Begin | CarryOut | Halt | Forget


class Plan(Frozen):
    steps: tuple[Step, ...]
    wake_s: float | None = None
    """When to plan again if nothing happens; None: only when something does."""


@dataclass(slots=True, kw_only=True)
class _Draft:
    seen: Seen
    steps: list[Step] = field(default_factory=list[Step])
    busy: set[str] = field(default_factory=set[str])
    """Lanes in which something runs or waits."""
    slots: int = RUNNING_MAX
    room: int = RECORDS_MAX
    wakes: list[float] = field(default_factory=list[float])


def plan(seen: Seen) -> Plan:
    """The next steps. Planning again after some of them, or none, is always right."""
    draft = _Draft(seen=seen, slots=RUNNING_MAX - len(seen.running))
    for uid in seen.running:
        record = seen.records[uid]
        draft.busy.add(_lane(record.command, record.namespace, uid))
    draft.room = RECORDS_MAX - sum(1 for record in seen.records.values() if not _over(record, seen.cloud_ms))
    _look_back(draft)
    commands = ((command_spec(obj), uid, obj) for uid, obj in seen.held.items())
    for spec, uid, obj in sorted(commands, key=lambda item: (item[0].issued_ms, namespace_of(item[2]), item[1])):
        _look_at(draft, spec, uid, obj)
    return Plan(steps=tuple(draft.steps), wake_s=min(draft.wakes, default=None))


def _look_back(draft: _Draft) -> None:
    """Records of commands that the cloud no longer has here: finished, or deleted."""
    seen = draft.seen
    past: list[CommandRecord] = []
    for uid, record in seen.records.items():
        if uid in seen.held:
            continue
        if record.final:
            if _over(record, seen.cloud_ms):
                past.append(record)
        elif uid in seen.waiting:
            gone = record.ended("Cancelled", "Cancelled", "deleted before it was carried out", seen.now)
            draft.steps.append(Keep(record=gone))
        elif uid in seen.running:
            draft.steps += [Halt(uid=uid)] if uid not in seen.stopping else []
        elif record.phase == "Running":
            draft.steps.append(Keep(record=_interrupted(record, seen.now)))
        else:
            draft.steps.append(Forget(uid=uid))  # deleted before it was begun
    past.sort(key=lambda record: (record.command.issued_ms, record.uid))
    draft.steps += [Forget(uid=record.uid) for record in past[: max(0, len(past) - REMEMBERED_MAX)]]


def _look_at(draft: _Draft, spec: CommandSpec, uid: str, obj: JsonObject) -> None:
    seen = draft.seen
    record = seen.records.get(uid)
    if record is not None and uid in seen.waiting:
        _look_at_waiting(draft, spec, record)
        return
    if record is not None and record.phase != "Delivered":
        if record.phase == "Running" and uid not in seen.running:
            draft.steps.append(Keep(record=_interrupted(record, seen.now)))
        elif record.epoch != seen.epoch:
            draft.steps.append(Keep(record=replace(record, epoch=seen.epoch)))
        if uid in seen.running - seen.stopping and spec.cancel:
            draft.steps.append(Halt(uid=uid))
        return
    before = record or delivered(obj, uid, seen.now, seen.epoch)
    if (end := _end(draft, spec, uid, before)) is not None:
        _put_end(draft, before, end)
        return
    lane = _lane(spec, namespace_of(obj), uid)
    ready = seen.cloud_ms is not None and uid not in seen.refusals
    if ready and lane not in draft.busy and draft.slots > 0 and (record is not None or draft.room > 0):
        draft.slots -= 1
        draft.busy.add(lane)
        draft.steps.append(Begin(record=replace(before.running(seen.now), epoch=seen.epoch)))
        draft.room -= record is None
        return
    draft.busy.add(lane)
    if seen.cloud_ms is not None:
        draft.wakes.append((spec.expires_ms - seen.cloud_ms) / 1000)
    if (record is None and draft.room > 0) or (record is not None and record.epoch != seen.epoch):
        draft.steps.append(Keep(record=replace(before, epoch=seen.epoch)))
        draft.room -= record is None


def _look_at_waiting(draft: _Draft, spec: CommandSpec, record: CommandRecord) -> None:
    """It is begun, and nothing is done yet."""
    seen = draft.seen
    if (end := _end(draft, spec, record.uid, record)) is not None:
        _put_end(draft, record, end)
    elif record.epoch != seen.epoch:
        # The cloud was restored: what the one before knew is forgotten.
        draft.steps.append(Begin(record=replace(record, epoch=seen.epoch)))
    elif record.uid in seen.known and seen.cloud_ms is not None:
        draft.steps.append(CarryOut(record=record))
    elif seen.cloud_ms is not None:
        draft.wakes.append((spec.expires_ms - seen.cloud_ms) / 1000)


def _put_end(draft: _Draft, record: CommandRecord, end: _End) -> None:
    phase, reason, message = end
    ended = record.ended(phase, reason, message, draft.seen.now)
    draft.steps.append(Keep(record=replace(ended, epoch=draft.seen.epoch)))


def _end(draft: _Draft, spec: CommandSpec, uid: str, record: CommandRecord) -> _End | None:
    """The end of a command that is not to be begun: phase, reason, message."""
    seen = draft.seen
    if spec.incarnation != seen.incarnation:
        why = "this gateway's store began anew since the command was given: whether it was carried out isn't known"
        return "Unknown", "GatewayReset", why
    if spec.cancel:
        return "Cancelled", "Cancelled", "cancelled before it was begun"
    if seen.cloud_ms is not None and seen.cloud_ms >= spec.expires_ms:
        refusal = seen.refusals.get(uid)
        return "Expired", "DeadlineExceeded", f"not begun in time{f': {refusal.message}' if refusal else ''}"
    refusal = seen.refusals.get(uid)
    if refusal is None:
        return None
    left_s = refusal.patience_s - record.delivered.ago_ms(seen.now) / 1000
    if left_s > 0:
        draft.wakes.append(left_s)
        return None
    return "Rejected", refusal.reason, refusal.message


def _lane(spec: CommandSpec, namespace: str, uid: str) -> str:
    return lane_of(spec.action, namespace, uid)


def _over(record: CommandRecord, cloud_ms: int | None) -> bool:
    """It could not be begun again even if nobody remembered it."""
    return record.final and cloud_ms is not None and cloud_ms >= record.command.expires_ms


def _interrupted(record: CommandRecord, now: Moment) -> CommandRecord:
    why = "the agent ended while the command ran: whether it took effect, or how far, isn't known"
    return record.ended("Unknown", "Interrupted", why, now)
