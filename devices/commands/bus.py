"""`skerry device bus`: lines and what is on them.

Stats tells how lines do that gateways drive (`devices.commands.stats`). Plan says before a manifest is applied
whether its line can carry it; scan and probe find out about devices that nobody has described; trace, record and
replay make what a line said something to look at and to play again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from devices.budget import ANSWER_S_ASSUMED, WARN, Budget, LineCosts, budget
from devices.bus import READ_FUNCTIONS, Request
from devices.commands.lines import (
    NamedLine,
    line_argument,
    listening,
    parse_line,
    seconds,
    timeout_option,
    told,
    wire_to,
)
from devices.commands.manifests import ModelledDevice, read_devices
from devices.commands.simulate import play
from devices.commands.stats import stats
from devices.modbus.asks import OBJECT_NAMES
from devices.modbus.channels import channel_to
from devices.modbus.detective import Guess, guesses
from devices.modbus.driver import limits_of, line_costs, line_name, wire_settings
from devices.modbus.faults import Faults
from devices.modbus.recording import Piece, Recording, Replay, first_line, piece_line, read_recording
from devices.modbus.scan import FoundUnit, scan_places, scan_units
from devices.modbus.tap import Tap
from devices.plan import Address, Block, Range, Table, parse_address, plan_blocks
from skerry.cli.device_objects import output_option
from skerry.cli.listing import LISTED, Listing, Row, print_listing
from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import RefusedError
from skerry.errors import BadRequestError, InvalidError, NotFoundError, UnavailableError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.twins import format_value

ANSWER_TCP_S: Final = 0.01
"""What a round trip on TCP is taken for in a plan, when it is not said."""
GUESSES_SHOWN: Final = 12
"""To people; programs get all."""
_TABLES: Final[dict[str, Table]] = {"hr": "holding", "ir": "input", "co": "coil", "di": "discrete"}


@click.group("bus")
def bus() -> None:
    """Lines and what is on them: stats, plan, scan, probe, trace, record, replay.

    \b
    LINE is tcp://HOST[:PORT], rtu+tcp://..., ascii+tcp://..., tls://..., or a serial port:
    /dev/ttyUSB0?baudRate=9600&parity=even
    """


bus.add_command(stats)


# --- plan -----------------------------------------------------------------------------------------------------


@bus.command("plan")
@click.argument("manifest", nargs=-1, required=True)
@click.option("--answer", default="", help="How long devices take to answer: 5ms on serial lines, 10ms on TCP.")
@told
async def plan(manifest: tuple[str, ...], answer: str) -> None:
    """Say what the devices of MANIFEST need of their lines. Exit code 5: more than there is."""
    by_line: dict[str, list[ModelledDevice]] = {}
    for device in read_devices(manifest):
        by_line.setdefault(line_name(device.parsed.endpoint), []).append(device)
    too_much: list[str] = []
    for devices in by_line.values():
        polls, need, costs = line_plan(devices, seconds(answer) if answer else None)
        name = str(devices[0].parsed.endpoint)
        say(f"{name}: {need.needs:.0%}, {need.requests_s:.1f} requests a second", bold=True)
        print_table(["DEVICE", "SHARE", "REQUESTS"], _shares(need, polls))
        say(f"  with {costs.answer_s * 1000:.0f} ms for a device to answer")
        if need.needs > WARN:
            say(f"  {need.warning(name)}", fg="red" if need.needs > 1 else "yellow")
        too_much += [name] if need.needs > 1 else []
    if too_much:
        raise RefusedError(f"more is asked than can be carried of {', '.join(too_much)}")


def line_plan(
    devices: Sequence[ModelledDevice], answer_s: float | None
) -> tuple[list[tuple[Block, float]], Budget, LineCosts]:
    """The polls of one line, as its worker would plan them, what they need, and at which costs."""
    parsed = [device.parsed for device in devices]
    endpoint, limits = parsed[0].endpoint, limits_of(parsed)
    pause_s = max(device.manners.pause_s for device in parsed)
    costs = line_costs(endpoint, wire_settings(parsed), pause_s, answer_s=answer_s or ANSWER_S_ASSUMED)
    if costs is None:
        costs = LineCosts(character_s=0.0, pause_s=pause_s, answer_s=answer_s or ANSWER_TCP_S)
    groups: dict[tuple[float, int], list[Block]] = {}
    for period_s in sorted({prop.config.collect_ms / 1000 for one in parsed for prop in one.properties.values()}):
        points = [
            prop.point
            for one in parsed
            for prop in one.properties.values()
            if prop.config.collect_ms / 1000 == period_s
        ]
        for unit in sorted({point.unit for point in points}):
            groups[period_s, unit] = plan_blocks([point for point in points if point.unit == unit], limits[unit])
    polls = [(block, period_s) for (period_s, _), blocks in groups.items() for block in blocks]
    return polls, budget(polls, costs), costs


def _shares(need: Budget, polls: Sequence[tuple[Block, float]]) -> list[list[str]]:
    return [
        [
            device,
            f"{share:.1%}",
            ", ".join(
                f"{Address(table=block.table, offset=block.address)} x{block.count} every {period_s:g} s"
                for block, period_s in polls
                if any(point.device == device for point in block.points)
            ),
        ]
        for device, share in need.by_device.items()
    ]


# --- scan and probe ----------------------------------------------------------------------------------------------


@bus.command("scan")
@line_argument
@click.option("--units", default="1-247", show_default=True, help="1-32, or 1,5,9.")
@click.option("--bauds", default="", help="On a serial port, try these: 9600,19200.")
@click.option("--parities", default="", help="On a serial port, try these: none,even,odd.")
@click.option("--map", "mapped", default="", help="Also which places they have: hr:0-999,ir:0-99.")
@click.option("--model", is_flag=True, help="With --map: print a DeviceModel of them to begin with.")
@click.option("--timeout", "patience", default="300ms", show_default=True, help="So long an answer is awaited.")
@told
async def scan(
    line: str, units: str, bauds: str, parities: str, mapped: str, model: bool, patience: str
) -> None:  # fmt: skip
    """Find the units on a line, who made them, and which places they have. Only reads.

    A TCP device that is no gateway often answers whatever the unit is.
    """
    numbers, places = _numbers(units), [_range(part) for part in mapped.split(",") if part]
    if model and not places:
        raise BadRequestError("--model: needs --map")
    found = 0
    for one in _variants(line, bauds, parities):
        wire = wire_to(one, timeout_s=seconds(patience))
        try:
            async for answer in scan_units(wire, numbers):
                if not isinstance(answer, FoundUnit):
                    continue
                found += 1
                say(f"{one.endpoint} unit {answer.unit}: {_described(answer)}", err=model)
                ranges = [
                    range_
                    for place in places
                    for range_ in await scan_places(
                        wire, answer.unit, place.table, first=place.first, last=place.last
                    )
                ]
                if model:
                    say(_draft(answer.unit, ranges), nl=False)
                else:
                    for range_ in ranges:
                        say(f"  {_range_text(range_)}")
        finally:
            await wire.close()
    if not found:
        raise NotFoundError(f"nobody answers on {line}: wrong speed or parity, wires changed over, or no such unit")


def _variants(line: str, bauds: str, parities: str) -> Iterator[NamedLine]:
    """The line as it was named, or at each speed and parity."""
    if not bauds and not parities:
        yield parse_line(line)
        return
    base, _, query = line.partition("?")
    fields = [part for part in query.split("&") if part]
    for baud in filter(None, bauds.split(",")) if bauds else ("",):
        for parity in filter(None, parities.split(",")) if parities else ("",):
            more = ([f"baudRate={baud}"] if baud else []) + ([f"parity={parity}"] if parity else [])
            kept = [one for one in fields if one.split("=")[0] not in {two.split("=")[0] for two in more}]
            yield parse_line(f"{base}?{'&'.join(kept + more)}")


def _numbers(text: str) -> list[int]:
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise BadRequestError(f"--units {text!r}: write 1-32, or 1,5,9") from error
    if not numbers or min(numbers) < 0 or max(numbers) > 255:
        raise BadRequestError(f"--units {text!r}: units are 1 to 247 (on TCP 0 to 255)")
    return numbers


def _range(text: str) -> Range:
    prefix, _, span = text.partition(":")
    first, _, last = span.partition("-")
    try:
        return Range(table=_TABLES[prefix], first=int(first, 0), last=min(int(last or first, 0), 0xFFFF))
    except (KeyError, ValueError) as error:
        raise BadRequestError(f"--map {text!r}: write hr:0-999 (or ir, co, di)") from error


def _range_text(found: Range) -> str:
    first = Address(table=found.table, offset=found.first)
    last = Address(table=found.table, offset=found.last)
    return str(first) if found.first == found.last else f"{first} to {last}"


def _described(found: FoundUnit) -> str:
    named = [
        f"{OBJECT_NAMES.get(number, f'object {number}')} {text.decode('utf-8', 'backslashreplace')}"
        for number, text in sorted(found.identity.items())
    ]
    return f"{', '.join(named) or 'does not say what it is'} ({found.said})"


def _draft(unit: int, ranges: Sequence[Range]) -> str:
    """A DeviceModel with a property for each place, to be thinned out by somebody who knows the device."""
    import yaml

    properties: list[JsonObject] = []
    prefixes = {table: prefix for prefix, table in _TABLES.items()}
    for found in ranges:
        bits = found.table in ("coil", "discrete")
        for at in range(found.first, found.last + 1):
            address = f"{prefixes[found.table]}:{at}"
            properties.append({
                "name": address.replace(":", ""),
                "type": "BOOLEAN" if bits else "INT",
                "accessMode": "ReadOnly",
                "visitors": {
                    "protocolName": "modbus",
                    "configData": {"address": address} if bits else {"address": address, "dataType": "uint16"},
                },
            })  # fmt: skip
    model: JsonObject = {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": {"name": f"unit-{unit}"},
        "spec": {"protocol": "modbus", "properties": list(properties)},
    }
    return "---\n" + yaml.safe_dump(model, sort_keys=False)


@bus.command("probe")
@line_argument
@click.argument("address")
@click.argument("count", type=click.IntRange(1, 16), default=4)
@click.option("-u", "--unit", type=click.IntRange(0, 255), default=1, show_default=True)
@click.option("--samples", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--every", default="1s", show_default=True, help="Between samples.")
@click.option("--expect", default="", help="What the device shows: the ways that give it come first.")
@timeout_option
@output_option("text", "text, table, wide, json, yaml, jsonl, csv or name")
@told
async def probe(
    line: str, address: str, count: int, unit: int, samples: int, every: str, expect: str, patience: str, form: str
) -> None:  # fmt: skip
    """Guess the type and byte order of registers: every way to read them, the likeliest first.

    Reads a few samples, as a value that jumps between two of them is likely read wrongly. It is a guess: compare it
    with what the device's own display shows (--expect 23.4).
    """
    if form not in ("text", *LISTED):
        raise BadRequestError(f"-o {form}: use one of {', '.join(('text', *LISTED))}")
    try:
        place = parse_address(address)
    except InvalidError as error:
        raise BadRequestError(f"ADDRESS: {error}") from error
    if place.table not in ("holding", "input"):
        raise BadRequestError("ADDRESS: only registers (hr: or ir:) have a byte order")
    request = Request(unit=unit, function=READ_FUNCTIONS[place.table], address=place.offset, count=count)
    named = parse_line(line)
    wire, taken = wire_to(named, timeout_s=seconds(patience)), list[tuple[int, ...]]()
    try:
        for at in range(samples):
            if at:
                await asyncio.sleep(seconds(every))
            taken.append(await wire.transact(request))
    finally:
        await wire.close()
    found = guesses(taken)
    if expect:
        found.sort(key=lambda guess: _far_from(guess, expect))
    if not found:
        raise NotFoundError("no type gives a value")
    if form == "text":
        _print_guesses(place, taken, found)
    elif form in ("json", "yaml"):
        about: JsonObject = {"line": str(named.endpoint), "unit": unit, "address": _short(place)}
        print_data(probe_shown(about, taken, found), form)
    else:
        print_listing(guesses_listed(place, found, len(taken[-1])), form)


def _print_guesses(place: Address, taken: Sequence[Sequence[int]], found: Sequence[Guess]) -> None:
    say(f"{place}: {' '.join(f'{word:04x}' for word in taken[-1])}")
    print_table(
        ["TYPE", "ORDER", "SCORE", "VALUE"],
        [[one.raw, one.order, f"{one.score:.2f}", _shown(one)] for one in found[:GUESSES_SHOWN]],
    )
    if not any(any(words) for words in taken):
        say("all of it is zero, which means the same in every type: ask again when the device shows something")
        return
    say(f"configData: {json.dumps(_config_data(place, found[0], len(taken[-1])))}")


def probe_shown(about: JsonObject, taken: Sequence[Sequence[int]], found: Sequence[Guess]) -> JsonObject:
    """For programs: what was read, and every way to read it, the likeliest first."""
    place = parse_address(str_at(about, "address"))
    return {
        "kind": "DeviceProbe",
        "apiVersion": "skerry.dev/v1",
        **about,
        "samples": [[*words] for words in taken],
        "allZero": not any(any(words) for words in taken),
        "guesses": [_guess_shown(place, one, len(taken[-1])) for one in found],
    }


def _guess_shown(place: Address, guess: Guess, count: int) -> JsonObject:
    return {
        "dataType": guess.raw,
        "order": guess.order,
        "score": round(guess.score, 4),
        "values": [format_value(value) for value in guess.values],
        "configData": _config_data(place, guess, count),
    }


def guesses_listed(place: Address, found: Sequence[Guess], count: int) -> Listing:
    """One row a way to read the registers, of which so many were read."""
    rows = tuple(
        Row(
            cells=(one.raw, one.order, f"{one.score:.2f}", _shown(one), json.dumps(_config_data(place, one, count))),
            obj=_guess_shown(place, one, count),
            name=f"{one.raw}/{one.order}",
        )
        for one in found
    )
    return Listing(
        titles=("TYPE", "ORDER", "SCORE", "VALUE", "CONFIGDATA"), rows=rows, wide=frozenset({"CONFIGDATA"})
    )


def _config_data(place: Address, guess: Guess, count: int) -> JsonObject:
    """As a visitor has it."""
    data: JsonObject = {"address": _short(place), "dataType": guess.raw}
    if guess.raw == "string":
        data["limit"] = count
    return data | ({"order": guess.order} if guess.order != "ABCD" else {})


def _short(place: Address) -> str:
    """`hr:10`, as manifests have it."""
    return str(place).split(" ")[0]


def _shown(guess: Guess) -> str:
    return ", ".join(dict.fromkeys(format_value(value) for value in guess.values))


def _far_from(guess: Guess, expect: str) -> float:
    value = guess.values[-1]
    try:
        wanted = float(expect)
    except ValueError:
        return 0.0 if format_value(value) == expect else 1.0
    if not isinstance(value, int | float):
        return float("inf")
    # A scale of ten, as devices have it, is the next best thing to the value itself.
    return min(abs(value / scale - wanted) + scale * 1e-6 for scale in (1, 10, 100, 1000))


# --- trace, record and replay --------------------------------------------------------------------------------------


@bus.command("trace")
@line_argument
@click.option("--listen", default=":1502", show_default=True, help="Where masters connect in its place.")
@told
async def trace(line: str, listen: str) -> None:
    """Pass everything on between masters and a line, and show it.

    Point the master (a device's tcp.ip and tcp.port) at where this listens. Serial lines are passed on by TCP in
    their framing: `framing: rtu`.
    """
    await _tap(parse_line(line), listen, _show)


def _show(piece: Piece) -> None:
    say(f"{piece.at_s:10.3f} {piece.way} {piece.data.hex(' ')}")


@bus.command("record")
@line_argument
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--listen", default=":1502", show_default=True, help="Where masters connect in its place.")
@told
async def record(line: str, file: Path, listen: str) -> None:
    """As trace, into FILE, which `skerry device bus replay` plays as a slave."""
    named = parse_line(line)
    with _new_file(file) as write:
        write(first_line(str(named.endpoint), named.endpoint.framing))
        await _tap(named, listen, lambda piece: write(piece_line(piece)))


@contextmanager
def _new_file(file: Path) -> Generator[Callable[[str], None]]:
    """Lines go to the file as they come. Raises `BadRequestError`; never writes over a file."""
    try:
        opened = file.open("x", encoding="utf-8", buffering=1)
    except FileExistsError as error:
        raise BadRequestError(f"{file} is there already: name another") from error
    except OSError as error:
        raise BadRequestError(f"can't write {file}: {error.strerror}") from error
    with opened:
        yield lambda text: _put(opened.write(f"{text}\n"))


def _put(_written: int) -> None:
    """Written."""


async def _tap(line: NamedLine, listen: str, tell: Callable[[Piece], object]) -> None:
    opening = channel_to(line.endpoint, connect_s=5.0)
    channel = await opening()  # a line that can't be opened is said at once, not when the first master comes
    channel.close()
    host, port = listening(listen)
    try:
        server = await Tap(opening, tell).serve(host, port)
    except OSError as error:
        raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    address = server.sockets[0].getsockname()
    say(f"listening on {address[0]}:{address[1]} for {line.endpoint}", err=True)
    async with server:
        await asyncio.Event().wait()


@bus.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--tcp", default="", help="Listen here: HOST:PORT, or :PORT on loopback. Default :1502.")
@click.option("--serial", default="", help="Answer on this port: /dev/ttyUSB1?baudRate=9600")
@told
async def replay(file: Path, tcp: str, serial: str) -> None:
    """Play a recording as a slave: each request is answered as it was when it was recorded."""
    recording = _recording(file)
    played = Replay(recording)
    say(f"{file}: {played.requests} different requests on {recording.line}")
    await play(played.answer, Faults(), tcp=tcp, serial=serial, framing=recording.framing)


def _recording(file: Path) -> Recording:
    try:
        return read_recording(file.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise NotFoundError(f"can't read {file}: {error.strerror}") from error
    except (InvalidError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{file}: {error}") from error
