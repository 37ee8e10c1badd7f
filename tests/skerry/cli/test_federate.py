"""What is made of an object that is there, and of all in a namespace."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.cli.client import Answer
from skerry.cli.federate import contained, federated_object
from skerry.errors import NotFoundError
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
