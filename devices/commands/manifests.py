"""Manifests as the tools read them: Modbus devices of files, or of models alone.

Files may hold DeviceModels and Devices in any order, as for `skerry apply`. A model that no Device in the files uses
is taken for a device of its own, so that a model can be tried before there is a device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from devices.manifests import device_config
from devices.modbus.config import ModbusDevice, parse_device
from skerry.cli.apply import read_manifests
from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.device_models import DEVICES
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, name_of, namespace_of


class ModelledDevice(Frozen):
    """A Modbus device of a manifest."""

    name: str
    parsed: ModbusDevice
    of_model: bool
    """It is a model that was taken for a device: its endpoint means nothing."""


def read_devices(files: Sequence[str], *, unit: int = 1) -> list[ModelledDevice]:
    """Every Modbus device; `unit` is that of a model without a Device. Raises `BadRequestError` that names the
    object, the field and the fix."""
    models: dict[tuple[str, str], JsonObject] = {}
    devices: list[JsonObject] = []
    for file in files:
        for _, obj in read_manifests(file):
            match str_at(obj, "kind"):
                case "DeviceModel":
                    models[namespace_of(obj) or "default", name_of(obj)] = obj
                case "Device":
                    devices.append(obj)
                case _:
                    pass
    found = list(_devices(devices, models))
    used = {(namespace_of(one) or "default", str_at(one, "spec", "deviceModelRef", "name")) for one in devices}
    found += [
        _of_model(name, model, unit, models) for (space, name), model in models.items() if (space, name) not in used
    ]
    if not found:
        raise BadRequestError(f"{', '.join(files)}: there is no Modbus device and no DeviceModel in it")
    return found


def _devices(devices: Iterable[JsonObject], models: dict[tuple[str, str], JsonObject]) -> Iterable[ModelledDevice]:
    for obj in devices:
        key = Key(DEVICES, namespace_of(obj) or "default", name_of(obj))
        try:
            config = device_config(key, obj, models)
            if config.protocol == "modbus":
                yield ModelledDevice(name=key.name, parsed=parse_device(config), of_model=False)
        except InvalidError as error:
            raise BadRequestError(f"Device {key.name}: {error}") from error


def _of_model(name: str, model: JsonObject, unit: int, models: dict[tuple[str, str], JsonObject]) -> ModelledDevice:
    """A device of a model alone; what its protocol data say of an endpoint does not matter."""
    data: JsonObject = {**map_at(model, "spec", "protocolConfigData"), "slaveID": unit}
    if not any(field in data for field in ("tcp", "ip", "host", "serialPort", "rtu", "com")):
        data["ip"] = "127.0.0.1"
    device: JsonObject = {
        "metadata": {"name": name, "namespace": namespace_of(model) or "default"},
        "spec": {
            "deviceModelRef": {"name": name},
            "protocol": {"protocolName": "modbus", "configData": data},
        },
    }
    key = Key(DEVICES, namespace_of(model) or "default", name)
    try:
        parsed = parse_device(device_config(key, device, models))
    except InvalidError as error:
        raise BadRequestError(f"DeviceModel {name}: {error}") from error
    return ModelledDevice(name=name, parsed=parsed, of_model=True)
