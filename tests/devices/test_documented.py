"""Manifests in the documentation are read by the drivers that they are about."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from devices.http.config import parse_device as http
from devices.manifests import device_config
from devices.port import DeviceConfig
from devices.snmp.config import parse_device as snmp
from devices.virtual.config import parse_device as virtual
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, name_of

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"
DATA = {
    "http": {"username": "YW5u", "password": "cGFzc3dvcmQ="},
    "snmp": {"username": "YW5u", "authPassword": "cGFzc3dvcmQ=", "privPassword": "cGFzc3dvcmQ="},
    "virtual": {},
}


@pytest.mark.parametrize(
    ("page", "parse"), [("http-devices", http), ("snmp-devices", snmp), ("virtual-devices", virtual)]
)
def test_the_manifest_of_a_page_makes_sense(page: str, parse: Callable[[DeviceConfig], object]) -> None:
    protocol = page.partition("-")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", (HOWTO / f"{page}.md").read_text(), re.DOTALL)
    objects: list[JsonObject] = list(yaml.safe_load_all(text))
    models = {("default", name_of(each)): each for each in objects if each["kind"] == "DeviceModel"}

    def secrets(_namespace: str, _name: str) -> JsonObject:
        return {"type": "skerry.dev/device", "data": {**DATA[protocol]}}

    (device,) = [each for each in objects if each["kind"] == "Device"]
    key = Key("devices.devices.kubeedge.io", "default", name_of(device))
    config = device_config(key, device, models, secrets)
    assert config.protocol == protocol and config.properties
    for prop in config.properties:  # YAML's `on` is a truth value where it is not quoted
        assert all(isinstance(name, str) for name in map_at(prop.visitor, "values"))
    parse(config)
