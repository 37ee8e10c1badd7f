"""Caps by time of day on a simulated link: the real hub, agent and session machines, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from cloudcore.registry.placements import record_key
from edgecore.store.port import EdgeBatch, NewReport
from skerry.errors import InvalidError
from skerry.objects.bandwidth import BANDWIDTH
from skerry.objects.json import JsonObject, str_at
from skerry.objects.twins import DeviceName, Telemetry, encode_telemetry
from skerry.testkit import FleetOptions
from skerry.testkit.simulated.edge import SimulatedEdge
from skerry.testkit.simulated.fleet import SimulatedFleet
from skerry.testkit.simulated.wire import Direction

HEADERS = 1 + 52 / 1448 + 29 / 8192
"""What TCP, IP, TLS and WebSocket add to long frames."""
DEVICE = DeviceName(namespace="default", name="pump", uid="6f6e9c1e-51c3-4e0a-9d77-0f5b1c2d3e4f")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SimulatedFleet]:
    made = SimulatedFleet(FleetOptions(directory=tmp_path, seed=7))
    yield made
    made.close()


@pytest.fixture
def edge(fleet: SimulatedFleet) -> SimulatedEdge:
    made = fleet.edge("e1")
    fleet.eventually(lambda: made.in_step)
    own(fleet)
    return made


def own(fleet: SimulatedFleet) -> None:
    """The pump was a device of e1 once, so that the cloud takes what is told of it."""
    node = fleet.get("node", "e1")
    assert node is not None
    owner: JsonObject = {"apiVersion": "v1", "kind": "Node", "name": "e1", "uid": str_at(node, "metadata", "uid")}
    key = record_key("e1")
    fleet.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": key.name, "namespace": key.namespace, "ownerReferences": [owner]},
            "data": {DEVICE.uid: f"2026-11-01T00:00:00Z {DEVICE.namespace}/{DEVICE.name}"},
        }
    )


def annotate(fleet: SimulatedFleet, plan: str | None) -> None:
    """As `kubectl annotate node e1 skerry.dev/bandwidth=...` does."""
    fleet.patch("node", "e1", {"metadata": {"annotations": {BANDWIDTH: plan}}})


def tell(edge: SimulatedEdge, count: int) -> None:
    """Readings that no compression can shrink much."""
    chance = Random(5)
    reports: list[NewReport] = []
    for number in range(1, count + 1):
        reading = Telemetry(
            device=DEVICE,
            prop=f"p{number % 7}",
            seq=number,
            value=chance.randbytes(100).hex(),
            type="STRING",
            quality="good",
            reason="",
            source_ms=1_795_000_000_000 + number,
        )
        key = f"default/pump/{reading.prop}"
        reports.append(NewReport(report_class="telemetry", kind="telemetry", key=key, body=encode_telemetry(reading)))
    edge._site.loop.do(edge._agent().link._parts.store.apply(EdgeBatch(reports=tuple(reports))))


def carried(fleet: SimulatedFleet, edge: SimulatedEdge, direction: Direction, seconds: float) -> float:
    """Bytes a second with headers, over so long."""
    before = edge._site.route.bytes[direction]
    fleet.wait(seconds)
    return (edge._site.route.bytes[direction] - before) * HEADERS / seconds


def configs(fleet: SimulatedFleet, *, size: int, count: int = 1, label: str = "a") -> None:
    """ConfigMaps that a pod of e1 uses, as random as may be."""
    chance = Random(label)
    names = [f"{label}-{number}" for number in range(count)]
    for name in names:
        metadata = {"name": name, "namespace": "default"}
        data = {"text": chance.randbytes(size // 2).hex()}
        fleet.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    volumes = [{"name": name, "configMap": {"name": name}} for name in names]
    spec = {"nodeName": "e1", "containers": [{"name": "c", "image": "app"}], "volumes": volumes}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": label, "namespace": "default"}, "spec": spec}
    fleet.apply(pod)


def test_a_backlog_keeps_to_the_cap_and_the_node_stays_ready(fleet: SimulatedFleet, edge: SimulatedEdge) -> None:
    """64 kbit/s of line, 16 kbit/s of it allowed: half a minute within a tenth, and nobody falls silent."""
    edge.link.slow(kbit=64)
    annotate(fleet, "up 16kbit")
    fleet.wait(5)
    tell(edge, 5000)
    fleet.wait(10)
    for _ in range(2):
        assert carried(fleet, edge, "up", 30) == pytest.approx(2000, rel=0.1)
    for _ in range(12):
        fleet.wait(10)
        assert edge.in_step and fleet.cloud.node_ready("e1") == "True"
    assert edge.waiting > 0
    annotate(fleet, None)
    fleet.wait(3)
    assert carried(fleet, edge, "up", 15) > 6000, "the line is full again"
    fleet.eventually(lambda: edge.waiting == 0, within_s=300)


def test_after_the_cap_s_hours_a_backlog_runs_at_full_rate(fleet: SimulatedFleet, edge: SimulatedEdge) -> None:
    now = fleet.cloud.clock.wall_ms() // 60_000 % 1440
    begin, end = (f"{at // 60 % 24:02d}:{at % 60:02d}" for at in (now - 1, now + 3))
    annotate(fleet, f"{begin}-{end} up 16kbit; else up unlimited")
    fleet.wait(2)
    tell(edge, 2000)
    assert carried(fleet, edge, "up", 30) < 2600
    fleet.wait(240 - fleet.cloud.clock.wall_ms() // 1000 % 60 - 32 + 60)
    fleet.eventually(lambda: edge.waiting == 0, within_s=30)


def test_objects_keep_to_the_cap_down_and_a_command_overtakes_them(
    fleet: SimulatedFleet, edge: SimulatedEdge
) -> None:
    configs(fleet, size=10, label="app")
    fleet.eventually(lambda: [pod for pod in edge.pods() if pod.running])
    annotate(fleet, "down 16kbit")
    fleet.wait(2)
    configs(fleet, size=4000, count=50)
    fleet.wait(5)
    assert carried(fleet, edge, "down", 30) == pytest.approx(2000, rel=0.1)
    command = {
        "apiVersion": "skerry.dev/v1",
        "kind": "Command",
        "metadata": {"name": "again", "namespace": "default"},
        "spec": {"action": {"podRestart": {"pod": "app"}}, "expiresAfterSeconds": 600},
    }
    fleet.apply(command)
    fleet.eventually(lambda: [pod for pod in edge.pods() if pod.name == "app" and pod.restarts], within_s=10)
    assert edge.get("configmap", "a-49") is None
    fleet.eventually(lambda: edge.get("configmap", "a-49") is not None, within_s=200)
    assert edge.in_step or edge.connected


def test_one_object_larger_than_a_minute_of_the_cap_arrives(fleet: SimulatedFleet, edge: SimulatedEdge) -> None:
    annotate(fleet, "down 4kbit")
    fleet.wait(2)
    configs(fleet, size=230_000, label="huge")
    fleet.eventually(lambda: edge.get("configmap", "huge-0") is not None, within_s=30)
    before = edge._site.route.bytes["down"]
    configs(fleet, size=2000, label="next")
    fleet.wait(60)
    assert edge.get("configmap", "next-0") is None, "what went before is paid for first"
    assert edge._site.route.bytes["down"] - before < 3000
    assert edge.connected and fleet.cloud.node_ready("e1") == "True"


def test_a_pause_lets_pass_only_what_is_urgent_and_a_plan_ends_it_within_seconds(
    fleet: SimulatedFleet, edge: SimulatedEdge
) -> None:
    annotate(fleet, "pause")
    fleet.wait(2)
    tell(edge, 200)
    configs(fleet, size=2000)
    fleet.wait(1800)
    assert edge.connected and edge.waiting >= 200 and edge.get("configmap", "a-0") is None
    assert fleet.cloud.node_ready("e1") == "True"
    annotate(fleet, "1mbit")
    fleet.eventually(lambda: edge.waiting == 0 and edge.get("configmap", "a-0") is not None, within_s=10)
    readings = [reading for prop in range(7) for reading in fleet.cloud.history("pump", f"p{prop}")]
    assert len(readings) == 200
    took_ms = max(reading.at_ms for reading in readings) - min(reading.at_ms for reading in readings)
    assert took_ms < 2000, "however long they waited for the cap, all were read at the same time"
    assert fleet.cloud.clock.wall_ms() - readings[0].at_ms > 1_790_000


def test_a_reconnect_is_no_way_around_a_cap(fleet: SimulatedFleet, edge: SimulatedEdge) -> None:
    annotate(fleet, "up 16kbit")
    fleet.wait(2)
    tell(edge, 3000)
    fleet.wait(20)
    before, began_s = edge._site.route.bytes["up"], fleet.now_s
    for _ in range(10):
        edge.link.cut()
        edge.link.heal()
        fleet.eventually(lambda: edge.connected)
        fleet.wait(3)
    assert edge._site.route.bytes["up"] - before < 1.25 * 2000 * (fleet.now_s - began_s) + 16_000


def test_a_plan_outlives_a_power_cut_and_an_unknown_time_is_the_strictest_hour(
    fleet: SimulatedFleet, edge: SimulatedEdge
) -> None:
    annotate(fleet, "12:00-12:01 up 8kbit; else up unlimited")
    fleet.wait(2)
    edge.link.cut()
    edge.power_cycle(off_s=5, clock="1970")
    fleet.wait(2)
    shown = edge._agent().link.bandwidth()
    assert (shown["up"], shown["timeUnknown"]) == ("8kbit", True)
    edge.link.heal()
    fleet.eventually(lambda: edge.connected, within_s=120)
    assert "timeUnknown" not in edge._agent().link.bandwidth()


def test_a_plan_that_makes_no_sense_is_refused_with_the_way_out(fleet: SimulatedFleet, edge: SimulatedEdge) -> None:
    with pytest.raises(InvalidError, match=r"metadata.annotations\[skerry.dev/bandwidth\]: Invalid value.*64kbit"):
        annotate(fleet, "64kb")
