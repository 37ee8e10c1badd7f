"""Lends gateways what must never run twice in a federation, for as long as it is lent to this region.

A gateway names the pods that it would run; it is told how much is left of the lease of each that is here, its own,
and wanted, or on its way to its end. That is what is left at the region's cloud: a length that began when the region
asked, so a gateway that is cut off stops no later than its region would. Whoever leads knows when that was; the
others ask it. Keeps an answer of theirs for a moment; lost in a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from cloudcore.registry.leasing import lends_s
from cloudcore.registry.port import Objects
from cloudcore.runtime.informer import PODS_BY_NODE
from cloudcore.store.cache import WatchCache
from skerry.errors import BadRequestError, NotFoundError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, int_at, map_at
from skerry.objects.meta import Key, uid_of
from skerry.objects.pod_leases import QUESTION_BYTES_MAX, UNTOLD, Question, answer, lease_of, untold_of
from skerry.objects.pods import is_over
from skerry.objects.scheme import Kind
from skerry.ports import Clock, Pipe

log = logging.getLogger(__name__)

_KEPT_S: Final = 1.0
"""What another replica answered, or that none did, serves all gateways for so long: they ask at once when a link is
back."""

Ago = Callable[[], float | None]
"""Seconds since the global cloud was asked what it answered last; None: it was not, or it is not known."""


class _Told(Frozen):
    asked_s: float
    """When the other replica was asked, monotonic."""
    ago_s: float | None
    """None: nobody knew."""


class PodLending:
    """See the module. A `cloudcore.hub.sessions.Carried`."""

    def __init__(self, cache: WatchCache, objects: Objects, pods: Kind, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._pods = pods
        self._clock = clock
        self._here: Ago | None = None
        self._told: _Told | None = None
        self._asking: asyncio.Task[_Told] | None = None
        """One question serves all who ask meanwhile."""
        self.elsewhere: Callable[[], Awaitable[float | None]] | None = None
        """Asks the replica that leads."""

    async def while_leading(self, ago_s: Ago, work: Awaitable[None]) -> None:
        """This process knows, for as long as this lasts."""
        self._here = ago_s
        try:
            await work
        finally:
            self._here = None

    def ago_here_s(self) -> float | None:
        """As this process knows it."""
        return None if self._here is None else self._here()

    async def ago_s(self) -> float | None:
        """As anybody knows it, counted from now or earlier."""
        if self._here is not None or self.elsewhere is None:
            return self.ago_here_s()
        told = self._told
        if told is None or self._clock.monotonic_s() >= told.asked_s + _KEPT_S:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask(self.elsewhere))
            told = await asyncio.shield(self._asking)  # who leaves ends it for nobody else
        return None if told.ago_s is None else told.ago_s + self._clock.monotonic_s() - told.asked_s

    async def _ask(self, elsewhere: Callable[[], Awaitable[float | None]]) -> _Told:
        asked_s = self._clock.monotonic_s()
        self._told = _Told(asked_s=asked_s, ago_s=await elsewhere())
        return self._told

    async def __call__(self, node: str, params: JsonObject, pipe: Pipe, /) -> None:
        size = int_at(params, "bodyBytes")
        if not 0 <= size <= QUESTION_BYTES_MAX:
            raise BadRequestError(f"a question of {size} bytes: at most {QUESTION_BYTES_MAX} are taken")
        body = bytearray()
        while len(body) < size and (piece := await pipe.read()):
            body += piece
        if len(body) != size:
            raise BadRequestError(f"a question of {size} bytes ends after {len(body)}")
        await pipe.write(answer(await self.left_ms(node, Question.decode(bytes(body)))))

    async def left_ms(self, node: str, question: Question) -> dict[str, int]:
        """Of the pods of the node that it asks for, and that are lent now."""
        asked = frozenset(question.pods)
        ago_s = await self.ago_s()
        left: dict[str, int] = {}
        for stored in self._cache.indexed(PODS_BY_NODE, node):
            pod = self._cache.obj(stored)
            if uid_of(pod) not in asked or is_over(pod):
                continue
            untold = untold_of(pod)
            if untold and question.untold.get(uid_of(pod)) == untold:
                await self._tell(stored.key, untold)
            lease_s = lends_s(self._read, lease_of(pod))
            if ago_s is not None and lease_s > ago_s:
                left[uid_of(pod)] = int((lease_s - ago_s) * 1000)
        return left

    async def _tell(self, key: Key, untold: str) -> None:
        """The gateway goes by the lease: it has asked by this mark."""

        def told(pod: JsonObject) -> JsonObject:
            if untold_of(pod) != untold:
                return pod
            metadata = map_at(pod, "metadata")
            notes = {name: text for name, text in map_at(metadata, "annotations").items() if name != UNTOLD}
            return {**pod, "metadata": {**metadata, "annotations": notes}}

        try:
            await self._objects.update(self._pods, key, told)
        except NotFoundError:
            return
        except SkerryError as error:  # nobody counts on its lease yet: no reason to lend nothing to the others
            log.warning("a pod is not marked as told of its lease pod=%s error=%s", key, error)

    def _read(self, key: Key) -> JsonObject | None:
        stored = self._cache.read(key)
        return None if stored is None else self._cache.obj(stored)
