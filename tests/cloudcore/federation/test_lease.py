"""How long a region may run what must not run twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.federation.apply import LEASE_ENDED, decide, decide_stop
from cloudcore.federation.lease import RegionLease
from cloudcore.federation.link import RegionMember
from skerry.objects.federation import NAMESPACE, REGION_OBJECTS, ROW, MemberObject, Source, Target
from skerry.objects.meta import Key
from tests.cloudcore.hub.fleet import eventually
from tests.cloudcore.worlds import World, make_world

BOOT = "a boot"


class FakeMember(RegionMember):
    """Whose questions are answered when a test says so."""

    def __init__(self, world: World) -> None:
        super().__init__(world.tools, lambda _: {})
        self.asked = 0
        self.answered_s: float | None = None

    @property
    def confirmed_s(self) -> float | None:
        return self.answered_s

    def ask(self) -> None:
        self.asked += 1


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        await made.create("namespaces", {"metadata": {"name": NAMESPACE}})
        await made.create(REGION_OBJECTS, {"metadata": {"name": "r.a"}, "spec": {"leaseSeconds": 50}})
        await eventually(lambda: made.cache.select(REGION_OBJECTS), "the row")
        made.clock.advance(1000)
        yield made


async def test_a_lease_counts_from_the_question_that_was_answered(world: World) -> None:
    member = FakeMember(world)
    lease = RegionLease(world.tools, member, BOOT)
    assert lease.left_s(50) == 0.0, "nothing was lent yet"
    await lease.look()
    assert member.asked == 1
    member.answered_s = world.clock.monotonic_s()
    world.clock.advance(20)
    await lease.look()
    assert lease.left_s(50) == 30.0
    world.clock.advance(40)
    assert lease.left_s(50) == -10.0


async def test_a_lease_lasts_over_a_restart_whatever_the_clock_on_the_wall_says(world: World) -> None:
    member = FakeMember(world)
    member.answered_s = world.clock.monotonic_s()
    await RegionLease(world.tools, member, BOOT).look()
    world.clock.advance(10)
    world.clock.step_wall(-100_000)
    await eventually(lambda: world.cache.select("configmaps"), "it is written down")
    after = RegionLease(world.tools, FakeMember(world), BOOT)
    after.remember()
    assert after.left_s(50) == pytest.approx(40.0, abs=0.01)
    assert after.ago_s() == pytest.approx(10.0, abs=0.01)


async def test_what_another_machine_or_boot_wrote_down_lends_nothing_and_stops_nothing_within_a_handover(
    world: World,
) -> None:
    member = FakeMember(world)
    member.answered_s = world.clock.monotonic_s()
    await RegionLease(world.tools, member, BOOT).look()
    await eventually(lambda: world.cache.select("configmaps"), "it is written down")
    other = FakeMember(world)
    after = RegionLease(world.tools, other, "another boot")
    after.remember()
    assert after.ago_s() is None, "gateways are lent nothing"
    assert after.left_s(50) == 10.0
    world.clock.advance(10)
    assert after.left_s(50) == 0.0
    other.answered_s = world.clock.monotonic_s()
    assert after.left_s(50) == 50.0


async def test_where_no_boot_can_be_told_from_another_nothing_is_written_down(world: World) -> None:
    member = FakeMember(world)
    member.answered_s = world.clock.monotonic_s()
    await RegionLease(world.tools, member, "").look()
    after = RegionLease(world.tools, FakeMember(world), "")
    after.remember()
    assert after.ago_s() is None


def row(kind: str, **spec: Any) -> MemberObject:
    target = Target(api_version="apps/v1", kind=kind, namespace="d", name="a")
    manifest: Any = {"kind": kind, "metadata": {"name": "a"}, "spec": spec}
    source = Source(key=Key("x", "d", "a"), uid="u")
    return MemberObject(member="r", target=target, source=source, revision=1, manifest=manifest, lease_s=50)


def there(of: MemberObject, **spec: Any) -> Any:
    return {"kind": of.target.kind, "metadata": {"name": "a", "annotations": {ROW: of.name}}, "spec": spec}


@pytest.mark.parametrize(
    ("kind", "field", "runs", "stops"), [("Deployment", "replicas", 3, 0), ("Job", "suspend", False, True)]
)
def test_what_can_be_there_and_run_nothing_stays_and_runs_again_later(
    kind: str, field: str, runs: Any, stops: Any
) -> None:
    wanted = row(kind, **{field: runs})
    found = decide_stop(wanted, there(wanted, **{field: runs}), wanted.manifest)
    assert (found.act, found.code) == ("update", LEASE_ENDED)
    assert found.obj is not None
    assert found.obj["spec"] == {field: stops}
    idle: Any = {**wanted.manifest, "spec": {field: stops}}
    assert decide_stop(wanted, there(wanted, **{field: stops}), idle).act == "none"
    again = decide(wanted, there(wanted, **{field: stops}), idle, in_touch=True)
    assert again.obj is not None
    assert again.obj["spec"] == {field: runs}


def test_somebody_who_starts_it_by_hand_meanwhile_is_not_followed() -> None:
    wanted = row("Deployment", replicas=3)
    idle: Any = {**wanted.manifest, "spec": {"replicas": 0}}
    found = decide_stop(wanted, there(wanted, replicas=5), idle)
    assert found.obj is not None
    assert found.obj["spec"] == {"replicas": 0}


def test_what_is_there_or_runs_is_deleted_and_nothing_of_others_is() -> None:
    wanted = row("DaemonSet")
    assert decide_stop(wanted, there(wanted), {}).act == "delete"
    assert decide_stop(wanted, None, {}).act == "none"
    assert decide_stop(wanted, {"metadata": {"name": "a"}}, {}).act == "none"


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "Secret", "Namespace"])
def test_what_runs_nothing_and_would_be_lost_stays(kind: str) -> None:
    wanted = row(kind)
    found = decide_stop(wanted, there(wanted), {})
    assert (found.act, found.code) == ("none", LEASE_ENDED)
