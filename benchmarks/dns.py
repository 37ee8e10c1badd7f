"""Answers per second and core of the DNS server, beside Knot and NSD in the same run.

1,000 zones of 100 names each; `dnsperf` asks for 50,000 different names with EDNS, one in ten of them not there. A
core's rate is answers by the processor time that the answering processes took, so that a client or a neighbour that
is busy is not measured: the peers are counted alike. Latencies are dnsperf's, at some 40 % of what it reached.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.system.dns_peers import knot, nsd
from tests.system.dns_process import dns_server

ZONES = int(os.environ.get("DNS_ZONES", "1000"))
NAMES = 100
ASKED = 50_000
SECONDS = int(os.environ.get("DNS_SECONDS", "6"))
HEAD = "$TTL 300\n@ SOA ns1 host 1 7200 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.1\n"
_TICKS = os.sysconf("SC_CLK_TCK")


def _zone(number: int) -> str:
    rows = [f"n{name} A 198.51.{number % 256}.{name}" for name in range(NAMES)]
    return HEAD + "\n".join(rows) + "\n"


def _questions(path: Path) -> None:
    chance = random.Random(1)
    with path.open("w") as out:
        for _ in range(ASKED):
            name = f"n{chance.randrange(NAMES)}" if chance.random() < 0.9 else f"gone{chance.randrange(10**6)}"
            out.write(f"{name}.z{chance.randrange(ZONES)}.example A\n")


def _processes(pid: int) -> list[int]:
    """A process and those below it."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [pid, *(each for child in listed for each in _processes(int(child)))]


def _cpu_s(pids: Sequence[int]) -> float:
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS


def _dnsperf(port: int, questions: Path, *more: str) -> dict[str, float]:
    command = [
        "dnsperf",
        "-s",
        "127.0.0.1",
        "-p",
        str(port),
        "-d",
        str(questions),
        "-e",
        "-c",
        "8",
        "-T",
        "1",
        "-q",
        "200",
    ]
    shown = subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout
    wanted = {
        "completed": r"Queries completed:\s+(\d+)",
        "lost": r"Queries lost:\s+(\d+)",
        "rate": r"Queries per second:\s+([\d.]+)",
        "latency_s": r"Average Latency \(s\):\s+([\d.]+)",
    }
    return {name: float(found[1]) for name, pattern in wanted.items() if (found := re.search(pattern, shown))}


@contextmanager
def _ours(directory: Path, zones: dict[str, str]) -> Generator[tuple[int, int]]:
    with dns_server(directory, zones=zones) as server:
        yield server.port, server.process.pid


def _peer(
    start: Callable[[Path, dict[str, str]], AbstractContextManager[int]], program: str
) -> Callable[[Path, dict[str, str]], AbstractContextManager[tuple[int, int]]]:
    @contextmanager
    def started(directory: Path, zones: dict[str, str]) -> Generator[tuple[int, int]]:
        with start(directory, zones) as port:
            command = ["pgrep", "-f", f"{program} .*{directory}"]
            listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            yield port, int(listed.split()[0])

    return started


def _measured(name: str, port: int, pid: int, questions: Path) -> list[tuple[str, str]]:
    _dnsperf(port, questions, "-n", "1")  # each name once
    pids = _processes(pid)
    before = _cpu_s(pids)
    found = _dnsperf(port, questions, "-l", str(SECONDS))
    used_s = max(_cpu_s(pids) - before, 0.01)
    slow = _dnsperf(port, questions, "-l", "3", "-Q", str(max(1, int(found["rate"] * 0.4))))
    per_core = found["completed"] / used_s
    return [
        (f"{name}: answers a second and core", f"{per_core:,.0f}"),
        (f"{name}: answers a second as dnsperf saw it", f"{found['rate']:,.0f} (lost {found['lost']:.0f})"),
        (f"{name}: mean latency at 40 % of that", f"{slow['latency_s'] * 1000:.2f} ms (lost {slow['lost']:.0f})"),
    ]


def main() -> Sequence[tuple[str, str]]:
    if shutil.which("dnsperf") is None:
        raise SystemExit("dnsperf is not installed")
    zones = {f"z{number}.example": _zone(number) for number in range(ZONES)}
    servers: list[tuple[str, str, Callable[[Path, dict[str, str]], AbstractContextManager[tuple[int, int]]]]] = [
        ("skerry", sys.executable, _ours),
        ("knot", "knotd", _peer(knot, "knotd")),
        ("nsd", "nsd", _peer(nsd, "nsd")),
    ]
    rows: list[tuple[str, str]] = []
    for name, program, start in servers:
        if shutil.which(program) is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / name
            Path(scratch).chmod(0o777)
            questions = Path(scratch) / "questions"
            _questions(questions)
            with start(directory, zones) as (port, pid):
                rows += _measured(name, port, pid, questions)
    return rows
