"""Registers to values and back: types, word and byte orders, scale and offset.

Pure. Our own, because libraries know too few orders and types, and none refuses a value that does not fit. The
rule of the house holds here: no wrong value, rather none. What can't be a value (a NaN, a sentinel that means
"no sensor", an undecodable text, a number that does not fit the declared type) raises `InvalidError` with the
reason, which becomes a reading of bad quality.

Orders are named by where the bytes of a value (A is the most significant) stand on the wire: `ABCD`, `CDAB` (words
swapped), `BADC` (bytes swapped), `DCBA` (both); a 64-bit value takes these four in their meaning, or all eight
letters in any order (`CDABGHEF`). Registers themselves are big-endian (Modbus Application Protocol 1.1b3, 4.2).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final, Literal, cast, get_args

from skerry.errors import InvalidError
from skerry.objects.twins import Value

RawType = Literal[
    "bool", "int8h", "int8l", "uint8h", "uint8l", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "bcd16", "bcd32", "string", "bytes",
]  # fmt: skip
"""`h` and `l` are the high and the low byte of one register. `string` and `bytes` take `count` registers."""

RAW_TYPES: Final[tuple[RawType, ...]] = get_args(RawType)

REGISTERS: Final[dict[RawType, int]] = {
    "bool": 1, "int8h": 1, "int8l": 1, "uint8h": 1, "uint8l": 1, "int16": 1, "uint16": 1, "bcd16": 1, "float16": 1,
    "int32": 2, "uint32": 2, "float32": 2, "bcd32": 2, "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip
"""How many registers a type takes; `string` and `bytes` say so themselves."""

_FLOATS: Final[dict[RawType, tuple[str, range]]] = {
    "float16": (">e", range(3, 6)),
    "float32": (">f", range(6, 10)),
    "float64": (">d", range(15, 18)),
}
"""Struct format, and how many significant digits may be needed to tell one float from its neighbours."""

_DECIMAL_DIGITS: Final = 40
"""More than any 64-bit integer times any scale needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
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
    minimum: float | None = None
    maximum: float | None = None
    tolerance: float = 0.0


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
    wire = b"".join(word.to_bytes(2, "big") for word in words)
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
    if codec.raw == "string":
        return _text(codec, data)
    if codec.raw == "bytes":
        return data
    return _typed(codec, _number(codec, data))


def _text(codec: Codec, data: bytes) -> str:
    try:
        return data.split(b"\x00", 1)[0].decode(codec.encoding).rstrip(" ")
    except UnicodeDecodeError as error:
        raise InvalidError(f"registers 0x{data.hex()} are not {codec.encoding} text") from error


def _number(codec: Codec, data: bytes) -> Decimal:
    if codec.raw in _FLOATS:
        return _float(codec.raw, data)
    if codec.raw in ("bcd16", "bcd32"):
        digits = data.hex()
        if not digits.isdecimal():
            raise InvalidError(f"0x{digits} is not binary coded decimal")
        return Decimal(digits)
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
    """The registers that hold this value. Raises `InvalidError` when they can't: wrong type, out of range, or
    between two steps of the scale by more than the tolerance. Bits of registers are written by mask, not by this."""
    assert codec.bit is None, "a bit is written by mask"
    if codec.raw == "string":
        return _words(codec, _string_bytes(codec, value))
    if codec.raw == "bytes":
        if not isinstance(value, bytes) or len(value) != codec.count * 2:
            raise InvalidError(f"exactly {codec.count * 2} bytes fit into {codec.count} registers")
        return _words(codec, value)
    if isinstance(value, str | bytes):
        raise InvalidError(f"{value!r} is not a number")
    check_range(codec, value)
    wanted = Decimal(int(value)) if isinstance(value, bool) else Decimal(str(value))
    with localcontext() as context:
        context.prec = _DECIMAL_DIGITS
        raw = (wanted - codec.offset) / codec.scale
        return _words(codec, _float_bytes(codec, raw) if codec.raw in _FLOATS else _int_bytes(codec, raw, wanted))


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
    if len(data) > codec.count * 2:
        raise InvalidError(f"a text of {len(data)} bytes does not fit into {codec.count} registers")
    return data.ljust(codec.count * 2, b"\x00")


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
    if codec.raw in ("bcd16", "bcd32"):
        digits = codec.count * 4
        if not 0 <= number < 10**digits:
            raise InvalidError(f"{wanted} does not fit into {digits} decimal digits")
        return bytes.fromhex(f"{number:0{digits}d}")
    if codec.raw in ("int8h", "int8l", "uint8h", "uint8l"):
        raise InvalidError("one byte of a register can't be written alone: declare the whole register")
    try:
        return number.to_bytes(codec.count * 2, "big", signed=codec.raw.startswith("int"))
    except OverflowError as error:
        raise InvalidError(f"{wanted} does not fit into {codec.raw} (raw {number})") from error
