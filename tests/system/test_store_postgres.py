"""The PostgreSQL form keeps the store's promises, on a real server; and what only a server can do wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from cloudcore.store import sql_tables
from cloudcore.store.failing import FailingStore
from cloudcore.store.port import Change, Store
from cloudcore.store.postgres import PostgresDatabase, PostgresSettings, connection_options, open_postgres_store
from cloudcore.store.sql import SqlStore
from skerry.clocks import SeededIds
from skerry.errors import GoneError, UnavailableError
from skerry.objects.meta import Revision
from tests.contracts.shared_store_contract import SharedStoreContract
from tests.contracts.store_contract import StoreContract, check_schema_2
from tests.contracts.store_writes import Disk, Several, key, names, put, take, write
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server

pytestmark = [pytest.mark.system, pytest.mark.long]

WRITTEN = Path(__file__).parents[1] / "cloudcore" / "store" / "written"


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with postgres_server(durable=False) as found:
        yield found


@pytest.fixture
def dsn(server: PostgresServer) -> str:
    return server.dsn(server.create_database())


@pytest.fixture
async def disk(dsn: str) -> AsyncIterator[Disk]:
    opened: list[SqlStore] = []

    async def reopen() -> Store:
        if opened and not opened[-1].closed:
            return opened[-1]
        opened.append(await open_postgres_store(dsn, ids=SeededIds(len(opened))))
        return opened[-1]

    yield reopen
    for store in opened:
        await store.close()


class TestPostgresStore(StoreContract):
    pass


@pytest.fixture
async def several(dsn: str) -> AsyncIterator[Several]:
    opened: list[SqlStore] = []

    async def open_several(count: int) -> Sequence[Store]:
        opened.extend(
            await asyncio.gather(*(open_postgres_store(dsn, ids=SeededIds(100 + number)) for number in range(count)))
        )
        return opened

    yield open_several
    for store in opened:
        await store.close()


class TestSeveralPostgresStores(SharedStoreContract):
    pass


class TestSeveralFailingPostgresStores(SharedStoreContract):
    @pytest.fixture
    async def several(self, several: Several) -> Several:
        async def open_several(count: int) -> Sequence[Store]:
            return [FailingStore(store) for store in await several(count)]

        return open_several


class TestFailingPostgresStore(StoreContract):
    """The failing form over it, while nothing is planned to fail."""

    @pytest.fixture
    async def disk(self, disk: Disk) -> Disk:
        async def reopen() -> Store:
            return FailingStore(await disk())

        return reopen


# What only a server can do wrong


async def test_names_are_ordered_byte_by_byte_whatever_the_databases_own_order(disk: Disk) -> None:
    store = await disk()
    given = ["a-b", "aa", "a.b", "B", "a", "Z", "\u00e9"]
    await write(store, *(put(key(name)) for name in given))
    assert names(await store.list("pods")) == sorted(given)
    first = await store.list("pods", limit=3)
    assert names(await store.list("pods", after=first.next_after)) == sorted(given)[3:]


@pytest.fixture
def plug() -> Generator[PostgresServer]:
    """A server that syncs to its disk, and may be killed."""
    with postgres_server() as found:
        yield found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["fast", "immediate", "kill"])
async def test_a_restart_under_load_loses_no_acknowledged_write_and_no_watch_event(
    plug: PostgresServer, how: signal.Signals
) -> None:
    dsn = plug.dsn(plug.create_database())
    stores = [await open_postgres_store(dsn, ids=SeededIds(number)) for number in range(2)]
    acknowledged: dict[Revision, str] = {}
    stopping = asyncio.Event()

    async def writer(store: Store, name: str) -> None:
        turn = 0
        while not stopping.is_set():
            turn += 1
            with suppress(UnavailableError):
                (revision,) = await write(store, put(key(name), str(turn)))
                acknowledged[revision] = f"{name} {turn}"

    seen: list[list[Change]] = [[], []]

    async def watcher(store: Store, into: list[Change]) -> None:
        while True:
            after = into[-1].revision if into else Revision(0)
            with suppress(UnavailableError):
                async for change in store.watch(after=after):
                    into.append(change)  # noqa: PERF401 - it never ends
            await asyncio.sleep(0.05)

    watching = [asyncio.create_task(watcher(store, into)) for store, into in zip(stores, seen, strict=True)]
    writing = [
        asyncio.create_task(writer(store, f"w{at}-{number}"))
        for at, store in enumerate(stores)
        for number in range(8)
    ]

    async def more() -> None:
        before = len(acknowledged)
        await _until(lambda: len(acknowledged) > before + 50)

    for _ in range(2):
        await more()
        await asyncio.to_thread(plug.stop, how)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(plug.start)
    await more()
    stopping.set()
    await asyncio.gather(*writing)
    newest = await stores[0].revision()
    await _until(lambda: all(into and into[-1].revision == newest for into in seen))
    for task in watching:
        task.cancel()
    for into in seen:
        assert [change.revision for change in into] == list(range(1, newest + 1))
        told = {change.revision: f"{change.key.name} {json.loads(change.after or b'')['data']}" for change in into}
        assert acknowledged.items() <= told.items()
    for store in stores:
        await store.close()


async def test_a_commit_whose_answer_was_lost_is_found_out(dsn: str) -> None:
    store = await open_postgres_store(dsn, ids=SeededIds(1))
    watching = asyncio.create_task(take(store.watch(after=Revision(0)), 3))
    await write(store, put(key("a")))
    for name, carried_out in (("carried-out", True), ("lost", False)):
        _sever_at_next_commit(store, carried_out=carried_out)
        await write(store, put(key(name)))
    assert names(await store.list("pods")) == ["a", "carried-out", "lost"]
    assert [change.revision for change in await watching] == [1, 2, 3]
    await store.close()


def _sever_at_next_commit(store: SqlStore, *, carried_out: bool) -> None:
    """Break the writer's connection at its next COMMIT: before the server has it, or before its answer comes."""
    engine = store._database.writer

    def at_commit(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        if carried_out:
            raw.execute(b"COMMIT")
        with socket.socket(fileno=os.dup(raw.fileno())) as connected:
            connected.shutdown(socket.SHUT_RDWR)

    event.listen(engine, "commit", at_commit, once=True)


async def test_a_writer_that_stops_in_the_middle_holds_nobody_up_for_long(dsn: str) -> None:
    store = await open_postgres_store(dsn, ids=SeededIds(1))
    await write(store, put(key("a")))
    options = connection_options(dsn, {}, PostgresSettings(idle_s_max=0.5))
    stuck = PostgresDatabase(options, PostgresSettings(idle_s_max=0.5), writer_name="stuck")
    holding = stuck.writer.connect()
    transaction = holding.begin()
    holding.execute(sql_tables.lock_meta)
    assert await write(store, put(key("b"))) == (2,)
    with pytest.raises(DBAPIError) as error:
        holding.execute(sql_tables.update_numbers, {"b_rev": 9, "b_record_number": 9})
    assert "nothing was written" in str(stuck.explain(error.value))
    transaction.close()
    holding.close()
    stuck.close()
    await store.close()


async def test_an_idle_connection_that_was_lost_costs_no_write_and_no_read(dsn: str, server: PostgresServer) -> None:
    store = await open_postgres_store(dsn, ids=SeededIds(1))
    await write(store, put(key("a")))
    _end_sessions(server, dsn)
    assert await write(store, put(key("b"))) == (2,)
    _end_sessions(server, dsn)
    assert names(await store.list("pods")) == ["a", "b"]
    await store.close()


async def test_a_lost_listener_comes_back_and_missed_nothing(dsn: str, server: PostgresServer) -> None:
    one, other = [await open_postgres_store(dsn, ids=SeededIds(number)) for number in range(2)]
    watching = asyncio.create_task(take(other.watch(after=Revision(0)), 3))
    for number in range(3):
        await write(one, put(key(f"k{number}")))
        _end_sessions(server, dsn)
    assert [change.revision for change in await watching] == [1, 2, 3]
    for store in (one, other):
        await store.close()


async def test_a_database_that_stays_away_is_said_and_nothing_is_written(plug: PostgresServer) -> None:
    settings = PostgresSettings(patience_s=0.3, doubt_s=0.5, connect_s=1)
    store = await open_postgres_store(plug.dsn(plug.create_database()), ids=SeededIds(1), settings=settings)
    await write(store, put(key("a")))
    await asyncio.to_thread(plug.stop)
    for asked in (write(store, put(key("b"))), store.revision(), store.list("pods")):
        with pytest.raises(UnavailableError, match="can't be reached"):
            await asked
    await asyncio.to_thread(plug.start)
    assert names(await store.list("pods")) == ["a"]
    assert await write(store, put(key("b"))) == (2,)
    await store.close()


async def test_a_restored_dump_begins_a_new_epoch(server: PostgresServer) -> None:
    name = server.create_database()
    store = await open_postgres_store(server.dsn(name), ids=SeededIds(1))
    await write(store, put(key("a")))
    await store.close()
    again = await open_postgres_store(server.dsn(name), ids=SeededIds(2))
    assert again.epoch == store.epoch
    await again.close()
    restored_name = server.create_database()
    server.copy(name, restored_name)
    restored = await open_postgres_store(server.dsn(restored_name), ids=SeededIds(3))
    assert restored.epoch != store.epoch
    assert (await restored.revision(), names(await restored.list("pods"))) == (1, ["a"])
    await restored.close()


async def test_a_store_whose_database_was_replaced_ends_its_watches(server: PostgresServer) -> None:
    name = server.create_database()
    settings = PostgresSettings(patience_s=0.2)
    store = await open_postgres_store(server.dsn(name), ids=SeededIds(1), settings=settings)
    await write(store, put(key("a")))
    watching = asyncio.create_task(take(store.watch(after=Revision(1)), 1))
    copy = server.create_database()
    server.copy(name, copy)
    _replace(server, name, copy)
    with pytest.raises(GoneError, match="another database than before"):
        await watching
    with pytest.raises(UnavailableError, match="another database than before"):
        await write(store, put(key("b")))
    await store.close()


async def test_a_store_of_schema_2_is_brought_here_in_place(server: PostgresServer) -> None:
    name = server.create_database()
    server.restore(WRITTEN / "schema-2.sql", name)
    for life in (1, 2):
        store = await open_postgres_store(server.dsn(name), ids=SeededIds(life))
        await check_schema_2(store, life=life)
        await store.close()
    fresh = server.create_database()
    await (await open_postgres_store(server.dsn(fresh), ids=SeededIds(3))).close()
    columns = """SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name
                 FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"""
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    for asked in (columns, indexes):
        assert server.run_sql(asked, name) == server.run_sql(asked, fresh), "as if made today"


async def test_another_schema_version_is_refused_and_left_alone(dsn: str, server: PostgresServer) -> None:
    store = await open_postgres_store(dsn, ids=SeededIds(1))
    await store.close()
    server.run_sql("UPDATE meta SET schema = 99", _database(dsn))
    with pytest.raises(UnavailableError, match="schema version 99"):
        await open_postgres_store(dsn, ids=SeededIds(2))


async def test_a_database_with_foreign_tables_is_left_alone(dsn: str, server: PostgresServer) -> None:
    server.run_sql("CREATE TABLE log (line text)", _database(dsn))
    with pytest.raises(UnavailableError, match="table 'log' that is not Skerry's"):
        await open_postgres_store(dsn, ids=SeededIds(1))
    tables = server.run_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", _database(dsn))
    assert tables == [("log",)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"password": "wrong"}, "password authentication failed.*check the user and the password"),
        ({"database": "nowhere"}, "does not exist.*create the database"),
        ({"user": "reader"}, "may not create or use the tables"),
    ],
)
async def test_what_an_operator_gets_wrong_is_named(
    server: PostgresServer, change: dict[str, str], told: str
) -> None:
    if not server.run_sql("SELECT 1 FROM pg_roles WHERE rolname = 'reader'"):
        server.run_sql(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
    name = server.create_database()
    server.run_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
    dsn = server.dsn(change.pop("database", name), **change)
    with pytest.raises(UnavailableError, match=told) as error:
        await open_postgres_store(dsn, ids=SeededIds(1))
    assert PASSWORD not in str(error.value)
    assert "wrong" not in str(error.value)


async def test_one_of_several_hosts_is_enough(server: PostgresServer) -> None:
    name = server.create_database()
    hosts = f"127.0.0.1:1,127.0.0.1:{server.port}"
    store = await open_postgres_store(f"postgresql://postgres:{PASSWORD}@{hosts}/{name}", ids=SeededIds(1))
    assert await write(store, put(key("a"))) == (1,)
    await store.close()


async def test_two_that_open_an_empty_database_at_once_agree(dsn: str) -> None:
    stores = await asyncio.gather(*(open_postgres_store(dsn, ids=SeededIds(number)) for number in range(5)))
    assert len({store.epoch for store in stores}) == 1
    for store in stores:
        await store.close()


def _database(dsn: str) -> str:
    return dsn.rpartition("/")[2]


def _end_sessions(server: PostgresServer, dsn: str) -> None:
    """End every session on the database, as a failing network would."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (_database(dsn),)
        )


def _replace(server: PostgresServer, old: str, new: str) -> None:
    """Put another database in the place of one that is in use."""
    server.run_sql(f'ALTER DATABASE "{old}" ALLOW_CONNECTIONS false')
    _end_sessions(server, server.dsn(old))
    server.run_sql(f'ALTER DATABASE "{old}" RENAME TO "{old}_before"')
    server.run_sql(f'ALTER DATABASE "{new}" RENAME TO "{old}"')


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)
