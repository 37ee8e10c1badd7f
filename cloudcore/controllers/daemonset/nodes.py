"""Which nodes a DaemonSet is for, and which of them can take a pod now. Pure.

As Kubernetes' daemon controller (`NodeShouldRunDaemonPod`), with one difference: that a node isn't heard, or says
that it isn't ready, does not end its being meant. It only has to wait (docs/decisions/0610). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloudcore.controllers.node_state import is_heard
from skerry.frozen import Frozen
from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, bool_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import labels_of, name_of
from skerry.objects.select import LabelSelector, NodeSelector, map_selector, taken_node_selector
from skerry.objects.taints import NO_EXECUTE, Taint, Toleration, are_borne, taints_of, tolerations_of
from skerry.objects.times import ms_at

_NOT_READY: Final = "node.kubernetes.io/not-ready"
_UNREACHABLE: Final = "node.kubernetes.io/unreachable"
_SILENCE: Final = frozenset({_NOT_READY, _UNREACHABLE})
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_NO_SCHEDULE: Final = "NoSchedule"
_BORNE: Final = (
    (_NOT_READY, NO_EXECUTE),
    (_UNREACHABLE, NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", _NO_SCHEDULE),
)
_NETWORK: Final = ("node.kubernetes.io/network-unavailable", _NO_SCHEDULE)


class NodeFacts(Frozen):
    """What of a node matters here; nodes whose facts are equal are treated alike."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    """Those that keep pods away, and the one that is about to be set where the node isn't ready."""
    silent_since_ms: int | None
    """When it was noticed that nothing is heard of it; None: it is heard."""


def node_facts(node: JsonObject) -> NodeFacts:
    taints = tuple(each for each in taints_of(node) if each.effect in (_NO_SCHEDULE, NO_EXECUTE))
    ready = condition_of(node, "Ready") or {}
    status = str_at(ready, "status")
    implied = Taint(_NOT_READY if status in ("False", "") else _UNREACHABLE, "", _NO_SCHEDULE)
    if status != "True" and implied not in taints:
        taints = (*taints, implied)
    return NodeFacts(
        name=name_of(node),
        labels=labels_of(node),
        taints=taints,
        silent_since_ms=None if is_heard(node) else ms_at(str_at(ready, "lastTransitionTime")),
    )


class Verdict(Frozen, kw_only=False):
    """What a DaemonSet has to do with a node."""

    meant: bool
    """A pod of it should run there."""
    stays: bool
    """One that is there may stay."""
    open: bool
    """And it is heard, and takes one now. What is open is meant, and stays."""


class Aim(Frozen):
    """What a template says about nodes."""

    node_name: str
    selector: LabelSelector
    required: NodeSelector | None
    tolerations: tuple[Toleration, ...]

    def judge(self, node: NodeFacts) -> Verdict:
        if self.node_name not in ("", node.name):
            return Verdict(meant=False, stays=False, open=False)
        if not self.selector.matches(node.labels) or (
            self.required is not None and not self.required.matches(node.labels, node.name)
        ):
            return Verdict(meant=False, stays=False, open=False)
        lasting = [each for each in node.taints if each.key not in _SILENCE]
        stays = are_borne([each for each in lasting if each.effect == NO_EXECUTE], self.tolerations)
        is_open = node.silent_since_ms is None and are_borne(node.taints, self.tolerations)
        return Verdict(meant=are_borne(lasting, self.tolerations), stays=stays, open=is_open)


def aim_of(template: JsonObject) -> Aim:
    spec = map_at(template, "spec")
    required = map_at(spec, "affinity", "nodeAffinity", _REQUIRED)
    return Aim(
        node_name=str_at(spec, "nodeName"),
        selector=map_selector(str_map_at(spec, "nodeSelector")),
        required=taken_node_selector(required) if required else None,
        tolerations=tolerations_of({"spec": {"tolerations": _tolerations(spec)}}),
    )


def aimed_spec(spec: JsonObject, node: str) -> JsonObject:
    """A pod's spec, for that node alone: the scheduler binds it there, and looks whether there is room."""
    term: JsonObject = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = map_at(spec, "affinity")
    by_node: JsonObject = {**map_at(affinity, "nodeAffinity"), _REQUIRED: {"nodeSelectorTerms": [term]}}
    return {**spec, "affinity": {**affinity, "nodeAffinity": by_node}, "tolerations": _tolerations(spec)}


def node_of(pod: JsonObject) -> str:
    """Where the pod is, or is to go; "" when it says nothing of a node."""
    bound = str_at(pod, "spec", "nodeName")
    if bound:
        return bound
    required = map_at(pod, "spec", "affinity", "nodeAffinity", _REQUIRED)
    for term in maps_at(required, "nodeSelectorTerms"):
        for field in maps_at(term, "matchFields"):
            names = strs_at(field, "values")
            if str_at(field, "key") == "metadata.name" and str_at(field, "operator") == "In" and len(names) == 1:
                return names[0]
    return ""


def _tolerations(spec: JsonObject) -> list[Json]:
    """The template's, and those that each daemon's pod has: trouble of a node is no reason to be without it."""
    added = (*_BORNE, _NETWORK) if bool_at(spec, "hostNetwork") else _BORNE
    said = maps_at(spec, "tolerations")
    return [*said, *(_bearing(key, effect) for key, effect in added if not _has(said, key, effect))]


def _bearing(key: str, effect: str) -> JsonObject:
    return {"key": key, "operator": "Exists", "effect": effect}


def _has(tolerations: Sequence[JsonObject], key: str, effect: str) -> bool:
    return _bearing(key, effect) in tolerations
