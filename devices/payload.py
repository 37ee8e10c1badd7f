"""What a message of a device says: a value, when it was true, and its number.

Pure. A payload is plain text, JSON of which a path picks one value (`$.sensors[0].temperature`, `$['a b']`: the part
of RFC 9535 that names one place), text that a regular expression takes apart, one row of separated columns, or
bytes. Texts that stand for values (`ON`, `closed`) and a linear scale are taken back by `written_text` when a value
is written. What is not there, or not of the declared type, raises `InvalidError`: no wrong value, rather none.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation, localcontext
from typing import Final, TypeAlias, assert_never

from devices import codec
from skerry.errors import InvalidError
from skerry.frozen import Frozen, field
from skerry.objects.device_desired import ms_of
from skerry.objects.json import Json, read_json
from skerry.objects.twins import Value, format_value, parse_value, same_value

Path: TypeAlias = "tuple[str | int, ...]"

_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")

SECONDS_MAX: Final = 100_000_000_000
"""A number below this is a time in seconds (until the year 5138), above it in milliseconds (since 1973)."""

PAYLOAD_BYTES_MAX: Final = 256 * 1024
"""Of one message. A sensor that sends more sends something else."""

MATCHED_BYTES_MAX: Final = 4096
"""Of a payload that a regular expression or columns take apart: expressions can take very long on long texts."""

_DECIMAL_DIGITS: Final = 40
"""More than any 64-bit integer times any scale needs."""


class Text(Frozen):
    """The payload is the value."""


class JsonPaths(Frozen):
    """Places in a JSON document. `value` None: the document is the value."""

    value: Path | None
    timestamp: Path | None = None
    sequence: Path | None = None


class Regex(Frozen):
    """The groups `value`, `timestamp` and `sequence` of an expression, or its only group. It is searched for."""

    pattern: re.Pattern[str]


class Columns(Frozen):
    """Columns of a row of separated values (RFC 4180 quotes), counted from 0."""

    value: int
    timestamp: int | None
    sequence: int | None
    separator: str


class Binary(Frozen):
    """Bytes of the payload, from `offset` on."""

    codec: codec.Codec
    offset: int
    length: int
    """In bytes; 1 for what a register's high byte would hold."""


Source: TypeAlias = "Text | JsonPaths | Regex | Columns | Binary"


class Layout(Frozen):
    """Where in a payload what is, and what it means."""

    source: Source
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """Texts of the device, and the values that they mean."""
    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)
    """value = number told * scale + offset"""
    missing_is_silence: bool = False
    """A message in which the value is not there says nothing of it (many properties share a topic, and each message
    has some of them); else it is a fault."""


class Said(Frozen):
    """What one message says of one property."""

    value: Value
    source_ms: int | None
    source_seq: int | None


class _Found(Frozen):
    """What stands in the places of a layout; None: nothing does."""

    value: Json
    timestamp: Json = None
    sequence: Json = None
    dated: bool = False
    numbered: bool = False


def parse_path(text: str) -> Path:
    """Raises `InvalidError` for what does not name one place."""
    if not text.startswith("$"):
        raise InvalidError(f"{text!r} is not a path: begin with $, as in $.temperature")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise InvalidError(
                f"{text!r} can't be read from {text[at:]!r} on: use steps such as .name, ['name'] or [0]"
            )
        name, index, quoted, double = found.groups()
        steps.append(int(index) if index is not None else name or quoted or double or "")
        at = found.end()
    return tuple(steps)


def read_payload(payload: bytes, type: str, layout: Layout) -> Said | None:
    """What the payload says; None when it says nothing of this property and may do so. Raises `InvalidError` with
    the reason when it says nothing that can be used."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise InvalidError(f"a payload of {len(payload)} bytes is too large")
    source = layout.source
    if isinstance(source, Binary):
        return Said(value=_from_bytes(payload, source), source_ms=None, source_seq=None)
    if isinstance(source, Text) and type == "BYTES" and not layout.values:
        return Said(value=payload, source_ms=None, source_seq=None)
    found = _find(payload, source)
    if found.value is None and layout.missing_is_silence:
        return None
    return Said(
        value=_meant(type, found.value, layout, "the payload" if isinstance(source, Text) else "the value"),
        source_ms=_time(found.timestamp) if found.dated else None,
        source_seq=_number(found.sequence) if found.numbered else None,
    )


def written_text(value: Value, type: str, layout: Layout) -> str:
    """The text that means this value to the device. Raises `InvalidError` where none does."""
    text = format_value(value)
    for theirs, ours in layout.values.items():
        if same_value(type, ours, text, 0):
            return theirs
    if layout.values and type == "BOOLEAN":
        raise InvalidError(f"`values` has no text that means {text}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if (layout.scale, layout.offset) == (1, 0):
            return format(Decimal(text), "f") if isinstance(value, float) and "e" in text else text
        with localcontext() as context:
            context.prec = _DECIMAL_DIGITS
            number = (Decimal(text) - layout.offset) / layout.scale
            # A third of a step has no last decimal: rounded far below what a float can tell.
            number = number.quantize(Decimal("1e-12")) if _exponent(number) < -12 else number
        return format(number.normalize() + 0, "f")
    return text


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


# --- where it stands --------------------------------------------------------------------------------------


def _find(payload: bytes, source: Text | JsonPaths | Regex | Columns) -> _Found:
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidError("the payload is not UTF-8 text") from error
    match source:
        case Text():
            return _Found(value=text.strip())
        case JsonPaths():
            return _in_json(text, source)
        case Regex():
            return _in_match(_short(text), source)
        case Columns():
            return _in_row(_short(text), source)
        case _:
            assert_never(source)


def _short(text: str) -> str:
    if len(text) > MATCHED_BYTES_MAX:
        raise InvalidError(f"a text of {len(text)} characters is too long to be taken apart")
    return text


def _in_json(text: str, paths: JsonPaths) -> _Found:
    document = read_json(text, "the payload")
    return _Found(
        value=at_path(document, paths.value or ()),
        timestamp=at_path(document, paths.timestamp or ()),
        sequence=at_path(document, paths.sequence or ()),
        dated=paths.timestamp is not None,
        numbered=paths.sequence is not None,
    )


def at_path(document: Json, path: Path) -> Json:
    """What is at this place; None where nothing is."""
    at = document
    for step in path:
        if isinstance(step, int):
            at = at[step] if isinstance(at, list) and step < len(at) else None
        else:
            at = at.get(step) if isinstance(at, dict) else None
    return at


def _in_match(text: str, source: Regex) -> _Found:
    found = source.pattern.search(text)
    groups = source.pattern.groupindex
    if found is None:
        return _Found(value=None)
    return _Found(
        value=found["value"] if "value" in groups else found[1],
        timestamp=found["timestamp"] if "timestamp" in groups else None,
        sequence=found["sequence"] if "sequence" in groups else None,
        dated="timestamp" in groups,
        numbered="sequence" in groups,
    )


def _in_row(text: str, columns: Columns) -> _Found:
    import csv  # of the few whose messages are rows

    row: list[str] = next(csv.reader(text.strip().splitlines()[:1], delimiter=columns.separator), [""])

    def cell(at: int | None) -> str | None:
        return row[at].strip() if at is not None and at < len(row) else None

    return _Found(
        value=cell(columns.value),
        timestamp=cell(columns.timestamp),
        sequence=cell(columns.sequence),
        dated=columns.timestamp is not None,
        numbered=columns.sequence is not None,
    )


def _from_bytes(payload: bytes, source: Binary) -> Value:
    data = payload[source.offset : source.offset + source.length]
    if len(data) < source.length:
        raise InvalidError(f"a payload of {len(payload)} bytes has no {source.length} from byte {source.offset} on")
    if source.codec.bit is not None:
        return bool(data[0] >> source.codec.bit & 1)
    if source.codec.raw == "bytes":
        return data
    if source.codec.raw == "string":
        try:
            return data.split(b"\x00", 1)[0].decode(source.codec.encoding).rstrip(" ")
        except UnicodeDecodeError as error:
            raise InvalidError(f"0x{data.hex()} is not {source.codec.encoding} text") from error
    words = data + b"\x00" if source.length == 1 else data  # one byte is the high one of a register
    return codec.decode(source.codec, [int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2)])


def written_bytes(value: Value, source: Binary) -> bytes:
    """The bytes that mean this value to the device. Raises `InvalidError` where none do."""
    if source.codec.raw == "bytes":
        if not isinstance(value, bytes) or len(value) != source.length:
            raise InvalidError(f"exactly {source.length} bytes are wanted")
        return value
    if source.codec.raw == "string":
        data = str(value).encode(source.codec.encoding, errors="replace") if isinstance(value, str) else b""
        if not isinstance(value, str) or len(data) > source.length:
            raise InvalidError(f"{value!r} is not a text of at most {source.length} bytes")
        return data.ljust(source.length, b"\x00")
    if source.length == 1:
        return _written_byte(value, source.codec)
    return b"".join(word.to_bytes(2, "big") for word in codec.encode(source.codec, value))


def _written_byte(value: Value, one: codec.Codec) -> bytes:
    if isinstance(value, str | bytes):
        raise InvalidError(f"{value!r} is not a number")
    raw = (Decimal(str(int(value) if isinstance(value, bool) else value)) - one.offset) / one.scale
    if raw != raw.to_integral_value():
        raise InvalidError(f"{value} lies between two steps of {abs(one.scale)}")
    try:
        return int(raw).to_bytes(1, "big", signed=one.raw.startswith("int"))
    except OverflowError as error:
        raise InvalidError(f"{value} does not fit into one byte (raw {raw})") from error


# --- what it means ----------------------------------------------------------------------------------------


def text_of(value: Json) -> str | None:
    """One value of JSON as the text that a device would have sent alone; None for what is not one value."""
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    return str(value)


def _meant(type: str, value: Json, layout: Layout, what: str) -> Value:
    if value is None:
        raise InvalidError(f"{what} is not there")
    text = text_of(value)
    if text is None:
        raise InvalidError(f"{what} is not one value")
    if text in layout.values:
        return parse_value(type, layout.values[text])
    if isinstance(value, bool) and type not in ("BOOLEAN", "STRING"):
        raise InvalidError(f"{what} is {text}, not of type {type}")
    if type in ("INT", "FLOAT", "DOUBLE") and (layout.scale, layout.offset) != (1, 0):
        text = _scaled(text, layout)
    return parse_value(type, text)


def _scaled(text: str, layout: Layout) -> str:
    try:
        with localcontext() as context:
            context.prec = _DECIMAL_DIGITS
            number = Decimal(text.strip()) * layout.scale + layout.offset
    except InvalidOperation as error:
        raise InvalidError(f"{text!r} is not a number: use one such as 21.5") from error
    return format(number, "f") if number.is_finite() else text


def _time(value: Json) -> int:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return round(value if value >= SECONDS_MAX else value * 1000)
    at_ms = ms_of(value) if isinstance(value, str) else None
    if at_ms is None:
        raise InvalidError(f"the timestamp {value!r} is neither RFC 3339 nor a number of seconds or milliseconds")
    return at_ms


def _number(value: Json) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidError(f"the sequence number {value!r} is not a whole number")
