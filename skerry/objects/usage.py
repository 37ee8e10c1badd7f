"""What containers and a gateway use: counted on the gateway when somebody asks, and made into rates in the cloud.

The gateway counts twice, a moment apart, and tells both (a stream of kind `usage`): whoever asks for the first time
gets a rate as well, and nobody has to keep anything. Shapes are those of metrics.k8s.io/v1beta1. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, maps_at, str_at
from skerry.objects.times import time_text

USAGE: Final = "usage"
"""The kind of stream."""
WINDOW_S: Final = 1.0
"""Between the two counts."""


class Count(Frozen):
    """Of one container, or of the whole gateway, at a moment."""

    at_ms: int
    cpu_ns: int
    """Since it started. Less than before where a part of it has ended, or it was started anew."""
    memory_bytes: int
    """Its working set."""

    def shown(self) -> JsonObject:
        return {"atMs": self.at_ms, "cpuNs": self.cpu_ns, "memoryBytes": self.memory_bytes}

    @classmethod
    def read(cls, told: Json) -> Count:
        return cls(at_ms=int_at(told, "atMs"), cpu_ns=int_at(told, "cpuNs"), memory_bytes=int_at(told, "memoryBytes"))


class Used(Frozen):
    """A rate over a window."""

    at_ms: int
    window_ms: int
    cpu_ns_s: int
    """Nanoseconds of a processor in a second."""
    memory_bytes: int

    def shown(self) -> JsonObject:
        return {"cpu": f"{self.cpu_ns_s}n", "memory": f"{self.memory_bytes // 1024}Ki"}


def used(before: Count, now: Count) -> Used | None:
    """The rate between two counts; None where they say nothing of one: no time between them, or a counter that went
    back."""
    window_ms = now.at_ms - before.at_ms
    if window_ms <= 0 or now.cpu_ns < before.cpu_ns:
        return None
    rate = (now.cpu_ns - before.cpu_ns) * 1000 // window_ms
    return Used(at_ms=now.at_ms, window_ms=window_ms, cpu_ns_s=rate, memory_bytes=now.memory_bytes)


ContainerKey = tuple[str, str]
"""Uid of the pod, and name of the container."""


class Sample(Frozen):
    """All that a gateway counts at a moment."""

    node: Count
    containers: Mapping[ContainerKey, Count]

    def shown(self) -> JsonObject:
        containers: list[Json] = [
            {"pod": pod, "name": name, **count.shown()} for (pod, name), count in self.containers.items()
        ]
        return {"node": self.node.shown(), "containers": containers}

    @classmethod
    def read(cls, told: Json) -> Sample:
        return cls(
            node=Count.read(told["node"] if isinstance(told, dict) and "node" in told else None),
            containers={
                (str_at(each, "pod"), str_at(each, "name")): Count.read(each) for each in maps_at(told, "containers")
            },
        )


class NodeUsed(Frozen):
    """Rates of one gateway."""

    node: Used | None
    pods: Mapping[str, Mapping[str, Used]]
    """By the pod's uid and the container's name."""


def rates(samples: Sequence[Sample]) -> NodeUsed:
    """Of the first and the last. A container that is in one alone has no rate yet, or none any more."""
    if len(samples) < 2:
        return NodeUsed(node=None, pods={})
    before, now = samples[0], samples[-1]
    pods: dict[str, dict[str, Used]] = {}
    for (pod, name), count in now.containers.items():
        earlier = before.containers.get((pod, name))
        found = None if earlier is None else used(earlier, count)
        if found is not None:
            pods.setdefault(pod, {})[name] = found
    return NodeUsed(node=used(before.node, now.node), pods=pods)


def node_metrics(name: str, labels: JsonObject, rate: Used) -> JsonObject:
    """metrics.k8s.io/v1beta1 NodeMetrics."""
    return {**_metrics("NodeMetrics", {"name": name, "labels": labels}, rate), "usage": rate.shown()}


def pod_metrics(namespace: str, name: str, labels: JsonObject, containers: Mapping[str, Used]) -> JsonObject:
    """metrics.k8s.io/v1beta1 PodMetrics, of at least one container."""
    last = max(containers.values(), key=lambda rate: rate.at_ms)
    shown: list[Json] = [{"name": each, "usage": rate.shown()} for each, rate in sorted(containers.items())]
    metadata: JsonObject = {"name": name, "namespace": namespace, "labels": labels}
    return {**_metrics("PodMetrics", metadata, last), "containers": shown}


def _metrics(kind: str, metadata: JsonObject, rate: Used) -> JsonObject:
    at = time_text(rate.at_ms)
    return {
        "kind": kind,
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {**metadata, "creationTimestamp": at},
        "timestamp": at,
        "window": f"{rate.window_ms / 1000:g}s",
    }
