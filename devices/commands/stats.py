"""`skerry device bus stats`: how lines do just now, asked of the gateways that drive them.

In the cloud and on a gateway alike: each device is asked for its line, and each line is shown once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import click

from devices.budget import WARN
from devices.protocols import driver_of
from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import DEVICES, complete_devices, find_twins
from skerry.cli.options import namespace_option
from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, NotFoundError, SkerryError
from skerry.objects.json import Json, JsonObject, dig, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.times import human_duration

_FORMS: Final = ("table", "json", "yaml")


@click.command("stats")
@click.argument("names", nargs=-1, shell_complete=complete_devices)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Devices of all namespaces.")
@click.option("-l", "--selector", default="", help="Labels of the devices, as kubectl takes them.")
@click.option("-o", "--output", "form", default="table", help="table, json or yaml.")
@with_target
def stats(
    target: Target, names: tuple[str, ...], namespace: str, all_namespaces: bool, selector: str, form: str
) -> None:
    """Show how the lines of Modbus devices do: rate, use, errors of each unit, who is left alone, missed cycles.

    Without NAMES the lines of all devices in the namespace. Rates are of the last minute, counts since the gateway's
    agent opened the line.
    """
    if form not in _FORMS:
        raise BadRequestError(f"-o {form}: use one of {', '.join(_FORMS)}")
    if names and (all_namespaces or selector):
        raise BadRequestError("give either names, or -A and -l")
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    wanted = [(place, name) for name in names] or _on_lines(client, place, selector)
    if not wanted:
        raise NotFoundError("there are no Modbus devices here; `skerry device list -A` shows what there is")
    lines, troubles = lines_of(client, wanted)
    if form != "table":
        listed: list[Json] = [*lines]
        print_data({"kind": "DeviceLineList", "apiVersion": "skerry.dev/v1", "items": listed}, form)
    else:
        for at, line in enumerate(lines):
            _print(line, first=at == 0)
    for trouble in troubles:
        say(f"{trouble}", err=True)
    if troubles:
        raise troubles[0]


def _on_lines(client: Client, place: str, selector: str) -> list[tuple[str, str]]:
    return [
        (namespace_of(twin.device), name_of(twin.device))
        for twin in find_twins(client, place, selector)
        if driver_of(str_at(twin.device, "spec", "protocol", "protocolName")) == "modbus"
    ]


def lines_of(client: Client, wanted: Sequence[tuple[str, str]]) -> tuple[list[JsonObject], list[SkerryError]]:
    """Each line once, and what went wrong with devices that no line told of."""
    lines: dict[tuple[str, str], JsonObject] = {}
    troubles: list[SkerryError] = []
    for place, name in wanted:
        if any(f"{place}/{name}" in devices_on(line) for line in lines.values()):
            continue
        try:
            told = client.request("GET", path_of(DEVICES, place, name, "line")).obj
        except SkerryError as error:
            troubles.append(error)
        else:
            lines[str_at(told, "node"), str_at(told, "line")] = told
    return [*lines.values()], troubles


def devices_on(line: JsonObject) -> frozenset[str]:
    """`namespace/name` of all devices on a line."""
    return frozenset(device for unit in maps_at(line, "units") for device in strs_at(unit, "devices"))


def _print(line: JsonObject, *, first: bool) -> None:
    if not first:
        say()
    headline, colour = summary(line)
    say(headline, bold=True, fg=colour)
    for note in notes(line):
        say(f"  {note}")
    print_table(
        ["UNIT", "DEVICES", "REQUESTS", "SILENT", "WRONG", "REFUSED", "MISSED", "STATE"],
        [_unit_row(line, unit) for unit in maps_at(line, "units")],
    )


def summary(line: JsonObject) -> tuple[str, str | None]:
    """`/dev/ttyUSB0 9600 8N1 at eu-1: 43% used, 12.3 requests a second`, and its colour."""
    used, needs = _share(line, "used"), _share(line, "needs")
    text = f"{str_at(line, 'line')} at {str_at(line, 'node')}: {used:.0%} used"
    text += f", {_share(line, 'requestsPerSecond'):.1f} requests a second"
    text += f"; its polls need {needs:.0%}" if dig(line, "needs") is not None else ""
    if str_at(line, "down") or needs > 1:
        return text, "red"
    return text, "yellow" if max(used, needs) > WARN else None


def notes(line: JsonObject) -> Iterator[str]:
    """What else there is to say of a line."""
    counted = human_duration(_share(line, "countedSeconds"))
    yield f"{int_at(line, 'requests')} requests in {counted}"
    if str_at(line, "down"):
        yield f"down: {str_at(line, 'down')}"
    waiting = {word: int_at(line, f"waiting{word.capitalize()}") for word in ("writes", "reads")}
    if any(waiting.values()):
        yield "waiting: " + ", ".join(f"{count} {word}" for word, count in waiting.items() if count)


def _unit_row(line: JsonObject, unit: JsonObject) -> list[str]:
    devices = strs_at(unit, "devices")
    missed = sum(int_at(map_at(line, "missedCycles"), device) for device in devices)
    next_s = int_at(unit, "nextMs") / 1000
    state = f"left alone, asked in {next_s:.1f} s" if str_at(unit, "breaker") == "open" else "asked"
    counts = [str(int_at(unit, name)) for name in ("requests", "silences", "wrongAnswers", "refusals")]
    return [str(int_at(unit, "unit")), ", ".join(devices) or "-", *counts, str(missed), state]


def _share(holder: JsonObject, name: str) -> float:
    value = dig(holder, name)
    return float(value) if isinstance(value, int | float) else 0.0
