"""A Secret that a Device names comes to its gateway, and to no other."""

from __future__ import annotations

from skerry.objects.meta import Key
from skerry.testkit import Fleet
from skerry.testkit.simulated.edge import SimulatedEdge

MANIFEST = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: inverter}
spec:
  properties:
  - {name: power, type: DOUBLE, accessMode: ReadOnly}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: inverter-1}
spec:
  nodeName: eu-1
  deviceModelRef: {name: inverter}
  protocol: {protocolName: http, configData: {url: "http://10.0.0.7/", secretRef: {name: login}}}
  properties:
  - {name: power, visitors: {protocolName: http, configData: {url: status}}}
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: login}
type: TYPE
stringData: {token: hidden}
"""


def state(fleet: Fleet) -> tuple[str, str]:
    status = fleet.get("devices", "inverter-1")
    assert status is not None
    told = status.get("status", {})
    assert isinstance(told, dict)
    ready = [each for each in told.get("conditions", []) if each.get("type") == "Ready"]  # pyright: ignore
    return str(told.get("state", "")), str(ready[0].get("message", "")) if ready else ""


def holds(edge: object, name: str) -> bool:
    assert isinstance(edge, SimulatedEdge)
    return edge._store.get(Key("secrets", "default", name)) is not None


def test_a_secret_comes_to_the_gateway_of_the_device_that_names_it(fleet: Fleet) -> None:
    eu, us = fleet.edge("eu-1"), fleet.edge("us-1")
    fleet.apply(MANIFEST)
    fleet.eventually(lambda: "there is no Secret 'login'" in state(fleet)[1], within_s=60)
    fleet.apply(SECRET.replace("TYPE", "skerry.dev/device"))
    fleet.eventually(lambda: "can't be reached" in state(fleet)[1], within_s=60)
    assert holds(eu, "login") and not holds(us, "login")
    assert not any("hidden" in line for line in fleet.transcript)


def test_a_secret_that_is_not_for_devices_is_not_used(fleet: Fleet) -> None:
    fleet.edge("eu-1")
    fleet.apply(MANIFEST)
    fleet.apply(SECRET.replace("TYPE", "Opaque"))
    fleet.eventually(lambda: "is not of type skerry.dev/device" in state(fleet)[1], within_s=60)
