"""What a pod asks of a node, parsed once. Pure.

Amounts are whole numbers: cpu in thousandths, everything else in units, both rounded up (Kubernetes "Resource
units").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import Key, controller_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.pods import HostPort, host_ports_of
from skerry.objects.quantity import canonical, parse_quantity
from skerry.objects.select import (
    LabelSelector,
    NodeSelector,
    NodeTerm,
    label_selector,
    map_selector,
    taken_node_selector,
    taken_node_term,
)
from skerry.objects.taints import Toleration, tolerations_of
from skerry.objects.volumes import PodClaim, pod_claims

CPU_LEAST_MILLIS: Final = 100
MEMORY_LEAST: Final = 200 * 1024 * 1024
"""What a container that asks for nothing is taken to use when nodes are compared (not when they are filtered)."""


class AffinityTerm(Frozen, kw_only=False):
    """core/v1 PodAffinityTerm, with the pod's own namespace filled in where it names none."""

    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    topology_key: str

    def meets(self, namespace: str, namespace_labels: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """Is a pod of that namespace with those labels one of those meant?"""
        if namespace not in self.namespaces:
            by_labels = self.namespace_selector
            if by_labels is None or not by_labels.matches(namespace_labels):
                return False
        return self.selector.matches(labels)


class Weighted(Frozen, kw_only=False):
    """A wish among pods: negative weights push apart."""

    weight: int
    term: AffinityTerm


class Ask(Frozen):
    """A pod as the scheduler sees it."""

    key: Key
    uid: str
    labels: Mapping[str, str]
    priority: int
    owner_uid: str
    """Of its controller, whose pods are spread out; "" for none."""
    requests: Mapping[str, int]
    """By resource name; 0 is left out."""
    scored_cpu: int
    scored_memory: int
    ports: frozenset[HostPort]
    tolerations: tuple[Toleration, ...]
    selector: LabelSelector
    required: NodeSelector | None
    preferred: tuple[tuple[int, NodeTerm], ...]
    near: tuple[AffinityTerm, ...]
    """Required pod affinity."""
    apart: tuple[AffinityTerm, ...]
    """Required pod anti-affinity."""
    wishes: tuple[Weighted, ...]
    gated: bool
    """A scheduling gate still holds it."""
    claims: tuple[PodClaim, ...] = ()
    """What its volumes need to have found on the node."""

    @property
    def plain(self) -> bool:
        """Asks nothing about other pods."""
        return not self.near and not self.apart and not self.wishes


def ask_of(pod: JsonObject) -> Ask:
    """Raises `BadRequestError` or `InvalidError` for a pod that bypassed validation."""
    affinity = map_at(pod, "spec", "affinity")
    wanted = "requiredDuringSchedulingIgnoredDuringExecution"
    wished = "preferredDuringSchedulingIgnoredDuringExecution"
    node = map_at(affinity, "nodeAffinity")
    namespace = namespace_of(pod)
    owner = controller_of(pod)
    requests = requests_of(pod)
    cpu, memory = _scored(pod)
    return Ask(
        key=Key("pods", namespace, name_of(pod)),
        uid=uid_of(pod),
        labels=labels_of(pod),
        priority=int_at(pod, "spec", "priority"),
        owner_uid="" if owner is None else owner.uid,
        requests=requests,
        scored_cpu=cpu,
        scored_memory=memory,
        ports=host_ports_of(pod),
        tolerations=tolerations_of(pod),
        selector=map_selector(str_map_at(pod, "spec", "nodeSelector")),
        required=taken_node_selector(map_at(node, wanted)) if map_at(node, wanted) else None,
        preferred=tuple(
            (int_at(found, "weight"), taken_node_term(map_at(found, "preference"))) for found in maps_at(node, wished)
        ),
        near=_terms(maps_at(affinity, "podAffinity", wanted), namespace),
        apart=_terms(maps_at(affinity, "podAntiAffinity", wanted), namespace),
        wishes=(
            *_wishes(maps_at(affinity, "podAffinity", wished), namespace, 1),
            *_wishes(maps_at(affinity, "podAntiAffinity", wished), namespace, -1),
        ),
        gated=bool(maps_at(pod, "spec", "schedulingGates")),
        claims=tuple(pod_claims(pod)),
    )


def amount(name: str, text: str) -> int:
    """A quantity of a resource in the scheduler's whole numbers."""
    quantity = parse_quantity(text)
    return quantity.millis if name == "cpu" else quantity.units


def amounts(quantities: JsonObject) -> dict[str, int]:
    """core/v1 ResourceList; quantities may be plain numbers."""
    return {
        name: amount(name, canonical(value))
        for name, value in quantities.items()
        if isinstance(value, str | int | float)
    }


def requests_of(pod: JsonObject) -> dict[str, int]:
    """Containers together, or one init container where that needs more; sidecars count with what runs beside them."""
    total: dict[str, int] = {}
    held = _Held.of(pod)
    for container in maps_at(pod, "spec", "containers"):
        _add(total, held.requests(container))
    sidecars: dict[str, int] = {}
    most: dict[str, int] = {}
    for container in maps_at(pod, "spec", "initContainers"):
        own = held.requests(container)
        if str_at(container, "restartPolicy") == "Always":
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        most = {name: max(own.get(name, 0), most.get(name, 0)) for name in own.keys() | most.keys()}
    _add(total, sidecars)
    total = {name: max(total.get(name, 0), most.get(name, 0)) for name in total.keys() | most.keys()}
    _add(total, amounts(map_at(pod, "spec", "overhead")))
    return {name: value for name, value in total.items() if value}


class _Held(Frozen):
    """What a pod that is resized counts as: what its gateway gave it as long as that is more, and as long as what it
    asks for can't be given (KEP-1287)."""

    allocated: Mapping[str, Mapping[str, int]]
    """By container."""
    is_refused: bool

    @classmethod
    def of(cls, pod: JsonObject) -> _Held:
        told = [*maps_at(pod, "status", "containerStatuses"), *maps_at(pod, "status", "initContainerStatuses")]
        pending = find_condition(maps_at(pod, "status", "conditions"), "PodResizePending") if told else None
        return cls(
            allocated={
                str_at(each, "name"): amounts(map_at(each, "allocatedResources"))
                for each in told
                if each.get("allocatedResources")
            },
            is_refused=pending is not None and str_at(pending, "reason") == "Infeasible",
        )

    def requests(self, container: JsonObject) -> dict[str, int]:
        asked = amounts(map_at(container, "resources", "requests"))
        held = self.allocated.get(str_at(container, "name"))
        if held is None:
            return asked
        if self.is_refused:
            return {**asked, **held}
        return asked | {name: max(amount, asked.get(name, 0)) for name, amount in held.items()}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _scored(pod: JsonObject) -> tuple[int, int]:
    cpu = memory = 0
    for container in maps_at(pod, "spec", "containers"):
        own = amounts(map_at(container, "resources", "requests"))
        cpu += own.get("cpu", CPU_LEAST_MILLIS)
        memory += own.get("memory", MEMORY_LEAST)
    return cpu, memory


def _terms(terms: list[JsonObject], namespace: str) -> tuple[AffinityTerm, ...]:
    return tuple(_term(term, namespace) for term in terms)


def _term(term: JsonObject, namespace: str) -> AffinityTerm:
    names = frozenset(strs_at(term, "namespaces"))
    by_labels = term.get("namespaceSelector")
    return AffinityTerm(
        selector=label_selector(term.get("labelSelector")),
        namespaces=names or (frozenset() if isinstance(by_labels, dict) else frozenset({namespace})),
        namespace_selector=label_selector(by_labels) if isinstance(by_labels, dict) else None,
        topology_key=str_at(term, "topologyKey"),
    )


def _wishes(wishes: list[JsonObject], namespace: str, sign: int) -> Iterable[Weighted]:
    for wish in wishes:
        yield Weighted(sign * int_at(wish, "weight"), _term(map_at(wish, "podAffinityTerm"), namespace))
