"""What a Device and its model say of a virtual device, checked and made exact.

Pure. docs/reference/devices.md describes every field.
"""

from __future__ import annotations

from typing import Final

from devices.fields import bool_in, int_in, map_in, refuse_unknown
from devices.port import DeviceConfig, PropertyConfig
from devices.signals import Playing, Signal, signal_in, value_in
from devices.virtual.faults import Fault, faults_in
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import list_at
from skerry.objects.meta import Key
from skerry.objects.twins import Value

PROTOCOL_FIELDS: Final = ("silent", "seed", "faults")
VISITOR_FIELDS: Final = ("script", "initial", "refuse", "signal")
_SOURCES: Final = ("script", "initial", "signal")
"""A property has one of them at most."""
SCRIPT_MAX: Final = 1000
SEED_MAX: Final = 2**53


class VirtualProperty(Frozen):
    config: PropertyConfig
    script: tuple[Value, ...]
    """Played by the reading, not by the clock."""
    signal: Signal | None
    refused: frozenset[str]

    @property
    def tells(self) -> bool:
        """It has a value before anybody writes one."""
        return bool(self.script) or self.signal is not None

    def playing(self, seed: int) -> Playing | None:
        """The signal from its start, where there is one."""
        return Playing(self.signal, seed=seed, name=self.config.name) if self.signal is not None else None


class VirtualDevice(Frozen):
    key: Key
    silent: bool
    seed: int
    faults: tuple[Fault, ...]
    properties: dict[str, VirtualProperty]


def parse_device(config: DeviceConfig) -> VirtualDevice:
    """Raises `InvalidError` that names the field and the fix."""
    where, data = "spec.protocol.configData", config.protocol_config
    refuse_unknown(data, PROTOCOL_FIELDS, where)
    return VirtualDevice(
        key=config.device,
        silent=bool_in(data, "silent", where=where, default=False),
        seed=int_in(data, "seed", where=where, low=0, high=SEED_MAX, default=0),
        faults=faults_in(data, config.properties, where),
        properties={prop.name: _property(prop) for prop in config.properties},
    )


def _property(prop: PropertyConfig) -> VirtualProperty:
    where, data = f"spec.properties[{prop.name}].visitors.configData", prop.visitor
    refuse_unknown(data, VISITOR_FIELDS, where)
    given = [name for name in _SOURCES if name in data]
    if len(given) > 1:
        raise InvalidError(f"{where}.{given[1]}: a value comes from one place, and {given[0]} says another")
    script = list_at(data, "script") or ([data["initial"]] if "initial" in data else [])
    if len(script) > SCRIPT_MAX:
        raise InvalidError(f"{where}.script: at most {SCRIPT_MAX} values")
    signal = signal_in(map_in(data, "signal", where=where), prop, f"{where}.signal") if "signal" in data else None
    return VirtualProperty(
        config=prop,
        script=tuple(value_in(each, prop, f"{where}.{given[0]}") for each in script),
        signal=signal,
        refused=frozenset(str(item) for item in list_at(data, "refuse")),
    )
