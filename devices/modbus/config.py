"""What a Device and its model say about Modbus, checked and made exact.

Pure. Two dialects are understood and may be mixed: KubeEdge's (`register`, `offset`, `limit`, `scale`, `isSwap`,
`isRegisterSwap`; integers are unsigned, as its mapper reads them) and our own, which says more (`address`,
`dataType`, `order`, `bit`, `valueOffset`, `sentinels` ...). docs/reference/devices.md describes every field.
"""

from __future__ import annotations

from typing import Final, Literal

from devices.codec import RAW_TYPES, REGISTERS, Codec, RawType, check_range, encode, mask_of, positions
from devices.fields import bool_in, decimal_in, int_in, refuse_unknown, text_in
from devices.modbus.endpoints import Endpoint, Manners, parse_endpoint, parse_manners
from devices.modbus.guards import Guards, parse_guards
from devices.modbus.meaning import parse_meaning
from devices.moments import MOMENT_REGISTERS
from devices.plan import Address, Point, Table, parse_address
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Value

VISITOR_FIELDS: Final = (
    "register", "offset", "limit", "scale", "isSwap", "isRegisterSwap", "address", "dataType", "order", "bit",
    "valueOffset", "sentinels", "encoding", "write", "alone", "addressBase", "enum", "flags", "mask", "time", "epoch",
    "padding", "oneCharacter", "step", "unlock", "pulse",
)  # fmt: skip

KUBEEDGE_TABLES: Final[dict[str, Table]] = {
    "CoilRegister": "coil",
    "DiscreteInputRegister": "discrete",
    "InputRegister": "input",
    "HoldingRegister": "holding",
}

KUBEEDGE_TYPES: Final[dict[str, str]] = {
    "int": "INT", "float": "FLOAT", "double": "DOUBLE", "boolean": "BOOLEAN", "string": "STRING",
}  # fmt: skip
"""Its mapper's names for what a number of registers is (`string` is ours as well)."""


class ModbusProperty(Frozen):
    """One property, ready to read and write."""

    config: PropertyConfig
    point: Point
    codec: Codec
    multiple: bool
    """Write with function 15 or 16 even where one register or coil is written."""
    guards: Guards

    @property
    def mask(self) -> int | None:
        """The bits of one register that are its value, where it is not all of it."""
        return None if self.point.table in ("coil", "discrete") else mask_of(self.codec)

    @property
    def writable(self) -> bool:
        return self.config.writable and self.point.table in ("coil", "holding")


class ModbusDevice(Frozen):
    """One device, ready to be put on its line."""

    key: Key
    endpoint: Endpoint
    unit: int
    manners: Manners
    properties: dict[str, ModbusProperty]


def parse_device(config: DeviceConfig) -> ModbusDevice:
    """Raises `InvalidError` that names the field and the fix."""
    where = "spec.protocol.configData"
    endpoint, unit = parse_endpoint(config.protocol_config, where)
    return ModbusDevice(
        key=config.device,
        endpoint=endpoint,
        unit=unit,
        manners=parse_manners(config.protocol_config, endpoint, where),
        properties={prop.name: parse_property(config.device, unit, prop) for prop in config.properties},
    )


def parse_property(device: Key, unit: int, prop: PropertyConfig) -> ModbusProperty:
    """Raises `InvalidError` that names the field and the fix."""
    where = f"spec.properties[{prop.name}].visitors.configData"
    data = prop.visitor
    refuse_unknown(data, VISITOR_FIELDS, where)
    try:
        address = _address(data, where)
        codec = _codec(data, prop, address, where)
        positions(codec.order, max(2, codec.count * 2) if codec.raw != "bool" else 2)
    except InvalidError as error:
        if str(error).startswith(where):
            raise
        raise InvalidError(f"{where}: {error}") from error
    if prop.writable and codec.flags and codec.count > 1:
        raise InvalidError(f"{where}.flags: of more than one register can't be written: make the property ReadOnly")
    if prop.writable and address.table in ("discrete", "input"):
        raise InvalidError(f"{where}.register: a {address.table} can't be written: make the property ReadOnly")
    point = Point(
        device=f"{device.namespace}/{device.name}",
        prop=prop.name,
        unit=unit,
        table=address.table,
        address=address.offset,
        count=codec.count,
        alone=bool_in(data, "alone", where=where, default=False),
    )
    write = text_in(data, "write", where=where, default="single")
    if write not in ("single", "multiple"):
        raise InvalidError(f"{where}.write: must be single or multiple, not {write!r}")
    guards = parse_guards(data, prop.type, where)
    if guards != Guards() and not prop.writable:
        name = "unlock" if guards.unlock else "pulse"
        raise InvalidError(f"{where}.{name}: belongs to a property that is written: make it ReadWrite")
    if guards.pulse is not None:
        _can_be_written(codec, guards.pulse.back, f"{where}.pulse.back")
    return ModbusProperty(config=prop, point=point, codec=codec, multiple=write == "multiple", guards=guards)


def _can_be_written(codec: Codec, value: Value, where: str) -> None:
    try:
        check_range(codec, value)
        encode(codec, value)
    except InvalidError as error:
        raise InvalidError(f"{where}: {error}") from error


def _address(data: JsonObject, where: str) -> Address:
    bit = int_in(data, "bit", where=where, low=0, high=15, default=-1)
    if "address" in data and "addressBase" in data:
        base = int_in(data, "addressBase", where=where, low=0, high=1)
        number = int_in(data, "address", where=where, low=base, high=65535 + base)
        address = Address(table=_table(data, where), offset=number - base)
    elif "address" in data:
        if "register" in data or "offset" in data:
            raise InvalidError(f"{where}.address: give either address, or register and offset")
        address = parse_address(text_in(data, "address", where=where))
    else:
        offset = int_in(data, "offset", where=where, low=0, high=65535)
        address = Address(table=_table(data, where), offset=offset)
    if bit < 0:
        return address
    if address.table in ("coil", "discrete"):
        raise InvalidError(f"{where}.bit: a {address.table} is one bit already")
    return Address(table=address.table, offset=address.offset, bit=bit)


def _table(data: JsonObject, where: str) -> Table:
    register = text_in(data, "register", where=where)
    if register not in KUBEEDGE_TABLES:
        raise InvalidError(f"{where}.register: {register!r} is not one of {', '.join(KUBEEDGE_TABLES)}")
    return KUBEEDGE_TABLES[register]


def _codec(data: JsonObject, prop: PropertyConfig, address: Address, where: str) -> Codec:
    raw = _raw_type(data, prop, address, where)
    meaning = parse_meaning(data, raw, prop.type, where)
    size = REGISTERS.get(raw)
    if raw == "moment" and meaning.moment is not None:
        size = MOMENT_REGISTERS[meaning.moment]
    limit = int_in(data, "limit", where=where, low=1, high=123, default=size or 1)
    if size is not None and "limit" in data and limit != size:
        raise InvalidError(f"{where}.limit: {raw} takes {size} registers, not {limit}")
    if raw == "mod10k" and not 2 <= limit <= 4:
        raise InvalidError(f"{where}.limit: mod10k takes 2 to 4 registers, not {limit}")
    scale = decimal_in(data, "scale", where=where, default="1")
    if scale == 0:
        raise InvalidError(f"{where}.scale: a scale of 0 makes every value 0; leave it out for 1")
    if (raw in ("string", "bytes")) != (prop.type in ("STRING", "BYTES")) and prop.type != "STRING":
        raise InvalidError(f"{where}.dataType: a property of type {prop.type} can't be kept as {raw}")
    step = decimal_in(data, "step", where=where, default="0")
    if step < 0:
        raise InvalidError(f"{where}.step: must be above 0, not {step}")
    return Codec(
        raw=raw,
        type=prop.type,
        count=limit if size is None else size,
        order=_order(data, where),
        bit=address.bit,
        scale=scale,
        offset=decimal_in(data, "valueOffset", where=where, default="0"),
        sentinels=_sentinels(data, where),
        encoding=_encoding(data, where),
        padding=meaning.padding,
        one_char=meaning.one_char,
        mask=meaning.mask,
        names=meaning.names,
        flags=meaning.flags,
        moment=meaning.moment,
        epoch_s=meaning.epoch_s,
        step=step or None,
        minimum=prop.minimum,
        maximum=prop.maximum,
        tolerance=prop.twin.tolerance,
    )


def _raw_type(data: JsonObject, prop: PropertyConfig, address: Address, where: str) -> RawType:
    if address.table in ("coil", "discrete"):
        if prop.type not in ("BOOLEAN", "INT"):
            raise InvalidError(f"{where}.register: a {address.table} holds a BOOLEAN, not {prop.type}")
        return "bool"
    if address.bit is not None:
        if prop.type != "BOOLEAN":
            raise InvalidError(f"{where}.bit: one bit is a BOOLEAN, not {prop.type}")
        return "bool"
    given = text_in(data, "dataType", where=where, default="").lower()
    if not given and text_in(data, "time", where=where, default="") in MOMENT_REGISTERS:
        return "moment"
    if given and given not in KUBEEDGE_TYPES:
        if given not in RAW_TYPES:
            raise InvalidError(f"{where}.dataType: {given!r} is not one of {', '.join(RAW_TYPES)}")
        return given
    type = KUBEEDGE_TYPES.get(given, prop.type)
    if not given and any(name in data for name in ("enum", "flags", "time")):
        type = "INT"  # the number that a name or a moment stands for
    return _implied_type(type, data.get("limit"), where)


def _implied_type(type: str, limit: Json, where: str) -> RawType:
    """What KubeEdge's mapper would make of a type and a number of registers."""
    integers: dict[Json, RawType] = {None: "uint16", 1: "uint16", 2: "uint32", 4: "uint64"}
    floats: dict[Json, RawType] = {1: "uint16", 2: "float32", 4: "float64"}
    match type:
        case "STRING":
            return "string"
        case "BYTES":
            return "bytes"
        case "FLOAT":
            found = floats.get(limit if limit is not None else 2)
        case "DOUBLE":
            found = floats.get(limit if limit is not None else 4)
        case "INT" | "BOOLEAN":
            found = integers.get(limit)
        case _:
            raise InvalidError(f"{where}: properties of type {type!r} can't be read by Modbus")
    if found is None:
        raise InvalidError(f"{where}.limit: {limit!r} registers make no {type}: use 1, 2 or 4, or give dataType")
    return found


def _order(data: JsonObject, where: str) -> str:
    order = text_in(data, "order", where=where, default="").upper()
    bytes_swapped = bool_in(data, "isSwap", where=where, default=False)
    words_swapped = bool_in(data, "isRegisterSwap", where=where, default=False)
    if order:
        if bytes_swapped or words_swapped:
            raise InvalidError(f"{where}.order: give either order, or isSwap and isRegisterSwap")
        return order
    swaps: dict[tuple[bool, bool], str] = {
        (False, False): "ABCD", (True, False): "BADC", (False, True): "CDAB", (True, True): "DCBA",
    }  # fmt: skip
    return swaps[bytes_swapped, words_swapped]


def _sentinels(data: JsonObject, where: str) -> frozenset[int]:
    given = data.get("sentinels")
    if given is None:
        return frozenset()
    if not isinstance(given, list):
        raise InvalidError(f"{where}.sentinels: must be a list of raw values, such as [0x8000]")
    return frozenset(int_in({"sentinels": item}, "sentinels", where=where, low=0, high=2**64 - 1) for item in given)


def _encoding(data: JsonObject, where: str) -> Literal["utf-8", "ascii", "latin-1", "utf-16-be"]:
    encoding = text_in(data, "encoding", where=where, default="utf-8").lower()
    match encoding:
        case "utf-8" | "ascii" | "latin-1" | "utf-16-be":
            return encoding
        case _:
            raise InvalidError(f"{where}.encoding: {encoding!r} is not one of utf-8, ascii, latin-1, utf-16-be")
