"""StatefulSets and ReplicationControllers: conformance that needs their controllers, a scheduler and nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.system.conformance.cluster import MERGE, STRATEGIC, Cluster, Obj, eventually, names
from tests.system.conformance.fleet import fleet, runs

pytestmark = pytest.mark.system

HASH = "controller-revision-hash"


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: Cluster) -> Iterator[None]:
    with fleet(cluster, cluster.name("node"), cluster.name("node")):
        yield


class Sets:
    """StatefulSets of one namespace, called `ss`."""

    def __init__(self, cluster: Cluster, ns: str) -> None:
        self.cluster, self.ns = cluster, ns
        self.path = f"/apis/apps/v1/namespaces/{ns}/statefulsets"
        self.one = f"{self.path}/ss"
        self.pods = f"/api/v1/namespaces/{ns}/pods"

    def make(self, replicas: int = 3, image: str = "httpd:1", **spec: object) -> Obj:
        labels = {"baz": "blah", "foo": "bar"}
        service: Obj = {
            "metadata": {"name": "test", "labels": labels},
            "spec": {"selector": labels, "clusterIP": "None", "ports": [{"port": 80, "name": "http"}]},
        }
        self.cluster.create(f"/api/v1/namespaces/{self.ns}/services", service)
        template: Obj = {
            "metadata": {"labels": labels},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "webserver", "image": image}],
            },
        }
        wanted: Obj = {
            "metadata": {"name": "ss"},
            "spec": {
                "replicas": replicas,
                "serviceName": "test",
                "selector": {"matchLabels": labels},
                "template": template,
                **spec,
            },
        }
        return self.cluster.create(self.path, wanted)

    def get(self) -> Obj:
        return self.cluster.get(self.one)

    def of(self) -> dict[str, Obj]:
        found = self.cluster.get(self.pods, labelSelector="baz=blah")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}

    def uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.of().values()}

    def images(self) -> dict[str, str]:
        return {name: pod["spec"]["containers"][0]["image"] for name, pod in self.of().items()}

    def settles(self, replicas: int, **fields: int) -> Obj:
        wanted = {"replicas": replicas, "readyReplicas": replicas, **fields}

        def is_so() -> bool:
            obj = self.get()
            status = obj["status"]
            seen = status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
            return seen and all(status.get(name, 0) == count for name, count in wanted.items())

        eventually(is_so, f"ss has {wanted}", 30)
        return self.get()

    def ends_update(self) -> Obj:
        def is_so() -> bool:
            status = self.get()["status"]
            return status["currentRevision"] == status["updateRevision"] and self.are_at(status["updateRevision"])

        eventually(is_so, "the update is complete", 30)
        return self.get()

    def are_at(self, revision: str) -> bool:
        return {pod["metadata"]["labels"][HASH] for pod in self.of().values()} == {revision}

    def set_image(self, image: str) -> Obj:
        def change(obj: Obj) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

        return self.cluster.update(self.one, change)

    def scale(self, replicas: int) -> None:
        def change(obj: Obj) -> None:
            obj["spec"]["replicas"] = replicas

        self.cluster.update(self.one, change)

    def is_ready(self, name: str, ready: str) -> None:
        """As if a probe said so from now on."""

        def change(obj: Obj) -> None:
            for condition in obj["status"]["conditions"]:
                if condition["type"] == "Ready":
                    condition["status"] = ready

        self.cluster.update(f"{self.pods}/{name}", change, "/status")


@pytest.fixture
def sets(cluster: Cluster, ns: str) -> Sets:
    return Sets(cluster, ns)


def test_should_perform_rolling_updates_and_roll_backs_of_template_modifications(sets: Sets):
    sets.make(3)
    first = sets.settles(3)["status"]["currentRevision"]
    assert sets.get()["status"]["updateRevision"] == first and sets.are_at(first)
    sets.is_ready("ss-1", "False")
    sets.settles(3, readyReplicas=2)
    sets.set_image("httpd:2")
    eventually(lambda: sets.get()["status"]["updateRevision"] != first, "there is another revision")
    sets.is_ready("ss-1", "True")
    second = sets.ends_update()["status"]["updateRevision"]
    assert second != first and set(sets.images().values()) == {"httpd:2"}
    sets.is_ready("ss-1", "False")
    sets.set_image("httpd:1")
    eventually(lambda: sets.get()["status"]["updateRevision"] == first, "it is the first revision again")
    sets.is_ready("ss-1", "True")
    assert sets.ends_update()["status"]["currentRevision"] == first
    assert set(sets.images().values()) == {"httpd:1"}


def test_should_perform_canary_updates_and_phased_rolling_updates_of_template_modifications(sets: Sets):
    def strategy(partition: int) -> Obj:
        return {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}

    def move(partition: int) -> None:
        sets.cluster.patch(sets.one, {"spec": {"updateStrategy": strategy(partition)}})

    sets.make(3, updateStrategy=strategy(3))
    first = sets.settles(3)["status"]["currentRevision"]
    sets.set_image("httpd:2")
    eventually(lambda: sets.get()["status"]["updateRevision"] != first, "there is another revision")
    second = sets.get()["status"]["updateRevision"]
    time.sleep(1)
    assert sets.are_at(first), "the partition is above all"
    move(2)
    phased = {"ss-0": "httpd:1", "ss-1": "httpd:1", "ss-2": "httpd:2"}
    eventually(lambda: sets.images() == phased, "one")
    sets.settles(3, currentReplicas=2, updatedReplicas=1)
    for name in ("ss-0", "ss-2"):
        uid = sets.of()[name]["metadata"]["uid"]
        sets.cluster.delete(f"{sets.pods}/{name}")
        eventually(lambda name=name, uid=uid: uid not in sets.uids() and name in sets.of(), f"{name} anew", 30)
        sets.settles(3)
    assert sets.images() == phased
    for partition in (1, 0):
        move(partition)
        updated = {f"ss-{ordinal}" for ordinal in range(partition, 3)}
        eventually(
            lambda updated=updated: {name for name, image in sets.images().items() if image == "httpd:2"} == updated,
            f"{updated} are updated",
            30,
        )
    assert sets.ends_update()["status"]["currentRevision"] == second


def test_scaling_should_happen_in_predictable_order_and_halt_if_any_stateful_pod_is_unhealthy(sets: Sets):
    with sets.cluster.watch(sets.pods, labelSelector="baz=blah") as watch:
        sets.make(1)
        sets.settles(1)
        sets.is_ready("ss-0", "False")
        sets.settles(1, readyReplicas=0)
        sets.scale(3)
        time.sleep(1)
        assert names(sets.cluster.get(sets.pods)) == ["ss-0"], "the first is not well"
        sets.is_ready("ss-0", "True")
        sets.settles(3)
        came = [watch.until("ADDED")["metadata"]["name"] for _ in range(3)]
        assert came == ["ss-0", "ss-1", "ss-2"]
        for name in came:
            sets.is_ready(name, "False")
        sets.settles(3, readyReplicas=0)
        sets.scale(0)
        time.sleep(1)
        assert len(sets.of()) == 3, "none is well"
        # The first of those that are not well goes without having become so.
        for name in ("ss-2", "ss-1"):
            sets.is_ready(name, "True")
        went = [watch.until("DELETED")["metadata"]["name"] for _ in range(3)]
        assert went == ["ss-2", "ss-1", "ss-0"]


def test_burst_scaling_should_run_to_completion_even_with_unhealthy_pods(sets: Sets):
    sets.make(1, podManagementPolicy="Parallel")
    sets.settles(1)
    sets.is_ready("ss-0", "False")
    sets.scale(3)
    eventually(lambda: len(sets.of()) == 3, "they come nonetheless", 30)
    sets.settles(3, readyReplicas=2)
    sets.scale(0)
    eventually(lambda: not sets.of(), "and go", 30)


def test_should_recreate_an_evicted_statefulset(sets: Sets):
    sets.make(1)
    sets.settles(1)
    before = sets.of()["ss-0"]["metadata"]["uid"]
    sets.cluster.update(f"{sets.pods}/ss-0", lambda obj: obj["status"].update(phase="Failed"), "/status")
    eventually(lambda: len(sets.uids()) == 1 and before not in sets.uids(), "it is made anew")
    sets.settles(1)


def test_should_have_a_working_scale_subresource(sets: Sets):
    sets.make(1)
    sets.settles(1)
    scale = sets.cluster.get(f"{sets.one}/scale")
    assert scale["spec"]["replicas"] == scale["status"]["replicas"] == 1
    scale["metadata"]["resourceVersion"] = ""
    scale["spec"]["replicas"] = 2
    assert sets.cluster.put(f"{sets.one}/scale", scale)["spec"]["replicas"] == 2
    assert sets.get()["spec"]["replicas"] == 2
    assert sets.cluster.patch(f"{sets.one}/scale", {"spec": {"replicas": 4}})["spec"]["replicas"] == 4
    sets.settles(4)


def test_should_list_patch_and_delete_a_collection_of_stateful_sets(sets: Sets):
    cluster = sets.cluster
    sets.make(1)
    sets.settles(1)
    cluster.patch(sets.one, {"metadata": {"labels": {"test-ss": "patched"}}}, STRATEGIC)
    container = {"name": "webserver", "image": "pause:1"}
    spec = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
    cluster.patch(sets.one, {"spec": spec}, STRATEGIC)
    sets.settles(2)
    sets.ends_update()
    found = cluster.get("/apis/apps/v1/statefulsets", labelSelector="test-ss=patched")
    assert len(found["items"]) == 1 and set(sets.images().values()) == {"pause:1"}
    cluster.delete(sets.path, {"propagationPolicy": "Background"}, labelSelector="test-ss=patched")
    eventually(lambda: not cluster.get(sets.path)["items"] and not sets.of(), "all is gone", 30)


def test_should_validate_stateful_set_status_endpoints(sets: Sets):
    cluster = sets.cluster
    sets.make(1)
    sets.settles(1)
    added = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    updated = cluster.update(
        sets.one, lambda obj: obj["status"].setdefault("conditions", []).append(added), "/status"
    )
    assert added.items() <= updated["status"]["conditions"][0].items()
    cluster.patch(
        f"{sets.one}/status", {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}, MERGE
    )
    sets.settles(1)
    assert [each["type"] for each in sets.get()["status"]["conditions"]] == ["StatusPatched"]


def test_each_pod_has_its_name_and_its_claim(sets: Sets):
    """Beyond the suite's conformance cases: identity, storage, and what goes with them."""
    cluster = sets.cluster
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": ""}
    claim: Obj = {"metadata": {"name": "datadir"}, "spec": spec}
    policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    sets.make(2, "broken", volumeClaimTemplates=[claim], persistentVolumeClaimRetentionPolicy=policy)
    claims = f"/api/v1/namespaces/{sets.ns}/persistentvolumeclaims"
    eventually(lambda: "ss-0" in sets.of(), "the first is there")
    assert names(cluster.get(claims)) == ["datadir-ss-0"]
    pod = sets.of()["ss-0"]
    assert pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "ss-0"
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("ss-0", "test")
    cluster.delete(sets.one, {"propagationPolicy": "Background"})
    eventually(lambda: not cluster.get(claims)["items"], "its claim goes with it", 30)


def test_kubectl_rolls_and_goes_back(sets: Sets):
    """Beyond the suite: what an operator types."""
    cluster, kubectl = sets.cluster, ("-n", sets.ns)
    sets.make(2)
    cluster.kubectl(*kubectl, "rollout", "status", "sts/ss", "--timeout=60s")
    cluster.kubectl(*kubectl, "set", "image", "sts/ss", "webserver=httpd:2")
    assert "complete" in cluster.kubectl(*kubectl, "rollout", "status", "sts/ss", "--timeout=60s")
    assert "2" in cluster.kubectl(*kubectl, "rollout", "history", "sts/ss")
    cluster.kubectl(*kubectl, "rollout", "undo", "sts/ss")
    cluster.kubectl(*kubectl, "rollout", "status", "sts/ss", "--timeout=60s")
    assert set(sets.images().values()) == {"httpd:1"}
    cluster.kubectl(*kubectl, "scale", "sts/ss", "--replicas=3")
    sets.settles(3)
    assert cluster.kubectl(*kubectl, "get", "sts", "ss", "--no-headers").split()[:2] == ["ss", "3/3"]
    described = cluster.kubectl(*kubectl, "describe", "sts", "ss")
    assert "3 Running" in described and "SuccessfulCreate" in described


# --- ReplicationControllers ---


class Controllers:
    """ReplicationControllers of one namespace."""

    def __init__(self, cluster: Cluster, ns: str) -> None:
        self.cluster, self.ns = cluster, ns
        self.path = f"/api/v1/namespaces/{ns}/replicationcontrollers"
        self.pods = f"/api/v1/namespaces/{ns}/pods"

    def make(self, name: str, replicas: int, image: str = "httpd:1", **labels: str) -> Obj:
        marks = {"name": name}
        template: Obj = {
            "metadata": {"labels": marks},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": name, "image": image}]},
        }
        spec = {"replicas": replicas, "selector": marks, "template": template}
        return self.cluster.create(self.path, {"metadata": {"name": name, "labels": labels}, "spec": spec})

    def settles(self, name: str, replicas: int) -> None:
        def is_so() -> bool:
            status = self.cluster.get(f"{self.path}/{name}")["status"]
            return status.get("replicas", 0) == status.get("readyReplicas", 0) == replicas

        eventually(is_so, f"{name} has {replicas}", 30)


@pytest.fixture
def controllers(cluster: Cluster, ns: str) -> Controllers:
    return Controllers(cluster, ns)


def test_should_serve_a_basic_image_on_each_replica(controllers: Controllers):
    controllers.make("basic", 2)
    controllers.settles("basic", 2)
    for name in names(controllers.cluster.get(controllers.pods)):
        assert runs(controllers.cluster, f"{controllers.pods}/{name}")["status"]["podIP"]


def test_should_adopt_matching_pods_on_creation_and_release_those_that_no_longer_match(controllers: Controllers):
    cluster = controllers.cluster
    spec: Obj = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "httpd:1"}]}
    cluster.create(controllers.pods, {"metadata": {"name": "adopted", "labels": {"name": "adopter"}}, "spec": spec})
    made = controllers.make("adopter", 1)
    one = f"{controllers.pods}/adopted"

    def owners() -> list[str]:
        return [each["uid"] for each in cluster.get(one)["metadata"].get("ownerReferences", [])]

    eventually(lambda: owners() == [made["metadata"]["uid"]], "it is adopted")
    cluster.patch(one, {"metadata": {"labels": {"name": "other"}}})
    eventually(lambda: owners() == [], "it is let go")
    controllers.settles("adopter", 1)


def test_should_test_the_lifecycle_of_a_replication_controller(controllers: Controllers):
    cluster = controllers.cluster
    one = f"{controllers.path}/rc-test"
    with cluster.watch(controllers.path, labelSelector="test-rc-static=true") as watch:
        controllers.make("rc-test", 1, **{"test-rc-static": "true"})
        watch.until("ADDED")
        watch.until("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 1)
        cluster.patch(one, {"metadata": {"labels": {"test-rc": "patched"}}}, STRATEGIC)
        watch.until("MODIFIED", lambda obj: obj["metadata"]["labels"].get("test-rc") == "patched")
        cluster.patch(f"{one}/status", {"status": {"readyReplicas": 0, "availableReplicas": 0}}, STRATEGIC)
        assert cluster.get(f"{one}/status")["metadata"]["name"] == "rc-test"
        scaled = cluster.patch(f"{one}/scale", {"spec": {"replicas": 2}}, STRATEGIC)
        assert scaled["spec"]["replicas"] == 2
        watch.until("MODIFIED", lambda obj: obj["status"].get("readyReplicas", 0) == 2)
        assert len(cluster.get("/api/v1/replicationcontrollers", labelSelector="test-rc-static=true")["items"]) == 1
        cluster.delete(controllers.path, {"propagationPolicy": "Background"}, labelSelector="test-rc-static=true")
        watch.until("DELETED")


def test_should_get_and_update_a_replication_controller_scale(controllers: Controllers):
    cluster = controllers.cluster
    controllers.make("scaled", 1)
    controllers.settles("scaled", 1)
    scale = cluster.get(f"{controllers.path}/scaled/scale")
    assert (scale["spec"]["replicas"], scale["status"]["selector"]) == (1, "name=scaled")
    scale["spec"]["replicas"] = 2
    assert cluster.put(f"{controllers.path}/scaled/scale", scale)["spec"]["replicas"] == 2
    controllers.settles("scaled", 2)


def test_kubectl_makes_scales_and_describes_a_replication_controller(controllers: Controllers):
    cluster, kubectl = controllers.cluster, ("-n", controllers.ns)
    manifest = """
apiVersion: v1
kind: ReplicationController
metadata: {name: update-demo}
spec:
  replicas: 2
  selector: {name: update-demo}
  template:
    metadata: {labels: {name: update-demo}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: update-demo, image: "nautilus:1", ports: [{containerPort: 80}]}]
"""
    made = cluster.kubectl(*kubectl, "create", "-f", "-", stdin=manifest)
    assert "replicationcontroller/update-demo created" in made and "nothing in this control plane" not in made
    controllers.settles("update-demo", 2)
    cluster.kubectl(*kubectl, "scale", "rc", "update-demo", "--replicas=1", "--timeout=60s")
    controllers.settles("update-demo", 1)
    described = cluster.kubectl(*kubectl, "describe", "rc", "update-demo")
    assert "1 current / 1 desired" in described and "SuccessfulCreate" in described
    [pod] = names(cluster.get(controllers.pods, labelSelector="name=update-demo"))
    assert "Controlled By:  ReplicationController/update-demo" in cluster.kubectl(*kubectl, "describe", "pod", pod)
    cluster.kubectl(*kubectl, "expose", "rc", "update-demo", "--name=rm2", "--port=1234", "--target-port=80")
    cluster.kubectl(*kubectl, "annotate", "pods", "-l", "name=update-demo", "x=y")
    cluster.kubectl(*kubectl, "delete", "rc", "update-demo")
    eventually(lambda: not cluster.get(controllers.pods)["items"], "its pods go with it", 30)
