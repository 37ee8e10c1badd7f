"""What a region has of a federation without a row: remembered, told, and cleaned up where it is known what it was."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.controller import FederationController
from cloudcore.federation.link import RegionMember
from cloudcore.federation.own_state import own_state
from cloudcore.federation.policy_controller import PolicyController
from cloudcore.federation.region_controller import STAMP, RegionController
from cloudcore.federation.type_controller import FederatedTypeController
from skerry.objects.federation import (
    MANAGED,
    MEMBER_OBJECTS,
    MEMBERS,
    MEMBERSHIP,
    NAMESPACE,
    POLICIES,
    REGION_OBJECTS,
    ROLLOUT_POLICIES,
    ROW,
    TYPES,
    Target,
    longest_lease_s,
    membership_of,
    row_name,
)
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.strays import STRAY, STRAYS_MAX, read_strays, strays_of
from skerry.wire.frames import ObjectState
from tests.cloudcore.federation.test_types import config
from tests.cloudcore.worlds import World, make_world

FEDERATED = "federatedconfigmaps.types.kubefed.io"
TARGET = Target(api_version="v1", kind="ConfigMap", namespace="d", name="a")
NAME = row_name("north", TARGET)
OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "d", "name": "a"}
EPOCH = "e1"


# --- in the region ---


@pytest.fixture
async def region() -> AsyncIterator[World]:
    async with make_world() as made:
        for name in (NAMESPACE, "d"):
            await made.create("namespaces", {"metadata": {"name": name}})
        data = {name: base64.b64encode(text.encode()).decode() for name, text in (("cloud", "a:1"), ("epoch", EPOCH))}
        await made.create("secrets", {"metadata": {"name": MEMBERSHIP}, "data": data}, NAMESPACE)
        yield made


async def has(region: World, *, stamp: str = "u 7", mark: str = NAME, **spec: Any) -> None:
    """A row, and what it put there."""
    metadata: Any = {"name": NAME, "annotations": {STAMP: stamp}}
    source = {"resource": FEDERATED, "namespace": "d", "name": "a", "uid": "s"}
    wanted = {"member": "north", "object": OBJECT, "source": source, "revision": 7, "manifest": {}, **spec}
    await region.create(REGION_OBJECTS, {"metadata": metadata, "spec": wanted})
    await region.create("configmaps", {"metadata": {"name": "a", "annotations": {ROW: mark}}})


async def strays(region: World) -> Any:
    return (await own_state(region.tools, lambda _: {}, steady_ms=region.clock.wall_ms()))["strays"]


def controller(region: World, told: list[Any]) -> RegionController:
    return RegionController(
        region.tools,
        in_touch=lambda: True,
        tell=lambda _, said: told.append(said),
        noticed=lambda: None,
        lease_left_s=lambda _: 0.0,
        proven=lambda: False,
    )


@pytest.mark.parametrize(("stamp", "epoch"), [("u 7", EPOCH), ("u 0", "")], ids=["set back", "not known any more"])
async def test_what_a_row_leaves_behind_is_remembered_and_told(region: World, stamp: str, epoch: str) -> None:
    await has(region, stamp=stamp, remove="Delete")
    member = RegionMember(region.tools, lambda _: {})
    await member.let_go(Key(MEMBER_OBJECTS, "", NAME))
    (row,) = region.all(REGION_OBJECTS)
    assert row["metadata"]["annotations"] == {STRAY: epoch}
    assert "remove" not in row["spec"], "nothing is carried out"
    assert member.stamps() == {}, "it is in no inventory"
    await region.settle(controller(region, []))
    told = await strays(region)
    assert (told["count"], [(each["object"], each["epoch"]) for each in told["objects"]]) == (1, [(OBJECT, epoch)])


async def test_what_strays_is_left_alone_until_it_is_gone(region: World) -> None:
    await has(region)
    await RegionMember(region.tools, lambda _: {}).let_go(Key(MEMBER_OBJECTS, "", NAME))
    told: list[Any] = []
    await region.settle(controller(region, told))
    assert told == []
    assert region.get("configmaps", "a") is not None
    await region.delete("configmaps", "a")
    await region.settle(controller(region, told))
    assert region.all(REGION_OBJECTS) == []


async def test_what_is_there_by_somebody_else_does_not_stray(region: World) -> None:
    await has(region, mark="another")
    await RegionMember(region.tools, lambda _: {}).let_go(Key(MEMBER_OBJECTS, "", NAME))
    assert region.all(REGION_OBJECTS) == []


async def test_what_somebody_took_out_of_the_federations_hands_does_not_stray(region: World) -> None:
    """Its tombstone is told to be carried out, and leaves it: it would be buried, told and found again for ever."""
    await has(region, remove="Delete")

    def labelled(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "labels": {MANAGED: "false"}}}

    await region.update("configmaps", "a", labelled)
    told: list[Any] = []
    await region.settle(controller(region, told))
    assert told[-1]["removed"] is True
    await RegionMember(region.tools, lambda _: {}).let_go(Key(MEMBER_OBJECTS, "", NAME))
    assert region.all(REGION_OBJECTS) == []


async def test_what_strays_is_forgotten_when_somebody_takes_it_out_of_the_federations_hands(region: World) -> None:
    await has(region)
    await RegionMember(region.tools, lambda _: {}).let_go(Key(MEMBER_OBJECTS, "", NAME))

    def labelled(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "labels": {MANAGED: "false"}}}

    await region.update("configmaps", "a", labelled)
    await region.settle(controller(region, []))
    assert region.all(REGION_OBJECTS) == []


async def test_a_lease_of_what_strays_is_told(region: World) -> None:
    await has(region, leaseSeconds=60)
    await region.set_status(REGION_OBJECTS, NAME, leaseSeconds=600)
    await RegionMember(region.tools, lambda _: {}).let_go(Key(MEMBER_OBJECTS, "", NAME))
    assert [each["leaseSeconds"] for each in (await strays(region))["objects"]] == [600], "a gateway may go by it yet"


async def test_a_tombstone_of_a_global_cloud_that_was_set_back_removes_nothing_that_is_newer(region: World) -> None:
    """It was written before what is here was made, carried out, and is in the backup yet."""
    await has(region, stamp="u 0", manifest={"kind": "ConfigMap"})
    member = RegionMember(region.tools, lambda _: {})
    source = {"resource": FEDERATED, "namespace": "d", "name": "a", "uid": "older"}
    older: Any = {"spec": {"member": "north", "object": OBJECT, "source": source, "revision": 5, "remove": "Delete"}}
    key = Key(MEMBER_OBJECTS, "", NAME)
    for _ in range(2):  # also when it is sent again, as the global cloud was set back once more
        await member.hold(ObjectState(key=key, stamp=Stamp("u", Revision(5)), body=json.dumps(older).encode()))
    assert member.stamps() == {key: Stamp("u", Revision(5))}, "it is not sent again and again"
    told: list[Any] = []
    await region.settle(controller(region, told))
    assert region.get("configmaps", "a") is not None
    assert told[-1] == {"revision": 5, "removed": True, "uid": "u"}, "what it means is gone"
    await member.let_go(key)
    assert [(each["object"], each["epoch"]) for each in (await strays(region))["objects"]] == [(OBJECT, "")]
    assert member.stamps() == {}


async def test_a_tombstone_of_what_is_here_removes_it(region: World) -> None:
    await has(region)
    member = RegionMember(region.tools, lambda _: {})
    newer: Any = {"spec": {"member": "north", "object": OBJECT, "revision": 9, "remove": "Delete"}}
    key = Key(MEMBER_OBJECTS, "", NAME)
    await member.hold(ObjectState(key=key, stamp=Stamp("u", Revision(9)), body=json.dumps(newer).encode()))
    await region.settle(controller(region, []))
    assert region.get("configmaps", "a") is None


# --- in the global cloud ---


def said(epoch: str, name: str = "a", **more: Any) -> Any:
    source = {"resource": FEDERATED, "namespace": "d", "name": name, "uid": "s"}
    return {"count": 1, "objects": [{"object": {**OBJECT, "name": name}, "source": source, "epoch": epoch, **more}]}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": NAMESPACE}})
        for name, kind in (("configmaps", "ConfigMap"), ("namespaces", "Namespace")):
            federated = config(name, kind)
            if name == "namespaces":
                federated["spec"]["targetType"]["scope"] = "Cluster"
            await made.create(TYPES, federated, NAMESPACE)
        await made.settle(FederatedTypeController(made.tools), DefinitionController(made.tools, made.custom))
        await made.create(MEMBERS, {"metadata": {"name": "north"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
        everywhere = {"placement": {"clusterSelector": {}}}
        await made.create("federatednamespaces.types.kubefed.io", {"metadata": {"name": "d"}, "spec": everywhere})
        yield made


async def tells(world: World, told: Any, **more: Any) -> None:
    key = world.kind(MEMBERS).key(NAMESPACE, "north")

    def telling(obj: Any) -> Any:
        return {**obj, "status": {**obj.get("status", {}), "strays": {**read_strays(told, obj), **more}}}

    await world.objects.update(world.kind(MEMBERS), key, telling, subresource="status")


def rows(world: World) -> Any:
    found = [each["spec"] for each in world.all(MEMBER_OBJECTS) if each["spec"]["object"]["kind"] == "ConfigMap"]
    return {row["object"]["name"]: row.get("remove", "there") for row in found}


async def federate(world: World, **placement: Any) -> None:
    spec = {"template": {"data": {"k": "v"}}, "placement": placement}
    await world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": spec})


async def test_what_was_deleted_meanwhile_is_cleaned_up_in_a_region_that_was_set_back(world: World) -> None:
    plans = FederationController(world.tools)
    await world.settle(plans)
    await tells(world, said(world.cache.epoch))
    await world.settle(plans)
    assert rows(world) == {"a": "Delete"}


async def test_what_is_elsewhere_meanwhile_is_cleaned_up_too_and_what_is_to_be_there_is_not(world: World) -> None:
    plans = FederationController(world.tools)
    await federate(world, clusters=[])
    await world.settle(plans)
    await tells(world, said(world.cache.epoch))
    await world.settle(plans)
    assert rows(world) == {"a": "Delete"}
    await world.set_spec(FEDERATED, "a", placement={"clusterSelector": {}})
    await world.settle(plans)
    await tells(world, {})
    await tells(world, said(world.cache.epoch))
    await world.settle(plans)
    assert rows(world) == {"a": "there"}


async def are_heard(world: World) -> None:
    """North, and south as well."""
    await world.create(MEMBERS, {"metadata": {"name": "south"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
    conditions: Any = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    for name in ("north", "south"):
        await world.objects.update(
            world.kind(MEMBERS),
            world.kind(MEMBERS).key(NAMESPACE, name),
            lambda obj: {**obj, "status": {"conditions": conditions}},
            subresource="status",
        )


async def is_lent_to(world: World, member: str) -> None:
    target = {"kind": "FederatedConfigMap", "name": "a"}
    wanted = {"affinities": [{"clusters": [{"name": member}]}], "atMostOnce": {"leaseSeconds": 60}}
    await world.create(POLICIES, {"metadata": {"name": "p"}, "spec": {"targets": [target], **wanted}})


@pytest.mark.parametrize(
    ("told", "lease_s"), [({"leaseSeconds": 120}, 120), ({}, 60), ({"leaseSeconds": 10**9}, 3600)]
)
async def test_what_is_lent_to_another_is_waited_for_no_longer_than_a_lease_where_it_strays(
    world: World, told: Any, lease_s: int
) -> None:
    await are_heard(world)
    controllers = (PolicyController(world.tools), FederationController(world.tools))
    await is_lent_to(world, "south")
    await federate(world, clusterSelector={})
    await world.settle(*controllers)
    await tells(world, said(world.cache.epoch, orphan=True, **told))
    await world.settle(*controllers)
    (tombstone,) = [each for each in world.all(MEMBER_OBJECTS) if each["spec"].get("remove")]
    assert (tombstone["spec"]["member"], longest_lease_s(tombstone)) == ("north", lease_s)
    assert tombstone["spec"]["remove"] == "Delete", "another one has it, so that it does not stay"


async def test_what_is_wanted_where_it_strays_is_left_while_it_waits_for_another_member(world: World) -> None:
    await are_heard(world)
    controllers = (PolicyController(world.tools), FederationController(world.tools))
    await is_lent_to(world, "south")
    await federate(world, clusterSelector={})
    await world.settle(*controllers)
    await world.set_spec(POLICIES, "p", affinities=[{"clusters": [{"name": "north"}]}])
    await world.settle(*controllers)
    await tells(world, said(world.cache.epoch, leaseSeconds=60))
    await world.settle(*controllers)
    assert [each["spec"]["member"] for each in world.all(MEMBER_OBJECTS) if each["spec"].get("remove")] == ["south"]


async def test_what_is_wanted_where_it_strays_is_left_while_a_rollout_holds_it_back(world: World) -> None:
    waves = [{"name": "later", "clusterSelector": {}, "requiresApproval": True}]
    rules = {"targets": [{"kind": "FederatedConfigMap"}], "waves": waves}
    await world.create(ROLLOUT_POLICIES, {"metadata": {"name": "slow"}, "spec": rules})
    plans = FederationController(world.tools)
    await are_heard(world)
    await federate(world, clusterSelector={})
    await world.settle(plans)
    await tells(world, said(world.cache.epoch))
    await world.settle(plans)
    assert rows(world) == {}


async def is_gone(world: World) -> None:
    """North says so of all that is to go."""
    for each in world.all(MEMBER_OBJECTS):
        if each["spec"].get("remove"):
            revision = each["spec"]["revision"]
            await world.set_status(MEMBER_OBJECTS, each["metadata"]["name"], revision=revision, removed=True)


async def test_what_strayed_is_cleaned_up_once_although_a_region_says_later_that_it_strays_no_more(
    world: World,
) -> None:
    plans = FederationController(world.tools)
    await tells(world, said(world.cache.epoch))
    await world.settle(plans)
    (before,) = [each for each in world.all(MEMBER_OBJECTS) if each["spec"].get("remove")]
    await is_gone(world)
    await world.settle(plans)
    (after,) = [each for each in world.all(MEMBER_OBJECTS) if each["spec"].get("remove")]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    await tells(world, {})
    await world.settle(plans)
    assert rows(world) == {}


async def test_a_tombstone_that_is_outlived_goes_although_what_is_there_strays_on(world: World) -> None:
    plans = FederationController(world.tools)
    await federate(world, clusterSelector={})
    await world.settle(plans)
    await world.delete(FEDERATED, "a")
    await world.settle(plans)
    assert rows(world) == {"a": "Delete"}
    await tells(world, said(""))
    await is_gone(world)
    await world.settle(plans)
    assert rows(world) == {}


async def test_a_region_that_says_each_time_that_others_stray_fills_no_ledger(world: World) -> None:
    def many(of: str) -> Any:
        told = [said(world.cache.epoch, f"{of}{number}")["objects"][0] for number in range(STRAYS_MAX)]
        return {"count": STRAYS_MAX, "objects": told}

    plans = FederationController(world.tools)
    await tells(world, many("a"))
    await world.settle(plans)
    await tells(world, many("b"))
    await world.settle(plans)
    assert len(rows(world)) == STRAYS_MAX
    assert world.later["b0"] > 0, "it is looked at again"
    await is_gone(world)
    await world.settle(plans)
    await plans.reconcile(Key(FEDERATED, "d", "b0"))
    assert rows(world) == {"b0": "Delete"}


async def test_nothing_is_removed_by_a_global_cloud_that_does_not_know_it(world: World) -> None:
    plans = FederationController(world.tools)
    for epoch in ("", "another"):
        await tells(world, said(epoch))
        await world.settle(plans)
    assert rows(world) == {}


async def test_what_another_under_the_name_said_counts_for_nothing(world: World) -> None:
    plans = FederationController(world.tools)
    await tells(world, said(world.cache.epoch), membership="another/")
    await world.settle(plans)
    assert rows(world) == {}


def test_what_a_region_says_is_bounded_and_of_the_types_that_others_rely_on() -> None:
    member: Any = {"metadata": {"uid": "m"}}
    many: Any = {"count": "many", "objects": [{"object": 7, "orphan": "yes", "epoch": ["x"]}] * (STRAYS_MAX + 9)}
    kept: Any = read_strays(many, member)
    assert (kept["count"], len(strays_of({**member, "status": {"strays": kept}}))) == (STRAYS_MAX, STRAYS_MAX)
    assert kept["membership"] == membership_of(member)
    assert read_strays({"objects": 3}, member) == {}
