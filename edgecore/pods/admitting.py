"""Whether a pod that is new to the gateway may begin here: a kubelet's own look at what the scheduler decided. Pure.

Whoever writes `nodeName` asks no scheduler, and a scheduler that has not heard of what still runs counts wrongly.
(Kubernetes `pkg/kubelet/lifecycle/predicate.go`: its order, reasons and words; a taint of NoExecute keeps pods from
coming as it sends away those that are there.)
Static pods and critical ones are admitted whatever is left: nobody would start them elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgecore.pods.containers import wanted_of
from edgecore.pods.eviction import is_critical, is_static
from edgecore.pods.resizing import amount, request_of
from edgecore.pods.status import Ending
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, map_at, str_at, str_map_at
from skerry.objects.meta import labels_of
from skerry.objects.select import node_selector
from skerry.objects.taints import Taint, are_borne, tolerations_of

_HUGE: Final = "hugepages-"
_SYSTEM: Final = "linux"
_SYSTEM_LABEL: Final = "kubernetes.io/os"
COUNTED: Final = ("pods", "cpu", "memory", "ephemeral-storage")
"""What pods hold of a gateway, in the order in which it is looked at."""
REJECTED: Final = "Pod was rejected: "
"""How the message of a refused pod's status begins."""


class Gateway(Frozen):
    """What the gateway is for a pod that comes."""

    name: str
    labels: Mapping[str, str] | None
    """None: its Node is not known here, and who placed the pod there is believed."""
    allocatable: Mapping[str, str]
    """Quantities by resource; what it does not name is not counted."""
    used: Mapping[str, int]
    """By its other pods: thousandths of CPUs, bytes, and how many they are."""
    taints: tuple[Taint, ...] = ()
    """Those of the effect NoExecute."""


def needs_of(pod: JsonObject) -> dict[str, int]:
    """What a pod holds of `COUNTED`, and of huge pages."""
    asked = {name for one in wanted_of(pod) for name in map_at(one.spec, "resources", "requests")}
    names = (*COUNTED, *sorted(name for name in asked if name.startswith(_HUGE)))
    return {name: 1 if name == "pods" else request_of(pod, name) for name in names}


def refused(reason: str, message: str) -> Ending:
    """How a pod ends that may not begin."""
    return Ending(reason=reason, message=REJECTED + message, refused=True)


def not_admitted(pod: JsonObject, gateway: Gateway) -> Ending | None:
    """Why it may not begin here, in a kubelet's words; None where it may."""
    if labels_of(pod).get(_SYSTEM_LABEL, _SYSTEM) != _SYSTEM:
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return refused("PodOSSelectorNodeLabelDoesNotMatch", text)
    if str_at(pod, "spec", "os", "name", default=_SYSTEM) != _SYSTEM:
        return refused("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if not is_critical(pod):
        for name, needed in needs_of(pod).items():
            held, capacity = gateway.used.get(name, 0), amount(gateway.allocatable, name)
            is_counted = name in gateway.allocatable or name.startswith(_HUGE)
            if needed and is_counted and held + needed > capacity:
                text = f"{name}, requested: {needed}, used: {held}, capacity: {capacity}"
                return refused(f"OutOf{name}", f"Node didn't have enough resource: {text}")
    if gateway.labels is not None and not _selects(pod, gateway.labels, gateway.name):
        why = "node(s) didn't match Pod's node affinity/selector"
        return refused("NodeAffinity", f"Predicate NodeAffinity failed: {why}")
    if not is_static(pod) and not are_borne(gateway.taints, tolerations_of(pod)):
        why = "node(s) had taints that the pod didn't tolerate"
        return refused("TaintToleration", f"Predicate TaintToleration failed: {why}")
    return None


def _selects(pod: JsonObject, labels: Mapping[str, str], name: str) -> bool:
    if any(labels.get(key) != value for key, value in str_map_at(pod, "spec", "nodeSelector").items()):
        return False
    required = map_at(pod, "spec", "affinity", "nodeAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    return not isinstance(required, dict) or node_selector(required).matches(labels, name)
