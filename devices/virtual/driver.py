"""The virtual driver: values that a manifest scripts, and the faults that it plans.

Each property plays its `script` (a value a reading, again and again) or its `signal` (a function of time) until
somebody writes it; then it holds what was written. What goes wrong, and when, is `devices.virtual.faults`. Time
begins when the device is first configured, and again when its seed or faults change. Keeps its values in memory; a
restart begins anew.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from devices.inflow import Inflow, no_value
from devices.port import (
    DeviceConfig,
    DeviceHealth,
    Explanation,
    Reading,
    Rehearsal,
    Step,
    WriteResult,
    WriteState,
)
from devices.schedule import Poll, Schedule
from devices.signals import Playing, Point
from devices.virtual.config import VirtualDevice, VirtualProperty, parse_device
from devices.virtual.faults import Fault, Moment, is_offline, met, spoiled
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Value, format_value, same_value
from skerry.ports import Clock
from skerry.waits import until_set

READINGS_MAX: Final = 4096
"""Waiting to be taken, or being late; when full, the oldest goes."""
REMEMBERED_MAX: Final = 1000
"""Writes and receipts, for whoever wants to see what was done."""

_SILENT: Final = "the device is silent"
_PLACE: Final = "in the agent's memory"


@dataclass(slots=True, kw_only=True)
class _Property:
    parsed: VirtualProperty
    playing: Playing | None
    at: int = 0
    """Readings so far."""
    writes: int = 0
    held: Value | None = None
    frozen: tuple[float, Point] | None = None
    """While it is stuck: since when (the window's beginning), and with what."""
    told: Reading | None = None
    """The newest that was told, for whoever asks why."""
    steps: tuple[Step, ...] = ()
    """How it came to be."""

    def point(self, elapsed_s: float) -> Point:
        """What it holds, or the place of its script or signal that it is at."""
        if self.held is not None:
            return Point(value=self.held)
        if self.playing is not None:
            return self.playing.at(elapsed_s)
        if self.parsed.script:
            return Point(value=self.parsed.script[self.at % len(self.parsed.script)])
        return Point(value=None, quality="bad", reason="it has no value yet")

    def source(self, elapsed_s: float) -> Step:
        """Where that comes from, in words."""
        if self.held is not None:
            return Step(name="held", says="what was written last")
        if self.playing is not None:
            return Step(name="signal", says=f"{self.playing.signal.kind}, {elapsed_s:.3f} s after its start")
        if len(self.parsed.script) == 1:
            return Step(name="initial", says="what it holds until somebody writes")
        return Step(name="script", says=f"place {self.at % len(self.parsed.script) + 1} of {len(self.parsed.script)}")


@dataclass(slots=True, kw_only=True)
class _Device:
    parsed: VirtualDevice
    silent: bool
    start_s: float
    properties: dict[str, _Property] = field(default_factory=dict[str, _Property])


class _Read(Frozen):
    """One reading of a property."""

    reading: Reading
    steps: tuple[Step, ...]
    late_s: float = 0.0


class VirtualDriver:
    """A `Driver`. `play` and `silence` let tests and examples act as the device."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._devices: dict[Key, _Device] = {}
        self._schedule: Schedule[tuple[Key, str]] = Schedule()
        self._inflow = Inflow(most=READINGS_MAX)
        self._changed = asyncio.Event()
        self._late: list[tuple[float, int, _Read]] = []
        """A heap of what is told later, by when."""
        self._later = 0
        self.writes: list[tuple[Key, str, Value]] = []
        """What was carried out; the newest `REMEMBERED_MAX`."""
        self.receipts: list[int] = []

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`."""
        refused: list[tuple[Key, str]] = []
        before, self._devices = self._devices, {}
        now_s = self._clock.monotonic_s()
        for config in devices:
            try:
                self._devices[config.device] = _made(parse_device(config), before.get(config.device), now_s)
            except InvalidError as error:
                refused.append((config.device, str(error)))
        self._late = [entry for entry in self._late if entry[2].reading.device in self._devices]
        heapq.heapify(self._late)
        self._schedule.configure(
            [
                Poll(key=(key, name), period_s=prop.parsed.config.collect_ms / 1000)
                for key, device in self._devices.items()
                for name, prop in device.properties.items()
                if prop.parsed.tells or prop.held is not None
            ],
            now_s,
        )
        self._changed.set()
        return refused

    async def run(self) -> None:
        """See `Driver`."""
        while True:
            now_s = self._clock.monotonic_s()
            due = self._schedule.next()
            if self._late and self._late[0][0] <= now_s:
                self._arrive(heapq.heappop(self._late)[2])
                continue
            if due is not None and due[1] <= now_s:
                self._schedule.done(due[0], now_s)
                self._poll(*due[0])
                await asyncio.sleep(0)  # who has more to read than there is time leaves the others theirs
                continue
            wake_s = min(self._late[0][0] if self._late else math.inf, due[1] if due is not None else math.inf)
            await until_set(self._changed, within_s=wake_s - now_s if math.isfinite(wake_s) else None)
            self._changed.clear()

    def _poll(self, key: Key, name: str) -> None:
        read = self._read(key, name)
        self._devices[key].properties[name].at += 1
        if not read.late_s:
            self._arrive(read)
            return
        if len(self._late) >= READINGS_MAX:
            heapq.heappop(self._late)
        self._later += 1
        heapq.heappush(self._late, (self._clock.monotonic_s() + read.late_s, self._later, read))

    def _arrive(self, read: _Read) -> None:
        device = self._devices.get(read.reading.device)
        prop = device.properties.get(read.reading.prop) if device else None
        if prop is not None:
            prop.told, prop.steps = read.reading, read.steps
            self._inflow.tell(read.reading)

    def _read(self, key: Key, name: str) -> _Read:
        """What reading it now comes to."""
        device = self._devices[key]
        prop = device.properties[name]
        elapsed_s = self._clock.monotonic_s() - device.start_s
        moment = Moment(seed=device.parsed.seed, prop=name, count=prop.at, elapsed_s=elapsed_s)
        faults = met(device.parsed.faults, moment)
        away = next((fault.reason for fault in faults if fault.name == "offline"), _SILENT if device.silent else "")
        if away:
            return _Read(reading=no_value(key, name, away, self._clock), steps=())
        point = spoiled(_stuck(prop, faults, elapsed_s), faults, moment, prop.parsed.config.type)
        late_s = max((fault.by_s for fault in faults if fault.name == "late"), default=0.0)
        return _Read(
            reading=self._reading(key, prop, point), steps=_steps(prop, point, faults, elapsed_s), late_s=late_s
        )

    def _reading(self, key: Key, prop: _Property, point: Point) -> Reading:
        config = prop.parsed.config
        if point.value is None:
            return no_value(key, config.name, point.reason, self._clock)
        quality, reason = config.quality_of(point.value) if point.quality == "good" else (point.quality, point.reason)
        return Reading(
            device=key,
            prop=config.name,
            value=point.value,
            quality=quality,
            reason=reason,
            source_ms=self._clock.wall_ms(),
            monotonic_s=self._clock.monotonic_s(),
        )

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`. A late answer is waited for."""
        known, found = self._find(device, prop)
        if known is None or found is None:
            return no_value(device, prop, f"{device} has no property {prop} here", self._clock)
        read = self._read(device, prop)
        if read.late_s:
            await asyncio.sleep(read.late_s)
        if read.reading.value is not None:
            found.told, found.steps = read.reading, read.steps
        return read.reading

    def _find(self, device: Key, prop: str) -> tuple[_Device | None, _Property | None]:
        known = self._devices.get(device)
        return known, known.properties.get(prop) if known else None

    def play(self, reading: Reading) -> None:
        """Say this, as a device that tells by itself."""
        self._inflow.tell(reading)

    def silence(self, device: Key, *, silent: bool) -> None:
        """Stop answering, or answer again."""
        self._devices[device].silent = silent

    def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        return self._inflow.readings()

    def stored(self, receipts: Sequence[int]) -> None:
        """See `Driver`."""
        self.receipts = [*self.receipts, *receipts][-REMEMBERED_MAX:]

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        return [self._health(key, device) for key, device in self._devices.items()]

    def _health(self, key: Key, device: _Device) -> DeviceHealth:
        away = _SILENT if device.silent else ""
        if not away and is_offline(device.parsed.faults, self._clock.monotonic_s() - device.start_s):
            away = "the device is offline"
        return DeviceHealth(device=key, online=not away, reason=away)

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`."""
        known, found = self._find(device, prop)
        if known is None or found is None:
            return _result("failed", f"{device} has no property {prop} here")
        moment = Moment(
            seed=known.parsed.seed,
            prop=prop,
            count=found.writes,
            elapsed_s=self._clock.monotonic_s() - known.start_s,
        )
        faults = {fault.name: fault for fault in met(known.parsed.faults, moment, writing=True)}
        found.writes += 1
        if refusal := _refusal(found, value):
            return _result("refused", refusal)
        if "offline" in faults or known.silent:
            return _result("failed", faults["offline"].reason if "offline" in faults else _SILENT)
        if "slow" in faults:
            await asyncio.sleep(faults["slow"].by_s)
        for state in ("refuse", "fail"):
            if state in faults:
                return _result("refused" if state == "refuse" else "failed", faults[state].reason)
        return self._carry_out(known, found, value, faults)

    def _carry_out(self, device: _Device, prop: _Property, value: Value, faults: dict[str, Fault]) -> WriteResult:
        """Take the value, where nothing keeps the device from it, and read it back."""
        key, config = device.parsed.key, prop.parsed.config
        elapsed_s = self._clock.monotonic_s() - device.start_s
        # What it was stuck with is what it shows, whatever it was given meanwhile.
        shown = _stuck(prop, list(faults.values()), elapsed_s)
        if "ignore" not in faults:
            self.writes = [*self.writes, (key, config.name, value)][-REMEMBERED_MAX:]
            prop.held = value
            if "stuck" not in faults:
                shown = Point(value=value)
        back = self._reading(key, prop, shown)
        prop.told, prop.steps = back, _steps(prop, shown, list(faults.values()), elapsed_s)
        if back.value is not None and _same(prop, back.value, value):
            return WriteResult(state="verified", reason="", read_back=back)
        found = "nothing" if back.value is None else format_value(back.value)
        return WriteResult(
            state="failed", reason=f"read back {found} in place of {format_value(value)}", read_back=back
        )

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`."""
        known, found = self._find(device, prop)
        if known is None or found is None:
            return None
        due_s = self._schedule.due_s((device, prop))
        told = found.told
        return Explanation(
            place=_PLACE,
            asked=f"every {found.parsed.config.collect_ms / 1000:g} s",
            raw=_raw(told),
            steps=found.steps,
            reading=told,
            error=told.reason if told is not None and told.value is None else "",
            error_ms=told.source_ms if told is not None and told.value is None else 0,
            next_s=None if due_s is None else max(0.0, due_s - self._clock.monotonic_s()),
        )

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`. What faults would do to it is not told: they are chance."""
        known, found = self._find(device, prop)
        if known is None or found is None:
            return None
        refusal = _refusal(found, value)
        return Rehearsal(
            place=_PLACE,
            requests=() if refusal else ({"value": format_value(value)},),
            steps=(Step(name="value", says=f"{format_value(value)} ({found.parsed.config.type})"),),
            refusal=refusal,
        )

    async def close(self) -> None:
        """See `Driver`."""
        self._devices, self._late = {}, []
        self._schedule.configure([], self._clock.monotonic_s())


def _made(parsed: VirtualDevice, before: _Device | None, now_s: float) -> _Device:
    """The device, with what it held before; its time and its counts go on where its own script is the same."""
    same = before is not None and (before.parsed.seed, before.parsed.faults) == (parsed.seed, parsed.faults)
    made = _Device(parsed=parsed, silent=parsed.silent, start_s=before.start_s if before and same else now_s)
    for name, prop in parsed.properties.items():
        was = before.properties.get(name) if before else None
        if was is not None and same and was.parsed == prop:
            made.properties[name] = was
            continue
        made.properties[name] = _Property(parsed=prop, playing=prop.playing(parsed.seed))
        if was is not None and was.parsed.config.type == prop.config.type:
            made.properties[name] = replace(made.properties[name], held=was.held)
    return made


def _stuck(prop: _Property, faults: Sequence[Fault], elapsed_s: float) -> Point:
    """What it is now, or what it was when it got stuck."""
    stuck = next((fault for fault in faults if fault.name == "stuck"), None)
    if stuck is None:
        prop.frozen = None
        return prop.point(elapsed_s)
    begun_s = stuck.window_s(elapsed_s)
    assert begun_s is not None, "a fault that is met has an open window"
    if prop.frozen is None or prop.frozen[0] != begun_s:
        prop.frozen = begun_s, prop.point(elapsed_s)
    return prop.frozen[1]


def _refusal(prop: _Property, value: Value) -> str:
    """Why it does not take the value; "" when it does."""
    if not prop.parsed.config.writable:
        return f"{prop.parsed.config.name} is read-only"
    return f"the device won't take {format_value(value)}" if format_value(value) in prop.parsed.refused else ""


def _same(prop: _Property, one: Value, other: Value) -> bool:
    config = prop.parsed.config
    return same_value(config.type, format_value(one), format_value(other), config.twin.tolerance)


def _steps(prop: _Property, point: Point, faults: Sequence[Fault], elapsed_s: float) -> tuple[Step, ...]:
    if point.value is None:
        return ()
    spoiling = tuple(Step(name="fault", says=fault.name) for fault in faults)
    value = Step(name="value", says=f"{format_value(point.value)} ({prop.parsed.config.type})")
    return prop.source(elapsed_s), *spoiling, value


def _raw(told: Reading | None) -> JsonObject:
    return {"value": format_value(told.value)} if told is not None and told.value is not None else {}


def _result(state: WriteState, reason: str) -> WriteResult:
    return WriteResult(state=state, reason=reason, read_back=None)
