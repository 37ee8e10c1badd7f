"""Rules for tests, as objects and as the gateway reads them."""

from __future__ import annotations

from typing import Any

from skerry.objects.device_rules import DeviceRule, read_rule
from skerry.objects.json import JsonObject

PROPERTIES: dict[str, JsonObject] = {
    "temp": {"name": "temp", "type": "DOUBLE", "accessMode": "ReadOnly"},
    "pump": {"name": "pump", "type": "BOOLEAN"},
    "level": {"name": "level", "type": "INT", "minimum": "0", "maximum": "90"},
}
MODEL: JsonObject = {
    "metadata": {"name": "m", "namespace": "d", "uid": "m"},
    "spec": {"properties": [*PROPERTIES.values()]},
}
DEVICE: JsonObject = {
    "metadata": {"name": "boiler", "namespace": "d", "uid": "boiler"},
    "spec": {
        "deviceModelRef": {"name": "m"},
        "properties": [{"name": name, "visitors": {}} for name in PROPERTIES],
    },
}
PUMP_ON: JsonObject = {"set": {"device": "boiler", "property": "pump", "value": "true"}}
PUMP_OFF: JsonObject = {"set": {"device": "boiler", "property": "pump", "value": "false"}}


def obj(name: str = "x", **more: Any) -> JsonObject:
    spec: dict[str, Any] = {
        "nodeName": "eu-1",
        "values": [
            {"name": "t", "device": "boiler", "property": "temp"},
            {"name": "pump", "device": "boiler", "property": "pump"},
        ],
        "when": "t > 80.0",
        "actions": [PUMP_ON],
    }
    return {
        "metadata": {"name": name, "namespace": "d", "uid": f"uid-{name}", "generation": 1},
        "spec": spec | more,
    }


def rule(name: str = "x", **more: Any) -> DeviceRule:
    return read_rule(obj(name, **more), lambda _device, prop: PROPERTIES[prop])
