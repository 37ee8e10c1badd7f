"""Registers to values and back: types, word and byte orders, scale and offset.

Pure. Our own, because libraries know too few orders and types, and none refuses a value that does not fit. The
rule of the house holds here: no wrong value, rather none. What can't be a value (a NaN, a sentinel that means
"no sensor", an undecodable text, a number that does not fit the declared type) raises `InvalidError` with the
reason, which becomes a reading of bad quality.

Orders are named by where the bytes of a value (A is the most significant) stand on the wire: `ABCD`, `CDAB` (words
swapped), `BADC` (bytes swapped), `DCBA` (both); a 64-bit value takes these four in their meaning, or all eight
letters in any order (`CDABGHEF`). Registers themselves are big-endian (Modbus Application Protocol 1.1b3, 4.2).

What a number means can be said further: names (`enum`), named bits (`flags`), a part of a register (`mask`), or a
moment (`devices.moments`). Where only a part of a register is the value, the rest is left alone when it is written
(`mask_of`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import lru_cache
from typing import Final, Literal, cast, get_args

from devices.moments import MomentForm, moment_from_number, moment_from_words, moment_to_number, moment_to_words
from skerry.errors import InvalidError
from skerry.frozen import Frozen, field
from skerry.objects.twins import Value

RawType = Literal[
    "bool", "int8h", "int8l", "uint8h", "uint8l", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "bcd16", "bcd32", "bcd64", "mod10k", "moment", "string", "bytes",
]  # fmt: skip
"""`h` and `l` are the high and the low byte of one register. `mod10k` is four decimal digits a register, the highest
first. `moment` is a date and a time in registers of their own. `string` and `bytes` take `count` registers."""

RAW_TYPES: Final[tuple[RawType, ...]] = get_args(RawType)

REGISTERS: Final[dict[RawType, int]] = {
    "bool": 1, "int8h": 1, "int8l": 1, "uint8h": 1, "uint8l": 1, "int16": 1, "uint16": 1, "bcd16": 1, "float16": 1,
    "int32": 2, "uint32": 2, "float32": 2, "bcd32": 2, "int64": 4, "uint64": 4, "float64": 4,
    "bcd64": 4,
}  # fmt: skip
"""How many registers a type takes; `string`, `bytes`, `mod10k` and `moment` say so themselves."""

_FLOATS: Final[dict[RawType, tuple[str, range]]] = {
    "float16": (">e", range(3, 6)),
    "float32": (">f", range(6, 10)),
    "float64": (">d", range(15, 18)),
}
"""Struct format, and how many significant digits may be needed to tell one float from its neighbours."""

NO_FLAGS: Final = "none"
"""What a bit field without a bit set is called: an empty text means that there is no value."""

_DECIMAL_DIGITS: Final = 40
"""More than any 64-bit integer times any scale needs."""


class Codec(Frozen):
    """How one property is kept in registers."""

    raw: RawType
    type: str
    """The property's declared type: INT, FLOAT, DOUBLE, STRING, BOOLEAN, BYTES."""
    count: int
    """Registers taken."""
    order: str = "ABCD"
    bit: int | None = None
    """The one bit of a register that is a BOOLEAN; 0 is the least significant."""
    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)
    """value = raw * scale + offset"""
    sentinels: frozenset[int] = frozenset()
    """Raw values, as unsigned integers, that mean "no value"."""
    encoding: str = "utf-8"
    padding: Literal["nul", "blank"] = "nul"
    """What fills the rest of a text's registers when it is written; either ends it when it is read."""
    one_char: Literal["", "high", "low"] = ""
    """One character a register, in this byte of it."""
    mask: int | None = None
    """The bits of one register that are the value; it is counted from the lowest of them."""
    names: Mapping[int, str] = field(default_factory=dict[int, str])
    """An enumeration: what each raw value is called. Others are no values."""
    flags: Mapping[int, str] = field(default_factory=dict[int, str])
    """Named bits, by number; the value is the names of those that are set, in the order of bits."""
    moment: MomentForm | None = None
    """The number, or the registers, mean a moment; the value is RFC 3339."""
    epoch_s: int = 0
    """What moments are counted from, in seconds of Unix time."""
    step: Decimal | None = None
    """What is written must be a multiple of it, counted from the minimum."""
    minimum: float | None = None
    maximum: float | None = None
    tolerance: float = 0.0


@lru_cache(maxsize=1024)
def positions(order: str, n_bytes: int) -> tuple[int, ...]:
    """For each byte on the wire, which byte of the value it is (0 is the most significant).

    Raises `InvalidError` for an order that does not exist at this size.
    """
    named = order.upper()
    natural = range(n_bytes)
    if n_bytes != 4 and sorted(named) == [chr(65 + at) for at in natural]:
        return tuple(ord(letter) - 65 for letter in named)
    pairs = [tuple(natural[at : at + 2]) for at in range(0, n_bytes, 2)]
    match named:
        case "ABCD":
            return tuple(natural)
        case "CDAB":
            return tuple(at for pair in reversed(pairs) for at in pair)
        case "BADC":
            return tuple(at for pair in pairs for at in reversed(pair))
        case "DCBA":
            return tuple(reversed(natural))
        case _:
            raise InvalidError(f"order {order!r} does not exist for {n_bytes} bytes: use ABCD, CDAB, BADC or DCBA")


def _value_bytes(codec: Codec, words: Sequence[int]) -> bytes:
    wire = struct.pack(f">{len(words)}H", *words)
    if codec.order == "ABCD":
        return wire
    value = bytearray(len(wire))
    for at, belongs in zip(wire, positions(codec.order, len(wire)), strict=True):
        value[belongs] = at
    return bytes(value)


def _words(codec: Codec, value: bytes) -> list[int]:
    wire = bytes(value[belongs] for belongs in positions(codec.order, len(value)))
    return [int.from_bytes(wire[at : at + 2], "big") for at in range(0, len(wire), 2)]


def decode(codec: Codec, words: Sequence[int]) -> Value:
    """The value in these registers. Raises `InvalidError` when there is none."""
    if len(words) != codec.count:
        raise InvalidError(f"{len(words)} registers where {codec.count} make a value")
    if codec.bit is not None:
        return bool(words[0] >> codec.bit & 1)
    data = _value_bytes(codec, words)
    if int.from_bytes(data, "big") in codec.sentinels:
        raise InvalidError(f"the device says it has no value (0x{data.hex()})")
    match codec.raw:
        case "string":
            return _text(codec, data)
        case "bytes":
            return data
        case "moment":
            assert codec.moment is not None, "the configuration saw to it"
            return moment_from_words(codec.moment, _as_words(data))
        case _:
            return _meant(codec, _number(codec, data))


def _meant(codec: Codec, raw: Decimal) -> Value:
    """What a number means, where it is not just a number."""
    if codec.names:
        name = codec.names.get(int(raw))
        if name is None:
            raise InvalidError(f"{raw} has no name in enum")
        return name
    if codec.flags:
        number = int(raw)
        set_bits = (at for at in range(number.bit_length()) if number >> at & 1)
        return ",".join(codec.flags.get(at, f"bit{at}") for at in set_bits) or NO_FLAGS
    if codec.moment is not None:
        return moment_from_number(codec.moment, int(raw), codec.epoch_s)
    return _typed(codec, raw)


def _as_words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def _text(codec: Codec, data: bytes) -> str:
    if codec.one_char:
        data = data[0 if codec.one_char == "high" else 1 :: 2]
    try:
        # UTF-16 has zero bytes within; all others end at the first.
        whole = data if codec.encoding == "utf-16-be" else data.split(b"\x00", 1)[0]
        return whole.decode(codec.encoding).split("\x00", 1)[0].rstrip(" ")
    except UnicodeDecodeError as error:
        raise InvalidError(f"registers 0x{data.hex()} are not {codec.encoding} text") from error


def _number(codec: Codec, data: bytes) -> Decimal:
    if codec.raw in _FLOATS:
        return _float(codec.raw, data)
    if codec.raw in ("bcd16", "bcd32", "bcd64"):
        digits = data.hex()
        if not digits.isdecimal():
            raise InvalidError(f"0x{digits} is not binary coded decimal")
        return Decimal(digits)
    if codec.raw == "mod10k":
        words = _as_words(data)
        if max(words) > 9999:
            raise InvalidError(f"0x{data.hex()} is not four decimal digits a register")
        return Decimal("".join(f"{word:04d}" for word in words))
    if codec.mask is not None:
        word = int.from_bytes(data, "big") & codec.mask
        return Decimal(word >> _shift(codec.mask))
    if codec.raw in ("int8h", "uint8h"):
        data = data[:1]
    elif codec.raw in ("int8l", "uint8l"):
        data = data[1:]
    return Decimal(int.from_bytes(data, "big", signed=codec.raw.startswith("int")))


def _float(raw: RawType, data: bytes) -> Decimal:
    """The shortest decimal that means this very float: 23.4, and not 23.399999618530273."""
    form, digits = _FLOATS[raw]
    (number,) = cast("tuple[float]", struct.unpack(form, data))
    if not math.isfinite(number):
        raise InvalidError(f"0x{data.hex()} is not a finite number")
    for precision in digits:
        text = f"{number:.{precision}g}"
        try:
            if struct.pack(form, float(text)) == data:
                return Decimal(text)
        except OverflowError:  # rounded up past the largest float of this size
            continue
    return Decimal(number)


def _typed(codec: Codec, raw: Decimal) -> Value:
    with localcontext() as context:
        context.prec = _DECIMAL_DIGITS
        number = raw * codec.scale + codec.offset
        match codec.type:
            case "BOOLEAN":
                return number != 0
            case "INT":
                return int(number.to_integral_value(ROUND_HALF_EVEN))
            case "STRING":
                return format(
                    number.normalize() if number != number.to_integral_value() else number.quantize(Decimal(1)), "f"
                )
            case _:
                return float(number)


def encode(codec: Codec, value: Value) -> list[int]:
    """The registers that hold this value; of a part of one (`mask_of`), that part in its place. Raises `InvalidError`
    when they can't: wrong type, out of range, or between two steps of the scale by more than the tolerance."""
    if codec.bit is not None:
        return [(1 << codec.bit) if value else 0]
    match codec.raw:
        case "string":
            return _words(codec, _string_bytes(codec, value))
        case "bytes":
            if not isinstance(value, bytes) or len(value) != codec.count * 2:
                raise InvalidError(f"exactly {codec.count * 2} bytes fit into {codec.count} registers")
            return _words(codec, value)
        case "moment":
            assert codec.moment is not None, "the configuration saw to it"
            words = moment_to_words(codec.moment, _a_text(value))
            if (read_back := moment_from_words(codec.moment, words)) != value:
                raise InvalidError(f"{value!r} would be read back as {read_back!r}: write it so")
            return _words(codec, b"".join(word.to_bytes(2, "big") for word in words))
        case _:
            return _number_words(codec, value)


def _a_text(value: Value) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"{value!r} is not a text")
    return value


def _number_words(codec: Codec, value: Value) -> list[int]:
    if codec.names or codec.flags or codec.moment is not None:
        raw = Decimal(_unmeant(codec, _a_text(value)))
        if (read_back := _meant(codec, raw)) != value:
            raise InvalidError(f"{value!r} would be read back as {read_back!r}: write it so")
        return _placed(codec, _int_bytes(codec, raw, raw))
    if isinstance(value, str | bytes):
        raise InvalidError(f"{value!r} is not a number")
    check_range(codec, value)
    wanted = Decimal(int(value)) if isinstance(value, bool) else Decimal(str(value))
    _check_step(codec, wanted)
    with localcontext() as context:
        context.prec = _DECIMAL_DIGITS
        raw = (wanted - codec.offset) / codec.scale
        if codec.raw in _FLOATS:
            return _words(codec, _float_bytes(codec, raw))
        return _placed(codec, _int_bytes(codec, raw, wanted))


def _placed(codec: Codec, data: bytes) -> list[int]:
    """Registers; of a part of one, the part where it belongs."""
    mask = mask_of(codec)
    if mask is None:
        return _words(codec, data)
    number = int.from_bytes(data, "big")
    return [number if codec.flags else number << _shift(mask) & mask]


def _unmeant(codec: Codec, value: str) -> int:
    """The raw number that a name, names of bits, or a moment stand for."""
    if codec.names:
        for raw, name in codec.names.items():
            if name == value:
                return raw
        raise InvalidError(f"{value!r} is not one of {', '.join(codec.names.values())}")
    if codec.moment is not None:
        return moment_to_number(codec.moment, value, codec.epoch_s)
    bits = {name: at for at, name in codec.flags.items()}
    number = 0
    for name in value.split(",") if value != NO_FLAGS else ():
        if name not in bits:
            raise InvalidError(f"{name!r} is not one of {', '.join(bits)}")
        number |= 1 << bits[name]
    return number


def _shift(mask: int) -> int:
    """How far the lowest bit of a mask is from the lowest of its register."""
    return (mask & -mask).bit_length() - 1


def mask_of(codec: Codec) -> int | None:
    """The bits of one register that are this value, where it is not all of it: the others belong to somebody else
    and are left alone when it is written."""
    if codec.bit is not None:
        return 1 << codec.bit
    if codec.mask is not None:
        return codec.mask
    if codec.raw in ("int8h", "uint8h"):
        return 0xFF00
    if codec.raw in ("int8l", "uint8l"):
        return 0x00FF
    if codec.flags and codec.count == 1:
        return sum(1 << at for at in codec.flags)
    return None


def _check_step(codec: Codec, wanted: Decimal) -> None:
    if codec.step is None:
        return
    start = Decimal(str(codec.minimum)) if codec.minimum is not None else Decimal(0)
    off = (wanted - start) % codec.step
    if off:
        below = wanted - off if off > 0 else wanted - off - codec.step
        raise InvalidError(f"{wanted} is between two steps of {codec.step}: take {below} or {below + codec.step}")


def check_range(codec: Codec, value: Value) -> None:
    """Raises `InvalidError` for a number outside of the model's range."""
    if isinstance(value, bool | str | bytes):
        return
    if codec.minimum is not None and value < codec.minimum:
        raise InvalidError(f"{value} is below the minimum of {codec.minimum:g}")
    if codec.maximum is not None and value > codec.maximum:
        raise InvalidError(f"{value} is above the maximum of {codec.maximum:g}")


def _string_bytes(codec: Codec, value: Value) -> bytes:
    if not isinstance(value, str):
        raise InvalidError(f"{value!r} is not a text")
    try:
        data = value.encode(codec.encoding)
    except UnicodeEncodeError as error:
        raise InvalidError(f"{value!r} can't be written in {codec.encoding}") from error
    room = codec.count if codec.one_char else codec.count * 2
    if len(data) > room:
        raise InvalidError(f"a text of {len(data)} bytes does not fit into {codec.count} registers")
    filler = " " if codec.padding == "blank" else "\x00"
    data += filler.encode(codec.encoding) * ((room - len(data)) // len(filler.encode(codec.encoding)))
    if codec.one_char:
        pairs = ((byte, 0) if codec.one_char == "high" else (0, byte) for byte in data)
        return bytes(byte for pair in pairs for byte in pair)
    return data


def _float_bytes(codec: Codec, raw: Decimal) -> bytes:
    form, _ = _FLOATS[codec.raw]
    try:
        return struct.pack(form, float(raw))
    except OverflowError as error:
        raise InvalidError(f"{raw} does not fit into a {codec.raw}") from error


def _int_bytes(codec: Codec, raw: Decimal, wanted: Decimal) -> bytes:
    step = raw.to_integral_value(ROUND_HALF_EVEN)
    off = abs((step - raw) * codec.scale)
    if off > Decimal(str(codec.tolerance)):
        raise InvalidError(
            f"{wanted} lies between two steps of {abs(codec.scale)}: "
            f"the nearest is {step * codec.scale + codec.offset}"
        )
    number = int(step)
    if codec.raw in ("bcd16", "bcd32", "bcd64", "mod10k"):
        digits = codec.count * 4
        if not 0 <= number < 10**digits:
            raise InvalidError(f"{wanted} does not fit into {digits} decimal digits")
        text = f"{number:0{digits}d}"
        if codec.raw == "mod10k":
            return b"".join(int(text[at : at + 4]).to_bytes(2, "big") for at in range(0, digits, 4))
        return bytes.fromhex(text)
    if codec.mask is not None:
        if not 0 <= number <= codec.mask >> _shift(codec.mask):
            raise InvalidError(f"{wanted} does not fit into the bits of mask 0x{codec.mask:04x}")
        return number.to_bytes(2, "big")
    size = 1 if "8" in codec.raw else codec.count * 2
    try:
        return number.to_bytes(size, "big", signed=codec.raw.startswith("int"))
    except OverflowError as error:
        raise InvalidError(f"{wanted} does not fit into {codec.raw} (raw {number})") from error
