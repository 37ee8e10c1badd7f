"""Readings of a gateway's devices as one block: what the outbox keeps, what travels, and what the cloud unpacks.

A reading by itself is two hundred bytes of JSON, a row and a report. A hundred a second for a week are sixty million,
which no flash card of a gateway has room for. In a block each column stands by itself, as differences from the
reading of the same property before, and all of it is deflated (RFC 1950, with its checksum): a few bytes a reading.
Nothing is rounded: a value comes back as the very text that it was.

A block's readings are in the order in which they were taken. It has as many numbers of the outbox as readings, the
last of which is the number of its row or report, so that a part of it can be told, and a reading alone to a cloud
that knows no blocks. Times are relative to the time of the row. The bytes are described in docs/reference/blocks.md.
Pure; a crash leaves nothing.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import sub
from typing import Final, NamedTuple, TypeAlias, cast

from skerry.errors import InvalidError, ProtocolError
from skerry.objects.twins import DeviceName, Quality, Telemetry, series_of

TELEMETRY_BLOCK: Final = "telemetry_block"
"""Kind of the report."""
CAPABILITY: Final = "blocks"
"""What a cloud that unpacks them says of itself in `Welcome`."""

READINGS_MAX: Final = 2048
"""Of one block: beyond, another reading gains little, and each is lost with its block."""
TEXT_MAX: Final = 1 << 18
"""Characters in one block: with more it would neither be a report that can travel nor one that is read. A reading
that has more is a block by itself."""
_PAYLOAD_BYTES_MAX: Final = 4 << 20
"""Of an inflated one: readings of texts may be long."""
_FORMAT: Final = 1
_FORMAT_AND_COUNT: Final = struct.Struct("<BH")
_CODES: Final = ((1, "b", 1 << 7), (2, "h", 1 << 15), (4, "i", 1 << 31), (8, "q", 1 << 63))
"""Bytes of a number, its code in `array`, and what it stays below."""
_CODE_OF: Final = {size: code for size, code, _ in _CODES}
_TEXT: Final = 0
"""In place of the bytes of a number: the column is JSON, as some number of it has more than eight."""
_ALONE: Final = {number: struct.pack("<Bb", 1, number) for number in range(-128, 128)}
"""Columns of one small number: a commit of a gateway has many, as most of its series have one reading in it."""
_DECIMALS_MAX: Final = 17
_TENS: Final = tuple(10**places for places in range(_DECIMALS_MAX + 1))
_QUALITIES: Final[tuple[Quality, ...]] = ("good", "uncertain", "bad", "stale")


class Reading(NamedTuple):
    """One reading of a block; the fields are those of `Telemetry`."""

    device: DeviceName
    prop: str
    seq: int
    value: str | None
    type: str
    quality: Quality
    reason: str
    source_ms: int
    source_seq: int | None
    ago_ms: int
    """How long before the time of the row it was taken."""

    @property
    def series(self) -> str:
        return series_of(self.device.namespace, self.device.name, self.prop)

    @property
    def text_length(self) -> int:
        """Characters that it may take of `TEXT_MAX`."""
        return len(self.value or "") + len(self.reason)

    def telemetry(self) -> Telemetry:
        """As it is told alone."""
        return Telemetry(
            device=self.device,
            prop=self.prop,
            seq=self.seq,
            value=self.value,
            type=self.type,
            quality=self.quality,
            reason=self.reason,
            source_ms=self.source_ms,
            source_seq=self.source_seq,
        )


Block: TypeAlias = tuple[Reading, ...]
"""At least one reading, at most `READINGS_MAX`; in the order in which they were taken."""


def count_of(kind: str, body: bytes) -> int:
    """How many readings, and numbers of the outbox, a report is: 1 unless it is a block. What is no block is one
    report, too."""
    if kind != TELEMETRY_BLOCK or len(body) < _FORMAT_AND_COUNT.size:
        return 1
    _, count = _FORMAT_AND_COUNT.unpack_from(body)
    return max(1, min(count, READINGS_MAX))


# --- writing ---


def encode_block(block: Block) -> bytes:
    """Raises `InvalidError` for a block of no readings or too many."""
    readings = block
    if not 0 < len(readings) <= READINGS_MAX:
        raise InvalidError(f"a block of {len(readings)} readings")
    series: dict[tuple[DeviceName, str, str], list[Reading]] = {}
    order: list[int] = []
    numbers: dict[tuple[DeviceName, str, str], int] = {}
    for reading in readings:
        name = (reading.device, reading.prop, reading.type)
        order.append(numbers.setdefault(name, len(numbers)))
        series.setdefault(name, []).append(reading)
    reasons = list(dict.fromkeys(reading.reason for reading in readings))
    values = [_values([reading.value for reading in of]) for of in series.values()]
    devices = list(dict.fromkeys(device for device, _, _ in series))
    number_of = {device: number for number, device in enumerate(devices)}
    head = [
        [[device.namespace, device.name, device.uid] for device in devices],
        [
            [number_of[device], prop, kind, mode, extra]
            for (device, prop, kind), (mode, extra, _) in zip(series, values, strict=True)
        ],
        reasons,
    ]
    ages = [reading.ago_ms for reading in readings]
    grouped = [reading for of in series.values() for reading in of]
    at = {reason: number for number, reason in enumerate(reasons)}
    columns = [
        _column(order),
        _column(_steps(ages)),
        _column([at[reading.reason] for reading in grouped]),
        _column([_QUALITIES.index(reading.quality) for reading in grouped]),
        *(_column(_steps([reading.seq for reading in of])) for of in series.values()),
        *(_column(_steps(_steps([reading.source_ms + reading.ago_ms for reading in of]))) for of in series.values()),
        *(_optional([reading.source_seq for reading in of]) for of in series.values()),
        *(data for _, _, data in values),
    ]
    text = json.dumps(head, separators=(",", ":")).encode()
    payload = struct.pack("<I", len(text)) + text + b"".join(columns)
    deflater = zlib.compressobj(level=6, wbits=15)
    packed = deflater.compress(payload) + deflater.flush()
    return _FORMAT_AND_COUNT.pack(_FORMAT, len(readings)) + packed


def _steps(numbers: list[int]) -> list[int]:
    """The first, and from each to the next."""
    return [numbers[0], *map(sub, numbers[1:], numbers)] if len(numbers) > 1 else numbers


def _column(numbers: Sequence[int]) -> bytes:
    if len(numbers) == 1 and (alone := _ALONE.get(numbers[0])) is not None:
        return alone
    low, high = min(numbers, default=0), max(numbers, default=0)
    for size, code, limit in _CODES:
        if -limit <= low and high < limit:
            return bytes((size,)) + _little(array(code, numbers))
    text = json.dumps(numbers, separators=(",", ":")).encode()
    return struct.pack("<BI", _TEXT, len(text)) + text


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _optional(numbers: Sequence[int | None]) -> bytes:
    """Which there are, and those."""
    there = [number for number in numbers if number is not None]
    if not there:
        return b"\x00"
    known = b"\x01" if len(there) == len(numbers) else b"\x02" + bytes(number is not None for number in numbers)
    return known + _column(_steps(there))


def _values(values: Sequence[str | None]) -> tuple[str, object, bytes]:
    """How the values of one series are written, what is to be known for it, and the bytes."""
    there = [value for value in values if value is not None]
    known = b"\x01" if len(there) == len(values) else b"\x02" + bytes(value is not None for value in values)
    if not there:
        return "t", [], b"\x00"
    decimals = _decimal(there)
    if decimals is not None:
        places, numbers = decimals
        column = _column(_steps(numbers))
        if column[0] not in (1, 2, 4) and (singles := _floats(there, "f")) is not None:
            return "s", None, known + singles
        return "d", places, known + column
    for mode, code in (("s", "f"), ("f", "d")):
        floats = _floats(there, code)
        if floats is not None:
            return mode, None, known + floats
    texts = list(dict.fromkeys(there))
    at = {text: number for number, text in enumerate(texts)}
    return "t", texts, known + _column([at[value] for value in there])


def _decimal(texts: Sequence[str]) -> tuple[int, list[int]] | None:
    """As whole numbers of so many decimals, where each comes back as it was; 0 decimals: whole numbers."""
    points = [len(text) - 1 - text.find(".") if "." in text else 0 for text in texts]
    places = max(points)
    if places > _DECIMALS_MAX or (places and not all(points)):
        return None
    try:
        numbers = [
            int(text.replace(".", "")) * _TENS[places - point] for text, point in zip(texts, points, strict=True)
        ]
    except ValueError:
        return None
    if max(numbers) >= 1 << 63 or min(numbers) < -(1 << 63):
        return None
    return (places, numbers) if _decimal_texts(places, numbers) == list(texts) else None


def _decimal_texts(places: int, numbers: Sequence[int]) -> list[str]:
    if not places:
        return list(map(str, numbers))
    texts: list[str] = []
    one = _TENS[places]
    for number in numbers:
        whole, part = divmod(abs(number), one)
        fraction = str(part + one)[1:].rstrip("0") or "0"
        texts.append(f"-{whole}.{fraction}" if number < 0 else f"{whole}.{fraction}")
    return texts


def _floats(texts: Sequence[str], code: str) -> bytes | None:
    """As binary numbers of that size, where each comes back as it was."""
    try:
        numbers = array(code, map(float, texts))
    except (ValueError, OverflowError):
        return None
    if [repr(number) for number in numbers] != list(texts):
        return None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


# --- reading ---


def decode_block(body: bytes) -> Block:
    """Raises `ProtocolError` for what is no block."""
    if len(body) < _FORMAT_AND_COUNT.size:
        raise ProtocolError("a block that is cut short")
    form, count = _FORMAT_AND_COUNT.unpack_from(body)
    if form != _FORMAT or not 0 < count <= READINGS_MAX:
        raise ProtocolError(f"a block of format {form} with {count} readings")
    inflater = zlib.decompressobj(wbits=15)
    try:
        payload = inflater.decompress(body[_FORMAT_AND_COUNT.size :], _PAYLOAD_BYTES_MAX)
    except zlib.error as error:
        raise ProtocolError("a block that can't be inflated") from error
    if not inflater.eof or inflater.unused_data:
        raise ProtocolError("a block that is too large, or cut short")
    try:
        return _block(_Bytes(payload), count)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, struct.error) as error:
        raise ProtocolError(f"a block that makes no sense: {error}") from error


class _Bytes:
    """What of a payload was not read yet."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise ValueError("it ends too soon")
        taken, self._data = bytes(self._data[:size]), self._data[size:]
        return taken

    def length(self) -> int:
        (length,) = struct.unpack("<I", self.take(4))
        return int(length)

    def column(self, count: int) -> list[int]:
        (size,) = self.take(1)
        if size == _TEXT:
            numbers = json.loads(self.take(self.length()))
            if not isinstance(numbers, list) or len(cast("list[object]", numbers)) != count:
                raise ValueError("a column of another length")
            return [_whole(number) for number in cast("list[object]", numbers)]
        return list(_array(_CODE_OF[size], self.take(size * count)))

    def sums(self, count: int) -> list[int]:
        """What `_steps` were made of."""
        return list(accumulate(self.column(count)))

    def there(self, count: int) -> list[bool]:
        """Which of a column that need not have all."""
        match self.take(1):
            case b"\x00":
                return [False] * count
            case b"\x01":
                return [True] * count
            case b"\x02":
                return [bool(each) for each in self.take(count)]
            case _:
                raise ValueError("nobody knows what is there")

    def end(self) -> None:
        if len(self._data):
            raise ValueError("something is left over")


def _array(code: str, data: bytes) -> array[int]:
    numbers: array[int] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no whole number")
    return value


def _text_of(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()  # half a character is none
    return value


def _block(data: _Bytes, count: int) -> Block:
    named, series, reasons = json.loads(data.take(data.length()))
    devices = [
        DeviceName(namespace=_text_of(namespace), name=_text_of(name), uid=_text_of(uid))
        for namespace, name, uid in named
    ]
    reasons = [_text_of(reason) for reason in reasons]
    order = data.column(count)
    counts = [0] * len(series)
    for number in order:
        if number < 0:
            raise ValueError("no such series")
        counts[number] += 1
    ages = data.sums(count)
    if min(ages) < 0:
        raise ValueError("a reading of the future")
    why, quality = _split(data.column(count), counts), _split(data.column(count), counts)
    seqs = [data.sums(each) for each in counts]
    sources = [list(accumulate(data.sums(each))) for each in counts]
    source_seqs = [_optional_sums(data, each) for each in counts]
    values = [_values_of(data, each, *shape[3:5]) for each, shape in zip(counts, series, strict=True)]
    data.end()
    names = [(devices[_index(_whole(shape[0]))], _text_of(shape[1]), _text_of(shape[2])) for shape in series]
    next_of = [0] * len(series)
    readings: list[Reading] = []
    for number, ago_ms in zip(order, ages, strict=True):
        at = next_of[number]
        next_of[number] = at + 1
        device, prop, kind = names[number]
        readings.append(
            Reading(
                device=device,
                prop=prop,
                seq=seqs[number][at],
                value=values[number][at],
                type=kind,
                quality=_QUALITIES[_index(quality[number][at])],
                reason=reasons[_index(why[number][at])],
                source_ms=sources[number][at] - ago_ms,
                source_seq=source_seqs[number][at],
                ago_ms=ago_ms,
            )
        )
    return tuple(readings)


def _index(number: int) -> int:
    if number < 0:
        raise ValueError("counted from the end")
    return number


def _split(numbers: list[int], counts: Sequence[int]) -> list[list[int]]:
    ends = list(accumulate(counts, initial=0))
    return [numbers[first:end] for first, end in pairwise(ends)]


def _optional_sums(data: _Bytes, count: int) -> list[int | None]:
    there = data.there(count)
    if not any(there):
        return [None] * count
    found = iter(data.sums(sum(there)))
    return [next(found) if each else None for each in there]


def _values_of(data: _Bytes, count: int, mode: str, extra: object) -> list[str | None]:
    there = data.there(count)
    size = sum(there)
    if not size:
        return [None] * count
    texts: list[str]
    match mode:
        case "d":
            places = _whole(extra)
            if not 0 <= places <= _DECIMALS_MAX:
                raise ValueError("too many decimals")
            texts = _decimal_texts(places, data.sums(size))
        case "s":
            texts = [repr(number) for number in _array("f", data.take(4 * size))]
        case "f":
            texts = [repr(number) for number in _array("d", data.take(8 * size))]
        case "t":
            table = [_text_of(text) for text in cast("list[object]", extra)]
            texts = [table[_index(number)] for number in data.column(size)]
        case _:
            raise ValueError("values in a way that is not known")
    found = iter(texts)
    return [next(found) if each else None for each in there]


# --- taking apart, and putting together ---


def joined(older: Block, newer: Block, *, later_ms: int) -> Block:
    """Both as one block of the time of the newer, which is so much later."""
    return (*(reading._replace(ago_ms=reading.ago_ms + later_ms) for reading in older), *newer)


def part_of(body: bytes, *, last: int, after: int, until: int) -> bytes:
    """The readings of a block, whose last has the number `last`, with numbers beyond `after` and up to `until`: as a
    block of the same time. There must be one."""
    first = last - count_of(TELEMETRY_BLOCK, body) + 1
    if after < first and last <= until:
        return body
    return encode_block(decode_block(body)[max(0, after + 1 - first) : until + 1 - first])


def split_block(body: bytes, *, at: int) -> tuple[bytes, bytes]:
    """Its first `at` readings and the others, as blocks of the same time. There must be some of both."""
    block = decode_block(body)
    return encode_block(block[:at]), encode_block(block[at:])
