"""The test kit's face on real processes: what `--skerry-backend real` gives.

A fleet is a rig (`rig`), asked from outside. Times are everybody's. Keeps a line for each thing that was done.
"""

from __future__ import annotations

import base64
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar, cast

from edgecore.pods.port import ContainerState
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.conditions import is_true
from skerry.objects.json import Json, JsonObject, int_at, list_at, str_at
from skerry.objects.meta import name_of, uid_of
from skerry.sync.ports import SyncSettings
from skerry.testkit import arguments, waiting
from skerry.testkit.api import Api, objects_of
from skerry.testkit.face import (
    BackendError,
    Backup,
    BootClock,
    FaultView,
    Manifest,
    PodView,
    ReadingView,
    TwinView,
    UnsupportedError,
)
from skerry.testkit.faults import Faults, Timeline
from skerry.testkit.fleets import FleetOptions
from skerry.testkit.mqtt import Devices, payload_of, topic_of
from skerry.testkit.real.clocks import FakedClock, compiler
from skerry.testkit.real.containers import container_states
from skerry.testkit.real.namespaces import tool
from skerry.testkit.real.pipe import Direction
from skerry.testkit.real.power import Steward
from skerry.testkit.real.programs import CloudProgram, EdgeProgram
from skerry.testkit.real.rig import Rig, RigSettings, rig
from skerry.testkit.real.sites import Link
from skerry.testkit.views import pod_view

T = TypeVar("T")

HEARTBEAT_S: Final = 2.0
"""A test of a dead link should not take minutes; the rules are the same at every heartbeat."""
PACE: Final = HEARTBEAT_S / SyncSettings().heartbeat_s
FLAGS: Final = ("--heartbeat-s", f"{HEARTBEAT_S:g}", "--node-grace-s", "1")
READY_S_MAX: Final = 90.0
EVERY_S: Final = 0.1
"""Between two looks of a wait."""


def open_fleet(options: FleetOptions) -> RealFleet:
    """Raises `BackendError` where processes and links can't be had."""
    stack = ExitStack()
    try:
        made = stack.enter_context(rig(RigSettings(cloud_flags=() if options.full_time else FLAGS)))
    except UnavailableError as error:
        stack.close()
        raise BackendError(f"the real backend can't run here: {error}") from error
    return RealFleet(made, options, stack)


@dataclass(slots=True)
class Transcript:
    """What was done, and when."""

    began_s: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list[str])
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began_s

    def note(self, who: str, what: str) -> None:
        self.lines.append(f"{self.now_s:10.3f}  {who:<12} {what}")

    def fault(self, who: str, what: str) -> None:
        """Something that a test did."""
        self.timeline.add(self.now_s, who, what)
        self.note(who, what)


class RealLink:
    """Implements `skerry.testkit.LinkFaults`."""

    def __init__(self, name: str, link: Link, transcript: Transcript) -> None:
        self._name, self._link, self._transcript = name, link, transcript
        self._faults = Faults()

    @property
    def state(self) -> str:
        return self._faults.told()

    def cut(self) -> None:
        self._faults.is_cut = True
        self._link.cut()
        self._noted()

    def half_open(self, *, up: bool = True, down: bool = True) -> None:
        self._faults.half_open(up=up, down=down)
        self._link.half_open(up=up, down=down)
        self._noted()

    def slow(self, *, kbit: float | None = None, loss: float = 0.0, delay_ms: float = 0.0) -> None:
        self._faults.slow(kbit=kbit, loss=loss, delay_ms=delay_ms)
        way = Direction(kbit=kbit, loss=loss, delay_ms=delay_ms)
        self._link.slow_one_way(up=way, down=way)
        self._noted()

    def heal(self) -> None:
        self._faults = Faults()
        self._link.heal()
        self._noted()

    @property
    def bytes_up(self) -> int:
        return self._link.carried().up_bytes

    @property
    def bytes_down(self) -> int:
        return self._link.carried().down_bytes

    def _noted(self) -> None:
        self._transcript.fault(self._name, f"link: {self.state}")


class RealClock:
    """Implements `skerry.testkit.EdgeClock`."""

    def __init__(self, name: str, file: Path, transcript: Transcript) -> None:
        self._name, self._transcript = name, transcript
        self._faked = FakedClock(file)

    @property
    def env(self) -> Mapping[str, str]:
        """For the agent; empty where no clock can be set."""
        try:
            return self._faked.env
        except UnavailableError:
            return {}

    @property
    def wall_ms(self) -> int:
        return self._faked.wall_ms

    def step(self, seconds: float) -> None:
        by_s = arguments.clock_step(seconds)
        self._check()
        self._faked.step(by_s)
        self._transcript.fault(self._name, f"clock stepped by {seconds:g} s")

    def forget(self) -> None:
        """It says 1970."""
        self._check()
        self._faked.forget()

    @staticmethod
    def _check() -> None:
        try:
            compiler()
        except UnavailableError as error:
            raise UnsupportedError(f"{error}; the simulated backend needs nothing") from error


class RealEdge:
    """Implements `skerry.testkit.Edge`."""

    def __init__(self, fleet: RealFleet, program: EdgeProgram, clock: RealClock, labels: Mapping[str, str]) -> None:
        self._program, self._clock, self._transcript = program, clock, fleet.notes
        self._api = Api(program.api)
        self._link = RealLink(program.node, fleet.rig.sites[program.node].link, fleet.notes)
        self.labels = dict(labels)
        self._last_pods: list[JsonObject] = []

    @property
    def name(self) -> str:
        return self._program.node

    @property
    def link(self) -> RealLink:
        return self._link

    @property
    def clock(self) -> RealClock:
        return self._clock

    @property
    def connected(self) -> bool:
        return self._program.link_state == "connected"

    @property
    def in_step(self) -> bool:
        found = self._program.find("/skerry/link")
        return str_at(found, "state") == "connected" and str_at(found, "sessionState") == "in_step"

    @property
    def running(self) -> bool:
        return self._program.running

    @property
    def powered(self) -> bool:
        return self._program.machine.powered

    @property
    def waiting(self) -> int:
        return int_at(self._program.find("/skerry/status"), "outbox", "reports")

    def kill(self) -> None:
        if self.running:
            self._program.stop(signal.SIGKILL)
            self._transcript.note(self.name, "agent killed")

    def start(self) -> None:
        if not self.running:
            self._program.start()
            self._transcript.fault(self.name, "agent starts")

    def power_off(self) -> None:
        if not self.powered:
            return
        self._transcript.fault(self.name, "power off")
        self._program.machine.power_off()

    def power_cycle(self, off_s: float = 0.0, *, clock: BootClock = "kept") -> None:
        dark_s = arguments.seconds(off_s, "power_cycle(off_s)")
        arguments.boot_clock(clock)
        self.power_off()
        time.sleep(dark_s)
        if clock == "1970":
            self._clock.forget()
        self._transcript.fault(self.name, f"power on, clock {clock}")
        self.start()

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        return self._api.get(kind, name, namespace)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self._api.list(kind, namespace)

    def pods(self) -> Sequence[PodView]:
        if not self.powered:
            return ()
        if self.running:
            self._last_pods = self._api.list("pod")
        states = container_states(self._program.data)
        views = [pod_view(pod, [each for each in states if each.pod_uid == uid_of(pod)]) for pod in self._last_pods]
        views += [
            _unknown_pod(states, uid) for uid in sorted(_running(states) - {uid_of(p) for p in self._last_pods})
        ]
        return sorted(views, key=lambda view: (view.namespace, view.name))

    def pod(self, prefix: str, namespace: str = "default") -> PodView | None:
        return next((v for v in self.pods() if v.namespace == namespace and v.name.startswith(prefix)), None)

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        return self._api.twin(device, prop, namespace)

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        arguments.wanted(value)
        path = f"/apis/devices.kubeedge.io/v1beta1/namespaces/{namespace}/devices/{device}/twins/{prop}"
        self._program.api.request("PUT", path, body={"value": value})


def _running(states: Sequence[ContainerState]) -> set[str]:
    return {state.pod_uid for state in states if state.phase == "running"}


def _unknown_pod(states: Sequence[ContainerState], uid: str) -> PodView:
    """Containers that still run of a pod that the gateway holds no more: it is being stopped."""
    metadata: JsonObject = {"name": uid, "namespace": "", "uid": uid}
    return pod_view({"metadata": metadata}, [state for state in states if state.pod_uid == uid])


class RealBackup(Frozen, kw_only=False):
    """Implements `skerry.testkit.Backup`."""

    taken_s: float
    file: Path


class RealCloud:
    """Implements `skerry.testkit.Cloud`."""

    def __init__(self, program: CloudProgram, transcript: Transcript) -> None:
        self._program, self._transcript = program, transcript
        self.api = Api(program.api)
        self._backups = 0

    @property
    def running(self) -> bool:
        return self._program.running

    @property
    def connected(self) -> Sequence[str]:
        if not self.running:
            return ()
        return [name_of(node) for node in self.api.list("node") if is_true(node, "Ready")]

    def kill(self) -> None:
        if self.running:
            self._program.stop(signal.SIGKILL)
            self._transcript.fault("cloud", "is killed")

    def start(self) -> None:
        if not self.running:
            self._program.start()
            self._transcript.fault("cloud", "starts")

    def backup(self) -> RealBackup:
        """As the manual says: stop, copy, start."""
        self._backups += 1
        file = self._program.data.with_name(f"backup-{self._backups}.db")
        runs = self.running
        if runs:
            self._program.stop()
        shutil.copy(self._program.data / "cloud.db", file)
        if runs:
            self._program.start()
        self._transcript.fault("cloud", "is backed up")
        return RealBackup(self._transcript.now_s, file)

    def restore_backup(self, backup: Backup) -> None:
        if not isinstance(backup, RealBackup) or backup.file.parent != self._program.data.parent:
            raise InvalidError("this backup is not one that this fleet's cloud.backup() made")
        if self.running:
            self._program.stop()
        for name in ("cloud.db-wal", "cloud.db-shm"):
            (self._program.data / name).unlink(missing_ok=True)
        beside = self._program.data / "restored.db"
        shutil.copy(backup.file, beside)
        beside.replace(self._program.data / "cloud.db")
        self._program.start()
        self._transcript.fault("cloud", f"is restored to the backup of {backup.taken_s:.3f} s")

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        return self.api.get(kind, name, namespace)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self.api.list(kind, namespace)

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        return self.api.twin(device, prop, namespace)

    def history(self, device: str, prop: str, namespace: str = "default") -> Sequence[ReadingView]:
        return self.api.history(device, prop, namespace)

    def node_ready(self, name: str) -> str:
        return self.api.node_ready(name)


class Registers(MutableMapping[int, int]):
    """One table of a PLC. What was never set is 0."""

    def __init__(self, steward: Steward, table: str, most: int) -> None:
        self._steward, self._table, self._most = steward, table, most

    def __getitem__(self, address: int) -> int:
        return int_at(self._steward.order({"do": "get", "table": self._table, "address": address}), "value")

    def __setitem__(self, address: int, value: int) -> None:
        at = arguments.address(address, self._table)
        held = arguments.place(value, self._most, f"{self._table}[{at}]")
        self._steward.order({"do": "set", "table": self._table, "address": at, "value": held})

    def __delitem__(self, address: int) -> None:
        self._steward.order({"do": "unset", "table": self._table, "address": address})

    def __iter__(self) -> Iterator[int]:
        held = self._steward.order({"do": "held", "table": self._table})
        return iter([int(str(each)) for each in list_at(held, "addresses")])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class RealPlc:
    """Implements `skerry.testkit.Plc`: a program on the network of every site."""

    def __init__(self, name: str, port: int, steward: Steward, transcript: Transcript) -> None:
        self.name, self._port, self._steward, self._transcript = name, port, steward, transcript
        self.holding = Registers(steward, "holding", 0xFFFF)
        self.input = Registers(steward, "input", 0xFFFF)
        self.coils = Registers(steward, "coils", 1)
        self.discrete = Registers(steward, "discrete", 1)
        self._began_wall_s = time.time() - transcript.now_s

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return self._port

    @property
    def writes(self) -> Sequence[tuple[float, str, int, tuple[int, ...]]]:
        told = cast("list[list[object]]", self._steward.order({"do": "writes"})["writes"])
        return [
            (float(str(at)) - self._began_wall_s, str(table), int(str(address)), tuple(cast("list[int]", values)))
            for at, table, address, values in told
        ]

    def listen(self, namespace: str, host: str) -> None:
        """Be there in one more network. Raises `UnavailableError` when the port is another's."""
        self._steward.order({"do": "listen", "namespace": namespace, "host": host})

    def stop(self) -> None:
        self._steward.order({"do": "stop"})
        self._transcript.fault(f"plc {self.name}", "stopped")

    def start(self) -> None:
        self._steward.order({"do": "start"})
        self._transcript.fault(f"plc {self.name}", "started")

    def silence(self, *, silent: bool = True) -> None:
        self._steward.order({"do": "silence", "silent": silent})
        self._transcript.fault(f"plc {self.name}", "falls silent" if silent else "answers again")


class RealBroker:
    """Implements `skerry.testkit.Broker`: a program on the network of every site."""

    def __init__(self, name: str, port: int, steward: Steward, transcript: Transcript) -> None:
        self.name, self._port, self._steward, self._transcript = name, port, steward, transcript
        self._began_wall_s = time.time() - transcript.now_s

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return self._port

    def publish(self, topic: str, payload: object, *, retain: bool = False) -> None:
        data = base64.b64encode(payload_of(payload)).decode()
        self._steward.order({"do": "publish", "topic": topic_of(topic), "payload": data, "retain": retain})

    def repeat(self, topic: str, payload: Json, *, every_s: float = 1.0) -> None:
        between_s = arguments.number(every_s, "repeat(every_s=...)", least=0.01)
        payload_of(payload)
        self._steward.order({"do": "repeat", "topic": topic_of(topic), "document": payload, "every_s": between_s})

    def obey(self, command_topic: str, topic: str, *, path: str = "$", template: str = "${value}") -> None:
        Devices().obeys(topic_of(command_topic), topic_of(topic), path, template)  # to refuse it here and now
        self._steward.order(
            {"do": "obey", "command_topic": command_topic, "topic": topic, "path": path, "template": template}
        )

    @property
    def published(self) -> Sequence[tuple[float, str, bytes]]:
        told = cast("list[list[object]]", self._steward.order({"do": "published"})["published"])
        return [
            (float(str(at_s)) - self._began_wall_s, str(topic), base64.b64decode(str(data)))
            for at_s, topic, data in told
        ]

    def listen(self, namespace: str, host: str) -> None:
        """Be there in one more network. Raises `UnavailableError` when the port is another's."""
        self._steward.order({"do": "listen", "namespace": namespace, "host": host})

    def stop(self) -> None:
        self._steward.order({"do": "stop"})
        self._transcript.fault(f"broker {self.name}", "stopped")

    def start(self) -> None:
        self._steward.order({"do": "start"})
        self._transcript.fault(f"broker {self.name}", "started")


class RealFleet:
    """Implements `skerry.testkit.Fleet`."""

    def __init__(self, made: Rig, options: FleetOptions, stack: ExitStack) -> None:
        self.rig, self.notes = made, Transcript()
        self._options, self._stack = options, stack
        self._cloud = RealCloud(made.cloud, self.notes)
        self._edges: dict[str, RealEdge] = {}
        self._plcs: dict[str, RealPlc] = {}
        self._brokers: dict[str, RealBroker] = {}
        self._device_hosts: set[str] = set()
        self.notes.note("fleet", made.describe)

    @property
    def backend(self) -> str:
        return "real"

    @property
    def seed(self) -> int:
        return self._options.seed

    @property
    def cloud(self) -> RealCloud:
        return self._cloud

    @property
    def edges(self) -> Mapping[str, RealEdge]:
        return self._edges

    def edge(
        self, name: str = "edge-1", *, labels: Mapping[str, str] | None = None, devices: Manifest = ()
    ) -> RealEdge:
        found = self._edges.get(name)
        if found is None:
            found = self._new_edge(name, arguments.gateway(name, labels))
        elif labels is not None and dict(labels) != found.labels:
            raise InvalidError(f"gateway {name} was made with the labels {found.labels}, and can't get others now")
        self._apply((devices,), node=name)
        return found

    def _new_edge(self, name: str, labels: Mapping[str, str]) -> RealEdge:
        clock = RealClock(name, self.rig.directory / f"{name}.clock", self.notes)
        flags = [word for label, value in labels.items() for word in ("--label", f"{label}={value}")]
        program = self.rig.edge(name, flags=tuple(flags), env=clock.env)
        made = self._edges[name] = RealEdge(self, program, clock, labels)
        for device in (*self._plcs.values(), *self._brokers.values()):
            self._put_at_sites(device, [name])
        self._give_addresses(name, self._device_hosts)
        program.start()
        self.eventually(
            lambda: self._cloud.node_ready(name) == "True", READY_S_MAX, message=f"the new gateway {name} is Ready"
        )
        self.notes.note(name, "joined, Ready")
        return made

    def apply(self, *manifests: Manifest, namespace: str = "default") -> Sequence[JsonObject]:
        return self._apply(manifests, namespace)

    def _apply(
        self, manifests: Sequence[Manifest], namespace: str = "default", *, node: str = ""
    ) -> Sequence[JsonObject]:
        applied = self._cloud.api.apply(manifests, namespace, node=node)
        hosts = {host for _, obj in objects_of(manifests) if (host := _device_host(obj))}
        for name in self._edges:
            self._give_addresses(name, hosts - self._device_hosts)
        self._device_hosts |= hosts
        return applied

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        return self._cloud.get(kind, name, namespace)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self._cloud.list(kind, namespace)

    def patch(self, kind: str, name: str, patch: Mapping[str, object], namespace: str = "default") -> JsonObject:
        return self._cloud.api.patch(kind, name, patch, namespace)

    def delete(self, kind: str, name: str, namespace: str = "default") -> bool:
        return self._cloud.api.delete(kind, name, namespace)

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        self._cloud.api.set_desired(device, prop, value, namespace)

    def plc(self, name: str = "plc", *, port: int = 502) -> RealPlc:
        found = self._plcs.get(name)
        if found is not None:
            return found
        arguments.port(port, "plc(port=...)")
        other = next((plc.name for plc in self._plcs.values() if plc.port == port), None)
        if other is not None:
            raise InvalidError(f"port {port} is that of PLC {other!r}: give {name!r} another")
        made = RealPlc(name, port, self.rig.steward(f"plc {name}", "skerry.testkit.real.plc", str(port)), self.notes)
        self._put_at_sites(made, [""] if self.rig.place is None else self._edges)
        self._plcs[name] = made
        return made

    def broker(self, name: str = "broker", *, port: int = 1883) -> RealBroker:
        found = self._brokers.get(name)
        if found is not None:
            return found
        arguments.port(port, "broker(port=...)")
        other = next((broker.name for broker in self._brokers.values() if broker.port == port), None)
        if other is not None:
            raise InvalidError(f"port {port} is that of broker {other!r}: give {name!r} another")
        steward = self.rig.steward(f"broker {name}", "skerry.testkit.real.broker", str(port))
        made = RealBroker(name, port, steward, self.notes)
        self._put_at_sites(made, [""] if self.rig.place is None else self._edges)
        self._brokers[name] = made
        return made

    def _put_at_sites(self, device: RealPlc | RealBroker, sites: Mapping[str, object] | Sequence[str]) -> None:
        for name in sites:
            namespace = self.rig.sites[name].namespace if name else None
            if namespace is None and name:
                continue  # all sites share this machine's network, where it listens already
            try:
                device.listen(namespace.path if namespace else "", "0.0.0.0" if namespace else "127.0.0.1")
            except UnavailableError as error:
                raise BackendError(f"{device.name} can't listen: {error}; without root choose a free port") from error

    def _give_addresses(self, edge: str, hosts: set[str]) -> None:
        """The PLC is at whatever address the manifests say: at each site that address is its own."""
        namespace = self.rig.sites[edge].namespace
        if namespace is not None:
            for host in sorted(hosts):
                namespace.run(tool("ip"), "addr", "replace", f"{host}/{ip_address(host).max_prefixlen}", "dev", "lo")

    @property
    def pace(self) -> float:
        return 1.0 if self._options.full_time else PACE

    @property
    def now_s(self) -> float:
        return self.notes.now_s

    def wait(self, seconds: float) -> None:
        time.sleep(arguments.seconds(seconds, "wait(seconds)"))

    def eventually(
        self,
        condition: Callable[[], T],
        within_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> T:
        asked = waiting.patience(within_s, "within_s", every_s=every_s, usual_s=EVERY_S, message=message)
        return waiting.eventually(self, condition, asked)

    def throughout(
        self,
        condition: Callable[[], object],
        for_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> None:
        asked = waiting.patience(for_s, "for_s", every_s=every_s, usual_s=EVERY_S, message=message)
        waiting.throughout(self, condition, asked)

    @property
    def faults(self) -> Sequence[FaultView]:
        return self.notes.timeline.faults

    @property
    def transcript(self) -> Sequence[str]:
        return self.notes.lines

    def close(self) -> None:
        if self._options.keep and self.rig.logs.exists():
            shutil.copytree(self.rig.logs, self._options.directory / "logs", dirs_exist_ok=True)
        self._stack.close()


def _device_host(obj: JsonObject) -> str:
    """The address of a Modbus TCP device, or of an MQTT device's broker; "" for other objects, and for one that is
    loopback or a name."""
    config = ("spec", "protocol", "configData")
    host = str_at(obj, *config, "tcp", "ip") or str_at(obj, *config, "host")
    try:
        return "" if not host or ip_address(host).is_loopback else host
    except ValueError:
        return ""
