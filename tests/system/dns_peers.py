"""Other authoritative servers on loopback, with zones of ours: Knot, NSD, gdnsd and PowerDNS."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

PEER_START_S_MAX = 60.0


def free_dns_port() -> int:
    """Free for UDP and TCP, just now."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def _running(directory: Path, command: list[str], port: int) -> Generator[int]:
    with (directory / "peer.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    try:
        deadline = time.monotonic() + PEER_START_S_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                log_text = (directory / "peer.log").read_text(errors="replace")
                assert process.poll() is None and time.monotonic() < deadline, log_text
                time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


@contextmanager
def knot(
    directory: Path, zones: Mapping[str, str], *, zone_options: str = "", head: str = "", port: int = 0
) -> Generator[int]:
    """The port of a Knot that serves these zones, by origin."""
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_dns_port()
    server = f"server:\n  listen: 127.0.0.1@{port}\n  rundir: {directory}\n"
    server += "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
    lines = [
        server,
        f"database:\n  storage: {directory}\n",
        "log:\n  - target: stderr\n    any: info\n",
        head,
        "zone:\n",
    ]
    for origin, text in zones.items():
        (directory / f"{origin}.zone").write_text(text)
        lines.append(
            f"  - domain: {origin}\n    file: {directory}/{origin}.zone\n    zonefile-load: whole\n{zone_options}"
        )
    (directory / "knot.conf").write_text("".join(lines))
    with _running(directory, ["knotd", "-c", str(directory / "knot.conf")], port):
        yield port


@contextmanager
def nsd(
    directory: Path, zones: Mapping[str, str], *, zone_options: str = "", head: str = "", port: int = 0
) -> Generator[int]:
    """The port of an NSD that serves these zones, by origin."""
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_dns_port()
    server = {
        "ip-address": f"127.0.0.1@{port}",
        "zonesdir": f'"{directory}"',
        "username": '""',
        "server-count": "1",
        "pidfile": f'"{directory}/nsd.pid"',
        "xfrdfile": f'"{directory}/xfrd.state"',
        "zonelistfile": f'"{directory}/zone.list"',
        "xfrdir": f'"{directory}"',
        "database": '""',
        "minimal-responses": "yes",
        "round-robin": "no",
    }
    lines = ["server:\n", *(f"  {name}: {value}\n" for name, value in server.items())]
    lines += ["remote-control:\n  control-enable: no\n", head]
    for origin, text in zones.items():
        (directory / f"{origin}.zone").write_text(text)
        lines.append(f'zone:\n  name: "{origin}"\n  zonefile: "{origin}.zone"\n{zone_options}')
    (directory / "nsd.conf").write_text("".join(lines))
    directory.chmod(0o777)
    with _running(directory, ["nsd", "-d", "-c", str(directory / "nsd.conf")], port):
        yield port


@contextmanager
def gdnsd(directory: Path, zones: Mapping[str, str]) -> Generator[int]:
    """The port of a gdnsd that serves these zones, by origin."""
    for name in ("zones", "run", "state"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    port = free_dns_port()
    for origin, text in zones.items():
        (directory / "zones" / origin).write_text(text)
    options = {
        "listen": f'[ "127.0.0.1:{port}" ]',
        "run_dir": f'"{directory}/run"',
        "state_dir": f'"{directory}/state"',
        "udp_threads": "1",
        "tcp_threads": "1",
    }
    rows = "".join(f"  {name} => {value},\n" for name, value in options.items())
    (directory / "config").write_text(f"options => {{\n{rows}}}\n")
    with _running(directory, ["gdnsd", "-c", str(directory), "start"], port):
        yield port


@contextmanager
def powerdns(directory: Path, zones: Mapping[str, str]) -> Generator[int]:
    """The port of a PowerDNS that serves these zones from files, by origin."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_dns_port()
    rows: list[str] = []
    for origin, text in zones.items():
        (directory / f"{origin}.zone").write_text(text)
        rows.append(f'zone "{origin}" {{ type master; file "{directory}/{origin}.zone"; }};\n')
    (directory / "named.conf").write_text("".join(rows))
    flags = {
        "config-dir": directory,
        "launch": "bind",
        "bind-config": directory / "named.conf",
        "local-address": "127.0.0.1",
        "local-port": port,
        "socket-dir": directory,
        "receiver-threads": 1,
        "guardian": "no",
        "daemon": "no",
    }
    command = ["pdns_server", *(f"--{name}={value}" for name, value in flags.items())]
    with _running(directory, command, port):
        yield port
