"""A global cloud, three regions and a gateway in each, every one in a network of its own, with cables to pull.

    top --- (cable) --- net --- (cable) --- cluster1 === gateway
                         |----- (cable) --- cluster2 === gateway
                         '----- (cable) --- cluster3 === gateway

A region's namespace holds its cloud, a DNS server, its clients and a bridge with its gateway; all are in
10.9.0.0/16.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.namespaces import Namespace, new_namespace
from tests.system import forked
from tests.system.cloud_process import CloudProcess
from tests.system.real_fleet import EdgeProcess

REGIONS = ("cluster1", "cluster2", "cluster3")
PLACES = {"cluster1": "eu", "cluster2": "us", "cluster3": "ap"}
HEARTBEAT_S = 2
TOP = "10.9.0.1"
DNS_PORT = 53


def address_of(region: str, host: int = 1) -> str:
    return f"10.9.{REGIONS.index(region) + 1}.{host}"


@dataclass
class Net:
    directory: Path
    hub: Namespace
    stack: ExitStack
    places: dict[str, Namespace] = field(default_factory=dict[str, Namespace])
    clouds: dict[str, CloudProcess] = field(default_factory=dict[str, CloudProcess])
    edges: dict[str, EdgeProcess] = field(default_factory=dict[str, EdgeProcess])

    @property
    def top(self) -> CloudProcess:
        return self.clouds["top"]

    # --- cables ---

    def add(self, name: str, address: str) -> Namespace:
        """A namespace with a bridge, plugged into the net."""
        place = self._namespace(name)
        place.run("ip", "link", "add", "br0", "type", "bridge")
        place.run("ip", "address", "add", f"{address}/16", "dev", "br0")
        place.run("ip", "link", "set", "br0", "up")
        _cable(place, self.hub, "up0", name)
        place.run("ip", "link", "set", "up0", "master", "br0")
        return place

    def add_gateway(self, region: str) -> Namespace:
        place = self._namespace(f"{region}-gateway")
        _cable(place, self.places[region], "eth0", "gateway")
        place.run("ip", "address", "add", f"{address_of(region, 2)}/16", "dev", "eth0")
        return place

    def _namespace(self, name: str) -> Namespace:
        place = self.places[name] = new_namespace(name)
        self.stack.callback(place.close)
        return place

    def cut(self, name: str) -> None:
        """Pull a cable, at the far end."""
        self.hub.run("ip", "link", "set", name, "down")

    def mend(self, name: str) -> None:
        self.hub.run("ip", "link", "set", name, "up")

    def deafen(self, name: str) -> None:
        """Nothing of the top gets there any more, and what it says still goes out: half-open."""
        rules = f"table ip deaf {{ chain in {{ type filter hook input priority 0; ip saddr {TOP} drop; }}; }}"
        self.places[name].run("nft", rules)

    def hear(self, name: str) -> None:
        self.places[name].run("nft", "delete", "table", "ip", "deaf")

    # --- who is there ---

    def cloud(self, name: str, address: str) -> CloudProcess:
        flags = ("--hub-port", "10443", "--https-port", "6443", "--heartbeat-s", str(HEARTBEAT_S))
        made = CloudProcess(self.directory / name, flags=flags, prefix=tuple(self.places[name].prefix), bind=address)
        self.clouds[name] = made
        self.stack.callback(_kill, lambda: made.process)
        return made

    def gateway(self, region: str) -> EdgeProcess:
        place = PLACES[region]
        labels = f"topology.kubernetes.io/region={place},topology.kubernetes.io/zone={place}-1"
        data = self.directory / f"{region}-gateway"
        _fake_images(data / "images")
        made = EdgeProcess(
            data, prefix=tuple(self.places[f"{region}-gateway"].prefix), environ={"SKERRY_LABEL": labels}
        )
        self.edges[region] = made
        self.stack.callback(made.end_containers)
        self.stack.callback(_kill, lambda: made.process)
        return made

    def dns(self, region: str) -> None:
        """A server in the region that follows the global cloud."""
        home = self.directory / f"{region}-dns"
        home.mkdir()
        command = [
            *self.places[region].prefix,
            *(sys.executable, "-m", "cloudcore.main", "dns", "--cloud", str(self.top.kubeconfig)),
            *("--state", str(home / "state"), "--listen", address_of(region), "--workers", "1"),
            *("--control", str(home / "control.sock"), "--nsid", region),
        ]
        with (home / "log").open("wb") as log:
            process = forked.start(command, stdout=log, stderr=log)
        self.stack.callback(_kill, lambda: process)

    def ask(self, region: str, name: str) -> set[str]:
        """What a client in a region is told."""
        command = ["kdig", f"@{address_of(region)}", "+short", "+retry=0", "+time=1", name]
        done = subprocess.run([*self.places[region].prefix, *command], capture_output=True, text=True, timeout=20)
        return {line for line in done.stdout.split() if line[:1].isdigit()}

    def fetch(self, region: str, address: str) -> str:
        """What a client in a region is served there, "" for nothing."""
        command = ["curl", "-s", "--max-time", "2", f"http://{address}:8080/"]
        done = subprocess.run([*self.places[region].prefix, *command], capture_output=True, text=True, timeout=20)
        return done.stdout.strip()

    def get(self, cloud: str, kind: str, name: str = "", namespace: str = "shop") -> Any:
        words = [kind, *([name] if name else [])]
        text = self.clouds[cloud].kubectl(
            "get", *words, "-n", namespace, "-o", "json", "--ignore-not-found", check=False
        )
        return json.loads(text) if text.lstrip().startswith("{") else None

    def runs(self, region: str, namespace: str = "shop") -> dict[str, str]:
        """Containers of the pods that run on the gateway, as its own API tells: with its cloud away as well."""
        found: dict[str, str] = {}
        path = f"/api/v1/namespaces/{namespace}/pods"
        listed: Any = self.edges[region].api.request("GET", path).obj
        for pod in listed.get("items", []):
            status = pod.get("status", {})
            if status.get("phase") == "Running" and status.get("containerStatuses"):
                found[pod["metadata"]["name"]] = status["containerStatuses"][0]["containerID"]
        return found


def _cable(place: Namespace, other: Namespace, name: str, there: str) -> None:
    place.run("ip", "link", "add", name, "type", "veth", "peer", "name", there, "netns", other.path)
    place.run("ip", "link", "set", name, "up")
    other.run("ip", "link", "set", there, "master", "br0")
    other.run("ip", "link", "set", there, "up")


def _fake_images(directory: Path) -> None:
    """Images that samples name: nothing can be pulled here."""
    for name in ("nginx", "hangzhou.registry.io/nginx", "beijing.registry.io/nginx"):
        there = directory / name
        there.mkdir(parents=True)
        (there / "skerry-image.json").write_text(json.dumps({"entrypoint": ["sleep", "100000"]}))


def _kill(process: Callable[[], subprocess.Popen[bytes] | None]) -> None:
    if (found := process()) is not None and found.poll() is None:
        found.kill()
        found.wait()


def together(*work: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result() for future in [pool.submit(each) for each in work]]


def each_region(work: Callable[[str], Any], regions: Iterable[str] = REGIONS) -> list[Any]:
    return together(*((lambda region=region: work(region)) for region in regions))


@contextmanager
def regions_on_a_net(directory: Path) -> Generator[Net]:
    """All of it, up and joined; gone at the end, whatever happens."""
    with ExitStack() as stack:
        try:
            hub = new_namespace("hub")
        except UnavailableError as error:
            pytest.skip(str(error))
        stack.callback(hub.close)
        hub.run("ip", "link", "add", "br0", "type", "bridge")
        hub.run("ip", "link", "set", "br0", "up")
        net = Net(directory, hub, stack)
        net.add("top", TOP)
        net.cloud("top", TOP)
        for region in REGIONS:
            net.add(region, address_of(region))
            net.add_gateway(region)
            net.cloud(region, address_of(region))
        together(*(cloud.start for cloud in net.clouds.values()))
        net.top.skerry("region", "init")
        each_region(lambda region: _populate(net, region))
        yield net


def _populate(net: Net, region: str) -> None:
    net.dns(region)
    cloud, edge = net.clouds[region], net.gateway(region)
    edge.join(cloud, node=f"{region}-gateway")
    edge.start()
    # With its gateway there, so that it says at once where it is.
    cloud.skerry("region", "join", net.top.hub, net.top.skerry("region", "token", region).strip())
