"""A `cloudcore` whose store is a PostgreSQL server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

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
