"""How an answer became a value, and what request a value would become, in words. Credentials are never among them.

Pure.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from devices.http.config import HttpDevice, HttpProperty
from devices.layouts import PAYLOAD_BYTES_SHOWN, layout_steps, shown_payload
from devices.port import Rehearsal, Step
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject
from skerry.objects.twins import Value, format_value

REASON_CHARACTERS_MAX: Final = 120
"""Of what a device says of its refusal."""


class Heard(Frozen):
    """An answer that counts."""

    status: int
    payload: bytes
    tag: str
    """Its ETag; "" for none."""
    unchanged: int = 0
    """So often the device has said since that it is the same (304)."""

    def again(self) -> Heard:
        """The same, once more."""
        return replace(self, unchanged=self.unchanged + 1)


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


def raw_of(heard: Heard) -> JsonObject:
    """The answer, its end cut where it is long."""
    return {
        "status": heard.status,
        "payload": shown_payload(heard.payload[:PAYLOAD_BYTES_SHOWN]),
        "bytes": len(heard.payload),
        "unchanged": heard.unchanged,
    }


def heard_steps(prop: HttpProperty, heard: Heard) -> tuple[Step, ...]:
    """From the answer to what is taken for the value."""
    shown = shown_payload(heard.payload[:PAYLOAD_BYTES_SHOWN])
    cut = f" … ({len(heard.payload)} bytes)" if len(heard.payload) > PAYLOAD_BYTES_SHOWN else ""
    again = f" (said to be the same {heard.unchanged} times)" if heard.unchanged else ""
    return Step(name="payload", says=f"{shown}{cut}{again}"), *layout_steps(prop.config.visitor)


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
