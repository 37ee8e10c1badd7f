"""What a StatefulSet does next: which pods to make, to end, and to wait for. Pure.

Order and rules are those of Kubernetes' StatefulSet controller (`stateful_set_control.go`): up in order of ordinals,
down and through updates in the reverse order, at most one pod for each ordinal. It goes further in one thing: a pod
that waits for ever with a revision that nobody wants any more is replaced (docs/decisions/0611). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from cloudcore.controllers.statefulset.model import StatefulPod, StatefulSet
from skerry.frozen import Frozen

BURST_MAX: Final = 500
"""Pods made in one pass, as of a ReplicaSet; the next pass goes on."""


class Observed(Frozen):
    """What there is."""

    pods: Sequence[StatefulPod]
    current: str
    """Name of the revision that the pods had before the update."""
    update: str
    """Name of the newest revision."""
    stale: Collection[int]
    """Of the ordinals whose turn it is (`turns`), those whose claims go with an earlier pod, and have to be gone
    before there is another."""
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


class Turns(Frozen):
    """The ordinals without a pod whose turn it is to get one."""

    create: Sequence[int] = ()
    stale: Collection[int] = ()


def turns(owner: StatefulSet, there: Collection[int], is_stale: Callable[[int], bool]) -> Turns:
    """Whose turn it is, beside the pods that are there: the first that lacks one where they come one by one, else as
    many as are made in a pass. Nobody is asked about more of them: a set may want two thousand millions."""
    create: list[int] = []
    stale: list[int] = []
    for ordinal in _lacking(owner, there):
        (stale if is_stale(ordinal) else create).append(ordinal)
        if owner.ordered or len(create) == BURST_MAX:
            break
    return Turns(create=create, stale=stale)


def _lacking(owner: StatefulSet, there: Collection[int]) -> Iterator[int]:
    return (ordinal for ordinal in owner.ordinals if ordinal not in there)


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
        if self._owner.ordered:
            return all(self._one(ordinal) for ordinal in self._owner.ordinals)
        for pod in self._replicas.values():
            self._replica(pod)
        found = turns(self._owner, self._replicas.keys(), lambda ordinal: ordinal in self._observed.stale)
        self._create.extend(found.create)
        self._waits = bool(found.stale)
        return True

    def _one(self, ordinal: int) -> bool:
        """True when there is a pod of the ordinal, which is as it should be."""
        pod = self._replicas.get(ordinal)
        if pod is not None:
            return self._replica(pod)
        if ordinal in self._observed.stale:
            self._waits = True
        else:
            self._create.append(ordinal)
        return False

    def _replica(self, pod: StatefulPod) -> bool:
        """True when it is as it should be."""
        if pod.is_over:
            if not pod.leaving:
                self._restart.append(pod)
            return False
        if pod.phase == "Pending":
            self._claims.append(pod.ordinal)
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
        """From the last ordinal down to the partition, no more at a time than may be unavailable. An old pod that
        does not work is one of those already: its end takes no room from one that works."""
        owner, observed = self._owner, self._observed
        going = {pod.ordinal for pod in self._delete}
        staying = [
            pod for pod in self._replicas.values() if not pod.leaving and not pod.is_over and pod.ordinal not in going
        ]
        works = {pod.ordinal for pod in staying if self._is_available(pod)}
        old = [pod for pod in staying if pod.revision != observed.update]
        broken = {pod.ordinal for pod in old} - works
        room = owner.unavailable_max - (owner.replicas - len(works))
        moves = room + len(broken)
        for pod in sorted(old, key=lambda pod: -pod.ordinal):
            is_broken = pod.ordinal in broken
            if moves <= 0 or not owner.is_updated_at(pod.ordinal):
                return
            if room <= 0 and not is_broken:
                continue
            if pod.node in observed.silent:
                self._away.append(pod)
                if owner.ordered:
                    return
                continue
            self._delete.append(pod)
            moves -= 1
            if not is_broken:
                room -= 1
