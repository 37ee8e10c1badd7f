"""Which pods a DaemonSet lacks, which are too many, and which its rolling update replaces now. Pure.

Rules are those of Kubernetes' daemon controller (`pkg/controller/daemon`), but for nodes that are away: they get no
pod and lose none by an update, and are in no budget, until they are back (docs/decisions/0610). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.controllers.daemonset.model import DaemonPod, DaemonSet, Observed, Place
from skerry.frozen import Frozen


class Plan(Frozen):
    """What to do now."""

    create: tuple[str, ...] = ()
    """Names of nodes."""
    delete: tuple[DaemonPod, ...] = ()
    replace: tuple[DaemonPod, ...] = ()
    """Pods that are over, to be deleted so that another comes; who failed often waits first."""


def manage(owner: DaemonSet, observed: Observed) -> Plan:
    """One pod on each node that the set is for, whatever its revision, and none elsewhere."""
    create: list[str] = []
    delete = [pod for pod in observed.lost if not pod.leaving]
    replace: list[DaemonPod] = []
    for place in observed.places:
        if not place.verdict.stays:
            delete += [pod for pod in place.pods if not pod.leaving]
        elif not place.pods:
            if place.verdict.open:
                create.append(place.node.name)
        else:
            staying = [pod for pod in place.pods if not pod.leaving]
            replace += [pod for pod in staying if pod.is_over]
            running = sorted((pod for pod in staying if not pod.is_over), key=lambda pod: pod.age)
            delete += _too_many(owner, observed, place, running)
    return Plan(create=tuple(create), delete=tuple(delete), replace=tuple(replace))


def _too_many(
    owner: DaemonSet, observed: Observed, place: Place, running: Sequence[DaemonPod]
) -> Sequence[DaemonPod]:
    """All but the first; while surging, one of each revision may run until the new one is available."""
    if len(running) <= 1 or not owner.surges:
        return running[1:]
    new = [pod for pod in running if pod.hash == observed.hash]
    old = [pod for pod in running if pod.hash != observed.hash]
    spare = [*new[1:], *old[1:]]
    if new and old and (not old[0].ready or is_proven(owner, observed, place, new[0])):
        spare.append(old[0])
    return spare


def roll(owner: DaemonSet, observed: Observed) -> Plan:
    """The next step of a rolling update, as far as the budget allows. Judges what `manage` has left."""
    surge, unavailable = owner.budget(sum(place.verdict.open for place in observed.places))
    step = _Step(owner, observed)
    if surge:
        return step.surging(surge)
    return step.replacing(unavailable)


def is_proven(owner: DaemonSet, observed: Observed, place: Place, pod: DaemonPod) -> bool:
    """It was available while its node was heard."""
    return pod.is_available(owner.min_ready_s, place.heard_ms(observed.now_ms))


def suspects(owner: DaemonSet, observed: Observed) -> tuple[Place, ...]:
    """Nodes that went silent with a pod of the present revision that has not shown that it works, where these are
    more than those that have shown it: it may be the revision that silenced them, so they are in the budget."""
    proven = 0
    silent: list[Place] = []
    for place in observed.places:
        new = [pod for pod in place.pods if pod.hash == observed.hash and not pod.leaving]
        if any(is_proven(owner, observed, place, pod) for pod in new):
            proven += 1
        elif new and place.node.silent_since_ms is not None and any(pod.is_bound for pod in new):
            silent.append(place)
    return tuple(silent) if len(silent) > proven else ()


class _Pair(Frozen):
    """A node's pods while it is updated; at most one of each."""

    place: Place
    new: DaemonPod | None
    old: DaemonPod | None


class _Step:
    def __init__(self, owner: DaemonSet, observed: Observed) -> None:
        self._owner = owner
        self._observed = observed
        self._suspects = len(suspects(owner, observed))
        self._unclear = 0
        """Nodes that `manage` has to clear up first."""
        self._pairs: list[_Pair] = []
        for place in observed.places:
            if place.verdict.open:
                self._add(place)

    def _add(self, place: Place) -> None:
        staying = [pod for pod in place.pods if not pod.leaving]
        new = [pod for pod in staying if pod.hash == self._observed.hash]
        old = [pod for pod in staying if pod.hash != self._observed.hash]
        if len(new) > 1 or len(old) > 1:
            self._unclear += 1
        else:
            self._pairs.append(_Pair(place=place, new=new[0] if new else None, old=old[0] if old else None))

    def _works(self, pair: _Pair, pod: DaemonPod) -> bool:
        return is_proven(self._owner, self._observed, pair.place, pod)

    def replacing(self, unavailable_max: int) -> Plan:
        """Old pods that don't work go at once, others as far as enough stay available."""
        missing = self._unclear + self._suspects
        broken: list[DaemonPod] = []
        candidates: list[DaemonPod] = []
        for pair in self._pairs:
            if pair.old is None or pair.new is not None:
                # An old pod beside a new one is `manage`'s, and so is a node without any.
                missing += pair.new is None or pair.old is not None or not self._works(pair, pair.new)
            elif not self._works(pair, pair.old):
                broken.append(pair.old)
            else:
                candidates.append(pair.old)
        room = max(unavailable_max - missing, 0)
        if self._suspects >= unavailable_max:
            # The old pod of a node that has trouble of its own is no reason to give it what may be worse.
            broken = []
        return Plan(delete=(*broken, *candidates[:room]))

    def surging(self, surge_max: int) -> Plan:
        """New pods beside the old ones, which go when the new ones work."""
        surging = self._unclear + self._suspects
        done: list[DaemonPod] = []
        broken: list[str] = []
        candidates: list[str] = []
        for pair in self._pairs:
            if pair.old is None:
                continue
            if pair.new is not None:
                if self._works(pair, pair.new):
                    done.append(pair.old)
                else:
                    surging += 1
            elif not self._works(pair, pair.old):
                broken.append(pair.place.node.name)
            else:
                candidates.append(pair.place.node.name)
        room = max(surge_max - surging, 0)
        if self._suspects >= surge_max:
            broken = []
        return Plan(create=(*broken, *candidates[:room]), delete=tuple(done))
