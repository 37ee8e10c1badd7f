"""A real cloud and a real gateway as processes, for tests of what goes wrong between them.

Both keep their addresses over restarts, so that a gateway finds a cloud that was killed. The gateway's pods are
processes of this machine; `RealFleet.leave` ends them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import SkerryError
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import name_of
from tests.system import forked
from tests.system.cloud_process import CloudProcess
from tests.system.containerd import unmount_below
from tests.system.levels import reached

NODE = "eu-1"
CORE = "/api/v1/namespaces/default"
DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(slots=True)
class EdgeProcess:
    """One data directory and at most one agent on it."""

    data: Path
    process: subprocess.Popen[bytes] | None = None
    prefix: tuple[str, ...] = ()
    """What stands before its commands, to run them in a namespace, say."""
    environ: dict[str, str] = field(default_factory=dict[str, str])
    """Beside this process's own."""

    @property
    def log(self) -> str:
        path = self.data.with_suffix(".log")
        return path.read_text(errors="replace") if path.exists() else ""

    def join(self, *clouds: CloudProcess, node: str = NODE) -> None:
        """Join one cloud, whose replicas these are."""
        assert self.try_join(*clouds, node=node) == 0, self.log

    def try_join(self, *clouds: CloudProcess, node: str = NODE) -> int:
        """The same; its exit code."""
        token = clouds[0].skerry("token", "create", node).strip()
        hubs = ",".join(cloud.hub for cloud in clouds)
        return self._main("join", "--cloud", hubs, "--token", token).wait(60)

    def start(self) -> None:
        """Start, and wait until it says that it is ready."""
        assert self.process is None
        before = self.log.count("edgecore ready")
        self.process = self._main("run")
        deadline = time.monotonic() + 30
        while self.log.count("edgecore ready") == before:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"edgecore did not start:\n{self.log[-3000:]}")
            time.sleep(0.02)

    def _main(self, command: str, *flags: str) -> subprocess.Popen[bytes]:
        with self.data.with_suffix(".log").open("ab") as log:
            return forked.start(
                [*self.prefix, sys.executable, "-m", "edgecore.main", command, "--data", str(self.data), *flags],
                env={**os.environ, **self.environ},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(signum)
        self.process.wait(20)
        self.process = None

    @property
    def api(self) -> Client:
        return Client(socket_path=self.data / "edgecore.sock")

    def link_state(self) -> str:
        return str_at(self.api.request("GET", "/skerry/link").obj, "state")

    def end_containers(self) -> None:
        """Whatever an earlier agent left running."""
        for state in self.data.glob("containers/*/*/state"):
            with contextlib.suppress(OSError, ValueError):
                written = json.loads(state.read_bytes())
                if written["phase"] == "running":
                    (state.parent / "stop").write_text("0")
                    os.kill(written["supervisor"], signal.SIGTERM)


@dataclass(slots=True)
class RealFleet:
    """One cloud, one gateway."""

    cloud: CloudProcess
    edge: EdgeProcess
    ports: tuple[str, ...] = ()
    _client: Client | None = field(default=None, repr=False)

    def start_cloud(self) -> None:
        self.cloud.start(*self.ports)
        if not self.ports:
            ports = {name: str(self.cloud.endpoints[name]) for name in ("https_port", "hub_port")}
            self.ports = ("--https-port", ports["https_port"], "--hub-port", ports["hub_port"])

    def api(self) -> Client:
        """The administrator's; the kubeconfig is good for every life of this cloud."""
        if self._client is None:
            self._client = Client(cluster=kubeconfig.load(self.cloud.kubeconfig))
        return self._client

    def create(self, path: str, obj: JsonObject) -> JsonObject:
        return self.api().request("POST", path, body=obj).obj

    def patch(self, path: str, change: JsonObject) -> JsonObject:
        return self.api().request("PATCH", path, body=change, content_type=MERGE_PATCH).obj

    def find(self, path: str, client: Client | None = None) -> JsonObject | None:
        """The object; None when it is not there, or nobody answers."""
        try:
            return (client or self.api()).request("GET", path).obj
        except (SkerryError, OSError):
            return None

    # --- what tests ask ---

    def ready(self) -> str:
        """Status of the node's condition Ready as the cloud has it."""
        node = self.find(f"/api/v1/nodes/{NODE}")
        return str_at(find_condition(maps_at(node, "status", "conditions"), "Ready"), "status")

    def run_of(self, pod: str) -> str:
        """Which run of the pod's container the cloud shows as running: its id and when it started; "" for none."""
        held = self.find(f"{CORE}/pods/{pod}")
        for container in maps_at(held, "status", "containerStatuses"):
            since = str_at(container, "state", "running", "startedAt")
            if since:
                return f"{str_at(container, 'containerID')} since {since}"
        return ""

    def twin(self, device: str, prop: str) -> JsonObject:
        """The twin as the DeviceStatus shows it."""
        status = self.find(f"{DEVICES}/devicestatuses/{device}")
        twins = maps_at(status, "status", "twins")
        return next((twin for twin in twins if str_at(twin, "propertyName") == prop), {})

    def ack(self, device: str, prop: str) -> str:
        return str_at(self.twin(device, prop), "reported", "metadata", "ackState")

    def device_state(self, device: str) -> str:
        return str_at(self.find(f"{DEVICES}/devicestatuses/{device}"), "status", "state")

    def wanted(self, device: str, prop: str) -> str:
        spec = maps_at(self.find(f"{DEVICES}/devices/{device}"), "spec", "properties")
        return next((str_at(entry, "desired", "value") for entry in spec if str_at(entry, "name") == prop), "")

    def history(self, device: str, prop: str) -> list[int]:
        """The gateway's own numbers of all readings that the cloud holds, in order of time."""
        numbers: list[int] = []
        query = {"property": prop, "limit": "5000"}
        while True:
            page = self.api().request("GET", f"{DEVICES}/devices/{device}/history", query=query).obj
            numbers += [int(str(item["sequence"])) for item in maps_at(page, "items") if "gap" not in item]
            query["continue"] = str_at(page, "metadata", "continue")
            if not query["continue"]:
                return numbers

    def held(self, resource: str) -> dict[str, JsonObject]:
        """What the gateway holds, by name, as its local API shows it."""
        items = maps_at(self.edge.api.request("GET", f"/api/v1/{resource}").obj, "items")
        return {name_of(item): item for item in items}

    def leave(self) -> None:
        for process in (self.edge.process, self.cloud.process):
            if process is not None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self.edge.end_containers()
        unmount_below(self.edge.data)


@contextmanager
def real_fleet(directory: Path, *flags: str) -> Generator[RealFleet]:
    """A cloud that runs, and a gateway that has joined and does not run yet."""
    edge = EdgeProcess(data=directory / "edge")
    edge.data.mkdir()
    fleet = RealFleet(cloud=CloudProcess(data=directory / "cloud", flags=flags), edge=edge)
    try:
        fleet.start_cloud()
        edge.join(fleet.cloud)
        yield fleet
    finally:
        fleet.leave()


def until(level: Callable[[], object], what: str, *, deadline_s: float = 30.0) -> float:
    """Wait for a level; how long it took."""
    began = time.monotonic()
    reached(level, lambda: what, within_s=deadline_s)
    return time.monotonic() - began


def config_map(name: str, text: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}


def pod(name: str, *configs: str) -> JsonObject:
    """A pod on the gateway that does nothing, and mounts these ConfigMaps at /skerry-fleet-NAME."""
    mounts: list[JsonObject] = [{"name": config, "mountPath": f"/skerry-fleet-{config}"} for config in configs]
    volumes: list[JsonObject] = [{"name": config, "configMap": {"name": config}} for config in configs]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 1,
            "volumes": [*volumes],
            "containers": [
                {
                    "name": "app",
                    "image": "sh",
                    "command": ["sh", "-c", "while :; do sleep 0.5; done"],
                    "volumeMounts": [*mounts],
                }
            ],
        },
    }


def boiler(level: list[int], *, cycle_ms: int = 100) -> tuple[JsonObject, JsonObject]:
    """A DeviceModel and a virtual Device whose `level` plays this script, a value each cycle, all of them kept."""
    model: JsonObject = {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": {"name": "boiler"},
        "spec": {
            "protocol": "virtual",
            "properties": [
                {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite"},
                {"name": "level", "type": "INT", "accessMode": "ReadOnly"},
            ],
        },
    }
    script: JsonObject = {"script": [*map(str, level)], "twin": {"everyReading": True}}
    device: JsonObject = {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": "boiler"},
        "spec": {
            "nodeName": NODE,
            "deviceModelRef": {"name": "boiler"},
            "protocol": {"protocolName": "virtual"},
            "properties": [
                {"name": "setpoint", "collectCycle": 200, "visitors": {"configData": {"initial": "20"}}},
                {"name": "level", "collectCycle": cycle_ms, "visitors": {"configData": script}},
            ],
        },
    }
    return model, device


def set_point(fleet: RealFleet, value: str) -> None:
    """What `skerry device set boiler setpoint=VALUE` does."""
    fleet.cloud.skerry("device", "set", "boiler", f"setpoint={value}")


def processes_of(fleet: RealFleet) -> dict[str, int]:
    """Running containers of the gateway, by their directories: pid of the supervisor of each."""
    found: dict[str, int] = {}
    for state in fleet.edge.data.glob("containers/*/*/state"):
        with contextlib.suppress(OSError, ValueError):
            written = json.loads(state.read_bytes())
            if written["phase"] == "running":
                found[str(state.parent.relative_to(fleet.edge.data))] = int(written["supervisor"])
    return found
