"""Requests and answers as bytes, without what frames them: pymodbus's messages, and the laws that we hold them to.

Pure. The one module that knows pymodbus, and of it the messages alone (`pymodbus.pdu`): its fields, their order and
their packing. Its clients, framers and its decoder of whole answers have no part in this
(docs/decisions/0241-modbus-is-framed-by-us.md).

Every answer is judged against its request here before its message is read, and after: function, byte count, number
of registers or bits, and for a write the echo, byte by byte. What differs in anything is `WrongAnswerError`, and no
value.
Functions 1 to 6, 15, 16, 22, 23 (Modbus Application Protocol 1.1b3, 6), 8/0 (return query data) and 43/14 (device
identification); the other side, requests read and answers made, is for slaves that are played.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from pymodbus.exceptions import ModbusException
from pymodbus.pdu import bit_message as bits
from pymodbus.pdu import register_message as registers
from pymodbus.pdu.diag_message import ReturnQueryDataRequest
from pymodbus.pdu.exceptionresponse import ExceptionResponse
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse
from pymodbus.pdu.pdu import ModbusPDU

from devices.bus import ExceptionAnswerError, Request, WrongAnswerError
from devices.modbus.asks import ERROR_BIT, PDU_BYTES_MAX, request_size
from skerry.frozen import Frozen

COIL_ON: Final = 0xFF00
RETURN_QUERY_DATA: Final = 8
IDENTIFY: Final = 43
IDENTIFY_TYPE: Final = 14
"""MEI type of device identification."""
OBJECT_BYTES_MAX: Final = PDU_BYTES_MAX - 9
"""Of one object of an identification, which has to fit into one answer."""

READERS: Final[dict[int, type[ModbusPDU]]] = {
    1: bits.ReadCoilsRequest,
    2: bits.ReadDiscreteInputsRequest,
    3: registers.ReadHoldingRegistersRequest,
    4: registers.ReadInputRegistersRequest,
}
READ: Final[dict[int, type[ModbusPDU]]] = {
    1: bits.ReadCoilsResponse,
    2: bits.ReadDiscreteInputsResponse,
    3: registers.ReadHoldingRegistersResponse,
    4: registers.ReadInputRegistersResponse,
    23: registers.ReadWriteMultipleRegistersResponse,
}
"""Answers that hold values."""

UNREADABLE: Final = (ModbusException, ValueError, IndexError, KeyError, TypeError, struct.error)
"""What a message of pymodbus raises for bytes that it can't read."""


def _packed(message: ModbusPDU) -> bytes:
    return bytes((message.function_code,)) + message.encode()


def _read(message: ModbusPDU, pdu: bytes) -> None:
    """Fill it. Raises `WrongAnswerError`."""
    try:
        message.decode(pdu[1:])
    except UNREADABLE as error:
        raise WrongAnswerError(f"an answer of function {pdu[0]} that can't be read: {error}") from error


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
    """An answer of the right size that is no exception."""
    if size != len(pdu):
        raise WrongAnswerError(f"an answer of {len(pdu)} bytes where {size or 'more'} were due")
    if pdu[0] & ERROR_BIT:
        refusal = ExceptionResponse(pdu[0] & ~ERROR_BIT)
        _read(refusal, pdu)
        raise ExceptionAnswerError(refusal.exception_code)


class DataAsk(Frozen, kw_only=False):
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
        if self.request.function in READ and len(head) > 1 and head[1] != self.expected - 2:
            raise WrongAnswerError(f"{head[1]} bytes of data where {self.expected - 2} were asked for")
        return self.expected

    def decode(self, pdu: bytes) -> tuple[int, ...]:
        request = self.request
        _whole(pdu, self.size(pdu))
        made = READ.get(request.function)
        if made is None:
            # The echo: all of a single write, where and how many of a multiple one. It is compared as bytes, as
            # pymodbus reads any number for a coil that is on.
            if pdu != encode_request(request)[: len(pdu)]:
                raise WrongAnswerError(f"the echo of function {request.function} differs from the request")
            return ()
        answer = made()
        _read(answer, pdu)
        # Bits come in whole bytes; what is over is filling.
        values = [int(bit) for bit in answer.bits[: request.count]] if request.function < 3 else answer.registers
        if len(values) != request.count:
            raise WrongAnswerError(f"{len(values)} values where {request.count} were asked for")
        return tuple(values)


class EchoAsk(Frozen):
    """Return query data (8/0): what comes back before this very nonce belongs to the past."""

    unit: int
    nonce: bytes
    """Two bytes."""

    @property
    def expected(self) -> int:
        return 5

    def encode(self) -> bytes:
        return _packed(ReturnQueryDataRequest(self.nonce))

    def size(self, head: bytes) -> int | None:
        return (_head(RETURN_QUERY_DATA, head) or 5) if head else None

    def decode(self, pdu: bytes) -> None:
        _whole(pdu, self.size(pdu))
        if pdu != self.encode():
            raise WrongAnswerError("another echo than the one asked for")


class Identification(Frozen):
    """One answer of a device about itself."""

    objects: Mapping[int, bytes]
    more: int | None
    """The object to go on with; None when this was the last."""


class IdentifyAsk(Frozen):
    """Device identification (43/14), as a stream of objects from `first` on."""

    unit: int
    level: int
    """1 basic, 2 regular, 3 extended."""
    first: int

    @property
    def expected(self) -> int:
        return PDU_BYTES_MAX

    def encode(self) -> bytes:
        return _packed(ReadDeviceInformationRequest(self.level, self.first))

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
        # pymodbus takes an object that is cut for a shorter one: the size, counted object by object, shows it.
        _whole(pdu, self.size(pdu))
        answer = ReadDeviceInformationResponse()
        _read(answer, pdu)
        objects: dict[int, bytes] = {
            # Of an object that is there more than once, the last.
            number: text[-1] if isinstance(text, list) else text
            for number, text in answer.information.items()
        }
        more = answer.next_object_id if answer.more_follows == 0xFF else None
        if more is not None and more <= max(objects, default=self.first - 1):
            raise WrongAnswerError("an identification that never ends")
        return Identification(objects=objects, more=more)


def _message(request: Request) -> ModbusPDU:
    """The message that makes this request."""
    function, address, values = request.function, request.address, request.values
    match function:
        case 1 | 2 | 3 | 4:
            return READERS[function](address=address, count=request.count)
        case 5:
            return bits.WriteSingleCoilRequest(address=address, bits=[bool(values[0])])
        case 6:
            return registers.WriteSingleRegisterRequest(address=address, registers=values)
        case 15:
            return bits.WriteMultipleCoilsRequest(address=address, bits=[bool(value) for value in values])
        case 16:
            return registers.WriteMultipleRegistersRequest(address=address, registers=values)
        case 22:
            return registers.MaskWriteRegisterRequest(address=address, and_mask=values[0], or_mask=values[1])
        case 23:
            return registers.ReadWriteMultipleRegistersRequest(
                read_address=address, read_count=request.count, write_address=request.write_address,
                write_registers=values,
            )  # fmt: skip
        case other:
            raise AssertionError(f"function {other} is never asked for")


def encode_request(request: Request) -> bytes:
    """Function code and data of one request."""
    return _packed(_message(request))


# --- the other side: slaves that are played -------------------------------------------------------------------


class Query(Frozen, hidden=("data",)):
    """A request of function 8/0 or 43/14, which read or write no place."""

    unit: int
    function: int
    data: bytes
    """What to return."""
    level: int = 0
    """Of an identification: 1 basic, 2 regular, 3 extended, 4 one object."""
    first: int = 0


def decode_request(unit: int, pdu: bytes) -> Request | Query:
    """Raises `ExceptionAnswerError` with what a slave has to answer to a request that makes no sense."""
    size = request_size(pdu)
    if not size:
        raise ExceptionAnswerError(1)
    if size != len(pdu):
        raise ExceptionAnswerError(3)
    try:
        return _decoded(unit, pdu)
    except UNREADABLE as error:
        raise ExceptionAnswerError(3) from error


def _decoded(unit: int, pdu: bytes) -> Request | Query:
    function, data = pdu[0], pdu[1:]
    match function:
        case 1 | 2 | 3 | 4:
            message = READERS[function]()
            message.decode(data)
            _allowed(message.address, message.count, 2000 if function < 3 else 125)
            return Request(unit=unit, function=function, address=message.address, count=message.count)
        case 5:
            if pdu[3:] not in (b"\x00\x00", COIL_ON.to_bytes(2, "big")):
                raise ExceptionAnswerError(3)  # pymodbus takes any number for on
            message = bits.WriteSingleCoilRequest()
            message.decode(data)
            return Request(unit=unit, function=5, address=message.address, values=(int(message.bits[0]),))
        case 6:
            message = registers.WriteSingleRegisterRequest()
            message.decode(data)
            return Request(unit=unit, function=6, address=message.address, values=tuple(message.registers))
        case 15:
            coils = bits.WriteMultipleCoilsRequest()
            coils.decode(data)
            _allowed(coils.address, coils.count, 1968)
            _given(coils.byte_count, (coils.count + 7) // 8, data[5:])
            return Request(unit=unit, function=15, address=coils.address, values=tuple(map(int, coils.bits)))
        case 16:
            words = registers.WriteMultipleRegistersRequest()
            words.decode(data)
            _allowed(words.address, words.count, 123)
            _given(words.byte_count, 2 * words.count, data[5:])
            return Request(unit=unit, function=16, address=words.address, values=tuple(words.registers))
        case 22:
            mask = registers.MaskWriteRegisterRequest()
            mask.decode(data)
            return Request(unit=unit, function=22, address=mask.address, values=(mask.and_mask, mask.or_mask))
        case 23:
            return _both(unit, data)
        case 8:
            query = ReturnQueryDataRequest()
            query.decode(data)
            if query.sub_function_code != 0:
                raise ExceptionAnswerError(1)  # a counter or a mode, which nobody plays
            return Query(unit=unit, function=8, data=data[2:])
        case _:
            who = ReadDeviceInformationRequest()
            who.decode(data)
            if who.sub_function_code != IDENTIFY_TYPE:
                raise ExceptionAnswerError(1)
            return Query(unit=unit, function=IDENTIFY, data=b"", level=who.read_code, first=who.object_id)


def _both(unit: int, data: bytes) -> Request:
    """Function 23."""
    message = registers.ReadWriteMultipleRegistersRequest()
    message.decode(data)
    _allowed(message.read_address, message.read_count, 125)
    _allowed(message.write_address, message.write_count, 121)
    _given(message.write_byte_count, 2 * message.write_count, data[9:])
    return Request(
        unit=unit, function=23, address=message.read_address, count=message.read_count,
        values=tuple(message.write_registers), write_address=message.write_address,
    )  # fmt: skip


def _allowed(address: int, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ExceptionAnswerError(3)
    if address + count > 0x10000:
        raise ExceptionAnswerError(2)


def _given(told: int | None, due: int, data: bytes) -> None:
    """The byte count of what is to be written, as told, as due, and as it is."""
    if told != due or len(data) != due:
        raise ExceptionAnswerError(3)


def encode_answer(request: Request, values: Sequence[int] = ()) -> bytes:
    """A slave's answer: the values read, or the echo of what was written."""
    match request.function:
        case 1 | 2:
            return _packed(READ[request.function](bits=[bool(value) for value in values]))
        case 3 | 4 | 23:
            return _packed(READ[request.function](registers=values))
        case 15:
            return _packed(bits.WriteMultipleCoilsResponse(address=request.address, count=len(request.values)))
        case 16:
            return _packed(
                registers.WriteMultipleRegistersResponse(address=request.address, count=len(request.values))
            )
        case _:
            return encode_request(request)


def encode_echo(query: Query) -> bytes:
    """A slave's answer to 8/0."""
    return _packed(ReturnQueryDataRequest(query.data))


def encode_exception(function: int, code: int) -> bytes:
    """A slave's refusal."""
    return _packed(ExceptionResponse(function & ~ERROR_BIT, code))


def encode_identification(level: int, objects: Mapping[int, bytes], *, conformity: int) -> bytes:
    """A slave's answer to 43/14: of these objects as many as fit, and which is the next. None is longer than
    `OBJECT_BYTES_MAX`."""
    answer = ReadDeviceInformationResponse(level, dict(sorted(objects.items())))
    answer.conformity = conformity
    return _packed(answer)
