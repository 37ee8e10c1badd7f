"""A DaemonSet and what there is of it, as the plan sees them: parsed and immutable. Pure; keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.controllers.daemonset.nodes import NodeFacts, Verdict, aimed_spec, node_of
from cloudcore.controllers.history.revisions import HASH
from cloudcore.controllers.pod_state import ready_since_ms
from cloudcore.controllers.pod_templates import templated_pod
from cloudcore.controllers.portions import portion
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, dig, int_at, map_at, str_at
from skerry.objects.meta import Key, being_deleted, generation_of, labels_of, name_of, uid_of
from skerry.objects.pods import is_ready
from skerry.objects.times import ms_at


class DaemonSet(Frozen):
    """What the set asks for."""

    obj: JsonObject
    name: str
    template: JsonObject
    min_ready_s: int
    on_delete: bool
    unavailable: Json
    surge: Json
    history_limit: int
    collisions: int
    generation: int
    leaving: bool

    @property
    def surges(self) -> bool:
        """A node may have a pod of the old revision and one of the new for a while."""
        return not self.on_delete and portion(self.surge, 100, round_up=True) > 0

    def budget(self, nodes: int) -> tuple[int, int]:
        """How many may surge, and how many be unavailable, of so many nodes; both 0 would never move."""
        surge = portion(self.surge, nodes, round_up=True)
        unavailable = portion(self.unavailable, nodes, round_up=True)
        return (surge, unavailable) if surge or unavailable else (0, 1)


def daemon_set(obj: JsonObject) -> DaemonSet:
    rolling = map_at(obj, "spec", "updateStrategy", "rollingUpdate")
    unavailable, surge = dig(rolling, "maxUnavailable"), dig(rolling, "maxSurge")
    return DaemonSet(
        obj=obj,
        name=name_of(obj),
        template=map_at(obj, "spec", "template"),
        min_ready_s=int_at(obj, "spec", "minReadySeconds"),
        on_delete=str_at(obj, "spec", "updateStrategy", "type") == "OnDelete",
        unavailable=1 if unavailable is None else unavailable,
        surge=0 if surge is None else surge,
        history_limit=int_at(obj, "spec", "revisionHistoryLimit", default=10),
        collisions=int_at(obj, "status", "collisionCount"),
        generation=generation_of(obj),
        leaving=being_deleted(obj),
    )


class DaemonPod(Frozen):
    """One pod of the set."""

    key: Key
    uid: str
    node: str
    """Where it is, or is to go."""
    is_bound: bool
    hash: str
    phase: str
    leaving: bool
    ready: bool
    ready_ms: int
    """Since when it is ready; of no meaning while it isn't."""
    created_ms: int

    @property
    def reference(self) -> JsonObject:
        """Enough of it to delete it, and to say so."""
        return {"metadata": {"namespace": self.key.namespace, "name": self.key.name, "uid": self.uid}}

    @property
    def is_over(self) -> bool:
        return self.phase in ("Failed", "Succeeded")

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts those first that would be kept: bound ones, then the oldest."""
        return (0 if self.is_bound else 1, self.created_ms, self.key.name)

    def is_available(self, min_ready_s: int, now_ms: int) -> bool:
        """Without `minReadySeconds` no clock is asked: the gateway's may be ahead of ours."""
        return self.ready and (min_ready_s == 0 or self.ready_ms + min_ready_s * 1000 <= now_ms)


def daemon_pod(key: Key, obj: JsonObject) -> DaemonPod:
    return DaemonPod(
        key=key,
        uid=uid_of(obj),
        node=node_of(obj),
        is_bound=bool(str_at(obj, "spec", "nodeName")),
        hash=labels_of(obj).get(HASH, ""),
        phase=str_at(obj, "status", "phase"),
        leaving=being_deleted(obj),
        ready=is_ready(obj),
        ready_ms=ready_since_ms(obj),
        created_ms=ms_at(str_at(obj, "metadata", "creationTimestamp")),
    )


class Place(Frozen):
    """One node, with the set's pods there."""

    node: NodeFacts
    verdict: Verdict
    pods: tuple[DaemonPod, ...]

    def heard_ms(self, now_ms: int) -> int:
        """Until when what is known of it can count: what a silent node's pod has done since, nobody knows."""
        silent_ms = self.node.silent_since_ms
        return now_ms if silent_ms is None else min(silent_ms, now_ms)


class Observed(Frozen):
    """What a plan is made of."""

    hash: str
    """Of the present revision."""
    places: Sequence[Place]
    lost: Sequence[DaemonPod]
    """Pods that are to go to a node which isn't there."""
    now_ms: int


def new_pod(owner: DaemonSet, node: str, hash_: str) -> JsonObject:
    """The set's pod for a node, as sent to the API."""
    pod = templated_pod(owner.obj, owner.template)
    metadata = map_at(pod, "metadata")
    labels: JsonObject = {**map_at(metadata, "labels"), HASH: hash_}
    spec = aimed_spec(map_at(pod, "spec"), node)
    return {**pod, "metadata": {**metadata, "labels": labels}, "spec": spec}
