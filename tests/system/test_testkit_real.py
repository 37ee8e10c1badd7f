"""The real backend behind the test kit's face: what a user's test may do to a fleet, done to processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.json import maps_at, str_at
from skerry.testkit.face import Fleet
from skerry.testkit.fleets import FleetOptions, open_fleet
from skerry.testkit.real.clocks import compiler
from skerry.testkit.real.rig import may_isolate

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300)]

APP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {text: first}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {site: north}
      volumes: [{name: settings, configMap: {name: settings}}]
      containers:
        - name: app
          image: sh
          command: [sh, -c, "while :; do sleep 0.5; done"]
          volumeMounts: [{name: settings, mountPath: /skerry-testkit-settings}]
"""
DEVICE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: boiler}
spec:
  protocol: modbus
  properties:
    - name: setpoint
      type: INT
      accessMode: ReadWrite
      visitors: {protocolName: modbus, configData: {address: "hr:2", dataType: int16}}
    - name: level
      type: INT
      accessMode: ReadOnly
      visitors: {protocolName: modbus, configData: {address: "ir:5", dataType: uint16}}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: boiler}
spec:
  deviceModelRef: {name: boiler}
  protocol:
    protocolName: modbus
    configData: {tcp: {ip: 192.168.77.10, port: 502}, slaveID: 1, timeoutMs: 500}
  properties:
    - {name: setpoint, collectCycle: 200}
    - {name: level, collectCycle: 200}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    if not may_isolate():
        pytest.skip("namespaces need root")
    made = open_fleet("real", FleetOptions(directory=tmp_path))
    try:
        yield made
    finally:
        made.close()


def test_an_app_and_a_device_live_through_cuts_power_cuts_and_a_killed_cloud(fleet: Fleet) -> None:
    edge = fleet.edge("plant-7", labels={"site": "north"}, devices=())
    plc = fleet.plc("boiler", port=502)
    plc.input[5] = 42
    fleet.apply(APP)
    fleet.apply(DEVICE.replace("spec:\n  deviceModelRef", "spec:\n  nodeName: plant-7\n  deviceModelRef"))
    fleet.eventually(lambda: (pod := edge.pod("web")) and pod.running and pod.ready)
    fleet.eventually(lambda: (twin := fleet.cloud.twin("boiler", "level")) and twin.reported == "42")
    fleet.set_desired("boiler", "setpoint", "64")
    fleet.eventually(lambda: plc.holding[2] == 64)
    assert plc.writes[-1][1:] == ("holding", 2, (64,))
    before = edge.pod("web")

    edge.link.cut()
    assert edge.link.state == "cut"
    fleet.eventually(lambda: not edge.connected, within_s=3, message="both ends notice a cut at once")
    fleet.patch("configmap", "settings", {"data": {"text": "second"}})
    edge.set_desired("boiler", "setpoint", "20")
    fleet.eventually(lambda: plc.holding[2] == 20, message="a value set on the gateway, with no cloud")
    edge.kill()
    assert not edge.running and edge.powered
    assert edge.pod("web") == before, "its pods go on"
    edge.start()
    edge.link.heal()
    fleet.eventually(lambda: edge.in_step)
    held = edge.get("configmap", "settings")
    assert held is not None
    assert held["data"] == {"text": "second"}, "in step is said when it is written"
    after = edge.pod("web")
    assert before is not None and after is not None
    assert after.containers == before.containers, "never restarted"

    edge.link.half_open(down=False)
    fleet.cloud.kill()
    edge.power_cycle()
    fleet.eventually(lambda: (pod := edge.pod("web")) and pod.running and pod.restarts == 1, within_s=90)
    plc.holding[2] = 21
    fleet.eventually(lambda: (twin := edge.twin("boiler", "setpoint")) and twin.reported == "21")
    fleet.cloud.start()
    edge.link.heal()
    fleet.eventually(lambda: fleet.cloud.node_ready("plant-7") == "True", within_s=90)
    assert edge.link.bytes_up > 0 and edge.link.bytes_down > 0
    assert any("power off" in line for line in fleet.transcript)


def test_a_gateway_without_a_battery_boots_in_1970_and_a_restored_cloud_gets_its_state_back(fleet: Fleet) -> None:
    try:
        compiler()
    except Exception as error:
        pytest.skip(str(error))
    edge = fleet.edge("plant-7", labels={"site": "north"})
    fleet.apply(APP)
    fleet.eventually(lambda: (pod := edge.pod("web")) and pod.ready)
    backup = fleet.cloud.backup()
    fleet.patch("configmap", "settings", {"data": {"text": "second"}})
    edge.power_cycle(clock="1970")
    assert edge.clock.wall_ms < 86_400_000
    fleet.eventually(lambda: (pod := edge.pod("web")) and pod.running, within_s=90)
    fleet.eventually(lambda: edge.in_step, within_s=90)
    fleet.cloud.restore_backup(backup)
    fleet.eventually(lambda: edge.in_step, within_s=90)
    fleet.eventually(lambda: (held := edge.get("configmap", "settings")) and held["data"] == {"text": "first"})


def test_a_gateway_in_2040_goes_on_and_comes_back(fleet: Fleet) -> None:
    try:
        compiler()
    except Exception as error:
        pytest.skip(str(error))
    edge = fleet.edge("plant-7")
    fleet.eventually(lambda: edge.in_step, within_s=90)
    edge.clock.step(14 * 365 * 86_400)
    edge.kill()
    edge.start()
    fleet.eventually(lambda: edge.in_step, within_s=90)
    edge.power_cycle(clock="kept")
    assert edge.clock.wall_ms > 2_200_000_000_000
    fleet.eventually(lambda: edge.in_step, within_s=90)
    fleet.eventually(lambda: fleet.cloud.node_ready("plant-7") == "True", within_s=90)
    node = fleet.get("node", "plant-7", namespace="")
    assert node is not None
    changes = [str_at(condition, "lastTransitionTime") for condition in maps_at(node, "status", "conditions")]
    assert "2026" <= max(changes) < "2039", "what people read is the cloud's time"
