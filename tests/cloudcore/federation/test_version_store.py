"""Versions of federated Secrets are sealed, opened and swept; what is in clear of an older release is sealed too."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.crd.controller import DefinitionController
from cloudcore.federation.controller import FederationController
from cloudcore.federation.type_controller import FederatedTypeController
from skerry.errors import ForbiddenError, InvalidError
from skerry.objects.federation import MEMBER_OBJECTS, NAMESPACE, REVISIONS, ROLLOUT_POLICIES, TYPES
from skerry.objects.sealed_versions import SEALED_TYPE
from skerry.objects.times import time_text
from tests.cloudcore.federation.test_policy_controller import Stage, stage
from tests.cloudcore.federation.test_types import config
from tests.cloudcore.worlds import World

__all__ = ["stage"]

FEDERATED = "federatedsecrets.types.kubefed.io"


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Vault:
    """A federated Secret in three members that take what they are told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plans = FederationController(world.tools)

    async def settle(self) -> None:
        for _ in range(6):
            self.world.clock.advance(1)
            await self.world.settle(self.plans)
            for row in self.world.all(MEMBER_OBJECTS):
                now = time_text(self.world.clock.wall_ms())
                told = {"revision": row["spec"]["revision"], "observedAt": now}
                await self.world.set_status(MEMBER_OBJECTS, row["metadata"]["name"], **told)
        await self.world.settle(self.plans)

    async def declare(self, password: str) -> None:
        spec = {
            "template": {"data": {"password": coded(password)}},
            "placement": {"clusterSelector": {}},
            "overrides": [
                {"clusterName": "west", "clusterOverrides": [{"path": "/data/pin", "value": coded("1234")}]}
            ],
        }
        if self.world.get(FEDERATED, "a") is None:
            await self.world.create(FEDERATED, {"metadata": {"name": "a"}, "spec": spec})
        else:
            await self.world.set_spec(FEDERATED, "a", **spec)
        await self.settle()

    def has(self) -> set[str]:
        rows = [row["spec"] for row in self.world.all(MEMBER_OBJECTS) if row["spec"]["object"]["name"] == "a"]
        return {base64.b64decode(row["manifest"]["data"]["password"]).decode() for row in rows if "remove" not in row}

    def revisions(self) -> list[Any]:
        return sorted(self.world.all(REVISIONS), key=lambda each: each["spec"]["revision"])

    def contents(self) -> list[str]:
        return sorted(each["metadata"]["name"] for each in self.world.all("secrets") if each["type"] == SEALED_TYPE)

    def check(self) -> None:
        """Whoever reads revisions reads no content, and each has its Secret."""
        text = json.dumps(self.revisions())
        for word in ("one", "two", "three", "1234"):
            assert coded(word) not in text
        assert self.contents() == sorted(each["metadata"]["name"] for each in self.revisions())


@pytest.fixture
async def vault(stage: Stage) -> AsyncIterator[Vault]:
    world = stage.world
    await world.create(TYPES, config("secrets", "Secret"), NAMESPACE)
    await world.settle(FederatedTypeController(world.tools), DefinitionController(world.tools, world.custom))
    targets = [{"kind": "FederatedSecret"}]
    spec = {"targets": targets, "minReadySeconds": 0, "maxUnavailable": "100%", "revisionHistoryLimit": 2}
    await world.create(ROLLOUT_POLICIES, {"metadata": {"name": "p"}, "spec": spec})
    yield Vault(world)


async def test_the_content_of_a_federated_secret_is_in_secrets_alone(vault: Vault) -> None:
    await vault.declare("one")
    await vault.declare("two")
    vault.check()
    assert vault.has() == {"two"}
    assert [each["status"]["outcome"] for each in vault.revisions()] == ["Complete", "Complete"]
    names = [each["metadata"]["name"] for each in vault.revisions()]
    await vault.declare("one")
    vault.check()
    assert [each["metadata"]["name"] for each in vault.revisions()] == names[::-1], "it is the same version as before"
    assert vault.has() == {"one"}


async def test_of_versions_that_are_not_kept_the_content_goes_as_well(vault: Vault) -> None:
    for at in range(6):
        await vault.declare(f"no {at}")
    assert len(vault.revisions()) == 4, "the newest, the one before, and two"
    vault.check()
    await vault.world.delete(REVISIONS, vault.revisions()[0]["metadata"]["name"])
    await vault.settle()
    vault.check()


async def test_a_bad_version_goes_back_to_the_one_in_its_secret(vault: Vault) -> None:
    await vault.world.set_spec(ROLLOUT_POLICIES, "p", onFailure="Rollback")
    await vault.declare("one")
    spec = vault.world.get(FEDERATED, "a")["spec"]
    await vault.world.set_spec(
        FEDERATED, "a", template={"data": {"password": coded("two")}}, overrides=spec["overrides"]
    )
    await vault.world.settle(vault.plans)
    await vault.world.set_spec(
        FEDERATED,
        "a",
        overrides=[{"clusterName": "west", "clusterOverrides": [{"path": "/data/x/y/z", "value": ""}]}],
    )
    await vault.settle()
    assert vault.has() == {"one"}
    vault.check()


async def test_a_content_that_somebody_exchanged_is_no_version_to_go_back_to(vault: Vault) -> None:
    await vault.declare("one")
    await vault.declare("two")
    first = vault.revisions()[0]["metadata"]["name"]
    with pytest.raises(InvalidError, match="immutable"):
        await vault.world.update("secrets", first, lambda obj: {**obj, "data": {"version": "AAAA", "salt": "AAAA"}})
    forged = vault.world.get("secrets", first)
    await vault.world.delete("secrets", first)
    owners = forged["metadata"]["ownerReferences"]
    made = {"metadata": {"name": first, "ownerReferences": owners}, "type": SEALED_TYPE, "data": {"version": "AAAA"}}
    await vault.world.create("secrets", made)
    await vault.world.set_spec(REVISIONS, vault.revisions()[-1]["metadata"]["name"], aborted=True)
    await vault.declare("three")
    assert vault.has() == {"three"}
    assert [each["status"]["outcome"] for each in vault.revisions()][-1] == "Complete"


async def test_what_an_older_release_wrote_down_in_clear_is_sealed(vault: Vault) -> None:
    await vault.declare("one")
    await vault.declare("two")
    names = await in_clear(vault)
    vault.plans = FederationController(vault.world.tools)
    vault.world.seen_until = type(vault.world.seen_until)(0)
    await vault.settle()
    vault.check()
    assert not {*names} & {each["metadata"]["name"] for each in vault.revisions()}, "their names told of the content"
    told = [(each["spec"]["revision"], each["status"]["outcome"]) for each in vault.revisions()]
    assert told == [(1, "Complete"), (2, "Complete")]
    await vault.declare("one")
    assert [each["spec"]["revision"] for each in vault.revisions()] == [2, 3], "and is known again"


async def test_it_is_sealed_though_its_type_is_not_enabled_any_more(vault: Vault) -> None:
    await vault.declare("one")
    await in_clear(vault)
    key = vault.world.kind(TYPES).key(NAMESPACE, "secrets")

    def disabled(obj: Any) -> Any:
        return {**obj, "spec": {**obj["spec"], "propagation": "Disabled"}}

    await vault.world.objects.update(vault.world.kind(TYPES), key, disabled)
    vault.plans = FederationController(vault.world.tools)
    vault.world.seen_until = type(vault.world.seen_until)(0)
    await vault.settle()
    vault.check()


async def begun_anew(vault: Vault) -> None:
    """As after an upgrade."""
    vault.plans = FederationController(vault.world.tools)
    vault.world.seen_until = type(vault.world.seen_until)(0)
    await vault.settle()


async def test_what_can_t_be_sealed_is_told_and_holds_nothing_else_up(vault: Vault) -> None:
    await vault.declare("one")
    await vault.declare("two")
    names = [each["metadata"]["name"] for each in vault.revisions()]
    await in_clear(vault)
    await vault.world.create("secrets", {"metadata": {"name": names[0]}, "type": "Opaque", "data": {}})
    await begun_anew(vault)
    assert [each["metadata"]["name"] for each in vault.revisions()] == ["old-1", names[1]], "the other is sealed"
    (told,) = vault.world.events("VersionNotSealed")
    assert told["involvedObject"]["kind"] == "FederatedSecret"
    assert "old-1 is in clear" in told["message"]
    assert names[0] in told["message"]
    assert vault.world.later["a"] == 60
    await vault.declare("three")
    assert vault.has() == {"three"}
    await vault.world.delete("secrets", names[0])
    await vault.plans.reconcile(vault.world.key(FEDERATED, "a"))
    await vault.settle()
    vault.check()


async def test_what_can_t_be_sealed_is_deleted_all_the_same(vault: Vault) -> None:
    await vault.declare("one")
    (name,) = [each["metadata"]["name"] for each in vault.revisions()]
    await in_clear(vault)
    await vault.world.create("secrets", {"metadata": {"name": name}, "type": "Opaque", "data": {}})
    await vault.world.delete(FEDERATED, "a")
    await begun_anew(vault)
    rows = [row["spec"] for row in vault.world.all(MEMBER_OBJECTS) if row["spec"]["object"]["name"] == "a"]
    assert [row.get("remove") for row in rows] == ["Delete"] * 3


async def test_a_secret_that_was_put_where_a_version_goes_is_made_anew(vault: Vault) -> None:
    await vault.declare("one")
    (kept,) = vault.revisions()
    name, owners = kept["metadata"]["name"], kept["metadata"]["ownerReferences"]
    await vault.world.delete(REVISIONS, name)
    await vault.world.delete("secrets", name)
    held = {"version": base64.b64encode(zlib.compress(b"[]")).decode(), "salt": "AAAA"}
    made = {"metadata": {"name": name, "ownerReferences": owners}, "type": SEALED_TYPE, "data": held}
    await vault.world.create("secrets", made)
    await vault.settle()
    vault.check()
    assert vault.has() == {"one"}


async def in_clear(vault: Vault) -> list[str]:
    """As it was before."""
    names: list[str] = []
    for each in vault.revisions():
        name, number = each["metadata"]["name"], each["spec"]["revision"]
        data = {"template": {"data": {"password": coded("one" if number == 1 else "two")}}, "overrides": []}
        data["overrides"] = vault.world.get(FEDERATED, "a")["spec"]["overrides"]
        await vault.world.delete(REVISIONS, name)
        await vault.world.delete("secrets", name)
        spec = {"source": each["spec"]["source"], "revision": number, "data": data}
        owners = each["metadata"]["ownerReferences"]
        made = {"metadata": {"name": f"old-{number}", "ownerReferences": owners}, "spec": spec}
        await vault.world.create(REVISIONS, made)
        await vault.world.set_status(REVISIONS, f"old-{number}", **each["status"])
        names.append(f"old-{number}")
    return names


async def test_a_secret_of_somebody_else_is_not_taken(vault: Vault) -> None:
    await vault.declare("one")
    (first,) = vault.revisions()
    other = first["metadata"]["name"]
    await vault.world.delete(REVISIONS, other)
    await vault.world.delete("secrets", other)
    await vault.world.create("secrets", {"metadata": {"name": other}, "type": "Opaque", "data": {}})
    await vault.settle()
    told = vault.world.get(FEDERATED, "a")["status"]["clusters"]
    assert all("is of something else" in each["message"] and other in each["message"] for each in told)
    assert vault.world.later["a"] == 60
    await vault.world.delete("secrets", other)
    await vault.plans.reconcile(vault.world.key(FEDERATED, "a"))
    await vault.settle()
    assert [each["status"]["outcome"] for each in vault.revisions()] == ["Complete"]
    await vault.declare("two")
    assert vault.has() == {"two"}
    vault.check()


async def test_what_has_no_room_in_a_secret_is_told_and_not_put_in_clear(vault: Vault) -> None:
    await vault.declare("one")
    big = base64.b64encode(bytes.fromhex(vault.world.ids.token_hex(600_000))).decode()
    template = {"data": {"password": coded("two"), "blob": big}}
    spec = vault.world.get(FEDERATED, "a")["spec"]
    step = {"path": "/data/blob", "value": big[::-1]}
    overrides = [*spec["overrides"], {"clusterName": "north", "clusterOverrides": [step]}]
    await vault.world.set_spec(FEDERATED, "a", template=template, overrides=overrides)
    await vault.settle()
    told = vault.world.get(FEDERATED, "a")["status"]["clusters"]
    assert all("can't be kept in the Secret" in each["message"] for each in told)
    assert vault.has() == {"one"}
    vault.check()


async def stopped_and_lost(vault: Vault, *, policy: bool) -> str:
    """The second version was stopped before anybody had it, and then the Secret with its content is deleted."""
    await vault.declare("one")
    await vault.world.set_spec(ROLLOUT_POLICIES, "p", paused=True)
    await vault.declare("two")
    name: str = vault.revisions()[-1]["metadata"]["name"]
    await vault.world.set_spec(REVISIONS, name, aborted=True)
    await vault.settle()
    await vault.world.set_spec(ROLLOUT_POLICIES, "p", paused=False)
    if not policy:
        await vault.world.delete(ROLLOUT_POLICIES, "p")
    await vault.settle()
    assert vault.has() == {"one"}
    await vault.world.delete("secrets", name)
    return name


@pytest.mark.parametrize("policy", [True, False])
@pytest.mark.parametrize("crashed", [True, False])
async def test_what_was_stopped_stays_so_when_its_content_is_lost(
    vault: Vault, *, policy: bool, crashed: bool
) -> None:
    name = await stopped_and_lost(vault, policy=policy)
    if crashed:
        await begun_anew(vault)
    await vault.settle()
    assert vault.has() == {"one"}
    newest = vault.revisions()[-1]
    assert (newest["metadata"]["name"], newest["spec"]["revision"], newest["spec"]["aborted"]) == (name, 2, True)
    assert newest["status"]["phase"] == "Aborted"
    vault.check()
    await vault.world.set_spec(FEDERATED, "a", placement={"clusters": [{"name": "west"}, {"name": "north"}]})
    await vault.settle()
    assert vault.has() == {"one"}, "where it goes is not what it is"
    await vault.world.delete("secrets", name)
    await vault.settle()
    assert vault.has() == {"one"}
    await vault.declare("three")
    assert vault.has() == {"three"}


async def test_what_was_declared_after_a_stopped_version_was_lost_is_another_version(vault: Vault) -> None:
    await stopped_and_lost(vault, policy=True)
    await vault.declare("three")
    assert vault.has() == {"three"}
    assert [each["spec"]["revision"] for each in vault.revisions()] == [1, 2, 3]


async def test_what_was_taken_back_from_all_stays_so_when_its_content_is_lost(vault: Vault) -> None:
    await vault.declare("one")
    await vault.world.set_spec(ROLLOUT_POLICIES, "p", paused=True)
    await vault.declare("two")
    name = vault.revisions()[-1]["metadata"]["name"]
    await vault.world.set_status(REVISIONS, name, outcome="RolledBack")
    await vault.world.set_spec(ROLLOUT_POLICIES, "p", paused=False)
    await vault.settle()
    await vault.world.delete("secrets", name)
    await vault.settle()
    assert vault.has() == {"one"}
    assert [each["status"]["outcome"] for each in vault.revisions()] == ["Complete", "RolledBack"]
    vault.check()


async def test_a_stopped_version_of_which_nothing_was_noted_stays_so_as_well(vault: Vault) -> None:
    name = await stopped_and_lost(vault, policy=True)

    def older(obj: Any) -> Any:
        status = {field: value for field, value in obj["status"].items() if field != "observedGeneration"}
        return {**obj, "status": status}

    await vault.world.update(REVISIONS, name, older, subresource="status")
    await vault.settle()
    assert vault.has() == {"one"}
    assert [each["spec"]["revision"] for each in vault.revisions()] == [1, 2]
    vault.check()


async def test_a_version_of_another_object_that_was_given_to_it_is_none_of_its_own(vault: Vault) -> None:
    await vault.declare("one")
    (theirs,) = vault.revisions()
    spec = {"template": {"data": {"password": coded("two")}}, "placement": {"clusterSelector": {}}}
    made = await vault.world.create(FEDERATED, {"metadata": {"name": "b"}, "spec": spec})
    await vault.settle()
    owner = {**theirs["metadata"]["ownerReferences"][0], "name": "b", "uid": made["metadata"]["uid"]}

    def given(obj: Any) -> Any:
        metadata = {**obj["metadata"], "ownerReferences": [owner]}
        return {**obj, "metadata": metadata, "spec": {**obj["spec"], "revision": 9}}

    await vault.world.update(REVISIONS, theirs["metadata"]["name"], given)
    (own,) = (each for each in vault.revisions() if each["spec"]["source"]["name"] == "b")
    await vault.world.set_spec(FEDERATED, "b", template={"data": {"password": coded("three")}})
    await vault.settle()
    numbers = [each["spec"]["revision"] for each in vault.revisions() if each["spec"]["source"]["name"] == "b"]
    assert numbers == [1, 2], "it counts from its own"
    rows = [row["spec"] for row in vault.world.all(MEMBER_OBJECTS) if row["spec"]["object"]["name"] == "b"]
    assert {row["manifest"]["data"]["password"] for row in rows} == {coded("three")}
    assert vault.world.get(REVISIONS, own["metadata"]["name"])["status"]["outcome"] == "Complete"


async def test_nobody_puts_another_content_into_a_revision(vault: Vault) -> None:
    await vault.declare("one")
    name = vault.revisions()[0]["metadata"]["name"]
    with pytest.raises((InvalidError, ForbiddenError), match="sealed"):
        await vault.world.set_spec(REVISIONS, name, sealed={"secretName": "mine", "digest": "0"})
