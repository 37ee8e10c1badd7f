"""What a gateway's readings become: rows of the histories of its devices, and holes in these. Pure.

Keeps no data; nothing to lose in a crash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import orjson

from cloudcore.hub.bounds import Refusal
from cloudcore.hub.outcomes import Outcome
from cloudcore.hub.report_bodies import body_of, storable
from cloudcore.store.port import Record
from skerry.errors import ProtocolError
from skerry.frozen import Frozen, replace
from skerry.objects.blocks import Reading, decode_block
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.reports import SERIES_GAP, SeriesGapReport
from skerry.objects.twins import DeviceName, decode_telemetry, series_of, telemetry_json
from skerry.sync.effects import DatedReport
from skerry.wire.codec import NUMBER_MAX
from skerry.wire.frames import Report

READING_BYTES_MAX: Final = 16 * 1024
"""A reading as it is stored: its value, and what is told of it."""
_PROPERTY_LENGTH_MAX: Final = 253
_WHY_LENGTH_MAX: Final = 1024
"""Of a reading that is bad; the rest is cut."""


class Histories(Frozen):
    """Reads the readings that one node tells. `had` and `had_name` say whether a device is or was there."""

    node: str
    incarnation: str
    """The life of the gateway's store that reports."""
    had: Callable[[DeviceName], bool]
    had_name: Callable[[str, str], bool]

    def telemetry(self, dated: DatedReport) -> Outcome:
        """History is kept of a device that is or was here, though it is gone or another's now; of no other."""
        body_of(dated)
        told = decode_telemetry(dated.report.body)
        storable(told.device.namespace, told.device.name, told.prop)
        if not self.had(told.device):
            return Outcome(refused="reading-device")
        if len(told.prop) > _PROPERTY_LENGTH_MAX:
            return Outcome(refused="reading-size")
        told = replace(told, reason=told.reason[:_WHY_LENGTH_MAX])
        body = encode_object(telemetry_json(told) | {"node": self.node} | _dating(dated.report))
        if len(body) > READING_BYTES_MAX:
            return Outcome(refused="reading-size")
        record = Record(
            series=series_of(told.device.namespace, told.device.name, told.prop),
            at_ms=dated.at_ms,
            body=body,
            seq=dated.report.seq,
            error_ms=None if dated.report.estimated and not dated.report.error_ms else dated.report.error_ms,
        )
        return Outcome(records=(record,))

    def block(self, dated: DatedReport) -> Outcome:
        """As `telemetry`, of all its readings: one that can't be kept leaves the others."""
        block = decode_block(dated.report.body)
        first = dated.report.seq - len(block) + 1
        if first < 1:
            raise ProtocolError(f"a block of {len(block)} readings whose last has number {dated.report.seq}")
        devices = {reading.device for reading in block}
        storable(*(name for device in devices for name in (device.namespace, device.name)))
        storable(*{reading.prop for reading in block})
        had = {device for device in devices if self.had(device)}
        error_ms = None if dated.report.estimated and not dated.report.error_ms else dated.report.error_ms
        shared = {"node": self.node} | _dating(dated.report)
        records: list[Record] = []
        refused: Refusal | None = None if had == devices else "reading-device"
        for seq, reading in enumerate(block, first):
            if reading.device not in had:
                continue
            body = _reading_body(reading, shared)
            if len(body) > READING_BYTES_MAX or len(reading.prop) > _PROPERTY_LENGTH_MAX:
                refused = "reading-size"
                continue
            at_ms = max(0, dated.at_ms - reading.ago_ms)
            records.append(Record(series=reading.series, at_ms=at_ms, body=body, seq=seq, error_ms=error_ms))
        return Outcome(records=tuple(records), refused=refused)

    def gap(self, dated: DatedReport) -> Outcome:
        """A hole in a history, kept as a row of it: where the first reading that was dropped would stand, or at the
        time of the last one where nothing is known around it."""
        gap = SeriesGapReport.decode(body_of(dated))
        namespace, _, rest = dated.report.key.partition("/")
        name, _, prop = rest.partition("/")
        if not (namespace and name and prop and gap.dropped > 0 and 0 <= gap.first_seq <= NUMBER_MAX):
            raise ProtocolError(
                f"{SERIES_GAP}: the key is namespace/device/property, dropped is more than 0, and firstSeq a number"
            )
        storable(namespace, name, prop)
        if not self.had_name(namespace, name):
            return Outcome(refused="reading-device")
        if len(prop) > _PROPERTY_LENGTH_MAX:
            return Outcome(refused="reading-size")
        shift_ms = dated.at_ms - dated.report.wall_ms
        last_ms = min(max(0, gap.last_wall_ms + shift_ms), dated.at_ms)
        hole: JsonObject = {
            "id": gap.first_seq,
            "count": gap.dropped,
            "fromMs": min(max(0, gap.first_wall_ms + shift_ms), last_ms),
            "toMs": last_ms,
        }
        if self.incarnation:  # in another life of its outbox a gateway counts anew
            hole["life"] = hashlib.blake2s(self.incarnation.encode(), digest_size=4).hexdigest()
        if gap.thinned > 0:
            hole["thinned"] = min(gap.thinned, gap.dropped)
        record = Record(
            series=series_of(namespace, name, prop),
            at_ms=last_ms,
            body=encode_object({"gap": hole, "node": self.node}),
            seq=gap.first_seq,
            error_ms=None,
            hole=True,
        )
        return Outcome(records=(record,))


def _dating(report: Report) -> JsonObject:
    """How sure a reading's time is, where there is a doubt."""
    if not (report.estimated or report.error_ms):
        return {}
    return {"dated": {"estimated": report.estimated, "errorMs": report.error_ms}}


def _reading_body(reading: Reading, shared: JsonObject) -> bytes:
    """What `telemetry` keeps of a reading, but for what the series says."""
    body: JsonObject = {
        "seq": reading.seq,
        "value": reading.value,
        "type": reading.type,
        "q": reading.quality,
        "ts_src": reading.source_ms,
        **shared,
    }
    if reading.reason:
        body["reason"] = reading.reason[:_WHY_LENGTH_MAX]
    if reading.source_seq is not None:
        body["source_seq"] = reading.source_seq
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # a sensor's number of more than 64 bits
        return encode_object(body)
