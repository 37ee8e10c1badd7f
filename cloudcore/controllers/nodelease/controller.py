"""Gives each node its Lease in kube-node-lease, once; it goes with the Node by its owner.

Nobody renews it: whoever reads it is shown when its gateway was heard (`skerry.objects.node_leases`). Keeps nothing;
a crash leaves a node without, which the next start sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import ConflictError, NotFoundError
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, being_deleted, uid_of
from skerry.objects.node_leases import LEASES, NAMESPACE, lease_key, new_lease

AGAIN_S: Final = 30.0


class NodeLeaseController:
    """See the module."""

    name = "node-lease-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(LEASES)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="nodes", keys=_node), Keys(resource=LEASES, keys=_node_of_lease)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        node = None if stored is None else self._tools.cache.obj(stored)
        if node is None or being_deleted(node):
            return None
        held = self._tools.cache.read(lease_key(key.name))
        wanted = new_lease(node)
        try:
            if held is None:
                await self._tools.objects.create(self._kind, NAMESPACE, wanted)
            elif not _is_of(self._tools.cache.obj(held), node):
                await self._tools.objects.update(self._kind, held.key, lambda lease: _given_to(lease, wanted))
        except ConflictError:
            return None  # somebody else was first: a change brings us here again
        except NotFoundError:
            return AGAIN_S  # the namespace is not there, and no change of it brings us here
        return None


def _is_of(lease: JsonObject, node: JsonObject) -> bool:
    return [str_at(each, "uid") for each in maps_at(lease, "metadata", "ownerReferences")] == [uid_of(node)]


def _given_to(lease: JsonObject, wanted: JsonObject) -> JsonObject:
    """A Lease that was there before its Node, as one that a kubelet made."""
    owners = map_at(wanted, "metadata")["ownerReferences"]
    spec = {**map_at(wanted, "spec"), **map_at(lease, "spec")}
    return {**lease, "metadata": {**map_at(lease, "metadata"), "ownerReferences": owners}, "spec": spec}


def _node(change: Seen) -> Iterable[Key]:
    """Not with each report of a gateway."""
    return [change.key] if change.is_new else []


def _node_of_lease(change: Seen) -> Iterable[Key]:
    """One that somebody deleted, or that came with another owner."""
    return [Key("nodes", "", change.key.name)] if change.key.namespace == NAMESPACE else []
