"""DMI's messages as bytes: the Protocol Buffers wire format, from `devices.dmi.messages.SCHEMA`.

By hand, as `skerry.wire.codec` and for its reason: a protobuf runtime costs a gateway ten megabytes, the format is a
page. Fields that are not known are skipped. Whatever comes in, `decode` returns a message or raises `ProtocolError`;
sizes are bounded by whoever reads them from a socket, counts and depth here. Pure.

Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar, cast

from devices.dmi.messages import SCHEMA, Any, Field, Form
from skerry.errors import ProtocolError

FIELDS_MAX: Final = 100_000
"""In one message with all that is in it: a report of some ten thousand properties."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK: Final = (1 << 64) - 1

M = TypeVar("M")


def encode(message: object) -> bytes:
    """The message's bytes: fields in order of their numbers, what is empty left out (proto3)."""
    out = bytearray()
    for field in SCHEMA[type(message)]:
        _write(out, field, getattr(message, field.name))
    return bytes(out)


def decode(data: bytes, message: type[M]) -> M:
    """Raises `ProtocolError` for bytes that are no such message."""
    return cast(M, _Reader().message(data, message))


# --- writing ---


def varint(number: int) -> bytes:
    """Seven bits a byte; what is negative as its two's complement of 64 bits."""
    number &= _MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _lengthy(out: bytearray, number: int, data: bytes) -> None:
    out += varint(number << 3 | _BYTES) + varint(len(data)) + data


def lengthy(number: int, data: bytes) -> bytes:
    """One field of text, bytes or a message."""
    out = bytearray()
    _lengthy(out, number, data)
    return bytes(out)


def _write(out: bytearray, field: Field, value: object) -> None:
    match field.form:
        case Form.BOOL | Form.INT32 | Form.INT64:
            assert isinstance(value, int)
            if value:
                out += varint(field.number << 3 | _VARINT) + varint(int(value))
        case Form.STRING:
            assert isinstance(value, str)
            if value:
                _lengthy(out, field.number, value.encode())
        case Form.BYTES:
            assert isinstance(value, bytes)
            if value:
                _lengthy(out, field.number, value)
        case Form.MESSAGE:
            if value is not None:
                _lengthy(out, field.number, encode(value))
        case Form.MESSAGES | Form.STRINGS:
            for each in cast("tuple[object, ...]", value):
                _lengthy(out, field.number, each.encode() if isinstance(each, str) else encode(each))
        case Form.TEXTS:
            for name, text in cast("Mapping[str, str]", value).items():
                _lengthy(out, field.number, lengthy(1, name.encode()) + lengthy(2, text.encode()))
        case Form.ANYS:
            for name, each in cast("Mapping[str, Any]", value).items():
                _lengthy(out, field.number, lengthy(1, name.encode()) + lengthy(2, encode(each)))


# --- reading ---


def fields_of(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value): an int of a varint, else the bytes. Raises `ProtocolError`."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise ProtocolError("a field without a number")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ProtocolError(f"field {number} is of unknown form {kind}")
        if size > end - at:
            raise ProtocolError(f"field {number} is cut short")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtocolError("a number is cut short, or longer than 64 bits")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & _MASK, at
        shift += 7


def text_of(data: int | bytes) -> str:
    """Raises `ProtocolError` for what is no text."""
    try:
        return _bytes(data).decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a text is not UTF-8: {error.reason}") from error


def _bytes(data: int | bytes) -> bytes:
    if isinstance(data, int):
        raise ProtocolError("a number where a text or a message should be")
    return data


def signed(data: int | bytes, bits: int) -> int:
    """A number of so many bits, two's complement. Raises `ProtocolError` for what is none."""
    if not isinstance(data, int):
        raise ProtocolError("a text or a message where a number should be")
    data &= (1 << bits) - 1
    return data - (1 << bits) if data >> (bits - 1) else data


class _Reader:
    """Reads one message and counts its fields."""

    def __init__(self) -> None:
        self._left = FIELDS_MAX

    def message(self, data: bytes, message: type) -> object:
        known = {field.number: field for field in SCHEMA[message]}
        found: dict[str, object] = {}
        lists: dict[str, list[object]] = {}
        maps: dict[str, dict[str, object]] = {}
        for number, value in fields_of(data):
            self._left -= 1
            if self._left < 0:
                raise ProtocolError(f"more than {FIELDS_MAX} fields")
            field = known.get(number)
            if field is None:
                continue
            match field.form:
                case Form.BOOL:
                    found[field.name] = signed(value, 64) != 0
                case Form.INT32:
                    found[field.name] = signed(value, 32)
                case Form.INT64:
                    found[field.name] = signed(value, 64)
                case Form.STRING:
                    found[field.name] = text_of(value)
                case Form.BYTES:
                    found[field.name] = _bytes(value)
                case Form.STRINGS:
                    lists.setdefault(field.name, []).append(text_of(value))
                case Form.MESSAGE | Form.MESSAGES:
                    assert field.message is not None
                    read = self.message(_bytes(value), field.message)
                    if field.form is Form.MESSAGE:
                        found[field.name] = read
                    else:
                        lists.setdefault(field.name, []).append(read)
                case Form.TEXTS | Form.ANYS:
                    name, entry = self._entry(_bytes(value), anys=field.form is Form.ANYS)
                    maps.setdefault(field.name, {})[name] = entry
        return message(**found, **{name: tuple(each) for name, each in lists.items()}, **maps)

    def _entry(self, data: bytes, *, anys: bool) -> tuple[str, object]:
        name, value = "", cast(object, Any() if anys else "")
        for number, each in fields_of(data):
            if number == 1:
                name = text_of(each)
            elif number == 2:
                value = self.message(_bytes(each), Any) if anys else text_of(each)
        return name, value
