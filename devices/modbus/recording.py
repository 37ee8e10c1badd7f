"""Recordings of lines: what was said, byte for byte, as a file that anyone can read and play again.

Pure. A recording is a text file of JSON lines. The first says what it is: `{"skerryBusRecording": 1, "line": "...",
"framing": "tcp"}`; each other is one piece of what went over the line: `{"t": 12.345, "way": ">", "hex": "..."}`,
with seconds since the start, `>` for requests and `<` for answers. docs/reference/bus-recordings.md describes it.

Played back, a request is answered as it was: with the answer that followed the same request in the recording, the
first time with the first of them, and so on; after the last the last again. What was never answered stays so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, cast

from devices.bus import WrongAnswerError
from devices.modbus.frames import FRAMINGS, Framing, FramingName
from skerry.errors import InvalidError
from skerry.frozen import Frozen

VERSION: Final = 1
FIRST: Final = "skerryBusRecording"
PIECES_MAX: Final = 1_000_000


class Piece(Frozen):
    """Bytes that went one way at one time."""

    at_s: float
    way: Literal[">", "<"]
    data: bytes


class Recording(Frozen):
    """All of a file."""

    line: str
    framing: FramingName
    pieces: tuple[Piece, ...]


def first_line(line: str, framing: FramingName) -> str:
    return json.dumps({FIRST: VERSION, "line": line, "framing": framing})


def piece_line(piece: Piece) -> str:
    return json.dumps({"t": round(piece.at_s, 6), "way": piece.way, "hex": piece.data.hex()})


def read_recording(lines: Iterable[str]) -> Recording:
    """Raises `InvalidError` that names the line. A last line that was cut off, as by a power cut, is passed over."""
    every = [text for text in lines if text.strip()]
    head = _object(every[0], 1) if every else {}
    if head.get(FIRST) != VERSION or head.get("framing") not in FRAMINGS:
        raise InvalidError(f'line 1: no recording of a bus: it begins with {{"{FIRST}": {VERSION}, ...}}')
    if len(every) > PIECES_MAX:
        raise InvalidError(f"more than {PIECES_MAX} lines")
    return Recording(line=str(head.get("line", "")), framing=head["framing"], pieces=tuple(_pieces(every)))


def _pieces(every: list[str]) -> Iterator[Piece]:
    for number, text in enumerate(every[1:], start=2):
        try:
            entry = _object(text, number)
            way = entry["way"]
            if way not in (">", "<"):
                raise ValueError(f"way is {way!r}")
            yield Piece(at_s=float(entry["t"]), way=way, data=bytes.fromhex(entry["hex"]))
        except (KeyError, TypeError, ValueError, InvalidError) as error:
            if number == len(every):
                return
            raise InvalidError(f"line {number}: {error}") from error


def _object(text: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidError(f"line {number}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidError(f"line {number}: no object")
    return cast("dict[str, Any]", found)


class Replay:
    """A recording as a slave."""

    def __init__(self, recording: Recording) -> None:
        framing = FRAMINGS[recording.framing]()
        self._answers: dict[tuple[int, bytes], list[bytes | None]] = {}
        self._asked: dict[tuple[int, bytes], int] = {}
        for unit, pdu, answer in _exchanges(recording, framing):
            self._answers.setdefault((unit, pdu), []).append(answer)
        self.unknown = 0
        """Requests that the recording has not."""

    @property
    def requests(self) -> int:
        """Different ones that are known."""
        return len(self._answers)

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """As `Slave.answer`."""
        known = self._answers.get((unit, pdu))
        if known is None:
            self.unknown += 1
            return None
        turn = self._asked.get((unit, pdu), 0)
        self._asked[unit, pdu] = turn + 1
        return known[min(turn, len(known) - 1)]


def _exchanges(recording: Recording, framing: Framing) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Each request with its answer; None where none came that was whole."""
    waiting: tuple[int, bytes, int] | None = None
    asked, answered = bytearray(), bytearray()
    for piece in recording.pieces:
        if piece.way == ">":
            if waiting is not None:
                yield waiting[0], waiting[1], None
                asked.clear()
            asked += piece.data
            answered.clear()
            waiting = _request(framing, bytes(asked))
            if waiting is not None:
                asked.clear()
            continue
        answered += piece.data
        if waiting is None:
            asked.clear()
            continue
        unit, request, transaction = waiting
        answer = answer_in(framing, bytes(answered), unit, request, transaction)
        if answer is not None:
            yield unit, request, answer
            waiting = None
    if waiting is not None:
        yield waiting[0], waiting[1], None


def _request(framing: Framing, data: bytes) -> tuple[int, bytes, int] | None:
    try:
        taken = framing.take_request(data)
    except WrongAnswerError:
        return None
    return None if taken is None else (taken.unit, taken.pdu, taken.transaction)


class _AnyAnswer(Frozen, kw_only=False):
    """An `Ask` that takes what is whole: a recording keeps also what was wrong."""

    unit: int
    function: int
    length: int

    @property
    def expected(self) -> int:
        return self.length

    def encode(self) -> bytes:
        return b""

    def size(self, head: bytes) -> int | None:
        return self.length

    def decode(self, pdu: bytes) -> bytes:
        return pdu


def answer_in(framing: Framing, data: bytes, unit: int, request: bytes, transaction: int) -> bytes | None:
    """The answer that these bytes are, if they are one undamaged frame of this unit."""
    if not data or not framing.is_intact(data):
        return None
    length = (len(data) - 5) // 2 - 1 if framing.name == "ascii" else len(data) - framing.around
    try:
        taken = framing.take(_AnyAnswer(unit, request[0], length), transaction, data)
    except WrongAnswerError:
        return None
    return None if taken is None else taken.pdu
