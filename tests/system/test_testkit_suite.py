"""The disconnect suite on real processes and links, as users run it, on an app with a pod, a ConfigMap, a Modbus
device and one that speaks MQTT. Every run has a few faults of it; `make soak` has them all, in 20 minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.testkit.real.rig import may_isolate
from skerry.testkit.suite.catalogue import DISCONNECT

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
FEW = ("reconnect", "power-cut-while-applying", "agent-killed", "desired-changed-offline")
"""Of each kind of fault one that is short: a cut, a power cut, a crash, and a change meanwhile."""
FAULTS = [fault.name for fault in DISCONNECT if os.environ.get("SKERRY_SOAK") or fault.name in FEW]
LAMP = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: lamp}
spec:
  protocol: mqtt
  properties:
  - {name: brightness, type: INT, accessMode: ReadWrite, minimum: "0", maximum: "100"}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: lamp}
spec:
  deviceModelRef: {name: lamp}
  nodeName: shop-12
  protocol: {protocolName: mqtt, configData: {host: 192.168.77.20, port: 1883}}
  properties:
  - name: brightness
    visitors:
      protocolName: mqtt
      configData:
        {topic: lamp, path: $.is, sequencePath: $.n, commandTopic: lamp/set, commandTemplate: '{"set": ${value}}'}
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_cold_store_stands_a_fault_on_real_processes(fault: str, tmp_path: Path) -> None:
    if not may_isolate():
        pytest.skip("namespaces need root")
    app = tmp_path / "shop"
    shutil.copytree(ROOT / "examples/02-test-kit/manifests", app)
    (app / "lamp.yaml").write_text(LAMP)
    workload = app / "app.yaml"  # the machine has other work
    workload.write_text(workload.read_text().replace('within-s: "30"', 'within-s: "120"'))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0"]
    command += ["--skerry-suite", "disconnect", "--manifests", "shop", "--skerry-backend", "real", "-k", f"{fault}["]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "shop: 1 of 1 faults stood, 0 skipped" in done.stdout
