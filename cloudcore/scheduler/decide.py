"""Where one pod goes, or why it can't go anywhere yet. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from cloudcore.scheduler.ask import Ask
from cloudcore.scheduler.cluster import Cluster, Node
from cloudcore.scheduler.filters import domains, faults
from cloudcore.scheduler.scores import best
from skerry.frozen import Frozen

FITTING_ENOUGH: Final = 100
"""Nodes that fit before looking stops: in a large fleet a good node is good enough, as in Kubernetes."""


class Decision(Frozen):
    """`node` is "" when there is none now; then `message` says why, in Kubernetes' words."""

    node: str
    message: str
    looked_at: int
    """How many nodes were judged: where the next decision should begin."""


def decide(ask: Ask, cluster: Cluster, *, start: int = 0) -> Decision:
    """Look at the nodes from `start` on, round the list once at most."""
    nodes = cluster.nodes()
    if not nodes:
        return Decision(node="", message="no nodes available to schedule pods", looked_at=0)
    where = domains(ask, cluster)
    fitting: list[Node] = []
    refusals: list[tuple[str, ...]] = []
    looked_at = 0
    for index in range(len(nodes)):
        node = nodes[(start + index) % len(nodes)]
        looked_at += 1
        against = faults(ask, node, where)
        if against:
            refusals.append(against)
            continue
        fitting.append(node)
        if len(fitting) >= FITTING_ENOUGH:
            break
    if fitting:
        return Decision(node=best(ask, fitting, cluster).name, message="", looked_at=looked_at)
    return Decision(node="", message=_explained(len(nodes), refusals), looked_at=looked_at)


def _explained(count: int, refusals: list[tuple[str, ...]]) -> str:
    """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`"""
    reasons = Counter(reason for against in refusals for reason in against)
    parts = sorted(f"{number} {reason}" for reason, number in reasons.items())
    return f"0/{count} nodes are available: {', '.join(parts)}."
