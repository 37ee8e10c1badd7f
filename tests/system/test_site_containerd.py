"""Two gateways of a site on containerd, each in network and mount namespaces of its own, with pods of both families.

The cloud and the gateways share one network, as behind one switch; then the cloud is gone for good.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, maps_at, str_at, strs_at
from skerry.testkit.real.namespaces import PATH, Namespace, new_namespace
from tests.system.cloud_process import CloudProcess
from tests.system.containerd import (
    BUSYBOX_IMAGE,
    BUSYBOX_RECIPE,
    PAUSE_RECIPE,
    Containerd,
    needs_containerd,
    remove_cgroups,
    unmount_below,
    until,
)
from tests.system.real_fleet import CORE, EdgeProcess, RealFleet

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(400)]

DNS = "169.254.20.10"
OWN_MOUNTS = 'mkdir -p /run/netns && mount -t tmpfs none /run/netns && mount -t tmpfs none /var/lib/cni && exec "$@"'
ASKS = "printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 3 $1 $2 | tail -n 1"
"""busybox's wget ends in a segmentation fault where it is linked statically."""
SERVES = "mkdir /www && hostname > /www/name && exec httpd -f -p 8080 -h /www"


@dataclass(frozen=True)
class Lan:
    """Of one file's own: several run at a time."""

    switch: str
    prefix: str

    def address(self, number: int) -> str:
        return f"{self.prefix}.{number}"

    @property
    def cloud(self) -> str:
        return self.address(9)

    def make(self, stack: ExitStack) -> None:
        for words in (
            ("link", "add", self.switch, "type", "bridge"),
            ("address", "add", f"{self.cloud}/24", "dev", self.switch),
            ("link", "set", self.switch, "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        stack.callback(subprocess.run, ["ip", "link", "del", self.switch], capture_output=True)


LAN = Lan("skt-site", "198.18.51")


@dataclass
class Gateway:
    name: str
    space: Namespace
    containerd: Containerd
    edge: EdgeProcess

    def inside(self, pod: str, fleet: RealFleet, *words: str) -> str:
        """What a command says in a pod's container."""
        container = fleet.run_of(pod).split(" ")[0].removeprefix("containerd://")
        return self.exec(container, *words)

    def exec(self, container: str, *words: str) -> str:
        done = self.containerd.run_in(container, *words)
        return done.stdout.strip() or done.stderr.strip()


@contextmanager
def a_gateway(number: int, cloud: CloudProcess, directory: Path, lan: Lan) -> Generator[Gateway]:
    name = f"g{number}"
    with ExitStack() as stack:
        space = new_namespace(name)
        stack.callback(space.close)
        port = f"{lan.switch}{number}"
        made = ("ip", "link", "add", port, "type", "veth", "peer", "name", "lan", "netns", space.path)
        subprocess.run(made, check=True)
        subprocess.run(["ip", "link", "set", port, "master", lan.switch, "up"], check=True)
        for words in (
            ("address", "add", f"{lan.address(number)}/24", "dev", "lan"),
            ("address", "add", f"fd51::{number}/64", "dev", "lan", "nodad"),
            ("link", "set", "lan", "up"),
            ("route", "add", "default", "via", lan.cloud),
        ):
            space.run("ip", *words)
        folder = Path(tempfile.mkdtemp(prefix="skt-"))
        server = Containerd.in_folder(folder)
        stack.callback(_clear, server, folder)
        server.prefix = (*space.prefix, "unshare", "--mount", "sh", "-c", OWN_MOUNTS, "sh")
        server.start()
        server.load(PAUSE_RECIPE, BUSYBOX_RECIPE)
        (folder / "cni" / "10-pods.conflist").unlink()
        edge = EdgeProcess(data=directory / name, prefix=tuple(space.prefix))
        edge.data.mkdir()
        edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": server.endpoint,
            "SKERRY_CNI_DIRECTORY": str(folder / "cni"),
            "SKERRY_CGROUP_ROOT": server.cgroup_root,
            "SKERRY_NODE_IP": f"{lan.address(number)},fd51::{number}",
            "SKERRY_SERVICE_ADDRESSES": "auto",
            "SKERRY_CLUSTER_DNS": DNS,
            "SKERRY_TRANSPORT": "websocket",
        }
        zone = "topology.kubernetes.io/zone=north"
        token = cloud.skerry("token", "create", name, "--label", zone).strip()
        assert edge._main("join", "--cloud", cloud.hub, "--token", token).wait(60) == 0, edge.log
        edge.start()
        stack.callback(_kill, edge)
        yield Gateway(name, space, server, edge)


def _clear(server: Containerd, folder: Path) -> None:
    try:
        server.clear()
    finally:
        server.stop()
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
        remove_cgroups(server.cgroup_root.strip("/"))


def _kill(edge: EdgeProcess) -> None:
    if edge.process is not None:
        edge.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealFleet, Gateway, Gateway]]:
    needs_containerd()
    if shutil.which("nft", path=PATH) is None:
        pytest.skip("nft is not installed")
    try:
        new_namespace("try").close()
    except UnavailableError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("site")
    ranges = ("--service-cidr", "10.96.0.0/16,fd00:96::/112", "--cluster-cidr", "10.199.16.0/20,fd00:199::/56")
    cloud = CloudProcess(data=directory / "cloud", flags=("--bind", LAN.cloud, *ranges))
    with ExitStack() as stack:
        LAN.make(stack)
        fleet = RealFleet(cloud=cloud, edge=EdgeProcess(data=directory / "none"))
        stack.callback(fleet.leave)
        fleet.start_cloud()
        first, second = (stack.enter_context(a_gateway(number, cloud, directory, LAN)) for number in (1, 2))
        for each in (first, second):
            until(lambda each=each: _is_ready(fleet, each.name), "the node is ready", lambda each=each: each.edge.log)
            fleet.create(f"{CORE}/pods", pod(f"web-{each.name}", each.name))
        for name in ("web-g1", "web-g2"):
            until(lambda name=name: _is_serving(fleet, name), f"{name} serves", lambda: _logs(first, second))
        for name, more in (("web", {"ipFamilyPolicy": "PreferDualStack"}), ("pods", {"clusterIP": "None"})):
            spec: JsonObject = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}], **more}
            fleet.create(f"{CORE}/services", {"kind": "Service", "metadata": {"name": name}, "spec": spec})
        yield fleet, first, second


def _logs(*gateways: Gateway) -> str:
    return "\n".join(each.edge.log[-3000:] for each in gateways)


def _is_ready(fleet: RealFleet, node: str) -> bool:
    conditions = maps_at(fleet.find(f"/api/v1/nodes/{node}"), "status", "conditions")
    return any(str_at(each, "type") == "Ready" and str_at(each, "status") == "True" for each in conditions)


def _is_serving(fleet: RealFleet, name: str) -> bool:
    conditions = maps_at(fleet.find(f"{CORE}/pods/{name}"), "status", "conditions")
    return any(str_at(each, "type") == "Ready" and str_at(each, "status") == "True" for each in conditions)


def pod(name: str, node: str) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", SERVES],
        "readinessProbe": {"httpGet": {"path": "/name", "port": 8080}, "periodSeconds": 1},
    }
    spec: JsonObject = {
        "nodeName": node,
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    return {"kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}


def addresses(fleet: RealFleet, name: str) -> list[str]:
    return [str_at(each, "ip") for each in maps_at(fleet.find(f"{CORE}/pods/{name}"), "status", "podIPs")]


def test_pods_of_a_site_reach_each_other_in_both_families_and_services_outlive_cloud_and_gateway(
    site: tuple[RealFleet, Gateway, Gateway],
) -> None:
    fleet, first, second = site
    one, two = addresses(fleet, "web-g1"), addresses(fleet, "web-g2")
    assert [":" in each for each in one] == [":" in each for each in two] == [False, True]
    service = strs_at(fleet.find(f"{CORE}/services/web"), "spec", "clusterIPs")
    assert len(service) == 2
    containers = {
        name: fleet.run_of(name).split(" ")[0].removeprefix("containerd://") for name in ("web-g1", "web-g2")
    }

    def get(gateway: Gateway, address: str, port: int = 8080) -> str:
        return gateway.exec(containers[f"web-{gateway.name}"], "sh", "-c", ASKS, "sh", address, str(port))

    def turns(gateway: Gateway, address: str, count: int = 6) -> set[str]:
        return {get(gateway, address, 80) for _ in range(count)}

    def becomes(gateway: Gateway, wanted: set[str]) -> float:
        began = time.monotonic()
        for address in service:
            until(
                lambda address=address: turns(gateway, address) == wanted,
                f"{address}: {wanted}",
                lambda: _logs(first, second),
                90,
            )
        return time.monotonic() - began

    # Pod to pod over the shared network, and each service's addresses and name: itself (hairpin) and the other.
    for address in two:
        assert get(first, address) == "web-g2", _logs(first, second)
    for address in one:
        assert get(second, address) == "web-g1"
    both = {"web-g1", "web-g2"}
    becomes(first, both)
    becomes(second, both)
    said = first.exec(containers["web-g1"], "nslookup", "web.default.svc.cluster.local")
    assert all(address in said for address in service), said
    said = second.exec(containers["web-g2"], "nslookup", "pods.default.svc.cluster.local")
    assert one[0] in said and two[0] in said and one[1] not in said, "of one family, as it says"

    # Without the cloud, and with agents that were killed and come back alone.
    fleet.cloud.stop(signal.SIGKILL)
    first.edge.stop(signal.SIGKILL)
    assert turns(first, service[1]) == both, "without agent and cloud"
    first.edge.start()
    becomes(first, both)

    # A gateway dies, with all that is on it: its neighbour sees it by itself.
    second.space.run("ip", "link", "set", "lan", "down")
    second.edge.stop(signal.SIGKILL)
    took_s = becomes(first, {"web-g1"})
    assert took_s < 90
    said = first.exec(containers["web-g1"], "nslookup", "pods.default.svc.cluster.local")
    assert one[0] in said and two[0] not in said
    second.space.run("ip", "link", "set", "lan", "up")
    second.space.run("ip", "address", "replace", "fd51::2/64", "dev", "lan", "nodad")
    second.edge.start()
    becomes(first, both)
    becomes(second, both)
    assert "Traceback" not in first.edge.log + second.edge.log
