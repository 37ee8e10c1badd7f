"""The Modbus driver: devices to lines, answers to readings, values to writes that are read back.

It keeps what is configured, and what each device last said of itself, in memory; nothing on disk. One line is one
TCP endpoint or one serial port, whatever devices share it and by whatever name of the port: a line has one master.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from devices.budget import ANSWER_S_ASSUMED, LineCosts
from devices.bus import (
    PERMANENT_EXCEPTIONS,
    READ_FUNCTIONS,
    BlockRead,
    ExceptionAnswerError,
    Hole,
    Line,
    LineSettings,
    LineStats,
    Request,
    Transaction,
    Wire,
)
from devices.codec import Codec, check_range, decode
from devices.credentials import refuse_files_elsewhere
from devices.figures import LineFigures
from devices.inflow import Inflow, no_value
from devices.modbus.channels import channel_to
from devices.modbus.config import ModbusDevice, ModbusProperty, parse_device
from devices.modbus.endpoints import Endpoint, SerialEndpoint
from devices.modbus.explain import (
    Answers,
    Writing,
    asked_of,
    decoding,
    is_pulse,
    place_of,
    rehearsal,
    words_of,
    writing,
)
from devices.modbus.frames import FRAMINGS
from devices.modbus.holes import NOTE, read_holes, write_holes
from devices.modbus.pulses import PulsePlace, Pulses
from devices.modbus.settings import WireSettings
from devices.plan import Block, Limits, Point
from devices.port import (
    DeviceConfig,
    DeviceHealth,
    Explanation,
    Notes,
    Reading,
    Rehearsal,
    WriteResult,
    WriteState,
)
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.meta import Key
from skerry.objects.twins import Quality, Value, format_value, same_value
from skerry.ports import Clock, Ids

LOG = logging.getLogger(__name__)

READINGS_MAX: Final = 4096
"""Waiting to be taken. When full the oldest goes: its property is read again in a moment, and what is newer is
truer."""

WRITE_TURN_S_MAX: Final = 30.0
"""A write that did not get its turn by then tells so; the line is overloaded."""

NOTE_S: Final = 2.0
"""A device with holes shows them all within its first few polls: one write for all of them."""

RESTART_S: Final = 5.0
"""After a fault of our own in a line's worker."""

WireFactory = Callable[[Endpoint, WireSettings], Wire]


def stream_wire(endpoint: Endpoint, settings: WireSettings, *, ids: Ids) -> Wire:
    """The real one."""
    from devices.modbus.wire import StreamWire  # pymodbus costs memory: only who has Modbus devices pays

    return StreamWire(
        channel_to(endpoint, connect_s=settings.timeout_s),
        FRAMINGS[endpoint.framing](),
        settings,
        name=str(endpoint),
        ids=ids,
    )


class _Hold(Frozen):
    """A line and what it was made for."""

    line: Line
    endpoint: Endpoint
    settings: WireSettings
    pause_s: float


class ModbusDriver:
    """A `Driver`. See the module."""

    def __init__(
        self,
        *,
        clock: Clock,
        ids: Ids,
        wires: WireFactory | None = None,
        settings: LineSettings | None = None,
        notes: Notes | None = None,
        credentials: Path | None = None,
    ) -> None:
        """`credentials`: where the files for TLS are that devices name; None: anywhere."""
        self._credentials = credentials
        self._clock = clock
        self._ids = ids
        self._wires: WireFactory = wires or partial(stream_wire, ids=ids)
        self._settings = settings or LineSettings()
        self._devices: dict[Key, ModbusDevice] = {}
        self._by_name: dict[str, ModbusDevice] = {}
        self._lines: dict[str, _Hold] = {}
        self._health: dict[Key, DeviceHealth] = {}
        self._inflow = Inflow(most=READINGS_MAX)
        self._changed = asyncio.Event()
        self._no_mask: set[Key] = set()
        self._notes = notes
        self._holes = read_holes(notes.read(NOTE) if notes else "")
        """Of lines that are not there now; the others know themselves."""
        self._to_note = asyncio.Event()
        self._answers = Answers()
        self._pulses = Pulses(notes, self._take_back)

    async def configure(self, devices: Sequence[DeviceConfig]) -> Sequence[tuple[Key, str]]:
        """See `Driver`."""
        refused: list[tuple[Key, str]] = []
        self._devices = {}
        for config in devices:
            try:
                device = parse_device(config)
                refuse_files_elsewhere(config.protocol_config, self._credentials, "spec.protocol.configData")
                self._devices[config.device] = device
            except InvalidError as error:
                refused.append((config.device, str(error)))
        refused += self._place()
        self._by_name = {f"{key.namespace}/{key.name}": device for key, device in self._devices.items()}
        self._health = {key: health for key, health in self._health.items() if key in self._devices}
        self._no_mask &= self._devices.keys()
        self._answers.keep(self._devices)
        self._changed.set()
        return refused

    def _place(self) -> Sequence[tuple[Key, str]]:
        """Put every device on its line; lines that stay as they are keep their connection. Devices that want a line
        otherwise than the first one on it are refused."""
        refused: list[tuple[Key, str]] = []
        by_line: dict[str, list[ModbusDevice]] = {}
        for key, device in sorted(self._devices.items(), key=lambda item: (item[0].namespace, item[0].name)):
            its = by_line.setdefault(line_name(device.endpoint), [])
            reason = _unlike(device, its[0]) if its else ""
            if reason:
                refused.append((key, reason))
                del self._devices[key]
            else:
                its.append(device)
        lines: dict[str, _Hold] = {}
        for name, its in by_line.items():
            settings, pause_s = wire_settings(its), max(device.manners.pause_s for device in its)
            endpoint = its[0].endpoint
            hold = self._lines.get(name)
            if hold is None or (hold.endpoint, hold.settings, hold.pause_s) != (endpoint, settings, pause_s):
                known = hold.line.holes if hold else self._holes.get(name, ())
                try:
                    hold = self._new_line(endpoint, settings, pause_s=pause_s, holes=known)
                except ImportError as error:
                    reason = f"Modbus needs {error.name}, which is not installed: pip install 'skerry[edge]'"
                    refused += [(device.key, reason) for device in its]
                    self._devices = {key: device for key, device in self._devices.items() if device not in its}
                    continue
            points = [
                (prop.point, prop.config.collect_ms / 1000) for device in its for prop in device.properties.values()
            ]
            hold.line.configure(points, limits_of(its))
            lines[name] = hold
        self._lines = lines
        return refused

    def _new_line(
        self, endpoint: Endpoint, settings: WireSettings, *, pause_s: float, holes: Sequence[Hole]
    ) -> _Hold:
        wire = self._wires(endpoint, settings)
        line = Line(
            wire,
            settings=replace(self._settings, pause_s=pause_s, costs=line_costs(endpoint, settings, pause_s)),
            clock=self._clock,
            ids=self._ids,
            sink=self._take,
            holes=holes,
            learned=self._to_note.set,
        )
        return _Hold(line=line, endpoint=endpoint, settings=settings, pause_s=pause_s)

    async def run(self) -> None:
        """See `Driver`."""
        running: dict[str, tuple[_Hold, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._note_always())
            group.create_task(self._pulses.run())
            while True:
                ending = [name for name, (hold, _) in running.items() if self._lines.get(name) is not hold]
                for name in ending:
                    running[name][1].cancel()
                if ending:
                    # A port is opened again when whoever had it has let go of it.
                    await asyncio.wait([running.pop(name)[1] for name in ending])
                for name, hold in self._lines.items():
                    if name not in running:
                        running[name] = hold, group.create_task(self._keep(name, hold.line))
                await self._changed.wait()
                self._changed.clear()

    async def _note_always(self) -> None:
        """Write down what lines have learned, a while after they did, as holes come in numbers."""
        while self._notes is not None:
            await self._to_note.wait()
            await asyncio.sleep(NOTE_S)
            self._to_note.clear()
            self._holes |= {name: list(hold.line.holes) for name, hold in self._lines.items()}
            try:
                await self._notes.write(NOTE, write_holes(self._holes))
            except UnavailableError as error:
                LOG.warning("modbus_holes_not_noted reason=%r", str(error))

    async def _keep(self, name: str, line: Line) -> None:
        """A worker's root: a fault in one line is told, and leaves the others alone."""
        while True:
            try:
                await line.run()
                return  # it was cancelled: a library may have swallowed what says so, but not the wish to end
            except Exception:
                LOG.exception("modbus_line_failed line=%s restart_s=%g", name, RESTART_S)
                await asyncio.sleep(RESTART_S)

    def stats(self) -> dict[str, LineStats]:
        """By line, counted since each was made."""
        return {str(hold.endpoint): hold.line.stats for hold in self._lines.values()}

    def line(self, device: Key) -> LineFigures | None:
        """See `OnLines`."""
        known = self._devices.get(device)
        if known is None:
            return None
        hold = self._lines[line_name(known.endpoint)]
        return hold.line.figures(str(hold.endpoint))

    def readings(self) -> AsyncIterator[Reading]:
        """See `Driver`."""
        return self._inflow.readings()

    def stored(self, receipts: Sequence[int]) -> None:
        """See `Driver`: nothing waits; a value is polled again."""

    def health(self) -> Sequence[DeviceHealth]:
        """See `Driver`."""
        warnings = {
            name: hold.line.budget.warning(str(hold.endpoint)) if hold.line.budget else ""
            for name, hold in self._lines.items()
        }
        return tuple(
            replace(told, reason=warnings.get(line_name(self._devices[key].endpoint), "")) if told.online else told
            for key, told in self._health.items()
        )

    async def close(self) -> None:
        """See `Driver`. The lines end with `run`."""
        self._devices, self._by_name, self._lines = {}, {}, {}
        self._changed.set()

    def _take(self, read: BlockRead) -> None:
        """A line's answer, as readings of every property in it."""
        for point in read.block.points:
            device = self._by_name.get(point.device)
            prop = device.properties.get(point.prop) if device else None
            if device is None or prop is None or prop.point != point:
                continue  # configured away while it was read
            self._health[device.key] = DeviceHealth(
                device=device.key, online=read.device_lives, reason="" if read.device_lives else read.reason
            )
            self._answers.take(device, prop, read)
            self._tell(_reading(device, prop, read))

    def _tell(self, reading: Reading) -> None:
        self._inflow.tell(reading)

    # --- writing ------------------------------------------------------------------------------------------

    async def write(self, device: Key, prop: str, value: Value, *, once: bool = False) -> WriteResult:
        """See `Driver`. Nothing is ever sent twice, whether `once` or not."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return _result("failed", f"{device} has no property {prop} here")
        if not found.writable:
            return _result("refused", f"{prop} is read-only")
        try:
            made = writing(known, found, value)
        except InvalidError as error:
            return _result("refused", str(error))
        if is_pulse(found, value):
            return await self._pulse(known, found, made)
        return await self._write(known, found, made, value)

    async def _write(self, known: ModbusDevice, found: ModbusProperty, made: Writing, value: Value) -> WriteResult:
        """Write and read back, in one turn of the line."""
        back: list[BlockRead] = []

        async def transaction(wire: Wire) -> None:
            for request in made.requests:
                await self._put(wire, known, found, request)
            back.append(await self._read_back(wire, known, found))

        failure = await self._in_turn(known, transaction)
        if failure is not None:
            return failure
        self._answers.take(known, found, back[0])
        return _verdict(known, found, value, back[0])

    async def _in_turn(self, known: ModbusDevice, transaction: Transaction) -> WriteResult | None:
        """None where all went well."""
        hold = self._lines.get(line_name(known.endpoint))
        if hold is None:
            return _result("failed", f"{known.key} is not served now")
        try:
            await hold.line.write(known.unit, transaction, timeout_s=WRITE_TURN_S_MAX)
        except ExceptionAnswerError as error:
            return _result("refused" if error.code in PERMANENT_EXCEPTIONS else "failed", str(error))
        except UnavailableError as error:
            return _result("failed", str(error))
        return None

    async def _pulse(self, known: ModbusDevice, found: ModbusProperty, made: Writing) -> WriteResult:
        """Write, and have it written back after a while, whatever becomes of this call and of this agent."""
        pulse, place = found.guards.pulse, (found.point.device, found.point.prop)
        assert pulse is not None, "it is one"
        begun = False

        async def transaction(wire: Wire) -> None:
            nonlocal begun
            for request in made.requests:
                begun = begun or request is made.requests[-1]
                await self._put(wire, known, found, request)

        try:
            await self._pulses.begin(place)
        except UnavailableError as error:
            return _result("failed", str(error))
        failure = await self._in_turn(known, transaction)
        if failure is not None and (failure.state == "refused" or not begun):
            await self._pulses.forget(place)
            return failure
        # Nobody knows whether what went unanswered was carried out: it is taken back at once, and not done again.
        ended = await self._pulses.end(place, pulse.after_s if failure is None else 0.0)
        if failure is not None:
            return _result("refused", f"the device may have had it, and a pulse is not given twice: {failure.reason}")
        if ended is None:
            return _result("refused", f"it was written, and not taken back: {place[1]} has no pulse any more")
        if ended.state in ("failed", "refused"):
            return _result(
                "refused", f"it was written, and not taken back, which is tried until it is: {ended.reason}"
            )
        return replace(
            ended, state="applied", reason=f"for {pulse.after_s:g} s, then back to {format_value(pulse.back)}"
        )

    async def _take_back(self, place: PulsePlace) -> WriteResult | None:
        """See `Pulses`. Of a device that is not there now it waits; one that has no pulse any more is left alone."""
        known = self._by_name.get(place[0])
        if known is None:
            return _result("failed", f"{place[0]} is not served now")
        found = known.properties.get(place[1])
        if found is None or found.guards.pulse is None:
            LOG.warning("modbus_pulse_left device=%s property=%s reason='it has no pulse any more'", *place)
            return None
        back = found.guards.pulse.back
        return await self._write(known, found, writing(known, found, back), back)

    def explain(self, device: Key, prop: str) -> Explanation | None:
        """See `Driver`."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return None
        poll = self._lines[line_name(known.endpoint)].line.poll_of(found.point)
        read, error = self._answers.of(known, found)
        words = words_of(found, read) if read is not None else None
        return Explanation(
            place=place_of(known, found),
            asked=asked_of(found, poll[0] if poll else None),
            raw={"words": [*words]} if words is not None else {},
            steps=tuple(decoding(found.codec, words)) if words is not None else (),
            reading=_reading(known, found, read) if read is not None else None,
            error=error.reason if error is not None else "",
            error_ms=error.source_ms if error is not None else 0,
            next_s=poll[1] if poll else None,
        )

    def rehearse(self, device: Key, prop: str, value: Value) -> Rehearsal | None:
        """See `Driver`."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        return rehearsal(known, found, value) if known is not None and found is not None else None

    async def read(self, device: Key, prop: str) -> Reading:
        """See `Driver`: a request of its own, after writes and before any poll."""
        known = self._devices.get(device)
        found = known.properties.get(prop) if known else None
        if known is None or found is None:
            return self._no_reading(device, prop, f"{device} has no property {prop} here")
        got: list[BlockRead] = []

        async def transaction(wire: Wire) -> None:
            got.append(await self._read_point(wire, known, found))

        try:
            await self._lines[line_name(known.endpoint)].line.read(
                known.unit, transaction, timeout_s=WRITE_TURN_S_MAX
            )
        except UnavailableError as error:
            return self._no_reading(device, prop, str(error))
        self._answers.take(known, found, got[0])
        return _reading(known, found, got[0])

    def _no_reading(self, device: Key, prop: str, reason: str) -> Reading:
        return no_value(device, prop, reason, self._clock)

    async def _put(self, wire: Wire, device: ModbusDevice, prop: ModbusProperty, request: Request) -> None:
        """Send it. A part of a register goes by mask (function 22); where the device does not know that, by reading
        and writing, which nobody parts on this line."""
        if request.function != 22:
            await wire.transact(request)
            return
        if device.key not in self._no_mask:
            try:
                await wire.transact(request)
                return
            except ExceptionAnswerError as error:
                if error.code != 1:
                    raise
                self._no_mask.add(device.key)
        (word,) = await wire.transact(Request(unit=device.unit, function=3, address=request.address))
        word = word & request.values[0] | request.values[1]
        function = 16 if prop.multiple else 6
        await wire.transact(Request(unit=device.unit, function=function, address=request.address, values=(word,)))

    async def _read_back(self, wire: Wire, device: ModbusDevice, prop: ModbusProperty) -> BlockRead:
        if device.manners.verify_delay_s:
            await asyncio.sleep(device.manners.verify_delay_s)
        return await self._read_point(wire, device, prop)

    async def _read_point(self, wire: Wire, device: ModbusDevice, prop: ModbusProperty) -> BlockRead:
        point = prop.point
        request = Request(
            unit=device.unit, function=READ_FUNCTIONS[point.table], address=point.address, count=point.count
        )
        begun_ms, begun_s = self._clock.wall_ms(), self._clock.monotonic_s()
        try:
            words, reason = await wire.transact(request), ""
        except ExceptionAnswerError as error:
            if error.code not in PERMANENT_EXCEPTIONS:
                raise
            words, reason = None, str(error)
        taken_s = self._clock.monotonic_s() - begun_s
        return BlockRead(
            block=_alone(point),
            words=words,
            reason=reason,
            device_lives=True,
            source_ms=begun_ms + round(taken_s * 500),
            monotonic_s=begun_s + taken_s / 2,
        )


def line_name(endpoint: Endpoint) -> str:
    """What tells one line from another: the port itself, not one of the names that link to it."""
    if isinstance(endpoint, SerialEndpoint):
        return str(Path(endpoint.path).resolve())
    return f"{endpoint.host}:{endpoint.port}"


def line_costs(
    endpoint: Endpoint, settings: WireSettings, pause_s: float, *, answer_s: float = ANSWER_S_ASSUMED
) -> LineCosts | None:
    """What a request costs there; None where only devices can tell."""
    if settings.character_s == 0:
        return None
    return LineCosts(
        character_s=settings.character_s,
        characters_a_byte=2 if endpoint.framing == "ascii" else 1,
        silence_s=settings.silence_s,
        pause_s=pause_s,
        answer_s=answer_s,
    )


def _unlike(device: ModbusDevice, first: ModbusDevice) -> str:
    """Why a device can't share the line of another; "" when it can."""
    one, other = device.endpoint, first.endpoint
    if isinstance(one, SerialEndpoint) and isinstance(other, SerialEndpoint):
        one = replace(one, path=other.path)  # two names of one port
    if one != other:
        return f"spec.protocol.configData: a line has one speed and one framing, and {first.key} has {other}"
    return ""


def wire_settings(devices: Sequence[ModbusDevice]) -> WireSettings:
    """A line keeps to the gentlest of its devices."""
    endpoint, manners = devices[0].endpoint, [device.manners for device in devices]
    timeouts_s: Mapping[int, float] = {
        unit: max(device.manners.timeout_s for device in devices if device.unit == unit)
        for unit in sorted({device.unit for device in devices})
    }
    return WireSettings(
        timeout_s=max(timeouts_s.values()),
        timeouts_s=timeouts_s,
        drain_s=max(one.drain_s for one in manners),
        pause_after_connect_s=max(one.pause_after_connect_s for one in manners),
        silence_chars=max(one.silence_chars for one in manners),
        character_s=endpoint.character_s if isinstance(endpoint, SerialEndpoint) else 0.0,
        local_echo=any(one.local_echo for one in manners),
        barriers=frozenset(device.unit for device in devices if device.manners.barrier),
    )


def limits_of(devices: Sequence[ModbusDevice]) -> dict[int, Limits]:
    """By unit; where two devices are one unit, the tighter."""
    out: dict[int, Limits] = {}
    for device in devices:
        its = device.manners.limits
        held = out.get(device.unit, its)
        out[device.unit] = Limits(
            registers_max=min(held.registers_max, its.registers_max),
            bits_max=min(held.bits_max, its.bits_max),
            gap_max=min(held.gap_max, its.gap_max),
            no_read=tuple(dict.fromkeys((*held.no_read, *its.no_read))),
        )
    return out


def _reading(device: ModbusDevice, prop: ModbusProperty, read: BlockRead) -> Reading:
    value: Value | None = None
    quality: Quality = "bad"
    reason = read.reason
    if read.words is not None:
        start = prop.point.address - read.block.address
        try:
            value = decode(prop.codec, read.words[start : start + prop.point.count])
            quality, reason = _judged(prop.codec, value)
        except InvalidError as error:
            reason = str(error)
    return Reading(
        device=device.key,
        prop=prop.config.name,
        value=value,
        quality=quality,
        reason=reason,
        source_ms=read.source_ms,
        monotonic_s=read.monotonic_s,
    )


def _judged(codec: Codec, value: Value) -> tuple[Quality, str]:
    """A value outside of the model's range was read right, and still should not be trusted."""
    try:
        check_range(codec, value)
    except InvalidError as error:
        return "uncertain", str(error)
    return "good", ""


def _alone(point: Point) -> Block:
    return Block(unit=point.unit, table=point.table, address=point.address, count=point.count, points=(point,))


def _result(state: WriteState, reason: str) -> WriteResult:
    return WriteResult(state=state, reason=reason, read_back=None)


def _verdict(device: ModbusDevice, prop: ModbusProperty, wanted: Value, back: BlockRead) -> WriteResult:
    """What a write came to, by what was read back."""
    if back.words is None:
        return WriteResult(state="applied", reason=f"it can't be read back: {back.reason}", read_back=None)
    reading = _reading(device, prop, back)
    if reading.value is None:
        return WriteResult(state="refused", reason=f"after the write: {reading.reason}", read_back=reading)
    type, tolerance = prop.config.type, prop.config.twin.tolerance
    if same_value(type, format_value(reading.value), format_value(wanted), tolerance):
        return WriteResult(state="verified", reason="", read_back=reading)
    reason = f"the device holds {format_value(reading.value)} after {format_value(wanted)} was written"
    return WriteResult(state="refused", reason=reason, read_back=reading)
