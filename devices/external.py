"""Devices that somebody else speaks to: a program tells the gateway what it read, and is told what is wanted.

A `Driver` for every protocol that has none here. What comes in (`report`, `say`) and how wanted values get out
(`Face`) is the business of whoever talks to those programs, `edgecore.bus` over MQTT; this keeps what is the same for
all: types, receipts, health, and that a wanted value counts as carried out when the program reports it.

In memory: what was said of each device's state, and which protocols have a mapper. After a restart a device is
offline until its program speaks again; one that nobody is known to speak to waits for its mapper.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

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
)
from skerry.errors import NotFoundError
from skerry.frozen import Frozen, replace
from skerry.objects.meta import Key
from skerry.objects.twins import Value, format_value, parse_value, same_value
from skerry.ports import Clock

VERIFY_S: Final = 10.0
"""So long a program has to report the value that was wanted of it. Programs poll, often every second or few."""
VERIFY_S_MAX: Final = 60.0
"""The same where the device's own cycle is longer."""

_PLACE: Final = "at the app or mapper that speaks its protocol"


class Face(Protocol):
    """Who talks to the programs."""

    async def tell(self, device: Key, prop: str, value: str) -> str:
        """Tell them what is wanted. Returns "" when that was done, else why it could not be."""
        ...


@dataclass(slots=True, kw_only=True)
class _Device:
    properties: dict[str, PropertyConfig]
    protocol: str
    online: bool = False
    reason: str = ""
    """"" until somebody speaks of it."""
    told: set[str] = field(default_factory=set[str])
    """Properties that have a value which is not known to be old."""
    newest: dict[str, tuple[str, Reading]] = field(default_factory=dict[str, "tuple[str, Reading]"])
    """Of each property, as it was reported and what was made of it."""


class Report(Frozen):
    """One value that a program read."""

    prop: str
    value: str
    source_ms: int


class ExternalDriver:
    """A `Driver`. See the module."""

    def __init__(self, *, clock: Clock, verify_s: float = VERIFY_S) -> None:
        self._clock = clock
        self._verify_s = verify_s
        self._devices: dict[Key, _Device] = {}
        self._faces: list[tuple[Face, Callable[[Key], bool]]] = []
        self._mappers: dict[str, str] = {}
        self._inflow = Inflow()
        self._next_receipt = 1
        self._waiting: dict[int, _Stored] = {}
        self._verifying: dict[tuple[Key, str], list[Callable[[Reading], None]]] = {}

    def attach(self, face: Face, owns: Callable[[Key], bool] = lambda _: False) -> None:
        """From now on it is told what is wanted; of a device that it `owns`, it alone."""
        self._faces.append((face, owns))

    def announce(self, protocol: str, mapper: str) -> None:
        """This mapper speaks the protocol: its devices don't wait for one any more."""
        self._mappers[protocol] = mapper

    # --- for faces ----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Readings that wait for the store."""
        return len(self._inflow)

    def serves(self, device: Key) -> bool:
        """It is one of those that others speak to."""
        return device in self._devices

    def report(self, device: Key, reports: Sequence[Report], stored: Callable[[], None]) -> None:
        """Take these values; all of them or none. `stored` is called when they are durable. Raises `NotFoundError`
        for a device or property that is not served so, `InvalidError` for a value that is not of its type."""
        known = self._devices.get(device)
        if known is None:
            raise NotFoundError(f'device "{device.namespace}/{device.name}" is not served by an app or mapper here')
        readings: list[Reading] = []
        for report in reports:
            config = known.properties.get(report.prop)
            if config is None:
                raise NotFoundError(f'device "{device.name}" has no property "{report.prop}"')
            readings.append(self._reading(device, config, report))
        known.online, known.reason = True, ""
        known.told |= {report.prop for report in reports}
        known.newest |= {
            report.prop: (report.value, reading) for report, reading in zip(reports, readings, strict=True)
        }
        together = _Stored(left=len(readings), done=stored)
        if not readings:
            stored()
        for reading in readings:
            receipt = self._next_receipt
            self._next_receipt += 1
            self._waiting[receipt] = together
            self._tell(replace(reading, receipt=receipt))

    def doubt(self, device: Key, prop: str, reason: str) -> None:
        """A program told something of a property that is no value of it: there is none now."""
        known = self._devices.get(device)
        if known is not None and prop in known.properties:
            known.told.discard(prop)
            reading = self._none(device, prop, reason)
            known.newest[prop] = ("", reading)
            self._tell(reading)

    def say(self, device: Key, *, online: bool, reason: str) -> None:
        """A program says how a device is. One that is away has no fresh values any more."""
        known = self._devices.get(device)
        if known is None:
            raise NotFoundError(f'device "{device.namespace}/{device.name}" is not served by an app or mapper here')
        known.online, known.reason = online, reason
        if not online:
            self._silence(device, known, reason)

    def lose(self, reason: str) -> None:
        """Nothing can be heard of any device any more that nobody owns."""
        for key, known in self._devices.items():
            if known.online and not any(owns(key) for _, owns in self._faces):
                known.online, known.reason = False, reason
                self._silence(key, known, reason)

    def _silence(self, key: Key, known: _Device, reason: str) -> None:
        for prop in sorted(known.told):
            self._tell(self._none(key, prop, reason))
        known.told.clear()

    def _reading(self, device: Key, config: PropertyConfig, report: Report) -> Reading:
        value = parse_value(config.type, report.value)
        quality, reason = config.quality_of(value)
        return Reading(
            device=device,
            prop=config.name,
            value=value,
            quality=quality,
            reason=reason,
            source_ms=report.source_ms,
            monotonic_s=self._clock.monotonic_s(),
        )

    def _none(self, device: Key, prop: str, reason: str) -> Reading:
        return no_value(device, prop, reason, self._clock)

    def _tell(self, reading: Reading) -> None:
        self._inflow.tell(reading)
        for waiter in self._verifying.get((reading.device, reading.prop), []):
            waiter(reading)

    # --- the driver ---------------------------------------------------------------------------------------

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`. What the protocol's own fields mean only its program knows, so nothing is refused."""
        before, self._devices = self._devices, {}
        for config in devices:
            properties = {prop.name: prop for prop in config.properties}
            held = before.get(config.device)
            if held is None or held.protocol != config.named:
                self._devices[config.device] = _Device(properties=properties, protocol=config.named)
                continue
            held.properties = properties
            held.told &= set(properties)
            held.newest = {prop: newest for prop, newest in held.newest.items() if prop in properties}
            self._devices[config.device] = held
        return []

    async def run(self) -> None:
        """See `Driver`: others do the work."""
        await asyncio.Event().wait()

    def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        return self._inflow.readings()

    def stored(self, receipts: Sequence[int]) -> None:
        """See `Driver`."""
        for receipt in receipts:
            together = self._waiting.pop(receipt, None)
            if together is None:
                continue
            together.left -= 1
            if together.left == 0:
                together.done()

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        return [self._health(key, known) for key, known in self._devices.items()]

    def _health(self, device: Key, known: _Device) -> DeviceHealth:
        if known.online or known.reason:
            return DeviceHealth(device=device, online=known.online, reason=known.reason)
        mapper = self._mappers.get(known.protocol)
        return DeviceHealth(
            device=device,
            online=False,
            reason=f"mapper {mapper} has not reported it yet" if mapper else _waits(known),
            waiting=mapper is None,
        )

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`."""
        return self._none(device, prop, "its app or mapper reports by itself; it can't be asked")

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`: tell what is wanted, then await that it is reported."""
        known = self._devices.get(device)
        config = known.properties.get(prop) if known else None
        if known is None or config is None:
            return WriteResult(state="failed", reason=f"{device} has no property {prop} here", read_back=None)
        verify_s = min(VERIFY_S_MAX, max(self._verify_s, 2.5 * config.collect_ms / 1000))
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        text = format_value(value)

        def verify(reading: Reading) -> None:
            if reading.value is None or back.done():
                return
            if same_value(config.type, format_value(reading.value), text, config.twin.tolerance):
                back.set_result(None)

        waiters = self._verifying.setdefault((device, prop), [])
        waiters.append(verify)
        try:
            faces = [face for face, owns in self._faces if owns(device)] or [face for face, _ in self._faces]
            untold = [why for face in faces if (why := await face.tell(device, prop, text))]
            if len(untold) == len(faces):
                return WriteResult(state="failed", reason="; ".join(untold) or _waits(known), read_back=None)
            async with asyncio.timeout(verify_s):
                await back
        except TimeoutError:
            reason = f"told; its app or mapper did not report this value within {verify_s:g} s"
            return WriteResult(state="applied", reason=reason, read_back=None)
        finally:
            waiters.remove(verify)
        return WriteResult(state="verified", reason="", read_back=None)

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`: how its program came by the value only that knows."""
        known = self._devices.get(device)
        config = known.properties.get(prop) if known else None
        if known is None or config is None:
            return None
        raw, reading = known.newest.get(prop, ("", None))
        return Explanation(
            place=_PLACE,
            asked="reported by itself",
            raw={} if reading is None else {"value": raw},
            steps=() if reading is None else (Step(name="type", says=f"{raw!r} as {config.type}"),),
            reading=reading,
            error="" if known.online else self._health(device, known).reason,
        )

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`."""
        known = self._devices.get(device)
        config = known.properties.get(prop) if known else None
        if config is None:
            return None
        text, refusal = format_value(value), "" if config.writable else f"{prop} is read-only"
        return Rehearsal(
            place=_PLACE,
            requests=() if refusal else ({"value": text},),
            steps=(Step(name="told", says=f"{text} ({config.type}), to whoever speaks the device's protocol"),),
            refusal=refusal,
        )

    async def close(self) -> None:
        """See `Driver`."""
        self._devices = {}


def _waits(known: _Device) -> str:
    return f"waits for a mapper of protocol {known.protocol}"


@dataclass(slots=True, kw_only=True)
class _Stored:
    """Readings that came together."""

    left: int
    done: Callable[[], None]
