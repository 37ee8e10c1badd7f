"""The simulated backend: real parts in virtual time do what they do in a real fleet, and the same in every run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.errors import InvalidError, UnavailableError
from skerry.testkit import ApplyError, Edge, Fleet, FleetOptions, open_fleet
from skerry.testkit.simulated.edge import SimulatedEdge
from skerry.testkit.simulated.fleet import SimulatedFleet
from skerry.testkit.waiting import UnmetError

ROOT = Path(__file__).resolve().parents[3]
APP = ROOT / "examples/01-one-fleet/manifests/app.yaml"
BOILER = ROOT / "examples/04-plc/device.yaml"
EU = {"topology.kubernetes.io/region": "eu"}


def running(edge: Edge) -> list[str]:
    """The containers that run, by their ids."""
    return [one.id for pod in edge.pods() for one in pod.containers if one.running]


@pytest.fixture
def eu(fleet: Fleet) -> Edge:
    """A gateway with two pods that run."""
    made = fleet.edge("eu-1", labels=EU)
    fleet.apply(APP)
    fleet.eventually(lambda: len(running(made)) == 2 and all(pod.ready for pod in made.pods()))
    return made


def test_a_manifest_is_running_on_the_gateway_that_it_names(fleet: Fleet, eu: Edge) -> None:
    us = fleet.edge("us-1", labels={"topology.kubernetes.io/region": "us"})
    fleet.eventually(lambda: len(running(us)) == 1)
    assert eu.pod("greeter-us") is None
    assert us.pod("greeter-us") is not None
    fleet.eventually(lambda: all(pod["status"].get("phase") == "Running" for pod in fleet.list("pods")))  # pyright: ignore


def test_pods_come_back_after_a_power_cut_before_the_link_does(fleet: Fleet, eu: Edge) -> None:
    before = running(eu)
    eu.link.cut()
    eu.power_off()
    assert (eu.pods(), eu.running, eu.powered) == ((), False, False)
    eu.power_cycle(off_s=30, clock="1970")
    fleet.eventually(lambda: len(running(eu)) == 2, within_s=30)
    assert not eu.connected
    assert not set(before) & set(running(eu)), "they were started again"
    assert eu.clock.wall_ms < 86_400_000
    eu.link.heal()
    fleet.eventually(lambda: eu.in_step, within_s=120)


def test_an_agent_that_is_killed_leaves_its_pods_alone(fleet: Fleet, eu: Edge) -> None:
    before = running(eu)
    eu.kill()
    with pytest.raises(UnavailableError, match="eu-1 does not run"):
        eu.get("configmap", "greeting")
    assert running(eu) == before
    fleet.wait(60)
    eu.start()
    fleet.eventually(lambda: eu.in_step)
    assert running(eu) == before


def test_a_container_that_crashes_is_started_again_by_the_gateway(fleet: Fleet, eu: Edge) -> None:
    assert isinstance(eu, SimulatedEdge)
    eu.link.cut()
    eu.end_container("greeter-eu", code=3)
    fleet.eventually(lambda: len(running(eu)) == 2)
    assert sorted(pod.restarts for pod in eu.pods()) == [0, 1]


def test_both_ends_notice_a_half_open_link_within_two_heartbeats(fleet: Fleet, eu: Edge) -> None:
    eu.link.half_open(up=False, down=True)
    begun_s = fleet.now_s
    fleet.eventually(lambda: not eu.connected and "eu-1" not in fleet.cloud.connected, within_s=62)
    assert fleet.now_s - begun_s > 25, "nobody was told"
    fleet.eventually(lambda: fleet.cloud.node_ready("eu-1") == "Unknown", within_s=60)
    eu.link.heal()
    fleet.eventually(lambda: eu.in_step and fleet.cloud.node_ready("eu-1") == "True", within_s=90)


def test_a_short_silence_only_delays_what_was_sent(fleet: Fleet, eu: Edge) -> None:
    told = len(fleet.transcript)
    eu.link.half_open()
    fleet.patch("configmap", "greeting", {"data": {"greeting.txt": "later"}})
    fleet.wait(10)
    assert "later" not in str(eu.get("configmap", "greeting"))
    eu.link.heal()
    fleet.eventually(lambda: "later" in str(eu.get("configmap", "greeting")), within_s=5)
    assert not [line for line in fleet.transcript[told:] if "link down" in line], "the connection lived on"


def test_a_slow_link_takes_its_time(fleet: Fleet, eu: Edge) -> None:
    eu.link.slow(kbit=64, loss=0.05, delay_ms=500)
    assert eu.link.state == "64 kbit/s, 5 % loss, 500 ms delay"
    text = "".join(str(number * 7919) for number in range(6000))
    fleet.patch("configmap", "greeting", {"data": {"greeting.txt": text}})
    begun_s = fleet.now_s
    fleet.eventually(lambda: text in str(eu.get("configmap", "greeting")), within_s=120)
    assert fleet.now_s - begun_s > 1.5
    assert eu.connected


def test_what_the_cloud_acknowledged_is_there_after_it_was_killed(fleet: Fleet, eu: Edge) -> None:
    before = running(eu)
    fleet.patch("configmap", "greeting", {"data": {"greeting.txt": "kept"}})
    fleet.cloud.kill()
    with pytest.raises(UnavailableError, match="does not run"):
        fleet.get("configmap", "greeting")
    fleet.wait(120)
    fleet.cloud.start()
    fleet.eventually(lambda: eu.in_step and "kept" in str(eu.get("configmap", "greeting")), within_s=120)
    assert running(eu) == before


def test_a_restored_backup_wins_over_what_the_gateway_has_seen(fleet: Fleet, eu: Edge) -> None:
    backup = fleet.cloud.backup()
    fleet.patch("configmap", "greeting", {"data": {"greeting.txt": "after the backup"}})
    fleet.eventually(lambda: "after the backup" in str(eu.get("configmap", "greeting")))
    fleet.cloud.restore_backup(backup)
    fleet.eventually(lambda: "first edition" in str(eu.get("configmap", "greeting")), within_s=120)


def test_a_desired_value_reaches_the_plc_through_the_real_driver(fleet: Fleet) -> None:
    plc = fleet.plc("boiler", port=5020)
    plc.holding[2] = 200
    edge = fleet.edge("eu-1", devices=BOILER)
    fleet.eventually(lambda: plc.holding[2] == 215)
    fleet.eventually(lambda: getattr(fleet.cloud.twin("boiler-1", "setpoint"), "state", "") == "verified")
    edge.link.cut()
    edge.set_desired("boiler-1", "setpoint", "30")
    fleet.eventually(lambda: plc.holding[2] == 300, within_s=5)
    edge.link.heal()
    fleet.eventually(lambda: getattr(fleet.cloud.twin("boiler-1", "setpoint"), "reported", "") == "30.0", within_s=90)
    assert [write[1:] for write in plc.writes] == [("holding", 2, (215,)), ("holding", 2, (300,))]
    sequences = [reading.sequence for reading in fleet.cloud.history("boiler-1", "setpoint")]
    assert sequences == sorted(set(sequences))
    plc.stop()
    fleet.eventually(lambda: getattr(edge.twin("boiler-1", "setpoint"), "quality", "") == "stale", within_s=30)


def test_a_command_that_is_given_offline_is_carried_out_once(fleet: Fleet) -> None:
    plc = fleet.plc("boiler", port=5020)
    edge = fleet.edge("eu-1", devices=BOILER)
    fleet.eventually(lambda: plc.holding[2] == 215)
    edge.link.cut()
    action = {"deviceRefresh": {"device": "boiler-1", "properties": ["setpoint"]}}
    fleet.apply(
        {"apiVersion": "skerry.dev/v1", "kind": "Command", "metadata": {"name": "look"}, "spec": {"action": action}}
    )
    fleet.wait(30)
    edge.link.heal()
    fleet.eventually(lambda: "'phase': 'Succeeded'" in str(fleet.get("command", "look")), within_s=120)


def test_refusals_read_as_kubectls(fleet: Fleet) -> None:
    with pytest.raises(ApplyError) as caught:
        fleet.apply(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fine}\n---\n"
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndatta: {}\n---\n"
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: -1}\n"
        )
    text = str(caught.value)
    assert 'Error from server (BadRequest): error when applying "text:2"' in text
    assert 'unknown field "datta"' in text
    assert 'The Deployment "web" is invalid:\n* ' in text
    assert fleet.get("cm", "fine") is not None
    assert fleet.get("cm", "typo") is None
    with pytest.raises(ApplyError, match=r"error: can't read absent\.yaml"):
        fleet.apply("absent.yaml")


MAST = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: mast}
spec:
  protocol: mqtt
  properties:
  - {name: wind, type: FLOAT, accessMode: ReadOnly}
  - {name: lamp, type: INT, accessMode: ReadWrite}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: mast}
spec:
  deviceModelRef: {name: mast}
  protocol: {protocolName: mqtt, configData: {host: 127.0.0.1, port: 1883, verifyTimeoutMs: 2000}}
  properties:
  - name: wind
    visitors:
      protocolName: mqtt
      configData: {topic: mast, path: $.wind, sequencePath: $.n, timestampPath: $.at, twin: {everyReading: true}}
  - name: lamp
    visitors:
      protocolName: mqtt
      configData: {topic: mast/lamp, path: $.is, commandTopic: mast/set, commandTemplate: 'lamp=${value}'}
"""


def test_an_mqtt_device_is_read_and_obeys_through_the_fleets_broker(fleet: Fleet) -> None:
    broker = fleet.broker()
    broker.repeat("mast", {"wind": 7.5, "n": "${n}", "at": "${at}"})
    broker.repeat("mast/lamp", {"is": 0}, every_s=5)
    broker.obey("mast/set", "mast/lamp", path="$.is", template="lamp=${value}")
    edge = fleet.edge("eu-1", devices=MAST)
    fleet.eventually(lambda: fleet.cloud.twin("mast", "wind").reported == "7.5")  # pyright: ignore
    fleet.set_desired("mast", "lamp", "3")
    fleet.eventually(lambda: fleet.cloud.twin("mast", "lamp").state == "verified", within_s=10)  # pyright: ignore
    assert [(topic, payload) for _, topic, payload in broker.published] == [("mast/set", b"lamp=3")]
    assert broker.published[0][0] < fleet.now_s
    broker.stop()
    fleet.eventually(lambda: edge.twin("mast", "wind").quality == "stale", within_s=60)  # pyright: ignore
    broker.start()
    broker.repeat("mast", None)
    broker.publish("mast", '{"wind": 9, "n": 1000000, "at": "2026-07-01T09:31:00Z"}')
    fleet.eventually(lambda: edge.twin("mast", "wind").reported == "9.0", within_s=60)  # pyright: ignore
    assert [fault.what for fault in fleet.faults] == ["stopped", "started"]


def test_no_message_is_lost_or_taken_twice_over_crashes_and_power_cuts(fleet: Fleet) -> None:
    broker = fleet.broker()
    edge = fleet.edge("eu-1", devices=MAST)
    fleet.eventually(lambda: edge.in_step and any("connected" in line for line in fleet.transcript))
    fleet.wait(5)
    edge.link.cut()
    for number in range(1, 61):
        broker.publish("mast", {"wind": number, "n": number, "at": 1_782_898_200 + number})
        fleet.wait(0.003)
        if number % 20 == 7:
            edge.kill()
        if number % 20 == 13:
            edge.start()
        if number % 20 == 19:
            edge.power_cycle()
    edge.link.heal()
    fleet.eventually(lambda: edge.in_step and edge.waiting == 0, within_s=120)
    values = [reading.value for reading in fleet.cloud.history("mast", "wind")]
    assert values == [f"{number}.0" for number in range(1, 61)]


def test_who_takes_a_port_that_is_taken_is_told(fleet: Fleet) -> None:
    assert fleet.broker("site") is fleet.broker("site", port=1884)
    with pytest.raises(InvalidError, match="port 1883 is that of broker 'site'"):
        fleet.broker("other")
    with pytest.raises(InvalidError, match=r"broker\(port=...\)"):
        fleet.broker("third", port=0)


def test_faults_that_make_no_sense_are_refused(fleet: Fleet) -> None:
    edge = fleet.edge()
    begun_s = fleet.now_s
    for wrong in ({"kbit": 0.0}, {"loss": 1.0}, {"delay_ms": -1.0}):
        with pytest.raises(InvalidError):
            edge.link.slow(**wrong)
    assert edge.link.state == "healthy"
    with pytest.raises(InvalidError, match=r"edge\('BAD NAME'\)"):
        fleet.edge("BAD NAME")
    with pytest.raises(InvalidError, match=r"clock.step\(seconds\): a number, not 'x'"):
        edge.clock.step("x")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidError, match=r"power_cycle\(clock=...\)"):
        edge.power_cycle(clock="2000")  # pyright: ignore[reportArgumentType]
    assert (fleet.now_s, list(fleet.edges), edge.powered) == (begun_s, ["edge-1"], True), "nothing was done"
    with pytest.raises(InvalidError, match="can't get others"):
        fleet.edge(labels=EU)
    with pytest.raises(InvalidError, match="time does not go back"):
        fleet.wait(-1)
    with pytest.raises(InvalidError, match="holds 0 to 65535"):
        fleet.plc().holding[0] = 70_000


def test_a_refusal_of_a_gateways_devices_names_their_file(fleet: Fleet, tmp_path: Path) -> None:
    wrong = tmp_path / "devices.yaml"
    wrong.write_text(BOILER.read_text().replace("methods:", "methodes:"))
    with pytest.raises(ApplyError, match=r"devices.yaml:2"):
        fleet.edge("us-1", devices=wrong)
    assert fleet.get("device", "boiler-1") is None
    fleet.edge("us-1", devices=BOILER)
    device = fleet.get("device", "boiler-1")
    assert device is not None
    assert device["spec"]["nodeName"] == "us-1"  # pyright: ignore


def test_a_failed_wait_tells_what_was_seen(fleet: Fleet, eu: Edge) -> None:
    with pytest.raises(UnmetError, match=r"(?s)not within 5 s: .*in_step.*seen in 2\d looks:.*False"):
        eu.link.cut()
        fleet.eventually(lambda: eu.in_step, within_s=5)


def test_it_can_be_used_from_a_test_that_runs_on_a_loop(fleet: Fleet) -> None:
    import asyncio

    async def outer() -> bool:
        return fleet.edge().connected

    assert asyncio.run(outer())


def story(directory: Path, seed: int) -> str:
    """A run with a bit of everything; the hash of its transcript."""
    fleet = open_fleet("simulated", FleetOptions(directory=directory, seed=seed))
    assert isinstance(fleet, SimulatedFleet)
    eu, us = fleet.edge("eu-1", labels=EU), fleet.edge("us-1", labels={"topology.kubernetes.io/region": "us"})
    fleet.plc(port=5020)
    fleet.apply(APP, BOILER)
    fleet.wait(60)
    backup = fleet.cloud.backup()
    eu.link.slow(kbit=128, loss=0.1)
    us.link.half_open()
    fleet.delete("deploy", "greeter-us")
    fleet.wait(90)
    eu.power_cycle(5, clock="1970")
    us.kill()
    fleet.wait(10)
    us.start()
    eu.link.heal()
    us.link.heal()
    fleet.cloud.restore_backup(backup)
    fleet.wait(120)
    fleet.close()
    return fleet.digest


def test_one_seed_is_one_transcript_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.skerry.testkit.test_simulated import story; "
        "print(story(Path(sys.argv[1]), int(sys.argv[2])))"
    )
    told: list[str] = []
    for run, (hash_seed, seed) in enumerate((("1", "7"), ("2", "7"), ("3", "8"))):
        command = [sys.executable, "-c", code, str(tmp_path / str(run)), seed]
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[0] == told[1]
    assert told[2] != told[0]


def test_an_hour_is_mostly_jumped_over(fleet: Fleet, eu: Edge, edge: Callable[..., Edge]) -> None:
    begun_s = fleet.now_s
    fleet.wait(3600)
    assert fleet.now_s == begun_s + 3600
    assert edge("eu-1") is eu
    assert eu.in_step
