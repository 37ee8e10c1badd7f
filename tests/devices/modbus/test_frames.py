"""Frames: what goes out is what the specification shows, and nothing else than an answer is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.bus import Request, WrongAnswerError
from devices.modbus.asks import request_size
from devices.modbus.frames import FRAMINGS, AsciiFraming, FramingName, RtuFraming, TcpFraming, crc16
from devices.modbus.pdu import DataAsk, decode_request, encode_answer, encode_request
from tests.devices.modbus.questions import requests


@given(requests(), st.sampled_from(("tcp", "rtu", "ascii")), st.integers(0, 0xFFFF))
def test_a_request_comes_to_the_slave_as_it_was_and_its_answer_back(
    pair: tuple[Request, tuple[int, ...]], name: FramingName, transaction: int
) -> None:
    request, values = pair
    framing, ask = FRAMINGS[name](), DataAsk(request)
    frame = framing.encode(request.unit, ask.encode(), transaction)
    taken = framing.take_request(frame)
    assert taken is not None and taken.used == len(frame)
    assert decode_request(taken.unit, taken.pdu) == request
    answer = framing.encode(taken.unit, encode_answer(request, values), taken.transaction)
    for cut in range(len(answer)):
        assert framing.take(ask, transaction, answer[:cut]) is None
    whole = framing.take(ask, transaction, answer)
    assert whole is not None and whole.used == len(answer)
    assert ask.decode(whole.pdu) == values
    assert framing.is_intact(answer) and not framing.is_intact(answer[:-1])
    assert len(ask.encode()) == request_size(ask.encode())


@given(requests(), st.sampled_from(("rtu", "ascii")), st.data())
def test_no_damage_gives_a_value(
    pair: tuple[Request, tuple[int, ...]], name: FramingName, data: st.DataObject
) -> None:
    request, values = pair
    framing, ask = FRAMINGS[name](), DataAsk(request)
    answer = bytearray(framing.encode(request.unit, encode_answer(request, values), 0))
    at = data.draw(st.integers(0, len(answer) - 1))
    answer[at] ^= data.draw(st.integers(1, 255))
    if name == "ascii" and bytes(answer).upper() == framing.encode(request.unit, encode_answer(request, values), 0):
        return  # the same digits in small letters
    try:
        taken = framing.take(ask, 0, bytes(answer))
    except WrongAnswerError:
        return
    assert taken is None


@given(requests(), requests(), st.sampled_from(("rtu", "ascii")))
def test_the_answer_to_another_request_is_taken_only_where_nothing_tells_them_apart(
    asked: tuple[Request, tuple[int, ...]], other: tuple[Request, tuple[int, ...]], name: FramingName
) -> None:
    request, (foreign, values) = asked[0], other
    framing, ask = FRAMINGS[name](), DataAsk(request)
    try:
        taken = framing.take(ask, 0, framing.encode(foreign.unit, encode_answer(foreign, values), 0))
        got = None if taken is None else ask.decode(taken.pdu)
    except WrongAnswerError:
        return
    if got is not None:
        same = (request.unit, request.function) == (foreign.unit, foreign.function)
        assert same and ask.expected == DataAsk(foreign).expected


def test_the_examples_of_the_specifications() -> None:
    read = Request(unit=0x11, function=3, address=0x6B, count=3)
    assert encode_request(read).hex() == "03006b0003"
    assert RtuFraming().encode(0x11, encode_request(read), 0).hex() == "1103006b00037687"
    assert AsciiFraming().encode(0x11, encode_request(read), 0) == b":1103006B00037E\r\n"
    assert TcpFraming().encode(0x11, encode_request(read), 1).hex() == "0001000000061103006b0003"
    assert crc16(b"\x02\x07").hex() == "4112"


def test_answers_under_other_transactions_are_passed_over() -> None:
    ask = DataAsk(Request(unit=1, function=3, address=0))
    framing = TcpFraming()
    late, mine = framing.encode(1, b"\x03\x02\x00\x63", 6), framing.encode(1, b"\x03\x02\x00\x07", 7)
    taken = framing.take(ask, 7, late + mine)
    assert taken is not None and ask.decode(taken.pdu) == (7,) and taken.used == len(late + mine)
    with pytest.raises(WrongAnswerError, match="answers to requests that were never made"):
        framing.take(ask, 7, late * 1000)


@pytest.mark.parametrize("name", ["rtu", "ascii"])
def test_an_answer_with_more_after_it_is_none(name: FramingName) -> None:
    framing, ask = FRAMINGS[name](), DataAsk(Request(unit=1, function=3, address=0))
    answer = framing.encode(1, b"\x03\x02\x00\x07", 0)
    with pytest.raises(WrongAnswerError, match="more than the answer"):
        framing.take(ask, 0, answer + answer)
