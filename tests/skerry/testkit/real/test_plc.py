from __future__ import annotations

import struct

import pytest

from skerry.testkit.real.plc import Memory, RefusedError


def ask(memory: Memory, function: int, *words: int, rest: bytes = b"") -> bytes:
    return memory.answer(struct.pack(f">B{len(words)}H", function, *words) + rest)


def test_registers_are_read_as_they_were_set_and_zero_where_never() -> None:
    memory = Memory()
    memory.tables["holding"][2] = 0xABCD
    memory.tables["input"][2] = 7
    assert ask(memory, 3, 1, 3) == bytes.fromhex("03 06 0000 abcd 0000")
    assert ask(memory, 4, 2, 1) == bytes.fromhex("04 02 0007")


def test_bits_are_packed_from_the_lowest() -> None:
    memory = Memory()
    memory.tables["coils"] |= {0: 1, 9: 1}
    memory.tables["discrete"][1] = 1
    assert ask(memory, 1, 0, 10) == bytes.fromhex("01 02 01 02")
    assert ask(memory, 2, 0, 3) == bytes.fromhex("02 01 02")


def test_writes_are_echoed_kept_and_remembered() -> None:
    memory = Memory()
    assert ask(memory, 6, 2, 640) == bytes.fromhex("06 0002 0280")
    assert ask(memory, 5, 3, 0xFF00) == bytes.fromhex("05 0003 ff00")
    assert ask(memory, 16, 10, 2, rest=b"\x04\x00\x01\x00\x02") == bytes.fromhex("10 000a 0002")
    assert ask(memory, 15, 0, 10, rest=b"\x02\x01\x02") == bytes.fromhex("0f 0000 000a")
    assert [write[1:] for write in memory.writes] == [
        ("holding", 2, [640]),
        ("coils", 3, [1]),
        ("holding", 10, [1, 2]),
        ("coils", 0, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ]
    assert memory.tables["holding"] == {2: 640, 10: 1, 11: 2}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (bytes.fromhex("07"), 1),
        (bytes.fromhex("03 0000"), 3),
        (bytes.fromhex("03 0000 0000"), 3),
        (bytes.fromhex("03 0000 007e"), 3),
        (bytes.fromhex("01 0000 07d1"), 3),
        (bytes.fromhex("03 ffff 0002"), 3),
        (bytes.fromhex("05 0000 1234"), 3),
        (bytes.fromhex("10 0000 0002 02 0001"), 3),
        (bytes.fromhex("10 ffff 0002 04 0001 0002"), 3),
        (bytes.fromhex("0f 0000 0009 01 ff"), 3),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(request_: bytes, code: int) -> None:
    memory = Memory()
    with pytest.raises(RefusedError) as refused:
        memory.answer(request_)
    assert refused.value.code == code
    assert not memory.writes and not any(memory.tables.values())
