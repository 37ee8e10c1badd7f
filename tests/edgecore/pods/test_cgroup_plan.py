"""What cgroups of pods are called, and what may be used in them."""

from __future__ import annotations

import pytest

from edgecore.pods.cgroup_plan import (
    Asked,
    Limits,
    asked_of,
    changed,
    files_of,
    limits_of,
    limits_of_class,
    path_of,
    slice_of,
    steps_of,
    unified_of,
    unit_properties,
    weight_of,
    widest,
)
from edgecore.pods.port import Resources
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import container, pod

MIB = 1 << 20
FULL: JsonObject = {"limits": {"cpu": "1", "memory": "64Mi"}}
PART: JsonObject = {"requests": {"cpu": "250m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}


@pytest.mark.parametrize(
    ("resources", "cgroupfs", "systemd"),
    [
        ({}, "/kubepods/besteffort/poduid-1", "kubepods-besteffort-poduid_1.slice"),
        (PART, "/kubepods/burstable/poduid-1", "kubepods-burstable-poduid_1.slice"),
        (FULL, "/kubepods/poduid-1", "kubepods-poduid_1.slice"),
    ],
)
def test_a_pod_is_below_its_class_and_a_guaranteed_one_below_all(
    resources: Json, cgroupfs: str, systemd: str
) -> None:
    steps = steps_of("/", pod(container(resources=resources)))
    assert path_of(steps, "cgroupfs") == cgroupfs
    assert slice_of(steps) == systemd
    assert path_of(steps, "systemd").split("/")[-1] == systemd
    assert path_of(steps, "systemd").startswith("/kubepods.slice/kubepods-")


def test_all_may_be_below_a_cgroup_of_the_agents_own() -> None:
    steps = steps_of("/site/two", pod())
    assert path_of(steps, "cgroupfs") == "/site/two/kubepods/besteffort/poduid-1"
    assert path_of(steps, "systemd").startswith("/site.slice/site-two.slice/site-two-kubepods.slice/")


def test_a_pod_asks_for_what_it_needs_at_the_most_at_one_time() -> None:
    first: JsonObject = {"requests": {"cpu": "2", "memory": "8Mi"}}
    beside: JsonObject = {"requests": {"cpu": "100m", "memory": "4Mi"}}
    asked = asked_of(
        pod(
            container("a", resources=PART),
            container("b", resources=PART),
            initContainers=[
                container("side", resources=beside, restartPolicy="Always"),
                container("first", resources=first),
            ],
            overhead={"cpu": "10m"},
        )
    )
    assert asked == Asked(cpu=2110, memory=36 * MIB), "init container and sidecar; apps and sidecar"


def test_a_limit_holds_for_the_pod_only_where_every_container_has_one() -> None:
    free = container("free", resources={"requests": {"memory": "1Mi"}})
    assert limits_of(pod(container(resources=PART), free), pids=None, memory_qos=False).memory_bytes is None
    both = limits_of(pod(container(resources=FULL), container("b", resources=PART)), pids=9, memory_qos=True)
    assert both == Limits(cpu_shares=1280, memory_bytes=128 * MIB, memory_min=80 * MIB, pids=9)


def test_what_the_pod_itself_says_comes_first() -> None:
    said = pod(container(resources=PART), resources={"limits": {"cpu": "500m", "memory": "32Mi"}})
    got = limits_of(said, pids=None, memory_qos=False)
    assert (got.cpu_quota_us, got.memory_bytes) == (50_000, 32 * MIB)


def test_who_asks_for_nothing_has_the_least_share_and_no_limit() -> None:
    assert limits_of(pod(), pids=None, memory_qos=True) == Limits()
    assert limits_of_class("besteffort", [pod()], memory_qos=True) == Limits()


def test_a_class_has_the_share_of_its_pods_together() -> None:
    pods = [pod(container(resources=PART))] * 3
    assert limits_of_class("burstable", pods, memory_qos=False) == Limits(cpu_shares=768)
    assert limits_of_class("burstable", pods, memory_qos=True).memory_min == 48 * MIB


def test_files_of_both_versions() -> None:
    limits = Limits(
        cpu_shares=1024, cpu_quota_us=50_000, memory_bytes=MIB, memory_min=5, hugepages=(("2MB", 4 * MIB),), pids=7
    )
    assert {file: text for _, file, text in files_of(limits, 1)} == {
        "cpu.shares": "1024",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "memory.limit_in_bytes": str(MIB),
        "pids.max": "7",
        "hugetlb.2MB.limit_in_bytes": str(4 * MIB),
    }
    assert {file: text for _, file, text in files_of(limits, 2)} == {
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "memory.max": str(MIB),
        "memory.min": "5",
        "pids.max": "7",
        "hugetlb.2MB.max": str(4 * MIB),
    }
    none_1 = {file: text for _, file, text in files_of(Limits(), 1)}
    assert (none_1["cpu.cfs_quota_us"], none_1["memory.limit_in_bytes"], none_1["pids.max"]) == ("-1", "-1", "max")
    none_2 = {file: text for _, file, text in files_of(Limits(), 2)}
    assert (none_2["cpu.max"], none_2["memory.max"]) == ("max 100000", "max")


def test_weights_span_what_shares_span() -> None:
    assert [weight_of(shares) for shares in (0, 2, 1024, 262_144, 1 << 30)] == [1, 1, 39, 10_000, 10_000]


def test_properties_of_a_slice() -> None:
    told = {name: value for name, _, value in unit_properties(Limits(cpu_quota_us=50_000, pids=7), 2)}
    most = str((1 << 64) - 1)
    assert told == {"CPUWeight": "1", "CPUQuotaPerSecUSec": "500000", "MemoryMax": most, "TasksMax": "7"}
    assert {name for name, _, _ in unit_properties(Limits(), 1)} >= {"CPUShares", "MemoryLimit"}


def test_a_container_on_v2_ends_as_a_whole_and_is_slowed_before_where_that_is_wanted() -> None:
    part = container(resources=PART)
    assert unified_of(part, node_bytes=1 << 30, memory_qos=False) == (("memory.oom.group", "1"),)
    high = (16 * MIB + 48 * MIB * 90 // 100) // 4096 * 4096
    assert dict(unified_of(part, node_bytes=1 << 30, memory_qos=True)) == {
        "memory.oom.group": "1",
        "memory.min": str(16 * MIB),
        "memory.high": str(high),
    }
    exact = dict(unified_of(container(resources=FULL), node_bytes=1 << 30, memory_qos=True))
    assert "memory.high" not in exact, "it has all that it asked for"


def test_what_is_not_said_stays_as_it_was() -> None:
    before = Resources(cpu_shares=2, memory_bytes=MIB, oom_score_adj=7)
    assert changed(before, Resources(cpu_shares=512)) == Resources(cpu_shares=512, memory_bytes=MIB, oom_score_adj=7)


def test_what_fits_two_limits_has_the_larger_of_each_and_no_limit_where_one_has_none() -> None:
    one = Limits(cpu_shares=10, cpu_quota_us=200, memory_bytes=5, pids=7)
    other = Limits(cpu_shares=20, cpu_quota_us=100, memory_bytes=None, pids=9)
    assert widest(one, other) == Limits(cpu_shares=20, cpu_quota_us=200, memory_bytes=None, pids=7)
