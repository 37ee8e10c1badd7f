"""Each node has a range of pods' addresses of its own, and its site knows it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from cloudcore.controllers.noderange.controller import SLICES, NodeRangeController
from cloudcore.controllers.noderange.plan import Parts, cluster_ranges
from skerry.errors import InvalidError
from skerry.objects.node_routes import ROUTES_NAMESPACE, NodeRoute, routes_in
from skerry.objects.sites import sites_of
from tests.cloudcore.worlds import World, make_world


def node(name: str, zone: str = "", address: str = "192.0.2.1", **spec: Any) -> Any:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"addresses": addresses}}


def ranges_in(world: World) -> list[str]:
    return [each for found in world.all("nodes") for each in found["spec"]["podCIDRs"]]


def test_parts_follow_from_names_and_are_never_given_twice() -> None:
    (cluster,) = cluster_ranges(["10.244.0.0/20"])
    parts = Parts(cluster)
    given: dict[str, str] = {}
    for number in range(16):
        name = f"n{number}"
        given[name] = parts.free(name)
        parts.hold(name, [given[name]])
    assert len(set(given.values())) == 16
    assert all(ip_network(each).subnet_of(ip_network("10.244.0.0/20")) for each in given.values())  # type: ignore[arg-type]
    assert parts.free("more") == ""
    parts.hold("n3", [])
    assert parts.free("more") == given["n3"]
    assert Parts(cluster).free("n5") == Parts(cluster).free("n5")


def test_ranges_of_others_in_whole_or_in_part_are_left_to_them() -> None:
    (cluster,) = cluster_ranges(["10.244.0.0/22"])
    parts = Parts(cluster)
    parts.hold("a", ["10.244.0.0/23", "fd00::/64", "nonsense"])
    parts.hold("b", ["10.244.2.128/25", "10.0.0.0/30"])
    assert parts.free("c") == "10.244.3.0/24"
    parts.hold("d", ["10.0.0.0/8"])
    assert parts.free("c") == ""


@pytest.mark.parametrize(
    ("texts", "masks", "said"),
    [
        (["10.244.0.1/16"], [], "--cluster-cidr '10.244.0.1/16'"),
        (["10.0.0.0/8"], [25], "a /8 to a /24"),
        (["10.244.0.0/16"], [29], "a /16 to a /28"),
        (["10.244.0.0/16", "10.245.0.0/16"], [], "one range of a family"),
        (["10.244.0.0/16"], [24, 64], "give as many"),
        (["fd00::/40"], [], "a /40 to a /56"),
    ],
)
def test_ranges_that_make_no_sense_are_refused_by_name(texts: list[str], masks: list[int], said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        cluster_ranges(texts, masks)


async def test_nodes_have_ranges_of_their_own_that_come_back_with_them() -> None:
    async with make_world(real_rules=True) as world:
        controller = NodeRangeController(world.tools, cluster_ranges(["10.244.0.0/22", "fd00::/62"]))
        await world.create("nodes", node("old", podCIDR="10.244.1.0/24"))
        for name in ("a", "b", "c"):
            await world.create("nodes", node(name))
        await world.settle(controller)
        assert world.get("nodes", "old")["spec"] == {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}
        found = world.get("nodes", "a")["spec"]
        assert found["podCIDR"] == found["podCIDRs"][0] and len(found["podCIDRs"]) == 2
        assert sorted(each for each in ranges_in(world) if "." in each) == [f"10.244.{n}.0/24" for n in range(4)]
        await world.create("nodes", node("late"))
        await world.settle(controller)
        assert "podCIDRs" not in world.get("nodes", "late")["spec"]
        assert len(world.events("CIDRNotAvailable")) == 1 and world.later["late"] == 60
        await world.delete("nodes", "b")
        await world.settle(controller)
        await world.create("nodes", node("b"))
        await world.settle(controller)
        assert len(world.get("nodes", "b")["spec"]["podCIDRs"]) == 2


async def test_a_range_is_given_once() -> None:
    async with make_world(real_rules=True) as world:
        await world.create("nodes", node("a", podCIDR="10.1.0.0/24"))
        for wrong, said in (
            ({"podCIDR": "10.2.0.0/24", "podCIDRs": ["10.2.0.0/24"]}, "may not change podCIDR except"),
            ({}, "may not change podCIDR except"),
        ):
            with pytest.raises(InvalidError, match=said):
                await world.update("nodes", "a", lambda obj, wrong=wrong: {**obj, "spec": wrong})
        with pytest.raises(InvalidError, match="must be a valid CIDR value"):
            await world.create("nodes", node("b", podCIDR="10.2.0.0/99"))
        with pytest.raises(InvalidError, match="no more than one CIDR for each IP family"):
            await world.create("nodes", node("c", podCIDRs=["10.2.0.0/24", "10.3.0.0/24"]))


async def test_a_site_is_told_whose_pods_are_behind_which_gateway() -> None:
    async with make_world(real_rules=True) as world:
        controller = NodeRangeController(world.tools, cluster_ranges(["10.244.0.0/16"]))
        await world.create("namespaces", {"metadata": {"name": ROUTES_NAMESPACE}})
        await world.create("nodes", node("a", "north", "192.0.2.7"))
        await world.create("nodes", node("alone"))
        await world.settle(controller)

        def told() -> list[NodeRoute]:
            slices = world.all(SLICES)
            assert all(sites_of(each) == {"zone/north"} for each in slices)
            return [route for each in slices for route in routes_in(each)]

        (range_,) = world.get("nodes", "a")["spec"]["podCIDRs"]
        assert told() == [NodeRoute(node="a", zone="north", range=range_, gateway="192.0.2.7")]
        await world.set_status("nodes", "a", addresses=[{"type": "InternalIP", "address": "192.0.2.8"}])
        await world.settle(controller)
        assert [each.gateway for each in told()] == ["192.0.2.8"]
        await world.update("nodes", "a", lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {}}})
        await world.settle(controller)
        assert told() == []
