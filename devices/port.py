"""What a driver is: code that speaks to real devices, and the values that leave it.

No value without quality and time; no wrong value, rather none. A driver never raises for a sick device: it
returns a reading with bad quality and a reason. Forms: `modbus`, `mqtt`, `virtual`. All pass
`tests/contracts/driver_contract.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

Value: TypeAlias = "bool | int | float | str | bytes"
Quality = Literal["good", "uncertain", "bad", "stale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value of one property, or the reason why there is none."""

    device: Key
    prop: str
    value: Value | None
    """None exactly when quality is `bad`."""
    quality: Quality
    reason: str
    """"" when good; else for people: `unit 3 silent for 2.0 s`, `exception 2: illegal data address`."""
    source_ms: int
    """When the device says (or the middle of request and response), wall clock milliseconds."""
    monotonic_s: float
    """The same instant on the monotonic clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyConfig:
    """One property with everything a driver needs: the instance's visitor merged over the model's."""

    name: str
    type: str
    """INT, FLOAT, DOUBLE, STRING, BOOLEAN, BYTES (KubeEdge v1beta1)."""
    writable: bool
    unit: str
    minimum: float | None
    maximum: float | None
    collect_ms: int
    visitor: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """One device as a driver sees it."""

    device: Key
    protocol: str
    protocol_config: JsonObject
    properties: tuple[PropertyConfig, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """What became of one write. `verified` means read back and equal within tolerance."""

    state: Literal["verified", "applied", "refused", "failed"]
    reason: str
    read_back: Reading | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHealth:
    device: Key
    online: bool
    reason: str


class Driver(Protocol):
    """Serves all devices of one protocol. `configure` may be called again at any time with the whole set."""

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """Take over this set; the refusals (device, reason naming the field and the fix) are returned."""
        ...

    def readings(self) -> AsyncIterator[Reading]:
        """What is read, as it is read. One consumer."""
        ...

    def health(self) -> Sequence[DeviceHealth]: ...

    async def write(self, device: Key, prop: str, value: Value) -> WriteResult:
        """Write, then read back. Never raises for a sick device."""
        ...

    async def close(self) -> None: ...
