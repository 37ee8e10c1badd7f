"""Drivers that others write: the face that they import, how they are found, and what keeps the agent safe from them.

A package offers a driver by an entry point of the group `skerry.drivers`, whose name is the protocol's:

    [project.entry-points."skerry.drivers"]
    acme = "acme_skerry:driver"

It names a function that takes `Services` and returns a `Driver` (most easily a `PollingDriver`). It is imported when
the first Device of that protocol comes. Whatever it raises is told on its devices and in the log, and ends there; a
value that is not of its property's type is none. What needs a process of its own is a mapper: docs/howto. Keeps
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from devices.inflow import Inflow, no_value
from devices.polling import LeftAloneError, Open, PolledDevice, PollingDriver, Sample
from devices.port import (
    DeviceConfig,
    DeviceHealth,
    Driver,
    Explanation,
    PropertyConfig,
    Reading,
    Rehearsal,
    Step,
    WriteResult,
)
from devices.protocols import EXTERNAL, PROTOCOLS
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Value
from skerry.ports import Clock, Ids

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "ENTRY_POINTS",
    "DeviceConfig",
    "DeviceHealth",
    "Driver",
    "Explanation",
    "Inflow",
    "InvalidError",
    "JsonObject",
    "LeftAloneError",
    "Open",
    "PolledDevice",
    "PollingDriver",
    "PropertyConfig",
    "Reading",
    "Rehearsal",
    "Sample",
    "Services",
    "Step",
    "UnavailableError",
    "Value",
    "WriteResult",
    "no_value",
]

LOG = logging.getLogger(__name__)

ENTRY_POINTS: Final = "skerry.drivers"
RESTART_S: Final = 5.0

_OF_TYPE: Final[Mapping[str, type | tuple[type, ...]]] = {
    "INT": int,
    "FLOAT": (int, float),
    "DOUBLE": (int, float),
    "BOOLEAN": bool,
    "STRING": str,
    "BYTES": bytes,
}


class Services(Frozen):
    """What an agent gives its drivers."""

    clock: Clock
    ids: Ids
    """Chance."""
    node: str
    """The gateway's name."""


Make: TypeAlias = "Callable[[Services], Driver]"
"""What an entry point names."""


class Drivers(Mapping[str, Callable[[], Driver]]):
    """Factories by protocol: the agent's own, and those of installed packages. These are looked for when somebody
    names a protocol that is not among the agent's own: looking costs three megabytes."""

    def __init__(self, own: Mapping[str, Callable[[], Driver]], services: Services) -> None:
        self._own = own
        self._services = services
        self._found: Mapping[str, EntryPoint] | None = None

    def _plugged(self) -> Mapping[str, EntryPoint]:
        if self._found is None:
            self._found = found_drivers()
        return self._found

    def __contains__(self, name: object) -> bool:
        return name in self._own or (isinstance(name, str) and name != EXTERNAL and name in self._plugged())

    def __getitem__(self, name: str) -> Callable[[], Driver]:
        if name in self._own:
            return self._own[name]
        point = self._plugged()[name]
        return lambda: load(point, self._services)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._own, **self._plugged()})

    def __len__(self) -> int:
        return len({**self._own, **self._plugged()})


def found_drivers() -> Mapping[str, EntryPoint]:
    """Of the installed packages, by protocol in lower case. One that takes a name of ours is left out, and told."""
    from importlib.metadata import entry_points  # three megabytes

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINTS):
        name = point.name.lower()
        if name in PROTOCOLS or name == EXTERNAL or name in found:
            LOG.warning("driver_left_out name=%s of=%s reason='there is one of that name'", name, point.value)
            continue
        found[name] = point
    return found


def load(point: EntryPoint, services: Services) -> Driver:
    """The driver, guarded; where it can't be loaded one that refuses every device, with the reason."""
    try:
        make: Make = point.load()
        driver = make(services)
    except Exception as error:
        LOG.exception("driver_not_loaded name=%s of=%s", point.name, point.value)
        return GuardedDriver(None, f"{type(error).__name__}: {error}", name=point.name, clock=services.clock)
    return GuardedDriver(driver, "", name=point.name, clock=services.clock)


class GuardedDriver:
    """A `Driver` around somebody else's: what that raises, or returns against the port, ends here."""

    def __init__(self, driver: Driver | None, broken: str, *, name: str, clock: Clock) -> None:
        """`broken`: why there is none."""
        self._driver = driver
        self._broken = broken
        self._name = name
        self._clock = clock
        self._properties: dict[tuple[Key, str], PropertyConfig] = {}

    def _failed(self, doing: str, error: Exception) -> str:
        LOG.error("driver_failed driver=%s doing=%s", self._name, doing, exc_info=error)
        return f"its driver {self._name} failed: {type(error).__name__}"

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`."""
        if self._driver is None:
            reason = f"the driver {self._name} can't be loaded: {self._broken}"
            return [(config.device, reason) for config in devices]
        self._properties = {(config.device, prop.name): prop for config in devices for prop in config.properties}
        try:
            return [(key, str(reason)) for key, reason in await self._driver.configure(devices)]
        except Exception as error:
            reason = self._failed("configure", error)
            return [(config.device, reason) for config in devices]

    async def run(self) -> None:
        """See `Driver`. What it raises its caller tells, and runs it again."""
        if self._driver is None:
            await asyncio.Event().wait()
        else:
            await self._driver.run()

    async def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        while self._driver is not None:
            try:
                async for reading in self._driver.readings():
                    yield self._checked(reading)
            except Exception as error:
                self._failed("readings", error)
            await asyncio.sleep(RESTART_S)
        await asyncio.Event().wait()

    def _checked(self, reading: Reading) -> Reading:
        """No wrong value, rather none."""
        config = self._properties.get((reading.device, reading.prop))
        if (reading.value is None) != (reading.quality == "bad"):
            return self._none(reading, f"its driver {self._name} told a value of quality {reading.quality}")
        if reading.value is None or config is None or _is_of(config.type, reading.value):
            return reading
        found = type(reading.value).__name__
        return self._none(reading, f"its driver {self._name} told {found} in place of {config.type}")

    def _none(self, reading: Reading, reason: str) -> Reading:
        return replace(reading, value=None, quality="bad", reason=reason)

    def stored(self, receipts: Sequence[int]) -> None:
        """See `Driver`."""
        if self._driver is None:
            return
        try:
            self._driver.stored(receipts)
        except Exception as error:
            self._failed("stored", error)

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        if self._driver is None:
            return ()
        try:
            return list(self._driver.health())
        except Exception as error:
            reason = self._failed("health", error)
            devices = {device for device, _ in self._properties}
            return [DeviceHealth(device=device, online=False, reason=reason) for device in sorted(devices)]

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`."""
        try:
            assert self._driver is not None, "all of its devices were refused"
            result = await self._driver.write(device, prop, value, once=once)
        except Exception as error:
            return WriteResult(state="failed", reason=self._failed("write", error), read_back=None)
        back = result.read_back
        return result if back is None else replace(result, read_back=self._checked(back))

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`."""
        try:
            assert self._driver is not None, "all of its devices were refused"
            return self._checked(await self._driver.read(device, prop))
        except Exception as error:
            return no_value(device, prop, self._failed("read", error), self._clock)

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`."""
        try:
            return None if self._driver is None else self._driver.explain(device, prop)
        except Exception as error:
            self._failed("explain", error)
            return None

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`."""
        try:
            return None if self._driver is None else self._driver.rehearse(device, prop, value)
        except Exception as error:
            self._failed("rehearse", error)
            return None

    async def close(self) -> None:
        """See `Driver`."""
        if self._driver is None:
            return
        try:
            await self._driver.close()
        except Exception as error:
            self._failed("close", error)


def _is_of(type: str, value: object) -> bool:
    """Whatever its annotations said."""
    if isinstance(value, bool) and type != "BOOLEAN":
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, _OF_TYPE[type])
