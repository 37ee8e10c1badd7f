"""Deletes pods from nodes that were given a taint of the effect NoExecute which they do not bear.

Keeps since when it has seen a pod beside such taints; after a crash, or with another leader, a pod that bears them
for a while has all of its while again. A gateway that is not there hears of the deletion when it is back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from cloudcore.controllers.tainted.plan import leaves_ms, ousting
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import PODS_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import InvalidError, NotFoundError
from skerry.objects.disruption import disrupted
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import Key, uid_of
from skerry.objects.taints import Taint

_LATER_S_MAX: Final = 3600.0
"""A while may be longer than anybody can wait for at once."""


class TaintedController:
    """See the module."""

    name = "taint-eviction-controller"
    workers = 4

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind("pods")
        self._events = tools.recorder(self.name)
        self._since: dict[Key, tuple[str, int]] = {}
        """Uid, and since when, of pods that are to go in a while."""

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="nodes", keys=self._on_node), Keys(resource="pods", keys=self._placed)]

    def _on_node(self, change: Seen) -> Iterable[Key]:
        """All pods of a node whose taints are others now."""
        before = () if change.before is None else ousting(change.before)
        if change.deleted or ousting(change.last) == before:
            return []
        return [each.key for each in self._tools.cache.indexed(PODS_BY_NODE, change.key.name)]

    def _placed(self, change: Seen) -> Iterable[Key]:
        """One that came to such a node, bears something else now, or is gone."""
        if change.deleted:
            self._since.pop(change.key, None)
            return []
        before = change.before
        if before is not None and _concerns(before) == _concerns(change.last):
            return []
        return [change.key] if self._taints_at(change.last) else []

    def _taints_at(self, pod: JsonObject) -> tuple[Taint, ...]:
        """Of the node on which the pod is."""
        name = str_at(pod, "spec", "nodeName")
        stored = self._tools.cache.read(Key("nodes", "", name)) if name else None
        return () if stored is None else ousting(self._tools.cache.obj(stored))

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            self._since.pop(key, None)
            return None
        pod = self._tools.cache.obj(stored)
        now_ms = self._tools.clock.wall_ms()
        uid, since_ms = self._since.get(key, ("", 0))
        is_awaited = uid == stored.uid
        leaves = leaves_ms(pod, self._taints_at(pod), since_ms if is_awaited else now_ms)
        if leaves is None:
            self._since.pop(key, None)
            if is_awaited:
                await self._say(pod, f"Cancelling deletion of Pod {key.namespace}/{key.name}")
            return None
        if leaves > now_ms:
            self._since[key] = (stored.uid, since_ms if is_awaited else now_ms)
            return min((leaves - now_ms) / 1000, _LATER_S_MAX)
        # Only then it is forgotten and told: who can't be deleted now has no other while for it, and is told of once.
        # (A conflict is for the queue: the next look knows whether the name is another pod's now.)
        with contextlib.suppress(NotFoundError):
            with contextlib.suppress(InvalidError):  # of an older release, by rules of this one: it goes all the same
                await self._tools.objects.update(self._kind, key, partial(_ousted, pod, now_ms), subresource="status")
            await self._tools.objects.delete(self._kind, key, DeleteOptions(uid=uid_of(pod)))
        self._since.pop(key, None)
        await self._say(pod, f"Marking for deletion Pod {key.namespace}/{key.name}")
        return None

    async def _say(self, pod: JsonObject, message: str) -> None:
        await self._events.say(pod, Saying(type="Normal", reason="TaintManagerEviction", message=message))


def _ousted(pod: JsonObject, now_ms: int, current: JsonObject) -> JsonObject:
    """`current`, where it is that pod yet, with why it ends."""
    if uid_of(current) != uid_of(pod):
        return current
    message = "Taint manager: deleting due to NoExecute taint"
    return disrupted(current, reason="DeletionByTaintManager", message=message, now_ms=now_ms)


def _concerns(pod: JsonObject) -> tuple[object, ...]:
    """All that is looked at."""
    return str_at(pod, "spec", "nodeName"), maps_at(pod, "spec", "tolerations"), str_at(pod, "metadata", "uid")
