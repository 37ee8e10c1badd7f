"""A Sink over changes of leader: what is sent again, what is not, and that nothing is left out."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from cloudcore.store.port import Batch, Record
from cloudcore.store.postgres import open_postgres_store
from skerry.clocks import SystemIds
from skerry.objects.json import JsonObject, int_at
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.system.cloud_process import CloudProcess
from tests.system.real_fleet import until
from tests.system.several_clouds import SeveralClouds, find, leader_of, several_clouds

pytestmark = [pytest.mark.system, pytest.mark.long]
SINKS = "/apis/skerry.dev/v1/namespaces/default/sinks"


class Hook(BaseHTTPRequestHandler):
    """Python's own server: keeps the numbers of the rows that it was sent."""

    numbers: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Hook.numbers += [row["number"] for row in json.loads(body)["items"]]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the one above it has it
        """Nothing."""


@pytest.fixture
def hook() -> Generator[str]:
    Hook.numbers = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}/in"
    server.shutdown()
    server.server_close()
    serving.join(10)


class Readings:
    """A history that goes on, whichever cloud leads: ten rows at a time, in the clouds' own store."""

    def __init__(self, dsn: str) -> None:
        self.newest = 0
        self._dsn = dsn
        self._begun_ms = round(time.time() * 1000)  # older ones than a month would be trimmed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), daemon=True)

    def __enter__(self) -> Readings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    async def _write(self) -> None:
        store = await open_postgres_store(self._dsn, ids=SystemIds())
        try:
            while not self._stop.is_set():
                records = tuple(self._record(self.newest + more) for more in range(1, 11))
                await store.commit(Batch(records=records))
                self.newest = await store.newest_record()
                await asyncio.sleep(0.1)
        finally:
            await store.close()

    def _record(self, number: int) -> Record:
        body = {"seq": number, "value": str(number), "type": "INT", "q": "good", "node": "eu-1"}
        return Record(series="default/plc/count", at_ms=self._begun_ms + number, body=json.dumps(body).encode())


def make(cloud: CloudProcess, name: str, **spec: Any) -> None:
    client = cloud.client()
    body: JsonObject = {"from": "Beginning", "batch": 25, **spec}
    client.request(
        "POST", SINKS, body={"apiVersion": "skerry.dev/v1", "kind": "Sink", "metadata": {"name": name}, "spec": body}
    )


def cursor(cloud: CloudProcess, name: str = "hook") -> int:
    return int_at(find(cloud, f"{SINKS}/{name}") or {}, "status", "cursor")


def repeats(numbers: list[int]) -> list[tuple[int, int]]:
    """Where it went back: from which number to which. No step forward leaves any out."""
    assert numbers[0] == 1
    left = [(before, after) for before, after in pairwise(numbers) if after > before + 1]
    assert not left, f"rows were left out: {left}"
    return [(before, after) for before, after in pairwise(numbers) if after <= before]


def leading(clouds: SeveralClouds) -> CloudProcess:
    until(lambda: leader_of(clouds), "one leads", deadline_s=90)
    found = leader_of(clouds)
    assert found is not None
    return found


def test_over_changes_of_leader_every_row_arrives_in_order_and_only_a_kill_has_some_sent_again(
    tmp_path: Path, hook: str
) -> None:
    with postgres_server(durable=False) as server, several_clouds(tmp_path, server) as clouds:
        first = leading(clouds)
        name = server.create_database()
        secret = {key: base64.b64encode(value.encode()).decode() for key, value in credentials().items()}
        client = first.client()
        obj: JsonObject = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "table"}, "data": {**secret}}
        client.request("POST", "/api/v1/namespaces/default/secrets", body=obj)
        with Readings(clouds.dsn) as readings:
            make(first, "hook", webhook={"url": hook})
            table: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "database": name, "table": "plant"}
            make(first, "table", postgres=table, secretRef={"name": "table"})
            until(lambda: len(Hook.numbers) > 300 and cursor(first) > 0, "rows to arrive")
            sent_before = cursor(first)
            clouds.kill(first)
            killed_at = len(Hook.numbers)
            second = leading(clouds)
            until(lambda: Hook.numbers[-1] > readings.newest - 50, "the other one to go on", deadline_s=90)
            for before, after in repeats(Hook.numbers):
                assert after > sent_before, "what the status said to be sent is not sent again"
                assert before - after < 500, "no more than some seconds"
            clouds.start(first)
            calm = len(Hook.numbers)
            assert calm > killed_at
            second.stop(signal.SIGTERM)
            assert leading(clouds) is first
            until(lambda: Hook.numbers[-1] > readings.newest - 50, "the first one to go on", deadline_s=90)
            assert repeats([*range(1, Hook.numbers[calm]), *Hook.numbers[calm:]]) == [], (
                "who stops says how far it is"
            )
        until(lambda: Hook.numbers[-1] == readings.newest, "all of them", deadline_s=90)
        until(lambda: cursor(first, "table") == readings.newest, "all of them", deadline_s=90)
        assert set(Hook.numbers) == set(range(1, readings.newest + 1))
        check_table(server, name, readings.newest)


def credentials() -> dict[str, str]:
    return {"username": "postgres", "password": PASSWORD}


def check_table(server: PostgresServer, database: str, newest: int) -> None:
    """Each once, whatever was sent again."""
    with psycopg.connect(server.dsn(database)) as connection:
        rows = connection.execute("SELECT number, sequence, text FROM plant ORDER BY number").fetchall()
    assert rows == [(number, number, str(number)) for number in range(1, newest + 1)]
