"""A driver for devices that are asked: everything but the asking.

Who writes one says how a device is opened, read and written (`PolledDevice`); this keeps cycles, turns, silence,
reading back and what people want to know of it, for each device alone. One worker a device, one thing at a time.
Properties of one cycle are read together. A device that does not answer is left alone ever longer, so that nothing
waits for it. Keeps in memory what was read last; after a crash it is read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from devices.inflow import Inflow, no_value
from devices.port import (
    DeviceConfig,
    DeviceHealth,
    Explanation,
    PropertyConfig,
    Reading,
    Rehearsal,
    Step,
    WriteResult,
    WriteState,
)
from devices.schedule import Breakers, BreakerSettings, Poll, Schedule
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Quality, Value, format_value, same_value
from skerry.ports import Clock, Ids

LOG = logging.getLogger(__name__)

READINGS_MAX: Final = 4096
"""Waiting to be taken; when full, the oldest goes: it is read again in a moment."""
RESTART_S: Final = 5.0
"""After a fault of our own, or of the device's code, in a worker."""
TURN_S_MAX: Final = 120.0
"""A write or read whose turn did not come by then tells so."""


class LeftAloneError(UnavailableError):
    """The device is there, and not to be asked just now."""


class Sample(Frozen):
    """What a device said of one property."""

    value: Value | None
    """None: there is none, for the `reason`."""
    reason: str = ""
    quality: Quality = "good"
    """A good value out of the model's range is made uncertain of."""
    source_ms: int | None = None
    """When the device says; None: the middle of question and answer."""
    source_seq: int | None = None


class PolledDevice(Protocol):
    """One device. Made from its configuration without speaking to it."""

    async def read(self, names: Sequence[str]) -> Mapping[str, Sample]:
        """Ask for these properties, in as few requests as may be. What is missing in the answer says nothing of
        itself. Raises `UnavailableError` when the device does not answer, and nothing else for a sick device."""
        ...

    async def write(self, name: str, value: Value, *, once: bool) -> WriteResult:
        """Send the value: `applied` when the device took it (it is read back then), `refused` or `failed` with the
        reason. With `once` never send it twice. Raises `UnavailableError` when the device does not answer."""
        ...

    def readable(self, name: str) -> bool:
        """It can be asked for."""
        ...

    def place(self, name: str) -> str:
        """Where the device keeps it, in the protocol's words."""
        ...

    def explained(self, name: str) -> tuple[JsonObject, tuple[Step, ...]]:
        """What came over the wire last, and what was made of it."""
        ...

    def rehearse(self, name: str, value: Value) -> Rehearsal:
        """What `write` would send. One that is refused is never sent."""
        ...

    async def close(self) -> None:
        """Let go of connections; it may be used again."""
        ...


Open: TypeAlias = "Callable[[DeviceConfig], PolledDevice]"
"""Raises `InvalidError` that names the field and the fix."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    """One device and what is known of it."""

    config: DeviceConfig
    device: PolledDevice
    properties: Mapping[str, PropertyConfig]
    schedule: Schedule[float]
    """By period."""
    breaker: Breakers[int]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    readings: dict[str, Reading] = field(default_factory=dict[str, Reading])
    errors: dict[str, tuple[str, int]] = field(default_factory=dict[str, "tuple[str, int]"])
    """The newest failure of each property, and when."""
    health: DeviceHealth | None = None

    def due_together(self, period_s: float) -> list[str]:
        """The properties of one cycle."""
        return [
            name for name, prop in self.properties.items() if _period(prop) == period_s and self.device.readable(name)
        ]


class PollingDriver:
    """A `Driver`. See the module."""

    def __init__(self, opening: Open, *, clock: Clock, ids: Ids, settings: BreakerSettings | None = None) -> None:
        self._opening = opening
        self._clock = clock
        self._ids = ids
        self._settings = settings or BreakerSettings()
        self._workers: dict[Key, _Worker] = {}
        self._inflow = Inflow(most=READINGS_MAX)
        self._changed = asyncio.Event()

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`. A device whose configuration stayed the same keeps its connection and its cycles."""
        refused: list[tuple[Key, str]] = []
        before, self._workers = self._workers, {}
        for config in devices:
            held = before.get(config.device)
            if held is not None and held.config == config:
                self._workers[config.device] = held
                continue
            try:
                self._workers[config.device] = self._worker(config)
            except InvalidError as error:
                refused.append((config.device, str(error)))
        self._changed.set()
        return refused

    def _worker(self, config: DeviceConfig) -> _Worker:
        device = self._opening(config)
        schedule: Schedule[float] = Schedule()
        periods = {_period(prop) for prop in config.properties if device.readable(prop.name)}
        polls = [Poll(key=period_s, period_s=period_s) for period_s in sorted(periods)]
        schedule.configure(polls, self._clock.monotonic_s())
        return _Worker(
            config=config,
            device=device,
            properties={prop.name: prop for prop in config.properties},
            schedule=schedule,
            breaker=Breakers(self._settings),
        )

    async def run(self) -> None:
        """See `Driver`."""
        running: dict[Key, tuple[_Worker, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                ending = [key for key, (worker, _) in running.items() if self._workers.get(key) is not worker]
                for key in ending:
                    running[key][1].cancel()
                if ending:
                    # A device is opened again when whoever had it has let go of it.
                    await asyncio.wait([running.pop(key)[1] for key in ending])
                for key, worker in self._workers.items():
                    if key not in running:
                        running[key] = worker, group.create_task(self._keep(worker))
                await self._changed.wait()
                self._changed.clear()

    async def _keep(self, worker: _Worker) -> None:
        """A worker's root: a fault in one device is told, and leaves the others alone."""
        try:
            while True:
                try:
                    await self._work(worker)
                except Exception as error:
                    key = worker.config.device
                    LOG.exception("device_failed device=%s/%s restart_s=%g", key.namespace, key.name, RESTART_S)
                    worker.health = DeviceHealth(
                        device=key, online=False, reason=f"its driver failed: {type(error).__name__}"
                    )
                    for name in worker.properties:
                        self._tell(worker, no_value(key, name, worker.health.reason, self._clock))
                    await asyncio.sleep(RESTART_S)
        finally:
            await worker.device.close()

    async def _work(self, worker: _Worker) -> None:
        while True:
            due = worker.schedule.next()
            if due is None:
                await asyncio.Event().wait()  # nothing is ever read
                continue
            now_s = self._clock.monotonic_s()
            if due[1] > now_s:
                await asyncio.sleep(due[1] - now_s)
                continue
            worker.schedule.done(due[0], now_s)
            async with worker.turn:
                for reading in await self._read(worker, worker.due_together(due[0])):
                    self._tell(worker, reading)

    # --- reading ------------------------------------------------------------------------------------------

    async def _read(self, worker: _Worker, names: Sequence[str]) -> list[Reading]:
        """Ask now, where the device is asked at all."""
        key = worker.config.device
        if closed := self._closed(worker):
            return [no_value(key, name, closed, self._clock) for name in names]
        begun_ms, begun_s = self._clock.wall_ms(), self._clock.monotonic_s()
        try:
            samples = await worker.device.read(names)
        except UnavailableError as error:
            self._unanswered(worker, error)
            return [no_value(key, name, str(error), self._clock) for name in names]
        self._answered(worker)
        taken_s = self._clock.monotonic_s() - begun_s
        at = (begun_ms + round(taken_s * 500), begun_s + taken_s / 2)
        found = ((name, samples.get(name)) for name in names)
        return [_reading(key, worker.properties[name], sample, at) for name, sample in found if sample is not None]

    def _closed(self, worker: _Worker) -> str:
        """Why the device is not asked now; "" when it is."""
        wait_s = worker.breaker.wait_s(0, self._clock.monotonic_s())
        last = worker.health.reason if worker.health else ""
        return f"{last or 'no answer'}; it is asked again in {wait_s:.1f} s" if wait_s else ""

    def _answered(self, worker: _Worker) -> None:
        worker.breaker.answered(0)
        worker.health = DeviceHealth(device=worker.config.device, online=True, reason="")

    def _unanswered(self, worker: _Worker, error: UnavailableError) -> None:
        if isinstance(error, LeftAloneError):
            self._answered(worker)
            return
        worker.breaker.silent(0, self._clock.monotonic_s(), self._ids.unit())
        worker.health = DeviceHealth(device=worker.config.device, online=False, reason=str(error))

    def _tell(self, worker: _Worker, reading: Reading) -> None:
        _remember(worker, reading)
        self._inflow.tell(reading)

    def _find(self, device: Key, prop: str) -> tuple[_Worker | None, PropertyConfig | None]:
        worker = self._workers.get(device)
        return worker, worker.properties.get(prop) if worker else None

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        if worker is None or found is None:
            return no_value(device, prop, f"{device} has no property {prop} here", self._clock)
        if not worker.device.readable(prop):
            return no_value(device, prop, "it is written only, and can't be asked", self._clock)
        try:
            async with asyncio.timeout(TURN_S_MAX), worker.turn:
                return await self._read_one(worker, prop)
        except TimeoutError:
            return no_value(device, prop, f"its turn did not come within {TURN_S_MAX:g} s", self._clock)

    async def _read_one(self, worker: _Worker, prop: str) -> Reading:
        readings = await self._read(worker, [prop])
        if not readings:
            return no_value(worker.config.device, prop, "the answer says nothing of it", self._clock)
        _remember(worker, readings[0])
        return readings[0]

    def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        return self._inflow.readings()

    def stored(self, receipts: Sequence[int]) -> None:
        """See `Driver`: nothing waits; a value is polled again."""

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        return [worker.health for worker in self._workers.values() if worker.health is not None]

    # --- writing ------------------------------------------------------------------------------------------

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        if worker is None or found is None:
            return _result("failed", f"{device} has no property {prop} here")
        if refusal := self._rehearse(worker, found, value).refusal:
            return _result("refused", refusal)
        try:
            async with asyncio.timeout(TURN_S_MAX), worker.turn:
                return await self._write(worker, found, value, once=once)
        except TimeoutError:
            return _result("failed", f"its turn did not come within {TURN_S_MAX:g} s")

    async def _write(self, worker: _Worker, prop: PropertyConfig, value: Value, *, once: bool) -> WriteResult:
        if closed := self._closed(worker):
            return _result("failed", closed)
        try:
            result = await worker.device.write(prop.name, value, once=once)
        except UnavailableError as error:
            self._unanswered(worker, error)
            return _result("failed", str(error))
        self._answered(worker)
        if result.state != "applied" or not worker.device.readable(prop.name):
            return result
        back = await self._read_one(worker, prop.name)
        if back.value is None:
            return _result("applied", f"written; can't be read back: {back.reason}")
        if same_value(prop.type, format_value(back.value), format_value(value), prop.twin.tolerance):
            return WriteResult(state="verified", reason="", read_back=back)
        reason = f"read back {format_value(back.value)} in place of {format_value(value)}"
        return WriteResult(state="failed", reason=reason, read_back=back)

    def _rehearse(self, worker: _Worker, prop: PropertyConfig, value: Value) -> Rehearsal:
        if prop.writable:
            return worker.device.rehearse(prop.name, value)
        steps = (Step(name="value", says=f"{format_value(value)} ({prop.type})"),)
        place = worker.device.place(prop.name)
        return Rehearsal(place=place, requests=(), steps=steps, refusal=f"{prop.name} is read-only")

    # --- for those who ask why ----------------------------------------------------------------------------

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        if worker is None or found is None:
            return None
        readable = worker.device.readable(prop)
        reading = worker.readings.get(prop)
        raw, steps = worker.device.explained(prop)
        if raw and reading is not None:
            steps = (*steps, _last_step(found, reading))
        error, error_ms = worker.errors.get(prop, ("", 0))
        due_s = worker.schedule.due_s(_period(found)) if readable else None
        return Explanation(
            place=worker.device.place(prop),
            asked=f"every {_period(found):g} s" if readable else "it is written only",
            raw=raw,
            steps=steps,
            reading=reading,
            error=error,
            error_ms=error_ms,
            next_s=None if due_s is None else max(0.0, due_s - self._clock.monotonic_s()),
        )

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`."""
        worker, found = self._find(device, prop)
        return None if worker is None or found is None else self._rehearse(worker, found, value)

    async def close(self) -> None:
        """See `Driver`. The workers end with `run`."""
        self._workers = {}
        self._changed.set()


def _period(prop: PropertyConfig) -> float:
    return prop.collect_ms / 1000


def _remember(worker: _Worker, reading: Reading) -> None:
    worker.readings[reading.prop] = reading
    if reading.value is None:
        worker.errors[reading.prop] = reading.reason, reading.source_ms


def _last_step(prop: PropertyConfig, reading: Reading) -> Step:
    if reading.value is None:
        return Step(name="value", says=f"none: {reading.reason}")
    shown = repr(reading.value) if isinstance(reading.value, str) else format_value(reading.value)
    return Step(name="value", says=f"{shown} ({prop.type})")


def _reading(device: Key, prop: PropertyConfig, sample: Sample, at: tuple[int, float]) -> Reading:
    quality, reason = ("bad", sample.reason) if sample.value is None else (sample.quality, sample.reason)
    if sample.value is not None and quality == "good":
        quality, reason = prop.quality_of(sample.value)
    return Reading(
        device=device,
        prop=prop.name,
        value=sample.value,
        quality=quality,
        reason=reason,
        source_ms=at[0] if sample.source_ms is None else sample.source_ms,
        monotonic_s=at[1],
        source_seq=sample.source_seq,
    )


def _result(state: WriteState, reason: str) -> WriteResult:
    return WriteResult(state=state, reason=reason, read_back=None)
