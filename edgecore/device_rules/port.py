"""What device rules ask of the agent's other rooms; `edgecore.composition` hands it over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from devices.port import Reading
from edgecore.store.shell import AsyncEdgeStore
from skerry.frozen import Frozen
from skerry.objects.desired import Vector, Wish
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.rule_calls import ServiceReply, ServiceRequest
from skerry.objects.twins import AckState, TwinState
from skerry.ports import Clock


class PropertyTwin(Protocol):
    """One property of one device now."""

    @property
    def prop(self) -> str: ...
    @property
    def state(self) -> TwinState: ...


class Twins(Protocol):
    """See `edgecore.twins.port.Twins`."""

    def listen(self, hear: Callable[[Reading], None]) -> Callable[[], None]: ...

    def twins(self, device: Key | None = None) -> Sequence[PropertyTwin]: ...

    async def write(
        self, device: Key, wishes: Sequence[Wish], *, origin: str, if_match: str = ""
    ) -> Sequence[Vector]: ...

    def desired_log(self, device: Key, *, since_ms: int = 0) -> Sequence[tuple[int, str, JsonObject]]: ...

    async def wait(
        self, device: Key, prop: str, *, for_ver: Vector, states: frozenset[AckState], timeout_s: float
    ) -> TwinState: ...


class RuleParts(Frozen):
    """What the rules of a gateway are carried out with."""

    node: str
    store: AsyncEdgeStore
    twins: Twins
    clock: Clock
    ask: Callable[[ServiceRequest, bytes], Awaitable[ServiceReply]]
    """A service on the loopback address. Raises `UnavailableError`, `UncertainError`."""
    publish: Callable[[str, bytes], Awaitable[None]] | None = None
    """On the gateway's MQTT broker; returns when that has it. None: there is none. Raises as `ask`."""
