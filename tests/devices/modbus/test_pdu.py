"""Messages: what is sent is what the specification shows, and no bytes at all make a value that was not answered."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu.pdu import ModbusPDU

from devices.bus import ExceptionAnswerError, Request, WrongAnswerError
from devices.modbus import pdu as messages
from devices.modbus.pdu import (
    OBJECT_BYTES_MAX,
    READ,
    DataAsk,
    EchoAsk,
    Identification,
    IdentifyAsk,
    Query,
    decode_request,
    encode_answer,
    encode_echo,
    encode_exception,
    encode_identification,
    encode_request,
)
from tests.devices.modbus.questions import requests


def test_the_examples_of_the_specification() -> None:
    read = Request(unit=0x11, function=3, address=0x6B, count=3)
    assert encode_request(read).hex() == "03006b0003"
    got = DataAsk(read).decode(bytes.fromhex("0306022b00000064"))
    assert got == (555, 0, 100)
    coils = Request(unit=1, function=15, address=0x13, values=(1, 0, 1, 1, 0, 0, 1, 1, 1, 0))
    assert encode_request(coils).hex() == "0f0013000a02cd01"
    mask = Request(unit=1, function=22, address=4, values=(0xF2, 0x25))
    assert encode_request(mask).hex() == "16000400f20025"
    both = Request(unit=1, function=23, address=3, count=6, values=(255, 255, 255), write_address=14)
    assert encode_request(both).hex() == "1700030006000e00030600ff00ff00ff"


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
    answer = encode_identification(1, {0: b"Skerry", 1: b"S-1", 2: b"1.0"}, conformity=0x81)
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
        ("0800020000", 1), ("2b0d0100", 1), ("0500000001", 3), ("0f0000000a01ff", 3),
        ("1700000001000000010300ff00", 3), ("17000000010000007af4" + "00" * 244, 3),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense_are_answered_with_what_the_specification_says(pdu: str, code: int) -> None:
    with pytest.raises(ExceptionAnswerError) as refusal:
        decode_request(1, bytes.fromhex(pdu))
    assert refusal.value.code == code


def test_queries_are_told_from_data() -> None:
    assert decode_request(3, bytes.fromhex("080000a537")) == Query(unit=3, function=8, data=b"\xa5\x37")
    who = decode_request(3, bytes.fromhex("2b0e0203"))
    assert who == Query(unit=3, function=43, data=b"", level=2, first=3)


@given(st.binary(min_size=2, max_size=2))
def test_a_nonce_comes_back(nonce: bytes) -> None:
    ask = EchoAsk(unit=1, nonce=nonce)
    query = decode_request(1, ask.encode())
    assert isinstance(query, Query)
    ask.decode(encode_echo(query))


# --- no bytes make a wrong value --------------------------------------------------------------------------------


@st.composite
def spoiled(draw: st.DrawFn, right: bytes) -> bytes:
    """A right message with some of it changed, cut, lengthened, or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(min_size=1, max_size=260))
    out = bytearray(right)
    for _ in range(draw(st.integers(0, 3))):
        out[draw(st.integers(0, len(out) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, 3))
    kept = bytes(out[: len(out) - cut] if cut and len(out) > cut else out)
    return kept + draw(st.sampled_from((b"", b"", b"\0", b"\x03\x02")))


def told(request: Request, pdu: bytes) -> tuple[int, ...] | None:
    """What the specification lets an answer say, read by itself; None: it is no answer with values."""
    if pdu[0] != request.function:
        return None
    match request.function:
        case 1 | 2:
            if len(pdu) < 2 or pdu[1] != (request.count + 7) // 8 or len(pdu) != 2 + pdu[1]:
                return None
            number = int.from_bytes(pdu[2:], "little")
            return tuple(number >> at & 1 for at in range(request.count))
        case 3 | 4 | 23:
            if len(pdu) < 2 or pdu[1] != 2 * request.count or len(pdu) != 2 + pdu[1]:
                return None
            return struct.unpack(f">{request.count}H", pdu[2:])
        case _:
            return () if pdu == encode_request(request)[: 7 if request.function == 22 else 5] else None


@given(requests(), st.data())
def test_no_bytes_make_another_value_than_they_say_or_another_error_than_is_told(
    pair: tuple[Request, tuple[int, ...]], data: st.DataObject
) -> None:
    request, values = pair
    ask, answer = DataAsk(request), data.draw(spoiled(encode_answer(request, values)))
    try:
        got = ask.decode(answer)
    except WrongAnswerError:
        assert told(request, answer) is None
    except ExceptionAnswerError as error:
        assert answer == bytes((request.function | 0x80, error.code))
    else:
        assert got == told(request, answer)
    for cut in range(len(answer)):
        try:
            size = ask.size(answer[:cut])
        except WrongAnswerError:
            break
        assert size is None or size <= 253


OBJECTS = st.dictionaries(st.integers(0, 255), st.binary(max_size=OBJECT_BYTES_MAX), max_size=8)


def objects_in(pdu: bytes) -> dict[int, bytes] | None:
    """Of an identification, read by itself; None where its lengths don't fit."""
    at, out = 7, dict[int, bytes]()
    for _ in range(pdu[6]):
        if at + 2 > len(pdu) or at + 2 + pdu[at + 1] > len(pdu):
            return None
        out[pdu[at]] = pdu[at + 2 : at + 2 + pdu[at + 1]]
        at += 2 + pdu[at + 1]
    return out if at == len(pdu) else None


@given(OBJECTS, st.data())
def test_no_bytes_make_another_identification_than_they_say(objects: dict[int, bytes], data: st.DataObject) -> None:
    ask = IdentifyAsk(unit=1, level=3, first=0)
    answer = data.draw(spoiled(encode_identification(3, objects, conformity=0x83)))
    try:
        page = ask.decode(answer)
    except WrongAnswerError:
        return
    except ExceptionAnswerError as error:
        assert answer == bytes((0xAB, error.code))
        return
    assert dict(page.objects) == objects_in(answer)


@given(OBJECTS)
def test_an_identification_of_any_length_comes_whole_in_pages(objects: dict[int, bytes]) -> None:
    got: dict[int, bytes] = {}
    first: int | None = 0
    while first is not None:
        wanted = {number: text for number, text in objects.items() if number >= first}
        answer = encode_identification(3, wanted, conformity=0x83)
        assert len(answer) <= 253
        page: Identification = IdentifyAsk(unit=1, level=3, first=first).decode(answer)
        got |= page.objects
        first = page.more
    assert got == objects


@given(requests(), st.data())
def test_a_slave_takes_no_request_for_another(pair: tuple[Request, tuple[int, ...]], data: st.DataObject) -> None:
    asked = data.draw(spoiled(encode_request(pair[0])))
    try:
        request = decode_request(9, asked)
    except ExceptionAnswerError as error:
        assert error.code in (1, 2, 3)
        return
    if isinstance(request, Query):
        assert request.function in (8, 43)
        return
    again = encode_request(request)
    if request.function == 15 and len(request.values) % 8:
        filling = asked[-1] >> len(request.values) % 8
        again = again[:-1] + bytes((again[-1] | filling << len(request.values) % 8,))
    assert again == asked


class Broken(ModbusPDU):
    """A message as a later version of the library might be."""

    function_code = 3
    fault = ""

    def decode(self, data: bytes) -> None:
        if self.fault == "raises":
            raise struct.error("unpack requires a buffer of 2 bytes")
        self.registers = [7]


@pytest.mark.parametrize(
    ("fault", "said"), [("raises", "can't be read"), ("short", "1 values where 2 were asked for")]
)
def test_a_library_that_errs_gives_no_value(fault: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "fault", fault)
    monkeypatch.setitem(READ, 3, Broken)
    ask = DataAsk(Request(unit=1, function=3, address=0, count=2))
    with pytest.raises(WrongAnswerError, match=said):
        ask.decode(bytes.fromhex("030400070008"))


def test_pymodbus_is_known_to_one_module_alone_and_of_it_no_more_than_its_messages() -> None:
    root = Path(messages.__file__).parents[2]
    named = {
        (path.relative_to(root).as_posix(), line.split()[1])
        for room in ("devices", "edgecore", "skerry")
        for path in (root / room).rglob("*.py")
        for line in path.read_text().splitlines()
        if line.lstrip().startswith(("from pymodbus", "import pymodbus"))
    }
    assert {path for path, _ in named} == {"devices/modbus/pdu.py"}
    assert all(module.startswith(("pymodbus.pdu", "pymodbus.exceptions")) for _, module in named)
