"""The nodes, and what already runs or is about to run on each: kept up to date change by change. Pure.

A pod counts on its node from the moment the scheduler chose it. The whole of it is rebuilt from the watch cache
at a start; nothing is durable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cloudcore.scheduler.ask import Ask, amounts
from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, bool_at, map_at, str_at
from skerry.objects.meta import Key, labels_of, name_of
from skerry.objects.pods import HostPort
from skerry.objects.taints import Taint, taints_of

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
_HARD: Final = ("NoSchedule", "NoExecute")


@dataclass(slots=True, kw_only=True)
class Node:
    """One node with its sums. `known` is False while only pods speak of it."""

    name: str
    known: bool = False
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    hard_taints: tuple[Taint, ...] = ()
    soft_taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    allocatable: Mapping[str, int] = field(default_factory=dict[str, int])
    pods_max: int = 0
    used: dict[str, int] = field(default_factory=dict[str, int])
    scored_cpu: int = 0
    scored_memory: int = 0
    ports: Counter[HostPort] = field(default_factory=Counter[HostPort])
    owners: Counter[str] = field(default_factory=Counter[str])
    """How many pods of each controller are here."""
    pods: dict[Key, Ask] = field(default_factory=dict[Key, Ask])

    def put(self, ask: Ask) -> None:
        self.pods[ask.key] = ask
        self._count(ask, 1)

    def drop(self, ask: Ask) -> None:
        del self.pods[ask.key]
        self._count(ask, -1)

    def _count(self, ask: Ask, sign: int) -> None:
        for name, value in ask.requests.items():
            self.used[name] = self.used.get(name, 0) + sign * value
        self.scored_cpu += sign * ask.scored_cpu
        self.scored_memory += sign * ask.scored_memory
        for port in ask.ports:
            self.ports[port] += sign
            if not self.ports[port]:
                del self.ports[port]
        if ask.owner_uid:
            self.owners[ask.owner_uid] += sign
            if not self.owners[ask.owner_uid]:
                del self.owners[ask.owner_uid]
        assert self.scored_cpu >= 0, "what is taken off was put on"


class Cluster:
    """All nodes, all placed pods, and the labels of namespaces."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._places: dict[Key, str] = {}
        self._apart: dict[Key, str] = {}
        self._order: list[Node] | None = None
        self.namespaces: dict[str, Mapping[str, str]] = {}

    def nodes(self) -> list[Node]:
        """Known nodes, in an order that stays while none comes or goes."""
        if self._order is None:
            self._order = [node for node in self._nodes.values() if node.known]
        return self._order

    def node(self, name: str) -> Node | None:
        found = self._nodes.get(name)
        return found if found is not None and found.known else None

    def place_of(self, key: Key) -> str | None:
        return self._places.get(key)

    def placed(self) -> Iterator[tuple[Ask, Node]]:
        """Every placed pod with its node."""
        for node in self.nodes():
            for ask in node.pods.values():
                yield ask, node

    def placed_apart(self) -> Iterator[tuple[Ask, Node]]:
        """Those that want to be apart from others: they have a say about who comes near."""
        for key, name in self._apart.items():
            node = self.node(name)
            if node is not None:
                yield node.pods[key], node

    def put_node(self, obj: JsonObject) -> bool:
        """A node as it now is. True when that may let a pod fit that didn't."""
        name = name_of(obj)
        node = self._nodes.get(name)
        if node is None or not node.known:
            self._order = None
        if node is None:
            node = self._nodes[name] = Node(name=name)
        before = _traits(node)
        _describe(node, obj)
        return before != _traits(node)

    def drop_node(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is None:
            return
        self._order = None
        node.known = False
        if not node.pods:
            del self._nodes[name]

    def put_pod(self, ask: Ask, node_name: str) -> None:
        """The pod is on that node, or will be."""
        self.drop_pod(ask.key)
        node = self._nodes.get(node_name)
        if node is None:
            node = self._nodes[node_name] = Node(name=node_name)
        node.put(ask)
        self._places[ask.key] = node_name
        if ask.apart:
            self._apart[ask.key] = node_name

    def drop_pod(self, key: Key) -> bool:
        """The pod is over or gone. True when it was placed."""
        name = self._places.pop(key, None)
        if name is None:
            return False
        self._apart.pop(key, None)
        node = self._nodes[name]
        node.drop(node.pods[key])
        if not node.known and not node.pods:
            del self._nodes[name]
        return True


def _traits(node: Node) -> tuple[object, ...]:
    return (
        node.known,
        node.labels,
        node.hard_taints,
        node.soft_taints,
        node.unschedulable,
        node.allocatable,
        node.pods_max,
    )


def _describe(node: Node, obj: JsonObject) -> None:
    taints = [*_taints(obj)]
    allocatable = amounts(map_at(obj, "status", "allocatable") or map_at(obj, "status", "capacity"))
    node.known = True
    node.labels = labels_of(obj)
    node.unschedulable = bool_at(obj, "spec", "unschedulable")
    node.hard_taints = tuple(taint for taint in taints if taint.effect in _HARD)
    node.soft_taints = tuple(taint for taint in taints if taint.effect == "PreferNoSchedule")
    node.allocatable = allocatable
    node.pods_max = allocatable.get("pods", 0)


def _taints(obj: JsonObject) -> Iterable[Taint]:
    """The node's taints, and the one that the node controller is about to set where the node isn't ready."""
    found = taints_of(obj)
    ready = str_at(condition_of(obj, "Ready") or {}, "status")
    implied = Taint(NOT_READY if ready in ("False", "") else UNREACHABLE, "", "NoSchedule")
    return found if ready == "True" or implied in found else (*found, implied)
