"""Messages of Protocol Buffers from tables: for protocols of others, of which we write down the fields that we use.

A table gives for each class of message the numbers and forms of its fields; with it `Table` makes bytes of messages
and messages of bytes. By hand, since a protobuf runtime costs a gateway ten megabytes (docs/decisions/0261). Fields
that are not in the table are skipped. Whatever comes in, `decode` returns a message or raises `ProtocolError`; sizes
are bounded by whoever reads them from a socket, counts here. Keeps no data. Pure. The format itself is
`skerry.wire.fields`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, TypeVar, cast

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.wire.fields import FIXED64, VARINT, Budget, delimited, fields_in, read_varint, tag, varint

_MASK: Final = (1 << 64) - 1

M = TypeVar("M")


class Form(Enum):
    """How a field is written. Enumerations are INT32, numbers of 32 bits without a sign UINT64."""

    STRING = "string"
    BYTES = "bytes"
    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    UINT64 = "uint64"
    INT64S = "repeated int64"
    STRINGS = "repeated string"
    MESSAGE = "message"
    MESSAGES = "repeated message"
    TEXTS = "map<string, string>"
    NAMED = "map<string, message>"


class Field(Frozen, kw_only=False):
    """One row of a table."""

    number: int
    name: str
    form: Form
    message: type | None = None
    """Of what class a nested message is."""


Schema = Mapping[type, tuple[Field, ...]]


def row(*fields: tuple[int, str, Form] | tuple[int, str, Form, type]) -> tuple[Field, ...]:
    """The fields of one message."""
    return tuple(Field(each[0], each[1], each[2], each[3]) if len(each) == 4 else Field(*each) for each in fields)


class Table:
    """Writes and reads the messages of one schema."""

    def __init__(self, schema: Schema, *, fields_max: int) -> None:
        """`fields_max`: in one message with all that is in it."""
        self._schema = schema
        self._fields_max = fields_max
        self._numbered: dict[type, dict[int, Field]] = {}

    def encode(self, message: object) -> bytes:
        """The message's bytes: fields in order of their numbers, what is empty left out (proto3)."""
        out = bytearray()
        for field in self._schema[type(message)]:
            self._write(out, field, getattr(message, field.name))
        return bytes(out)

    def decode(self, data: bytes, message: type[M]) -> M:
        """Raises `ProtocolError` for bytes that are no such message."""
        return cast(M, self._message(data, message, Budget(self._fields_max)))

    def _write(self, out: bytearray, field: Field, value: object) -> None:
        match field.form:
            case Form.BOOL | Form.INT32 | Form.INT64 | Form.UINT64:
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
            case Form.INT64S:
                if value:
                    numbers = cast("tuple[int, ...]", value)
                    out += delimited(field.number, b"".join(varint(complement(each)) for each in numbers))
            case Form.MESSAGE:
                if value is not None:
                    out += delimited(field.number, self.encode(value))
            case Form.MESSAGES | Form.STRINGS:
                for each in cast("tuple[object, ...]", value):
                    out += delimited(field.number, each.encode() if isinstance(each, str) else self.encode(each))
            case Form.TEXTS | Form.NAMED:
                for name, each in cast("Mapping[str, object]", value).items():
                    content = each.encode() if isinstance(each, str) else self.encode(each)
                    out += delimited(field.number, delimited(1, name.encode()) + delimited(2, content))

    def _message(self, data: bytes, message: type, budget: Budget) -> object:
        known = self._known(message)
        found: dict[str, object] = {}
        lists: dict[str, list[object]] = {}
        maps: dict[str, dict[str, object]] = {}
        for number, value in fields_of(data, budget):
            field = known.get(number)
            if field is None:
                continue
            match field.form:
                case Form.TEXTS | Form.NAMED:
                    name, entry = self._entry(bytes_of(value), field.message, budget)
                    maps.setdefault(field.name, {})[name] = entry
                case Form.STRINGS:
                    lists.setdefault(field.name, []).append(text_of(value))
                case Form.INT64S:
                    lists.setdefault(field.name, []).extend(_numbers(value, budget))
                case Form.MESSAGES:
                    assert field.message is not None
                    lists.setdefault(field.name, []).append(self._message(bytes_of(value), field.message, budget))
                case Form.MESSAGE:
                    assert field.message is not None
                    found[field.name] = self._message(bytes_of(value), field.message, budget)
                case _:
                    found[field.name] = _plain(field.form, value)
        return message(**found, **{name: tuple(each) for name, each in lists.items()}, **maps)

    def _known(self, message: type) -> dict[int, Field]:
        known = self._numbered.get(message)
        if known is None:
            known = self._numbered[message] = {field.number: field for field in self._schema[message]}
        return known

    def _entry(self, data: bytes, message: type | None, budget: Budget) -> tuple[str, object]:
        """One pair of a map: texts, or messages of this class by name."""
        name, value = "", cast(object, "" if message is None else message())
        for number, each in fields_of(data, budget):
            if number == 1:
                name = text_of(each)
            elif number == 2:
                value = text_of(each) if message is None else self._message(bytes_of(each), message, budget)
        return name, value


def _plain(form: Form, value: int | bytes) -> object:
    match form:
        case Form.BOOL:
            return signed(value, 64) != 0
        case Form.INT32:
            return signed(value, 32)
        case Form.INT64:
            return signed(value, 64)
        case Form.UINT64:
            return signed(value, 64) & _MASK
        case Form.STRING:
            return text_of(value)
        case _:
            return bytes_of(value)


def _numbers(value: int | bytes, budget: Budget) -> list[int]:
    """Packed, or one of those that are not."""
    if isinstance(value, int):
        return [signed(value, 64)]
    at, numbers = 0, list[int]()
    while at < len(value):
        budget.spent += 1
        if budget.spent > budget.limit:
            raise ProtocolError(f"a message of more than {budget.limit} fields")
        number, at = read_varint(value, at)
        numbers.append(signed(number, 64))
    return numbers


def complement(number: int) -> int:
    """What stands for a number, negative or not, in 64 bits."""
    return number & _MASK


def fields_of(data: bytes, budget: Budget) -> Iterator[tuple[int, int | bytes]]:
    """(number, value): an int of a varint, else the bytes, those of a number of fixed width too. Raises
    `ProtocolError`."""
    for number, wire, value in fields_in(data, budget):
        if isinstance(value, int) and wire != VARINT:
            yield number, value.to_bytes(8 if wire == FIXED64 else 4, "little")
        else:
            yield number, value


def text_of(data: int | bytes) -> str:
    """Raises `ProtocolError` for what is no text."""
    try:
        return bytes_of(data).decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a text is not UTF-8: {error.reason}") from error


def bytes_of(data: int | bytes) -> bytes:
    """Raises `ProtocolError` for a number."""
    if isinstance(data, int):
        raise ProtocolError("a number where a text or a message should be")
    return data


def signed(data: int | bytes, bits: int) -> int:
    """A number of so many bits, two's complement. Raises `ProtocolError` for what is none."""
    if not isinstance(data, int):
        raise ProtocolError("a text or a message where a number should be")
    data &= (1 << bits) - 1
    return data - (1 << bits) if data >> (bits - 1) else data
