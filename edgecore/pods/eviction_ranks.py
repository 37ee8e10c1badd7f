"""Who has to go when the gateway runs short: pure.

As a kubelet orders them: who uses more than it asked for goes first, then who has the lower priority, then who is
furthest above what it asked for; of process ids nobody asks, so only priority and use count there. Messages are a
kubelet's, which tools look for. (Kubernetes documentation, "Pod selection for kubelet eviction".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edgecore.pods.containers import wanted_of
from edgecore.pods.eviction import RESOURCES, Observations, Threshold, is_critical, priority_of
from edgecore.pods.qos import amount_of
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject, str_map_at
from skerry.objects.meta import uid_of
from skerry.objects.quantity import Quantity

_NANO: Final = 10**9


class Use(Frozen):
    """What a pod, or one of its containers, takes of everything."""

    memory_bytes: int = 0
    disk_bytes: int = 0
    """Of the disk that is short: volumes, logs, writable layers, whichever are there."""
    inodes: int = 0
    pids: int = 0

    def of(self, resource: str) -> int:
        return {
            "memory": self.memory_bytes,
            "ephemeral-storage": self.disk_bytes,
            "inodes": self.inodes,
            "pids": self.pids,
        }[resource]


class Candidate(Frozen):
    """A pod that something runs of."""

    pod: JsonObject
    use: Use
    containers: Mapping[str, Use] = field(default_factory=dict[str, Use])
    """By name, as far as it is counted."""


def ranked(threshold: Threshold, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Who may go, the first to go first. Critical ones do not; who uses nothing would not help."""
    resource = RESOURCES[threshold.signal]
    may_go = [each for each in candidates if not is_critical(each.pod) and each.use.of(resource)]
    return sorted(may_go, key=lambda each: _rank(resource, each))


def _rank(resource: str, candidate: Candidate) -> tuple[bool, int, int, str]:
    used = candidate.use.of(resource)
    above = used - request_of(candidate.pod, resource)
    modest = resource != "pids" and above <= 0
    return modest, priority_of(candidate.pod), -above, uid_of(candidate.pod)


def request_of(pod: JsonObject, resource: str) -> int:
    """What all of the pod together asked for, in whole units."""
    wanted = wanted_of(pod)
    kept = sum(_asked(one.spec, resource) for one in wanted if one.part != "init")
    first = max((_asked(one.spec, resource) for one in wanted if one.part == "init"), default=0)
    overhead = amount_of(str_map_at(pod, "spec", "overhead"), resource).units
    return max(kept, first) + overhead


def _asked(container: JsonObject, resource: str) -> int:
    return amount_of(str_map_at(container, "resources", "requests"), resource).units


def eviction_message(met: Sequence[Threshold], seen: Observations, candidate: Candidate) -> str:
    """Why this one: `met` are the thresholds that are answered now, the first of them by this pod's end."""
    resource = RESOURCES[met[0].signal]
    text = f"The node was low on resource: {resource}. "
    about = next((each for each in met if RESOURCES[each.signal] == resource and each.signal in seen), None)
    if about is not None:
        now = seen[about.signal]
        least = _shown(about.amount.of(now.capacity), resource)
        text += f"Threshold quantity: {least}, available: {_shown(now.available, resource)}. "
    if resource not in ("memory", "ephemeral-storage"):
        return text
    for one in wanted_of(candidate.pod):
        used = candidate.containers.get(one.name, Use()).of(resource)
        if used > _asked(one.spec, resource):
            request = amount_of(str_map_at(one.spec, "resources", "requests"), resource)
            text += (
                f"Container {one.name} was using {_shown(used, resource)}, request is {request}, has larger "
                f"consumption of {resource}. "
            )
    return text


def _shown(units: int, resource: str) -> str:
    return str(Quantity(units * _NANO, "binary" if resource in ("memory", "ephemeral-storage") else "decimal"))
