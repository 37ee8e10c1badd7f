"""What a gateway tells of itself as a Node."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from edgecore.pods.eviction import Amount, EvictionSettings, Threshold
from edgecore.pods.node import (
    Machine,
    NodeIdentity,
    NodeReporter,
    RuntimeFacts,
    allocatable_of,
    amounts_of,
    node_report,
    read_machine,
)
from edgecore.pods.port import ImageState, RuntimeStatus
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.store.backlog import Backlog
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_ADDRESS, META_EPOCH, EdgeBatch, Held, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.frozen import replace
from skerry.objects.conditions import find_condition
from skerry.objects.functions import NodeFunction
from skerry.objects.json import JsonObject, decode_object, encode_object, map_at, maps_at, str_at
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.reports import BACKLOG, NodeStatusReport
from skerry.wire.frames import PROMPT

GIB = 1 << 30
MACHINE = Machine(
    hostname="pi",
    addresses=("10.0.0.7",),
    architecture="arm64",
    kernel="6.1",
    os_image="Debian",
    machine_id="m",
    system_uuid="u",
    boot_id="b",
    cpus=4,
    memory_bytes=GIB,
    memory_free_bytes=GIB // 2,
    disk_bytes=10 * GIB,
    disk_free_bytes=5 * GIB,
    pids_max=32768,
    pids_used=100,
)
NOTHING = Backlog(reports=0, since_ms=0, dropped=0)
IDENTITY = NodeIdentity(
    name="gate-1",
    labels={"topology.kubernetes.io/region": "eu"},
    agent_version="v1",
    runtime_version="process://1",
)


def truth(report: NodeStatusReport, kind: str) -> str:
    return str_at(find_condition(maps_at(report.status, "conditions"), kind) or {}, "status")


def test_a_node_tells_all_that_clients_require() -> None:
    report = node_report(IDENTITY, MACHINE, {}, NOTHING, now_ms=0)
    assert map_at(report.status, "capacity") == {
        "cpu": "4",
        "memory": "1048576Ki",
        "ephemeral-storage": "10485760Ki",
        "pods": "110",
    }
    info = map_at(report.status, "nodeInfo")
    strings = "machineID systemUUID bootID kernelVersion osImage containerRuntimeVersion kubeletVersion"
    assert all(info[name] for name in strings.split())
    assert (info["kubeProxyVersion"], info["operatingSystem"], info["architecture"]) == ("", "linux", "arm64")
    assert report.labels["kubernetes.io/hostname"] == "gate-1"
    assert report.labels["topology.kubernetes.io/region"] == "eu"
    kinds = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
    assert [truth(report, kind) for kind in kinds] == ["True", "False", "False", "False"]


def test_what_there_is_too_little_of_is_told_in_conditions() -> None:
    short = node_report(IDENTITY, MACHINE, {}, NOTHING, now_ms=0, pressures={"DiskPressure", "PIDPressure"})
    kinds = ("MemoryPressure", "DiskPressure", "PIDPressure")
    assert [truth(short, kind) for kind in kinds] == ["False", "True", "True"]
    disk = find_condition(maps_at(short.status, "conditions"), "DiskPressure") or {}
    assert (str_at(disk, "reason"), str_at(disk, "message")) == (
        "KubeletHasDiskPressure",
        "edgecore has too little disk space available",
    )
    better = node_report(IDENTITY, MACHINE, short.status, NOTHING, now_ms=60_000)
    disk = find_condition(maps_at(better.status, "conditions"), "DiskPressure") or {}
    assert (str_at(disk, "status"), str_at(disk, "lastTransitionTime")) == ("False", "1970-01-01T00:01:00Z")


def test_what_the_gateway_does_for_its_site_is_a_condition_each() -> None:
    well = NodeFunction(kind="ServiceAddresses", works=True, reason="Nftables", message="led by nftables")
    ill = NodeFunction(kind="Ingress", works=False, reason="IngressFailed", message="x" * 1000)
    report = node_report(IDENTITY, MACHINE, {}, NOTHING, now_ms=0, functions=(well, ill))
    assert [truth(report, kind) for kind in ("ServiceAddresses", "Ingress")] == ["True", "False"]
    told = find_condition(maps_at(report.status, "conditions"), "Ingress") or {}
    assert (str_at(told, "reason"), len(str_at(told, "message"))) == ("IngressFailed", 400)
    assert truth(node_report(IDENTITY, MACHINE, report.status, NOTHING, now_ms=1), "Ingress") == ""


async def test_a_new_condition_is_told_when_it_is_said_to_be_there(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    pressures: set[str] = set()
    reporter = NodeReporter(store, clock, lambda: IDENTITY, lambda: MACHINE, pressures=lambda: pressures)
    task = asyncio.create_task(reporter.run())
    async with asyncio.timeout(5):  # well below the time between two looks
        for head in (1, 2):
            while store.outbox_head() < head:
                await asyncio.sleep(0.005)
            pressures.add("MemoryPressure")
            reporter.poke()
    task.cancel()
    store.close()


def test_a_backlog_is_a_condition_that_changes_in_steps() -> None:
    def told(reports: int, age_s: int, before: NodeStatusReport | None = None) -> NodeStatusReport:
        backlog = Backlog(reports=reports, since_ms=0, dropped=0)
        return node_report(IDENTITY, MACHINE, before.status if before else {}, backlog, now_ms=age_s * 1000)

    fresh = told(3000, 59)
    assert truth(fresh, BACKLOG) == "False"
    begun = told(3000, 60, fresh)
    assert truth(begun, BACKLOG) == "True"
    assert told(3400, 110, begun) == begun, "within a step nothing is new"
    assert told(4096, 110, begun) != begun
    assert truth(told(1, 30, begun), BACKLOG) == "True"
    over = told(1, 29, begun)
    assert truth(over, BACKLOG) == "False"
    found = find_condition(maps_at(begun.status, "conditions"), BACKLOG)
    assert str_at(found, "message") == (
        "edgecore has at least 2048 reports that wait for the cloud, the oldest for a minute or longer"
    )
    assert str_at(found, "lastTransitionTime") == "1970-01-01T00:01:00Z"


async def test_a_backlog_costs_the_outbox_one_report(tmp_path: Path) -> None:
    clock = ManualClock(wall_ms=1_790_000_000_000)
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    reporter = NodeReporter(store, clock, lambda: IDENTITY, partial(read_machine, tmp_path))
    reading = NewReport(report_class="telemetry", kind="telemetry", key="s", body=b"{}")
    heads: list[int] = []
    for _ in range(200):
        await store.apply(EdgeBatch(reports=(reading,)))
        before = store.outbox_head()
        await reporter.look()
        heads.append(store.outbox_head() - before)
        clock.advance(10)
    assert sum(heads) < 20, "steps, not looks"
    (told,) = store.outbox(after=0, limit=10, lane=PROMPT)
    report = NodeStatusReport.decode(decode_object(told.body))
    assert truth(report, BACKLOG) == "True"
    await store.prune_outbox(through=store.outbox_head())
    await reporter.look()
    (told,) = store.outbox(after=0, limit=10)
    assert truth(NodeStatusReport.decode(decode_object(told.body)), BACKLOG) == "False"
    store.close()


async def test_what_did_not_change_is_not_told_again(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    reporter = NodeReporter(store, clock, lambda: IDENTITY, partial(read_machine, tmp_path))
    await reporter.look()
    clock.advance(3600)
    await reporter.look()
    (told,) = store.outbox(after=0, limit=10)
    assert NodeStatusReport.decode(decode_object(told.body)).labels["kubernetes.io/os"] == "linux"
    store.close()


async def test_a_restored_cloud_is_told_of_the_node_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    task = asyncio.create_task(NodeReporter(store, clock, lambda: IDENTITY, partial(read_machine, tmp_path)).run())
    async with asyncio.timeout(5):  # well below the time between two looks
        for epoch in ("e1", "e2"):
            while not store.outbox(after=0, limit=1):
                await asyncio.sleep(0.005)
            await store.prune_outbox(through=store.outbox_head())
            await store.apply(EdgeBatch(meta=((META_EPOCH, epoch),)))
        while not (told := store.outbox(after=0, limit=10)):
            await asyncio.sleep(0.005)
    assert len(told) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.close()


async def test_a_node_that_was_made_again_is_told_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    await store.apply(EdgeBatch(puts=(a_node("uid-1", 1),)))
    reporter = NodeReporter(store, clock, lambda: IDENTITY, lambda: MACHINE)
    await reporter.look()
    await store.apply(EdgeBatch(puts=(a_node("uid-1", 2),)))
    await reporter.look()
    assert store.outbox_head() == 1, "a change of the same Node is no news to it"
    task = asyncio.create_task(reporter.run())
    async with asyncio.timeout(5):  # well below the time between two looks
        await store.apply(EdgeBatch(puts=(a_node("uid-2", 3),)))
        while store.outbox_head() == 1:
            await asyncio.sleep(0.005)
    await store.apply(EdgeBatch(deletes=(Key("nodes", "", "gate-1"),)))
    await reporter.look()
    assert store.outbox_head() == 2, "and there is nobody to tell where it is gone"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.close()


async def test_conditions_keep_their_time_of_change_over_a_restart_of_the_agent(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    last: JsonObject = {
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2001-02-03T04:05:06Z"},
            {"type": "DiskPressure", "status": "True", "lastTransitionTime": "2001-02-03T04:05:06Z"},
        ]
    }
    await store.apply(EdgeBatch(puts=(a_node("uid-1", 1, {"status": last}),)))
    await NodeReporter(store, clock, lambda: IDENTITY, lambda: MACHINE).look()
    (told,) = store.outbox(after=0, limit=10)
    conditions = maps_at(NodeStatusReport.decode(decode_object(told.body)).status, "conditions")
    since = {str_at(each, "type"): str_at(each, "lastTransitionTime") for each in conditions}
    assert since["Ready"] == "2001-02-03T04:05:06Z"
    assert since["DiskPressure"] > "2001-02-03T04:05:06Z", "it holds no more"
    store.close()


def a_node(uid: str, revision: int, obj: JsonObject | None = None) -> Held:
    stamp = Stamp(uid, Revision(revision))
    return Held(key=Key("nodes", "", IDENTITY.name), stamp=stamp, body=encode_object(obj or {}))


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    machine = read_machine(tmp_path)
    assert machine.cpus > 0 and machine.memory_bytes > machine.memory_free_bytes > 0
    assert machine.addresses and machine.boot_id and machine.os_image and machine.kernel


async def test_a_new_address_is_told_and_remembered_for_a_start_without_a_route(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    here, moved = [MACHINE], list[str]()
    reporter = NodeReporter(store, clock, lambda: IDENTITY, lambda: here[0], moved.append)
    heads: list[int] = []
    known: list[str | None] = []
    for address in ("127.0.0.1", "10.0.0.7", "10.0.0.7", "10.0.0.8", "127.0.0.1"):
        here[0] = replace(MACHINE, addresses=(address,))
        await reporter.look()
        heads.append(store.outbox_head())
        known.append(store.meta(META_ADDRESS))
    assert heads == [1, 2, 2, 3, 4]
    assert moved == ["127.0.0.1", "10.0.0.7", "10.0.0.8", "127.0.0.1"]
    assert known == [None, "10.0.0.7", "10.0.0.7", "10.0.0.8", "10.0.0.8"]
    store.close()


def test_a_runtime_that_is_not_ready_keeps_the_node_from_being_so() -> None:
    report = node_report(
        IDENTITY, MACHINE, {}, NOTHING, now_ms=0, runtime=RuntimeFacts(fault="container runtime is down")
    )
    ready = find_condition(maps_at(report.status, "conditions"), "Ready") or {}
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False",
        "KubeletNotReady",
        "container runtime is down",
    )


def test_the_largest_images_are_told_digests_first() -> None:
    images = tuple(
        ImageState(id=str(size), names=(f"app:{size}", f"app@sha256:{size}"), size_bytes=size) for size in range(60)
    )
    status = node_report(IDENTITY, MACHINE, {}, NOTHING, now_ms=0, runtime=RuntimeFacts(images=images)).status
    told = maps_at(status, "images")
    assert len(told) == 50
    assert told[0] == {"names": ["app@sha256:59", "app:59"], "sizeBytes": 59}


async def test_a_runtime_that_does_not_answer_is_told_and_its_images_stay(tmp_path: Path) -> None:
    clock = ManualClock()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
    runtime = FakeRuntime(clock)
    await runtime.ensure_image("app", "IfNotPresent", ())
    reporter = NodeReporter(store, clock, lambda: IDENTITY, partial(read_machine, tmp_path), runtime=runtime)

    async def told() -> tuple[str, list[JsonObject]]:
        await reporter.look()
        (report,) = store.outbox(after=0, limit=10)
        status = NodeStatusReport.decode(decode_object(report.body)).status
        ready = find_condition(maps_at(status, "conditions"), "Ready") or {}
        return str_at(ready, "message"), maps_at(status, "images")

    images: list[JsonObject] = [{"names": ["app"], "sizeBytes": 0}]
    assert await told() == ("edgecore is ready", images)
    runtime.unavailable = "gone"
    assert await told() == ("container runtime is down", images)
    runtime.unavailable = ""
    fault = "NetworkReady=false reason:x message:y"
    runtime.told = RuntimeStatus(ready=True, network_ready=False, message=fault)
    assert await told() == (f"container runtime network not ready: {fault}", images)
    store.close()


def test_what_hard_thresholds_keep_free_is_not_allocatable() -> None:
    machine = replace(MACHINE, memory_bytes=1 << 30, disk_bytes=100 << 30, hugepages=())
    hard = (
        Threshold(signal="memory.available", amount=Amount(units=64 << 20)),
        Threshold(signal="nodefs.available", amount=Amount(share=0.1)),
        Threshold(signal="pid.available", amount=Amount(share=0.5)),
    )
    soft = Threshold(signal="memory.available", amount=Amount(units=256 << 20), grace_s=60)
    left = allocatable_of(machine, {"memory": "64Mi"}, EvictionSettings(thresholds=(*hard, soft)))
    assert left["memory"] == f"{(1024 - 128) * 1024}Ki"
    assert left["ephemeral-storage"] == f"{90 << 20}Ki"
    assert left["pods"] == amounts_of(machine)["pods"]


def test_what_is_reserved_is_capacity_and_not_allocatable() -> None:
    machine = replace(MACHINE, cpus=2, memory_bytes=1 << 30, hugepages=(("hugepages-2Mi", "4096Ki"),))
    assert amounts_of(machine)["hugepages-2Mi"] == "4096Ki"
    left = allocatable_of(machine, {"cpu": "100m", "memory": "64Mi", "pods": "10", "unknown": "1"})
    assert (left["cpu"], left["memory"], left["pods"]) == ("1900m", f"{1024 * 1024 - 64 * 1024 - 4096}Ki", "100")
    assert allocatable_of(machine, {"memory": "2Gi"})["memory"] == "0Ki"
    plain = replace(machine, hugepages=())
    assert allocatable_of(plain, {}) == amounts_of(plain)
