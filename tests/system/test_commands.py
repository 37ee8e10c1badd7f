"""Commands from kubectl and the CLI to a PLC on libmodbus, over links and agents that fail: once or not at all."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject, dig, ensure_map, map_at, str_at
from tests.system.real_fleet import CORE, RealFleet, pod, real_fleet, until
from tests.system.test_devices import Plc, example, plc

__all__ = ["plc"]

pytestmark = pytest.mark.system

API = "/apis/skerry.dev/v1/namespaces/default/commands"
SETPOINT, WRITES = 2, 10
"""Registers of the PLC: the setpoint in tenths, and how many writes it has seen."""


@pytest.fixture
def fleet(tmp_path: Path, plc: Plc) -> Iterator[RealFleet]:
    """A cloud, a gateway that runs, and a boiler on it."""
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as made:
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready")
        for obj in example("04-plc", plc.port):
            ensure_map(obj, "metadata").pop("uid", None)
            if obj["kind"] == "Device":
                map_at(obj, "spec", "protocol", "configData")["timeoutMs"] = 15_000
            kind = "devicemodels" if obj["kind"] == "DeviceModel" else "devices"
            made.create(f"/apis/devices.kubeedge.io/v1beta1/namespaces/default/{kind}", obj)
        until(lambda: made.device_state("boiler-1") == "online", "the boiler is there")
        yield made


def give(fleet: RealFleet, name: str, setpoint: str, *, expires_s: int = 600) -> None:
    action: JsonObject = {
        "deviceMethod": {"device": "boiler-1", "method": "purge", "parameters": {"setpoint": setpoint}}
    }
    spec: JsonObject = {"action": action, "expiresAfterSeconds": expires_s}
    fleet.create(API, {"apiVersion": "skerry.dev/v1", "kind": "Command", "metadata": {"name": name}, "spec": spec})


def command(fleet: RealFleet, name: str) -> JsonObject:
    return fleet.find(f"{API}/{name}") or {}


def phase(fleet: RealFleet, name: str) -> str:
    return str_at(command(fleet, name), "status", "phase")


def test_a_method_call_of_the_cli_reaches_the_plc_once_and_kubectl_sees_it(fleet: RealFleet, plc: Plc) -> None:
    before = plc.register(WRITES)
    said = json.loads(fleet.cloud.skerry("device", "call", "boiler-1", "purge", "setpoint=15", "-o", "json"))
    assert str_at(said, "status", "phase") == "Succeeded"
    assert dig(said, "status", "result", "properties", "setpoint", "state") == "verified"
    assert dig(said, "status", "result", "properties", "temperature", "quality") == "good"
    assert (plc.register(SETPOINT), plc.register(WRITES)) == (150, before + 1)
    name = str_at(said, "metadata", "name")
    fleet.cloud.kubectl("wait", "--for=condition=Complete", f"command/{name}", "--timeout=10s")
    assert "Succeeded" in fleet.cloud.kubectl("get", "cmd", name)
    assert "deviceMethod" in fleet.cloud.kubectl("explain", "command.spec.action")
    assert name in fleet.cloud.skerry("command", "list")
    local = fleet.edge.api.request("GET", f"{API}/{name}").obj
    assert str_at(local, "status", "phase") == "Succeeded", "the gateway shows it, too"
    refreshed = json.loads(fleet.cloud.skerry("device", "refresh", "boiler-1", "setpoint", "-o", "json"))
    assert dig(refreshed, "status", "result", "properties", "setpoint", "value") == "15.0"


def test_what_is_asked_while_the_link_is_cut_happens_once_when_it_heals(fleet: RealFleet, plc: Plc) -> None:
    before = plc.register(WRITES)
    fleet.edge.api.request("POST", "/skerry/link/cut", body={})
    until(lambda: fleet.ready() == "Unknown", "the cloud sees that the node is silent")
    give(fleet, "late", "16")
    give(fleet, "too-late", "17", expires_s=1)
    until(lambda: phase(fleet, "too-late") == "Expired", "what was never offered expires")
    assert phase(fleet, "late") == "Pending"
    fleet.edge.api.request("POST", "/skerry/link/heal", body={})
    fleet.cloud.kubectl("wait", "--for=condition=Complete", "command/late", "--timeout=60s")
    for _ in range(2):
        fleet.edge.api.request("POST", "/skerry/link/cut", body={})
        fleet.edge.api.request("POST", "/skerry/link/heal", body={})
    fleet.edge.stop()
    fleet.edge.start()
    until(lambda: fleet.edge.link_state() == "connected", "the link is up again")
    assert (plc.register(SETPOINT), plc.register(WRITES)) == (160, before + 1)


def test_an_agent_that_is_killed_while_it_runs_a_command_never_runs_it_again(fleet: RealFleet, plc: Plc) -> None:
    before = plc.register(WRITES)
    plc.process.send_signal(signal.SIGSTOP)
    try:
        give(fleet, "dying", "18")
        until(lambda: phase(fleet, "dying") == "Running", "the command was begun")
        fleet.edge.stop(signal.SIGKILL)
    finally:
        plc.process.send_signal(signal.SIGCONT)
    fleet.edge.start()
    until(lambda: phase(fleet, "dying") == "Unknown", "nobody can know")
    assert str_at(command(fleet, "dying"), "status", "reason") == "Interrupted"
    fleet.cloud.kubectl("wait", "--for=condition=Failed", "command/dying", "--timeout=10s")
    fleet.cloud.stop(signal.SIGKILL)
    fleet.start_cloud()
    until(lambda: fleet.edge.link_state() == "connected", "the link is up again")
    assert plc.register(WRITES) <= before + 1


def test_a_pod_is_restarted_in_place_once(fleet: RealFleet) -> None:
    fleet.create(f"{CORE}/pods", pod("worker"))
    until(lambda: fleet.run_of("worker"), "the pod runs")
    first = fleet.run_of("worker")
    said = json.loads(fleet.cloud.skerry("pod", "restart", "worker", "-o", "json"))
    assert dig(said, "status", "result", "containers", "app", "restartCount") == 1
    until(lambda: fleet.run_of("worker") not in ("", first), "it runs anew")
    spec: JsonObject = {"nodeName": "eu-1", "action": {"imagePull": {"image": "x"}}}
    fleet.create(API, {"apiVersion": "skerry.dev/v1", "kind": "Command", "metadata": {"name": "p"}, "spec": spec})
    until(lambda: phase(fleet, "p") == "Rejected", "a gateway says what it can't do")
    assert "this gateway does not do ImagePull" in str_at(command(fleet, "p"), "status", "message")


def test_a_cancelled_command_is_not_begun(fleet: RealFleet, plc: Plc) -> None:
    before = plc.register(WRITES)
    fleet.edge.stop()
    until(lambda: fleet.ready() == "Unknown", "the node is silent")
    give(fleet, "never", "19")
    assert "Cancelled" in fleet.cloud.skerry("command", "cancel", "never", "--timeout", "30s")
    fleet.edge.start()
    until(lambda: fleet.edge.link_state() == "connected", "the link is up again")
    time.sleep(1.0)
    assert plc.register(WRITES) == before


def test_waiting_says_for_whom_and_ends_with_the_deadline(fleet: RealFleet, plc: Plc) -> None:
    """Right after a cut neither the cloud nor its user knows; nobody waits longer than the help says."""
    fleet.edge.api.request("POST", "/skerry/link/cut", body={})
    until(lambda: fleet.ready() == "Unknown", "the cloud sees that the node is silent")
    begun_s = time.monotonic()
    given = fleet.cloud.try_skerry("device", "call", "boiler-1", "purge", "setpoint=17", "--deadline", "2s")
    assert given.returncode == 6, given.stderr
    assert "waiting for eu-1, which is not heard now, until its deadline, in " in given.stderr
    assert time.monotonic() - begun_s < 40, "it took the 2 s, 5 s for the word of it, and a busy machine"
    fleet.edge.api.request("POST", "/skerry/link/heal", body={})


def test_what_the_model_does_not_take_is_refused_at_once_by_cli_and_kubectl(fleet: RealFleet, plc: Plc) -> None:
    for args, said in (
        (("device", "set", "boiler-1", "temperature=4"), "temperature is read-only"),
        (("device", "set", "boiler-1", "setpoint=abc"), "'abc' is not"),
        (("device", "refresh", "boiler-1", "bogus"), "spec.action.deviceRefresh.properties[0]"),
        (("device", "call", "boiler-1", "purge", "setpoint=abc"), "spec.action.deviceMethod.parameters[setpoint]"),
    ):
        refused = fleet.cloud.try_skerry(*args)
        assert (refused.returncode, said in refused.stderr) == (5, True), (args, refused.stderr)
    patch = json.dumps([{"op": "add", "path": "/spec/properties/0/desired", "value": {"value": "4"}}])
    told = fleet.cloud.kubectl("patch", "device", "boiler-1", "--type=json", "-p", patch, check=False)
    assert 'spec.properties[0].desired.value: Invalid value: "4": temperature is read-only' in told
