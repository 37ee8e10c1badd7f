"""Listening on the gateway's broker for what is no Device yet, when somebody asks. Keeps nothing.

A gateway has no right to make objects in the cloud, and gets none for this: who may, applies what this writes
(docs/decisions/0252-who-makes-objects-of-found-devices.md). It leaves no session at the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from devices.mqtt.config import Broker
from devices.mqtt.discovery import Place, filters
from edgecore.bus.found import discovery_shown, known_of, mapper_filters
from edgecore.store.shell import AsyncEdgeStore
from skerry.objects.device_models import DEVICES
from skerry.objects.device_questions import Discover
from skerry.objects.json import JsonObject, decode_object

Collect: TypeAlias = Callable[[set[str], float], tuple[dict[str, bytes], tuple[str, ...]]]
"""What is said on these topics within so many seconds, and what of it is left out, for people. Blocks. Raises
`UnavailableError`."""


@dataclass(slots=True, kw_only=True)
class BrokerDiscovery:
    """Implements `edgecore.twins.questions.Discovery`."""

    node: str
    broker: Broker
    prefix: str
    """The first levels of Home Assistant's topics."""
    store: AsyncEdgeStore
    collect: Collect
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One at a time: it has one client id."""

    async def answer(self, question: Discover) -> JsonObject:
        """Raises `UnavailableError` where the broker can't be reached."""
        async with self._turn:
            wanted = filters(self.prefix) | mapper_filters(self.node)
            documents, unheard = await asyncio.to_thread(self.collect, wanted, question.seconds)
        place = Place(node=self.node, namespace=question.namespace, protocol={})
        known = known_of([decode_object(held.body) for held in self.store.list(DEVICES)])
        told = await asyncio.to_thread(
            discovery_shown, documents, prefix=self.prefix, place=place, known=known
        )  # ten thousand documents are work
        left_out = told["leftOut"]
        assert isinstance(left_out, list), "it was made so"
        return {
            "kind": "NodeDiscovery",
            "apiVersion": "skerry.dev/v1",
            "metadata": {"name": self.node},
            "broker": str(self.broker),
            "seconds": question.seconds,
            **told,
            "leftOut": [*unheard, *left_out],
        }
