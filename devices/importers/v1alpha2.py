"""KubeEdge's Devices and DeviceModels of `devices.kubeedge.io/v1alpha2` (before 1.15) as v1beta1.

Pure; of any protocol. Source: KubeEdge's API types of both versions. docs/howto/devices-of-v1alpha2.md does the same
by hand.
"""

from __future__ import annotations

from typing import Final

from devices.importers.draft import API, yaml_maps
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject, clone, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import name_of

OLD: Final = "devices.kubeedge.io/v1alpha2"
_TYPES: Final = {
    "int": "INT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "STRING",
    "boolean": "BOOLEAN",
    "bytes": "BYTES",
}
_ENTRY: Final = ("collectCycle", "reportCycle")
_KNOWN: Final = frozenset({"propertyName", "customizedValues", *_ENTRY})


def is_v1alpha2(text: str) -> bool:
    return OLD in text


def convert(text: str, *, node: str, namespace: str) -> tuple[list[JsonObject], list[str]]:
    """The objects and what could not be carried over. Raises `InvalidError` where there are none of that version."""
    found = yaml_maps(text)
    old = [doc for doc in found if str_at(doc, "apiVersion") == OLD]
    if not old:
        raise InvalidError(f"it has no object of {OLD}")
    notes: list[str] = []
    out: list[JsonObject] = []
    for doc in old:
        match str_at(doc, "kind"):
            case "DeviceModel":
                out.append(_model(doc, namespace, notes))
            case "Device":
                out.append(_device(doc, node, namespace, notes))
            case kind:
                notes.append(f"{kind} {name_of(doc)}: not carried over")
    return out, notes


def _metadata(doc: JsonObject, namespace: str) -> JsonObject:
    given = map_at(doc, "metadata")
    kept: JsonObject = {name: given[name] for name in ("name", "labels", "annotations") if name in given}
    return {**kept, "namespace": str_at(given, "namespace") or namespace}


def _model(doc: JsonObject, namespace: str, notes: list[str]) -> JsonObject:
    properties: list[Json] = []
    for prop in maps_at(doc, "spec", "properties"):
        name, held = str_at(prop, "name"), map_at(prop, "type")
        kind = next((each for each in held if each.lower() in _TYPES), "")
        if not kind:
            notes.append(f"DeviceModel {name_of(doc)}/{name}: type {', '.join(held) or '(none)'}: left out")
            continue
        told = map_at(held, kind)
        made: JsonObject = {"name": name, "type": _TYPES[kind.lower()]}
        made |= {"description": prop["description"]} if str_at(prop, "description") else {}
        made["accessMode"] = str_at(told, "accessMode", default="ReadWrite")
        for field in ("minimum", "maximum", "unit"):
            made |= {field: str(told[field])} if told.get(field) not in (None, "") else {}
        if told.get("defaultValue") not in (None, ""):
            notes.append(f"DeviceModel {name_of(doc)}/{name}: defaultValue: not carried over")
        properties.append(made)
    spec: JsonObject = {"properties": properties}
    spec |= {"protocol": doc_protocol} if (doc_protocol := str_at(doc, "spec", "protocol")) else {}
    return {"apiVersion": API, "kind": "DeviceModel", "metadata": _metadata(doc, namespace), "spec": spec}


def _device(doc: JsonObject, node: str, namespace: str, notes: list[str]) -> JsonObject:
    where, protocol = f"Device {name_of(doc)}", map_at(doc, "spec", "protocol")
    named = [name for name in protocol if name not in ("common", "customizedProtocol")]
    custom = map_at(protocol, "customizedProtocol")
    name = named[0] if named else str_at(custom, "protocolName")
    if not name:
        raise InvalidError(f"{where}: spec.protocol: names no protocol")
    notes += [f"{where}: protocol {other}: a device has one; {name} is taken" for other in named[1:]]
    data: JsonObject = {**map_at(protocol, name), **map_at(custom, "configData")}
    common = clone(map_at(protocol, "common"))
    data |= map_at(common, "customizedValues") | {
        field: value for field, value in common.items() if field != "customizedValues"
    }
    wanted = {
        str_at(twin, "propertyName"): str_at(twin, "desired", "value") for twin in maps_at(doc, "status", "twins")
    }
    visitors = [*maps_at(doc, "spec", "propertyVisitors")]
    entries: list[Json] = [_entry(where, name, visitor, wanted, notes) for visitor in visitors]
    spec: JsonObject = {
        "deviceModelRef": {"name": str_at(doc, "spec", "deviceModelRef", "name")},
        "protocol": {"protocolName": name, "configData": data},
        "properties": entries,
    }
    hung = node or _node_of(doc)
    spec |= {"nodeName": hung} if hung else {}
    if not hung:
        notes.append(f"{where}: nodeSelector names no single node: give nodeName, or --node")
    visited = {str_at(visitor, "propertyName") for visitor in visitors}
    unplaced = [prop for prop, value in wanted.items() if value and prop not in visited]
    notes += [f"{where}/{prop}: wanted and nowhere visited: left out" for prop in unplaced]
    if map_at(doc, "spec", "data"):
        notes.append(f"{where}: spec.data: not carried over; every value is told and kept as history")
    return {"apiVersion": API, "kind": "Device", "metadata": _metadata(doc, namespace), "spec": spec}


def _entry(where: str, protocol: str, visitor: JsonObject, wanted: dict[str, str], notes: list[str]) -> JsonObject:
    prop = str_at(visitor, "propertyName")
    made: JsonObject = {"name": prop}
    made |= {field: visitor[field] for field in _ENTRY if field in visitor}
    if wanted.get(prop):
        made["desired"] = {"value": wanted[prop]}
    kinds = [field for field in visitor if field not in _KNOWN]
    chosen = protocol if protocol in kinds else "customizedProtocol" if "customizedProtocol" in kinds else ""
    held = map_at(visitor, chosen)
    data: JsonObject = {**(map_at(held, "configData") if chosen == "customizedProtocol" else held)}
    data |= map_at(visitor, "customizedValues")
    notes += [f"{where}/{prop}: visitor {kind}: not the device's protocol" for kind in kinds if kind != chosen]
    made["visitors"] = {"protocolName": protocol, "configData": data}
    return made


def _node_of(doc: JsonObject) -> str:
    """Where it is told by one expression with one value, as KubeEdge's own samples have it."""
    values = [
        value
        for term in maps_at(doc, "spec", "nodeSelector", "nodeSelectorTerms")
        for expression in maps_at(term, "matchExpressions")
        if str_at(expression, "operator") == "In"
        for value in strs_at(expression, "values")
    ]
    return values[0] if len(values) == 1 else ""
