"""The keeper of twins: between the edge store, the drivers, and whoever wants something of a device.

It hears of Device objects that changed in the store, configures the drivers, takes their readings into twins, and
carries desired values out: write, read back, acknowledge. Everything that it learns is committed to the store
before anybody hears of it: a broker's message is acknowledged, a caller of `set_desired` answered, a report sent
only after the commit. What decides is `edgecore.twins.plan`.

It keeps the twins in memory, as in the store. After a crash it goes on from the store: pending desired values are
carried out, finished ones are not written again, unacknowledged readings come again and are recognised.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from devices.port import DeviceConfig, DeviceHealth, Driver, PropertyConfig, Reading, TwinConfig, WriteResult
from edgecore.store.port import META_EPOCH, EdgeBatch, TwinRow
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.config import DEVICES, KnownDevice, known_devices
from edgecore.twins.pace import Credit, Pace
from edgecore.twins.plan import (
    FINAL,
    Hold,
    Settle,
    Sight,
    Taken,
    Write,
    is_settled,
    next_step,
    observe,
    take,
    unserved,
    want,
    written,
)
from edgecore.twins.port import DeviceSummary, PropertyTwin
from edgecore.twins.stage import (
    META_TOLD_EPOCH,
    Place,
    Stage,
    desired_report,
    name_of_device,
    reported_report,
    telemetry_report,
)
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.objects.device_models import MODELS, checked_value
from skerry.objects.device_twins import desired_of
from skerry.objects.json import decode_object
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.twins import (
    AckState,
    Desired,
    DeviceState,
    Telemetry,
    TwinState,
    Value,
    Vector,
    decode_state,
    encode_state,
    format_value,
    merge,
    write_desired,
)
from skerry.ports import Clock, Ids

LOG = logging.getLogger(__name__)

DriverFactory = Callable[[], Driver]

CLOCK_FLOOR_MS: Final = 1_767_225_600_000
"""2026-01-01: a wall clock before this was never set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """How long things wait."""

    group_s: float = 0.25
    """Between two commits of readings in the long run: those that come meanwhile share a disk sync."""
    group_credit: int = 120
    """Commits that need not wait, where none was made for so many times `group_s`."""
    group_rows: int = 200
    """Or until they are this many."""
    group_receipts: int = 16
    """Or until so many messages await their acknowledgement: mosquitto sends no more than 20 without."""
    staged_rows_max: int = 2000
    """Beyond, no reading is taken from the drivers until the store takes some: a broker then keeps them."""
    store_retry_s: float = 1.0
    """After the store refused (a full disk)."""
    health_s: float = 0.5
    """Between two looks at whether devices live."""
    seen_s: float = 60.0
    """A device that goes on living is said to at least this often (`lastOnlineTime`)."""
    retry_s_min: float = 1.0
    retry_s_max: float = 30.0
    """Between two attempts to carry out a desired value that failed."""
    first_reading_s: float = 2.0
    """How long, beyond two periods, a desired value waits for a first reading that may make a write needless."""
    restart_s: float = 5.0
    """After a fault of our own in a driver."""
    tell_s: float = 1.0
    """Between two times in the long run that the cloud is told of a device whose values move: what people follow with
    their eyes."""
    tell_credit: int = 120
    """Times that need not wait, where the device was quiet for so many times `tell_s`."""


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
    ) -> None:
        """`drivers` by protocol: made when the first device needs them. `clock_is_synced`: whether the wall clock can
        be trusted; by default, that it was set at all."""
        self._store = store
        self._factories = drivers
        self._clock = clock
        self._ids = ids
        self._settings = settings or KeeperSettings()
        self._synced = clock_is_synced or (lambda: clock.wall_ms() >= CLOCK_FLOOR_MS)
        self._known: dict[Key, KnownDevice] = {}
        self._configs: dict[Place, PropertyConfig] = {}
        self._configured_s: dict[Key, float] = {}
        self._twins: dict[Place, TwinState] = {
            (row.device, row.prop): decode_state(row.body) for row in store.twins()
        }
        self._fresh: dict[Place, Reading] = {}
        self._states: dict[Key, DeviceState] = {}
        self._states_s: dict[Key, float] = {}
        self._drivers: dict[str, Driver] = {}
        self._given: dict[str, Sequence[DeviceConfig]] = {}
        self._refused: dict[Key, str] = {}
        self._attempts: dict[Place, tuple[Vector, float, float]] = {}
        self._writing: set[Key] = set()
        self._turns: dict[Key, asyncio.Lock] = {}
        self._stage = Stage()
        self._pace = Pace(self._settings.tell_s, self._settings.tell_credit)
        self._syncs = Credit(self._settings.group_s, self._settings.group_credit)
        for place, state in self._twins.items():
            if state.untold:
                self._twins[place] = replace(state, untold=False)
                self._pace.moved(place)
        self._epoch = store.meta(META_TOLD_EPOCH) or ""
        """Of the cloud that was told everything."""
        self._commit = asyncio.Lock()
        self._staged = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._changed = asyncio.Event()
        self._changed.set()
        self._wish = asyncio.Event()
        self._watchers: set[asyncio.Event] = set()
        self.repeated = 0
        """Readings recognised as taken before."""

    # --- for others ---------------------------------------------------------------------------------------

    def devices(self) -> Sequence[DeviceSummary]:
        """See `Twins`."""
        out: list[DeviceSummary] = []
        for key, known in sorted(self._known.items()):
            state = self._states.get(key)
            out.append(
                DeviceSummary(
                    device=key,
                    state=state.state if state else "offline",
                    reason=state.reason if state else "not heard of since the agent started",
                    protocol=known.config.protocol if known.config else "",
                    last_online_ms=state.last_online_ms if state else 0,
                )
            )
        return out

    def twins(self, device: Key | None = None) -> Sequence[PropertyTwin]:
        """See `Twins`."""
        return [
            PropertyTwin(device=place[0], prop=place[1], state=state)
            for place, state in sorted(self._twins.items(), key=lambda entry: entry[0])
            if device is None or place[0] == device
        ]

    async def set_desired(
        self, device: Key, prop: str, value: str, *, origin: str, expires_ms: int | None = None
    ) -> Vector:
        """See `Twins`."""
        place, config = (device, prop), self._configs.get((device, prop))
        known = self._known.get(device)
        if known is None or config is None:
            raise NotFoundError(
                f'property "{prop}" of device "{device.namespace}/{device.name}" not found on this gateway'
            )
        self._check_wanted(config, value, expires_ms)
        before = self._twins.get(place) or TwinState(uid=known.uid)
        desired = write_desired(
            before.desired,
            value=value,
            side="edge",
            origin=origin,
            now_ms=self._clock.wall_ms(),
            synced=self._synced(),
            expires_ms=expires_ms,
        )
        await _to_the_end(self._want(place, config, before, desired))
        return desired.ver

    async def _want(self, place: Place, config: PropertyConfig, before: TwinState, desired: Desired) -> None:
        """Commit a desired value, and only then take it for true."""
        device, prop = place
        async with self._commit:
            after = want(before, desired, self._clock.wall_ms())
            reports = (desired_report(device, prop, after, config.twin.policy), reported_report(device, prop, after))
            row = TwinRow(device=device, prop=prop, body=encode_state(after))
            await self._store.apply(EdgeBatch(twins=(row,), reports=reports))
            # While the disk was at work readings may have come, and even another desired value from the cloud.
            now = self._twins.get(place) or before
            merged = merge(now.desired, desired, config.twin.policy)
            assert merged is not None, "this one is there"
            self._twins[place] = want(now, merged, self._clock.wall_ms())
            self._stage.rows.add(place)
            if merged != desired:
                self._stage.wanted[place] = config.twin.policy
                self._stage.told.add(place)
            self._staged.set()
        self._notify()
        self._wish.set()

    def _check_wanted(self, config: PropertyConfig, value: str, expires_ms: int | None) -> Value:
        checked = checked_value(
            config.type,
            value,
            refusal="" if config.writable else f"{config.name} is read-only",
            minimum=config.minimum,
            maximum=config.maximum,
        )
        if expires_ms is not None and expires_ms <= self._clock.wall_ms():
            raise InvalidError("it would have expired already")
        return checked

    async def wait(
        self, device: Key, prop: str, *, for_ver: Vector, states: frozenset[AckState], timeout_s: float
    ) -> TwinState:
        """See `Twins`."""
        wake = asyncio.Event()
        self._watchers.add(wake)
        state: TwinState | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    wake.clear()
                    state = self._twins.get((device, prop))
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
            self._watchers.discard(wake)

    # --- once, and now ------------------------------------------------------------------------------------

    def turn(self, device: Key) -> asyncio.Lock:
        """Hold it while several things are done to one device: nobody else writes to it meanwhile."""
        return self._turns.setdefault(device, asyncio.Lock())

    def config_of(self, device: Key, prop: str) -> PropertyConfig | None:
        """How the property is served here now; None when it is not."""
        return self._configs.get((device, prop)) if device not in self._refused else None

    def check_value(self, config: PropertyConfig, text: str) -> Value:
        """The value that the text means. Raises `InvalidError` where the property does not take it."""
        return self._check_wanted(config, text, None)

    async def write_once(self, device: Key, prop: str, value: Value) -> WriteResult:
        """Write at most once, leaving what is wanted of the property as it is. Hold the device's `turn`."""
        config, driver = self._configs.get((device, prop)), self._drivers.get(self._protocol_of(device))
        if config is None or driver is None:
            raise NotFoundError(f'property "{prop}" of device "{device.name}" is not served on this gateway')
        result = await driver.write(device, prop, value, once=True)
        if result.read_back is not None and (device, prop) in self._configs:
            self._take_back((device, prop), config, result.read_back)
        return result

    async def read_now(self, device: Key, prop: str) -> Reading:
        """Read, and tell what was read. Hold the device's `turn`."""
        config, driver = self._configs.get((device, prop)), self._drivers.get(self._protocol_of(device))
        if config is None or driver is None:
            raise NotFoundError(f'property "{prop}" of device "{device.name}" is not served on this gateway')
        reading = await driver.read(device, prop)
        if reading.value is not None and (device, prop) in self._configs:
            self._take_back((device, prop), config, reading)
        return reading

    def objects_changed(self, keys: Iterable[Key]) -> None:
        """See `Twins`."""
        if any(key.resource in (DEVICES, MODELS) for key in keys):
            self._changed.set()

    # --- running ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """See `Twins`. What was staged is committed before this ends."""
        stop_listening = self._store.listen(self._committed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._configure_always(group))
                group.create_task(self._commit_always())
                group.create_task(self._carry_out_always(group))
                group.create_task(self._watch_health_always())
        finally:
            stop_listening()
            for driver in self._drivers.values():
                await driver.close()
            if self._stage or self._pace.pending:
                try:
                    await self._flush(last=True)
                except UnavailableError as error:
                    LOG.warning("twins_not_saved_at_stop reason=%r rows=%d", str(error), len(self._stage.rows))

    def _committed(self, batch: EdgeBatch) -> None:
        self.objects_changed(held.key for held in batch.puts)
        self.objects_changed(batch.deletes)
        if any(name == META_EPOCH for name, _ in batch.meta):
            self._changed.set()

    async def _configure_always(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._observe()
            await self._configure(group)

    def _observe(self) -> None:
        """Read the objects anew, and merge what they want into the twins."""
        models = {
            (namespace_of(model), name_of(model)): model
            for model in (decode_object(held.body) for held in self._store.list(MODELS))
        }
        before, devices = self._known, self._store.list(DEVICES)
        self._known = known_devices((decode_object(held.body) for held in devices), models)
        void = {held.key for held in devices if held.stamp.revision == 0}
        epoch = self._store.meta(META_EPOCH) or ""  # after the devices: theirs is no newer
        now_s = self._clock.monotonic_s()
        self._configs = {
            (key, prop.name): prop
            for key, known in self._known.items()
            if known.config
            for prop in known.config.properties
        }
        for key, known in self._known.items():
            held = before.get(key)
            if held is None or held.config != known.config:
                self._configured_s[key] = now_s
        for place in [place for place in self._twins if place[0] not in self._known]:
            self._forget(place)
        if epoch != self._epoch:
            self._tell_anew(epoch)
        for place, config in self._configs.items():
            self._observe_one(place, config, void=place[0] in void)
        self._wish.set()

    def _tell_anew(self, epoch: str) -> None:
        """The cloud was restored: it may lack whatever was told before, and what it was seen to want says nothing.

        What it lacks of desired values it gets from here (docs/decisions/0105), by the rules of merging.
        """
        self._epoch = self._stage.epoch = epoch
        for place, state in self._twins.items():
            self._twins[place] = replace(state, seen=Vector())
            self._stage.rows.add(place)
            self._stage.told.add(place)
            if state.desired is not None:
                config = self._configs.get(place)
                self._stage.wanted[place] = config.twin.policy if config else TwinConfig().policy
        self._stage.states |= self._states
        self._hurry()

    def _forget(self, place: Place) -> None:
        """The device is gone from this gateway."""
        del self._twins[place]
        self._pace.forget(place)
        self._fresh.pop(place, None)
        self._attempts.pop(place, None)
        self._states.pop(place[0], None)
        self._configured_s.pop(place[0], None)
        turn = self._turns.get(place[0])
        if turn is not None and not turn.locked():
            del self._turns[place[0]]
        self._stage.gone.add(place[0])
        self._hurry()

    def _observe_one(self, place: Place, config: PropertyConfig, *, void: bool) -> None:
        """Merge what the Device object wants; with `void`, what it wanted in an earlier epoch."""
        known = self._known[place[0]]
        held = self._twins.get(place)
        before = held or TwinState(uid=known.uid)
        if before.uid != known.uid:
            # Another life of the device: nothing of the old is true of it, but its history goes on counting.
            before = TwinState(uid=known.uid, seq=before.seq)
        observed = observe(before, desired_of(known.body, place[1]), config, self._clock.wall_ms())
        if void:
            observed = replace(observed, state=replace(observed.state, seen=before.seen))
        if held == observed.state and not observed.tell_desired:
            return
        self._twins[place] = observed.state
        self._stage.rows.add(place)
        if observed.tell_desired:
            self._stage.wanted[place] = config.twin.policy
        if observed.state.desired != before.desired or observed.state.ack != before.ack:
            self._stage.told.add(place)
        self._hurry()

    async def _configure(self, group: asyncio.TaskGroup) -> None:
        """Give each driver its devices; drivers are made when they are first needed."""
        wanted: dict[str, list[DeviceConfig]] = {name: [] for name in self._drivers}
        refused: dict[Key, str] = {}
        for key, known in self._known.items():
            if known.config is None:
                refused[key] = known.reason
            elif known.config.protocol not in self._factories:
                refused[key] = f"this agent has no driver for {known.config.protocol}"
            else:
                wanted.setdefault(known.config.protocol, []).append(known.config)
        for name, configs in wanted.items():
            if name not in self._drivers:
                driver = self._drivers[name] = self._factories[name]()
                group.create_task(self._drive(name, driver))
                group.create_task(self._read(name, driver))
            if self._given.get(name) != configs:
                self._given[name] = configs
                kept = {key: why for key, why in self._refused.items() if self._protocol_of(key) != name}
                self._refused = kept | dict(await self._drivers[name].configure(configs))
        self._refused = {key: why for key, why in self._refused.items() if self._is_served(key)} | refused
        for key, reason in self._refused.items():
            self._tell_state(key, "invalid", reason)
        self._set_unserved()

    def _set_unserved(self) -> None:
        """What isn't read any more must not go on looking like a good value."""
        now_ms = self._clock.wall_ms()
        for place, state in self._twins.items():
            device = place[0]
            known = self._known.get(device)
            if known is None or known.uid != state.uid:
                continue
            reason = self._refused.get(
                device, "" if place in self._configs else "the device has no such property now"
            )
            if reason:
                self._fresh.pop(place, None)
                self._answered(place, unserved(state, reason, now_ms=now_ms))

    def _protocol_of(self, key: Key) -> str:
        known = self._known.get(key)
        return known.config.protocol if known and known.config else ""

    def _is_served(self, key: Key) -> bool:
        """A driver was asked to serve it (and may have refused)."""
        return self._protocol_of(key) in self._drivers

    async def _drive(self, name: str, driver: Driver) -> None:
        """A driver's root: a fault in one leaves the others, and the agent, alone."""
        while True:
            try:
                await driver.run()
            except Exception:
                LOG.exception("driver_failed driver=%s restart_s=%g", name, self._settings.restart_s)
                await asyncio.sleep(self._settings.restart_s)

    # --- readings -----------------------------------------------------------------------------------------

    async def _read(self, name: str, driver: Driver) -> None:
        async for reading in driver.readings():
            await self._room.wait()
            self._take(name, reading)

    def _take(self, name: str, reading: Reading) -> None:
        place = (reading.device, reading.prop)
        config = self._configs.get(place)
        known = self._known.get(reading.device)
        if reading.receipt:
            self._stage.receipts.append((name, reading.receipt))
            self._staged.set()
            if len(self._stage.receipts) >= self._settings.group_receipts:
                self._urgent.set()
        if config is None or known is None:
            return  # configured away while it was read
        first = place not in self._fresh
        before = self._twins.get(place) or TwinState(uid=known.uid)
        taken = take(before, config, reading, now_ms=self._clock.wall_ms(), synced=self._synced())
        if not taken.late:
            self._fresh[place] = reading
        self._keep(place, config, reading, taken)
        self.repeated += taken.repeated
        if taken.urgent:
            self._hurry()
        if first or (not is_settled(taken.state) and taken.record):
            self._wish.set()

    def _keep(
        self, place: Place, config: PropertyConfig, reading: Reading, taken: Taken, *, at_once: bool = False
    ) -> None:
        """Stage a twin after a reading, and the reading itself when it is to be part of the history."""
        state = taken.state
        if self._twins.get(place) == state:
            return
        self._twins[place] = state
        self._stage.rows.add(place)
        if taken.record and config.report_to_cloud:
            if at_once or taken.urgent:
                self._stage.told.add(place)
            else:
                self._pace.moved(place)
            row = Telemetry(
                device=name_of_device(place[0], state.uid),
                prop=place[1],
                seq=state.seq,
                value=None if reading.value is None else format_value(reading.value),
                type=config.type,
                quality=reading.quality,
                reason=reading.reason,
                source_ms=reading.source_ms,
                source_seq=reading.source_seq,
            )
            self._stage.telemetry.append(telemetry_report(place[0], row))
        self._staged.set()
        if len(self._stage.telemetry) >= self._settings.group_rows:
            self._urgent.set()
        if len(self._stage.telemetry) >= self._settings.staged_rows_max:
            self._room.clear()

    # --- committing ---------------------------------------------------------------------------------------

    def _hurry(self) -> None:
        self._staged.set()
        self._urgent.set()

    async def _commit_always(self) -> None:
        refused = ""
        while True:
            await self._something_to_commit()
            try:
                await self._flush()
            except UnavailableError as error:
                if str(error) != refused:
                    LOG.warning("twins_not_saved reason=%r rows=%d", str(error), len(self._stage.rows))
                refused = str(error)
                await asyncio.sleep(self._settings.store_retry_s)
            else:
                if refused:
                    LOG.info("twins_saved_again")
                refused = ""

    async def _something_to_commit(self) -> None:
        """Something is staged, and there is credit for a commit; or a device's turn to be told has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._in_s(self._pace.due_s())):
                await self._staged.wait()
            async with asyncio.timeout(self._in_s(self._syncs.due_s())):
                await self._urgent.wait()
            return  # what can't wait costs no credit
        self._syncs.spend(self._clock.monotonic_s())

    def _in_s(self, at_s: float | None) -> float | None:
        return None if at_s is None else max(0.0, at_s - self._clock.monotonic_s())

    async def _flush(self, *, last: bool = False) -> None:
        """Commit what is staged, and with the `last` what was to be told later. Raises what the store raises; then
        everything stays staged."""
        await _to_the_end(self._flush_now(last=last))

    def _tell_in_turn(self, now_s: float) -> None:
        due = self._pace.take(now_s, self._stage.told)
        self._stage.told |= due
        self._stage.rows |= due

    async def _flush_now(self, *, last: bool) -> None:
        async with self._commit:
            self._tell_in_turn(float("inf") if last else self._clock.monotonic_s())
            stage, self._stage = self._stage, Stage()
            self._staged.clear()
            self._urgent.clear()
            try:
                batch = stage.batch(self._twins.get, self._pace.pending)
                if batch != EdgeBatch():
                    await self._store.apply(batch)
            except UnavailableError:
                self._stage.put_back(stage)
                self._staged.set()
                raise
        self._room.set()
        by_driver: dict[str, list[int]] = {}
        for name, receipt in stage.receipts:
            by_driver.setdefault(name, []).append(receipt)
        for name, receipts in by_driver.items():
            self._drivers[name].stored(receipts)
        self._notify()

    def _notify(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    # --- desired values -----------------------------------------------------------------------------------

    async def _carry_out_always(self, group: asyncio.TaskGroup) -> None:
        wait_s: float | None = None
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await self._wish.wait()
            except TimeoutError:
                pass
            self._wish.clear()
            wait_s = None
            for device in {place[0] for place, state in self._twins.items() if not is_settled(state)}:
                if device in self._writing or device not in self._known:
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
        return [place for place, state in self._twins.items() if place[0] == device and not is_settled(state)]

    def _due_s(self, device: Key) -> float | None:
        """In how many seconds something is to be done for this device; None: when something changes."""
        now_s = self._clock.monotonic_s()
        due: list[float] = []
        for place in self._places(device):
            if place not in self._configs:
                continue
            step = self._step(place)
            if isinstance(step, Hold):
                wait_s = self._settings.retry_s_max
                if step.until_ms is not None:
                    wait_s = max(0.01, (step.until_ms - self._clock.wall_ms()) / 1000)
                due.append(wait_s)
            elif step is not None:
                due.append(max(0.0, self._not_before_s(place) - now_s))
        return min(due, default=None)

    def _not_before_s(self, place: Place) -> float:
        """When a failed write is tried again; a newer desired value does not wait."""
        tried = self._attempts.get(place)
        desired = self._twins[place].desired
        return tried[1] if tried and desired and tried[0] == desired.ver else 0.0

    def _step(self, place: Place) -> Write | Settle | Hold | None:
        config = self._configs[place]
        age_s = self._clock.monotonic_s() - self._configured_s.get(place[0], 0.0)
        awaited_s = 2 * config.collect_ms / 1000 + self._settings.first_reading_s
        now_ms = self._clock.wall_ms()
        sight = Sight(
            now_ms=now_ms,
            clock_is_synced=self._synced(),
            fresh=self._fresh.get(place),
            unread_until_ms=now_ms + round(max(0.0, awaited_s - age_s) * 1000),
        )
        return next_step(self._twins[place], config, sight)

    async def _carry_out(self, device: Key) -> None:
        """Carry out what is wanted of one device, one property after the other."""
        try:
            async with self.turn(device):
                await self._carry_out_in_turn(device)
        except Exception:
            LOG.exception(
                "write_failed device=%s/%s retry_s=%g", device.namespace, device.name, self._settings.restart_s
            )
            await asyncio.sleep(self._settings.restart_s)
        finally:
            self._writing.discard(device)
            self._wish.set()

    async def _carry_out_in_turn(self, device: Key) -> None:
        for place in self._places(device):
            if place not in self._configs or self._not_before_s(place) > self._clock.monotonic_s():
                continue
            match self._step(place):
                case Settle(ack=answer):
                    self._answered(place, replace(self._twins[place], ack=answer))
                case Write(value=value, for_ver=ver):
                    driver = self._drivers.get(self._protocol_of(device))
                    if driver is None:
                        continue
                    result = await driver.write(device, place[1], value)
                    self._retry_later(place, ver, failed=result.state == "failed")
                    state = self._twins.get(place)
                    config = self._configs.get(place)
                    if state is None or config is None:
                        continue
                    if result.read_back is not None:
                        state = self._take_back(place, config, result.read_back)
                    self._answered(place, written(state, ver, result, self._clock.wall_ms()))
                case _:
                    pass

    def _take_back(self, place: Place, config: PropertyConfig, reading: Reading) -> TwinState:
        """A value read back after a write is told at once, whatever the deadband."""
        self._fresh[place] = reading
        known = self._known.get(place[0])
        taken = take(
            self._twins.get(place) or TwinState(uid=known.uid if known else ""),
            config,
            reading,
            now_ms=self._clock.wall_ms(),
            synced=self._synced(),
            verbatim=True,
        )
        self._keep(place, config, reading, taken, at_once=True)
        return self._twins[place]

    def _retry_later(self, place: Place, ver: Vector, *, failed: bool) -> None:
        if not failed:
            self._attempts.pop(place, None)
            return
        tried = self._attempts.get(place)
        settings = self._settings
        last_s = tried[2] if tried and tried[0] == ver else 0.0
        backoff_s = min(max(last_s * 2, settings.retry_s_min), settings.retry_s_max)
        at_s = self._clock.monotonic_s() + backoff_s * (0.75 + self._ids.unit() / 4)
        self._attempts[place] = (ver, at_s, backoff_s)

    def _answered(self, place: Place, state: TwinState) -> None:
        if self._twins.get(place) == state:
            return
        self._twins[place] = state
        self._stage.rows.add(place)
        self._stage.told.add(place)
        self._hurry()

    # --- health -------------------------------------------------------------------------------------------

    async def _watch_health_always(self) -> None:
        while True:
            for driver in list(self._drivers.values()):
                for health in driver.health():
                    self._look(health)
            await asyncio.sleep(self._settings.health_s)

    def _look(self, health: DeviceHealth) -> None:
        if health.device in self._known and health.device not in self._refused:
            self._tell_state(health.device, "online" if health.online else "offline", health.reason)

    def _tell_state(self, key: Key, state: str, reason: str) -> None:
        """Report a device's state when it changed, or when it has lived on for a while."""
        known = self._known[key]
        before = self._states.get(key)
        now_s = self._clock.monotonic_s()
        same = before is not None and before.state == state and (state != "invalid" or before.reason == reason)
        if same and (state != "online" or now_s - self._states_s[key] < self._settings.seen_s):
            return
        online_ms = self._clock.wall_ms() if state == "online" else before.last_online_ms if before else 0
        told = DeviceState(
            device=name_of_device(key, known.uid),
            state="online" if state == "online" else "invalid" if state == "invalid" else "offline",
            reason=reason,
            last_online_ms=online_ms,
        )
        self._states[key] = told
        self._states_s[key] = now_s
        self._stage.states[key] = told
        self._hurry()
        if not same:
            LOG.info("device_state device=%s/%s state=%s reason=%r", key.namespace, key.name, state, reason)


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Run to its end even when the caller is cancelled meanwhile: a commit can't be stopped halfway, and one that
    happened without our noting it would be made twice."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
