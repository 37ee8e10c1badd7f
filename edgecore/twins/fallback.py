"""What devices do when nobody is heard: a value that is wanted by itself after the cloud was silent for so long.

Whoever steers a device from afar may be gone: the link is down, or the cloud. A property with `twin.fallback` then
gets its safe value as a desired value of the gateway's own, which is carried out, shown and told as any other. It
replaces what the cloud wanted, never what somebody on site did, and loses to whatever the cloud was given meanwhile.
Silence is counted from the start of the agent; nothing is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from edgecore.twins.ledger import Ledger
from edgecore.twins.served import Served
from edgecore.twins.stage import Place
from edgecore.twins.wishes import Wishes
from skerry.errors import SkerryError
from skerry.objects.desired import Wish
from skerry.ports import Clock

LOG = logging.getLogger(__name__)

ORIGIN: Final = "fallback"


class Fallbacks:
    """Looks now and then whether the cloud is heard."""

    def __init__(
        self,
        served: Served,
        ledger: Ledger,
        wishes: Wishes,
        *,
        clock: Clock,
        look_s: float,
        heard: Callable[[], bool],
    ) -> None:
        self._served = served
        self._ledger = ledger
        self._wishes = wishes
        self._clock = clock
        self._look_s = look_s
        self._heard = heard
        self._heard_s = clock.monotonic_s()

    def hear(self) -> None:
        """The cloud sent something."""
        self._heard_s = self._clock.monotonic_s()

    async def watch_always(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            if self._heard():
                self.hear()
                continue
            silent_s = self._clock.monotonic_s() - self._heard_s
            for place in self._due(silent_s):
                await self._fall_back(place, silent_s)

    def _due(self, silent_s: float) -> list[Place]:
        return [
            place
            for place, config in self._served.configs.items()
            if config.twin.fallback is not None
            and silent_s >= config.twin.fallback.after_s
            and not self._is_wanted_here(place)
        ]

    def _is_wanted_here(self, place: Place) -> bool:
        state = self._ledger.twins.get(place)
        return state is not None and state.desired is not None and state.desired.side == "edge"

    async def _fall_back(self, place: Place, silent_s: float) -> None:
        (device, prop), fallback = place, self._served.configs[place].twin.fallback
        assert fallback is not None, "it was looked for"
        wish = Wish(prop=prop, value=fallback.value, fallback=True)
        try:
            await self._wishes.write(device, [wish], origin=ORIGIN)
        except SkerryError as error:
            LOG.warning("fallback_refused device=%s property=%s reason=%r", device.name, prop, str(error))
        else:
            LOG.warning(
                "fallback device=%s/%s property=%s silent_s=%.0f", device.namespace, device.name, prop, silent_s
            )
