"""What happens to a twin: a Device object arrives, a reading arrives, a desired value is carried out.

Pure. States, readings and `now` go in; new states and what is to be told or written come out. The shell is
`edgecore.twins.keeper` and its rooms.

A desired value is carried out once for each version. A device that is changed later by somebody at its own panel
is not overruled: the twin shows the difference, and whoever wants the value again says so again
(docs/decisions/0081).
"""

from __future__ import annotations

from typing import Final, TypeAlias

from devices.port import PropertyConfig, Reading, WriteResult
from edgecore.twins.numbers import filled, first, lacks, onward
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.desired import Desired, Policy, Vector, merge
from skerry.objects.twins import (
    Ack,
    AckState,
    Holes,
    Reported,
    TwinState,
    Value,
    ack,
    format_value,
    parse_value,
    same_value,
)

FINAL: Final[frozenset[AckState]] = frozenset({"verified", "applied", "refused", "expired"})
"""Nothing more is done for this version. (`failed` is tried again.)"""


class Observed(Frozen):
    """What a Device object changed in a twin."""

    state: TwinState
    tell_desired: bool
    """The cloud does not hold what we do now: send it up."""


def observe(state: TwinState, wanted: Desired | None, policy: Policy, now_ms: int, *, late: bool = False) -> Observed:
    """Merge what the cloud's Device wants into the twin: a value, or the tombstone of one. `late`: it may have been
    written while this gateway was away."""
    mine = state.desired
    if wanted is None:
        # The cloud knows of nothing. A tombstone stays here, for a cloud that is restored later. A value is forgotten
        # if the cloud has had it, and taken it away; else it is on its way.
        gone = mine is not None and not mine.removed and state.seen.covers(mine.ver)
        kept = replace(state, desired=None, ack=None, late=None) if gone else state
        return Observed(state=kept, tell_desired=False)
    merged = merge(mine, wanted, policy)
    assert merged is not None, "one of them is there"
    went_back = not wanted.ver.covers(state.seen)
    tell = merged != wanted and (merged != mine or went_back)
    after = replace(
        state,
        desired=merged,
        seen=wanted.ver,
        ack=_still_answered(state, merged),
        late=_late(state, wanted, merged, late=late),
    )
    return Observed(state=_pending(after, now_ms), tell_desired=tell)


def _still_answered(state: TwinState, merged: Desired) -> Ack | None:
    """What was answered stays answered when others' writes were merged in and lost. To another write it is no answer,
    though its version may be the same."""
    mine, answer = state.desired, state.ack
    if mine is None or answer is None or answer.for_ver != mine.ver:
        return answer
    if not merged.is_same_write(mine):
        return None if merged.ver == mine.ver else answer
    return replace(answer, for_ver=merged.ver) if answer.state in FINAL and not merged.waiting else answer


def _late(state: TwinState, wanted: Desired, merged: Desired, *, late: bool) -> Vector | None:
    """The version that came late, if that is what is wanted now."""
    known = state.desired is not None and merged.is_same_write(state.desired)
    if known:
        return merged.ver if state.desired is not None and state.late == state.desired.ver else None
    from_cloud = merged.side == "cloud" and not merged.removed and merged.is_same_write(wanted)
    return merged.ver if late and from_cloud else None


def _pending(state: TwinState, now_ms: int) -> TwinState:
    """Acknowledge that we know what is wanted."""
    desired = state.desired
    if desired is None or (state.ack is not None and state.ack.for_ver == desired.ver):
        return state
    if desired.removed:
        return replace(state, ack=None)
    return replace(state, ack=ack("pending", for_ver=desired.ver, at_ms=now_ms))


def want(state: TwinState, desired: Desired, now_ms: int) -> TwinState:
    """A desired value written on this gateway."""
    late = state.late if state.late == desired.ver else None
    return _pending(replace(state, desired=desired, late=late), now_ms)


# --- carrying out -----------------------------------------------------------------------------------------


class Write(Frozen):
    """Write this, then say what came of it with `written`."""

    value: Value
    for_ver: Vector


class Settle(Frozen):
    """The answer is known without writing."""

    ack: Ack


class Hold(Frozen):
    """Not now: look again at `until_ms` (None: nobody knows when; now and then)."""

    reason: str
    until_ms: int | None
    tell: bool = False
    """It waits for a person, who is to see why."""


Step: TypeAlias = "Write | Settle | Hold | None"
"""None: nothing is to be done."""


class Sight(Frozen):
    """What the gateway knows at the moment of deciding."""

    now_ms: int
    clock_is_synced: bool
    fresh: Reading | None
    """The newest reading since the agent started."""
    unread_until_ms: int
    """Until then a first reading is still to be expected; afterwards one writes without."""
    pause_until_ms: int = 0
    """The device is not to be written again before."""


def next_step(state: TwinState, config: PropertyConfig, sight: Sight) -> Step:
    """What to do about a property's desired value now."""
    desired = state.desired
    if desired is None or is_settled(state):
        return None
    if desired.expires_ms is not None:
        if not sight.clock_is_synced:
            return Hold(reason="it has an expiry, and this gateway's clock is not known to be right", until_ms=None)
        if desired.expires_ms <= sight.now_ms:
            return _settle(desired, "expired", sight, "it was not carried out in time")
    if step := _for_a_person(state, desired, config, sight):
        return step
    if not config.writable:
        return _settle(desired, "refused", sight, f"{config.name} is read-only")
    try:
        value = parse_value(config.type, desired.value)
    except InvalidError as error:
        return _settle(desired, "refused", sight, str(error))
    fresh = sight.fresh
    if fresh is not None and fresh.value is not None and fresh.quality == "good":
        if same_value(config.type, format_value(fresh.value), desired.value, config.twin.tolerance):
            return _settle(desired, "verified", sight, "")
    elif fresh is None and sight.now_ms < sight.unread_until_ms:
        return Hold(reason="the first reading is awaited", until_ms=sight.unread_until_ms)
    if sight.now_ms < sight.pause_until_ms:
        return Hold(reason=written_lately(config), until_ms=sight.pause_until_ms)
    return Write(value=value, for_ver=desired.ver)


def written_lately(config: PropertyConfig) -> str:
    """Why it is not written now."""
    return f"it was written a moment ago, and is written at most every {config.twin.write_interval_ms / 1000:g} s"


def _for_a_person(state: TwinState, desired: Desired, config: PropertyConfig, sight: Sight) -> Step:
    """What is not to be carried out before somebody has had a look at it."""
    if desired.waiting and desired.conflict is not None:
        lost = "nothing" if desired.conflict.removed else repr(desired.conflict.value)
        why = f"a conflict waits for a person: {desired.side} wants {desired.value!r}, {desired.conflict.side} {lost}"
        return Hold(reason=why, until_ms=None, tell=True)
    if state.late != desired.ver:
        return None
    match desired.on_reconnect or config.twin.on_reconnect:
        case "apply":
            return None
        case "confirm":
            why = "it was written while this gateway was away, and waits to be wanted once more"
            return Hold(reason=why, until_ms=None, tell=True)
        case "drop":
            return _settle(desired, "expired", sight, "it was written while this gateway was away")


def is_settled(state: TwinState) -> bool:
    """Nothing is wanted that has not been answered for good."""
    if state.desired is None or state.desired.removed:
        return True
    return state.ack is not None and state.ack.for_ver == state.desired.ver and state.ack.state in FINAL


def _settle(desired: Desired, state: AckState, sight: Sight, reason: str) -> Settle:
    return Settle(ack=ack(state, for_ver=desired.ver, at_ms=sight.now_ms, reason=reason))


def written(state: TwinState, for_ver: Vector, result: WriteResult, now_ms: int) -> TwinState:
    """The twin after a write; unchanged when something newer is wanted by now."""
    if state.desired is None or state.desired.ver != for_ver:
        return state
    return replace(state, ack=ack(result.state, for_ver=for_ver, at_ms=now_ms, reason=result.reason))


# --- readings ---------------------------------------------------------------------------------------------


class Taken(Frozen):
    """What a reading changed in a twin."""

    state: TwinState
    repeated: bool
    """It was taken before: nothing of it is kept again."""
    record: bool
    """It becomes part of the history, as number `state.seq`, and the cloud's twin follows."""
    urgent: bool
    """Quality changed: do not wait for company."""
    late: bool = False
    """Something newer was taken before: it says nothing of how the device is."""


def take(
    state: TwinState, config: PropertyConfig, reading: Reading, *, now_ms: int, synced: bool, verbatim: bool = False
) -> Taken:
    """Take a reading into a twin. `verbatim` tells it whatever the deadband (a value read back after a write)."""
    if _repeated(state, reading):
        return Taken(state=state, repeated=True, record=False, urgent=False, late=_is_late(state, reading))
    if _is_late(state, reading):
        return _taken_late(state, reading)
    before = state.reported
    reported = _reported(before, config, reading, now_ms=now_ms, synced=synced)
    turned = before is None or before.quality != reported.quality
    silent_ms = now_ms - before.gateway_ms if before else 0
    told = turned or verbatim or _moved(before, reported, config) or not 0 <= silent_ms < config.twin.silence_ms_max
    record = told or config.twin.every_reading
    source_seq = reading.source_seq if reading.source_seq is not None else state.source_seq
    after = replace(
        state,
        # An untold value is left as it was told, so that a slow drift within the deadband adds up and shows.
        reported=reported if record else before,
        seq=state.seq + 1 if record else state.seq,
        source_seq=source_seq,
        source_holes=_holes_after(state, reading),
    )
    return Taken(state=after, repeated=False, record=record, urgent=turned)


def _is_late(state: TwinState, reading: Reading) -> bool:
    """An older number that its deliverer marks as sent before. (An older number alone is a device that began to count
    anew.)"""
    if reading.source_seq is None or state.source_seq is None:
        return False
    return reading.redelivered and reading.source_seq < state.source_seq


def _repeated(state: TwinState, reading: Reading) -> bool:
    """The same number again; or an older one that was sent before and is not known to lack. (One that lacks was
    overtaken, by what was new when the broker had a connection again.)"""
    if reading.source_seq is None:
        return False
    late = _is_late(state, reading) and not lacks(state.source_holes, reading.source_seq)
    return late or reading.source_seq == state.source_seq


def _taken_late(state: TwinState, reading: Reading) -> Taken:
    """Part of the history whatever the deadband, which is of neighbours; the twin stays at what is newer."""
    assert reading.source_seq is not None, "what has no number has no place to be late at"
    holes = filled(state.source_holes, reading.source_seq)
    after = replace(state, seq=state.seq + 1, source_holes=holes)
    return Taken(state=after, repeated=False, record=True, urgent=False, late=True)


def _holes_after(state: TwinState, reading: Reading) -> Holes:
    number, last = reading.source_seq, state.source_seq
    if number is None:
        return state.source_holes
    if last is None or number < last:  # counted anew, it says nothing of the numbers before
        return first(number)
    return onward(state.source_holes, last, number)


def _reported(
    before: Reported | None, config: PropertyConfig, reading: Reading, *, now_ms: int, synced: bool
) -> Reported:
    if reading.value is None:
        held = before.value if before else None
        return Reported(
            value=held,
            type=config.type,
            unit=config.unit,
            quality="bad" if held is None else "stale",
            reason=reading.reason,
            source_ms=before.source_ms if before and held is not None else reading.source_ms,
            gateway_ms=now_ms,
            synced=synced,
        )
    return Reported(
        value=format_value(reading.value),
        type=config.type,
        unit=config.unit,
        quality=reading.quality,
        reason=reading.reason,
        source_ms=reading.source_ms,
        gateway_ms=now_ms,
        synced=synced,
    )


def unserved(state: TwinState, reason: str, *, now_ms: int, paused: bool = False) -> TwinState:
    """A twin whose property isn't read any more, since its device's configuration is wrong, or a while (`paused`).
    Its last value is an old one from now on, and what is wanted and was not yet carried out can't be, or waits. The
    next reading makes it good again."""
    reported, desired = state.reported, state.desired
    if reported is not None and reported.value is not None and reported.quality != "stale":
        reported = replace(reported, quality="stale", reason=reason, gateway_ms=now_ms)
    answer = state.ack
    if desired is not None and not is_settled(state) and (answer is None or answer.reason != reason):
        answer = ack("pending" if paused else "failed", for_ver=desired.ver, at_ms=now_ms, reason=reason)
    return replace(state, reported=reported, ack=answer)


def _moved(before: Reported | None, after: Reported, config: PropertyConfig) -> bool:
    if before is None or before.value is None or after.value is None:
        return before is None or before.value != after.value
    return not same_value(config.type, before.value, after.value, config.twin.deadband)
