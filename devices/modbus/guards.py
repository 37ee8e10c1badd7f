"""What stands before and after a write: keys that unlock a device, and a value that is taken back after a while.

Pure. `unlock` writes go first in the same turn of the line, so that nobody else's request comes between; `pulse` has
a value written and, so many milliseconds later, another: a button, pressed and let go. docs/reference/devices.md.

A pulse that has begun has to end. So what is still to be taken back is noted before the pulse begins, and the note
outlives the agent: the next one takes it back first of all. What can't be read of the note is forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from devices.bus import Request
from devices.fields import int_in, map_in, refuse_unknown, text_in
from devices.plan import Table, parse_address
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.twins import Value, parse_value

UNLOCK_MAX: Final = 8
PULSE_MS_MIN: Final = 10
PULSE_MS_MAX: Final = 60_000
"""The device is nobody else's meanwhile."""
NOTE: Final = "modbus-pulses"
"""Its name among a driver's notes."""
PULSES_MAX: Final = 256
"""Under way at once; more are refused, and nothing is begun that might not be ended."""


class KeyWrite(Frozen):
    """One write that opens a device for the next."""

    table: Table
    address: int
    value: int


class Pulse(Frozen):
    """So long a written value stays, and what it is written back to."""

    after_s: float
    back: Value


class Guards(Frozen):
    """Of one property."""

    unlock: tuple[KeyWrite, ...] = ()
    pulse: Pulse | None = None

    def keys(self, unit: int, *, multiple: bool) -> tuple[Request, ...]:
        """The requests that go first."""
        return tuple(
            Request(
                unit=unit,
                function=(15 if multiple else 5) if key.table == "coil" else (16 if multiple else 6),
                address=key.address,
                values=(key.value,),
            )
            for key in self.unlock
        )


def parse_guards(data: JsonObject, type: str, where: str) -> Guards:
    """Raises `InvalidError` that names the field and the fix."""
    return Guards(unlock=_unlock(data, where), pulse=_pulse(data, type, where))


def _unlock(data: JsonObject, where: str) -> tuple[KeyWrite, ...]:
    given = data.get("unlock")
    if given is None:
        return ()
    if not isinstance(given, list) or not 1 <= len(given) <= UNLOCK_MAX:
        raise InvalidError(
            f"{where}.unlock: must be a list of 1 to {UNLOCK_MAX} writes, such as [{{address: hr:100, value: 1234}}]"
        )
    return tuple(_key(entry, f"{where}.unlock[{at}]") for at, entry in enumerate(given))


def _key(entry: object, where: str) -> KeyWrite:
    if not isinstance(entry, dict):
        raise InvalidError(f"{where}: must be an object with address and value")
    fields = cast("JsonObject", entry)
    refuse_unknown(fields, ("address", "value"), where)
    try:
        place = parse_address(text_in(fields, "address", where=where))
    except InvalidError as error:
        raise InvalidError(f"{where}.address: {str(error).removeprefix(f'{where}.address: ')}") from error
    if place.table not in ("holding", "coil") or place.bit is not None:
        raise InvalidError(f"{where}.address: {place} can't be written as a whole: use hr: or co:")
    high = 1 if place.table == "coil" else 0xFFFF
    value = int_in(fields, "value", where=where, low=0, high=high)
    return KeyWrite(table=place.table, address=place.offset, value=value)


def _pulse(data: JsonObject, type: str, where: str) -> Pulse | None:
    if data.get("pulse") is None:
        return None
    given = map_in(data, "pulse", where=where)
    where = f"{where}.pulse"
    refuse_unknown(given, ("milliseconds", "back"), where)
    after_ms = int_in(given, "milliseconds", where=where, low=PULSE_MS_MIN, high=PULSE_MS_MAX)
    if type == "BOOLEAN":
        text = "true" if given.get("back") in (True, "true") else str(given.get("back", "false")).lower()
    else:
        text = text_in(given, "back", where=where)
    try:
        return Pulse(after_s=after_ms / 1000, back=parse_value(type, text))
    except InvalidError as error:
        raise InvalidError(f"{where}.back: {error}") from error


# --- what is still to be taken back ---------------------------------------------------------------------------

Places = Mapping[str, frozenset[str]]
"""Properties by device, `namespace/name`."""


def write_pulses(places: Places) -> str:
    """As a note."""
    return json.dumps({device: sorted(props) for device, props in places.items() if props}, separators=(",", ":"))


def read_pulses(text: str) -> dict[str, frozenset[str]]:
    """From a note."""
    try:
        note = cast("dict[str, list[Any]]", json.loads(text or "{}"))
        return {str(device): frozenset(str(prop) for prop in props) for device, props in note.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
