"""Answers per second and core of a gateway's cluster DNS, beside dnsmasq and unbound in the same run.

1,000 services; `dnsperf` asks as pods do: for a service in three of five questions, for a search name that is not
there (ndots:5) in one, for a name of others, which is in the cache, in one. A core's rate is answers by the
processor time of the answering process, so that a busy neighbour is not measured. Latencies are from a client of our
own, which asks at a quarter of that rate. The peers answer for the same names from files of their own. What
CoreDNS publishes (coredns/deployment, "Scaling CoreDNS in Kubernetes Clusters"): 33,669 a second on two cores that
were busy, at 2.6 ms, in 49 MB and 0.86 KB a service.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SERVICES: Final = 1000
OTHERS: Final = 50
ASKED: Final = 20_000
SECONDS: Final = 4
_CLK: Final = 100
Started = tuple[int, int]
"""Port and process."""


def address_of(number: int) -> str:
    return f"10.96.{number // 250}.{number % 250 + 1}"


def _questions(path: Path) -> None:
    chance = random.Random(1)
    with path.open("w") as out:
        for _ in range(ASKED):
            kind, name = chance.random(), f"s{chance.randrange(SERVICES)}.d.svc.cluster.local"
            if kind > 0.8:
                name = f"www{chance.randrange(OTHERS)}.example.com"
            elif kind > 0.6:
                name = f"www{chance.randrange(OTHERS)}.example.com.d.svc.cluster.local"
            out.write(f"{name} A\n")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _query(name: str) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return b"\0\7\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def _wait(port: int) -> None:
    end = time.monotonic() + 60
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(0.2)
        while time.monotonic() < end:
            try:
                made.sendto(_query("s1.d.svc.cluster.local"), ("127.0.0.1", port))
                if made.recv(512)[3] & 15 == 0:
                    return
            except OSError:
                time.sleep(0.1)
    raise SystemExit("it does not answer")


@contextmanager
def _running(port: int, *command: str) -> Generator[Started]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _upstream(directory: Path) -> tuple[int, list[str]]:
    port = _free_port()
    lines = [f"address=/www{number}.example.com/192.0.2.{number + 1}\n" for number in range(OTHERS)]
    (directory / "upstream.conf").write_text("".join(lines) + "local-ttl=3600\nlocal=/example.com/\n")
    return port, _dnsmasq_words(port, directory / "upstream.conf")


def _dnsmasq_words(port: int, config: Path) -> list[str]:
    words = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--pid-file", "--user=root"]
    return ["dnsmasq", *words, f"--port={port}", "--listen-address=127.0.0.1", f"--conf-file={config}"]


@contextmanager
def ours(directory: Path, upstream: int) -> Generator[Started]:
    port = _free_port()
    command = (sys.executable, "-m", "benchmarks.fleet.cluster_dns_process", str(port), str(upstream))
    with _running(port, *command) as started:
        yield started


@contextmanager
def dnsmasq(directory: Path, upstream: int) -> Generator[Started]:
    port, config = _free_port(), directory / "peer.conf"
    lines = [f"host-record=s{each}.d.svc.cluster.local,{address_of(each)}\n" for each in range(SERVICES)]
    lines += ["local=/cluster.local/\n", f"server=127.0.0.1#{upstream}\n", "cache-size=10000\nlocal-ttl=5\n"]
    lines += ["dns-forward-max=1000\n"]
    config.write_text("".join(lines))
    with _running(port, *_dnsmasq_words(port, config)) as started:
        yield started


@contextmanager
def unbound(directory: Path, upstream: int) -> Generator[Started]:
    port, config = _free_port(), directory / "unbound.conf"
    records = [f'  local-data: "s{each}.d.svc.cluster.local. 5 A {address_of(each)}"\n' for each in range(SERVICES)]
    head = (
        f'server:\n  interface: 127.0.0.1@{port}\n  num-threads: 1\n  username: ""\n  chroot: ""\n  pidfile: ""\n'
        '  use-syslog: no\n  do-daemonize: no\n  do-not-query-localhost: no\n  module-config: "iterator"\n'
        '  local-zone: "cluster.local." static\n'
    )
    tail = f'forward-zone:\n  name: "."\n  forward-addr: 127.0.0.1@{upstream}\n'
    config.write_text(head + "".join(records) + tail)
    with _running(port, "unbound", "-d", "-c", str(config)) as started:
        yield started


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLK


def _memory_mib(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) / 1024 if found else 0.0


def _dnsperf(port: int, questions: Path, *more: str) -> dict[str, float]:
    words = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(questions), "-e", "-c", "8", "-T", "1"]
    shown = subprocess.run([*words, "-q", "100", *more], capture_output=True, text=True, check=True).stdout
    wanted = {"completed": r"completed:\s+(\d+)", "lost": r"lost:\s+(\d+)", "rate": r"per second:\s+([\d.]+)"}
    return {name: float(found[1]) for name, pattern in wanted.items() if (found := re.search(pattern, shown))}


def _latencies_ms(port: int, questions: Path, rate: float) -> list[float]:
    """One question at a time, at this pace at most."""
    names = [line.split()[0] for line in questions.read_text().splitlines()[:3000]]
    taken: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(2)
        made.connect(("127.0.0.1", port))
        begun = time.perf_counter()
        for number, name in enumerate(names):
            data = struct.pack("!H", number) + _query(name)[2:]
            while time.perf_counter() - begun < number / rate:
                time.sleep(0)
            sent = time.perf_counter()
            made.send(data)
            made.recv(1500)
            taken.append((time.perf_counter() - sent) * 1000)
    return sorted(taken)


def _measured(name: str, port: int, pid: int, questions: Path) -> list[tuple[str, str]]:
    _dnsperf(port, questions, "-n", "1")
    before = _cpu_s(pid)
    found = _dnsperf(port, questions, "-l", str(SECONDS))
    per_core = found["completed"] / max(_cpu_s(pid) - before, 0.01)
    taken = _latencies_ms(port, questions, min(per_core / 4, 5000))
    p50, p99 = statistics.median(taken), taken[len(taken) * 99 // 100]
    return [
        (f"{name}: answers a second and core", f"{per_core:,.0f}"),
        (f"{name}: answers a second as dnsperf saw it", f"{found['rate']:,.0f} (lost {found['lost']:.0f})"),
        (f"{name}: latency p50 / p99", f"{p50:.2f} / {p99:.2f} ms"),
        (f"{name}: memory", f"{_memory_mib(pid):.1f} MiB"),
    ]


def main() -> Sequence[tuple[str, str]]:
    if shutil.which("dnsperf") is None:
        raise SystemExit("dnsperf is not installed")
    rows: list[tuple[str, str]] = []
    for name, start in (("skerry", ours), ("dnsmasq", dnsmasq), ("unbound", unbound)):
        if name != "skerry" and shutil.which(name) is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            directory, questions = Path(scratch), Path(scratch) / "questions"
            _questions(questions)
            upstream, words = _upstream(directory)
            others = subprocess.Popen(words)
            try:
                with start(directory, upstream) as (port, pid):
                    rows += _measured(name, port, pid, questions)
            finally:
                others.terminate()
                others.wait()
    return rows
