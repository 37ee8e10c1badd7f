"""StatefulSets: in which order pods come, go and are updated, who they are, and what is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.controllers.statefulset.identity import new_claims, new_pod, ordinal_of
from cloudcore.controllers.statefulset.model import StatefulPod, StatefulSet, stateful_pod, stateful_set
from cloudcore.controllers.statefulset.plan import BURST_MAX, Observed, Plan, plan, turns
from cloudcore.controllers.statefulset.retention import is_stale, owned_claim
from cloudcore.controllers.statefulset.status import soonest_s, status_of
from skerry.objects.times import time_text

NOW_MS = 1_790_000_000_000
OLD, NEW = "db-old", "db-new"
GOING: Any = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def owner(replicas: int = 3, **spec: Any) -> StatefulSet:
    rolling = {name: spec.pop(name) for name in ("partition", "maxUnavailable") if name in spec}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    fields: Any = {"replicas": replicas, "updateStrategy": strategy, "podManagementPolicy": "OrderedReady", **spec}
    return stateful_set({"metadata": {"name": "db", "namespace": "d", "uid": "u", "generation": 4}, "spec": fields})


PARALLEL: Any = {"podManagementPolicy": "Parallel"}


def pod(
    ordinal: int, revision: str = NEW, *, ready_s: int | None = 100, phase: str = "Running", **meta: Any
) -> StatefulPod:
    name = f"db-{ordinal}"
    labels = {
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(ordinal),
    }
    conditions: list[Any] = []
    if ready_s is not None:
        at = time_text(NOW_MS - ready_s * 1000)
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": at}]
    obj: Any = {
        "metadata": {"name": name, "namespace": "d", "uid": f"uid-{ordinal}", "labels": labels, **meta},
        "spec": {"nodeName": f"gw-{ordinal}"},
        "status": {"phase": phase, "conditions": conditions},
    }
    return stateful_pod(owner().obj, obj, ordinal, meta.get("min_ready_s", 0))


def unready(ordinal: int, revision: str = NEW, phase: str = "Running", **meta: Any) -> StatefulPod:
    return pod(ordinal, revision, ready_s=None, phase=phase, **meta)


def seen(*pods: StatefulPod, current: str = NEW, update: str = NEW, stale: Any = (), silent: Any = ()) -> Observed:
    return Observed(pods=pods, current=current, update=update, stale=stale, silent=silent, now_ms=NOW_MS)


def does(step: Plan) -> str:
    """In few words: +1 makes db-1, -2 ends db-2, !0 restarts db-0."""
    return " ".join(
        [
            *(f"+{ordinal}" for ordinal in step.create),
            *(f"!{each.ordinal}" for each in step.restart),
            *(f"-{each.ordinal}" for each in step.delete),
        ]
    )


@pytest.mark.parametrize(
    ("pods", "ordered", "parallel"),
    [
        ([], "+0", "+0 +1 +2"),
        ([pod(0)], "+1", "+1 +2"),
        ([unready(0)], "", "+1 +2"),
        ([pod(0, **GOING)], "", "+1 +2"),
        ([pod(0), pod(2)], "+1", "+1"),
        ([pod(0), pod(1), pod(2)], "", ""),
        ([pod(0), pod(1, phase="Failed"), pod(2)], "!1", "!1"),
        ([pod(0), pod(1, phase="Succeeded", **GOING), pod(2)], "", ""),
        ([pod(0), pod(1), pod(2), pod(3), pod(4)], "-4", "-4 -3"),
        ([pod(0), pod(1), pod(2), pod(3), pod(4, **GOING)], "", "-3"),
        ([pod(0), pod(1), pod(2), unready(3), pod(4)], "-4", "-4 -3"),
        ([pod(0), pod(1), pod(2), unready(3), unready(4)], "", "-4 -3"),
        ([pod(0), pod(1), pod(2), pod(3), unready(4)], "-4", "-4 -3"),
        ([pod(0), unready(1), pod(2), pod(3)], "", "-3"),
        ([pod(0), pod(1), pod(2), pod(3, phase="Failed"), pod(4, phase="Failed")], "-4", "-4 -3"),
    ],
)
def test_pods_come_from_the_first_and_go_from_the_last(pods: list[StatefulPod], ordered: str, parallel: str):
    assert does(plan(owner(), seen(*pods))) == ordered
    assert does(plan(owner(**PARALLEL), seen(*pods))) == parallel


def test_ordinals_begin_where_they_are_told_to():
    shifted = owner(2, ordinals={"start": 5})
    assert does(plan(shifted, seen())) == "+5"
    assert does(plan(shifted, seen(pod(5), pod(6), pod(0), pod(7)))) == "-7"
    assert does(plan(shifted, seen(pod(5), pod(6), pod(0)))) == "-0"


def rolled(*revisions: str) -> list[StatefulPod]:
    return [pod(ordinal, revision) for ordinal, revision in enumerate(revisions)]


@pytest.mark.parametrize(
    ("spec", "pods", "step"),
    [
        ({}, rolled(OLD, OLD, OLD), "-2"),
        ({}, [*rolled(OLD, OLD), pod(2, OLD, **GOING)], ""),
        ({}, [*rolled(OLD, OLD), unready(2)], ""),
        ({}, rolled(OLD, OLD, NEW), "-1"),
        ({}, rolled(OLD, NEW, NEW), "-0"),
        ({}, rolled(NEW, NEW, NEW), ""),
        ({"partition": 2}, rolled(OLD, OLD, OLD), "-2"),
        ({"partition": 2}, rolled(OLD, OLD, NEW), ""),
        ({"partition": 9}, rolled(OLD, OLD, OLD), ""),
        ({"maxUnavailable": 2}, rolled(OLD, OLD, OLD), "-2 -1"),
        ({"maxUnavailable": 2, **PARALLEL}, [*rolled(OLD, OLD), unready(2)], "-1"),
        ({"maxUnavailable": "10%"}, rolled(OLD, OLD, OLD), "-2"),
        ({"updateStrategy": {"type": "OnDelete"}}, rolled(OLD, OLD, OLD), ""),
        (PARALLEL, rolled(OLD, OLD, OLD), "-2"),
        # An old pod that does not work costs nobody anything, and is in no way of its own repair.
        (PARALLEL, [unready(0, OLD), *rolled(OLD, OLD, OLD)[1:]], "-0"),
        (PARALLEL, [unready(0, OLD), unready(1, OLD), pod(2, OLD)], "-1"),
        (PARALLEL, [unready(0, OLD), pod(1, OLD), unready(2)], ""),
        (PARALLEL, [unready(0, OLD), pod(1, OLD), pod(2, **GOING)], ""),
        ({"maxUnavailable": 2, **PARALLEL}, [unready(0, OLD), *rolled(OLD, OLD, OLD)[1:]], "-2 -0"),
        ({"partition": 1, **PARALLEL}, [unready(0, OLD), *rolled(OLD, OLD, OLD)[1:]], ""),
    ],
)
def test_an_update_goes_from_the_last_to_the_partition(spec: Any, pods: list[StatefulPod], step: str):
    assert does(plan(owner(**spec), seen(*pods, current=OLD, update=NEW))) == step


@pytest.mark.parametrize(
    ("pods", "current", "step"),
    [
        # Of a revision that was given up: neither the one before the update nor the present one.
        ([*rolled(OLD, OLD), unready(2, "db-bad")], OLD, "-2"),
        ([*rolled(OLD, OLD), pod(2, "db-bad", ready_s=None, **GOING)], OLD, ""),
        # One of the revision before, that has run, may be well again in a moment.
        ([*rolled(OLD, OLD), unready(2, OLD)], OLD, ""),
        # One that can't even begin has nothing to lose.
        ([unready(0, OLD, "Pending")], OLD, "-0"),
        ([unready(0, NEW, "Pending")], OLD, ""),
    ],
)
def test_a_pod_that_waits_for_ever_with_what_nobody_wants_is_replaced(
    pods: list[StatefulPod], current: str, step: str
):
    assert does(plan(owner(), seen(*pods, current=current, update=NEW))) == step


def test_an_update_deletes_nothing_on_a_silent_node_and_waits_where_order_counts():
    pods = rolled(OLD, OLD, OLD)
    for spec, step in (({}, ""), (PARALLEL, "-1"), ({"maxUnavailable": 2}, "")):
        planned = plan(owner(**spec), seen(*pods, current=OLD, silent={"gw-2"}))
        assert (does(planned), planned.away) == (step, (pods[2],))
    stuck = [*rolled(OLD, OLD), unready(2, "db-bad")]
    assert does(plan(owner(), seen(*stuck, current=OLD, silent={"gw-2"}))) == ""
    assert does(plan(owner(2), seen(*pods, current=OLD, silent={"gw-2"}))) == "-2", "who scales down means it"


def test_below_the_partition_nothing_is_replaced():
    kept = owner(partition=3)
    assert does(plan(kept, seen(*rolled(OLD, OLD), unready(2, "db-bad"), current=OLD))) == ""


def test_a_pod_that_has_just_become_ready_is_waited_for():
    patient = owner(minReadySeconds=10)
    obj: Any = pod(0, ready_s=4).obj
    young = stateful_pod(patient.obj, obj, 0, 10)
    observed = seen(young)
    assert does(plan(patient, observed)) == ""
    assert soonest_s(observed) == 6
    assert status_of(patient, observed)["availableReplicas"] == 0


def test_claims_of_an_earlier_pod_are_waited_for():
    step = plan(owner(), seen(stale={0}))
    assert (does(step), step.waits) == ("", True)
    assert does(plan(owner(**PARALLEL), seen(stale={0}))) == "+1 +2"


@pytest.mark.parametrize("spec", [PARALLEL, {}])
def test_a_set_that_wants_more_than_anybody_has_gets_them_by_and_by(spec: Any):
    asked, questions = owner(2**31 - 1, **spec), list[int]()

    def is_stale_at(ordinal: int) -> bool:
        questions.append(ordinal)
        return ordinal == 1

    found = turns(asked, {0}, is_stale_at)
    step = plan(asked, seen(pod(0, OLD), current=OLD, stale=found.stale))
    most = BURST_MAX if spec else 0
    assert step.create == tuple(found.create) == tuple(range(2, 2 + most))
    assert questions == list(range(1, 2 + most)) and step.waits
    assert not step.delete


def test_a_pod_without_its_labels_gets_them_again():
    bare = pod(0)
    bare.obj["metadata"]["labels"] = {"controller-revision-hash": NEW}  # type: ignore[index]
    again = stateful_pod(owner().obj, bare.obj, 0, 0)
    assert plan(owner(1), seen(again)).correct == (again,)


PODS = st.lists(
    st.builds(
        pod,
        st.integers(0, 6),
        st.sampled_from([OLD, NEW, "db-bad"]),
        ready_s=st.sampled_from([None, 50]),
        phase=st.sampled_from(["Pending", "Running", "Failed"]),
        deletionTimestamp=st.sampled_from(["", GOING["deletionTimestamp"]]),
    ),
    max_size=7,
    unique_by=lambda each: each.ordinal,
)


@given(PODS, st.integers(0, 5), st.integers(0, 3), st.sampled_from([1, 2]), st.booleans())
def test_a_step_is_small_where_order_counts_and_never_makes_a_second(
    pods: list[StatefulPod], replicas: int, start: int, most: int, ordered: bool
):
    policy = "OrderedReady" if ordered else "Parallel"
    asked = owner(replicas, ordinals={"start": start}, maxUnavailable=most, podManagementPolicy=policy)
    step = plan(asked, seen(*pods, current=OLD, update=NEW))
    there = {each.ordinal for each in pods}
    assert not there & set(step.create) and set(step.create) <= set(asked.ordinals)
    assert not any(each.leaving for each in (*step.delete, *step.restart))
    if ordered:
        assert len(step.create) + len(step.restart) + len(step.delete) <= most
    inside = [each for each in pods if each.ordinal in asked.ordinals]
    healthy = [each for each in inside if each.ready and not each.leaving]
    lost = [each for each in step.delete if each in healthy]
    assert len(healthy) - len(lost) >= min(len(healthy), replicas - most)


@given(PODS, st.integers(0, 6))
def test_a_step_after_the_other_comes_to_an_end(pods: list[StatefulPod], replicas: int):
    """A kubelet that does what it is told: every pod becomes ready or goes."""
    there = {each.ordinal: each for each in pods}
    asked = owner(replicas)
    for _ in range(60):
        step = plan(asked, seen(*there.values(), current=OLD, update=NEW))
        for each in (*step.delete, *step.restart):
            del there[each.ordinal]
        there = {
            number: pod(number, each.revision) if each.phase != "Failed" else each
            for number, each in there.items()
            if not each.leaving
        }
        for ordinal in step.create:
            there[ordinal] = pod(ordinal, NEW)
    assert sorted(there) == list(asked.ordinals)
    assert all(each.revision == NEW and each.ready for each in there.values())


# --- who they are ---

TEMPLATE: Any = {
    "metadata": {"labels": {"app": "db"}},
    "spec": {
        "containers": [],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "other", "emptyDir": {}}],
    },
}
CLAIM: Any = {
    "metadata": {"name": "data", "labels": {"tier": "1"}, "annotations": {"a": "b"}},
    "spec": {"accessModes": ["ReadWriteOnce"]},
    "status": {"phase": "Pending"},
}


def full(**spec: Any) -> Any:
    fields = {
        "selector": {"matchLabels": {"app": "db"}},
        "serviceName": "dbs",
        "template": TEMPLATE,
        "volumeClaimTemplates": [CLAIM],
        **spec,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "d", "uid": "u"},
        "spec": fields,
    }


def test_a_pod_has_the_name_the_labels_and_the_volumes_of_its_ordinal():
    made: Any = new_pod(full(), 2, template=TEMPLATE, revision=NEW)
    assert made["metadata"]["name"] == "db-2" and "generateName" not in made["metadata"]
    assert made["metadata"]["labels"] == {
        "app": "db",
        "apps.kubernetes.io/pod-index": "2",
        "controller-revision-hash": NEW,
        "statefulset.kubernetes.io/pod-name": "db-2",
    }
    assert (made["spec"]["hostname"], made["spec"]["subdomain"]) == ("db-2", "dbs")
    assert made["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-2", "readOnly": False}},
        {"name": "other", "emptyDir": {}},
    ]
    [claim] = new_claims(full(), 2)
    assert claim["metadata"] == {
        "name": "data-db-2",
        "namespace": "d",
        "labels": {"app": "db", "tier": "1"},
        "annotations": {"a": "b"},
    }
    assert "status" not in claim


@pytest.mark.parametrize(
    ("name", "ordinal"),
    [
        ("db-0", 0),
        ("db-12", 12),
        ("db", None),
        ("db-", None),
        ("db-a", None),
        ("x-db-1", None),
        ("db-1-1", None),
        ("db-00", None),
    ],
)
def test_a_name_tells_the_ordinal(name: str, ordinal: int | None):
    assert ordinal_of(full(), name) == ordinal


@pytest.mark.parametrize(
    ("deleted", "scaled", "condemned", "wanted"),
    [
        ("Retain", "Retain", True, ""),
        ("Delete", "Retain", False, "StatefulSet"),
        ("Delete", "Retain", True, "StatefulSet"),
        ("Retain", "Delete", False, ""),
        ("Retain", "Delete", True, "Pod"),
        ("Delete", "Delete", False, "StatefulSet"),
        ("Delete", "Delete", True, "Pod"),
    ],
)
def test_a_claim_goes_with_whom_the_policy_says(deleted: str, scaled: str, condemned: bool, wanted: str):
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    asked = full(persistentVolumeClaimRetentionPolicy=policy)
    one: Any = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db-0", "uid": "p"}}
    free: Any = {"metadata": {"name": "data-db-0"}}
    others: Any = {"kind": "Backup", "name": "b", "uid": "b"}
    before = [
        {"kind": "StatefulSet", "name": "db", "uid": "u", "controller": True},
        {"kind": "Pod", "name": "db-0", "uid": "earlier", "controller": True},
        None,
    ]
    for reference in before:
        claim: Any = {
            "metadata": {**free["metadata"], "ownerReferences": [others, *([reference] if reference else [])]}
        }
        after: Any = owned_claim(claim, asked, one, condemned=condemned)
        kinds = [each["kind"] for each in after["metadata"]["ownerReferences"]]
        assert kinds == ["Backup", *([wanted] if wanted else [])]
        assert owned_claim(after, asked, one, condemned=condemned) is after
    theirs: Any = {"metadata": {"ownerReferences": [{**others, "controller": True}]}}
    assert owned_claim(theirs, asked, one, condemned=condemned) is theirs


def test_a_claim_that_goes_with_an_earlier_pod_is_stale():
    by_pod: Any = {"metadata": {"ownerReferences": [{"kind": "Pod", "name": "db-0", "uid": "x"}]}}
    assert is_stale([by_pod], "db-0") and not is_stale([by_pod], "db-1")
    assert is_stale([{"metadata": dict(GOING)}], "db-0")


def test_the_status_counts_and_ends_an_update():
    going = status_of(owner(), seen(*rolled(OLD, OLD), unready(2), current=OLD))
    assert going == {
        "replicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "currentReplicas": 2,
        "updatedReplicas": 1,
        "currentRevision": OLD,
        "updateRevision": NEW,
        "observedGeneration": 4,
        "collisionCount": 0,
    }
    done = status_of(owner(), seen(*rolled(NEW, NEW, NEW), current=OLD))
    assert (done["currentRevision"], done["currentReplicas"], done["updatedReplicas"]) == (NEW, 3, 3)
