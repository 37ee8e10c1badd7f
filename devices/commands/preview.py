"""What a gateway would make of a Device before it has it: whether it would serve it, and what it would write.

The CLI finds this by the entry point group `skerry.devices`, as it knows no drivers. It is judged by the parsers that
drivers use, and written by what their writes use, so that neither can differ from what happens on the gateway, short
of what the device does. Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from devices.http.config import parse_device as parse_http
from devices.manifests import device_config
from devices.modbus.config import ModbusDevice
from devices.modbus.config import parse_device as parse_modbus
from devices.modbus.explain import rehearsal
from devices.mqtt.config import Broker
from devices.mqtt.config import parse_device as parse_mqtt
from devices.port import Rehearsal
from devices.virtual.config import parse_device as parse_virtual
from skerry.errors import InvalidError
from skerry.objects.device_models import DEVICES, properties_in, wanted_value
from skerry.objects.json import JsonObject, clone, map_at
from skerry.objects.meta import Key, name_of, namespace_of

GATEWAYS: Final = Broker(host="gateway", port=1883)
"""Whether a gateway has a broker is not known before; what a Device says of it is looked at all the same."""


def judged(device: JsonObject, model: JsonObject) -> ModbusDevice | None:
    """The device as its driver reads it; None for a protocol whose writes can't be told beforehand.

    Raises `InvalidError` that names the field and the fix where the gateway would call the device invalid. Secrets
    are on gateways only: of a device that uses one, what depends on it is not looked at.
    """
    key = Key(DEVICES, namespace_of(device), name_of(device))
    open_device, has_secret = _without_secret(device, "protocol", "configData")
    open_model, model_has = _without_secret(model, "protocolConfigData")
    config = device_config(key, open_device, {(key.namespace, name_of(model)): open_model})
    match config.protocol:
        case "modbus":
            return parse_modbus(config)
        case "mqtt":
            parse_mqtt(config, GATEWAYS)
        case "virtual":
            parse_virtual(config)
        case "http" if not (has_secret or model_has):
            parse_http(config)
        case _:
            pass
    return None


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
    try:
        modbus = judged(device, model)
    except InvalidError as error:
        return {"problem": str(error), "writes": {}}
    writes: JsonObject = {}
    for prop, text in wanted.items():
        written = _written(modbus, properties_in(model).get(prop), prop, text)
        writes |= {prop: written.shown(text)} if written is not None else {}
    return {"problem": "", "writes": writes}


def _written(modbus: ModbusDevice | None, modelled: JsonObject | None, prop: str, text: str) -> Rehearsal | None:
    """None: the value is right, and how it would be written is not known here."""
    try:
        if modelled is None:
            raise InvalidError(f"the DeviceModel has no property {prop!r}")
        value = wanted_value(modelled, text)
    except InvalidError as error:
        return Rehearsal(place="", requests=(), steps=(), refusal=str(error))
    found = modbus.properties.get(prop) if modbus is not None else None
    return rehearsal(modbus, found, value) if modbus is not None and found is not None else None
