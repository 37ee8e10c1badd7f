"""`skerry device modbus`: raw registers, as the device has them and as values.

For trying a device that no manifest describes yet. Speaks to the line itself; where an agent has it, ask the agent.
"""

from __future__ import annotations

import json
from typing import Final, cast

import click

from devices.bus import READ_FUNCTIONS, Request
from devices.codec import RAW_TYPES, REGISTERS, Codec, RawType, decode, encode, mask_of, positions
from devices.commands.lines import line_argument, parse_line, seconds, timeout_option, told, wire_to
from devices.modbus.asks import OBJECT_NAMES
from devices.modbus.detective import ORDERS
from devices.plan import Address, parse_address
from skerry.cli.output import print_table, say
from skerry.errors import BadRequestError, InvalidError
from skerry.objects.twins import Value, format_value

_TYPES: Final = tuple(raw for raw in RAW_TYPES if raw not in ("bool", "moment"))


@click.group("modbus")
def modbus() -> None:
    """Read and write registers of any Modbus device, without a manifest.

    \b
    LINE is tcp://HOST[:PORT], rtu+tcp://..., ascii+tcp://..., tls://..., or a serial port:
    /dev/ttyUSB0?baudRate=9600&parity=even
    ADDRESS is hr:0, ir:0x10, co:3, di:3 (counted from 0) or 40001 (counted from 1).
    """


@modbus.command("read")
@line_argument
@click.argument("address")
@click.argument("count", type=click.IntRange(1, 2000), default=1)
@click.option("-u", "--unit", type=click.IntRange(0, 255), default=1, show_default=True)
@click.option("--as", "raw", type=click.Choice(_TYPES), default="uint16", show_default=True)
@click.option("--order", default="ABCD", show_default=True, help="ABCD, CDAB, BADC, DCBA, eight letters, or all.")
@click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table")
@timeout_option
@told
async def read(
    line: str, address: str, count: int, unit: int, raw: str, order: str, form: str, patience: str
) -> None:
    """Read registers, or bits, and show them as values of a type. COUNT is of registers or bits."""
    place, named = _address(address), parse_line(line)
    wire = wire_to(named, timeout_s=seconds(patience))
    try:
        function = READ_FUNCTIONS[place.table]
        words: tuple[int, ...] = ()
        most = 2000 if place.table in ("coil", "discrete") else 125
        while len(words) < count:
            part = min(most, count - len(words))
            words += await wire.transact(
                Request(unit=unit, function=function, address=place.offset + len(words), count=part)
            )
    finally:
        await wire.close()
    rows = _rows(place, words, cast(RawType, raw), order)
    if form == "json":
        say(json.dumps([dict(zip(("address", "raw", *rows[0][2:]), row, strict=True)) for row in rows[1:]]))
    else:
        print_table(rows[0], rows[1:])


def _rows(place: Address, words: tuple[int, ...], raw: RawType, order: str) -> list[list[str]]:
    """A header, and a row for each value."""
    if place.table in ("coil", "discrete"):
        shown = [[str(_at(place, at)), str(word), "true" if word else "false"] for at, word in enumerate(words)]
        return [["ADDRESS", "RAW", "VALUE"], *shown]
    size = REGISTERS.get(raw, len(words))
    if size > len(words):
        raise BadRequestError(f"{raw} takes {size} registers: ask for {size} or more")
    orders = ORDERS.get(size, ("ABCD", "BADC")) if order.lower() == "all" else (order.upper(),)
    header = ["ADDRESS", "RAW", *(orders if len(orders) > 1 else ("VALUE",))]
    rows = [header]
    for start in range(0, len(words) - size + 1, size):
        part = words[start : start + size]
        values = [_value(raw, part, one) for one in orders]
        rows.append([str(_at(place, start)), " ".join(f"{word:04x}" for word in part), *values])
    return rows


def _at(place: Address, further: int) -> Address:
    return Address(table=place.table, offset=place.offset + further)


def _value(raw: RawType, words: tuple[int, ...], order: str) -> str:
    codec = _codec(raw, len(words), order)
    try:
        return format_value(decode(codec, words))
    except InvalidError as error:
        return f"({error})"


def _codec(raw: RawType, count: int, order: str) -> Codec:
    type = {"string": "STRING", "bytes": "BYTES"}.get(raw, "DOUBLE" if raw.startswith("float") else "INT")
    try:
        positions(order, 2 * count)
    except InvalidError as error:
        raise BadRequestError(f"--order: {error}") from error
    return Codec(raw=raw, type=type, count=count, order=order)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except InvalidError as error:
        raise BadRequestError(f"ADDRESS: {error}") from error


@modbus.command("write")
@line_argument
@click.argument("address")
@click.argument("values", nargs=-1, required=True)
@click.option("-u", "--unit", type=click.IntRange(0, 255), default=1, show_default=True)
@click.option("--as", "raw", type=click.Choice(_TYPES), default="uint16", show_default=True)
@click.option("--order", default="ABCD", show_default=True)
@click.option("--count", type=click.IntRange(1, 123), default=None, help="Registers of a string.")
@click.option("--multiple", is_flag=True, help="Functions 15 and 16 also for one place.")
@click.option("--dry-run", is_flag=True, help="Show what would be written.")
@timeout_option
@told
async def write(
    line: str, address: str, values: tuple[str, ...], unit: int, raw: str, order: str, count: int | None,
    multiple: bool, dry_run: bool, patience: str,
) -> None:  # fmt: skip
    """Write values, then read them back. Exit code 5: the device holds something else, or refused."""
    place, named = _address(address), parse_line(line)
    request = _write_request(place, values, unit, cast(RawType, raw), order.upper(), count, multiple=multiple)
    shown = " ".join(f"{word:04x}" if place.table == "holding" else str(word) for word in request.values)
    say(f"function {request.function}, unit {unit}, {place}: {shown}")
    if dry_run:
        return
    wire = wire_to(named, timeout_s=seconds(patience))
    try:
        await wire.transact(request)
        if unit == 0:
            return
        back = await wire.transact(
            Request(unit=unit, function=READ_FUNCTIONS[place.table], address=place.offset, count=len(request.values))
        )
    finally:
        await wire.close()
    if back != request.values:
        held = " ".join(f"{word:04x}" for word in back)
        raise InvalidError(f"after the write the device holds {held}")
    say("read back: the same")


def _write_request(
    place: Address, values: tuple[str, ...], unit: int, raw: RawType, order: str, count: int | None, *, multiple: bool
) -> Request:
    if place.table not in ("coil", "holding"):
        raise BadRequestError(f"ADDRESS: {place} can't be written: only hr: and co: can")
    if place.table == "coil":
        bits = tuple(int(_bit(text)) for text in values)
        function = 15 if multiple or len(bits) > 1 else 5
        return Request(unit=unit, function=function, address=place.offset, values=bits)
    words: list[int] = []
    for text in values:
        codec = _codec(raw, count or REGISTERS.get(raw, -(-len(text) // 2)), order)
        if place.bit is not None or mask_of(codec) is not None:
            raise BadRequestError("a part of a register is written by a property of a device, not raw")
        try:
            words += encode(codec, _parsed(text, raw))
        except InvalidError as error:
            raise BadRequestError(f"{text!r}: {error}") from error
    if len(words) > 123:
        raise BadRequestError(f"{len(words)} registers are more than one request can write: 123")
    function = 16 if multiple or len(words) > 1 else 6
    return Request(unit=unit, function=function, address=place.offset, values=tuple(words))


def _bit(text: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false", "on", "off"):
        raise BadRequestError(f"{text!r}: a coil is 1 or 0")
    return text.lower() in ("1", "true", "on")


def _parsed(text: str, raw: RawType) -> Value:
    if raw == "string":
        return text
    try:
        if raw == "bytes":
            return bytes.fromhex(text)
        return float(text) if raw.startswith("float") else int(text, 0)
    except ValueError as error:
        raise BadRequestError(f"{text!r} is no {raw}") from error


@modbus.command("identify")
@line_argument
@click.option("-u", "--unit", type=click.IntRange(0, 255), default=1, show_default=True)
@timeout_option
@told
async def identify(line: str, unit: int, patience: str) -> None:
    """Ask a device who made it (function 43/14)."""
    wire = wire_to(parse_line(line), timeout_s=seconds(patience))
    try:
        objects = await wire.identify(unit)
    finally:
        await wire.close()
    for number, text in sorted(objects.items()):
        say(f"{OBJECT_NAMES.get(number, f'object {number}')}: {text.decode('utf-8', 'backslashreplace')}")
