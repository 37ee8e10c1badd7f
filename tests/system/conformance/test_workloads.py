"""Deployments, ReplicaSets and garbage collection: conformance that needs controllers, a scheduler and nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest

from tests.system.conformance.cluster import MERGE, STRATEGIC, Cluster, Obj, eventually, names
from tests.system.conformance.fleet import fleet, runs

pytestmark = pytest.mark.system

REVISION = "deployment.kubernetes.io/revision"


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: Cluster) -> Iterator[None]:
    with fleet(cluster, cluster.name("node"), cluster.name("node")):
        yield


def template(labels: dict[str, str], image: str) -> Obj:
    return {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": image}]},
    }


def deployment(name: str, replicas: int, image: str = "httpd:1", **spec: object) -> Obj:
    labels = {"name": name}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template(labels, image),
            **spec,
        },
    }


def replica_set(name: str, replicas: int, labels: dict[str, str] | None = None, image: str = "httpd:1") -> Obj:
    labels = labels or {"name": name}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(labels, image)},
    }


def is_complete(obj: Obj) -> bool:
    """Kubernetes' DeploymentComplete."""
    wanted, status = obj["spec"]["replicas"], obj["status"]
    return (
        status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


class Apps:
    """apps/v1 of one namespace."""

    def __init__(self, cluster: Cluster, ns: str) -> None:
        self.cluster, self.ns = cluster, ns
        self.deployments = f"/apis/apps/v1/namespaces/{ns}/deployments"
        self.sets = f"/apis/apps/v1/namespaces/{ns}/replicasets"
        self.pods = f"/api/v1/namespaces/{ns}/pods"

    def completes(self, name: str, wait_s: float = 30) -> Obj:
        eventually(lambda: is_complete(self.cluster.get(f"{self.deployments}/{name}")), f"{name} is complete", wait_s)
        return self.cluster.get(f"{self.deployments}/{name}")

    def set_image(self, name: str, image: str) -> None:
        def change(obj: Obj) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

        self.cluster.update(f"{self.deployments}/{name}", change)

    def sets_by_image(self) -> dict[str, Obj]:
        return {
            each["spec"]["template"]["spec"]["containers"][0]["image"]: each
            for each in self.cluster.get(self.sets)["items"]
        }

    def waits(self, true: Callable[[], bool], what: str) -> None:
        eventually(true, what, 30)


@pytest.fixture
def apps(cluster: Cluster, ns: str) -> Apps:
    return Apps(cluster, ns)


# Deployments


def test_run_the_lifecycle_of_a_deployment(apps: Apps):
    cluster, path = apps.cluster, apps.deployments
    label = cluster.name("test-deployment-static")
    wanted = deployment("test-deployment", 2, "agnhost:1")
    wanted["metadata"]["labels"] = {label: "true"}
    one = f"{path}/test-deployment"
    with cluster.watch(path, labelSelector=f"{label}=true") as watch:
        cluster.create(path, wanted)
        watch.until("ADDED")
        watch.until("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 2)
        container = {"name": "c", "image": "pause:1"}
        spec = {"replicas": 1, "template": {"spec": {"terminationGracePeriodSeconds": 2, "containers": [container]}}}
        cluster.patch(one, {"metadata": {"labels": {"test-deployment": "patched"}}, "spec": spec}, STRATEGIC)

        def is_scaled(obj: Obj) -> bool:
            status = obj["status"]
            return (
                status.get("readyReplicas", 0) == status.get("updatedReplicas", 0) == 1
                and not status.get("unavailableReplicas", 0)
                and obj["spec"]["template"]["spec"]["containers"][0]["image"] == "pause:1"
            )

        watch.until("MODIFIED", is_scaled)
        # As the suite does: the first object again, without a resourceVersion.
        again = deepcopy(wanted)
        again["metadata"]["labels"]["test-deployment"] = "updated"
        again["spec"]["template"]["spec"]["containers"][0]["image"] = "httpd:1"
        cluster.put(one, again)
        watch.until(
            "MODIFIED",
            lambda obj: (
                obj["status"].get("readyReplicas", 0) == obj["status"].get("updatedReplicas", 0) == 2
                and not obj["status"].get("unavailableReplicas", 0)
            ),
        )
        status = {"readyReplicas": 0, "availableReplicas": 0}
        patch: Obj = {"metadata": {"labels": {"test-deployment": "patched-status"}}, "status": status}
        cluster.patch(f"{one}/status", patch, STRATEGIC)
        got = cluster.get(f"{one}/status")
        assert got["metadata"]["labels"]["test-deployment"] == "updated", "labels do not come along"
        watch.until("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 2)
        cluster.delete(path, {"gracePeriodSeconds": 1}, labelSelector=f"{label}=true")
        watch.until("DELETED")


def test_validate_deployment_status_endpoints(apps: Apps):
    cluster, one = apps.cluster, f"{apps.deployments}/d"
    cluster.create(apps.deployments, deployment("d", 1))
    apps.completes("d")
    added = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    updated = cluster.update(one, lambda obj: obj["status"]["conditions"].append(added), sub="/status")
    assert "StatusUpdate" in [each["type"] for each in updated["status"]["conditions"]]
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    patched = cluster.patch(f"{one}/status", patch, MERGE)
    assert [each["type"] for each in patched["status"]["conditions"]] == ["StatusPatched"]


@pytest.mark.parametrize("plural", ["deployments", "replicasets"])
def test_have_a_working_scale_subresource(apps: Apps, plural: str):
    cluster, path = apps.cluster, f"/apis/apps/v1/namespaces/{apps.ns}/{plural}"
    cluster.create(path, deployment("d", 1) if plural == "deployments" else replica_set("d", 1))
    scale = cluster.get(f"{path}/d/scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 1)
    scale["metadata"]["resourceVersion"] = ""
    scale["spec"]["replicas"] = 2
    assert cluster.put(f"{path}/d/scale", scale)["spec"]["replicas"] == 2
    assert cluster.get(f"{path}/d")["spec"]["replicas"] == 2
    scaled = cluster.patch(f"{path}/d/scale", {"spec": {"replicas": 4}}, STRATEGIC)
    assert scaled["spec"]["replicas"] == 4
    apps.waits(lambda: cluster.get(f"{path}/d/scale")["status"]["replicas"] == 4, "four replicas")


def test_rolling_update_deployment_deletes_old_pods_and_creates_new_ones(apps: Apps):
    cluster = apps.cluster
    labels = {"name": "sample-pod", "pod": "httpd"}
    old = replica_set("test-rolling-update-controller", 1, labels, "httpd:0")
    old["metadata"]["annotations"] = {REVISION: "3546343826724305832"}
    cluster.create(apps.sets, old)
    pod = f"{apps.sets}/test-rolling-update-controller"
    apps.waits(lambda: cluster.get(pod)["status"].get("readyReplicas", 0) == 1, "the old pod is ready")
    new = deployment("test-rolling-update-deployment", 1, "agnhost:1")
    new["spec"]["selector"]["matchLabels"] = labels
    new["spec"]["template"]["metadata"]["labels"] = labels
    cluster.create(apps.deployments, new)
    done = apps.completes("test-rolling-update-deployment")
    assert done["metadata"]["annotations"][REVISION] == "3546343826724305833"
    adopted = cluster.get(pod)
    assert adopted["spec"]["replicas"] == 0
    assert adopted["metadata"]["ownerReferences"][0]["uid"] == done["metadata"]["uid"]
    images = [each["spec"]["containers"][0]["image"] for each in cluster.get(apps.pods)["items"]]
    assert images == ["agnhost:1"] or set(images) == {"agnhost:1", "httpd:0"}


def test_recreate_deployment_deletes_old_pods_and_creates_new_ones(apps: Apps):
    cluster = apps.cluster
    cluster.create(apps.deployments, deployment("d", 1, "agnhost:1", strategy={"type": "Recreate"}))
    first = apps.completes("d")
    assert first["metadata"]["annotations"][REVISION] == "1"
    with cluster.watch(apps.pods) as watch:
        apps.set_image("d", "httpd:2")
        running: dict[str, str] = {}
        while "httpd:2" not in running.values():
            kind, pod = watch.next()
            running.pop(pod["metadata"]["name"], None)
            # One that is over is waited for no longer, though it is there yet.
            if kind != "DELETED" and pod["status"].get("phase") not in ("Succeeded", "Failed"):
                running[pod["metadata"]["name"]] = pod["spec"]["containers"][0]["image"]
            assert len(set(running.values())) < 2, "old and new at once"
    assert apps.completes("d")["metadata"]["annotations"][REVISION] == "2"


def test_deployment_deletes_old_replica_sets(apps: Apps):
    cluster = apps.cluster
    labels = {"name": "cleanup-pod", "pod": "httpd"}
    cluster.create(apps.sets, replica_set("test-cleanup-controller", 1, labels, "httpd:0"))
    apps.waits(
        lambda: cluster.get(f"{apps.sets}/test-cleanup-controller")["status"].get("readyReplicas", 0) == 1, "ready"
    )
    wanted = deployment("test-cleanup-deployment", 1, "agnhost:1", revisionHistoryLimit=0)
    wanted["spec"]["selector"]["matchLabels"] = labels
    wanted["spec"]["template"]["metadata"]["labels"] = labels
    cluster.create(apps.deployments, wanted)
    apps.waits(lambda: list(apps.sets_by_image()) == ["agnhost:1"], "the old set is gone")


def test_deployment_supports_rollover(apps: Apps):
    cluster = apps.cluster
    labels = {"name": "rollover-pod"}
    cluster.create(apps.sets, replica_set("test-rollover-controller", 1, labels, "httpd:0"))
    apps.waits(
        lambda: cluster.get(f"{apps.sets}/test-rollover-controller")["status"].get("readyReplicas", 0) == 1, "ready"
    )
    strategy: Obj = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    wanted = deployment("d", 1, "redis:broken", strategy=strategy, minReadySeconds=1)
    wanted["spec"]["selector"]["matchLabels"] = labels
    wanted["spec"]["template"]["metadata"]["labels"] = labels
    cluster.create(apps.deployments, wanted)
    apps.waits(lambda: "redis:broken" in apps.sets_by_image(), "the first rollout has begun")
    got = cluster.get(f"{apps.deployments}/d")
    assert got["spec"]["replicas"] == 1
    apps.set_image("d", "agnhost:1")
    apps.completes("d")
    sets = apps.sets_by_image()
    assert [sets[image]["spec"]["replicas"] for image in ("httpd:0", "redis:broken", "agnhost:1")] == [0, 0, 1]


def test_deployment_supports_proportional_scaling(apps: Apps):
    cluster = apps.cluster
    strategy: Obj = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    cluster.create(apps.deployments, deployment("d", 10, "httpd:1", strategy=strategy))
    apps.completes("d")
    apps.set_image("d", "webserver:404")

    def replicas(which: str, image: str) -> int:
        found = apps.sets_by_image().get(image, {"spec": {}, "status": {}})
        return found[which].get("replicas" if which == "spec" else "availableReplicas", 0)

    apps.waits(lambda: replicas("spec", "httpd:1") == 8 and replicas("status", "httpd:1") == 8, "8 of 10 stay")
    apps.waits(lambda: replicas("spec", "webserver:404") == 5, "13 in all")
    eventually(lambda: cluster.get(f"{apps.deployments}/d")["status"].get("availableReplicas", 0) == 8, "8 available")
    cluster.update(f"{apps.deployments}/d", lambda obj: obj["spec"].update(replicas=30))
    apps.waits(lambda: replicas("spec", "httpd:1") == 20, "the first set has its share")
    apps.waits(lambda: replicas("spec", "webserver:404") == 13, "the second set has its share")


# ReplicaSets


def test_adopt_matching_pods_on_creation_and_release_no_longer_matching_pods(apps: Apps):
    cluster, pod = apps.cluster, f"{apps.pods}/pod-adoption-release"
    labels = {"name": "pod-adoption-release"}
    spec: Obj = {"containers": [{"name": "c", "image": "httpd:1"}]}
    cluster.create(apps.pods, {"metadata": {"name": "pod-adoption-release", "labels": labels}, "spec": spec})
    runs(cluster, pod)
    made = cluster.create(apps.sets, replica_set("rs", 1, labels))

    def owners() -> list[str]:
        return [each["uid"] for each in cluster.get(pod)["metadata"].get("ownerReferences", [])]

    apps.waits(lambda: owners() == [made["metadata"]["uid"]], "the pod is adopted")
    cluster.update(pod, lambda obj: obj["metadata"]["labels"].update(name="not-matching-name"))
    apps.waits(lambda: owners() == [], "the pod is released")
    apps.waits(
        lambda: len(cluster.get(apps.pods, labelSelector="name=pod-adoption-release")["items"]) == 1, "another"
    )


def test_replace_and_patch_a_replica_set(apps: Apps):
    cluster, one = apps.cluster, f"{apps.sets}/test-rs"
    cluster.create(apps.sets, replica_set("test-rs", 1))
    apps.waits(lambda: cluster.get(one)["status"].get("readyReplicas", 0) == 1, "one replica")
    cluster.update(one, lambda obj: obj["spec"].update(replicas=2))
    apps.waits(lambda: cluster.get(one)["status"].get("readyReplicas", 0) == 2, "two replicas")
    container = {"name": "c", "image": "pause:1"}
    spec: Obj = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    patch: Obj = {
        "metadata": {"labels": {"test-rs": "patched"}},
        "spec": {"replicas": 3, "template": {"spec": spec}},
    }
    patched = cluster.patch(one, patch, STRATEGIC)
    assert patched["metadata"]["labels"]["test-rs"] == "patched"
    assert patched["spec"]["template"]["spec"]["containers"][0]["image"] == "pause:1"
    apps.waits(lambda: cluster.get(one)["status"].get("readyReplicas", 0) == 3, "three replicas")


def test_list_and_delete_a_collection_of_replica_sets(apps: Apps):
    cluster = apps.cluster
    cluster.create(apps.sets, replica_set("test-rs", 3, {"e2e": "rs"}))
    apps.waits(lambda: cluster.get(f"{apps.sets}/test-rs")["status"].get("readyReplicas", 0) == 3, "three replicas")
    assert len(cluster.get("/apis/apps/v1/replicasets", labelSelector="e2e=rs")["items"]) == 1
    cluster.delete(apps.sets, {"gracePeriodSeconds": 1}, labelSelector="e2e=rs")
    apps.waits(lambda: cluster.get(apps.sets)["items"] == [], "the sets are gone")
    apps.waits(lambda: cluster.get(apps.pods)["items"] == [], "their pods are gone")


def test_validate_replica_set_status_endpoints(apps: Apps):
    cluster, one = apps.cluster, f"{apps.sets}/test-rs"
    cluster.create(apps.sets, replica_set("test-rs", 1))
    apps.waits(lambda: cluster.get(one)["status"].get("availableReplicas", 0) == 1, "one replica")
    added = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    updated = cluster.update(one, lambda obj: obj["status"].setdefault("conditions", []).append(added), sub="/status")
    assert updated["status"]["conditions"][0]["type"] == "StatusUpdate"
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    assert cluster.patch(f"{one}/status", patch)["status"]["conditions"][0]["type"] == "StatusPatched"


# Garbage collection


def test_garbage_collector_orphans_or_deletes_the_rs_of_a_deployment(apps: Apps):
    cluster = apps.cluster
    for policy in ("Orphan", "Background"):
        cluster.create(apps.deployments, deployment("simpletest", 2))
        apps.waits(lambda: len(cluster.get(apps.sets)["items"]) == 1, "the set is there")
        uid = cluster.get(f"{apps.deployments}/simpletest")["metadata"]["uid"]
        options: Obj = {"propagationPolicy": policy, "preconditions": {"uid": uid}}
        cluster.delete(f"{apps.deployments}/simpletest", options)
        cluster.gone(f"{apps.deployments}/simpletest")
        if policy == "Orphan":
            (orphan,) = cluster.get(apps.sets)["items"]
            assert "ownerReferences" not in orphan["metadata"]
            cluster.delete(f"{apps.sets}/{orphan['metadata']['name']}", {"propagationPolicy": "Background"})
        apps.waits(lambda: cluster.get(apps.sets)["items"] == [], "the set is gone")
        apps.waits(lambda: cluster.get(apps.pods)["items"] == [], "the pods are gone")


def test_garbage_collector_keeps_the_owner_around_until_all_its_pods_are_deleted(apps: Apps):
    cluster, one = apps.cluster, f"{apps.sets}/simpletest"
    cluster.create(apps.sets, replica_set("simpletest", 5))
    apps.waits(lambda: cluster.get(one)["status"].get("readyReplicas", 0) == 5, "five pods")
    with cluster.watch(apps.sets) as watch:
        cluster.delete(one, {"propagationPolicy": "Foreground"})
        assert "foregroundDeletion" in cluster.call("GET", one).obj.get("metadata", {}).get("finalizers", []) or (
            cluster.absent(one)
        )
        watch.until("DELETED")
    assert [pod for pod in names(cluster.get(apps.pods)) if pod.startswith("simpletest-")] == []


def test_garbage_collector_does_not_delete_dependents_with_a_valid_owner_as_well(apps: Apps):
    cluster = apps.cluster
    cluster.create(apps.sets, replica_set("to-be-deleted", 4))
    stays = cluster.create(apps.sets, replica_set("to-stay", 0))
    apps.waits(lambda: len(cluster.get(apps.pods)["items"]) == 4, "four pods")
    both = names(cluster.get(apps.pods))[:2]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "to-stay", "uid": stays["metadata"]["uid"]}
    for name in both:
        cluster.patch(f"{apps.pods}/{name}", {"metadata": {"ownerReferences": [owner]}}, STRATEGIC)
    cluster.delete(f"{apps.sets}/to-be-deleted", {"propagationPolicy": "Foreground"})
    cluster.gone(f"{apps.sets}/to-be-deleted")
    left = cluster.get(apps.pods)["items"]
    assert sorted(pod["metadata"]["name"] for pod in left) == sorted(both)
    assert all([ref["name"] for ref in pod["metadata"]["ownerReferences"]] == ["to-stay"] for pod in left)


def test_garbage_collector_is_not_blocked_by_a_dependency_circle(apps: Apps):
    cluster = apps.cluster
    spec: Obj = {"containers": [{"name": "c", "image": "httpd:1"}], "terminationGracePeriodSeconds": 0}
    pods = [cluster.create(apps.pods, {"metadata": {"name": f"pod{n}"}, "spec": spec}) for n in (1, 2, 3)]
    for number, pod in enumerate(pods):
        of = pods[number - 1]["metadata"]
        ref = {"apiVersion": "v1", "kind": "Pod", "name": of["name"], "uid": of["uid"], "controller": True}
        ref["blockOwnerDeletion"] = True
        cluster.patch(f"{apps.pods}/{pod['metadata']['name']}", {"metadata": {"ownerReferences": [ref]}}, STRATEGIC)
    cluster.delete(f"{apps.pods}/pod1", {"propagationPolicy": "Foreground"})
    apps.waits(lambda: cluster.get(apps.pods)["items"] == [], "the circle is gone")
