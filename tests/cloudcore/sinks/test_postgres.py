"""Where a Sink connects to, and as whom: what it and its Secret say, and nothing of the cloud's surroundings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict

from cloudcore.pki.certificates import certificate_pem, new_authority
from cloudcore.sinks import postgres
from cloudcore.sinks.port import RefusedRowsError, SlowError
from cloudcore.sinks.postgres import PostgresReceiver
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from tests.cloudcore.sinks.test_forms import AT_MS, HOLE, ROW

SPEC: JsonObject = {"postgres": {"host": "db.example", "database": "plant"}}
SECRET = {"username": "skerry", "password": "hunter2"}


@dataclass
class Server:
    """What a connection is asked."""

    table: str | None = None
    """None: there is none."""
    fails_with: Exception | None = None
    hangs: bool = False
    conninfos: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    roots: list[str] = field(default_factory=list[str])
    """What the files of the authorities held."""
    asked: list[str] = field(default_factory=list[str])
    rows: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    closed: int = 0

    async def connect(self, conninfo: str) -> Server:
        given = conninfo_to_dict(conninfo)
        self.conninfos.append(given)
        path = Path(str(given["sslrootcert"]))
        self.roots.append(path.read_text() if path.exists() else "")
        return self

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        yield

    @asynccontextmanager
    async def cursor(self) -> AsyncGenerator[Server]:
        yield self

    async def execute(self, query: object, values: Sequence[object] = ()) -> Server:
        self.asked.append(str(query) if isinstance(query, str) else cast(Any, query).as_string(None))
        self.asked += map(str, values)
        return self

    async def fetchone(self) -> tuple[str | None]:
        return (self.table,)

    async def executemany(self, query: object, rows: list[tuple[object, ...]]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails_with is not None:
            raise self.fails_with
        self.rows += rows

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(psycopg.AsyncConnection, "connect", made.connect)
    return made


def sink(**database: Any) -> JsonObject:
    return {"postgres": {"host": "db.example", "database": "plant", **database}}


async def send(spec: JsonObject, secret: dict[str, str], *rows: Any) -> None:
    await PostgresReceiver(spec, secret, epoch="e1").send(rows or (ROW,))


async def test_all_that_libpq_would_take_from_elsewhere_is_given(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = [option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar]
    assert {"PGPASSWORD", "PGHOSTADDR", "PGOPTIONS", "PGSSLMODE", "PGREQUIREAUTH", "PGSSLCERT"} <= set(variables)
    for name in variables:
        monkeypatch.setenv(name, "of-the-cloud")
    await send(sink(port=5433), {"username": "skerry"})
    (given,) = server.conninfos
    assert (given["host"], given["port"], given["dbname"], given["user"]) == ("db.example", "5433", "plant", "skerry")
    assert (given["password"], given["hostaddr"], given["options"]) == ("", "", "")
    assert "of-the-cloud" not in given.values()
    said = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    assert said - given.keys() == {"service"}
    for name in ("passfile", "sslcert", "sslkey", "sslcrl"):
        assert not Path(str(given[name])).exists(), name
    assert given["sslmode"] == "verify-full"
    assert given["sslrootcert"] == "system" or Path(str(given["sslrootcert"])).exists()


@pytest.mark.parametrize(
    ("host", "allow_plain", "own", "mode"),
    [
        ("db.example", False, False, "verify-full"),
        ("db.example", True, False, "prefer"),
        ("db.example", True, True, "verify-full"),
        ("127.0.0.1", False, False, "prefer"),
        ("localhost", False, True, "verify-full"),
    ],
)
async def test_a_certificate_is_checked_unless_the_sink_says_otherwise(
    server: Server, host: str, allow_plain: bool, own: bool, mode: str
) -> None:
    pem = certificate_pem(new_authority(name="somebody", now=datetime.now(UTC)).certificate) if own else ""
    await send(sink(host=host) | {"allowPlain": allow_plain}, SECRET | ({"ca.crt": pem} if own else {}))
    (given,) = server.conninfos
    assert (given["sslmode"], given["port"], given["password"]) == (mode, "5432", "hunter2")
    assert not own or (server.roots == [pem] and not Path(str(given["sslrootcert"])).exists())


async def test_a_secret_that_does_not_say_who_is_told_so(server: Server) -> None:
    with pytest.raises(UnavailableError, match="no `username`"):
        await send(SPEC, {"password": "hunter2"})
    with pytest.raises(UnavailableError, match=r"ca\.crt is no certificate"):
        await send(SPEC, SECRET | {"ca.crt": "none"})
    assert not server.conninfos


async def test_a_table_is_made_where_there_is_none_and_otherwise_nobody_tries(server: Server) -> None:
    receiver = PostgresReceiver(sink(table="plant.readings"), SECRET, epoch="e1")
    await receiver.send([ROW])
    assert server.asked[:2] == ["SELECT to_regclass(%s)", '"plant"."readings"']
    assert server.asked[2].startswith('CREATE TABLE IF NOT EXISTS "plant"."readings" (')
    await receiver.send([ROW])
    assert len(server.asked) == 3, "once a connection"
    await receiver.close()
    server.table = "readings"
    await receiver.send([ROW])
    assert len(server.asked) == 5 and server.closed == 1


async def test_what_a_row_is_in_a_table(server: Server) -> None:
    text = replace(ROW, value="on", type="STRING", estimated=True)
    await send(SPEC, SECRET, ROW, text, HOLE)
    when = datetime.fromtimestamp(AT_MS / 1000, UTC)
    about = (when, "plant", "pump-1", "flow", "eu-1")
    assert server.rows == [
        ("e1", 7, *about, 21.5, "21.5", "good", 4, False, None, 0, 0),
        ("e1", 7, *about, None, "on", "good", 4, True, None, 0, 0),
        ("e1", 8, *about, None, None, "", 0, False, "0a1b.1", 12, 5),
    ]


@pytest.mark.parametrize("error", [errors.CheckViolation("no"), errors.NumericValueOutOfRange("no")])
async def test_what_the_table_does_not_take_is_a_row_at_fault(server: Server, error: Exception) -> None:
    server.fails_with = error
    with pytest.raises(RefusedRowsError, match="no"):
        await send(SPEC, SECRET)
    assert server.closed == 0, "the connection is good"


async def test_a_time_that_no_column_knows_is_a_row_at_fault(server: Server) -> None:
    with pytest.raises(RefusedRowsError, match="no time"):
        await send(SPEC, SECRET, replace(ROW, at_ms=10**18))


async def test_a_missing_right_is_for_people_to_mend_and_silence_is_too_much_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fails_with = errors.InsufficientPrivilege("permission denied")
    with pytest.raises(UnavailableError, match="permission denied"):
        await send(SPEC, SECRET)
    server.hangs = True
    monkeypatch.setattr(postgres, "TIMEOUT_S", 0.01)
    with pytest.raises(SlowError):
        await send(SPEC, SECRET)
    assert server.closed == 2
