"""What this gateway tells of itself as a Node: its status, told when it changes.

`node_report` is pure; `read_machine` reads /proc and the like. Sizes that move all the time (free memory, free disk)
only enter as conditions, which `eviction` holds for a while, so a node at rest tells nothing; of what waits for the
cloud, in steps that double. Keeps nothing; what was told last is compared with what the store's outbox was given in
this life, and told once after each start, in each new epoch of the cloud, and to each new Node of this name: one that
a person made knows nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Final

from edgecore.pods.eviction import NO_EVICTION, RESOURCES, EvictionSettings
from edgecore.pods.own_address import NO_ROUTE, own_addresses
from edgecore.pods.port import ImageState, Runtime
from edgecore.store.backlog import Backlog, Now, backlog_of, backlog_text, waits_long
from edgecore.store.port import META_ADDRESS, META_EPOCH, EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.frozen import Frozen, field
from skerry.objects.conditions import find_condition
from skerry.objects.functions import MESSAGE_LENGTH_MAX, NodeFunction
from skerry.objects.json import JsonObject, decode_object, map_at, maps_at, str_at, to_json
from skerry.objects.local_changes import UPGRADES_HELD, UpgradeHold
from skerry.objects.meta import Key
from skerry.objects.quantity import Quantity, parse_quantity
from skerry.objects.reports import BACKLOG, NODE_STATUS, NodeStatusReport
from skerry.objects.times import time_text
from skerry.ports import Clock
from skerry.waits import until_set

log = logging.getLogger(__name__)

PODS_MAX: Final = 110
"""A kubelet's default."""
IMAGES_MAX: Final = 50
"""A kubelet's nodeStatusMaxImages."""
IMAGE_NAMES_MAX: Final = 5
LOOK_S: Final = 10.0
"""A kubelet's nodeStatusUpdateFrequency."""
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}
PRESSURES: Final = (
    ("MemoryPressure", "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "memory available"),
    ("DiskPressure", "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "disk space available"),
    ("PIDPressure", "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "PIDs available"),
)
"""Conditions, their reasons where they hold and where they do not, and what it is about: a kubelet's words."""


class Machine(Frozen):
    """The gateway as it is now."""

    hostname: str
    addresses: tuple[str, ...]
    """The first is the node's InternalIP."""
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str
    cpus: int
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    hugepages: tuple[tuple[str, str], ...] = ()
    """Resource (`hugepages-2Mi`) and how much of it is set aside."""
    pids_max: int
    pids_used: int


class NodeIdentity(Frozen):
    """What the node is by its settings."""

    name: str
    labels: Mapping[str, str]
    """Given at the join: region, zone, and whatever else."""
    agent_version: str
    runtime_version: str
    """`process://1`."""
    reserved: Mapping[str, str] = field(default_factory=dict[str, str])
    """Quantities by resource that pods may not use: they are the system's."""
    eviction: EvictionSettings = NO_EVICTION


class RuntimeFacts(Frozen):
    """What the container runtime makes of the node."""

    fault: str = ""
    """Why no pod can be started, in a kubelet's words; "" where they can."""
    images: tuple[ImageState, ...] = ()


def node_report(
    identity: NodeIdentity,
    machine: Machine,
    before: JsonObject,
    backlog: Backlog,
    *,
    now_ms: int,
    runtime: RuntimeFacts = RuntimeFacts(),  # noqa: B008 - frozen
    pressures: Set[str] = frozenset(),
    hold: UpgradeHold | None = None,
    functions: Sequence[NodeFunction] = (),
) -> NodeStatusReport:
    """The whole report. `before` is the status told last: conditions keep their time of change. `pressures`: those of
    `PRESSURES` that hold."""
    status: JsonObject = {
        "capacity": {**amounts_of(machine)},
        "allocatable": {**allocatable_of(machine, identity.reserved, identity.eviction)},
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in machine.addresses),
            {"type": "Hostname", "address": machine.hostname},
        ],
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": identity.runtime_version,
            "kubeletVersion": identity.agent_version,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
        **({"images": [*_images(runtime.images)]} if runtime.images else {}),
        "conditions": [
            *_conditions(pressures, before, now_ms, runtime.fault),
            _backlog_condition(backlog, before, now_ms),
            *((_held_condition(hold, before, now_ms),) if hold is not None else ()),
            *(_function_condition(each, before, now_ms) for each in functions),
        ],
    }
    return NodeStatusReport(labels=to_json(labels_of_node(identity, machine)), status=status)


def amounts_of(machine: Machine) -> dict[str, str]:
    """Capacity."""
    return {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{machine.disk_bytes // 1024}Ki",
        "pods": str(PODS_MAX),
    } | {name: str(count) for name, count in machine.hugepages}


def allocatable_of(
    machine: Machine, reserved: Mapping[str, str], eviction: EvictionSettings = NO_EVICTION
) -> dict[str, str]:
    """What pods may use of it: not what is reserved for the system, nor what hard thresholds of eviction keep free,
    nor as memory what is set aside as huge pages."""
    told = amounts_of(machine)
    taken = [(name, text) for name, text in reserved.items() if name in told]
    taken += [("memory", text) for _, text in machine.hugepages if parse_quantity(text).nano]
    room = {"memory.available": machine.memory_bytes, "nodefs.available": machine.disk_bytes}
    taken += [
        (RESOURCES[each.signal], str(each.amount.of(room[each.signal])))
        for each in eviction.thresholds
        if each.is_hard and each.signal in room
    ]
    for name, text in taken:
        left = max(parse_quantity(told[name]) - parse_quantity(text), Quantity(0))
        told[name] = f"{left.units // 1024}Ki" if name in {"memory", "ephemeral-storage"} else str(left)
    return told


def labels_of_node(identity: NodeIdentity, machine: Machine) -> dict[str, str]:
    """What every node has, and what it was given at its join."""
    return {
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "node-role.kubernetes.io/edge": "",
    } | dict(identity.labels)


def _images(images: Sequence[ImageState]) -> list[JsonObject]:
    """The largest, as a kubelet tells them: the scheduler likes a node that has what a pod needs."""
    largest = sorted(images, key=lambda image: (-image.size_bytes, image.id))[:IMAGES_MAX]
    return [
        {"names": [*sorted(image.names, key=_digests_first)[:IMAGE_NAMES_MAX]], "sizeBytes": image.size_bytes}
        for image in largest
        if image.names
    ]


def _digests_first(name: str) -> tuple[bool, str]:
    return "@" not in name, name


def _conditions(pressures: Set[str], before: JsonObject, now_ms: int, fault: str) -> list[JsonObject]:
    held = maps_at(before, "conditions")
    said = [
        _condition(held, kind, "True" if kind in pressures else "False", bad if kind in pressures else good, now_ms)
        | {"message": f"edgecore has {'too little' if kind in pressures else 'sufficient'} {noun}"}
        for kind, bad, good, noun in PRESSURES
    ]
    ready = _condition(
        held, "Ready", "False" if fault else "True", "KubeletNotReady" if fault else "KubeletReady", now_ms
    ) | {"message": fault or "edgecore is ready"}
    return [*said, ready]


def _backlog_condition(backlog: Backlog, before: JsonObject, now_ms: int) -> JsonObject:
    held = maps_at(before, "conditions")
    old = find_condition(held, BACKLOG)
    long = waits_long(backlog, now_ms, before=old is not None and str_at(old, "status") == "True")
    reason = "ReportsWait" if long else "ReportsArrive"
    told = _condition(held, BACKLOG, "True" if long else "False", reason, now_ms)
    return told | {"message": backlog_text(backlog, now_ms, long=long)}


def _held_condition(hold: UpgradeHold, before: JsonObject, now_ms: int) -> JsonObject:
    told = _condition(maps_at(before, "conditions"), UPGRADES_HELD, "True", "HeldOnGateway", now_ms)
    return told | {"message": hold.sentence()}


def _function_condition(function: NodeFunction, before: JsonObject, now_ms: int) -> JsonObject:
    status = "True" if function.works else "False"
    told = _condition(maps_at(before, "conditions"), function.kind, status, function.reason, now_ms)
    return told | {"message": function.message[:MESSAGE_LENGTH_MAX]}


def _condition(held: list[JsonObject], kind: str, status: str, reason: str, now_ms: int) -> JsonObject:
    old = find_condition(held, kind)
    since = str_at(old, "lastTransitionTime") if old is not None and str_at(old, "status") == status else ""
    # The heartbeat is the link's business: it is the cloud that hears it. Here it is the time of the change.
    since = since or time_text(now_ms)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "lastHeartbeatTime": since,
        "lastTransitionTime": since,
    }


def read_machine(data: Path) -> Machine:
    """Reads this machine. `data` says which disk counts."""
    memory = _meminfo()
    disk = shutil.disk_usage(data)
    hostname = socket.gethostname()
    machine_id = _text("/etc/machine-id")
    return Machine(
        hostname=hostname,
        addresses=own_addresses(),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel=platform.release(),
        os_image=_os_image(),
        machine_id=machine_id,
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or machine_id,
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=memory.get("MemTotal", 0),
        memory_free_bytes=memory.get("MemAvailable", 0),
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
        hugepages=_hugepages(),
        pids_max=int(_text("/proc/sys/kernel/pid_max") or 32768),
        pids_used=sum(1 for entry in Path("/proc").iterdir() if entry.name.isdigit()),
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _hugepages() -> tuple[tuple[str, str], ...]:
    """Of each size that the kernel has, whether pages of it are set aside or not, as a kubelet tells them."""
    found: list[tuple[str, str]] = []
    for place in sorted(Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB")):
        size_kib = int(place.name.removeprefix("hugepages-").removesuffix("kB"))
        mib = size_kib // 1024
        name = f"{mib // 1024}Gi" if mib and mib % 1024 == 0 else f"{mib}Mi" if mib else f"{size_kib}Ki"
        found.append((f"hugepages-{name}", f"{int(_text(str(place / 'nr_hugepages')) or 0) * size_kib}Ki"))
    return tuple(found)


def _meminfo() -> dict[str, int]:
    rows = (line.partition(":") for line in _text("/proc/meminfo").splitlines())
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in rows if rest.strip()}


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _nothing(_: str) -> None:
    """Where nobody wants to know."""


class NodeReporter:
    """Tells the cloud what changed about this node. Run `run` in a task group."""

    def __init__(
        self,
        store: AsyncEdgeStore,
        clock: Clock,
        identity: Callable[[], NodeIdentity],
        machine: Callable[[], Machine],
        moved: Callable[[str], None] = _nothing,
        runtime: Runtime | None = None,
        pressures: Callable[[], Set[str]] = frozenset,
        hold: Callable[[], UpgradeHold | None] = lambda: None,
        functions: Callable[[], Sequence[NodeFunction]] = tuple,
    ) -> None:
        """`identity` is asked at every look: a runtime that is late says only then which one it is. `machine` gives
        the gateway as it is now, or raises `OSError`. `moved` is told its address at the first look, and when that
        is another one. `pressures`: what there is too little of, by the names of the conditions."""
        self._store = store
        self._clock = clock
        self._identity = identity
        self._machine = machine
        self._moved = moved
        self._runtime = runtime
        self._pressures = pressures
        self._hold = hold
        self._functions = functions
        self._images: tuple[ImageState, ...] = ()
        self._addresses: tuple[str, ...] = ()
        self._told: NodeStatusReport | None = None
        self._told_to = ("", "")
        """Epoch of the cloud, and uid of the Node."""
        self._key = Key("nodes", "", identity().name)
        self._renewed = asyncio.Event()
        """There is perhaps somebody new to tell."""

    async def run(self) -> None:
        stop = self._store.listen(self._committed)
        try:
            while True:
                self._renewed.clear()
                try:
                    await self.look()
                except (UnavailableError, OSError) as error:
                    log.warning("node status waits reason=%s", error)
                await self._rest()
        finally:
            stop()

    async def _rest(self) -> None:
        await until_set(self._renewed, within_s=LOOK_S)

    def _committed(self, batch: EdgeBatch) -> None:
        is_another = any(put.key == self._key and put.stamp.uid != self._told_to[1] for put in batch.puts)
        if is_another or any(name == META_EPOCH for name, _ in batch.meta):
            self._renewed.set()

    def poke(self) -> None:
        """There is something new to tell."""
        self._renewed.set()

    async def look(self) -> None:
        """Look once; tell what is new."""
        held = self._store.get(self._key)
        known = {} if held is None else map_at(decode_object(held.body), "status")  # of a life before, by its Node
        before = self._told.status if self._told else known
        now = Now(wall_ms=self._clock.wall_ms(), monotonic_ms=round(self._clock.monotonic_s() * 1000))
        backlog = backlog_of(self._store.stats(), self._store.boots(), now)
        facts = await self._runtime_facts()
        machine = self._looked_at()
        report = node_report(
            self._identity(),
            machine,
            before,
            backlog,
            now_ms=now.wall_ms,
            runtime=facts,
            pressures=self._pressures(),
            hold=self._hold(),
            functions=self._functions(),
        )
        to = (self._store.meta(META_EPOCH) or "", self._told_to[1] if held is None else held.stamp.uid)
        if report != self._told or to != self._told_to:
            told = NewReport(report_class="state", kind=NODE_STATUS, key="", body=report.encode())
            await self._store.apply(EdgeBatch(reports=(told,), meta=self._to_remember(machine)))
            self._told, self._told_to = report, to

    async def _runtime_facts(self) -> RuntimeFacts:
        """Images are those that it told last while it does not answer."""
        if self._runtime is None:
            return RuntimeFacts()
        fault = ""
        try:
            status = await self._runtime.status()
            if not status.ready:
                fault = f"container runtime status check may not have completed yet: {status.message}"
            elif not status.network_ready:
                fault = f"container runtime network not ready: {status.message}"
            self._images = tuple(await self._runtime.images())
        except UnavailableError:
            fault = "container runtime is down"
        return RuntimeFacts(fault=fault, images=self._images)

    def _to_remember(self, machine: Machine) -> tuple[tuple[str, str], ...]:
        """For a start without a route."""
        address = machine.addresses[0]
        is_new = machine.addresses != NO_ROUTE and address != self._store.meta(META_ADDRESS)
        return ((META_ADDRESS, address),) if is_new else ()

    def _looked_at(self) -> Machine:
        """The machine, and whoever is to know hears that it moved."""
        machine = self._machine()
        if machine.addresses != self._addresses:
            self._addresses = machine.addresses
            self._moved(machine.addresses[0])
        return machine


def runtime_version(runtime: Runtime) -> str:
    """As nodeInfo.containerRuntimeVersion has it."""
    return f"{runtime.name}://{runtime.version}"
