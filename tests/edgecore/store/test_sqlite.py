"""The SQLite form of the edge store: the contract, and what disks do to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from edgecore.store.port import META_KNOWN_MS, EdgeBatch, EdgeStore, NewReport, OutboxBudgets
from edgecore.store.schema import VERSION
from edgecore.store.sqlite import FILE_NAME, OpenedStore, SqliteEdgeStore, StoreSettings, open_store
from skerry.clocks import ManualClock, SystemIds
from skerry.errors import StorageFullError, UnavailableError
from skerry.objects.meta import Key
from skerry.sync.ages import known_ms
from skerry.sync.ports import Reading
from tests.contracts.edge_store_contract import (
    BUDGETS,
    EdgeStoreContract,
    OpenStore,
    held,
    report,
    telemetry,
)


def opened(directory: Path, *, budgets: OutboxBudgets = BUDGETS, boot: str = "boot-1", pages: int = 0) -> OpenedStore:
    settings = StoreSettings(directory=directory, boot_id=boot, budgets=budgets, max_pages=pages)
    return open_store(settings, ManualClock(), SystemIds())


class TestSqlite(EdgeStoreContract):
    @pytest.fixture
    def open_store(self, clock: ManualClock, tmp_path: Path) -> Iterator[OpenStore]:
        stores: list[SqliteEdgeStore] = []
        number = count()

        def make(budgets: OutboxBudgets) -> EdgeStore:
            settings = StoreSettings(directory=tmp_path / str(next(number)), boot_id="boot-1", budgets=budgets)
            stores.append(open_store(settings, clock, SystemIds()).store)
            return stores[-1]

        yield make
        for store in stores:
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
    assert result.store.incarnation != incarnation
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
    kept = [boot.boot_id for boot in store.boots()]
    assert len(kept) <= 4
    assert {"boot-1", "boot-2", "boot-8"} <= set(kept), "what dates a report, and what bounds it"
    store.close()


def _without_times(store: SqliteEdgeStore) -> None:
    for column in ("opened_ms", "last_ms", "floor_ms", "said_ms", "heard_ms", "server_ms"):
        store._writer.execute(f"ALTER TABLE boots DROP COLUMN {column}")


def test_a_file_of_the_second_version_learns_what_boots_know_of_time(tmp_path: Path) -> None:
    store = opened(tmp_path).store
    store.apply(EdgeBatch(reports=(NewReport(report_class="event", kind="event", key="", body=b"{}"),)))
    _without_times(store)
    store._writer.execute("PRAGMA user_version = 2")
    store.close()
    again = opened(tmp_path, boot="boot-2").store
    earlier, present = again.boots()
    assert (earlier.boot_id, earlier.floor_ms, earlier.reading) == ("boot-1", 0, None)
    assert present.boot_id == "boot-2"
    assert [item.boot_id for item in again.outbox(after=0, limit=9)] == ["boot-1"]
    again.close()


def test_a_file_of_the_first_version_learns_of_commands(tmp_path: Path) -> None:
    store = opened(tmp_path).store
    store.apply(EdgeBatch(puts=(held("a"),)))
    store._writer.execute("DROP TABLE commands")
    _without_times(store)
    store._writer.execute("PRAGMA user_version = 1")
    store.close()
    again = opened(tmp_path).store
    again.apply(EdgeBatch(commands=(("u", b"begun"),)))
    assert list(again.commands()) == [("u", b"begun")]
    assert [item.key.name for item in again.list("configmaps")] == ["a"]
    again.close()
