"""DMI's messages as bytes: the Protocol Buffers wire format, from `devices.dmi.messages.SCHEMA`.

By hand, as `skerry.wire.codec` and for its reason: a protobuf runtime costs a gateway ten megabytes. Fields that are
not known are skipped. Whatever comes in, `decode` returns a message or raises `ProtocolError`; sizes are bounded by
whoever reads them from a socket, counts and depth here. Pure. The format itself is `skerry.wire.fields`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar, cast

from devices.dmi.messages import SCHEMA, Any, Field, Form
from skerry.errors import ProtocolError
from skerry.wire.fields import FIXED64, VARINT, Budget, delimited, fields_in, tag, varint

FIELDS_MAX: Final = 100_000
"""In one message with all that is in it: a report of some ten thousand properties."""
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


def complement(number: int) -> int:
    """What stands for a number, negative or not, in 64 bits."""
    return number & _MASK


def _write(out: bytearray, field: Field, value: object) -> None:
    match field.form:
        case Form.BOOL | Form.INT32 | Form.INT64:
            assert isinstance(value, int)
            if value:
                out += tag(field.number, VARINT) + varint(complement(int(value)))
        case Form.STRING:
            assert isinstance(value, str)
            if value:
                out += delimited(field.number, value.encode())
        case Form.BYTES:
            assert isinstance(value, bytes)
            if value:
                out += delimited(field.number, value)
        case Form.MESSAGE:
            if value is not None:
                out += delimited(field.number, encode(value))
        case Form.MESSAGES | Form.STRINGS:
            for each in cast("tuple[object, ...]", value):
                out += delimited(field.number, each.encode() if isinstance(each, str) else encode(each))
        case Form.TEXTS:
            for name, text in cast("Mapping[str, str]", value).items():
                out += delimited(field.number, delimited(1, name.encode()) + delimited(2, text.encode()))
        case Form.ANYS:
            for name, each in cast("Mapping[str, Any]", value).items():
                out += delimited(field.number, delimited(1, name.encode()) + delimited(2, encode(each)))


# --- reading ---


def fields_of(data: bytes, budget: Budget | None = None) -> Iterator[tuple[int, int | bytes]]:
    """(number, value): an int of a varint, else the bytes, those of a number of fixed width too. Raises
    `ProtocolError`."""
    for number, wire, value in fields_in(data, budget or Budget(FIELDS_MAX)):
        if isinstance(value, int) and wire != VARINT:
            yield number, value.to_bytes(8 if wire == FIXED64 else 4, "little")
        else:
            yield number, value


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
        self._budget = Budget(FIELDS_MAX)

    def message(self, data: bytes, message: type) -> object:
        known = {field.number: field for field in SCHEMA[message]}
        found: dict[str, object] = {}
        lists: dict[str, list[object]] = {}
        maps: dict[str, dict[str, object]] = {}
        for number, value in fields_of(data, self._budget):
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
        for number, each in fields_of(data, self._budget):
            if number == 1:
                name = text_of(each)
            elif number == 2:
                value = self.message(_bytes(each), Any) if anys else text_of(each)
        return name, value
