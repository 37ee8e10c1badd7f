"""EdgeX Foundry's device profiles and device lists of device-modbus, as models and devices.

Pure. EdgeX leaves swaps of 64-bit values undone; what a profile asks for is done here, and a note says so. Source:
the EdgeX documentation of device-modbus and of device profiles.
"""

from __future__ import annotations

from typing import Final

from devices.importers.draft import PREFIXES, Draft, scaled, type_of, whole, yaml_maps
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, bool_at, dig, map_at, maps_at, str_at

_TABLES: Final = {
    "HOLDING_REGISTERS": "holding",
    "INPUT_REGISTERS": "input",
    "COILS": "coil",
    "DISCRETES_INPUT": "discrete",
}
_ORDERS: Final = {(False, False): "ABCD", (True, False): "BADC", (False, True): "CDAB", (True, True): "DCBA"}
_RAW: Final = {
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (16, 32, 64)},
    **{f"FLOAT{bits}": f"float{bits}" for bits in (32, 64)},
    "STRING": "string",
}
_UNTOLD: Final = ("mask", "shift", "base", "assertion")
_PARITIES: Final = {"N": "none", "E": "even", "O": "odd"}


def import_edgex(text: str) -> list[Draft]:
    """Profiles, with the devices of a `deviceList` that name them. Raises `InvalidError` for neither."""
    found = yaml_maps(text)
    profiles = [doc for doc in found if maps_at(doc, "deviceResources")]
    devices = [device for doc in found for device in maps_at(doc, "deviceList")]
    if not profiles:
        raise InvalidError("it has no deviceResources; give the profile, and after it a deviceList if there is one")
    drafts: list[Draft] = []
    for profile in profiles:
        name = str_at(profile, "name") or "profile"
        users = [one for one in devices if str_at(one, "profileName") == name] or [{}]
        drafts += [_draft(profile, str_at(device, "name") or name, device) for device in users]
    return drafts


def _draft(profile: JsonObject, name: str, device: JsonObject) -> Draft:
    draft = Draft(name=name, description=str_at(profile, "description"))
    if device:
        draft.endpoint, notes = _endpoint(map_at(device, "protocols"))
        draft.notes += notes
        draft.notes += ["autoEvents: give collectCycle of the properties"] if maps_at(device, "autoEvents") else []
    for resource in maps_at(profile, "deviceResources"):
        _resource(draft, resource)
    if maps_at(profile, "deviceCommands"):
        draft.notes.append("deviceCommands: not carried over; `skerry device set` takes several properties at once")
    return draft


def _endpoint(protocols: JsonObject) -> tuple[JsonObject, list[str]]:
    data: JsonObject
    if tcp := map_at(protocols, "modbus-tcp"):
        data = {"tcp": {"ip": str_at(tcp, "Address"), "port": _int(tcp, "Port", 502)}}
        held = tcp
    elif rtu := map_at(protocols, "modbus-rtu"):
        data = {
            "serialPort": str_at(rtu, "Address"),
            "baudRate": _int(rtu, "BaudRate", 19200),
            "dataBits": _int(rtu, "DataBits", 8),
            "parity": _PARITIES.get(str_at(rtu, "Parity", default="N").upper(), "none"),
            "stopBits": _int(rtu, "StopBits", 1),
        }
        held = rtu
    else:
        return {}, [f"protocols {', '.join(protocols) or '(none)'}: give protocol.configData by hand"]
    data["slaveID"] = _int(held, "UnitID", 1)
    if _int(held, "Timeout", 0):
        data["timeoutMs"] = _int(held, "Timeout", 0) * 1000
    return data, []


def _int(holder: JsonObject, name: str, default: int) -> int:
    """EdgeX writes numbers as texts, too."""
    if name not in holder:
        return default
    value = whole(holder[name])
    if value is None:
        raise InvalidError(f"{name}: {holder[name]!r} is no whole number")
    return value


def _resource(draft: Draft, resource: JsonObject) -> None:
    name, given = str_at(resource, "name"), map_at(resource, "properties")
    attributes = map_at(resource, "attributes")
    table = _TABLES.get(str_at(attributes, "primaryTable").upper())
    start = str(dig(attributes, "startingAddress"))
    register, _, bit = start.partition(".")
    if table is None or whole(register) is None or whole(bit or "0") is None:
        draft.notes.append(f"{name}: primaryTable {str_at(attributes, 'primaryTable')!r} at {start!r}: left out")
        return
    access = str_at(given, "readWrite", default="R")
    if access == "W":
        draft.notes.append(f"{name}: write only; it is read as well, to see what became of it")
    value_type = str_at(given, "valueType")
    data: JsonObject = {"address": f"{PREFIXES[table]}:{register}"}
    if value_type == "Bool":
        data |= {"bit": whole(bit or "0")} if table in ("holding", "input") else {}
        draft.add(name, "BOOLEAN", data, writable="W" in access)
        return
    raw = _RAW.get((str_at(attributes, "rawType") or value_type).upper())
    if raw is None:
        draft.notes.append(f"{name}: valueType {value_type!r}: left out")
        return
    untold = [field for field in _UNTOLD if dig(given, field) not in (None, "", 0, "0")]
    if untold:
        draft.notes.append(f"{name}: {', '.join(untold)} change the value and are not carried over: left out")
        return
    _number(draft, name, resource, data, raw, start_bit=bit)


def _number(draft: Draft, name: str, resource: JsonObject, data: JsonObject, raw: str, *, start_bit: str) -> None:
    given, attributes = map_at(resource, "properties"), map_at(resource, "attributes")
    if start_bit:
        draft.notes.append(f"{name}: a bit of a register, and no Bool: left out")
        return
    data["dataType"] = raw
    if raw == "string":
        data["limit"] = _int(attributes, "stringRegisterSize", 1)
    order = _ORDERS[bool_at(attributes, "isByteSwap"), bool_at(attributes, "isWordSwap")]
    if raw[-2:] in ("32", "64") or (raw == "string" and order in ("BADC", "DCBA")):
        data["order"] = order
    if raw.endswith("64") and order != "ABCD":
        draft.notes.append(f"{name}: order {order}, as the profile says; EdgeX itself leaves 64 bits as they are")
    is_scaled = scaled(data, scale=dig(given, "scale"), offset=dig(given, "offset"))
    draft.add(
        name,
        type_of(raw, is_scaled=is_scaled),
        data,
        writable="W" in str_at(given, "readWrite", default="R"),
        unit=str_at(given, "units"),
        minimum=dig(given, "minimum"),
        maximum=dig(given, "maximum"),
        description=str_at(resource, "description"),
    )
