"""What a gateway would make of a Device before it has it: whether it would serve it, and what it would write.

The CLI finds this by the entry point group `skerry.devices`, as it knows no drivers. The drivers themselves are
asked, which are configured here as on a gateway and never run, so that neither can differ from what happens there,
short of what the device does; of Modbus its parser and what its writes use, as the library of its driver may not be
installed here. Keeps nothing, and opens no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from devices.http.driver import http_driver
from devices.manifests import device_config
from devices.modbus.config import ModbusDevice
from devices.modbus.config import parse_device as parse_modbus
from devices.modbus.explain import rehearsal
from devices.mqtt.config import Broker
from devices.mqtt.driver import MqttDriver
from devices.port import DeviceConfig, Driver, Rehearsal
from devices.snmp.driver import snmp_driver
from devices.virtual.driver import VirtualDriver
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.device_models import DEVICES, properties_in, wanted_value
from skerry.objects.json import JsonObject, clone, map_at, str_at
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.twins import Value

GATEWAYS: Final = Broker(host="gateway", port=1883)
"""Whether a gateway has a broker is not known before; what a Device says of it is looked at all the same."""

_STAND_IN: Final[Mapping[str, Mapping[str, bytes]]] = {
    "snmp": dict.fromkeys(("community", "username", "authPassword", "privPassword"), b"stand-in")
}
"""In place of a Secret, which gateways alone have: one that would do. Nothing of it is ever shown or sent."""


def _drivers(node: str) -> Mapping[str, Callable[[], Driver]]:
    clock, ids = SystemClock(), SystemIds()
    return {
        "mqtt": lambda: MqttDriver(clock=clock, client_id=f"skerry-{node}", gateways=GATEWAYS),
        "http": lambda: http_driver(clock=clock, ids=ids),
        "snmp": lambda: snmp_driver(clock=clock, ids=ids),
        "virtual": lambda: VirtualDriver(clock=clock),
    }


def judged(device: JsonObject, model: JsonObject) -> ModbusDevice | None:
    """The device as the Modbus driver reads it; None for any other protocol.

    Raises `InvalidError` that names the field and the fix where the gateway would call the device invalid. Secrets
    are on gateways only: what is in one is not looked at.
    """
    config = _config(device, model)
    _rehearsed(config, str_at(device, "spec", "nodeName"), {})
    return parse_modbus(config) if config.protocol == "modbus" else None


def _config(device: JsonObject, model: JsonObject) -> DeviceConfig:
    key = Key(DEVICES, namespace_of(device), name_of(device))
    open_device, has_secret = _without_secret(device, "protocol", "configData")
    open_model, model_has = _without_secret(model, "protocolConfigData")
    config = device_config(key, open_device, {(key.namespace, name_of(model)): open_model})
    return replace(config, secret=_STAND_IN.get(config.protocol, {})) if has_secret or model_has else config


def _rehearsed(config: DeviceConfig, node: str, values: Mapping[str, Value]) -> Mapping[str, Rehearsal]:
    """What the driver would send for these values; nothing of a protocol that is none of ours. Raises `InvalidError`
    where it would not serve the device."""
    if config.protocol == "modbus":
        parsed = parse_modbus(config)
        return {
            prop: rehearsal(parsed, parsed.properties[prop], value)
            for prop, value in values.items()
            if prop in parsed.properties
        }
    making = _drivers(node).get(config.protocol)
    if making is None:
        return {}

    async def asking() -> Mapping[str, Rehearsal]:
        driver = making()
        try:
            for _, reason in await driver.configure([config]):
                raise InvalidError(reason)
            told = {prop: driver.rehearse(config.device, prop, value) for prop, value in values.items()}
        finally:
            await driver.close()
        return {prop: each for prop, each in told.items() if each is not None}

    return asyncio.run(asking())


def _without_secret(obj: JsonObject, *path: str) -> tuple[JsonObject, bool]:
    """The object without the name of a Secret in its settings; whether it had one."""
    if "secretRef" not in map_at(obj, "spec", *path):
        return obj, False
    obj = clone(obj)
    del map_at(obj, "spec", *path)["secretRef"]
    return obj, True


def preview(device: JsonObject, model: JsonObject, wanted: Mapping[str, str]) -> JsonObject:
    """`problem`: why the gateway would not serve the device ("" where it would); `writes`: by property what writing
    the wanted values comes to, with `refusal` where it comes to nothing, as far as that can be told beforehand."""
    modelled = properties_in(model)
    values: dict[str, Value] = {}
    writes: dict[str, Rehearsal] = {}
    for prop, text in wanted.items():
        try:
            if prop not in modelled:
                raise InvalidError(f"the DeviceModel has no property {prop!r}")
            values[prop] = wanted_value(modelled[prop], text)
        except InvalidError as error:
            writes[prop] = Rehearsal(place="", requests=(), steps=(), refusal=str(error))
    try:
        writes |= _rehearsed(_config(device, model), str_at(device, "spec", "nodeName"), values)
    except InvalidError as error:
        return {"problem": str(error), "writes": {}}
    return {"problem": "", "writes": {prop: writes[prop].shown(wanted[prop]) for prop in wanted if prop in writes}}
