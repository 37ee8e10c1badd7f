"""Deployments: rolling, recreating, scaling, pausing, and telling."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.controllers.deployment.controller import DeploymentController
from cloudcore.controllers.deployment.model import deployment, replica_set, with_revision
from cloudcore.controllers.deployment.plan import ChangeSet, Observed, plan
from cloudcore.controllers.portions import portion
from cloudcore.controllers.replicaset.controller import ReplicaSetController
from skerry.objects.json import JsonObject
from tests.cloudcore.controllers.workloads import template, web
from tests.cloudcore.worlds import World, make_world

DEPLOYMENTS, SETS = "deployments.apps", "replicasets.apps"


class Fleet:
    """A world with both controllers, rolling to the end on request."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._controllers = (DeploymentController(world.tools), ReplicaSetController(world.tools))

    async def settle(self) -> None:
        await self.world.settle(*self._controllers)

    async def roll(self) -> None:
        """Controllers and kubelets in turn until nothing changes."""
        for _ in range(40):
            before = await self.world.store.revision()
            await self.settle()
            await self.world.run_pods()
            if await self.world.store.revision() == before:
                return
            pods = [pod for pod in self.world.all("pods") if not pod["metadata"].get("deletionTimestamp")]
            assert len(pods) <= 20, "bounded by surge"
        raise AssertionError("the roll does not end")

    @property
    def status(self) -> Any:
        return self.world.get(DEPLOYMENTS, "web")["status"]

    def condition(self, type_: str) -> Any:
        return next((found for found in self.status.get("conditions", []) if found["type"] == type_), None)

    def sets(self) -> dict[str, int]:
        """Replicas by image."""
        return {
            each["spec"]["template"]["spec"]["containers"][0]["image"]: each["spec"]["replicas"]
            for each in self.world.all(SETS)
        }

    async def new_image(self, image: str) -> None:
        await self.world.set_spec(DEPLOYMENTS, "web", template=template(image))


@pytest.mark.parametrize(
    ("value", "up", "expected"),
    [("25%", True, 3), ("25%", False, 2), (4, True, 4), ("0%", True, 0), ("100%", False, 10), (None, True, 3)],
)
def test_surge_is_rounded_up_and_unavailability_down(value, up, expected):
    assert portion(value, 10, round_up=up) == expected


def test_a_roll_that_may_neither_surge_nor_miss_may_miss_one():
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    owner = deployment(web(strategy=rolling))
    assert (owner.surge, owner.unavailable_max) == (0, 1)
    assert deployment(web(replicas=0)).unavailable_max == 0


def test_old_revisions_of_a_set_become_its_history():
    owner = deployment(web())
    first = with_revision(owner, {}, 1)
    assert first == {"team": "a", "deployment.kubernetes.io/revision": "1"}
    third = with_revision(owner, with_revision(owner, first, 3), 3)
    assert third["deployment.kubernetes.io/revision"] == "3"
    assert third["deployment.kubernetes.io/revision-history"] == "1"


def test_revisions_go_as_far_as_gos_int64():
    metadata: JsonObject = {"annotations": {"deployment.kubernetes.io/revision": "3546343826724305832"}}
    assert replica_set({"metadata": metadata}).revision == 3546343826724305832


async def test_a_new_deployment_ends_available_and_complete():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web())
        await fleet.settle()
        assert fleet.condition("Available")["reason"] == "MinimumReplicasUnavailable"
        assert fleet.condition("Progressing")["reason"] in ("NewReplicaSetCreated", "ReplicaSetUpdated")
        await fleet.roll()
        [only] = world.all(SETS)
        code = only["metadata"]["labels"]["pod-template-hash"]
        assert only["metadata"]["name"] == f"web-{code}"
        assert only["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": code}
        assert all(pod["metadata"]["labels"]["pod-template-hash"] == code for pod in world.all("pods"))
        assert only["metadata"]["annotations"] == {
            "team": "a",
            "deployment.kubernetes.io/revision": "1",
            "deployment.kubernetes.io/desired-replicas": "3",
            "deployment.kubernetes.io/max-replicas": "4",
        }
        assert world.get(DEPLOYMENTS, "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        counts = {name: value for name, value in fleet.status.items() if name != "conditions"}
        assert counts == {
            "observedGeneration": 1,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
        }
        assert fleet.condition("Available")["reason"] == "MinimumReplicasAvailable"
        assert fleet.condition("Progressing")["reason"] == "NewReplicaSetAvailable"
        assert fleet.condition("Progressing")["message"] == f'ReplicaSet "web-{code}" has successfully progressed.'


async def test_defaults_and_validation_do_not_make_a_template_look_new():
    async with make_world(real_rules=True) as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web())
        await fleet.roll()
        assert len(world.names(SETS)) == 1
        await fleet.new_image("v2")
        await fleet.roll()
        assert fleet.sets() == {"v1": 0, "v2": 3}
        assert fleet.condition("Progressing")["reason"] == "NewReplicaSetAvailable"
        quiet = await world.store.revision()
        await fleet.roll()
        assert await world.store.revision() == quiet


async def test_a_rolling_update_keeps_its_promises_all_the_way():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web(replicas=4))
        await fleet.roll()
        await fleet.new_image("v2")
        for _ in range(40):
            await fleet.settle()
            pods = [pod for pod in world.all("pods") if not pod["metadata"].get("deletionTimestamp")]
            ready = [pod for pod in pods if pod["status"].get("phase") == "Running"]
            assert len(pods) <= 5
            assert len(ready) >= 3
            if fleet.sets() == {"v1": 0, "v2": 4} and len(pods) == len(ready) == 4:
                break
            await world.run_pods()
        await fleet.roll()
        assert fleet.sets() == {"v1": 0, "v2": 4}
        texts = [event["message"] for event in world.events("ScalingReplicaSet")]
        assert any(text.startswith("Scaled down replica set web-") for text in texts)


async def test_going_back_reuses_the_old_set_under_a_new_revision():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web())
        await fleet.roll()
        await fleet.new_image("v2")
        await fleet.roll()
        await fleet.new_image("v1")
        await fleet.roll()
        assert fleet.sets() == {"v1": 3, "v2": 0}
        revisions = {
            each["spec"]["template"]["spec"]["containers"][0]["image"]: each["metadata"]["annotations"][
                "deployment.kubernetes.io/revision"
            ]
            for each in world.all(SETS)
        }
        assert revisions == {"v1": "3", "v2": "2"}
        assert world.get(DEPLOYMENTS, "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


async def test_a_rollout_to_what_never_starts_keeps_the_old_pods_and_says_so_in_time():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web(replicas=4))
        await fleet.roll()
        await fleet.new_image("broken")
        await fleet.settle()
        await world.run_pods(ready=False)
        await fleet.settle()
        assert fleet.sets() == {"v1": 3, "broken": 2}
        assert 0 < world.later["web"] <= 601
        world.clock.advance(700)
        assert await fleet._controllers[0].reconcile(world.key(DEPLOYMENTS, "web")) is None
        assert fleet.condition("Progressing")["reason"] == "ProgressDeadlineExceeded"
        assert fleet.condition("Progressing")["status"] == "False"
        # And over to a third image: rollover, without waiting for the second.
        await fleet.new_image("v3")
        await fleet.roll()
        assert fleet.sets() == {"v1": 0, "broken": 0, "v3": 4}
        assert fleet.condition("Progressing")["reason"] == "NewReplicaSetAvailable"


async def test_recreate_stops_everything_old_before_it_starts_anything_new():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web(strategy={"type": "Recreate"}))
        await fleet.roll()
        for pod in world.all("pods"):
            await world.update(
                "pods", pod["metadata"]["name"], lambda obj: obj | {"spec": obj["spec"] | {"nodeName": "n"}}
            )
        await fleet.new_image("v2")
        await fleet.settle()
        assert fleet.sets() == {"v1": 0}
        assert len(world.names("pods")) == 3, "they are still stopping"
        await fleet.roll()
        assert fleet.sets() == {"v1": 0, "v2": 3}


async def test_a_paused_deployment_scales_but_does_not_roll():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web())
        await fleet.roll()
        await world.set_spec(DEPLOYMENTS, "web", paused=True, template=template("v2"), replicas=5)
        await fleet.roll()
        assert fleet.sets() == {"v1": 5}
        assert fleet.condition("Progressing")["reason"] == "DeploymentPaused"
        await world.set_spec(DEPLOYMENTS, "web", paused=False)
        await fleet.roll()
        assert fleet.sets() == {"v1": 0, "v2": 5}
        assert fleet.condition("Progressing")["reason"] == "NewReplicaSetAvailable"


async def test_scaling_in_the_middle_of_a_roll_is_shared_out():
    async with make_world() as world:
        fleet = Fleet(world)
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await world.create(DEPLOYMENTS, web(replicas=10, strategy=rolling))
        await fleet.roll()
        await fleet.new_image("broken")
        await fleet.settle()
        assert fleet.sets() == {"v1": 8, "broken": 5}
        await world.set_spec(DEPLOYMENTS, "web", replicas=30)
        await fleet.settle()
        # The numbers of the conformance test "deployment should support proportional scaling".
        assert fleet.sets() == {"v1": 20, "broken": 13}


async def test_history_beyond_the_limit_is_forgotten():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web(revisionHistoryLimit=1))
        for image in ("v1", "v2", "v3", "v4"):
            await fleet.new_image(image)
            await fleet.roll()
        assert fleet.sets() == {"v3": 0, "v4": 3}


async def test_a_name_taken_by_a_stranger_gives_another_hash():
    async with make_world() as world:
        fleet = Fleet(world)
        await world.create(DEPLOYMENTS, web())
        await fleet.roll()
        [name] = world.names(SETS)
        await world.delete(DEPLOYMENTS, "web")
        await world.delete(SETS, name)
        stranger = {"metadata": {"name": name}, "spec": {"replicas": 0, "selector": {"matchLabels": {"x": "y"}}}}
        await world.create(SETS, stranger)
        await world.create(DEPLOYMENTS, web())
        await fleet.settle()
        assert fleet.status["collisionCount"] == 1
        assert len(world.names(SETS)) == 2


async def test_a_template_that_no_pod_can_have_shows_in_the_deployment():
    async with make_world() as world:
        fleet = Fleet(world)
        refused = web()
        refused["spec"]["template"]["metadata"]["labels"]["refuse"] = "yes"
        await world.create(DEPLOYMENTS, refused)
        await fleet.settle()
        assert fleet.condition("ReplicaFailure")["reason"] == "FailedCreate"


def observed(replicas: int, sizes: list[tuple[int, int]]) -> tuple[Any, list[Any]]:
    """A deployment and sets of (replicas, available), the first of them new."""
    sets = []
    for number, (size, available) in enumerate(sizes):
        obj: Any = {
            "metadata": {
                "name": f"s{number}",
                "uid": f"u{number}",
                "creationTimestamp": f"2020-01-01T00:00:{50 - number:02}Z",
                "annotations": {"deployment.kubernetes.io/desired-replicas": str(replicas)},
            },
            "spec": {"replicas": size, "template": template("v1" if number == 0 else f"old{number}")},
            "status": {"replicas": size, "availableReplicas": min(available, size)},
        }
        sets.append(replica_set(obj))
    return deployment(web(replicas=replicas)), sets


sizes = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=4)


@given(st.integers(0, 12), sizes)
@settings(max_examples=200)
def test_no_step_goes_over_the_surge_or_under_the_least(replicas, sizes):
    owner, sets = observed(replicas, sizes)
    planned = plan(owner, Observed(sets=sets))
    before = sum(each.replicas for each in sets)
    after = sum(each.replicas for each in planned.sets)
    assert after <= max(before, owner.most)
    assert all(each.replicas >= 0 for each in planned.sets)
    # However pods are chosen, what was available and enough stays enough.
    least = owner.replicas - owner.unavailable_max
    available = sum(each.available for each in sets)
    surely = sum(min(each.available, each.replicas) for each in planned.sets)
    assert surely >= min(available, least)
    changed = [action for action in planned.actions if isinstance(action, ChangeSet)]
    assert {action.target.uid for action in changed} <= {each.uid for each in sets}
