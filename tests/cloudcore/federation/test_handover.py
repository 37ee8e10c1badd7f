"""Who had it keeps it until those that were chosen have it in order."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.federation.controller import FederationController
from cloudcore.federation.handover import Handover, handover
from cloudcore.federation.planner import Row
from cloudcore.federation.policy_controller import PolicyController
from cloudcore.federation.policy_lookup import Chosen
from cloudcore.federation.preference_controller import PreferenceController
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.federation import MEMBER_OBJECTS, POLICIES, PREFERENCES, MemberObject, Source, Target
from skerry.objects.meta import Key
from skerry.objects.placement_policies import HANDOVER_S
from tests.cloudcore.federation.test_policy_controller import FEDERATED, Stage, federated, only, policy
from tests.cloudcore.federation.test_policy_controller import stage as stage

NOW_MS = 10_000_000
CHOSEN = Chosen(members=frozenset({"new"}), lease_s=0, since_ms={"new": NOW_MS}, handover_s=600)
FULL: Any = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}


def row(*, told: int = 1, remote: Any = FULL, removal: Any = "", code: str = "") -> Row:
    wanted = MemberObject(
        member="m",
        target=Target(api_version="apps/v1", kind="Deployment", namespace="d", name="a"),
        source=Source(key=Key(FEDERATED, "d", "a"), uid="u"),
        revision=1,
        manifest={"kind": "Deployment", "spec": {"replicas": 1}},
        removal=removal,
    )
    return Row(wanted=wanted, told={"revision": told, "remote": remote, **({"code": code} if code else {})})


def found(
    new: Row | None, *, chosen: Chosen = CHOSEN, now_ms: int = NOW_MS, heard: bool = True, **more: Row
) -> Handover:
    rows = {"old": row(), **more, **({} if new is None else {"new": new})}
    return handover(chosen, ["old", "new"], rows, ["new"] if heard else [], now_ms=now_ms)


@pytest.mark.parametrize(
    ("new", "keeps"),
    [
        pytest.param(None, True, id="it has no row yet"),
        pytest.param(row(told=0), True, id="it has not told yet"),
        pytest.param(row(remote={**FULL, "readyReplicas": 0}), True, id="its pods are not ready"),
        pytest.param(row(code="CreationFailed"), True, id="it can't have it"),
        pytest.param(row(code="AlreadyExists"), True, id="it has another of the name"),
        pytest.param(row(removal="Delete"), True, id="what it has is going"),
        pytest.param(row(), False, id="all is in order"),
    ],
)
def test_who_had_it_keeps_it_until_the_other_has_it_in_order(new: Row | None, *, keeps: bool) -> None:
    assert list(found(new).keepers) == (["old"] if keeps else [])


def test_what_one_says_that_is_silent_since_proves_nothing() -> None:
    assert found(row(), heard=False).keepers


def test_nobody_keeps_it_for_longer_than_the_policy_says_whatever_the_clock_does() -> None:
    late = NOW_MS + 600_000
    assert found(None).again_s == 600
    assert found(None, now_ms=late - 1).again_s == 1
    assert found(None, now_ms=late) == Handover(keepers={})
    assert found(None, now_ms=NOW_MS - 3_600_000).again_s == 600, "a clock that was set back"


def test_who_was_out_of_order_before_keeps_nobody() -> None:
    old = replace(CHOSEN, members=frozenset({"new", "broken"}), since_ms={"new": NOW_MS, "broken": 0})
    assert not found(row(), chosen=old, broken=row(remote={})).keepers


def test_what_is_a_tombstone_already_stays_one() -> None:
    assert not found(None, old=row(removal="Delete")).keepers


def test_what_may_run_once_alone_is_never_kept() -> None:
    assert not found(None, chosen=replace(CHOSEN, lease_s=60)).keepers
    assert not found(None, chosen=replace(CHOSEN, handover_s=0)).keepers


def test_whom_its_own_placement_does_not_have_keeps_nothing() -> None:
    assert not handover(CHOSEN, ["new"], {"old": row()}, ["new"], now_ms=NOW_MS).keepers


async def acknowledge(stage: Stage, member: str, **told: Any) -> None:
    for obj in stage.world.all(MEMBER_OBJECTS):
        if obj["spec"]["member"] == member:
            status = {"revision": obj["spec"]["revision"], "observedAt": "2026-01-01T00:00:00Z", **told}
            key = Key(MEMBER_OBJECTS, "", obj["metadata"]["name"])
            kind = stage.world.kind(MEMBER_OBJECTS)
            await stage.world.objects.update(
                kind, key, lambda current, status=status: {**current, "status": status}, subresource="status"
            )
    await stage.settle()


def told_of(stage: Stage, member: str) -> dict[str, Any]:
    return {each["name"]: each for each in stage.world.get(FEDERATED, "a")["status"]["clusters"]}.get(member, {})


async def test_a_policy_that_changes_its_mind_takes_nothing_away_before_the_next_has_it(stage: Stage) -> None:
    await policy(stage, affinities=only("north"))
    await federated(stage)
    await stage.settle()
    await acknowledge(stage, "north")
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await stage.settle()
    assert stage.wanted() == {"north": "there", "south": "there"}
    assert told_of(stage, "north")["message"] == "keeps it until south has it in order, for 600 s at most"
    await acknowledge(stage, "south")
    assert stage.wanted() == {"north": "Delete", "south": "there"}


async def test_a_member_that_was_replaced_and_is_back_before_the_others_are_ready_never_stopped(stage: Stage) -> None:
    await policy(stage, affinities=[*only("north"), *only("south")], failover={"afterSeconds": 1})
    await federated(stage)
    await stage.settle()
    await acknowledge(stage, "north")
    await stage.heard("north", ready=False)
    await stage.settle()
    stage.world.clock.advance(2)
    await stage.look()
    assert stage.wanted() == {"north": "there", "south": "there"}
    assert [each["name"] for each in stage.status()["placed"]] == ["south"]
    await stage.heard("north")
    await stage.look()
    assert stage.wanted()["north"] == "there", "south has not got it yet"
    await acknowledge(stage, "south")
    assert stage.wanted() == {"north": "Delete", "south": "there"}


async def test_without_an_answer_the_old_copy_goes_when_its_time_is_over(stage: Stage) -> None:
    await policy(stage, affinities=only("north"), handoverSeconds=30)
    await federated(stage)
    await stage.settle()
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await stage.settle()
    assert stage.wanted()["north"] == "there"
    stage.world.clock.advance(31)
    await stage.plans.reconcile(stage.world.key(FEDERATED, "a"))
    assert stage.wanted() == {"north": "Delete", "south": "there"}


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000, 31_536_000_000, -31_536_000_000])
async def test_a_clock_that_is_set_ends_no_handover_early_and_none_late(stage: Stage, step_ms: int) -> None:
    await policy(stage, affinities=only("north"), handoverSeconds=30)
    await federated(stage)
    await stage.settle()
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await stage.settle()
    stage.world.clock.step_wall(step_ms)
    stage.world.clock.advance(29)
    await stage.look()
    await stage.plans.reconcile(stage.world.key(FEDERATED, "a"))
    assert stage.wanted() == {"north": "there", "south": "there"}
    stage.world.clock.advance(32)
    await stage.look()
    await stage.plans.reconcile(stage.world.key(FEDERATED, "a"))
    assert stage.wanted() == {"north": "Delete", "south": "there"}


async def test_who_says_so_has_it_taken_away_at_once(stage: Stage) -> None:
    await policy(stage, affinities=only("north"), handoverSeconds=0)
    await federated(stage)
    await stage.settle()
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await stage.settle()
    assert stage.wanted() == {"north": "Delete", "south": "there"}


@pytest.mark.parametrize("said", [-1, 86_401])
async def test_a_time_that_makes_no_sense_is_refused_by_field(stage: Stage, said: int) -> None:
    with pytest.raises(InvalidError, match=r"spec\.handoverSeconds: .*from 0 to 86400"):
        await policy(stage, handoverSeconds=said)


async def test_replicas_that_a_preference_divides_are_handed_over_too(stage: Stage) -> None:
    preferences = PreferenceController(stage.world.tools, lambda _: {})
    body = {"targetKind": "FederatedConfigMap", "totalReplicas": 4}
    await stage.world.create(PREFERENCES, {"metadata": {"name": "a"}, "spec": body})
    await policy(stage, affinities=only("north"))
    spec = {"template": {"spec": {"replicas": 1}}, "placement": {"clusterSelector": {}}}
    await stage.world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": spec})

    async def settle() -> None:
        await stage.world.settle(
            PolicyController(stage.world.tools), FederationController(stage.world.tools), preferences
        )

    await settle()
    await acknowledge(stage, "north")
    await stage.world.set_spec(POLICIES, "p", affinities=only("south"))
    await settle()
    shares = {each["name"]: each for each in stage.world.get(PREFERENCES, "a")["status"]["clusters"]}
    assert shares == {
        "north": {"name": "north", "replicas": 4, "leaving": True},
        "south": {"name": "south", "replicas": 4},
    }
    assert stage.wanted() == {"north": "there", "south": "there"}
    await acknowledge(stage, "south")
    await preferences.reconcile(stage.world.key(PREFERENCES, "a"))
    assert stage.wanted() == {"north": "Delete", "south": "there"}
    assert [each["name"] for each in stage.world.get(PREFERENCES, "a")["status"]["clusters"]] == ["south"]


def test_ten_minutes_where_nobody_says_more() -> None:
    assert HANDOVER_S == 600
