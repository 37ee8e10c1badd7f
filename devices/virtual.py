"""A device that exists in memory: for trying models and manifests without hardware, and the fake form of `Driver`.

Each property plays its `script` (a list of values, one a period, again and again) until somebody writes it; then
it holds what was written. `initial` is a script of one. `silent` devices do not answer; `refuse` lists values that
the device won't take. Keeps its values in memory; a restart begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from devices.fields import bool_in, refuse_unknown, text_in
from devices.inflow import Inflow
from devices.port import (
    DeviceConfig,
    DeviceHealth,
    Explanation,
    PropertyConfig,
    Reading,
    Rehearsal,
    Step,
    WriteResult,
)
from devices.schedule import Poll, Schedule
from skerry.errors import InvalidError
from skerry.objects.json import list_at
from skerry.objects.meta import Key
from skerry.objects.twins import Value, format_value, parse_value
from skerry.ports import Clock

READINGS_MAX: Final = 4096
"""Waiting to be taken; when full, the oldest goes."""


@dataclass(slots=True, kw_only=True)
class _Property:
    config: PropertyConfig
    script: tuple[Value, ...]
    refused: frozenset[str]
    at: int = 0
    held: Value | None = None

    def now(self) -> Value:
        """What it holds, or the place of its script that it is at."""
        return self.held if self.held is not None else self.script[self.at % len(self.script)]


@dataclass(slots=True, kw_only=True)
class _Device:
    silent: bool
    properties: dict[str, _Property] = field(default_factory=dict[str, _Property])


class VirtualDriver:
    """A `Driver`. `play` and `silence` let tests and examples act as the device."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._devices: dict[Key, _Device] = {}
        self._schedule: Schedule[tuple[Key, str]] = Schedule()
        self._inflow = Inflow(most=READINGS_MAX)
        self._changed = asyncio.Event()
        self.writes: list[tuple[Key, str, Value]] = []
        self.receipts: list[int] = []

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`."""
        refused: list[tuple[Key, str]] = []
        before, self._devices = self._devices, {}
        for config in devices:
            try:
                self._devices[config.device] = _device(config, before.get(config.device))
            except InvalidError as error:
                refused.append((config.device, str(error)))
        self._schedule.configure(
            [
                Poll(key=(key, prop.config.name), period_s=prop.config.collect_ms / 1000)
                for key, device in self._devices.items()
                for prop in device.properties.values()
                if prop.script or prop.held is not None
            ],
            self._clock.monotonic_s(),
        )
        self._changed.set()
        return refused

    async def run(self) -> None:
        """See `Driver`."""
        while True:
            due = self._schedule.next()
            now_s = self._clock.monotonic_s()
            if due is not None and due[1] <= now_s:
                self._schedule.done(due[0], now_s)
                self._read(*due[0])
                continue
            try:
                async with asyncio.timeout(None if due is None else due[1] - now_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    def _read(self, key: Key, name: str) -> None:
        device = self._devices[key]
        prop = device.properties[name]
        if device.silent:
            self.play(self._reading(key, name, None, "the device is silent"))
            return
        value = prop.now()
        prop.at += 1
        self.play(self._reading(key, name, value, ""))

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return self._reading(device, prop, None, f"{device} has no property {prop} here")
        return self._answer(device, prop, known, found)

    def _answer(self, device: Key, prop: str, known: _Device, found: _Property) -> Reading:
        if known.silent:
            return self._reading(device, prop, None, "the device is silent")
        if found.held is None and not found.script:
            return self._reading(device, prop, None, "it has no value yet")
        return self._reading(device, prop, found.now(), "")

    def _reading(self, key: Key, name: str, value: Value | None, reason: str) -> Reading:
        return Reading(
            device=key,
            prop=name,
            value=value,
            quality="bad" if value is None else "good",
            reason=reason,
            source_ms=self._clock.wall_ms(),
            monotonic_s=self._clock.monotonic_s(),
        )

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
        self.receipts.extend(receipts)

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        return [
            DeviceHealth(device=key, online=not device.silent, reason="the device is silent" if device.silent else "")
            for key, device in self._devices.items()
        ]

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return WriteResult(state="failed", reason=f"{device} has no property {prop} here", read_back=None)
        if known.silent:
            return WriteResult(state="failed", reason="the device is silent", read_back=None)
        if refusal := _refusal(found, value):
            return WriteResult(state="refused", reason=refusal, read_back=None)
        self.writes.append((device, prop, value))
        found.held = value
        return WriteResult(state="verified", reason="", read_back=self._reading(device, prop, value, ""))

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`: what the script, or who wrote last, makes of it now."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return None
        due_s = self._schedule.due_s((device, prop))
        reading = self._answer(device, prop, known, found)
        return Explanation(
            place="in the agent's memory",
            asked=f"every {found.config.collect_ms / 1000:g} s",
            raw={"value": format_value(reading.value)} if reading.value is not None else {},
            steps=_steps(found) if reading.value is not None else (),
            reading=reading,
            next_s=None if due_s is None else max(0.0, due_s - self._clock.monotonic_s()),
        )

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return None
        refusal = _refusal(found, value)
        return Rehearsal(
            place="in the agent's memory",
            requests=() if refusal else ({"value": format_value(value)},),
            steps=(Step(name="value", says=f"{format_value(value)} ({found.config.type})"),),
            refusal=refusal,
        )

    async def close(self) -> None:
        """See `Driver`."""
        self._devices = {}
        self._schedule.configure([], self._clock.monotonic_s())


def _refusal(prop: _Property, value: Value) -> str:
    """Why it does not take the value; "" when it does."""
    if not prop.config.writable:
        return f"{prop.config.name} is read-only"
    return f"the device won't take {format_value(value)}" if format_value(value) in prop.refused else ""


def _steps(prop: _Property) -> tuple[Step, ...]:
    value = Step(name="value", says=f"{format_value(prop.now())} ({prop.config.type})")
    if prop.held is not None:
        return Step(name="held", says="what was written last"), value
    if len(prop.script) == 1:
        return Step(name="initial", says="what it holds until somebody writes"), value
    place = prop.at % len(prop.script) + 1
    return Step(name="script", says=f"place {place} of {len(prop.script)}"), value


def _device(config: DeviceConfig, before: _Device | None) -> _Device:
    where = "spec.protocol.configData"
    refuse_unknown(config.protocol_config, ("silent",), where)
    silent = bool_in(config.protocol_config, "silent", where=where, default=False)
    made = _Device(silent=silent)
    for prop in config.properties:
        made.properties[prop.name] = _property(prop)
        held = before.properties.get(prop.name) if before else None
        if held is not None and held.held is not None and held.config.type == prop.type:
            made.properties[prop.name].held = held.held
    return made


def _property(prop: PropertyConfig) -> _Property:
    where = f"spec.properties[{prop.name}].visitors.configData"
    refuse_unknown(prop.visitor, ("script", "initial", "refuse"), where)
    given = list_at(prop.visitor, "script") or ([prop.visitor["initial"]] if "initial" in prop.visitor else [])
    texts = [
        str(item).lower() if isinstance(item, bool) else text_in({"script": item}, "script", where=where)
        for item in given
    ]
    return _Property(
        config=prop,
        script=tuple(parse_value(prop.type, text) for text in texts),
        refused=frozenset(str(item) for item in list_at(prop.visitor, "refuse")),
    )
