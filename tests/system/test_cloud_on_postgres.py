"""A `cloudcore` whose store is a PostgreSQL server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cloudcore.composition import Core, compose
from cloudcore.store.postgres import open_postgres_store
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.system.cloud_process import cloud_process

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with postgres_server(durable=False) as found:
        yield found


def test_a_cloud_keeps_everything_in_the_database_and_says_no_password(
    server: PostgresServer, tmp_path: Path
) -> None:
    dsn = server.dsn(server.create_database())
    with cloud_process(tmp_path / "cloud", "--database", dsn) as cloud:
        cloud.kubectl("create", "configmap", "kept", "--from-literal=a=1")
        assert not (tmp_path / "cloud" / "cloud.db").exists()
        cloud.stop(signal.SIGKILL)
        cloud.start()
        assert cloud.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "1"
        server.stop()
        server.start()
        cloud.kubectl("create", "configmap", "after")
        assert cloud.kubectl("get", "configmaps", "-o", "name").split()[0] == "configmap/after"
        assert cloud.stop() == 0
    assert PASSWORD not in cloud.log


async def test_what_one_process_wrote_is_known_to_the_next_request_of_another(server: PostgresServer) -> None:
    dsn = server.dsn(server.create_database())
    async with _core(dsn) as one, _core(dsn) as other:
        await one.objects.create(one.kind("namespaces"), "", {"metadata": {"name": "first"}})
        for turn in range(30):
            name = f"n{turn}"
            await one.objects.create(one.kind("namespaces"), "", {"metadata": {"name": name}})
            # Admitted by a namespace that the other's cache may not have seen yet.
            made = await other.objects.create(other.kind("configmaps"), name, {"metadata": {"name": "c"}})
            # A client that read there and writes here, naming the revision that it has.
            given: JsonObject = {**made.obj, "data": {"turn": str(turn)}}
            changed = await one.objects.update(
                one.kind("configmaps"), Key("configmaps", name, "c"), lambda _, o=given: o
            )
            await other.cache.catch_up(timeout_s=10)
            seen = other.cache.read(Key("configmaps", name, "c"))
            assert seen is not None
            assert str(seen.revision) == str_at(changed.obj, "metadata", "resourceVersion")
            await other.objects.delete(other.kind("configmaps"), Key("configmaps", name, "c"))
            with pytest.raises(NotFoundError):
                await one.objects.update(one.kind("configmaps"), Key("configmaps", name, "c"), lambda obj: obj)


@asynccontextmanager
async def _core(dsn: str) -> AsyncGenerator[Core]:
    store = await open_postgres_store(dsn, ids=SystemIds())
    core = await compose(store, SystemClock(), SystemIds(), service_cidr="10.96.0.0/16")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(core.cache.run())
        yield core
        running.cancel()
    await store.close()


def test_what_is_wrong_with_the_database_is_one_line(server: PostgresServer, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cloudcore.main", "--data", str(tmp_path / "cloud"), "--database"]
    done = subprocess.run([*command, server.dsn("nowhere")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "create the database" in line
    assert PASSWORD not in line
    done = subprocess.run([*command, "mysql://x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--database: must begin with postgresql://" in done.stderr
