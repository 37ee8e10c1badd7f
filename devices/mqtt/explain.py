"""How a message became a value, and what message a value would become, in words.

Pure. Keeps the newest message of each property in memory, its payload cut where it is long; after a crash the next
message brings it.
"""

from __future__ import annotations

from typing import Final

from devices.layouts import PAYLOAD_BYTES_SHOWN, layout_steps, shown_payload
from devices.mqtt.config import MqttDevice, MqttProperty
from devices.mqtt.port import Delivery, Outgoing
from devices.port import DeviceHealth, Explanation, Reading, Rehearsal, Step
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.times import micro_time_text
from skerry.objects.twins import Value, format_value

CORRELATION: Final = "<correlation>"
"""In rehearsed payloads: each request has another."""


class Note(Frozen):
    """What came last for one property."""

    topic: str
    payload: bytes
    """Its beginning."""
    length: int
    retained: bool
    redelivered: bool
    reading: Reading
    failed: Reading | None
    """The newest message that made no value, be it older."""


def note_of(before: Note | None, delivery: Delivery, reading: Reading) -> Note:
    """The note after a message."""
    return Note(
        topic=delivery.topic,
        payload=delivery.payload[:PAYLOAD_BYTES_SHOWN],
        length=len(delivery.payload),
        retained=delivery.retained,
        redelivered=delivery.redelivered,
        reading=reading,
        failed=reading if reading.value is None else before.failed if before else None,
    )


def place_of(device: MqttDevice, prop: MqttProperty) -> str:
    """`topic plant/boiler/temperature at broker:1883`."""
    if prop.topic:
        return f"topic {prop.topic} at {device.broker}"
    command = prop.command.topic if prop.command is not None else ""
    return f"written only: topic {command} at {device.broker}"


def asked_of(prop: MqttProperty) -> str:
    """Whether it can be asked."""
    if prop.question is not None:
        return f"it tells by itself, and when it is asked on {prop.question.topic}"
    return "it tells by itself" if prop.topic else "nobody tells it: it is written only"


def explanation(device: MqttDevice, prop: MqttProperty, note: Note | None, health: DeviceHealth) -> Explanation:
    """`health`: whether the device and its broker are there now."""
    if note is not None and note.topic != prop.topic:
        note = None  # of before the configuration changed
    failed = note.failed if note is not None else None
    error, error_ms = (failed.reason, failed.source_ms) if failed is not None else ("", 0)
    if not health.online:
        error, error_ms = health.reason, 0
    return Explanation(
        place=place_of(device, prop),
        asked=asked_of(prop),
        raw=_raw(note) if note is not None else {},
        steps=_steps(prop, note) if note is not None else (),
        reading=note.reading if note is not None else None,
        error=error,
        error_ms=error_ms,
    )


def _raw(note: Note) -> JsonObject:
    return {
        "topic": note.topic,
        "payload": shown_payload(note.payload),
        "bytes": note.length,
        "retained": note.retained,
    }


def _steps(prop: MqttProperty, note: Note) -> tuple[Step, ...]:
    text = shown_payload(note.payload)
    cut = f" … ({note.length} bytes)" if note.length > len(note.payload) else ""
    marks = [word for word, holds in (("retained", note.retained), ("redelivered", note.redelivered)) if holds]
    marked = f" ({', '.join(marks)})" if marks else ""
    steps = [Step(name="payload", says=f"{text}{cut}{marked}")]
    visitor = prop.config.visitor
    steps += layout_steps(visitor)
    if "timestampPath" in visitor and note.reading.value is not None:
        steps.append(Step(name="time", says=f"{visitor['timestampPath']}: {micro_time_text(note.reading.source_ms)}"))
    if "sequencePath" in visitor and note.reading.value is not None:
        steps.append(Step(name="sequence", says=f"{visitor['sequencePath']}: {note.reading.source_seq}"))
    value = note.reading.value
    if value is None:
        steps.append(Step(name="value", says=f"none: {note.reading.reason}"))
    else:
        shown = repr(value) if isinstance(value, str) else format_value(value)
        steps.append(Step(name="value", says=f"{shown} ({prop.config.type})"))
    return tuple(steps)


# --- writing ----------------------------------------------------------------------------------------------


def refused(device: MqttDevice, prop: MqttProperty, value: Value, why: str) -> Rehearsal:
    """Nothing would be sent."""
    return Rehearsal(place=place_of(device, prop), requests=(), steps=(_wanted(prop, value),), refusal=why)


def rehearsal(device: MqttDevice, prop: MqttProperty, value: Value, message: Outgoing) -> Rehearsal:
    """What publishing this message for the value comes to."""
    text = shown_payload(message.payload)
    terms = [f"QoS {message.qos}", *(["retained"] if message.retain else [])]
    terms += [f"thrown away after {message.expiry_s} s"] if message.expiry_s else []
    steps = [_wanted(prop, value), Step(name="payload", says=text)]
    steps.append(Step(name="sent", says=f"publish on {message.topic} at {device.broker}, {', '.join(terms)}"))
    if prop.response is not None:
        steps.append(Step(name="answer", says=f"the device is to answer within {prop.response.timeout_s:g} s"))
    if prop.topic:
        steps.append(Step(name="check", says=f"{prop.topic} is to tell this value within {device.verify_s:g} s"))
    elif prop.response is None:
        steps.append(Step(name="check", says="none: it is not told back"))
    request: JsonObject = {
        "topic": message.topic,
        "payload": text,
        "qos": message.qos,
        "retain": message.retain,
    }
    return Rehearsal(place=place_of(device, prop), requests=(request,), steps=tuple(steps), refusal="")


def _wanted(prop: MqttProperty, value: Value) -> Step:
    return Step(name="value", says=f"{format_value(value)} ({prop.config.type})")
