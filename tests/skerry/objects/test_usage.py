"""Counts become rates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.objects.json import Json
from skerry.objects.usage import Count, Sample, Used, node_metrics, pod_metrics, rates, used

counts = st.builds(
    Count,
    at_ms=st.integers(0, 10**13),
    cpu_ns=st.integers(0, 10**18),
    memory_bytes=st.integers(0, 10**12),
)


def count(at_ms: int, cpu_ns: int, memory_bytes: int = 2048) -> Count:
    return Count(at_ms=at_ms, cpu_ns=cpu_ns, memory_bytes=memory_bytes)


def test_half_a_processor_is_half_a_processor() -> None:
    found = used(count(1000, 0), count(3000, 10**9, 4096))
    assert found == Used(at_ms=3000, window_ms=2000, cpu_ns_s=500_000_000, memory_bytes=4096)
    assert found is not None
    assert found.shown() == {"cpu": "500000000n", "memory": "4Ki"}


def test_no_time_and_a_counter_that_went_back_say_nothing() -> None:
    assert used(count(1000, 0), count(1000, 5)) is None
    assert used(count(2000, 0), count(1000, 5)) is None
    assert used(count(1000, 6), count(2000, 5)) is None


@given(counts, counts)
def test_a_rate_is_never_negative(before: Count, now: Count) -> None:
    found = used(before, now)
    assert found is None or (found.cpu_ns_s >= 0 and found.window_ms > 0)


@given(counts, st.dictionaries(st.tuples(st.text(max_size=5), st.text(max_size=5)), counts, max_size=5))
def test_samples_travel(node: Count, containers: dict[tuple[str, str], Count]) -> None:
    sample = Sample(node=node, containers=containers)
    assert Sample.read(sample.shown()) == sample


def test_nonsense_is_read_as_nothing() -> None:
    nothings: list[Json] = [None, [], {}, {"node": 5, "containers": "x"}]
    for nonsense in nothings:
        assert Sample.read(nonsense) == Sample(node=count(0, 0, 0), containers={})
    assert rates([]).node is None


def test_a_container_that_is_new_has_no_rate_yet() -> None:
    before = Sample(node=count(0, 0), containers={("u", "old"): count(0, 0), ("u", "gone"): count(0, 0)})
    now = Sample(node=count(1000, 10**9), containers={("u", "old"): count(1000, 10**6), ("u", "new"): count(1000, 1)})
    found = rates([before, now])
    assert found.node is not None and found.node.cpu_ns_s == 10**9
    assert {pod: {*each} for pod, each in found.pods.items()} == {"u": {"old"}}


def test_the_shapes_are_those_of_the_metrics_api() -> None:
    rate = Used(at_ms=1_750_000_000_000, window_ms=1000, cpu_ns_s=5, memory_bytes=1024)
    node = node_metrics("eu-1", {"site": "a"}, rate)
    assert node == {
        "kind": "NodeMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": "eu-1", "labels": {"site": "a"}, "creationTimestamp": "2025-06-15T15:06:40Z"},
        "timestamp": "2025-06-15T15:06:40Z",
        "window": "1s",
        "usage": {"cpu": "5n", "memory": "1Ki"},
    }
    pod = pod_metrics("ns", "web", {}, {"b": rate, "a": rate})
    assert pod["containers"] == [
        {"name": "a", "usage": {"cpu": "5n", "memory": "1Ki"}},
        {"name": "b", "usage": {"cpu": "5n", "memory": "1Ki"}},
    ]
