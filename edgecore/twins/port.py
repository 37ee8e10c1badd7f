"""What the agent offers to those who read and write twins on the gateway: the local API, and `main`.

`edgecore.twins.keeper.Keeper` is its form. Data live in the edge store; a crash leaves them there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from devices.port import Reading
from skerry.frozen import Frozen
from skerry.objects.desired import Vector, Wish
from skerry.objects.holds import Holding
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import AckState, TwinState


class PropertyTwin(Frozen):
    """One property of one device now."""

    device: Key
    prop: str
    state: TwinState


class DeviceSummary(Frozen):
    """One device now."""

    device: Key
    state: str
    """online, offline, invalid, waiting, held."""
    reason: str
    protocol: str
    holding: Holding | None
    """Polls and writes pause."""
    last_online_ms: int
    """0: never."""


class Twins(Protocol):
    """Twins on the gateway. Works the same with and without a link."""

    def devices(self) -> Sequence[DeviceSummary]: ...

    def twins(self, device: Key | None = None) -> Sequence[PropertyTwin]: ...

    async def set_desired(
        self, device: Key, prop: str, value: str, *, origin: str, expires_ms: int | None = None
    ) -> Vector:
        """Want a value, from here on; durable when this returns. Its version is what `wait` waits for.

        Raises `NotFoundError` (no such device or property here), `InvalidError` (read-only, wrong type, out of
        range, already expired), `StorageFullError`.
        """
        ...

    async def write(
        self, device: Key, wishes: Sequence[Wish], *, origin: str, if_match: str = ""
    ) -> Sequence[Vector]:
        """Want several properties of one device, or nothing of them any more: all are checked before any is written;
        durable together when this returns. They are carried out in their order. `if_match`: the revision of all that
        is wanted of the device (`skerry.objects.device_desired.desired_revision`) that the author has seen.

        Raises as `set_desired`, and `ConflictError` where something else is wanted by now, saying what.
        """
        ...

    def desired_log(self, device: Key, *, since_ms: int = 0) -> Sequence[tuple[int, str, JsonObject]]:
        """What was wanted of a device and what became of it, as durable here: (number, time, entry), the newest
        first (`skerry.objects.desired_log.shown`)."""
        ...

    async def hold(self, device: Key, *, reason: str, by: str, until_ms: int | None) -> Holding:
        """Pause polls and writes of a device, until it is released or until a time; durable when this returns. In
        place of what was said here before. Raises `NotFoundError`, `InvalidError`, `StorageFullError`."""
        ...

    async def release(self, device: Key) -> None:
        """Go on with a device, whoever held it; a newer hold of the cloud's counts. Raises as `hold`."""
        ...

    def listen(self, hear: Callable[[Reading], None]) -> Callable[[], None]:
        """Be told of every new reading as it is taken, before it is durable and whatever the deadband; the result
        ends it."""
        ...

    async def wait(
        self, device: Key, prop: str, *, for_ver: Vector, states: frozenset[AckState], timeout_s: float
    ) -> TwinState:
        """The twin as soon as a write that covers `for_ver` was answered with one of `states`, or for good
        (`verified`, `applied`, `refused`, `expired`): look which. Raises `UnavailableError` after `timeout_s`, saying
        what it is still waiting for."""
        ...

    def objects_changed(self, keys: Iterable[Key]) -> None:
        """These objects in the edge store were put or deleted. Returns at once."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...
