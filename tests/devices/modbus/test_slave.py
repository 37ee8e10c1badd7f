"""Slaves that are played: what they answer, and what goes wrong with them on purpose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.bus import ExceptionAnswerError, Request
from devices.modbus.faults import FAULTS, Faults, Sending, parse_faults, sendings, spoiled
from devices.modbus.pdu import DataAsk, EchoAsk, IdentifyAsk, encode_request
from devices.modbus.slave import Memory, Slave
from skerry.errors import InvalidError


def slave() -> Slave:
    memory = Memory()
    memory.set("holding", 0, range(10))
    memory.set("coil", 0, [1, 0, 1])
    return Slave(units={3: memory, 4: Memory(anywhere=True)})


def ask(played: Slave, request: Request) -> tuple[int, ...]:
    answer = played.answer(request.unit, encode_request(request))
    assert answer is not None
    return DataAsk(request).decode(answer)


def test_what_is_written_is_read() -> None:
    played = slave()
    told: list[Request] = []
    played.written = told.append
    assert ask(played, Request(unit=3, function=3, address=2, count=3)) == (2, 3, 4)
    assert ask(played, Request(unit=3, function=1, address=0, count=3)) == (1, 0, 1)
    ask(played, Request(unit=3, function=16, address=4, values=(40, 50)))
    ask(played, Request(unit=3, function=6, address=6, values=(60,)))
    ask(played, Request(unit=3, function=22, address=6, values=(0xFFF0, 3)))
    ask(played, Request(unit=3, function=5, address=1, values=(1,)))
    ask(played, Request(unit=3, function=15, address=0, values=(0, 1, 0)))
    both = Request(unit=3, function=23, address=4, count=3, values=(9,), write_address=4)
    assert ask(played, both) == (9, 50, 60 & 0xFFF0 | 3)
    assert ask(played, Request(unit=3, function=1, address=0, count=3)) == (0, 1, 0)
    assert len(told) == 6
    assert ask(played, Request(unit=4, function=4, address=60_000)) == (0,)


def test_a_place_that_does_not_exist_is_refused_and_nothing_is_half_written() -> None:
    played = slave()
    for request in (
        Request(unit=3, function=3, address=9, count=2),
        Request(unit=3, function=16, address=9, values=(1, 2)),
        Request(unit=3, function=4, address=0),
    ):
        with pytest.raises(ExceptionAnswerError, match="exception 2"):
            ask(played, request)
    assert ask(played, Request(unit=3, function=3, address=9)) == (9,)


def test_a_unit_that_is_not_there_is_silent_and_unit_0_is_all_of_them() -> None:
    played = slave()
    assert played.answer(5, encode_request(Request(unit=5, function=3, address=0))) is None
    assert played.answer(0, encode_request(Request(unit=0, function=6, address=0, values=(77,)))) is None
    assert [memory.get("holding", 0, 1) for memory in played.units.values()] == [(77,), (77,)]


def test_it_says_what_it_is_and_returns_a_nonce() -> None:
    played = slave()
    echo = EchoAsk(unit=3, nonce=b"ab")
    answer = played.answer(3, echo.encode())
    assert answer is not None and echo.decode(answer) is None
    who = IdentifyAsk(unit=3, level=1, first=0)
    answer = played.answer(3, who.encode())
    assert answer is not None and who.decode(answer).objects[0] == b"Skerry"
    answer = played.answer(3, bytes((43, 14, 4, 9)))
    assert answer == bytes((43 | 0x80, 2))
    assert played.answer(3, b"\x63") == b"\xe3\x01"


def test_faults_are_read_as_people_write_them() -> None:
    faults = parse_faults("late=8%@700ms, busy=1.5%,silent=unit5,silent=unit9")
    assert faults == Faults(shares={"late": 0.08, "busy": 0.015}, silent_units=frozenset({5, 9}), late_s=0.7)
    assert faults.pick(5, 0.99) == "silent" and faults.pick(1, 0.0799) == "late"
    assert faults.pick(1, 0.09) == "busy" and faults.pick(1, 0.0951) == ""
    assert parse_faults("") == Faults()


@pytest.mark.parametrize("text", ["late", "late=8", "lat=8%", "busy=unit5", "busy=8%@10ms", "late=60%,busy=50%"])
def test_faults_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_faults(text)


@given(st.sampled_from(sorted(FAULTS)), st.binary(min_size=4, max_size=20), st.floats(0, 0.999999))
def test_every_fault_changes_something(fault: str, pdu: bytes, chance: float) -> None:
    pdu = b"\x03" + pdu
    unit, said = spoiled(fault, 7, pdu)
    sent = sendings(fault, said, chance, late_s=0.5)
    assert (unit, sent) != (7, [Sending(frame=pdu)]) or fault == "garbage"


def test_a_long_identification_comes_in_pages_and_begins_anew_at_what_is_not_there() -> None:
    texts = {0: b"Skerry", 1: b"S-1", 2: b"1.0", 4: b"x" * 200, 0x80: b"y" * 200}
    played = Slave(units={3: Memory(anywhere=True)}, identity=texts)

    def page(level: int, first: int) -> bytes:
        answer = played.answer(3, bytes((43, 14, level, first)))
        assert answer is not None
        return answer

    begun = page(3, 0)
    assert begun[3:7] == bytes((0x83, 0xFF, 0x80, 4)), "extended, more follows, at 0x80, four objects"
    rest = IdentifyAsk(unit=3, level=3, first=0x80).decode(page(3, 0x80))
    assert dict(rest.objects) == {0x80: texts[0x80]} and rest.more is None
    assert page(2, 0)[4:7] == bytes((0, 0, 4)) and page(1, 0)[6] == 3
    assert page(1, 9) == page(1, 0), "no such object: from the beginning (6.21)"
    assert page(5, 0) == bytes((0xAB, 3))


def test_a_counter_that_nobody_plays_is_an_illegal_function() -> None:
    assert slave().answer(3, bytes.fromhex("08000b0000")) == bytes.fromhex("8801")
