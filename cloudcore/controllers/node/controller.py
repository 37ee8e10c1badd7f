"""Keeps the taints of nodes in step with their conditions.

Keeps nothing; what a crash leaves unmarked is marked after the next start, and the scheduler reads the condition
itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudcore.controllers.node.plan import tainted
from cloudcore.runtime.informer import Keys
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


class NodeController:
    """See the module."""

    name = "node-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind("nodes")

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="nodes", keys=lambda change: [] if change.deleted else [change.key])]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        node = self._tools.cache.obj(stored)
        now_ms = self._tools.clock.wall_ms()
        if tainted(node, now_ms=now_ms) is node:
            return None

        def transform(current: JsonObject) -> JsonObject:
            return tainted(current, now_ms=now_ms)

        try:
            await self._tools.objects.update(self._kind, key, transform)
        except NotFoundError:
            return None
        return None
