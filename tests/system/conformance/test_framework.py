"""What the suite insists on before its first test and around each: BeforeSuite, BeforeEach, AfterEach."""

from __future__ import annotations

import pytest

from tests.system.conformance.cluster import Cluster, names
from tests.system.conformance.fleet import fleet
from tests.system.conformance.protobuf import encoded

pytestmark = pytest.mark.system


def test_ready_schedulable_nodes_are_found_by_an_absent_boolean(cluster: Cluster):
    name = cluster.name("node")
    with fleet(cluster, name):
        assert name in names(cluster.get("/api/v1/nodes", fieldSelector="spec.unschedulable=false"))
        cluster.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}})
        assert name not in names(cluster.get("/api/v1/nodes", fieldSelector="spec.unschedulable=false"))
        assert name in names(cluster.get("/api/v1/nodes", fieldSelector="spec.unschedulable=true"))


def test_kube_system_and_the_api_service_are_there(cluster: Cluster):
    cluster.get("/api/v1/namespaces/kube-system")
    assert cluster.get("/api/v1/namespaces/kube-system/pods")["items"] == []
    assert cluster.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["ipFamilies"] == ["IPv4"]


@pytest.mark.parametrize(("plural", "name"), [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")])
def test_an_informer_sees_what_every_namespace_has(cluster: Cluster, plural: str, name: str):
    """client-go 0.35 and later: a watch that begins with the list, which a bookmark ends."""
    namespace = cluster.name("e2e")
    cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    with cluster.watch(
        f"/api/v1/namespaces/{namespace}/{plural}",
        fieldSelector=f"metadata.name={name}",
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    ) as watch:
        seen = [watch.next(), watch.next()]
        assert {kind for kind, _ in seen} == {"ADDED", "BOOKMARK"}
        bookmark = next(obj for kind, obj in seen if kind == "BOOKMARK")
        assert bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
    cluster.delete(f"/api/v1/namespaces/{namespace}")
    cluster.gone(f"/api/v1/namespaces/{namespace}")


def test_these_tests_send_what_gos_typed_clients_send(cluster: Cluster, ns: str):
    body = encoded(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "c"}, "data": {"a": "b"}})
    assert body is not None and body.startswith(b"k8s\x00")
    path = f"/api/v1/namespaces/{ns}/configmaps"
    made = cluster.ok("POST", path, body, media="application/vnd.kubernetes.protobuf")
    assert made["data"] == {"a": "b"}
    # Delete options travel the same way.
    assert cluster.call("DELETE", f"{path}/c", {"propagationPolicy": "Background"}).code == 200
