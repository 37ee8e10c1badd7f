"""Service addresses led by the kernel (nftables) to pods on a bridge, in network namespaces of the test's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import PATH, Namespace, new_namespace, tool

pytestmark = [pytest.mark.system, pytest.mark.long]

ROOT = Path(__file__).parents[2]
ANSWERS = """
import socket, sys, threading
name, kind = sys.argv[1], socket.SOCK_STREAM
tcp = socket.create_server(("", 8080), backlog=64)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 8080))
def datagrams():
    while True:
        _, peer = udp.recvfrom(100)
        udp.sendto(f"{name} {peer[0]}".encode(), peer)
threading.Thread(target=datagrams, daemon=True).start()
print("ready", flush=True)
while True:
    made, peer = tcp.accept()
    made.sendall(f"{name} {peer[0]}".encode())
    made.close()
"""
ASKS = """
import socket, sys
kind, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(5)
for _ in range(count):
    try:
        if kind == "udp":
            one.sendto(b"?", (host, port))
            print(one.recv(100).decode())
        else:
            with socket.create_connection((host, port), timeout=5) as made:
                print(made.recv(100).decode())
    except ConnectionRefusedError:
        print("refused")
    except TimeoutError:
        print("silence")
if kind == "udp" and len(sys.argv) > 5:
    sys.stdout.flush(); sys.stdin.readline()
    one.sendto(b"?", (host, port))
    print(one.recv(100).decode())
"""

ECHOES = """
import socket
server = socket.create_server(("", 9090))
print("ready", flush=True)
made, _ = server.accept()
while data := made.recv(10):
    made.sendall(data)
"""
TALKS = """
import socket, sys
made = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
while sys.stdin.readline():
    made.sendall(b"?")
    print("heard" if made.recv(10) else "gone", flush=True)
"""


class Site:
    """A gateway with two pods on a bridge, and a client outside."""

    def __init__(self, carrier: str) -> None:
        self.carrier = carrier
        self.processes: list[subprocess.Popen[str]] = []
        self.spaces: dict[str, Namespace] = {}
        for name in ("gateway", "a", "b", "outside"):
            self.spaces[name] = new_namespace(name)
        gateway = self.spaces["gateway"]
        gateway.run("ip", "link", "add", "pods", "type", "bridge")
        gateway.run("ip", "address", "add", "10.77.0.1/24", "dev", "pods")
        gateway.run("ip", "link", "set", "pods", "up")
        for name, address in (("a", "10.77.0.2"), ("b", "10.77.0.3"), ("outside", "192.0.2.2")):
            self._join(name, address)
        gateway.run("ip", "route", "add", "default", "via", "192.0.2.2")
        gateway.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        for name in ("a", "b"):
            self._wait(self.start(name, sys.executable, "-c", ANSWERS, name), "ready")
        self.begin()

    def begin(self) -> None:
        words = ("-m", "tests.system.service_routing_process", self.carrier)
        self.rules = self.start("gateway", sys.executable, *words)
        self._wait(self.rules, "done")

    def _join(self, name: str, address: str) -> None:
        gateway, inner = self.spaces["gateway"], self.spaces[name]
        gateway.run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", inner.path)
        inner.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        inner.run("ip", "link", "set", "eth0", "up")
        first = address.rsplit(".", 1)[0] + ".1"
        inner.run("ip", "route", "add", "default", "via", first)
        if name == "outside":
            gateway.run("ip", "address", "add", f"{first}/24", "dev", f"to-{name}")
        else:
            gateway.run("ip", "link", "set", f"to-{name}", "master", "pods")
            # As the CNI plugin `bridge` does with hairpinMode: a pod may find itself behind a service.
            gateway.run("bridge", "link", "set", "dev", f"to-{name}", "hairpin", "on")
        gateway.run("ip", "link", "set", f"to-{name}", "up")

    def start(self, place: str, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self.spaces[place].prefix, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": PATH},
        )
        self.processes.append(process)
        return process

    def _wait(self, process: subprocess.Popen[str], word: str) -> None:
        assert process.stdout is not None and process.stdout.readline() == f"{word}\n"

    def say(self, line: str) -> None:
        assert self.rules.stdin is not None
        self.rules.stdin.write(f"{line}\n")
        self.rules.stdin.flush()
        self._wait(self.rules, "done")

    def ask(self, place: str, host: str, port: int, count: int = 6, *, kind: str = "tcp") -> Counter[str]:
        """The answers, each `NAME of the pod` and the client's address as the pod saw it."""
        said = self.spaces[place].run(sys.executable, "-c", ASKS, kind, host, str(port), str(count))
        return Counter(said.splitlines())

    def names(self, place: str, host: str, port: int, count: int = 6) -> Counter[str]:
        return Counter(line.split()[0] for line in self.ask(place, host, port, count).elements())

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        for space in self.spaces.values():
            space.close()


KERNEL = ["nftables", "iptables"]


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    carrier = str(getattr(request, "param", "nftables"))
    program_of = {"nftables": ["nft"], "iptables": ["iptables", "ip6tables"]}
    for program in ("conntrack", "sysctl", "curl", *program_of.get(carrier, ())):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    try:
        tool("ip")
        made = Site(carrier)
    except UnavailableError as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.mark.parametrize("site", KERNEL, indirect=True)
def test_pods_and_gateway_and_strangers_reach_ready_pods_in_turn(site: Site) -> None:
    even = Counter({"a": 3, "b": 3})
    for place in ("gateway", "a", "b"):
        assert site.names(place, "10.96.0.7", 80) == even, place
    assert site.names("outside", "192.0.2.1", 30080) == even
    assert site.names("outside", "203.0.113.9", 80) == even
    # From where it is: a pod does not see a stranger's address, but for the traffic policy Local.
    assert set(site.ask("outside", "192.0.2.1", 30080)) == {"a 10.77.0.1", "b 10.77.0.1"}
    assert set(site.ask("outside", "192.0.2.1", 30081)) == {"a 192.0.2.2", "b 192.0.2.2"}
    assert site.names("gateway", "192.0.2.1", 30080) == even


@pytest.mark.parametrize("site", KERNEL, indirect=True)
def test_where_nobody_stands_a_client_is_refused_at_once(site: Site) -> None:
    assert site.ask("a", "10.96.0.11", 80, 1) == {"refused": 1}
    assert site.ask("gateway", "10.96.0.11", 80, 1) == {"refused": 1}
    assert site.ask("outside", "192.0.2.1", 30082, 1) == {"refused": 1}


@pytest.mark.parametrize("site", KERNEL, indirect=True)
def test_readiness_counts_at_once_and_clients_stay_where_they_were(site: Site) -> None:
    (first,) = site.names("outside", "10.96.0.8", 80)
    other = "b" if first == "a" else "a"
    site.say(f"{other} unready")
    assert site.names("outside", "10.96.0.7", 80) == {first: 6}
    site.say(f"{other} ready")
    assert site.names("outside", "10.96.0.8", 80) == {first: 6}
    site.say(f"{first} unready")
    assert site.names("outside", "10.96.0.8", 80) == {other: 6}
    site.say(f"{other} unready")
    assert site.ask("outside", "10.96.0.7", 80, 1) == {"refused": 1}


@pytest.mark.parametrize("site", KERNEL, indirect=True)
def test_datagrams_leave_a_pod_that_is_not_ready_any_more(site: Site) -> None:
    asking = site.start("outside", sys.executable, "-c", ASKS, "udp", "10.96.0.10", "80", "2", "again")
    assert asking.stdout is not None and asking.stdin is not None
    first = {asking.stdout.readline().split()[0] for _ in range(2)}
    assert len(first) == 1
    site.say(f"{first.pop()} unready")
    (left,) = site.names("outside", "10.96.0.7", 80)
    asking.stdin.write("\n")
    asking.stdin.flush()
    assert asking.stdout.readline().split()[0] == left


@pytest.mark.parametrize("site", KERNEL, indirect=True)
def test_a_balancer_is_told_whether_a_pod_is_here(site: Site) -> None:
    def health() -> tuple[str, str]:
        words = ("curl", "-s", "-m", "10", "-w", "%{http_code}", "http://192.0.2.1:30090/healthz")
        said = site.spaces["outside"].run(*words)
        return said[-3:], said[:-3]

    code, body = health()
    assert code == "200" and json.loads(body) == {
        "service": {"namespace": "d", "name": "here"},
        "localEndpoints": 2,
        "serviceProxyHealthy": True,
    }
    site.say("a unready")
    site.say("b unready")
    code, body = health()
    assert code == "503" and json.loads(body)["localEndpoints"] == 0


@pytest.mark.parametrize("site", KERNEL, indirect=True)
def test_an_agent_that_comes_back_takes_over_what_the_kernel_holds(site: Site) -> None:
    (first,) = site.names("outside", "10.96.0.8", 80)
    # A connection that goes on over the end of one agent and the start of the next.
    talks = site.start("a", sys.executable, "-c", ECHOES)
    assert talks.stdout is not None and talks.stdout.readline() == "ready\n"
    asking = site.start("outside", sys.executable, "-c", TALKS, "10.96.0.12", "80")
    assert asking.stdout is not None and asking.stdin is not None

    def heard() -> str:
        assert asking.stdin is not None and asking.stdout is not None
        asking.stdin.write("\n")
        asking.stdin.flush()
        return asking.stdout.readline()

    assert heard() == "heard\n"
    site.rules.kill()
    site.rules.communicate()
    assert site.names("gateway", "10.96.0.7", 80, 2) == {"a": 1, "b": 1}
    site.begin()
    assert heard() == "heard\n"
    assert site.names("outside", "10.96.0.8", 80) == {first: 6}
    other = "b" if first == "a" else "a"
    site.say(f"{other} unready")
    assert site.names("outside", "10.96.0.7", 80) == {first: 6}


@pytest.mark.parametrize("site", ["userspace"], indirect=True)
def test_without_rights_the_agent_itself_carries_node_ports(site: Site) -> None:
    even = Counter({"a": 3, "b": 3})
    assert site.names("outside", "192.0.2.1", 30080) == even
    assert site.names("gateway", "127.0.0.1", 30080) == even
    assert site.names("gateway", "127.96.0.7", 80) == even  # the service on loopback, for the gateway's own programs
    assert set(site.ask("outside", "192.0.2.1", 30081)) == {"a 10.77.0.1", "b 10.77.0.1"}
    assert site.ask("outside", "192.0.2.1", 30082, 1) == {"refused": 1}
    (first,) = site.names("gateway", "127.96.0.8", 80)  # sessionAffinity
    (one,) = {line.split()[0] for line in site.ask("gateway", "127.96.0.10", 80, 4, kind="udp")}
    site.say(f"{first} unready")
    other = "b" if first == "a" else "a"
    assert site.names("gateway", "127.96.0.8", 80) == {other: 6}
    assert site.names("outside", "192.0.2.1", 30080) == {other: 6}
    assert set(site.ask("gateway", "127.96.0.10", 80, 2, kind="udp")) == {f"{other} 10.77.0.1"} and one
    assert (
        subprocess.run([*site.spaces["gateway"].prefix, "nft", "list", "tables"], capture_output=True).stdout == b""
    )


@pytest.mark.parametrize("site", ["auto"], indirect=True)
def test_the_best_that_works_is_chosen(site: Site) -> None:
    assert "skerry-services" in site.spaces["gateway"].run("nft", "list", "tables")
    assert site.names("a", "10.96.0.7", 80) == {"a": 3, "b": 3}
