"""Edge applications: a workload for each target, the rest once, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.deployment.controller import DeploymentController
from cloudcore.controllers.edgeapplication.controller import EdgeApplicationController
from cloudcore.controllers.edgeapplication.plan import plan
from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.replicaset.controller import ReplicaSetController
from skerry.objects.edge_applications import EDGE_APPLICATIONS, LAST_APPLIED
from skerry.objects.node_groups import BELONGING_TO
from skerry.objects.patches import difference, merge_patch
from tests.cloudcore.worlds import World, make_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


@pytest.fixture
def controller(world: World) -> EdgeApplicationController:
    return EdgeApplicationController(world.tools)


def deployment(image: str = "nginx:1.17", **pod: Any) -> Any:
    container = {"name": "web", "image": image}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], **pod}}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": selector, "template": template},
    }


SERVICE: Any = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
CONFIG: Any = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"a": "1"}}


def spec(*manifests: Any, **groups: Any) -> Any:
    """Groups with their overriders."""
    targets = [{"name": name, "overriders": overriders} for name, overriders in groups.items()]
    return {"workloadTemplate": {"manifests": [*manifests]}, "workloadScope": {"targetNodeGroups": targets}}


async def make(world: World, *manifests: Any, **groups: Any) -> None:
    await world.create(EDGE_APPLICATIONS, {"metadata": {"name": "shop"}, "spec": spec(*manifests, **groups)})


def told(world: World) -> dict[str, tuple[str, str]]:
    """By kind and name."""
    return {
        f"{each['identifier']['kind']}/{each['identifier']['name']}": (each["conditions"], each.get("message", ""))
        for each in world.get(EDGE_APPLICATIONS, "shop")["status"]["workloadStatus"]
    }


async def test_each_group_has_a_workload_of_its_own_and_all_share_the_rest(
    world: World, controller: EdgeApplicationController
) -> None:
    image = {"component": "Tag", "operator": "replace", "value": "1.27"}
    await make(world, deployment(), SERVICE, CONFIG, eu={"replicas": 3}, us={"imageOverriders": [image]})
    await world.settle(controller)
    eu, us = (world.get("deployments.apps", f"web-{name}") for name in ("eu", "us"))
    assert eu["spec"]["replicas"] == 3
    assert eu["spec"]["template"]["spec"]["nodeSelector"] == {BELONGING_TO: "eu"}
    assert us["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.27"
    assert us["metadata"]["ownerReferences"][0]["kind"] == "EdgeApplication"
    service = world.get("services", "web")
    assert service["metadata"]["annotations"]["apps.kubeedge.io/service-topology"] == "range-nodegroup"
    assert world.get("configmaps", "web")["data"] == {"a": "1"}
    assert told(world) == {
        "Deployment/web-eu": ("Processing", ""),
        "Deployment/web-us": ("Processing", ""),
        "Service/web": ("Available", ""),
        "ConfigMap/web": ("Available", ""),
    }


async def test_it_is_available_when_its_pods_are(world: World, controller: EdgeApplicationController) -> None:
    others = [DeploymentController(world.tools), ReplicaSetController(world.tools)]
    await make(world, deployment(), eu={"replicas": 2})
    await world.settle(controller, *others)
    assert told(world) == {"Deployment/web-eu": ("Processing", "")}
    await world.run_pods()
    await world.settle(controller, *others)
    assert told(world) == {"Deployment/web-eu": ("Available", "")}


async def test_what_is_changed_changes_and_what_others_wrote_stays(
    world: World, controller: EdgeApplicationController
) -> None:
    await make(world, deployment(), CONFIG, eu={"replicas": 2}, us={})
    await world.settle(controller)
    await world.set_spec("deployments.apps", "web-us", replicas=7)
    await world.update("configmaps", "web", lambda obj: {**obj, "data": {**obj["data"], "by": "hand"}})
    changed = {**CONFIG, "data": {"b": "2"}}
    await world.set_spec(EDGE_APPLICATIONS, "shop", **spec(deployment("nginx:2"), changed, eu={}, us={}))
    await world.settle(controller)
    assert world.get("deployments.apps", "web-eu")["spec"]["replicas"] == 1, "its overrider has gone"
    us = world.get("deployments.apps", "web-us")["spec"]
    assert (us["replicas"], us["template"]["spec"]["containers"][0]["image"]) == (7, "nginx:2")
    assert world.get("configmaps", "web")["data"] == {"b": "2", "by": "hand"}


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
async def test_a_note_that_somebody_spoiled_keeps_nothing_from_changing(
    world: World, controller: EdgeApplicationController, text: str
) -> None:
    await make(world, CONFIG, eu={})
    await world.settle(controller)
    spoiled = {LAST_APPLIED: text}
    await world.update(
        "configmaps", "web", lambda obj: {**obj, "metadata": {**obj["metadata"], "annotations": spoiled}}
    )
    await world.set_spec(EDGE_APPLICATIONS, "shop", **spec({**CONFIG, "data": {"b": "2"}}, eu={}))
    await world.settle(controller)
    assert world.get("configmaps", "web")["data"] == {"a": "1", "b": "2"}, "nobody knows whose the other is"


async def test_what_it_does_not_want_any_more_goes(world: World, controller: EdgeApplicationController) -> None:
    await make(world, deployment(), CONFIG, eu={}, us={})
    await world.settle(controller)
    await world.set_spec(EDGE_APPLICATIONS, "shop", **spec(deployment(), us={}))
    await world.settle(controller)
    assert world.names("deployments.apps") == ["web-us"]
    assert world.get("configmaps", "web") is None
    await world.delete(EDGE_APPLICATIONS, "shop")
    await world.settle(controller, GarbageController(world.tools))
    assert world.names("deployments.apps") == []


async def test_what_somebody_deletes_is_made_again(world: World, controller: EdgeApplicationController) -> None:
    await make(world, deployment(), eu={})
    await world.settle(controller)
    await world.delete("deployments.apps", "web-eu")
    await world.settle(controller)
    assert world.names("deployments.apps") == ["web-eu"]


async def test_an_object_of_somebody_else_is_left_alone_and_told(
    world: World, controller: EdgeApplicationController
) -> None:
    await world.create("configmaps", {"metadata": {"name": "web"}, "data": {"mine": "yes"}})
    await make(world, CONFIG, deployment(), eu={})
    await world.settle(controller)
    assert world.get("configmaps", "web")["data"] == {"mine": "yes"}
    why = "ConfigMap web is there already, and not of this application"
    assert told(world)["ConfigMap/web"] == ("Processing", why)
    assert world.names("deployments.apps") == ["web-eu"], "the others are there"


async def test_a_fault_in_one_manifest_or_target_is_told_and_deletes_nothing(
    world: World, controller: EdgeApplicationController
) -> None:
    await make(world, deployment(), CONFIG, eu={}, us={})
    await world.settle(controller)
    bad = {"plaintext": [{"operator": "replace", "path": "/spec/nothing/x", "value": 1}]}
    thing = {"apiVersion": "v9", "kind": "Thing", "metadata": {"name": "t"}}
    await world.set_spec(EDGE_APPLICATIONS, "shop", **spec(deployment(), thing, eu=bad, us={}))
    await world.settle(controller)
    assert world.names("deployments.apps") == ["web-eu", "web-us"], "eu goes on as it was"
    assert "target eu: overriders.plaintext[0]: replace /spec/nothing/x" in told(world)["Deployment/web"][1]
    assert told(world)["Thing/t"][1] == "manifest 1: v9 Thing is no kind that lives in a namespace here"


async def test_what_is_settled_is_not_written_again(world: World, controller: EdgeApplicationController) -> None:
    await make(world, deployment(), SERVICE, eu={})
    await world.settle(controller)
    await controller.reconcile(world.key(EDGE_APPLICATIONS, "shop"))
    assert await world.store.changes(after=world.seen_until) == []


# --- the plan ---


def app(*manifests: Any, **groups: Any) -> Any:
    return {"metadata": {"name": "shop", "namespace": "d"}, "spec": spec(*manifests, **groups)}


def pod_of(obj: Any) -> Any:
    return obj["spec"]["template"]["spec"]


def test_a_users_own_node_selector_stays() -> None:
    (wanted,), faults = plan(app(deployment(nodeSelector={"disk": "ssd"}), eu={}))
    assert pod_of(wanted.obj)["nodeSelector"] == {"disk": "ssd", BELONGING_TO: "eu"}
    assert not faults


def test_labels_of_nodes_are_held_in_each_alternative() -> None:
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": []}]
    manifest = deployment(affinity={"nodeAffinity": {field: {"nodeSelectorTerms": terms}}, "podAffinity": {}})
    target = {"labelSelector": {"matchLabels": {"site": "eu"}}, "overriders": {"replicas": 4}}
    made = app(manifest)
    made["spec"]["workloadScope"] = {"targetNodeLabels": [target]}
    (wanted,), _ = plan(made)
    affinity = pod_of(wanted.obj)["affinity"]
    site = {"key": "site", "operator": "In", "values": ["eu"]}
    held = affinity["nodeAffinity"][field]["nodeSelectorTerms"]
    assert [term["matchExpressions"][-1] for term in held] == [site, site]
    assert affinity["podAffinity"] == {}
    name: Any = wanted.obj["metadata"]
    assert name["name"] == "web-ls-faed6638", "as KubeEdge names it"
    assert plan(made)[0] == [wanted], "the same each time"


def test_another_namespace_is_refused() -> None:
    other = {**CONFIG, "metadata": {"name": "web", "namespace": "kube-system"}}
    wanted, (fault,) = plan(app(other, eu={}))
    assert not wanted
    assert "spec.workloadTemplate.manifests[0].metadata.namespace" in fault.why


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}),
        ({"a": [1, 2], "b": 1}, {"a": [2]}),
        ({"a": {"b": 1}}, {"a": 3}),
    ],
)
def test_a_difference_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    assert merge_patch(before, difference(before, after)) == after
    assert difference(after, after) == {}
