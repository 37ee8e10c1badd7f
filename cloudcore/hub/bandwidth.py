"""The caps on what the hub sends to each node: the annotation `skerry.dev/bandwidth` of its Node, followed at once.

Nothing is kept for a node without one. For the others it keeps the plan that was understood last and the account of
what was sent (`Gate`), over the node's links: a reconnect is no way around a cap. Admission refuses what makes no
sense; where that stands in the store all the same (an older cloud wrote it), an Event says so and the plan before
stays. In memory: after a crash plans are read from the store, and accounts begin anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from cloudcore.hub.references import NODES
from cloudcore.runtime.events import EventRecorder, Saying
from cloudcore.store.port import Change, Stored
from skerry.errors import InvalidError, SkerryError
from skerry.objects.bandwidth import BANDWIDTH, BandwidthPlan, parse_bandwidth, shown_bandwidth
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import annotations_of, name_of
from skerry.ports import Clock
from skerry.transport.gate import Gate

LOG: Final = logging.getLogger(__name__)

_NAME: Final = BANDWIDTH.encode()


@dataclass(slots=True, kw_only=True)
class _Capped:
    """One node that has, or had, a plan."""

    text: str
    """What the annotation says, understood or not."""
    plan: BandwidthPlan | None
    """What holds."""
    gate: Gate


class Bandwidths:
    """Tell it every change of a Node, run `run` in a task group."""

    def __init__(
        self,
        clock: Clock,
        recorder: EventRecorder,
        node_of: Callable[[str], JsonObject | None],
        speaks: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._recorder = recorder
        self._node_of = node_of
        self._speaks = speaks
        self._capped: dict[str, _Capped] = {}
        self._complaints: dict[str, str] = {}
        """By node: what is to be said of its annotation."""
        self._wake = asyncio.Event()

    def load(self, nodes: Iterable[Stored]) -> list[str]:
        """See all Nodes, as of now; the nodes for which something else holds than before."""
        changed: list[str] = []
        found: set[str] = set()
        for stored in nodes:
            found.add(stored.key.name)
            if self._see(stored.key.name, stored.body):
                changed.append(stored.key.name)
        for gone in self._capped.keys() - found:
            del self._capped[gone]
        return changed

    def apply(self, change: Change) -> str | None:
        """See one change; the node for which something else holds now."""
        key = change.key
        if key.resource != NODES:
            return None
        if change.after is None:
            self._capped.pop(key.name, None)
            return None
        return key.name if self._see(key.name, change.after) else None

    def gate(self, node: str) -> Gate | None:
        """What the node's session sends through; None for no cap."""
        capped = self._capped.get(node)
        return None if capped is None else capped.gate

    def shown(self, node: str) -> JsonObject:
        """What holds now (`shown_bandwidth`), and why not what the annotation says; empty for no cap."""
        capped = self._capped.get(node)
        if capped is None:
            return {}
        shown = shown_bandwidth(capped.gate.plans, self._clock.wall_ms())
        try:
            parse_bandwidth(capped.text)
        except InvalidError as error:
            return {**shown, "invalid": str(error)}
        return shown

    async def run(self) -> None:
        """Say what is wrong with annotations, until cancelled."""
        while True:
            self._wake.clear()
            while self._complaints:
                name, message = self._complaints.popitem()
                node = self._node_of(name)
                if node is not None and self._speaks():  # every replica follows all Nodes, and one is enough
                    await self._say(node, Saying(type="Warning", reason="BandwidthInvalid", message=message))
            await self._wake.wait()

    async def _say(self, node: JsonObject, saying: Saying) -> None:
        try:
            await self._recorder.say(node, saying)
        except SkerryError as error:
            LOG.warning("an invalid bandwidth plan is not told of node=%s error=%s", name_of(node), error)

    def _see(self, name: str, body: bytes) -> bool:
        capped = self._capped.get(name)
        if capped is None and _NAME not in body:
            return False
        text = annotations_of(decode_object(body)).get(BANDWIDTH, "")
        if text == (capped.text if capped is not None else ""):
            return False
        if capped is not None and not text:
            capped.gate.hold(())  # the session that has it finds it open
            del self._capped[name]
            return True
        if capped is None:
            capped = self._capped[name] = _Capped(text=text, plan=None, gate=Gate("down", self._clock))
        capped.text = text
        try:
            capped.plan = parse_bandwidth(text)
        except InvalidError as error:
            before = "nothing is limited" if capped.plan is None else "the plan before stays in force"
            self._complaints[name] = f"{error}; {before}"
            self._wake.set()
            LOG.warning("bandwidth plan not understood node=%s error=%s", name, error)
            return False
        capped.gate.hold((capped.plan,))
        return True
