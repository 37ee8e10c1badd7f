"""ConfigMaps, Secrets, Events, Leases, ServiceAccounts, Namespaces: conformance of what everything else needs."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from tests.system.conformance.cluster import JSON_PATCH, MERGE, STRATEGIC, Cluster, Obj, eventually, names, revision

pytestmark = pytest.mark.system


@pytest.mark.parametrize("plural", ["configmaps", "secrets"])
def test_fail_to_create_one_with_an_empty_key(cluster: Cluster, ns: str, plural: str):
    refused = cluster.fails(
        422, "POST", f"/api/v1/namespaces/{ns}/{plural}", {"metadata": {"name": "empty"}, "data": {"": "dmFsdWU="}}
    )
    assert refused.reason == "Invalid" and "data[]" in refused.message


def test_run_through_a_configmap_lifecycle(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    label = cluster.name("static")
    with cluster.watch(path, labelSelector=f"test-configmap-static={label}") as watch:
        made = cluster.create(
            path,
            {"metadata": {"name": "c", "labels": {"test-configmap-static": label}}, "data": {"valueName": "value"}},
        )
        watch.until("ADDED")
        patch = {"metadata": {"labels": {"test-configmap": "patched"}}, "data": {"valueName": "value1"}}
        patched = cluster.patch(f"{path}/c", patch, STRATEGIC)
        assert revision(patched) > revision(made)
        seen = watch.until("MODIFIED")
        assert seen["data"]["valueName"] == "value1" and seen["metadata"]["labels"]["test-configmap"] == "patched"
        listed = cluster.get("/api/v1/configmaps", labelSelector=f"test-configmap-static={label}")
        assert names(listed) == ["c"]
        cluster.delete(path, labelSelector=f"test-configmap-static={label}")
        watch.until("DELETED")
    assert cluster.get(path, labelSelector=f"test-configmap-static={label}")["items"] == []


def test_update_a_configmap(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    cluster.create(path, {"metadata": {"name": "c"}, "data": {"data": "value"}})
    cluster.update(f"{path}/c", lambda obj: obj.update(data={"data": "value-2"}))
    assert cluster.get(f"{path}/c")["data"] == {"data": "value-2"}


def test_patch_a_secret(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/secrets"
    label = cluster.name("testsecret")
    obj: Obj = {"metadata": {"name": "s", "labels": {label: "true"}}, "data": {"key": "dmFsdWU="}, "type": "Opaque"}
    cluster.create(path, obj)
    assert names(cluster.get("/api/v1/secrets", labelSelector=f"{label}=true")) == ["s"]
    value = base64.b64encode(b"value1").decode()
    patch: Obj = {"metadata": {"labels": {label: "false"}}, "data": {"key": value}}
    cluster.patch(f"{path}/s", patch, STRATEGIC)
    got = cluster.get(f"{path}/s")
    assert (got["metadata"]["labels"][label], got["data"]["key"]) == ("false", value)
    cluster.delete(path, labelSelector=f"{label}=false")
    assert cluster.get("/api/v1/secrets", labelSelector=label)["items"] == []


@pytest.mark.parametrize("plural", ["configmaps", "secrets"])
def test_be_immutable_if_immutable_field_is_set(cluster: Cluster, ns: str, plural: str):
    path = f"/api/v1/namespaces/{ns}/{plural}"
    one = f"{path}/immutable"
    first, second, third = "dmFsdWUtMQ==", "dmFsdWUtMg==", "dmFsdWUtMw=="
    made = cluster.create(path, {"metadata": {"name": "immutable"}, "data": {"data-1": first}})
    made["data"]["data-2"] = second
    made = cluster.put(one, made)
    made["immutable"] = True
    made = cluster.put(one, made)
    for change in ({"data": {**made["data"], "data-3": third}}, {"immutable": False}):
        refused = cluster.fails(422, "PUT", one, {**cluster.get(one), **change})
        assert refused.reason == "Invalid" and "immutable" in refused.message
    loosened = cluster.get(one)
    del loosened["immutable"]
    cluster.fails(422, "PUT", one, loosened)
    # Metadata may change all the same.
    labelled = cluster.get(one)
    labelled["metadata"]["labels"] = {"label-1": "value-1"}
    assert cluster.put(one, labelled)["metadata"]["labels"] == {"label-1": "value-1"}
    cluster.delete(one)


def test_lease_api_is_available(cluster: Cluster, ns: str):
    path = f"/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
    year_one = "0001-01-01T00:00:00.000000Z"
    spec: Obj = {
        "holderIdentity": "holder",
        "leaseDurationSeconds": 30,
        "acquireTime": "1970-01-01T00:00:01.000000Z",
        "renewTime": "1970-01-01T00:00:02.000000Z",
        "leaseTransitions": 0,
    }
    made = cluster.create(path, {"metadata": {"name": "lease"}, "spec": spec})
    assert made["spec"] == spec
    # The suite's times are of the year 1: `time.Time{}` plus seconds.
    other: Obj = {**spec, "holderIdentity": "holder2", "acquireTime": year_one, "leaseTransitions": 1}
    made["spec"] = {**other, "renewTime": "0001-01-01T00:00:20.000000Z"}
    cluster.put(f"{path}/lease", made)
    assert cluster.get(f"{path}/lease")["spec"] == made["spec"]
    patch = {"spec": {"leaseDurationSeconds": 60, "renewTime": "0001-01-01T00:00:50.000000Z"}}
    cluster.patch(f"{path}/lease", patch, STRATEGIC)
    assert cluster.get(f"{path}/lease")["spec"] == {**made["spec"], **patch["spec"]}
    for name in ("lease2", "lease3"):
        cluster.create(path, {"metadata": {"name": name, "labels": {"deletecollection": "true"}}, "spec": spec})
    assert len(cluster.get(path, labelSelector="deletecollection=true")["items"]) == 2
    cluster.delete(path, labelSelector="deletecollection=true")
    cluster.delete(f"{path}/lease")
    cluster.gone(f"{path}/lease")
    assert cluster.get(path)["items"] == []


def new_event(ns: str, name: str, label: str) -> Obj:
    return {
        "metadata": {"name": name, "labels": {label: "true"}},
        "regarding": {"namespace": ns},
        "eventTime": "2017-09-19T13:49:16.000000Z",
        "note": f"This is {name}",
        "action": "Do",
        "reason": "Test",
        "type": "Normal",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
    }


def test_an_event_can_be_fetched_patched_deleted_and_listed(cluster: Cluster, ns: str):
    path = f"/apis/events.k8s.io/v1/namespaces/{ns}/events"
    cluster.create(path, new_event(ns, "event-test", "testevent-constant"))
    for where in ("/apis/events.k8s.io/v1/events", path):
        listed = cluster.get(where, labelSelector="testevent-constant=true")
        assert ("event-test", ns) in [(e["metadata"]["name"], e["metadata"]["namespace"]) for e in listed["items"]]
    core = f"/api/v1/namespaces/{ns}/events"
    assert names(cluster.get(core, fieldSelector="source=test-controller")) == ["event-test"]
    assert names(cluster.get(path, fieldSelector="reportingController=test-controller")) == ["event-test"]
    before = cluster.get(f"{path}/event-test")
    cluster.patch(f"{path}/event-test", {"note": "patched"}, STRATEGIC)
    after = cluster.get(f"{path}/event-test")
    before["note"] = "patched"
    before["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"]
    assert after == before
    before["series"] = {"count": 100, "lastObservedTime": "2017-09-19T13:49:16.000000Z"}
    cluster.put(f"{path}/event-test", before)
    assert cluster.get(f"{path}/event-test")["series"] == before["series"]
    cluster.delete(f"{path}/event-test")
    assert cluster.get(path, labelSelector="testevent-constant=true")["items"] == []


def test_delete_a_collection_of_events_in_both_versions(cluster: Cluster, ns: str):
    new, core = f"/apis/events.k8s.io/v1/namespaces/{ns}/events", f"/api/v1/namespaces/{ns}/events"
    for number in range(3):
        cluster.create(new, new_event(ns, f"new-{number}", "testevent-set"))
        cluster.create(
            core,
            {
                "metadata": {"name": f"core-{number}", "labels": {"testevent-set": "true"}},
                "message": "This is a test event",
                "reason": "Test",
                "type": "Normal",
                "count": 1,
                "involvedObject": {"namespace": ns},
            },
        )
    assert len(cluster.get(new, labelSelector="testevent-set=true")["items"]) == 6
    cluster.delete(core, labelSelector="testevent-set=true")
    assert cluster.get(new, labelSelector="testevent-set=true")["items"] == []


def test_manage_the_lifecycle_of_an_event(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/events"
    event: Obj = {
        "metadata": {"name": "event-test", "labels": {"testevent-constant": "true"}},
        "message": "This is a test event",
        "reason": "Test",
        "type": "Normal",
        "count": 1,
        "involvedObject": {"namespace": ns, "kind": "Pod", "name": "p"},
    }
    cluster.create(path, event)
    assert "event-test" in names(cluster.get("/api/v1/events", labelSelector="testevent-constant=true"))
    cluster.patch(f"{path}/event-test", {"message": "This is a test event - patched"}, STRATEGIC)
    got = cluster.get(f"{path}/event-test")
    assert got["message"] == "This is a test event - patched"
    got["series"] = {"count": 100, "lastObservedTime": "2020-01-01T00:00:00.000000Z"}
    assert cluster.put(f"{path}/event-test", got)["series"]["count"] == 100
    assert names(cluster.get(path, fieldSelector="involvedObject.name=p")) == ["event-test"]
    cluster.delete(f"{path}/event-test")
    assert cluster.get(path, labelSelector="testevent-constant=true")["items"] == []


# Service accounts


def test_create_a_service_account_token_and_ensure_a_successful_token_review(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/serviceaccounts"
    made = cluster.create(path, {"metadata": {"name": "e2e-sa"}})
    request: Obj = {"spec": {"audiences": [], "expirationSeconds": 3600}}
    granted = cluster.create(f"{path}/e2e-sa/token", request)
    token = granted["status"]["token"]
    assert datetime.fromisoformat(granted["status"]["expirationTimestamp"]) > datetime.now(UTC)
    review = cluster.create(
        "/apis/authentication.k8s.io/v1/tokenreviews", {"metadata": {"name": "e2e"}, "spec": {"token": token}}
    )
    assert review["status"]["authenticated"] and "error" not in review["status"]
    user = review["status"]["user"]
    assert user["username"] == f"system:serviceaccount:{ns}:e2e-sa"
    assert user["uid"] == made["metadata"]["uid"]
    assert set(user["groups"]) == {
        "system:serviceaccounts",
        f"system:serviceaccounts:{ns}",
        "system:authenticated",
    }


def test_run_through_the_lifecycle_of_a_service_account(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/serviceaccounts"
    label = cluster.name("test-serviceaccount")
    with cluster.watch(path, labelSelector=f"{label}=true") as watch:
        cluster.create(path, {"metadata": {"name": "testserviceaccount", "labels": {label: "true"}}})
        watch.until("ADDED")
        cluster.patch(f"{path}/testserviceaccount", {"automountServiceAccountToken": False}, STRATEGIC)
        assert watch.until("MODIFIED")["automountServiceAccountToken"] is False
        everywhere = cluster.get("/api/v1/serviceaccounts", labelSelector=f"{label}=true")
        assert names(everywhere) == ["testserviceaccount"]
        cluster.delete(path, labelSelector=f"{label}=true")
        watch.until("DELETED")


def test_update_a_service_account(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/serviceaccounts"
    made = cluster.create(path, {"metadata": {"name": "e2e"}, "automountServiceAccountToken": False})
    assert made["automountServiceAccountToken"] is False
    changed = cluster.update(f"{path}/e2e", lambda obj: obj.update(automountServiceAccountToken=True))
    assert changed["automountServiceAccountToken"] is True


def test_guarantee_kube_root_ca_crt_exists_in_any_namespace(cluster: Cluster, ns: str):
    one = f"/api/v1/namespaces/{ns}/configmaps/kube-root-ca.crt"
    first = cluster.get(one)
    cluster.delete(one)

    def is_back() -> bool:
        return not cluster.absent(one) and cluster.get(one)["metadata"]["uid"] != first["metadata"]["uid"]

    eventually(is_back, "the root CA is published again")
    cluster.update(one, lambda obj: obj.update(data={"ca.crt": ""}))
    eventually(lambda: cluster.get(one)["data"] == first["data"], "the root CA is put right")


def test_subject_review_api_operations(cluster: Cluster, ns: str):
    account = cluster.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "e2e"}})
    user = f"system:serviceaccount:{ns}:{account['metadata']['name']}"
    spec: Obj = {
        "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": ns, "version": "v1"},
        "user": user,
        "groups": ["system:authenticated"],
    }
    path = "/apis/authorization.k8s.io/v1"
    review = cluster.create(f"{path}/subjectaccessreviews", {"spec": spec})
    assert review["status"]["allowed"] is False
    local = cluster.create(
        f"{path}/namespaces/{ns}/localsubjectaccessreviews", {"metadata": {"namespace": ns}, "spec": spec}
    )
    assert local["status"]["allowed"] is False
    # Asked as that user, the server answers alike.
    found = cluster.call("GET", f"/api/v1/namespaces/{ns}/configmaps", headers={"Impersonate-User": user})
    assert found.code == 403


# Namespaces


def test_patch_a_namespace(cluster: Cluster):
    name = cluster.name("nspatchtest")
    cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
    one = f"/api/v1/namespaces/{name}"
    cluster.patch(one, {"metadata": {"labels": {"testLabel": "testValue"}}}, STRATEGIC)
    assert cluster.get(one)["metadata"]["labels"]["testLabel"] == "testValue"
    updated = cluster.update(one, lambda obj: obj["metadata"]["labels"].update(updated=name))
    assert updated["metadata"]["labels"]["updated"] == name
    cluster.delete(one)
    cluster.gone(one)


def test_apply_changes_to_a_namespace_status(cluster: Cluster, ns: str):
    one = f"/api/v1/namespaces/{ns}"
    assert cluster.get(f"{one}/status")["status"]["phase"] == "Active"
    condition: Obj = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    patch: Obj = {
        "metadata": {"annotations": {"e2e-patched-ns-status": ns}},
        "status": {"conditions": [condition]},
    }
    patched = cluster.patch(f"{one}/status", patch, MERGE)
    assert patched["metadata"]["annotations"]["e2e-patched-ns-status"] == ns
    assert patched["status"]["conditions"][0]["type"] == "StatusPatch"
    more: Obj = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by an e2e test"}
    updated = cluster.update(one, lambda obj: obj["status"]["conditions"].append(more), sub="/status")
    assert len(updated["status"]["conditions"]) == 2 and updated["status"]["phase"] == "Active"


def test_apply_a_finalizer_to_a_namespace(cluster: Cluster):
    name, finalizer = cluster.name("e2e-ns"), "e2e.example.com/fakeFinalizer"
    made = cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
    assert made["spec"]["finalizers"] == ["kubernetes"]
    one = f"/api/v1/namespaces/{name}"
    added = cluster.update(one, lambda obj: obj["spec"]["finalizers"].append(finalizer), sub="/finalize")
    assert added["spec"]["finalizers"] == ["kubernetes", finalizer]
    removed = cluster.update(one, lambda obj: obj["spec"]["finalizers"].remove(finalizer), sub="/finalize")
    assert removed["spec"]["finalizers"] == ["kubernetes"]
    cluster.delete(one)
    cluster.gone(one)


def test_ensure_that_all_services_are_removed_when_a_namespace_is_deleted(cluster: Cluster):
    with cluster.namespace("nsdeletetest") as ns:
        path = f"/api/v1/namespaces/{ns}/services"
        cluster.create(
            path, {"metadata": {"name": "s"}, "spec": {"selector": {"foo": "bar"}, "ports": [{"port": 80}]}}
        )
        cluster.delete(f"/api/v1/namespaces/{ns}")
        cluster.gone(f"/api/v1/namespaces/{ns}")
        cluster.create("/api/v1/namespaces", {"metadata": {"name": ns}})
        assert cluster.get(path)["items"] == []


# Services and endpoints


def test_the_api_has_a_secure_service_with_endpoints_and_endpointslices(cluster: Cluster):
    service = cluster.get("/api/v1/namespaces/default/services/kubernetes")
    assert [(port["port"], port["name"]) for port in service["spec"]["ports"]] == [(443, "https")]
    assert service["spec"]["clusterIP"] not in ("", "None")
    endpoints = cluster.get("/api/v1/namespaces/default/endpoints/kubernetes")
    (subset,) = endpoints["subsets"]
    (address,) = subset["addresses"]
    assert [port["name"] for port in subset["ports"]] == ["https"]
    found = cluster.get(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        labelSelector="kubernetes.io/service-name=kubernetes",
    )
    assert names(found) == ["kubernetes"]
    assert [each["addresses"] for each in found["items"][0]["endpoints"]] == [[address["ip"]]]
    assert found["items"][0]["ports"][0]["port"] == subset["ports"][0]["port"]


def test_find_a_service_from_listing_all_namespaces(cluster: Cluster):
    found = cluster.get("/api/v1/services")
    assert ("default", "kubernetes") in [
        (item["metadata"]["namespace"], item["metadata"]["name"]) for item in found["items"]
    ]


def test_complete_a_service_status_lifecycle(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/services"
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}]
    label = cluster.name("test-service-static")
    with cluster.watch(path, labelSelector=f"{label}=true") as watch:
        spec: Obj = {"type": "LoadBalancer", "ports": ports, "loadBalancerClass": "example.com/internal-vip"}
        cluster.create(path, {"metadata": {"name": "s", "labels": {label: "true"}}, "spec": spec})
        watch.until("ADDED")
        assert cluster.get(f"{path}/s/status")["spec"]["ports"][0]["nodePort"] >= 30000
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
        patch: Obj = {"metadata": {"annotations": {"patchedstatus": "true"}}, **ingress}
        patched = cluster.patch(f"{path}/s/status", patch, MERGE)
        assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
        assert patched["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1"
        condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        updated = cluster.update(f"{path}/s", lambda obj: obj["status"].update(conditions=[condition]), sub="/status")
        assert updated["status"]["conditions"][0]["type"] == "StatusUpdate"
        patched = cluster.patch(f"{path}/s", {"metadata": {"labels": {"test-service": "patched"}}}, STRATEGIC)
        assert patched["metadata"]["labels"]["test-service"] == "patched"
        watch.until("MODIFIED", lambda obj: obj["metadata"]["labels"].get("test-service") == "patched")
        cluster.delete(f"{path}/s")
        watch.until("DELETED")


def test_delete_a_collection_of_services(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/services"
    for name, is_doomed in (("one", True), ("two", True), ("three", False)):
        labels = {"e2e-test": "doomed" if is_doomed else "kept"}
        spec: Obj = {"type": "ClusterIP", "ports": [{"name": "http", "port": 80, "targetPort": 80}]}
        cluster.create(path, {"metadata": {"name": name, "labels": labels}, "spec": spec})
    assert len(cluster.get(path)["items"]) == 3
    cluster.delete(path, labelSelector="e2e-test=doomed")
    eventually(lambda: names(cluster.get(path)) == ["three"], "two services are gone")


def test_update_and_delete_a_resource_quota(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/resourcequotas"
    made = cluster.create(path, {"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "1", "memory": "500Mi"}}})
    assert made["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
    made["spec"]["hard"]["cpu"] = "2"
    assert cluster.put(f"{path}/q", made)["spec"]["hard"]["cpu"] == "2"
    cluster.patch(f"{path}/q", [{"op": "replace", "path": "/spec/hard/memory", "value": "750Mi"}], JSON_PATCH)
    cluster.delete(f"{path}/q")
    cluster.gone(f"{path}/q")


@pytest.mark.parametrize("handler", ["nonexistent", "deleted"])
def test_reject_a_pod_requesting_a_runtimeclass_that_is_not_there(cluster: Cluster, ns: str, handler: str):
    name = cluster.name(handler)
    classes = "/apis/node.k8s.io/v1/runtimeclasses"
    if handler == "deleted":
        cluster.create(classes, {"metadata": {"name": name}, "handler": "runc"})
        cluster.delete(f"{classes}/{name}")
    pod = {
        "metadata": {"generateName": "test-runtimeclass-"},
        "spec": {"runtimeClassName": name, "containers": [{"name": "test", "image": "busybox"}]},
    }
    refused = cluster.fails(403, "POST", f"/api/v1/namespaces/{ns}/pods", pod)
    assert refused.reason == "Forbidden"
