"""What speaks on the gateway's broker and is no Device yet, as objects that can be applied.

Pure. Two kinds speak so that it can be told what they are: devices that announce themselves to Home Assistant
(`devices.mqtt.discovery`), and apps and mappers that report in KubeEdge's topics about devices which nobody has made.
Of the latter it is known what they report, and by which protocol not: their objects say `customized`, for which a
Device waits until its mapper reports, and a type only where the report itself has one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from devices.mqtt.discovery import DISCOVERED, Discovered, Found, Place
from devices.mqtt.discovery import discover as announced
from edgecore.bus.topics import DeviceRequest, parse_topic, subscriptions
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, dig, map_at, maps_at, read_json, str_at
from skerry.objects.meta import name_of, namespace_of

HOME, MAPPER = "Home Assistant", "KubeEdge"
CUSTOMIZED: Final = "customized"
"""The protocol of a device whose mapper is somebody else's: KubeEdge's own word."""
BYTES_MAX: Final = 768 * 1024
"""Of one answer; a cloud takes no larger ones. The rest comes when these are Devices."""
LINES_MAX: Final = 200
_TYPES: Final = {
    "int": "INT", "integer": "INT", "float": "FLOAT", "double": "DOUBLE", "boolean": "BOOLEAN", "bool": "BOOLEAN",
}  # fmt: skip
"""Of KubeEdge's twins (`metadata.type`); everything else is a text, which is never wrong."""
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PROPERTY: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,62})?")


class Known(Frozen):
    """What this gateway has."""

    names: frozenset[tuple[str, str]]
    """Of its Devices, with their namespaces."""
    topics: frozenset[str]
    """On which its MQTT devices tell or are told something."""


def mapper_filters(node: str) -> set[str]:
    """Topics on which apps and mappers report."""
    return {topic for topic in subscriptions(node) if topic.endswith(("twin/update", "state/update"))}


def known_of(devices: Sequence[JsonObject]) -> Known:
    topics = [
        str_at(map_at(prop, "visitors", "configData"), name)
        for device in devices
        for prop in maps_at(device, "spec", "properties")
        for name in ("topic", "commandTopic")
    ]
    return Known(
        names=frozenset((namespace_of(device), name_of(device)) for device in devices),
        topics=frozenset(topic for topic in topics if topic),
    )


def discovery_shown(documents: Mapping[str, bytes], *, prefix: str, place: Place, known: Known) -> JsonObject:
    """`devices` with `source`, what they say, and their objects; how many are `known`; and what was `leftOut`."""
    home = announced({topic: said for topic, said in documents.items() if not topic.startswith("$")}, prefix, place)
    mapped = _mapped(documents, place)
    shown: list[Json] = []
    skipped = [*home.skipped, *mapped.skipped]
    left, size = 0, 0
    found = [(HOME, each) for each in home.devices] + [(MAPPER, each) for each in mapped.devices]
    new = [(source, each) for source, each in found if not _is_known(each, known)]
    for source, each in new:
        obj = _shown(source, each)
        size += len(json.dumps(obj))
        if size > BYTES_MAX:
            left += 1
        else:
            shown.append(obj)
    if left:
        skipped.insert(0, f"{left} more devices: apply these first, and ask again")
    if len(skipped) > LINES_MAX:
        skipped[LINES_MAX:] = [f"{len(skipped) - LINES_MAX} more"]
    return {"devices": shown, "known": len(found) - len(new), "leftOut": [*skipped]}


def _is_known(found: Found, known: Known) -> bool:
    named = (namespace_of(found.device), name_of(found.device)) in known.names
    return named or bool(found.topics & known.topics)


def _shown(source: str, found: Found) -> JsonObject:
    properties = maps_at(found.model, "spec", "properties")
    return {
        "name": name_of(found.device),
        "namespace": namespace_of(found.device),
        "source": source,
        "says": found.says,
        "properties": [str_at(each, "name") for each in properties],
        "writable": sum(str_at(each, "accessMode") == "ReadWrite" for each in properties),
        "objects": [found.model, found.device],
    }


# --- KubeEdge's topics ------------------------------------------------------------------------------------


def _mapped(documents: Mapping[str, bytes], place: Place) -> Discovered:
    entries: dict[tuple[str, str], dict[str, JsonObject]] = {}
    skipped: list[str] = []
    for topic, payload in sorted(documents.items()):
        asked = parse_topic(topic, place.node)
        if not isinstance(asked, DeviceRequest):
            continue
        namespace, name = asked.device.namespace or place.namespace, asked.device.name
        try:
            if not _NAME.fullmatch(name) or not _NAME.fullmatch(namespace):
                raise InvalidError("its name is none that an object may have: lower-case letters, digits and dashes")
            twin = entries.setdefault((namespace, name), {})
            if asked.request == "twin/update":
                twin.update(_twin(payload))
        except InvalidError as error:
            skipped.append(f"{topic}: {error}")
    devices: list[Found] = []
    for (namespace, name), twin in sorted(entries.items()):
        if twin:
            devices.append(_found(namespace, name, twin, place))
        else:
            skipped.append(f"{namespace}/{name}: it told its state, and no property")
    return Discovered(devices=tuple(devices), skipped=tuple(skipped))


def _twin(payload: bytes) -> dict[str, JsonObject]:
    """Raises `InvalidError`."""
    said = read_json(payload)
    told = dig(said, "twin") if isinstance(said, dict) else None
    if not isinstance(told, dict):
        raise InvalidError("it has no twin")
    wrong = [name for name in told if not _PROPERTY.fullmatch(name)]
    if wrong:
        raise InvalidError(f"its property {wrong[0][:64]!r} has a name that no model can have")
    return {name: entry for name, entry in told.items() if isinstance(entry, dict)}


def _found(namespace: str, name: str, twin: Mapping[str, JsonObject], place: Place) -> Found:
    says = f"reports {len(twin)} {'property' if len(twin) == 1 else 'properties'}"
    metadata: JsonObject = {"name": name, "namespace": namespace}
    model: JsonObject = {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": metadata,
        "spec": {
            "protocol": CUSTOMIZED,
            "properties": [
                {
                    "name": prop,
                    "type": _TYPES.get(str_at(entry, "metadata", "type").lower(), "STRING"),
                    "accessMode": "ReadWrite" if entry.get("expected") is not None else "ReadOnly",
                }
                for prop, entry in sorted(twin.items())
            ],
        },
    }
    device: JsonObject = {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {**metadata, "annotations": {DISCOVERED: says}},
        "spec": {
            "nodeName": place.node,
            "deviceModelRef": {"name": name},
            "protocol": {"protocolName": CUSTOMIZED},
            "properties": [{"name": prop} for prop in sorted(twin)],
        },
    }
    return Found(says=says, model=model, device=device)
