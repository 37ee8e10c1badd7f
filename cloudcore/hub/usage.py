"""What gateways and their containers use, asked of them when somebody asks here, and remembered for some seconds.

Nothing is on the wire while nobody asks; many who ask at once are one question to each gateway. Keeps the last
answers, in memory; a crash asks again.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import orjson

from cloudcore.hub.streams import NodePipes
from skerry.errors import SkerryError, UnavailableError
from skerry.objects.json import Json, list_at
from skerry.objects.usage import USAGE, WINDOW_S, NodeUsed, Sample, rates
from skerry.ports import Clock

KEPT_S: Final = 10.0
"""How old an answer may be (metrics-server looks every 15 s)."""
ANSWER_S_MAX: Final = 5.0 + WINDOW_S
ANSWER_BYTES_MAX: Final = 1024 * 1024
"""A hundred pods of ten containers take a tenth."""


class NodeUsages:
    """The API's `Usages`."""

    def __init__(self, pipes: NodePipes, clock: Clock) -> None:
        self._pipes = pipes
        self._clock = clock
        self._known: dict[str, tuple[float, NodeUsed]] = {}
        """By node, and until when."""
        self._asking: dict[str, asyncio.Task[NodeUsed]] = {}

    async def used(self, node: str) -> NodeUsed:
        """See `cloudcore.api.ports.Usages`."""
        now_s = self._clock.monotonic_s()
        known = self._known.get(node)
        if known is not None and now_s < known[0]:
            return known[1]
        asking = self._asking.get(node)
        if asking is None:
            asking = self._asking[node] = asyncio.create_task(self._ask(node))
            asking.add_done_callback(lambda done: self._note(node, done))
        return await asyncio.shield(asking)

    def _note(self, node: str, done: asyncio.Task[NodeUsed]) -> None:
        del self._asking[node]
        now_s = self._clock.monotonic_s()
        self._known = {name: kept for name, kept in self._known.items() if now_s < kept[0]}
        if not done.cancelled() and done.exception() is None:
            self._known[node] = (now_s + KEPT_S, done.result())

    async def _ask(self, node: str) -> NodeUsed:
        answer = bytearray()
        try:
            async with asyncio.timeout(ANSWER_S_MAX), aclosing(self._pipes.read(node, USAGE, b"{}")) as pieces:
                async for piece in pieces:
                    answer += piece
                    if len(answer) > ANSWER_BYTES_MAX:
                        raise UnavailableError(f"node {node} answers more than {ANSWER_BYTES_MAX} bytes")
        except TimeoutError as error:
            raise UnavailableError(f"node {node} does not answer within {ANSWER_S_MAX:g} s") from error
        except SkerryError as error:
            raise UnavailableError(f"node {node}: {error}") from error
        try:
            told: Json = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise UnavailableError(f"node {node} answers what makes no sense") from error
        return rates([Sample.read(each) for each in list_at(told, "samples")])
