"""Of stores that were set aside a few are kept, and none where the disk is nearly full."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.store.damage import GONE
from edgecore.store.database import FILE_NAME
from edgecore.store.opening import OpenedStore, open_store
from edgecore.store.port import OutboxBudgets
from edgecore.store.set_aside import KEPT, drop_surplus
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds

FLOOR = 16 << 20


def leave(directory: Path, *times_ms: int) -> None:
    for at_ms in times_ms:
        for suffix in ("", "-wal"):
            (directory / f"edge.db.damaged-{at_ms}{suffix}").write_bytes(b"x" * 1000)
    (directory / "edge.db").write_bytes(b"good")


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.endswith("-wal"))


def test_the_newest_are_kept_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    leave(tmp_path, 900, 1000, 2000, 10_000)
    drop_surplus(tmp_path, lambda _directory: 1 << 40, floor=FLOOR, spare=None)
    assert left(tmp_path) == ["edge.db", "edge.db.damaged-10000", "edge.db.damaged-2000"]
    assert len(list(tmp_path.glob("*-wal"))) == KEPT


def test_few_are_left_alone(tmp_path: Path) -> None:
    leave(tmp_path, 1000, 2000)
    drop_surplus(tmp_path, lambda _directory: FLOOR, floor=FLOOR, spare=None)
    assert len(left(tmp_path)) == 3


@pytest.mark.parametrize(("each", "kept"), [(1000, ["edge.db"]), (FLOOR, ["edge.db", "edge.db.damaged-2000"])])
def test_where_room_is_short_they_go_the_oldest_first_until_there_is_some(
    tmp_path: Path, each: int, kept: list[str]
) -> None:
    leave(tmp_path, 1000, 2000)
    drop_surplus(tmp_path, lambda directory: each * (2 - len(list(directory.glob("*-wal")))), floor=FLOOR, spare=None)
    assert left(tmp_path) == kept


def test_the_one_that_is_being_salvaged_stays_whatever_room_is_left(tmp_path: Path) -> None:
    leave(tmp_path, 1000, 2000, 3000)
    drop_surplus(tmp_path, lambda _directory: 0, floor=FLOOR, spare=tmp_path / "edge.db.damaged-1000")
    assert left(tmp_path) == ["edge.db", "edge.db.damaged-1000"]


def opened(directory: Path) -> OpenedStore:
    found = open_store(
        StoreSettings(directory=directory, boot_id="b", budgets=OutboxBudgets()), SystemClock(), SystemIds()
    )
    found.store.close()
    return found


@pytest.mark.parametrize("left_of_it", [None, b""])
def test_a_store_that_is_gone_is_told_of_once_though_there_is_nothing_to_set_aside(
    tmp_path: Path, left_of_it: bytes | None
) -> None:
    assert opened(tmp_path).damage == ""
    assert opened(tmp_path).damage == "", "it is the same one"
    (tmp_path / FILE_NAME).unlink()
    if left_of_it is not None:
        (tmp_path / FILE_NAME).write_bytes(left_of_it)
    found = opened(tmp_path)
    assert (found.damage, found.set_aside) == (GONE, None)
    assert opened(tmp_path).damage == ""


def test_a_store_that_was_set_aside_is_told_of_as_what_was_wrong_with_it(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"x" * 8192)
    found = opened(tmp_path)
    assert found.set_aside is not None and found.damage not in ("", GONE)
    assert opened(tmp_path).damage == ""
