"""The DNS server with sockets that somebody else holds: it is ended and started again, and no question is lost."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.message
import pytest

from tests.cloudcore.dns.conftest import ZONE
from tests.system.dns_load import asking
from tests.system.dns_process import START_S_MAX, told
from tests.system.levels import reached
from tests.system.socket_passer import SocketPasser, reuseport_socket, reuseport_sockets

pytestmark = pytest.mark.system


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "example.com.zone").write_text(ZONE)
    return tmp_path


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def command(directory: Path, *flags: str) -> list[str]:
    return [
        *(sys.executable, "-m", "cloudcore.main", "dns", "--zones", str(directory / "zones"), "--workers", "1"),
        *("--listen", "127.0.0.1", "--control", str(directory / "control"), "--state", str(directory / "state")),
        *flags,
    ]


def runs(pid: str) -> bool:
    return Path(f"/proc/{pid}/exe").exists()


def wait_for(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not answers():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_restart_of_the_whole_server_loses_no_question(
    directory: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """Ended by a signal and killed; with more sockets of a group than workers, each of which must be read."""
    log = directory / "log"
    names = ["mail.example.com", "nobody.example.com", "www.example.com"]
    packets = [dns.message.make_query(name, "A", use_edns=0).to_wire()[2:] for name in names]
    with ExitStack() as stack:
        first, tcp = map(stack.enter_context, reuseport_sockets())
        port = port_of(first)
        udp = [first, *(stack.enter_context(reuseport_socket(socket.SOCK_DGRAM, port)) for _ in range(2))]
        passer = SocketPasser([*udp, tcp], ["dns"] * 4)

        def start(count: int) -> subprocess.Popen[bytes]:
            process = passer.start(log, *command(directory))
            running.append(process)
            wait_for(lambda: log.read_text().count("DNS answers") == count, process, log)
            return process

        process = start(1)
        assert f"port={port}" in log.read_text() and "processes=4 passed=4" in log.read_text()
        with asking(port, 500, 10, packets) as told_by:
            time.sleep(2)
            for number, ending in enumerate((signal.SIGTERM, signal.SIGKILL)):
                begun = time.monotonic()
                workers = told("pgrep", "-P", str(process.pid)).split()
                process.send_signal(ending)
                process.wait(timeout=20)
                # One that is about to end after whom it served would take the connection with it.
                reached(lambda workers=workers: not any(map(runs, workers)), log.read_text, within_s=20)
                # A connection is made meanwhile, and its question waits as well.
                waiting = socket.create_connection(("127.0.0.1", port), timeout=60)
                query = dns.message.make_query("mail.example.com", "A").to_wire()
                waiting.sendall(len(query).to_bytes(2, "big") + query)
                process = start(2 + number)
                with waiting:
                    answer = waiting.recv(2, socket.MSG_WAITALL)
                    assert waiting.recv(int.from_bytes(answer, "big"), socket.MSG_WAITALL)[:2] == query[:2]
                assert time.monotonic() - begun < START_S_MAX
        assert told_by[0].sent > 4000 and told_by[0].lost == 0, told_by[0]


def test_a_connection_that_takes_its_time_holds_up_no_datagram_at_the_end(
    directory: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    log = directory / "log"
    udp, tcp = reuseport_sockets()
    with udp, tcp:
        process = SocketPasser([udp, tcp], ["dns", "dns"]).start(log, *command(directory))
        running.append(process)
        wait_for(lambda: "DNS answers" in log.read_text(), process, log)
        with socket.create_connection(("127.0.0.1", port_of(udp)), timeout=10) as slow:
            slow.sendall(b"\0")
            assert told("kdig", "@127.0.0.1", "-p", str(port_of(udp)), "+short", "+tcp", "mail.example.com").split()
            process.send_signal(signal.SIGTERM)
            asked = 0
            while process.poll() is None and asked < 20:
                said = told("kdig", "@127.0.0.1", "-p", str(port_of(udp)), "+short", "+retry=0", "mail.example.com")
                if process.poll() is None:
                    assert said.split() == ["192.0.2.2"]
                    asked += 1
            assert asked == 20, "it was still waiting for the connection"
            slow.sendall(b"")
        process.wait(timeout=20)


def port_of(held: socket.socket) -> int:
    return int(held.getsockname()[1])


def test_systemds_own_tool_hands_over_sockets(directory: Path, running: list[subprocess.Popen[bytes]]) -> None:
    """It opens sockets of one kind; those of the other are opened at the same port."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not installed")
    with reuseport_socket(socket.SOCK_DGRAM) as udp:
        port = port_of(udp)
    log = directory / "log"
    with log.open("wb") as written:
        wanted = [activate, "--datagram", "--fdname=dns", f"--listen=127.0.0.1:{port}"]
        wanted += [f"--setenv=PATH={os.environ['PATH']}", *command(directory)]
        process = subprocess.Popen(wanted, stderr=written)
    running.append(process)
    wait_for(lambda: "Listening" in log.read_text(), process, log)
    # What starts the server is the first question, and it is answered.
    ask = ["kdig", "@127.0.0.1", "-p", str(port), "+short", "+retry=0", "+time=100"]
    assert told(*ask, "mail.example.com").split() == ["192.0.2.2"], log.read_text()
    wait_for(lambda: "passed=1" in log.read_text(), process, log)
    assert told(*ask, "+tcp", "mail.example.com").split() == ["192.0.2.2"]
