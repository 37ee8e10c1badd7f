"""Twins: what is wanted of a device's property, what was last told, and how two sides that both wrote agree.

Both ends must come to the same answer alone, so the rules live here, in pure code. Each desired value carries a
two-entry version vector (how many writes of the cloud, how many of the edge its writer had seen). One vector
covers the other: the later write stands, whatever the clocks say. Neither does: a true conflict, settled by the
property's policy; the loser is kept beside the winner. A hybrid logical clock only breaks ties of true conflicts,
because the clock of a gateway without a battery can't be trusted with anything else.

Values are text here, as in KubeEdge's API; `parse_value` gives them their declared type. This module keeps no
data: the edge stores `TwinState` rows, the cloud keeps twins in Device and DeviceStatus objects
(`skerry.objects.device_twins`), and the report bodies below travel between them.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, TypeAlias, cast, get_args

from skerry.errors import InvalidError
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    decode_object,
    dig,
    encode_object,
    int_at,
    map_at,
    str_at,
)

Value: TypeAlias = "bool | int | float | str | bytes"
"""A property's value in its own type."""

Quality = Literal["good", "uncertain", "bad", "stale"]
"""`good`: read now. `uncertain`: true once, of unknown age. `bad`: no value. `stale`: an old value, none newer."""

Side = Literal["cloud", "edge"]

Policy = Literal["newest", "cloud", "edge", "min", "max"]
"""Who wins a true conflict: the later by hybrid clock, one side, or the smaller or larger number (the safe one)."""

AckState = Literal["pending", "applied", "verified", "refused", "failed", "expired"]
"""`applied`: the device took it, and it can't be read back. `verified`: read back and equal within tolerance.
`refused`: the device or the model says no, and asking again won't help. `failed`: retried. `expired`: too late."""

ACK_CODES: Final[dict[AckState, int]] = {
    "pending": 202,
    "applied": 200,
    "verified": 200,
    "refused": 400,
    "failed": 503,
    "expired": 410,
}
"""HTTP-like codes, as Azure's writable properties acknowledge (`ac`)."""

CLOCK_LEAD_MS_MAX: Final = 5 * 60 * 1000
"""A hybrid clock follows another's at most this far ahead of its own wall clock, so that one fast gateway does
not drag everyone's time into the future."""

VALUE_BYTES_MAX: Final = 4096
"""Of one value as text; a twin is not a file store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """How many writes of each side a write had seen, itself included."""

    cloud: int = 0
    edge: int = 0

    def covers(self, other: Vector) -> bool:
        """Whoever wrote this had seen the other (or they are the same)."""
        return self.cloud >= other.cloud and self.edge >= other.edge

    def joined(self, other: Vector) -> Vector:
        return Vector(cloud=max(self.cloud, other.cloud), edge=max(self.edge, other.edge))

    def advanced(self, side: Side) -> Vector:
        """The vector of the next write by `side`."""
        if side == "cloud":
            return Vector(cloud=self.cloud + 1, edge=self.edge)
        return Vector(cloud=self.cloud, edge=self.edge + 1)

    def __str__(self) -> str:
        return f"{self.cloud}.{self.edge}"


@dataclass(frozen=True, slots=True, order=True)
class Hlc:
    """A hybrid logical clock reading: never smaller than what its writer had seen (Kulkarni et al., 2014)."""

    wall_ms: int
    counter: int

    def __str__(self) -> str:
        return f"{self.wall_ms}.{self.counter}"


HLC_ZERO: Final = Hlc(0, 0)


def next_hlc(seen: Hlc, now_ms: int) -> Hlc:
    """The reading for a write made at `now_ms` by someone who has seen `seen`, clamped (`CLOCK_LEAD_MS_MAX`)."""
    if now_ms > seen.wall_ms:
        return Hlc(now_ms, 0)
    if seen.wall_ms > now_ms + CLOCK_LEAD_MS_MAX:
        return Hlc(now_ms + CLOCK_LEAD_MS_MAX, 0)
    return Hlc(seen.wall_ms, seen.counter + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loser:
    """The value that lost a true conflict, kept so that its author can find it."""

    value: str
    hlc: Hlc
    origin: str
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What is wanted of one property, and who wanted it when."""

    value: str
    ver: Vector
    hlc: Hlc
    side: Side
    """Which side wrote it."""
    origin: str
    """Who, for people and the audit: a user, `local:uid 0`."""
    synced: bool = True
    """The writer's clock was known to be right."""
    expires_ms: int | None = None
    """Wall clock milliseconds after which it must not be applied any more; None: never."""
    conflict: Loser | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """What became of a desired value."""

    state: AckState
    code: int
    reason: str
    """"" when there is nothing to explain."""
    for_ver: Vector
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What the device last told. Written by its gateway alone."""

    value: str | None
    """None: there has never been one, or there is none now (quality `bad`)."""
    type: str
    unit: str
    quality: Quality
    reason: str
    source_ms: int
    """When the device says, or the middle of request and response; of the value, not of the quality."""
    gateway_ms: int
    """When the gateway took it in. The third time, the cloud's, is added there."""
    synced: bool = True


Holes: TypeAlias = tuple[tuple[int, int], ...]
"""Spans of a device's own numbers, first and last of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinState:
    """One property of one device as the edge keeps it."""

    uid: str
    """Life of the Device object that this belongs to."""
    desired: Desired | None = None
    reported: Reported | None = None
    ack: Ack | None = None
    seen: Vector = Vector()
    """The newest vector seen in the cloud's Device object: what it surely holds."""
    seq: int = 0
    """Number of the last telemetry report of this property; dense."""
    source_seq: int | None = None
    """The device's own sequence number of the newest reading taken, where it gives one."""
    source_holes: Holes = ()
    """Numbers below that which were not taken (`edgecore.twins.numbers`), lowest first."""
    untold: bool = False
    """Only in a row: what is reported is newer than what the cloud was told (`edgecore.twins.pace`)."""


def write_desired(
    before: Desired | None, *, value: str, side: Side, origin: str, now_ms: int, synced: bool, expires_ms: int | None
) -> Desired:
    """The record of a new write by `side`, which has seen `before`."""
    return Desired(
        value=value,
        ver=(before.ver if before else Vector()).advanced(side),
        hlc=next_hlc(before.hlc if before else HLC_ZERO, now_ms),
        side=side,
        origin=origin,
        synced=synced,
        expires_ms=expires_ms,
    )


def merge(mine: Desired | None, theirs: Desired | None, policy: Policy) -> Desired | None:
    """What both sides hold after they have exchanged these. Commutative, idempotent, and never loses a write that
    nobody contested, whatever the clocks were."""
    if mine is None or theirs is None:
        return mine or theirs
    if mine.ver != theirs.ver:
        if mine.ver.covers(theirs.ver):
            return mine
        if theirs.ver.covers(mine.ver):
            return theirs
    rank = _RANKS[policy]
    winner, loser = (mine, theirs) if rank(mine) >= rank(theirs) else (theirs, mine)
    return replace(winner, ver=mine.ver.joined(theirs.ver), conflict=_loser(winner, loser))


def _loser(winner: Desired, loser: Desired) -> Loser | None:
    """The best of the values that lost: this loser, or one that either had beaten before."""
    found = [kept for kept in (winner.conflict, loser.conflict) if kept is not None]
    found.append(Loser(value=loser.value, hlc=loser.hlc, origin=loser.origin, side=loser.side))
    found = [kept for kept in found if kept.value != winner.value]
    return max(found, key=lambda kept: (kept.hlc, kept.side, kept.value, kept.origin), default=None)


Rank: TypeAlias = "tuple[bool, Decimal, bool, Hlc, bool, str, str, int, bool]"
"""A total order, so that either side picks the same winner."""


def _rank(desired: Desired, *, first: Decimal) -> Rank:
    # An unsynced clock proves nothing: such a write loses to a synced one, and among themselves the cloud decides.
    return (
        desired.synced,
        first,
        desired.side == "cloud" and not desired.synced,
        desired.hlc,
        desired.side == "cloud",
        desired.value,
        desired.origin,
        -1 if desired.expires_ms is None else desired.expires_ms,
        desired.synced,
    )


def _by_side(side: Side) -> Callable[[Desired], Rank]:
    def rank(desired: Desired) -> Rank:
        ordinary = _rank(desired, first=Decimal(0))
        return (True, Decimal(desired.side == side), *ordinary[2:])

    return rank


def _by_number(sign: int) -> Callable[[Desired], Rank]:
    def rank(desired: Desired) -> Rank:
        try:
            number = Decimal(desired.value)
        except InvalidOperation:
            number = Decimal("NaN")
        # What is not a number is never the safe choice.
        first = number * sign if number.is_finite() else Decimal("-Infinity")
        ordinary = _rank(desired, first=first)
        return (True, *ordinary[1:])

    return rank


_RANKS: Final[dict[Policy, Callable[[Desired], Rank]]] = {
    "newest": lambda desired: _rank(desired, first=Decimal(0)),
    "cloud": _by_side("cloud"),
    "edge": _by_side("edge"),
    "min": _by_number(-1),
    "max": _by_number(1),
}

POLICIES: Final[tuple[Policy, ...]] = tuple(_RANKS)


def ack(state: AckState, *, for_ver: Vector, at_ms: int, reason: str = "") -> Ack:
    """An acknowledgement with the code that belongs to its state."""
    return Ack(state=state, code=ACK_CODES[state], reason=reason, for_ver=for_ver, at_ms=at_ms)


# --- values -----------------------------------------------------------------------------------------------

_TRUE: Final = frozenset({"true", "1", "on"})
_FALSE: Final = frozenset({"false", "0", "off"})


def parse_value(type: str, text: str) -> Value:
    """Text in a declared type (KubeEdge v1beta1: INT, FLOAT, DOUBLE, STRING, BOOLEAN, BYTES as base64).

    Raises `InvalidError` that says what would be right.
    """
    if len(text.encode()) > VALUE_BYTES_MAX:
        raise InvalidError(f"a value is at most {VALUE_BYTES_MAX} bytes long")
    match type:
        case "INT":
            return _parse_int(text)
        case "FLOAT" | "DOUBLE":
            return _parse_float(text)
        case "BOOLEAN":
            if text.strip().lower() in _TRUE:
                return True
            if text.strip().lower() in _FALSE:
                return False
            raise InvalidError(f"{text!r} is not a BOOLEAN: use true or false")
        case "BYTES":
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise InvalidError(f"{text!r} is not BYTES: use base64") from error
        case "STRING":
            return text
        case _:
            raise InvalidError(
                f"properties of type {type!r} have no value: use INT, FLOAT, DOUBLE, STRING or BOOLEAN"
            )


def _parse_int(text: str) -> int:
    try:
        number = Decimal(text.strip())
    except InvalidOperation as error:
        raise InvalidError(f"{text!r} is not an INT: use a whole number such as 21") from error
    if not number.is_finite() or abs(number) >= Decimal(2) ** 64 or number != number.to_integral_value():
        raise InvalidError(f"{text!r} is not an INT: use a whole number of at most 64 bits")
    return int(number)


def _parse_float(text: str) -> float:
    try:
        number = float(text.strip())
    except ValueError as error:
        raise InvalidError(f"{text!r} is not a number: use one such as 21.5") from error
    if not math.isfinite(number):
        raise InvalidError(f"{text!r} is not a finite number")
    return number


def format_value(value: Value) -> str:
    """The text form that `parse_value` reads back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return repr(value)
    return str(value)


def same_value(type: str, left: str, right: str, tolerance: float) -> bool:
    """Equal as this type means it: numbers within `tolerance`, anything else exactly."""
    try:
        a, b = parse_value(type, left), parse_value(type, right)
    except InvalidError:
        return left == right
    if isinstance(a, int | float) and isinstance(b, int | float) and not isinstance(a, bool):
        # Half a step of the last decimal is lost in binary; without it 20.1 and 20.0 would differ by more than 0.1.
        return abs(a - b) <= tolerance + 1e-9 * max(abs(a), abs(b))
    return a == b


# --- report bodies ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceName:
    """Which device a report is about; `uid` guards against a re-created one."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinReported:
    """Body of `twin_reported` (a state report, coalesced by `series_of`): what the device tells, and the answer to
    what was wanted."""

    device: DeviceName
    prop: str
    reported: Reported | None
    observed: Desired | None
    """The desired value that the acknowledgement is about."""
    ack: Ack | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinDesired:
    """Body of `twin_desired` (a state report): a desired value written on the edge, for the cloud to merge."""

    device: DeviceName
    prop: str
    desired: Desired
    policy: Policy


State: TypeAlias = Literal["online", "offline", "invalid", "waiting"]
"""`invalid`: its configuration can't be used; the reason names the field and the fix. `waiting`: it is right, and
waits for the mapper that speaks its protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """Body of `device_state` (a state report, coalesced by `namespace/name`)."""

    device: DeviceName
    state: State
    reason: str
    last_online_ms: int
    """0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Body of `telemetry`: one reading, in order, kept as history.

    `seq` is dense within a series (gateway and property), so a gap or a repetition would show.
    """

    device: DeviceName
    prop: str
    seq: int
    value: str | None
    type: str
    quality: Quality
    reason: str
    source_ms: int
    source_seq: int | None = None
    """The device's own number of this reading, where it gives one."""


def series_of(namespace: str, device: str, prop: str) -> str:
    """Name of a property's history, and coalescing key of its state reports."""
    return f"{namespace}/{device}/{prop}"


# --- JSON -------------------------------------------------------------------------------------------------


def vector_of(text: str) -> Vector:
    """`3.1` -> three writes of the cloud, one of the edge. What does not parse is the beginning: `0.0`."""
    cloud, _, edge = text.partition(".")
    if not (cloud.isdecimal() and edge.isdecimal()):
        return Vector()
    return Vector(cloud=int(cloud), edge=int(edge))


def hlc_of(text: str) -> Hlc:
    """`1750000000000.2`. What does not parse is older than everything."""
    wall, _, counter = text.partition(".")
    if not (wall.isdecimal() and counter.isdecimal()):
        return HLC_ZERO
    return Hlc(int(wall), int(counter))


def desired_json(desired: Desired) -> JsonObject:
    out: JsonObject = {
        "value": desired.value,
        "ver": str(desired.ver),
        "hlc": str(desired.hlc),
        "side": desired.side,
        "origin": desired.origin,
    }
    if not desired.synced:
        out["synced"] = False
    if desired.expires_ms is not None:
        out["expires"] = desired.expires_ms
    if desired.conflict:
        out["conflict"] = {
            "value": desired.conflict.value,
            "hlc": str(desired.conflict.hlc),
            "origin": desired.conflict.origin,
            "side": desired.conflict.side,
        }
    return out


def desired_from(data: Json) -> Desired | None:
    """Inverse of `desired_json`; None where there is none."""
    if not isinstance(data, dict):
        return None
    lost = map_at(data, "conflict")
    return Desired(
        value=str_at(data, "value"),
        ver=vector_of(str_at(data, "ver")),
        hlc=hlc_of(str_at(data, "hlc")),
        side=side_of(str_at(data, "side")),
        origin=str_at(data, "origin"),
        synced=bool_at(data, "synced", default=True),
        expires_ms=_int_or_none(data, "expires"),
        conflict=Loser(
            value=str_at(lost, "value"),
            hlc=hlc_of(str_at(lost, "hlc")),
            origin=str_at(lost, "origin"),
            side=side_of(str_at(lost, "side")),
        )
        if lost
        else None,
    )


def side_of(text: str) -> Side:
    return "edge" if text == "edge" else "cloud"


def _int_or_none(data: JsonObject, name: str) -> int | None:
    value = dig(data, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _str_or_none(data: JsonObject, name: str) -> str | None:
    value = dig(data, name)
    return value if isinstance(value, str) else None


def quality_of(text: str) -> Quality:
    """What is not known to be good is bad."""
    return cast(Quality, text) if text in get_args(Quality) else "bad"


def _ack_json(given: Ack) -> JsonObject:
    return {
        "state": given.state,
        "code": given.code,
        "reason": given.reason,
        "for": str(given.for_ver),
        "at": given.at_ms,
    }


def _ack_from(data: Json) -> Ack | None:
    state = str_at(data, "state")
    if state not in ACK_CODES:
        return None
    return Ack(
        state=state,
        code=int_at(data, "code"),
        reason=str_at(data, "reason"),
        for_ver=vector_of(str_at(data, "for")),
        at_ms=int_at(data, "at"),
    )


def _reported_json(reported: Reported) -> JsonObject:
    out: JsonObject = {
        "value": reported.value,
        "type": reported.type,
        "unit": reported.unit,
        "q": reported.quality,
        "reason": reported.reason,
        "ts_src": reported.source_ms,
        "ts_gw": reported.gateway_ms,
    }
    if not reported.synced:
        out["synced"] = False
    return out


def _reported_from(data: Json) -> Reported | None:
    if not isinstance(data, dict):
        return None
    return Reported(
        value=_str_or_none(data, "value"),
        type=str_at(data, "type"),
        unit=str_at(data, "unit"),
        quality=quality_of(str_at(data, "q")),
        reason=str_at(data, "reason"),
        source_ms=int_at(data, "ts_src"),
        gateway_ms=int_at(data, "ts_gw"),
        synced=bool_at(data, "synced", default=True),
    )


def encode_state(state: TwinState) -> bytes:
    """A `TwinRow.body` of the edge store."""
    out: JsonObject = {"uid": state.uid, "seen": str(state.seen), "seq": state.seq}
    if state.desired:
        out["desired"] = desired_json(state.desired)
    if state.reported:
        out["reported"] = _reported_json(state.reported)
    if state.ack:
        out["ack"] = _ack_json(state.ack)
    if state.source_seq is not None:
        out["source_seq"] = state.source_seq
    if state.source_holes:
        out["source_holes"] = [[first, last] for first, last in state.source_holes]
    if state.untold:
        out["untold"] = True
    return encode_object(out)


def decode_state(body: bytes) -> TwinState:
    data = decode_object(body)
    return TwinState(
        uid=str_at(data, "uid"),
        desired=desired_from(dig(data, "desired")),
        reported=_reported_from(dig(data, "reported")),
        ack=_ack_from(dig(data, "ack")),
        seen=vector_of(str_at(data, "seen")),
        seq=int_at(data, "seq"),
        source_seq=_int_or_none(data, "source_seq"),
        source_holes=_holes_from(data.get("source_holes")),
        untold=bool_at(data, "untold"),
    )


def _holes_from(data: Json) -> Holes:
    spans = data if isinstance(data, list) else []
    pairs = [span for span in spans if isinstance(span, list) and len(span) == 2]
    return tuple((first, last) for first, last in pairs if isinstance(first, int) and isinstance(last, int))


def _told(body: bytes) -> JsonObject:
    """A report's body. Raises `InvalidError` for what no gateway of ours writes."""
    try:
        return decode_object(body)
    except (ValueError, AssertionError, RecursionError) as error:
        raise InvalidError("the body of a report about a device is a JSON object") from error


def _device_json(device: DeviceName) -> JsonObject:
    return {"ns": device.namespace, "name": device.name, "uid": device.uid}


def _device_from(data: JsonObject) -> DeviceName:
    device = map_at(data, "device")
    if not str_at(device, "name") or not str_at(device, "ns"):
        raise InvalidError("a report about a device names it: device.ns, device.name")
    return DeviceName(namespace=str_at(device, "ns"), name=str_at(device, "name"), uid=str_at(device, "uid"))


def encode_twin_reported(report: TwinReported) -> bytes:
    out: JsonObject = {"device": _device_json(report.device), "prop": report.prop}
    if report.reported:
        out["reported"] = _reported_json(report.reported)
    if report.observed:
        out["observed"] = desired_json(report.observed)
    if report.ack:
        out["ack"] = _ack_json(report.ack)
    return encode_object(out)


def decode_twin_reported(body: bytes) -> TwinReported:
    """Raises `InvalidError` for a body that names no device."""
    data = _told(body)
    return TwinReported(
        device=_device_from(data),
        prop=str_at(data, "prop"),
        reported=_reported_from(dig(data, "reported")),
        observed=desired_from(dig(data, "observed")),
        ack=_ack_from(dig(data, "ack")),
    )


def encode_twin_desired(report: TwinDesired) -> bytes:
    return encode_object(
        {
            "device": _device_json(report.device),
            "prop": report.prop,
            "desired": desired_json(report.desired),
            "policy": report.policy,
        }
    )


def decode_twin_desired(body: bytes) -> TwinDesired:
    """Raises `InvalidError` for a body that names no device or wants nothing."""
    data = _told(body)
    desired = desired_from(dig(data, "desired"))
    if desired is None:
        raise InvalidError("a twin_desired report carries a desired value")
    return TwinDesired(
        device=_device_from(data),
        prop=str_at(data, "prop"),
        desired=desired,
        policy=policy_of(str_at(data, "policy")) or "newest",
    )


def policy_of(text: str) -> Policy | None:
    """None for a policy that does not exist."""
    return text if text in POLICIES else None


def encode_device_state(report: DeviceState) -> bytes:
    return encode_object(
        {
            "device": _device_json(report.device),
            "state": report.state,
            "reason": report.reason,
            "last_online": report.last_online_ms,
        }
    )


def decode_device_state(body: bytes) -> DeviceState:
    """Raises `InvalidError` for a body that names no device."""
    data = _told(body)
    told = str_at(data, "state")
    states: dict[str, State] = {state: state for state in get_args(State)}
    return DeviceState(
        device=_device_from(data),
        state=states.get(told, "offline"),
        reason=str_at(data, "reason"),
        last_online_ms=int_at(data, "last_online"),
    )


def telemetry_json(report: Telemetry) -> JsonObject:
    out: JsonObject = {
        "device": _device_json(report.device),
        "prop": report.prop,
        "seq": report.seq,
        "value": report.value,
        "type": report.type,
        "q": report.quality,
        "ts_src": report.source_ms,
    }
    if report.reason:
        out["reason"] = report.reason
    if report.source_seq is not None:
        out["source_seq"] = report.source_seq
    return out


def encode_telemetry(report: Telemetry) -> bytes:
    return encode_object(telemetry_json(report))


def decode_telemetry(body: bytes) -> Telemetry:
    """Raises `InvalidError` for a body that names no device."""
    data = _told(body)
    return Telemetry(
        device=_device_from(data),
        prop=str_at(data, "prop"),
        seq=int_at(data, "seq"),
        value=_str_or_none(data, "value"),
        type=str_at(data, "type"),
        quality=quality_of(str_at(data, "q")),
        reason=str_at(data, "reason"),
        source_ms=int_at(data, "ts_src"),
        source_seq=_int_or_none(data, "source_seq"),
    )
