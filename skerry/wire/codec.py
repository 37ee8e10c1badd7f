"""Frames as bytes: the Protocol Buffers wire format, from a table.

A frame is the message `Frame` of docs/reference/wire.proto: one field whose number names the kind of frame.
The format is compact, fields that a reader does not know are skipped (so versions can grow), and any protobuf
library can read a capture. It is written by hand because the table is a page, while a protobuf runtime costs a
gateway megabytes of memory. A frame over `DEFLATE_FROM` bytes travels deflated (RFC 1951) where that is smaller.

Whatever comes in, `decode` returns a frame or raises `ProtocolError`; every length, count and number has a
limit, checked before memory is spent on it. The module keeps no data.

Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, cast

from skerry.errors import ProtocolError, TooLargeError
from skerry.frozen import Frozen
from skerry.objects.meta import Key, Stamp
from skerry.objects.spans import Span
from skerry.wire.dictionary import deflated, inflated, inflated_by
from skerry.wire.fields import BYTES, FIXED64, VARINT, Budget, delimited, fields_in, read_varint, tag, varint
from skerry.wire.frames import (
    LANES,
    SPANS_MAX,
    Ack,
    Close,
    Compare,
    Fetch,
    Frame,
    Hello,
    LaneReceived,
    Objects,
    ObjectState,
    Ping,
    Pong,
    Receipt,
    Report,
    Reports,
    Stamped,
    Stamps,
    Start,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
    Welcome,
)

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""Largest frame, inflated: any object that the API takes (3 MiB in a request, as Kubernetes) fits into one."""
BODY_BYTES_MAX: Final = 3_500_000
DEFLATE_FROM: Final = 400
"""Smaller frames gain nothing that a packet would notice."""
LIST_MAX: Final = 8192
FIELDS_MAX: Final = 10 * LIST_MAX
"""Fields in one frame, those inside messages and the unknown ones too: a list of stamps at its limit has eight for
each entry. Reading a field costs a microsecond, and four megabytes of the shortest ones, deflated to four kilobytes,
would hold up everybody else's frames for a second."""
NAME_MAX: Final = 253
"""RFC 1123 subdomain, and longer than any resource or uid."""
TEXT_MAX: Final = 4096
NUMBER_MAX: Final = 2**63 - 1
"""What SQLite's and PostgreSQL's integers hold."""

DICTIONARY_FROM: Final = 48
"""With a dictionary even the report of one value shrinks to a third; a ping does not."""
DICTIONARY_TO: Final = 256 * 1024
"""Beyond, the frame's own text is dictionary enough, and deserves the larger window."""

_DEFLATED: Final = 31
"""Field of `Frame` that holds another `Frame`, deflated."""
_DICTIONARY: Final = 30
"""The same, deflated with a dictionary whose number is the first byte."""
_PACKED: Final = (_DICTIONARY, _DEFLATED)


class Form(Enum):
    """How one field is written."""

    UINT = "uint64"
    BOOL = "bool"
    FIXED64 = "fixed64"
    STRING = "string"
    BYTES = "bytes"
    UINTS = "repeated uint64"
    FIXED64S = "repeated fixed64"
    STRINGS = "repeated string"
    MESSAGE = "message"
    MESSAGES = "repeated message"


class Field(Frozen):
    """One row of the table. `limit` is bytes of a string, elements of a list, or the largest number."""

    number: int
    name: str
    form: Form
    limit: int
    message: type | None = None


def _uint(number: int, name: str, limit: int = NUMBER_MAX) -> Field:
    return Field(number=number, name=name, form=Form.UINT, limit=limit)


def _text(number: int, name: str, limit: int = NAME_MAX) -> Field:
    return Field(number=number, name=name, form=Form.STRING, limit=limit)


def _bool(number: int, name: str) -> Field:
    return Field(number=number, name=name, form=Form.BOOL, limit=1)


def _data(number: int, name: str, limit: int = BODY_BYTES_MAX) -> Field:
    return Field(number=number, name=name, form=Form.BYTES, limit=limit)


def _of(number: int, name: str, message: type) -> Field:
    return Field(number=number, name=name, form=Form.MESSAGE, limit=1, message=message)


def _each(number: int, name: str, message: type, limit: int = LIST_MAX) -> Field:
    return Field(number=number, name=name, form=Form.MESSAGES, limit=limit, message=message)


SCHEMA: Final[dict[type, tuple[Field, ...]]] = {
    Key: (_text(1, "resource"), _text(2, "namespace"), _text(3, "name")),
    Stamp: (_text(1, "uid"), _uint(2, "revision")),
    Span: (_uint(1, "first"), _uint(2, "through")),
    Start: (_uint(1, "mark"), _uint(2, "first")),
    LaneReceived: (_uint(1, "lane"), _each(2, "spans", Span, SPANS_MAX)),
    Stamped: (_of(1, "key", Key), _of(2, "stamp", Stamp)),
    ObjectState: (_of(1, "key", Key), _of(2, "stamp", Stamp), _data(3, "body")),
    Report: (
        _uint(1, "seq"),
        _text(2, "kind"),
        _text(3, "key", TEXT_MAX),
        _data(4, "body"),
        _uint(5, "wall_ms"),
        _uint(6, "age_ms"),
        _bool(7, "estimated"),
        _uint(8, "error_ms"),
    ),
    Hello: (
        Field(number=1, name="versions", form=Form.UINTS, limit=16),
        _text(2, "node"),
        _text(3, "agent_version"),
        _text(4, "incarnation"),
        _text(5, "epoch"),
        _uint(6, "revision"),
        Field(number=7, name="root", form=Form.FIXED64, limit=2**64 - 1),
        _uint(8, "outbox_head"),
        Field(number=9, name="capabilities", form=Form.STRINGS, limit=64),
        Field(number=10, name="dictionaries", form=Form.UINTS, limit=16),
        _each(11, "starts", Start, 16),
    ),
    Welcome: (
        _uint(1, "version"),
        _uint(2, "session"),
        _uint(3, "server_ms"),
        _uint(4, "heartbeat_ms"),
        _text(5, "epoch"),
        _uint(6, "revision"),
        _uint(7, "received"),
        _bool(8, "in_step"),
        _each(9, "lanes", LaneReceived, len(LANES)),
        _uint(10, "dictionary"),
        _uint(11, "common"),
        Field(number=12, name="capabilities", form=Form.STRINGS, limit=64),
    ),
    Compare: (
        _uint(1, "batch"),
        Field(number=2, name="root", form=Form.FIXED64, limit=2**64 - 1),
        Field(number=3, name="buckets", form=Form.FIXED64S, limit=64),
    ),
    Stamps: (
        _uint(1, "revision"),
        Field(number=2, name="buckets", form=Form.UINTS, limit=64),
        _each(3, "entries", Stamped),
        _bool(4, "more"),
    ),
    Fetch: (_each(1, "keys", Key),),
    Objects: (
        _uint(1, "batch"),
        _uint(2, "revision"),
        _each(3, "puts", ObjectState),
        _each(4, "deletes", Key),
        _bool(5, "more"),
    ),
    Ack: (_uint(1, "batch"),),
    Reports: (
        _each(1, "reports", Report),
        _uint(2, "lane"),
        _uint(3, "first"),
        _uint(4, "through"),
        _bool(5, "late"),
    ),
    Receipt: (_uint(1, "through"), _uint(2, "lane"), _uint(3, "first")),
    Ping: (_uint(1, "number"),),
    Pong: (_uint(1, "number"),),
    Close: (_uint(1, "code"), _text(2, "reason", TEXT_MAX), _uint(3, "retry_after_ms")),
    StreamOpen: (_uint(1, "stream"), _text(2, "kind"), _data(3, "params", 16 * 1024), _uint(4, "credit")),
    StreamData: (_uint(1, "stream"), _data(2, "data", 64 * 1024), _bool(3, "last")),
    StreamCredit: (_uint(1, "stream"), _uint(2, "credit")),
    StreamClose: (_uint(1, "stream"), _uint(2, "code"), _text(3, "reason", TEXT_MAX)),
}
"""Every message, field by field. A number, once used, never means anything else."""

FRAME_NUMBERS: Final[dict[type, int]] = {
    Hello: 1,
    Welcome: 2,
    Compare: 3,
    Stamps: 4,
    Fetch: 5,
    Objects: 6,
    Ack: 7,
    Reports: 8,
    Receipt: 9,
    Ping: 10,
    Pong: 11,
    Close: 12,
    StreamOpen: 13,
    StreamData: 14,
    StreamCredit: 15,
    StreamClose: 16,
}
_OBJECTS_OWN: Final = tuple(field for field in SCHEMA[Objects] if field.name in ("batch", "revision"))
_OBJECTS_SHARED: Final = tuple(field for field in SCHEMA[Objects] if field not in _OBJECTS_OWN)
_FRAME_TYPES: Final = {number: message for message, number in FRAME_NUMBERS.items()}
_FIELDS: Final = {message: {field.number: field for field in fields} for message, fields in SCHEMA.items()}
_EMPTY: Final[dict[Form, object]] = {
    Form.UINT: 0,
    Form.BOOL: False,
    Form.FIXED64: 0,
    Form.STRING: "",
    Form.BYTES: b"",
    Form.UINTS: (),
    Form.FIXED64S: (),
    Form.STRINGS: (),
    Form.MESSAGES: (),
}


def plain(frame: Frame) -> bytes:
    """The frame as one binary message, not deflated. Raises as `encode`."""
    body = _encode_message(frame)
    data = tag(FRAME_NUMBERS[type(frame)], BYTES) + varint(len(body)) + body
    _check_size(type(frame), len(data))
    return data


def _check_size(kind: type, size: int) -> None:
    if size > FRAME_BYTES_MAX:
        raise TooLargeError(f"a {kind.__name__} frame of {size} bytes is over {FRAME_BYTES_MAX}")


def encode(frame: Frame, *, dictionary: int = 0) -> bytes:
    """The frame as one binary message; deflated with the dictionary that both sides have agreed on, 0 for none.

    Raises `TooLargeError` where the frame breaks a limit that its reader will check: the sender cuts batches
    by `size_of`, so that only one object or report, too large by itself, can come to this.
    """
    data = plain(frame)
    packing = _packing(len(data), dictionary)
    if packing is None:
        return data
    number, deflate = packing
    packed = deflate(data, zlib.Z_FINISH)
    wrapped = tag(number, BYTES) + varint(len(packed)) + packed
    return wrapped if len(wrapped) < len(data) else data


def _packing(size: int, dictionary: int) -> tuple[int, Callable[[bytes, int], bytes]] | None:
    """Field and deflater for a frame of this size; None where it travels as it is."""
    if dictionary and DICTIONARY_FROM <= size <= DICTIONARY_TO:
        return _DICTIONARY, lambda data, end: deflated(data, dictionary, end=end)
    return (_DEFLATED, _deflated) if size >= DEFLATE_FROM else None


def _deflated(data: bytes, end: int) -> bytes:
    deflater = zlib.compressobj(level=6, wbits=-15)
    return deflater.compress(data) + deflater.flush(end)


def objects_tail(frame: Objects) -> bytes:
    """The two numbers of an `Objects` frame that are its session's own or of the moment, as its last bytes: the order
    of fields is free in Protocol Buffers."""
    return _encode_fields(frame, _OBJECTS_OWN)


def objects_head(frame: Objects, *, tail_bytes: int, dictionary: int = 0) -> bytes:
    """All that comes before a tail of that length: the same for every session that is told these objects, so that it
    has to be made once. Head and tail together are the frame, a few bytes longer than `encode` makes it.

    A deflated head ends on a byte's border, and the tail is a stored block behind it (RFC 1951, 3.2.4). Raises as
    `encode`.
    """
    content = _encode_fields(frame, _OBJECTS_SHARED)
    data = tag(FRAME_NUMBERS[Objects], BYTES) + varint(len(content) + tail_bytes) + content
    _check_size(Objects, len(data) + tail_bytes)
    packing = _packing(len(data) + tail_bytes, dictionary)
    if packing is None:
        return data
    number, deflate = packing
    packed = deflate(data, zlib.Z_SYNC_FLUSH) + struct.pack("<BHH", 1, tail_bytes, tail_bytes ^ 0xFFFF)
    wrapped = tag(number, BYTES) + varint(len(packed) + tail_bytes) + packed
    return wrapped if len(wrapped) < len(data) else data


def decode(data: bytes) -> Frame | None:
    """The frame in one binary message; None for a kind of frame that only newer versions know.

    Raises `ProtocolError` for anything that is not a frame within the limits.
    """
    budget = Budget(FIELDS_MAX)
    number, body = _only_field(data, budget)
    if number in _PACKED:
        inner = _inflate(body) if number == _DEFLATED else inflated(body, bytes_max=FRAME_BYTES_MAX)
        number, body = _only_field(inner, budget)
        if number in _PACKED:
            raise ProtocolError("a deflated frame holds a deflated frame")
    message = _FRAME_TYPES.get(number)
    return None if message is None else cast(Frame, _decode_message(message, body, budget))


def size_of(item: ObjectState | Report | Stamped | Key) -> int:
    """About how many bytes an item takes in a frame, before deflation; never less."""
    match item:
        case ObjectState():
            return size_of(item.key) + len(item.stamp.uid) + len(item.body) + 40
        case Stamped():
            return size_of(item.key) + len(item.stamp.uid) + 32
        case Report():
            return len(item.kind) + 4 * len(item.key) + len(item.body) + 64
        case Key():
            return len(item.resource) + len(item.namespace) + len(item.name) + 16


def _inflate(data: bytes) -> bytes:
    return inflated_by(zlib.decompressobj(wbits=-15), data, bytes_max=FRAME_BYTES_MAX)


def _only_field(data: bytes, budget: Budget) -> tuple[int, bytes]:
    """Number and content of the last length-delimited field of `Frame`: proto3 readers take the last one too."""
    if len(data) > FRAME_BYTES_MAX:
        raise ProtocolError(f"a frame of {len(data)} bytes is over {FRAME_BYTES_MAX}")
    found: tuple[int, bytes] | None = None
    for number, _, value in fields_in(data, budget):
        if isinstance(value, bytes):
            found = number, value
    if found is None:
        raise ProtocolError("a frame without a body")
    return found


# --- writing ---


def _encode_message(message: object) -> bytes:
    return _encode_fields(message, SCHEMA[type(message)])


def _encode_fields(message: object, fields: Iterable[Field]) -> bytes:
    out = bytearray()
    for field in fields:
        out += _WRITERS[field.form](field, cast(object, getattr(message, field.name)))
    return bytes(out)


def _write_number(field: Field, value: object) -> bytes:
    number = cast(int, value)
    if not 0 <= number <= field.limit:
        raise TooLargeError(f"{field.name} {number} is not within 0..{field.limit}")
    return tag(field.number, VARINT) + varint(number) if number else b""


def _write_fixed64(field: Field, value: object) -> bytes:
    number = cast(int, value)
    return tag(field.number, FIXED64) + struct.pack("<Q", number) if number else b""


def _write_string(field: Field, value: object) -> bytes:
    return _write_bytes(field, cast(str, value).encode())


def _write_bytes(field: Field, value: object) -> bytes:
    content = cast(bytes, value)
    if len(content) > field.limit:
        raise TooLargeError(f"{field.name} of {len(content)} bytes is over {field.limit}")
    return delimited(field.number, content) if content else b""


def _checked(field: Field, value: object) -> tuple[object, ...]:
    items = cast("tuple[object, ...]", value)
    if len(items) > field.limit:
        raise TooLargeError(f"{len(items)} {field.name} are over {field.limit}")
    return items


def _write_numbers(field: Field, value: object) -> bytes:
    content = b"".join(varint(cast(int, item)) for item in _checked(field, value))
    return delimited(field.number, content) if content else b""


def _write_fixed64s(field: Field, value: object) -> bytes:
    items = _checked(field, value)
    return delimited(field.number, struct.pack(f"<{len(items)}Q", *items)) if items else b""


def _write_strings(field: Field, value: object) -> bytes:
    return b"".join(delimited(field.number, cast(str, item).encode()) for item in _checked(field, value))


def _write_message(field: Field, value: object) -> bytes:
    return delimited(field.number, _encode_message(value))


def _write_messages(field: Field, value: object) -> bytes:
    return b"".join(_write_message(field, item) for item in _checked(field, value))


_WRITERS: Final[dict[Form, Callable[[Field, object], bytes]]] = {
    Form.UINT: _write_number,
    Form.BOOL: _write_number,
    Form.FIXED64: _write_fixed64,
    Form.STRING: _write_string,
    Form.BYTES: _write_bytes,
    Form.UINTS: _write_numbers,
    Form.FIXED64S: _write_fixed64s,
    Form.STRINGS: _write_strings,
    Form.MESSAGE: _write_message,
    Form.MESSAGES: _write_messages,
}


# --- reading ---


def _decode_message(message: type, data: bytes, budget: Budget) -> object:
    fields = _FIELDS[message]
    values: dict[str, object] = {}
    lists: dict[str, list[object]] = {}
    for number, _, raw in fields_in(data, budget):
        field = fields.get(number)
        if field is None:
            continue
        if field.form in (Form.UINTS, Form.FIXED64S, Form.STRINGS, Form.MESSAGES):
            items = lists.setdefault(field.name, [])
            items.extend(_read_items(field, raw, budget))
            if len(items) > field.limit:
                raise ProtocolError(f"{field.name} has more than {field.limit} elements")
        else:
            values[field.name] = _read_single(field, raw, budget)
    for field in fields.values():
        if field.name in lists:
            values[field.name] = tuple(lists[field.name])
        elif field.name not in values:
            if field.form is Form.MESSAGE:
                raise ProtocolError(f"{message.__name__} without {field.name}")
            values[field.name] = _EMPTY[field.form]
    return cast("Callable[..., object]", message)(**values)


def _read_single(field: Field, raw: int | bytes, budget: Budget) -> object:
    if field.form in (Form.UINT, Form.BOOL, Form.FIXED64):
        if not isinstance(raw, int):
            raise ProtocolError(f"{field.name} is not a number")
        if raw > field.limit:
            raise ProtocolError(f"{field.name} is over {field.limit}")
        return bool(raw) if field.form is Form.BOOL else raw
    content = _content(field, raw)
    if field.form is Form.MESSAGE:
        assert field.message is not None, "a message field names its message"
        return _decode_message(field.message, content, budget)
    if len(content) > field.limit:
        raise ProtocolError(f"{field.name} of {len(content)} bytes is over {field.limit}")
    return content if field.form is Form.BYTES else _string(field, content)


def _content(field: Field, raw: int | bytes) -> bytes:
    if isinstance(raw, int):
        raise ProtocolError(f"{field.name} is a number")
    return raw


def _string(field: Field, content: bytes) -> str:
    if b"\0" in content and field.limit <= NAME_MAX:
        # It separates names where they are hashed, and PostgreSQL has no text with it.
        raise ProtocolError(f"{field.name} holds a NUL")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{field.name} is not UTF-8") from error


def _read_items(field: Field, raw: int | bytes, budget: Budget) -> list[object]:
    if field.form is Form.MESSAGES:
        assert field.message is not None, "a message field names its message"
        return [_decode_message(field.message, _content(field, raw), budget)]
    if field.form is Form.STRINGS:
        content = _content(field, raw)
        if len(content) > NAME_MAX:
            raise ProtocolError(f"one of {field.name} is over {NAME_MAX} bytes")
        return [_string(field, content)]
    if isinstance(raw, int):  # proto3 readers accept numbers unpacked too
        return [_listed(field, raw)]
    if field.form is Form.FIXED64S:
        if len(raw) % 8 or len(raw) > 8 * field.limit:
            raise ProtocolError(f"{field.name} is not a list of at most {field.limit} 64-bit numbers")
        return list(struct.unpack(f"<{len(raw) // 8}Q", raw))
    items: list[object] = []
    at = 0
    while at < len(raw) and len(items) <= field.limit:
        value, at = read_varint(raw, at)
        items.append(_listed(field, value))
    return items


def _listed(field: Field, value: int) -> int:
    if field.form is Form.UINTS and value > NUMBER_MAX:
        raise ProtocolError(f"one of {field.name} is over {NUMBER_MAX}")
    return value
