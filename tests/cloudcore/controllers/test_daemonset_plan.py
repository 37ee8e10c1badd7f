"""DaemonSets: which nodes they are for, what is made and replaced when, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.controllers.daemonset.failures import Failures
from cloudcore.controllers.daemonset.model import DaemonPod, Observed, Place, daemon_pod, daemon_set, new_pod
from cloudcore.controllers.daemonset.nodes import Verdict, aim_of, node_facts, node_of
from cloudcore.controllers.daemonset.plan import manage, roll, suspects
from cloudcore.controllers.daemonset.status import news, status_of
from skerry.objects.meta import Key
from skerry.objects.times import time_text

NOW_MS = 1_790_000_000_000
NEW, OLD = "new", "old"
OPEN = Verdict(meant=True, stays=True, open=True)


def node(name: str = "n", ready: str = "True", *, since_s: int = 100, taints: Any = (), **labels: str) -> Any:
    at = time_text(NOW_MS - since_s * 1000)
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": key, "effect": effect} for key, effect in taints]},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at}] if ready else []},
    }


def owner(**spec: Any) -> Any:
    rolling = {name: spec.pop(name) for name in ("maxUnavailable", "maxSurge") if name in spec}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    pods = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    fields: Any = {"template": pods, "updateStrategy": strategy, **spec}
    return daemon_set({"kind": "DaemonSet", "metadata": {"name": "d", "namespace": "d", "uid": "u"}, "spec": fields})


def pod(hash_: str = NEW, *, ready_s: int | None = 100, phase: str = "Running", name: str = "p", **meta: Any) -> Any:
    conditions: list[Any] = []
    if ready_s is not None:
        at = time_text(NOW_MS - ready_s * 1000)
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": at}]
    return {
        "metadata": {"name": name, "labels": {"controller-revision-hash": hash_}, **meta},
        "spec": {"nodeName": "n"},
        "status": {"phase": phase, "conditions": conditions},
    }


GOING: Any = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
SILENT = node(ready="Unknown", since_s=50)
"""For 50 s."""


def read(one: Any) -> DaemonPod:
    return daemon_pod(Key("pods", "d", one["metadata"]["name"]), one)


def at(one: Any, *pods: Any) -> Place:
    facts = node_facts(one)
    found = tuple(read(each) for each in pods)
    return Place(node=facts, verdict=aim_of(owner().template).judge(facts), pods=found)


def seen(*places: Place, lost: Any = ()) -> Observed:
    return Observed(hash=NEW, places=places, lost=lost, now_ms=NOW_MS)


def named(pods: Any) -> list[str]:
    return [each.key.name for each in pods]


# --- nodes ---

PICK = {"nodeSelector": {"zone": "eu"}}
TERM = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["eu"]}]}
NEAR = {
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}}
}
UNREADABLE: Any = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["x"]}]}]
            }
        }
    }
}
BEARS_ALL = {"tolerations": [{"operator": "Exists"}]}
NOT_MEANT = Verdict(meant=False, stays=False, open=False)
STAYS = Verdict(meant=False, stays=True, open=False)
WAITS = Verdict(meant=True, stays=True, open=False)


@pytest.mark.parametrize(
    ("spec", "one", "verdict"),
    [
        ({}, node(), OPEN),
        (PICK, node(zone="eu"), OPEN),
        (PICK, node(zone="us"), NOT_MEANT),
        (NEAR, node(zone="eu"), OPEN),
        (NEAR, node(), NOT_MEANT),
        ({"nodeName": "n"}, node(), OPEN),
        ({"nodeName": "n"}, node("m"), NOT_MEANT),
        ({}, node(taints=[("repair", "NoSchedule")]), STAYS),
        ({}, node(taints=[("repair", "NoExecute")]), NOT_MEANT),
        ({}, node(taints=[("repair", "PreferNoSchedule")]), OPEN),
        (BEARS_ALL, node(taints=[("repair", "NoExecute")]), OPEN),
        ({}, node(taints=[("node.kubernetes.io/memory-pressure", "NoSchedule")]), OPEN),
        ({}, node(taints=[("node.kubernetes.io/unschedulable", "NoSchedule")]), OPEN),
        ({}, node(taints=[("node.kubernetes.io/network-unavailable", "NoSchedule")]), STAYS),
        ({"hostNetwork": True}, node(taints=[("node.kubernetes.io/network-unavailable", "NoSchedule")]), OPEN),
        # Silence, and not being ready, are waited out, marked or not yet.
        ({}, node(ready="Unknown"), WAITS),
        ({}, node(ready="Unknown", taints=[("node.kubernetes.io/unreachable", "NoSchedule")]), WAITS),
        ({}, node(ready="Unknown", taints=[("node.kubernetes.io/unreachable", "NoExecute")]), WAITS),
        ({}, node(ready=""), WAITS),
        ({}, node(ready="False"), WAITS),
        (BEARS_ALL, node(ready="False"), OPEN),
        # As it may have been stored: nobody knows what it means, so it means no node.
        (UNREADABLE, node(), NOT_MEANT),
        (BEARS_ALL, node(ready="Unknown"), WAITS),
    ],
)
def test_a_set_is_for_the_nodes_that_its_pods_fit_and_waits_for_those_away(spec: Any, one: Any, verdict: Verdict):
    got = aim_of({"spec": spec}).judge(node_facts(one))
    assert got == verdict or (not verdict.meant and not got.meant and got.stays == verdict.stays)


def test_a_pod_is_made_for_its_node_alone_and_bears_the_nodes_troubles():
    spec = {**NEAR, "tolerations": [{"key": "mine", "operator": "Exists"}], "containers": []}
    made: Any = new_pod(owner(template={"metadata": {"labels": {"a": "b"}}, "spec": spec}), "gw-1", "h")
    assert made["metadata"]["labels"] == {"a": "b", "controller-revision-hash": "h"}
    assert made["metadata"]["generateName"] == "d-"
    assert "nodeName" not in made["spec"], "the scheduler looks whether there is room"
    assert node_of(made) == "gw-1"
    terms = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms == {
        "nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gw-1"]}]},
        ]
    }
    keys = [(each["key"], each.get("effect")) for each in made["spec"]["tolerations"]]
    assert keys == [
        ("mine", None),
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]


# --- one pod a node ---


def test_each_open_node_gets_one_and_one_that_is_away_gets_it_later():
    assert manage(owner(), seen(at(node("a")), at(SILENT), at(node("c", ready="False")))).create == ("a",)


def test_a_node_whose_pod_is_on_its_way_out_waits_for_its_end():
    going = at(node(), pod(**GOING))
    assert manage(owner(), seen(going)) == manage(owner(), seen())


def test_who_is_not_meant_any_more_goes_and_a_silent_nodes_pod_does_not():
    barred = at(node(taints=[("repair", "NoExecute")]), pod(name="barred"))
    cordoned = at(node(taints=[("repair", "NoSchedule")]), pod(name="cordoned"))
    assert named(manage(owner(), seen(barred, cordoned, at(SILENT, pod(name="silent")))).delete) == ["barred"]


def test_the_oldest_of_several_stays_and_one_that_is_bound_before_all():
    three = [
        pod(name="unbound", creationTimestamp="2026-01-01T00:00:00Z"),
        pod(name="old", creationTimestamp="2026-01-02T00:00:00Z"),
        pod(name="young", creationTimestamp="2026-01-03T00:00:00Z"),
    ]
    del three[0]["spec"]["nodeName"]
    assert named(manage(owner(), seen(at(node(), *three))).delete) == ["young", "unbound"]


def test_what_is_over_is_replaced_and_what_is_to_go_nowhere_ends():
    found = manage(owner(), seen(at(node(), pod(phase="Failed", name="f")), lost=[read(pod(name="l"))]))
    assert (named(found.replace), named(found.delete), found.create) == (["f"], ["l"], ())


def test_while_surging_two_revisions_stay_until_the_new_one_works():
    surge = owner(maxSurge=1, maxUnavailable=0, minReadySeconds=10)
    waiting, done = pod(name="w", ready_s=5), pod(name="d", ready_s=20)
    old, broken = pod(OLD, name="o"), pod(OLD, name="b", ready_s=None)
    for pods, gone in (((waiting, old), []), ((done, old), ["o"]), ((waiting, broken), ["b"])):
        assert named(manage(surge, seen(at(node(), *pods))).delete) == gone


# --- updates ---


def old_at(name: str, **more: Any) -> Place:
    return at(node(name), pod(OLD, name=name, **more))


def test_an_update_takes_as_many_as_may_be_missing_and_those_that_do_not_work_anyway():
    three = [old_at("a"), old_at("b"), old_at("c", ready_s=None)]
    assert named(roll(owner(), seen(*three)).delete) == ["c", "a"]
    assert named(roll(owner(), seen(*three, at(node("d")))).delete) == ["c"], "d lacks one already"
    assert named(roll(owner(maxUnavailable="100%"), seen(*three)).delete) == ["c", "a", "b"]
    assert named(roll(owner(maxUnavailable="50%"), seen(old_at("a"), old_at("b"), old_at("c"))).delete) == ["a", "b"]


def test_a_new_pod_that_does_not_work_holds_the_others_up():
    assert roll(owner(), seen(old_at("a"), at(node("b"), pod(ready_s=None)))).delete == ()
    assert roll(owner(minReadySeconds=60), seen(old_at("a"), at(node("b"), pod(ready_s=30)))).delete == ()


def test_a_surge_puts_new_ones_beside_and_ends_old_ones_whose_new_one_works():
    surge = owner(maxSurge=1, maxUnavailable=0)
    assert roll(surge, seen(old_at("a"), old_at("b"))).create == ("a",)
    beside = at(node("a"), pod(OLD, name="o"), pod(NEW, ready_s=None))
    assert roll(surge, seen(beside, old_at("b"))) == roll(surge, seen())
    done = at(node("a"), pod(OLD, name="o"), pod(NEW))
    found = roll(surge, seen(done, old_at("b")))
    assert (named(found.delete), found.create) == (["o"], ("b",))


# --- who is away ---


@pytest.mark.parametrize("ready", ["Unknown", "False", ""])
def test_who_is_away_keeps_its_pod_and_holds_nobody_up(ready: str):
    away = [at(node(f"away-{number}", ready=ready), pod(OLD, name=f"away-{number}")) for number in range(5)]
    assert named(roll(owner(), seen(*away, old_at("a"))).delete) == ["a"]
    terminating = at(SILENT, pod(OLD, name="t", **GOING))
    assert named(roll(owner(), seen(terminating, old_at("a"))).delete) == ["a"], "nor does one that went halfway"
    status: Any = status_of(owner(), seen(*away, at(node("a"), pod())))
    assert (status["desiredNumberScheduled"], status["updatedNumberScheduled"]) == (1, 1), "rollout status ends"
    assert status["numberMisscheduled"] == 0
    [condition] = status["conditions"]
    assert (condition["type"], condition["reason"]) == ("NodesAway", "WaitingForNodes")
    assert "5 node(s) (away-0, away-1," in condition["message"]


def test_a_silent_node_whose_pod_was_in_order_counts_as_before():
    status: Any = status_of(owner(), seen(at(SILENT, pod()), at(node("a"), pod())))
    assert status == {
        "currentNumberScheduled": 2,
        "desiredNumberScheduled": 2,
        "numberAvailable": 2,
        "numberMisscheduled": 0,
        "numberReady": 2,
        "observedGeneration": 0,
        "updatedNumberScheduled": 2,
    }


def test_a_revision_that_may_have_silenced_its_first_node_reaches_no_other():
    silenced = at(SILENT, pod(ready_s=None))
    places = [silenced, old_at("a"), old_at("b", ready_s=None)]
    assert roll(owner(), seen(*places)) == roll(owner(), seen())
    told: Any = status_of(owner(), seen(*places))
    assert [each["reason"] for each in told["conditions"]] == ["SilentSinceUpdate"]
    assert "SilentSinceUpdate" in str(told) and news(owner(), told)
    surge = owner(maxSurge=1, maxUnavailable=0)
    assert roll(surge, seen(at(SILENT, pod(ready_s=None), pod(OLD)), old_at("a"))).create == ()
    # Another one that works is the proof.
    assert named(roll(owner(), seen(*places, at(node("c"), pod()))).delete) == ["b", "a"]


def test_what_a_silent_nodes_pod_did_since_nobody_knows():
    cautious = owner(minReadySeconds=60)
    just_before = at(SILENT, pod(ready_s=70))
    assert suspects(cautious, seen(just_before)) == (just_before,), "ready for 20 s when it was last heard"
    long_before = at(SILENT, pod(ready_s=120))
    assert suspects(cautious, seen(long_before)) == ()


PODS = st.lists(
    st.builds(
        pod,
        st.sampled_from([NEW, OLD]),
        ready_s=st.sampled_from([None, 0, 100]),
        phase=st.sampled_from(["Pending", "Running", "Failed"]),
        name=st.sampled_from("abcdef"),
        deletionTimestamp=st.sampled_from(["", GOING["deletionTimestamp"]]),
    ),
    max_size=3,
)
NODES = st.builds(node, st.sampled_from("nm"), st.sampled_from(["True", "False", "Unknown", ""]))
PLACES = st.lists(st.builds(lambda one, pods: at(one, *pods), NODES, PODS), max_size=8)


@given(PLACES, st.sampled_from([0, 1, 2, "30%", "100%"]), st.sampled_from([0, 1, "50%"]))
def test_an_update_never_leaves_more_missing_than_may_be_and_touches_nobody_away(
    places: list[Place], unavailable: Any, surge: Any
):
    rolled = owner(maxUnavailable=unavailable, maxSurge=surge)
    observed = seen(*places)
    step = roll(rolled, observed)
    away = {id(found) for place in places if not place.verdict.open for found in place.pods}
    assert not any(id(found) in away for found in step.delete)
    assert all(found.hash == OLD and not found.leaving for found in step.delete)
    opened = [place for place in places if place.verdict.open]
    lost = {id(found) for found in step.delete}
    works = [any(found.ready and not found.leaving for found in place.pods) for place in opened]
    still = [
        any(found.ready and not found.leaving and id(found) not in lost for found in place.pods) for place in opened
    ]
    most_surge, most_missing = rolled.budget(len(opened))
    if most_surge:
        assert still == works, "a surge ends nothing before its successor works"
    else:
        assert sum(works) - sum(still) <= max(most_missing - (len(works) - sum(works)), 0) or still == works


@given(PLACES)
def test_a_status_adds_up(places: list[Place]):
    status: Any = status_of(owner(), seen(*places))
    desired = status["desiredNumberScheduled"]
    assert 0 <= status["currentNumberScheduled"] <= desired
    assert status.get("numberAvailable", 0) <= status["numberReady"] <= status["currentNumberScheduled"]
    assert status.get("numberAvailable", 0) + status.get("numberUnavailable", 0) == desired
    assert desired <= sum(place.verdict.meant for place in places)


def test_a_pod_that_fails_again_and_again_is_replaced_less_and_less_often():
    failures, now_s, waits = Failures(), 1000.0, []
    for _ in range(13):
        assert failures.wait_s("u", "n", now_s=now_s) == 0
        failures.failed("u", "n", now_s=now_s)
        waits.append(failures.wait_s("u", "n", now_s=now_s))
        now_s += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    assert failures.wait_s("u", "other", now_s=now_s) == 0
    now_s += 3600
    failures.failed("u", "n", now_s=now_s)
    assert failures.wait_s("u", "n", now_s=now_s) == 1, "an hour later it is forgotten"
