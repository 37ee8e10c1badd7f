"""What a region does about a row, where it may run once alone and where something of its own is in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cloudcore.federation.lease import RegionLease
from cloudcore.federation.link import RegionMember
from cloudcore.federation.region_controller import DEFINITIONS, RegionController
from cloudcore.hub.lending import PodLending
from cloudcore.registry.admission import lease_mark
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import WriteOptions
from cloudcore.runtime.informer import Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from cloudcore.store.port import Change
from skerry.authz.attributes import Actor
from skerry.errors import ConflictError, ForbiddenError
from skerry.frozen import replace
from skerry.objects.endpoint_slices import SLICES
from skerry.objects.federation import MEMBER_OBJECTS, NAMESPACE, REGION_OBJECTS, ROW, Target, row_name
from skerry.objects.json import encode_object
from skerry.objects.meta import Key, Revision, Stamp, with_annotations
from skerry.objects.pod_leases import LEASE, UNTOLD, Question, untold_lease_s
from skerry.objects.strays import STRAY
from skerry.wire.frames import ObjectState
from tests.cloudcore.federation.test_lease import FakeMember
from tests.cloudcore.worlds import PlainRules, World, make_world

NAME = row_name("r", Target(api_version="apps/v1", kind="Deployment", namespace="d", name="a"))


class Stage:
    def __init__(self, world: World) -> None:
        self.world = world
        self.member = FakeMember(world)
        self.lease = RegionLease(world.tools, self.member, "a boot")
        self.told: list[Any] = []
        self.use(world.tools)
        self.revision = 0

    def use(self, tools: Tools) -> None:
        self.controller = RegionController(
            tools,
            in_touch=lambda: True,
            tell=lambda _, told: self.told.append(told),
            noticed=lambda: None,
            lease_left_s=self.lease.left_s,
            proven=lambda: self.lease.ago_s() is not None,
        )

    async def want(self, **spec: Any) -> None:
        """The newest form of the row."""
        self.revision += 1
        where = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "d", "name": "a"}
        source = {"resource": "x", "namespace": "d", "name": "a", "uid": "u"}
        wanted: Any = {"member": "r", "object": where, "source": source, "revision": self.revision, **spec}
        if self.revision == 1:
            await self.world.create(REGION_OBJECTS, {"metadata": {"name": NAME}, "spec": wanted})
        else:
            kind = self.world.kind(REGION_OBJECTS)
            await self.world.objects.update(kind, kind.key("", NAME), lambda obj: {**obj, "spec": wanted})

    async def settle(self) -> None:
        await self.world.settle(self.controller)

    async def look(self) -> float | None:
        return await self.controller.reconcile(self.world.kind(REGION_OBJECTS).key("", NAME))

    @property
    def replicas(self) -> int:
        return self.world.get("deployments.apps", "a")["spec"]["replicas"]

    @property
    def status(self) -> Any:
        return self.world.get(REGION_OBJECTS, NAME, "")["status"]


def deployment(**labels: str) -> Any:
    selected = {"app": "a", **labels}
    template = {"metadata": {"labels": selected}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "d"},
        "spec": {"replicas": 3, "selector": {"matchLabels": selected}, "template": template},
    }


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with make_world(lease_mark, real_rules=True) as world:
        for name in (NAMESPACE, "d"):
            await world.create("namespaces", {"metadata": {"name": name}})
        world.clock.advance(10_000)
        yield Stage(world)


async def test_the_first_lease_of_a_region_that_is_heard_stops_nothing(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment())
    await stage.settle()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    assert stage.replicas == 3
    assert "code" not in stage.status


async def test_what_has_a_lease_from_now_on_runs_until_it_was_lent_once(stage: Stage) -> None:
    await stage.want(manifest=deployment())
    await stage.settle()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    assert stage.replicas == 3
    assert stage.status["revision"] == 1, "the global cloud does not count on its end"
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.look()
    assert stage.status["revision"] == 2
    stage.world.clock.advance(60)
    await stage.look()
    assert stage.replicas == 0
    await stage.want(manifest=deployment(), leaseSeconds=70)
    stage.world.clock.advance(60)
    await stage.settle()
    assert stage.replicas == 0, "it had one before"


async def test_what_is_left_alone_on_purpose_is_not_tried_again_and_again(stage: Stage) -> None:
    await stage.world.create("deployments.apps", deployment(), "d")
    await stage.want(manifest=deployment(), adopt=False)
    assert (await stage.look() or 0) >= 10
    assert stage.status["code"] == "AlreadyExists"


async def a_pod(stage: Stage, name: str, node: str = "", **metadata: Any) -> Any:
    """Of the Deployment, made as its ReplicaSet's controller does."""
    owner = stage.world.get("deployments.apps", "a")
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "uid": owner["metadata"]["uid"]}
    labels, references = {"app": "a"}, [{**reference, "controller": True}]
    pod: Any = {
        "metadata": {"name": name, "namespace": "d", "labels": labels, "ownerReferences": references, **metadata},
        "spec": {"containers": [{"name": "c", "image": "i"}], **({"nodeName": node} if node else {})},
    }
    await stage.world.create("pods", pod)
    return stage.world.get("pods", name)["metadata"].get("annotations", {})


async def test_pods_of_what_is_lent_are_marked_as_they_are_made(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    assert (await a_pod(stage, "one", "gateway"))[LEASE] == NAME
    await stage.want(manifest=deployment())
    await stage.settle()
    assert LEASE not in stage.world.get("pods", "one")["metadata"].get("annotations", {})
    assert LEASE not in await a_pod(stage, "two", "gateway")


async def test_nobody_but_a_row_marks_a_pod(stage: Stage) -> None:
    await stage.want(manifest=deployment())
    await stage.settle()
    assert await a_pod(stage, "one", annotations={LEASE: NAME, "mine": "kept"}) == {"mine": "kept"}


async def test_a_pod_that_names_a_row_by_itself_is_not_lent_by_it(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    stray: Any = {"metadata": {"name": "stray", "namespace": "d", "annotations": {ROW: NAME}}}
    await stage.world.create("pods", {**stray, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert LEASE not in stage.world.get("pods", "stray")["metadata"]["annotations"]


USER = WriteOptions(actor=Actor(name="ada", groups=("system:masters",)))


@pytest.mark.parametrize("found", [{}, {LEASE: "another"}, {LEASE: NAME, UNTOLD: "60/x"}])
async def test_nobody_but_the_control_plane_changes_the_mark_of_a_pod(stage: Stage, found: dict[str, str]) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    await a_pod(stage, "one", "gateway")
    kind = stage.world.kind("pods")

    def changed(pod: Any) -> Any:
        return {**pod, "metadata": {**pod["metadata"], "annotations": found}}

    for subresource in ("", "status"):
        with pytest.raises(ForbiddenError, match=r"metadata\.annotations\[skerry\.dev/lease.*leave it"):
            await stage.world.objects.update(kind, kind.key("d", "one"), changed, USER, subresource=subresource)
    assert stage.world.get("pods", "one")["metadata"]["annotations"] == {LEASE: NAME}
    await stage.world.objects.update(
        kind, kind.key("d", "one"), lambda pod: with_annotations(pod, {"mine": "kept"}), USER
    )


async def test_nobody_but_the_control_plane_takes_its_row_from_what_is_lent(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    kind, key = stage.world.kind("deployments.apps"), stage.world.kind("deployments.apps").key("d", "a")

    def freed(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "annotations": {}}}

    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    with pytest.raises(ForbiddenError, match=r"federated-by.*control plane alone: leave it as it is"):
        await stage.world.objects.update(kind, key, freed, USER)
    await stage.want(manifest=deployment())
    await stage.settle()
    await stage.world.objects.update(kind, key, freed, USER)


async def test_a_lease_that_comes_late_is_told_when_gateways_go_by_it(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment())
    await stage.settle()
    await a_pod(stage, "one", "gateway")
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    pod = stage.world.get("pods", "one")["metadata"]
    assert pod["annotations"][LEASE] == NAME
    assert untold_lease_s(pod["annotations"][UNTOLD]) == 60
    await stage.look()
    assert stage.told[-1]["leasePending"], "the global cloud counts on no lease yet"
    lending = PodLending(stage.world.cache, stage.world.objects, stage.world.kind("pods"), stage.world.clock)
    assert await lending.left_ms("gateway", Question(pods=())) == {}
    await stage.look()
    assert stage.told[-1]["leasePending"], "the gateway did not name it"
    untold = {pod["uid"]: pod["annotations"][UNTOLD]}
    await lending.left_ms("gateway", Question(pods=(pod["uid"],), untold=untold))
    await stage.settle()
    assert stage.status["revision"] == 2
    assert "leasePending" not in stage.told[-1]


async def test_a_lease_that_is_made_shorter_before_it_counts_is_asked_for_anew(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment())
    await stage.settle()
    await a_pod(stage, "one", "gateway")
    await stage.want(manifest=deployment(), leaseSeconds=3600)
    await stage.settle()
    pod = stage.world.get("pods", "one")["metadata"]
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    lending = PodLending(stage.world.cache, stage.world.objects, stage.world.kind("pods"), stage.world.clock)
    untold = {pod["uid"]: pod["annotations"][UNTOLD]}
    await lending.left_ms("gateway", Question(pods=(pod["uid"],), untold=untold))
    now = stage.world.get("pods", "one")["metadata"]["annotations"]
    assert untold_lease_s(now[UNTOLD]) == 60, "who goes by an hour is not one of whom a minute is told"


async def test_what_is_wanted_is_applied_and_told_while_its_lease_does_not_count(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment())
    await stage.settle()
    await a_pod(stage, "one", "gateway")
    labelled = deployment()
    labelled["metadata"]["labels"] = {"mine": "soon dropped"}
    await stage.want(manifest=labelled, leaseSeconds=60)
    await stage.settle()
    assert (stage.told[-1]["revision"], stage.told[-1]["leasePending"]) == (2, True)
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    assert (stage.told[-1]["revision"], stage.told[-1]["leasePending"]) == (3, True)
    assert "labels" not in stage.world.get("deployments.apps", "a")["metadata"]


async def test_a_shorter_lease_that_ends_meanwhile_is_not_told_to_count(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=3600)
    await stage.settle()
    await stage.want(manifest=deployment(), leaseSeconds=30)
    await stage.settle()
    stage.world.clock.advance(31)
    await stage.look()
    assert stage.replicas == 0
    assert stage.told[-1]["code"] == "LeaseEnded"
    assert stage.told[-1]["leasePending"]
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.look()
    assert stage.told[-1]["leasePending"], "a gateway that is cut off may go by the longer one"
    await stage.want(remove="Delete", leaseSeconds=30)
    await stage.settle()
    assert stage.told[-1]["leasePending"], "nor is it told with a tombstone"


async def test_a_region_that_does_not_know_whether_it_is_lent_keeps_what_runs_and_begins_nothing(
    stage: Stage,
) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    stage.member.answered_s = None
    stage.lease.remember()
    await stage.look()
    assert stage.replicas == 3
    stage.world.clock.advance(10)
    await stage.look()
    assert stage.replicas == 0
    stage.lease.remember()  # another one leads
    await stage.look()
    assert stage.replicas == 0
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.look()
    assert stage.replicas == 3


async def test_it_is_gone_when_its_pods_are_whoever_deleted_it(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    await a_pod(stage, "one", "gateway")
    await stage.world.delete("deployments.apps", "a")
    await stage.want(remove="Delete", leaseSeconds=60)
    await stage.settle()
    assert stage.told[-1]["code"] == "WaitingForRemoval"
    assert "removed" not in stage.told[-1]
    await stage.world.delete("pods", "one", grace_s=0)
    await stage.settle()
    assert stage.told[-1]["removed"]


async def test_what_may_run_once_alone_is_made_anew_when_its_pods_are_gone(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    await stage.want(manifest=deployment(tier="other"), leaseSeconds=60, recreate=True)
    await stage.settle()
    assert stage.world.get("deployments.apps", "a")["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_a_shorter_lease_is_told_when_the_longer_one_is_over(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=600)
    await stage.settle()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    assert stage.status["leaseSeconds"] == 600, "a gateway that is cut off may go by it yet"
    stage.world.clock.advance(600)
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.look()
    assert stage.status["leaseSeconds"] == 60
    assert "leasePending" not in stage.told[-1]


async def test_what_is_no_member_of_a_federation_any_more_runs_on(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    assert (await a_pod(stage, "one", "gateway"))[LEASE] == NAME
    await stage.world.delete(REGION_OBJECTS, NAME, "")
    await stage.settle()
    assert LEASE not in stage.world.get("pods", "one")["metadata"].get("annotations", {})


async def test_what_cannot_be_applied_is_looked_at_when_its_lease_ends(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    await stage.want(manifest=deployment(other="selector"), leaseSeconds=60)
    await stage.settle()
    stage.world.clock.advance(58)
    assert await stage.look() == pytest.approx(2.0)
    assert stage.status["code"] == "UpdateFailed"


async def test_an_object_of_the_regions_own_is_never_made_anew(stage: Stage) -> None:
    await stage.world.create("deployments.apps", deployment(tier="theirs"))
    uid = stage.world.get("deployments.apps", "a")["metadata"]["uid"]
    await stage.want(manifest=deployment(tier="ours"), recreate=True)
    with pytest.raises(UnfinishedError):
        await stage.look()
    assert stage.world.get("deployments.apps", "a")["metadata"]["uid"] == uid
    assert ROW not in stage.world.get("deployments.apps", "a")["metadata"].get("annotations", {})


async def test_what_may_run_once_alone_is_gone_when_its_pods_are(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    await stage.want(remove="Delete", leaseSeconds=60)
    await stage.settle()
    assert stage.world.get("deployments.apps", "a")["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert "removed" not in stage.status


async def test_a_service_is_told_with_whether_anybody_is_ready_behind_it(stage: Stage) -> None:
    name = row_name("r", Target(api_version="v1", kind="Service", namespace="d", name="web"))
    where = {"apiVersion": "v1", "kind": "Service", "namespace": "d", "name": "web"}
    spec: Any = {"member": "r", "object": where, "source": {"name": "web"}, "revision": 1}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "d"}}
    spec["manifest"] = {**service, "spec": {"ports": [{"port": 80}], "selector": {"app": "a"}}}
    await stage.world.create(REGION_OBJECTS, {"metadata": {"name": name}, "spec": spec})
    await stage.settle()
    assert stage.world.get(REGION_OBJECTS, name, "")["status"]["backed"] is False
    labels = {"kubernetes.io/service-name": "web"}
    rows = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
    body = {"metadata": {"name": "web-1", "labels": labels}, "addressType": "IPv4", "endpoints": rows}
    await stage.world.create(SLICES, body)
    await stage.settle()
    assert stage.world.get(REGION_OBJECTS, name, "")["status"]["backed"] is True
    await stage.world.delete(SLICES, "web-1")
    await stage.settle()
    assert stage.world.get(REGION_OBJECTS, name, "")["status"]["backed"] is False


async def test_it_is_news_where_nodes_are_and_not_how_they_are(stage: Stage) -> None:
    news: list[str] = []
    controller = RegionController(
        stage.world.tools,
        in_touch=lambda: True,
        tell=lambda *_: None,
        noticed=lambda: news.append("moved"),
        lease_left_s=stage.lease.left_s,
        proven=lambda: True,
    )
    await stage.world.settle(controller)
    news.clear()
    await stage.world.create("nodes", {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "eu-1"}}})
    await stage.world.settle(controller)
    assert news == ["moved"]
    await stage.world.set_status("nodes", "n1", conditions=[{"type": "Ready", "status": "True"}])
    await stage.world.settle(controller)
    assert news == ["moved"]


async def test_what_was_lent_and_strays_is_stopped_and_lent_to_no_gateway(stage: Stage) -> None:
    """A region that was set back to a time in which it had it: by now another has."""
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    assert (await a_pod(stage, "one", "gateway"))[LEASE] == NAME
    lending = PodLending(stage.world.cache, stage.world.objects, stage.world.kind("pods"), stage.world.clock)
    question = Question(pods=(stage.world.get("pods", "one")["metadata"]["uid"],))
    found: list[dict[str, int]] = []

    async def ask() -> None:
        found.append(await lending.left_ms("gateway", question))

    await lending.while_leading(lambda: 1.0, ask())
    assert [*found.pop().values()] == [59_000]
    rows, told = stage.world.kind(REGION_OBJECTS), len(stage.told)
    await stage.world.objects.update(rows, rows.key("", NAME), lambda obj: with_annotations(obj, {STRAY: "e"}))
    await lending.while_leading(lambda: 1.0, ask())
    assert found == [{}]
    await stage.look()
    assert stage.replicas == 0
    assert LEASE in stage.world.get("pods", "one")["metadata"]["annotations"]
    assert len(stage.told) == told, "there is no row to be told of"


async def strays_after(stage: Stage, how: str) -> None:
    """What is lent loses its row by a tombstone: one of before it, or one that was not carried out yet."""
    link = RegionMember(stage.world.tools, lambda _: {})
    where = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "d", "name": "a"}
    spec: Any = {"member": "r", "object": where, "source": {}, "remove": "Delete"}
    spec |= {"revision": 9, "leaseSeconds": 60} if how == "let go" else {"revision": 5}
    key = Key(MEMBER_OBJECTS, "", NAME)
    await link.hold(ObjectState(key=key, stamp=Stamp("u", Revision(1)), body=encode_object({"spec": spec})))
    if how != "outlived":
        await link.let_go(key)


@pytest.mark.parametrize("how", ["outlived", "outlived and let go", "let go"])
async def test_what_was_lent_is_stopped_where_it_strays_after_a_tombstone(stage: Stage, how: str) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    stage.revision = 6
    await stage.world.create(REGION_OBJECTS, {"metadata": {"name": NAME}, "spec": {"revision": 6}})
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    ran = stage.world.get("deployments.apps", "a")["spec"]
    assert ran["replicas"] == 3
    await strays_after(stage, how)
    for _ in range(2):
        await stage.look()
        assert stage.world.get("deployments.apps", "a")["spec"] == {**ran, "replicas": 0}
        assert stage.status["code"] == "LeaseEnded"
    await stage.want(manifest=deployment(), leaseSeconds=60)
    rows = stage.world.kind(REGION_OBJECTS)
    await stage.world.objects.update(rows, rows.key("", NAME), lambda obj: {**obj, "metadata": {"name": NAME}})
    await stage.look()
    assert stage.replicas == 3, "it is lent again"


class BeforePodsAreFreed(LocalObjects):
    """Somebody else's write comes in between."""

    act: Callable[[], Awaitable[None]]

    async def update(self, *given: Any, **named: Any) -> Any:
        if given[0].resource == "pods":
            await self.act()
        return await super().update(*given, **named)


async def test_a_row_that_comes_while_what_it_put_there_is_found_gone_is_kept(stage: Stage) -> None:
    stage.member.answered_s = stage.world.clock.monotonic_s()
    await stage.want(manifest=deployment(), leaseSeconds=60)
    await stage.settle()
    link = RegionMember(stage.world.tools, lambda _: {})
    body = encode_object({"spec": stage.world.get(REGION_OBJECTS, NAME, "")["spec"]})
    put = ObjectState(key=Key(MEMBER_OBJECTS, "", NAME), stamp=Stamp("u", Revision(2)), body=body)
    world = stage.world
    between = BeforePodsAreFreed(
        store=world.store,
        cache=world.cache,
        rules=PlainRules(),
        clock=world.clock,
        ids=world.ids,
        act=lambda: link.hold(put),
    )
    stage.use(replace(world.tools, objects=between))
    await a_pod(stage, "one", "gateway")
    await stage.settle()
    rows = stage.world.kind(REGION_OBJECTS)
    await stage.world.objects.update(rows, rows.key("", NAME), lambda obj: with_annotations(obj, {STRAY: "e"}))
    await stage.world.delete("deployments.apps", "a")
    with pytest.raises(ConflictError):
        await stage.look()
    await stage.look()
    assert stage.replicas == 3, "it is decided anew, as it is wanted"


async def test_what_nobody_served_is_tried_when_a_kind_of_that_name_is_defined(stage: Stage) -> None:
    widget = {"apiVersion": "acme.dev/v1", "kind": "Widget", "namespace": "d", "name": "a"}
    for name, where in ((NAME, widget), ("r.other", {**widget, "kind": "Gadget"})):
        spec: Any = {"member": "r", "object": where, "revision": 1, "manifest": {}}
        await stage.world.create(REGION_OBJECTS, {"metadata": {"name": name}, "spec": spec})
    with pytest.raises(UnfinishedError, match="Widget is not served here"):
        await stage.look()
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    definition = await stage.world.create(
        DEFINITIONS,
        {
            "metadata": {"name": "widgets.acme.dev"},
            "spec": {"group": "acme.dev", "scope": "Namespaced", "names": names, "versions": [version]},
        },
    )
    (watched,) = stage.controller.watches()
    key = stage.world.kind(DEFINITIONS).key("", "widgets.acme.dev")
    change = Change(key=key, revision=Revision(1), before=None, after=encode_object(definition), uid="u")
    seen = Seen(change)
    assert [each.name for each in watched.keys(seen)] == [NAME]


async def test_what_somebody_deleted_while_cut_off_is_made_again_and_told(stage: Stage) -> None:
    in_touch = True
    controller = RegionController(
        stage.world.tools,
        in_touch=lambda: in_touch,
        tell=lambda _, told: stage.told.append(told),
        noticed=lambda: None,
        lease_left_s=lambda _: 1.0,
        proven=lambda: True,
    )
    stage.controller = controller
    await stage.want(manifest=deployment())
    await stage.settle()
    in_touch = False
    await stage.world.delete("deployments.apps", "a")
    assert await stage.look() is not None, "it is looked at again"
    assert stage.world.get("deployments.apps", "a") is None
    assert stage.status["drift"][0]["outcome"] == "Kept"
    in_touch = True
    await stage.look()
    assert stage.replicas == 3
    assert [each["outcome"] for each in stage.status["drift"]] == ["Reverted"]
    assert len(stage.world.events("DriftReverted")) == 1


async def test_what_is_to_go_is_found_under_another_version_where_its_own_is_served_no_more(stage: Stage) -> None:
    await stage.want(manifest=deployment())
    await stage.settle()
    old = {"apiVersion": "apps/v1beta2", "kind": "Deployment", "namespace": "d", "name": "a"}
    await stage.want(object=old, remove="Delete")
    await stage.settle()
    assert stage.status["removed"] is True
    assert stage.world.objects.read(stage.world.kind("deployments.apps").key("d", "a")) is None
