"""Which of the nodes that fit is best. Pure.

Each view of the matter gives 0 to 100, and they are added with weights: room left (1), preferred node affinity (2),
wishes about other pods (2), soft taints (3), and spreading the pods of one controller (3), after Kubernetes'
defaults. Equal nodes are told apart by their order, which the caller rotates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloudcore.scheduler.ask import Ask
from cloudcore.scheduler.cluster import Cluster, Node

_ROOM, _AFFINITY, _WISHES, _TAINTS, _SPREAD = 1, 2, 2, 3, 3


def best(ask: Ask, fitting: Sequence[Node], cluster: Cluster) -> Node:
    """The node with the highest score, the first of equals."""
    assert fitting, "there is something to choose from"
    if len(fitting) == 1:
        return fitting[0]
    totals = [_ROOM * _room(ask, node) for node in fitting]
    if ask.preferred:
        _weigh(totals, [_preference(ask, node) for node in fitting], _AFFINITY)
    if any(node.soft_taints for node in fitting):
        _weigh(totals, [-_disliked(ask, node) for node in fitting], _TAINTS)
    if ask.owner_uid:
        _weigh(totals, [-node.owners.get(ask.owner_uid, 0) for node in fitting], _SPREAD)
    if ask.wishes:
        granted = _granted(ask, cluster)
        _weigh(totals, [granted(node) for node in fitting], _WISHES)
    return fitting[totals.index(max(totals))]


def _weigh(totals: list[float], raw: Sequence[int], weight: int) -> None:
    """Add a view, stretched so that its best node has 100 and its worst 0; where all are equal it says nothing."""
    low, high = min(raw), max(raw)
    if low == high:
        return
    scale = weight * 100 / (high - low)
    for index, value in enumerate(raw):
        totals[index] += (value - low) * scale


def _room(ask: Ask, node: Node) -> float:
    """The part of cpu and memory that would stay free, as the mean of both."""
    return (
        _free(node.allocatable.get("cpu", 0), node.scored_cpu + ask.scored_cpu)
        + _free(node.allocatable.get("memory", 0), node.scored_memory + ask.scored_memory)
    ) / 2


def _free(whole: int, used: int) -> float:
    return 0.0 if used >= whole else (whole - used) * 100 / whole


def _preference(ask: Ask, node: Node) -> int:
    return sum(weight for weight, term in ask.preferred if term.matches(node.labels, node.name))


def _disliked(ask: Ask, node: Node) -> int:
    return sum(not any(toleration.tolerates(taint) for toleration in ask.tolerations) for taint in node.soft_taints)


def _granted(ask: Ask, cluster: Cluster) -> Callable[[Node], int]:
    """For each (topology key, value): the weights of the wishes that pods there fulfil."""
    sums: dict[tuple[str, str], int] = {}
    for other, node in cluster.placed():
        labels = cluster.namespaces.get(other.key.namespace, {})
        for wish in ask.wishes:
            value = node.labels.get(wish.term.topology_key)
            if value is not None and wish.term.meets(other.key.namespace, labels, other.labels):
                place = (wish.term.topology_key, value)
                sums[place] = sums.get(place, 0) + wish.weight
    keys = sorted({wish.term.topology_key for wish in ask.wishes})

    def granted(node: Node) -> int:
        return sum(sums.get((key, node.labels.get(key, "")), 0) for key in keys if key in node.labels)

    return granted
