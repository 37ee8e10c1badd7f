"""How requests and answers are framed on a line: Modbus TCP, RTU and ASCII.

Pure. Ours, because nothing may be taken for an answer that is not one (docs/decisions/0241): a frame begins with the
first byte that arrives after the request, its length is known from the request, and a byte too many makes it wrong.
No framing hunts for something that looks like a frame in what a line has left over.

Sources: MODBUS Messaging on TCP/IP Implementation Guide 1.0b, 3.1.3; MODBUS over Serial Line 1.02, 2.5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

from devices.bus import WrongAnswerError
from devices.modbus.asks import PDU_BYTES_MAX, Ask, request_size
from skerry.frozen import Frozen

FramingName = Literal["tcp", "rtu", "ascii"]

WAITING_BYTES_MAX: Final = 8192
"""Frames of other transactions that may come before ours; a peer that sends more has lost its senses."""


class Taken(Frozen, kw_only=False):
    """An answer found in what arrived."""

    pdu: bytes
    used: int
    """Bytes of the buffer that are done with."""


class TakenRequest(Frozen):
    """A request found by a slave in what arrived."""

    unit: int
    pdu: bytes
    transaction: int
    used: int


class Framing(Protocol):
    """One way to put requests on a line."""

    name: FramingName
    has_ids: bool
    """Answers name the request that they are to."""
    around: int
    """Bytes about a request or an answer; in ASCII every byte of it is two."""

    def encode(self, unit: int, pdu: bytes, transaction: int) -> bytes: ...

    def take(self, ask: Ask[Any], transaction: int, buffer: bytes | bytearray) -> Taken | None:
        """The answer in `buffer`, or None while it is not whole. Raises `WrongAnswerError` as soon as it can't be
        the answer."""
        ...

    def is_intact(self, frame: bytes) -> bool:
        """These bytes are one undamaged frame, whosever it is."""
        ...

    def take_request(self, buffer: bytes | bytearray) -> TakenRequest | None:
        """For a slave: None while it is not whole. Raises `WrongAnswerError` for what is no request."""
        ...


class TcpFraming:
    """A header of seven bytes, with a transaction id."""

    name: FramingName = "tcp"
    has_ids = True
    around = 7

    def encode(self, unit: int, pdu: bytes, transaction: int) -> bytes:
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu

    def take(self, ask: Ask[Any], transaction: int, buffer: bytes | bytearray) -> Taken | None:
        at = 0
        while len(buffer) - at >= 7:
            number, protocol, length, unit = struct.unpack_from(">HHHB", buffer, at)
            if protocol != 0 or not 2 <= length <= PDU_BYTES_MAX + 1:
                raise WrongAnswerError(f"0x{bytes(buffer[at : at + 7]).hex()} is no Modbus TCP header")
            end = at + 6 + length
            if len(buffer) < end:
                break
            if number == transaction:
                if unit != ask.unit:
                    raise WrongAnswerError(f"unit {unit} answered for unit {ask.unit}")
                pdu = bytes(buffer[at + 7 : end])
                if ask.size(pdu) != len(pdu):
                    raise WrongAnswerError(f"an answer of {len(pdu)} bytes where {ask.size(pdu) or 'more'} were due")
                return Taken(pdu, end)
            at = end  # to an earlier request: the id says so, and nobody waits for it
        if len(buffer) > WAITING_BYTES_MAX:
            raise WrongAnswerError("answers to requests that were never made")
        return None

    def is_intact(self, frame: bytes) -> bool:
        return len(frame) >= 8 and len(frame) == 6 + int.from_bytes(frame[4:6], "big")

    def take_request(self, buffer: bytes | bytearray) -> TakenRequest | None:
        if len(buffer) < 8:
            return None
        number, protocol, length, unit = struct.unpack_from(">HHHB", buffer)
        if protocol != 0 or not 2 <= length <= PDU_BYTES_MAX + 1:
            raise WrongAnswerError("no Modbus TCP header")
        end = 6 + length
        if len(buffer) < end:
            return None
        return TakenRequest(unit=unit, pdu=bytes(buffer[7:end]), transaction=number, used=end)


def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc16(data: bytes) -> bytes:
    """Two bytes as they are on the line, the low one first (2.5.1.2)."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def lrc(data: bytes) -> int:
    """The two's complement of the sum (2.5.2.2)."""
    return -sum(data) & 0xFF


class RtuFraming:
    """Unit, request or answer, CRC; frames are told apart by silence alone."""

    name: FramingName = "rtu"
    has_ids = False
    around = 3

    def encode(self, unit: int, pdu: bytes, transaction: int) -> bytes:
        frame = bytes((unit,)) + pdu
        return frame + crc16(frame)

    def take(self, ask: Ask[Any], transaction: int, buffer: bytes | bytearray) -> Taken | None:
        if not buffer:
            return None
        _same_unit(buffer[0], ask)
        size = ask.size(bytes(buffer[1:]))
        end = PDU_BYTES_MAX + 3 if size is None else size + 3
        if len(buffer) > end:
            raise WrongAnswerError(f"{len(buffer) - end} bytes more than the answer")
        if size is None or len(buffer) < end:
            return None
        frame = bytes(buffer)
        if crc16(frame[:-2]) != frame[-2:]:
            raise WrongAnswerError("an answer with a wrong checksum")
        return Taken(frame[1:-2], end)

    def is_intact(self, frame: bytes) -> bool:
        return len(frame) >= 4 and crc16(frame[:-2]) == frame[-2:]

    def take_request(self, buffer: bytes | bytearray) -> TakenRequest | None:
        size = request_size(bytes(buffer[1:]))
        if size is None:
            return None
        if size == 0:
            # A function that nobody knows: its end is where the line falls silent.
            frame = bytes(buffer)
            if not self.is_intact(frame):
                return None
            return TakenRequest(unit=frame[0], pdu=frame[1:-2], transaction=0, used=len(frame))
        if len(buffer) < size + 3:
            return None
        frame = bytes(buffer[: size + 3])
        if crc16(frame[:-2]) != frame[-2:]:
            raise WrongAnswerError("a request with a wrong checksum")
        return TakenRequest(unit=frame[0], pdu=frame[1:-2], transaction=0, used=len(frame))


class AsciiFraming:
    """A colon, two hexadecimal digits a byte, LRC, carriage return and line feed."""

    name: FramingName = "ascii"
    has_ids = False
    around = 7

    def encode(self, unit: int, pdu: bytes, transaction: int) -> bytes:
        frame = bytes((unit,)) + pdu
        return b":" + (frame + bytes((lrc(frame),))).hex().upper().encode() + b"\r\n"

    def take(self, ask: Ask[Any], transaction: int, buffer: bytes | bytearray) -> Taken | None:
        found = self._frame(buffer)
        if found is None:
            return None
        frame, used = found
        if len(buffer) > used:
            raise WrongAnswerError(f"{len(buffer) - used} characters more than the answer")
        _same_unit(frame[0], ask)
        pdu = frame[1:-1]
        if ask.size(pdu) != len(pdu):
            raise WrongAnswerError(f"an answer of {len(pdu)} bytes where {ask.size(pdu) or 'more'} were due")
        return Taken(pdu, used)

    def is_intact(self, frame: bytes) -> bool:
        try:
            found = self._frame(frame)
        except WrongAnswerError:
            return False
        return found is not None and found[1] == len(frame)

    def take_request(self, buffer: bytes | bytearray) -> TakenRequest | None:
        found = self._frame(buffer)
        if found is None:
            return None
        frame, used = found
        return TakenRequest(unit=frame[0], pdu=frame[1:-1], transaction=0, used=used)

    def _frame(self, buffer: bytes | bytearray) -> tuple[bytes, int] | None:
        if not buffer:
            return None
        text = bytes(buffer)
        if text[:1] != b":":
            raise WrongAnswerError(f"0x{text[:8].hex()} does not begin with a colon")
        end = text.find(b"\r\n")
        if end < 0:
            if len(text) > 2 * PDU_BYTES_MAX + 7:
                raise WrongAnswerError("an answer longer than any can be")
            return None
        try:
            frame = bytes.fromhex(text[1:end].decode("ascii"))
        except (ValueError, UnicodeDecodeError) as error:
            raise WrongAnswerError("characters that are no hexadecimal digits") from error
        # `fromhex` overlooks blanks, which no frame has.
        if len(frame) < 3 or 2 * len(frame) != end - 1 or lrc(frame[:-1]) != frame[-1]:
            raise WrongAnswerError("an answer with a wrong checksum")
        return frame, end + 2


def _same_unit(unit: int, ask: Ask[Any]) -> None:
    if unit != ask.unit:
        raise WrongAnswerError(f"unit {unit} answered for unit {ask.unit}")


FRAMINGS: Final[dict[FramingName, Callable[[], Framing]]] = {
    "tcp": TcpFraming,
    "rtu": RtuFraming,
    "ascii": AsciiFraming,
}
