"""The SQL form keeps the store's promises, on a real file; and what only a file can do wrong."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudcore.store.port import Batch, Record, Store
from cloudcore.store.sql import SqlStore, open_sql_store
from cloudcore.store.sql_tables import tables as tables_of_today
from cloudcore.store.sql_writer import GROUP
from cloudcore.store.sqlite import SqliteSettings
from skerry.clocks import SeededIds
from skerry.errors import StorageFullError, UnavailableError
from skerry.objects.meta import Revision
from skerry.sync.received import Received
from tests.contracts.store_contract import StoreContract, check_schema_2
from tests.contracts.store_writes import Disk, key, put, write

RELEASED = Path(__file__).parents[2] / "released" / "v1"
"""Files that the first release wrote."""
WRITTEN = Path(__file__).parent / "written"
"""Files that versions between releases wrote."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def disk(path: Path) -> AsyncIterator[Disk]:
    opened: list[SqlStore] = []

    async def reopen() -> Store:
        if opened and not opened[-1].closed:
            return opened[-1]
        opened.append(await open_sql_store(path, ids=SeededIds(len(opened))))
        return opened[-1]

    yield reopen
    for store in opened:
        await store.close()


class TestSqlStore(StoreContract):
    pass


async def test_what_is_urgent_is_committed_before_what_waits(disk: Disk) -> None:
    store = await disk()
    waiting = [asyncio.ensure_future(write(store, put(key(f"w{number}")))) for number in range(1000)]
    await asyncio.sleep(0)
    (urgent,) = await store.commit(Batch(writes=(put(key("now")),), urgent=True))
    revisions = await asyncio.gather(*waiting)
    assert urgent < max(revision for (revision,) in revisions) - GROUP


async def test_the_file_is_readable_by_its_owner_only(disk: Disk, path: Path) -> None:
    await write(await disk(), put(key("a")))
    files = sorted(file.name for file in path.parent.iterdir())
    assert files == ["store.db", "store.db-shm", "store.db-wal", "store.db.lock"]
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_second_opener_is_refused_and_told_who_holds_the_file(disk: Disk, path: Path) -> None:
    store = await disk()
    with pytest.raises(UnavailableError, match=f"in use by another process .pid {os.getpid()}."):
        await open_sql_store(path, ids=SeededIds(9))
    await store.close()
    again = await open_sql_store(path, ids=SeededIds(9))
    await again.close()


async def test_a_locked_database_is_reported_after_a_bounded_wait_and_nothing_is_lost(path: Path) -> None:
    store = await open_sql_store(path, ids=SeededIds(1), settings=SqliteSettings(lock_wait_s=0.05))
    await write(store, put(key("a")))
    intruder = sqlite3.connect(path, isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match=r"locked by another process \(waited 0.05 s\)"):
        await write(store, put(key("b")))
    assert await store.get(key("a")) is not None
    intruder.execute("ROLLBACK")
    intruder.close()
    assert await write(store, put(key("b"))) == (2,)
    await store.close()


async def test_a_full_disk_is_reported_and_what_was_there_stays(path: Path) -> None:
    store = await open_sql_store(path, ids=SeededIds(1), settings=SqliteSettings(max_bytes=200_000))
    await write(store, put(key("a")))
    with pytest.raises(StorageFullError, match="full"):
        await write(store, put(key("b"), "x" * 300_000))
    assert await store.revision() == 1
    assert await write(store, put(key("c"))) == (2,)
    await store.close()


async def test_another_schema_version_is_refused_and_left_alone(path: Path, disk: Disk) -> None:
    store = await disk()
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET schema = 99")
    connection.close()
    with pytest.raises(UnavailableError, match="schema version 99"):
        await open_sql_store(path, ids=SeededIds(9))


async def test_a_store_of_the_first_release_is_brought_here_in_place(path: Path) -> None:
    """`cloud.db` was written by 0.1.0: two states of an object, readings, and the positions of two nodes."""
    shutil.copy(RELEASED / "cloud.db", path)
    for life in (1, 2):
        store = await open_sql_store(path, ids=SeededIds(life))
        assert await store.revision() == 2
        (record,) = await store.arrivals("default/plant-7/temperature")
        assert await store.records("default/plant-7/temperature") == [record]
        assert (record.number, record.at_ms) == (1, 1_789_999_000_041)
        for node, incarnation, seq in (("plant-7", "7f3a9c51d2e84b60", 41), ("plant-8", "00aa", 7)):
            position = await store.position(node)
            assert position is not None
            assert (position.incarnation, position.session) == (incarnation, life)
            assert position.received == Received.upto(seq), "the one position counts for both lanes"
            assert (await store.enter(node, incarnation, hub=f"hub-{life}")).session == life + 1
        assert [entry.hub for entry in await store.entries()] == [f"hub-{life}"] * 2
        await store.close()
    with sqlite3.connect(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        made = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'outboxes'").fetchone()
    connection.close()
    assert tables == set(tables_of_today.tables), "as if made today"
    assert "PRIMARY KEY (node, incarnation)" in made[0]


async def test_a_store_of_schema_2_is_brought_here_in_place(path: Path) -> None:
    """`schema-2.db` was written by the program that had it: a backlog that arrived behind what was read later."""
    shutil.copy(WRITTEN / "schema-2.db", path)
    for life in (1, 2):
        store = await open_sql_store(path, ids=SeededIds(life))
        await check_schema_2(store, life=life)
        await store.close()
    fresh = path.with_name("fresh.db")
    await (await open_sql_store(fresh, ids=SeededIds(3))).close()
    assert shape(path) == shape(fresh), "as if made today"


def shape(path: Path) -> dict[str, set[str]]:
    """Columns and indexes of each table."""
    with sqlite3.connect(path) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            name: {str(row[1:4]) for row in connection.execute(f"PRAGMA table_info({name})")}
            | {str(row[1]) for row in connection.execute(f"PRAGMA index_list({name})")}
            for name in names
        }
    connection.close()
    return found


async def test_a_crash_while_a_store_is_brought_here_leaves_the_old_one(path: Path) -> None:
    shutil.copy(RELEASED / "cloud.db", path)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE outboxes (in_the_way TEXT)")
    connection.close()
    with pytest.raises(UnavailableError):
        await open_sql_store(path, ids=SeededIds(1))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT schema FROM meta").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM positions").fetchone() == (2,)
        connection.execute("DROP TABLE outboxes")
    connection.close()
    store = await open_sql_store(path, ids=SeededIds(1))
    assert await store.position("plant-7") is not None
    await store.close()


@pytest.fixture
def broken(path: Path) -> Path:
    path.write_bytes(b"not a database" * 100)
    return path


async def test_a_file_that_is_no_database_is_refused(broken: Path) -> None:
    said = re.escape("is damaged (file is not a database): restore a backup (docs/howto/backups.md)")
    with pytest.raises(UnavailableError, match=said):
        await open_sql_store(broken, ids=SeededIds(9))


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file or directory"):
        await open_sql_store(tmp_path / "nowhere" / "store.db", ids=SeededIds(9))


async def test_a_restored_copy_begins_a_new_epoch(path: Path, disk: Disk) -> None:
    store = await disk()
    await write(store, put(key("a")))
    epoch = store.epoch
    await store.close()
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    backup.replace(path)
    restored = await open_sql_store(path, ids=SeededIds(9))
    assert restored.epoch != epoch
    assert await restored.revision() == 1
    second = restored.epoch
    await restored.close()
    again = await open_sql_store(path, ids=SeededIds(10))
    assert again.epoch == second
    await again.close()


async def test_what_was_accepted_is_finished_on_close(path: Path) -> None:
    store = await open_sql_store(path, ids=SeededIds(1))
    writing = [asyncio.create_task(write(store, put(key(f"w{number}")))) for number in range(300)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*writing)) == 300
    again = await open_sql_store(path, ids=SeededIds(1))
    assert await again.revision() == 300
    await again.close()


async def test_writers_go_on_between_the_steps_of_a_long_compaction(path: Path) -> None:
    store = await open_sql_store(path, ids=SeededIds(1))
    for _ in range(5):
        await write(store, *(put(key(f"k{number}")) for number in range(1000)))
    compacting = asyncio.create_task(store.compact(Revision(5000)))
    await asyncio.sleep(0)
    written = await write(store, put(key("between")))
    assert written == (5001,)
    assert not compacting.done()
    await compacting
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (1,)
    connection.close()
    await store.close()


async def test_more_records_than_a_step_are_trimmed(path: Path) -> None:
    store = await open_sql_store(path, ids=SeededIds(1))
    await store.commit(Batch(records=tuple(Record(series="s", at_ms=number, body=b"") for number in range(3000))))
    assert await store.trim_records(before_ms=1500, keep_per_series=200) == 2800
    assert [record.at_ms for record in await store.records("s")] == list(range(2800, 3000))
    await store.close()


async def test_a_watcher_behind_the_ring_reads_on_from_the_log(path: Path) -> None:
    store = await open_sql_store(path, ids=SeededIds(1))
    for _ in range(10):
        await write(store, *(put(key(f"k{number}")) for number in range(1000)))
    seen = 0
    async for change in store.watch(after=Revision(0)):
        seen += 1
        assert change.revision == seen
        if seen == 10_000:
            break
    await store.close()
