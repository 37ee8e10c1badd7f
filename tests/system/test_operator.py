"""A gateway and the CLI as an impatient operator meets them: variables, systemd, watches cut short, wrong names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import forked
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.levels import reached

pytestmark = pytest.mark.system

DEVICE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: tank}
spec:
  protocol: virtual
  properties: [{name: level, type: INT, accessMode: ReadWrite}]
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: tank}
spec:
  deviceModelRef: {name: tank}
  nodeName: gate-1
  protocol: {protocolName: virtual}
  properties: [{name: level, collectCycle: 100, visitors: {protocolName: virtual, configData: {initial: 7}}}]
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("operator") / "cloud") as made:
        yield made


@pytest.fixture(scope="module")
def gate(cloud: CloudProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A gateway that was joined and runs by variables alone, under something that listens as systemd does."""
    home = tmp_path_factory.mktemp("gate")
    data = home / "edge"
    token = cloud.skerry("token", "create", "gate-1").strip()
    environ = {**os.environ, "SKERRY_DATA": str(data), "SKERRY_CLOUD": cloud.hub, "SKERRY_TOKEN": token}
    subprocess.run(edgecore("join"), env=environ, check=True, timeout=60, capture_output=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, (home / "log").open("wb") as log:
        systemd.bind(str(home / "notify"))
        systemd.settimeout(30)
        agent = subprocess.Popen(edgecore("run"), env={**environ, "NOTIFY_SOCKET": str(home / "notify")}, stderr=log)
        try:
            assert systemd.recv(1000) == b"READY=1"
            yield data
            agent.send_signal(signal.SIGTERM)
            assert systemd.recv(1000) == b"STOPPING=1"
            assert agent.wait(timeout=20) == 0
        finally:
            agent.kill()
            agent.wait()


def edgecore(*words: str) -> list[str]:
    return [sys.executable, "-m", "edgecore.main", *words]


def skerry(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skerry.cli.main", *words, "--data", str(data)]
    return forked.run(command, timeout_s=60)


def until(true: Callable[[], bool]) -> None:
    reached(true, lambda: "it did not come to hold", within_s=30)


@pytest.fixture(scope="module")
def tank(cloud: CloudProcess, gate: Path) -> Path:
    """The gateway, once its device is online."""
    manifest = cloud.data.parent / "tank.yaml"
    manifest.write_text(DEVICE)
    cloud.skerry("apply", "-f", str(manifest))
    until(lambda: skerry(cloud.data, "device", "get", "tank", "level").stdout == "7\n")
    return gate


def test_a_mistyped_property_is_refused_and_the_device_goes_on(cloud: CloudProcess, tank: Path) -> None:
    for place in (cloud.data, tank):
        refused = skerry(place, "device", "set", "tank", "levle=3")
        assert refused.returncode == 3
        assert "levle" in refused.stderr
    verified = skerry(cloud.data, "device", "set", "tank", "level=9", "--wait", "verified")
    assert verified.returncode == 0, verified.stderr


def test_a_wrong_configuration_shows_in_the_cloud_as_old_values_and_its_reason(
    cloud: CloudProcess, tank: Path
) -> None:
    add = '[{"op": "add", "path": "/spec/properties/-", "value": {"name": "levle"}}]'
    cloud.kubectl("patch", "device", "tank", "--type=json", "-p", add)
    until(lambda: "stale" in skerry(cloud.data, "device", "get", "tank").stdout)
    waited = skerry(cloud.data, "device", "set", "tank", "level=4", "--wait", "verified", "--timeout", "2s")
    assert waited.returncode == 6
    assert "the device is invalid (spec.properties[levle]" in waited.stderr
    cloud.kubectl("patch", "device", "tank", "--type=json", "-p", '[{"op": "remove", "path": "/spec/properties/1"}]')
    until(lambda: skerry(cloud.data, "device", "get", "tank", "level").stdout == "4\n")


def test_a_watch_of_a_device_that_is_not_there_ends_at_once(cloud: CloudProcess, tank: Path) -> None:
    for place in (cloud.data, tank):
        assert skerry(place, "device", "watch", "tnak").returncode == 3


def test_a_watch_has_its_columns_in_every_line_and_ends_on_an_interrupt(cloud: CloudProcess) -> None:
    cloud.kubectl("create", "configmap", "first")
    # What a shell starts in the background is deaf to interrupts, and so is all that it starts.
    hearing = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{hearing}; from skerry.cli.main import main; main()"
    command = [sys.executable, "-c", program, "get", "configmaps", "-w", "--data", str(cloud.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert watching.stdout.readline().split() == ["NAME", "DATA", "AGE"]
        seen: list[list[str]] = []
        while len(seen) < 2:
            seen.append(watching.stdout.readline().split())
        cloud.kubectl("create", "configmap", "later")
        while seen[-1][0] != "later":
            seen.append(watching.stdout.readline().split())
        assert all(len(cells) == 3 for cells in seen)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=20) == 130
        assert "Traceback" not in watching.stderr.read()


def test_several_kinds_in_json_are_one_list_that_kubectl_takes(cloud: CloudProcess, tank: Path) -> None:
    told = skerry(cloud.data, "get", "nodes,devices", "-o", "json").stdout
    listed = cloud.kubectl("get", "-f", "-", "-o", "name", stdin=told).split()
    assert listed == ["node/gate-1", "device.devices.kubeedge.io/tank"]
    assert skerry(cloud.data, "get", "nodes,devices", "-o", "name").stdout.split() == listed


def test_nobody_sees_a_traceback_of_a_broken_pipe(cloud: CloudProcess) -> None:
    piped = f"{sys.executable} -m skerry.cli.main get clusterroles -o yaml --data {cloud.data} | head -1"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("apiVersion")
    assert "Traceback" not in done.stderr
