"""What a kubelet tells of its node's use, and how it is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecore.pods.figures import (
    Figures,
    NodeFigures,
    PodPlaces,
    Room,
    Wire,
    container_families,
    resource_families,
    summary,
)
from edgecore.pods.measuring import Measuring, MeasuringParts, read_wires
from edgecore.pods.node import read_machine
from edgecore.pods.port import ContainerState, ContainerUsage
from edgecore.pods.records import PodRecord
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.forms.exposition import exposition
from skerry.frozen import replace
from skerry.objects.usage import Count

ROOM = Room(free_bytes=60, total_bytes=100, used_bytes=40, inodes_free=6, inodes=10, inodes_used=4)
NODE = NodeFigures(
    name="eu-1",
    boot_ms=1000,
    whole=Count(at_ms=9000, cpu_ns=5_000_000_000, memory_bytes=70),
    memory_free_bytes=30,
    memory_total_bytes=100,
    cpus=2,
    agent=Count(at_ms=9000, cpu_ns=300, memory_bytes=40),
    agent_start_ms=2000,
    disk=ROOM,
    images=None,
    wires=(Wire(name="eth0", received_bytes=1, received_errors=2, sent_bytes=3, sent_errors=4),),
    pids_max=100,
    pids_used=10,
)
APP = ContainerUsage(
    pod_uid="u", name="app", at_ms=9000, cpu_ns=2_000_000_000, memory_working_set_bytes=7, disk_bytes=5, pids=2
)
SANDBOX = replace(APP, name="", cpu_ns=1_000_000_000, memory_working_set_bytes=1, received_bytes=11, sent_bytes=12)
STATE = ContainerState(
    id="c1",
    sandbox_id="s",
    pod_uid="u",
    name="app",
    attempt=0,
    image="busybox:1",
    image_id="i",
    phase="running",
    started_ms=4000,
)
FIGURES = Figures(
    at_ms=9000,
    node=NODE,
    node_before=Count(at_ms=8000, cpu_ns=4_500_000_000, memory_bytes=70),
    pods=(
        PodPlaces(
            namespace="default",
            name="web",
            uid="u",
            start_ms=3000,
            volumes=(("data", ROOM),),
            log_bytes=(("app", 9),),
        ),
    ),
    usage=(APP, SANDBOX),
    before=(replace(APP, at_ms=8000, cpu_ns=1_900_000_000), replace(SANDBOX, at_ms=8000)),
    states=(STATE,),
)


def test_a_summary_has_the_shape_of_a_kubelets() -> None:
    told: Any = summary(FIGURES)
    node, (pod,) = told["node"], told["pods"]
    assert node["cpu"]["usageNanoCores"] == 500_000_000
    assert (node["memory"]["availableBytes"], node["memory"]["workingSetBytes"]) == (30, 70)
    assert node["systemContainers"][0]["memory"]["workingSetBytes"] == 40
    assert (node["network"]["rxBytes"], node["network"]["interfaces"][0]["txErrors"]) == (1, 4)
    assert node["fs"]["inodesUsed"] == 4 and "runtime" not in node
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u"}
    assert (pod["cpu"]["usageNanoCores"], pod["memory"]["workingSetBytes"]) == (100_000_000, 8)
    assert (pod["network"]["rxBytes"], pod["process_stats"]["process_count"]) == (11, 4)
    assert (pod["volume"][0]["name"], pod["volume"][0]["usedBytes"]) == ("data", 40)
    assert pod["ephemeral-storage"]["usedBytes"] == 40 + 9 + 5
    (container,) = pod["containers"]
    assert container["cpu"]["usageNanoCores"] == 100_000_000
    assert (container["rootfs"]["usedBytes"], container["logs"]["usedBytes"]) == (5, 9)
    assert container["startTime"] == "1970-01-01T00:00:04Z"


def test_what_has_not_been_counted_twice_has_no_rate() -> None:
    told: Any = summary(replace(FIGURES, before=(), node_before=None))
    assert "usageNanoCores" not in told["node"]["cpu"]
    assert "usageNanoCores" not in told["pods"][0]["containers"][0]["cpu"]


def test_metrics_have_the_names_that_dashboards_ask_for() -> None:
    lines = exposition(resource_families(FIGURES)).decode().splitlines()
    where = 'namespace="default",pod="web"'
    assert "node_cpu_usage_seconds_total 5 9000" in lines
    assert f'container_cpu_usage_seconds_total{{container="app",{where}}} 2 9000' in lines
    assert f"pod_memory_working_set_bytes{{{where}}} 8 9000" in lines
    assert f'container_start_time_seconds{{container="app",{where}}} 4' in lines
    lines = exposition(container_families(FIGURES)).decode().splitlines()
    assert f'container_memory_working_set_bytes{{container="app",id="c1",image="busybox:1",{where}}} 7 9000' in lines
    assert f'container_network_receive_bytes_total{{interface="eth0",{where}}} 11 9000' in lines
    assert "machine_cpu_cores 2" in lines
    assert not [line for line in lines if line.startswith("container_memory_rss")], "nobody counted it"


async def test_it_is_counted_on_this_machine_and_below_the_data_directory(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    record = PodRecord(namespace="default", name="web", start_ms=3000, grace_s=1, backoff={}, status={}, gone=False)
    await store.apply(EdgeBatch(pods=(("u", record.encode()), ("v", replace(record, gone=True).encode()))))
    volume = tmp_path / "pods/u/volumes/data"
    volume.mkdir(parents=True)
    (volume / "file").write_bytes(b"x" * 10_000)
    logs = tmp_path / "logs/default_web_u/app"
    logs.mkdir(parents=True)
    (logs / "0.log").write_bytes(b"x" * 10_000)
    measuring = Measuring(
        MeasuringParts(
            store=store,
            runtime=FakeRuntime(clock),
            clock=clock,
            machine=lambda: read_machine(tmp_path),
            node="eu-1",
            directory=tmp_path,
            window_s=0.0,
        )
    )
    told: Any = await measuring.summary()
    assert (told["node"]["nodeName"], told["node"]["fs"]["capacityBytes"] > 0) == ("eu-1", True)
    (pod,) = told["pods"]
    assert pod["volume"][0]["usedBytes"] >= 10_000
    assert pod["ephemeral-storage"]["usedBytes"] >= 20_000
    names = {family.name for family in measuring.agent()}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= names
    assert await measuring.resource() and await measuring.containers()


def test_the_wire_of_the_default_route_comes_first(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    rows = "a\nb\n  lo: 1 0 0 0 0 0 0 0 1 0 0 0\n eth0: 5 0 1 0 0 0 0 0 6 0 2 0\n wlan0: 7 0 0 0 0 0 0 0 8 0 0 0\n"
    (tmp_path / "net/dev").write_text(rows)
    (tmp_path / "net/route").write_text("Iface Destination\nwlan0 00000000 x\n")
    assert [(wire.name, wire.received_bytes, wire.sent_errors) for wire in read_wires(tmp_path)] == [
        ("wlan0", 7, 0),
        ("eth0", 5, 2),
    ]
    assert read_wires(tmp_path / "none") == ()
