"""A policy chooses, its objects follow, and nothing runs twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.controller import FederationController
from cloudcore.federation.policies import MARGIN_S
from cloudcore.federation.policy_controller import GRACE_S, PolicyController
from cloudcore.federation.type_controller import FederatedTypeController
from cloudcore.registry.port import DeleteOptions
from skerry.errors import InvalidError
from skerry.objects.enrolment import NODE_KEY_ANNOTATION
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, POLICIES, TYPES
from skerry.objects.times import ms_at, time_text
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

    async def look(self) -> None:
        """As time has passed, say."""
        await self.settle()
        await self.policies.reconcile(self.world.key(POLICIES, "p"))
        await self.settle()

    def wanted(self, name: str = "a") -> dict[str, str]:
        """By member: `there`, or its tombstone's word."""
        rows = [each["spec"] for each in self.world.all(MEMBER_OBJECTS) if each["spec"]["object"]["name"] == name]
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
    stage.world.clock.advance(60 + MARGIN_S + GRACE_S - 1)
    stage.world.clock.step_wall(3_600_000)  # somebody sets it: no lease ends by that
    await stage.policies.reconcile(stage.world.key(POLICIES, "p"))
    await stage.settle()
    assert "south" not in stage.wanted()
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


async def add(stage: Stage, name: str) -> None:
    spec = {"template": {"data": {"k": "v"}}, "placement": {"clusterSelector": {}}}
    await stage.world.create(FEDERATED, {"metadata": {"name": name}, "spec": spec})


async def failed_over(stage: Stage, **spec: Any) -> None:
    """From north to south, with all that is left of a lease."""
    choices = [*only("north"), *only("south")]
    await policy(stage, affinities=choices, atMostOnce={"leaseSeconds": 60}, failover={"afterSeconds": 1}, **spec)
    await federated(stage)
    await stage.settle()
    await stage.heard("north", ready=False)
    await stage.settle()
    stage.world.clock.advance(60 + MARGIN_S + GRACE_S)
    await stage.look()
    assert stage.wanted() == {"north": "Delete", "south": "there"}


async def test_who_has_it_keeps_it_when_the_one_before_comes_back(stage: Stage) -> None:
    await failed_over(stage)
    assert stage.status()["past"] == ["north"]
    await stage.heard("north")
    await stage.look()
    assert "past" not in stage.status(), "what it has of others is waited for again"
    assert stage.wanted() == {"north": "Delete", "south": "there"}
    assert [each["name"] for each in stage.status()["placed"]] == ["south"]


async def test_who_keeps_it_goes_on_when_it_may_run_once_alone_from_now_on(stage: Stage) -> None:
    await policy(stage, affinities=[{"clusterSelector": {}}])
    await federated(stage)
    await stage.settle()
    await stage.world.set_spec(POLICIES, "p", atMostOnce={"leaseSeconds": 60})
    await stage.settle()
    assert sorted(stage.wanted().values()) == ["Delete", "Delete", "there"]


async def test_who_has_it_goes_on_when_a_policy_comes(stage: Stage) -> None:
    await federated(stage)
    await stage.settle()
    await policy(stage, affinities=only("north"), atMostOnce={"leaseSeconds": 60})
    await stage.settle()
    assert stage.wanted() == {"north": "there", "south": "Delete", "west": "Delete"}


async def test_what_a_dry_run_is_changed_to_does_nothing(stage: Stage) -> None:
    await policy(stage, affinities=only("north"))
    await federated(stage)
    await add(stage, "b")
    await stage.settle()
    wider = [{"kind": "FederatedConfigMap"}]
    await stage.world.set_spec(POLICIES, "p", dryRun=True, atMostOnce={"leaseSeconds": 10}, targets=wider)
    await stage.settle()
    assert stage.wanted() == {"north": "there"}
    assert stage.wanted("b") == {"north": "there", "south": "there", "west": "there"}
    assert not any("leaseSeconds" in each["spec"] for each in stage.world.all(MEMBER_OBJECTS))
    await stage.world.set_spec(POLICIES, "p", dryRun=False)
    await stage.settle()
    assert stage.wanted("b") == {"north": "there", "south": "Delete", "west": "Delete"}


async def told(stage: Stage, member: str, **more: Any) -> None:
    """The member knows what is wanted now."""
    (row,) = [
        each
        for each in stage.world.all(MEMBER_OBJECTS)
        if each["spec"]["member"] == member and each["spec"]["object"]["name"] == "a"
    ]
    revision = row["spec"]["revision"]
    await stage.world.set_status(MEMBER_OBJECTS, row["metadata"]["name"], revision=revision, **more)


async def test_a_lease_that_was_made_shorter_is_waited_for_as_long_as_its_member_may_not_know(stage: Stage) -> None:
    choices = [*only("north"), *only("south")]
    await policy(stage, affinities=choices, atMostOnce={"leaseSeconds": 3600}, failover={"afterSeconds": 1})
    await federated(stage)
    await stage.settle()
    await told(stage, "north")
    await stage.heard("north", ready=False)
    await stage.settle()
    await stage.world.set_spec(POLICIES, "p", atMostOnce={"leaseSeconds": 10})
    await stage.settle()
    stage.world.clock.advance(10 + MARGIN_S + GRACE_S)
    await stage.look()
    assert stage.wanted() == {"north": "Delete"}
    stage.world.clock.advance(3590)
    await stage.look()
    assert stage.wanted() == {"north": "Delete", "south": "there"}


async def test_who_was_lent_nothing_is_waited_for_until_it_tells(stage: Stage) -> None:
    await policy(stage, affinities=only("north"))
    await federated(stage)
    await stage.settle()
    await told(stage, "north")
    await stage.heard("north", ready=False)
    await stage.settle()
    choices = [*only("north"), *only("south")]
    lease, failover = {"leaseSeconds": 10}, {"afterSeconds": 1}
    await stage.world.set_spec(POLICIES, "p", affinities=choices, atMostOnce=lease, failover=failover)
    await stage.settle()
    stage.world.clock.advance(100_000)
    await stage.look()
    assert stage.wanted() == {"north": "Delete"}
    await told(stage, "north", removed=True)
    await stage.look()
    assert stage.wanted() == {"south": "there"}


async def test_who_is_no_member_any_more_has_its_lease_yet(stage: Stage) -> None:
    choices = [*only("north"), *only("south")]
    await policy(stage, affinities=choices, atMostOnce={"leaseSeconds": 60})
    await federated(stage)
    await stage.settle()
    members = stage.world.kind(MEMBERS)
    await stage.world.objects.delete(members, members.key(NAMESPACE, "north"), DeleteOptions())
    await stage.settle()
    assert "south" not in stage.wanted()
    assert waited_for(stage) == {"north": 60 + GRACE_S}
    stage.world.clock.advance(60 + MARGIN_S + GRACE_S)
    await stage.look()
    assert stage.wanted() == {"south": "there"}


def waited_for(stage: Stage) -> dict[str, int]:
    return {each["name"]: each["leaseSeconds"] for each in stage.status().get("waitsFor", [])}


async def joins_again(stage: Stage, name: str, key: str) -> None:
    """With another key: another cloud may be."""
    metadata = {NODE_KEY_ANNOTATION: key}

    def joined(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "annotations": metadata}}

    members = stage.world.kind(MEMBERS)
    await stage.world.objects.update(members, members.key(NAMESPACE, name), joined)


@pytest.mark.parametrize("planner_first", [True, False])
async def test_who_joins_under_the_name_of_one_that_has_it_waits_for_its_lease(
    stage: Stage, *, planner_first: bool
) -> None:
    await policy(stage, affinities=only("north"), atMostOnce={"leaseSeconds": 60})
    await federated(stage)
    await stage.settle()
    assert stage.wanted() == {"north": "there"}
    for key in ("second", "third"):
        await joins_again(stage, "north", key)
        if planner_first:
            await stage.world.settle(stage.plans)
            assert stage.wanted() == {}, "nothing is lent to somebody else"
            await stage.look()
        await stage.settle()
        assert stage.wanted() == {}
        assert list(waited_for(stage).values()) == [60 + GRACE_S]
        stage.world.clock.advance(60 + MARGIN_S + GRACE_S - 1)
        await stage.look()
        assert stage.wanted() == {}
        stage.world.clock.advance(1)
        await stage.look()
        assert stage.wanted() == {"north": "there"}


async def test_that_somebody_left_once_proves_nothing_of_him_when_he_is_back(stage: Stage) -> None:
    choices = [*only("north"), *only("south")]
    await policy(stage, affinities=only("north"), atMostOnce={"leaseSeconds": 60})
    await federated(stage)
    await stage.settle()
    members = stage.world.kind(MEMBERS)
    await stage.world.objects.delete(members, members.key(NAMESPACE, "north"), DeleteOptions())
    await stage.settle()
    stage.world.clock.advance(60 + MARGIN_S + GRACE_S)
    await stage.look()
    await stage.world.create(MEMBERS, {"metadata": {"name": "north"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
    await stage.heard("north")
    await stage.look()
    assert stage.wanted() == {"north": "there"}
    stage.world.clock.advance(300)
    await stage.look()
    await stage.world.set_spec(POLICIES, "p", affinities=choices[1:])
    await stage.settle()
    assert stage.wanted() == {"north": "Delete"}, "it runs there yet"
    assert list(waited_for(stage)) == ["north"]


async def test_who_left_is_waited_for_longer_than_anybody_else_where_pods_take_long(stage: Stage) -> None:
    await policy(stage, affinities=only("north"), atMostOnce={"leaseSeconds": 3600})
    pod = {"terminationGracePeriodSeconds": 7200}
    spec = {"template": {"spec": {"template": {"spec": pod}}}, "placement": {"clusterSelector": {}}}
    await stage.world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": spec})
    await stage.settle()
    members = stage.world.kind(MEMBERS)
    await stage.world.objects.delete(members, members.key(NAMESPACE, "north"), DeleteOptions())
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await stage.settle()
    for _ in range(4):
        assert "south" not in stage.wanted()
        stage.world.clock.advance((3600 + 7200 + MARGIN_S) / 4)
        await stage.look()
    assert stage.wanted() == {"south": "there"}


async def test_who_left_while_it_was_waited_for_and_is_somebody_else_now_has_its_lease_yet(stage: Stage) -> None:
    choices = [*only("north"), *only("south")]
    await policy(stage, affinities=choices, atMostOnce={"leaseSeconds": 60})
    await federated(stage)
    await stage.settle()
    members = stage.world.kind(MEMBERS)
    await stage.world.objects.delete(members, members.key(NAMESPACE, "north"), DeleteOptions())
    await stage.settle()
    assert waited_for(stage) == {"north": 60 + GRACE_S}
    spec = {"syncMode": "Pull"}
    await stage.world.create(MEMBERS, {"metadata": {"name": "north"}, "spec": spec}, NAMESPACE)
    await stage.heard("north")
    await stage.settle()
    assert stage.wanted() == {}
    stage.world.clock.advance(60 + MARGIN_S + GRACE_S)
    await stage.look()
    assert len(stage.wanted()) == 1


async def test_who_is_dialled_and_has_it_is_waited_for(stage: Stage) -> None:
    spec: Any = {"apiEndpoint": "https://east.example:6443", "secretRef": {"name": "east"}}
    await stage.world.create(MEMBERS, {"metadata": {"name": "east"}, "spec": spec}, NAMESPACE)
    await stage.heard("east")
    await policy(stage, affinities=only("east"))
    await federated(stage)
    await stage.settle()
    assert stage.wanted() == {"east": "there"}
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"), atMostOnce={"leaseSeconds": 60})
    await stage.look()
    assert stage.wanted() == {"east": "Delete"}
    await told(stage, "east", removed=True)
    await stage.look()
    assert stage.wanted() == {"south": "there"}


async def test_who_is_dialled_is_told_to_have_no_leases(stage: Stage) -> None:
    spec: Any = {"apiEndpoint": "https://east.example:6443", "secretRef": {"name": "east"}}
    for name in ("east", "elsewhere"):
        await stage.world.create(MEMBERS, {"metadata": {"name": name}, "spec": spec}, NAMESPACE)
        await stage.heard(name)
    choices = [{"name": "home", "clusters": [{"name": "east"}, {"name": "south"}]}]
    await policy(stage, affinities=choices, atMostOnce={"leaseSeconds": 60})
    await federated(stage)
    await stage.settle()
    assert stage.wanted() == {"south": "there"}
    reasons = {each["name"]: each["reason"] for each in stage.status()["members"]}
    assert "it is dialled" in reasons["east"]
    assert "elsewhere" not in reasons
    told_of = {each["type"]: each for each in stage.status()["conditions"]}["LeasesReachAll"]
    assert (told_of["status"], told_of["reason"]) == ("False", "MembersAreDialled")
    assert "east: it is dialled" in told_of["message"]
    assert "skerry region join" in told_of["message"]
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await stage.settle()
    assert "LeasesReachAll" not in {each["type"] for each in stage.status()["conditions"]}


async def test_gateways_that_do_not_say_that_they_go_by_a_lease_are_told_of(stage: Stage) -> None:
    await policy(stage, affinities=only("north"), atMostOnce={"leaseSeconds": 60})
    await federated(stage)
    await stage.settle()
    assert "LeasesReachAll" not in {each["type"] for each in stage.status()["conditions"]}
    await told(stage, "north", leasePending=True)
    await stage.settle()
    told_of = {each["type"]: each for each in stage.status()["conditions"]}["LeasesReachAll"]
    assert (told_of["status"], told_of["reason"]) == ("False", "GatewaysAreUntold")
    assert "no failover: north: pods there ran before they were lent" in told_of["message"]
    assert "upgrade its EdgeCore" in told_of["message"]
    await told(stage, "north", leasePending=False)
    await stage.settle()
    assert "LeasesReachAll" not in {each["type"] for each in stage.status()["conditions"]}


async def test_what_a_policy_is_about_from_now_on_begins_when_the_one_before_is_gone(stage: Stage) -> None:
    lease: Any = {"leaseSeconds": 60}
    await policy(stage, affinities=only("north"), atMostOnce=lease)
    body: Any = {"targets": [{"kind": "FederatedConfigMap", "name": "b"}], "affinities": only("south")}
    await stage.world.create(POLICIES, {"metadata": {"name": "q"}, "spec": {**body, "atMostOnce": lease}})
    await federated(stage)
    await add(stage, "b")
    await stage.settle()
    assert stage.wanted("b") == {"south": "there"}
    await stage.world.delete(POLICIES, "q")
    both = [{"kind": "FederatedConfigMap", "name": name} for name in ("a", "b")]
    await stage.world.set_spec(POLICIES, "p", targets=both)
    await stage.settle()
    assert stage.wanted("b") == {"south": "Delete"}
    (row,) = [each for each in stage.world.all(MEMBER_OBJECTS) if each["spec"]["object"]["name"] == "b"]
    revision = row["spec"]["revision"]
    await stage.world.set_status(MEMBER_OBJECTS, row["metadata"]["name"], revision=revision, removed=True)
    await stage.settle()
    assert stage.wanted("b") == {"north": "there"}
    assert stage.wanted() == {"north": "there"}, "what ran goes on"


async def test_pods_that_take_long_to_end_are_waited_for(stage: Stage) -> None:
    choices = [*only("north"), *only("south")]
    await policy(stage, affinities=choices, atMostOnce={"leaseSeconds": 60}, failover={"afterSeconds": 1})
    pods: Any = {"template": {"spec": {"terminationGracePeriodSeconds": 300}}}
    spec = {"template": {"spec": pods}, "placement": {"clusterSelector": {}}}
    await stage.world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": spec})
    await stage.settle()
    await stage.heard("north", ready=False)
    await stage.settle()
    stage.world.clock.advance(60 + MARGIN_S + 299)
    await stage.look()
    assert stage.wanted() == {"north": "Delete"}
    stage.world.clock.advance(1)
    await stage.look()
    assert stage.wanted() == {"north": "Delete", "south": "there"}


HOUR_MS = 3_600_000


def placed(stage: Stage) -> list[str]:
    return [each["name"] for each in stage.status()["placed"]]


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS, 365 * 24 * HOUR_MS, -365 * 24 * HOUR_MS])
async def test_a_clock_that_is_set_moves_nothing_and_holds_no_move_up(stage: Stage, step_ms: int) -> None:
    choices = [*only("north"), *only("south"), *only("west")]
    failover = {"afterSeconds": 300, "failback": "AfterStable", "stableSeconds": 600, "perMinute": 1}
    await policy(stage, affinities=choices, members=1, failover=failover)
    await federated(stage)
    await stage.settle()
    clock = stage.world.clock
    await stage.heard("north", ready=False)
    await stage.settle()
    clock.advance(299)
    clock.step_wall(step_ms)
    await stage.look()
    assert placed(stage) == ["north"], "it has been silent for 299 s, whatever the clock says"
    clock.advance(1)
    await stage.look()
    assert placed(stage) == ["south"]
    assert len(stage.status()["moves"]) == 1
    await stage.heard("north")
    await stage.settle()
    clock.advance(599)
    clock.step_wall(-step_ms)
    await stage.look()
    assert placed(stage) == ["south"], "it is stable since 599 s"
    clock.advance(1)
    await stage.look()
    assert placed(stage) == ["north"]
    clock.step_wall(-abs(step_ms))
    await stage.look()
    (seat,) = stage.status()["placed"]
    assert ms_at(seat["since"]) <= clock.wall_ms(), "nobody has it since tomorrow"


@pytest.mark.parametrize("step_ms", [0, HOUR_MS, -HOUR_MS])
async def test_no_more_move_in_a_minute_than_may_whatever_the_clock_says(stage: Stage, step_ms: int) -> None:
    failover = {"afterSeconds": 10, "perMinute": 1, "freezeAbovePercent": 100}
    await policy(stage, affinities=[{"clusterSelector": {}}], members=1, failover=failover)
    await federated(stage)
    await stage.settle()
    first = ""
    for _ in range(2):
        (first,) = placed(stage)
        await stage.heard(first, ready=False)
        await stage.settle()
        stage.world.clock.advance(10)
        await stage.look()
        stage.world.clock.step_wall(step_ms)
    assert placed(stage) == [first], "one has moved in this minute"
    stage.world.clock.advance(50)
    await stage.look()
    assert placed(stage) != [first]
    assert len(stage.status()["moves"]) == 2


@pytest.mark.parametrize("step_ms", [0, HOUR_MS, -HOUR_MS])
async def test_another_leader_gives_failover_its_full_time_again_and_knows_of_the_last_moves(
    stage: Stage, step_ms: int
) -> None:
    failover = {"afterSeconds": 10, "perMinute": 1, "freezeAbovePercent": 100}
    await policy(stage, affinities=[{"clusterSelector": {}}], members=1, failover=failover)
    await federated(stage)
    await stage.settle()
    (first,) = placed(stage)
    await stage.heard(first, ready=False)
    await stage.settle()
    stage.world.clock.advance(9)
    stage.world.clock.step_wall(step_ms)
    stage.policies = PolicyController(stage.world.tools)
    await stage.look()
    stage.world.clock.advance(9)
    await stage.look()
    assert placed(stage) == [first]
    stage.world.clock.advance(1)
    await stage.look()
    (second,) = placed(stage)
    assert second != first
    await stage.heard(second, ready=False)
    stage.policies = PolicyController(stage.world.tools)
    await stage.look()
    stage.world.clock.advance(20)
    await stage.look()
    assert placed(stage) == [second], "one has moved in this minute"
    stage.world.clock.advance(60)
    await stage.look()
    assert placed(stage) != [second]
