"""What a node may do over the API: read what its view holds, and tell about itself. Pure.

A gateway works over its hub session; the API is there for tools on it. A node that was taken over must not become
the key to its neighbours' Secrets, so it may read an object only when a pod bound to it, or a device attached to
it, needs that object, and may list only where a list holds nothing else. Kubernetes does the same (node authorizer).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from cloudcore.registry.references import references_of
from skerry.authz.attributes import READ_VERBS, Attributes, Decision
from skerry.frozen import Frozen
from skerry.objects.enrolment import NODES_GROUP, node_of_user
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, name_of, namespace_of

LEASE_NAMESPACE: Final = "kube-node-lease"
_OWN: Final = frozenset({"get", "update", "patch"})
_NEEDED: Final = frozenset({"configmaps", "secrets", "persistentvolumeclaims", "serviceaccounts"})
_DEVICES: Final = "devices.kubeedge.io"


class Bound(Protocol):
    """What is bound to a node, as the watch cache knows it."""

    def pods(self, node: str) -> Iterable[JsonObject]: ...

    def devices(self, node: str) -> Iterable[JsonObject]: ...

    def commands(self, node: str) -> Iterable[JsonObject]: ...

    def volumes(self, node: str) -> Iterable[str]:
        """Names of the PersistentVolumes that its pods' claims are bound to."""
        ...


class _Asked(Frozen, kw_only=False):
    """One request of one node."""

    node: str
    what: Attributes
    bound: Bound

    def allowed(self) -> bool:
        match (self.what.group, self.what.resource):
            case ("", "nodes"):
                return self._own_name() and self._tells_of_itself()
            case ("", "pods"):
                return self._own_pod()
            case ("", resource) if resource in _NEEDED:
                return self._needed(resource)
            case ("", "persistentvolumes"):
                what = self.what
                return (what.subresource, what.verb) == ("", "get") and what.name in self.bound.volumes(self.node)
            case ("", "services") | ("", "endpoints") | ("discovery.k8s.io", "endpointslices"):
                return self.what.verb in READ_VERBS and self._has_pod_in_namespace()
            case ("", "events") | ("events.k8s.io", "events"):
                return self.what.verb in ("create", "patch") and (
                    self.what.namespace == "default" or self._has_pod_in_namespace()
                )
            case ("coordination.k8s.io", "leases"):
                mine = self._own_name() or self.what.verb == "create"
                return self.what.namespace == LEASE_NAMESPACE and mine and self.what.verb in {*_OWN, "create"}
            case (group, "devices" | "devicemodels" | "devicestatuses") if group == _DEVICES:
                return self._own_device()
            case ("skerry.dev", "commands"):
                return self._own_command()
            case _:
                return False

    def _tells_of_itself(self) -> bool:
        """Its status, not its labels and taints, by which it could draw other nodes' pods to itself."""
        return self.what.verb in (_OWN if self.what.subresource == "status" else {"get"})

    def _own_name(self) -> bool:
        return self.what.name == self.node

    def _own_pod(self) -> bool:
        what = self.what
        if (what.subresource, what.verb) == ("", "create"):
            return bool(what.namespace)  # mirrors of static pods: admission looks at what it is (`mirror_pods`)
        if (what.subresource, what.verb) not in {
            ("", "get"),
            ("", "delete"),
            ("status", "get"),
            ("status", "update"),
            ("status", "patch"),
        }:
            return False
        return any(
            (namespace_of(pod), name_of(pod)) == (what.namespace, what.name) for pod in self.bound.pods(self.node)
        )

    def _needed(self, resource: str) -> bool:
        what = self.what
        token = resource == "serviceaccounts" and (what.subresource, what.verb) == ("token", "create")
        if not token and (what.subresource, what.verb) != ("", "get"):
            return False
        key = Key(resource, what.namespace, what.name)
        return any(key in references_of(pod) for pod in self.bound.pods(self.node))

    def _has_pod_in_namespace(self) -> bool:
        namespace = self.what.namespace
        return bool(namespace) and any(namespace_of(pod) == namespace for pod in self.bound.pods(self.node))

    def _own_device(self) -> bool:
        what = self.what
        if what.verb != "get":
            return False
        for device in self.bound.devices(self.node):
            if namespace_of(device) != what.namespace:
                continue
            model = str_at(device, "spec", "deviceModelRef", "name")
            if what.name == (model if what.resource == "devicemodels" else name_of(device)):
                return True
        return False

    def _own_command(self) -> bool:
        """It reads those that it is asked to carry out; what becomes of them it tells through its session alone."""
        what = self.what
        if what.verb != "get":
            return False
        return any(
            (namespace_of(command), name_of(command)) == (what.namespace, what.name)
            for command in self.bound.commands(self.node)
        )


def decide_for_node(attributes: Attributes, bound: Bound) -> Decision:
    """What a node's own right is; "no" leaves it to the roles."""
    node = node_of_user(attributes.actor.name)
    if not node or NODES_GROUP not in attributes.actor.groups or attributes.path:
        return Decision(allowed=False)
    if _Asked(node, attributes, bound).allowed():
        return Decision(allowed=True, reason=f"Node: {node} holds or needs it")
    return Decision(allowed=False)
