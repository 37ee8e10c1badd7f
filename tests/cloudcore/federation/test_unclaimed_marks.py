"""The mark of the federation on what nobody federates, in members that are dialled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.federation.unclaimed_marks import LOOK_S, UnclaimedMarks
from skerry.errors import ConflictError, NotFoundError, UnansweredError, UnavailableError
from skerry.objects.federation import MANAGED, NAMESPACE, ROW, TYPES, Target
from tests.cloudcore.worlds import World, make_world


def type_config(plural: str, kind: str, *, scope: str = "Namespaced", propagation: str = "Enabled") -> Any:
    target = {"kind": kind, "pluralName": plural, "scope": scope, "version": "v1"}
    federated = {
        "group": "types.kubefed.io",
        "kind": f"Federated{kind}",
        "pluralName": f"federated{plural}",
        "scope": "Namespaced" if plural == "namespaces" else scope,
        "version": "v1beta1",
    }
    spec = {"targetType": target, "federatedType": federated, "propagation": propagation}
    return {"metadata": {"name": plural}, "spec": spec}


def row(kind: str, name: str, namespace: str = "", **more: Any) -> Any:
    return {"spec": {"object": {"apiVersion": "v1", "kind": kind, "namespace": namespace, "name": name}, **more}}


def marked(name: str, namespace: str = "shop", **metadata: Any) -> Any:
    place = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, "uid": f"u-{name}", **place, "labels": {MANAGED: "true"}, **metadata}}


class Member:
    """What it has with the mark, by kind."""

    def __init__(self, **held: list[Any]) -> None:
        self.held = held
        self.faults: dict[str, Exception] = {}
        self.listed: list[str] = []
        self.freed: list[str] = []

    async def labelled(self, api_version: str, kind: str, selector: str) -> list[Any]:
        assert (api_version, selector) == ("v1", f"{MANAGED}=true")
        self.listed.append(kind)
        if fault := self.faults.get(kind):
            raise fault
        return self.held.get(kind, [])

    async def unlabel(self, target: Target, obj: Any, label: str) -> None:
        assert (label, obj["metadata"]["name"]) == (MANAGED, target.name)
        if fault := self.faults.get(target.name):
            raise fault
        self.freed.append(f"{target.kind} {target.namespace}/{target.name}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        await made.create("namespaces", {"metadata": {"name": NAMESPACE}})
        await made.create(TYPES, type_config("configmaps", "ConfigMap"), NAMESPACE)
        await made.create(TYPES, type_config("namespaces", "Namespace", scope="Cluster"), NAMESPACE)
        await made.create(TYPES, type_config("secrets", "Secret", propagation="Disabled"), NAMESPACE)
        yield made


ROWS = [row("Namespace", "shop"), row("ConfigMap", "ours", "shop"), row("Namespace", "going", remove="Delete")]


async def test_it_is_taken_off_what_no_row_claims_where_the_namespace_is_federated(world: World) -> None:
    config_maps = [
        marked("stray"),
        marked("ours"),
        marked("of-a-row", annotations={ROW: "lost.1"}),
        marked("dying", deletionTimestamp="2026-01-01T00:00:00Z"),
        marked("left", labels={MANAGED: "false"}),
        marked("elsewhere", "other"),
        marked("leaving", "going"),
    ]
    member = Member(
        ConfigMap=config_maps, Namespace=[marked("shop", ""), marked("bare", "")], Secret=[marked("secret")]
    )
    await UnclaimedMarks(world.tools).look("far", ROWS, member)
    assert sorted(member.freed) == ["ConfigMap shop/stray", "Namespace /bare"]
    assert "Secret" not in member.listed, "its type is disabled"


async def test_a_member_is_looked_at_now_and_then_and_a_large_one_less_often(world: World) -> None:
    marks = UnclaimedMarks(world.tools)
    small, large = Member(), Member(ConfigMap=[marked(f"m{number}", "other") for number in range(1000)])

    async def looks(name: str, member: Member, *, after_s: float) -> int:
        member.listed.clear()
        world.clock.advance(after_s)
        await marks.look(name, ROWS, member)
        return len(member.listed)

    assert [await looks("small", small, after_s=after_s) for after_s in (0, LOOK_S / 2, LOOK_S / 2)] == [2, 0, 2]
    assert [await looks("large", large, after_s=after_s) for after_s in (0, LOOK_S, LOOK_S)] == [2, 0, 2]
    marks.forget("large")
    assert await looks("large", large, after_s=0) == 2


@pytest.mark.parametrize("fault", [NotFoundError("no such kind"), UnavailableError("HTTP 500")])
async def test_a_type_that_can_t_be_listed_hides_no_other(world: World, fault: Exception) -> None:
    member = Member(ConfigMap=[marked("stray")], Namespace=[marked("bare", "")])
    member.faults = {"Namespace": fault, "stray": ConflictError("changed")}
    member.held["ConfigMap"].append(marked("second"))
    await UnclaimedMarks(world.tools).look("far", ROWS, member)
    assert member.freed == ["ConfigMap shop/second"]


async def test_who_does_not_answer_is_not_asked_for_the_rest(world: World) -> None:
    member = Member()
    member.faults = dict.fromkeys(("ConfigMap", "Namespace"), UnansweredError("no route"))
    await UnclaimedMarks(world.tools).look("far", ROWS, member)
    assert len(member.listed) == 1
