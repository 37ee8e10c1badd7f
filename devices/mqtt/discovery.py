"""Devices that announce themselves to Home Assistant, as Device and DeviceModel objects of ours.

Pure. Reads both forms of discovery, one document a device (2024.11 and later) and one an entity (zigbee2mqtt,
ESPHome, Tasmota ...), with their abbreviations, and writes what our MQTT driver understands. Templates are Jinja
programs there; those that pick one place of a JSON payload become paths. What can't be said without guessing is left
out, with the reason: a property that is not there is better than one that is wrong.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

from devices.mqtt.collected import DOCUMENT_BYTES_MAX
from devices.mqtt.config import AVAILABILITIES_MAX, parse_property
from devices.payload import parse_path
from devices.port import PropertyConfig
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, maps_at, read_json, str_at

ORIGIN_OF_OURS: Final = "skerry"

_WORDS: Final[Mapping[str, str]] = {
    "avty": "availability", "avty_mode": "availability_mode", "avty_t": "availability_topic",
    "avty_tpl": "availability_template", "bri_cmd_t": "brightness_command_topic", "bri_scl": "brightness_scale",
    "bri_stat_t": "brightness_state_topic", "bri_val_tpl": "brightness_value_template", "cmd_t": "command_topic",
    "cmd_tpl": "command_template", "cmps": "components", "cns": "connections", "curr_temp_t":
    "current_temperature_topic", "curr_temp_tpl": "current_temperature_template", "dev": "device", "dev_cla":
    "device_class", "exp_aft": "expire_after", "ids": "identifiers", "mdl": "model", "mf": "manufacturer",
    "mode_cmd_t": "mode_command_topic", "mode_cmd_tpl": "mode_command_template", "mode_stat_t": "mode_state_topic",
    "mode_stat_tpl": "mode_state_template", "o": "origin", "ops": "options", "p": "platform", "pl": "payload",
    "pl_avail": "payload_available", "pl_cls": "payload_close", "pl_lock": "payload_lock",
    "pl_not_avail": "payload_not_available", "pl_off": "payload_off", "pl_on": "payload_on", "pl_open":
    "payload_open", "pl_prs": "payload_press", "pl_stop": "payload_stop", "pl_unlk": "payload_unlock",
    "pos_t": "position_topic", "pos_tpl": "position_template", "ret": "retain", "set_pos_t": "set_position_topic",
    "set_pos_tpl": "set_position_template", "stat_cla": "state_class", "stat_locked": "state_locked",
    "stat_off": "state_off", "stat_on": "state_on", "stat_t": "state_topic", "stat_tpl": "state_template",
    "stat_unlocked": "state_unlocked", "stat_val_tpl": "state_value_template", "t": "topic",
    "temp_cmd_t": "temperature_command_topic", "temp_cmd_tpl": "temperature_command_template",
    "temp_stat_t": "temperature_state_topic", "temp_stat_tpl": "temperature_state_template",
    "uniq_id": "unique_id", "unit_of_meas": "unit_of_measurement", "val_tpl": "value_template",
}  # fmt: skip
"""Home Assistant's abbreviations, of what is read here."""

DISCOVERED: Final = "skerry.dev/discovered"
"""The annotation that tells what a found device says of itself."""


class Place(Frozen):
    """What the objects say of where the devices are."""

    node: str
    namespace: str
    protocol: JsonObject
    """`spec.protocol.configData`: the broker, as the gateway reaches it."""


class Found(Frozen):
    """One device, as objects."""

    says: str
    """What it says of itself: its id, maker and model."""
    model: JsonObject
    device: JsonObject

    @property
    def topics(self) -> frozenset[str]:
        """On which it tells or is told something."""
        visitors = [map_at(prop, "visitors", "configData") for prop in maps_at(self.device, "spec", "properties")]
        named = (str_at(each, name) for each in visitors for name in ("topic", "commandTopic"))
        return frozenset(topic for topic in named if topic)


class Discovered(Frozen):
    """Devices, and what was left out."""

    devices: tuple[Found, ...]
    skipped: tuple[str, ...]
    """One line each: device, entity, reason."""

    @property
    def objects(self) -> tuple[JsonObject, ...]:
        """To apply: models before their devices."""
        return tuple(obj for each in self.devices for obj in (each.model, each.device))


@dataclass(slots=True, kw_only=True)
class _Device:
    id: str
    name: str
    maker: str
    entities: list[tuple[str, JsonObject]] = field(default_factory=list[tuple[str, JsonObject]])
    """By their keys."""


class _Property(Frozen):
    """One of ours."""

    name: str
    type: str
    writable: bool
    visitor: JsonObject
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None


def filters(prefix: str) -> set[str]:
    """Topics on which devices announce themselves."""
    return {f"{prefix}/+/+/config", f"{prefix}/+/+/+/config"}


def discover(documents: Mapping[str, bytes], prefix: str, place: Place) -> Discovered:
    """What these documents (by topic) come to."""
    skipped: list[str] = []
    found: dict[str, _Device] = {}
    for topic, payload in sorted(documents.items()):
        if payload:
            try:
                _read(topic.removeprefix(f"{prefix}/").split("/"), payload, found)
            except InvalidError as error:
                skipped.append(f"{topic}: {error}")
    devices: list[Found] = []
    names: set[str] = set()
    for device in sorted(found.values(), key=lambda each: (each.name, each.id)):
        name = _name_of(device, names)
        names.add(name)
        made = _found(device, name, place, skipped)
        devices += [made] if made is not None else []
    return Discovered(devices=tuple(devices), skipped=tuple(skipped))


# --- documents --------------------------------------------------------------------------------------------


def _read(levels: Sequence[str], payload: bytes, found: dict[str, _Device]) -> None:
    if len(payload) > DOCUMENT_BYTES_MAX:
        raise InvalidError(f"a document of {len(payload)} bytes is too large")
    said = read_json(payload)
    if not isinstance(said, dict):
        raise InvalidError("it is not a JSON object")
    document = _in_full(cast(JsonObject, said))
    if str_at(document, "origin", "name") == ORIGIN_OF_OURS:
        return
    described = document.get("device")
    described = described if isinstance(described, dict) else {}
    if levels[0] != "device":
        key = str_at(document, "name") or str_at(document, "unique_id") or levels[-2]
        _device_of(described, document, levels, found).entities.append((key, document | {"platform": levels[0]}))
        return
    components = document.get("components")
    if not isinstance(components, dict):
        raise InvalidError("it has no components")
    device = _device_of(described, document, levels, found)
    shared = {name: value for name, value in document.items() if name not in ("device", "origin", "components")}
    for key, entity in components.items():
        if isinstance(entity, dict) and len(entity) > 1:  # with its platform alone it is one that was removed
            device.entities.append((key, shared | entity))


def _in_full(said: JsonObject) -> JsonObject:
    """With whole words, and topics without `~`."""
    base = said.get("~")
    out: JsonObject = {}
    for name, value in said.items():
        word = _WORDS.get(name, name)
        if word in ("device", "origin") and isinstance(value, dict):
            value = {_WORDS.get(each, each): it for each, it in value.items()} | {
                "sw_version": value.get("sw_version", value.get("sw"))
            }
        elif word == "components" and isinstance(value, dict):
            value = {key: _entity_in_full(it, base) if isinstance(it, dict) else it for key, it in value.items()}
        out[word] = _without_tilde(word, value, base)
    return out


def _entity_in_full(said: JsonObject, base: Json) -> JsonObject:
    return _in_full({"~": base, **said}) if isinstance(base, str) else _in_full(said)


def _without_tilde(word: str, value: Json, base: Json) -> Json:
    if word == "availability" and isinstance(value, list):
        return [_entity_in_full(each, base) if isinstance(each, dict) else each for each in value]
    if isinstance(value, str) and isinstance(base, str) and (word == "topic" or word.endswith("_topic")):
        if value.startswith("~"):
            return base + value[1:]
        if value.endswith("~"):
            return value[:-1] + base
    return value


def _device_of(
    described: JsonObject, document: JsonObject, levels: Sequence[str], found: dict[str, _Device]
) -> _Device:
    ids = described.get("identifiers")
    first = ids[0] if isinstance(ids, list) and ids else ids
    if not isinstance(first, str | int):
        connections = described.get("connections")
        first = json.dumps(connections) if connections else str_at(document, "unique_id") or "/".join(levels)
    name = str_at(described, "name") or str_at(document, "name") or str(first)
    maker = " ".join(text for text in (str_at(described, "manufacturer"), str_at(described, "model")) if text)
    return found.setdefault(str(first), _Device(id=str(first), name=name, maker=maker))


# --- objects ----------------------------------------------------------------------------------------------


def _name_of(device: _Device, taken: set[str]) -> str:
    """A name of Kubernetes', the same each time that the same devices are found."""
    name = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-")[:50].strip("-") or "device"
    return name if name not in taken else f"{name}-{zlib.crc32(device.id.encode()):08x}"


def _found(device: _Device, name: str, place: Place, skipped: list[str]) -> Found | None:
    properties: dict[str, _Property] = {}
    availability: list[Json] = []
    for key, entity in device.entities:
        try:
            made = _properties(key, entity)
            for each in made:
                _check(each)
        except InvalidError as error:
            skipped.append(f"{device.name}, {key}: {error}")
            continue
        for each in made:
            if each.name in properties:
                skipped.append(f"{device.name}, {key}: there is another property {each.name}")
                continue
            properties[each.name] = each
        availability += [said for said in _availability(entity) if said not in availability]
    if not properties:
        return None
    protocol: JsonObject = dict(place.protocol)
    if availability:
        protocol["availability"] = availability[:AVAILABILITIES_MAX]
    expiries = [entity.get("expire_after") for _, entity in device.entities]
    if expiries and all(isinstance(each, int) and each > 0 for each in expiries):
        protocol["expireAfterMs"] = max(cast("list[int]", expiries)) * 1000
    metadata: JsonObject = {"name": name, "namespace": place.namespace}
    says = f"{device.id} {device.maker}".strip()
    noted: JsonObject = {DISCOVERED: says}
    model: JsonObject = {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": metadata,
        "spec": {"protocol": "mqtt", "properties": [_of_model(each) for each in properties.values()]},
    }
    instance: JsonObject = {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {**metadata, "annotations": noted},
        "spec": {
            "nodeName": place.node,
            "deviceModelRef": {"name": name},
            "protocol": {"protocolName": "mqtt", "configData": protocol},
            "properties": [
                {"name": each.name, "visitors": {"protocolName": "mqtt", "configData": each.visitor}}
                for each in properties.values()
            ],
        },
    }
    return Found(says=says, model=model, device=instance)


def _of_model(prop: _Property) -> JsonObject:
    said: JsonObject = {"name": prop.name, "type": prop.type}
    said["accessMode"] = "ReadWrite" if prop.writable else "ReadOnly"
    if prop.unit:
        said["unit"] = prop.unit
    for name, bound in (("minimum", prop.minimum), ("maximum", prop.maximum)):
        if bound is not None:
            said[name] = f"{bound:g}"
    return said


def _check(prop: _Property) -> None:
    """Our own driver must take it. Raises `InvalidError`."""
    parse_property(
        PropertyConfig(
            name=prop.name,
            type=prop.type,
            writable=prop.writable,
            unit=prop.unit,
            minimum=prop.minimum,
            maximum=prop.maximum,
            collect_ms=1000,
            visitor=prop.visitor,
        )
    )


def _availability(entity: JsonObject) -> list[JsonObject]:
    given = entity.get("availability")
    topic = str_at(entity, "availability_topic")
    many: Sequence[Json] = given if isinstance(given, list) else []
    if topic and not many:
        many = [entity | {"topic": topic, "value_template": entity.get("availability_template")}]
    out: list[JsonObject] = []
    for each in many:
        if not isinstance(each, dict) or not str_at(each, "topic"):
            continue
        said: JsonObject = {
            "topic": str_at(each, "topic"),
            "online": _text(each, "payload_available", "online"),
            "offline": _text(each, "payload_not_available", "offline"),
        }
        path = _path(each.get("value_template"))
        out.append(said | ({"path": path} if path else {}))
    return out


# --- entities ---------------------------------------------------------------------------------------------

Make: TypeAlias = "Callable[[str, JsonObject], list[_Property]]"


def _properties(key: str, entity: JsonObject) -> list[_Property]:
    """Raises `InvalidError` for an entity that can't be one of ours."""
    platform = str_at(entity, "platform")
    make = _PLATFORMS.get(platform)
    if make is None:
        raise InvalidError(f"no property of ours is like its platform, {platform or 'which is not named'}")
    return make(re.sub(r"[^A-Za-z0-9_.-]+", "_", key).strip("_") or "value", entity)


def _sensor(name: str, entity: JsonObject) -> list[_Property]:
    unit = str_at(entity, "unit_of_measurement")
    numeric = bool(unit or entity.get("state_class"))
    return [
        _Property(
            name=name,
            type="FLOAT" if numeric else "STRING",
            writable=False,
            visitor=_told(entity, "state_topic", "value_template"),
            unit=unit,
        )
    ]


def _binary_sensor(name: str, entity: JsonObject) -> list[_Property]:
    values = _values((entity.get("payload_on", "ON"), True), (entity.get("payload_off", "OFF"), False))
    visitor: JsonObject = {**_told(entity, "state_topic", "value_template"), "values": values}
    return [_Property(name=name, type="BOOLEAN", writable=False, visitor=visitor)]


def _switch(name: str, entity: JsonObject) -> list[_Property]:
    on, off = entity.get("payload_on", "ON"), entity.get("payload_off", "OFF")
    values = _values(
        (on, True), (off, False), (entity.get("state_on", on), True), (entity.get("state_off", off), False)
    )
    template = "value_template" if entity.get("value_template") is not None else "state_value_template"
    visitor = _told(entity, "state_topic", template) | _commanded(entity, "command_topic", "command_template")
    return [_Property(name=name, type="BOOLEAN", writable=True, visitor={**visitor, "values": values})]


def _light(name: str, entity: JsonObject) -> list[_Property]:
    if str_at(entity, "schema") == "json":
        topics = _topics(entity, "state_topic") | _commands(entity, "command_topic")
        on: JsonObject = {"path": "$.state", "missing": "ignore", "values": {"ON": True, "OFF": False}}
        made = [
            _Property(
                name=name,
                type="BOOLEAN",
                writable=True,
                visitor=topics | on | {"commandTemplate": '{"state": "${value}"}'},
            )
        ]
        if entity.get("brightness") is True:
            level: JsonObject = {"path": "$.brightness", "missing": "ignore"}
            command: JsonObject = {"commandTemplate": '{"brightness": ${value}}'}
            made.append(_level(f"{name}_brightness", entity, topics | level | command))
        return made
    made = _switch(name, entity)
    if str_at(entity, "brightness_command_topic"):
        told = _told(entity, "brightness_state_topic", "brightness_value_template")
        made.append(_level(f"{name}_brightness", entity, told | _commands(entity, "brightness_command_topic")))
    return made


def _level(name: str, entity: JsonObject, visitor: JsonObject) -> _Property:
    most = _number(entity, "brightness_scale", 255)
    return _Property(name=name, type="INT", writable=True, visitor=visitor, minimum=0, maximum=most)


def _number_entity(name: str, entity: JsonObject) -> list[_Property]:
    visitor = _told(entity, "state_topic", "value_template") | _commanded(entity, "command_topic", "command_template")
    return [
        _Property(
            name=name,
            type="FLOAT",
            writable=True,
            visitor=visitor,
            unit=str_at(entity, "unit_of_measurement"),
            minimum=_number(entity, "min", 1),
            maximum=_number(entity, "max", 100),
        )
    ]


def _select(name: str, entity: JsonObject) -> list[_Property]:
    options = entity.get("options")
    listed = [each for each in options if isinstance(each, str)] if isinstance(options, list) else []
    made = _text_entity(name, entity)[0]
    values: JsonObject = {each: each for each in listed}
    return [_Property(name=name, type="STRING", writable=True, visitor={**made.visitor, "values": values})]


def _text_entity(name: str, entity: JsonObject) -> list[_Property]:
    visitor = _told(entity, "state_topic", "value_template") | _commanded(entity, "command_topic", "command_template")
    return [_Property(name=name, type="STRING", writable=True, visitor=visitor)]


def _button(name: str, entity: JsonObject) -> list[_Property]:
    values = _values((entity.get("payload_press", "PRESS"), True))
    visitor: JsonObject = {**_commanded(entity, "command_topic", "command_template"), "values": values}
    return [_Property(name=name, type="BOOLEAN", writable=True, visitor=visitor)]


def _lock(name: str, entity: JsonObject) -> list[_Property]:
    values = _values(
        (entity.get("payload_lock", "LOCK"), True),
        (entity.get("payload_unlock", "UNLOCK"), False),
        (entity.get("state_locked", "LOCKED"), True),
        (entity.get("state_unlocked", "UNLOCKED"), False),
    )
    visitor = _told(entity, "state_topic", "value_template") | _commanded(entity, "command_topic", "command_template")
    return [_Property(name=name, type="BOOLEAN", writable=True, visitor={**visitor, "values": values})]


def _cover(name: str, entity: JsonObject) -> list[_Property]:
    made: list[_Property] = []
    if str_at(entity, "command_topic"):
        texts = [_text(entity, f"payload_{each}", each.upper()) for each in ("open", "close", "stop")]
        values: JsonObject = {text: text for text in texts}
        visitor: JsonObject = {**_commands(entity, "command_topic"), "values": values}
        made.append(_Property(name=f"{name}_command", type="STRING", writable=True, visitor=visitor))
    if str_at(entity, "state_topic"):
        visitor = _told(entity, "state_topic", "value_template")
        made.append(_Property(name=f"{name}_state", type="STRING", writable=False, visitor=visitor))
    if str_at(entity, "position_topic"):
        visitor = _told(entity, "position_topic", "position_template")
        writable = bool(str_at(entity, "set_position_topic"))
        if writable:
            visitor |= _commanded(entity, "set_position_topic", "set_position_template")
        low, high = _number(entity, "position_closed", 0), _number(entity, "position_open", 100)
        bounds = sorted((low, high))
        made.append(
            _Property(
                name=f"{name}_position",
                type="FLOAT",
                writable=writable,
                visitor=visitor,
                minimum=bounds[0],
                maximum=bounds[1],
            )
        )
    return made


def _climate(name: str, entity: JsonObject) -> list[_Property]:
    made: list[_Property] = []
    if str_at(entity, "current_temperature_topic"):
        visitor = _told(entity, "current_temperature_topic", "current_temperature_template")
        made.append(_Property(name=f"{name}_current", type="FLOAT", writable=False, visitor=visitor))
    for part, type in (("temperature", "FLOAT"), ("mode", "STRING")):
        if not str_at(entity, f"{part}_command_topic"):
            continue
        visitor = _commanded(entity, f"{part}_command_topic", f"{part}_command_template")
        if str_at(entity, f"{part}_state_topic"):
            visitor |= _told(entity, f"{part}_state_topic", f"{part}_state_template")
        warm = part == "temperature"
        made.append(
            _Property(
                name=f"{name}_{part}",
                type=type,
                writable=True,
                visitor=visitor,
                minimum=_number(entity, "min_temp", 7) if warm else None,
                maximum=_number(entity, "max_temp", 35) if warm else None,
            )
        )
    return made


_PLATFORMS: Final[Mapping[str, Make]] = {
    "sensor": _sensor,
    "binary_sensor": _binary_sensor,
    "switch": _switch,
    "siren": _switch,
    "fan": _switch,
    "light": _light,
    "number": _number_entity,
    "select": _select,
    "text": _text_entity,
    "button": _button,
    "scene": lambda name, entity: _button(name, {"payload_press": entity.get("payload_on", "ON"), **entity}),
    "lock": _lock,
    "cover": _cover,
    "valve": _cover,
    "climate": _climate,
}


# --- pieces -----------------------------------------------------------------------------------------------


def _text(entity: JsonObject, name: str, default: str) -> str:
    value = entity.get(name)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else default


def _number(entity: JsonObject, name: str, default: float) -> float:
    value = entity.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def _values(*pairs: tuple[Json, bool]) -> JsonObject:
    """What texts mean. A JSON truth value is `True` to a template there, and `true` here."""
    out: JsonObject = {}
    for theirs, ours in pairs:
        text = str(theirs).lower() if isinstance(theirs, bool) else str(theirs)
        out.setdefault(text, ours)
        if text in ("True", "False"):
            out.setdefault(text.lower(), ours)
    return out


def _topics(entity: JsonObject, topic: str) -> JsonObject:
    named = str_at(entity, topic)
    return {"topic": named} if named else {}


def _commands(entity: JsonObject, topic: str) -> JsonObject:
    named = str_at(entity, topic)
    if not named:
        raise InvalidError(f"it has no {topic}")
    return {"commandTopic": named, "commandRetain": True} if entity.get("retain") is True else {"commandTopic": named}


def _told(entity: JsonObject, topic: str, template: str) -> JsonObject:
    """Where and how a value is told. Raises `InvalidError` for a template that is more than a place."""
    visitor = _topics(entity, topic)
    path = _path(entity.get(template))
    if visitor and path:
        visitor |= {"path": path, "missing": "ignore"}
    return visitor


_EXPRESSION: Final = re.compile(r"\s*\{\{-?\s*(.+?)\s*-?\}\}\s*", re.DOTALL)
_FILTERS: Final = re.compile(
    r"(?:\s*\|\s*(?:float|int|string|trim|is_defined|round|default|lower|upper)(?:\([^()|]*\))?)*$"
)
_PLAIN_FILTERS: Final = re.compile(r"\|\s*(?:lower|upper)")


def _path(template: Json) -> str:
    """The place that a template picks; "" where it picks the payload. Raises `InvalidError` for anything else."""
    if template is None or template == "":
        return ""
    refusal = InvalidError(f"its template is more than a place in the payload: {template!r}")
    found = _EXPRESSION.fullmatch(template) if isinstance(template, str) else None
    if found is None:
        raise refusal
    expression = found[1]
    cut = expression.find("|")
    place, rest = (expression, "") if cut < 0 else (expression[:cut].strip(), expression[cut:])
    if _FILTERS.fullmatch(rest) is None or _PLAIN_FILTERS.search(rest):
        raise refusal
    if place == "value":
        return ""
    if not place.startswith("value_json"):
        raise refusal
    path = "$" + place.removeprefix("value_json").replace(".get(", "[").replace("')", "']").replace('")', '"]')
    try:
        parse_path(path)
    except InvalidError as error:
        raise refusal from error
    return "" if path == "$" else path


_VALUE: Final = re.compile(r"\{\{-?\s*value\s*(?:\|\s*(?:float|int|string|round)(?:\([^()|]*\))?\s*)*-?\}\}")


def _commanded(entity: JsonObject, topic: str, template: str) -> JsonObject:
    """Where and how a value is written. Raises `InvalidError` for a template that does more than put it in."""
    visitor = _commands(entity, topic)
    text = entity.get(template)
    if text is None or text == "":
        return visitor
    put_in = _VALUE.sub("\x00", str(text))
    if "{{" in put_in or "{%" in put_in or "\x00" not in put_in:
        raise InvalidError(f"its template does more than put the value in: {text!r}")
    return visitor | {"commandTemplate": put_in.replace("$", "$$").replace("\x00", "${value}")}
