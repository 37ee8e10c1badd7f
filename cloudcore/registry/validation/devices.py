"""What Device and DeviceModel may say. KubeEdge checks little; a wrong register otherwise shows only at the gateway.

Every fault names the field and what to write instead. The gateway's drivers check again, and more: what is known
here is what any reader of the object can tell. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import Json, JsonObject, dig, map_at, maps_at, str_at
from skerry.objects.names import subdomain_faults
from skerry.validation.faults import duplicate, invalid, named, one_of, required

_TYPES: Final = ("INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES", "STREAM")
_REGISTERS: Final = ("CoilRegister", "DiscreteInputRegister", "InputRegister", "HoldingRegister")
_READ_ONLY_REGISTERS: Final = ("DiscreteInputRegister", "InputRegister")
_ADDRESS_MAX: Final = 65_535
_UNIT_MAX: Final = 255
_COUNT_MAX: Final = 125
_NAME_LENGTH_MAX: Final = 128
_CYCLE_MS_MIN: Final = 10
"""Faster than any field bus answers; a cycle of 0 means the default."""


def validate_device(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    if not str_at(spec, "deviceModelRef", "name"):
        yield required("spec.deviceModelRef.name", "name the DeviceModel that lists the device's properties")
    yield from named("spec.nodeName", str_at(spec, "nodeName"), subdomain_faults, needed=False)
    yield from _validate_protocol("spec.protocol", map_at(spec, "protocol"))
    seen: set[str] = set()
    for index, prop in enumerate(maps_at(spec, "properties")):
        here = f"spec.properties[{index}]"
        yield from _validate_property_name(here, prop, seen)
        for cycle in ("collectCycle", "reportCycle"):
            value = prop.get(cycle)
            if isinstance(value, int) and value and value < _CYCLE_MS_MIN:
                text = f"is in milliseconds and must be at least {_CYCLE_MS_MIN}, or 0 for the default"
                yield invalid(f"{here}.{cycle}", value, text)
        yield from _validate_visitor(f"{here}.visitors", map_at(prop, "visitors"), protocol=_protocol_of(spec))


def validate_device_model(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    seen: set[str] = set()
    for index, prop in enumerate(maps_at(spec, "properties")):
        here = f"spec.properties[{index}]"
        yield from _validate_property_name(here, prop, seen)
        yield from one_of(f"{here}.type", str_at(prop, "type"), _TYPES)
        yield from one_of(f"{here}.accessMode", str_at(prop, "accessMode"), ("ReadWrite", "ReadOnly"), needed=False)
        yield from _validate_range(here, prop)
        visitor = map_at(prop, "visitors")
        yield from _validate_visitor(f"{here}.visitors", visitor, protocol=str_at(spec, "protocol"))
        register = str_at(visitor, "configData", "register")
        if str_at(prop, "accessMode") == "ReadWrite" and register in _READ_ONLY_REGISTERS:
            text = f"{register} can't be written: use HoldingRegister or CoilRegister, or accessMode ReadOnly"
            yield invalid(f"{here}.accessMode", "ReadWrite", text)


def _protocol_of(spec: JsonObject) -> str:
    return str_at(spec, "protocol", "protocolName")


def _validate_property_name(field: str, prop: JsonObject, seen: set[str]) -> Iterator[Cause]:
    name = str_at(prop, "name")
    if not name:
        yield required(f"{field}.name")
    elif len(name) > _NAME_LENGTH_MAX:
        yield invalid(f"{field}.name", name, f"must be no more than {_NAME_LENGTH_MAX} characters")
    elif name in seen:
        yield duplicate(f"{field}.name", name)
    seen.add(name)


def _validate_range(field: str, prop: JsonObject) -> Iterator[Cause]:
    kind = str_at(prop, "type")
    bounds: dict[str, Decimal] = {}
    for name in ("minimum", "maximum"):
        text = str_at(prop, name)
        if not text:
            continue
        number = _decimal(text)
        if number is None:
            yield invalid(f"{field}.{name}", text, 'must be a number as text, such as "0" or "99.5"')
        elif kind == "INT" and number != number.to_integral_value():
            yield invalid(f"{field}.{name}", text, "must be a whole number for a property of type INT")
        else:
            bounds[name] = number
    if len(bounds) == 2 and bounds["minimum"] > bounds["maximum"]:
        yield invalid(f"{field}.minimum", str_at(prop, "minimum"), f"must not be over maximum {prop['maximum']}")


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _validate_protocol(field: str, protocol: JsonObject) -> Iterator[Cause]:
    config = map_at(protocol, "configData")
    if str_at(protocol, "protocolName").lower().startswith("modbus"):
        yield from _validate_number(f"{field}.configData", config, "slaveID", 0, _UNIT_MAX)
        yield from _validate_number(f"{field}.configData.tcp", map_at(config, "tcp"), "port", 1, _ADDRESS_MAX)
        for place in ("tcp", "com"):
            if place in config and not isinstance(config[place], dict):
                yield invalid(f"{field}.configData.{place}", config[place], "must be an object with its settings")


def _validate_visitor(field: str, visitor: JsonObject, *, protocol: str) -> Iterator[Cause]:
    """Visitors of a protocol we know; of others, nobody here can tell."""
    name = str_at(visitor, "protocolName") or protocol
    config = map_at(visitor, "configData")
    here = f"{field}.configData"
    if config and name.lower().startswith("modbus"):
        yield from _validate_modbus(here, config)
    topic = config.get("topic")
    if config and name.lower() == "mqtt" and topic is not None and (not isinstance(topic, str) or not topic):
        yield invalid(f"{here}.topic", topic, 'must be a topic, such as "plant/1/temperature"')


def _validate_modbus(field: str, config: JsonObject) -> Iterator[Cause]:
    register = config.get("register")
    if "register" in config and register not in _REGISTERS:
        words = ", ".join(_REGISTERS)
        yield invalid(f"{field}.register", register, f"must be one of {words}; its number goes to offset")
    if "address" in config and ("register" in config or "offset" in config):
        yield invalid(f"{field}.address", config["address"], "give either address, or register and offset")
    yield from _validate_number(field, config, "offset", 0, _ADDRESS_MAX)
    yield from _validate_number(field, config, "limit", 1, _COUNT_MAX)
    scale = config.get("scale")
    if scale is not None and (_number(scale) is None or _number(scale) == 0):
        yield invalid(f"{field}.scale", scale, "must be a number other than 0; leave it out for no scaling")
    for swap in ("isSwap", "isRegisterSwap"):
        if config.get(swap) not in (None, True, False, "true", "false"):
            yield invalid(f"{field}.{swap}", config[swap], "must be true or false")


def _validate_number(field: str, config: JsonObject, name: str, least: int, most: int) -> Iterator[Cause]:
    """A whole number; text that is one (`0x10` too) will do, as drivers read it."""
    value = dig(config, name)
    if value is None:
        return
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            value = None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        yield invalid(f"{field}.{name}", config[name], f"must be a whole number from {least} to {most}")


def _number(value: Json) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return _decimal(str(value))
