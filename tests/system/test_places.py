"""How many files of system tests run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.system.places import MEMORY_MIN, Places, Room, Share, idle_share, may_begin, share_of_this_container

FILE, NEXT = Path("test_one.py"), Path("test_next.py")
FULL = Room(idle=0.0, memory=MEMORY_MIN)
FREE = Room(idle=0.9, memory=MEMORY_MIN)


@pytest.fixture
def worker() -> Iterator[Callable[[Callable[[], Room]], Places]]:
    """Makes the places as a further worker of one run sees them."""
    run = uuid4().hex
    with ExitStack() as ended:

        def made(look: Callable[[], Room]) -> Places:
            places = Places(run=run, workers=4, look=look)
            ended.callback(places.release)
            return places

        yield made


def test_half_of_the_workers_begin_however_busy_the_machine_is(
    worker: Callable[[Callable[[], Room]], Places],
) -> None:
    for _ in range(2):
        worker(lambda: FULL).begin(FILE)


def test_one_more_begins_when_a_core_has_nothing_to_do(worker: Callable[[Callable[[], Room]], Places]) -> None:
    looked: list[Room] = []

    def look() -> Room:
        looked.append(FULL if len(looked) < 2 else FREE)
        return looked[-1]

    for _ in range(2):
        worker(lambda: FULL).begin(FILE)
    worker(look).begin(FILE)
    assert looked == [FULL, FULL, FREE]


def test_one_more_begins_when_a_place_is_given_back(worker: Callable[[Callable[[], Room]], Places]) -> None:
    first = worker(lambda: FULL)
    first.begin(FILE)
    worker(lambda: FULL).begin(FILE)

    def look() -> Room:
        first.release()
        return FULL

    worker(look).begin(FILE)


def test_who_goes_on_to_the_next_file_gives_back_what_it_had(worker: Callable[[Callable[[], Room]], Places]) -> None:
    first = worker(lambda: FULL)
    for file in (FILE, NEXT, FILE, FILE):
        first.begin(file)
    worker(lambda: FULL).begin(FILE)


def test_a_machine_without_memory_lets_nobody_in() -> None:
    assert may_begin(FREE)
    assert not may_begin(Room(idle=0.9, memory=MEMORY_MIN - 1))


def test_what_waits_for_disks_is_idle_and_what_others_have_of_a_shared_machine_is_not() -> None:
    before = "cpu  100 10 50 1000 20 5 5 10 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    after = "cpu  140 10 60 1030 30 5 5 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert idle_share(before, after) == pytest.approx(0.4)
    assert idle_share(before, before) == 0.0


def test_a_container_knows_its_share_of_the_processors(tmp_path: Path) -> None:
    assert share_of_this_container(tmp_path) is None
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert share_of_this_container(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert share_of_this_container(tmp_path) == Share(cores=1.5, used_s=1.5)


def test_so_does_one_with_cgroups_of_the_first_version(tmp_path: Path) -> None:
    for name, text in {
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "cpuacct/cpuacct.usage": "2500000000\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert share_of_this_container(tmp_path) is None
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("200000\n")
    assert share_of_this_container(tmp_path) == Share(cores=2.0, used_s=2.5)
