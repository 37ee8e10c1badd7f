"""Cgroups of pods: what they are called, and what may be used in them. Pure.

As a kubelet has them: below `kubepods`, Guaranteed pods directly, others below the cgroup of their QoS class; each
pod is one cgroup, in which its containers and its sandbox have theirs. (Kubernetes documentation, "Node Allocatable",
"Pod Quality of Service Classes", "Memory QoS"; cgroups(7); the kernel's cgroup-v1 and cgroup-v2 documents.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from edgecore.pods.containers import Wanted, wanted_of
from edgecore.pods.port import Resources
from edgecore.pods.qos import PERIOD_US, SHARES_MAX, SHARES_MIN, amount_of, page_size, qos_class, quota_of, shares_of
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, str_map_at
from skerry.objects.meta import uid_of

Driver: TypeAlias = Literal["cgroupfs", "systemd"]
Version: TypeAlias = Literal[1, 2]

PODS: Final = "kubepods"
CLASSES: Final = ("burstable", "besteffort")
"""Those that have a cgroup of their own; Guaranteed pods are beside them."""
THROTTLE_PERCENT: Final = 90
"""Of what lies between request and limit: what is used beyond is slowed down (a kubelet's memoryThrottlingFactor)."""
PAGE_BYTES: Final = 4096
_HUGE: Final = "hugepages-"


def class_of(pod: JsonObject) -> str:
    """The cgroup of its QoS class; "" for none of its own."""
    name = qos_class(pod).lower()
    return name if name in CLASSES else ""


def steps_to(top: str, *names: str) -> tuple[str, ...]:
    """The steps from the root of all cgroups; `top` is the path under which ours are."""
    return (*(part for part in top.split("/") if part), *(name for name in names if name))


def steps_of(top: str, pod: JsonObject) -> tuple[str, ...]:
    """To the pod's cgroup."""
    return steps_to(top, PODS, class_of(pod), f"pod{uid_of(pod)}")


def slice_of(steps: Iterable[str]) -> str:
    """The name of a systemd slice: each dash in it is one step down (systemd.slice(5))."""
    return "-".join(step.replace("-", "_") for step in steps) + ".slice"


def path_of(steps: tuple[str, ...], driver: Driver) -> str:
    """From the root of all cgroups, as runtimes want it."""
    if driver == "cgroupfs":
        return "/" + "/".join(steps)
    return "/" + "/".join(slice_of(steps[: depth + 1]) for depth in range(len(steps)))


class Limits(Frozen):
    """Of one cgroup; None is "no limit" (for memory_min and memory_high: not asked for)."""

    cpu_shares: int = SHARES_MIN
    cpu_quota_us: int | None = None
    memory_bytes: int | None = None
    memory_min: int | None = None
    memory_high: int | None = None
    hugepages: tuple[tuple[str, int], ...] = ()
    pids: int | None = None


class Asked(Frozen):
    """What a pod asks for and may use, all its containers together, in millicores and bytes; None: nothing said."""

    cpu: int | None = None
    cpu_limit: int | None = None
    memory: int | None = None
    memory_limit: int | None = None
    hugepages: tuple[tuple[str, int], ...] = ()


def asked_of(pod: JsonObject) -> Asked:
    """Init containers run one after the other before the apps, sidecars beside all that follow. A limit holds for the
    pod only when each of its containers has one. What the pod itself says in `spec.resources` comes first."""
    wanted = wanted_of(pod)
    own = str_map_at(pod, "spec", "resources", "requests"), str_map_at(pod, "spec", "resources", "limits")
    limits = _limits(wanted, own[1])
    extra = str_map_at(pod, "spec", "overhead")
    huge = {name for one in wanted for name in str_map_at(one.spec, "resources", "limits") if name.startswith(_HUGE)}
    return Asked(
        cpu=_total(wanted, "cpu", "requests", own[0], extra),
        cpu_limit=_total(wanted, "cpu", "limits", own[1], extra) if "cpu" in limits else None,
        memory=_total(wanted, "memory", "requests", own[0], extra),
        memory_limit=_total(wanted, "memory", "limits", own[1], extra) if "memory" in limits else None,
        hugepages=tuple(
            (page_size(name.removeprefix(_HUGE)), _total(wanted, name, "limits", own[1], extra) or 0)
            for name in sorted(huge)
        ),
    )


def _limits(wanted: tuple[Wanted, ...], own: Mapping[str, str]) -> frozenset[str]:
    found = set(own)
    for name in {name for one in wanted for name in str_map_at(one.spec, "resources", "limits")}:
        if all(name in str_map_at(one.spec, "resources", "limits") for one in wanted):
            found.add(name)
    return frozenset(found)


def _total(
    wanted: tuple[Wanted, ...],
    resource: str,
    kind: Literal["requests", "limits"],
    own: Mapping[str, str],
    extra: Mapping[str, str],
) -> int | None:
    if resource in own:
        return _number(own, resource)
    beside = most = apps = 0
    for one in wanted:
        said = _number(_said(one, kind), resource)
        if one.part == "sidecar":
            beside += said
            most = max(most, beside)
        elif one.part == "init":
            most = max(most, beside + said)
        else:
            apps += said
    return max(most, beside + apps) + _number(extra, resource)


def _said(one: Wanted, kind: str) -> Mapping[str, str]:
    """A request that is not said is the limit."""
    limits = str_map_at(one.spec, "resources", "limits")
    return limits if kind == "limits" else {**limits, **str_map_at(one.spec, "resources", "requests")}


def _number(values: Mapping[str, str], resource: str) -> int:
    quantity = amount_of(values, resource)
    return quantity.millis if resource == "cpu" else quantity.units


def limits_of(pod: JsonObject, *, pids: int | None, memory_qos: bool) -> Limits:
    """Of the pod's cgroup."""
    asked = asked_of(pod)
    if class_of(pod) == "besteffort":
        return Limits(pids=pids)
    return Limits(
        cpu_shares=shares_of(asked.cpu or 0),
        cpu_quota_us=quota_of(asked.cpu_limit) if asked.cpu_limit else None,
        memory_bytes=asked.memory_limit or None,
        memory_min=(asked.memory or 0) if memory_qos else None,
        hugepages=asked.hugepages,
        pids=pids,
    )


def widest(one: Limits, other: Limits) -> Limits:
    """As `one`, and where the other allows more, as much: what lies in it fits whichever of both it has."""
    return replace(
        one,
        cpu_shares=max(one.cpu_shares, other.cpu_shares),
        cpu_quota_us=_most(one.cpu_quota_us, other.cpu_quota_us),
        memory_bytes=_most(one.memory_bytes, other.memory_bytes),
    )


def _most(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def limits_of_class(name: str, pods: Iterable[JsonObject], *, memory_qos: bool) -> Limits:
    """Of the cgroup of a QoS class in which these pods are: a share of the processor as large as theirs together."""
    if name == "besteffort":
        return Limits()
    asked = [asked_of(pod) for pod in pods]
    return Limits(
        cpu_shares=shares_of(sum(each.cpu or 0 for each in asked)),
        memory_min=sum(each.memory or 0 for each in asked) if memory_qos else None,
    )


def unified_of(container: JsonObject, *, node_bytes: int, memory_qos: bool) -> tuple[tuple[str, str], ...]:
    """What a container has on cgroup v2 alone. All its processes end together when its memory is out, as a kubelet
    has it; with `memory_qos` it is slowed down before that, and keeps what it asked for."""
    found = {"memory.oom.group": "1"}
    limits = str_map_at(container, "resources", "limits")
    requests = {**limits, **str_map_at(container, "resources", "requests")}
    asked, limit = amount_of(requests, "memory").units, amount_of(limits, "memory").units
    if memory_qos:
        if asked:
            found["memory.min"] = str(asked)
        most = limit or node_bytes
        high = (asked + (most - asked) * THROTTLE_PERCENT // 100) // PAGE_BYTES * PAGE_BYTES
        if asked != limit and high > asked:
            found["memory.high"] = str(high)
    return tuple(sorted(found.items()))


def limits_of_container(wanted: Resources) -> Limits:
    """Of a cgroup that we make for a container ourselves."""
    return Limits(
        cpu_shares=wanted.cpu_shares or SHARES_MIN,
        cpu_quota_us=wanted.cpu_quota_us or None,
        memory_bytes=wanted.memory_bytes or None,
        hugepages=wanted.hugepages,
    )


def files_of(limits: Limits, version: Version) -> tuple[tuple[str, str, str], ...]:
    """Controller, file and text, in an order in which the kernel takes them."""
    return _files_v1(limits) if version == 1 else _files_v2(limits)


def _files_v1(limits: Limits) -> tuple[tuple[str, str, str], ...]:
    found = [
        ("cpu", "cpu.shares", str(limits.cpu_shares)),
        ("cpu", "cpu.cfs_period_us", str(PERIOD_US)),
        ("cpu", "cpu.cfs_quota_us", str(limits.cpu_quota_us or -1)),
        ("memory", "memory.limit_in_bytes", str(limits.memory_bytes or -1)),
        ("pids", "pids.max", str(limits.pids or "max")),
    ]
    found += [("hugetlb", f"hugetlb.{size}.limit_in_bytes", str(most)) for size, most in limits.hugepages]
    return tuple(found)


def _files_v2(limits: Limits) -> tuple[tuple[str, str, str], ...]:
    found = [
        ("cpu", "cpu.weight", str(weight_of(limits.cpu_shares))),
        ("cpu", "cpu.max", f"{limits.cpu_quota_us or 'max'} {PERIOD_US}"),
        ("memory", "memory.max", str(limits.memory_bytes or "max")),
        ("pids", "pids.max", str(limits.pids or "max")),
    ]
    if limits.memory_min is not None:
        found.append(("memory", "memory.min", str(limits.memory_min)))
    if limits.memory_high is not None:
        found.append(("memory", "memory.high", str(limits.memory_high)))
    found += [("hugetlb", f"hugetlb.{size}.max", str(most)) for size, most in limits.hugepages]
    return tuple(found)


def weight_of(shares: int) -> int:
    """cgroup v2 counts from 1 to 10000 what v1 counts from 2 to 262144."""
    return 1 + (min(max(shares, SHARES_MIN), SHARES_MAX) - SHARES_MIN) * 9999 // (SHARES_MAX - SHARES_MIN)


def unit_properties(limits: Limits, version: Version) -> tuple[tuple[str, str, str], ...]:
    """Name, D-Bus signature and value of a systemd slice's properties (org.freedesktop.systemd1)."""
    most = str((1 << 64) - 1)
    quota = str(limits.cpu_quota_us * 1_000_000 // PERIOD_US) if limits.cpu_quota_us else most
    cpu, memory = ("CPUShares", "MemoryLimit") if version == 1 else ("CPUWeight", "MemoryMax")
    share = limits.cpu_shares if version == 1 else weight_of(limits.cpu_shares)
    found = [
        (cpu, "t", str(share)),
        ("CPUQuotaPerSecUSec", "t", quota),
        (memory, "t", str(limits.memory_bytes or most)),
        ("TasksMax", "t", str(limits.pids or most)),
    ]
    if version == 2 and limits.memory_min is not None:
        found.append(("MemoryMin", "t", str(limits.memory_min)))
    return tuple(found)


def changed(before: Resources, wanted: Resources) -> Resources:
    """`wanted`, and what it does not say as it was before."""
    told = {name: getattr(wanted, name) for name in _SETTABLE if getattr(wanted, name)}
    return replace(before, **told)


_SETTABLE: Final = ("cpu_shares", "cpu_quota_us", "cpu_period_us", "memory_bytes", "hugepages", "unified")
