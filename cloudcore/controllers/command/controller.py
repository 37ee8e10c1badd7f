"""Carries out `plan` for Commands.

Keeps nothing; whatever a crash leaves undone is done after the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cloudcore.controllers.command.plan import End, Offer, Remove, Step, Wait, is_heard, next_step
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import COMMANDS_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import ConflictError, NotFoundError
from skerry.objects.commands import COMMANDS, ended, phase_of
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key
from skerry.objects.times import micro_time_text

WAIT_S_MAX: Final = 3600.0
"""Clocks step; an hour's error at most."""


class CommandController:
    """See the module."""

    name = "command-controller"
    workers = 2

    def __init__(self, tools: Tools, *, epoch: str) -> None:
        self._tools = tools
        self._epoch = epoch
        self._kind = tools.kind(COMMANDS)

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=COMMANDS, keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource="nodes", keys=self._waiting_for),
        ]

    async def reconcile(self, key: Key) -> float | None:
        cache = self._tools.cache
        stored = cache.read(key)
        if stored is None:
            return None
        step = self._step(cache.obj(stored))
        match step:
            case Wait(until_ms=None):
                return None
            case Wait(until_ms=until_ms):
                assert until_ms is not None, "the case before has the other"
                return min(max(0.0, (until_ms - self._tools.clock.wall_ms()) / 1000) + 0.05, WAIT_S_MAX)
            case Remove():
                await self._remove(key, stored.uid)
            case Offer() | End():
                await self._write(key, stored.uid)
        return None

    def _step(self, command: JsonObject) -> Step:
        node = self._node(str_at(command, "spec", "nodeName"))
        return next_step(command, node, epoch=self._epoch, now_ms=self._tools.clock.wall_ms())

    def _node(self, name: str) -> JsonObject | None:
        stored = self._tools.cache.read(Key("nodes", "", name)) if name else None
        return None if stored is None else self._tools.cache.obj(stored)

    async def _write(self, key: Key, uid: str) -> None:
        """Decided again on what is there when it is written: a gateway's report may have come meanwhile."""

        def transform(current: JsonObject) -> JsonObject:
            now_ms = self._tools.clock.wall_ms()
            match self._step(current):
                case Offer():
                    status = {**map_at(current, "status"), "offeredTime": micro_time_text(now_ms)}
                    status.setdefault("phase", phase_of(current))
                    return {**current, "status": status}
                case End() as end:
                    return ended(current, phase=end.phase, reason=end.reason, message=end.message, now_ms=now_ms)
                case Wait() | Remove():
                    return current

        try:
            await self._tools.objects.update(self._kind, key, _of_life(uid, transform), subresource="status")
        except NotFoundError:
            return

    async def _remove(self, key: Key, uid: str) -> None:
        try:
            await self._tools.objects.delete(self._kind, key, DeleteOptions(uid=uid))
        except (NotFoundError, ConflictError):
            return  # somebody was first, or another life of the name is there

    def _waiting_for(self, change: Seen) -> Iterable[Key]:
        """A gateway is heard again: the commands that wait for it."""
        node = change.after
        if node is None or not is_heard(node) or (change.before is not None and is_heard(change.before)):
            return []
        cache = self._tools.cache
        return [
            stored.key
            for stored in cache.indexed(COMMANDS_BY_NODE, change.key.name)
            if not str_at(cache.obj(stored), "status", "offeredTime")
        ]


def _of_life(uid: str, transform: Callable[[JsonObject], JsonObject]) -> Callable[[JsonObject], JsonObject]:
    return lambda current: transform(current) if str_at(current, "metadata", "uid") == uid else current
