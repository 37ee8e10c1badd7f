"""Home Assistant's `modbus:` in YAML, as devices: one for each unit of each hub.

Pure. `!secret` and `!include` are not followed; what they stand for is a note. Source: the documentation of Home
Assistant's Modbus integration.
"""

from __future__ import annotations

from typing import Final

from devices.importers.draft import PREFIXES, Draft, scaled, type_of, whole, yaml_documents
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, dig, int_at, maps_at, str_at

_PARITIES: Final = {"N": "none", "E": "even", "O": "odd"}
_TABLES: Final = {"holding": "holding", "input": "input", "coil": "coil", "discrete_input": "discrete"}
_WRITES: Final = {"holding": "holding", "holdings": "holding", "coil": "coil", "coils": "coil"}
_ORDERS: Final = {"": "ABCD", "none": "ABCD", "byte": "BADC", "word": "CDAB", "word_byte": "DCBA"}
_RAW: Final = frozenset({f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (16, 32, 64)} | {"string"})
_ENTITIES: Final = ("sensors", "binary_sensors", "switches")
_OTHERS: Final = ("climates", "covers", "fans", "lights")
_UNTOLD: Final = ("structure", "custom", "virtual_count", "slave_count", "zero_suppress")


def import_home_assistant(text: str) -> list[Draft]:
    """Raises `InvalidError` for what is no YAML, or has no hub."""
    read = yaml_documents(text, tags=True)
    found = read[0] if read else None
    held = dig(found, "modbus") if isinstance(found, dict) and "modbus" in found else found
    hubs = [held] if isinstance(held, dict) else [hub for hub in held or [] if isinstance(hub, dict)] if isinstance(
        held, list) else []  # fmt: skip
    if not any("host" in hub or "port" in hub for hub in hubs):
        raise InvalidError("it has no modbus hub (host or port)")
    return [draft for number, hub in enumerate(hubs, 1) for draft in _hub(hub, number)]


def _hub(hub: JsonObject, number: int) -> list[Draft]:
    name = str_at(hub, "name") or f"hub-{number}"
    endpoint, notes = _endpoint(hub)
    made: dict[int, Draft] = {}
    for listed in _ENTITIES:
        for entity in maps_at(hub, listed):
            given = next((entity[each] for each in ("slave", "device_address") if each in entity), 1)
            unit = whole(given)
            if unit is None:
                label = str_at(entity, "name") or listed
                notes.append(f"{label}: its unit is {given!r}: left out")
                continue
            draft = made.setdefault(unit, Draft(name=name, endpoint={**endpoint, "slaveID": unit}))
            _entity(draft, listed, entity)
    others = {listed: len(maps_at(hub, listed)) for listed in _OTHERS}
    notes += [f"{listed}: not carried over ({count})" for listed, count in others.items() if count]
    drafts = [*made.values()] or [Draft(name=name, endpoint=endpoint)]
    for unit, one in made.items():
        one.name = f"{name}-{unit}" if len(made) > 1 else name
    drafts[0].notes[:0] = notes
    return drafts


def _endpoint(hub: JsonObject) -> tuple[JsonObject, list[str]]:
    notes: list[str] = []
    kind = str_at(hub, "type", default="tcp")
    secret = [name for name, value in hub.items() if isinstance(value, str) and value.startswith("!")]
    notes += [f"{name}: {hub[name]} is not followed; give it by hand" for name in secret]
    data: JsonObject
    if kind == "serial":
        data = {
            "serialPort": str_at(hub, "port"),
            "baudRate": _number(hub, "baudrate", 9600, notes),
            "dataBits": _number(hub, "bytesize", 8, notes),
            "parity": _PARITIES.get(str_at(hub, "parity", default="N").upper(), "none"),
            "stopBits": _number(hub, "stopbits", 1, notes),
        }
        data |= {"framing": "ascii"} if str_at(hub, "method") == "ascii" else {}
    elif kind in ("tcp", "rtuovertcp"):
        data = {"tcp": {"ip": str_at(hub, "host"), "port": _number(hub, "port", 502, notes)}}
        data |= {"framing": "rtu"} if kind == "rtuovertcp" else {}
    else:
        return {}, [*notes, f"type {kind}: Skerry has no such line; give protocol.configData by hand"]
    for given, ours, factor in (
        ("timeout", "timeoutMs", 1000),
        ("delay", "pauseAfterConnectMs", 1000),
        ("message_wait_milliseconds", "pauseMs", 1),
    ):
        if number := _number(hub, given, 0, notes):
            data[ours] = number * factor
    return data, notes


def _number(hub: JsonObject, name: str, default: int, notes: list[str]) -> int:
    """Of the hub; what is none is the default, with a note."""
    given = hub.get(name, default)
    number = whole(given)
    if number is None:
        notes.append(f"{name}: {given!r} is no whole number: it is {default}, unless you give it by hand")
        return default
    return number


def _entity(draft: Draft, listed: str, entity: JsonObject) -> None:
    name = str_at(entity, "name") or str_at(entity, "unique_id") or "value"
    address = dig(entity, "address")
    if not isinstance(address, int):
        draft.notes.append(f"{name}: its address is {address!r}: left out")
        return
    if untold := [field for field in _UNTOLD if dig(entity, field) not in (None, 0)]:
        draft.notes.append(f"{name}: {', '.join(untold)}: not carried over")
    cycle_ms = int_at(entity, "scan_interval", default=15) * 1000
    if listed == "switches":
        _switch(draft, name, entity, address, cycle_ms)
        return
    given = str_at(entity, "input_type", default="coil" if listed == "binary_sensors" else "holding")
    table = _TABLES.get(given)
    if table is None:
        draft.notes.append(f"{name}: input_type {given!r} is not known: left out")
    elif listed == "binary_sensors" or table in ("coil", "discrete"):
        data: JsonObject = {"address": f"{PREFIXES[table]}:{address}"}
        data |= {"bit": 0} if table in ("holding", "input") else {}
        draft.add(name, "BOOLEAN", data, cycle_ms=cycle_ms)
    else:
        _sensor(draft, name, entity, f"{PREFIXES[table]}:{address}", cycle_ms)


def _sensor(draft: Draft, name: str, entity: JsonObject, address: str, cycle_ms: int) -> None:
    raw = str_at(entity, "data_type", default="int16")
    if raw not in _RAW:
        draft.notes.append(f"{name}: data_type {raw!r}: left out")
        return
    data: JsonObject = {"address": address, "dataType": raw}
    order = _ORDERS.get(str_at(entity, "swap"))
    if order is None:
        draft.notes.append(f"{name}: swap {str_at(entity, 'swap')!r} is not known: left out")
        return
    if raw == "string":
        data["limit"] = int_at(entity, "count", default=1)
    if raw[-2:] in ("32", "64") or order in ("BADC", "DCBA"):
        data["order"] = order
    is_scaled = raw != "string" and scaled(data, scale=dig(entity, "scale"), offset=dig(entity, "offset"))
    if dig(entity, "nan_value") is not None:
        nan = whole(dig(entity, "nan_value"))
        if nan is None or "int" not in raw:
            draft.notes.append(f"{name}: nan_value {dig(entity, 'nan_value')!r} is no raw value of {raw}: left out")
            return
        data["sentinels"] = [nan % 2 ** int(raw[-2:])]
    draft.add(
        name,
        type_of(raw, is_scaled=is_scaled),
        data,
        unit=str_at(entity, "unit_of_measurement"),
        cycle_ms=cycle_ms,
    )


def _switch(draft: Draft, name: str, entity: JsonObject, address: int, cycle_ms: int) -> None:
    given = str_at(entity, "write_type", default="holding")
    table = _WRITES.get(given)
    if table is None:
        draft.notes.append(f"{name}: write_type {given!r} is not known: left out")
        return
    data: JsonObject = {"address": f"{PREFIXES[table]}:{address}"}
    data |= {"write": "multiple"} if given in ("holdings", "coils") else {}
    if table == "coil":
        draft.add(name, "BOOLEAN", data, writable=True, cycle_ms=cycle_ms)
        return
    on, off = int_at(entity, "command_on", default=1), int_at(entity, "command_off", default=0)
    named: JsonObject = {str(off): "off", str(on): "on"}
    draft.add(name, "STRING", {**data, "dataType": "uint16", "enum": named}, writable=True, cycle_ms=cycle_ms)
