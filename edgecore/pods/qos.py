"""What a container may use of the gateway, in the kernel's numbers, and who is ended first for memory: pure.

(Kubernetes documentation, "Resource Management for Pods and Containers", "Pod Quality of Service Classes", "Node-
pressure Eviction"; formulas as a kubelet has them.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgecore.pods.containers import Wanted, wanted_of
from edgecore.pods.port import Resources
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, str_at, str_map_at
from skerry.objects.quantity import Quantity, parse_quantity

SHARES_PER_CPU: Final = 1024
SHARES_MIN, SHARES_MAX = 2, 262_144
"""What the kernel takes."""
PERIOD_US: Final = 100_000
QUOTA_US_MIN: Final = 1000
OOM_GUARANTEED: Final = -997
OOM_BEST_EFFORT: Final = 1000
NODE_CRITICAL: Final = "system-node-critical"
_HUGE: Final = "hugepages-"
_ZERO: Final = Quantity(0)
_SIZES: Final = ("B", "KB", "MB", "GB", "TB")


def qos_class(pod: JsonObject) -> str:
    """Guaranteed, Burstable or BestEffort."""
    guaranteed, any_set = True, False
    for container in (one.spec for one in wanted_of(pod)):
        limits = str_map_at(container, "resources", "limits")
        requests = str_map_at(container, "resources", "requests")
        for resource in ("cpu", "memory"):
            limit, request = amount_of(limits, resource), amount_of(requests, resource)
            any_set = any_set or bool(limit.nano or request.nano)
            asked = request if resource in requests else limit
            guaranteed = guaranteed and limit.nano > 0 and asked.nano == limit.nano
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def amount_of(values: Mapping[str, str], resource: str) -> Quantity:
    """What can't be read counts for nothing; the API has checked it."""
    try:
        return parse_quantity(values.get(resource, "0"))
    except InvalidError:
        return _ZERO


def resources_of(pod: JsonObject, container: JsonObject, *, memory_bytes: int) -> Resources:
    """Of one container on a gateway with so much memory."""
    limits = str_map_at(container, "resources", "limits")
    requests = str_map_at(container, "resources", "requests")
    cpu = amount_of(requests if "cpu" in requests else limits, "cpu")
    limit = amount_of(limits, "cpu")
    return Resources(
        cpu_shares=shares_of(cpu.millis),
        cpu_period_us=PERIOD_US,
        cpu_quota_us=quota_of(limit.millis) if limit.nano else 0,
        memory_bytes=amount_of(limits, "memory").units,
        oom_score_adj=oom_score_adj(pod, str_at(container, "name"), memory_bytes=memory_bytes),
        hugepages=tuple(
            (page_size(name.removeprefix(_HUGE)), amount_of(limits, name).units)
            for name in sorted(limits)
            if name.startswith(_HUGE)
        ),
    )


def shares_of(millis: int) -> int:
    """Of the processor, as cgroup v1 counts them."""
    return min(max(millis * SHARES_PER_CPU // 1000, SHARES_MIN), SHARES_MAX)


def quota_of(millis: int) -> int:
    """Microseconds of `PERIOD_US`."""
    return max(millis * PERIOD_US // 1000, QUOTA_US_MIN)


def page_size(text: str) -> str:
    """As the kernel names it: 2Mi is 2MB."""
    size, step = amount_of({"size": text}, "size").units, 0
    while size >= 1024 and step < len(_SIZES) - 1:
        size, step = size // 1024, step + 1
    return f"{size}{_SIZES[step]}"


def oom_score_adj(pod: JsonObject, name: str, *, memory_bytes: int) -> int:
    """Who asked for more of the gateway's memory is ended later; a sidecar never before its apps."""
    if str_at(pod, "spec", "priorityClassName") == NODE_CRITICAL:
        return OOM_GUARANTEED
    match qos_class(pod):
        case "Guaranteed":
            return OOM_GUARANTEED
        case "BestEffort":
            return OOM_BEST_EFFORT
        case _:
            wanted = {one.name: one for one in wanted_of(pod)}
            scores = [_burstable(wanted[name], memory_bytes)]
            if wanted[name].part == "sidecar":
                scores += [_burstable(one, memory_bytes) for one in wanted.values() if one.part == "app"]
            return min(scores)


def _burstable(one: Wanted, memory_bytes: int) -> int:
    limits = str_map_at(one.spec, "resources", "limits")
    requests = str_map_at(one.spec, "resources", "requests")
    asked = amount_of(requests if "memory" in requests else limits, "memory").units
    score = 1000 - 1000 * asked // memory_bytes if memory_bytes else OOM_BEST_EFFORT
    # Between who was promised all of it and who was promised nothing.
    return min(max(score, 1000 + OOM_GUARANTEED), OOM_BEST_EFFORT - 1)
