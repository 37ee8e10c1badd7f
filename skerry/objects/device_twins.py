"""How twins look in KubeEdge's kinds (`devices.kubeedge.io/v1beta1`).

Pure functions from objects to objects; they keep no data. What is wanted is `skerry.objects.device_desired`. What was
reported is in the DeviceStatus of the same name, `status.twins[]`, always current. The Device's own
`status` has the same twins for whoever runs `kubectl get device -o yaml`, but mere changes of a value are copied
there at most every `COPY_MS_MIN`: each change of a Device travels down to its gateway again, a DeviceStatus does
not (docs/decisions/0080).
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen
from skerry.objects.desired import Desired, vector_of
from skerry.objects.device_desired import desired_of, desired_shown, ms_of
from skerry.objects.json import JsonObject, clone, ensure_map, map_at, maps_at, str_at, str_map_at
from skerry.objects.times import time_text
from skerry.objects.twins import DeviceState, Quality, State, TwinReported, quality_of

API_VERSION: Final = "devices.kubeedge.io/v1beta1"

COPY_MS_MIN: Final = 10_000
"""Between two copies of a mere change of value into Device.status: a gateway on a metered link pays for each."""


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
    if report.observed and not report.observed.removed:
        shown["observedDesired"] = desired_shown(report.observed, {})
    return shown


_REASONS: Final[dict[State, str]] = {
    "online": "DeviceOnline",
    "offline": "DeviceSilent",
    "invalid": "InvalidConfiguration",
    "waiting": "WaitingForMapper",
    "held": "DeviceHeld",
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


class TwinView(Frozen):
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
    if desired is not None and not desired.value and metadata.get("type", "STRING") not in ("STRING", "BYTES"):
        desired = None  # KubeEdge's manifests say "" where nothing is wanted
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
