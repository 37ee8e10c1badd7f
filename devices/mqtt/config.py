"""What a Device and its model say about MQTT, checked and made exact.

Pure. docs/reference/devices.md describes every field. Passwords and keys are in files on the gateway: a Device is
read by many.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Final

from devices.fields import bool_in, int_in, map_in, refuse_unknown, text_in
from devices.mqtt.payload import Layout, parse_path
from devices.port import DeviceConfig, PropertyConfig
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

PROTOCOL_FIELDS: Final = (
    "host", "port", "username", "passwordFile", "tls", "availability", "expireAfterMs", "verifyTimeoutMs",
)  # fmt: skip
VISITOR_FIELDS: Final = (
    "topic", "path", "timestampPath", "sequencePath", "commandTopic", "commandTemplate", "commandRetain",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One connection: devices that say the same share it."""

    host: str
    port: int
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """A topic on which a device, or the broker as its last will, says whether it is there."""

    topic: str
    online: str
    offline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttProperty:
    config: PropertyConfig
    topic: str
    """"" for a property that is only written."""
    layout: Layout
    command_topic: str
    """"" for a property that is only read."""
    command: Template
    command_retain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttDevice:
    key: Key
    broker: Broker
    availability: Availability | None
    expire_s: float
    """Without a message for so long its values are stale; 0: never."""
    verify_s: float
    """So long a written value is awaited on the property's own topic."""
    properties: dict[str, MqttProperty]


def parse_device(config: DeviceConfig) -> MqttDevice:
    """Raises `InvalidError` that names the field and the fix."""
    where = "spec.protocol.configData"
    data = config.protocol_config
    refuse_unknown(data, PROTOCOL_FIELDS, where)
    return MqttDevice(
        key=config.device,
        broker=_broker(data, where),
        availability=_availability(map_in(data, "availability", where=where), f"{where}.availability"),
        expire_s=int_in(data, "expireAfterMs", where=where, low=0, high=7 * 24 * 3600 * 1000, default=0) / 1000,
        verify_s=int_in(data, "verifyTimeoutMs", where=where, low=0, high=60_000, default=5000) / 1000,
        properties={prop.name: parse_property(prop) for prop in config.properties},
    )


def _broker(data: JsonObject, where: str) -> Broker:
    tls = map_in(data, "tls", where=where)
    refuse_unknown(tls, ("caFile", "certFile", "keyFile"), f"{where}.tls")
    secure = "tls" in data
    cert, key = (text_in(tls, name, where=f"{where}.tls", default="") for name in ("certFile", "keyFile"))
    if bool(cert) != bool(key):
        raise InvalidError(f"{where}.tls: certFile and keyFile belong together")
    username = text_in(data, "username", where=where, default="")
    password_file = text_in(data, "passwordFile", where=where, default="")
    if password_file and not username:
        raise InvalidError(f"{where}.username: required with passwordFile")
    return Broker(
        host=text_in(data, "host", where=where),
        port=int_in(data, "port", where=where, low=1, high=65535, default=8883 if secure else 1883),
        username=username,
        password_file=password_file,
        tls=secure,
        ca_file=text_in(tls, "caFile", where=f"{where}.tls", default=""),
        cert_file=cert,
        key_file=key,
    )


def _availability(data: JsonObject, where: str) -> Availability | None:
    if not data:
        return None
    refuse_unknown(data, ("topic", "online", "offline"), where)
    return Availability(
        topic=_topic(text_in(data, "topic", where=where), f"{where}.topic"),
        online=text_in(data, "online", where=where, default="online"),
        offline=text_in(data, "offline", where=where, default="offline"),
    )


def parse_property(prop: PropertyConfig) -> MqttProperty:
    """Raises `InvalidError` that names the field and the fix."""
    where = f"spec.properties[{prop.name}].visitors.configData"
    data = prop.visitor
    refuse_unknown(data, VISITOR_FIELDS, where)
    topic = text_in(data, "topic", where=where, default="")
    command_topic = text_in(data, "commandTopic", where=where, default="")
    if not topic and not command_topic:
        raise InvalidError(f"{where}.topic: required, or commandTopic for a property that is only written")
    template = text_in(data, "commandTemplate", where=where, default="${value}")
    command = Template(template)
    if not command.is_valid() or "value" not in command.get_identifiers():
        raise InvalidError(f"{where}.commandTemplate: must contain ${{value}} and no other ${{name}}")
    if set(command.get_identifiers()) - {"value"}:
        raise InvalidError(f"{where}.commandTemplate: must contain ${{value}} and no other ${{name}}")
    paths = {name: text_in(data, name, where=where, default="") for name in ("path", "timestampPath", "sequencePath")}
    for name, text in paths.items():
        if text:
            try:
                parse_path(text)
            except InvalidError as error:
                raise InvalidError(f"{where}.{name}: {error}") from error
    parsed = {name: parse_path(text) if text else None for name, text in paths.items()}
    return MqttProperty(
        config=prop,
        topic=_topic(topic, f"{where}.topic") if topic else "",
        layout=Layout(value=parsed["path"], timestamp=parsed["timestampPath"], sequence=parsed["sequencePath"]),
        command_topic=_topic(command_topic, f"{where}.commandTopic") if command_topic else "",
        command=command,
        command_retain=bool_in(data, "commandRetain", where=where, default=False),
    )


def _topic(text: str, where: str) -> str:
    if "#" in text or "+" in text:
        raise InvalidError(f"{where}: {text!r} has a wildcard; a property has one topic")
    if not text or len(text.encode()) > 65535 or "\x00" in text or text.startswith("$"):
        raise InvalidError(f"{where}: {text!r} is not a topic that devices publish on")
    return text
