"""What a RolloutPolicy says of itself: for what it counts, and who is in which wave; and who may write versions."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.federation.admission import federated_step
from cloudcore.federation.rollout_plans import RolloutPlanController
from cloudcore.registry.admission import Request
from cloudcore.registry.port import SYSTEM
from cloudcore.runtime.informer import Seen
from cloudcore.store.port import Change
from skerry.authz.attributes import Actor, Decision
from skerry.errors import ForbiddenError
from skerry.objects.federation import MEMBER_OBJECTS, REVISIONS, ROLLOUT_POLICIES
from skerry.objects.json import encode_object
from skerry.objects.meta import Revision
from tests.cloudcore.federation.test_policy_controller import FEDERATED, stage
from tests.cloudcore.federation.test_rollouts import CANARY, Rolling, rolling

__all__ = ["rolling", "stage"]


async def told(rolling: Rolling, name: str = "p") -> Any:
    plans = RolloutPlanController(rolling.world.tools)
    await rolling.world.settle(rolling.plans, plans)
    await plans.reconcile(rolling.world.key(ROLLOUT_POLICIES, name))
    return rolling.world.get(ROLLOUT_POLICIES, name)["status"]


async def test_who_is_in_which_wave_is_said(rolling: Rolling) -> None:
    await rolling.policy(CANARY)
    status = await told(rolling)
    (entry,) = status["targets"]
    assert (entry["kind"], entry["name"], entry["phase"]) == ("FederatedConfigMap", "a", "Complete")
    assert entry["waves"] == [
        {"name": "canary", "count": 1, "members": ["north"]},
        {"name": "rest", "count": 2, "members": ["south", "west"]},
    ]
    assert [(each["type"], each["status"]) for each in status["conditions"]] == [("Counts", "True")]
    assert "message" not in status


async def test_of_two_the_older_counts_and_the_other_says_so(rolling: Rolling) -> None:
    await rolling.policy(CANARY)
    rolling.world.clock.advance(5)
    await rolling.policy(name="q")
    status = await told(rolling, "q")
    assert status["message"] == "FederatedConfigMap a: p is older, and counts"
    assert status["conditions"][0]["status"] == "False"
    assert status["targets"] == []


async def test_what_is_about_nobody_is_said(rolling: Rolling) -> None:
    wave = {"name": "far", "clusters": [{"name": "nowhere"}]}
    await rolling.policy(wave, dryRun=True, targets=[{"kind": "FederatedWidget"}, {"kind": "FederatedConfigMap"}])
    status = await told(rolling)
    assert status["message"] == (
        "no type is enabled that is federated as FederatedWidget; wave far: no member is called nowhere; "
        "wave far has no member of FederatedConfigMap a"
    )
    assert status["conditions"][0]["reason"] == "DryRun"


async def test_that_a_wave_names_who_is_in_an_earlier_one_is_said(rolling: Rolling) -> None:
    await rolling.policy(CANARY, {"name": "b", "clusters": [{"name": "north"}, {"name": "south"}]})
    assert (await told(rolling))["message"] == "wave b: north is in canary, which comes before it"


def woken(rolling: Rolling, plans: RolloutPlanController, before: Any, after: Any, resource: str = FEDERATED) -> Any:
    (watched,) = plans.watches()
    key = rolling.world.key(resource, after["metadata"]["name"])
    sides = [None if side is None else encode_object(side) for side in (before, after)]
    change = Change(revision=Revision(1), key=key, uid="u", before=sides[0], after=sides[1])
    return [each.name for each in watched.keys(Seen(change))]


async def test_a_policy_is_looked_at_when_what_it_shows_changes_and_by_no_other_write(rolling: Rolling) -> None:
    await rolling.policy(CANARY)
    await rolling.policy(name="other", targets=[{"kind": "FederatedConfigMap", "name": "b"}])
    await rolling.settle()
    plans, obj = RolloutPlanController(rolling.world.tools), rolling.world.get(FEDERATED, "a")
    counted = {**obj, "status": {**obj["status"], "counts": {"members": 7}}}
    assert woken(rolling, plans, obj, counted) == []
    paused = {**obj, "status": {**obj["status"], "rollout": {**obj["status"]["rollout"], "phase": "Paused"}}}
    assert woken(rolling, plans, obj, paused) == ["p"]
    assert woken(rolling, plans, None, obj) == ["p"]
    row = rolling.world.all(MEMBER_OBJECTS)[0]
    assert woken(rolling, plans, None, row, MEMBER_OBJECTS) == ["p"]
    assert woken(rolling, plans, row, row, MEMBER_OBJECTS) == []


def request(operation: Any, actor: Actor, obj: Any, old: Any, of: Rolling) -> Request:
    return Request(
        kind=of.world.kind(REVISIONS),
        operation=operation,
        key=of.world.key(REVISIONS, "v"),
        obj=obj,
        old=old,
        subresource="",
        actor=actor,
        suffix="",
        now_ms=0,
    )


async def test_versions_are_written_down_by_the_cloud_alone_and_approved_by_whoever_may(rolling: Rolling) -> None:
    step = federated_step(lambda _: Decision(allowed=True))
    somebody = Actor(name="ann")
    spec = {"source": {"name": "a"}, "revision": 1, "data": {"template": {}}}
    new: Any = {"metadata": {"name": "v"}, "spec": spec}
    step(request("CREATE", SYSTEM, new, None, rolling), rolling.world.cache)
    with pytest.raises(ForbiddenError, match="written down by the cloud"):
        step(request("CREATE", somebody, new, None, rolling), rolling.world.cache)
    with pytest.raises(ForbiddenError):
        forged = {**new, "spec": {**spec, "revision": 2}}
        step(request("UPDATE", somebody, forged, new, rolling), rolling.world.cache)
    stolen = {**new, "metadata": {"name": "v", "ownerReferences": [{"kind": "FederatedSecret", "uid": "mine"}]}}
    for before, after in ((new, stolen), (stolen, new)):
        with pytest.raises(ForbiddenError, match="written down by the cloud"):
            step(request("UPDATE", somebody, after, before, rolling), rolling.world.cache)
        step(request("UPDATE", SYSTEM, after, before, rolling), rolling.world.cache)
    finalized = {**stolen, "metadata": {**stolen["metadata"], "finalizers": ["example.com/kept"]}}
    assert step(request("UPDATE", somebody, finalized, stolen, rolling), rolling.world.cache) == finalized
    approved = {**new, "spec": {**spec, "approved": ["eu"]}}
    assert step(request("UPDATE", somebody, approved, new, rolling), rolling.world.cache) == approved
