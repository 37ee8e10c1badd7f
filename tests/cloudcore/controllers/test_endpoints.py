"""Endpoints and EndpointSlices of services, and slices that mirror Endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.controllers.endpoints.controller import (
    EndpointsController,
    EndpointSliceController,
    EndpointSliceMirroringController,
)
from cloudcore.controllers.endpoints.slices import ENDPOINTS_MAX, Plan, owner_of, plan, wanted
from cloudcore.controllers.garbage.controller import GarbageController
from cloudcore.controllers.ownership import with_metadata
from cloudcore.runtime.manager import Controller
from skerry.objects.meta import name_of
from skerry.objects.node_groups import BELONGING_TO, RANGE_NODE_GROUP, TOPOLOGY
from skerry.objects.sites import ZONE_LABEL
from tests.cloudcore.worlds import World, make_world

CONDITIONS = ("ready", "serving", "terminating")


@pytest.fixture
async def world() -> AsyncGenerator[World, None]:
    async with make_world(real_rules=True) as made:
        yield made


def controllers(world: World) -> list[Controller]:
    tools = world.tools
    return [
        EndpointsController(tools),
        EndpointSliceController(tools),
        EndpointSliceMirroringController(tools),
        GarbageController(tools),
    ]


async def node(world: World, name: str, **labels: str) -> None:
    await world.create("nodes", {"metadata": {"name": name, "labels": labels}})


async def service(world: World, name: str = "web", **spec: Any) -> Any:
    spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]} | spec
    spec |= {} if "clusterIP" in spec else {"clusterIP": "10.96.0.7"}
    meta = {"name": name, "labels": {"team": "a"}}
    return await world.create("services", {"metadata": meta, "spec": spec})


async def pod(world: World, name: str, ip: str, *, ready: bool = True, node: str = "n1", **spec: Any) -> None:
    container = {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}
    obj = {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }
    await world.create("pods", obj)
    await told(world, name, ip, ready=ready)


async def told(world: World, name: str, ip: str, *, ready: bool, phase: str = "Running") -> None:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    await world.set_status("pods", name, phase=phase, podIP=ip, podIPs=[{"ip": ip}], conditions=conditions)


def endpoints(world: World) -> dict[str, tuple[Any, ...]]:
    """By address: what readers of slices are told of it."""
    return {
        each["addresses"][0]: tuple(each["conditions"].get(name) for name in CONDITIONS)
        for slice_ in world.all("endpointslices.discovery.k8s.io")
        for each in slice_["endpoints"]
    }


async def test_ready_and_unready_pods_are_told_apart_with_their_nodes_and_ports(world: World):
    await node(world, "n1", **{"topology.kubernetes.io/zone": "north"})
    await service(world)
    await pod(world, "a", "10.0.0.1")
    await pod(world, "b", "10.0.0.2", ready=False)
    await world.settle(*controllers(world))
    (slice_,) = world.all("endpointslices.discovery.k8s.io")
    assert slice_["metadata"]["name"].startswith("web-")
    assert slice_["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    (owner,) = slice_["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Service", "web", True)
    assert slice_["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    first = slice_["endpoints"][0]
    assert (first["nodeName"], first["zone"], first["targetRef"]["name"]) == ("n1", "north", "a")
    assert endpoints(world) == {"10.0.0.1": (True, True, False), "10.0.0.2": (False, False, False)}
    made = world.get("endpoints", "web")
    assert made["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
    (subset,) = made["subsets"]
    assert [each["ip"] for each in subset["addresses"]] == ["10.0.0.1"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.0.0.2"]


async def test_a_pod_that_ends_serves_while_it_is_ready_and_goes_when_it_is_over(world: World):
    await node(world, "n1")
    await service(world)
    await pod(world, "a", "10.0.0.1")
    await world.delete("pods", "a", grace_s=30)
    await world.settle(*controllers(world))
    assert endpoints(world) == {"10.0.0.1": (False, True, True)}
    assert "subsets" not in world.get("endpoints", "web")
    await told(world, "a", "10.0.0.1", ready=False, phase="Succeeded")
    await world.settle(*controllers(world))
    assert endpoints(world) == {}


async def test_services_that_publish_unready_pods_have_them_all_ready(world: World):
    await node(world, "n1")
    await service(world, publishNotReadyAddresses=True)
    await pod(world, "a", "10.0.0.1", ready=False)
    await world.settle(*controllers(world))
    assert endpoints(world) == {"10.0.0.1": (True, False, False)}
    assert world.get("endpoints", "web")["subsets"][0]["addresses"][0]["ip"] == "10.0.0.1"


async def test_a_headless_service_says_so_and_has_its_pods_hostnames(world: World):
    await node(world, "n1")
    await service(world, clusterIP="None", ports=[])
    await pod(world, "a", "10.0.0.1", hostname="first", subdomain="web")
    await pod(world, "b", "10.0.0.2", hostname="second", subdomain="other")
    await world.settle(*controllers(world))
    (slice_,) = world.all("endpointslices.discovery.k8s.io")
    assert slice_["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert slice_["ports"] == []
    assert [each.get("hostname") for each in slice_["endpoints"]] == ["first", None]
    made = world.get("endpoints", "web")
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert [each.get("hostname") for each in made["subsets"][0]["addresses"]] == ["first", None]


async def test_pods_that_share_an_address_keep_their_names_where_the_service_is_headless(world: World):
    """As those of a StatefulSet on the network of their node, or that are its processes."""
    await node(world, "n1")
    await service(world, clusterIP="None")
    await pod(world, "a", "10.0.0.1", hostname="web-0", subdomain="web")
    await pod(world, "b", "10.0.0.1", hostname="web-1", subdomain="web")
    await world.settle(*controllers(world))
    (slice_,) = world.all("endpointslices.discovery.k8s.io")
    assert [each["hostname"] for each in slice_["endpoints"]] == ["web-0", "web-1"]
    await pod(world, "c", "10.0.0.1", hostname="web-2", subdomain="web")
    await world.delete("pods", "a", grace_s=0)
    await world.settle(*controllers(world))
    (again,) = world.all("endpointslices.discovery.k8s.io")
    assert [each["hostname"] for each in again["endpoints"]] == ["web-1", "web-2"]
    assert again["metadata"]["uid"] == slice_["metadata"]["uid"]


async def test_a_service_that_nobody_stands_behind_has_one_empty_slice_until_it_goes(world: World):
    await service(world)
    await world.settle(*controllers(world))
    (slice_,) = world.all("endpointslices.discovery.k8s.io")
    assert (slice_["endpoints"], slice_["ports"], slice_["addressType"]) == ([], [], "IPv4")
    assert world.get("endpoints", "web") is not None
    name = slice_["metadata"]["name"]
    await node(world, "n1")
    await pod(world, "a", "10.0.0.1")
    await world.settle(*controllers(world))
    assert world.names("endpointslices.discovery.k8s.io") == [name]
    assert endpoints(world) == {"10.0.0.1": (True, True, False)}
    await world.delete("services", "web")
    await world.settle(*controllers(world))
    assert world.names("endpointslices.discovery.k8s.io") == []
    assert world.get("endpoints", "web") is None


async def test_a_status_that_says_nothing_new_of_a_pod_writes_nothing(world: World):
    await node(world, "n1")
    await service(world)
    await pod(world, "a", "10.0.0.1")
    await world.settle(*controllers(world))
    await world.set_status("pods", "a", hostIP="192.168.0.1")
    await world.update("nodes", "n1", lambda obj: {**obj, "status": {"nodeInfo": {}}}, subresource="status")
    at = world.seen_until
    await world.settle(*controllers(world))
    changed = await world.store.changes(after=at)
    assert {change.key.resource for change in changed} <= {"pods", "nodes"}


async def test_what_somebody_spoils_is_mended(world: World):
    await node(world, "n1")
    await service(world)
    await pod(world, "a", "10.0.0.1")
    await world.settle(*controllers(world))
    (slice_,) = world.all("endpointslices.discovery.k8s.io")
    await world.delete("endpointslices.discovery.k8s.io", slice_["metadata"]["name"])
    await world.update("endpoints", "web", lambda obj: {**obj, "subsets": []})
    await world.settle(*controllers(world))
    assert endpoints(world) == {"10.0.0.1": (True, True, False)}
    assert world.get("endpoints", "web")["subsets"][0]["addresses"][0]["ip"] == "10.0.0.1"


async def test_a_pod_of_a_node_that_is_gone_is_nobodys_endpoint(world: World):
    await node(world, "n1")
    await service(world)
    await pod(world, "a", "10.0.0.1")
    await world.settle(*controllers(world))
    await world.delete("nodes", "n1")
    await world.settle(*controllers(world))
    assert endpoints(world) == {}
    await node(world, "n1")
    await world.settle(*controllers(world))
    assert endpoints(world) == {"10.0.0.1": (True, True, False)}


async def test_a_service_whose_traffic_stays_near_has_hints(world: World):
    await node(world, "n1", **{"topology.kubernetes.io/zone": "north"})
    await service(world, trafficDistribution="PreferSameNode")
    await pod(world, "a", "10.0.0.1")
    await world.settle(*controllers(world))
    (slice_,) = world.all("endpointslices.discovery.k8s.io")
    assert slice_["endpoints"][0]["hints"] == {"forZones": [{"name": "north"}], "forNodes": [{"name": "n1"}]}
    await world.set_spec("services", "web", trafficDistribution="PreferSameZone")
    await world.settle(*controllers(world))
    (slice_,) = world.all("endpointslices.discovery.k8s.io")
    assert slice_["endpoints"][0]["hints"] == {"forZones": [{"name": "north"}]}


async def test_endpoints_of_two_sites_never_share_a_slice(world: World):
    for name, zone in (("n1", "north"), ("n2", "north"), ("n3", "south"), ("n4", ""), ("n5", "")):
        await node(world, name, **({"topology.kubernetes.io/zone": zone} if zone else {}))
    await service(world)
    for number in range(1, 6):
        await pod(world, f"p{number}", f"10.0.0.{number}", node=f"n{number}")
    await world.settle(*controllers(world))
    made = [
        {each["nodeName"] for each in slice_["endpoints"]} for slice_ in world.all("endpointslices.discovery.k8s.io")
    ]
    assert sorted(made, key=min) == [{"n1", "n2"}, {"n3"}, {"n4"}, {"n5"}]
    at = world.seen_until
    await told(world, "p3", "10.0.0.3", ready=False)
    await world.settle(*controllers(world))
    slices = [change for change in await world.store.changes(after=at) if "slices" in change.key.resource]
    assert len(slices) == 1
    assert endpoints(world)["10.0.0.3"] == (False, False, False)


async def test_a_service_that_is_kept_to_node_groups_has_slices_of_each_group(world: World):
    for name, group in (("n1", "north"), ("n2", "south"), ("n3", "")):
        labels = {ZONE_LABEL: "one", **({BELONGING_TO: group} if group else {})}
        await node(world, name, **labels)
        await pod(world, name, f"10.0.0.{name[1:]}", node=name)
    await service(world)

    def groups() -> set[tuple[str, str]]:
        return {
            (each["metadata"]["labels"].get(BELONGING_TO, ""), at["nodeName"])
            for each in world.all("endpointslices.discovery.k8s.io")
            for at in each["endpoints"]
        }

    await world.settle(*controllers(world))
    assert groups() == {("", "n1"), ("", "n2"), ("", "n3")}
    kept: Any = {"annotations": {TOPOLOGY: RANGE_NODE_GROUP}}
    await world.update("services", "web", lambda obj: with_metadata(obj, **kept))
    await world.settle(*controllers(world))
    assert groups() == {("north", "n1"), ("south", "n2"), ("", "n3")}
    moved: Any = {"labels": {ZONE_LABEL: "one", BELONGING_TO: "south"}}
    await world.update("nodes", "n1", lambda obj: with_metadata(obj, **moved))
    await world.settle(*controllers(world))
    assert groups() == {("south", "n1"), ("south", "n2"), ("", "n3")}


async def test_endpoints_made_by_hand_are_mirrored_until_they_go(world: World):
    await service(world, selector={})
    subset = {
        "addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1", "hostname": "six"}],
        "notReadyAddresses": [{"ip": "10.1.2.4"}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    meta = {"name": "web", "annotations": {"who": "me"}, "labels": {"from": "hand"}}
    await world.create("endpoints", {"metadata": meta, "subsets": [subset]})
    await world.settle(*controllers(world))
    made = {slice_["addressType"]: slice_ for slice_ in world.all("endpointslices.discovery.k8s.io")}
    assert set(made) == {"IPv4", "IPv6"}
    assert made["IPv4"]["metadata"]["labels"] == {
        "from": "hand",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert made["IPv4"]["metadata"]["annotations"] == {"who": "me"}
    assert made["IPv4"]["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
    assert endpoints(world) == {
        "10.1.2.3": (True, None, None),
        "10.1.2.4": (False, None, None),
        "fd00::1": (True, None, None),
    }
    assert made["IPv6"]["endpoints"][0]["hostname"] == "six"
    moved = {**subset, "addresses": [{"ip": "10.2.3.4"}], "notReadyAddresses": []}
    await world.update("endpoints", "web", lambda obj: {**obj, "subsets": [moved]})
    await world.settle(*controllers(world))
    assert endpoints(world) == {"10.2.3.4": (True, None, None)}
    await world.delete("endpoints", "web")
    await world.settle(*controllers(world))
    assert endpoints(world) == {}


async def test_endpoints_that_ask_not_to_be_mirrored_or_have_no_service_are_not(world: World):
    subset = {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}
    skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    await world.create("endpoints", {"metadata": {"name": "alone"}, "subsets": [subset]})
    await service(world, selector={})
    await world.create("endpoints", {"metadata": {"name": "web", "labels": skip}, "subsets": [subset]})
    await world.settle(*controllers(world))
    assert world.names("endpointslices.discovery.k8s.io") == []
    assert world.get("endpoints", "alone") is not None
    await world.update("endpoints", "web", lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {}}})
    await world.settle(*controllers(world))
    assert endpoints(world) == {"10.1.2.3": (True, None, None)}


async def test_more_than_a_thousand_addresses_are_cut_in_endpoints_alone(world: World):
    await node(world, "n1")
    await service(world)
    for number in range(1001):
        ip = f"10.0.{number // 250}.{number % 250 + 1}"
        await pod(world, f"p{number}", ip, ready=number > 0)
    known = controllers(world)
    await world.settle(*known)
    made = world.get("endpoints", "web")
    assert made["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"
    (subset,) = made["subsets"]
    assert len(subset["addresses"]) == 1000 and "notReadyAddresses" not in subset
    assert len(endpoints(world)) == 1001
    await told(world, "p7", "10.0.0.8", ready=False)
    await world.settle(*known)
    assert endpoints(world)["10.0.0.8"] == (True, True, False)
    wait_s = world.later["web"]
    assert 1 < wait_s <= 10
    world.clock.advance(wait_s)
    await known[1].reconcile(world.key("services", "web"))
    assert endpoints(world)["10.0.0.8"] == (False, False, False)


SERVICE: Any = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "d", "uid": "u"},
    "spec": {"clusterIP": "10.96.0.7", "ipFamilies": ["IPv4"], "ports": [{"port": 80}], "selector": {"a": "b"}},
}


def _pod(number: int, *, ready: bool) -> Any:
    return {
        "metadata": {"name": f"p{number}", "namespace": "d", "uid": f"u{number}"},
        "spec": {"nodeName": "n1"},
        "status": {
            "podIP": f"10.0.{number // 250}.{number % 250 + 1}",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def _after(step: Plan, held: dict[str, Any], first: int) -> dict[str, Any]:
    """The slices by name when the plan is carried out."""
    made = {f"s{first + number}": each for number, each in enumerate(step.create)}
    named = {name: with_metadata(each, name=name) for name, each in made.items()}
    gone = {name_of(each) for each in step.delete}
    changed = {name_of(each): each for each in step.update}
    return {name: each for name, each in {**held, **changed, **named}.items() if name not in gone}


@given(st.lists(st.dictionaries(st.integers(0, 400), st.booleans(), max_size=350), min_size=1, max_size=5))
def test_slices_hold_every_endpoint_once_and_a_second_look_writes_nothing(steps: list[dict[int, bool]]):
    held: dict[str, Any] = {}
    for turn, pods in enumerate(steps):
        now = wanted(SERVICE, [_pod(number, ready=ready) for number, ready in pods.items()], {"n1": ""})
        step = plan(owner_of(SERVICE), ["IPv4"], now, held.values())
        held = _after(step, held, turn * 1000)
        found = [each["addresses"][0] for slice_ in held.values() for each in slice_["endpoints"]]
        assert sorted(found) == sorted(address for shape in now.values() for address in shape)
        assert all(len(slice_["endpoints"]) <= ENDPOINTS_MAX for slice_ in held.values())
        assert held and (pods or len(held) == 1)
        assert plan(owner_of(SERVICE), ["IPv4"], now, held.values()) == Plan()


@given(st.integers(1, 250), st.data())
def test_one_pod_that_changes_costs_one_write(count: int, data: st.DataObject):
    pods = [_pod(number, ready=True) for number in range(count)]
    first = plan(owner_of(SERVICE), ["IPv4"], wanted(SERVICE, pods, {"n1": ""}), [])
    held = _after(first, {}, 0)
    one = data.draw(st.integers(0, count - 1))
    pods[one] = data.draw(st.sampled_from([_pod(one, ready=False), _pod(900, ready=True)]))
    step = plan(owner_of(SERVICE), ["IPv4"], wanted(SERVICE, pods, {"n1": ""}), held.values())
    assert (len(step.create), len(step.update), len(step.delete)) == (0, 1, 0)
