"""Deletes join tokens some days after they expired; until then whoever tries one is told what became of it.

Keeps nothing; a crash leaves a token that the next start deletes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.enrolment import TOKEN_NAMESPACE, TOKEN_SECRET_TYPE, grant_of
from skerry.objects.json import str_at
from skerry.objects.meta import Key
from skerry.objects.times import ms_at

KEPT_S: Final = 7 * 24 * 3600
"""After expiry: a technician who comes back a week later still reads `this token was used at ...`."""


class JoinTokenController:
    """See the module."""

    name = "jointoken-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind("secrets")

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="secrets", keys=_tokens)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        grant = None if stored is None else grant_of(self._tools.cache.obj(stored))
        if stored is None or grant is None:
            return None
        due_ms = ms_at(grant.expires) + KEPT_S * 1000
        now_ms = self._tools.clock.wall_ms()
        if now_ms < due_ms:
            return (due_ms - now_ms) / 1000
        try:
            await self._tools.objects.delete(self._kind, key, DeleteOptions(uid=stored.uid))
        except NotFoundError:
            return None  # an operator was first
        return None


def _tokens(change: Seen) -> Iterable[Key]:
    if change.deleted or change.key.namespace != TOKEN_NAMESPACE:
        return []
    return [change.key] if str_at(change.last, "type") == TOKEN_SECRET_TYPE else []
