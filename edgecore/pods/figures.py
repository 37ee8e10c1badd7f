"""What a kubelet tells of its node's use: `/stats/summary`, `/metrics/resource` and `/metrics/cadvisor`.

Shapes are Kubernetes' `pkg/apis/stats/v1alpha1` and the names of a kubelet's and cAdvisor's metrics. Pure; what is
shown was counted by `edgecore.pods.measuring`. What a runtime does not count is left out, never told as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgecore.pods.port import ContainerState, ContainerUsage
from skerry.forms.exposition import Family, Sample, counter, gauge
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.times import time_text
from skerry.objects.usage import Count, used


class Room(Frozen):
    """Of a file system, and of what is looked at on it."""

    free_bytes: int
    total_bytes: int
    used_bytes: int
    inodes_free: int
    inodes: int
    inodes_used: int

    def shown(self, at: str) -> JsonObject:
        return {
            "time": at,
            "availableBytes": self.free_bytes,
            "capacityBytes": self.total_bytes,
            "usedBytes": self.used_bytes,
            "inodesFree": self.inodes_free,
            "inodes": self.inodes,
            "inodesUsed": self.inodes_used,
        }


class Wire(Frozen):
    """One network interface."""

    name: str
    received_bytes: int
    received_errors: int
    sent_bytes: int
    sent_errors: int

    def shown(self) -> JsonObject:
        return {
            "name": self.name,
            "rxBytes": self.received_bytes,
            "rxErrors": self.received_errors,
            "txBytes": self.sent_bytes,
            "txErrors": self.sent_errors,
        }


class NodeFigures(Frozen):
    """The machine, and the agent on it, at a moment."""

    name: str
    boot_ms: int
    whole: Count
    memory_free_bytes: int
    memory_total_bytes: int
    cpus: int
    agent: Count
    agent_start_ms: int
    disk: Room
    images: Room | None
    """None where the runtime has no images of its own."""
    wires: tuple[Wire, ...]
    """The first is the one of the default route."""
    pids_max: int
    pids_used: int


class PodPlaces(Frozen):
    """A pod, and what it takes on disks."""

    namespace: str
    name: str
    uid: str
    start_ms: int
    volumes: tuple[tuple[str, Room], ...] = ()
    log_bytes: tuple[tuple[str, int], ...] = ()
    """By container."""


class Figures(Frozen):
    """All that was counted. `before` is of a moment earlier, for rates; empty where nobody needs them."""

    at_ms: int
    node: NodeFigures
    node_before: Count | None = None
    agent_before: Count | None = None
    pods: tuple[PodPlaces, ...] = ()
    usage: tuple[ContainerUsage, ...] = ()
    before: tuple[ContainerUsage, ...] = ()
    states: tuple[ContainerState, ...] = ()

    def started_ms(self, pod_uid: str, name: str) -> int:
        found = [each for each in self.states if (each.pod_uid, each.name) == (pod_uid, name)]
        return max((each.started_ms for each in found if each.phase == "running"), default=0)

    def image(self, pod_uid: str, name: str) -> str:
        return next((each.image for each in self.states if (each.pod_uid, each.name) == (pod_uid, name)), "")

    def container_id(self, pod_uid: str, name: str) -> str:
        found = (each for each in self.states if (each.pod_uid, each.name) == (pod_uid, name))
        return next((each.id for each in found if each.phase == "running"), "")

    def of_pod(self, uid: str) -> list[ContainerUsage]:
        return [each for each in self.usage if each.pod_uid == uid]


def summary(figures: Figures) -> JsonObject:
    """stats/v1alpha1 Summary."""
    earlier = {(each.pod_uid, each.name): each for each in figures.before}
    pods: list[Json] = [_pod(figures, pod, earlier) for pod in figures.pods]
    return {"node": _node(figures), "pods": pods}


def _node(figures: Figures) -> JsonObject:
    node, at = figures.node, time_text(figures.at_ms)
    told: JsonObject = {
        "nodeName": node.name,
        "systemContainers": [
            {
                "name": "kubelet",
                "startTime": time_text(node.agent_start_ms),
                "cpu": _cpu(node.agent, figures.agent_before),
                "memory": {"time": at, "workingSetBytes": node.agent.memory_bytes},
            }
        ],
        "startTime": time_text(node.boot_ms),
        "cpu": _cpu(node.whole, figures.node_before),
        "memory": {
            "time": at,
            "availableBytes": node.memory_free_bytes,
            "usageBytes": node.memory_total_bytes - node.memory_free_bytes,
            "workingSetBytes": node.whole.memory_bytes,
        },
        "fs": node.disk.shown(at),
        "rlimit": {"time": at, "maxpid": node.pids_max, "curproc": node.pids_used},
    }
    if node.wires:
        interfaces: list[Json] = [wire.shown() for wire in node.wires]
        told["network"] = {"time": at, **node.wires[0].shown(), "interfaces": interfaces}
    if node.images is not None:
        told["runtime"] = {"imageFs": node.images.shown(at), "containerFs": node.images.shown(at)}
    return told


def _pod(figures: Figures, pod: PodPlaces, earlier: Mapping[tuple[str, str], ContainerUsage]) -> JsonObject:
    found = figures.of_pod(pod.uid)
    containers = [each for each in found if each.name]
    logs = dict(pod.log_bytes)
    told: JsonObject = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": time_text(pod.start_ms),
        "containers": [
            _container(figures, each, earlier.get((each.pod_uid, each.name)), logs.get(each.name, 0))
            for each in containers
        ],
    }
    if found:
        now = _together(found)
        with_before = [each for each in found if (each.pod_uid, each.name) in earlier]
        before = _together([earlier[each.pod_uid, each.name] for each in with_before]) if with_before else None
        at = time_text(now.at_ms)
        told["cpu"] = _cpu(now, before)
        told["memory"] = {"time": at, "workingSetBytes": now.memory_bytes, "usageBytes": _usage_bytes(found)}
        told["process_stats"] = {"process_count": sum(each.pids for each in found)}
    wire = next((each for each in found if not each.name and (each.received_bytes or each.sent_bytes)), None)
    if wire is not None:
        shown = Wire(
            name="eth0",
            received_bytes=wire.received_bytes,
            received_errors=0,
            sent_bytes=wire.sent_bytes,
            sent_errors=0,
        ).shown()
        told["network"] = {"time": time_text(wire.at_ms), **shown, "interfaces": [shown]}
    at = time_text(figures.at_ms)
    told["volume"] = [{**room.shown(at), "name": name} for name, room in pod.volumes]
    taken = sum(room.used_bytes for _, room in pod.volumes) + sum(logs.values())
    disk = figures.node.disk
    told["ephemeral-storage"] = {
        "time": at,
        "availableBytes": disk.free_bytes,
        "capacityBytes": disk.total_bytes,
        "usedBytes": taken + sum(each.disk_bytes for each in containers),
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
    }
    return told


def _container(figures: Figures, now: ContainerUsage, before: ContainerUsage | None, log_bytes: int) -> JsonObject:
    disk, at = figures.node.images or figures.node.disk, time_text(now.at_ms)
    memory: JsonObject = {
        "time": at,
        "usageBytes": now.memory_usage_bytes or now.memory_working_set_bytes,
        "workingSetBytes": now.memory_working_set_bytes,
    }
    if now.memory_rss_bytes:
        memory["rssBytes"] = now.memory_rss_bytes
    room: JsonObject = {
        "time": at,
        "availableBytes": disk.free_bytes,
        "capacityBytes": disk.total_bytes,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
    }
    started = figures.started_ms(now.pod_uid, now.name)
    return {
        "name": now.name,
        "startTime": time_text(started) if started else None,
        "cpu": _cpu(_count(now), None if before is None else _count(before)),
        "memory": memory,
        "rootfs": {**room, "usedBytes": now.disk_bytes},
        "logs": {**room, "usedBytes": log_bytes},
    }


def _count(found: ContainerUsage) -> Count:
    return Count(at_ms=found.at_ms, cpu_ns=found.cpu_ns, memory_bytes=found.memory_working_set_bytes)


def _together(found: Iterable[ContainerUsage]) -> Count:
    counts = [_count(each) for each in found]
    return Count(
        at_ms=max(each.at_ms for each in counts),
        cpu_ns=sum(each.cpu_ns for each in counts),
        memory_bytes=sum(each.memory_bytes for each in counts),
    )


def _usage_bytes(found: Iterable[ContainerUsage]) -> int:
    return sum(each.memory_usage_bytes or each.memory_working_set_bytes for each in found)


def _cpu(now: Count, before: Count | None) -> JsonObject:
    told: JsonObject = {"time": time_text(now.at_ms), "usageCoreNanoSeconds": now.cpu_ns}
    rate = None if before is None else used(before, now)
    return told if rate is None else {**told, "usageNanoCores": rate.cpu_ns_s}


# --- metrics ---------------------------------------------------------------------------------------------------


def resource_families(figures: Figures) -> list[Family]:
    """`/metrics/resource`, as metrics-server and Prometheus read it of kubelets."""
    node = figures.node
    at = node.whole.at_ms
    families = [
        Family(
            "node_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the node in core-seconds",
            (Sample(node.whole.cpu_ns / 1e9, (), "", at),),
        ),
        Family(
            "node_memory_working_set_bytes",
            "gauge",
            "Current working set of the node in bytes",
            (Sample(node.whole.memory_bytes, (), "", at),),
        ),
    ]
    starts: list[Sample] = []
    cpu: dict[str, list[Sample]] = {"container": [], "pod": []}
    memory: dict[str, list[Sample]] = {"container": [], "pod": []}
    for pod in figures.pods:
        where = (("namespace", pod.namespace), ("pod", pod.name))
        found = figures.of_pod(pod.uid)
        for each in found:
            if each.name:
                labels = (("container", each.name), *where)
                cpu["container"].append(Sample(each.cpu_ns / 1e9, labels, "", each.at_ms))
                memory["container"].append(Sample(each.memory_working_set_bytes, labels, "", each.at_ms))
                if started := figures.started_ms(each.pod_uid, each.name):
                    starts.append(Sample(started / 1000, labels))
        if found:
            whole = _together(found)
            cpu["pod"].append(Sample(whole.cpu_ns / 1e9, where, "", whole.at_ms))
            memory["pod"].append(Sample(whole.memory_bytes, where, "", whole.at_ms))
    for what in ("container", "pod"):
        families += [
            Family(
                f"{what}_cpu_usage_seconds_total",
                "counter",
                f"Cumulative cpu time consumed by the {what} in core-seconds",
                tuple(cpu[what]),
            ),
            Family(
                f"{what}_memory_working_set_bytes",
                "gauge",
                f"Current working set of the {what} in bytes",
                tuple(memory[what]),
            ),
        ]
    text = "Start time of the container since unix epoch in seconds"
    families.append(Family("container_start_time_seconds", "gauge", text, tuple(starts)))
    families.append(gauge("resource_scrape_error", "1 if there was an error while getting metrics, 0 otherwise", 0))
    return families


_OF_CONTAINERS: tuple[tuple[str, str, str, str], ...] = (
    ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", "cpu"),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", "memory_working_set_bytes"),
    ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes.", "memory_usage_bytes"),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", "memory_rss_bytes"),
    ("container_fs_usage_bytes", "gauge", "Bytes that the writable layer takes.", "disk_bytes"),
    ("container_processes", "gauge", "Number of processes running inside the container.", "pids"),
)


def container_families(figures: Figures) -> list[Family]:
    """`/metrics/cadvisor`: of each container, and of the pod's network."""
    samples: dict[str, list[Sample]] = {}
    for pod in figures.pods:
        for each in figures.of_pod(pod.uid):
            labels = (
                ("container", each.name),
                ("id", figures.container_id(each.pod_uid, each.name)),
                ("image", figures.image(each.pod_uid, each.name)),
                ("namespace", pod.namespace),
                ("pod", pod.name),
            )
            if each.name:
                _add_container(samples, figures, each, labels)
            elif each.received_bytes or each.sent_bytes:
                wire = (("interface", "eth0"), ("namespace", pod.namespace), ("pod", pod.name))
                for way, value in (("receive", each.received_bytes), ("transmit", each.sent_bytes)):
                    name = f"container_network_{way}_bytes_total"
                    samples.setdefault(name, []).append(Sample(value, wire, "", each.at_ms))
    families = [
        Family(name, "counter" if kind == "counter" else "gauge", text, tuple(samples.get(name, ())))
        for name, kind, text, _ in _OF_CONTAINERS
    ]
    for way, text in (("receive", "received"), ("transmit", "transmitted")):
        name = f"container_network_{way}_bytes_total"
        families.append(Family(name, "counter", f"Cumulative count of bytes {text}.", tuple(samples.get(name, ()))))
    name = "container_start_time_seconds"
    text = "Start time of the container since unix epoch in seconds."
    families.append(Family(name, "gauge", text, tuple(samples.get(name, ()))))
    node = figures.node
    return [
        *families,
        gauge("machine_cpu_cores", "Number of logical CPU cores.", node.cpus),
        gauge("machine_memory_bytes", "Amount of memory installed on the machine.", node.memory_total_bytes),
    ]


def _add_container(
    samples: dict[str, list[Sample]], figures: Figures, each: ContainerUsage, labels: tuple[tuple[str, str], ...]
) -> None:
    values: Mapping[str, float] = {
        "cpu": each.cpu_ns / 1e9,
        "memory_working_set_bytes": each.memory_working_set_bytes,
        "memory_usage_bytes": each.memory_usage_bytes,
        "memory_rss_bytes": each.memory_rss_bytes,
        "disk_bytes": each.disk_bytes,
        "pids": each.pids,
    }
    for name, _, _, field in _OF_CONTAINERS:
        if field in ("cpu", "memory_working_set_bytes") or values[field]:
            samples.setdefault(name, []).append(Sample(values[field], labels, "", each.at_ms))
    if started := figures.started_ms(each.pod_uid, each.name):
        samples.setdefault("container_start_time_seconds", []).append(Sample(started / 1000, labels))


def agent_families(agent: Count, *, start_ms: int) -> list[Family]:
    """Of the process itself, under the names that every Prometheus client uses."""
    return [
        counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", agent.cpu_ns / 1e9),
        gauge("process_resident_memory_bytes", "Resident memory size in bytes.", agent.memory_bytes),
        gauge(
            "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", start_ms / 1000
        ),
    ]
