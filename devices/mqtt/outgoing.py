"""What is published to a device: questions and commands, in the words of its configuration. Pure."""

from __future__ import annotations

from typing import Final

from devices.mqtt.config import Command, MqttDevice, MqttProperty, Question
from devices.mqtt.port import Outgoing
from devices.mqtt.requests import Request
from devices.payload import Binary, written_bytes, written_text
from devices.templates import as_json, fill
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.twins import Value

MQTT_5: Final = 5


class Wording:
    """What templates may say of one message, beside its value. `wall_ms`: the gateway's clock."""

    def __init__(self, device: MqttDevice, prop: MqttProperty, request: Request | None, *, wall_ms: int) -> None:
        self._prop = prop
        self._words = {
            "timestamp": str(wall_ms),
            "correlation": request.correlation if request else "",
            "response": request.topic if request else "",
            "device": device.key.name,
            "property": prop.config.name,
        }

    def question(self, question: Question) -> Outgoing:
        return Outgoing(topic=question.topic, payload=fill(question.template, self._words).encode())

    def command(self, command: Command, value: Value) -> Outgoing:
        """Raises `InvalidError` where the device has no form for the value."""
        layout = self._prop.layout
        if command.template is None:
            assert isinstance(layout.source, Binary), "only bytes go without a template"
            payload = written_bytes(value, layout.source)
        else:
            text = written_text(value, self._prop.config.type, layout)
            payload = fill(command.template, self._words | {"value": text, "json": as_json(value, text)}).encode()
        return Outgoing(topic=command.topic, payload=payload, retain=command.retain, expiry_s=command.expiry_s)


def with_request(message: Outgoing, request: Request | None, *, version: int) -> Outgoing:
    """The message with where and how it is to be answered. Raises `InvalidError` where the version of MQTT in use
    can't tell the device, and neither does the payload."""
    if request is None:
        return message
    if version < MQTT_5 and request.response.correlation is None:
        raise InvalidError(
            "the broker speaks MQTT 3.1.1, where an answer needs response.correlationPath, and ${correlation} in the "
            "template"
        )
    expiry_s = max(1, round(request.response.timeout_s))  # an answer that comes later belongs to nobody
    return replace(
        message,
        response_topic=request.topic,
        correlation=request.correlation.encode(),
        expiry_s=message.expiry_s or (0 if message.retain else expiry_s),
    )
