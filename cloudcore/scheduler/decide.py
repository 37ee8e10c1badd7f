"""Where one pod goes, or why it can't go anywhere yet. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from cloudcore.scheduler.ask import Ask
from cloudcore.scheduler.cluster import Cluster, Node
from cloudcore.scheduler.filters import NOT_MEANT, Domains, domains, faults
from cloudcore.scheduler.scores import best
from cloudcore.scheduler.volumes import NO_NEEDS, USED_ALONE, Assignment, VolumeNeeds, assigned
from skerry.frozen import Frozen

FITTING_ENOUGH: Final = 100
"""Nodes that fit before looking stops: in a large fleet a good node is good enough, as in Kubernetes."""


class Decision(Frozen):
    """`node` is "" when there is none now; then `message` says why, in Kubernetes' words."""

    node: str
    message: str
    looked_at: int
    """How many nodes were judged: where the next decision should begin."""
    volumes: tuple[Assignment, ...] = ()
    """What its claims that have no volume yet get on that node."""


def decide(ask: Ask, cluster: Cluster, *, start: int = 0, needs: VolumeNeeds = NO_NEEDS) -> Decision:
    """Look at the nodes from `start` on, round the list once at most."""
    nodes = cluster.nodes()
    if not nodes:
        return Decision(node="", message="no nodes available to schedule pods", looked_at=0)
    why = needs.refusal or _used_alone(ask, cluster, needs)
    if why:
        return Decision(node="", message=f"0/{len(nodes)} nodes are available: {why}.", looked_at=0)
    where = domains(ask, cluster)
    names = None if ask.required is None else ask.required.names()
    if names is not None:
        return _among(ask, cluster, names, where, needs)
    fitting: list[Node] = []
    refusals: list[tuple[str, ...]] = []
    looked_at = 0
    for index in range(len(nodes)):
        node = nodes[(start + index) % len(nodes)]
        looked_at += 1
        against = faults(ask, node, where, needs)
        if against:
            refusals.append(against)
            continue
        fitting.append(node)
        if len(fitting) >= FITTING_ENOUGH:
            break
    if fitting:
        chosen = best(ask, fitting, cluster)
        given = assigned(needs, chosen) or ()
        return Decision(node=chosen.name, message="", looked_at=looked_at, volumes=given)
    return Decision(node="", message=_explained(len(nodes), refusals), looked_at=looked_at)


def _among(ask: Ask, cluster: Cluster, names: frozenset[str], where: Domains, needs: VolumeNeeds) -> Decision:
    """Of a pod that names its nodes, as a DaemonSet's does: only these are looked at, however many there are."""
    named = [node for node in map(cluster.node, sorted(names)) if node is not None]
    refusals = {node.name: faults(ask, node, where, needs) for node in named}
    fitting = [node for node in named if not refusals[node.name]]
    if fitting:
        chosen = best(ask, fitting, cluster)
        return Decision(node=chosen.name, message="", looked_at=0, volumes=assigned(needs, chosen) or ())
    count = len(cluster.nodes())
    others: list[tuple[str, ...]] = [(NOT_MEANT,)] * (count - len(named))
    return Decision(node="", message=_explained(count, [*refusals.values(), *others]), looked_at=0)


def _used_alone(ask: Ask, cluster: Cluster, needs: VolumeNeeds) -> str:
    """A claim that one pod may use is used by another."""
    if needs.alone:
        for other, _ in cluster.placed():
            if other.key.namespace == ask.key.namespace and any(held.name in needs.alone for held in other.claims):
                return USED_ALONE
    return ""


def _explained(count: int, refusals: list[tuple[str, ...]]) -> str:
    """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`"""
    reasons = Counter(reason for against in refusals for reason in against)
    parts = sorted(f"{number} {reason}" for reason, number in reasons.items())
    return f"0/{count} nodes are available: {', '.join(parts)}."
