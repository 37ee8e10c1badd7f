"""Labels nodes with the group that they are in, and tells each group of its nodes, as KubeEdge's controller does.

A node that leaves a group loses the label, and then the pods that are to run in another group than its own are
deleted from it. A group that goes keeps its finalizer until no node has its label. Keeps nothing; a crash leaves
labels and status as they were written, and the next start looks at every node and group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import PODS_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, map_at, str_map_at, strs_at
from skerry.objects.meta import Key, being_deleted, name_of, uid_of
from skerry.objects.node_groups import (
    BELONGING_TO,
    FINALIZER,
    NODE_GROUPS,
    group_for,
    group_of,
    in_group,
    is_a_zone,
    node_statuses,
    wants,
)
from skerry.objects.pods import is_over

NODES = "nodes"


class NodeGroupController:
    """See the module. Its keys are groups and nodes."""

    name = "nodegroup-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._groups = tools.kind(NODE_GROUPS)
        self._nodes = tools.kind(NODES)
        self._pods = tools.kind("pods")

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=NODE_GROUPS, keys=self._of_group),
            Keys(resource=NODES, keys=self._of_node),
        ]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)
        if key.resource == NODES:
            await self._place(key, obj)
        else:
            await self._tell(key, obj)
        return None

    # --- what wakes it ---

    def _of_group(self, change: Seen) -> Iterable[Key]:
        """The group, and the nodes that it wants or wanted."""
        name = change.key.name
        yield change.key
        for node in self._all(NODES):
            had = change.before is not None and wants(change.before, node)
            has = change.after is not None and wants(change.after, node)
            if had or has or group_of(node) == name:
                yield Key(NODES, "", name_of(node))

    def _of_node(self, change: Seen) -> Iterable[Key]:
        """The node, and the groups that have anything to say of it."""
        yield change.key
        sides = [side for side in (change.before, change.after) if side is not None]
        present = {group_of(side) for side in sides}
        for group in self._all(NODE_GROUPS):
            named = change.key.name in strs_at(group, "spec", "nodes")
            if named or name_of(group) in present or any(wants(group, side) for side in sides):
                yield Key(NODE_GROUPS, "", name_of(group))

    def _all(self, resource: str) -> Iterable[JsonObject]:
        return (self._tools.cache.obj(stored) for stored in self._tools.cache.select(resource))

    # --- nodes ---

    async def _place(self, key: Key, node: JsonObject) -> None:
        groups = [*self._all(NODE_GROUPS)]
        wanted = group_for(node, groups)
        zoned = any(name_of(group) == wanted and is_a_zone(group) for group in groups)
        if in_group(node, wanted, zoned=zoned) is not node:
            await self._label(key, node, wanted, zoned=zoned)
        await self._evict(key.name, wanted)

    async def _label(self, key: Key, node: JsonObject, wanted: str, *, zoned: bool) -> None:
        def labelled(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(node) or group_of(current) != group_of(node):
                return current
            return in_group(current, wanted, zoned=zoned)

        try:
            await self._tools.objects.update(self._nodes, key, labelled)
        except NotFoundError:
            return

    async def _evict(self, node: str, group: str) -> None:
        """Pods that are to run in another group than the node's."""
        for stored in self._tools.cache.indexed(PODS_BY_NODE, node):
            pod = self._tools.cache.obj(stored)
            meant = str_map_at(pod, "spec", "nodeSelector").get(BELONGING_TO, group)
            if meant == group or being_deleted(pod) or is_over(pod):
                continue
            try:
                await self._tools.objects.delete(self._pods, stored.key, DeleteOptions(uid=stored.uid))
            except NotFoundError:
                continue

    # --- groups ---

    async def _tell(self, key: Key, group: JsonObject) -> None:
        leaving = being_deleted(group)
        if leaving and any(group_of(node) == key.name for node in self._all(NODES)):
            return  # the last node that loses the label wakes it
        if leaving == (FINALIZER in strs_at(group, "metadata", "finalizers")):
            await self._finalize(key, group, leaving=leaving)
        if leaving:
            return
        told = node_statuses(group, self._all(NODES))
        if map_at(group, "status").get("nodeStatuses", []) == told:
            return

        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(group):
                return current
            return {**current, "status": {**map_at(current, "status"), "nodeStatuses": told}}

        try:
            await self._tools.objects.update(self._groups, key, transform, subresource="status")
        except NotFoundError:
            return

    async def _finalize(self, key: Key, group: JsonObject, *, leaving: bool) -> None:
        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(group):
                return current
            others = [name for name in strs_at(current, "metadata", "finalizers") if name != FINALIZER]
            kept = others if leaving else [*others, FINALIZER]
            return {**current, "metadata": {**map_at(current, "metadata"), "finalizers": [*kept]}}

        try:
            await self._tools.objects.update(self._groups, key, transform)
        except NotFoundError:
            return
