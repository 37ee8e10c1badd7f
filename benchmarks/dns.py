"""Answers per second and core of the DNS server, beside Knot, NSD, gdnsd and PowerDNS in the same run; and of its
services, where each client's subnet has its own answer and probes are under way.

1,000 zones of 100 names each; `dnsperf` asks for 50,000 different names with EDNS, one in ten of them not there. A
core's rate is answers by the processor time that the answering processes took, so that a client or a neighbour that
is busy is not measured: the peers are counted alike. Latencies are of `tests.system.dns_load`, which asks at a rate
whatever comes back, with the server on one core and itself on another, both before this machine's other work.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tests.system.dns_load import asking, go_first
from tests.system.dns_peers import gdnsd, knot, nsd, powerdns
from tests.system.dns_process import dns_server

ZONES = int(os.environ.get("DNS_ZONES", "1000"))
NAMES = 100
ASKED = 50_000
HALF_LOAD = 125_000
"""Questions a second at which latencies are measured: half of what a core has to answer."""
SECONDS = int(os.environ.get("DNS_SECONDS", "6"))
HEAD = "$TTL 300\n@ SOA ns1 host 1 7200 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.1\n"
_TICKS = os.sysconf("SC_CLK_TCK")


def _zone(number: int) -> str:
    rows = [f"n{name} A 198.51.{number % 256}.{name}" for name in range(NAMES)]
    return HEAD + "\n".join(rows) + "\n"


def _packets(path: Path) -> list[bytes]:
    """The questions of a file of dnsperf's, as it sends them, without their ids."""
    found: list[bytes] = []
    for line in path.read_text().splitlines():
        labels = line.split()[0].split(".")
        name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
        found.append(b"\0\0\0\1\0\0\0\0\0\1" + name + b"\0\1\0\1" + b"\0\0\x29\x04\xd0\0\0\0\0\0\0")
    return found


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


SUBNETS = 200
"""Networks that ask for services, each with an answer of its own region."""


def _services(number: int, port: int) -> str:
    """Ten services of a zone in three regions, tried on a port where somebody answers."""
    rows = [
        f"  s{name}:\n    ttl: 30\n    endpoints:\n"
        + "".join(
            f"      - {{address: 127.51.{number}.{name * 3 + place + 1}, region: {region}}}\n"
            for place, region in enumerate(("eu", "us", "ap"))
        )
        + f"    probe: {{type: TCP, port: {port}}}\n"
        for name in range(10)
    ]
    places = {
        region: [f"10.{at}.0.0/16" for at in range(SUBNETS) if at % 3 == place]
        for place, region in enumerate(("eu", "us", "ap"))
    }
    orders = {"eu": ["eu", "us", "ap"], "us": ["us", "eu", "ap"], "ap": ["ap", "us", "eu"]}
    return f"places: {places}\norders: {orders}\nservices:\n" + "".join(rows)


@contextmanager
def _answering() -> Generator[int]:
    """Somebody who takes connections at all addresses of this machine, and its port."""
    with socket.create_server(("0.0.0.0", 0), backlog=256) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    listener.accept()[0].close()

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _steered(rows: list[tuple[str, str]]) -> None:
    """Ten zones of ten services; ten networks ask, each a run of its own, since dnsperf sends one subnet."""
    zones = {f"z{number}.example": HEAD for number in range(10)}
    with tempfile.TemporaryDirectory() as scratch, _answering() as port:
        directory, questions = Path(scratch) / "services", Path(scratch) / "questions"
        (directory / "zones").mkdir(parents=True)
        for number, origin in enumerate(zones):
            (directory / "zones" / f"{origin}.services.yaml").write_text(_services(number, port))
        with questions.open("w") as out:
            out.writelines(f"s{name}.z{number}.example A\n" for name in range(10) for number in range(10))
        with dns_server(directory, zones=zones) as server:
            subnets = [f"8:000110000a{at:02x}" for at in range(0, SUBNETS, SUBNETS // 10)]
            for each in subnets:
                _dnsperf(server.port, questions, "-n", "1", "-E", each)
            pids = _processes(server.process.pid)
            before, completed = _cpu_s(pids), 0.0
            for each in subnets:
                completed += _dnsperf(server.port, questions, "-l", "1", "-E", each)["completed"]
            used_s = max(_cpu_s(pids) - before, 0.01)
    rows.append(("skerry: answers of services by client subnet, a second and core", f"{completed / used_s:,.0f}"))


PREFIXES = 10_000
FRESH_LOAD = 50_000


def _fresh() -> list[tuple[str, str]]:
    """A hundred services asked for from ten thousand networks, the /24s of each: hardly a question comes twice."""
    chance = random.Random(2)
    networks = [f"{10 + at // 4096}.{at // 16 % 256}.{at % 16 * 16}.0/20" for at in range(PREFIXES)]
    regions = ("eu", "us", "ap")
    about = {
        "places": {region: networks[place::3] for place, region in enumerate(regions)},
        "orders": {region: [region, *(each for each in regions if each != region)] for region in regions},
        "services": {
            f"s{name}": {
                "endpoints": [
                    {"address": f"127.51.{name}.{place}", "region": region} for place, region in enumerate(regions, 1)
                ]
            }
            for name in range(100)
        },
    }
    packets: list[bytes] = []
    for _ in range(400_000):
        first, second, third, _ = map(int, chance.choice(networks).partition("/")[0].split("."))
        subnet = b"\0\x08\0\x07\0\x01\x18\0" + bytes([first, second, third + chance.randrange(16)])
        label = f"s{chance.randrange(100)}".encode()
        name = bytes([len(label)]) + label + b"\x03geo\x07example\0"
        opt = b"\0\0\x29\x04\xd0\0\0\0\0\0" + bytes([len(subnet)]) + subnet
        packets.append(b"\0\0\0\1\0\0\0\0\0\1" + name + b"\0\1\0\1" + opt)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "fresh"
        (directory / "zones").mkdir(parents=True)
        (directory / "zones" / "geo.example.services.yaml").write_text(json.dumps(about))
        with dns_server(directory, zones={"geo.example": HEAD}) as server:
            pids = _processes(server.process.pid)
            for pid in pids:
                go_first(pid, {min(os.sched_getaffinity(0))})
            before = _cpu_s(pids)
            with asking(server.port, FRESH_LOAD, SECONDS, packets, first=True) as told:
                pass
            found, used_s = told[0], max(_cpu_s(pids) - before, 0.01)
    waits = f"{found.p50_ms:.2f}, {found.p99_ms:.2f} ms at {FRESH_LOAD:,} a second (lost {found.lost})"
    return [
        ("skerry: the same from 10,000 networks, hardly a question twice", f"{found.answered / used_s:,.0f}"),
        ("skerry: p50, p99 of these", waits),
    ]


RELOAD_LOAD = 5_000
"""Questions a second while everything is read again, on cores that others use as well."""
RELOAD_S = int(os.environ.get("DNS_RELOAD_SECONDS", "60"))


def _reloaded(zones: dict[str, str]) -> list[tuple[str, str]]:
    """Every zone is written anew and read under load, twice, by one process for each core."""
    with tempfile.TemporaryDirectory() as scratch:
        directory, questions = Path(scratch) / "reload", Path(scratch) / "questions"
        _questions(questions)
        with dns_server(directory, "--workers", "2", zones=zones) as server:
            took: list[float] = []
            with asking(server.port, RELOAD_LOAD, RELOAD_S, _packets(questions)) as told:
                for number in (2, 3):
                    for origin, text in zones.items():
                        changed = text.replace("host 1 ", f"host {number} ")
                        (directory / "zones" / f"{origin}.zone").write_text(changed)
                    begun = time.monotonic()
                    server.skerry("reload")
                    took.append(time.monotonic() - begun)
            found = told[0]
    waits = f"p99 {found.p99_ms:.2f} ms, longest {found.max_ms:.0f} ms, {found.late} later than a second"
    return [
        (f"skerry: {len(zones):,} zones read again, twice, at {RELOAD_LOAD:,} a second", f"{max(took):.1f} s"),
        ("skerry: questions meanwhile", f"{found.sent:,}, lost {found.lost}; {waits}"),
    ]


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
    per_core = found["completed"] / used_s
    return [
        (f"{name}: answers a second and core", f"{per_core:,.0f}"),
        (f"{name}: answers a second as dnsperf saw it", f"{found['rate']:,.0f} (lost {found['lost']:.0f})"),
        (f"{name}: p50, p99, p99.9 at {HALF_LOAD:,} a second", _waits(port, pids, _packets(questions))),
    ]


def _waits(port: int, pids: Sequence[int], packets: Sequence[bytes], rate: float = HALF_LOAD) -> str:
    """How long answers take at a rate, all being made ready before."""
    for pid in pids:
        go_first(pid, {min(os.sched_getaffinity(0))})
    with asking(port, rate / 4, 4 * len(packets) / rate, packets, first=True):
        pass
    with asking(port, rate, SECONDS, packets, first=True) as told:
        pass
    found = told[0]
    return f"{found.p50_ms:.2f}, {found.p99_ms:.2f}, {found.p999_ms:.2f} ms (lost {found.lost} of {found.sent})"


def main() -> Sequence[tuple[str, str]]:
    if shutil.which("dnsperf") is None:
        raise SystemExit("dnsperf is not installed")
    zones = {f"z{number}.example": _zone(number) for number in range(ZONES)}
    servers: list[tuple[str, str, Callable[[Path, dict[str, str]], AbstractContextManager[tuple[int, int]]]]] = [
        ("skerry", sys.executable, _ours),
        ("knot", "knotd", _peer(knot, "knotd")),
        ("nsd", "nsd", _peer(nsd, "nsd")),
        ("gdnsd", "gdnsd", _peer(gdnsd, "gdnsd")),
        ("powerdns", "pdns_server", _peer(powerdns, "pdns_server")),
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
    _steered(rows)
    return [*rows, *_fresh(), *_reloaded(zones)]
