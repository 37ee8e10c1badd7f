"""Telegraf's `inputs.modbus`, all three styles of configuration (register, request, metric), as devices.

Pure. Source: the README of Telegraf's Modbus input plugin.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Final, cast
from urllib.parse import urlsplit

from devices.importers.draft import PREFIXES, Draft, scaled, type_of
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, list_at, map_at, maps_at, str_at

_LISTS: Final = {
    "coils": "coil",
    "discrete_inputs": "discrete",
    "holding_registers": "holding",
    "input_registers": "input",
}
_PARITIES: Final = {"N": "none", "E": "even", "O": "odd"}
_FRAMINGS: Final = {"rtu": "rtu", "ascii": "ascii", "rtuovertcp": "rtu", "asciiovertcp": "ascii", "tcp": "tcp"}
_RAW: Final = {
    **{f"INT{bits}": f"int{bits}" for bits in (16, 32, 64)},
    **{f"UINT{bits}": f"uint{bits}" for bits in (16, 32, 64)},
    **{f"FLOAT{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"FLOAT{bits}-IEEE": f"float{bits}" for bits in (16, 32, 64)},
    **{f"{sign}INT8{half}": f"{sign.lower()}int8{half.lower()}" for sign in ("", "U") for half in ("L", "H")},
    "STRING": "string",
}
_FIXED: Final = {"FIXED": "INT", "UFIXED": "UINT", "FLOAT32": "UINT"}
"""Whole numbers in the style `register`, where FLOAT32 is the old name of UFIXED and FLOAT32-IEEE is the float."""
_ORDERS: Final = {
    **dict.fromkeys(("", "AB", "ABCD", "ABCDEFGH", "MSW", "MSW-BE"), "ABCD"),
    **dict.fromkeys(("BADC", "BADCFEHG", "MSW-LE"), "BADC"),
    **dict.fromkeys(("CDAB", "GHEFCDAB", "LSW-BE"), "CDAB"),
    **dict.fromkeys(("BA", "DCBA", "HGFEDCBA", "LSW", "LSW-LE"), "DCBA"),
}
_SWAPPED: Final = frozenset({"BADC", "DCBA"})
"""The two bytes of each register are the other way round."""
_HALVES: Final = {"l": "h", "h": "l"}
_KNOWN: Final = frozenset(
    {"name", "controller", "slave_id", "baud_rate", "data_bits", "parity", "stop_bits", "transmission_mode"}
    | {"timeout", "configuration_type", "request", "metric", "workarounds", *_LISTS}
)
_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000}


def import_telegraf(text: str) -> list[Draft]:
    """Raises `InvalidError` for what is no TOML, or has no `inputs.modbus`."""
    try:
        found = cast(JsonObject, tomllib.loads(text))
    except ValueError as error:
        raise InvalidError(f"it is not TOML: {error}") from error
    except RecursionError as error:
        raise InvalidError("it is nested too deeply") from error
    inputs = maps_at(found, "inputs", "modbus")
    if not inputs:
        raise InvalidError("it has no [[inputs.modbus]]")
    return [draft for number, entry in enumerate(inputs, 1) for draft in _drafts(entry, number)]


def _drafts(entry: JsonObject, number: int) -> list[Draft]:
    """One for each unit: Telegraf's requests name their own."""
    name = str_at(entry, "name") or f"modbus-{number}"
    endpoint, notes = _endpoint(entry)
    made: dict[int, Draft] = {}

    def draft(unit: int) -> Draft:
        if unit not in made:
            made[unit] = Draft(name=name, endpoint={**endpoint, "slaveID": unit})
        return made[unit]

    unit = int_at(entry, "slave_id", default=1)
    for listed, table in _LISTS.items():
        for point in maps_at(entry, listed):
            _register(draft(unit), table, point)
    for style in ("request", "metric"):
        for group in maps_at(entry, style):
            _group(draft(int_at(group, "slave_id", default=unit)), group)
    if not made:
        draft(unit)
    drafts = [*made.values()]
    for unit, one in made.items():
        one.name = f"{name}-{unit}" if len(made) > 1 else name
    drafts[0].notes[:0] = notes
    return drafts


def _endpoint(entry: JsonObject) -> tuple[JsonObject, list[str]]:
    notes = [f"{name}: not carried over" for name in entry if name not in _KNOWN]
    controller = str_at(entry, "controller")
    mode = str_at(entry, "transmission_mode").lower()
    if mode not in ("", "auto", *_FRAMINGS):
        notes.append(f"transmission_mode {mode!r}: not known")
    try:
        parts = urlsplit(controller)
        port = parts.port or 502
    except ValueError as error:
        raise InvalidError(f"controller {controller!r}: {error}") from error
    data: JsonObject
    if parts.scheme == "tcp":
        data = {"tcp": {"ip": parts.hostname or "", "port": port}}
        framing = _FRAMINGS.get(mode, "tcp")
        data |= {"framing": framing} if framing != "tcp" else {}
    elif parts.scheme == "file" or controller.startswith("/"):
        data = {
            "serialPort": parts.path if parts.scheme else controller,
            "baudRate": int_at(entry, "baud_rate", default=9600),
            "dataBits": int_at(entry, "data_bits", default=8),
            "parity": _PARITIES.get(str_at(entry, "parity", default="N").upper(), "none"),
            "stopBits": int_at(entry, "stop_bits", default=1),
        }
        data |= {"framing": "ascii"} if mode == "ascii" else {}
    else:
        return {}, [*notes, f"controller {controller!r}: no line that Skerry knows; give protocol.configData by hand"]
    timeout_ms = _ms(str_at(entry, "timeout"))
    data |= {"timeoutMs": timeout_ms} if timeout_ms else {}
    if "timeout" in entry and not timeout_ms:
        notes.append(f"timeout {entry['timeout']!r}: not carried over")
    return data, [*notes, *_workarounds(map_at(entry, "workarounds"), data)]


def _workarounds(given: JsonObject, data: JsonObject) -> Iterator[str]:
    fields = {"pause_between_requests": "pauseMs", "pause_after_connect": "pauseAfterConnectMs"}
    for name, value in given.items():
        if name in fields and isinstance(value, str) and _ms(value):
            data[fields[name]] = _ms(value)
        elif value:
            yield f"workarounds.{name}: not carried over"


def _ms(text: str) -> int:
    for unit in ("ms", "s", "m"):
        digits = text.removesuffix(unit)
        if digits != text:
            try:
                return round(float(digits) * _UNITS[unit])
            except (ValueError, OverflowError):
                return 0
    return 0


def _register(draft: Draft, table: str, point: JsonObject) -> None:
    """Of the style `register`: its addresses are listed one by one."""
    name = str_at(point, "name") or "value"
    listed = [each for each in list_at(point, "address") if isinstance(each, int)]
    if not listed or len(listed) != len(list_at(point, "address")):
        draft.notes.append(f"{name}: address {dig(point, 'address')!r} is no list of numbers: left out")
        return
    if listed != [*range(listed[0], listed[0] + len(listed))]:
        draft.notes.append(f"{name}: addresses {listed} are not one after the other in rising order: left out")
        return
    raw = str_at(point, "data_type").upper()
    if raw in _FIXED:
        raw = f"{_FIXED[raw]}{16 * len(listed)}"
    _add(draft, table, point, address=listed[0], raw=raw, order=str_at(point, "byte_order"), length=len(listed))


def _group(draft: Draft, group: JsonObject) -> None:
    """Of the styles `request` and `metric`: fields with their own types."""
    for point in maps_at(group, "fields"):
        if bool_at(point, "omit"):
            continue
        table = str_at(point, "register") or str_at(group, "register", default="holding")
        order, length = str_at(group, "byte_order"), int_at(point, "length", default=1)
        raw = str_at(point, "type").upper()
        _add(draft, table, point, address=int_at(point, "address"), raw=raw, order=order, length=length)


def _add(draft: Draft, table: str, point: JsonObject, *, address: int, raw: str, order: str, length: int) -> None:
    name = str_at(point, "name") or f"{table}_{address}"
    if table not in PREFIXES:
        draft.notes.append(f"{name}: register {table!r} is not known: left out")
        return
    data: JsonObject = {"address": f"{PREFIXES[table]}:{address}"}
    if table in ("coil", "discrete"):
        draft.add(name, "BOOLEAN", data)
        return
    given = _ORDERS.get(order.upper())
    if given is None:
        draft.notes.append(f"{name}: byte_order {order!r} is not known: left out")
        return
    swapped = given in _SWAPPED
    if raw == "BIT":
        bit = int_at(point, "bit")
        draft.add(name, "BOOLEAN", {**data, "bit": bit ^ 8 if swapped else bit})
        return
    kept = _RAW.get(raw)
    if kept is None:
        draft.notes.append(f"{name}: type {raw or '(none)'} is not known: left out")
        return
    if kept[-1] in _HALVES and swapped:
        kept = kept[:-1] + _HALVES[kept[-1]]
    data["dataType"] = kept
    if kept == "string":
        data |= {"limit": length, **({"order": "BADC"} if swapped else {})}
    elif kept[-2:] in ("32", "64"):
        data["order"] = given
    elif kept[-2:] == "16" and swapped:
        data["order"] = "BADC"
    scale: Json = dig(point, "scale")
    has_scale = scaled(data, scale=scale if scale != 0 else None)
    draft.add(name, type_of(kept, is_scaled=has_scale), data)
