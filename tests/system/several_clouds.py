"""Several real `cloudcore` processes on one PostgreSQL, and real gateways that know all of them."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from skerry.errors import SkerryError
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import name_of
from tests.postgres_server import PostgresServer
from tests.system.cloud_process import CloudProcess
from tests.system.real_fleet import EdgeProcess

TURN: Final = re.compile(r"^(\S+) INFO \S+: (leading|following|cloudcore stopped)\b(?:.* reign=(\d+))?", re.MULTILINE)
"""What a log says of leading: when, what, and which reign."""
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


@dataclass(slots=True)
class SeveralClouds:
    """One cloud in several processes. A replica keeps its ports over restarts."""

    directory: Path
    dsn: str
    flags: tuple[str, ...]
    replicas: list[CloudProcess] = field(default_factory=list[CloudProcess])
    edges: list[EdgeProcess] = field(default_factory=list[EdgeProcess])
    _ports: dict[Path, tuple[str, ...]] = field(default_factory=dict[Path, tuple[str, ...]])

    def add(self) -> CloudProcess:
        """One more replica, running."""
        return self.start(self.prepare())

    def prepare(self) -> CloudProcess:
        """One more replica, not yet running."""
        data = self.directory / f"cloud-{len(self.replicas)}"
        key = str(self.directory / "cluster.key")
        cloud = CloudProcess(data=data, flags=("--database", self.dsn, "--cluster-key", key, *self.flags))
        self.replicas.append(cloud)
        return cloud

    def start(self, cloud: CloudProcess) -> CloudProcess:
        cloud.start(*self._ports.get(cloud.data, ()))
        ports = {name: str(cloud.endpoints[name]) for name in ("https_port", "hub_port")}
        self._ports[cloud.data] = ("--https-port", ports["https_port"], "--hub-port", ports["hub_port"])
        return cloud

    def kill(self, cloud: CloudProcess) -> None:
        cloud.stop(signal.SIGKILL)

    def edge(self, node: str, clouds: Sequence[CloudProcess]) -> EdgeProcess:
        """A gateway that has joined, and tries these replicas in this order; it does not run yet."""
        edge = EdgeProcess(data=self.directory / node)
        edge.data.mkdir()
        self.edges.append(edge)
        edge.join(*clouds, node=node)
        return edge

    def moved(self, edge: EdgeProcess, clouds: Sequence[CloudProcess]) -> EdgeProcess:
        """What is on the disk of a gateway, which stands still from now on, as another one that tries these
        replicas; it does not run yet."""
        assert edge.process is not None
        edge.process.send_signal(signal.SIGSTOP)
        data = edge.data.with_name(f"{edge.data.name}-moved")
        shutil.copytree(edge.data, data, ignore=shutil.ignore_patterns("*.sock", "*.fifo"))
        joined = json.loads((data / "join.json").read_bytes())
        (data / "join.json").write_text(json.dumps(joined | {"clouds": [cloud.hub for cloud in clouds]}))
        moved = EdgeProcess(data=data)
        self.edges.append(moved)
        return moved

    def leave(self) -> None:
        for process in (*(edge.process for edge in self.edges), *(cloud.process for cloud in self.replicas)):
            if process is not None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for edge in self.edges:
            edge.end_containers()


@contextmanager
def several_clouds(directory: Path, server: PostgresServer, *flags: str, count: int = 2) -> Generator[SeveralClouds]:
    """That many replicas, running, of a cloud of its own in the server."""
    key = directory / "cluster.key"
    key.write_bytes(base64.b64encode(os.urandom(32)))
    key.chmod(0o600)
    clouds = SeveralClouds(directory=directory, dsn=server.dsn(server.create_database()), flags=flags)
    try:
        for _ in range(count):
            clouds.add()
        yield clouds
    finally:
        clouds.leave()


def leader_of(clouds: SeveralClouds) -> CloudProcess | None:
    """Of those that run, whose log said last, since its last start, that it leads."""
    for cloud in clouds.replicas:
        turns = TURN.findall(cloud.log.rpartition("cloudcore ready")[2])
        if cloud.process is not None and turns and turns[-1][1] == "leading":
            return cloud
    return None


def find(cloud: CloudProcess, path: str) -> JsonObject | None:
    """The object as this replica shows it; None when it is not there, or the replica does not answer."""
    try:
        return cloud.client().request("GET", path).obj
    except (SkerryError, OSError):
        return None


def ready(cloud: CloudProcess, node: str) -> str:
    """Status of the node's condition Ready as this replica shows it."""
    conditions = maps_at(find(cloud, f"/api/v1/nodes/{node}"), "status", "conditions")
    return str_at(find_condition(conditions, "Ready"), "status")


def hubs(cloud: CloudProcess) -> list[str]:
    """Names of the hubs' Leases as this replica shows them."""
    found = (name_of(lease) for lease in maps_at(find(cloud, LEASES), "items"))
    return [name for name in found if name.startswith("skerry-hub")]


def hub_of(edge: EdgeProcess) -> str:
    """HOST:PORT of the hub to which a gateway is connected and in step; "" for none."""
    link = edge.api.request("GET", "/skerry/link").obj
    return str_at(link, "cloud") if str_at(link, "sessionState") == "in_step" else ""
