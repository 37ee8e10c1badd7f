"""When a gateway runs short, and who may begin on it then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecore.pods.eviction import (
    Amount,
    Condition,
    EvictionSettings,
    Observation,
    Observations,
    Threshold,
    Watch,
    is_critical,
    is_relieved,
    judge,
    refusal_of,
)
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject
from tests.edgecore.pods.pods_of import container, pod, pod_with

MIB = 1 << 20
MEMORY = Threshold(signal="memory.available", amount=Amount(units=100 * MIB))
DISK = Threshold(signal="nodefs.available", amount=Amount(share=0.1), reclaim=Amount(units=50))
SOFT = Threshold(signal="nodefs.available", amount=Amount(share=0.3), grace_s=60.0)
SETTINGS = EvictionSettings(thresholds=(DISK, SOFT, MEMORY), transition_s=300.0)


def seen(*, memory: int = 500, disk: int = 900) -> Observations:
    return {
        "memory.available": Observation(available=memory * MIB, capacity=1000 * MIB),
        "nodefs.available": Observation(available=disk, capacity=1000),
    }


def test_a_hard_threshold_is_answered_at_once_and_memory_first() -> None:
    judged = judge(SETTINGS, Watch(), seen(memory=99, disk=99), now_s=5.0)
    assert judged.met == (MEMORY, DISK)
    assert judged.conditions == {"MemoryPressure", "DiskPressure"}


def test_a_soft_threshold_makes_a_condition_at_once_and_is_answered_when_its_grace_is_over() -> None:
    first = judge(SETTINGS, Watch(), seen(disk=250), now_s=0.0)
    assert (first.met, first.conditions) == ((), {"DiskPressure"})
    again = judge(SETTINGS, first.watch, seen(disk=250), now_s=59.9)
    assert again.met == ()
    assert judge(SETTINGS, again.watch, seen(disk=250), now_s=60.0).met == (SOFT,)
    better = judge(SETTINGS, again.watch, seen(disk=400), now_s=59.9)
    assert judge(SETTINGS, better.watch, seen(disk=250), now_s=60.0).met == (), "its grace began anew"


def test_an_answered_threshold_stays_met_until_its_minimum_is_reclaimed() -> None:
    first = judge(SETTINGS, Watch(), seen(disk=99), now_s=0.0)
    second = judge(SETTINGS, first.watch, seen(disk=140), now_s=1.0)
    assert second.met == (DISK,)
    assert judge(SETTINGS, second.watch, seen(disk=150), now_s=2.0).met == ()
    assert judge(SETTINGS, Watch(), seen(disk=140), now_s=1.0).met == (), "which nobody asks where none was answered"
    assert not is_relieved(SETTINGS, seen(disk=140))


def test_a_condition_is_held_for_the_transition_period() -> None:
    first = judge(SETTINGS, Watch(), seen(memory=1), now_s=0.0)
    held = judge(SETTINGS, first.watch, seen(), now_s=299.0)
    assert (held.conditions, held.met, held.near) == ({"MemoryPressure"}, (), False)
    assert judge(SETTINGS, held.watch, seen(), now_s=300.0).conditions == frozenset()
    at_once = replace(SETTINGS, transition_s=0.0)
    assert judge(at_once, Watch(), seen(memory=1), now_s=0.0).conditions == {"MemoryPressure"}
    assert judge(at_once, first.watch, seen(), now_s=0.1).conditions == frozenset()


def test_what_can_not_be_seen_is_not_short() -> None:
    judged = judge(SETTINGS, Watch(), {}, now_s=0.0)
    assert (judged.met, judged.conditions, judged.near) == ((), frozenset(), False)


def test_near_a_threshold_it_is_looked_at_more_often() -> None:
    assert judge(SETTINGS, Watch(), seen(memory=199), now_s=0.0).near
    assert not judge(SETTINGS, Watch(), seen(memory=200), now_s=0.0).near


LOOKS = st.lists(st.tuples(st.floats(0.1, 200.0), st.integers(0, 300), st.integers(0, 1000)), max_size=30)


@given(LOOKS)
def test_whatever_is_seen_conditions_and_answers_agree_with_it(looks: list[tuple[float, int, int]]) -> None:
    watch, now_s, last_s = Watch(), 0.0, dict[Condition, float]()
    for passed_s, memory, disk in looks:
        now_s += passed_s
        judged = judge(SETTINGS, watch, seen(memory=memory, disk=disk), now_s=now_s)
        if memory < 100:
            assert MEMORY in judged.met
        if disk < 100:
            assert DISK in judged.met
        if disk >= 300:
            assert SOFT not in judged.met
        for threshold in judged.met:
            assert now_s - judged.watch.met_s[threshold] >= threshold.grace_s
        if memory < 100:
            last_s["MemoryPressure"] = now_s
        held = now_s - last_s.get("MemoryPressure", -1e9) < SETTINGS.transition_s
        assert ("MemoryPressure" in judged.conditions) == held
        assert len(judged.watch.met_s) <= len(SETTINGS.thresholds), "what is kept is bounded"
        watch = judged.watch


def _asking() -> JsonObject:
    requests: Json = {"requests": {"memory": "1Mi"}}
    return pod(container(resources=requests))


def test_under_memory_pressure_only_who_asks_for_nothing_is_refused() -> None:
    assert refusal_of(pod(), {"MemoryPressure"}) == "The node had condition: [MemoryPressure]. "
    assert refusal_of(_asking(), {"MemoryPressure"}) == ""
    assert refusal_of(pod(), frozenset()) == ""
    toleration: Json = [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}]
    assert refusal_of(pod_with({"tolerations": toleration}), {"MemoryPressure"}) == ""
    other: Json = [{"key": "node.kubernetes.io/disk-pressure", "operator": "Exists"}]
    assert refusal_of(pod_with({"tolerations": other}), {"MemoryPressure"})


def test_under_disk_pressure_everybody_is_refused_but_the_critical() -> None:
    both: frozenset[Condition] = frozenset({"MemoryPressure", "DiskPressure"})
    assert refusal_of(_asking(), both) == "The node had condition: [DiskPressure MemoryPressure]. "
    assert refusal_of(pod_with({"priority": 2_000_001_000}), both) == ""


def test_static_pods_are_critical_as_nobody_would_start_them_again() -> None:
    static = pod()
    assert not is_critical(static)
    metadata = static["metadata"]
    assert isinstance(metadata, dict)
    metadata["annotations"] = {"kubernetes.io/config.source": "file"}
    assert is_critical(static)
