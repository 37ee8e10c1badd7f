"""Who has to go, and what is said of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecore.pods.eviction import Amount, Observation, Observations, Threshold
from edgecore.pods.eviction_ranks import Candidate, Use, eviction_message, ranked, request_of
from skerry.objects.json import Json, JsonObject, map_at
from skerry.objects.meta import name_of
from tests.edgecore.pods.pods_of import container, pod

MIB = 1 << 20
MEMORY = Threshold(signal="memory.available", amount=Amount(units=100 * MIB))
DISK = Threshold(signal="nodefs.available", amount=Amount(share=0.1))
PIDS = Threshold(signal="pid.available", amount=Amount(share=0.1))


def candidate(name: str, used_mib: int, *, request_mib: int = 0, priority: int = 0, pids: int = 1) -> Candidate:
    requests: Json = {"requests": {"memory": f"{request_mib}Mi", "ephemeral-storage": f"{request_mib}Mi"}}
    made = pod(container(resources=requests), name=name, uid=name)
    map_at(made, "spec")["priority"] = priority
    use = Use(memory_bytes=used_mib * MIB, disk_bytes=used_mib * MIB, inodes=used_mib, pids=pids)
    return Candidate(pod=made, use=use, containers={"app": use})


def names(threshold: Threshold, *candidates: Candidate) -> list[str]:
    return [name_of(each.pod) for each in ranked(threshold, candidates)]


def test_who_uses_more_than_it_asked_for_goes_first_then_the_lower_priority_then_the_larger_excess() -> None:
    order = names(
        MEMORY,
        candidate("modest", 100, request_mib=200, priority=-5),
        candidate("large", 300, request_mib=100),
        candidate("larger", 400, request_mib=100),
        candidate("valued", 500, priority=7),
    )
    assert order == ["larger", "large", "valued", "modest"]


def test_for_process_ids_only_priority_and_use_count() -> None:
    assert names(PIDS, candidate("few", 1, pids=2), candidate("many", 1, pids=900)) == ["many", "few"]
    assert names(PIDS, candidate("few", 1, pids=2), candidate("many", 1, pids=900, priority=1)) == ["few", "many"]


def test_critical_pods_stay_and_so_does_who_uses_nothing() -> None:
    assert names(MEMORY, candidate("critical", 900, priority=2_000_000_000), candidate("idle", 0)) == []


def test_what_a_pod_asked_for_is_what_its_apps_and_sidecars_did_or_its_largest_init_container() -> None:
    def asks(name: str, mib: int, **fields: Json) -> JsonObject:
        return container(name, resources={"requests": {"memory": f"{mib}Mi"}}, **fields)

    inits: list[Json] = [asks("once", 50), asks("beside", 5, restartPolicy="Always")]
    made = pod(asks("a", 10), asks("b", 20), initContainers=inits, overhead={"memory": "1Mi"})
    assert request_of(made, "memory") == 51 * MIB
    map_at(made, "spec")["initContainers"] = inits[1:]
    assert request_of(made, "memory") == 36 * MIB


CANDIDATES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(-2, 2)), max_size=12)


@given(CANDIDATES, st.sampled_from([MEMORY, DISK, PIDS]))
def test_the_order_is_one_whatever_order_they_come_in(made: list[tuple[int, int, int]], short: Threshold) -> None:
    pods = [
        candidate(f"p{number}", used, request_mib=asked, priority=priority, pids=used)
        for number, (used, asked, priority) in enumerate(made)
    ]
    order = names(short, *pods)
    assert names(short, *reversed(pods)) == order
    assert set(order) == {name_of(each.pod) for each in pods if each.use.pids}


def test_a_kubelets_words() -> None:
    seen: Observations = {
        "memory.available": Observation(available=17348 * 1024, capacity=1000 * MIB),
        "nodefs.available": Observation(available=1600496 * 1024, capacity=27_226_542_480),
        "pid.available": Observation(available=9, capacity=100),
    }
    one = Candidate(
        pod=pod(), use=Use(memory_bytes=1), containers={"app": Use(memory_bytes=188 * 1024, disk_bytes=0)}
    )
    assert eviction_message((MEMORY, DISK), seen, one) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 17348Ki. "
        "Container app was using 188Ki, request is 0, has larger consumption of memory. "
    )
    assert eviction_message((DISK,), seen, one) == (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 2722654248, available: 1600496Ki. "
    )
    assert eviction_message((PIDS,), seen, one) == (
        "The node was low on resource: pids. Threshold quantity: 10, available: 9. "
    )
