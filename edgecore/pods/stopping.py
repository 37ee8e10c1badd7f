"""Ends containers: the preStop hook first, SIGTERM then, SIGKILL when the grace is over. All of it counts as grace.

Keeps in memory which stops are under way. A restarted agent stops anew, hook included, as a kubelet does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgecore.pods.asking import Asking, Whom
from edgecore.pods.events import Happening
from edgecore.pods.handlers import handler_of
from edgecore.pods.plan import GRACE_S_MIN, Stop
from edgecore.pods.port import Runtime
from skerry.errors import InvalidError, SkerryError
from skerry.objects.json import JsonObject, map_at

log = logging.getLogger(__name__)

AGAIN_S: Final = 5.0
"""After the runtime did not answer."""
SAME_S: Final = 0.5
"""Two ends that are nearer to each other are the same: what is left of a grace is counted anew at each look."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Way:
    """One stop under way; times are the loop's."""

    until_s: float
    hook: asyncio.Timeout | None = None
    """Of the hook, while that runs."""


class Stopping:
    """See the module."""

    def __init__(
        self, runtime: Runtime, asking: Asking, happened: Callable[[Happening], None], over: Callable[[], None]
    ) -> None:
        """`over`: a stop has come to its end."""
        self._runtime = runtime
        self._asking = asking
        self._happened = happened
        self._over = over
        self._ways: dict[str, _Way] = {}

    def stop(self, step: Stop, spec: JsonObject, address: str, tasks: asyncio.TaskGroup) -> None:
        """Beside the caller, which may come again: less grace shortens what is under way, more changes nothing."""
        now_s = asyncio.get_running_loop().time()
        until_s = now_s + step.grace_s
        way = self._ways.get(step.container_id)
        if way is None:
            message = step.why or f"Stopping container {step.name}"
            self._happened(Happening(reason="Killing", message=message, container=step.name))
            way = self._ways[step.container_id] = _Way(until_s=until_s)
            tasks.create_task(self._stopped(step, way, spec, address))
        elif until_s < way.until_s - SAME_S:
            way.until_s = until_s
            if way.hook is not None and not way.hook.expired():
                way.hook.reschedule(until_s)
            else:
                tasks.create_task(self._end(step.container_id, step.grace_s))

    async def _stopped(self, step: Stop, way: _Way, spec: JsonObject, address: str) -> None:
        hook, grace_s = map_at(spec, "lifecycle", "preStop"), step.grace_s
        if hook and grace_s > 0:
            await self._run_hook(step, way, hook, spec, address)
            # Whoever spent all of it on its hook still gets a moment for SIGTERM.
            grace_s = max(way.until_s - asyncio.get_running_loop().time(), min(GRACE_S_MIN, grace_s))
        await self._end(step.container_id, grace_s)
        if self._ways.get(step.container_id) is way:
            del self._ways[step.container_id]
        self._over()

    async def _run_hook(self, step: Stop, way: _Way, hook: JsonObject, spec: JsonObject, address: str) -> None:
        try:
            handler = handler_of(hook, spec)
            async with asyncio.timeout_at(way.until_s) as way.hook:
                whom = Whom(container_id=step.container_id, address=address)
                failure = await self._asking.hook(handler, whom, timeout_s=step.grace_s)
        except InvalidError as error:
            failure = str(error)
        except TimeoutError:
            failure = "it took longer than the grace period"
        finally:
            way.hook = None
        if failure:
            log.info("prestop hook failed container=%s reason=%s", step.container_id, failure)
            what = Happening(
                reason="FailedPreStopHook", message="PreStopHook failed", container=step.name, warning=True
            )
            self._happened(what)

    async def _end(self, container_id: str, grace_s: float) -> None:
        try:
            await self._runtime.stop(container_id, grace_s=grace_s)
        except (SkerryError, OSError) as error:
            log.warning("container is not stopped yet container=%s reason=%s", container_id, error)
            await asyncio.sleep(AGAIN_S)
