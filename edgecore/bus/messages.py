"""KubeEdge's payloads on these topics: what apps send, and what they are told.

Pure. Written after the structures of `edge/pkg/devicetwin/dttype` (names and order of fields, what is left out when
it is empty, reasons and codes of errors); `tests/edgecore/bus/golden.txt` keeps one of each. What KubeEdge can't say
is an optional field more: `quality` and `reason` beside the time of an actual value that is not good. A value may
have any characters, where KubeEdge refuses blanks, signs and everything that is not ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from skerry.errors import InvalidError
from skerry.frozen import Frozen, field
from skerry.objects.desired import Vector
from skerry.objects.json import Json, JsonObject, read_json
from skerry.objects.twins import VALUE_BYTES_MAX, TwinState, same_value

UNREADABLE: Final = "Unmarshal update request body failed, please check the request"
NO_TWIN: Final = "Update twin error, key:twin does not exist"
BAD_KEY: Final = (
    "The key of twin must only include upper or lowercase letters, number, english, and special letter - _ . , : / @ "
    "# and the length of key should be less than 128 bytes"
)
NO_DEVICE: Final = "update rejected due to the device is not existed"
BAD_REQUEST, NOT_FOUND, CONFLICT, INTERNAL = 400, 404, 409, 500

STATES: Final = ("online", "offline", "ok", "unknown", "unhealthy")

_KEY: Final = re.compile(r"[a-zA-Z0-9\-_.,:/@#]{1,128}")
_TYPES: Final = {"INT": "int", "FLOAT": "float", "DOUBLE": "float", "BOOLEAN": "boolean"}
_MISTYPED: Final = {
    "INT": "the value is not int or integer",
    "FLOAT": "the value is not float",
    "DOUBLE": "the value is not float",
    "BOOLEAN": "the bool value must be true or false",
}


class RefusedError(Exception):
    """A message that is answered with KubeEdge's error result."""

    def __init__(self, code: int, reason: str, event_id: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.event_id = event_id


# --- what apps send ---------------------------------------------------------------------------------------


class Told(Frozen):
    """What an update says of one property."""

    expected: str | None
    actual: str | None
    actual_ms: int
    """When it was read, as far as the app says; 0: it does not."""


class TwinUpdate(Frozen):
    event_id: str
    twin: Mapping[str, Told | None]
    """None: the app wants the property gone."""


class StateUpdate(Frozen):
    state: str


def read_update(payload: bytes) -> TwinUpdate:
    """Raises `RefusedError`."""
    event_id, timestamp, body = _envelope(payload, UNREADABLE)
    twin = body.get("twin")
    if twin is None:
        raise RefusedError(BAD_REQUEST, NO_TWIN, event_id)
    if not isinstance(twin, dict):
        raise RefusedError(BAD_REQUEST, UNREADABLE, event_id)
    told: dict[str, Told | None] = {}
    for key, entry in twin.items():
        if _KEY.fullmatch(key) is None:
            raise RefusedError(BAD_REQUEST, BAD_KEY, event_id)
        told[key] = None if entry is None else _told(entry, timestamp, event_id)
    return TwinUpdate(event_id=event_id, twin=told)


def _told(entry: Json, timestamp: int, event_id: str) -> Told:
    if not isinstance(entry, dict):
        raise RefusedError(BAD_REQUEST, UNREADABLE, event_id)
    expected, _ = _value(entry.get("expected"), event_id)
    actual, actual_ms = _value(entry.get("actual"), event_id)
    return Told(expected=expected, actual=actual, actual_ms=actual_ms or timestamp)


def _value(said: Json, event_id: str) -> tuple[str | None, int]:
    if said is None:
        return None, 0
    if not isinstance(said, dict):
        raise RefusedError(BAD_REQUEST, UNREADABLE, event_id)
    value, metadata = said.get("value"), said.get("metadata")
    if (value is not None and not isinstance(value, str)) or not isinstance(metadata, dict | None):
        raise RefusedError(BAD_REQUEST, UNREADABLE, event_id)
    if value is not None and len(value.encode()) > VALUE_BYTES_MAX:
        raise RefusedError(BAD_REQUEST, f"a value is at most {VALUE_BYTES_MAX} bytes long", event_id)
    timestamp = metadata.get("timestamp", 0) if metadata is not None else 0
    return value, _ms(timestamp, UNREADABLE, event_id)


def read_get(payload: bytes) -> str:
    """The event id of a question. Raises `RefusedError`."""
    text = payload.decode(errors="replace")
    return _envelope(payload, f"Unmarshal twin info {text[:200]} failed")[0]


def read_membership_get(payload: bytes) -> str:
    """The same of a question for the node's devices."""
    text = payload.decode(errors="replace")
    return _envelope(payload, f"Unmarshal get membership info {text[:200]} failed")[0]


def read_state(payload: bytes) -> StateUpdate | None:
    """None for a state that KubeEdge does not know, which it passes over in silence. Raises `RefusedError`."""
    event_id, _, body = _envelope(payload, UNREADABLE)
    state = body.get("state", "")
    if not isinstance(state, str):
        raise RefusedError(BAD_REQUEST, UNREADABLE, event_id)
    return StateUpdate(state=state.lower()) if state.lower() in STATES else None


def _envelope(payload: bytes, reason: str) -> tuple[str, int, JsonObject]:
    try:
        body = read_json(payload)
    except InvalidError as error:
        raise RefusedError(BAD_REQUEST, reason) from error
    if not isinstance(body, dict):
        raise RefusedError(BAD_REQUEST, reason)
    event_id = body.get("event_id", "")
    if not isinstance(event_id, str):
        raise RefusedError(BAD_REQUEST, reason)
    return event_id, _ms(body.get("timestamp", 0), reason, event_id), cast(JsonObject, body)


SECONDS_MAX: Final = 100_000_000_000
"""Some old mappers write seconds: a number below this is one (until the year 5138)."""


def _ms(value: Json, reason: str, event_id: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedError(BAD_REQUEST, reason, event_id)
    return max(0, value * 1000 if value < SECONDS_MAX else value)


def mistyped(type: str, reason: str) -> str:
    """KubeEdge's words for a value that is not of its type; ours where it has none."""
    return _MISTYPED.get(type, reason)


# --- what they are told -----------------------------------------------------------------------------------


class TwinView(Frozen):
    """One property as these topics show it."""

    type: str
    """As the model has it: INT, FLOAT ..."""
    expected: str | None = None
    expected_ms: int = 0
    expected_ver: Vector = field(default_factory=Vector)
    by_cloud: bool = False
    actual: str | None = None
    actual_ms: int = 0
    actual_number: int = 0
    quality: str = "good"
    reason: str = ""
    tolerance: float = 0.0

    @property
    def differs(self) -> bool:
        """Something is wanted that is not so."""
        if self.expected is None or self.expected == "":
            return False
        return self.actual is None or not same_value(self.type, self.expected, self.actual, self.tolerance)


def view_of(type: str, tolerance: float, state: TwinState | None) -> TwinView:
    """A twin as these topics show it."""
    desired, reported = (state.wanted, state.reported) if state else (None, None)
    return TwinView(
        type=type,
        expected=desired.value if desired else None,
        expected_ms=desired.hlc.wall_ms if desired else 0,
        expected_ver=desired.ver if desired else Vector(),
        by_cloud=desired is not None and desired.side == "cloud",
        actual=reported.value if reported else None,
        actual_ms=reported.source_ms if reported else 0,
        actual_number=state.seq if state else 0,
        quality=reported.quality if reported else "good",
        reason=reported.reason if reported else "",
        tolerance=tolerance,
    )


def _twin(view: TwinView, *, versions: bool = False) -> JsonObject:
    """`MsgTwin`."""
    said: JsonObject = {}
    if view.expected is not None:
        said["expected"] = {"value": view.expected, "metadata": {"timestamp": view.expected_ms}}
    if view.actual is not None:
        metadata: JsonObject = {"timestamp": view.actual_ms}
        if view.quality != "good":
            metadata |= {"quality": view.quality, "reason": view.reason}
        said["actual"] = {"value": view.actual, "metadata": metadata}
    said["optional"] = False
    said["metadata"] = {"type": _TYPES.get(view.type, "string")}
    if versions and view.expected is not None:
        said["expected_version"] = {"cloud": view.expected_ver.cloud, "edge": view.expected_ver.edge}
    if versions and view.actual is not None:
        said["actual_version"] = {"cloud": 0, "edge": view.actual_number}
    return said


def _message(event_id: str, now_ms: int, **more: Json) -> bytes:
    said: JsonObject = {"event_id": event_id, "timestamp": now_ms, **more}
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()


def _twins(views: Mapping[str, TwinView], *, versions: bool = False) -> JsonObject:
    return {name: _twin(view, versions=versions) for name, view in sorted(views.items())}


def refusal(refused: RefusedError, now_ms: int) -> bytes:
    """`Result`: why a message was not followed."""
    return _message(refused.event_id, now_ms, code=refused.code, reason=str(refused))


def get_result(event_id: str, now_ms: int, views: Mapping[str, TwinView]) -> bytes:
    """`DeviceTwinResult` of a get: every property."""
    return _message(event_id, now_ms, twin=_twins(views))


def update_result(
    event_id: str, now_ms: int, views: Mapping[str, TwinView], told: Mapping[str, Told | None]
) -> bytes:
    """`DeviceTwinResult` of an update: of its properties what it changed."""
    twin = _twins({name: views[name] for name in told if name in views})
    for name, said in twin.items():
        assert isinstance(said, dict), "it was just made"
        wanted = told[name]
        for part, given in (("expected", wanted and wanted.expected), ("actual", wanted and wanted.actual)):
            if given is None:
                said.pop(part, None)
    return _message(event_id, now_ms, twin=twin)


def delta(event_id: str, now_ms: int, views: Mapping[str, TwinView]) -> bytes | None:
    """`DeviceTwinDelta`: every property of which something is wanted, and what differs; None: nothing does."""
    differing = {name: view.expected for name, view in sorted(views.items()) if view.differs}
    if not differing:
        return None
    wanted = {name: view for name, view in views.items() if view.expected}
    return _message(event_id, now_ms, twin=_twins(wanted), delta=cast(Json, differing))


def document(event_id: str, now_ms: int, changes: Mapping[str, tuple[TwinView, TwinView]]) -> bytes:
    """`DeviceTwinDocument`: what changed, before and after."""
    twin: JsonObject = {
        name: {"last": _twin(last), "current": _twin(now)} for name, (last, now) in sorted(changes.items())
    }
    return _message(event_id, now_ms, twin=twin)


def synced(event_id: str, now_ms: int, views: Mapping[str, TwinView]) -> bytes:
    """What one side tells the other (`cloud_updated`, `edge_updated`), with its versions."""
    return _message(event_id, now_ms, twin=_twins(views, versions=True))


class Member(Frozen):
    """One device of this node."""

    namespace: str
    name: str
    description: str
    state: str
    last_online: str
    """RFC 3339; "" never."""


def _member(member: Member, *, whole: bool) -> JsonObject:
    said: JsonObject = {"id": f"{member.namespace}/{member.name}"}
    if whole:
        said["name"] = member.name
        more = {"description": member.description, "state": member.state, "last_online": member.last_online}
        said |= {name: text for name, text in more.items() if text}
    return said


def membership(event_id: str, now_ms: int, members: Sequence[Member]) -> bytes:
    """`MembershipGetResult`."""
    return _message(event_id, now_ms, devices=[_member(member, whole=True) for member in members])


def membership_change(event_id: str, now_ms: int, *, added: Sequence[Member], removed: Sequence[Member]) -> bytes:
    """`MembershipUpdate`."""
    return _message(
        event_id,
        now_ms,
        added_devices=[_member(member, whole=True) for member in added] or None,
        removed_devices=[_member(member, whole=False) for member in removed] or None,
    )


def state_result(event_id: str, now_ms: int, member: Member) -> bytes:
    """`DeviceMsg` after a state was said."""
    said: JsonObject = {"name": member.name, "state": member.state}
    if member.last_online:
        said["lastOnlineTime"] = member.last_online
    return _message(event_id, now_ms, device=said)
