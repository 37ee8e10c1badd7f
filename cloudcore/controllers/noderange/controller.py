"""Gives each node a range of addresses for its pods, once and for as long as the node is there; and tells its site.

`spec.podCIDRs` is what is kept. Which parts are taken is made from the nodes at the first look and then kept in step
with every change and every write of this process; one worker gives them out, so that two nodes never get the same.

Gateways of a site route to each other's pods. What they need for it is in an EndpointSlice without a service, one a
node: the node's addresses, and its ranges in an annotation. Slices reach the gateways of their site and nobody else
(docs/decisions/0370), and a Node that changes its status every minute reaches none (0374).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.controllers.noderange.plan import ClusterRange, Parts
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import ConflictError, NotFoundError
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, being_deleted, labels_of, name_of, owners_of, uid_of
from skerry.objects.node_routes import POD_RANGES, ROUTES_LABEL, ROUTES_NAMESPACE, route_slice_name, routes_in
from skerry.objects.sites import ZONE_LABEL

SLICES: Final = "endpointslices.discovery.k8s.io"
AGAIN_S: Final = 60.0
"""How soon a node that got nothing is looked at again."""
_FAMILIES: Final = ("IPv4", "IPv6")


class NodeRangeController:
    """See the module."""

    name = "node-range-controller"
    workers = 1

    def __init__(self, tools: Tools, ranges: Sequence[ClusterRange]) -> None:
        self._tools = tools
        self._kind = tools.kind("nodes")
        self._slices = tools.kind(SLICES)
        self._events = tools.recorder("node-range-controller")
        self._parts = [Parts(each) for each in ranges]
        self._known = False

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="nodes", keys=self._changed), Keys(resource=SLICES, keys=_of_node)]

    def _changed(self, change: Seen) -> Iterable[Key]:
        if self._known:
            self._take_in(change.key.name, None if change.deleted else change.after)
        return [change.key]

    def _take_in(self, name: str, node: JsonObject | None) -> None:
        for parts in self._parts:
            parts.hold(name, strs_at(node, "spec", "podCIDRs"))

    async def reconcile(self, key: Key) -> float | None:
        if not self._known:
            for stored in self._tools.cache.select("nodes"):
                self._take_in(stored.key.name, self._tools.cache.obj(stored))
            self._known = True
        stored = self._tools.cache.read(key)
        node = None if stored is None else self._tools.cache.obj(stored)
        wait_s = None
        if node is not None and not being_deleted(node) and not strs_at(node, "spec", "podCIDRs"):
            node, wait_s = await self._give(key, node)
        await self._tell_site(key.name, node)
        return wait_s

    async def _give(self, key: Key, node: JsonObject) -> tuple[JsonObject | None, float | None]:
        found: list[Json] = [part for parts in self._parts if (part := parts.free(key.name))]
        if not found or len(found) < len(self._parts):
            saying = Saying(
                type="Warning",
                reason="CIDRNotAvailable",
                message=f"Node {key.name} status is now: CIDRNotAvailable (--cluster-cidr has no free range)",
            )
            await self._events.say(node, saying)
            return node, AGAIN_S

        def transform(current: JsonObject) -> JsonObject:
            if strs_at(current, "spec", "podCIDRs"):
                return current  # somebody else was first
            return {**current, "spec": {**map_at(current, "spec"), "podCIDR": found[0], "podCIDRs": [*found]}}

        try:
            written = (await self._tools.objects.update(self._kind, key, transform)).obj
        except NotFoundError:
            return None, None
        self._take_in(key.name, written)
        return written, None

    async def _tell_site(self, name: str, node: JsonObject | None) -> None:
        """One slice for each family in which the node has addresses and ranges."""
        for family in _FAMILIES:
            key = Key(SLICES, ROUTES_NAMESPACE, route_slice_name(name, family))
            wanted = None if node is None else route_slice(node, family)
            stored = self._tools.cache.read(key)
            held = None if stored is None else self._tools.cache.obj(stored)
            if wanted is None:
                if held is not None:
                    await self._drop(key)
            elif held is None:
                await self._make(wanted)
            elif (routes_in(held), owners_of(held)) != (routes_in(wanted), owners_of(wanted)):
                await self._keep(key, wanted)

    async def _make(self, wanted: JsonObject) -> None:
        try:
            await self._tools.objects.create(self._slices, ROUTES_NAMESPACE, wanted)
        except (ConflictError, NotFoundError):
            return  # it is there, or its namespace is not yet: the next change brings us here again

    async def _keep(self, key: Key, wanted: JsonObject) -> None:
        def transform(current: JsonObject) -> JsonObject:
            said = map_at(wanted, "metadata")
            new = {part: said[part] for part in ("labels", "annotations", "ownerReferences")}
            return {**current, "metadata": {**map_at(current, "metadata"), **new}, "endpoints": wanted["endpoints"]}

        try:
            await self._tools.objects.update(self._slices, key, transform)
        except NotFoundError:
            return

    async def _drop(self, key: Key) -> None:
        try:
            await self._tools.objects.delete(self._slices, key)
        except NotFoundError:
            return


def _of_node(change: Seen) -> Iterable[Key]:
    node = labels_of(change.last).get(ROUTES_LABEL, "")
    return [Key("nodes", "", node)] if node and change.key.namespace == ROUTES_NAMESPACE else []


def route_slice(node: JsonObject, family: str) -> JsonObject | None:
    """What a node's site is told of its pods' addresses; None where there is nothing to tell, or nobody."""
    zone = labels_of(node).get(ZONE_LABEL, "")
    colon = family == "IPv6"
    ranges = [each for each in strs_at(node, "spec", "podCIDRs") if (":" in each) == colon]
    addresses = [
        str_at(each, "address")
        for each in maps_at(node, "status", "addresses")
        if str_at(each, "type") == "InternalIP" and (":" in str_at(each, "address")) == colon
    ]
    if not zone or not ranges or not addresses or being_deleted(node):
        return None
    name = name_of(node)
    owner: JsonObject = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid_of(node)}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": route_slice_name(name, family),
            "namespace": ROUTES_NAMESPACE,
            "labels": {
                ROUTES_LABEL: name,
                "endpointslice.kubernetes.io/managed-by": "node-range-controller.skerry.dev",
            },
            "annotations": {POD_RANGES: ",".join(ranges)},
            "ownerReferences": [owner],
        },
        "addressType": family,
        "endpoints": [{"addresses": [addresses[0]], "conditions": {"ready": True}, "nodeName": name, "zone": zone}],
        "ports": [],
    }
