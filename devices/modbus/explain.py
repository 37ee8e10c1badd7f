"""How registers became a value, and what registers a value would become: the codec's steps in words.

Pure. A property whose value looks wrong is wrong in one of few places: the address, the order, the type, the scale,
the range. So each is shown with what it made of what came before it; nothing here computes what the codec does not.
Keeps the newest answers in memory; after a crash the next poll brings them.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from decimal import Decimal
from typing import Final

from devices.bus import READ_FUNCTIONS, BlockRead, Request
from devices.codec import Codec, check_range, decode, encode, mask_of, positions
from devices.modbus.config import ModbusDevice, ModbusProperty
from devices.plan import Address, Block, Point, Table
from devices.port import Rehearsal, Step
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Value, format_value, same_value

_TEXTS: Final = ("string", "bytes", "moment")
"""Types whose registers are no number."""
FUNCTIONS: Final[dict[int, str]] = {
    3: "read registers",
    5: "write one coil",
    6: "write one register",
    15: "write coils",
    16: "write registers",
    22: "mask one register",
}


class Answers:
    """The newest answer of each property, and its newest failure."""

    def __init__(self) -> None:
        self._reads: dict[tuple[Key, str], tuple[Point, BlockRead]] = {}
        self._errors: dict[tuple[Key, str], tuple[Point, BlockRead]] = {}

    def take(self, device: ModbusDevice, prop: ModbusProperty, read: BlockRead) -> None:
        place = (device.key, prop.config.name)
        self._reads[place] = (prop.point, read)
        if read.words is None:
            self._errors[place] = (prop.point, read)

    def keep(self, devices: Container[Key]) -> None:
        """Forget all others."""
        self._reads = {place: held for place, held in self._reads.items() if place[0] in devices}
        self._errors = {place: held for place, held in self._errors.items() if place[0] in devices}

    def of(self, device: ModbusDevice, prop: ModbusProperty) -> tuple[BlockRead | None, BlockRead | None]:
        """(newest, newest failure); what was read at another place before a change of the model is not meant."""
        place = (device.key, prop.config.name)
        found = [held.get(place) for held in (self._reads, self._errors)]
        read, error = (held[1] if held is not None and held[0] == prop.point else None for held in found)
        return read, error


def place_of(device: ModbusDevice, prop: ModbusProperty) -> str:
    """`unit 1 at 127.0.0.1:5020, hr:2 (40003)`."""
    point = prop.point
    address = Address(table=point.table, offset=point.address, bit=prop.codec.bit)
    more = f", {point.count} registers" if point.count > 1 else ""
    return f"unit {device.unit} at {device.endpoint}, {address}{more}"


def asked_of(prop: ModbusProperty, block: Block | None) -> str:
    """How often, and together with what."""
    every = f"every {prop.config.collect_ms / 1000:g} s"
    if block is None or len(block.points) == 1:
        return every
    first = Address(table=block.table, offset=block.address)
    last = Address(table=block.table, offset=block.end - 1)
    others = len(block.points) - 1
    together = "another property" if others == 1 else f"{others} others"
    return f"{every}, in one request with {together}: {_short(first)} to {_short(last)}"


def _short(address: Address) -> str:
    return str(address).partition(" ")[0]


def words_of(prop: ModbusProperty, read: BlockRead) -> tuple[int, ...] | None:
    """The property's own part of an answer."""
    if read.words is None:
        return None
    start = prop.point.address - read.block.address
    return tuple(read.words[start : start + prop.point.count])


def decoding(codec: Codec, words: Sequence[int]) -> Iterator[Step]:
    """From words to the value, or to why there is none."""
    if codec.raw == "bool" and codec.bit is None:
        yield Step(name="bit", says=str(words[0]))
    else:
        yield Step(name="words", says=shown_words(words))
    if codec.bit is not None:
        yield Step(name="bit", says=f"bit {codec.bit} of {words[0]:016b} is {words[0] >> codec.bit & 1}")
    elif codec.raw != "bool":
        yield from _ordered(codec, words)
        yield from _raw_steps(codec, words)
    try:
        value = decode(codec, words)
    except InvalidError as error:
        yield Step(name="value", says=f"none: {error}")
        return
    yield from _ranged(codec, value)
    yield Step(name="value", says=f"{_text(value)} ({codec.type})")


def _ordered(codec: Codec, words: Sequence[int]) -> Iterator[Step]:
    wire = b"".join(word.to_bytes(2, "big") for word in words)
    value = bytearray(len(wire))
    for byte, belongs in zip(wire, positions(codec.order, len(wire)), strict=True):
        value[belongs] = byte
    if len(words) > 1 or bytes(value) != wire:
        yield Step(name="order", says=f"{codec.order}: {value.hex(' ').upper()}")


def _raw_steps(codec: Codec, words: Sequence[int]) -> Iterator[Step]:
    """What stands in the registers before scale and offset."""
    if codec.raw in _TEXTS:
        return
    if codec.mask is not None:
        yield Step(name="mask", says=f"0x{codec.mask:04X} of {words[0]:016b}")
    try:
        raw = raw_number(codec, words)
    except InvalidError as error:
        yield Step(name=codec.raw, says=f"none: {error}")
        return
    yield Step(name=codec.raw, says=raw)
    if meaning := meaning_of(codec):
        yield Step(name=meaning, says=f"what {raw} is called")
    elif (codec.scale, codec.offset) != (Decimal(1), Decimal(0)):
        offset = f" + {codec.offset}" if codec.offset else ""
        yield Step(name="scale", says=f"{raw} * {codec.scale}{offset} = {_scaled(codec, raw)}")


def raw_number(codec: Codec, words: Sequence[int]) -> str:
    """The number in these registers as it stands there. Raises `InvalidError` where there is none."""
    plain = replace(
        codec,
        type="STRING",
        scale=Decimal(1),
        offset=Decimal(0),
        sentinels=frozenset(),
        names={},
        flags={},
        moment=None,
    )
    return str(decode(plain, words))


def meaning_of(codec: Codec) -> str:
    """What makes the number more than one: `enum`, `flags`, `moment`; "" where nothing does."""
    if codec.names:
        return "enum"
    if codec.flags:
        return "flags"
    return "moment" if codec.moment is not None else ""


def _scaled(codec: Codec, raw: str) -> str:
    return format((Decimal(raw) * codec.scale + codec.offset).normalize(), "f")


def _ranged(codec: Codec, value: Value) -> Iterator[Step]:
    if codec.minimum is None and codec.maximum is None:
        return
    low = "" if codec.minimum is None else f"from {codec.minimum:g}"
    high = "" if codec.maximum is None else f"to {codec.maximum:g}"
    bounds = " ".join(part for part in (low, high) if part)
    try:
        check_range(codec, value)
    except InvalidError as error:
        yield Step(name="range", says=f"{bounds}: {error}")
        return
    yield Step(name="range", says=f"{bounds}: inside")


def shown_words(words: Sequence[int]) -> str:
    return " ".join(f"0x{word:04X}" for word in words)


def _text(value: Value) -> str:
    return repr(value) if isinstance(value, str) else format_value(value)


# --- writing ----------------------------------------------------------------------------------------------


class Writing(Frozen):
    """A value on its way to a device: what is to be sent, in order."""

    words: tuple[int, ...]
    requests: tuple[Request, ...]
    """For a part of a register: the mask. A device without function 22 has it read and written instead."""


def writing(device: ModbusDevice, prop: ModbusProperty, value: Value) -> Writing:
    """Raises `InvalidError` where the property can't take the value."""
    check_range(prop.codec, value)
    point = prop.point
    is_coil = point.table == "coil"
    words = (int(bool(value)),) if is_coil else tuple(encode(prop.codec, value))
    mask = None if is_coil else mask_of(prop.codec)
    if mask is not None:
        values, function = (0xFFFF & ~mask, words[0]), 22
    elif is_coil:
        values, function = words, 15 if prop.multiple else 5
    else:
        values, function = words, 16 if prop.multiple or len(words) > 1 else 6
    request = Request(unit=device.unit, function=function, address=point.address, values=values)
    keys = prop.guards.keys(device.unit, multiple=prop.multiple)
    return Writing(words=words, requests=(*keys, request))


def is_pulse(prop: ModbusProperty, value: Value) -> bool:
    """The value is taken back after a while."""
    pulse = prop.guards.pulse
    type, tolerance = prop.config.type, prop.config.twin.tolerance
    return pulse is not None and not same_value(type, format_value(value), format_value(pulse.back), tolerance)


def rehearsal(device: ModbusDevice, prop: ModbusProperty, value: Value) -> Rehearsal:
    """What writing the value comes to."""
    place = place_of(device, prop)
    steps = [Step(name="value", says=f"{_text(value)} ({prop.config.type})")]
    if not prop.writable:
        return Rehearsal(place=place, requests=(), steps=tuple(steps), refusal=f"{prop.config.name} is read-only")
    steps += _ranged(prop.codec, value)
    try:
        made = writing(device, prop, value)
    except InvalidError as error:
        return Rehearsal(place=place, requests=(), steps=tuple(steps), refusal=str(error))
    steps += _encoding(prop, made.words)
    steps += _sent(made.requests)
    shown = [_shown(request) for request in made.requests]
    pulse = prop.guards.pulse
    if pulse is not None and is_pulse(prop, value):
        after_ms = round(pulse.after_s * 1000)
        back = writing(device, prop, pulse.back)
        steps.append(Step(name="pulse", says=f"after {after_ms} ms back to {_text(pulse.back)}"))
        steps += _sent(back.requests)
        shown += [{**_shown(request), "afterMs": after_ms} for request in back.requests]
        value = pulse.back
    steps.append(Step(name="check", says=_check(prop, value)))
    return Rehearsal(place=place, requests=tuple(shown), steps=tuple(steps), refusal="")


def _sent(requests: Sequence[Request]) -> Iterator[Step]:
    """The keys that unlock the device, then the value."""
    for at, request in enumerate(requests, start=1):
        yield Step(
            name="sent" if at == len(requests) else "unlock",
            says=f"function {request.function}, {FUNCTIONS[request.function]}: "
            f"unit {request.unit}, {_target(request)}",
        )


def _encoding(prop: ModbusProperty, words: Sequence[int]) -> Iterator[Step]:
    codec = prop.codec
    if codec.raw == "bool" or codec.raw in _TEXTS:
        return
    raw = raw_number(codec, words)
    if meaning := meaning_of(codec):
        yield Step(name=meaning, says=f"is {raw}")
    elif (codec.scale, codec.offset) != (Decimal(1), Decimal(0)):
        minus = f" - {codec.offset}" if codec.offset else ""
        steps = f"{_scaled(codec, raw)}{minus}"
        yield Step(name="scale", says=f"{f'({steps})' if minus else steps} / {codec.scale} = {raw}")
    yield Step(name=codec.raw, says=raw)
    if len(words) > 1 or codec.order in ("BADC", "DCBA"):
        yield Step(name="order", says=f"{codec.order} on the wire")


def _table(request: Request) -> Table:
    return "coil" if request.function in (5, 15) else "holding"


def _target(request: Request) -> str:
    address = Address(table=_table(request), offset=request.address)
    if request.function == 22:
        return f"{address}, AND 0x{request.values[0]:04X}, OR 0x{request.values[1]:04X}"
    if request.function in (5, 15):
        return f"{address} = {' '.join(str(bit) for bit in request.values)}"
    return f"{address} = {shown_words(request.values)}"


def _check(prop: ModbusProperty, value: Value) -> str:
    tolerance = prop.config.twin.tolerance
    within = f" within {tolerance:g}" if tolerance else ""
    return f"read back with function {READ_FUNCTIONS[prop.point.table]}, and {_text(value)}{within} is expected"


def _shown(request: Request) -> JsonObject:
    return {
        "unit": request.unit,
        "function": request.function,
        "table": _table(request),
        "address": request.address,
        "values": [*request.values],
    }
