"""Devices and their models: what somebody who runs gateways looks for first. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, UNKNOWN, Printer, age, columns, joined, since
from skerry.objects.json import Json, JsonObject, maps_at, str_at


def _device(obj: JsonObject, now_ms: int) -> list[Json]:
    state = str_at(obj, "status", "state")
    seen = str_at(obj, "status", "lastOnlineTime")
    twins = [
        f"{str_at(twin, 'propertyName')}={str_at(twin, 'reported', 'value')}"
        for twin in maps_at(obj, "status", "twins")
        if str_at(twin, "reported", "value")
    ]
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "nodeName") or NONE,
        str_at(obj, "spec", "deviceModelRef", "name") or NONE,
        str_at(obj, "spec", "protocol", "protocolName") or NONE,
        state.lower() or "unknown",
        f"{since(seen, now_ms)} ago" if seen else UNKNOWN,
        age(obj, now_ms),
        joined(twins),
    ]


def _model(obj: JsonObject, now_ms: int) -> list[Json]:
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "protocol") or NONE,
        len(maps_at(obj, "spec", "properties")),
        age(obj, now_ms),
        joined(str_at(each, "name") for each in maps_at(obj, "spec", "properties")),
    ]


def _device_status(obj: JsonObject, now_ms: int) -> list[Json]:
    seen = str_at(obj, "status", "lastOnlineTime")
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "status", "state").lower() or "unknown",
        f"{since(seen, now_ms)} ago" if seen else UNKNOWN,
        len(maps_at(obj, "status", "twins")),
        age(obj, now_ms),
    ]


_GROUP: Final = "devices.kubeedge.io"

PRINTERS: Final = {
    (_GROUP, "Device"): Printer(
        columns=columns("Name", "Node", "Model", "Protocol", "Status", "Last Seen", "Age", wide=("Reported",)),
        cells=_device,
    ),
    (_GROUP, "DeviceModel"): Printer(
        columns=columns("Name", "Protocol", "Properties:integer", "Age", wide=("Property Names",)), cells=_model
    ),
    (_GROUP, "DeviceStatus"): Printer(
        columns=columns("Name", "Status", "Last Seen", "Twins:integer", "Age"), cells=_device_status
    ),
}
"""By (group, kind)."""
