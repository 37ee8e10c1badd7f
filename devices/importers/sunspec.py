"""SunSpec information models (JSON), as models: a property for each point, at its place in the device.

Pure. A point with a scale factor is a number of the form value * 10^factor, and the factor stands in another register
of the device. Skerry's scale is fixed in the model, so the factor has to be given (many devices never change it); a
point whose factor nobody gave is left out, rather than told wrongly. Source: the SunSpec Device Information Model
Specification 1.1 (types and their values that mean "not implemented").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, cast

from devices.importers.draft import Draft, name_of_text, type_of
from skerry.errors import InvalidError
from skerry.objects.json import Json, JsonObject, dig, int_at, map_at, maps_at, str_at

_TYPES: Final[dict[str, tuple[str, int | None]]] = {
    "int16": ("int16", 0x8000),
    "uint16": ("uint16", 0xFFFF),
    "acc16": ("uint16", 0),
    "enum16": ("uint16", 0xFFFF),
    "count": ("uint16", 0),
    "int32": ("int32", 0x8000_0000),
    "uint32": ("uint32", 0xFFFF_FFFF),
    "acc32": ("uint32", 0),
    "enum32": ("uint32", 0xFFFF_FFFF),
    "int64": ("int64", 0x8000_0000_0000_0000),
    "uint64": ("uint64", 0xFFFF_FFFF_FFFF_FFFF),
    "acc64": ("uint64", 0),
    "float32": ("float32", None),
    "float64": ("float64", None),
}
"""The registers' type, and the value that means that there is none; NaN of floats is none anyway."""
REGISTERS_MAX: Final = 65536
GROUPS_MAX: Final = 4096
FACTOR_MAX: Final = 10
"""SunSpec's scale factors are from -10 to 10."""
_SKIPPED: Final = frozenset({"pad", "sunssf"})


def import_sunspec(text: str, *, base: int, factors: Mapping[str, int]) -> list[Draft]:
    """`base`: the holding register, from 0, that holds the model's id; `factors` by the name of the scale factor.

    Raises `InvalidError` for what is no model.
    """
    try:
        found = cast(Json, json.loads(text))
    except ValueError as error:
        raise InvalidError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidError("it is nested too deeply") from error
    group = map_at(found, "group")
    if not maps_at(group, "points"):
        raise InvalidError("it has no group.points: this is no SunSpec model")
    name = str_at(group, "name") or f"model-{int_at(found, 'id')}"
    draft = Draft(name=name_of_text(f"sunspec-{int_at(found, 'id')}-{name}"), description=str_at(group, "label"))
    _Layout(draft, factors).group(group, "", base)
    return [draft]


class _Layout:
    """Finds the place of each point, group by group."""

    def __init__(self, draft: Draft, factors: Mapping[str, int]) -> None:
        self._draft = draft
        self._factors = factors
        self._left = GROUPS_MAX

    def group(self, group: JsonObject, prefix: str, at: int) -> int:
        """Its points, then its groups; the register after it."""
        self._left -= 1
        if self._left < 0:
            raise InvalidError(f"it has more than {GROUPS_MAX} groups")
        for point in maps_at(group, "points"):
            size, name = int_at(point, "size", default=1), f"{prefix}{str_at(point, 'name')}"
            if size < 1 or at + size > REGISTERS_MAX:
                raise InvalidError(f"{name}: its size is {size}, at register {at}: a device has {REGISTERS_MAX}")
            _point(self._draft, point, name, at, size, self._factors)
            at += size
        for inner in maps_at(group, "groups"):
            count = dig(inner, "count")
            name = str_at(inner, "name")
            if count not in (None, 0, 1) and not isinstance(count, int):
                told = f"as many as the device says ({count}): left out, with what follows"
                self._draft.notes.append(f"{prefix}{name}: {told}")
                return at
            times = count if isinstance(count, int) and count else 1
            for number in range(1, times + 1):
                label = f"{prefix}{name}_{number}_" if times > 1 else f"{prefix}{name}_"
                at = self.group(inner, label, at)
        return at


def _point(draft: Draft, point: JsonObject, name: str, at: int, size: int, factors: Mapping[str, int]) -> None:
    given = str_at(point, "type")
    if given in _SKIPPED or name in ("ID", "L"):
        return
    data: JsonObject = {"address": f"hr:{at}"}
    unit, label = str_at(point, "units"), str_at(point, "label")
    writable = str_at(point, "access") == "RW"
    if given == "string":
        draft.add(
            name,
            "STRING",
            {**data, "dataType": "string", "limit": size},
            writable=writable,
            unit=unit,
            description=label,
        )
        return
    symbols = {str_at(each, "name"): int_at(each, "value") for each in maps_at(point, "symbols")}
    if given == "bitfield16" and symbols:
        flags: JsonObject = {**symbols}
        data |= {"dataType": "uint16", "flags": flags, "sentinels": [0xFFFF]}
        draft.add(name, "STRING", data, writable=writable, unit=unit, description=label)
        return
    if given not in _TYPES:
        draft.notes.append(f"{name}: type {given or '(none)'}: left out")
        return
    raw, sentinel = _TYPES[given]
    data["dataType"] = raw
    data |= {"order": "ABCD"} if size > 1 else {}
    data |= {"sentinels": [sentinel]} if sentinel is not None else {}
    if given.startswith("enum") and symbols:
        named: JsonObject = {str(value): label for label, value in symbols.items()}
        draft.add(name, "STRING", {**data, "enum": named}, writable=writable, unit=unit, description=label)
        return
    factor = dig(point, "sf")
    power = factor if isinstance(factor, int) else factors.get(str(factor)) if factor is not None else 0
    if power is None:
        draft.notes.append(f"{name}: left out: its scale factor {factor} is in the device; give --factor {factor}=N")
        return
    if abs(power) > FACTOR_MAX:
        draft.notes.append(f"{name}: left out: its scale factor is {power}")
        return
    if power:
        data["scale"] = float(Decimal(1).scaleb(power))
    draft.add(name, type_of(raw, is_scaled=bool(power)), data, writable=writable, unit=unit, description=label)
