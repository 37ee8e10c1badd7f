"""What a StatefulSet does next: which pods to make, to end, and to wait for. Pure.

Order and rules are those of Kubernetes' StatefulSet controller (`stateful_set_control.go`): up in order of ordinals,
down and through updates in the reverse order, at most one pod for each ordinal. It goes further in one thing: a pod
that waits for ever with a revision that nobody wants any more is replaced (docs/decisions/0611). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cloudcore.controllers.statefulset.model import StatefulPod, StatefulSet
from skerry.frozen import Frozen


class Observed(Frozen):
    """What there is."""

    pods: Sequence[StatefulPod]
    current: str
    """Name of the revision that the pods had before the update."""
    update: str
    """Name of the newest revision."""
    stale: Collection[int]
    """Ordinals whose claims go with an earlier pod, and have to be gone before there is another."""
    silent: Collection[str]
    """Nodes of which nothing is heard: an update deletes nothing there, and waits."""
    now_ms: int


class Plan(Frozen):
    """What to do now, each in its order."""

    create: tuple[int, ...] = ()
    """Ordinals."""
    delete: tuple[StatefulPod, ...] = ()
    restart: tuple[StatefulPod, ...] = ()
    """Those that have run to an end, to be deleted so that another comes."""
    correct: tuple[StatefulPod, ...] = ()
    """Those that lost the labels of their ordinal."""
    claims: tuple[int, ...] = ()
    """Ordinals whose pods may wait for a claim that somebody deleted."""
    condemned: tuple[StatefulPod, ...] = ()
    """Those outside the range, who are to go when it is their turn."""
    waits: bool = False
    """For claims, of which no news comes."""
    away: tuple[StatefulPod, ...] = ()
    """Those whose turn to be updated it is, on nodes that are silent."""


def plan(owner: StatefulSet, observed: Observed) -> Plan:
    """One step of a set whose pods come one by one; all that can be done at once of one whose pods don't."""
    assert not owner.leaving, "what is left of a set that goes is not its controller's"
    step = _Step(owner, observed)
    if step.grow() and step.shrink() and not owner.on_delete:
        step.update()
    return step.result()


class _Step:
    def __init__(self, owner: StatefulSet, observed: Observed) -> None:
        self._owner = owner
        self._observed = observed
        self._replicas: Mapping[int, StatefulPod] = {
            pod.ordinal: pod for pod in observed.pods if pod.ordinal in owner.ordinals
        }
        outside = [pod for pod in observed.pods if pod.ordinal not in owner.ordinals]
        self._condemned = sorted(outside, key=lambda pod: -pod.ordinal)
        self._create: list[int] = []
        self._delete: list[StatefulPod] = []
        self._restart: list[StatefulPod] = []
        self._correct: list[StatefulPod] = []
        self._claims: list[int] = []
        self._away: list[StatefulPod] = []
        self._waits = False

    def result(self) -> Plan:
        return Plan(
            create=tuple(self._create),
            delete=tuple(self._delete),
            restart=tuple(self._restart),
            correct=tuple(self._correct),
            claims=tuple(self._claims),
            condemned=tuple(self._condemned),
            waits=self._waits,
            away=tuple(self._away),
        )

    def _is_available(self, pod: StatefulPod) -> bool:
        return pod.ready and pod.is_available(self._owner.min_ready_s, self._observed.now_ms)

    def grow(self) -> bool:
        """From the first ordinal on. False: nothing else may be done before this has come about."""
        return all(self._replica(ordinal) or not self._owner.ordered for ordinal in self._owner.ordinals)

    def _replica(self, ordinal: int) -> bool:
        """True when the pod of the ordinal is as it should be."""
        pod = self._replicas.get(ordinal)
        if pod is None:
            if ordinal in self._observed.stale:
                self._waits = True
            else:
                self._create.append(ordinal)
            return False
        if pod.is_over:
            if not pod.leaving:
                self._restart.append(pod)
            return False
        if pod.phase == "Pending":
            self._claims.append(ordinal)
        if not pod.is_itself:
            self._correct.append(pod)
        if self._is_stuck(pod):
            (self._away if pod.node in self._observed.silent else self._delete).append(pod)
            return False
        return not pod.leaving and self._is_available(pod)

    def _is_stuck(self, pod: StatefulPod) -> bool:
        """It doesn't work, and what it is of is not wanted there any more: neither the newest revision, nor, once it
        has run, the one before. Waiting for it could last for ever."""
        if self._owner.on_delete or pod.ready or pod.leaving or not self._owner.is_updated_at(pod.ordinal):
            return False
        wanted = {self._observed.update}
        if pod.phase != "Pending":
            wanted.add(self._observed.current)
        return pod.revision not in wanted

    def shrink(self) -> bool:
        """From the last ordinal down. False: these have to be gone first."""
        broken = [pod for pod in self._condemned if not pod.ready or pod.leaving]
        first_broken = broken[-1] if broken else None
        for pod in self._condemned:
            if pod.leaving:
                if self._owner.ordered:
                    return False
                continue
            may_recover = not pod.is_over and not self._is_available(pod)
            if self._owner.ordered and may_recover and pod is not first_broken:
                return False
            self._delete.append(pod)
            if self._owner.ordered:
                return False
        return True

    def update(self) -> None:
        """From the last ordinal down to the partition, no more at a time than may be unavailable."""
        going = {pod.ordinal for pod in self._delete}
        missing = sum(
            pod is None or pod.leaving or pod.is_over or pod.ordinal in going or not self._is_available(pod)
            for pod in (self._replicas.get(ordinal) for ordinal in self._owner.ordinals)
        )
        room = self._owner.unavailable_max - missing
        for ordinal in reversed(self._owner.ordinals):
            pod = self._replicas.get(ordinal)
            if room <= 0 or not self._owner.is_updated_at(ordinal):
                return
            if (
                pod is not None
                and pod.revision != self._observed.update
                and not pod.leaving
                and not pod.is_over
                and ordinal not in going
            ):
                if pod.node not in self._observed.silent:
                    self._delete.append(pod)
                    room -= 1
                    continue
                self._away.append(pod)
                if self._owner.ordered:
                    return
