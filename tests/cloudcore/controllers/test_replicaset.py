"""ReplicaSets: counting, choosing, adopting, and saying so."""

from typing import Any

import pytest

from cloudcore.controllers.replicaset.controller import ReplicaSetController, ReplicationControllerController
from cloudcore.controllers.replicaset.plan import next_available_s, plan, status_of
from tests.cloudcore.worlds import make_world


def replica_set(replicas: int, **spec: Any) -> Any:
    return {
        "metadata": {"name": "web", "namespace": "d", "uid": "u1", "generation": 3},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "x": "1"}}, "spec": {"containers": [{"name": "c"}]}},
            **spec,
        },
    }


def pod(name: str, *, node: str = "n1", phase: str = "Running", ready_s: int | None = 0, **more: Any) -> Any:
    conditions: list[Any] = []
    if ready_s is not None:
        at = f"2020-01-01T00:{ready_s // 60:02}:{ready_s % 60:02}Z"
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": at}]
    return {
        "metadata": {"name": name, "labels": {"app": "web"}, "creationTimestamp": "2020-01-01T00:00:00Z", **more},
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions},
    }


def test_what_is_over_or_going_does_not_count():
    pods = [pod("a"), pod("b", phase="Failed"), pod("c", deletionTimestamp="2020-01-01T00:00:00Z")]
    assert plan(replica_set(3), pods).create == 2
    assert plan(replica_set(1), pods) == plan(replica_set(1), [pod("a")])
    assert plan(replica_set(2000), []).create == 500


def test_a_set_that_is_being_deleted_makes_and_ends_nothing():
    leaving = replica_set(3)
    leaving["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z"
    assert plan(leaving, [pod("a")] * 5) == plan(replica_set(1), [pod("a")])


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (pod("a", node=""), pod("b")),
        (pod("a", phase="Pending", ready_s=None), pod("b", phase="Unknown", ready_s=None)),
        (pod("a", phase="Unknown", ready_s=None), pod("b", ready_s=None)),
        (pod("a", ready_s=None), pod("b")),
        (pod("a", annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"}), pod("b")),
        (pod("a", ready_s=50), pod("b", ready_s=10)),
        (pod("a", creationTimestamp="2020-01-02T00:00:00Z"), pod("b")),
    ],
)
def test_the_pod_whose_loss_matters_least_goes_first(first, other):
    assert plan(replica_set(1), [other, first]).delete == (first,)


def test_a_crowded_node_loses_a_pod_first():
    pods = [pod("a", node="n1"), pod("b", node="n2"), pod("c", node="n2")]
    assert plan(replica_set(2), pods).delete[0]["spec"]["nodeName"] == "n2"  # type: ignore[index]


def test_the_status_counts_ready_available_and_fully_labelled_pods():
    now_ms = 1_577_836_830_000  # 2020-01-01T00:00:30Z
    pods = [pod("a", labels={"app": "web", "x": "1"}), pod("b", ready_s=25), pod("c", ready_s=None)]
    status: Any = status_of(replica_set(3, minReadySeconds=10), pods, None, now_ms=now_ms)
    assert status == {
        "replicas": 3,
        "observedGeneration": 3,
        "fullyLabeledReplicas": 1,
        "readyReplicas": 2,
        "availableReplicas": 1,
    }
    assert next_available_s(replica_set(3, minReadySeconds=10), pods, now_ms=now_ms) == 5.0
    assert next_available_s(replica_set(3), pods, now_ms=now_ms) is None


async def test_a_replica_set_gets_its_pods_and_each_replacement():
    async with make_world() as world:
        controller = ReplicaSetController(world.tools)
        await world.create("replicasets.apps", replica_set(7) | {"metadata": {"name": "web"}})
        await world.settle(controller)
        assert len(world.names("pods")) == 7
        await world.run_pods()
        await world.settle(controller)
        assert world.get("replicasets.apps", "web")["status"]["availableReplicas"] == 7
        await world.delete("pods", world.names("pods")[0], grace_s=0)
        await world.settle(controller)
        assert len(world.names("pods")) == 7
        await world.set_spec("replicasets.apps", "web", replicas=2)
        await world.settle(controller)
        assert len(world.names("pods")) == 2
        assert len(world.events("SuccessfulCreate")) == 8
        assert world.get("replicasets.apps", "web")["status"]["observedGeneration"] == 2


async def test_matching_pods_are_adopted_and_others_released():
    async with make_world() as world:
        controller = ReplicaSetController(world.tools)
        await world.create("pods", {"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": {}})
        await world.create("replicasets.apps", replica_set(1) | {"metadata": {"name": "web"}})
        await world.settle(controller)
        assert world.names("pods") == ["stray"]
        [owner] = world.get("pods", "stray")["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == ("ReplicaSet", True, True)
        await world.update(
            "pods", "stray", lambda obj: obj | {"metadata": obj["metadata"] | {"labels": {"app": "no"}}}
        )
        await world.settle(controller)
        assert "ownerReferences" not in world.get("pods", "stray")["metadata"]
        assert len(world.names("pods")) == 2


async def test_a_refused_pod_is_told_and_only_one_is_tried():
    async with make_world() as world:
        controller = ReplicaSetController(world.tools)
        refused = replica_set(10)
        refused["spec"]["template"]["metadata"]["labels"]["refuse"] = "yes"
        await world.create("replicasets.apps", refused | {"metadata": {"name": "web"}})
        await world.settle(controller)
        [condition] = world.get("replicasets.apps", "web")["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "ReplicaFailure",
            "True",
            "FailedCreate",
        )
        assert "is refused" in condition["message"]
        assert 1 <= len(world.events("FailedCreate")) < 10


async def test_a_replication_controller_keeps_its_pods_by_a_map_of_labels():
    async with make_world(real_rules=True) as world:
        controller = ReplicationControllerController(world.tools)
        pods: Any = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
        spec: Any = {"replicas": 3, "template": pods}
        await world.create("pods", {"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": pods["spec"]})
        await world.create("replicationcontrollers", {"metadata": {"name": "web"}, "spec": spec})
        await world.settle(controller)
        assert len(world.names("pods")) == 3
        owners = {owner["kind"] for pod in world.all("pods") for owner in pod["metadata"]["ownerReferences"]}
        assert owners == {"ReplicationController"}
        await world.run_pods()
        await world.settle(controller)
        status = world.get("replicationcontrollers", "web")["status"]
        assert (status["readyReplicas"], status["fullyLabeledReplicas"], status["observedGeneration"]) == (3, 3, 1)
        await world.update(
            "pods", "stray", lambda obj: obj | {"metadata": obj["metadata"] | {"labels": {"app": "no"}}}
        )
        await world.settle(controller)
        assert "ownerReferences" not in world.get("pods", "stray")["metadata"]
        await world.set_spec("replicationcontrollers", "web", replicas=1)
        await world.settle(controller)
        await world.run_pods()
        assert len(world.names("pods")) == 2, "its own, and the one that it let go"
