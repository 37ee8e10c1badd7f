"""Which nodes a pod may go to, and why not to the others. Pure.

The order and the words are those of Kubernetes' scheduler plugins; a node is judged by the first that refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloudcore.scheduler.ask import AffinityTerm, Ask
from cloudcore.scheduler.cluster import Cluster, Node
from cloudcore.scheduler.volumes import NO_NEEDS, VolumeNeeds, volume_faults
from skerry.frozen import Frozen
from skerry.objects.pods import HostPort
from skerry.objects.taints import Taint

NOT_MEANT: Final = "node(s) didn't match Pod's node affinity/selector"
_UNSCHEDULABLE: Final = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class Domains(Frozen):
    """Where, by labels of nodes, a pod must or must not go because of other pods. Found once for each decision."""

    near: tuple[tuple[str, frozenset[str]], ...] = ()
    """For each required term: topology key, and the values where pods that are meant run."""
    first_of_its_kind: bool = False
    """Nobody meant runs anywhere, and the pod itself is one of those meant: it may begin anywhere."""
    apart: tuple[tuple[str, frozenset[str]], ...] = ()
    kept_away: tuple[tuple[str, frozenset[str]], ...] = ()
    """By other pods' wish to be apart from this one."""


NO_DOMAINS: Final = Domains()


def domains(ask: Ask, cluster: Cluster) -> Domains:
    """Looks at every placed pod where the pod has terms of its own, else only at those that want to be apart."""
    kept_away = _kept_away(ask, cluster)
    if not ask.near and not ask.apart:
        return Domains(kept_away=kept_away) if kept_away else NO_DOMAINS
    near: list[set[str]] = [set() for _ in ask.near]
    apart: list[set[str]] = [set() for _ in ask.apart]
    for other, node in cluster.placed():
        labels = cluster.namespaces.get(other.key.namespace, {})
        if ask.near and all(_meets(term, other, labels) for term in ask.near):
            _note(near, ask.near, node)
        for term, values in zip(ask.apart, apart, strict=True):
            if _meets(term, other, labels):
                _note([values], (term,), node)
    own = cluster.namespaces.get(ask.key.namespace, {})
    return Domains(
        near=_pairs(ask.near, near),
        first_of_its_kind=not any(near) and all(_meets(term, ask, own) for term in ask.near),
        apart=_pairs(ask.apart, apart),
        kept_away=kept_away,
    )


def _kept_away(ask: Ask, cluster: Cluster) -> tuple[tuple[str, frozenset[str]], ...]:
    labels = cluster.namespaces.get(ask.key.namespace, {})
    found: dict[str, set[str]] = {}
    for other, node in cluster.placed_apart():
        for term in other.apart:
            value = node.labels.get(term.topology_key)
            if value is not None and _meets(term, ask, labels):
                found.setdefault(term.topology_key, set()).add(value)
    return tuple((key, frozenset(values)) for key, values in found.items())


def _meets(term: AffinityTerm, other: Ask, namespace_labels: Mapping[str, str]) -> bool:
    return term.meets(other.key.namespace, namespace_labels, other.labels)


def _note(into: list[set[str]], terms: tuple[AffinityTerm, ...], node: Node) -> None:
    for term, values in zip(terms, into, strict=True):
        value = node.labels.get(term.topology_key)
        if value is not None:
            values.add(value)


def _pairs(terms: tuple[AffinityTerm, ...], values: list[set[str]]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((term.topology_key, frozenset(found)) for term, found in zip(terms, values, strict=True))


def faults(ask: Ask, node: Node, where: Domains, needs: VolumeNeeds = NO_NEEDS) -> tuple[str, ...]:
    """Why the pod can't go to the node; none when it can."""
    if node.unschedulable and not _tolerated(ask, _UNSCHEDULABLE):
        return ("node(s) were unschedulable",)
    for taint in node.hard_taints:
        if not _tolerated(ask, taint):
            return (f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",)
    if not ask.selector.matches(node.labels) or (
        ask.required is not None and not ask.required.matches(node.labels, node.name)
    ):
        return (NOT_MEANT,)
    if ask.ports and any(_taken(port, node) for port in ask.ports):
        return ("node(s) didn't have free ports for the requested pod ports",)
    return (
        _lacking(ask, node)
        or (() if needs is NO_NEEDS else volume_faults(needs, node))
        or (() if where is NO_DOMAINS else _misplaced(node, where))
    )


def _tolerated(ask: Ask, taint: Taint) -> bool:
    return any(toleration.tolerates(taint) for toleration in ask.tolerations)


def _taken(port: HostPort, node: Node) -> bool:
    return any(port.meets(used) for used in node.ports)


def _lacking(ask: Ask, node: Node) -> tuple[str, ...]:
    found: list[str] = []
    if len(node.pods) >= node.pods_max:
        found.append("Too many pods")
    for name, wanted in ask.requests.items():
        if wanted > node.allocatable.get(name, 0) - node.used.get(name, 0):
            found.append(f"Insufficient {name}")
    return tuple(found)


def _misplaced(node: Node, where: Domains) -> tuple[str, ...]:
    for key, values in where.near:
        value = node.labels.get(key)
        if value is None or (value not in values and not where.first_of_its_kind):
            return ("node(s) didn't match pod affinity rules",)
    if any(node.labels.get(key) in values for key, values in where.apart):
        return ("node(s) didn't match pod anti-affinity rules",)
    if any(node.labels.get(key) in values for key, values in where.kept_away):
        return ("node(s) didn't satisfy existing pods anti-affinity rules",)
    return ()
