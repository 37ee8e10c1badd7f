"""Ends what runs of a pod whose lease is over, while the pod's worker is at something else, or fails.

A start, or a sandbox, may take a runtime minutes; another gateway begins long before. So what runs is told to end
beside the worker's step, by the same `Stopping` that the worker uses, and the worker finds it ended at its next look.
Looks again until that step is over, or one that succeeds: what it was about to start may have begun meanwhile. Keeps
nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from edgecore.pods.containers import all_of
from edgecore.pods.leases import ENDED
from edgecore.pods.parts import PodParts
from edgecore.pods.plan import Seen, Stop, plan
from edgecore.pods.stopping import Stopping
from skerry.errors import SkerryError
from skerry.objects.json import JsonObject
from skerry.waits import until_set

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0


class Fencing:
    """See the module. Of one pod."""

    def __init__(self, parts: PodParts, uid: str, stopping: Stopping, at_rest: asyncio.Event) -> None:
        """`at_rest`: the worker is between two steps, and the last one could be taken."""
        self._parts = parts
        self._uid = uid
        self._stopping = stopping
        self._at_rest = at_rest
        self._task: asyncio.Task[None] | None = None

    def begin(self, pod: Callable[[], JsonObject | None], grace_s: float, tasks: asyncio.TaskGroup) -> None:
        """Once for each step that is under way, or has failed."""
        if not self._at_rest.is_set() and (self._task is None or self._task.done()):
            self._task = tasks.create_task(self._until_rest(pod, grace_s, tasks))

    async def _until_rest(
        self, pod: Callable[[], JsonObject | None], grace_s: float, tasks: asyncio.TaskGroup
    ) -> None:
        told = False
        while not self._at_rest.is_set() and (now := pod()) is not None and self._parts.lent.left_s(now) == 0:
            try:
                await self._look(now, grace_s, tasks)
            except (SkerryError, OSError) as error:
                if not told:
                    log.warning("a pod whose lease is over is not ended yet uid=%s reason=%s", self._uid, error)
                told = True
            except Exception:
                # The root of this task: a fault that keeps the worker from its steps may be met here as well.
                if not told:
                    log.exception("a pod whose lease is over is not ended yet uid=%s", self._uid)
                told = True
            await until_set(self._at_rest, within_s=LOOK_S)

    async def _look(self, pod: JsonObject, grace_s: float, tasks: asyncio.TaskGroup) -> None:
        runtime = self._parts.runtime
        containers = await runtime.list(self._uid)
        if all(state.phase == "exited" for state in containers):
            return
        now_ms = self._parts.clock.wall_ms()
        seen = Seen(
            pod=pod,
            containers=containers,
            sandboxes=await runtime.sandboxes(self._uid),
            backoff={},
            problems={},
            terminating=False,
            grace_s=grace_s,
            held_back=ENDED,
            unlent_ms=now_ms - round(self._parts.lent.over_s(pod) * 1000),
            finished=False,
            now_ms=now_ms,
        )
        specs = {one.name: one.spec for one in all_of(pod)}
        address = next(iter(seen.sandbox.addresses if seen.sandbox else ()), self._parts.node.address)
        for step in plan(seen).actions:
            if isinstance(step, Stop) and not self._at_rest.is_set():
                self._stopping.stop(step, specs.get(step.name, {}), address, tasks)
