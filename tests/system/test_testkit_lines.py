"""Every form of line that this machine can have does the same: the contract of `skerry.testkit.real.lines.Line`."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.testkit.real.addresses import cloud_addresses
from skerry.testkit.real.lines import (
    Line,
    NetemLine,
    RelayLine,
    TunnelLine,
    kernel_has_netem,
    new_cloud_place,
)
from skerry.testkit.real.namespaces import new_namespace
from skerry.testkit.real.pipe import Direction, Shape
from skerry.testkit.real.rig import may_isolate
from skerry.testkit.real.sites import Link

pytestmark = [pytest.mark.system, pytest.mark.long]

ECHO = """
import socket, sys, threading
family = socket.AF_INET6 if sys.argv[1] == "::" else socket.AF_INET
port = int(sys.argv[2])
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], port))
tcp = socket.socket(family, socket.SOCK_STREAM)
tcp.bind((sys.argv[1], udp.getsockname()[1]))
tcp.listen()
print(udp.getsockname()[1], flush=True)
def echo(peer):
    while data := peer.recv(65536):
        peer.sendall(data)
def answer():
    while True:
        data, peer = udp.recvfrom(65536)
        udp.sendto(data, peer)
threading.Thread(target=answer, daemon=True).start()
while True:
    threading.Thread(target=echo, args=(tcp.accept()[0],), daemon=True).start()
"""
ASK = """
import socket, sys, time
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
peer = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
peer.settimeout(5)
for line in sys.stdin:
    size, patience = line.split()
    began = time.monotonic()
    try:
        if began and kind == "tcp" and peer.fileno() >= 0 and "joined" not in globals():
            peer.connect((host, port))
            joined = True
        if kind == "udp":
            peer.connect((host, port))
        peer.settimeout(float(patience))
        peer.sendall(bytes(int(size)))
        held = 0
        while held < int(size):
            part = peer.recv(65536)
            if not part:
                raise ConnectionResetError("ended")
            held += len(part)
        print(time.monotonic() - began, flush=True)
    except OSError as error:
        print(-(time.monotonic() - began), type(error).__name__, flush=True)
"""


@dataclass
class Place:
    """A line with an echo at its cloud's end."""

    line: Line
    link: Link
    prefix: list[str]
    hosts: tuple[str, ...]
    port: int
    stack: ExitStack
    tells: bool
    """The site is told at once when it is unplugged."""

    def caller(self, kind: str, host: str) -> Caller:
        words = [*self.prefix, sys.executable, "-c", ASK, kind, host, str(self.port)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stack.callback(leave, process)
        return Caller(process)


@dataclass
class Caller:
    """Somebody at the site, with one socket."""

    process: subprocess.Popen[str]

    def ask(self, size: int = 100, within_s: float = 10.0) -> float:
        """Seconds until the echo was whole; negative: how long it took to fail."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{size} {within_s}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline().split()[0])


def leave(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def echo(stack: ExitStack, prefix: list[str], host: str) -> int:
    while True:  # the port is free for TCP; somebody may have it for UDP
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", ECHO, host, "0"], stdout=subprocess.PIPE, text=True
        )
        stack.callback(leave, process)
        assert process.stdout is not None
        if port := process.stdout.readline():
            return int(port)


@pytest.fixture(params=["netem", "tunnel", "relay"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    form: str = request.param
    with ExitStack() as stack:
        if form == "relay":
            port = echo(stack, [], "127.0.0.1")
            line: Line = RelayLine(("127.0.0.1", port), log=tmp_path / "log")
            assert isinstance(line, RelayLine)
            stack.callback(line.close)
            yield Place(line, Link(line), [], (line.address[0],), line.address[1], stack, tells=False)
            return
        if not may_isolate():
            pytest.skip("namespaces need root")
        cloud, site = new_cloud_place(1), new_namespace("site")
        stack.callback(cloud.close)
        stack.callback(site.close)
        if form == "netem" and not kernel_has_netem(cloud):
            pytest.skip("this kernel has no netem")
        line = NetemLine(site, cloud, 0) if form == "netem" else TunnelLine(site, cloud, 0, log=tmp_path / "log")
        stack.callback(line.close)
        port = echo(stack, cloud.prefix, "::")
        hosts = tuple(str(address) for address in cloud_addresses(1))
        yield Place(line, Link(line), site.prefix, hosts, port, stack, tells=True)


def test_a_clear_line_carries_tcp_and_udp_of_both_families_and_counts(place: Place) -> None:
    for host in place.hosts:
        assert place.caller("tcp", host).ask(200_000) > 0
        assert place.caller("udp", host).ask(1000) > 0
    carried = place.line.carried()
    assert carried.up_bytes > 200_000 * len(place.hosts) and carried.down_bytes > 200_000 * len(place.hosts)


def test_a_cut_is_silent_for_who_is_connected_and_told_to_who_dials(place: Place) -> None:
    connected = place.caller("tcp", place.hosts[0])
    assert connected.ask() > 0
    place.link.cut()
    assert connected.ask(within_s=0.5) < 0
    fresh = place.caller("tcp", place.hosts[0]).ask(within_s=1.5)
    assert fresh < 0
    if place.tells:
        assert fresh > -1.0, "no route: it need not wait"
    place.link.heal()
    assert place.caller("tcp", place.hosts[0]).ask() > 0


@pytest.mark.parametrize(("up", "down"), [(True, False), (False, True), (True, True)])
def test_a_half_open_line_carries_only_the_other_direction(place: Place, *, up: bool, down: bool) -> None:
    caller = place.caller("udp", place.hosts[0])
    assert caller.ask() > 0
    before = place.line.carried()
    place.link.half_open(up=up, down=down)
    assert caller.ask(within_s=0.5) < 0
    after = place.line.carried()
    # netem counts what its queue drops, the others what they did not take; what arrived says it of all.
    assert (after.up_bytes > before.up_bytes) == (not up)
    assert after.down_bytes == before.down_bytes, "no answer came back either way"
    place.link.heal()
    assert place.caller("udp", place.hosts[0]).ask() > 0


def test_a_connection_goes_on_after_a_short_silence(place: Place) -> None:
    caller = place.caller("tcp", place.hosts[0])
    assert caller.ask() > 0
    place.link.half_open()
    assert caller.ask(within_s=0.3) < 0
    place.link.heal()
    assert caller.ask(size=50, within_s=20) > 0


def test_a_slow_line_is_as_slow_as_it_says(place: Place) -> None:
    caller = place.caller("tcp", place.hosts[0])
    assert caller.ask() > 0
    place.link.slow(kbit=64, loss=0, delay_ms=200)
    assert caller.ask(size=10) >= 0.2
    assert caller.ask(size=8000, within_s=30) >= 0.2 + 8000 * 8 / 64_000, "each way takes a second for it"
    place.link.slow_one_way(up=Direction(delay_ms=300))
    assert caller.ask(size=10, within_s=30) >= 0.3


def test_a_lossy_line_loses_about_its_share_of_datagrams(place: Place) -> None:
    place.line.shape(Shape(up=Direction(loss=0.5)))
    caller = place.caller("udp", place.hosts[0])
    answered = sum(caller.ask(size=10, within_s=0.2) > 0 for _ in range(40))
    assert 5 <= answered <= 35


def test_a_line_that_ends_does_not_take_this_machines_network_along(place: Place) -> None:
    del place
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        socket.create_connection(server.getsockname(), timeout=5).close()
        assert time.monotonic() - began < 5
