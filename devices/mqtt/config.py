"""What a Device and its model say about MQTT, checked and made exact.

Pure. docs/reference/devices.md describes every field. Passwords and keys are in files on the gateway: a Device is
read by many.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Template
from typing import Final, Literal, cast

from devices.fields import bool_in, int_in, map_in, refuse_unknown, text_in
from devices.layouts import LAYOUT_FIELDS, parse_layout, path_in
from devices.payload import Binary, JsonPaths, Layout, Path
from devices.port import DeviceConfig, PropertyConfig
from devices.templates import command_in, template_in
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

PROTOCOL_FIELDS: Final = (
    "host", "port", "version", "username", "passwordFile", "tls", "presence", "sessionExpiryS", "availability",
    "expireAfterMs", "verifyTimeoutMs",
)  # fmt: skip
VISITOR_FIELDS: Final = (
    *LAYOUT_FIELDS, "topic", "commandTopic", "commandTemplate", "commandRetain", "commandExpiryMs", "response",
    "readTopic", "readTemplate",
)  # fmt: skip

Version = Literal["auto", "5", "3.1.1"]
VERSIONS: Final[tuple[Version, ...]] = ("auto", "5", "3.1.1")

NEVER_S: Final = 0xFFFF_FFFF
"""A session expiry of this is none (MQTT 5, 3.1.2.11.2)."""

AVAILABILITIES_MAX: Final = 8

OK_DEFAULT: Final = ("true", "ok", "OK", "success", "200")


class Presence(Frozen):
    """Where this gateway says whether it is there: by a retained message when it connects, by its last will when it
    is gone."""

    topic: str
    online: str
    offline: str


class Broker(Frozen):
    """One connection: devices that say the same share it."""

    host: str
    port: int
    version: Version = "auto"
    """`auto`: MQTT 5 where the broker speaks it, else 3.1.1."""
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    presence: Presence | None = None
    session_expiry_s: int = NEVER_S
    """How long the broker keeps the session of a gateway that is away. (MQTT 3.1.1 knows no limit.)"""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Availability(Frozen):
    """A topic on which a device, or the broker as its last will, says whether it is there."""

    topic: str
    path: Path | None
    """In a JSON payload; None: the payload says it."""
    online: str
    offline: str


class Response(Frozen):
    """How a device answers a request: on a topic, with the correlation that the request had (MQTT 5, 4.10)."""

    topic: str
    """"" for one of the gateway's own, which MQTT 5 tells the device."""
    correlation: Path | None
    """Where in the answer it is, for devices and brokers without MQTT 5."""
    status: Path | None
    """Where the answer says how it went; None: that there is an answer says it went well."""
    ok: frozenset[str]
    reason: Path | None
    value: Path | None
    """Where the value is that is in force now."""
    timeout_s: float


class Command(Frozen):
    """What is sent to have a property written."""

    topic: str
    template: Template | None
    """None: the value's bytes, as the layout has them."""
    retain: bool
    expiry_s: int
    """The broker throws it away when it could not be delivered for so long (MQTT 5); 0: never."""


class Question(Frozen):
    """What is sent to have a property told."""

    topic: str
    template: Template


class MqttProperty(Frozen):
    config: PropertyConfig
    topic: str
    """"" for a property that is only written."""
    layout: Layout
    command: Command | None
    """None for a property that is only read."""
    response: Response | None
    question: Question | None

    def layout_of_answer(self) -> Layout:
        """How the value stands in an answer that has it (`response.valuePath`)."""
        assert self.response is not None, "only a request has an answer"
        return replace(self.layout, source=JsonPaths(value=self.response.value), missing_is_silence=True)


class MqttDevice(Frozen):
    key: Key
    broker: Broker
    availability: tuple[Availability, ...]
    """All of them have to say that it is there."""
    expire_s: float
    """Without a message for so long its values are stale; 0: never."""
    verify_s: float
    """So long a written value is awaited on the property's own topic."""
    properties: dict[str, MqttProperty]


def parse_device(config: DeviceConfig, gateways: Broker | None) -> MqttDevice:
    """`gateways` is the broker of a device that names none; None: there is none. Raises `InvalidError` that names the
    field and the fix."""
    where = "spec.protocol.configData"
    data = config.protocol_config
    refuse_unknown(data, PROTOCOL_FIELDS, where)
    return MqttDevice(
        key=config.device,
        broker=_broker(data, where) if "host" in data else _gateways(data, where, gateways),
        availability=_availabilities(data, f"{where}.availability"),
        expire_s=int_in(data, "expireAfterMs", where=where, low=0, high=7 * 24 * 3600 * 1000, default=0) / 1000,
        verify_s=int_in(data, "verifyTimeoutMs", where=where, low=0, high=60_000, default=5000) / 1000,
        properties={prop.name: parse_property(prop) for prop in config.properties},
    )


def _gateways(data: JsonObject, where: str, gateways: Broker | None) -> Broker:
    """How to reach it is the gateway's to say; what is told and asked there is the device's."""
    for name in ("port", "username", "passwordFile", "tls"):
        if name in data:
            raise InvalidError(f"{where}.host: required with {name}; without both, the gateway's own broker is meant")
    if gateways is None:
        raise InvalidError(f"{where}.host: required, as the gateway has no broker itself (run --mqtt-broker)")
    return replace(
        gateways,
        version=_version(data, where),
        presence=_presence(map_in(data, "presence", where=where), f"{where}.presence"),
        session_expiry_s=_session_expiry(data, where),
    )


def _version(data: JsonObject, where: str) -> Version:
    version = text_in(data, "version", where=where, default="auto")
    if version not in VERSIONS:
        raise InvalidError(f"{where}.version: {version!r} is not one of {', '.join(VERSIONS)}")
    return version


def _session_expiry(data: JsonObject, where: str) -> int:
    return int_in(data, "sessionExpiryS", where=where, low=1, high=NEVER_S, default=NEVER_S)


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
        version=_version(data, where),
        username=username,
        password_file=password_file,
        tls=secure,
        ca_file=text_in(tls, "caFile", where=f"{where}.tls", default=""),
        cert_file=cert,
        key_file=key,
        presence=_presence(map_in(data, "presence", where=where), f"{where}.presence"),
        session_expiry_s=_session_expiry(data, where),
    )


def _presence(data: JsonObject, where: str) -> Presence | None:
    if not data:
        return None
    refuse_unknown(data, ("topic", "online", "offline"), where)
    return Presence(
        topic=parse_topic(text_in(data, "topic", where=where), f"{where}.topic"),
        online=text_in(data, "online", where=where, default="online"),
        offline=text_in(data, "offline", where=where, default="offline"),
    )


def _availabilities(data: JsonObject, where: str) -> tuple[Availability, ...]:
    """One of them, or a list."""
    given = data.get("availability")
    if given is None or given == {}:
        return ()
    many: Sequence[object] = given if isinstance(given, list) else [given]
    if len(many) > AVAILABILITIES_MAX:
        raise InvalidError(f"{where}: at most {AVAILABILITIES_MAX} topics")
    out: list[Availability] = []
    for at, one in enumerate(many):
        here = f"{where}[{at}]" if isinstance(given, list) else where
        if not isinstance(one, dict):
            raise InvalidError(f"{here}: must be an object")
        out.append(_availability(cast(JsonObject, one), here))
    return tuple(out)


def _availability(data: JsonObject, where: str) -> Availability:
    refuse_unknown(data, ("topic", "path", "online", "offline"), where)
    return Availability(
        topic=parse_topic(text_in(data, "topic", where=where), f"{where}.topic"),
        path=path_in(data, "path", where),
        online=text_in(data, "online", where=where, default="online"),
        offline=text_in(data, "offline", where=where, default="offline"),
    )


def parse_property(prop: PropertyConfig) -> MqttProperty:
    """Raises `InvalidError` that names the field and the fix."""
    where = f"spec.properties[{prop.name}].visitors.configData"
    data = prop.visitor
    refuse_unknown(data, VISITOR_FIELDS, where)
    topic = text_in(data, "topic", where=where, default="")
    if not topic and data.get("commandTopic") is None:
        raise InvalidError(f"{where}.topic: required, or commandTopic for a property that is only written")
    layout = parse_layout(data, prop, where)
    command = _command(data, layout, where)
    question = _question(data, where)
    if data.get("response") is not None and command is None and question is None:
        raise InvalidError(f"{where}.response: of what? Give commandTopic or readTopic too")
    response = _response(data, where)
    if question is not None and not topic and (response is None or response.value is None):
        raise InvalidError(f"{where}.readTopic: needs a topic on which the device tells, or response.valuePath")
    return MqttProperty(
        config=prop,
        topic=parse_topic(topic, f"{where}.topic") if topic else "",
        layout=layout,
        command=command,
        response=response,
        question=question,
    )


def _command(data: JsonObject, layout: Layout, where: str) -> Command | None:
    topic = text_in(data, "commandTopic", where=where, default="")
    if not topic:
        for name in ("commandTemplate", "commandRetain", "commandExpiryMs"):
            if name in data:
                raise InvalidError(f"{where}.commandTopic: required with {name}")
        return None
    binary = isinstance(layout.source, Binary)
    if binary and "commandTemplate" not in data:
        assert isinstance(layout.source, Binary)
        if layout.source.offset or layout.source.codec.bit is not None:
            raise InvalidError(f"{where}.commandTemplate: required, as the value is only a part of the payload")
        template = None
    else:
        template = command_in(data, "commandTemplate", where, TEMPLATE_NAMES)
    return Command(
        topic=parse_topic(topic, f"{where}.commandTopic"),
        template=template,
        retain=bool_in(data, "commandRetain", where=where, default=False),
        expiry_s=-(-int_in(data, "commandExpiryMs", where=where, low=0, high=NEVER_S, default=0) // 1000),
    )


TEMPLATE_NAMES: Final = ("value", "json", "timestamp", "correlation", "response", "device", "property")


def _question(data: JsonObject, where: str) -> Question | None:
    topic = text_in(data, "readTopic", where=where, default="")
    if not topic:
        if "readTemplate" in data:
            raise InvalidError(f"{where}.readTopic: required with readTemplate")
        return None
    return Question(
        topic=parse_topic(topic, f"{where}.readTopic"),
        template=template_in(data, "readTemplate", where, TEMPLATE_NAMES, default=""),
    )


RESPONSE_FIELDS: Final = (
    "topic", "correlationPath", "statusPath", "ok", "reasonPath", "valuePath", "timeoutMs",
)  # fmt: skip


def _response(data: JsonObject, where: str) -> Response | None:
    if data.get("response") is None:
        return None
    given, where = map_in(data, "response", where=where), f"{where}.response"
    refuse_unknown(given, RESPONSE_FIELDS, where)
    topic = text_in(given, "topic", where=where, default="")
    status = path_in(given, "statusPath", where)
    listed = given.get("ok", list(OK_DEFAULT))
    ok = listed if isinstance(listed, list) else [listed]
    if not all(isinstance(one, str | int | float) for one in ok):
        raise InvalidError(f"{where}.ok: must be a text, or a list of texts")
    if "ok" in given and status is None:
        raise InvalidError(f"{where}.statusPath: required with ok")
    return Response(
        topic=parse_topic(topic, f"{where}.topic") if topic else "",
        correlation=path_in(given, "correlationPath", where),
        status=status,
        ok=frozenset(str(one).lower() if isinstance(one, bool) else str(one) for one in ok),
        reason=path_in(given, "reasonPath", where),
        value=path_in(given, "valuePath", where),
        timeout_s=int_in(given, "timeoutMs", where=where, low=10, high=60_000, default=5000) / 1000,
    )


def parse_topic(text: str, where: str) -> str:
    """A topic that devices publish on. Raises `InvalidError`."""
    if "#" in text or "+" in text:
        raise InvalidError(f"{where}: {text!r} has a wildcard; a property has one topic")
    if not text or len(text.encode()) > 65535 or "\x00" in text or text.startswith("$"):
        raise InvalidError(f"{where}: {text!r} is not a topic that devices publish on")
    return text
