"""The keeper of twins: between the edge store, the drivers, and whoever wants something of a device.

It hears of Device objects that changed in the store, configures the drivers, takes their readings into twins, and
carries desired values out: write, read back, acknowledge. Each of these is a room of its own; this is the face for
others, and where the rooms are put together:

- `ledger`: the twins, and what of them waits to be committed
- `served`: which devices there are, and what serves them
- `configuring`: objects in the store, and the drivers
- `readings`: from the drivers into the twins
- `wishes`: what is wanted here, into the twins
- `fallback`: what is wanted when the cloud is silent
- `carrying`: desired values, to the devices
- `holds`: devices whose polls and writes pause
- `health`: whether devices live

What decides is `edgecore.twins.plan`. After a crash it goes on from the store: pending desired values are carried
out, finished ones are not written again, unacknowledged readings come again and are recognised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from devices.figures import LineFigures, OnLines
from devices.manifests import KnownDevice
from devices.port import PropertyConfig, Reading, Rehearsal, WriteResult
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.carrying import Carrying
from edgecore.twins.configuring import Configuring, DriverFactory, Rooms
from edgecore.twins.desired_log import log_entries
from edgecore.twins.explained import PropertySight
from edgecore.twins.fallback import Fallbacks
from edgecore.twins.health import Health
from edgecore.twins.holds import Holds
from edgecore.twins.ledger import Ledger
from edgecore.twins.plan import FINAL
from edgecore.twins.port import DeviceSummary, PropertyTwin
from edgecore.twins.readings import Readings
from edgecore.twins.served import Served
from edgecore.twins.settings import CLOCK_FLOOR_MS, KeeperSettings
from edgecore.twins.wishes import Wishes
from skerry.errors import NotFoundError, UnavailableError
from skerry.objects.desired import Vector, Wish
from skerry.objects.holds import Holding
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import AckState, TwinState, Value
from skerry.ports import Clock, Ids


class Keeper:
    """Implements `edgecore.twins.port.Twins`. Everything runs on one event loop."""

    def __init__(
        self,
        store: AsyncEdgeStore,
        drivers: Mapping[str, DriverFactory],
        *,
        clock: Clock,
        ids: Ids,
        settings: KeeperSettings | None = None,
        clock_is_synced: Callable[[], bool] | None = None,
        in_step: Callable[[], bool] = lambda: True,
        pushes: Callable[[Key], str] | None = None,
    ) -> None:
        """`drivers` by protocol: made when the first device needs them. `clock_is_synced`: whether the wall clock can
        be trusted; by default, that it was set at all. `in_step`: whether what the cloud sends now was written just
        now, and not while the gateway was away. `pushes`: why pushes of a device don't arrive, "" when they do; None:
        nobody pushes, and nothing is staged for it."""
        settings = settings or KeeperSettings()
        self._clock = clock
        self._store = store
        self._clock = clock
        synced = clock_is_synced or (lambda: clock.wall_ms() >= CLOCK_FLOOR_MS)
        self._served = served = Served()
        self._ledger = ledger = Ledger(
            store, clock=clock, settings=settings, stored=served.stored, body_of=served.body_of
        )
        self._readings = readings = Readings(served, ledger, clock=clock, synced=synced, pushes=pushes is not None)
        self._carrying = carrying = Carrying(
            served, ledger, readings, clock=clock, ids=ids, settings=settings, synced=synced
        )
        self._wishes = Wishes(served, ledger, clock=clock, synced=synced)
        self._fallbacks = Fallbacks(
            served, ledger, self._wishes, clock=clock, look_s=settings.health_s, heard=in_step
        )
        self._holds = holds = Holds(store, served, clock=clock, synced=synced)
        self._health = health = Health(
            served, ledger, clock=clock, settings=settings, beside=pushes or (lambda _: "")
        )
        rooms = Rooms(served=served, ledger=ledger, readings=readings, carrying=carrying, health=health, holds=holds)
        self._configuring = Configuring(store, drivers, rooms, clock=clock, settings=settings, in_step=in_step)

    @property
    def repeated(self) -> int:
        """Readings recognised as taken before."""
        return self._readings.repeated

    # --- for others ---------------------------------------------------------------------------------------

    def devices(self) -> Sequence[DeviceSummary]:
        """See `Twins`."""
        out: list[DeviceSummary] = []
        for key, known in sorted(self._served.known.items()):
            state = self._health.states.get(key)
            out.append(
                DeviceSummary(
                    device=key,
                    state=state.state if state else "offline",
                    reason=state.reason if state else "not heard of since the agent started",
                    protocol=known.config.named if known.config else "",
                    holding=self._holds.holding(key),
                    last_online_ms=state.last_online_ms if state else 0,
                )
            )
        return out

    def twins(self, device: Key | None = None) -> Sequence[PropertyTwin]:
        """See `Twins`."""
        return [
            PropertyTwin(device=place[0], prop=place[1], state=state)
            for place, state in sorted(self._ledger.twins.items(), key=lambda entry: entry[0])
            if device is None or place[0] == device
        ]

    async def set_desired(
        self, device: Key, prop: str, value: str, *, origin: str, expires_ms: int | None = None
    ) -> Vector:
        """See `Twins`."""
        (ver,) = await self.write(device, [Wish(prop=prop, value=value, expires_ms=expires_ms)], origin=origin)
        return ver

    async def write(
        self, device: Key, wishes: Sequence[Wish], *, origin: str, if_match: str = ""
    ) -> Sequence[Vector]:
        """See `Twins`."""
        return await self._wishes.write(device, wishes, origin=origin, if_match=if_match)

    def desired_log(self, device: Key, *, since_ms: int = 0) -> Sequence[tuple[int, str, JsonObject]]:
        """See `Twins`."""
        return log_entries(self._store.twins(device), since_ms=since_ms)

    async def hold(self, device: Key, *, reason: str, by: str, until_ms: int | None) -> Holding:
        """See `Twins`."""
        return await self._holds.hold(device, reason=reason, by=by, until_ms=until_ms)

    async def release(self, device: Key) -> None:
        """See `Twins`."""
        await self._holds.release(device)

    def listen(self, hear: Callable[[Reading], None]) -> Callable[[], None]:
        """See `Twins`."""
        self._readings.listeners[hear] = None
        return lambda: self._readings.listeners.pop(hear, None)

    async def wait(
        self, device: Key, prop: str, *, for_ver: Vector, states: frozenset[AckState], timeout_s: float
    ) -> TwinState:
        """See `Twins`."""
        wake = asyncio.Event()
        self._ledger.watchers.add(wake)
        state: TwinState | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    wake.clear()
                    state = self._ledger.twins.get((device, prop))
                    if state is None:
                        raise NotFoundError(f'property "{prop}" of device "{device.name}" not found on this gateway')
                    answer = state.ack
                    if answer and answer.for_ver.covers(for_ver) and answer.state in states | FINAL:
                        return state
                    await wake.wait()
        except TimeoutError as error:
            last = state.ack if state else None
            told = f"{last.state}{': ' + last.reason if last.reason else ''}" if last else "no answer"
            raise UnavailableError(f"{device.name}/{prop}: {told} after {timeout_s:g} s") from error
        finally:
            self._ledger.watchers.discard(wake)

    # --- once, and now ------------------------------------------------------------------------------------

    def turn(self, device: Key) -> asyncio.Lock:
        """Hold it while several things are done to one device: nobody else writes to it meanwhile."""
        return self._served.turn(device)

    def config_of(self, device: Key, prop: str) -> PropertyConfig | None:
        """How the property is served here now; None when it is not."""
        return self._served.configs.get((device, prop)) if device not in self._served.refused else None

    def refusal_of(self, device: Key) -> str:
        """Why nothing can be done to a device now; "" where there is no reason."""
        return self._served.refused.get(device, "")

    def check_value(self, config: PropertyConfig, text: str) -> Value:
        """The value that the text means. Raises `InvalidError` where the property does not take it."""
        return self._wishes.check_value(config, text)

    async def write_once(self, device: Key, prop: str, value: Value) -> WriteResult:
        """Write at most once, leaving what is wanted of the property as it is. Hold the device's `turn`."""
        return await self._carrying.write_once((device, prop), value)

    async def read_now(self, device: Key, prop: str) -> Reading:
        """Read, and tell what was read. Hold the device's `turn`."""
        return await self._carrying.read_now((device, prop))

    # --- for those who ask why ----------------------------------------------------------------------------

    def properties(self, device: Key) -> Sequence[str]:
        """Those that are served, in the order of the configuration."""
        known = self._served.known.get(device)
        return [prop.name for prop in known.config.properties] if known and known.config else []

    def known(self, device: Key) -> KnownDevice | None:
        """The Device as it was read last; None where it was not yet."""
        return self._served.known.get(device)

    def sight(self, device: Key, prop: str) -> PropertySight | None:
        """All that is known of a property; None for one that is neither served nor remembered."""
        place = (device, prop)
        config, twin = self._served.configs.get(place), self._ledger.twins.get(place)
        if config is None and twin is None:
            return None
        driver, fresh = self._served.driver_of(device), self._served.fresh.get(place)
        summary = next((one for one in self.devices() if one.device == device), None)
        waits, waits_s = self._carrying.waits(place)
        return PropertySight(
            device=device,
            prop=prop,
            config=config,
            state=summary.state if summary else "offline",
            state_reason=summary.reason if summary else "",
            last_online_ms=summary.last_online_ms if summary else 0,
            explanation=driver.explain(device, prop) if driver is not None else None,
            fresh=fresh,
            fresh_age_s=self._clock.monotonic_s() - fresh.monotonic_s if fresh is not None else 0.0,
            twin=twin,
            waits=waits,
            waits_s=waits_s,
        )

    def raw(self, device: Key, prop: str) -> JsonObject:
        """What came over the wire last, in the protocol's own fields; empty for nothing."""
        driver = self._served.driver_of(device)
        told = driver.explain(device, prop) if driver is not None else None
        return told.raw if told is not None else {}

    def line(self, device: Key) -> LineFigures | None:
        """How the line of a device does; None where it is on none, or not served."""
        driver = self._served.driver_of(device)
        return driver.line(device) if isinstance(driver, OnLines) else None

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """What writing it would come to; None where no driver serves it now."""
        driver = self._served.driver_of(device)
        return driver.rehearse(device, prop, value) if driver is not None else None

    def objects_changed(self, keys: Iterable[Key]) -> None:
        """See `Twins`."""
        self._configuring.objects_changed(keys)

    # --- running ------------------------------------------------------------------------------------------

    def _committed(self, batch: EdgeBatch) -> None:
        self._configuring.committed(batch)
        if batch.puts:
            self._fallbacks.hear()

    async def run(self) -> None:
        """See `Twins`. What was staged is committed before this ends."""
        stop_listening = self._store.listen(self._committed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._configuring.configure_always(group))
                group.create_task(self._ledger.commit_always())
                group.create_task(self._carrying.carry_out_always(group))
                group.create_task(self._health.watch_always())
                group.create_task(self._fallbacks.watch_always())
        finally:
            stop_listening()
            for driver in self._served.drivers.values():
                await driver.close()
            await self._ledger.finish()
