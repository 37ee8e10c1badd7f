"""Leases of nodes as they are read: with the time at which the gateway was heard (`skerry.objects.node_leases`).

What is watched is what is stored: a watch that told of each renewal would be the writes that are spared.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Stored
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.node_leases import LEASES, NAMESPACE, is_hub, renewed


def bodies_of(items: Sequence[Stored], cache: WatchCache) -> list[bytes]:
    """What is shown of the stored objects of one kind."""
    if not items or items[0].key.resource != LEASES or all(each.key.namespace != NAMESPACE for each in items):
        return [item.body for item in items]
    hubs = [cache.obj(each) for each in cache.select(LEASES, namespace="kube-system") if is_hub(each.key)]
    return [_body_of(item, cache, hubs) for item in items]


def _body_of(item: Stored, cache: WatchCache, hubs: Sequence[JsonObject]) -> bytes:
    if item.key.namespace != NAMESPACE:
        return item.body
    node = cache.read(Key("nodes", "", item.key.name))
    lease: JsonObject = orjson.loads(item.body)
    told = renewed(lease, None if node is None else cache.obj(node), hubs)
    return item.body if told is lease else orjson.dumps(told)
