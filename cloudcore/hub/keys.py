"""Whether a gateway's key is its Node's: what a certificate is worth after its gateway was replaced or sent away.

The Node says with which key its gateway joined last. A certificate for another key, or for a Node that was deleted,
is refused however long it was given for, and the Node's Events say so, now and then: it may be a stolen one. Keeps
when each node's refusals were told last, in memory; a crash tells one of them once more.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cloudcore.hub.references import NODES
from cloudcore.runtime.events import EventRecorder, Saying
from cloudcore.store.cache import WatchCache
from skerry.errors import SkerryError
from skerry.objects.enrolment import key_refusal
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.ports import Clock

TOLD_AGAIN_S: Final = 60.0
"""Who holds a worthless certificate tries again and again: that makes one write a minute, not one a try."""
TOLD_MAX: Final = 1024
"""Nodes remembered; beyond, the one that was told of longest ago is forgotten."""
CATCH_UP_S: Final = 5.0


class NodeKeys:
    """Asked before a session enters, after it has, and when its Node changes."""

    def __init__(self, cache: WatchCache, recorder: EventRecorder, clock: Clock) -> None:
        self._cache = cache
        self._recorder = recorder
        self._clock = clock
        self._told: OrderedDict[str, float] = OrderedDict()

    def refusal_now(self, node: str, key: str) -> str:
        """Why such a key is refused by what is known here; "" when it is not. So is a link without a key, which is
        one within this process."""
        return key_refusal(node, self._node(node), key) if key else ""

    async def refusal(self, node: str, key: str) -> str:
        """The same by all that any process had written by now: the node has perhaps joined through another one.
        Raises `UnavailableError`."""
        seen = self._cache.revision
        reason = self.refusal_now(node, key)
        if reason and await self._cache.missed_since(seen, timeout_s=CATCH_UP_S):
            return self.refusal_now(node, key)
        return reason

    async def tell(self, node: str, reason: str) -> None:
        """Tell on the Node, if there is one, that a gateway was refused."""
        obj, now_s = self._node(node), self._clock.monotonic_s()
        if obj is None or now_s < self._told.get(node, now_s - TOLD_AGAIN_S) + TOLD_AGAIN_S:
            return
        self._told[node] = now_s
        self._told.move_to_end(node)
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        try:
            await self._recorder.say(
                obj, Saying(type="Warning", reason="GatewayRefused", message=f"a gateway was refused: {reason}")
            )
        except SkerryError:
            self._told.pop(node, None)  # the next one that is refused tells it

    def _node(self, node: str) -> JsonObject | None:
        stored = self._cache.read(Key(NODES, "", node))
        return None if stored is None else self._cache.obj(stored)
