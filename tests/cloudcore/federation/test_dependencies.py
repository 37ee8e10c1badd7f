"""What a workload names goes where it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.controller import FederationController
from cloudcore.federation.dependencies import DependencyController, dependencies_of, manifest_of
from cloudcore.federation.policy_controller import PolicyController
from cloudcore.federation.type_controller import FederatedTypeController
from cloudcore.registry.port import DeleteOptions
from skerry.objects.federation import (
    MANAGED,
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    POLICIES,
    REVISIONS,
    ROLLOUT_POLICIES,
    TYPES,
)
from skerry.objects.json import JsonObject, map_at
from skerry.objects.strays import read_strays
from tests.cloudcore.federation.test_types import config
from tests.cloudcore.worlds import World, make_world

WORKLOADS = "federateddeployments.types.kubefed.io"
POD = {
    "imagePullSecrets": [{"name": "pull"}],
    "initContainers": [{"name": "i", "image": "i", "envFrom": [{"configMapRef": {"name": "first"}}]}],
    "containers": [
        {
            "name": "c",
            "image": "i",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "a"}}}],
        }
    ],
    "volumes": [
        {"name": "a", "configMap": {"name": "files"}},
        {"name": "b", "persistentVolumeClaim": {"claimName": "store"}},
        {"name": "c", "projected": {"sources": [{"secret": {"name": "part"}}]}},
    ],
}


def workload(name: str, pod: Any) -> Any:
    labels = {"matchLabels": {"app": name}}
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"template": {"spec": {"selector": labels, "template": template}}, "placement": {"clusterSelector": {}}}
    return {"metadata": {"name": name}, "spec": spec}


def test_all_that_its_pods_name_is_found() -> None:
    assert dependencies_of(workload("web", POD)) == {
        ("secrets", "pull"),
        ("configmaps", "first"),
        ("secrets", "key"),
        ("configmaps", "files"),
        ("persistentvolumeclaims", "store"),
        ("secrets", "part"),
    }


def test_a_claim_goes_without_the_volume_that_it_has_here() -> None:
    spec: Any = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeName": "pv-1",
    }
    made: Any = manifest_of(
        {"metadata": {"name": "s", "namespace": "d", "uid": "u"}, "spec": spec}, "persistentvolumeclaims"
    )
    assert made["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert made["metadata"] == {"name": "s", "namespace": "d", "labels": {MANAGED: "true"}}


class Stage:
    def __init__(self, world: World) -> None:
        self.world = world
        self.controllers = (
            PolicyController(world.tools),
            FederationController(world.tools),
            DependencyController(world.tools),
        )

    async def settle(self) -> None:
        await self.world.settle(*self.controllers)

    def wanted(self, name: str) -> dict[str, str]:
        rows = [each["spec"] for each in self.world.all(MEMBER_OBJECTS) if each["spec"]["object"]["name"] == name]
        return {row["member"]: row.get("remove", "there") for row in rows}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with make_world(real_rules=True) as world:
        for name in (NAMESPACE, "d"):
            await world.create("namespaces", {"metadata": {"name": name}})
        await world.create(TYPES, config("deployments", "Deployment", "apps"), NAMESPACE)
        await world.create(TYPES, config("configmaps", "ConfigMap"), NAMESPACE)
        spaces = config("namespaces", "Namespace")
        spaces["spec"]["targetType"]["scope"] = "Cluster"
        await world.create(TYPES, spaces, NAMESPACE)
        await world.settle(FederatedTypeController(world.tools), DefinitionController(world.tools, world.custom))
        for name in ("north", "south"):
            await world.create(MEMBERS, {"metadata": {"name": name}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
        everywhere = {"placement": {"clusterSelector": {}}}
        await world.create("federatednamespaces.types.kubefed.io", {"metadata": {"name": "d"}, "spec": everywhere})
        await world.create("configmaps", {"metadata": {"name": "files"}, "data": {"k": "1"}})
        yield Stage(world)


async def policy(stage: Stage, name: str, member: str) -> None:
    spec = {
        "targets": [{"kind": "FederatedDeployment", "name": name}],
        "affinities": [{"clusters": [{"name": member}]}],
        "followDependencies": True,
    }
    await stage.world.create(POLICIES, {"metadata": {"name": name}, "spec": spec})


USES = {"containers": [{"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "files"}}]}]}


async def test_what_two_workloads_name_is_where_either_is_and_leaves_with_the_last(stage: Stage) -> None:
    await policy(stage, "web", "north")
    await policy(stage, "api", "south")
    await stage.world.create(WORKLOADS, workload("web", USES))
    await stage.settle()
    assert stage.wanted("files") == {"north": "there"}
    await stage.world.create(WORKLOADS, workload("api", USES))
    await stage.settle()
    assert stage.wanted("files") == {"north": "there", "south": "there"}
    await stage.world.update("configmaps", "files", lambda obj: {**obj, "data": {"k": "2"}})
    await stage.settle()
    rows = [each["spec"] for each in stage.world.all(MEMBER_OBJECTS) if each["spec"]["object"]["name"] == "files"]
    assert [row["manifest"]["data"] for row in rows] == [{"k": "2"}, {"k": "2"}]
    assert [row["adopt"] for row in rows] == [False, False], "what a region has of its own is left alone"
    await stage.world.delete(WORKLOADS, "web")
    await stage.settle()
    assert stage.wanted("files") == {"north": "Delete", "south": "there"}


async def test_nothing_follows_where_that_is_not_asked_for(stage: Stage) -> None:
    await stage.world.create(WORKLOADS, workload("web", USES))
    await stage.settle()
    assert stage.wanted("web") == {"north": "there", "south": "there"}
    assert stage.wanted("files") == {}


async def test_what_is_federated_by_itself_follows_nobody(stage: Stage) -> None:
    federated = {"template": {"data": {"k": "own"}}, "placement": {"clusters": [{"name": "south"}]}}
    await stage.world.create(
        "federatedconfigmaps.types.kubefed.io", {"metadata": {"name": "files"}, "spec": federated}
    )
    await policy(stage, "web", "north")
    await stage.world.create(WORKLOADS, workload("web", USES))
    await stage.settle()
    assert stage.wanted("files") == {"south": "there"}


async def test_what_the_version_before_names_stays_where_that_is_until_the_new_one_is_there(stage: Stage) -> None:
    await policy(stage, "web", "north")
    rules = {
        "targets": [{"kind": "FederatedDeployment"}],
        "waves": [{"name": "later", "clusterSelector": {}, "requiresApproval": True}],
    }
    await stage.world.create(ROLLOUT_POLICIES, {"metadata": {"name": "slow"}, "spec": rules})
    ready: Any = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    key = stage.world.kind(MEMBERS).key(NAMESPACE, "north")
    await stage.world.objects.update(
        stage.world.kind(MEMBERS), key, lambda obj: {**obj, "status": ready}, subresource="status"
    )
    await stage.world.create(WORKLOADS, workload("web", USES))
    await stage.settle()
    assert stage.wanted("files") == {}, "its first version waits for approval"
    (revision,) = stage.world.all(REVISIONS)
    await stage.world.set_spec(REVISIONS, revision["metadata"]["name"], approved=["later"])
    await stage.settle()
    assert stage.wanted("files") == {"north": "there"}
    bare = workload("web", {"containers": [{"name": "c", "image": "j"}]})
    await stage.world.update(WORKLOADS, "web", lambda obj: {**obj, "spec": bare["spec"]})
    await stage.settle()
    assert stage.wanted("files") == {"north": "there"}, "the version there names it"
    newest = max(stage.world.all(REVISIONS), key=lambda each: each["spec"]["revision"])
    await stage.world.set_spec(REVISIONS, newest["metadata"]["name"], approved=["later"])
    await stage.settle()
    assert stage.wanted("files") == {"north": "Delete"}


async def test_what_the_version_there_names_stays_when_the_rules_of_the_rollout_are_gone(stage: Stage) -> None:
    await policy(stage, "web", "north")
    await stage.world.create(WORKLOADS, workload("web", USES))
    await stage.settle()
    bare = workload("web", {"containers": [{"name": "c", "image": "j"}]})
    await stage.world.update(WORKLOADS, "web", lambda obj: {**obj, "spec": bare["spec"]})
    await stage.world.settle(DependencyController(stage.world.tools))
    assert stage.wanted("files") == {"north": "there"}, "the version there names it"
    await stage.world.update(WORKLOADS, "web", lambda obj: {**obj, "spec": {**bare["spec"], "overrides": []}})
    await stage.settle()
    assert stage.wanted("files") == {"north": "Delete"}


@pytest.mark.parametrize("gone", [False, True])
async def test_what_follows_stays_when_the_type_of_its_workload_is_disabled(stage: Stage, gone: bool) -> None:
    await policy(stage, "web", "north")
    await stage.world.create(WORKLOADS, workload("web", USES))
    await stage.settle()
    types = stage.world.kind(TYPES)
    names = [each["metadata"]["name"] for each in stage.world.all(TYPES)]
    key = types.key(NAMESPACE, next(name for name in names if "deployments" in name))
    if gone:
        await stage.world.objects.delete(types, key, DeleteOptions())
    else:

        def disabled(obj: JsonObject) -> JsonObject:
            return {**obj, "spec": {**map_at(obj, "spec"), "propagation": "Disabled"}}

        await stage.world.objects.update(types, key, disabled)
    await stage.world.update("configmaps", "files", lambda obj: {**obj, "data": {"k": "2"}})
    await stage.world.settle(DependencyController(stage.world.tools))
    assert stage.wanted("files") == {"north": "there"}


async def north_says_that(stage: Stage, *strays: tuple[str, str, str], orphan: bool = False) -> None:
    """Resource of the source, kind and name of what strays there."""
    objects: list[JsonObject] = [
        {
            "object": {"apiVersion": "v1", "kind": kind, "namespace": "d", "name": name},
            "source": {"resource": resource, "namespace": "d", "name": name, "uid": "u"},
            "epoch": stage.world.cache.epoch,
            "orphan": orphan,
        }
        for resource, kind, name in strays
    ]
    kind, key = stage.world.kind(MEMBERS), stage.world.kind(MEMBERS).key(NAMESPACE, "north")

    def telling(obj: Any) -> Any:
        strays = read_strays({"count": len(objects), "objects": [*objects]}, obj)
        return {**obj, "status": {**map_at(obj, "status"), "strays": strays}}

    await stage.world.objects.update(kind, key, telling, subresource="status")


@pytest.mark.parametrize(
    ("resource", "kind", "removal"),
    [("configmaps", "ConfigMap", "Delete"), ("persistentvolumeclaims", "PersistentVolumeClaim", "Orphan")],
)
async def test_what_followed_and_strays_is_cleaned_up(stage: Stage, resource: str, kind: str, removal: str) -> None:
    await stage.settle()
    await north_says_that(stage, (resource, kind, "files"), orphan=removal == "Orphan")
    await stage.settle()
    assert stage.wanted("files") == {"north": removal}
    (row,) = [each for each in stage.world.all(MEMBER_OBJECTS) if each["spec"]["object"]["name"] == "files"]
    revision = row["spec"]["revision"]
    await stage.world.set_status(MEMBER_OBJECTS, row["metadata"]["name"], revision=revision, removed=True)
    await north_says_that(stage)
    await stage.settle()
    assert stage.wanted("files") == {}


async def test_what_followed_and_strays_is_left_while_its_workload_strays_and_is_wanted(stage: Stage) -> None:
    await policy(stage, "web", "north")
    waves: Any = [{"name": "later", "clusterSelector": {}, "requiresApproval": True}]
    rules = {"targets": [{"kind": "FederatedDeployment"}], "waves": waves}
    await stage.world.create(ROLLOUT_POLICIES, {"metadata": {"name": "slow"}, "spec": rules})
    ready: Any = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    key = stage.world.kind(MEMBERS).key(NAMESPACE, "north")
    await stage.world.objects.update(
        stage.world.kind(MEMBERS), key, lambda obj: {**obj, "status": ready}, subresource="status"
    )
    await stage.world.create(WORKLOADS, workload("web", USES))
    await stage.settle()
    await north_says_that(stage, ("configmaps", "ConfigMap", "files"), (WORKLOADS, "Deployment", "web"))
    await stage.settle()
    assert (stage.wanted("web"), stage.wanted("files")) == ({}, {}), "its first version waits for approval"
    assert stage.world.later["files"] > 0
    (revision,) = stage.world.all(REVISIONS)
    await stage.world.set_spec(REVISIONS, revision["metadata"]["name"], approved=["later"])
    await stage.settle()
    assert (stage.wanted("web"), stage.wanted("files")) == ({"north": "there"}, {"north": "there"})


async def test_what_followed_and_strays_goes_with_its_workload(stage: Stage) -> None:
    await stage.settle()
    await north_says_that(stage, ("configmaps", "ConfigMap", "files"), (WORKLOADS, "Deployment", "web"))
    await stage.settle()
    assert (stage.wanted("web"), stage.wanted("files")) == ({"north": "Delete"}, {"north": "Delete"})


async def test_what_is_federated_by_itself_by_now_and_strays_is_left(stage: Stage) -> None:
    body = {"metadata": {"name": "files"}, "spec": {"template": {}, "placement": {"clusters": []}}}
    await stage.world.create("federatedconfigmaps.types.kubefed.io", body)
    await stage.settle()
    await north_says_that(stage, ("configmaps", "ConfigMap", "files"))
    await stage.settle()
    assert stage.wanted("files") == {}
