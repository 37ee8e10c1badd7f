"""Discovery in its two forms: conformance of apimachinery/{discovery,aggregated_discovery}."""

from __future__ import annotations

import pytest

from tests.system.conformance.cluster import Cluster, Obj, eventually

pytestmark = pytest.mark.system

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
EXPECTED = {
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apps", "v1", "deployments"),
    ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
    ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "csinodes"),
}
"""Of the suite's list all but the webhook configurations and APIServices, which are not served."""


def aggregated(cluster: Cluster, path: str) -> set[tuple[str, str, str]]:
    answer = cluster.call("GET", path, headers={"Accept": AGGREGATED})
    assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
    found: set[tuple[str, str, str]] = set()
    for group in answer.obj["items"]:
        for version in group["versions"]:
            for resource in version["resources"]:
                found.add((group["metadata"].get("name", ""), version["version"], resource["resource"]))
    return found


def test_aggregated_discovery_endpoint_accept_headers(cluster: Cluster):
    assert aggregated(cluster, "/apis") >= EXPECTED
    assert ("", "v1", "namespaces") in aggregated(cluster, "/api")


def test_raw_aggregated_discovery_request_for_crds(cluster: Cluster):
    group = f"{cluster.name('group')}.example.com"
    schema: Obj = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version: Obj = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    crd: Obj = {
        "metadata": {"name": f"testcrds.{group}"},
        "spec": {
            "group": group,
            "versions": [version],
            # The suite's kind is in lower case.
            "names": {"plural": "testcrds", "singular": "testcrd", "kind": "testcrd", "listKind": "testcrdList"},
            "scope": "Namespaced",
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    cluster.create(path, crd)
    eventually(lambda: (group, "v1", "testcrds") in aggregated(cluster, "/apis"), "the CRD is discovered")
    cluster.delete(f"{path}/testcrds.{group}")
    eventually(lambda: (group, "v1", "testcrds") not in aggregated(cluster, "/apis"), "the CRD is gone")


def test_validate_preferred_version_for_each_api_group(cluster: Cluster):
    for group in cluster.get("/apis")["groups"]:
        one = cluster.get(f"/apis/{group['name']}")
        assert one["preferredVersion"] in one["versions"] and one["preferredVersion"]["groupVersion"]
        assert one["preferredVersion"] == group["preferredVersion"]


def test_locate_the_group_version_and_a_resource_within_each_api_group(cluster: Cluster):
    groups = {group["name"]: group for group in cluster.get("/apis")["groups"]}
    for name, version, plural in sorted(EXPECTED):
        assert any(each["version"] == version for each in groups[name]["versions"]), name
        listed = cluster.get(f"/apis/{name}/{version}")
        assert listed["groupVersion"] == f"{name}/{version}"
        assert any(each["name"] == plural for each in listed["resources"]), plural


def test_kubectl_api_versions_has_v1(cluster: Cluster):
    assert "v1" in cluster.kubectl("api-versions").splitlines()
