"""Keeps the gateway from running out of memory, disk and process ids: the shell of `eviction`.

Looks; makes room with what nobody needs (finished pods' containers and volumes, unused images); ends one pod if that
is not enough, and waits until it has gone before it looks again. Needs no cloud: what happened is in the outbox.
Keeps nothing beyond the agent's life, and a crash between two steps is followed by another look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from edgecore.pods.eviction import (
    RESOURCES,
    Condition,
    EvictionSettings,
    Judged,
    Threshold,
    Watch,
    is_relieved,
    judge,
    refusal_of,
)
from edgecore.pods.eviction_ranks import eviction_message, ranked
from edgecore.pods.manager import PodManager
from edgecore.pods.room import Room, RoomParts, candidates, look
from edgecore.pods.status import EVICTED, Ending
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.ports import Clock

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
"""A kubelet's."""
NEAR_S: Final = 2.0
"""Where it may be soon: what takes memory takes it fast."""
GONE_S_MAX: Final = 30.0
"""For an ended pod to give back what it had, beyond its grace, before the next one goes; a kubelet's."""
GRACE_S_HARD: Final = 1.0
"""What a pod gets to end where nothing can wait; a kubelet's."""
_DISK: Final = frozenset({"ephemeral-storage", "inodes"})


def _nothing() -> None:
    """Where nobody wants to know."""


async def _untold(_: str, __: str) -> None:
    """Where nobody wants to hear."""


class EvictorParts(Frozen):
    """What it works with."""

    settings: EvictionSettings
    clock: Clock
    room: RoomParts
    pods: PodManager
    make_room: Callable[[], Awaitable[int]]
    """Removes images that no container uses."""
    changed: Callable[[], None] = _nothing
    """The node has other conditions now."""
    tell: Callable[[str, str], Awaitable[None]] = _untold
    """Reason and message of an event about the node."""


class Evictor:
    """Run `run` in a task group."""

    def __init__(self, parts: EvictorParts) -> None:
        self._parts = parts
        self._watch = Watch()
        self._conditions: frozenset[Condition] = frozenset()
        self._reclaiming = ""
        """What it was told of last that it is made room for; "" while there is enough."""
        self._helpless = False
        """Said already that there is nobody who may go."""

    @property
    def conditions(self) -> frozenset[Condition]:
        return self._conditions

    def refusal(self, pod: JsonObject) -> str:
        """Why a pod may not begin now; "" where it may."""
        return refusal_of(pod, self._conditions)

    async def run(self) -> None:
        """Until cancelled; returns at once where nothing is a threshold."""
        if not self._parts.settings.thresholds:
            return
        while True:
            rest_s = LOOK_S
            try:
                rest_s = await self.look()
            except (UnavailableError, OSError) as error:
                log.warning("room is not looked at reason=%s", error)
            await asyncio.sleep(rest_s)

    async def look(self) -> float:
        """Look once and do what has to be done; seconds until the next. Raises `UnavailableError`, `OSError`."""
        room = await look(self._parts.room)
        judged = judge(self._parts.settings, self._watch, room.seen, now_s=self._parts.clock.monotonic_s())
        self._watch = judged.watch
        self._note(judged)
        if not judged.met:
            self._reclaiming, self._helpless = "", False
            return NEAR_S if judged.near else LOOK_S
        await self._tell_of(RESOURCES[judged.met[0].signal])
        if await self._reclaim(judged.met[0]):
            return NEAR_S
        return NEAR_S if await self._evict(room, judged.met) else LOOK_S

    def _note(self, judged: Judged) -> None:
        if judged.conditions != self._conditions:
            names = ",".join(sorted(judged.conditions)) or "none"
            log.warning("pressure on the gateway changed conditions=%s", names)
            self._conditions = judged.conditions
            self._parts.changed()

    async def _tell_of(self, resource: str) -> None:
        """Once for as long as it is short."""
        if resource != self._reclaiming:
            self._reclaiming = resource
            await self._parts.tell("EvictionThresholdMet", f"Attempting to reclaim {resource}")

    async def _reclaim(self, threshold: Threshold) -> bool:
        """Make room with what nobody needs; True when no pod has to go."""
        if RESOURCES[threshold.signal] not in _DISK:
            return False
        cleared = await self._parts.pods.clear_finished()
        removed_bytes = await self._parts.make_room()
        if cleared or removed_bytes:
            log.info("room made finished_pods=%d images_bytes=%d", cleared, removed_bytes)
        return is_relieved(self._parts.settings, (await look(self._parts.room)).seen)

    async def _evict(self, room: Room, met: Sequence[Threshold]) -> bool:
        """End the first who may go, and wait for that. False where there is nobody."""
        pods = self._parts.pods
        order = ranked(met[0], await candidates(self._parts.room, room, met[0], pods.active()))
        if not order:
            if not self._helpless:
                log.warning("the gateway is short and no pod may go signal=%s", met[0].signal)
            self._helpless = True
            return False
        pod = order[0].pod
        message = eviction_message(met, room.seen, order[0])
        log.warning("pod evicted pod=%s/%s reason=%s", namespace_of(pod), name_of(pod), message)
        grace_s = GRACE_S_HARD if met[0].is_hard else float(self._parts.settings.grace_s_max)
        pods.end(uid_of(pod), Ending(reason=EVICTED, message=message, disrupted=True), grace_s)
        try:
            async with asyncio.timeout(grace_s + GONE_S_MAX):
                await pods.until_cleared(uid_of(pod))
        except TimeoutError:
            log.warning("an evicted pod has not ended yet pod=%s/%s", namespace_of(pod), name_of(pod))
        return True
