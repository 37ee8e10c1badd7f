"""`skerry device why`: how a value came to be, from the wire to the acknowledgement, on one screen.

The gateway tells what it knows (`DeviceExplanation`); here it is put into lines. The same lines show what a write
would send (`device set --dry-run`). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from skerry.cli.client import path_of
from skerry.cli.device_objects import (
    DEVICES,
    complete_places,
    find_twin,
    property_names,
    split_name,
)
from skerry.cli.options import data_option, namespace_option
from skerry.cli.output import joined, one_line, print_data, say, styled
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, dig, int_at, map_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.objects.times import human_duration, ms_at

_FORMS: Final = ("text", "json", "yaml")
_COLOURS: Final = {
    "good": "green", "verified": "green", "applied": "green", "online": "green",
    "uncertain": "yellow", "stale": "yellow", "pending": "yellow", "expired": "yellow",
    "bad": "red", "refused": "red", "failed": "red", "offline": "red", "invalid": "red",
}  # fmt: skip


class Line(Frozen):
    """One line: what it is about, what there is to say, and the word that gives it its colour."""

    about: str
    says: str
    word: str = ""


@click.command("why")
@click.argument("name", shell_complete=complete_places)
@click.argument("prop", required=False, default="")
@namespace_option
@data_option
@with_target
def why(target: Target, name: str, prop: str, namespace: str, form: str) -> None:
    """Explain a value: `skerry device why boiler/temperature`.

    From the registers or the message, through order, type, scale and range, to the twin; what is wanted, by whom, and
    what became of it; the last error, and when it is asked for next. It is asked of the gateway now.
    """
    if form not in _FORMS:
        raise BadRequestError(f"-o {form}: use one of {', '.join(_FORMS)}")
    name, named = split_name(name)
    prop = prop or named
    client = target.client()
    place = namespace or client.namespace
    if not prop:
        known = ", ".join(property_names(find_twin(client, place, name).device, {})) or "none"
        raise BadRequestError(f"name a property: skerry device why {name}/PROPERTY (it has: {known})")
    told = client.request("GET", path_of(DEVICES, place, name, "explain"), query={"property": prop}).obj
    if form != "text":
        print_data(told, form)
        return
    say(one_line(headline(told)), bold=True)
    say()
    _print(explanation_lines(told))


def _print(lines: Iterator[Line]) -> None:
    for line in lines:
        say(f"  {line.about:<12}", nl=False)
        say(one_line(line.says), fg=_COLOURS.get(line.word))


def headline(told: JsonObject) -> str:
    """`boiler/temperature = 71.3 °C, good, 0.4 s old`."""
    what = f"{name_of(told)}/{str_at(told, 'property')}"
    reading = map_at(told, "reading")
    if not reading:
        return f"{what}: nothing was read since the agent started"
    value = _value(reading, str_at(told, "unit"))
    return f"{what} = {value}, {str_at(reading, 'quality')}, {age_text(int_at(reading, 'ageMs'))} old"


def explanation_lines(told: JsonObject) -> Iterator[Line]:
    """All but the headline."""
    yield from _source_lines(told)
    for step in maps_at(told, "steps"):
        yield Line(about=str_at(step, "name"), says=str_at(step, "says"))
    reading = map_at(told, "reading")
    if reading:
        reason = f": {str_at(reading, 'reason')}" if str_at(reading, "reason") else ""
        quality = str_at(reading, "quality")
        yield Line(about="quality", says=f"{quality}{reason}", word=quality)
    yield from _twin_lines(told)
    yield from _wish_lines(told)
    error = map_at(told, "error")
    if error:
        when = f", {_ago(told, error)}" if str_at(error, "time") else ""
        yield Line(about="last error", says=f"{str_at(error, 'message')}{when}", word="bad" if not reading else "")


def _source_lines(told: JsonObject) -> Iterator[Line]:
    state, reason = str_at(told, "device", "state"), str_at(told, "device", "reason")
    node = str_at(told, "node")
    yield Line(about="device", says=f"{state} at {node}{f': {reason}' if reason else ''}", word=state)
    if str_at(told, "place"):
        yield Line(about="place", says=str_at(told, "place"))
    if str_at(told, "asked"):
        after = f"; next in {age_text(int_at(told, 'nextMs'))}" if dig(told, "nextMs") is not None else ""
        yield Line(about="asked", says=f"{str_at(told, 'asked')}{after}")
    if dig(told, "type") is None:
        yield Line(about="served", says="no: no driver asks for it", word="bad")


def _twin_lines(told: JsonObject) -> Iterator[Line]:
    twin = map_at(told, "twin")
    if not twin:
        return
    says = f"{_value(twin, str_at(told, 'unit'))}, {str_at(twin, 'quality')}, told {_ago(told, twin, 'gateway')}"
    if str_at(twin, "clock"):
        says += " (by a clock that was not known to be right)"
    reason = str_at(twin, "reason")
    yield Line(about="twin", says=says + (f": {reason}" if reason else ""))


def _wish_lines(told: JsonObject) -> Iterator[Line]:
    desired, ack, waits = map_at(told, "desired"), map_at(told, "ack"), map_at(told, "waits")
    if not desired:
        if bool_at(told, "writable"):
            yield Line(about="wanted", says="nothing")
        return
    by = str_at(desired, "origin") or "somebody"
    says = f"{str_at(desired, 'value')} by {by} ({str_at(desired, 'side')}), {_ago(told, desired)}"
    if str_at(desired, "expires"):
        says += f"; not after {str_at(desired, 'expires')}"
    yield Line(about="wanted", says=f"{says}; version {str_at(desired, 'version')}")
    lost = map_at(desired, "conflict")
    if lost:
        value = dig(lost, "value")
        loser = f"{'nothing' if value is None else value} by {str_at(lost, 'origin')} ({str_at(lost, 'side')})"
        end = "; a person has to choose: skerry device conflicts" if bool_at(lost, "waiting") else ", and lost"
        yield Line(about="conflict", says=f"{loser} was wanted at the same time{end}", word="uncertain")
    if ack:
        state, reason = str_at(ack, "state"), str_at(ack, "reason")
        other = "" if str_at(ack, "version") == str_at(desired, "version") else " an earlier version"
        yield Line(
            about="answer", says=f"{state}{other}, {_ago(told, ack)}{f': {reason}' if reason else ''}", word=state
        )
    if waits:
        after = f"; tried again in {age_text(int_at(waits, 'nextMs'))}" if dig(waits, "nextMs") is not None else ""
        yield Line(about="waits", says=f"{str_at(waits, 'reason')}{after}", word="pending")


def rehearsal_lines(told: JsonObject) -> Iterator[str]:
    """What writing the value would come to."""
    write = map_at(told, "write")
    what = f"{name_of(told)}/{str_at(told, 'property')}"
    now = map_at(told, "reading") or map_at(told, "twin")
    before = f" (now {_value(now, str_at(told, 'unit'))})" if now else ""
    yield styled(f"{what} = {str_at(write, 'value')}{before}, dry run", bold=True)
    yield ""
    if str_at(write, "place") or str_at(told, "place"):
        yield f"  {'place':<12}{str_at(write, 'place') or str_at(told, 'place')}"
    for step in maps_at(write, "steps"):
        yield f"  {str_at(step, 'name'):<12}{str_at(step, 'says')}"
    refusal = str_at(write, "refusal")
    verdict = f"refused: {refusal}" if refusal else "would be written"
    yield joined(["  verdict     ", styled(verdict, fg="red" if refusal else "green")])


def _value(holder: JsonObject, unit: str) -> str:
    value = dig(holder, "value")
    return "no value" if value is None else f"{value} {unit}".rstrip()


def _ago(told: JsonObject, holder: JsonObject, field: str = "time") -> str:
    """By the gateway's own clock: nobody else's is compared with its times."""
    at = str_at(holder, field) or str_at(holder, "time")
    return f"{age_text(ms_at(str_at(told, 'time')) - ms_at(at))} ago" if at else "at an unknown time"


def age_text(ms: int) -> str:
    """`0.4 s` below two seconds, then as ages are shown elsewhere."""
    return f"{max(0, ms) / 1000:.1f} s" if ms < 2000 else human_duration(ms / 1000)
