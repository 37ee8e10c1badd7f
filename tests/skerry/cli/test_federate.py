"""What is made of an object that is there, and of all in a namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skerry.cli.client import Answer
from skerry.cli.federate import contained, federated_object, of_manifests
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.scheme import Kind


def kind(name: str, group: str = "", *, namespaced: bool = True) -> Kind:
    return Kind(group=group, version="v1", kind=name, plural=f"{name.lower()}s", namespaced=namespaced)


def made(name: str, obj: Any, *, namespaced: bool = True) -> Any:
    body: Any = {"apiVersion": "v1", "kind": name, "status": {"x": 1}, **obj}
    body["metadata"] = {"name": "x", "namespace": "d", "uid": "u", **obj.get("metadata", {})}
    return federated_object(body, kind(name, namespaced=namespaced))


def test_labels_stay_and_what_the_cluster_wrote_goes() -> None:
    found = made("ConfigMap", {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "data": {"k": "v"}})
    assert found == {
        "apiVersion": "types.kubefed.io/v1beta1",
        "kind": "FederatedConfigMap",
        "metadata": {"name": "x", "namespace": "d"},
        "spec": {
            "placement": {"clusterSelector": {"matchLabels": {}}},
            "template": {"metadata": {"labels": {"a": "b"}}, "data": {"k": "v"}},
        },
    }


def test_a_service_has_no_address_and_no_node_port_of_this_cluster() -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    spec = {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "type": "NodePort", "ports": ports}
    assert made("Service", {"spec": spec})["spec"]["template"]["spec"] == {
        "type": "NodePort",
        "ports": [{"port": 80}],
    }
    headless = made("Service", {"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})
    assert headless["spec"]["template"]["spec"] == {"clusterIP": "None"}


def test_what_controllers_wrote_into_other_kinds_goes() -> None:
    assert made("ServiceAccount", {"secrets": [{"name": "t"}]})["spec"]["template"] == {}
    assert made("PersistentVolumeClaim", {"spec": {"volumeName": "pv"}})["spec"]["template"] == {"spec": {}}
    labels = {"app": "a", "controller-uid": "u", "batch.kubernetes.io/job-name": "x"}
    job = {"selector": {"matchLabels": {"controller-uid": "u"}}, "template": {"metadata": {"labels": labels}}}
    assert made("Job", {"spec": job})["spec"]["template"]["spec"] == {
        "template": {"metadata": {"labels": {"app": "a"}}}
    }


def test_a_namespace_is_in_itself() -> None:
    found = made("Namespace", {"spec": {"finalizers": ["kubernetes"]}}, namespaced=False)
    assert found["metadata"] == {"name": "x", "namespace": "x"}
    assert "spec" not in found["spec"]["template"]


class FakeServer:
    namespace = "d"

    def __init__(self, **listed: Any) -> None:
        self.listed = listed

    def request(self, method: str, path: str, **_: Any) -> Answer:
        plural = path.rpartition("/")[2]
        if plural not in self.listed:
            raise NotFoundError(path)
        return Answer(status=200, body={"items": self.listed[plural]}, warnings=())


def named(*names: str, **more: Any) -> list[Any]:
    return [{"metadata": {"name": name, "namespace": "d", **more}} for name in names]


def test_all_of_a_namespace_is_what_somebody_made() -> None:
    owner = {"kind": "Deployment", "name": "web", "uid": "u", "controller": True}
    server = FakeServer(
        configmaps=named("mine", "kube-root-ca.crt"),
        serviceaccounts=named("default", "robot"),
        pods=[*named("bare"), *named("of-web", ownerReferences=[owner])],
        endpointslices=named("web-1"),
        events=named("e"),
        widgets=named("w"),
        federatedconfigmaps=named("mine"),
    )
    served = [
        *(kind(name) for name in ("ConfigMap", "ServiceAccount", "Pod", "Event", "Unlisted")),
        kind("EndpointSlice", "discovery.k8s.io"),
        kind("Event", "events.k8s.io"),
        kind("Widget", "acme.dev"),
        kind("FederatedConfigMap", "types.kubefed.io"),
        kind("Node", namespaced=False),
    ]

    def found(*skipped: str) -> list[str]:
        return [f"{of.kind}/{obj['metadata']['name']}" for of, obj in contained(server, served, "d", skipped)]  # type: ignore[index,call-overload]

    assert found() == ["ConfigMap/mine", "ServiceAccount/robot", "Pod/bare", "Widget/w"]
    assert found("acme.dev", "pod") == ["ConfigMap/mine", "ServiceAccount/robot"]


@pytest.mark.parametrize("word", ["configmaps", "ConfigMap"])
def test_kinds_are_left_out_by_any_of_their_names(word: str) -> None:
    server = FakeServer(configmaps=named("mine"))
    assert not list(contained(server, [kind("ConfigMap")], "d", [word]))


def test_a_pod_has_neither_a_node_nor_a_token_of_this_cluster() -> None:
    token = {"name": "kube-api-access-x7k2p", "projected": {"sources": []}}
    mount = {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    own = {"name": "kube-api-access-mine", "emptyDir": {}}
    containers = [
        {"name": "a", "volumeMounts": [mount]},
        {"name": "b", "volumeMounts": [mount, {"name": own["name"]}]},
    ]
    spec = {"nodeName": "n1", "volumes": [token, own], "containers": containers, "serviceAccountName": "robot"}
    assert made("Pod", {"spec": spec})["spec"]["template"]["spec"] == {
        "volumes": [own],
        "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": own["name"]}]}],
        "serviceAccountName": "robot",
    }


def test_the_mark_of_another_federation_is_not_taken_along() -> None:
    labels = {"kubefed.io/managed": "false", "app": "a"}
    assert made("ConfigMap", {"metadata": {"labels": labels}})["spec"]["template"]["metadata"] == {
        "labels": {"app": "a"}
    }
    alone = {"kubefed.io/managed": "true"}
    assert "metadata" not in made("ConfigMap", {"metadata": {"labels": alone}})["spec"]["template"]


def file_of(place: Path, text: str) -> str:
    path = place / "objects.yaml"
    path.write_text(text)
    return str(path)


def test_all_objects_of_a_file_are_federated_those_of_its_lists_as_well(tmp_path: Path) -> None:
    text = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: d, uid: u}, data: {k: v}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}, spec: {replicas: 2}, status: {replicas: 2}}
---
---
{apiVersion: example.com/v1, kind: Widget, metadata: {name: c}, spec: {size: 1}}
"""
    found = of_manifests(file_of(tmp_path, text))
    assert [(each["kind"], each["metadata"]) for each in found] == [
        ("FederatedConfigMap", {"name": "a", "namespace": "d"}),
        ("FederatedDeployment", {"name": "b"}),
        ("FederatedWidget", {"name": "c"}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size: 1", "object 1 has no apiVersion, no kind, no metadata.name"),
        ("{apiVersion: v1, kind: ConfigMap}", "object 1 has no metadata.name"),
        (
            "{apiVersion: types.kubefed.io/v1beta1, kind: FederatedJob, metadata: {name: j}}",
            "of the federation itself",
        ),
        ("# nothing", "has no objects"),
    ],
)
def test_what_can_t_be_federated_is_named_and_nothing_is_made(tmp_path: Path, text: str, said: str) -> None:
    good = "{apiVersion: v1, kind: ConfigMap, metadata: {name: good}}\n---\n"
    file = file_of(tmp_path, text)
    with pytest.raises(BadRequestError, match=said):
        of_manifests(file)
    if "no objects" not in said:
        with pytest.raises(BadRequestError, match=said.replace("object 1", "object 2")):
            of_manifests(file_of(tmp_path, good + text))
