"""What this gateway serves now: its devices as they are configured, the drivers that serve them, the newest readings.

`edgecore.twins.configuring` fills it; the other rooms of the keeper look things up here. In memory; made anew from
the store when the agent starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from devices.manifests import KnownDevice
from devices.port import Driver, PropertyConfig, Reading
from edgecore.twins.stage import Place
from skerry.errors import NotFoundError, UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key


class Served:
    """Lookups, and what fills them."""

    def __init__(self) -> None:
        self.known: dict[Key, KnownDevice] = {}
        self.configs: dict[Place, PropertyConfig] = {}
        self.configured_s: dict[Key, float] = {}
        """When a device's configuration last changed; monotonic."""
        self.drivers: dict[str, Driver] = {}
        """By protocol."""
        self.refused: dict[Key, str] = {}
        """Devices that aren't served, and why."""
        self.held: set[Key] = set()
        """Those of them whose polls and writes pause."""
        self.fresh: dict[Place, Reading] = {}
        """The newest reading since the agent started."""
        self.turns: dict[Key, asyncio.Lock] = {}

    def turn(self, device: Key) -> asyncio.Lock:
        """Hold it while several things are done to one device: nobody else writes to it meanwhile."""
        return self.turns.setdefault(device, asyncio.Lock())

    def body_of(self, key: Key) -> JsonObject | None:
        """The Device; None where there is none."""
        known = self.known.get(key)
        return known.body if known else None

    def protocol_of(self, key: Key) -> str:
        """ "" for a device that is not known, or not understood."""
        known = self.known.get(key)
        return known.config.protocol if known and known.config else ""

    def is_served(self, key: Key) -> bool:
        """A driver was asked to serve it (and may have refused)."""
        return self.protocol_of(key) in self.drivers

    def driver_of(self, key: Key) -> Driver | None:
        """None where none was made for it."""
        return self.drivers.get(self.protocol_of(key))

    def serving(self, place: Place) -> tuple[PropertyConfig, Driver]:
        """Raises `NotFoundError` for what is not served, `UnavailableError` for what is held."""
        if place[0] in self.held:
            raise UnavailableError(
                f'device "{place[0].name}" is not served now: {self.refused.get(place[0], "held")}'
            )
        config, driver = self.configs.get(place), self.driver_of(place[0])
        if config is None or driver is None:
            raise NotFoundError(f'property "{place[1]}" of device "{place[0].name}" is not served on this gateway')
        return config, driver

    def forget(self, place: Place) -> None:
        """The device is gone from this gateway."""
        self.fresh.pop(place, None)
        self.configured_s.pop(place[0], None)
        turn = self.turns.get(place[0])
        if turn is not None and not turn.locked():
            del self.turns[place[0]]

    def stored(self, name: str, receipts: Sequence[int]) -> None:
        """Readings of this driver are durable now."""
        self.drivers[name].stored(receipts)
