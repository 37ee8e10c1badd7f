"""What is wrong with DeviceModels and Devices, and what will surprise somebody later: found without a device.

A fault keeps a gateway from serving the device; a warning is of something that likely is not meant; a hint of
something that manuals say and the model does not. Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Final, Literal

from devices.codec import check_range, encode
from devices.modbus.config import ModbusDevice, ModbusProperty
from devices.plan import Address
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.device_models import is_writable, properties_in
from skerry.objects.json import JsonObject, map_at, maps_at, str_at

Level = Literal["fault", "warning", "hint"]
NUMBERS: Final = ("INT", "FLOAT", "DOUBLE")
_ORDERED: Final = ("int32", "uint32", "int64", "uint64", "float32", "float64")
_WITH_SENTINEL: Final = ("int16", "uint16", "int32", "uint32")


class Finding(Frozen):
    """One thing that was found, and what to do about it."""

    level: Level
    code: str
    """A word for programs: `overlap`, `unit`, `range` ..."""
    field: str
    says: str
    fix: str


def model_findings(model: JsonObject) -> Iterator[Finding]:
    """What can be said of a model of any protocol."""
    names = [str_at(prop, "name") for prop in maps_at(model, "spec", "properties")]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(
            level="fault",
            code="twice",
            field=f"spec.properties[{name}]",
            says="there are two properties of this name",
            fix="give one of them another name",
        )
    for name, prop in properties_in(model).items():
        yield from _property_findings(f"spec.properties[{name}]", prop)


def _property_findings(where: str, prop: JsonObject) -> Iterator[Finding]:
    if str_at(prop, "type").upper() not in NUMBERS:
        return
    data = map_at(prop, "visitors", "configData")
    if any(name in data for name in ("enum", "flags", "time")):
        return
    low, high = _bound(prop, "minimum"), _bound(prop, "maximum")
    if low is not None and high is not None and low > high:
        yield Finding(
            level="fault",
            code="range",
            field=f"{where}.minimum",
            says=f"the minimum {low} is above the maximum {high}: no value is allowed",
            fix="exchange them",
        )
    if not str_at(prop, "unit"):
        yield Finding(
            level="hint",
            code="unit",
            field=f"{where}.unit",
            says="a number without a unit",
            fix="say what is counted: °C, kWh, rpm, % ...",
        )
    if is_writable(prop) and (low is None or high is None):
        missing = " and ".join(name for name, bound in (("minimum", low), ("maximum", high)) if bound is None)
        yield Finding(
            level="warning",
            code="unbounded",
            field=where,
            says=f"it can be written and has no {missing}: whatever fits is sent to the device",
            fix="give minimum and maximum, or make it ReadOnly (ReadWrite is the default)",
        )


def _bound(prop: JsonObject, name: str) -> Decimal | None:
    try:
        return Decimal(str(prop.get(name))) if prop.get(name) not in (None, "") else None
    except InvalidOperation:
        return None


def modbus_findings(device: ModbusDevice, visitors: Mapping[str, JsonObject]) -> Iterator[Finding]:
    """Of a Modbus device; `visitors` are the settings of its properties as they are written."""
    yield from _overlaps([*device.properties.values()])
    orders = {
        prop.codec.order for prop in device.properties.values() if prop.codec.raw in _ORDERED and prop.codec.count > 1
    }
    if len(orders) > 1:
        yield Finding(
            level="warning",
            code="orders",
            field="spec.properties",
            says=f"values of several registers are in different orders: {', '.join(sorted(orders))}",
            fix="a device mostly has one order for all: compare with `skerry device bus probe`",
        )
    for name, prop in device.properties.items():
        yield from _codec_findings(f"spec.properties[{name}].visitors.configData", prop, visitors.get(name, {}))


def _overlaps(props: Sequence[ModbusProperty]) -> Iterator[Finding]:
    """Registers that two properties read as something else. Parts of one register may share it."""
    whole = [prop for prop in props if prop.codec.bit is None and prop.codec.mask is None and not prop.codec.flags]
    places = sorted(whole, key=lambda prop: (prop.point.table, prop.point.address, prop.point.count))
    for one, two in pairwise(places):
        if one.point.table != two.point.table or two.point.address >= one.point.address + one.point.count:
            continue
        same = (one.point.address, one.codec.raw) == (two.point.address, two.codec.raw)
        where = Address(table=two.point.table, offset=two.point.address)
        yield Finding(
            level="hint" if same else "warning",
            code="overlap",
            field=f"spec.properties[{two.config.name}]",
            says=f"{where} is also part of {one.config.name} ({one.codec.raw}, {one.point.count} registers)",
            fix="check the address, and the number of registers of both",
        )


def _codec_findings(where: str, prop: ModbusProperty, data: JsonObject) -> Iterator[Finding]:
    codec, config = prop.codec, prop.config
    if codec.raw in _ORDERED and not any(name in data for name in ("order", "isSwap", "isRegisterSwap")):
        yield Finding(
            level="hint",
            code="order",
            field=f"{where}.order",
            says=f"{codec.raw} without an order: ABCD is taken",
            fix="say order; `skerry device bus probe` shows which one gives sensible values",
        )
    if config.type == "INT" and "dataType" not in data and codec.raw.startswith("uint"):
        yield Finding(
            level="hint",
            code="sign",
            field=f"{where}.dataType",
            says=f"INT without dataType is {codec.raw}, as KubeEdge reads it: it is never negative",
            fix="say dataType",
        )
    plain = not (codec.names or codec.flags or codec.moment or codec.mask is not None)
    if codec.raw in _WITH_SENTINEL and plain and "sentinels" not in data and not prop.writable:
        yield Finding(
            level="hint",
            code="sentinel",
            field=f"{where}.sentinels",
            says=f"{codec.raw} without sentinels: what a broken sensor tells (0x7FFF, 0xFFFF) is taken for a number",
            fix="look into the manual; `sentinels: []` says that there are none",
        )
    if not prop.writable:
        return
    for name, bound in (("minimum", config.minimum), ("maximum", config.maximum)):
        if bound is None or config.type not in NUMBERS or not plain:
            continue
        value = int(bound) if config.type == "INT" else bound
        try:
            check_range(codec, value)
            encode(codec, value)
        except InvalidError as error:
            yield Finding(
                level="warning",
                code="range",
                field=f"spec.properties[{config.name}].{name}",
                says=f"the device can't be told {bound:g}: {error}",
                fix=f"give a {name} that {codec.raw} can hold in steps of its scale",
            )
