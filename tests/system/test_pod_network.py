"""A gateway on containerd that connects its pods itself: to each other, to itself, outwards, and from outside."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, str_at, strs_at
from skerry.testkit.real.namespaces import Namespace, new_namespace
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, free_port, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet

pytestmark = pytest.mark.system
RANGE = "10.199.0.0/20"
PORT = free_port()
OUTSIDE = """
import socket
server = socket.create_server(("198.51.100.2", 8080))
print("ready", flush=True)
while True:
    made, peer = server.accept()
    made.sendall(peer[0].encode())
    made.close()
"""


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    if Path("/sys/class/net/skerry0").exists():
        pytest.skip("this machine has pods of its own")
    with containerd_server() as server:
        (server.folder / "cni" / "10-pods.conflist").unlink()
        yield server


@pytest.fixture(scope="module")
def outside() -> Generator[Namespace]:
    """A machine beside the gateway that knows no way to its pods, and tells who asks."""
    try:
        space = new_namespace("outside")
    except UnavailableError as error:
        pytest.skip(str(error))
    try:
        for words in (
            ("link", "add", "skt-out", "type", "veth", "peer", "name", "eth0", "netns", space.path),
            ("address", "add", "198.51.100.1/24", "dev", "skt-out"),
            ("link", "set", "skt-out", "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        space.run("ip", "address", "add", "198.51.100.2/24", "dev", "eth0")
        space.run("ip", "link", "set", "eth0", "up")
        server = subprocess.Popen([*space.prefix, sys.executable, "-c", OUTSIDE], stdout=subprocess.PIPE)
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        yield space
        server.kill()
        server.communicate()
    finally:
        subprocess.run(["ip", "link", "del", "skt-out"], capture_output=True)
        space.close()


@pytest.fixture(scope="module")
def fleet(
    containerd: Containerd, outside: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("fleet"), "--cluster-cidr", RANGE) as made:
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_CNI_DIRECTORY": str(containerd.folder / "cni"),
            "SKERRY_NODE_IP": "198.51.100.1",
        }
        try:
            made.edge.start()
            until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
            for name in ("a", "b"):
                made.create(f"{CORE}/pods", pod(name))
            for name in ("a", "b"):
                until(lambda name=name: made.run_of(name), f"{name} runs", lambda: made.edge.log)
            yield made
            for name in ("a", "b"):
                made.api().request("DELETE", f"{CORE}/pods/{name}")
            until(lambda: containerd.pids() == {}, "the pods are gone", lambda: made.edge.log)
        finally:
            for table in ("ip", "ip6"):
                subprocess.run(["nft", "delete", "table", table, "skerry-pods"], capture_output=True)
            subprocess.run(["ip", "link", "del", "skerry0"], capture_output=True)
            shutil.rmtree("/var/lib/cni/networks/skerry", ignore_errors=True)


def pod(name: str) -> JsonObject:
    """Answers with its name on 8080, which is a port of the gateway as well for one of them."""
    port: JsonObject = {"containerPort": 8080, **({"hostPort": PORT} if name == "a" else {})}
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", f"while :; do echo {name} | nc -l -p 8080; done"],
        "ports": [port],
    }
    spec: JsonObject = {
        "nodeName": NODE,
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    return {"kind": "Pod", "metadata": {"name": name}, "spec": spec}


def said_in(containerd: Containerd, fleet: RealFleet, name: str, *words: str) -> str:
    container = fleet.run_of(name).split(" ")[0].removeprefix("containerd://")
    return containerd.said_in(container, *words).strip()


def address_of(fleet: RealFleet, name: str) -> str:
    return str_at(fleet.find(f"{CORE}/pods/{name}"), "status", "podIP")


ASKS = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(99).decode())"


def test_pods_have_addresses_of_their_nodes_range_and_reach_everybody(
    fleet: RealFleet, containerd: Containerd, outside: Namespace
) -> None:
    node = fleet.find(f"/api/v1/nodes/{NODE}")
    (range_,) = strs_at(node, "spec", "podCIDRs")
    first, second = address_of(fleet, "a"), address_of(fleet, "b")
    assert first.startswith(range_.removesuffix("0/24")) and second.startswith(range_.removesuffix("0/24"))
    assert first != second
    # Another pod, itself, the gateway, and a machine outside that sees the gateway's address.
    assert said_in(containerd, fleet, "a", "nc", "-w", "5", second, "8080") == "b"
    assert said_in(containerd, fleet, "a", "nc", "-w", "5", "198.51.100.2", "8080") == "198.51.100.1"
    assert "1 packets received" in said_in(containerd, fleet, "b", "ping", "-c", "1", "-W", "5", "198.51.100.1")
    # A port of the gateway, from outside, from the gateway, and from a pod.
    assert outside.run(sys.executable, "-c", ASKS, "198.51.100.1", str(PORT)).strip() == "a"
    for host in ("127.0.0.1", "198.51.100.1"):
        said = subprocess.run(
            [sys.executable, "-c", ASKS, host, str(PORT)], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == "a"
    assert said_in(containerd, fleet, "b", "nc", "-w", "5", "198.51.100.1", str(PORT)) == "a"


def test_an_operators_own_network_is_left_alone(fleet: RealFleet, containerd: Containerd) -> None:
    ours = containerd.folder / "cni" / "90-skerry.conflist"
    assert ours.stat().st_mode & 0o777 == 0o644
    theirs = containerd.folder / "cni" / "10-theirs.conflist"
    theirs.write_text(ours.read_text().replace("skerry", "theirs"))
    try:
        until(lambda: "pods are connected as" in fleet.edge.log, "it is seen", lambda: fleet.edge.log, 60)
        listed = ["nft", "list", "table", "ip", "skerry-pods"]
        until(lambda: subprocess.run(listed, capture_output=True).returncode, "what was ours is gone")
    finally:
        theirs.unlink()
    fleet.edge.stop(signal.SIGKILL)
    fleet.cloud.stop(signal.SIGKILL)
    ours.unlink()
    fleet.edge.start()
    until(ours.exists, "it is there again, without the cloud", lambda: fleet.edge.log)
    fleet.start_cloud()


def test_cleanup_ends_the_pods_and_takes_back_the_network(fleet: RealFleet, containerd: Containerd) -> None:
    """The last of this file: the gateway runs nothing afterwards."""
    until(lambda: len(containerd.pids()) == 4, "two pods run", lambda: fleet.edge.log)
    words = ["cleanup", "--data", str(fleet.edge.data), "--cni-directory", str(containerd.folder / "cni"), "--pods"]

    def cleanup() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "edgecore.main", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    while_it_runs = cleanup()
    assert while_it_runs.returncode == 2 and "stop it first" in while_it_runs.stderr
    fleet.edge.stop()
    done = cleanup()
    assert done.returncode == 0 and "FAILED" not in done.stdout, done.stdout + done.stderr
    for what in (
        "pod default/a",
        "pod default/b",
        "bridge skerry0",
        "CNI configuration",
        "nftables table ip skerry-pods",
    ):
        assert f"removed: {what}" in done.stdout, done.stdout
    assert containerd.pids() == {}
    assert not Path("/sys/class/net/skerry0").exists()
    assert not any(Path(fleet.edge.data, "pods").iterdir())
    assert cleanup().stdout == "nothing is left of an agent here\n"
