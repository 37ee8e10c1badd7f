"""What is known of one property, in words and fields for whoever asks why: from the wire to the acknowledgement.

Pure. Times are of this gateway's clock, and so is `time`, against which ages are reckoned. Keeps nothing.
"""

from __future__ import annotations

from devices.port import Explanation, PropertyConfig, Reading, Rehearsal, steps_shown
from skerry.frozen import Frozen, replace
from skerry.objects.desired import Desired
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.times import micro_time_text
from skerry.objects.twins import Ack, TwinState, format_value


class PropertySight(Frozen):
    """Everything that this gateway knows of one property."""

    device: Key
    prop: str
    config: PropertyConfig | None
    """None: it is not served."""
    state: str
    """Of the device: online, offline, invalid."""
    state_reason: str
    last_online_ms: int
    explanation: Explanation | None
    fresh: Reading | None
    """The newest reading since the agent started."""
    fresh_age_s: float
    twin: TwinState | None
    waits: str
    """Why what is wanted is not carried out just now; "" where nothing waits."""
    waits_s: float | None
    """In how many seconds it is tried again; None: nobody knows."""
    rehearsal: Rehearsal | None = None
    written: str = ""
    """The value that was rehearsed, as text."""

    def rehearsed(self, rehearsal: Rehearsal, text: str) -> PropertySight:
        """The same, with what writing this text would come to."""
        return replace(self, rehearsal=rehearsal, written=text)


def explained(sight: PropertySight, *, node: str, now_ms: int) -> JsonObject:
    """`DeviceExplanation`: what is not known is left out."""
    out: JsonObject = {
        "kind": "DeviceExplanation",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"namespace": sight.device.namespace, "name": sight.device.name},
        "node": node,
        "time": micro_time_text(now_ms),
        "property": sight.prop,
        "device": _device(sight),
    }
    if sight.config is not None:
        out |= {
            "type": sight.config.type,
            "unit": sight.config.unit,
            "writable": sight.config.writable,
            "periodMs": sight.config.collect_ms,
        }
    told = sight.explanation
    if told is not None:
        out |= {"place": told.place, "asked": told.asked, "raw": told.raw, "steps": steps_shown(told.steps)}
        if told.next_s is not None:
            out["nextMs"] = round(told.next_s * 1000)
        if told.error:
            out["error"] = {"message": told.error} | _time(told.error_ms)
    reading = told.reading if told is not None and told.reading is not None else sight.fresh
    if reading is not None:
        out["reading"] = reading_shown(reading, now_ms=now_ms)
    if sight.twin is not None:
        out |= _twin(sight.twin)
    if sight.waits:
        later: JsonObject = {} if sight.waits_s is None else {"nextMs": round(sight.waits_s * 1000)}
        out["waits"] = {"reason": sight.waits} | later
    if sight.rehearsal is not None:
        out["write"] = sight.rehearsal.shown(sight.written)
        out.setdefault("place", sight.rehearsal.place)
    return out


def _device(sight: PropertySight) -> JsonObject:
    out: JsonObject = {"state": sight.state}
    out |= {"reason": sight.state_reason} if sight.state_reason else {}
    return out | ({"lastOnline": micro_time_text(sight.last_online_ms)} if sight.last_online_ms else {})


def reading_shown(reading: Reading, *, now_ms: int) -> JsonObject:
    """A reading, its age by this gateway's clock."""
    out: JsonObject = {"quality": reading.quality}
    if reading.value is not None:
        out["value"] = format_value(reading.value)
    if reading.reason:
        out["reason"] = reading.reason
    return out | _time(reading.source_ms) | {"ageMs": max(0, now_ms - reading.source_ms)}


def _time(at_ms: int) -> JsonObject:
    return {"time": micro_time_text(at_ms)} if at_ms else {}


def _twin(twin: TwinState) -> JsonObject:
    out: JsonObject = {}
    if twin.reported is not None:
        told: JsonObject = {"quality": twin.reported.quality}
        told |= {"value": twin.reported.value} if twin.reported.value is not None else {}
        told |= {"reason": twin.reported.reason} if twin.reported.reason else {}
        told |= {"clock": "unsynced"} if not twin.reported.synced else {}
        out["twin"] = told | _time(twin.reported.source_ms) | {"gateway": micro_time_text(twin.reported.gateway_ms)}
    wanted = twin.wanted
    if wanted is not None:
        out["desired"] = _desired(wanted)
    if twin.ack is not None and wanted is not None:
        out["ack"] = _ack(twin.ack)
    return out


def _desired(desired: Desired) -> JsonObject:
    out: JsonObject = {
        "value": desired.value,
        "origin": desired.origin,
        "side": desired.side,
        "version": str(desired.ver),
        "time": micro_time_text(desired.hlc.wall_ms),
    }
    out |= {"expires": micro_time_text(desired.expires_ms)} if desired.expires_ms is not None else {}
    lost = desired.conflict
    if lost is not None:
        out["conflict"] = {
            "value": None if lost.removed else lost.value,
            "origin": lost.origin,
            "side": lost.side,
            "waiting": desired.waiting,
        }
    return out


def _ack(ack: Ack) -> JsonObject:
    out: JsonObject = {"state": ack.state, "code": ack.code, "version": str(ack.for_ver)}
    return out | ({"reason": ack.reason} if ack.reason else {}) | _time(ack.at_ms)
