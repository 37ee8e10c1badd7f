"""Has the cloud show what static pods run here, while there is a link; and tells it of files that are wrong.

Keeps nothing: what is to be done follows from the files and from what the cloud's view of this gateway holds, looked
at again whenever one of them changes. So a mirror that somebody deleted, or that a restored cloud never had, is made
again, and one of a file that went while there was no link is deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from edgecore.pods.events import event_body, node_event
from edgecore.pods.static.directory import Fault, StaticPods
from edgecore.pods.static.mirror_plan import Make, Step, check, plan, request_for
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import decode_object
from skerry.objects.meta import Key
from skerry.objects.mirror_pods import may_mirror
from skerry.ports import Clock, Ids
from skerry.waits import longer_s, until_set

log = logging.getLogger(__name__)

PODS: Final = "pods"
LOOK_S: Final = 60.0
SOON_S: Final = 1.0
"""Until it is known whether the store equals the cloud's view, and between a request and the view that shows it."""
AGAIN_S_MIN: Final = 2.0
AGAIN_S_MAX: Final = 300.0
SHOWN_S: Final = 10.0
"""What was done is in the view by then, or is done once more."""
_INVALID: Final = "InvalidStaticPod"


class Calls(Protocol):
    """See `edgecore.link.calls.CloudCalls`."""

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer: ...


class MirrorParts(Frozen):
    """What the keeper is made of."""

    files: StaticPods
    store: AsyncEdgeStore
    calls: Calls
    node: str
    clock: Clock
    ids: Ids
    in_step: Callable[[], bool]
    """The store is known to equal the cloud's view: what is not in it is not there."""
    connected: Callable[[], bool]


class _Try(Frozen):
    """What was tried last for a pod, and when it may be tried again."""

    steps: tuple[Step, ...]
    again_s: float
    delay_s: float
    why: str
    """What the cloud said against it; "" where it did it."""


class Mirrors:
    """See the module. Run `run` in a task group."""

    def __init__(self, parts: MirrorParts) -> None:
        self._parts = parts
        self._look = asyncio.Event()
        self._tries: dict[Key, _Try] = {}
        self._told: frozenset[Fault] = frozenset()

    def refusals(self) -> dict[Key, str]:
        """Why the cloud does not show a static pod, where it said so."""
        return {key: tried.why for key, tried in self._tries.items() if tried.why}

    def poke(self) -> None:
        """There is a link again."""
        self._tries.clear()
        self._look.set()

    async def run(self) -> None:
        stops = (self._parts.store.listen(self._committed), self._parts.files.listen(lambda _keys: self._look.set()))
        try:
            while True:
                self._look.clear()
                wait_s = await self._round()
                await until_set(self._look, within_s=wait_s)
        finally:
            for stop in stops:
                stop()

    def _committed(self, batch: EdgeBatch) -> None:
        keys = (*(held.key for held in batch.puts), *batch.deletes)
        if any(key.resource == PODS for key in keys) or any(body is None for _, body in batch.pods):
            self._look.set()

    async def _round(self) -> float:
        """Do what is due; seconds until the next look."""
        await self._tell_of_faults()
        if not self._parts.connected():
            return LOOK_S
        if not self._parts.in_step():
            return SOON_S if self._parts.files.pods else LOOK_S
        held = self._parts.store.list(PODS)
        pods = [decode_object(each.body) for each in held if may_mirror(each.body) or self._has_name(each.key)]
        due = dict(plan(self._parts.files.pods, pods, self._lives))
        self._tries = {key: tried for key, tried in self._tries.items() if key in due}
        wait_s = LOOK_S
        for key, steps in due.items():
            now_s = self._parts.clock.monotonic_s()
            tried = self._tries.get(key)
            if tried is None or tried.steps != steps or tried.again_s <= now_s:
                tried = self._tries[key] = await self._do(key, steps, tried)
            wait_s = min(wait_s, max(tried.again_s - self._parts.clock.monotonic_s(), SOON_S))
        return wait_s

    def _lives(self, uid: str) -> bool:
        """Something of a pod with this uid is left here."""
        return self._parts.store.pod(uid) is not None

    def _has_name(self, key: Key) -> bool:
        return key in self._parts.files.pods

    async def _do(self, key: Key, steps: tuple[Step, ...], before: _Try | None) -> _Try:
        why = ""
        try:
            for step in steps:
                await self._ask(step)
                log.info("mirror pod %s pod=%s/%s", _said(step), key.namespace, key.name)
        except SkerryError as error:
            why = str(error)
        now_s = self._parts.clock.monotonic_s()
        if not why:
            return _Try(steps=steps, again_s=now_s + SHOWN_S, delay_s=0.0, why="")
        if before is None or before.why != why:
            log.warning("a static pod is not shown by the cloud pod=%s/%s reason=%s", key.namespace, key.name, why)
        delay_s = longer_s(before.delay_s if before else 0.0, least_s=AGAIN_S_MIN, most_s=AGAIN_S_MAX)
        return _Try(steps=steps, again_s=now_s + delay_s, delay_s=delay_s, why=why)

    async def _ask(self, step: Step) -> None:
        node = self._parts.store.get(Key("nodes", "", self._parts.node))
        if node is None:
            raise UnavailableError("the Node is not known here yet")
        head, body = request_for(step, node.stamp.uid)
        check(step, await self._parts.calls.ask(head, body))

    async def _tell_of_faults(self) -> None:
        """Of each once, as an Event of the Node: whoever looks at it can't see the file."""
        faults = frozenset(self._parts.files.faults)
        new = sorted(faults - self._told, key=lambda fault: fault.file)
        if new:
            told = [self._event(fault) for fault in new]
            reports = tuple(NewReport(report_class="event", kind=kind, key="", body=body) for kind, body in told)
            try:
                await self._parts.store.apply(EdgeBatch(reports=reports))
            except UnavailableError:
                return  # told with the next look
        self._told = faults

    def _event(self, fault: Fault) -> tuple[str, bytes]:
        return event_body(
            node_event(
                self._parts.node,
                _INVALID,
                f"{fault.file}: {fault.why}",
                suffix=self._parts.ids.token_hex(8),
                now_ms=self._parts.clock.wall_ms(),
            )
        )


def _said(step: Step) -> str:
    return "made" if isinstance(step, Make) else "let go of"
