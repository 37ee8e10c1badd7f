"""Recordings, and slaves made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.modbus.frames import FRAMINGS, FramingName
from devices.modbus.recording import Piece, Recording, Replay, first_line, piece_line, read_recording
from skerry.errors import InvalidError

READ = bytes.fromhex("0300070001")
SEVEN, EIGHT = bytes.fromhex("03020007"), bytes.fromhex("03020008")


def recorded(name: FramingName, *said: tuple[str, bytes]) -> Recording:
    framing = FRAMINGS[name]()
    pieces = [
        Piece(at_s=at, way=way, data=framing.encode(1, pdu, at // 2))  # pyright: ignore[reportArgumentType]
        for at, (way, pdu) in enumerate(said)
    ]
    return Recording(line="plc", framing=name, pieces=tuple(pieces))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("<>"), st.binary(max_size=20)), max_size=10))
def test_a_recording_is_read_as_it_was_written(said: list[tuple[int, str, bytes]]) -> None:
    pieces = tuple(Piece(at_s=at / 1000, way=way, data=data) for at, way, data in said)  # pyright: ignore
    lines = [first_line("plc:502", "tcp"), *map(piece_line, pieces)]
    assert read_recording(lines) == Recording(line="plc:502", framing="tcp", pieces=pieces)
    cut = [*lines, '{"t": 1.5, "wa']
    assert read_recording(cut).pieces == pieces, "a line that a power cut left half is passed over"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no recording of a bus"),
        (["{}"], "no recording of a bus"),
        (["nonsense"], "line 1: not JSON"),
        ([first_line("x", "tcp"), "{}", piece_line(Piece(at_s=0, way=">", data=b""))], "line 2"),
    ],
)
def test_what_is_no_recording_is_refused(lines: list[str], says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        read_recording(lines)


@pytest.mark.parametrize("name", ["tcp", "rtu", "ascii"])
def test_each_request_is_answered_as_it_was_in_turn_and_at_the_end_as_last(name: FramingName) -> None:
    played = Replay(recorded(name, (">", READ), ("<", SEVEN), (">", READ), ("<", EIGHT)))
    assert played.requests == 1
    assert [played.answer(1, READ) for _ in range(3)] == [SEVEN, EIGHT, EIGHT]
    assert played.answer(2, READ) is None and played.unknown == 1


@pytest.mark.parametrize("name", ["tcp", "rtu", "ascii"])
def test_what_was_silent_or_damaged_is_silent_again(name: FramingName) -> None:
    made = recorded(name, (">", READ), (">", READ), ("<", SEVEN))
    damaged = made.pieces[2]
    half = Piece(at_s=3, way="<", data=damaged.data[:-1])
    played = Replay(Recording(line="plc", framing=name, pieces=(*made.pieces[:2], half)))
    assert [played.answer(1, READ) for _ in range(2)] == [None, None]


def test_pieces_of_one_frame_are_put_together() -> None:
    whole = recorded("tcp", (">", READ), ("<", SEVEN))
    pieces = tuple(
        Piece(at_s=piece.at_s, way=piece.way, data=bytes((byte,))) for piece in whole.pieces for byte in piece.data
    )
    assert Replay(Recording(line="plc", framing="tcp", pieces=pieces)).answer(1, READ) == SEVEN
