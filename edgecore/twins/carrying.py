"""Desired values are carried out here: written, read back, acknowledged, and tried again where that failed.

What to do about one is decided by `edgecore.twins.plan.next_step`. Which attempts failed is kept in memory: after a
crash they are tried at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from devices.port import PropertyConfig, Reading, WriteResult
from edgecore.twins.ledger import Ledger
from edgecore.twins.plan import Hold, Settle, Sight, Write, is_settled, next_step, written, written_lately
from edgecore.twins.readings import Readings
from edgecore.twins.served import Served
from edgecore.twins.settings import KeeperSettings
from edgecore.twins.stage import Place
from skerry.frozen import replace
from skerry.objects.desired import HLC_ZERO, Hlc, Vector
from skerry.objects.meta import Key
from skerry.objects.twins import Value, ack
from skerry.ports import Clock, Ids
from skerry.waits import longer_s, until_set

LOG = logging.getLogger(__name__)


class Carrying:
    """One task for each device that something is wanted of; one write at a time for each."""

    def __init__(
        self,
        served: Served,
        ledger: Ledger,
        readings: Readings,
        *,
        clock: Clock,
        ids: Ids,
        settings: KeeperSettings,
        synced: Callable[[], bool],
    ) -> None:
        self._served = served
        self._ledger = ledger
        self._readings = readings
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._synced = synced
        self._attempts: dict[Place, tuple[Vector, float, float]] = {}
        """What failed: the version, when it is tried again, and how long that was put off."""
        self._writing: set[Key] = set()
        self._written_s: dict[Place, float] = {}
        """When places whose device is to be spared were last written; monotonic."""

    def forget(self, place: Place) -> None:
        """The device is gone from this gateway."""
        self._attempts.pop(place, None)
        self._written_s.pop(place, None)

    def waits(self, place: Place) -> tuple[str, float | None]:
        """Why what is wanted is not carried out just now, and in how many seconds it is looked at again (None: nobody
        knows). "" where nothing waits."""
        twin = self._ledger.twins.get(place)
        if twin is None or is_settled(twin) or place not in self._served.configs:
            return "", None
        now_s, not_before_s = self._clock.monotonic_s(), self._not_before_s(place)
        if not_before_s > now_s:
            return "the last attempt failed", not_before_s - now_s
        match self._step(place):
            case Hold(reason=reason, until_ms=until_ms):
                return reason, None if until_ms is None else max(0.0, (until_ms - self._clock.wall_ms()) / 1000)
            case Write():
                return "it is being written", None
            case _:
                return "", None

    async def write_once(self, place: Place, value: Value) -> WriteResult:
        """Write at most once, leaving what is wanted of the property as it is. Hold the device's turn."""
        config, driver = self._served.serving(place)
        if self._pause_s(place, config):
            return WriteResult(state="failed", reason=written_lately(config), read_back=None)
        result = await driver.write(*place, value, once=True)
        self._spare(place, config)
        if result.read_back is not None and place in self._served.configs:
            self._readings.take_back(place, config, result.read_back)
        return result

    async def read_now(self, place: Place) -> Reading:
        """Read, and tell what was read. Hold the device's turn."""
        config, driver = self._served.serving(place)
        reading = await driver.read(*place)
        if reading.value is not None and not reading.receipt and place in self._served.configs:
            self._readings.take_back(place, config, reading)
        return reading

    async def carry_out_always(self, group: asyncio.TaskGroup) -> None:
        """Until cancelled; writes run in `group`."""
        wait_s: float | None = None
        while True:
            await until_set(self._ledger.wish, within_s=wait_s)
            self._ledger.wish.clear()
            wait_s = None
            for device in {place[0] for place, state in self._ledger.twins.items() if not is_settled(state)}:
                if device in self._writing or device not in self._served.known or device in self._served.held:
                    continue
                due_s = self._due_s(device)
                if due_s is None:
                    continue
                if due_s > 0:
                    wait_s = due_s if wait_s is None else min(wait_s, due_s)
                    continue
                self._writing.add(device)
                group.create_task(self._carry_out(device))

    def _places(self, device: Key) -> list[Place]:
        """What is to be carried out of a device, in the order in which it was wanted."""
        found = [place for place, state in self._ledger.twins.items() if place[0] == device and not is_settled(state)]
        return sorted(found, key=self._wanted_at)

    def _wanted_at(self, place: Place) -> Hlc:
        desired = self._ledger.twins[place].desired
        return desired.hlc if desired else HLC_ZERO

    def _due_s(self, device: Key) -> float | None:
        """In how many seconds something is to be done for this device; None: when something changes."""
        now_s = self._clock.monotonic_s()
        due: list[float] = []
        for place in self._places(device):
            if place not in self._served.configs:
                continue
            step = self._step(place)
            if isinstance(step, Hold):
                self._tell_hold(place, step)
                wait_s = self._settings.retry_s_max
                if step.until_ms is not None:
                    wait_s = max(0.01, (step.until_ms - self._clock.wall_ms()) / 1000)
                due.append(wait_s)
            elif step is not None:
                due.append(max(0.0, self._not_before_s(place) - now_s))
        return min(due, default=None)

    def _tell_hold(self, place: Place, step: Hold) -> None:
        """Whoever it waits for is to see why."""
        state = self._ledger.twins[place]
        assert state.desired is not None, "nothing is held back where nothing is wanted"
        if step.tell and (state.ack is None or state.ack.reason != step.reason):
            why = ack("pending", for_ver=state.desired.ver, at_ms=self._clock.wall_ms(), reason=step.reason)
            self._ledger.answered(place, replace(state, ack=why))

    def _not_before_s(self, place: Place) -> float:
        """When a failed write is tried again; a newer desired value does not wait."""
        tried = self._attempts.get(place)
        desired = self._ledger.twins[place].desired
        return tried[1] if tried and desired and tried[0] == desired.ver else 0.0

    def _step(self, place: Place) -> Write | Settle | Hold | None:
        config = self._served.configs[place]
        age_s = self._clock.monotonic_s() - self._served.configured_s.get(place[0], 0.0)
        awaited_s = 2 * config.collect_ms / 1000 + self._settings.first_reading_s
        now_ms = self._clock.wall_ms()
        sight = Sight(
            now_ms=now_ms,
            clock_is_synced=self._synced(),
            fresh=self._served.fresh.get(place),
            unread_until_ms=now_ms + round(max(0.0, awaited_s - age_s) * 1000),
            pause_until_ms=now_ms + math.ceil(self._pause_s(place, config) * 1000),
        )
        return next_step(self._ledger.twins[place], config, sight)

    def _pause_s(self, place: Place, config: PropertyConfig) -> float:
        """So long yet the device is not to be written at this place."""
        last_s = self._written_s.get(place)
        if last_s is None:
            return 0.0
        return max(0.0, last_s + config.twin.write_interval_ms / 1000 - self._clock.monotonic_s())

    def _spare(self, place: Place, config: PropertyConfig) -> None:
        """It was written, or may have been."""
        if config.twin.write_interval_ms:
            self._written_s[place] = self._clock.monotonic_s()

    async def _carry_out(self, device: Key) -> None:
        """Carry out what is wanted of one device, one property after the other."""
        try:
            async with self._served.turn(device):
                await self._carry_out_in_turn(device)
        except Exception:
            LOG.exception(
                "write_failed device=%s/%s retry_s=%g", device.namespace, device.name, self._settings.restart_s
            )
            await asyncio.sleep(self._settings.restart_s)
        finally:
            self._writing.discard(device)
            self._ledger.wish.set()

    async def _carry_out_in_turn(self, device: Key) -> None:
        for place in self._places(device):
            if device in self._served.held:
                return
            if place not in self._served.configs or self._not_before_s(place) > self._clock.monotonic_s():
                continue
            match self._step(place):
                case Settle(ack=answer):
                    self._ledger.answered(place, replace(self._ledger.twins[place], ack=answer))
                case Write(value=value, for_ver=ver):
                    driver = self._served.driver_of(device)
                    if driver is None:
                        continue
                    config = self._served.configs[place]
                    result = await driver.write(device, place[1], value)
                    self._spare(place, config)
                    self._retry_later(place, ver, failed=result.state == "failed")
                    state = self._ledger.twins.get(place)
                    config = self._served.configs.get(place)
                    if state is None or config is None:
                        continue
                    if result.read_back is not None:
                        state = self._readings.take_back(place, config, result.read_back)
                    self._ledger.answered(place, written(state, ver, result, self._clock.wall_ms()))
                case _:
                    pass

    def _retry_later(self, place: Place, ver: Vector, *, failed: bool) -> None:
        if not failed:
            self._attempts.pop(place, None)
            return
        tried = self._attempts.get(place)
        settings = self._settings
        last_s = tried[2] if tried and tried[0] == ver else 0.0
        backoff_s = longer_s(last_s, least_s=settings.retry_s_min, most_s=settings.retry_s_max)
        at_s = self._clock.monotonic_s() + backoff_s * (0.75 + self._ids.unit() / 4)
        self._attempts[place] = (ver, at_s, backoff_s)
