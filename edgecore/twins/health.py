"""Whether devices live: what drivers say of it, told to the cloud when it changes and now and then while it goes on.

In memory; after a start every device is offline until it is heard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from devices.port import DeviceHealth
from edgecore.twins.ledger import Ledger
from edgecore.twins.served import Served
from edgecore.twins.settings import KeeperSettings
from edgecore.twins.stage import name_of_device
from skerry.objects.device_owner import owner_of
from skerry.objects.meta import Key
from skerry.objects.twins import DeviceState, State
from skerry.ports import Clock

LOG = logging.getLogger(__name__)


class Health:
    """The devices' states, as told."""

    def __init__(
        self, served: Served, ledger: Ledger, *, clock: Clock, settings: KeeperSettings, beside: Callable[[Key], str]
    ) -> None:
        """`beside`: what else people should know of a device that is online, such as that its pushes fail."""
        self._beside = beside
        self._served = served
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self.states: dict[Key, DeviceState] = {}
        self._states_s: dict[Key, float] = {}

    def forget(self, device: Key) -> None:
        """The device is gone from this gateway."""
        self.states.pop(device, None)

    async def watch_always(self) -> None:
        """Look at all of them, until cancelled."""
        while True:
            for driver in list(self._served.drivers.values()):
                for health in driver.health():
                    self._look(health)
            await asyncio.sleep(self._settings.health_s)

    def _look(self, health: DeviceHealth) -> None:
        if health.device in self._served.known and health.device not in self._served.refused:
            state: State = "waiting" if health.waiting else "online" if health.online else "offline"
            self.tell(health.device, state, health.reason or (self._note(health.device) if state == "online" else ""))

    def _note(self, device: Key) -> str:
        return "; ".join(filter(None, (self._beside(device), self._served.known[device].note)))

    def tell(self, key: Key, state: State, reason: str) -> None:
        """Report a device's state when it changed, or when it has lived on for a while."""
        known = self._served.known[key]
        before = self.states.get(key)
        now_s = self._clock.monotonic_s()
        owner = owner_of(known.body)
        same = before is not None and before.state == state and (state == "offline" or before.reason == reason)
        same = same and before is not None and before.device.owner == owner
        if same and (state != "online" or now_s - self._states_s[key] < self._settings.seen_s):
            return
        online_ms = self._clock.wall_ms() if state == "online" else before.last_online_ms if before else 0
        told = DeviceState(
            device=name_of_device(key, known.uid, owner),
            state=state,
            reason=reason,
            last_online_ms=online_ms,
        )
        self.states[key] = told
        self._states_s[key] = now_s
        self._ledger.stage.states[key] = told
        self._ledger.hurry()
        if not same:
            LOG.info("device_state device=%s/%s state=%s reason=%r", key.namespace, key.name, state, reason)
