"""The SQLite form of the edge store: the contract, and what disks do to it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from edgecore.store.database import FILE_NAME
from edgecore.store.opening import OpenedStore, open_store
from edgecore.store.outbox import DROP_ROWS
from edgecore.store.port import META_KNOWN_MS, META_LEAVING, EdgeBatch, EdgeStore, NewReport, OutboxBudgets
from edgecore.store.schema import STEPS, VERSION
from edgecore.store.sqlite import SqliteEdgeStore, StoreSettings
from skerry.clocks import ManualClock, SystemIds
from skerry.errors import StorageFullError, UnavailableError
from skerry.frozen import replace
from skerry.objects.meta import Key
from skerry.sync.ages import known_ms
from skerry.sync.ports import Reading
from skerry.wire.frames import PROMPT
from tests.contracts.edge_store_contract import (
    AGEING,
    BUDGETS,
    DAY_S,
    EdgeStoreContract,
    OpenStore,
    Room,
    held,
    kept,
    report,
    telemetry,
)


def opened(directory: Path, *, budgets: OutboxBudgets = BUDGETS, boot: str = "boot-1", pages: int = 0) -> OpenedStore:
    settings = StoreSettings(directory=directory, boot_id=boot, budgets=budgets, max_pages=pages)
    return open_store(settings, ManualClock(), SystemIds())


class TestSqlite(EdgeStoreContract):
    @pytest.fixture
    def open_store(self, clock: ManualClock, tmp_path: Path, room: Room) -> Iterator[OpenStore]:
        stores: list[SqliteEdgeStore] = []
        number = count()

        def make(budgets: OutboxBudgets) -> EdgeStore:
            settings = StoreSettings(
                directory=tmp_path / str(next(number)),
                boot_id="boot-1",
                budgets=budgets,
                free_bytes=lambda _: room.free,
            )
            stores.append(open_store(settings, clock, SystemIds()).store)
            return stores[-1]

        yield make
        for store in stores:
            assert store.damage() == "", "what waits is counted right, whatever was done"
            store.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path).store
    store.apply(EdgeBatch(puts=(held("a"),), reports=tuple(telemetry(n) for n in range(7)), meta=(("epoch", "e"),)))
    before = (store.incarnation, store.outbox_head(), store.stats(), store.outbox(after=0, limit=99))
    store.close()
    again = opened(tmp_path, boot="boot-2").store
    assert (again.incarnation, again.outbox_head(), again.stats(), again.outbox(after=0, limit=99)) == before
    assert again.meta("epoch") == "e"
    again.apply(EdgeBatch(reports=(report("p"),)))
    assert {item.boot_id for item in again.outbox(after=0, limit=99)} == {"boot-1", "boot-2"}
    again.close()


def test_a_pruned_head_survives_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path).store
    head = store.apply(EdgeBatch(reports=(report("p"), report("q"))))
    store.prune_outbox(through=head)
    store.close()
    again = opened(tmp_path).store
    assert again.apply(EdgeBatch(reports=(report("p"),))) == head + 1
    again.close()


def test_a_second_agent_is_refused_and_named_the_reason(tmp_path: Path) -> None:
    store = opened(tmp_path).store
    with pytest.raises(UnavailableError, match="another agent uses"):
        opened(tmp_path)
    store.close()
    opened(tmp_path).store.close()


@pytest.mark.parametrize("damage", ["garbage", "torn page", "lost tables"])
def test_a_damaged_file_is_set_aside_and_a_new_incarnation_begins(tmp_path: Path, damage: str) -> None:
    store = opened(tmp_path).store
    store.apply(EdgeBatch(puts=tuple(held(f"a{number}") for number in range(500))))
    incarnation = store.incarnation
    store.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content = bytearray(b"not a database at all" * 400)
    elif damage == "torn page":
        content[8192:16384] = b"\xff" * 8192
    else:
        content[100:4096] = bytes(3996)
    path.write_bytes(content)
    result = opened(tmp_path)
    assert result.set_aside is not None
    assert result.set_aside.read_bytes() == bytes(content)
    assert result.damage
    assert (result.store.incarnation == incarnation) == ("meta" in result.taken_over)
    assert list(result.store.stamps()) == []
    result.store.close()


def test_a_newer_file_is_refused_not_set_aside(tmp_path: Path) -> None:
    store = opened(tmp_path).store
    store._writer.execute(f"PRAGMA user_version = {VERSION + 1}")
    store.close()
    with pytest.raises(UnavailableError, match="newer agent"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []


def test_a_full_disk_refuses_the_batch_whole_and_keeps_the_rest(tmp_path: Path) -> None:
    store = opened(tmp_path, budgets=OutboxBudgets(), pages=40).store
    done = 0
    with pytest.raises(StorageFullError, match="no room"):
        for number in range(1000):
            store.apply(
                EdgeBatch(puts=(held(f"a{number}"),), reports=(report(str(number), b"x" * 3000, kind="event"),))
            )
            done += 1
    assert 0 < done < 1000
    assert store.get(Key("configmaps", "default", f"a{done}")) is None
    assert len(list(store.stamps())) == store.stats().outbox_reports == store.outbox_head() == done
    store.prune_outbox(through=done)  # a receipt makes room again
    assert store.apply(EdgeBatch(reports=(report("after"),))) == done + 1
    store.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="file"):
        opened(tmp_path / "file" / "sub")


def test_the_next_boot_knows_what_the_last_one_did_of_time(tmp_path: Path) -> None:
    event = NewReport(report_class="event", kind="event", key="", body=b"{}")
    reading = Reading(said_ms=1000, heard_ms=1000, server_ms=1_790_000_000_000)
    store = opened(tmp_path).store
    store.apply(EdgeBatch(reports=(event,), reading=reading))
    (first,) = store.boots()
    store.close()
    again = opened(tmp_path, boot="boot-2").store
    earlier, present = again.boots()
    assert earlier == first
    assert present.boot_id == "boot-2"
    assert present.floor_ms == known_ms((first,)) > 1_790_000_000_000 - 1000
    again.prune_outbox(through=1)
    assert again.boots() == [present], "nothing is left to date; its floor says the rest"
    again.close()
    same = opened(tmp_path, boot="boot-2").store
    assert same.boots() == [present]
    same.apply(EdgeBatch(meta=((META_KNOWN_MS, "1800000000000"),)))
    same.close()
    third = opened(tmp_path, boot="boot-3").store
    assert third.boots()[-1].floor_ms == 1_800_000_000_000
    third.close()


def test_a_gateway_that_starts_over_and_over_keeps_few_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecore.store.sqlite.BOOTS_MAX", 3)
    event = NewReport(report_class="event", kind="event", key="", body=b"{}")
    for number in range(8):
        store = opened(tmp_path, boot=f"boot-{number}").store
        if number == 1:
            store.apply(EdgeBatch(reports=(event,)))
        if number == 2:
            store.apply(EdgeBatch(reading=Reading(said_ms=1, heard_ms=1, server_ms=1)))
        store.close()
    store = opened(tmp_path, boot="boot-8").store
    left = [boot.boot_id for boot in store.boots()]
    assert len(left) <= 4
    assert {"boot-1", "boot-2", "boot-8"} <= set(left), "what dates a report, and what bounds it"
    store.close()


def old_file(directory: Path, version: int) -> None:
    """As the steps up to then made it, with a reading and a line of a boot that is over."""
    directory.mkdir(exist_ok=True)
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None)) as connection:
        for statement in (statement for step in STEPS[:version] for statement in step):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.executemany(
            "INSERT INTO meta (name, value) VALUES (?, ?)", [("incarnation", "old"), ("head", "2")]
        )
        connection.execute("INSERT INTO boots (boot_id) VALUES ('boot-0')")
        connection.execute("INSERT INTO objects VALUES ('configmaps', 'default', 'a', 'uid-a', 1, x'31')")
        connection.executemany(
            "INSERT INTO outbox (seq, class, kind, key, body, wall_ms, boot, monotonic_ms, cost)"
            " VALUES (?, 'telemetry', 'telemetry', 'series', x'31', 100, 1, 999999, 81)",
            [(1,), (2,)],
        )
        if version >= 4:
            usage = '{"telemetry":[2,162]}'
            connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('outbox_usage', ?)", (usage,))
        old = b'{"class":"telemetry","dropped":3,"bytes":9,"total":3,"firstSeq":1,"lastSeq":3,"firstMs":1,"lastMs":2}'
        connection.execute("INSERT INTO gaps (class, body) VALUES ('telemetry', ?)", (old,))


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_file_of_an_older_version_is_taken_over(tmp_path: Path, version: int) -> None:
    old_file(tmp_path, version)
    result = opened(tmp_path)
    store = result.store
    assert result.set_aside is None
    store.apply(EdgeBatch(commands=(("u", b"begun"),), reports=(telemetry(3),)))
    assert list(store.commands()) == [("u", b"begun")]
    assert [item.key.name for item in store.list("configmaps")] == ["a"]
    assert [(boot.boot_id, boot.floor_ms, boot.reading) for boot in store.boots()] == [
        ("boot-0", 0, None),
        ("boot-1", 0, None),
    ]
    assert [(item.seq, item.boot_id) for item in store.outbox(after=0, limit=9)] == [
        (1, "boot-0"),
        (2, "boot-0"),
        (3, "boot-1"),
    ]
    (gap,) = store.stats().gaps
    assert (gap.total, gap.expired) == (3, 0)
    assert store.stats().outbox_reports == 3
    assert store.damage() == ""
    store.close()


def aged(directory: Path, clock: ManualClock, boot: str) -> SqliteEdgeStore:
    return open_store(StoreSettings(directory=directory, boot_id=boot, budgets=AGEING), clock, SystemIds()).store


def test_what_waited_before_the_step_ages_from_the_step_on(tmp_path: Path) -> None:
    old_file(tmp_path, 2)
    clock = ManualClock(wall_ms=1_790_000_000_000, monotonic_s=10.0)
    store = aged(tmp_path, clock, "boot-1")
    clock.advance(2 * DAY_S - 11)
    store.apply(EdgeBatch())
    assert kept(store) == ["telemetry", "telemetry"]
    clock.advance(61)
    store.apply(EdgeBatch())
    assert kept(store) == []
    store.close()


def test_boots_add_up_whatever_the_wall_clock_says(tmp_path: Path) -> None:
    store = aged(tmp_path, ManualClock(wall_ms=0, monotonic_s=10.0), "boot-1")
    store.apply(EdgeBatch(reports=(telemetry(1),)))
    store.close()
    later = ManualClock(wall_ms=1_790_000_000_000, monotonic_s=5.0)
    store = aged(tmp_path, later, "boot-2")
    store.apply(EdgeBatch())
    assert kept(store) == ["telemetry"], "it may be a minute old: the clock was in 1970"
    later.advance(1.5 * DAY_S)
    store.apply(EdgeBatch())
    store.close()
    last = ManualClock(wall_ms=0, monotonic_s=5.0)
    store = aged(tmp_path, last, "boot-3")
    last.advance(0.4 * DAY_S)
    store.apply(EdgeBatch())
    assert kept(store) == ["telemetry"]
    last.advance(0.2 * DAY_S)
    store.apply(EdgeBatch())
    assert kept(store) == []
    store.close()


def test_one_commit_drops_no_more_than_it_may(tmp_path: Path) -> None:
    clock = ManualClock(wall_ms=0, monotonic_s=10.0)
    store = aged(tmp_path, clock, "boot-1")
    store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(DROP_ROWS + 150))))
    clock.advance(3 * DAY_S)
    store.apply(EdgeBatch())
    assert len(kept(store)) == 150
    store.apply(EdgeBatch())  # at once, not after another minute
    assert kept(store) == []
    store.close()


def test_a_budget_that_was_made_smaller_is_reached_commit_by_commit(tmp_path: Path) -> None:
    store = opened(tmp_path, budgets=OutboxBudgets()).store
    store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(DROP_ROWS + 150))))
    store.close()
    again = opened(tmp_path).store
    again.apply(EdgeBatch(reports=(telemetry(1),)))
    assert len(kept(again)) == 151
    again.apply(EdgeBatch(reports=(telemetry(2),)))
    assert len(kept(again)) == 5
    assert again.stats().gaps[0].total == DROP_ROWS + 147
    again.close()


def test_a_disk_that_does_not_say_how_full_it_is_costs_nothing(tmp_path: Path) -> None:
    def silent(directory: Path) -> int:
        raise OSError("stale")

    budgets = OutboxBudgets(free_floor=1 << 20)
    settings = StoreSettings(directory=tmp_path, boot_id="b", budgets=budgets, free_bytes=silent)
    store = open_store(settings, ManualClock(), SystemIds()).store
    store.apply(EdgeBatch(reports=tuple(telemetry(number) for number in range(1000))))
    assert kept(store).count("telemetry") == 1000
    store.close()


def test_what_the_cloud_told_is_for_the_agents_eyes_alone(tmp_path: Path) -> None:
    opened(tmp_path).store.close()
    (tmp_path / FILE_NAME).chmod(0o644)  # as an older agent made it
    store = opened(tmp_path).store
    store.apply(EdgeBatch(reports=(NewReport(report_class="event", kind="event", key="a", body=b"{}"),)))
    files = [path for path in tmp_path.iterdir() if path.name.startswith(FILE_NAME)]
    assert len(files) == 3, "the store, its log and the index of that"
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    store.close()


def test_an_object_that_can_not_be_read_is_dropped_so_that_it_is_fetched_again(tmp_path: Path) -> None:
    store = opened(tmp_path).store
    store.apply(EdgeBatch(puts=(replace(held("a"), body=b'{"kind":"ConfigMap"}'), held("b"))))
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("UPDATE objects SET body = substr(body, 1, 9) WHERE name = 'a'")
        connection.commit()
    store = opened(tmp_path).store
    assert [key.name for key, _ in store.stamps()] == ["b"]
    store.close()


def test_starts_are_kept_until_reports_may_have_left(tmp_path: Path) -> None:
    def begun(*names: str, meta: tuple[tuple[str, str], ...] = ()) -> list[int]:
        """What an agent writes in one start; the first numbers of the starts that it knew of."""
        store = opened(tmp_path).store
        firsts = [start.first for start in store.outbox_starts()]
        assert len({start.mark for start in store.outbox_starts()}) == len(firsts)
        store.apply(EdgeBatch(reports=tuple(report(name) for name in names), meta=meta))
        store.close()
        return firsts

    assert begun("a", "b") == [1]
    assert begun("c") == [1, 3]
    assert begun() == [1, 3, 4]
    assert begun("d", meta=((META_LEAVING, "yes"),)) == [1, 3, 4], "one that wrote nothing gave way"
    assert begun("e") == [5]
    assert begun() == [5, 6]


def test_what_may_have_been_sent_is_known_when_the_store_is_opened_again(tmp_path: Path) -> None:
    """Also after starts that met no cloud: what those wrote was sent by nobody."""

    def reopened() -> SqliteEdgeStore:
        return opened(tmp_path).store

    def tell(store: SqliteEdgeStore, *names: str) -> None:
        store.apply(EdgeBatch(reports=tuple(report(name) for name in names)))

    store = reopened()
    tell(store, "a", "b")
    store.close()
    store = reopened()
    assert store.outbox_left() == 0
    store.apply(EdgeBatch(meta=((META_LEAVING, "yes"),)))
    tell(store, "c")
    store.close()
    for name in ("d", "e"):
        store = reopened()
        assert store.outbox_left() == 3
        tell(store, name)
        store.close()
    with closing(
        sqlite3.connect(tmp_path / FILE_NAME)
    ) as connection:  # as an agent left it that knew nothing of this
        connection.execute("DELETE FROM meta WHERE name LIKE 'outbox_%'")
        connection.commit()
    store = reopened()
    assert store.outbox_left() == 5
    store.begin_life("second", ())
    store.close()
    store = reopened()
    assert (store.incarnation, store.outbox_left()) == ("second", 0)
    store.close()


def test_who_reads_while_others_write_finds_no_hole_in_what_was_written_together(tmp_path: Path) -> None:
    """A status and the events that belong to it: a number that is missing between others is taken for nothing."""
    store = opened(tmp_path, budgets=OutboxBudgets()).store

    def write() -> None:
        for number in range(150):
            state = NewReport(report_class="state", kind="pod_status", key=str(number), body=b"{}")
            event = NewReport(report_class="event", kind="event", key="", body=b"{}")
            store.apply(EdgeBatch(reports=(state, event, event)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        after = 0
        while writer.is_alive() or after < store.outbox_head():
            seqs = [item.seq for item in store.outbox(after=after, limit=50, lane=PROMPT)]
            assert seqs == [*range(after + 1, after + 1 + len(seqs))]
            after = seqs[-1] if seqs else after
    finally:
        writer.join()
    assert after == 450
    store.close()
