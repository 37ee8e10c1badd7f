"""Keeps, for each node, the record of the devices that it has or had (`cloudcore.registry.placements`).

A device is put down when it is seen on a node, long before its gateway has a reading of it, and never taken out when
it leaves. The record goes with its Node, whom it names as its owner. Keeps the devices that have left a node until
that is written; what a crash loses of that is only the time: they were put down when they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.registry.placements import record_key, with_devices
from cloudcore.runtime.informer import DEVICES_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, clone, str_at
from skerry.objects.meta import Key, name_of, namespace_of, uid_of

DEVICES = "devices.devices.kubeedge.io"


class PlacementController:
    """See the module."""

    name = "placement-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind("configmaps")
        self._left: dict[str, dict[str, str]] = {}
        """By node: uid -> namespace/name of devices that left it since it was written."""

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource=DEVICES, keys=self._placed), Keys(resource="nodes", keys=_appeared)]

    async def reconcile(self, key: Key) -> float | None:
        cache = self._tools.cache
        stored = cache.read(key)
        left = dict(self._left.get(key.name, {}))
        if stored is not None:
            node = cache.obj(stored)
            placed = {device.uid: _named(device.key) for device in cache.indexed(DEVICES_BY_NODE, key.name)}
            await self._write(node, placed, left)
        self._forget(key.name, left)
        return None

    async def _write(self, node: JsonObject, placed: dict[str, str], left: dict[str, str]) -> None:
        now_ms = self._tools.clock.wall_ms()

        def merged(record: JsonObject) -> JsonObject:
            return with_devices(record, node, placed=placed, left=left, now_ms=now_ms)

        key, objects = record_key(name_of(node)), self._tools.objects
        stored = self._tools.cache.read(key)
        held = {} if stored is None else clone(self._tools.cache.obj(stored))
        if merged(held) == held:
            return
        if stored is not None:
            try:
                await objects.update(self._kind, key, merged)
                return
            except NotFoundError:
                pass  # an earlier Node's, which went just now
        await objects.create(self._kind, key.namespace, merged({}))

    def _forget(self, node: str, written: dict[str, str]) -> None:
        waiting = self._left.get(node, {})
        for uid in written:
            waiting.pop(uid, None)
        if not waiting:
            self._left.pop(node, None)

    def _placed(self, change: Seen) -> Iterable[Key]:
        """The nodes that a device came to or left. What its gateway tells of it changes nothing here."""
        before, after = change.before, change.after
        was, now = (_node_of(before), _node_of(after))
        if was == now and _uid_of(before) == _uid_of(after):
            return []
        if was and before is not None:
            self._left.setdefault(was, {})[uid_of(before)] = f"{namespace_of(before)}/{name_of(before)}"
        return [Key("nodes", "", node) for node in dict.fromkeys((was, now)) if node]


def _appeared(change: Seen) -> Iterable[Key]:
    return [change.key] if change.after is not None and _uid_of(change.before) != uid_of(change.after) else []


def _node_of(device: JsonObject | None) -> str:
    return str_at(device, "spec", "nodeName")


def _uid_of(obj: JsonObject | None) -> str:
    return "" if obj is None else uid_of(obj)


def _named(key: Key) -> str:
    return f"{key.namespace}/{key.name}"
