"""What tests hand to the kit, looked at before anything is done with it: the same words on both backends. Pure.

Each gives back what it was given, in its right type, or raises `InvalidError` that names the argument and the fix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeVar, cast

from skerry.errors import InvalidError
from skerry.objects.enrolment import valid_node_name
from skerry.objects.names import label_key_faults, label_value_faults, node_may_label

T = TypeVar("T")

DELAY_MS_MAX: Final = 60_000.0
"""Slower than any link that a TCP handshake survives; geostationary satellites have 300."""
ADDRESSES: Final = 65_536
"""Places in one table of a Modbus device."""
STEP_S_MAX: Final = 200 * 366 * 86_400.0
"""No clock is set further at once: what comes out has to be a year that computers can write down."""


def number(value: object, name: str, *, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within these."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidError(f"{name}: a number, not {value!r}")
    if not least <= value <= most:
        bounds = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise InvalidError(f"{name}: a number {bounds}, not {value!r}")
    return float(value)


def seconds(value: object, name: str) -> float:
    """Of time that passes."""
    if isinstance(value, int | float) and value < 0:
        raise InvalidError(f"{name}: time does not go back, {value!r} is below 0")
    return number(value, name, least=0)


def clock_step(value: object) -> float:
    return number(value, "clock.step(seconds)", least=-STEP_S_MAX, most=STEP_S_MAX)


def boot_clock(value: object) -> None:
    if value not in ("kept", "1970"):
        raise InvalidError(f'power_cycle(clock=...): "kept" or "1970", not {value!r}')


def kbit(value: object) -> float | None:
    """Of a link's bandwidth; None for no limit."""
    if value is None:
        return None
    found = number(value, "slow(kbit=...)")
    if found <= 0:
        raise InvalidError(f"slow(kbit=...): a bandwidth is above 0, not {value!r}; use cut() for none at all")
    return found


def loss(value: object) -> float:
    found = number(value, "slow(loss=...)")
    if not 0 <= found < 1:
        raise InvalidError(f"slow(loss=...): a share from 0 to below 1, not {value!r}; use cut() to lose all")
    return found


def delay_ms(value: object) -> float:
    return number(value, "slow(delay_ms=...)", least=0, most=DELAY_MS_MAX)


def gateway(name: object, labels: object) -> Mapping[str, str]:
    """The labels of a gateway that is to be made; its name is looked at as well."""
    if not isinstance(name, str) or not valid_node_name(name):
        raise InvalidError(
            f"edge({name!r}): a gateway's name has lower case letters, digits, '-' and '.', begins and ends with a "
            "letter or digit, and is short: plant-7"
        )
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise InvalidError(f'edge(labels=...): a map such as {{"site": "north"}}, not {labels!r}')
    found: dict[str, str] = {}
    given = cast("Mapping[object, object]", labels)
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidError(f"edge(labels=...): label {key!r}: both are text; write {str(key)!r}: {str(value)!r}")
        faults = [*label_key_faults(key), *label_value_faults(value)]
        if faults:
            raise InvalidError(f"edge(labels=...): label {key!r}: {value!r}: {faults[0]}")
        if not node_may_label(key):
            raise InvalidError(
                f"edge(labels=...): a gateway may not give itself the label {key}; the cloud does: "
                'fleet.patch("node", ...)'
            )
        found[key] = value
    return found


def port(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65_535:
        raise InvalidError(f"{name}: a TCP port from 1 to 65535, not {value!r}")
    return value


def address(value: object, table: str) -> int:
    """Of a place in a Modbus device."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < ADDRESSES:
        raise InvalidError(f"{table}[{value!r}]: a Modbus address is from 0 to {ADDRESSES - 1}")
    return value


def place(value: object, most: int, where: str) -> int:
    """What a place is to hold."""
    if not isinstance(value, int) or not 0 <= value <= most:
        hint = "; take value & 0xFFFF for a negative one" if isinstance(value, int) and value < 0 < most - 1 else ""
        raise InvalidError(f"{where}: holds 0 to {most}, not {value!r}{hint}")
    return int(value)


def wanted(value: object) -> str:
    """A desired value, which the API has as text."""
    if not isinstance(value, str):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        raise InvalidError(f"set_desired(value=...): text, as in the API; write {text!r}, not {value!r}")
    return value


def condition(value: Callable[[], T], name: str) -> Callable[[], T]:
    """Something to look at again and again."""
    if not callable(value):
        raise InvalidError(f"{name}(...): takes a function, to look again: {name}(lambda: ...), not {value!r}")
    return value
