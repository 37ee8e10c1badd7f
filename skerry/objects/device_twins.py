"""How twins look in KubeEdge's kinds (`devices.kubeedge.io/v1beta1`).

Pure functions from objects to objects; they keep no data. A desired value is
`Device.spec.properties[].desired.value`; everything else about it is in the free string map beside it,
`desired.metadata`: `ver`, `hlc`, `origin`, `side`, `expires` (RFC 3339, may be set by a user), `conflict...`.
What was reported is in the DeviceStatus of the same name, `status.twins[]`, always current. The Device's own
`status` has the same twins for whoever runs `kubectl get device -o yaml`, but mere changes of a value are copied
there at most every `COPY_MS_MIN`: each change of a Device travels down to its gateway again, a DeviceStatus does
not (docs/decisions/0080).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from skerry.errors import BadRequestError
from skerry.objects.json import Json, JsonObject, clone, dig, ensure_map, list_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import generation_of
from skerry.objects.times import parse_time, time_text
from skerry.objects.twins import (
    HLC_ZERO,
    Desired,
    DeviceState,
    Hlc,
    Loser,
    Quality,
    State,
    TwinDesired,
    TwinReported,
    Vector,
    hlc_of,
    merge,
    next_hlc,
    quality_of,
    side_of,
    vector_of,
)

API_VERSION: Final = "devices.kubeedge.io/v1beta1"

COPY_MS_MIN: Final = 10_000
"""Between two copies of a mere change of value into Device.status: a gateway on a metered link pays for each."""


def ms_of(text: str) -> int | None:
    """RFC 3339 or milliseconds as text; None for neither."""
    if text.isdecimal():
        return int(text)
    try:
        return parse_time(text)
    except BadRequestError:
        return None


# --- desired ----------------------------------------------------------------------------------------------


def property_of(device: JsonObject, prop: str) -> JsonObject | None:
    """The entry of `spec.properties[]` itself."""
    return next((entry for entry in maps_at(device, "spec", "properties") if str_at(entry, "name") == prop), None)


def desired_of(device: JsonObject, prop: str) -> Desired | None:
    """What the Device wants of a property; None for nothing."""
    entry = property_of(device, prop)
    return None if entry is None else _desired_in(dig(entry, "desired"), device)


def _desired_in(shown: Json, device: JsonObject) -> Desired | None:
    value = dig(shown, "value")
    if not isinstance(value, str):
        return None
    metadata = str_map_at(shown, "metadata")
    # An object that never went through `stamp_desired` (another API server's) counts its spec's changes instead.
    ver = vector_of(metadata["ver"]) if "ver" in metadata else Vector(cloud=max(1, generation_of(device)))
    return Desired(
        value=value,
        ver=ver,
        hlc=hlc_of(metadata["hlc"]) if "hlc" in metadata else Hlc(ms_of(metadata.get("timestamp", "")) or 0, 0),
        side=side_of(metadata.get("side", "")),
        origin=metadata.get("origin", ""),
        synced=metadata.get("clock", "synced") == "synced",
        expires_ms=ms_of(metadata.get("expires", "")),
        conflict=_loser_in(metadata),
    )


def _loser_in(metadata: dict[str, str]) -> Loser | None:
    if "conflictValue" not in metadata:
        return None
    return Loser(
        value=metadata["conflictValue"],
        hlc=hlc_of(metadata.get("conflictHlc", "")),
        origin=metadata.get("conflictOrigin", ""),
        side=side_of(metadata.get("conflictSide", "")),
    )


_OURS: Final = frozenset(
    {"ver", "hlc", "side", "origin", "clock", "expires", "timestamp"}
    | {"conflictValue", "conflictHlc", "conflictOrigin", "conflictSide"}
)


def _desired_shown(desired: Desired, others: dict[str, str]) -> JsonObject:
    """`desired` as the API has it; `others` are a user's own metadata, kept."""
    metadata = {name: text for name, text in others.items() if name not in _OURS}
    metadata |= {
        "timestamp": str(desired.hlc.wall_ms),
        "ver": str(desired.ver),
        "hlc": str(desired.hlc),
        "side": desired.side,
        "origin": desired.origin,
    }
    if not desired.synced:
        metadata["clock"] = "unsynced"
    if desired.expires_ms is not None:
        metadata["expires"] = time_text(desired.expires_ms)
    if desired.conflict:
        metadata |= {
            "conflictValue": desired.conflict.value,
            "conflictHlc": str(desired.conflict.hlc),
            "conflictOrigin": desired.conflict.origin,
            "conflictSide": desired.conflict.side,
        }
    return {"value": desired.value, "metadata": {**metadata}}


def with_desired(device: JsonObject, prop: str, desired: Desired) -> JsonObject:
    """The Device with this wanted of `prop`; the property is added where the instance does not name it yet."""
    device = clone(device)
    entry = property_of(device, prop)
    if entry is None:
        entry: JsonObject | None = {"name": prop}
        spec = ensure_map(device, "spec")
        spec["properties"] = [*list_at(spec, "properties"), entry]
    entry["desired"] = _desired_shown(desired, str_map_at(entry, "desired", "metadata"))
    return device


def stamp_desired(old: JsonObject | None, new: JsonObject, *, now_ms: int, origin: str) -> JsonObject:
    """Number the desired values that a write of a Device's spec changes: what the API server does before it stores.

    A value that the writer left alone keeps its version even where the writer dropped our metadata (`kubectl
    replace`). A changed one gets the next version, time and author, and so does the same value with other metadata
    of the user's own (`requested: <time>`): that is how one asks for it again. A version that covers the old one is
    a merge that was already decided (the hub's), and stands. Returns `new` itself when nothing is to be done.
    """
    stamped = new
    for entry in maps_at(new, "spec", "properties"):
        prop = str_at(entry, "name")
        if not isinstance(dig(entry, "desired", "value"), str):
            continue
        metadata = str_map_at(entry, "desired", "metadata")
        before = desired_of(old, prop) if old is not None else None
        wanted = _stamped(before, entry, old, now_ms=now_ms, origin=origin)
        shown = _desired_shown(wanted, metadata)
        if shown != dig(entry, "desired"):
            if stamped is new:
                stamped = clone(new)
            target = property_of(stamped, prop)
            assert target is not None, "a clone has the same properties"
            target["desired"] = shown
    return stamped


def _own_of(holder: JsonObject | None, prop: str = "") -> dict[str, str]:
    """A user's own metadata of a desired value: in an entry, or in a Device's entry of that name."""
    entry = property_of(holder, prop) if holder is not None and prop else holder
    metadata = str_map_at(entry, "desired", "metadata")
    return {name: text for name, text in metadata.items() if name not in _OURS}


def _stamped(
    before: Desired | None, entry: JsonObject, old: JsonObject | None, *, now_ms: int, origin: str
) -> Desired:
    given = _desired_in(dig(entry, "desired"), entry)
    assert given is not None, "the caller looked"
    claims = "ver" in str_map_at(entry, "desired", "metadata")
    if before is not None:
        if claims and given.ver != before.ver and given.ver.covers(before.ver):
            return given
        asked_again = _own_of(entry) != _own_of(old, str_at(entry, "name"))
        if given.value == before.value and given.expires_ms in (before.expires_ms, None) and not asked_again:
            return before
    # Counting from the generation makes a value that was removed and set again newer than what the edge may hold.
    generation = generation_of(old) if old is not None else 0
    ver = before.ver if before else Vector()
    same_expiry = before is not None and given.expires_ms == before.expires_ms and given.value != before.value
    return Desired(
        value=given.value,
        ver=Vector(cloud=max(ver.cloud, generation) + 1, edge=ver.edge),
        hlc=next_hlc(before.hlc if before else HLC_ZERO, now_ms),
        side="cloud",
        origin=origin,
        # The expiry belongs to the value it came with: one that `kubectl edit` carried along has no say here,
        # unless it lies ahead (then it was surely meant, or does no harm).
        expires_ms=None if same_expiry and (given.expires_ms or 0) <= now_ms else given.expires_ms,
    )


def merged_desired(device: JsonObject, report: TwinDesired) -> JsonObject:
    """The Device after a write made on the edge has been merged in: the transform of a `twin_desired` report."""
    mine = desired_of(device, report.prop)
    merged = merge(mine, report.desired, report.policy)
    assert merged is not None, "one of them is there"
    return device if merged == mine else with_desired(device, report.prop, merged)


# --- reported ---------------------------------------------------------------------------------------------


def with_reported(status_object: JsonObject, report: TwinReported, *, received_ms: int) -> JsonObject:
    """A DeviceStatus with this report in it: the transform of a `twin_reported` report.

    `status_object` may be empty: then the DeviceStatus is made, owned by its Device so that it goes with it.
    """
    out = (
        clone(status_object)
        if status_object
        else new_device_status(report.device.namespace, report.device.name, report.device.uid)
    )
    _put_twin(out, _twin_shown(report, received_ms=received_ms))
    return out


def new_device_status(namespace: str, name: str, device_uid: str) -> JsonObject:
    """An empty DeviceStatus of a Device."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DeviceStatus",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "ownerReferences": [{"apiVersion": API_VERSION, "kind": "Device", "name": name, "uid": device_uid}],
        },
        "spec": {},
        "status": {},
    }


def with_reported_copy(device: JsonObject, report: TwinReported, *, received_ms: int) -> JsonObject:
    """A Device whose `status.twins` follows this report: at once where quality, acknowledgement or what was observed
    differ, else at most every `COPY_MS_MIN`. Returns `device` itself when it is too soon."""
    shown = _twin_shown(report, received_ms=received_ms)
    held = next(
        (twin for twin in maps_at(device, "status", "twins") if str_at(twin, "propertyName") == report.prop), None
    )
    if held is not None and _telling(held) == _telling(shown):
        unchanged = str_at(held, "reported", "value") == str_at(shown, "reported", "value")
        copied_ms = ms_of(str_at(held, "reported", "metadata", "received")) or 0
        if unchanged or received_ms - copied_ms < COPY_MS_MIN:
            return device
    out = clone(device)
    _put_twin(out, shown)
    return out


def _telling(twin: JsonObject) -> tuple[str, ...]:
    metadata = map_at(twin, "reported", "metadata")
    return (
        str_at(metadata, "quality"),
        str_at(metadata, "ackState"),
        str_at(metadata, "ackFor"),
        str_at(metadata, "ackReason"),
        str_at(twin, "observedDesired", "value"),
    )


def _put_twin(obj: JsonObject, shown: JsonObject) -> None:
    status = ensure_map(obj, "status")
    twins = [
        twin for twin in maps_at(status, "twins") if str_at(twin, "propertyName") != str_at(shown, "propertyName")
    ]
    twins.append(shown)
    twins.sort(key=lambda twin: str_at(twin, "propertyName"))
    status["twins"] = [*twins]


def _twin_shown(report: TwinReported, *, received_ms: int) -> JsonObject:
    reported = report.reported
    metadata: dict[str, str] = {"received": str(received_ms)}
    if reported is None:
        metadata["quality"] = "bad"
    else:
        metadata |= {
            "timestamp": str(reported.source_ms),
            "gateway": str(reported.gateway_ms),
            "type": reported.type,
            "quality": reported.quality,
        }
        metadata |= {"reason": reported.reason} if reported.reason else {}
        metadata |= {"unit": reported.unit} if reported.unit else {}
        metadata |= {} if reported.synced else {"clock": "unsynced"}
    if report.ack:
        metadata |= {
            "ackState": report.ack.state,
            "ackCode": str(report.ack.code),
            "ackReason": report.ack.reason,
            "ackFor": str(report.ack.for_ver),
            "ackAt": str(report.ack.at_ms),
        }
    shown: JsonObject = {
        "propertyName": report.prop,
        "reported": {"value": (reported.value if reported else None) or "", "metadata": {**metadata}},
    }
    if report.observed:
        shown["observedDesired"] = _desired_shown(report.observed, {})
    return shown


_REASONS: Final[dict[State, str]] = {
    "online": "DeviceOnline",
    "offline": "DeviceSilent",
    "invalid": "InvalidConfiguration",
    "waiting": "WaitingForMapper",
}


def with_state(obj: JsonObject, report: DeviceState) -> JsonObject:
    """A Device or DeviceStatus with its connection's state: the transform of a `device_state` report.

    `status.state` and `status.lastOnlineTime` are KubeEdge's; the reason goes into a condition `Ready`.
    An empty object becomes a new DeviceStatus.
    """
    out = clone(obj) if obj else new_device_status(report.device.namespace, report.device.name, report.device.uid)
    status = ensure_map(out, "status")
    status["state"] = report.state
    if report.last_online_ms:
        status["lastOnlineTime"] = time_text(report.last_online_ms)
    # A DeviceStatus's schema has no conditions; its free-form part has.
    holder = ensure_map(status, "extensions") if str_at(out, "kind") == "DeviceStatus" else status
    reason = _REASONS[report.state]
    holder["conditions"] = [
        {
            "type": "Ready",
            "status": "True" if report.state == "online" else "False",
            "reason": reason,
            "message": report.reason,
        }
    ]
    return out


# --- for those who look -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinView:
    """One property as shown: what a CLI prints."""

    prop: str
    desired: Desired | None
    reported: str | None
    """None: never, or no value now."""
    quality: Quality
    reason: str
    type: str
    unit: str
    source_ms: int
    received_ms: int
    ack_state: str
    """"" when nothing was wanted yet; `pending` when what is wanted now has no answer yet."""
    ack_reason: str


def twin_views(device: JsonObject, status_object: JsonObject | None = None) -> list[TwinView]:
    """Every property of a Device with its twin, in the order of the spec, then those only reported.

    `status_object` is its DeviceStatus, which is more current than the Device's own status.
    """
    twins = {str_at(twin, "propertyName"): twin for twin in maps_at(device, "status", "twins")}
    twins |= {str_at(twin, "propertyName"): twin for twin in maps_at(status_object, "status", "twins")}
    names = [str_at(entry, "name") for entry in maps_at(device, "spec", "properties")]
    names += [name for name in twins if name not in names]
    return [_view(device, name, twins.get(name, {})) for name in names]


def _view(device: JsonObject, name: str, twin: JsonObject) -> TwinView:
    desired = desired_of(device, name)
    metadata = str_map_at(twin, "reported", "metadata")
    quality = quality_of(metadata.get("quality", ""))
    state, reason = metadata.get("ackState", ""), metadata.get("ackReason", "")
    if desired and not (state and vector_of(metadata.get("ackFor", "")).covers(desired.ver)):
        state, reason = "pending", ""
    return TwinView(
        prop=name,
        desired=desired,
        reported=str_at(twin, "reported", "value") if twin and quality != "bad" else None,
        quality=quality,
        reason=metadata.get("reason", ""),
        type=metadata.get("type", ""),
        unit=metadata.get("unit", ""),
        source_ms=ms_of(metadata.get("timestamp", "")) or 0,
        received_ms=ms_of(metadata.get("received", "")) or 0,
        ack_state=state,
        ack_reason=reason,
    )
