"""The gateway's own history on a disk that is full, damaged or cut off."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.composition.real import history_of
from edgecore.config.agent import EdgeSettings
from edgecore.history.chunks import LIFE, READINGS_MAX, Kept, Lacking, in_lives, in_order, with_gaps
from edgecore.history.file import HistoryFile
from skerry.errors import UnavailableError
from skerry.objects.blocks import Reading
from skerry.objects.twins import DeviceName

MIB = 1 << 20
DEVICE = DeviceName(namespace="default", name="plc", uid="u")


def kept(seq: int, at_ms: int | None = None, *, sure: bool = True) -> Kept:
    reading = Reading(DEVICE, "t", seq, str(seq), "INT", "good", "", 5, None, 0)
    return Kept(seq * 1000 if at_ms is None else at_ms, reading, sure)


def opened(directory: Path, *, bytes_max: int = MIB, free: int = 1 << 40) -> HistoryFile:
    return HistoryFile(directory / "history.db", bytes_max=bytes_max, free_floor=1 << 20, free_bytes=lambda _: free)


def seqs(file: HistoryFile, *, series: str = "s") -> list[int]:
    chunks = file.chunks(series, since_ms=0, until_ms=2**62, newest_first=False)
    return [each.reading.seq for chunk in chunks for each in chunk.kept()]


def test_what_was_kept_is_there_after_a_restart_and_goes_on(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(1), kept(2)], "other": [kept(7)]})
    file.close()
    again = opened(tmp_path)
    again.keep({"s": [kept(3)]})
    assert seqs(again) == [1, 2, 3]
    assert seqs(again, series="other") == [7]
    assert (tmp_path / "history.db").stat().st_mode & 0o077 == 0
    again.close()


def test_chunks_grow_and_are_no_longer_than_they_may_be(tmp_path: Path) -> None:
    file = opened(tmp_path)
    for seq in range(1, 2500):
        file.keep({"s": [kept(seq)]})
    found = list(file.chunks("s", since_ms=0, until_ms=2**62, newest_first=False))
    assert seqs(file) == list(range(1, 2500))
    assert len(found) < 16
    assert max(chunk.readings for chunk in found) <= READINGS_MAX
    file.keep({"s": [kept(2500, 2500_000 + 7 * 3600_000)]})
    last = next(file.chunks("s", since_ms=0, until_ms=2**62, newest_first=True))
    assert last.readings == 1, "hours later"
    file.close()


def test_a_doubtful_clock_is_not_mixed_with_a_sure_one(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(1, 5, sure=False), kept(2, 10, sure=False), kept(3, 90_000), kept(4, 91_000)]})
    found = list(file.chunks("s", since_ms=0, until_ms=2**62, newest_first=False))
    assert [(chunk.sure, [each.reading.seq for each in chunk.kept()]) for chunk in found] == [
        (False, [1, 2]),
        (True, [3, 4]),
    ]
    assert [each.at_ms for chunk in found for each in chunk.kept()] == [5, 10, 90_000, 91_000]
    file.close()


def test_a_full_ring_drops_the_oldest(tmp_path: Path) -> None:
    file = opened(tmp_path, bytes_max=5_000)
    for first in range(1, 40_001, 1000):
        file.keep({"s": [kept(seq) for seq in range(first, first + 1000)]})
    found = seqs(file)
    assert found[-1] == 40_000
    assert found[0] > 1 and found == list(range(found[0], 40_001))
    file.close()
    assert (tmp_path / "history.db").stat().st_size < 200_000


def noise(seq: int) -> Kept:
    """A reading that takes its eight bytes."""
    reading = Reading(DEVICE, "t", seq, repr(math.sin(seq * seq)), "DOUBLE", "good", "", 5, None, 0)
    return Kept(seq * 1000, reading, True)


def counted(directory: Path) -> tuple[int, int]:
    """What is said to be kept, and what is."""
    with closing(sqlite3.connect(directory / "history.db")) as file:
        (said,) = file.execute("SELECT bytes FROM total").fetchone()
        ((held, rows),) = file.execute("SELECT sum(length(body)), count(*) FROM chunks").fetchall()
    return said, held + rows * 120


def test_what_is_kept_is_counted_and_no_more_goes_than_must(tmp_path: Path) -> None:
    file = opened(tmp_path, bytes_max=200_000)
    for first in range(1, 60_001, 100):
        file.keep({"s": [noise(seq) for seq in range(first, first + 100)]})
    file.close()
    said, held = counted(tmp_path)
    assert said == held and 185_000 < held <= 200_000
    again = opened(tmp_path, bytes_max=100_000)
    again.keep({"s": [noise(60_001)]})
    again.close()
    said, held = counted(tmp_path)
    assert said == held and 85_000 < held <= 100_000, "it goes on counting after a restart"


def test_a_nearly_full_disk_gets_back_what_goes(tmp_path: Path) -> None:
    file = opened(tmp_path)
    for first in range(1, 30_001, 1000):
        file.keep({"s": [noise(seq) for seq in range(first, first + 1000)]})
    file.close()
    path = tmp_path / "history.db"
    before, (_, held) = path.stat().st_size, counted(tmp_path)
    short = opened(tmp_path, free=(1 << 20) - 100_000)
    short.keep({"s": [noise(40_000)]})
    assert before - 140_000 < path.stat().st_size < before - 80_000, "at once, and no more than lacks"
    short.close()
    said, left = counted(tmp_path)
    assert said == left and held - 120_000 < left < held - 99_000
    none = opened(tmp_path, free=0)
    none.keep({"s": [noise(40_001)]})
    assert seqs(none) == [] and path.stat().st_size < 50_000
    none.close()


def test_a_disk_that_is_nearly_full_takes_nothing_and_is_given_room(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(1)]})
    file.close()
    short = opened(tmp_path, free=1000)
    short.keep({"s": [kept(2)]})
    assert seqs(short) == []
    short.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b""])
def test_a_file_that_can_not_be_read_begins_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "history.db").write_bytes(damage)
    file = opened(tmp_path)
    file.keep({"s": [kept(1)]})
    assert seqs(file) == [1]
    file.close()


def spoilt(path: Path) -> None:
    """Every third page, behind those that are read when it is opened."""
    body = bytearray(path.read_bytes())
    for at in range(4096 * 6, len(body), 3 * 4096):
        body[at : at + 4096] = b"\xff" * min(4096, len(body) - at)
    path.write_bytes(body)


def test_a_file_that_turns_out_to_be_damaged_begins_anew_at_once_and_takes_what_is_new(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(40)]
    file = opened(tmp_path)
    for name in names:
        file.keep({name: [kept(seq) for seq in range(1, 900)]})
    file.close()
    spoilt(tmp_path / "history.db")
    again = opened(tmp_path)
    again.keep({name: [kept(1000)] for name in names})
    for name in names:
        assert seqs(again, series=name)[-1] == 1000
    again.close()
    last = opened(tmp_path)
    assert seqs(last, series="s39") == [1000], "it is another file"
    last.close()


def test_who_reads_a_damaged_file_is_told_and_the_next_one_is_answered(tmp_path: Path) -> None:
    file = opened(tmp_path)
    for number in range(40):
        file.keep({f"s{number}": [kept(seq) for seq in range(1, 900)]})
    file.close()
    spoilt(tmp_path / "history.db")
    again = opened(tmp_path)
    with pytest.raises(UnavailableError, match="was damaged and has begun anew"):
        for number in range(40):
            seqs(again, series=f"s{number}")
    assert seqs(again, series="s3") == []
    again.keep({"s3": [kept(1)]})
    assert seqs(again, series="s3") == [1]
    again.close()


def test_a_file_that_somebody_else_has_locked_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(1)]})
    file.close()
    connect = sqlite3.connect
    other = connect(tmp_path / "history.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: connect(*args, **(named | {"timeout": 0.01})))
    again = opened(tmp_path)
    with pytest.raises(UnavailableError, match="locked"):
        again.keep({"s": [kept(2)]})
    other.close()
    again.keep({"s": [kept(3)]})
    assert seqs(again) == [1, 3], "it is tried again"
    again.close()


def test_a_lock_while_it_is_open_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: connect(*args, **(named | {"timeout": 0.01})))
    file = opened(tmp_path)
    file.keep({"s": [kept(1)]})
    with closing(connect(tmp_path / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match=r"writing history\.db: database is locked"):
            file.keep({"s": [kept(2)]})
        other.execute("ROLLBACK")
    file.keep({"s": [kept(3)]})
    assert seqs(file) == [1, 3]
    file.close()


def test_a_newer_agents_file_is_left_alone(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(1)]})
    file.close()
    for version in (99, 2):
        with closing(sqlite3.connect(tmp_path / "history.db")) as other:
            other.execute(f"PRAGMA user_version = {version}")
        if version == 99:
            with pytest.raises(UnavailableError, match="has version 99, this agent knows 2"):
                seqs(opened(tmp_path))
    again = opened(tmp_path)
    assert seqs(again) == [1]
    again.close()


def test_a_file_without_lives_is_of_one(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(1)]})
    file.close()
    with closing(sqlite3.connect(tmp_path / "history.db")) as other:
        other.execute("ALTER TABLE chunks DROP COLUMN life")
        other.execute("PRAGMA user_version = 1")
    again = opened(tmp_path)
    again.keep({"s": [kept(2)]})
    assert seqs(again) == [1, 2]
    again.close()


def test_numbers_that_begin_anew_are_another_life_also_after_a_restart(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(7, 1000), kept(8, 2000), kept(1, 3000), kept(2, 4000)]})
    file.keep({"s": [kept(3, 5000)]})
    file.close()
    again = opened(tmp_path)
    again.keep({"s": [kept(2, 6000)]})
    found = [each for chunk in again.after("s", 0) for each in chunk.kept()]
    assert [(each.life, each.reading.seq) for each in found] == [(0, 7), (0, 8), (1, 1), (1, 2), (1, 3), (2, 2)]
    behind = [each.number for chunk in again.after("s", LIFE + 3) for each in chunk.kept()]
    assert behind == [2 * LIFE + 2]
    again.close()


def test_a_chunk_that_went_while_somebody_reads_is_not_taken_for_the_one_that_has_its_number_now(
    tmp_path: Path,
) -> None:
    file = opened(tmp_path)
    file.keep({"s": [kept(1, 1)]})
    file.keep({"s": [kept(2, 8 * 3600_000)]})
    reading = file.chunks("s", since_ms=0, until_ms=2**62, newest_first=False)
    assert [each.reading.seq for each in next(reading).kept()] == [1]
    file.keep({"other": [kept(50, 9 * 3600_000)], "s": [kept(3, 8 * 3600_000 + 1)]})
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as other:
        other.execute("DELETE FROM chunks WHERE series = 's' AND number = 2")
        other.execute("UPDATE chunks SET number = 2 WHERE series = 'other'")
    assert [each.reading.seq for chunk in reading for each in chunk.kept()] == []
    file.close()


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=5), max_size=8), st.booleans())
def test_parts_that_overlap_come_in_order(parts: list[list[int]], newest_first: bool) -> None:
    made = [[kept(number, at) for at in part] for number, part in enumerate(parts)]
    edge = (
        (lambda part: max(each.at_ms for each in part)) if newest_first else (lambda part: min(x.at_ms for x in part))
    )
    ordered = sorted(made, key=edge, reverse=newest_first)
    found = list(in_order(((edge(part), part) for part in ordered), newest_first=newest_first))
    assert [each.at_ms for each in found] == sorted((at for part in parts for at in part), reverse=newest_first)


def test_numbers_that_lack_are_a_gap_and_one_that_comes_late_is_none() -> None:
    rows = list(with_gaps([kept(1), kept(2), kept(5), kept(4, 5500), kept(6), kept(8)]))
    gaps = [row for row in rows if not isinstance(row, Kept)]
    assert [(gap.first, gap.number, gap.from_ms, gap.to_ms) for gap in gaps] == [
        (3, 2, 2000, 5000),
        (7, 1, 6000, 8000),
    ]


@pytest.mark.parametrize("newest_first", [False, True])
def test_between_two_lives_nothing_lacks_and_within_each_what_does(*, newest_first: bool) -> None:
    taken = in_lives([kept(7, 1), kept(9, 2), kept(1, 3), kept(4, 4), kept(5, 5)], 0)
    order = taken[::-1] if newest_first else taken
    gaps = [row for row in with_gaps(order, newest_first=newest_first) if isinstance(row, Lacking)]
    found = gaps[::-1] if newest_first else gaps
    assert [(gap.first, gap.number, gap.from_ms, gap.to_ms) for gap in found] == [(8, 1, 1, 2), (LIFE + 2, 2, 3, 4)]
    assert in_lives([kept(5)], 4)[0].life == 0 and in_lives([kept(5)], 5)[0].life == 1
    assert in_lives([kept(5)], 3 * LIFE + 9)[0].life == 4


def test_an_agent_starts_where_its_history_can_not_be_opened_and_has_one_when_it_can(tmp_path: Path) -> None:
    obstacle = tmp_path / "store" / "history.db" / "in the way"
    obstacle.mkdir(parents=True)
    file = history_of(EdgeSettings(data=tmp_path))
    assert file is not None
    with pytest.raises(UnavailableError, match=r"opening .*history\.db"):
        file.keep({"s": [kept(1)]})
    obstacle.rmdir()
    obstacle.parent.rmdir()
    file.keep({"s": [kept(2)]})
    assert seqs(file) == [2]
    file.close()
    with pytest.raises(UnavailableError, match=r"history\.db is closed"):
        seqs(file)
    assert history_of(EdgeSettings(data=tmp_path, history_mib=0)) is None
