"""Births, updates and ends of objects, as pure decisions."""

from __future__ import annotations

import pytest

from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.lifecycle import Birth, born, deleted, qos_class, released, updated
from cloudcore.registry.port import DeleteOptions, Propagation
from skerry.errors import ConflictError, InvalidError
from skerry.objects.json import JsonObject, dig, ensure_map, int_at, list_at, map_at, str_at, strs_at
from skerry.objects.scheme import Kind

NOW_MS = 1_750_000_000_000
NOW = "2025-06-15T15:06:40Z"
SCHEME = builtin_scheme()
BIRTH = Birth(name="x", uid="u", now_ms=NOW_MS)
WIDGET = Kind(group="example.com", version="v1", kind="Widget", plural="widgets", namespaced=True, custom=True)


def kind_of(resource: str) -> Kind:
    found = SCHEME.of_resource(resource)
    assert found is not None
    return found


def alive(resource: str, **fields: object) -> JsonObject:
    return born(kind_of(resource), "ns", {"metadata": {}, **fields}, BIRTH)  # type: ignore[dict-item]


def on_node(phase: str = "Running", **metadata: object) -> JsonObject:
    pod = alive("pods", spec={"nodeName": "n", "terminationGracePeriodSeconds": 20})
    pod["status"] = {"phase": phase}
    ensure_map(pod, "metadata").update(metadata)  # type: ignore[arg-type]
    return pod


def test_a_birth_takes_nothing_that_is_not_the_writers_to_say() -> None:
    said: JsonObject = {
        "metadata": {
            "uid": "mine",
            "generation": 9,
            "deletionTimestamp": NOW,
            "managedFields": [{}],
            "selfLink": "/x",
            "labels": {},
        },
        "status": {"replicas": 7},
        "spec": {"replicas": 1},
    }
    assert born(kind_of("deployments.apps"), "ns", said, BIRTH) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "namespace": "ns", "uid": "u", "creationTimestamp": NOW, "generation": 1},
        "spec": {"replicas": 1},
    }


def test_a_node_is_born_with_the_status_it_brings() -> None:
    assert map_at(alive("nodes", status={"phase": "x"}), "status") == {"phase": "x"}
    assert map_at(alive("pods", status={"phase": "Running"}), "status") == {
        "phase": "Pending",
        "qosClass": "BestEffort",
    }


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
    ],
)
def test_the_quality_of_service_follows_from_the_resources(containers: list[JsonObject], expected: str) -> None:
    assert qos_class({"spec": {"containers": [{"resources": found} for found in containers]}}) == expected


def test_the_generation_counts_changes_of_the_spec_alone() -> None:
    kind, old = kind_of("deployments.apps"), alive("deployments.apps", spec={"replicas": 1})
    labelled = updated(
        kind, {**old, "metadata": {**map_at(old, "metadata"), "labels": {"a": "b"}}}, old, "", now_ms=0
    )
    assert dig(labelled, "metadata", "generation") == 1
    scaled = updated(kind, {**old, "spec": {"replicas": 2}}, old, "", now_ms=0)
    assert dig(scaled, "metadata", "generation") == 2
    typed = updated(kind, {**old, "spec": {"replicas": True}}, old, "", now_ms=0)
    assert dig(typed, "metadata", "generation") == 2


def test_a_custom_kind_without_status_counts_all_that_is_said() -> None:
    old = born(WIDGET, "ns", {"metadata": {}, "status": {"a": 1}}, BIRTH)
    new = updated(WIDGET, {**old, "status": {"a": 2}}, old, "", now_ms=0)
    assert dig(new, "metadata", "generation") == 2


def test_the_object_and_its_status_are_written_apart() -> None:
    kind, old = kind_of("deployments.apps"), alive("deployments.apps", spec={"replicas": 1})
    wanted: JsonObject = {**old, "spec": {"replicas": 5}, "status": {"replicas": 3}}
    assert "status" not in updated(kind, wanted, old, "", now_ms=0)
    told = updated(kind, wanted, old, "status", now_ms=0)
    assert (told["spec"], told["status"], dig(told, "metadata", "generation")) == (
        {"replicas": 1},
        {"replicas": 3},
        1,
    )


def test_a_status_update_may_label_and_may_not_change_the_owner() -> None:
    kind, old = kind_of("pods"), alive("pods", spec={})
    wanted: JsonObject = {**old, "metadata": {"labels": {"a": "b"}, "ownerReferences": [{"uid": "x"}], "uid": "y"}}
    metadata = map_at(updated(kind, wanted, old, "status", now_ms=0), "metadata")
    assert metadata == map_at(old, "metadata") | {"labels": {"a": "b"}}


def test_an_update_keeps_what_no_writer_may_change() -> None:
    kind, old = kind_of("configmaps"), alive("configmaps")
    wanted: JsonObject = {"metadata": {"name": "x", "creationTimestamp": "1999-01-01T00:00:00Z", "generation": 4}}
    assert map_at(updated(kind, wanted, old, "", now_ms=0), "metadata") == map_at(old, "metadata")


def test_binding_sets_the_node_and_says_so() -> None:
    kind, old = kind_of("pods"), alive("pods", spec={"containers": []})
    bound = updated(kind, {"spec": {"nodeName": "n", "containers": [{}]}}, old, "binding", now_ms=NOW_MS)
    assert bound["spec"] == {"containers": [], "nodeName": "n"}
    assert list_at(bound, "status", "conditions") == [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW}
    ]
    with pytest.raises(ConflictError, match='pod x is already assigned to node "n"'):
        updated(kind, {"spec": {"nodeName": "m"}}, bound, "binding", now_ms=NOW_MS)
    with pytest.raises(InvalidError, match=r"target\.name: Required value"):
        updated(kind, {"spec": {}}, old, "binding", now_ms=NOW_MS)
    going = deleted(kind, on_node(), DeleteOptions(), now_ms=NOW_MS).obj
    with pytest.raises(ConflictError, match="is being deleted"):
        updated(kind, {"spec": {"nodeName": "m"}}, going, "binding", now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("pod", "grace_s", "left"),
    [
        (on_node(), None, 20),
        (on_node(), 5, 5),
        (on_node(), -1, 1),
        (on_node(), 0, None),
        (on_node("Succeeded"), None, None),
        (on_node("Failed"), 30, None),
        (alive("pods", spec={}), 30, None),
        (on_node("Failed", finalizers=["a.com/b"]), None, 0),
    ],
)
def test_a_pod_is_given_the_grace_it_needs(pod: JsonObject, grace_s: int | None, left: int | None) -> None:
    deletion = deleted(kind_of("pods"), pod, DeleteOptions(grace_s=grace_s), now_ms=NOW_MS)
    assert deletion.gone == (left is None)
    if left is not None:
        assert dig(deletion.obj, "metadata", "deletionGracePeriodSeconds") == left
        assert (
            str_at(deletion.obj, "metadata", "deletionTimestamp")
            == f"2025-06-15T15:{6 + (40 + left) // 60:02}:{(40 + left) % 60:02}Z"
        )
        assert dig(deletion.obj, "metadata", "generation") == 2


def test_a_second_delete_may_only_shorten_the_grace() -> None:
    kind = kind_of("pods")
    going = deleted(kind, on_node(), DeleteOptions(grace_s=10), now_ms=NOW_MS).obj
    later_ms = NOW_MS + 3000
    for grace_s in (None, 30, 10):
        assert deleted(kind, going, DeleteOptions(grace_s=grace_s), now_ms=later_ms).obj == going
    shorter = deleted(kind, going, DeleteOptions(grace_s=4), now_ms=later_ms)
    assert str_at(shorter.obj, "metadata", "deletionTimestamp") == "2025-06-15T15:06:44Z"
    assert int_at(shorter.obj, "metadata", "deletionGracePeriodSeconds") == 4
    assert int_at(shorter.obj, "metadata", "generation") == 2
    assert not shorter.gone
    assert deleted(kind, going, DeleteOptions(grace_s=0), now_ms=later_ms).gone
    held = deleted(kind, on_node(finalizers=["a.com/b"]), DeleteOptions(), now_ms=NOW_MS).obj
    ended = deleted(kind, held, DeleteOptions(grace_s=0), now_ms=later_ms)
    assert not ended.gone
    assert not released(ended.obj)
    freed: JsonObject = {**ended.obj, "metadata": {**map_at(ended.obj, "metadata"), "finalizers": []}}
    assert released(freed)


@pytest.mark.parametrize(
    ("resource", "finalizers", "propagation", "expected"),
    [
        ("configmaps", [], "", []),
        ("configmaps", [], "Background", []),
        ("configmaps", [], "Foreground", ["foregroundDeletion"]),
        ("configmaps", ["a"], "Orphan", ["a", "orphan"]),
        ("configmaps", ["orphan", "a"], "Foreground", ["a", "foregroundDeletion"]),
        ("configmaps", ["foregroundDeletion"], "", ["foregroundDeletion"]),
        ("configmaps", ["foregroundDeletion"], "Background", []),
        ("jobs.batch", [], "", ["orphan"]),
        ("jobs.batch", [], "Background", []),
        ("replicationcontrollers", [], "", ["orphan"]),
    ],
)
def test_what_becomes_of_dependents_is_written_as_finalizers(
    resource: str, finalizers: list[str], propagation: Propagation, expected: list[str]
) -> None:
    obj = alive(resource)
    ensure_map(obj, "metadata")["finalizers"] = list(finalizers)
    deletion = deleted(kind_of(resource), obj, DeleteOptions(propagation=propagation), now_ms=NOW_MS)
    assert strs_at(deletion.obj, "metadata", "finalizers") == expected
    assert deletion.gone == (not expected)
    assert bool(deletion.warnings) == (resource == "jobs.batch" and not propagation)


def test_a_definition_stays_until_its_objects_are_cleaned_up() -> None:
    kind = kind_of("customresourcedefinitions.apiextensions.k8s.io")
    deletion = deleted(kind, alive(kind.resource), DeleteOptions(), now_ms=NOW_MS)
    assert not deletion.gone
    assert strs_at(deletion.obj, "metadata", "finalizers") == ["customresourcecleanup.apiextensions.k8s.io"]
    (condition,) = list_at(deletion.obj, "status", "conditions")
    assert str_at(condition, "reason") == "InstanceDeletionPending"
    ensure_map(deletion.obj, "metadata").pop("finalizers")
    again = deleted(kind, deletion.obj, DeleteOptions(), now_ms=NOW_MS)
    assert again.gone


def test_approving_and_issuing_a_certificate_are_two_peoples_work() -> None:
    kind = kind_of("certificatesigningrequests.certificates.k8s.io")
    approved: JsonObject = {"type": "Approved", "status": "True"}
    failed: JsonObject = {"type": "Failed", "status": "True"}
    old = alive(kind.resource, spec={})
    by_approver = updated(
        kind, {**old, "status": {"conditions": [approved], "certificate": "forged"}}, old, "approval", now_ms=NOW_MS
    )
    assert map_at(by_approver, "status") == {"conditions": [approved]}
    by_signer = updated(
        kind, {**old, "status": {"conditions": [approved, failed], "certificate": "c"}}, old, "status", now_ms=NOW_MS
    )
    assert map_at(by_signer, "status") == {"conditions": [failed], "certificate": "c"}
    kept = updated(kind, {**by_approver, "status": {"certificate": "c"}}, by_approver, "status", now_ms=NOW_MS)
    assert map_at(kept, "status") == {"conditions": [approved], "certificate": "c"}


@pytest.mark.parametrize(
    ("resource", "along"),
    [
        ("replicasets.apps", {"labels": {"a": "b"}, "annotations": {"c": "d"}}),
        ("deployments.apps", {"annotations": {"c": "d"}}),
        ("customresourcedefinitions.apiextensions.k8s.io", {}),
    ],
)
def test_what_metadata_comes_along_with_a_status(resource: str, along: JsonObject) -> None:
    old = alive(resource)
    metadata: JsonObject = {**map_at(old, "metadata"), "labels": {"a": "b"}, "annotations": {"c": "d"}}
    new = updated(kind_of(resource), {**old, "metadata": metadata, "status": {}}, old, "status", now_ms=NOW_MS)
    assert map_at(new, "metadata") == {**map_at(old, "metadata"), **along}
