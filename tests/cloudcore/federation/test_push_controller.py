"""Members that are dialled: each row by itself, whatever the others come to."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.federation.cluster_api import Access, Place
from cloudcore.federation.push_controller import PushController
from cloudcore.registry.port import DeleteOptions
from skerry.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnansweredError,
    UnavailableError,
)
from skerry.objects.federation import (
    CONFIGS,
    MANAGED,
    MEMBER_OBJECTS,
    MEMBERS,
    MEMBERSHIP_ID,
    NAMESPACE,
    ROW,
    Deletion,
    Target,
    row_name,
)
from skerry.objects.meta import Key
from tests.cloudcore.worlds import World, make_world


class FakeApi:
    """A member in memory, which refuses what it is told to."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.faults: dict[str, Exception] = {}
        """By name of an object; "" for all."""
        self.once: dict[str, Exception] = {}
        """The same, at the next try alone."""
        self.unserved = False
        self.asked: list[str] = []
        self.deletions: list[tuple[str, Deletion]] = []
        self.versions: int | None = None
        """How often it is still there; None: always."""
        self.ready: bool | None = None
        """Whether its Services have ready endpoints."""

    def __call__(self, _access: Access) -> FakeApi:
        return self

    async def __aenter__(self) -> FakeApi:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    def _check(self, name: str) -> None:
        if fault := self.once.pop(name, None) or self.faults.get(name, self.faults.get("")):
            raise fault

    async def version(self) -> str:
        if self.versions is not None:
            self.versions -= 1
            if self.versions < 0:
                raise UnansweredError("no route")
        return "v1.36.0"

    async def labelled(self, api_version: str, kind: str, selector: str) -> list[Any]:
        return []

    async def unlabel(self, target: Target, obj: Any, label: str) -> None:
        raise AssertionError(target)

    async def path_of(self, target: Target, *, any_version: bool = False) -> str:
        if self.unserved:
            raise NotFoundError("no such kind")
        return f"/{target.namespace}"

    async def read(self, path: str, name: str) -> Any:
        self.asked.append(name)
        self._check(name)
        return self.held.get(name)

    async def backed(self, namespace: str, service: str) -> bool | None:
        return self.ready

    async def place(self) -> Place | None:
        self.asked.append("place")
        return Place(region="eu", zones=("eu-1", "eu-2"))

    async def create(self, path: str, obj: Any, *, dry_run: bool = False) -> Any:
        if dry_run:
            self._check("trial")
            return obj
        self.held[obj["metadata"]["name"]] = obj
        return obj

    async def replace(self, path: str, name: str, obj: Any) -> Any:
        self._check(f"change of {name}")
        self.held[name] = obj
        return obj

    async def delete(self, path: str, name: str, uid: str, how: Deletion) -> None:
        self.deletions.append((name, how))
        if self.held.pop(name, None) is None:
            raise NotFoundError(name)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        await made.create("namespaces", {"metadata": {"name": NAMESPACE}})
        token = base64.b64encode(b"t").decode()
        await made.create("secrets", {"metadata": {"name": "far"}, "data": {"token": token}}, NAMESPACE)
        spec = {"apiEndpoint": "https://far:6443", "secretRef": {"name": "far"}}
        await made.create(MEMBERS, {"metadata": {"name": "far"}, "spec": spec}, NAMESPACE)
        yield made


async def row(world: World, name: str, revision: int = 1, **more: Any) -> str:
    target = Target(api_version="v1", kind="ConfigMap", namespace="d", name=name)
    spec = {
        "member": "far",
        "object": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "d", "name": name},
        "source": {"resource": "federatedconfigmaps.types.kubefed.io", "namespace": "d", "name": name, "uid": "u"},
        "revision": revision,
        "manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "d"}},
        **more,
    }
    made = row_name("far", target)
    await world.create(MEMBER_OBJECTS, {"metadata": {"name": made}, "spec": spec})
    return made


def status(world: World, name: str) -> Any:
    return world.get(MEMBER_OBJECTS, name).get("status", {})


async def look(world: World, controller: PushController) -> None:
    await controller.reconcile(Key(MEMBERS, NAMESPACE, "far"))


@pytest.mark.parametrize(
    "fault", [ForbiddenError("no"), UnavailableError("HTTP 500"), UnansweredError("slow"), ValueError("bad name")]
)
async def test_a_bad_row_keeps_none_behind_it_waiting(world: World, fault: Exception) -> None:
    api = FakeApi()
    names = [await row(world, f"m{number:02}") for number in range(20)]
    api.faults = {f"m{number:02}": fault for number in range(0, 20, 2)}
    await look(world, PushController(world.tools, api))
    assert sorted(api.held) == [f"m{number:02}" for number in range(1, 20, 2)]
    told = [status(world, name) for name in names]
    assert [each.get("code", "") for each in told] == ["RetrievalFailed", ""] * 10
    assert told[0]["message"] == str(fault)


async def test_a_bad_row_waits_ever_longer_by_itself(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    await row(world, "bad")
    api.faults = {"bad": ForbiddenError("no")}
    for _ in range(12):
        await look(world, controller)
        world.clock.advance(10)
    assert api.asked.count("bad") == 4, "after 0, 10, 30 and 70 seconds"
    api.faults = {}
    world.clock.advance(300)
    await look(world, controller)
    assert "bad" in api.held


async def test_a_member_that_is_gone_ends_the_pass_and_no_row_is_to_blame(world: World) -> None:
    api = FakeApi()
    names = [await row(world, f"m{number:02}") for number in range(40)]
    api.faults, api.versions = {"": UnansweredError("no route")}, 1
    controller = PushController(world.tools, api)
    await look(world, controller)
    assert len(api.asked) <= 8
    assert all(not status(world, name) for name in names)


async def test_what_is_the_members_own_is_never_made_anew(world: World) -> None:
    api = FakeApi()
    api.held["a"] = {"metadata": {"name": "a", "uid": "u1"}, "data": {"k": "old"}}
    api.faults = {"change of a": InvalidError("spec.selector: field is immutable")}
    name = await row(world, "a", recreate=True)
    await look(world, PushController(world.tools, api))
    assert "a" in api.held
    assert status(world, name)["code"] == "UpdateFailed"


@pytest.mark.parametrize("taken", [True, False])
async def test_what_cannot_be_changed_is_made_anew_where_that_is_wanted_and_would_be_taken(
    world: World, taken: bool
) -> None:
    api = FakeApi()
    old: Any = {"metadata": {"name": "a", "uid": "u1"}, "data": {"k": "old"}}
    api.held["a"] = old
    api.faults = {"change of a": InvalidError("spec.selector: field is immutable")}
    if not taken:
        api.faults["trial"] = InvalidError("spec.image: Required value")
    controller = PushController(world.tools, api)
    name = await row(world, "a", recreate=True)
    old["metadata"]["annotations"] = {ROW: name}
    await look(world, controller)
    assert ("a" in api.held) is not taken, "it is not deleted for what would be refused"
    told = status(world, name)
    assert (told["code"], "field is immutable" in told["message"]) == ("UpdateFailed", True)
    world.clock.advance(60)
    await look(world, controller)
    if taken:
        assert api.held["a"] != old
        assert "code" not in status(world, name)


async def test_a_tombstone_is_carried_out_as_the_federated_objects_annotation_says(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    name = await row(world, "m")
    await look(world, controller)
    assert status(world, name)["version"] == "rv:"
    how = {"propagationPolicy": "Orphan", "gracePeriodSeconds": 0}
    await world.set_spec(MEMBER_OBJECTS, name, remove="Delete", revision=2, **how)
    await look(world, controller)
    assert api.deletions == [("m", Deletion(propagation="Orphan", grace_s=0))]
    assert "version" not in status(world, name)


@pytest.mark.parametrize("own", [True, False])
async def test_a_namespace_of_this_cloud_itself_is_let_go_of_and_not_deleted(world: World, own: bool) -> None:
    api = FakeApi()
    made = await world.create("namespaces", {"metadata": {"name": "shop"}})
    target = Target(api_version="v1", kind="Namespace", namespace="", name="shop")
    name = row_name("far", target)
    spec = {
        "member": "far",
        "object": {"apiVersion": "v1", "kind": "Namespace", "namespace": "", "name": "shop"},
        "source": {"resource": "federatednamespaces.types.kubefed.io", "namespace": "shop", "name": "shop"},
        "revision": 2,
        "remove": "Delete",
    }
    await world.create(MEMBER_OBJECTS, {"metadata": {"name": name}, "spec": spec})
    uid = made["metadata"]["uid"] if own else "another"
    metadata = {"name": "shop", "uid": uid, "annotations": {ROW: name}, "labels": {MANAGED: "true"}}
    api.held["shop"] = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    await look(world, PushController(world.tools, api))
    assert status(world, name)["removed"] is True
    if own:
        assert api.held["shop"]["metadata"] == {"name": "shop", "uid": uid}
    else:
        assert "shop" not in api.held


async def test_it_is_said_where_a_member_is_and_whether_its_services_are_backed(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    api.ready = True
    target = Target(api_version="v1", kind="Service", namespace="d", name="web")
    where = {"apiVersion": "v1", "kind": "Service", "namespace": "d", "name": "web"}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "d"}}
    name = row_name("far", target)
    spec = {"member": "far", "object": where, "source": {"name": "web"}, "revision": 1, "manifest": manifest}
    await world.create(MEMBER_OBJECTS, {"metadata": {"name": name}, "spec": spec})
    await look(world, controller)
    told = world.get(MEMBERS, "far", NAMESPACE)["status"]
    assert (told["region"], told["zones"]) == ("eu", ["eu-1", "eu-2"])
    assert status(world, name)["backed"] is True
    await look(world, controller)
    assert api.asked.count("place") == 1, "once in a while"


async def test_a_member_is_looked_at_when_its_secret_is_another(world: World) -> None:
    controller = PushController(world.tools, FakeApi())
    await world.settle(controller)
    assert ready(world) == "True"
    await world.objects.delete(world.kind("secrets"), world.kind("secrets").key(NAMESPACE, "far"), DeleteOptions())
    await world.settle(controller)
    assert ready(world) == "False"


def ready(world: World) -> str:
    conditions = world.get(MEMBERS, "far", NAMESPACE)["status"]["conditions"]
    return next(each["status"] for each in conditions if each["type"] == "Ready")


async def test_a_kind_that_comes_is_found_at_the_next_pass(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    name = await row(world, "a")
    api.unserved = True
    for _ in range(6):
        await look(world, controller)
        world.clock.advance(10)
    assert status(world, name)["code"] == "CreationFailed"
    api.unserved = False
    await look(world, controller)
    assert "a" in api.held


async def test_two_members_that_are_one_cluster_do_not_take_an_object_from_each_other(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    spec = {"member": "other", "revision": 1, "object": {"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}}
    await world.create(MEMBER_OBJECTS, {"metadata": {"name": "other.a"}, "spec": spec})
    api.held["a"] = {"metadata": {"name": "a", "uid": "u", "annotations": {ROW: "other.a"}}, "data": {"x": "y"}}
    name = await row(world, "a")
    await look(world, controller)
    assert (status(world, name)["code"], "other" in status(world, name)["message"]) == ("AlreadyExists", True)
    assert api.held["a"]["metadata"]["annotations"] == {ROW: "other.a"}
    await world.delete(MEMBER_OBJECTS, "other.a")
    world.clock.advance(10)
    await look(world, controller)
    assert api.held["a"]["metadata"]["annotations"] == {ROW: name}, "who was a member takes it along no more"


async def test_somebody_who_writes_in_between_is_no_fault(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    api.held["a"] = {"metadata": {"name": "a", "uid": "u"}, "data": {"x": "y"}}
    api.once["change of a"] = ConflictError("the object has been modified")
    name = await row(world, "a")
    await look(world, controller)
    assert "code" not in status(world, name)


async def test_rows_of_an_earlier_membership_are_not_carried_out(world: World) -> None:
    api = FakeApi()
    name = await row(world, "a", remove="Delete")

    def of_another(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "annotations": {MEMBERSHIP_ID: "another/"}}}

    await world.update(MEMBER_OBJECTS, name, of_another)
    api.held["a"] = {"metadata": {"name": "a", "uid": "u", "annotations": {ROW: name}}}
    await look(world, PushController(world.tools, api))
    assert "a" in api.held


async def test_a_member_counts_as_gone_and_as_back_when_the_config_of_the_federation_says_so(world: World) -> None:
    health = {"period": "2s", "failureThreshold": 2, "successThreshold": 3}
    config = {"metadata": {"name": "kubefed"}, "spec": {"scope": "Cluster", "clusterHealthCheck": health}}
    await world.create(CONFIGS, config, NAMESPACE)
    api = FakeApi()
    controller = PushController(world.tools, api)

    async def looks(count: int) -> list[str]:
        found: list[str] = []
        for _ in range(count):
            assert await controller.reconcile(Key(MEMBERS, NAMESPACE, "far")) == 2.0
            conditions = world.get(MEMBERS, "far", NAMESPACE)["status"]["conditions"]
            found += [each["status"] for each in conditions if each["type"] == "Ready"]
        return found

    assert await looks(1) == ["True"], "the first look of all is told at once"
    api.versions = 0
    assert await looks(3) == ["True", "False", "False"]
    api.versions = None
    assert await looks(3) == ["False", "False", "True"]


async def test_what_follows_of_a_change_is_told_soon(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    name = await row(world, "a")
    await look(world, controller)
    for ready in (1, 2, 3):
        api.held["a"]["status"] = {"ready": ready}
        world.clock.advance(10)
        await look(world, controller)
        assert status(world, name)["remote"] == {"ready": ready}
    asked = len(api.asked)
    for _ in range(30):
        world.clock.advance(10)
        await look(world, controller)
    assert api.asked[asked:].count("a") <= 8, "and then seldom, as nothing happens"


async def test_what_somebody_changed_and_is_kept_is_told_once(world: World) -> None:
    api = FakeApi()
    controller = PushController(world.tools, api)
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "d"},
        "data": {"k": "1"},
    }
    name = await row(world, "a", manifest=manifest, drift="Keep")
    await look(world, controller)
    api.held["a"] = {**api.held["a"], "data": {"k": "2"}}
    world.clock.advance(60)
    await look(world, controller)
    (told,) = status(world, name)["drift"]
    for _ in range(3):
        world.clock.advance(60)
        await look(world, controller)
    assert status(world, name)["drift"] == [told], "since when it was seen, however often it is looked at"
