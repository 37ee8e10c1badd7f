"""This gateway's devices as Home Assistant discovers them: one retained document a device, made of its model.

Pure. Device-based discovery of Home Assistant's MQTT integration (2024.11 and later): `PREFIX/device/ID/config` with
`device`, `origin`, `components` and availability; an empty document removes the device. A property becomes the kind
of entity that its type and access allow; the annotation `skerry.dev/homeassistant` of a Device says it otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, cast

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.device_models import is_writable, served_properties
from skerry.objects.json import Json, JsonObject, map_at, maps_at, read_json, str_at
from skerry.objects.meta import Key, annotations_of
from skerry.objects.twins import TwinState, parse_value

ANNOTATION: Final = "skerry.dev/homeassistant"
"""JSON on a Device: fields of an entity by property, over ours; null leaves the property out; false all of them."""

ONLINE, OFFLINE = "online", "offline"

_CLASSES: Final[dict[str, str]] = {
    "°C": "temperature", "°F": "temperature", "K": "temperature", "V": "voltage", "mV": "voltage", "A": "current",
    "mA": "current", "W": "power", "kW": "power", "VA": "apparent_power", "var": "reactive_power", "Wh": "energy",
    "kWh": "energy", "MWh": "energy", "Hz": "frequency", "Pa": "pressure", "hPa": "pressure", "kPa": "pressure",
    "bar": "pressure", "mbar": "pressure", "psi": "pressure", "lx": "illuminance", "m/s": "speed", "km/h": "speed",
}  # fmt: skip
"""What a unit alone says of a value. (Of % or m³ it says too little.)"""

NUMBER_LEAST, NUMBER_MOST = -1_000_000_000, 1_000_000_000
"""A number without a range in its model; Home Assistant's own would be 1 to 100."""
FLOAT_STEP: Final = 0.001
"""The smallest that Home Assistant takes."""
TEXT_MAX: Final = 255


class Topics(Frozen):
    """Where one device is spoken of."""

    prefix: str
    node: str
    device: Key

    @property
    def id(self) -> str:
        """Of the device at Home Assistant: letters, digits, - and _."""
        return re.sub(r"[^a-zA-Z0-9_-]", "_", f"skerry_{self.device.namespace}_{self.device.name}")

    @property
    def config(self) -> str:
        return f"{self.prefix}/device/{self.id}/config"

    @property
    def root(self) -> str:
        return f"skerry/{self.node}/{self.device.namespace}/{self.device.name}"

    @property
    def state(self) -> str:
        return f"{self.root}/state"

    @property
    def availability(self) -> str:
        return f"{self.root}/availability"

    def command(self, prop: str) -> str:
        return f"{self.root}/{prop}/set"


def presence_topic(node: str) -> str:
    """Where the gateway says whether it is there."""
    return f"skerry/{node}/presence"


def command_topics(node: str) -> str:
    """All topics on which commands come."""
    return f"skerry/{node}/+/+/+/set"


def commanded(topic: str, node: str) -> tuple[str, str, str] | None:
    """Namespace, name and property that a command is for."""
    start = f"skerry/{node}/"
    parts = topic.removeprefix(start).split("/")
    if not topic.startswith(start) or len(parts) != 4 or parts[3] != "set":
        return None
    return parts[0], parts[1], parts[2]


def can_be_commanded(prop: str) -> bool:
    """A property's name is a level of a topic."""
    return not any(letter in prop for letter in "/+#\x00")


def overrides_of(device: JsonObject) -> dict[str, JsonObject | None] | None:
    """What the annotation says by property; None: the device is not shown. Raises `InvalidError`."""
    text = annotations_of(device).get(ANNOTATION, "")
    if not text:
        return {}
    said = read_json(text, f"annotation {ANNOTATION}")
    if said is False:
        return None
    if not isinstance(said, dict) or not all(isinstance(each, dict | None) for each in said.values()):
        raise InvalidError(f"annotation {ANNOTATION}: write false, or an object of objects by property")
    return cast("dict[str, JsonObject | None]", said)


def document(
    topics: Topics, device: JsonObject, model: JsonObject, overrides: Mapping[str, JsonObject | None], version: str
) -> bytes | None:
    """The discovery document; None when there is nothing to show."""
    components: JsonObject = {}
    placed = {str_at(each, "name"): each for each in maps_at(device, "spec", "properties")}
    for name, prop in served_properties(device, model).items():
        over = overrides.get(name, {})
        if over is None or (is_writable(prop) and not can_be_commanded(name)):
            continue
        entity = _entity(topics, name, prop, placed.get(name, {})) | over
        if entity.get("platform") == "button":
            entity = _button(entity)
        components[re.sub(r"[^a-zA-Z0-9_-]", "_", name)] = entity
    if not components:
        return None
    said: JsonObject = {
        "device": {
            "identifiers": [topics.id],
            "name": topics.device.name,
            "model": str_at(device, "spec", "deviceModelRef", "name"),
            "serial_number": str_at(device, "metadata", "uid"),
        },
        "origin": {"name": "skerry", "sw_version": version},
        "availability": [{"topic": presence_topic(topics.node)}, {"topic": topics.availability}],
        "availability_mode": "all",
        "state_topic": topics.state,
        "qos": 1,
        "components": components,
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def _entity(topics: Topics, name: str, prop: JsonObject, instance: JsonObject) -> JsonObject:
    type, writable, unit = str_at(prop, "type").upper(), is_writable(prop), str_at(prop, "unit")
    entity: JsonObject = {
        "platform": "sensor",
        "name": name,
        "unique_id": f"{topics.id}_{name}",
        "value_template": _template(name, lower=type == "BOOLEAN"),
    }
    if writable:
        entity["command_topic"] = topics.command(name)
    match type:
        case "BOOLEAN":
            entity |= {"platform": "switch" if writable else "binary_sensor"}
            entity |= {"payload_on": "true", "payload_off": "false"}
            if writable:
                entity |= {"state_on": "true", "state_off": "false"}
        case "INT" | "FLOAT" | "DOUBLE":
            entity |= _number(prop, whole=type == "INT") if writable else {"state_class": "measurement"}
            if unit:
                entity["unit_of_measurement"] = unit
            if unit in _CLASSES:
                entity["device_class"] = _CLASSES[unit]
            if entity.get("device_class") == "energy" and not writable:
                entity["state_class"] = "total"  # the only ones that Home Assistant lets energy have
        case _ if writable:
            options = _options(prop, instance)
            entity |= {"platform": "select", "options": cast(Json, options)} if options else {}
            entity |= {} if options else {"platform": "text", "max": TEXT_MAX}
        case _:
            pass
    return entity


def _template(name: str, *, lower: bool) -> str:
    """A property without a good value is null, which Home Assistant shows as unknown when it reads `None`."""
    place = f"value_json[{json.dumps(name, ensure_ascii=False)}]"
    shown = f"({place} | lower)" if lower else place
    return f"{{{{ 'None' if {place} is none else {shown} }}}}"


def _number(prop: JsonObject, *, whole: bool) -> JsonObject:
    def bound(name: str, default: int) -> float | int:
        text = str(prop.get(name) if prop.get(name) is not None else "")
        try:
            number = float(text)
        except ValueError:
            return default
        return int(number) if number.is_integer() else number

    return {
        "platform": "number",
        "min": bound("minimum", NUMBER_LEAST),
        "max": bound("maximum", NUMBER_MOST),
        "step": 1 if whole else FLOAT_STEP,
        "mode": "box",
    }


def _options(prop: JsonObject, instance: JsonObject) -> list[str]:
    """The values that a text may have, where its visitor lists what they are called by the device."""
    visitor = {**map_at(prop, "visitors", "configData"), **map_at(instance, "visitors", "configData")}
    given = map_at(visitor, "values").values()
    return list(dict.fromkeys(str(each) for each in given if isinstance(each, str)))


def _button(entity: JsonObject) -> JsonObject:
    """It has no state, and says one thing."""
    kept = {name: value for name, value in entity.items() if not name.startswith(("state_", "payload_o", "value_"))}
    return {"payload_press": "true"} | kept


def state(types: Mapping[str, str], twins: Mapping[str, TwinState]) -> bytes:
    """The values of a device: null where there is no good one."""
    said: JsonObject = {name: _value(type, twins.get(name)) for name, type in types.items()}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def _value(type: str, twin: TwinState | None) -> Json:
    held = twin.reported if twin else None
    if held is None or held.value is None or held.quality in ("bad", "stale"):
        return None
    try:
        value = parse_value(type, held.value)
    except InvalidError:
        return None
    return held.value if isinstance(value, bytes) else value


def is_ours(payload: bytes, node: str) -> bool:
    """Whether a discovery document was published by this gateway, be it before it was started anew."""
    try:
        said = read_json(payload)
    except InvalidError:
        return False
    return str_at(said, "origin", "name") == "skerry" and str_at(said, "state_topic").startswith(f"skerry/{node}/")
