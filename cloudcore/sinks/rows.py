"""Rows of the history as sinks send them on: read from records, chosen by a sink's selector. Pure.

Only readings and holes in them are rows; what else the store keeps as a series (the log of wanted values) is nobody's
reading, and goes nowhere.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import isfinite
from typing import Final

import orjson

from cloudcore.store.port import StoredRecord
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, map_at, str_at, strs_at
from skerry.objects.times import micro_time_text

NUMBERS: Final = frozenset({"INT", "FLOAT", "DOUBLE"})


class Row(Frozen):
    """A reading, or (`hole`) readings that a gateway had to drop."""

    number: int
    at_ms: int
    namespace: str
    device: str
    prop: str
    node: str
    value: str | None = None
    type: str = ""
    quality: str = ""
    reason: str = ""
    seq: int = 0
    source_seq: int | None = None
    """The sensor's own number."""
    estimated: bool = False
    """Its time is: the gateway's clock was not known to be right."""
    error_ms: int = 0
    """How far off the time may be; 0 where nothing is known of that."""
    hole: int = 0
    """How many; 0 for a reading."""
    gap_id: int = 0
    gap_life: str = ""
    """Of the gateway's outbox."""
    thinned: int = 0
    """How many of them lay between others that stayed."""
    hole_from_ms: int = 0
    hole_to_ms: int = 0

    @property
    def float(self) -> float | None:
        """The value as a double that is the value; None where it is none: of large whole numbers only every second or
        fourth is one, and nobody is told a neighbour. Truth is 1."""
        if self.value is None:
            return None
        if self.type == "BOOLEAN":
            return {"true": 1.0, "false": 0.0}.get(self.value)
        if self.type not in NUMBERS:
            return None
        try:
            number = float(self.value)
            exact = self.type != "INT" or int(self.value) == number
        except (ValueError, OverflowError):
            return None
        return number if exact and isfinite(number) else None

    @property
    def gap(self) -> str:
        """Which hole: a later row with the same node and gap counts more of the same, and stands for both."""
        return f"{self.gap_life}.{self.gap_id}"

    def shown(self, epoch: str) -> JsonObject:
        """For whoever takes JSON. Numbers begin anew in another life of the cloud's store."""
        about: JsonObject = {
            "epoch": epoch,
            "number": self.number,
            "time": micro_time_text(self.at_ms),
            "namespace": self.namespace,
            "device": self.device,
            "property": self.prop,
            "node": self.node,
        }
        if self.hole:
            gap: JsonObject = {
                "id": self.gap_id,
                "life": self.gap_life,
                "count": self.hole,
                "thinned": self.thinned,
                "from": micro_time_text(self.hole_from_ms),
                "to": micro_time_text(self.hole_to_ms),
            }
            return {**about, "gap": gap}
        told: dict[str, Json] = {
            "value": self.value,
            "type": self.type,
            "quality": self.quality,
            "sequence": self.seq,
        }
        more: JsonObject = {"reason": self.reason} if self.reason else {}
        if self.source_seq is not None:
            more["sourceSequence"] = self.source_seq
        if self.estimated:
            more["estimated"] = True
        if self.error_ms:
            more["errorMs"] = self.error_ms
        return about | told | more


class Selector(Frozen):
    """Which rows a sink takes: of all that is said here. Names are patterns (`pump-*`); empty: every one."""

    namespaces: tuple[str, ...]
    devices: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()

    @classmethod
    def of(cls, sink: JsonObject) -> Selector:
        """A Sink takes of its own namespace, and one of the system's what it names."""
        chosen = map_at(sink, "spec", "selector")
        return cls(
            namespaces=tuple(strs_at(chosen, "namespaces")) or (str_at(sink, "metadata", "namespace"),),
            devices=tuple(strs_at(chosen, "devices")),
            properties=tuple(strs_at(chosen, "properties")),
            qualities=tuple(strs_at(chosen, "qualities")),
        )

    def takes(self, row: Row) -> bool:
        """Holes are of no quality, and are taken whatever qualities are."""
        return (
            _matches(row.namespace, self.namespaces)
            and _matches(row.device, self.devices)
            and _matches(row.prop, self.properties)
            and (bool(row.hole) or not self.qualities or row.quality in self.qualities)
        )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def row_of(record: StoredRecord) -> Row | None:
    """None for what is no reading and no hole."""
    parts = record.series.split("/", 2)
    if len(parts) != 3 or ":" in parts[0]:
        return None
    namespace, device, prop = parts
    body: Json = orjson.loads(record.body)
    if not isinstance(body, dict):
        return None
    if "gap" in body:
        return Row(
            number=record.number,
            at_ms=record.at_ms,
            namespace=namespace,
            device=device,
            prop=prop,
            node=str_at(body, "node"),
            hole=max(1, int_at(body, "gap", "count")),
            gap_id=int_at(body, "gap", "id"),
            gap_life=str_at(body, "gap", "life"),
            thinned=int_at(body, "gap", "thinned"),
            hole_from_ms=int_at(body, "gap", "fromMs"),
            hole_to_ms=int_at(body, "gap", "toMs"),
        )
    if "q" not in body:
        return None
    value = body.get("value")
    return Row(
        number=record.number,
        at_ms=record.at_ms,
        namespace=namespace,
        device=device,
        prop=prop,
        node=str_at(body, "node"),
        value=value if isinstance(value, str) else None,
        type=str_at(body, "type"),
        quality=str_at(body, "q"),
        reason=str_at(body, "reason"),
        seq=int_at(body, "seq"),
        source_seq=None if dig(body, "source_seq") is None else int_at(body, "source_seq"),
        estimated=bool_at(body, "dated", "estimated"),
        error_ms=int_at(body, "dated", "errorMs"),
    )
