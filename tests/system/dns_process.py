"""A real `cloudcore dns` on loopback, for system tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system import forked

START_S_MAX = 180.0


@dataclass(slots=True)
class DnsProcess:
    """One server, its directory of zones and its port."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def zones(self) -> Path:
        return self.directory / "zones"

    @property
    def control(self) -> Path:
        return self.directory / "control.sock"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def kdig(self, *words: str) -> str:
        return told("kdig", "@127.0.0.1", "-p", str(self.port), "+retry=0", "+time=5", *words)

    def said(self, *words: str) -> str:
        """What kdig prints, and what it complains of."""
        command = ["kdig", "@127.0.0.1", "-p", str(self.port), "+retry=0", "+time=5", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def skerry(self, *words: str) -> str:
        command = [sys.executable, "-m", "skerry.cli.main", "dns", *words]
        done = forked.run(command, timeout_s=60, env={**os.environ, "SKERRY_DNS_CONTROL": str(self.control)})
        return done.stdout + done.stderr


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def dns_server(directory: Path, *flags: str, zones: dict[str, str] | None = None) -> Generator[DnsProcess]:
    """Started, and stopped at the end; the zones are by origin."""
    (directory / "zones").mkdir(parents=True, exist_ok=True)
    for origin, text in (zones or {}).items():
        (directory / "zones" / f"{origin}.zone").write_text(text)
    with (directory / "log").open("wb") as log:
        process = forked.start(
            [
                *(sys.executable, "-m", "cloudcore.main", "dns", "--zones", str(directory / "zones"), "--port", "0"),
                *("--listen", "127.0.0.1", "--control", str(directory / "control.sock"), "--workers", "1"),
                *("--state", str(directory / "state"), *flags),
            ],
            stderr=log,
        )
    server = DnsProcess(directory=directory, port=0, process=process)
    try:
        deadline = time.monotonic() + START_S_MAX
        while " port=" not in server.log:
            assert process.poll() is None and time.monotonic() < deadline, server.log
            time.sleep(0.05)
        server.port = int(server.log.partition(" port=")[2].split()[0])
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
