"""How soon the cloud knows: from an agent's start to its node Ready, and from a pod's creation to its Ready.

    python -m benchmarks starts

A real cloud and real agents over mutual TLS; each start is the first of a gateway that has joined. Pods are of one
small container, which is a process here, and one of containerd where that and the rest of `containers` can be had.
This program asks the API every five milliseconds. KubeEdge's figures were measured elsewhere, on a machine of the
same kind (2 cores, busy neighbours).
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.edge_memory import process, run, until
from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import SkerryError
from skerry.objects.json import JsonObject, maps_at, str_at

STARTS: Final = 5
PODS: Final = 10
LOOK_S: Final = 0.005
WAIT_S_MAX: Final = 60.0
READY_S: Final = 0.8
POD_MS: Final = 400
NODES: Final = "/api/v1/nodes"
POD_PATH: Final = "/api/v1/namespaces/default/pods"


class Cloud:
    """One that runs, and what asks it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._client = Client(cluster=kubeconfig.load(data / "admin.kubeconfig"))

    def join(self, edge: Path, node: str) -> None:
        token = run("skerry.cli.main", "token", "create", node, "--data", self.data).strip()
        hub = str(json.loads((self.data / "endpoints.json").read_text())["hub"])
        run("edgecore.main", "join", "--data", edge, "--cloud", hub, "--token", token)

    def ready_s(self, path: str, begun_s: float) -> float:
        """Seconds from then until this object is Ready."""
        while time.monotonic() < begun_s + WAIT_S_MAX:
            with contextlib.suppress(SkerryError):
                if is_ready(self._client.request("GET", path).obj):
                    return time.monotonic() - begun_s
            time.sleep(LOOK_S)
        raise RuntimeError(f"{path} did not become ready")

    def create(self, body: JsonObject) -> None:
        self._client.request("POST", POD_PATH, body=body)

    def delete(self, name: str) -> None:
        self._client.request("DELETE", f"{POD_PATH}/{name}")

    def is_empty(self) -> bool:
        return not maps_at(self._client.request("GET", POD_PATH).obj, "items")


def is_ready(obj: JsonObject) -> bool:
    return any(
        str_at(each, "type") == "Ready" and str_at(each, "status") == "True"
        for each in maps_at(obj, "status", "conditions")
    )


@contextlib.contextmanager
def running(data: Path, *options: str | Path) -> Generator[None]:
    command = [sys.executable, "-m", "edgecore.main", "run", "--data", data, "--transport", "websocket", *options]
    with process(data.with_suffix(".log"), *command, "--local-api", "off"):
        yield


def pod(name: str, node: str, image: str) -> JsonObject:
    container: JsonObject = {"name": "app", "image": image, "command": ["sh", "-c", "sleep 100000 & wait"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container]},
    }


def pods_s(cloud: Cloud, node: str, image: str) -> list[float]:
    """Each alone, from before its creation is asked for."""
    found: list[float] = []
    for number in range(PODS):
        name = f"{node}-{number}"
        begun_s = time.monotonic()
        cloud.create(pod(name, node, image))
        found.append(cloud.ready_s(f"{POD_PATH}/{name}", begun_s))
        cloud.delete(name)
        until(cloud.is_empty, "the pod to end")
    return found


def in_containers(cloud: Cloud, home: Path) -> list[float]:
    """Of pods of containerd; none where there is no containerd."""
    from tests.system.containerd import BUSYBOX_IMAGE, containerd_server  # of the repository, as this program is

    cloud.join(home / "boxes", "boxes")
    with containerd_server() as containerd:
        options = ("--runtime", "containerd", "--runtime-endpoint", containerd.endpoint)
        with running(home / "boxes", *options, "--cgroup-root", containerd.cgroup_root):
            cloud.ready_s(f"{NODES}/boxes", time.monotonic())
            return pods_s(cloud, "boxes", BUSYBOX_IMAGE)


def main() -> Sequence[tuple[str, str]]:
    from tests.system.containerd import unmount_below

    starts: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sk-") as directory, contextlib.ExitStack() as stack:
        home = Path(directory)
        flags = ["--bind", "127.0.0.1", "--https-port", "0", "--hub-port", "0"]
        command = [sys.executable, "-m", "cloudcore.main", "--data", home / "cloud", *flags]
        stack.enter_context(process(home / "cloud.log", *command, ready="cloudcore ready"))
        cloud = Cloud(home / "cloud")
        plain: list[float] = []
        for number in range(STARTS):
            edge = home / f"edge-{number}"
            cloud.join(edge, edge.name)
            begun_s = time.monotonic()
            with running(edge, "--runtime", "process"):
                starts.append(cloud.ready_s(f"{NODES}/{edge.name}", begun_s))
                if number == 0:
                    plain = pods_s(cloud, edge.name, "sh")
        boxes = in_containers(cloud, home)
        stack.close()
        unmount_below(home)  # the tokens of pods that ran until the agent ended
    return (
        (
            "cold start to node Ready in the cloud",
            f"{statistics.median(starts):.2f} s (at most {READY_S}; KubeEdge 0.78)",
        ),
        ("pod created -> Ready reported, a process", f"{1000 * statistics.median(plain):.0f} ms (at most {POD_MS})"),
        (
            "pod created -> Ready reported, a container",
            f"{1000 * statistics.median(boxes):.0f} ms (at most {POD_MS}; KubeEdge 988)",
        ),
    )
