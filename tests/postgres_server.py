"""A real PostgreSQL server for tests: a data directory of its own, a unix socket and loopback, ended with the test.

Debian's packages are used where they are (`tests/system/install_packages.sh`); elsewhere the tests are skipped and
say so. PostgreSQL refuses to run as root, so root starts it as the user `postgres`, or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

START_S_MAX = 60.0
MEMORY = Path("/dev/shm")
MEMORY_MIN = 4 << 30
"""Bytes: a hundred databases of eight megabytes, their log, and others' beside them."""
PASSWORD = "pass-of-the-tests"


def binaries() -> Path:
    """Where initdb and postgres are; skips the test where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    return Path(on_path).resolve().parent


@dataclass(slots=True)
class PostgresServer:
    """One data directory and at most one server on it."""

    folder: Path
    bin: Path
    port: int
    durable: bool = True
    """Without it the server skips fsync, for tests that don't pull its plug."""
    process: subprocess.Popen[Any] | None = None
    _made: list[str] = field(default_factory=list[str])

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def dsn(self, database: str = "postgres", *, user: str = "postgres", password: str = PASSWORD) -> str:
        """By loopback, with a password: as a cloudcore would."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, *, owner: str = "postgres") -> str:
        """A new empty database; its name."""
        name = f"t{len(self._made)}_{secrets.token_hex(3)}"
        self._made.append(name)
        self.run_sql(f'CREATE DATABASE "{name}" OWNER "{owner}"')
        return name

    def run_sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def copy(self, source: str, target: str) -> None:
        """What a backup and its restore do: a dump of one database into another, empty one."""
        host = ["--host", str(self.folder), "--port", str(self.port), "--username", "postgres"]
        dumped = subprocess.run([self.bin / "pg_dump", *host, source], capture_output=True, check=True)
        subprocess.run(
            [self.bin / "psql", *host, "--quiet", "--set", "ON_ERROR_STOP=1", target],
            input=dumped.stdout,
            capture_output=True,
            check=True,
        )

    def restore(self, dump: Path, target: str) -> None:
        """Into an empty database."""
        host = ["--host", str(self.folder), "--port", str(self.port), "--username", "postgres"]
        command = [self.bin / "psql", *host, "--quiet", "--set", "ON_ERROR_STOP=1", target]
        subprocess.run(command, input=dump.read_bytes(), capture_output=True, check=True)

    def init(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            self.bin / "initdb",
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            # Not C: names must be compared byte by byte whatever the database's own order is.
            "--locale-provider=icu",
            "--icu-locale=en-US",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
            self.data,
        )

    def start(self) -> None:
        assert self.process is None
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
            "shared_buffers": "32MB",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            process: subprocess.Popen[Any] = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **_as_user(),
            )
        self.process = process
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                self.run_sql("SELECT 1")
                return
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"PostgreSQL did not start:\n{self.log[-3000:]}") from None
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast (sessions are ended, all is written); SIGQUIT: immediate (as a crash); SIGKILL as well."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(timeout=60)
        self.process = None
        if how == signal.SIGKILL:
            self._await_orphans()

    def _await_orphans(self) -> None:
        """After a SIGKILL the server's children notice by themselves; the next start waits for their memory."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            done = subprocess.run(["pgrep", "-f", f"^postgres: .*|{self.data}"], capture_output=True, text=True)
            if not any(self._is_ours(pid) for pid in done.stdout.split()):
                break
            time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _is_ours(self, pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").resolve() == self.data.resolve()
        except OSError:
            return False

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **_as_user())
        if done.returncode != 0:
            raise AssertionError(f"{command[0]}: {done.stderr}")


def _as_user() -> dict[str, Any]:
    """Arguments of `subprocess` by which a root becomes somebody whom PostgreSQL accepts."""
    if os.getuid() != 0:
        return {}
    user = _user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "env": {"PATH": os.environ["PATH"]}}


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _memory() -> Path | None:
    """Where files are in memory alone, when there is plenty of it: a database is made in half of the time there."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return None
    return MEMORY if found.f_bavail * found.f_frsize >= MEMORY_MIN else None


@contextmanager
def postgres_server(*, durable: bool = True) -> Generator[PostgresServer]:
    """A server that runs inside the block, unless the test stops it."""
    folder = Path(tempfile.mkdtemp(prefix="skerry-pg-", dir=None if durable else _memory()))
    try:
        if os.getuid() == 0:
            user = _user()
            os.chown(folder, user.pw_uid, user.pw_gid)
        server = PostgresServer(folder=folder, bin=binaries(), port=_free_port(), durable=durable)
        server.init()
        server.start()
        try:
            yield server
        finally:
            if server.process is not None:
                server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
