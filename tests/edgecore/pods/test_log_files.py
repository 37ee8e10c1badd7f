"""Logs of containers are read in their order, whole, and once, whatever is rotated meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgecore.pods.log_files import (
    BLOCK_BYTES,
    arriving,
    blocks,
    closed,
    files_of,
    followed,
    instant_ns,
    opened_together,
    remove_log,
    rotated_name,
    size_of,
    to_tail,
)
from edgecore.pods.log_rotation import compress

SECOND_NS = 1_000_000_000


def line(number: int) -> bytes:
    return f"2025-06-15T15:06:40.{number:09d}Z stdout F line-{number}\n".encode()


def lines(first: int, after: int) -> bytes:
    return b"".join(line(number) for number in range(first, after))


class Followed:
    """Somebody reads a log to its end, while `lives` says that it may go on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lives = True
        self.heard: list[bytes] = []
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for block in followed(self.path, opened_together(self.path), self._lives):
            self.heard += block

    async def _lives(self) -> bool:
        return self.lives

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                await asyncio.sleep(0.005)

    async def whole(self) -> list[int]:
        self.lives = False
        await asyncio.wait_for(self.task, 10)
        return [int(entry.rpartition(b"-")[2]) for entry in self.heard]


@pytest.mark.parametrize(
    ("stamp", "instant"),
    [
        (b"1970-01-01T00:00:01Z", SECOND_NS),
        (b"1970-01-01T00:00:01.5Z", 3 * SECOND_NS // 2),
        (b"1970-01-01T00:00:01.000000007Z", SECOND_NS + 7),
        (b"1970-01-01T02:00:01.25+02:00", SECOND_NS + SECOND_NS // 4),
        (b"1969-12-31T23:00:01-01:00", SECOND_NS),
        (b"nonsense", 0),
        (b"", 0),
    ],
)
def test_the_time_of_an_entry_is_read_in_any_zone_and_with_any_fraction(stamp: bytes, instant: int) -> None:
    assert instant_ns(stamp + b" stdout F text 1.2+3") == instant


def test_files_come_in_the_order_of_their_writing_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for name in (
        "0.log",
        "0.log.20250615-150641",
        "0.log.20250615-150640.gz",
        "0.log.20250615-150641.000000001",
        "0.log.20250615-150642",
        "0.log.20250615-150642.gz",
        "0.log.20250615-150643.tmp",
        "0.log.2",
        "0.log.1",
        "10.log.20250615-150640",
        "0.log.old",
    ):
        (tmp_path / name).touch()
    assert [each.name.removeprefix("0.log.") for each in files_of(path)] == [
        "2",
        "1",
        "20250615-150640.gz",
        "20250615-150641",
        "20250615-150641.000000001",
        "20250615-150642.gz",
        "0.log",
    ]
    remove_log(path)
    assert {each.name for each in tmp_path.iterdir()} >= {"10.log.20250615-150640", "0.log.old"}
    assert not path.exists()


def test_who_has_begun_to_read_reads_on_in_what_was_renamed_compressed_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    older = tmp_path / "0.log.20250615-150640"
    older.write_bytes(lines(0, 5))
    path.write_bytes(lines(5, 9))
    files = opened_together(path)
    compress(older)
    path.rename(tmp_path / "0.log.20250615-150641")
    remove_log(path)
    assert b"".join(file.read() for file in files) == lines(0, 9)
    for file in files:
        file.close()


async def test_a_follower_hears_every_line_once_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    (tmp_path / "0.log.20250615-150640").write_bytes(lines(0, 2))
    path.write_bytes(lines(2, 4))
    reader = Followed(path)
    await reader.until(4)
    with path.open("ab") as old:
        path.rename(rotated_name(path, 1_750_000_001_000))
        path.write_bytes(line(5))
        old.write(line(4))  # what was on its way
    await reader.until(6)
    assert await reader.whole() == [*range(6)]


async def test_a_follower_that_is_rotations_behind_reads_those_between(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(lines(0, 3))
    reader = Followed(path)
    await reader.until(3)
    with path.open("ab") as file:
        file.write(lines(3, 6))
    for number in (6, 9, 12):
        path.rename(rotated_name(path, 1_750_000_000_000))
        path.write_bytes(lines(number, number + 3))
    assert await reader.whole() == [*range(15)]


async def test_what_a_follower_read_before_it_was_compressed_it_does_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(lines(0, 3))
    reader = Followed(path)
    await reader.until(3)
    with path.open("ab") as file:
        file.write(lines(3, 6))
    first = rotated_name(path, 1_750_000_000_000)
    path.rename(first)
    compress(first)
    path.write_bytes(lines(6, 9))
    assert await reader.whole() == [*range(9)]


async def test_a_damaged_file_costs_what_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for number, name in enumerate(("0.log.20250615-150640", "0.log.20250615-150641")):
        (tmp_path / name).write_bytes(lines(number, number + 1) * 200)
        compress(tmp_path / name)
    whole = (tmp_path / "0.log.20250615-150640.gz").read_bytes()
    (tmp_path / "0.log.20250615-150640.gz").write_bytes(whole[:-8] + b"damaged!")
    (tmp_path / "0.log.20250615-150641.gz").write_bytes(b"no gzip at all")
    path.write_bytes(line(2))
    reader = Followed(path)
    assert (await reader.whole())[-1] == 2


def rest_of(path: Path, count: int) -> list[int]:
    """What is left to be read of a log after `to_tail`."""
    files = opened_together(path)
    try:
        to_tail(files, count)
        return [int(entry.rpartition(b"-")[2]) for file in files for block in blocks(file) for entry in block]
    finally:
        closed(files)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 699, 700, 701, 702, 1499, 1500, 1501, 2399, 2400, 2401, 9999])
def test_the_last_entries_are_found_over_files_of_every_kind(tmp_path: Path, count: int) -> None:
    path = tmp_path / "0.log"
    (tmp_path / "0.log.20250615-150640").write_bytes(lines(0, 900))
    compress(tmp_path / "0.log.20250615-150640")
    (tmp_path / "0.log.20250615-150641").write_bytes(lines(900, 1700))
    path.write_bytes(lines(1700, 2400) + b"2025-06-15T15:06:40Z stdout F not whole")
    assert lines(1700, 2400).__sizeof__() > BLOCK_BYTES
    assert rest_of(path, count) == [*range(max(2400 - count, 0), 2400)]


@pytest.mark.parametrize("text", [b"", b"not whole", b"\n", b"\n\n\n", b"a\n", b"a\nnot whole"])
def test_the_tail_of_next_to_nothing_is_that(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(text)
    for count in range(4):
        files = opened_together(path)
        to_tail(files, count)
        whole = text.split(b"\n")[:-1]
        assert [entry for block in blocks(files[0]) for entry in block] == whole[max(len(whole) - count, 0) :]
        closed(files)


async def test_who_reads_up_to_a_place_reads_no_further_however_fast_somebody_writes(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(lines(0, 2000))
    (file,) = opened_together(path)
    until = size_of(file)
    heard: list[bytes] = []
    async for block in arriving(file, until):
        heard += block
        with path.open("ab") as log:
            log.write(lines(9000, 9000 + len(block)))
    file.close()
    assert len(heard) == 2000


async def test_others_have_their_turn_while_a_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(lines(0, 20_000))
    (file,) = opened_together(path)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    count = 0
    async for _ in arriving(file):
        count += 1
    task.cancel()
    file.close()
    assert count > 20 and turns >= count


def test_a_line_without_an_end_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(line(0) + b"x" * (3 << 20) + b"\n" + line(1))
    (file,) = opened_together(path)
    assert [entry for block in blocks(file) for entry in block] == [line(0)[:-1]]
    file.close()
