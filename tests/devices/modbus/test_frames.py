"""Frames: what goes out is what the specification shows, and nothing else than an answer is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.bus import ExceptionAnswerError, Request, WrongAnswerError
from devices.modbus.frames import FRAMINGS, AsciiFraming, FramingName, RtuFraming, TcpFraming, crc16
from devices.modbus.pdu import (
    DataAsk,
    EchoAsk,
    IdentifyAsk,
    Query,
    decode_request,
    encode_answer,
    encode_exception,
    encode_identification,
    encode_request,
    request_size,
)

WORDS = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=121).map(tuple)
BITS = st.lists(st.integers(0, 1), min_size=1, max_size=1968).map(tuple)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Request, tuple[int, ...]]:
    """A request, and what a slave would read for it."""
    function = draw(st.sampled_from((1, 2, 3, 4, 5, 6, 15, 16, 22, 23)))
    address, unit = draw(st.integers(0, 60_000)), draw(st.integers(1, 247))
    match function:
        case 1 | 2:
            values = draw(BITS)
            return Request(unit=unit, function=function, address=address, count=len(values)), values
        case 3 | 4:
            values = draw(WORDS)
            return Request(unit=unit, function=function, address=address, count=len(values)), values
        case 5:
            return Request(unit=unit, function=5, address=address, values=(draw(st.integers(0, 1)),)), ()
        case 15:
            return Request(unit=unit, function=15, address=address, values=draw(BITS)), ()
        case 22:
            masks = (draw(st.integers(0, 0xFFFF)), draw(st.integers(0, 0xFFFF)))
            return Request(unit=unit, function=22, address=address, values=masks), ()
        case 23:
            values = draw(WORDS)
            request = Request(
                unit=unit, function=23, address=address, count=len(values), values=draw(WORDS), write_address=7
            )
            return request, values
        case _:
            words = draw(WORDS)
            return Request(
                unit=unit, function=function, address=address, values=words[: 1 if function == 6 else 121]
            ), ()


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
    got = DataAsk(read).decode(bytes.fromhex("0306022b00000064"))
    assert got == (555, 0, 100)
    coils = Request(unit=1, function=15, address=0x13, values=(1, 0, 1, 1, 0, 0, 1, 1, 1, 0))
    assert encode_request(coils).hex() == "0f0013000a02cd01"
    mask = Request(unit=1, function=22, address=4, values=(0xF2, 0x25))
    assert encode_request(mask).hex() == "16000400f20025"
    both = Request(unit=1, function=23, address=3, count=6, values=(255, 255, 255), write_address=14)
    assert encode_request(both).hex() == "1700030006000e00030600ff00ff00ff"


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


def test_exceptions_are_of_the_function_that_was_asked_for() -> None:
    ask = DataAsk(Request(unit=1, function=3, address=0))
    with pytest.raises(ExceptionAnswerError, match="exception 6: device busy"):
        ask.decode(encode_exception(3, 6))
    with pytest.raises(WrongAnswerError, match="an exception of function 4 answered for 3"):
        ask.decode(encode_exception(4, 6))


def test_an_echo_that_differs_is_none() -> None:
    write = DataAsk(Request(unit=1, function=6, address=3, values=(5,)))
    with pytest.raises(WrongAnswerError, match="echo"):
        write.decode(b"\x06\x00\x03\x00\x06")
    nonce = EchoAsk(unit=1, nonce=b"\xa5\x37")
    assert nonce.encode().hex() == "080000a537"
    with pytest.raises(WrongAnswerError, match="another echo"):
        nonce.decode(bytes.fromhex("080000a538"))


def test_an_identification_is_put_together_object_by_object() -> None:
    ask = IdentifyAsk(unit=1, level=1, first=0)
    answer = encode_identification(1, {0: b"Skerry", 1: b"S-1", 2: b"1.0"})
    for cut in range(len(answer)):
        size = ask.size(answer[:cut])
        assert size is None or size > cut
    page = ask.decode(answer)
    assert dict(page.objects) == {0: b"Skerry", 1: b"S-1", 2: b"1.0"} and page.more is None
    again = bytearray(answer)
    again[4], again[5] = 0xFF, 2
    with pytest.raises(WrongAnswerError, match="never ends"):
        ask.decode(bytes(again))


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("63", 1), ("0300000000", 3), ("030000007e", 3), ("03ffff0002", 2), ("050000ff01", 3),
        ("1000000002030001", 3), ("0300", 3), ("0f000000090100", 3),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense_are_answered_with_what_the_specification_says(pdu: str, code: int) -> None:
    with pytest.raises(ExceptionAnswerError) as refusal:
        decode_request(1, bytes.fromhex(pdu))
    assert refusal.value.code == code


def test_queries_are_told_from_data() -> None:
    assert decode_request(3, bytes.fromhex("080000a537")) == Query(unit=3, function=8, data=b"\x00\x00\xa5\x37")
