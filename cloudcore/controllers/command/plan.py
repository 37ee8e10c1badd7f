"""What the cloud does about one Command: offer it, put down its end where the gateway can't, delete it. Pure.

Who may say how a command ended: its gateway, for as long as it can have been told of it. The cloud alone only where
that is impossible (never offered), or, honestly, as `Unknown`: a gateway that holds a command never begins it after
its deadline, but it may have begun it before and not said so yet. What it says later takes the place of that.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.objects.commands import CAPABILITIES, CAPABILITY, FINAL, SILENT, Phase, command_spec, phase_of
from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, int_at, map_at, str_at
from skerry.objects.meta import being_deleted
from skerry.objects.times import ms_at

PATIENCE_S: Final = 60
"""Beyond a command's deadline and the time it may take, for the gateway's word to arrive."""


class Offer(Frozen):
    """From now on the gateway may be told of it."""


class End(Frozen):
    phase: Phase
    reason: str
    message: str


class Remove(Frozen):
    """Its time after the end is over."""


class Wait(Frozen):
    """Nothing to do until then; None: until something changes."""

    until_ms: int | None


_UNKNOWN_THERE: Final = End(
    phase="Rejected",
    reason="NotSupported",
    message="the agent on this node is of a release that knows no commands; upgrade it and give the command again",
)

Step: TypeAlias = Offer | End | Remove | Wait


def next_step(command: JsonObject, node: JsonObject | None, *, epoch: str, now_ms: int) -> Step:
    """`node` is the command's Node, None where there is none (any more)."""
    if being_deleted(command):
        return Wait(until_ms=None)
    if phase_of(command) in FINAL:
        return _after_its_end(command, now_ms)
    spec = command_spec(command)
    if not str_at(command, "status", "offeredTime"):
        return _before_its_offer(command, node, epoch=epoch, now_ms=now_ms)
    silent_ms = spec.expires_ms + 1000 * (spec.timeout_s + PATIENCE_S)
    if now_ms < silent_ms:
        return Wait(until_ms=silent_ms)
    if phase_of(command) == "Running":
        message = "the gateway began it and has not said how it ended; what it says later is shown here"
    else:
        message = (
            "the gateway was offered it and has not said whether it began before the deadline; after it, it does not "
            "begin any more; what it says later is shown here"
        )
    return End(phase="Unknown", reason=SILENT, message=message)


def _before_its_offer(command: JsonObject, node: JsonObject | None, *, epoch: str, now_ms: int) -> Step:
    spec = command_spec(command)
    if spec.epoch != epoch:
        # The cloud was restored: what is remembered of it here may be older than what happened. The gateway knows.
        return Offer()
    if spec.cancel:
        return End(phase="Cancelled", reason="Cancelled", message="cancelled before the gateway was told of it")
    if now_ms >= spec.expires_ms:
        message = "the gateway was not reached before the deadline"
        return End(phase="Expired", reason="DeadlineExceeded", message=message)
    if node is not None and is_heard(node):
        return Offer() if knows_commands(node) else _UNKNOWN_THERE
    return Wait(until_ms=spec.expires_ms)


def knows_commands(node: JsonObject) -> bool:
    """False where the agent that was heard last has said what it can, and commands are not among it."""
    said = map_at(node, "metadata", "annotations").get(CAPABILITIES)
    return not isinstance(said, str) or CAPABILITY in said.split(",")


def is_heard(node: JsonObject) -> bool:
    """Its gateway is connected, as far as is known."""
    return str_at(condition_of(node, "Ready") or {}, "status") in ("True", "False")


def _after_its_end(command: JsonObject, now_ms: int) -> Step:
    ttl_s = int_at(command, "spec", "ttlSecondsAfterFinished")
    ended_ms = ms_at(str_at(command, "status", "finishedTime"), default=now_ms)
    due_ms = ended_ms + 1000 * ttl_s
    return Remove() if now_ms >= due_ms else Wait(until_ms=due_ms)
