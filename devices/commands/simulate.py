"""`skerry device simulate`: devices of a manifest as Modbus slaves, with faults on demand.

What a DeviceModel or a Device says of registers is what the slave has. Values may move by signals, as those of
virtual devices do. Nothing is kept: each start begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import click

from devices.bus import Request
from devices.codec import encode
from devices.commands.lines import listening, parse_line, seconds, told
from devices.commands.manifests import ModelledDevice, read_devices
from devices.modbus.config import ModbusDevice, ModbusProperty
from devices.modbus.endpoints import SerialEndpoint
from devices.modbus.faults import FAULTS, Faults, parse_faults
from devices.modbus.frames import FRAMINGS, FramingName
from devices.modbus.player import Answer, Player
from devices.modbus.slave import Memory, Slave
from devices.signals import Playing, signal_in
from skerry.cli.output import say
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import BadRequestError, InvalidError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.twins import Value, parse_value
from skerry.objects.yaml_reader import read_documents
from skerry.ports import Clock

_FAULTS = "; ".join(f"{name}: {what}" for name, what in FAULTS.items())


@click.command("simulate", epilog=f"Faults: {_FAULTS}.")
@click.argument("manifest", nargs=-1, required=True)
@click.option("--tcp", default="", help="Listen here: HOST:PORT, or :PORT on loopback. Default :1502.")
@click.option("--serial", default="", help="Answer on this port: /dev/ttyUSB1?baudRate=9600")
@click.option("--framing", type=click.Choice(["tcp", "rtu", "ascii"]), default="tcp", help="With --tcp.")
@click.option("-u", "--unit", type=click.IntRange(1, 247), default=1, help="Of a model without a device.")
@click.option("--set", "settings", multiple=True, help="DEVICE/PROPERTY=VALUE or PROPERTY=VALUE, at the start.")
@click.option(
    "--signal", "signals", multiple=True, help="DEVICE/PROPERTY={kind: sine, amplitude: 5, periodS: 60}: it moves."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of what signals leave to chance.")
@click.option("--fault", default="", help="late=8%,busy=1%,silent=unit5")
@click.option("--late", default="", help="How late is late: 1500ms.")
@click.option("-q", "--quiet", is_flag=True, help="Don't print writes.")
@told
async def simulate(
    manifest: tuple[str, ...], tcp: str, serial: str, framing: str, unit: int, settings: tuple[str, ...],
    signals: tuple[str, ...], seed: int, fault: str, late: str, quiet: bool,
) -> None:  # fmt: skip
    """Play the devices of MANIFEST (DeviceModels and Devices, YAML or JSON) as Modbus slaves.

    Registers that no property names do not exist: they are refused, as by real devices.
    """
    if tcp and serial:
        raise BadRequestError("give either --tcp or --serial")
    devices = read_devices(manifest, unit=unit)
    slave = Slave(units=memories(devices))
    for text in settings:
        apply_setting(slave, devices, text)
    moved = [parse_signal(devices, text, seed=seed) for text in signals]
    if not quiet:
        slave.written = lambda request: say(_told(devices, request))
    faults = _faults(fault, late)
    named: FramingName = "ascii" if framing == "ascii" else "rtu" if framing == "rtu" else "tcp"
    for device in devices:
        say(f"unit {device.parsed.unit}: {device.name} with {len(device.parsed.properties)} properties")
    moving = Moving(slave, [each for one in moved for each in one], SystemClock())
    await play(moving.answer, faults, tcp=tcp, serial=serial, framing=named)


async def play(answer: Answer, faults: Faults, *, tcp: str, serial: str, framing: FramingName) -> None:
    """Answer on a port until cancelled. Raises `UnavailableError`, `BadRequestError`."""
    if serial:
        endpoint = parse_line(serial).endpoint
        if not isinstance(endpoint, SerialEndpoint):
            raise BadRequestError(f"--serial: {serial!r} is no serial port")
        player = Player(answer, FRAMINGS[endpoint.framing](), ids=SystemIds(), faults=faults)
        await player.serve_serial(endpoint, lambda: say(f"answering on {endpoint}"))
        return
    player = Player(answer, FRAMINGS[framing](), ids=SystemIds(), faults=faults)
    host, port = listening(tcp or ":1502")
    try:
        server = await player.serve_tcp(host, port)
    except OSError as error:
        raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    address = server.sockets[0].getsockname()
    say(f"listening on {address[0]}:{address[1]} ({framing})")
    async with server:
        await asyncio.Event().wait()


def _faults(fault: str, late: str) -> Faults:
    try:
        faults = parse_faults(fault)
    except InvalidError as error:
        raise BadRequestError(f"--fault: {error}") from error
    return replace(faults, late_s=seconds(late)) if late else faults


def memories(devices: Sequence[ModelledDevice]) -> dict[int, Memory]:
    """What units hold at the start: of every property its nearest value to 0 that it may have."""
    units: dict[int, Memory] = {}
    for device in devices:
        memory = units.setdefault(device.parsed.unit, Memory())
        for prop in device.parsed.properties.values():
            place(memory, prop, first_value(prop))
    return units


def first_value(prop: ModbusProperty) -> Value | None:
    """None: all bits off, where no value of the type says so."""
    codec = prop.codec
    if codec.names:
        return next(iter(codec.names.values()))
    if codec.moment is not None:
        return "2000-01-01T00:00:00Z"
    if prop.config.type == "BOOLEAN":
        return False
    if prop.config.type in ("INT", "FLOAT", "DOUBLE"):
        low, high = prop.config.minimum, prop.config.maximum
        nearest = max(low or 0.0, 0.0) if high is None or high >= 0 else high
        return round(nearest) if prop.config.type == "INT" else nearest
    return None


def place(memory: Memory, prop: ModbusProperty, value: Value | None) -> None:
    """Put a value where the property keeps it. Raises `InvalidError`."""
    point = prop.point
    if value is None:
        memory.set(point.table, point.address, [0] * point.count)
        return
    if point.table in ("coil", "discrete"):
        memory.set(point.table, point.address, [int(bool(value))])
        return
    words = encode(prop.codec, value)
    held = memory.tables.get(point.table, {})
    mask = prop.mask
    if mask is not None:
        words = [held.get(point.address, 0) & ~mask | words[0]]
    memory.set(point.table, point.address, words)


class Mover(Frozen):
    """A property whose value moves."""

    device: ModelledDevice
    prop: ModbusProperty
    playing: Playing


class Moving:
    """A slave whose values are where their signals have them whenever it is asked. A property that is written moves
    on with the next request: its signal is what the device measures."""

    def __init__(self, slave: Slave, movers: Sequence[Mover], clock: Clock) -> None:
        self._slave = slave
        self._movers = movers
        self._clock = clock
        self._start_s = clock.monotonic_s()

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """See `Slave.answer`."""
        elapsed_s = self._clock.monotonic_s() - self._start_s
        for mover in self._movers:
            value = mover.playing.at(elapsed_s).value
            if mover.device.parsed.unit == unit and value is not None:
                with contextlib.suppress(InvalidError):  # no register can hold it: it stays where it was
                    place(self._slave.units[unit], mover.prop, value)
        return self._slave.answer(unit, pdu)


def parse_signal(devices: Sequence[ModelledDevice], text: str, *, seed: int) -> list[Mover]:
    """`DEVICE/PROPERTY={kind: ...}`. Raises `BadRequestError`."""
    path, _, given = text.partition("=")
    found = _properties_at(devices, path)
    if not found:
        raise BadRequestError(f"--signal {text!r}: there is no such property: write DEVICE/PROPERTY={{kind: ...}}")
    try:
        (data,) = read_documents(given) or [None]
    except (BadRequestError, ValueError) as error:
        raise BadRequestError(f"--signal {text!r}: not YAML: write {{kind: sine, amplitude: 5}}") from error
    if not isinstance(data, dict):
        raise BadRequestError(f"--signal {text!r}: write {{kind: sine, amplitude: 5, periodS: 60}}")
    movers: list[Mover] = []
    for device, prop in found:
        try:
            signal = signal_in(data, prop.config, f"--signal {path}")
        except InvalidError as error:
            raise BadRequestError(str(error)) from error
        name = f"{device.name}/{prop.config.name}"
        movers.append(Mover(device=device, prop=prop, playing=Playing(signal, seed=seed, name=name)))
    return movers


def _properties_at(devices: Sequence[ModelledDevice], path: str) -> list[tuple[ModelledDevice, ModbusProperty]]:
    """`DEVICE/PROPERTY`, or `PROPERTY` of every device that has it."""
    name, _, prop_name = path.rpartition("/")
    return [
        (device, device.parsed.properties[prop_name])
        for device in devices
        if prop_name in device.parsed.properties and name in ("", device.name)
    ]


def apply_setting(slave: Slave, devices: Sequence[ModelledDevice], text: str) -> None:
    """`DEVICE/PROPERTY=VALUE`. Raises `BadRequestError`."""
    path, equals, given = text.partition("=")
    found = _properties_at(devices, path)
    if not equals or not found:
        raise BadRequestError(f"--set {text!r}: there is no such property: write DEVICE/PROPERTY=VALUE")
    for device, prop in found:
        try:
            place(slave.units[device.parsed.unit], prop, parse_value(prop.config.type, given))
        except InvalidError as error:
            raise BadRequestError(f"--set {text!r}: {error}") from error


def _told(devices: Sequence[ModelledDevice], request: Request) -> str:
    """A write in words: what was written where, and which property that is."""
    at = request.write_address if request.function == 23 else request.address
    table = "coil" if request.function in (5, 15) else "holding"
    places = range(at, at + (1 if request.function == 22 else len(request.values)))
    named = [
        f"{device.name}/{prop.config.name}"
        for device in devices
        if device.parsed.unit == request.unit
        for prop in _touched(device.parsed, table, places)
    ]
    words = " ".join(f"{word:04x}" for word in request.values)
    return f"written by function {request.function} to unit {request.unit} at {at}: {words} ({', '.join(named)})"


def _touched(device: ModbusDevice, table: str, places: range) -> list[ModbusProperty]:
    return [prop for prop in device.properties.values() if prop.point.table == table and prop.point.address in places]
