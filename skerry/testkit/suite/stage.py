"""An app on a fleet, as every fault of a suite finds it: running, in step, its devices read.

Uses the face of the test kit alone, so that it stands on either backend. Keeps what ran when the stage was set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, clone, ensure_map, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.testkit.face import Broker, Edge, Fleet, Plc, PodView
from skerry.testkit.suite.app import App, AppDevice, Workload

COMPARED: Final = ("pods", "configmaps", "secrets", "devices.devices.kubeedge.io", "devicemodels.devices.kubeedge.io")
"""Kinds of which a gateway has to hold what the cloud has."""

PLAYED: Final = ("modbus", "virtual", "mqtt")
"""Protocols of devices that both backends can play."""


@dataclass(slots=True)
class Stage:
    """See the module."""

    fleet: Fleet
    app: App
    edges: dict[str, Edge] = field(default_factory=dict[str, Edge])
    plcs: dict[int, Plc] = field(default_factory=dict[int, Plc])
    brokers: dict[int, Broker] = field(default_factory=dict[int, Broker])
    """By port, as are the PLCs."""

    @property
    def settle_s(self) -> float:
        return self.app.expects.settle_s

    # --- how long things last ---

    def lasting(self, seconds: float, *, least_s: float = 1.0) -> float:
        """How long something lasts on this fleet that lasts so long at the product's own heartbeats; not below
        `least_s`, for what does not depend on heartbeats."""
        return max(seconds * self.fleet.pace, min(seconds, least_s))

    def wait(self, seconds: float, *, least_s: float = 1.0) -> None:
        self.fleet.wait(self.lasting(seconds, least_s=least_s))

    def throughout(self, condition: Callable[[], object], for_s: float, *, every_s: float, message: str = "") -> None:
        between_s = self.lasting(every_s, least_s=0.5)
        self.fleet.throughout(condition, self.lasting(for_s, least_s=2.0), every_s=between_s, message=message)

    # --- who is there ---

    @property
    def devices(self) -> list[AppDevice]:
        """Those that a fleet can play."""
        return [device for device in self.app.devices if device.protocol in PLAYED and device.node in self.edges]

    # --- setting it ---

    def build(self) -> None:
        """The gateways and PLCs, and nothing on them yet."""
        for port in sorted({device.plc_port for device in self.app.devices if device.plc_port}):
            plc = self.plcs[port] = self.fleet.plc(f"plc-{port}", port=port)
            for table, places in self.app.expects.plcs.get(port, {}).items():
                getattr(plc, table).update(places)
        self._play_mqtt()
        for name, labels in self.app.gateways.items():
            self.edges[name] = self.fleet.edge(name, labels=labels)
        for namespace in self.app.namespaces:
            self.fleet.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    def _play_mqtt(self) -> None:
        """Devices that speak MQTT, each through the broker at its port: they are there, they tell, they obey."""
        for device in self.app.devices:
            mqtt = device.mqtt
            if mqtt is None:
                continue
            broker = self.brokers.get(mqtt.broker_port)
            if broker is None:
                name = f"broker-{mqtt.broker_port}"
                broker = self.brokers[mqtt.broker_port] = self.fleet.broker(name, port=mqtt.broker_port)
            if mqtt.online is not None:
                broker.publish(*mqtt.online, retain=True)
            for topic, told in mqtt.tells.items():
                broker.repeat(topic, told)
            for command_topic, topic, path, template in mqtt.obeys:
                broker.obey(command_topic, topic, path=path, template=template)

    def apply(self) -> None:
        left_out = {(device.namespace, device.name) for device in self.app.devices if device not in self.devices}
        objects = [
            self._placed(obj)
            for obj in self.app.objects
            if str_at(obj, "kind") != "Device" or (namespace_of(obj) or "default", name_of(obj)) not in left_out
        ]
        self.fleet.apply(objects)

    def _placed(self, obj: JsonObject) -> JsonObject:
        """A Device that speaks to a PLC or a broker is told where that is here. The broker asks for no password, and
        has no certificate."""
        named = (namespace_of(obj) or "default", name_of(obj))
        device = next((one for one in self.devices if (one.namespace, one.name) == named), None)
        if str_at(obj, "kind") != "Device" or device is None:
            return obj
        placed = clone(obj)
        config = ensure_map(placed, "spec", "protocol", "configData")
        if device.mqtt is not None:
            port = device.mqtt.broker_port
            config |= {"host": self.brokers[port].host, "port": port}
            for field_of_secrets in ("username", "passwordFile", "tls"):
                config.pop(field_of_secrets, None)
        elif device.plc_port and isinstance(config.get("tcp"), dict):
            ensure_map(config, "tcp")["ip"] = self.plcs[device.plc_port].host
        return placed

    def set(self) -> None:
        """All of it, and everything well."""
        self.build()
        self.apply()
        self.settled("the app runs before anything goes wrong", within_s=self.app.expects.ready_s)

    # --- what may be said of it ---

    def settled(self, message: str, *, within_s: float | None = None) -> None:
        """Everything is as the cloud wants it, on every gateway."""
        patience_s = within_s or self.settle_s
        told = self.fleet.eventually
        told(self.all_in_step, patience_s, message=f"{message}: every gateway is in step with the cloud")
        told(self.whole, patience_s, message=f"{message}: every pod runs and is ready")
        told(self.equal, patience_s, message=f"{message}: gateways hold what the cloud has")
        for device in self.devices:
            told(lambda device=device: self.read(device), patience_s, message=f"{message}: {device.name} is read")

    def all_in_step(self) -> bool:
        behind = [name for name, edge in self.edges.items() if not edge.in_step]
        assert not behind, f"not in step: {', '.join(behind)}"
        return True

    def whole(self) -> bool:
        """As many pods as are wanted, running and ready; nothing else."""
        for workload in self.app.workloads:
            pods = self.pods_of(workload)
            good = [pod for pod in pods if pod.running and pod.ready]
            why = next((f": {pod.name} {pod.message}" for pod in pods if pod not in good), "")
            wanted = workload.count(self.app.gateways)
            assert len(good) == len(pods) == wanted, (
                f"{workload.kind} {workload.name}: {len(good)} of {wanted} pods run{why}"
            )
        return True

    def running(self) -> bool:
        """As many pods run as are wanted, whoever knows of it."""
        for workload in self.app.workloads:
            runs = [pod for pod in self.pods_of(workload) if pod.running]
            wanted = workload.count(self.app.gateways)
            assert len(runs) == wanted, f"{workload.kind} {workload.name}: {len(runs)} of {wanted} pods run"
        return True

    def pods_of(self, workload: Workload) -> list[PodView]:
        found: list[PodView] = []
        for edge in self.edges.values():
            found += [pod for pod in edge.pods() if pod.namespace == workload.namespace and is_of(workload, pod.name)]
        return found

    def equal(self) -> bool:
        """What a gateway holds is what the cloud has, revision by revision."""
        for edge in self.edges.values():
            for kind in COMPARED:
                for held in edge.list(kind):
                    theirs = self.fleet.get(kind, name_of(held), namespace_of(held))
                    assert theirs is not None, f"{edge.name} holds {kind} {name_of(held)}, which the cloud has not"
                    here, there = (
                        str_at(held, "metadata", "resourceVersion"),
                        str_at(theirs, "metadata", "resourceVersion"),
                    )
                    assert here == there, f"{edge.name} holds {kind} {name_of(held)} at {here}, the cloud at {there}"
        return True

    def read(self, device: AppDevice) -> bool:
        """The gateway reads it, and the cloud has been told."""
        edge = self.edges[device.node]
        for prop in _properties(edge.get("device", device.name, device.namespace)):
            here = edge.twin(device.name, prop, device.namespace)
            there = self.fleet.cloud.twin(device.name, prop, device.namespace)
            assert here is not None and here.quality == "good", f"{prop}: {here}"
            assert there is not None and there.reported == here.reported, f"{prop}: here {here}, cloud {there}"
        return True

    def containers(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of what runs, by gateway."""
        return {
            name: tuple(sorted(one.id for pod in edge.pods() for one in pod.containers if one.running))
            for name, edge in self.edges.items()
        }

    def untouched(self, before: Mapping[str, tuple[str, ...]]) -> bool:
        """The containers that ran then run now, and no others: nothing was stopped, nothing restarted."""
        now = self.containers()
        assert now == before, f"was {before}, is {now}"
        return True

    def no_pods(self) -> bool:
        left = [pod.name for workload in self.app.workloads for pod in self.pods_of(workload)]
        assert not left, f"still there: {', '.join(left)}"
        return True

    # --- what people do meanwhile ---

    def change_config(self, text: str) -> tuple[str, str]:
        """Change a ConfigMap that pods use; which one."""
        namespace, name = self.app.configs[0]
        self.fleet.patch("configmaps", name, {"data": {"skerry-testkit": text}}, namespace)
        return namespace, name

    def config_arrived(self, config: tuple[str, str], text: str) -> bool:
        namespace, name = config
        for edge in self.edges.values():
            held = edge.get("configmap", name, namespace)
            if held is not None and _text_of(held) != text:
                raise AssertionError(f"{edge.name} has {name} as it was")
        return any(edge.get("configmap", name, namespace) is not None for edge in self.edges.values())

    def delete_workloads(self) -> None:
        for workload in self.app.workloads:
            self.fleet.delete(workload.kind.lower(), workload.name, workload.namespace)

    def every_link(self) -> list[Edge]:
        return list(self.edges.values())

    def twin_is(self, device: AppDevice, prop: str, value: str) -> bool:
        """Wanted, carried out and told, on both sides."""
        here = self.edges[device.node].twin(device.name, prop, device.namespace)
        there = self.fleet.cloud.twin(device.name, prop, device.namespace)
        for side, twin in (("the gateway", here), ("the cloud", there)):
            assert twin is not None and twin.state in ("verified", "applied"), f"{side}: {twin}"
            assert twin.reported is not None and _same(twin.reported, value), f"{side}: {twin}"
        return True


def is_of(workload: Workload, pod: str) -> bool:
    """Whether a pod of this name is its: NAME-HASH-SUFFIX of a Deployment, NAME-ORDINAL of a StatefulSet, NAME-SUFFIX
    of the others."""
    parts = {"Deployment": 2, "Pod": 0}.get(workload.kind, 1)
    return pod.rsplit("-", parts)[0] == workload.name if parts else pod == workload.name


def _properties(device: JsonObject | None) -> list[str]:
    if device is None:
        raise UnavailableError("the gateway does not have the device yet")
    spec = device.get("spec")
    entries = spec.get("properties") if isinstance(spec, dict) else None
    return (
        [str_at(entry, "name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )


def _text_of(config: JsonObject) -> str:
    return str_at(config, "data", "skerry-testkit")


def _same(one: str, other: str) -> bool:
    try:
        return abs(float(one) - float(other)) < 1e-6
    except ValueError:
        return one == other
