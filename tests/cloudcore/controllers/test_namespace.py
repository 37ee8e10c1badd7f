"""Namespaces that go: pods first, then the rest, then the namespace."""

from typing import Any

from cloudcore.controllers.namespace.controller import NamespaceController
from cloudcore.controllers.namespace.plan import conditions_of, content, to_delete
from cloudcore.registry.admission import namespace_lifecycle
from skerry.objects.meta import Key
from tests.cloudcore.worlds import World, make_world


async def filled(world: World) -> NamespaceController:
    await world.create("namespaces", {"metadata": {"name": "d"}})
    await world.create("namespaces", {"metadata": {"name": "other"}})
    await world.create("configmaps", {"metadata": {"name": "config"}})
    await world.create("deployments.apps", {"metadata": {"name": "web"}, "spec": {}})
    await world.create("configmaps", {"metadata": {"name": "stays"}}, "other")
    return NamespaceController(world.tools)


def conditions(world: World) -> dict[str, Any]:
    return {found["type"]: found for found in world.get("namespaces", "d")["status"]["conditions"]}


async def test_a_namespace_goes_with_everything_in_it_and_nothing_else():
    async with make_world(namespace_lifecycle) as world:
        controller = await filled(world)
        await world.create("pods", {"metadata": {"name": "unscheduled"}, "spec": {}})
        await world.delete("namespaces", "d")
        await world.settle(controller)
        assert world.names("namespaces") == ["other"]
        assert world.names("configmaps") == ["stays"]
        assert world.names("deployments.apps") == world.names("pods") == []


async def test_config_stays_until_the_last_pod_has_gone():
    async with make_world(namespace_lifecycle) as world:
        controller = await filled(world)
        await world.create("pods", {"metadata": {"name": "running"}, "spec": {"nodeName": "n1"}})
        await world.delete("namespaces", "d")
        await world.settle(controller)
        assert world.names("configmaps") == ["config", "stays"]
        assert world.get("pods", "running")["metadata"]["deletionTimestamp"]
        remaining = conditions(world)["NamespaceContentRemaining"]
        assert (remaining["status"], remaining["reason"]) == ("True", "SomeResourcesRemain")
        assert "pods. has 1 resource instances" in remaining["message"]
        await world.run_pods()
        await world.settle(controller)
        assert world.names("namespaces") == ["other"]


async def test_a_finalizer_holds_the_namespace_and_is_named():
    async with make_world(namespace_lifecycle) as world:
        controller = await filled(world)
        held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
        await world.create("secrets", held)
        await world.delete("namespaces", "d")
        await world.settle(controller)
        finalizers = conditions(world)["NamespaceFinalizersRemaining"]
        assert finalizers["status"] == "True"
        assert finalizers["message"].endswith("finalizers remaining: example.com/hold in 1 resource instances")
        await world.update("secrets", "held", lambda obj: obj | {"metadata": obj["metadata"] | {"finalizers": []}})
        await world.settle(controller)
        assert world.names("namespaces") == ["other"]


def test_an_empty_namespace_says_that_nothing_remains():
    told: Any = conditions_of({"status": {}}, [], now_ms=0)
    assert {found["type"]: found["status"] for found in told} == {
        "NamespaceDeletionDiscoveryFailure": "False",
        "NamespaceDeletionGroupVersionParsingFailure": "False",
        "NamespaceDeletionContentFailure": "False",
        "NamespaceContentRemaining": "False",
        "NamespaceFinalizersRemaining": "False",
    }


def test_what_is_going_is_not_asked_again():
    going = content(Key("secrets", "d", "a"), {"metadata": {"deletionTimestamp": "t"}})
    stays = content(Key("secrets", "d", "b"), {"metadata": {}})
    pod = content(Key("pods", "d", "c"), {"metadata": {"deletionTimestamp": "t"}})
    assert to_delete([going, stays]) == [Key("secrets", "d", "b")]
    assert to_delete([going, stays, pod]) == []
