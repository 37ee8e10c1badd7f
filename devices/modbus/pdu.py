"""Requests and answers as bytes, without what frames them.

Pure. Every answer is judged against its request here: function, byte count, number of registers or bits, and for a
write the echo. What differs in anything is `WrongAnswerError`, and no value. Functions 1 to 6, 15, 16, 22, 23
(Modbus Application Protocol 1.1b3, 6), 8/0 (return query data) and 43/14 (device identification); the other side,
requests read and answers made, is for slaves that are played.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from devices.bus import ExceptionAnswerError, Request, WrongAnswerError

T_co = TypeVar("T_co", covariant=True)

PDU_BYTES_MAX: Final = 253
"""Of a request or an answer, whatever frames it (4.1)."""
ERROR_BIT: Final = 0x80
RETURN_QUERY_DATA: Final = 8
IDENTIFY: Final = 43
IDENTIFY_TYPE: Final = 14
"""MEI type of device identification."""
COIL_ON: Final = 0xFF00

OBJECT_NAMES: Final[dict[int, str]] = {
    0: "vendor", 1: "product code", 2: "revision", 3: "vendor URL", 4: "product name", 5: "model name",
    6: "application",
}  # fmt: skip
"""Of device identification (6.21)."""


class Ask(Protocol[T_co]):
    """One request, and what its answer must be like."""

    @property
    def unit(self) -> int: ...

    @property
    def expected(self) -> int:
        """Bytes of the longest answer to it."""
        ...

    def encode(self) -> bytes:
        """Function code and data."""
        ...

    def size(self, head: bytes) -> int | None:
        """How long the answer is that begins with `head`; None: more of it is needed to know. Raises
        `WrongAnswerError` when it can't be the answer to this request."""
        ...

    def decode(self, pdu: bytes) -> T_co:
        """What a whole answer says. Raises `WrongAnswerError`, `ExceptionAnswerError`."""
        ...


def _head(function: int, head: bytes) -> int | None:
    """What the first byte of an answer says of its size: 2 for an exception, None for what the function decides."""
    if head[0] == function | ERROR_BIT:
        return 2
    if head[0] != function:
        other = head[0] & ~ERROR_BIT
        what = "an exception of function" if head[0] & ERROR_BIT else "function"
        raise WrongAnswerError(f"{what} {other} answered for {function}")
    return None


def _whole(pdu: bytes, size: int | None) -> None:
    if size != len(pdu):
        raise WrongAnswerError(f"an answer of {len(pdu)} bytes where {size or 'more'} were due")
    if pdu[0] & ERROR_BIT:
        raise ExceptionAnswerError(pdu[1])


@dataclass(frozen=True, slots=True)
class DataAsk:
    """Reading and writing: an `Ask` for registers or bits, () for a write whose echo was right."""

    request: Request

    @property
    def unit(self) -> int:
        return self.request.unit

    @property
    def expected(self) -> int:
        match self.request.function:
            case 1 | 2:
                return 2 + (self.request.count + 7) // 8
            case 3 | 4 | 23:
                return 2 + 2 * self.request.count
            case 22:
                return 7
            case _:
                return 5

    def encode(self) -> bytes:
        return encode_request(self.request)

    def size(self, head: bytes) -> int | None:
        if not head:
            return None
        size = _head(self.request.function, head)
        if size is not None:
            return size
        if self.request.function in (1, 2, 3, 4, 23) and len(head) > 1 and head[1] != self.expected - 2:
            raise WrongAnswerError(f"{head[1]} bytes of data where {self.expected - 2} were asked for")
        return self.expected

    def decode(self, pdu: bytes) -> tuple[int, ...]:
        request = self.request
        _whole(pdu, self.size(pdu))
        match request.function:
            case 1 | 2:
                return tuple(pdu[2 + at // 8] >> at % 8 & 1 for at in range(request.count))
            case 3 | 4 | 23:
                return struct.unpack(f">{request.count}H", pdu[2:])
            case _:
                # The echo: all of a single write, where and how many of a multiple one.
                if pdu != encode_request(request)[: len(pdu)]:
                    raise WrongAnswerError(f"the echo of function {request.function} differs from the request")
                return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoAsk:
    """Return query data (8/0): what comes back before this very nonce belongs to the past."""

    unit: int
    nonce: bytes
    """Two bytes."""

    @property
    def expected(self) -> int:
        return 5

    def encode(self) -> bytes:
        return bytes((RETURN_QUERY_DATA, 0, 0)) + self.nonce

    def size(self, head: bytes) -> int | None:
        return (_head(RETURN_QUERY_DATA, head) or 5) if head else None

    def decode(self, pdu: bytes) -> None:
        _whole(pdu, self.size(pdu))
        if pdu != self.encode():
            raise WrongAnswerError("another echo than the one asked for")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """One answer of a device about itself."""

    objects: Mapping[int, bytes]
    more: int | None
    """The object to go on with; None when this was the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyAsk:
    """Device identification (43/14), as a stream of objects from `first` on."""

    unit: int
    level: int
    """1 basic, 2 regular, 3 extended."""
    first: int

    @property
    def expected(self) -> int:
        return PDU_BYTES_MAX

    def encode(self) -> bytes:
        return bytes((IDENTIFY, IDENTIFY_TYPE, self.level, self.first))

    def size(self, head: bytes) -> int | None:
        if not head:
            return None
        size = _head(IDENTIFY, head)
        if size is not None or len(head) < 7:
            return size
        if head[1] != IDENTIFY_TYPE:
            raise WrongAnswerError(f"type {head[1]} answered for {IDENTIFY_TYPE}")
        at = 7
        for _ in range(head[6]):
            if len(head) < at + 2:
                return None
            at += 2 + head[at + 1]
            if at > PDU_BYTES_MAX:
                raise WrongAnswerError("an identification longer than an answer can be")
        return at

    def decode(self, pdu: bytes) -> Identification:
        _whole(pdu, self.size(pdu))
        objects: dict[int, bytes] = {}
        at = 7
        for _ in range(pdu[6]):
            objects[pdu[at]] = pdu[at + 2 : at + 2 + pdu[at + 1]]
            at += 2 + pdu[at + 1]
        more = pdu[5] if pdu[4] == 0xFF else None
        if more is not None and more <= max(objects, default=self.first - 1):
            raise WrongAnswerError("an identification that never ends")
        return Identification(objects=objects, more=more)


def _bits(values: Sequence[int]) -> bytes:
    packed = bytearray((len(values) + 7) // 8)
    for at, value in enumerate(values):
        packed[at // 8] |= bool(value) << at % 8
    return bytes(packed)


def _words(values: Sequence[int]) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def encode_request(request: Request) -> bytes:
    """Function code and data of one request."""
    function, address, values = request.function, request.address, request.values
    match function:
        case 1 | 2 | 3 | 4:
            return struct.pack(">BHH", function, address, request.count)
        case 5:
            return struct.pack(">BHH", function, address, COIL_ON if values[0] else 0)
        case 6:
            return struct.pack(">BHH", function, address, values[0])
        case 15:
            data = _bits(values)
            return struct.pack(">BHHB", function, address, len(values), len(data)) + data
        case 16:
            return struct.pack(">BHHB", function, address, len(values), 2 * len(values)) + _words(values)
        case 22:
            return struct.pack(">BHHH", function, address, *values)
        case 23:
            head = (function, address, request.count, request.write_address, len(values), 2 * len(values))
            return struct.pack(">BHHHHB", *head) + _words(values)
        case other:
            raise AssertionError(f"function {other} is never asked for")


# --- the other side: slaves that are played -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request of function 8/0 or 43/14, which read or write no place."""

    unit: int
    function: int
    data: bytes = field(repr=False)


def request_size(head: bytes) -> int | None:
    """How long the request is that begins with `head`, 0 when it is of a function that nobody knows, None when more
    of it is needed to tell."""
    if not head:
        return None
    match head[0]:
        case 1 | 2 | 3 | 4 | 5 | 6 | 8:
            return 5
        case 15 | 16:
            return 6 + head[5] if len(head) > 5 else None
        case 22:
            return 7
        case 23:
            return 10 + head[9] if len(head) > 9 else None
        case 43:
            return 4
        case _:
            return 0


def decode_request(unit: int, pdu: bytes) -> Request | Query:
    """Raises `ExceptionAnswerError` with what a slave has to answer to a request that makes no sense."""
    function = pdu[0]
    size = request_size(pdu)
    if not size:
        raise ExceptionAnswerError(1)
    if size != len(pdu):
        raise ExceptionAnswerError(3)
    if function in (8, 43):
        return Query(unit=unit, function=function, data=pdu[1:])
    address, second = struct.unpack(">HH", pdu[1:5])
    match function:
        case 1 | 2 | 3 | 4:
            _allowed(address, second, 2000 if function < 3 else 125)
            return Request(unit=unit, function=function, address=address, count=second)
        case 5:
            if second not in (0, COIL_ON):
                raise ExceptionAnswerError(3)
            return Request(unit=unit, function=function, address=address, values=(int(second == COIL_ON),))
        case 15:
            _allowed(address, second, 1968)
            if pdu[5] != (second + 7) // 8:
                raise ExceptionAnswerError(3)
            bits = tuple(pdu[6 + at // 8] >> at % 8 & 1 for at in range(second))
            return Request(unit=unit, function=function, address=address, values=bits)
        case 16:
            _allowed(address, second, 123)
            return Request(unit=unit, function=function, address=address, values=_given(pdu[6:], pdu[5], second))
        case 22:
            return Request(
                unit=unit, function=function, address=address, values=(second, int.from_bytes(pdu[5:7], "big"))
            )
        case 23:
            write_address, many = struct.unpack(">HH", pdu[5:9])
            _allowed(address, second, 125)
            _allowed(write_address, many, 121)
            return Request(
                unit=unit, function=function, address=address, count=second,
                values=_given(pdu[10:], pdu[9], many), write_address=write_address,
            )  # fmt: skip
        case _:
            return Request(unit=unit, function=function, address=address, values=(second,))


def _allowed(address: int, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ExceptionAnswerError(3)
    if address + count > 0x10000:
        raise ExceptionAnswerError(2)


def _given(data: bytes, size: int, count: int) -> tuple[int, ...]:
    if size != 2 * count or len(data) != size:
        raise ExceptionAnswerError(3)
    return struct.unpack(f">{count}H", data)


def encode_answer(request: Request, values: Sequence[int] = ()) -> bytes:
    """A slave's answer: the values read, or the echo of what was written."""
    match request.function:
        case 1 | 2:
            data = _bits(values)
        case 3 | 4 | 23:
            data = _words(values)
        case _:
            return encode_request(request)[: 7 if request.function == 22 else 5]
    return bytes((request.function, len(data))) + data


def encode_exception(function: int, code: int) -> bytes:
    return bytes((function & 0x7F | ERROR_BIT, code))


def encode_identification(level: int, objects: Mapping[int, bytes]) -> bytes:
    """A slave's answer to 43/14 that fits into one."""
    held = sorted(objects.items())
    body = b"".join(bytes((number, len(text))) + text for number, text in held)
    return bytes((IDENTIFY, IDENTIFY_TYPE, level, 0x80 | level, 0, 0, len(held))) + body
