"""How an answer became a value, and what request a value would become, in words. Credentials are never among them.

Pure. Keeps the newest answer to each request in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from devices.http.config import HttpDevice, HttpProperty
from devices.layouts import PAYLOAD_BYTES_SHOWN, layout_steps, shown_payload
from devices.port import Explanation, Reading, Rehearsal, Step
from skerry.objects.json import JsonObject
from skerry.objects.twins import Value, format_value

REASON_CHARACTERS_MAX: Final = 120
"""Of what a device says of its refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An answer that counts."""

    status: int
    payload: bytes
    tag: str
    """Its ETag; "" for none."""
    at_ms: int
    """The middle of request and answer."""
    at_s: float
    unchanged: int = 0
    """So often the device has said since that it is the same (304)."""

    @staticmethod
    def of(status: int, body: bytes, *, tag: str, at_ms: int, at_s: float) -> Heard:
        return Heard(status=status, payload=body, tag=tag, at_ms=at_ms, at_s=at_s)

    @property
    def body(self) -> bytes | None:
        """What a 304 stands for; None where it can't be asked for so."""
        return self.payload if self.tag else None

    def again(self, at_ms: int, at_s: float) -> Heard:
        """The same, as of now."""
        return replace(self, at_ms=at_ms, at_s=at_s, unchanged=self.unchanged + 1)


def reason_of(status: int, body: bytes) -> str:
    """`503 Service Unavailable: warming up`."""
    try:
        name = HTTPStatus(status).phrase
    except ValueError:
        name = ""
    text = shown_payload(body[:REASON_CHARACTERS_MAX]) if body and not body.lstrip().startswith(b"<") else ""
    return f"it answers {status}{' ' + name if name else ''}{': ' + text if text else ''}"


def place_of(device: HttpDevice, prop: HttpProperty) -> str:
    """`GET http://10.0.0.5/state`."""
    if prop.question is not None:
        return f"{prop.question.method} {device.origin}{prop.question.target}"
    target = prop.command.target if prop.command is not None else ""
    return f"written only: {device.origin}{target}"


def explanation(
    device: HttpDevice,
    prop: HttpProperty,
    heard: Heard | None,
    reading: Reading | None,
    *,
    error: tuple[str, int],
    next_s: float | None,
) -> Explanation:
    """`error`: the newest failure, and when."""
    return Explanation(
        place=place_of(device, prop),
        asked=f"every {prop.config.collect_ms / 1000:g} s",
        raw=_raw(heard) if heard is not None else {},
        steps=_steps(prop, heard, reading) if heard is not None else (),
        reading=reading,
        error=error[0],
        error_ms=error[1],
        next_s=next_s,
    )


def _raw(heard: Heard) -> JsonObject:
    return {
        "status": heard.status,
        "payload": shown_payload(heard.payload[:PAYLOAD_BYTES_SHOWN]),
        "bytes": len(heard.payload),
        "unchanged": heard.unchanged,
    }


def _steps(prop: HttpProperty, heard: Heard, reading: Reading | None) -> tuple[Step, ...]:
    shown = shown_payload(heard.payload[:PAYLOAD_BYTES_SHOWN])
    cut = f" … ({len(heard.payload)} bytes)" if len(heard.payload) > PAYLOAD_BYTES_SHOWN else ""
    again = f" (said to be the same {heard.unchanged} times)" if heard.unchanged else ""
    steps = [Step(name="payload", says=f"{shown}{cut}{again}"), *layout_steps(prop.config.visitor)]
    if reading is None:
        steps.append(Step(name="value", says="none: the answer says nothing of it"))
    elif reading.value is None:
        steps.append(Step(name="value", says=f"none: {reading.reason}"))
    else:
        value = repr(reading.value) if isinstance(reading.value, str) else format_value(reading.value)
        steps.append(Step(name="value", says=f"{value} ({prop.config.type})"))
    return tuple(steps)


def rehearsal(device: HttpDevice, prop: HttpProperty, value: Value, body: bytes, refusal: str) -> Rehearsal:
    """What sending this body for the value comes to."""
    wanted = Step(name="value", says=f"{format_value(value)} ({prop.config.type})")
    if refusal or prop.command is None:
        return Rehearsal(place=place_of(device, prop), requests=(), steps=(wanted,), refusal=refusal)
    command = prop.command
    url, text = f"{device.origin}{command.target}", shown_payload(body)
    check = "none: it has no url to be read back from"
    if prop.question is not None:
        check = f"{prop.question.method} {prop.question.target} is to tell this value"
    steps = (
        wanted,
        Step(name="payload", says=text),
        Step(name="sent", says=f"{command.method} {url}, {command.type}"),
        Step(name="check", says=check),
    )
    request: JsonObject = {"method": command.method, "url": url, "type": command.type, "body": text}
    return Rehearsal(place=place_of(device, prop), requests=(request,), steps=steps, refusal="")
