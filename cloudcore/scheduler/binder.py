"""Gives a pod's claims their volumes before the pod is bound: writes what was decided, and waits until it is done.

Keeps in memory which volumes it gave and that do not say so yet. A crash loses that and nothing else: what was
written in claims and volumes stays, and the pod is decided on again with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from cloudcore.registry.volumes import promised
from cloudcore.runtime.informer import VOLUMES_BY_CLAIM, VOLUMES_BY_CLASS, class_value
from cloudcore.runtime.manager import Tools
from cloudcore.scheduler.ask import Ask
from cloudcore.scheduler.decide import Decision
from cloudcore.scheduler.volumes import NO_NEEDS, Assignment, VolumeNeeds, needs_of
from skerry.errors import ConflictError, NotFoundError, UnavailableError
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, annotations_of, name_of, namespace_of, uid_of, with_annotations
from skerry.objects.volumes import CLAIMS, CLASSES, SELECTED_NODE, VOLUMES, class_of, is_bound, is_for

BIND_S_MAX: Final = 600.0
"""Kubernetes' bindTimeoutSeconds: a volume that is not there then is looked for anew."""
RESOURCES: Final = frozenset({CLAIMS, VOLUMES, CLASSES})


class UnboundError(UnavailableError):
    """The volumes did not come."""


class VolumeBinder:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._given: dict[Key, frozenset[str]] = {}
        """By pod: the names of volumes that were chosen for its claims."""
        self._news: dict[Key, asyncio.Event] = {}
        """By pod: something of its claims may have changed."""

    # `cloudcore.scheduler.volumes.Storage`

    def claim(self, namespace: str, name: str) -> JsonObject | None:
        return self._read(Key(CLAIMS, namespace, name))

    def volume(self, name: str) -> JsonObject | None:
        return self._read(Key(VOLUMES, "", name))

    def storage_class(self, name: str) -> JsonObject | None:
        return self._read(Key(CLASSES, "", name))

    def candidates(self, claim: JsonObject) -> Sequence[JsonObject]:
        cache = self._tools.cache
        found = (
            *cache.indexed(VOLUMES_BY_CLASS, class_value(class_of(claim))),
            *cache.indexed(VOLUMES_BY_CLAIM, f"{namespace_of(claim)}/{name_of(claim)}"),
        )
        return [cache.obj(stored) for stored in {stored.key: stored for stored in found}.values()]

    def _read(self, key: Key) -> JsonObject | None:
        stored = self._tools.objects.read(key)
        return None if stored is None else self._tools.cache.obj(stored)

    # Deciding

    def needs(self, ask: Ask) -> VolumeNeeds:
        if not ask.claims:
            return NO_NEEDS
        taken = frozenset[str]().union(*(names for pod, names in self._given.items() if pod != ask.key))
        return needs_of(ask, self, taken)

    def assume(self, ask: Ask, decision: Decision) -> None:
        """Count the chosen volumes as given."""
        names = frozenset(name_of(each.volume) for each in decision.volumes if each.volume is not None)
        if names:
            self._given[ask.key] = names

    def forget(self, ask: Ask) -> None:
        """They say so themselves by now, or the pod does not get them."""
        self._given.pop(ask.key, None)

    def poke(self, pod: Key | None = None) -> None:
        """Claims or volumes changed, or this pod did."""
        for key, event in self._news.items():
            if pod is None or key == pod:
                event.set()

    # Doing

    async def write(self, decision: Decision) -> None:
        """Say in the volumes and claims what was decided. Raises what the store raises, and `ConflictError` where
        somebody else was faster."""
        for each in decision.volumes:
            if each.volume is not None:
                await self._promise(each.volume, each.claim)
            else:
                await self._select(each.claim, decision.node)

    async def _promise(self, volume: JsonObject, claim: JsonObject) -> None:
        def promise(now: JsonObject) -> JsonObject:
            if uid_of(now) != uid_of(volume) or (map_at(now, "spec", "claimRef") and not is_for(now, claim)):
                raise ConflictError(f'volume "{name_of(volume)}" was given to another claim')
            return promised(now, claim)

        await self._tools.objects.update(self._tools.kind(VOLUMES), Key(VOLUMES, "", name_of(volume)), promise)

    async def _select(self, claim: JsonObject, node: str) -> None:
        def select(now: JsonObject) -> JsonObject:
            if uid_of(now) != uid_of(claim) or annotations_of(now).get(SELECTED_NODE, node) != node:
                raise ConflictError(f'claim "{name_of(claim)}" was given to another node')
            return with_annotations(now, {SELECTED_NODE: node})

        key = Key(CLAIMS, namespace_of(claim), name_of(claim))
        await self._tools.objects.update(self._tools.kind(CLAIMS), key, select)

    async def wait(self, ask: Ask, decision: Decision) -> None:
        """Until all have their volumes. Raises `UnboundError` when that can't come about any more, or takes too
        long."""
        news = self._news[ask.key] = asyncio.Event()
        try:
            async with asyncio.timeout(BIND_S_MAX):
                while not all(self._has(ask, each, decision.node) for each in decision.volumes):
                    await news.wait()
                    news.clear()
        except TimeoutError as error:
            raise UnboundError("binding volumes: context deadline exceeded") from error
        except NotFoundError as error:
            raise UnboundError(f"binding volumes: {error}") from error
        finally:
            del self._news[ask.key]

    def _has(self, ask: Ask, given: Assignment, node: str) -> bool:
        pod = self._read(ask.key)
        if pod is None or uid_of(pod) != ask.uid:
            raise NotFoundError(f'pod "{ask.key.name}" not found')
        name = name_of(given.claim)
        claim = self.claim(namespace_of(given.claim), name)
        if claim is None or uid_of(claim) != uid_of(given.claim):
            raise NotFoundError(f'persistentvolumeclaim "{name}" not found')
        if is_bound(claim):
            return True
        if given.volume is None and annotations_of(claim).get(SELECTED_NODE) != node:
            raise UnboundError(f'binding volumes: selectedNode annotation reset for PVC "{name}"')
        return False
