"""What containers may use, in the kernel's numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.pods.port import Resources
from edgecore.pods.qos import oom_score_adj, qos_class, resources_of
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import container, pod, pod_with

GIB = 1 << 30


@pytest.mark.parametrize(
    ("resources", "name"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "0"}}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_qos_classes(resources: Json, name: str) -> None:
    assert qos_class(pod(container(resources=resources))) == name


def test_an_init_container_counts_for_the_class() -> None:
    full: JsonObject = {"limits": {"cpu": "1", "memory": "1Gi"}}
    assert qos_class(pod(container(resources=full), initContainers=[container("init")])) == "Burstable"


def numbers(resources: Json) -> Resources:
    one = container(resources=resources)
    return resources_of(pod(one), one, memory_bytes=4 * GIB)


def test_amounts_become_the_kernels_numbers() -> None:
    got = numbers({"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "1500m", "memory": "2Gi"}})
    assert got == Resources(
        cpu_shares=256, cpu_period_us=100_000, cpu_quota_us=150_000, memory_bytes=2 * GIB, oom_score_adj=750
    )
    assert numbers({}) == Resources(cpu_shares=2, cpu_period_us=100_000, oom_score_adj=1000)
    assert numbers({"limits": {"cpu": "1m"}}).cpu_quota_us == 1000, "the kernel takes no less"
    assert numbers({"requests": {"cpu": "1000"}}).cpu_shares == 262_144, "nor more"
    assert numbers({"limits": {"cpu": "2"}}).cpu_shares == 2048, "who says only a limit asks for it"
    assert numbers({"limits": {"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi"}}).hugepages == (
        ("1GB", GIB),
        ("2MB", 4 << 20),
    )


def score(resources: Json, **spec: Json) -> int:
    return oom_score_adj(pod_with(spec, container(resources=resources)), "app", memory_bytes=4 * GIB)


def test_who_was_promised_more_is_ended_later() -> None:
    assert score({"limits": {"cpu": "1", "memory": "1Gi"}}) == -997
    assert score({}) == 1000
    assert score({}, priorityClassName="system-node-critical") == -997
    assert score({"requests": {"memory": "1Gi"}}) == 750
    assert score({"requests": {"memory": "1Ki"}}) == 999
    assert score({"requests": {"memory": "40Gi"}}) == 3


def test_a_sidecar_is_not_ended_before_its_app() -> None:
    side = container("side", restartPolicy="Always", resources={"requests": {"memory": "10Mi"}})
    both = pod(container(resources={"requests": {"memory": "2Gi"}}), initContainers=[side])
    assert oom_score_adj(both, "side", memory_bytes=4 * GIB) == 500


@given(st.integers(0, 1 << 50), st.integers(1, 1 << 45))
def test_a_burstable_score_stays_between_the_others(asked: int, memory_bytes: int) -> None:
    one = container(resources={"requests": {"memory": str(asked), "cpu": "1m"}})
    assert 3 <= oom_score_adj(pod(one), "app", memory_bytes=memory_bytes) <= 999
