"""Deletes Jobs that have been finished for their `ttlSecondsAfterFinished`, with what is theirs.

(Kubernetes' TTL-after-finished controller.) One that a federation holds in this region stays: it would be made
anew at once, and run again (docs/decisions/0603). Keeps nothing; what a crash leaves is looked at when the next one
starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.controllers.expiry.plan import expires_ms
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.federation import REGION_OBJECTS, ROW
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, annotations_of, revision_of, uid_of

_JOBS: Final = "jobs.batch"
_LATER_S_MAX: Final = 3600.0
"""A while may be longer than anybody can wait for at once."""


class ExpiryController:
    """See the module."""

    name = "ttl-after-finished-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(_JOBS)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource=_JOBS, keys=self._expiring)]

    def _expiring(self, change: Seen) -> Iterable[Key]:
        return [] if change.deleted or expires_ms(change.last) is None else [change.key]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        job = self._tools.cache.obj(stored)
        at_ms = expires_ms(job)
        if at_ms is None or self._is_federated(job):
            return None
        left_ms = at_ms - self._tools.clock.wall_ms()
        if left_ms > 0:
            return min(left_ms / 1000, _LATER_S_MAX)
        # That very state of it: its while may have been made longer since.
        options = DeleteOptions(uid=uid_of(job), revision=revision_of(job), propagation="Foreground")
        try:
            await self._tools.objects.delete(self._kind, key, options)
        except NotFoundError:
            return None
        return None

    def _is_federated(self, job: JsonObject) -> bool:
        """A row of the federation says that it is to be here. What the Job says alone anybody may have written."""
        name = annotations_of(job).get(ROW, "")
        row = self._tools.cache.read(Key(REGION_OBJECTS, "", name)) if name else None
        return row is not None and not str_at(self._tools.cache.obj(row), "spec", "remove")
