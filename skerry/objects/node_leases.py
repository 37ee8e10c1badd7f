"""The Lease of a node in kube-node-lease, as tools that know kubelets read it. Pure.

A kubelet renews its Lease each ten seconds, which is a write for each node and interval. Here gateways are heard by
their sessions, and what is stored of a Lease never changes: when it is read, the time of its renewal is put in, from
what the cloud knows anyway (docs/decisions/0446).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, name_of, namespace_of, uid_of
from skerry.objects.times import micro_time_text, ms_at

LEASES: Final = "leases.coordination.k8s.io"
NAMESPACE: Final = "kube-node-lease"
DURATION_S: Final = 40
"""As kubelets have it."""
HUB_NAMESPACE: Final = "kube-system"
HUB_PREFIX: Final = "skerry-hub"
"""Names of the Leases of hubs begin so."""


def lease_key(node: str) -> Key:
    return Key(LEASES, NAMESPACE, node)


def new_lease(node: JsonObject) -> JsonObject:
    """What is stored for a node."""
    name = name_of(node)
    owner: JsonObject = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid_of(node)}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": DURATION_S},
    }


def is_hub(key: Key) -> bool:
    return key.namespace == HUB_NAMESPACE and key.name.startswith(HUB_PREFIX)


def renewed(lease: JsonObject, node: JsonObject | None, hubs: Iterable[JsonObject]) -> JsonObject:
    """The Lease as it is read. A node that is heard has renewed it with the newest renewal of a hub; one that is
    silent let it end when that was said of it; one of which nothing was ever said has not renewed it. `hubs`: the
    Leases of hubs."""
    if namespace_of(lease) != NAMESPACE or node is None:
        return lease
    ready = condition_of(node, "Ready")
    if ready is None:
        return lease
    if str_at(ready, "status") == "Unknown":
        since = str_at(ready, "lastTransitionTime")
        found_ms = ms_at(since) - DURATION_S * 1000 if since else 0
    else:
        found_ms = max((ms_at(str_at(hub, "spec", "renewTime")) for hub in hubs), default=0)
    stored_ms = ms_at(str_at(lease, "spec", "renewTime"))
    if found_ms <= max(stored_ms, 0):
        return lease
    spec = map_at(lease, "spec")
    return {**lease, "spec": {**spec, "renewTime": micro_time_text(found_ms)}}
