"""A federated object's life as KubeFed's own suite looks at it: made, changed, moved and deleted, with the global
cloud itself as one of the members, one that is dialled and one that dials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from cloudcore.federation.propagated_versions import overrides_hash, template_hash
from skerry.errors import SkerryError
from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.test_federation import until

pytestmark = pytest.mark.system

SYSTEM = "kube-federation-system"
HOST: Final[str] = "cluster1"
PULLED: Final[str] = "cluster3"
MEMBERS: Final[tuple[str, ...]] = (HOST, "cluster2", PULLED)
MARK = "kubefed.io/managed"
LABELS = {"crudtester-operation": "update", MARK: "true"}
SPECS: dict[str, Any] = {
    "configmap": {"data": {"A": "ala ma kota"}},
    "deployment": {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"image": "nginx", "name": "nginx"}]},
            },
        }
    },
    "clusterrole": {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
}


class World:
    """A global cloud that is its own first member, and two others."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.host = stack.enter_context(cloud_process(base / "host"))
        far, pulled = (stack.enter_context(cloud_process(base / name)) for name in ("far", "pulled"))
        self.members: dict[str, CloudProcess] = dict(zip(MEMBERS, (self.host, far, pulled), strict=True))
        self.host.skerry("region", "init")
        for name in (HOST, "cluster2"):
            self._join(name, self.members[name])
        assert pulled.skerry("region", "join", self.host.hub, self.host.skerry("region", "token", PULLED).strip())
        until(lambda: all(self.is_ready(name) for name in MEMBERS), within_s=60)

    def _join(self, name: str, cloud: CloudProcess) -> None:
        """As `kubefedctl join` leaves it."""
        secret = ("create", "secret", "generic", name, "-n", SYSTEM, f"--from-file=kubeconfig={cloud.kubeconfig}")
        self.host.kubectl(*secret)
        spec = {"apiEndpoint": f"https://{cloud.https}", "secretRef": {"name": name}}
        self.apply("core.kubefed.io/v1beta1", "KubeFedCluster", name, SYSTEM, spec)

    def is_ready(self, name: str) -> bool:
        member = found(self.host, "kubefedcluster", name, SYSTEM) or {}
        conditions = {each["type"]: each["status"] for each in member.get("status", {}).get("conditions", [])}
        return conditions.get("Ready") == "True"

    def apply(self, api_version: str, kind: str, name: str, namespace: str, spec: Any, **annotations: str) -> None:
        metadata = {"name": name, "namespace": namespace, "annotations": annotations}
        obj = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
        self.host.kubectl("apply", "-f", "-", stdin=json.dumps(obj))

    def federate(self, kind: str, name: str, namespace: str, clusters: Any, overrides: Any = None) -> None:
        spec = {"placement": {"clusters": [{"name": each} for each in clusters]}}
        if kind in SPECS:
            spec["template"] = SPECS[kind]
        if overrides is not None:
            spec["overrides"] = overrides
        kinds = {"configmap": "ConfigMap", "deployment": "Deployment", "clusterrole": "ClusterRole"}
        self.apply("types.kubefed.io/v1beta1", f"Federated{kinds.get(kind, 'Namespace')}", name, namespace, spec)

    def space(self, name: str) -> str:
        self.host.kubectl("create", "namespace", name)
        self.federate("namespace", name, name, MEMBERS)
        return name

    def propagated(self, kind: str, name: str, namespace: str, clusters: Any) -> bool:
        """All that KubeFed's suite looks at, of objects and statuses."""
        federated = found(self.host, f"federated{kind}", name, namespace)
        versions = self.versions(kind, name, namespace)
        if versions is None or (versions["templateVersion"], versions["overridesVersion"]) != (
            template_hash(federated),
            overrides_hash(federated),
        ):
            return False
        by_member = {each["clusterName"]: each["version"] for each in versions.get("clusterVersions", [])}
        status = federated["status"]
        told = {each["name"]: each.get("status", "") for each in status["clusters"]}
        overrides = {each["clusterName"]: each["clusterOverrides"] for each in federated["spec"].get("overrides", [])}
        there = {member: self.there(member, kind, (name, namespace)) for member in MEMBERS}
        return (
            status["observedGeneration"] == federated["metadata"]["generation"]
            and status["conditions"][0]["status"] == "True"
            and told == dict.fromkeys(clusters, "")
            and set(by_member) == set(clusters)
            and all(version_of(there[member]) == by_member[member] for member in clusters)
            and all(there[member]["metadata"]["labels"][MARK] == "true" for member in clusters)
            and all(
                there[member]["metadata"]["labels"] == patch["value"]
                for member in clusters
                for patch in overrides.get(member, [])
                if patch["path"] == "/metadata/labels"
            )
            and not any(is_kept(there[member]) for member in set(MEMBERS) - set(clusters))
        )

    def there(self, member: str, kind: str, at: tuple[str, str]) -> Any:
        name, namespace = at
        return found(self.members[member], kind, name, "" if kind in ("namespace", "clusterrole") else namespace)

    def versions(self, kind: str, name: str, namespace: str) -> Any:
        resource = "clusterpropagatedversion" if kind == "clusterrole" else "propagatedversion"
        obj = found(self.host, resource, f"{kind}-{name}", namespace)
        return None if obj is None else obj.get("status")


def found(cloud: CloudProcess, kind: str, name: str, namespace: str) -> Any:
    try:
        return cloud.find(kind, name, namespace)
    except (SkerryError, OSError):
        return None


def version_of(obj: Any) -> str:
    metadata = obj["metadata"]
    return f"gen:{metadata['generation']}" if metadata.get("generation") else f"rv:{metadata['resourceVersion']}"


def is_kept(obj: Any) -> bool:
    return obj is not None and MARK in obj["metadata"].get("labels", {})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("lifecycle"), stack)


@pytest.mark.parametrize("kind", ["configmap", "deployment", "clusterrole"])
def test_an_object_is_made_changed_moved_and_deleted(world: World, kind: str) -> None:
    place = "" if kind == "clusterrole" else world.space(f"life-{kind}")
    name = f"test-{kind}"
    world.federate(kind, name, place, MEMBERS)
    until(lambda: world.propagated(kind, name, place, MEMBERS), within_s=60)
    patch = {"path": "/metadata/labels", "value": LABELS}
    overrides = [{"clusterName": member, "clusterOverrides": [patch]} for member in MEMBERS]
    world.federate(kind, name, place, MEMBERS, overrides)
    until(lambda: world.propagated(kind, name, place, MEMBERS), within_s=60)
    world.federate(kind, name, place, MEMBERS[:-1], overrides)
    until(lambda: world.propagated(kind, name, place, MEMBERS[:-1]), within_s=60)
    world.host.kubectl("delete", f"federated{kind}", name, *(("-n", place) if place else ()))
    until(lambda: not any(world.there(member, kind, (name, place)) for member in MEMBERS), within_s=60)
    until(lambda: world.versions(kind, name, place) is None)


def test_a_namespace_of_the_global_cloud_itself_is_let_go_and_not_deleted(world: World) -> None:
    place = world.space("let-go")
    world.federate("configmap", "stays", place, [HOST])
    until(lambda: world.propagated("namespace", place, place, MEMBERS), within_s=60)
    world.federate("namespace", place, place, MEMBERS[1:])
    until(lambda: world.propagated("namespace", place, place, MEMBERS[1:]), within_s=60)
    kept = found(world.host, "namespace", place, "")
    assert kept["status"]["phase"] == "Active" and MARK not in kept["metadata"]["labels"]
    world.host.kubectl("delete", "federatednamespace", place, "-n", place)
    until(lambda: not any(found(world.members[each], "namespace", place, "") for each in MEMBERS[1:]), within_s=60)
    assert found(world.host, "federatedconfigmap", "stays", place) is not None


def test_dependents_stay_where_the_annotation_for_deletion_says_so(world: World) -> None:
    place = world.space("orphans")
    world.federate("deployment", "web", place, MEMBERS)
    until(lambda: world.propagated("deployment", "web", place, MEMBERS), within_s=60)

    def replica_sets() -> list[Any]:
        listed = [cloud.kubectl("get", "replicasets", "-n", place, "-o", "json") for cloud in world.members.values()]
        return [item for text in listed for item in json.loads(text)["items"]]

    until(lambda: len(replica_sets()) == len(MEMBERS))
    option = 'kubefed.io/deleteoption={"propagationPolicy":"Orphan"}'
    world.host.kubectl("annotate", "federateddeployment", "web", "-n", place, option)
    until(lambda: world.propagated("deployment", "web", place, MEMBERS), within_s=60)
    world.host.kubectl("delete", "federateddeployment", "web", "-n", place)
    until(lambda: not any(world.there(each, "deployment", ("web", place)) for each in MEMBERS), within_s=60)
    left = until(lambda: [each for each in replica_sets() if not each["metadata"].get("ownerReferences")])
    assert len(left) == len(MEMBERS)


def test_what_kubefeds_webhooks_refuse_is_refused(world: World) -> None:
    daemon_sets = {
        "targetType": {"group": "apps", "version": "v1", "kind": "DaemonSet", "pluralName": "daemonsets"},
        "federatedType": {"group": "", "version": "v1", "kind": "FederatedX", "pluralName": "federatedx"},
        "propagation": "Enabled",
    }
    for side in ("targetType", "federatedType"):
        daemon_sets[side]["scope"] = "Namespaced"  # type: ignore[index]
    secret = {"apiEndpoint": "", "secretRef": {"name": "cluster2"}}
    bad = {
        "FederatedTypeConfig": ("federatedType.group", daemon_sets),
        "KubeFedCluster": ("apiEndpoint", secret),
        "KubeFedConfig": ("adoptResources", {"scope": "Cluster", "syncController": {"adoptResources": "Unknown"}}),
    }
    for kind, (field, spec) in bad.items():
        name = "daemonsets.apps" if kind == "FederatedTypeConfig" else "bad"
        obj = {
            "apiVersion": "core.kubefed.io/v1beta1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }
        refused = world.host.kubectl("create", "-f", "-", stdin=json.dumps(obj), check=False)
        assert field in refused, (kind, refused)
    spec = {"placement": {"clusters": []}, "template": {}}
    annotation = {"kubefed.io/deleteoption": "Orphan"}
    obj = {
        "apiVersion": "types.kubefed.io/v1beta1",
        "kind": "FederatedConfigMap",
        "metadata": {"name": "bad", "namespace": "default", "annotations": annotation},
        "spec": spec,
    }
    refused = world.host.kubectl("create", "-f", "-", stdin=json.dumps(obj), check=False)
    assert "kubefed.io/deleteoption" in refused and "JSON" in refused, refused


def test_the_settings_of_a_federation_are_there_and_complete(world: World) -> None:
    spec = found(world.host, "kubefedconfig", "kubefed", SYSTEM)["spec"]
    assert spec["clusterHealthCheck"] == {
        "period": "10s",
        "timeout": "3s",
        "failureThreshold": 3,
        "successThreshold": 1,
    }
    assert spec["syncController"]["adoptResources"] == "Enabled"
    assert [each["configuration"] for each in spec["featureGates"]] == ["Enabled"] * 3


def test_the_mark_goes_from_what_nobody_federates(world: World) -> None:
    place = world.space("strays")
    until(lambda: found(world.members["cluster2"], "namespace", place, ""))
    far = world.members["cluster2"]
    for name, mark in (("stray", "true"), ("left", "false")):
        metadata = {"name": name, "namespace": place, "labels": {MARK: mark}}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        far.kubectl("create", "-f", "-", stdin=json.dumps(obj))
    until(lambda: MARK not in found(far, "configmap", "stray", place)["metadata"].get("labels", {}), within_s=90)
    assert found(far, "configmap", "left", place)["metadata"]["labels"] == {MARK: "false"}


def widgets(*versions: str) -> str:
    """The definition of a custom resource: the first of its versions is stored, and the only one that is served."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served = [
        {"name": each, "served": number == 0, "storage": number == 0, "schema": schema}
        for number, each in enumerate(versions)
    ]
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    spec = {"group": "acme.dev", "scope": "Namespaced", "names": names, "versions": served}
    metadata = {"name": "widgets.acme.dev"}
    return json.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": metadata,
            "spec": spec,
        }
    )


def test_a_custom_type_moves_on_to_its_next_version(world: World) -> None:
    place = world.space("widgets")
    for cloud in world.members.values():
        cloud.kubectl("apply", "-f", "-", stdin=widgets("v1"))
    until(lambda: "widgets" in world.host.kubectl("api-resources", "--api-group=acme.dev"))
    world.host.skerry("region", "enable", "widgets")
    spec = {"template": {"spec": {"size": 1}}, "placement": {"clusters": [{"name": each} for each in MEMBERS]}}
    for name in ("stays", "goes"):
        world.apply("types.kubefed.io/v1beta1", "FederatedWidget", name, place, spec)

    def versions(name: str) -> set[str]:
        objs = [found(cloud, "widgets.acme.dev", name, place) for cloud in world.members.values()]
        return {"" if obj is None else obj["apiVersion"] for obj in objs}

    until(lambda: versions("stays") == versions("goes") == {"acme.dev/v1"}, within_s=60)
    for cloud in world.members.values():
        cloud.kubectl("apply", "-f", "-", stdin=widgets("v2", "v1"))
    patch = json.dumps({"spec": {"targetType": {"version": "v2"}}})
    config = ("federatedtypeconfig", "widgets.acme.dev", "-n", SYSTEM)
    until(lambda: "v2" in world.host.kubectl("api-resources", "--api-group=acme.dev"))
    world.host.kubectl("patch", *config, "--type=merge", "-p", patch)
    spec["template"] = {"spec": {"size": 2}}
    world.apply("types.kubefed.io/v1beta1", "FederatedWidget", "stays", place, spec)
    world.host.kubectl("delete", "federatedwidget", "goes", "-n", place)

    def moved() -> bool:
        objs = [found(cloud, "widgets.acme.dev", "stays", place) for cloud in world.members.values()]
        return all(obj and (obj["apiVersion"], obj["spec"]["size"]) == ("acme.dev/v2", 2) for obj in objs)

    until(moved, within_s=90)
    until(lambda: versions("goes") == {""}, within_s=90)
