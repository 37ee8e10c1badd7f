"""A global cloud and a region that is cut off at random, edited, and healed: no leaks, and nothing goes by silence.

Both sides run their real controllers on stores in memory; rows and reports are carried by hand where the link is up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.controller import FederationController
from cloudcore.federation.link import RegionMember
from cloudcore.federation.region_controller import RegionController
from cloudcore.federation.type_controller import FederatedTypeController
from cloudcore.hub.regions import MemberView, RegionKinds, RegionReporter
from skerry.objects.federation import IMMUTABLE, MANAGED, MEMBER_OBJECTS, MEMBERS, NAMESPACE, REGION_OBJECTS, TYPES
from skerry.objects.meta import uid_of
from skerry.sync.effects import DatedReport
from skerry.wire.frames import Report
from tests.cloudcore.federation.test_types import config
from tests.cloudcore.worlds import World, make_world

FEDERATED = "federatedconfigmaps.types.kubefed.io"
SEEDS = 200
STEPS = 12


class Two:
    def __init__(self, world: World, region: World) -> None:
        self.world = world
        self.region = region
        self.up = True
        self.lent_s = 0.0
        self.restart()
        self.plans = FederationController(world.tools)
        self.kinds = RegionKinds(member=world.kind(MEMBERS), row=world.kind(MEMBER_OBJECTS))

    def restart(self) -> None:
        """The region's cloud ends, and begins anew with what is in its store."""
        self.member = RegionMember(self.region.tools, lambda _: {})
        self.applies = RegionController(
            self.region.tools,
            in_touch=lambda: self.up,
            tell=self.member.tell,
            noticed=self.member.notice,
            lease_left_s=lambda lease_s: self.lent_s + lease_s - self.region.clock.monotonic_s(),
            proven=lambda: True,
        )

    async def begin(self) -> None:
        await self.world.create("namespaces", {"metadata": {"name": NAMESPACE}})
        for name in ("configmaps", "namespaces"):
            kind = {"configmaps": "ConfigMap", "namespaces": "Namespace"}[name]
            made = config(name, kind)
            if name == "namespaces":
                made["spec"]["targetType"]["scope"] = "Cluster"
            await self.world.create(TYPES, made, NAMESPACE)
        await self.world.create(MEMBERS, {"metadata": {"name": "r"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
        types = FederatedTypeController(self.world.tools)
        await self.world.settle(types, DefinitionController(self.world.tools, self.world.custom))
        namespace = {"metadata": {"name": "d"}, "spec": {"placement": {"clusterSelector": {}}}}
        await self.world.create("federatednamespaces.types.kubefed.io", namespace)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(4):
            await self.world.settle(self.plans)
            if self.up:
                await self.carry()
            await self.region.settle(self.applies)
            if self.up:
                await self.report()

    async def carry(self, *, wiped: bool = False) -> None:
        view = MemberView(self.world.cache, "r")
        wanted = {} if wiped else dict(view.stamps())
        held = self.member.stamps()
        for key, stamp in wanted.items():
            if held.get(key) != stamp:
                assert key not in held or held[key].revision < stamp.revision, "stamps never go back"
                state = view.state(key)
                assert state is not None
                await self.member.hold(state)
        for key in held.keys() - wanted.keys():
            await self.member.let_go(key)

    async def report(self) -> None:
        reporter = RegionReporter(member="r", kinds=self.kinds, cache=self.world.cache)
        for item in self.member.outbox.outbox(after=self.member.outbox.outbox_left(), limit=10_000):
            self.member.outbox.note_sent(item.seq)
            report = Report(seq=item.seq, kind=item.kind, key=item.key, body=item.body, wall_ms=0, age_ms=0)
            for effect in reporter.outcome(DatedReport(report=report, at_ms=self.world.clock.wall_ms())).effects:
                stored = self.world.objects.read(effect.key)
                if stored is not None and uid_of(self.world.cache.obj(stored)) == effect.uid:
                    await self.world.objects.update(effect.kind, effect.key, effect.transform, subresource="status")

    def there(self) -> dict[str, Any]:
        return {
            each["metadata"]["name"]: each["data"]
            for each in self.region.all("configmaps")
            if each["metadata"].get("labels", {}).get(MANAGED)
        }


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def two(stack: AsyncExitStack) -> Two:
    world = await stack.enter_async_context(make_world(real_rules=True))
    region = await stack.enter_async_context(make_world(real_rules=True))
    made = Two(world, region)
    await made.begin()
    return made


def federated(name: str, value: int, *, here: bool) -> Any:
    clusters = [{"name": "r"}] if here else []
    spec = {"template": {"data": {"v": str(value)}}, "placement": {"clusters": clusters}}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_region_converges_after_every_partition(stack: AsyncExitStack, seed: int) -> None:
    chance, pair = Random(seed), await two(stack)
    wanted: dict[str, tuple[int, bool]] = {}
    for step in range(STEPS):
        before = pair.there()
        name = chance.choice("abc")
        match chance.choice(["write", "write", "delete", "cut", "heal", "edit"]):
            case "write":
                here = chance.random() < 0.7
                made = federated(name, step, here=here)
                if name in wanted:
                    await pair.world.update(FEDERATED, name, lambda obj, new=made: {**obj, "spec": new["spec"]})
                else:
                    await pair.world.create(FEDERATED, made)
                wanted[name] = (step, here)
            case "delete":
                if wanted.pop(name, None):
                    await pair.world.delete(FEDERATED, name)
                    assert pair.world.get(FEDERATED, name) is None, "at once"
            case "cut":
                pair.up = False
            case "heal":
                pair.up = True
            case _:
                if name in before:
                    await pair.region.update("configmaps", name, lambda obj: {**obj, "data": {"v": "mine"}})
        await pair.settle()
        if not pair.up:
            assert pair.there().keys() == before.keys(), "silence removes nothing"
    pair.up = True
    await pair.settle()
    for stored in pair.region.cache.select(REGION_OBJECTS):
        await pair.applies.reconcile(stored.key)  # as it does some seconds after, where something drifted
    await pair.settle()
    assert pair.there() == {name: {"v": str(value)} for name, (value, here) in wanted.items() if here}
    left = [each for each in pair.world.all(MEMBER_OBJECTS) if each["spec"].get("remove")]
    assert left == [], "every tombstone is carried out"


async def test_a_global_cloud_that_lost_its_data_removes_nothing(stack: AsyncExitStack) -> None:
    pair = await two(stack)
    await pair.world.create(FEDERATED, federated("a", 1, here=True))
    await pair.settle()
    assert pair.there() == {"a": {"v": "1"}}
    await pair.carry(wiped=True)
    await pair.region.settle(pair.applies)
    assert pair.there() == {"a": {"v": "1"}}


async def test_one_members_fault_is_its_own(stack: AsyncExitStack) -> None:
    pair = await two(stack)
    await pair.world.create(MEMBERS, {"metadata": {"name": "s"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
    made = federated("a", 1, here=True)
    made["spec"]["placement"] = {"clusterSelector": {}}
    bad = {"op": "replace", "path": "/data/none/below", "value": 1}
    made["spec"]["overrides"] = [{"clusterName": "s", "clusterOverrides": [bad]}]
    await pair.world.create(FEDERATED, made)
    await pair.settle()
    assert pair.there() == {"a": {"v": "1"}}
    status = {each["name"]: each for each in pair.world.get(FEDERATED, "a")["status"]["clusters"]}
    assert status["s"]["status"] == "ApplyOverridesFailed"
    assert "/data/none/below" in status["s"]["message"]


async def test_what_was_deleted_while_its_type_was_disabled_is_cleaned_up_later(
    stack: AsyncExitStack,
) -> None:
    pair = await two(stack)
    await pair.world.create(FEDERATED, federated("a", 1, here=True))
    await pair.settle()

    async def propagation(word: str) -> None:
        key = pair.world.kind(TYPES).key(NAMESPACE, "configmaps")

        def changed(obj: Any) -> Any:
            return {**obj, "spec": {**obj["spec"], "propagation": word}}

        await pair.world.objects.update(pair.world.kind(TYPES), key, changed)

    await propagation("Disabled")
    await pair.settle()
    await pair.world.delete(FEDERATED, "a")
    await pair.settle()
    assert pair.there() == {"a": {"v": "1"}}, "nothing is carried out meanwhile"
    await propagation("Enabled")
    await pair.settle()
    assert pair.there() == {}


@pytest.mark.parametrize("anew", [True, False])
async def test_what_a_region_cannot_change_is_made_anew_where_that_is_wanted(
    stack: AsyncExitStack, anew: bool
) -> None:
    pair = await two(stack)
    made = federated("a", 1, here=True)
    made["spec"]["template"]["immutable"] = True
    made["metadata"]["annotations"] = {IMMUTABLE: "Recreate" if anew else "Fail"}
    await pair.world.create(FEDERATED, made)
    await pair.settle()

    def changed(obj: Any) -> Any:
        template = {**obj["spec"]["template"], "data": {"v": "2"}}
        return {**obj, "spec": {**obj["spec"], "template": template}}

    await pair.world.update(FEDERATED, "a", changed)
    await pair.settle()
    assert pair.there() == {"a": {"v": "2" if anew else "1"}}
    codes = {each["status"].get("code", "") for each in pair.world.all(MEMBER_OBJECTS)}
    assert codes == ({""} if anew else {"", "UpdateFailed"})
