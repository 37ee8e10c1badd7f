"""What a gateway knows of services and of who stands behind them. Pure; made again from the store at each start.

Others' endpoints come down in EndpointSlices. The gateway's own it reckons itself, from its pods and from what it
knows of them now: their readiness, and the addresses that they have after a power cycle, count at once and without
the cloud.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from skerry.frozen import replace
from skerry.objects.json import JsonObject, bool_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.members import Member, families_of, family_of, is_headless, members_of, ports_in, selects
from skerry.objects.meta import Key, labels_of, uid_of
from skerry.objects.node_groups import BELONGING_TO, keeps_to_group
from skerry.objects.node_routes import NodeRoute, routes_in
from skerry.objects.sites import ZONE_LABEL

SERVICES: Final = "services"
SLICES: Final = "endpointslices.discovery.k8s.io"
PODS: Final = "pods"
NODES: Final = "nodes"
KNOWN: Final = (NODES, SERVICES, SLICES, PODS)
_SERVICE_LABEL: Final = "kubernetes.io/service-name"

Name = tuple[str, str]
"""Namespace and name."""


class Directory:
    """Kept change by change."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.zone = ""
        self.group = ""
        """The gateway's node group; "" for none."""
        self.ranges: tuple[str, ...] = ()
        """Of the addresses of this gateway's pods, as its Node says."""
        self.generation = 0
        """Another one whenever something of it may be otherwise."""
        self._changed_all = 0
        self._changed_in: dict[str, int] = {}
        """By namespace: the generation in which its pods did last."""
        self._changed: dict[Name, int] = {}
        """By service: that in which it or its slices did."""
        self._homes: dict[str, str] = {}
        """Namespace by the uid of a pod."""
        self._gone: frozenset[str] = frozenset()
        self._routes: dict[Name, list[NodeRoute]] = {}
        self._services: dict[Name, JsonObject] = {}
        self._slices: dict[Name, JsonObject] = {}
        self._slices_of: dict[Name, dict[Name, None]] = defaultdict(dict)
        """By service."""
        self._pods: dict[Name, JsonObject] = {}
        self._namespaces: Counter[str] = Counter()
        """How many services and pods are in each."""
        self._statuses: dict[str, JsonObject] = {}
        """By pod uid: what the gateway knows of its own pods."""

    # --- what is known ---

    @property
    def gone(self) -> frozenset[str]:
        """Gateways of the site that are not found on its network: nobody is led to their pods."""
        return self._gone

    @gone.setter
    def gone(self, nodes: frozenset[str]) -> None:
        self._gone = nodes
        self.generation += 1
        self._changed_all += 1

    def service(self, namespace: str, name: str) -> JsonObject | None:
        return self._services.get((namespace, name))

    def own_pods(self) -> set[str]:
        """The addresses of this gateway's pods."""
        told = (self._as_known(pod) for pod in self._pods.values())
        found = (str_at(each, "ip") for pod in told for each in maps_at(pod, "status", "podIPs"))
        return {address for address in found if family_of(address)}

    def is_of_pods(self, address: str) -> bool:
        """Whether it is in a range of this gateway's pods, or of another's of its site."""
        ranges = [*self.ranges, *(each.range for each in self.routes() if each.zone == self.zone)]
        return any(_is_within(address, each) for each in ranges)

    def routes(self) -> list[NodeRoute]:
        """Which pods of the site are behind which gateway."""
        return [route for routes in self._routes.values() for route in routes]

    def services(self) -> Iterator[tuple[Name, JsonObject]]:
        """In order of their names."""
        yield from sorted(self._services.items(), key=lambda item: item[0])

    def version_of(self, service: Name) -> tuple[int, int, int]:
        """Another one whenever a service, or who stands behind it, may be otherwise."""
        return (self._changed_all, self._changed_in.get(service[0], 0), self._changed.get(service, 0))

    def has_namespace(self, namespace: str) -> bool:
        return self._namespaces[namespace] > 0

    def members(self, namespace: str, name: str) -> list[Member]:
        """Who stands behind a service, ready or not, in an order that stays; [] for a service that is not known. Of
        one that is kept to node groups (KubeEdge's `service-topology`), those of the gateway's own and those that
        are on no node."""
        service = self.service(namespace, name)
        if service is None:
            return []
        own = selects(service)
        kept = keeps_to_group(service)
        found = [*self._own(namespace, service)] if own else []
        for at in self._slices_of.get((namespace, name), ()):
            slice_ = self._slices[at]
            elsewhere = kept and labels_of(slice_).get(BELONGING_TO, "") != self.group
            found += (
                each
                for each in _members_in(slice_)
                if not (own and each.node == self.node) and not (elsewhere and each.node)
            )
        if self.gone:
            lost = [each.node in self.gone for each in found]
            found = [
                replace(each, ready=False, serving=False) if is_lost else each
                for each, is_lost in zip(found, lost, strict=True)
            ]
        return sorted(dict.fromkeys(found))

    def _own(self, namespace: str, service: JsonObject) -> Iterator[Member]:
        wanted = str_map_at(service, "spec", "selector").items()
        pods = [
            self._as_known(pod)
            for (home, _), pod in self._pods.items()
            if home == namespace and wanted <= labels_of(pod).items()
        ]
        for family in families_of(service):
            yield from members_of(service, pods, {self.node: self.zone}, family)

    def _as_known(self, pod: JsonObject) -> JsonObject:
        told = self._statuses.get(uid_of(pod))
        return pod if told is None else {**pod, "status": told}

    # --- what changes ---

    def put(self, key: Key, obj: JsonObject) -> None:
        """An object as it is now; kinds that say nothing here are passed over."""
        at = (key.namespace, key.name)
        self.generation += 1
        if key.resource == NODES:
            if key.name == self.node:
                self._changed_all += 1
                self.zone = labels_of(obj).get(ZONE_LABEL, "")
                self.group = labels_of(obj).get(BELONGING_TO, "")
                self.ranges = tuple(strs_at(obj, "spec", "podCIDRs"))
        elif key.resource == SERVICES:
            self._changed[at] = self.generation
            self._namespaces[key.namespace] += at not in self._services
            self._services[at] = obj
        elif key.resource == PODS:
            self._changed_in[key.namespace] = self.generation
            self._homes[uid_of(obj)] = key.namespace
            self._namespaces[key.namespace] += at not in self._pods
            self._pods[at] = obj
        elif key.resource == SLICES:
            self.delete(key)
            if routes := routes_in(obj):
                self._routes[at] = routes
                return
            self._slices[at] = obj
            service = (key.namespace, labels_of(obj).get(_SERVICE_LABEL, ""))
            self._slices_of[service][at] = None
            if service in self._services:
                self._changed[service] = self.generation

    def delete(self, key: Key) -> None:
        at = (key.namespace, key.name)
        self.generation += 1
        if key.resource == SERVICES:
            self._left(key.namespace, self._services.pop(at, None))
            self._changed.pop(at, None)
        elif key.resource == PODS:
            pod = self._pods.pop(at, None)
            self._changed_in[key.namespace] = self.generation
            self._left(key.namespace, pod)
            if pod is not None:
                self._homes.pop(uid_of(pod), None)
        elif key.resource == SLICES:
            self._routes.pop(at, None)
            old = self._slices.pop(at, None)
            if old is not None:
                service = (key.namespace, labels_of(old).get(_SERVICE_LABEL, ""))
                if service in self._services:
                    self._changed[service] = self.generation
                self._slices_of[service].pop(at, None)
                if not self._slices_of[service]:
                    del self._slices_of[service]

    def _left(self, namespace: str, obj: JsonObject | None) -> None:
        self._namespaces[namespace] -= obj is not None
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]
            self._changed_in.pop(namespace, None)

    def told(self, uid: str, status: JsonObject | None) -> None:
        """What the gateway itself knows of a pod of its own; None: nothing any more."""
        self.generation += 1
        self._changed_in[self._homes.get(uid, "")] = self.generation
        if status:
            self._statuses[uid] = status
        else:
            self._statuses.pop(uid, None)


def _members_in(slice_: JsonObject) -> Iterable[Member]:
    """The endpoints of a slice. What a condition does not say is as discovery/v1 has it: ready, and so serving."""
    if family_of_type(slice_) == "":
        return
    ports = ports_in(slice_)
    for endpoint in maps_at(slice_, "endpoints"):
        conditions: Mapping[str, object] = map_at(endpoint, "conditions")
        ready = bool_at(endpoint, "conditions", "ready", default=True)
        serving = ready if conditions.get("serving") is None else bool_at(endpoint, "conditions", "serving")
        target = map_at(endpoint, "targetRef")
        for address in strs_at(endpoint, "addresses")[:1]:
            if family_of(address):
                yield Member(
                    address=address,
                    ready=ready,
                    serving=serving,
                    terminating=bool_at(endpoint, "conditions", "terminating"),
                    node=str_at(endpoint, "nodeName"),
                    zone=str_at(endpoint, "zone"),
                    hostname=str_at(endpoint, "hostname"),
                    target=(str_at(target, "namespace"), str_at(target, "name"), str_at(target, "uid")),
                    ports=ports,
                )


def _is_within(address: str, range_: str) -> bool:
    try:
        return ip_address(address) in ip_network(range_)
    except ValueError:
        return False


def family_of_type(slice_: JsonObject) -> str:
    """IPv4 or IPv6; "" for endpoints that are names."""
    family = str_at(slice_, "addressType")
    return family if family in ("IPv4", "IPv6") else ""


def addresses_of(service: JsonObject) -> list[str]:
    """A service's own addresses; [] for a headless one."""
    if is_headless(service):
        return []
    return strs_at(service, "spec", "clusterIPs") or [str_at(service, "spec", "clusterIP")]
