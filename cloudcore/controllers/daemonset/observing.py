"""What there is of a DaemonSet: all nodes, and its pods, each read once for each of its states.

Keeps what it has read, some hundred bytes of each node and pod: where one link of ten thousand comes or goes, the
others would have to be parsed again. A crash loses it, and all are read anew.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

from cloudcore.controllers.daemonset.model import DaemonPod, DaemonSet, Observed, Place, daemon_pod
from cloudcore.controllers.daemonset.nodes import NodeFacts, aim_of, node_facts
from cloudcore.controllers.ownership import selector_of
from cloudcore.runtime.informer import BY_OWNER
from cloudcore.runtime.manager import Tools
from cloudcore.store.port import Stored
from skerry.objects.meta import Key, Revision, controller_of, labels_of, uid_of
from skerry.objects.select import LabelSelector

_AT_A_TIME: Final = 250
"""Nodes looked at before others of the process have their turn."""


class Observer:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._cache = tools.cache
        self._clock = tools.clock
        self._nodes: dict[str, tuple[Revision, NodeFacts]] = {}
        self._pods: dict[Key, dict[Key, tuple[Revision, DaemonPod | None]]] = {}
        """By set; None for a pod that is not the set's own."""

    def forget(self, owner: Key) -> None:
        """The set is gone."""
        self._pods.pop(owner, None)

    async def observe(self, key: Key, owner: DaemonSet, hash_: str) -> Observed:
        """What there is now, as far as `hash_`, that of the present revision, is concerned."""
        pods: defaultdict[str, list[DaemonPod]] = defaultdict(list)
        for pod in self._own(key, owner):
            if not (pod.is_over and pod.leaving):
                pods[pod.node].append(pod)
        aim = aim_of(owner.template)
        places: list[Place] = []
        stored = self._cache.select("nodes")
        for number, each in enumerate(stored):
            facts = self._facts(each)
            places.append(Place(node=facts, verdict=aim.judge(facts), pods=tuple(pods.pop(facts.name, ()))))
            if number % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)
        if len(self._nodes) > 2 * len(stored):
            self._nodes = {
                each.key.name: self._nodes[each.key.name] for each in stored if each.key.name in self._nodes
            }
        # Of nodes that are gone: what was never bound goes with them; what was, is for who looks after lost pods.
        lost = [pod for found in pods.values() for pod in found if not pod.is_bound]
        return Observed(hash=hash_, places=places, lost=lost, now_ms=self._clock.wall_ms())

    def _facts(self, stored: Stored) -> NodeFacts:
        held = self._nodes.get(stored.key.name)
        if held is None or held[0] != stored.revision:
            held = self._nodes[stored.key.name] = (stored.revision, node_facts(self._cache.obj(stored)))
        return held[1]

    def _own(self, key: Key, owner: DaemonSet) -> list[DaemonPod]:
        before = self._pods.get(key, {})
        now: dict[Key, tuple[Revision, DaemonPod | None]] = {}
        uid, selector = uid_of(owner.obj), selector_of(owner.obj)
        for stored in self._cache.indexed(BY_OWNER, uid):
            if stored.key.resource == "pods":
                held = before.get(stored.key)
                if held is None or held[0] != stored.revision:
                    held = (stored.revision, self._read(stored, uid, selector))
                now[stored.key] = held
        self._pods[key] = now
        return [pod for _, pod in now.values() if pod is not None]

    def _read(self, stored: Stored, owner: str, selector: LabelSelector) -> DaemonPod | None:
        obj = self._cache.obj(stored)
        controller = controller_of(obj)
        is_own = controller is not None and controller.uid == owner and selector.matches(labels_of(obj))
        return daemon_pod(stored.key, obj) if is_own else None
