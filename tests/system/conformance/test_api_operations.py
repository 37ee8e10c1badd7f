"""Conformance tests that take a kind through all its operations; each is named as in the suite."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.system.conformance.cluster import MERGE, Cluster, Obj, names, revision
from tests.system.conformance.kinds import Sample, operate

pytestmark = pytest.mark.system

TEMPLATE: Obj = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {"containers": [{"name": "c", "image": "x"}], "restartPolicy": "OnFailure"},
}
CONDITION: Obj = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "Set by e2e test"}
TIMED: Obj = {**CONDITION, "lastTransitionTime": "2026-01-01T00:00:00Z"}


def _operations() -> list[Any]:
    """Conformance name -> a kind to operate on."""
    balancer: Obj = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
    level: Obj = {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
    }
    selectors: list[Obj] = [{"cel": {"expression": 'device.driver == "d"'}}]
    requests: list[Obj] = [{"name": "req-0", "exactly": {"deviceClassName": "c"}}]
    rows: list[tuple[str, Sample]] = [
        (
            "FlowSchema API operations",
            Sample(
                group_version="flowcontrol.apiserver.k8s.io/v1",
                plural="flowschemas",
                namespaced=False,
                obj={
                    "spec": {
                        "matchingPrecedence": 10000,
                        "priorityLevelConfiguration": {"name": "global-default"},
                        "distinguisherMethod": {"type": "ByUser"},
                    }
                },
                status={"conditions": [{**TIMED, "type": "PatchStatusFailed"}]},
            ),
        ),
        (
            "PriorityLevelConfiguration API operations",
            Sample(
                group_version="flowcontrol.apiserver.k8s.io/v1",
                plural="prioritylevelconfigurations",
                namespaced=False,
                obj={"spec": level},
                status={"conditions": [{**TIMED, "type": "PatchStatusFailed"}]},
            ),
        ),
        (
            "CronJob API operations",
            Sample(
                group_version="batch/v1",
                plural="cronjobs",
                namespaced=True,
                obj={
                    "spec": {
                        "schedule": "* * * * ?",
                        "suspend": True,  # else what the status says was missed is begun
                        "concurrencyPolicy": "Allow",
                        "jobTemplate": {"spec": {"template": TEMPLATE}},
                    }
                },
                status={"lastScheduleTime": "2026-01-01T00:00:00Z"},
            ),
        ),
        (
            "RuntimeClasses API operations",
            Sample(
                group_version="node.k8s.io/v1",
                plural="runtimeclasses",
                namespaced=False,
                obj={"handler": "e2e-handler"},
            ),
        ),
        (
            "IngressClass API operations",
            Sample(
                group_version="networking.k8s.io/v1",
                plural="ingressclasses",
                namespaced=False,
                obj={"spec": {"controller": "example.com/controller"}},
            ),
        ),
        (
            "Ingress API operations",
            Sample(
                group_version="networking.k8s.io/v1",
                plural="ingresses",
                namespaced=True,
                obj={"spec": {"defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}}}},
                status=balancer,
            ),
        ),
        (
            "EndpointSlice API operations",
            Sample(
                group_version="discovery.k8s.io/v1",
                plural="endpointslices",
                namespaced=True,
                obj={"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}]},
            ),
        ),
        (
            "CSIStorageCapacities API operations",
            Sample(
                group_version="storage.k8s.io/v1",
                plural="csistoragecapacities",
                namespaced=True,
                obj={"storageClassName": "e2e-class"},
            ),
        ),
        (
            "lifecycle of a CSIDriver",
            Sample(
                group_version="storage.k8s.io/v1",
                plural="csidrivers",
                namespaced=False,
                obj={"spec": {"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]}},
            ),
        ),
        (
            "lifecycle of a csinode",
            Sample(
                group_version="storage.k8s.io/v1",
                plural="csinodes",
                namespaced=False,
                obj={"spec": {"drivers": []}},
            ),
        ),
        (
            "lifecycle of a StorageClass",
            Sample(
                group_version="storage.k8s.io/v1",
                plural="storageclasses",
                namespaced=False,
                obj={"provisioner": "e2e-fake-provisioner"},
            ),
        ),
        (
            "lifecycle of a VolumeAttachment",
            Sample(
                group_version="storage.k8s.io/v1",
                plural="volumeattachments",
                namespaced=False,
                obj={
                    "metadata": {"uid": "chosen-by-the-client"},
                    "spec": {
                        "attacher": "e2e-test.storage.k8s.io",
                        "nodeName": "node-1",
                        "source": {"persistentVolumeName": "pv-1"},
                    },
                    "status": {"attached": False},
                },
                status={"attached": True},
            ),
        ),
        (
            "lifecycle of a VolumeAttributesClass",
            Sample(
                group_version="storage.k8s.io/v1",
                plural="volumeattributesclasses",
                namespaced=False,
                obj={"driverName": "e2e-fake-csi-driver", "parameters": {"iops": "1000"}},
            ),
        ),
        (
            "DeviceClass",
            Sample(
                group_version="resource.k8s.io/v1",
                plural="deviceclasses",
                namespaced=False,
                obj={"spec": {"selectors": selectors}},
            ),
        ),
        (
            "ResourceClaim",
            Sample(
                group_version="resource.k8s.io/v1",
                plural="resourceclaims",
                namespaced=True,
                obj={"spec": {"devices": {"requests": requests}}},
                status={},
            ),
        ),
        (
            "ResourceClaimTemplate",
            Sample(
                group_version="resource.k8s.io/v1",
                plural="resourceclaimtemplates",
                namespaced=True,
                obj={"spec": {"spec": {"devices": {"requests": requests}}}},
            ),
        ),
        (
            "ResourceSlice",
            Sample(
                group_version="resource.k8s.io/v1",
                plural="resourceslices",
                namespaced=False,
                obj={
                    "spec": {
                        "driver": "dra.example.com",
                        "nodeName": "node-1",
                        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                        "devices": [{"name": "d-0"}],
                    }
                },
            ),
        ),
        (
            "lifecycle of PodTemplates",
            Sample(
                group_version="v1",
                plural="podtemplates",
                namespaced=True,
                obj={"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx"}]}}},
            ),
        ),
        (
            "lifecycle of a ResourceQuota",
            Sample(
                group_version="v1",
                plural="resourcequotas",
                namespaced=True,
                obj={"spec": {"hard": {"services": "10", "requests.cpu": "1", "memory": "1Gi"}}},
                status={"hard": {"memory": "1Gi"}},
            ),
        ),
        (
            "PodDisruptionBudget",
            Sample(
                group_version="policy/v1",
                plural="poddisruptionbudgets",
                namespaced=True,
                obj={"spec": {"minAvailable": 1, "selector": {"matchLabels": {"foo": "bar"}}}},
            ),
        ),
        (
            "lifecycle of a ServiceAccount",
            Sample(
                group_version="v1",
                plural="serviceaccounts",
                namespaced=True,
                obj={"automountServiceAccountToken": False},
            ),
        ),
        (
            "lifecycle of an Endpoint",
            Sample(
                group_version="v1",
                plural="endpoints",
                namespaced=True,
                obj={
                    "subsets": [
                        {
                            "addresses": [{"ip": "10.0.0.24"}],
                            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                        }
                    ]
                },
            ),
        ),
    ]
    return [pytest.param(sample, id=name) for name, sample in rows]


@pytest.mark.parametrize("sample", _operations())
def test_a_kind_supports_its_operations(cluster: Cluster, ns: str, sample: Sample):
    operate(cluster, sample, ns)


def test_support_csr_api_operations(cluster: Cluster):
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e.example.com")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    signer = f"example.com/{cluster.name('e2e')}"
    body: Obj = {
        "metadata": {"generateName": "e2e-example-csr-"},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer,
            "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"],
        },
    }
    made = [cluster.create(path, body) for _ in range(3)]
    assert made[0]["spec"]["username"] and "system:authenticated" in made[0]["spec"]["groups"]
    one = f"{path}/{made[0]['metadata']['name']}"
    assert cluster.get(one)["spec"]["expirationSeconds"] == 3600
    listed = cluster.get(path, fieldSelector=f"spec.signerName={signer}")
    assert len(listed["items"]) == 3
    name = made[0]["metadata"]["name"]
    since = listed["metadata"]["resourceVersion"]
    with cluster.watch(path, resourceVersion=since, fieldSelector=f"metadata.name={name}") as watch:
        cluster.patch(one, {"metadata": {"annotations": {"patched": "true"}}})
        cluster.update(one, lambda obj: obj["metadata"]["annotations"].update(updated="true"))
        kind, seen = watch.next()
        assert (kind, seen["metadata"]["annotations"]["patched"]) == ("MODIFIED", "true")

    assert cluster.get(f"{one}/approval")["kind"] == "CertificateSigningRequest"
    condition = {"type": "ApprovalPatch", "status": "True", "reason": "e2e"}
    annotated = {"metadata": {"annotations": {"patchedapproval": "true"}}, "status": {"conditions": [condition]}}
    patched = cluster.patch(f"{one}/approval", annotated)
    assert [each["type"] for each in patched["status"]["conditions"]] == ["ApprovalPatch"]
    assert patched["metadata"]["annotations"]["patchedapproval"] == "true"
    patched["status"]["conditions"].append(
        {"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
    )
    approved = cluster.put(f"{one}/approval", patched)
    assert [each["type"] for each in approved["status"]["conditions"]] == ["ApprovalPatch", "Approved"]

    assert cluster.get(f"{one}/status")["metadata"]["uid"] == made[0]["metadata"]["uid"]
    certificate = base64.b64encode(_self_signed(key)).decode()
    status = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"certificate": certificate}}
    signed = cluster.patch(f"{one}/status", status)
    assert signed["status"]["certificate"] == certificate
    assert signed["metadata"]["annotations"]["patchedstatus"] == "true"
    signed["status"]["conditions"].append({"type": "StatusUpdate", "status": "True", "reason": "E2E"})
    assert len(cluster.put(f"{one}/status", signed)["status"]["conditions"]) == 3

    cluster.delete(one)
    cluster.gone(one)
    cluster.delete(path, fieldSelector=f"spec.signerName={signer}")
    assert cluster.get(path, fieldSelector=f"spec.signerName={signer}")["items"] == []


def _self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    from datetime import UTC, datetime, timedelta

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def test_priority_class_endpoints_can_be_operated_with_different_http_methods(cluster: Cluster):
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    made: list[str] = []
    for value in (7, 8):
        obj = cluster.create(path, {"metadata": {"name": cluster.name("p")}, "value": value, "description": "a"})
        made.append(obj["metadata"]["name"])
    one = f"{path}/{made[0]}"
    patched = cluster.patch(one, {"description": "b"})
    assert patched["description"] == "b"
    # The suite changes the value by PUT and by PATCH and wants both refused.
    patched["value"] += 1
    assert cluster.fails(422, "PUT", one, patched).reason == "Invalid"
    assert cluster.fails(422, "PATCH", one, {"value": 99}, media=MERGE).reason == "Invalid"
    patched["value"] -= 1
    patched["globalDefault"] = False
    cluster.put(one, patched)
    assert set(made) <= set(names(cluster.get(path)))
    for name in made:
        assert cluster.delete(f"{path}/{name}")["status"] == "Success"


def test_support_ipaddress_api_operations(cluster: Cluster):
    path = "/apis/networking.k8s.io/v1/ipaddresses"
    parent = {"group": "mygroup", "resource": "myresources", "namespace": "foo", "name": "bar"}
    made: dict[str, Obj] = {}
    for name, kind in (("255.255.255.255", "broadcast"), ("fe80::42:1dff:fe84:f9e2", "link-local")):
        obj = {"metadata": {"name": name, "labels": {"type": kind}}, "spec": {"parentRef": parent}}
        made[kind] = cluster.create(path, obj)
    one = f"{path}/255.255.255.255"
    patched = cluster.patch(one, {"metadata": {"annotations": {"patched": "true"}}})
    assert revision(patched) > revision(made["broadcast"])
    cluster.update(one, lambda obj: obj["metadata"]["annotations"].update(updated="true"))
    assert len(cluster.get(path, labelSelector="type=broadcast")["items"]) == 1
    with cluster.watch(path, labelSelector="type=broadcast") as watch:
        assert watch.next()[0] == "ADDED"
    cluster.delete(one)
    cluster.delete(path, labelSelector="type=link-local")
    assert cluster.get(path, labelSelector="type=link-local")["items"] == []


def test_support_servicecidr_api_operations(cluster: Cluster):
    path = "/apis/networking.k8s.io/v1/servicecidrs"
    found = cluster.get(f"{path}/kubernetes")
    status = cluster.get(f"{path}/kubernetes/status")
    assert (status["kind"], status["apiVersion"]) == ("ServiceCIDR", "networking.k8s.io/v1")
    assert status["metadata"]["uid"] == found["metadata"]["uid"]
    assert cluster.get(path)["items"]
    with cluster.watch(path) as watch:
        assert watch.next()[0] == "ADDED"


def test_delete_a_collection_of_pod_templates_and_replace_one(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/podtemplates"
    template = {"spec": {"containers": [{"name": "e2e", "image": "agnhost"}]}}
    for name in ("test-podtemplate-1", "test-podtemplate-2", "test-podtemplate-3"):
        cluster.create(path, {"metadata": {"name": name, "labels": {"set": "true"}}, "template": template})
    assert len(cluster.get(path, labelSelector="set=true")["items"]) == 3
    one = f"{path}/test-podtemplate-1"
    before = cluster.get(one)
    after = cluster.update(one, lambda obj: obj["metadata"].setdefault("annotations", {}).update(updated="true"))
    assert after["metadata"]["annotations"] == {"updated": "true"} and revision(after) > revision(before)
    cluster.delete(path, labelSelector="set=true")
    assert cluster.get(path, labelSelector="set=true")["items"] == []


def test_run_through_the_lifecycle_of_a_node(cluster: Cluster):
    name = cluster.name("e2e-fake-node")
    node: Obj = {
        "metadata": {"name": name},
        "spec": {"unschedulable": True},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "reason": "E2E", "message": "Set from e2e test"}],
        },
    }
    path = "/api/v1/nodes"
    made = cluster.create(path, node)
    patch = {"metadata": {"labels": {name: "patched"}}}
    patched = cluster.patch(f"{path}/{name}", patch, "application/strategic-merge-patch+json")
    assert patched["metadata"]["labels"][name] == "patched" and revision(patched) > revision(made)
    assert len(cluster.get(path, labelSelector=f"{name}=patched")["items"]) == 1
    updated = cluster.update(f"{path}/{name}", lambda obj: obj["metadata"]["labels"].update({name: "updated"}))
    assert updated["metadata"]["labels"][name] == "updated"
    cluster.delete(f"{path}/{name}")
    cluster.gone(f"{path}/{name}")


@pytest.mark.parametrize("namespaced", [False, True])
def test_list_patch_and_delete_a_limitrange_by_collection(cluster: Cluster, ns: str, namespaced: bool):
    name = cluster.name("e2e-limitrange")
    spec: Callable[[str], Obj] = lambda cpu: {"limits": [{"type": "Container", "max": {"cpu": cpu}}]}  # noqa: E731
    for space in (ns, "default"):
        obj = {"metadata": {"name": name, "labels": {name: "created"}}, "spec": spec("1")}
        cluster.create(f"/api/v1/namespaces/{space}/limitranges", obj)
    assert len(cluster.get("/api/v1/limitranges", labelSelector=f"{name}=created")["items"]) == 2
    where = f"/api/v1/namespaces/{ns}/limitranges"
    patch = {"metadata": {"labels": {name: "patched"}}, "spec": spec("2")}
    patched = cluster.patch(f"{where}/{name}", patch, "application/strategic-merge-patch+json")
    assert patched["metadata"]["labels"][name] == "patched"
    cluster.delete(where, labelSelector=f"{name}=patched")
    cluster.gone(f"{where}/{name}")
    assert names(cluster.get("/api/v1/limitranges", labelSelector=f"{name}=created")) == [name]
    cluster.delete("/api/v1/namespaces/default/limitranges", labelSelector=f"{name}=created")
