"""What DNS answers for: hosts, their health, and zones. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
from skerry.objects.conditions import condition_of
from skerry.objects.gslb import HEALTHY, K8GB, K8GB_BEFORE
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, strs_at


def _gslb(obj: JsonObject, now_ms: int) -> list[Json]:
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "strategy", "type"),
        str_at(obj, "status", "geoTag") or NONE,
        str_at(obj, "status", "hosts") or NONE,
        age(obj, now_ms),
    ]


def _global_service(obj: JsonObject, now_ms: int) -> list[Json]:
    health = map_at(obj, "status", "serviceHealth")
    endpoints = maps_at(obj, "status", "endpoints")
    up = sum(str_at(each, "state") == "Up" for each in endpoints)
    ready = condition_of(obj, "Ready") or {}
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "policy") or "Nearest",
        str_at(ready, "status") or "Unknown",
        f"{sum(state == HEALTHY for state in health.values())}/{len(strs_at(obj, 'spec', 'hosts'))}",
        f"{up}/{len(endpoints)}",
        age(obj, now_ms),
        ",".join(strs_at(obj, "spec", "hosts")) or NONE,
        str_at(ready, "message"),
    ]


def _zone(obj: JsonObject, now_ms: int) -> list[Json]:
    counts: list[Json] = [int_at(obj, "status", name) for name in ("serial", "records", "services")]
    return [
        str_at(obj, "metadata", "name"),
        *counts,
        len(strs_at(obj, "status", "problems")),
        age(obj, now_ms),
        "; ".join(strs_at(obj, "status", "problems")) or NONE,
    ]


def _snapshot(obj: JsonObject, now_ms: int) -> list[Json]:
    return [str_at(obj, "metadata", "name"), int_at(obj, "spec", "serial"), age(obj, now_ms)]


_GSLB: Final = Printer(columns=columns("Name", "Strategy", "GeoTag", wide=("Hosts", "Age")), cells=_gslb)
PRINTERS: Final = {
    (K8GB, "Gslb"): _GSLB,
    (K8GB_BEFORE, "Gslb"): _GSLB,
    ("skerry.dev", "GlobalService"): Printer(
        columns=columns("Name", "Policy", "Ready", "Healthy", "Up", "Age", wide=("Hosts", "Message")),
        cells=_global_service,
    ),
    ("skerry.dev", "DnsZone"): Printer(
        columns=columns(
            "Name",
            "Serial:integer",
            "Records:integer",
            "Services:integer",
            "Problems:integer",
            "Age",
            wide=("Which",),
        ),
        cells=_zone,
    ),
    ("skerry.dev", "DnsSnapshot"): Printer(columns=columns("Name", "Serial:integer", "Age"), cells=_snapshot),
}
"""By (group, kind)."""
