"""What the cases stand on: a rig with one gateway in step, and the questions they ask of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skerry.errors import SkerryError
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.testkit.real.programs import CLOUD, EdgeProgram, until
from skerry.testkit.real.rig import Rig, RigSettings, rig
from skerry.testkit.real.sites import Link

NODE = "plant-7"
CORE = "/api/v1/namespaces/default"
DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"
HEARTBEAT_S = 2.0
FLAGS = ("--heartbeat-s", str(HEARTBEAT_S), "--node-grace-s", "1")


@dataclass(slots=True)
class Ground:
    """One cloud, one gateway that is connected."""

    rig: Rig
    edge: EdgeProgram

    @property
    def link(self) -> Link:
        return self.rig.sites[self.edge.node].link

    def ready(self, node: str = NODE) -> str:
        found = self.rig.cloud.find(f"/api/v1/nodes/{node}")
        return str_at(find_condition(maps_at(found, "status", "conditions"), "Ready"), "status")

    def held(self, resource: str) -> dict[str, JsonObject]:
        """What the gateway holds, by name, as its local API shows it."""
        return {name_of(item): item for item in maps_at(self.edge.find(f"/api/v1/{resource}"), "items")}

    def text_held(self, name: str) -> str:
        return str_at(self.held("configmaps").get(name), "data", "text")

    def outbox(self) -> int:
        return int_at(self.edge.find("/skerry/status"), "outbox", "reports")

    def history(self, device: str, prop: str) -> list[int]:
        """The gateway's own numbers of all readings that the cloud holds, in order of time."""
        numbers: list[int] = []
        query = {"property": prop, "limit": "5000"}
        while True:
            page = self.rig.cloud.api.request("GET", f"{DEVICES}/devices/{device}/history", query=query).obj
            numbers += [int(str(item["sequence"])) for item in maps_at(page, "items")]
            query["continue"] = str_at(page, "metadata", "continue")
            if not query["continue"]:
                return numbers

    def twin(self, device: str, prop: str) -> JsonObject:
        status = self.rig.cloud.find(f"{DEVICES}/devicestatuses/{device}")
        return next((t for t in maps_at(status, "status", "twins") if str_at(t, "propertyName") == prop), {})

    def ack(self, device: str, prop: str) -> str:
        return str_at(self.twin(device, prop), "reported", "metadata", "ackState")

    def reported(self, device: str, prop: str) -> str:
        return str_at(self.twin(device, prop), "reported", "value")

    def local_value(self, device: str, prop: str) -> str:
        """The reported value as the gateway's own API shows it."""
        found = self.edge.find(f"{DEVICES}/devicestatuses/{device}") or self.edge.find(f"{DEVICES}/devices/{device}")
        twin = next((t for t in maps_at(found, "status", "twins") if str_at(t, "propertyName") == prop), {})
        return str_at(twin, "reported", "value")

    def set_point(self, device: str, prop: str, value: str) -> None:
        self.rig.cloud.skerry("device", "set", device, f"{prop}={value}")

    def revision(self) -> int:
        """How many changes the control store has committed since it began."""
        return int(str_at(self.rig.cloud.api.request("GET", "/api/v1/nodes").obj, "metadata", "resourceVersion"))

    def cloud_cpu_s(self) -> float:
        """Processor seconds that the cloud has used."""
        fields = Path(f"/proc/{self.cloud_pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cloud_memory_mib(self, which: str = "VmRSS") -> float:
        """Resident memory now, or its peak (`VmHWM`), proc(5)."""
        lines = Path(f"/proc/{self.cloud_pid()}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))

    def cloud_pid(self) -> int:
        return self.rig.cloud.machine.pid_of(CLOUD)


@contextmanager
def ground(*flags: str, settings: RigSettings | None = None) -> Generator[Ground]:
    """A cloud and a gateway in step with it."""
    with rig(settings or RigSettings(cloud_flags=flags or FLAGS)) as made:
        edge = made.edge(NODE)
        here = Ground(made, edge)
        until(lambda: made.cloud.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        edge.start()
        until(lambda: edge.link_state == "connected", "the gateway to be connected", within_s=60)
        until(lambda: here.ready() == "True", "the node to be Ready", within_s=60)
        yield here


@dataclass
class Readiness:
    """Looks at nodes all the time, and remembers which were seen not Ready."""

    here: Ground
    nodes: frozenset[str]
    seen: dict[str, int] = field(default_factory=dict[str, int])
    looks: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self, every_s: float = 0.25) -> Generator[Readiness]:
        thread = threading.Thread(target=self._run, args=(every_s,))
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _run(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                listed = maps_at(self.here.rig.cloud.api.request("GET", "/api/v1/nodes").obj, "items")
            except SkerryError:
                continue
            self.looks += 1
            for node in listed:
                ready = str_at(find_condition(maps_at(node, "status", "conditions"), "Ready"), "status")
                if name_of(node) in self.nodes and ready != "True":
                    self.seen[name_of(node)] = self.seen.get(name_of(node), 0) + 1


def config_map(name: str, text: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}


def pod(name: str, *configs: str, node: str = NODE, **spec: object) -> JsonObject:
    """A pod that does nothing, and mounts these ConfigMaps at /skerry-fault-NAME."""
    mounts: list[JsonObject] = [{"name": each, "mountPath": f"/skerry-fault-{each}"} for each in configs]
    volumes: list[JsonObject] = [{"name": each, "configMap": {"name": each}} for each in configs]
    container: JsonObject = {
        "name": "app",
        "image": "sh",
        "command": ["sh", "-c", "while :; do sleep 0.5; done"],
        "volumeMounts": [*mounts],
    }
    body: JsonObject = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 1,
        "volumes": [*volumes],
        "containers": [container],
        **spec,  # type: ignore[dict-item] - JSON by construction
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def virtual_model(name: str, *properties: str) -> JsonObject:
    """A DeviceModel of the virtual protocol; `setpoint` may be written, the others are readings."""
    listed: list[JsonObject] = [
        {"name": each, "type": "INT", "accessMode": "ReadWrite" if each == "setpoint" else "ReadOnly"}
        for each in properties
    ]
    spec: JsonObject = {"protocol": "virtual", "properties": [*listed]}
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": {"name": name},
        "spec": spec,
    }


def virtual_device(name: str, model: str, *properties: str, cycle_ms: int = 100, node: str = NODE) -> JsonObject:
    """A Device whose readings count up and are all kept, and whose `setpoint` begins at 20."""
    listed: list[JsonObject] = []
    for each in properties:
        play: JsonObject = {"script": [*map(str, range(1, 50))], "twin": {"everyReading": True}}
        data: JsonObject = {"initial": "20"} if each == "setpoint" else play
        listed.append({"name": each, "collectCycle": cycle_ms, "visitors": {"configData": data}})
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "deviceModelRef": {"name": model},
            "protocol": {"protocolName": "virtual"},
            "properties": [*listed],
        },
    }


def add_device(here: Ground, name: str, *properties: str, cycle_ms: int = 100) -> None:
    """A model of the device's own name, and the device; waits until it speaks."""
    here.rig.cloud.create(f"{DEVICES}/devicemodels", virtual_model(name, *properties))
    here.rig.cloud.create(f"{DEVICES}/devices", virtual_device(name, name, *properties, cycle_ms=cycle_ms))
    until(lambda: here.reported(name, properties[0]), f"the first value of {name}", within_s=60)


def now_s() -> float:
    return time.monotonic()
