"""Twins: what is wanted of a device's property, what was last told, and what became of what was wanted.

How two sides that both wrote agree is `skerry.objects.desired`. Values are text here, as in KubeEdge's API;
`parse_value` gives them their declared type. This module keeps no data: the edge stores `TwinState` rows, the cloud
keeps twins in Device and DeviceStatus objects (`skerry.objects.device_twins`), and the report bodies below travel
between them.
"""

from __future__ import annotations

import base64
import binascii
import math
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, TypeAlias, cast, get_args

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.desired import (
    FALSE,
    TRUE,
    UNSEEN,
    Desired,
    Policy,
    Vector,
    desired_from,
    desired_json,
    policy_of,
    vector_of,
)
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

VALUE_BYTES_MAX: Final = 4096
"""Of one value as text; a twin is not a file store."""


class Ack(Frozen):
    """What became of a desired value."""

    state: AckState
    code: int
    reason: str
    """"" when there is nothing to explain."""
    for_ver: Vector
    at_ms: int


class Reported(Frozen):
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


class TwinState(Frozen):
    """One property of one device as the edge keeps it."""

    uid: str
    """Life of the Device object that this belongs to."""
    owner: int = 0
    """The number of the move by which the device is here, under which the cloud was told."""
    desired: Desired | None = None
    reported: Reported | None = None
    ack: Ack | None = None
    seen: Vector = UNSEEN
    """The newest vector seen in the cloud's Device object: what it surely holds."""
    late: Vector | None = None
    """The version of a desired value that the cloud was given while this gateway was away, as long as it is the one
    that is wanted (`OnReconnect`)."""
    seq: int = 0
    """Number of the last telemetry report of this property; dense."""
    source_seq: int | None = None
    """The device's own sequence number of the newest reading taken, where it gives one."""
    source_holes: Holes = ()
    """Numbers below that which were not taken (`edgecore.twins.numbers`), lowest first."""
    untold: bool = False
    """Only in a row: what is reported is newer than what the cloud was told (`edgecore.twins.pace`)."""

    @property
    def wanted(self) -> Desired | None:
        """What is desired, where that is something: no tombstone."""
        return None if self.desired is None or self.desired.removed else self.desired


def ack(state: AckState, *, for_ver: Vector, at_ms: int, reason: str = "") -> Ack:
    """An acknowledgement with the code that belongs to its state."""
    return Ack(state=state, code=ACK_CODES[state], reason=reason, for_ver=for_ver, at_ms=at_ms)


# --- values -----------------------------------------------------------------------------------------------


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
            if text.strip().lower() in TRUE:
                return True
            if text.strip().lower() in FALSE:
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


class DeviceName(Frozen):
    """Which device a report is about; `uid` guards against a re-created one."""

    namespace: str
    name: str
    uid: str
    owner: int = 0
    """The number of the move that brought it to its gateway (`skerry.objects.device_owner`); 0 says nothing."""


class TwinReported(Frozen):
    """Body of `twin_reported` (a state report, coalesced by `series_of`): what the device tells, and the answer to
    what was wanted."""

    device: DeviceName
    prop: str
    reported: Reported | None
    observed: Desired | None
    """The desired value that the acknowledgement is about."""
    ack: Ack | None


class TwinDesired(Frozen):
    """Body of `twin_desired` (a state report): a desired value written on the edge, for the cloud to merge."""

    device: DeviceName
    prop: str
    desired: Desired
    policy: Policy


State: TypeAlias = Literal["online", "offline", "invalid", "waiting", "held"]
"""`invalid`: its configuration can't be used; the reason names the field and the fix. `waiting`: it is right, and
waits for the mapper that speaks its protocol. `held`: its polls and writes pause; the reason says who holds it."""


def state_of(text: str) -> State:
    """Of a device. What is not known is taken for offline."""
    return cast(State, text) if text in get_args(State) else "offline"


class DeviceState(Frozen):
    """Body of `device_state` (a state report, coalesced by `namespace/name`)."""

    device: DeviceName
    state: State
    reason: str
    last_online_ms: int
    """0: never."""


class Telemetry(Frozen):
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
    if state.owner:
        out["owner"] = state.owner
    if state.desired:
        out["desired"] = desired_json(state.desired)
    if state.reported:
        out["reported"] = _reported_json(state.reported)
    if state.ack:
        out["ack"] = _ack_json(state.ack)
    if state.late is not None:
        out["late"] = str(state.late)
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
        owner=int_at(data, "owner"),
        desired=desired_from(dig(data, "desired")),
        reported=_reported_from(dig(data, "reported")),
        ack=_ack_from(dig(data, "ack")),
        seen=vector_of(str_at(data, "seen")),
        late=vector_of(str_at(data, "late")) if "late" in data else None,
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
    out: JsonObject = {"ns": device.namespace, "name": device.name, "uid": device.uid}
    return out | ({"owner": device.owner} if device.owner else {})


def _device_from(data: JsonObject) -> DeviceName:
    device = map_at(data, "device")
    if not str_at(device, "name") or not str_at(device, "ns"):
        raise InvalidError("a report about a device names it: device.ns, device.name")
    return DeviceName(
        namespace=str_at(device, "ns"),
        name=str_at(device, "name"),
        uid=str_at(device, "uid"),
        owner=max(0, int_at(device, "owner")),
    )


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
    return DeviceState(
        device=_device_from(data),
        state=state_of(str_at(data, "state")),
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
