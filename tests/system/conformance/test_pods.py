"""Pods, their nodes and their namespaces: conformance that needs pods to reach a status, and nothing inside them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.system.conformance.cluster import JSON_PATCH, MERGE, STRATEGIC, Cluster, Obj, eventually, names
from tests.system.conformance.fleet import fleet, runs

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: Cluster) -> Iterator[list[str]]:
    made = [cluster.name("node"), cluster.name("node")]
    with fleet(cluster, *made):
        yield made


def pod(name: str, labels: dict[str, str] | None = None, **spec: object) -> Obj:
    return {
        "metadata": {"name": name, "labels": labels or {"name": name}},
        "spec": {"containers": [{"name": "c", "image": "pause:1"}], **spec},
    }


def condition(obj: Obj, kind: str) -> Obj:
    return next((each for each in obj["status"].get("conditions", []) if each["type"] == kind), {"status": ""})


def test_be_submitted_and_removed(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    since = cluster.get(path, labelSelector="time=now")["metadata"]["resourceVersion"]
    with cluster.watch(path, resourceVersion=since, labelSelector="time=now") as watch:
        cluster.create(path, pod("p", {"time": "now"}))
        assert watch.next()[0] == "ADDED"
        runs(cluster, f"{path}/p")
        cluster.delete(f"{path}/p", {"gracePeriodSeconds": 30})
        last = watch.until("DELETED")
        assert last["metadata"]["deletionTimestamp"] and last["spec"]["terminationGracePeriodSeconds"] >= 0
    assert cluster.get(path, labelSelector="time=now")["items"] == []


def test_be_updated(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    cluster.create(path, pod("p"))
    runs(cluster, f"{path}/p")
    cluster.update(f"{path}/p", lambda obj: obj["metadata"]["labels"].update(time="updated"))
    assert names(cluster.get(path, labelSelector="time=updated")) == ["p"]
    cluster.update(f"{path}/p", lambda obj: obj["spec"].update(activeDeadlineSeconds=300))
    refused = cluster.fails(422, "PATCH", f"{path}/p", {"spec": {"activeDeadlineSeconds": 600}}, media=MERGE)
    assert "activeDeadlineSeconds" in refused.message


def test_get_a_host_ip(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    cluster.create(path, pod("p"))
    assert runs(cluster, f"{path}/p")["status"]["hostIP"] == "10.9.0.1"


def test_delete_a_collection_of_pods(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    for name in ("one", "two", "three"):
        cluster.create(path, pod(name, {"type": "Testing"}, terminationGracePeriodSeconds=1))
    for name in ("one", "two", "three"):
        runs(cluster, f"{path}/{name}")
    cluster.delete(path, labelSelector="type=Testing")
    eventually(lambda: cluster.get(path, labelSelector="type=Testing")["items"] == [], "the pods are gone")


def test_patch_a_pod_status(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    cluster.create(path, pod("p"))
    runs(cluster, f"{path}/p")
    status: Obj = {"message": "Patched by e2e test", "reason": "E2E"}
    patched = cluster.patch(f"{path}/p/status", {"status": status}, STRATEGIC)
    assert status.items() <= patched["status"].items()
    assert cluster.get(f"{path}/p/status")["status"]["message"] == "Patched by e2e test"


def test_run_through_the_lifecycle_of_pods_and_pod_status(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    with cluster.watch(path, labelSelector="test-pod-static=true") as watch:
        labels = {"name": "test-pod", "test-pod-static": "true"}
        cluster.create(path, pod("test-pod", labels, terminationGracePeriodSeconds=1))
        watch.until("ADDED")
        watch.until("MODIFIED", lambda obj: condition(obj, "Ready")["status"] == "True")
        container = {"name": "c", "image": "pause:2"}
        patch: Obj = {"metadata": {"labels": {"test-pod": "patched"}}, "spec": {"containers": [container]}}
        cluster.patch(f"{path}/test-pod", patch, STRATEGIC)
        watch.until("MODIFIED", lambda obj: obj["metadata"]["labels"].get("test-pod") == "patched")
        got = cluster.get(f"{path}/test-pod")
        assert got["spec"]["containers"][0]["image"] == "pause:2"
        # The suite writes a status that says "not ready", and sees it.
        for each in got["status"]["conditions"]:
            if each["type"] == "Ready":
                each["status"] = "False"
        replaced = cluster.update(
            f"{path}/test-pod",
            lambda obj: obj.update(status={**obj["status"], "conditions": got["status"]["conditions"]}),
            sub="/status",
        )
        assert condition(replaced, "Ready")["status"] == "False"
        cluster.delete(path, {"gracePeriodSeconds": 1}, labelSelector="test-pod-static=true")
        watch.until("DELETED")


def test_pod_generation_starts_at_1_and_increments_per_update(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    custom = pod("p")
    custom["metadata"]["generation"] = 100
    assert cluster.create(path, custom)["metadata"]["generation"] == 1, "a generation of the writer's is not taken"
    generation = runs(cluster, f"{path}/p")["metadata"]["generation"]
    cluster.patch(f"{path}/p", {"metadata": {"annotations": {"key": "value"}}})
    assert cluster.get(f"{path}/p")["metadata"]["generation"] == generation, "metadata does not count"
    changed = cluster.patch(
        f"{path}/p", [{"op": "replace", "path": "/spec/containers/0/image", "value": "pause:2"}], JSON_PATCH
    )
    assert changed["metadata"]["generation"] == generation + 1
    toleration = {"key": "foo", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}
    more = cluster.update(f"{path}/p", lambda obj: obj["spec"]["tolerations"].append(toleration))
    assert more["metadata"]["generation"] == generation + 2
    eventually(
        lambda: cluster.get(f"{path}/p")["status"].get("observedGeneration") == generation + 2,
        "the node has seen the last one",
    )
    deleted = cluster.delete(f"{path}/p", {"gracePeriodSeconds": 30})
    assert deleted["metadata"]["generation"] == generation + 3, "a graceful deletion counts"


def test_qos_class_is_set_on_pods_with_matching_requests_and_limits(cluster: Cluster, ns: str):
    amounts = {"cpu": "100m", "memory": "100Mi"}
    container = {"name": "c", "image": "pause:1", "resources": {"requests": amounts, "limits": amounts}}
    made = cluster.create(f"/api/v1/namespaces/{ns}/pods", pod("p", containers=[container]))
    assert made["status"]["qosClass"] == "Guaranteed"


def test_opting_out_of_api_token_automount(cluster: Cluster, ns: str):
    accounts, path = f"/api/v1/namespaces/{ns}/serviceaccounts", f"/api/v1/namespaces/{ns}/pods"
    for name, value in (("mount", True), ("nomount", False)):
        cluster.create(accounts, {"metadata": {"name": name}, "automountServiceAccountToken": value})
    for account, spec, is_mounted in (
        ("default", None, True),
        ("mount", None, True),
        ("nomount", None, False),
        ("default", True, True),
        ("mount", True, True),
        ("nomount", True, True),
        ("default", False, False),
        ("mount", False, False),
        ("nomount", False, False),
    ):
        wanted = pod(f"{account}-{spec}".lower(), serviceAccountName=account)
        if spec is not None:
            wanted["spec"]["automountServiceAccountToken"] = spec
        made = cluster.create(path, wanted)
        mounts = [m["mountPath"] for m in made["spec"]["containers"][0].get("volumeMounts", [])]
        assert ("/var/run/secrets/kubernetes.io/serviceaccount" in mounts) is is_mounted


def test_csi_volume_source_in_the_pod_api(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    volume: Obj = {"name": "v", "csi": {"driver": "e2e.example.com", "readOnly": True}}
    made = cluster.create(path, pod("p", volumes=[volume]))
    assert {"name": "v", "csi": {"driver": "e2e.example.com", "readOnly": True}} in made["spec"]["volumes"]
    cluster.patch(f"{path}/p", {"metadata": {"labels": {"patched": "true"}}}, STRATEGIC)
    cluster.delete(path, labelSelector="patched=true")
    cluster.gone(f"{path}/p")


def test_invalid_sysctls_are_rejected(cluster: Cluster, ns: str):
    wrong = [{"name": name, "value": "1"} for name in ("foo-", "kernel.shmmax", "safe-and-unsafe", "bar..")]
    refused = cluster.fails(
        422, "POST", f"/api/v1/namespaces/{ns}/pods", pod("p", securityContext={"sysctls": wrong})
    )
    for text in ('Invalid value: "foo-"', 'Invalid value: "bar.."'):
        assert text in refused.message
    assert "safe-and-unsafe" not in refused.message and "kernel.shmmax" not in refused.message


def test_schedule_a_pod_requesting_a_runtime_class_and_initialize_its_overhead(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    for overhead in ({"cpu": "10m", "memory": "1Mi"}, None):
        runtime: Obj = {"metadata": {"name": cluster.name("rc")}, "handler": "runc"}
        if overhead:
            runtime["overhead"] = {"podFixed": overhead}
        name = cluster.create("/apis/node.k8s.io/v1/runtimeclasses", runtime)["metadata"]["name"]
        made = cluster.create(path, pod(name, runtimeClassName=name))
        assert made["spec"].get("overhead") == overhead
        runs(cluster, f"{path}/{name}")


def test_a_pod_can_be_bound_and_evicted_by_hand(cluster: Cluster, ns: str, nodes: list[str]):
    path = f"/api/v1/namespaces/{ns}/pods"
    cluster.create(path, pod("p", schedulerName="by-hand"))
    target: Obj = {"kind": "Node", "name": nodes[0]}
    cluster.create(f"{path}/p/binding", {"metadata": {"name": "p"}, "target": target})
    assert runs(cluster, f"{path}/p")["spec"]["nodeName"] == nodes[0]
    assert cluster.fails(409, "POST", f"{path}/p/binding", {"metadata": {"name": "p"}, "target": target})
    cluster.create(f"{path}/p/eviction", {"metadata": {"name": "p", "namespace": ns}})
    cluster.gone(f"{path}/p")


# Scheduling


def test_at_least_two_untainted_nodes(cluster: Cluster, nodes: list[str]):
    found = cluster.get("/api/v1/nodes", fieldSelector="spec.unschedulable=false")
    assert set(nodes) <= set(names(found))
    assert all(not each["spec"].get("taints") for each in found["items"] if each["metadata"]["name"] in nodes)


def test_node_selector_is_respected_if_matching_and_if_not(cluster: Cluster, ns: str, nodes: list[str]):
    path = f"/api/v1/namespaces/{ns}/pods"
    label = cluster.name("kubernetes.io/e2e").replace("/e2e", "/e2e", 1)
    cluster.patch(f"/api/v1/nodes/{nodes[1]}", {"metadata": {"labels": {label: "42"}}})
    cluster.create(path, pod("with-labels", nodeSelector={label: "42"}))
    assert runs(cluster, f"{path}/with-labels")["spec"]["nodeName"] == nodes[1]
    cluster.create(path, pod("restricted-pod", nodeSelector={"label": "nonempty"}))
    eventually(
        lambda: condition(cluster.get(f"{path}/restricted-pod"), "PodScheduled")["status"] == "False",
        "the pod fits nowhere",
    )
    assert condition(cluster.get(f"{path}/restricted-pod"), "PodScheduled")["reason"] == "Unschedulable"


def test_resource_limits_of_pods_that_are_allowed_to_run(cluster: Cluster, ns: str, nodes: list[str]):
    path = f"/api/v1/namespaces/{ns}/pods"
    for number, name in enumerate(nodes):
        status = {"capacity": {"example.com/beardsecond": "1k"}, "allocatable": {"example.com/beardsecond": "1k"}}
        cluster.patch(f"/api/v1/nodes/{name}/status", {"status": status}, STRATEGIC)
        taken = {"example.com/beardsecond": "700"}
        container = {"name": "c", "image": "pause:1", "resources": {"requests": taken, "limits": taken}}
        cluster.create(path, pod(f"filler-{number}", containers=[container]))
    for number in range(len(nodes)):
        runs(cluster, f"{path}/filler-{number}")
    more = {"example.com/beardsecond": "600"}
    container = {"name": "c", "image": "pause:1", "resources": {"requests": more, "limits": more}}
    cluster.create(path, pod("additional-pod", containers=[container]))
    eventually(
        lambda: condition(cluster.get(f"{path}/additional-pod"), "PodScheduled")["status"] == "False", "no room"
    )


def test_pods_conflict_over_a_host_port_where_one_uses_all_addresses(cluster: Cluster, ns: str, nodes: list[str]):
    path = f"/api/v1/namespaces/{ns}/pods"
    label = cluster.name("e2e")
    cluster.patch(f"/api/v1/nodes/{nodes[0]}", {"metadata": {"labels": {label: "95"}}})

    def taking(name: str, address: str) -> Obj:
        port: Obj = {"hostPort": 54322, "containerPort": 8080, "protocol": "TCP", "hostIP": address}
        container: Obj = {"name": "c", "image": "pause:1", "ports": [port]}
        return pod(name, containers=[container], nodeSelector={label: "95"})

    cluster.create(path, taking("pod4", "0.0.0.0"))
    runs(cluster, f"{path}/pod4")
    cluster.create(path, taking("pod5", "127.0.0.1"))
    eventually(lambda: condition(cluster.get(f"{path}/pod5"), "PodScheduled")["status"] == "False", "no port is free")


def test_generation_and_observed_generation_converge_over_many_updates(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/pods"
    cluster.create(path, pod("p"))
    runs(cluster, f"{path}/p")
    for number in range(100):
        patch = [{"op": "replace", "path": "/spec/containers/0/image", "value": f"pause:{number + 2}"}]
        assert cluster.patch(f"{path}/p", patch, JSON_PATCH)["metadata"]["generation"] == number + 2
    eventually(lambda: cluster.get(f"{path}/p")["status"]["observedGeneration"] == 101, "the node has seen the last")


# Namespaces that go


def test_ensure_that_all_pods_are_removed_when_a_namespace_is_deleted(cluster: Cluster):
    with cluster.namespace("nsdeletetest") as ns:
        path = f"/api/v1/namespaces/{ns}/pods"
        cluster.create(path, pod("test-pod"))
        runs(cluster, f"{path}/test-pod")
        cluster.delete(f"/api/v1/namespaces/{ns}")
        cluster.gone(f"/api/v1/namespaces/{ns}")
        cluster.create("/api/v1/namespaces", {"metadata": {"name": ns}})
        assert cluster.get(path)["items"] == []


def test_namespace_deletion_deletes_pods_first(cluster: Cluster):
    with cluster.namespace("nsdeletetest") as ns:
        inside = f"/api/v1/namespaces/{ns}"
        finalizers = ["e2e.example.com/finalizer"]
        held = pod("testpod")
        held["metadata"]["finalizers"] = finalizers
        cluster.create(f"{inside}/pods", held)
        runs(cluster, f"{inside}/pods/testpod")
        config: Obj = {"metadata": {"name": "testcm", "finalizers": finalizers}}
        cluster.create(f"{inside}/configmaps", config)
        cluster.delete(inside)
        eventually(
            lambda: "deletionTimestamp" in cluster.get(f"{inside}/pods/testpod")["metadata"], "the pod is asked to go"
        )
        eventually(
            lambda: condition(cluster.get(inside), "NamespaceFinalizersRemaining")["status"] == "True",
            "the namespace says what it waits for",
        )
        assert "deletionTimestamp" not in cluster.get(f"{inside}/configmaps/testcm")["metadata"]
        drop = [{"op": "remove", "path": "/metadata/finalizers"}]
        cluster.patch(f"{inside}/pods/testpod", drop, JSON_PATCH)
        cluster.gone(f"{inside}/pods/testpod")
        eventually(
            lambda: "deletionTimestamp" in cluster.get(f"{inside}/configmaps/testcm")["metadata"],
            "the ConfigMap is asked to go",
        )
        cluster.patch(f"{inside}/configmaps/testcm", drop, JSON_PATCH)
        cluster.gone(inside)


def test_kubectl_describes_pods_and_sees_events_of_what_fits_nowhere(cluster: Cluster, ns: str):
    cluster.create(f"/api/v1/namespaces/{ns}/pods", pod("lost", nodeSelector={"moon": "base"}))
    eventually(
        lambda: "FailedScheduling" in cluster.kubectl("-n", ns, "describe", "pod", "lost"), "the event is described"
    )
    found = json.loads(cluster.kubectl("-n", ns, "get", "events", "-o", "json"))
    assert "FailedScheduling" in [each["reason"] for each in found["items"]]


def test_taints_of_no_execute_send_pods_away_after_the_while_that_they_bear(
    cluster: Cluster, ns: str, nodes: list[str]
):
    """NoExecuteTaintManager: minTolerationSeconds; removing taint cancels eviction."""
    path = f"/api/v1/namespaces/{ns}/pods"
    taint: Obj = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}
    bears = {"key": taint["key"], "value": taint["value"], "effect": "NoExecute", "operator": "Equal"}
    for name, tolerations in (
        ("goes", []),
        ("soon", [{**bears, "tolerationSeconds": 1}]),
        ("later", [{**bears, "tolerationSeconds": 600}]),
        ("stays", [bears]),
    ):
        cluster.create(path, pod(name, nodeName=nodes[1], tolerations=tolerations))
        runs(cluster, f"{path}/{name}")
    node = f"/api/v1/nodes/{nodes[1]}"
    try:
        cluster.update(node, lambda obj: obj["spec"].update(taints=[taint]))
        cluster.gone(f"{path}/goes")
        cluster.gone(f"{path}/soon")
    finally:
        cluster.update(node, lambda obj: obj["spec"].pop("taints", None))
    told = f"/api/v1/namespaces/{ns}/events"
    cancelled = f"Cancelling deletion of Pod {ns}/later"
    eventually(
        lambda: cancelled in [each["message"] for each in cluster.get(told)["items"]], "what is taken back is told"
    )
    assert names(cluster.get(path)) == ["later", "stays"]
    for name in ("later", "stays"):
        assert "deletionTimestamp" not in cluster.get(f"{path}/{name}")["metadata"]
