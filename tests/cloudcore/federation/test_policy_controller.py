"""A policy chooses, its objects follow, and nothing runs twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.controller import FederationController
from cloudcore.federation.policies import MARGIN_S
from cloudcore.federation.policy_controller import PolicyController
from cloudcore.federation.type_controller import FederatedTypeController
from skerry.errors import InvalidError
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, POLICIES, TYPES
from skerry.objects.times import time_text
from tests.cloudcore.federation.test_types import config
from tests.cloudcore.worlds import World, make_world

FEDERATED = "federatedconfigmaps.types.kubefed.io"


class Stage:
    def __init__(self, world: World) -> None:
        self.world = world
        self.policies = PolicyController(world.tools)
        self.plans = FederationController(world.tools)

    async def settle(self) -> None:
        await self.world.settle(self.policies, self.plans)

    async def heard(self, name: str, *, ready: bool = True) -> None:
        now = time_text(self.world.clock.wall_ms())
        condition: Any = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now}
        key = self.world.kind(MEMBERS).key(NAMESPACE, name)
        await self.world.objects.update(
            self.world.kind(MEMBERS),
            key,
            lambda obj: {**obj, "status": {"conditions": [condition]}},
            subresource="status",
        )

    def wanted(self) -> dict[str, str]:
        """By member: `there`, or its tombstone's word."""
        rows = [each["spec"] for each in self.world.all(MEMBER_OBJECTS) if each["spec"]["object"]["name"] == "a"]
        return {row["member"]: row.get("remove", "there") for row in rows}

    def status(self) -> Any:
        return self.world.get(POLICIES, "p")["status"]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with make_world(real_rules=True) as world:
        await world.create("namespaces", {"metadata": {"name": NAMESPACE}})
        for name, kind in (("configmaps", "ConfigMap"), ("namespaces", "Namespace")):
            made = config(name, kind)
            if name == "namespaces":
                made["spec"]["targetType"]["scope"] = "Cluster"
            await world.create(TYPES, made, NAMESPACE)
        await world.settle(FederatedTypeController(world.tools), DefinitionController(world.tools, world.custom))
        world.clock.advance(10_000)
        found = Stage(world)
        for name in ("north", "south", "west"):
            spec = {"syncMode": "Pull"}
            await world.create(MEMBERS, {"metadata": {"name": name, "labels": {"on": name}}, "spec": spec}, NAMESPACE)
            await found.heard(name)
        everywhere = {"placement": {"clusterSelector": {}}}
        await world.create("federatednamespaces.types.kubefed.io", {"metadata": {"name": "d"}, "spec": everywhere})
        yield found


async def policy(stage: Stage, **spec: Any) -> None:
    body = {"targets": [{"kind": "FederatedConfigMap", "name": "a"}], **spec}
    await stage.world.create(POLICIES, {"metadata": {"name": "p"}, "spec": body})


async def federated(stage: Stage) -> None:
    spec = {"template": {"data": {"k": "v"}}, "placement": {"clusterSelector": {}}}
    await stage.world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": spec})


def only(name: str) -> list[Any]:
    return [{"clusters": [{"name": name}]}]


async def test_an_object_is_where_its_policy_chose_and_everywhere_again_without_it(stage: Stage) -> None:
    await policy(stage, affinities=only("north"))
    await federated(stage)
    await stage.settle()
    assert stage.wanted() == {"north": "there"}
    await stage.world.delete(POLICIES, "p")
    await stage.settle()
    assert stage.wanted() == {"north": "there", "south": "there", "west": "there"}


async def test_a_dry_run_tells_and_changes_nothing(stage: Stage) -> None:
    await policy(stage, affinities=only("north"), dryRun=True)
    await federated(stage)
    await stage.settle()
    assert sorted(stage.wanted()) == ["north", "south", "west"]
    assert [each["name"] for each in stage.status()["wouldPlace"]] == ["north"]


async def test_of_two_policies_the_older_counts_and_the_other_says_so(stage: Stage) -> None:
    await policy(stage, affinities=only("north"))
    stage.world.clock.advance(5)
    body = {"targets": [{"kind": "FederatedConfigMap", "name": "a"}], "affinities": only("south")}
    await stage.world.create(POLICIES, {"metadata": {"name": "b"}, "spec": body})
    await federated(stage)
    await stage.settle()
    assert stage.wanted() == {"north": "there"}
    assert stage.world.get(POLICIES, "b")["status"]["message"] == "FederatedConfigMap a: p is older, and counts"


async def test_another_copy_begins_when_the_one_before_is_told_to_be_gone(stage: Stage) -> None:
    await policy(stage, affinities=only("north"), atMostOnce={"leaseSeconds": 60})
    await federated(stage)
    await stage.settle()
    assert stage.wanted() == {"north": "there"}
    (row,) = [each for each in stage.world.all(MEMBER_OBJECTS) if each["spec"]["object"]["name"] == "a"]
    assert row["spec"]["leaseSeconds"] == 60
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await stage.settle()
    assert stage.wanted() == {"north": "Delete"}, "not yet there: it may still run"
    assert stage.status()["message"] == "waits until north has stopped it"
    name = row["metadata"]["name"]
    revision = stage.world.get(MEMBER_OBJECTS, name)["spec"]["revision"]
    await stage.world.set_status(MEMBER_OBJECTS, name, revision=revision, removed=True)
    await stage.settle()
    await stage.policies.reconcile(stage.world.key(POLICIES, "p"))
    await stage.settle()
    assert stage.wanted() == {"south": "there"}


async def test_another_copy_begins_when_the_lease_of_a_silent_member_has_ended(stage: Stage) -> None:
    choices = [*only("north"), *only("south")]
    await policy(stage, affinities=choices, atMostOnce={"leaseSeconds": 60}, failover={"afterSeconds": 1})
    await federated(stage)
    await stage.settle()
    await stage.heard("north", ready=False)
    await stage.settle()
    stage.world.clock.advance(60 + MARGIN_S - 1)
    stage.world.clock.step_wall(3_600_000)  # somebody sets it: no lease ends by that
    await stage.policies.reconcile(stage.world.key(POLICIES, "p"))
    await stage.settle()
    assert stage.wanted() == {"north": "there"}
    stage.world.clock.advance(1)
    await stage.policies.reconcile(stage.world.key(POLICIES, "p"))
    await stage.settle()
    assert stage.wanted() == {"north": "Delete", "south": "there"}


async def test_a_fault_of_a_policy_names_its_field(stage: Stage) -> None:
    with pytest.raises(InvalidError, match=r"spec\.targets: Required value"):
        await policy(stage, targets=[])
    with pytest.raises(InvalidError, match=r"spec\.targets\[0\]\.kind"):
        await policy(stage, targets=[{"kind": "ConfigMap"}])
    with pytest.raises(InvalidError, match=r"spec\.atMostOnce\.leaseSeconds"):
        await policy(stage, atMostOnce={"leaseSeconds": 1})
