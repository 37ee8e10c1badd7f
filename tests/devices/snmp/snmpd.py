"""net-snmp's snmpd as a device. Nobody here wrote it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

SNMPD = shutil.which("snmpd") or shutil.which("/usr/sbin/snmpd")

LEVEL = "1.3.6.1.4.1.8072.9999.1.0"
SETPOINT = "1.3.6.1.4.1.8072.9999.2.0"
LAMP = "1.3.6.1.4.1.8072.9999.3.0"
NAME = "1.3.6.1.4.1.8072.9999.4.0"
BIG = "1.3.6.1.2.1.31.1.1.1.6.1"
"""ifHCInOctets of the loopback: a Counter64."""
ADDRESS = "1.3.6.1.2.1.4.20.1.1.127.0.0.1"
FIXED = "1.3.6.1.4.1.8072.9999.7.0"
ABSENT = "1.3.6.1.4.1.8072.9999.99.0"
UPTIME = "1.3.6.1.2.1.1.3.0"
OBJECT = "1.3.6.1.2.1.1.2.0"
LOAD = "1.3.6.1.4.1.2021.10.1.6.1"
"""laLoadFloat: an Opaque with a float in it."""


@dataclass(kw_only=True)
class Snmpd:
    port: int
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextmanager
def snmpd(room: Path) -> Generator[Snmpd]:
    assert SNMPD is not None
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (room / "snmpd.conf").write_text(
        f"""
agentaddress udp:127.0.0.1:{port}
rwcommunity private 127.0.0.1
createUser ann SHA-256 "authpass12" AES "privpass12"
createUser ben SHA-512 "authpass34"
rwuser ann priv
rouser ben auth
override {LEVEL} integer 7
override -rw {SETPOINT} integer 1
override -rw {LAMP} integer 2
override -rw {NAME} octet_str "boiler"
override {FIXED} integer -215
load 1
"""
    )
    process = subprocess.Popen(
        [SNMPD, "-f", "-Lf", str(room / "log"), "-C", "-c", str(room / "snmpd.conf"), "-p", str(room / "pid")],
        env={**os.environ, "MIBS": "", "SNMP_PERSISTENT_DIR": str(room / "persistent")},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while "NET-SNMP version" not in ((room / "log").read_text() if (room / "log").exists() else ""):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        yield Snmpd(port=port, process=process)
    finally:
        process.terminate()
        process.wait(10)
