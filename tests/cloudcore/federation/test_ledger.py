"""Rows of members, as a plan says."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.federation.ledger import Ledger
from cloudcore.federation.member_controller import MemberController
from cloudcore.federation.planner import Plan
from skerry.objects.enrolment import NODE_KEY_ANNOTATION
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, MemberObject, Source, Target
from skerry.objects.json import str_at
from skerry.objects.meta import Key
from tests.cloudcore.hub.fleet import eventually
from tests.cloudcore.worlds import World, make_world

TARGET = Target(api_version="apps/v1", kind="Deployment", namespace="d", name="a")
SOURCE = "configmaps"
"""Stands for what is federated: the ledger asks only whether it is there."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        await made.create("namespaces", {"metadata": {"name": "d"}})
        await made.create(SOURCE, {"metadata": {"name": "a"}})
        await eventually(lambda: made.get(SOURCE, "a"), "what is federated")
        yield made


def row(world: World, member: str, **more: Any) -> MemberObject:
    source = Source(key=Key(SOURCE, "d", "a"), uid=world.get(SOURCE, "a")["metadata"]["uid"])
    return MemberObject(member=member, target=TARGET, source=source, revision=0, manifest={"kind": "x"}, **more)


def plan(*rows: MemberObject) -> Plan:
    return Plan(rows={each.member: each for each in rows}, faults={})


async def removal_of(world: World, **more: Any) -> list[str]:
    """How a member is left, first while what is federated is there, then with it gone."""
    ledger, key, members, told = Ledger(world.tools), Key(SOURCE, "d", "a"), {"one": {}, "two": {}}, []
    one, two = row(world, "one", **more), row(world, "two", **more)
    await ledger.keep(key, plan(one, two), members)
    await eventually(lambda: len(ledger.of(key)) == 2, "both rows")
    await ledger.keep(key, plan(two), members)
    await eventually(lambda: any(str_at(each, "spec", "remove") for each in ledger.of(key)), "it left one")
    await world.delete(SOURCE, "a")
    await eventually(lambda: world.cache.read(key) is None, "it is gone")
    await ledger.keep(key, plan(), members)
    await eventually(lambda: all(str_at(each, "spec", "remove") for each in ledger.of(key)), "it left both")
    told = {each["spec"]["member"]: each["spec"]["remove"] for each in world.all(MEMBER_OBJECTS)}
    return [told["one"], told["two"]]


async def test_what_may_run_once_alone_is_no_orphan_while_another_member_may_begin_it(world: World) -> None:
    assert await removal_of(world, orphan=True, lease_s=60) == ["Delete", "Orphan"]


async def test_what_may_run_twice_stays_where_it_was_if_that_is_said(world: World) -> None:
    assert await removal_of(world, orphan=True) == ["Orphan", "Orphan"]


@pytest.mark.filterwarnings("error")
async def test_nothing_is_left_unawaited_when_rows_are_many_and_it_is_cancelled(world: World) -> None:
    ledger, members = Ledger(world.tools), {f"m{number}": {} for number in range(100)}
    rows = [row(world, member) for member in members]
    work = asyncio.create_task(ledger.keep(Key(SOURCE, "d", "a"), plan(*rows), members))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    gc.collect()


def joined(key: str) -> Any:
    return {"metadata": {"name": "one", "uid": "m", "annotations": {NODE_KEY_ANNOTATION: key}}}


async def test_a_row_of_an_earlier_membership_is_not_written_on(world: World) -> None:
    ledger, key = Ledger(world.tools), Key(SOURCE, "d", "a")
    await ledger.keep(key, plan(row(world, "one")), {"one": joined("first")})
    await eventually(lambda: ledger.of(key), "the row")
    before: Any = ledger.of(key)[0]
    await world.set_status(MEMBER_OBJECTS, before["metadata"]["name"], revision=before["spec"]["revision"])
    await ledger.keep(key, plan(row(world, "one")), {"one": joined("second")})
    (after,) = world.all(MEMBER_OBJECTS)
    assert after["metadata"]["uid"] != before["metadata"]["uid"], "nothing that was said of the other counts"
    assert "status" not in after
    assert after["spec"]["revision"] > before["spec"]["revision"]


async def test_a_membership_that_is_over_leaves_no_tombstone(world: World) -> None:
    ledger, key = Ledger(world.tools), Key(SOURCE, "d", "a")
    await ledger.keep(key, plan(row(world, "one")), {"one": joined("first")})
    await eventually(lambda: ledger.of(key), "the row")
    await ledger.keep(key, plan(), {"one": joined("second")})
    assert world.all(MEMBER_OBJECTS) == []


async def test_rows_of_an_earlier_membership_go_whoever_has_the_name_now(world: World) -> None:
    """Also those that nobody plans any more: tombstones of what was deleted."""
    await world.create("namespaces", {"metadata": {"name": NAMESPACE}})
    controller, ledger, key = MemberController(world.tools), Ledger(world.tools), Key(SOURCE, "d", "a")
    one = await world.create(MEMBERS, {"metadata": {"name": "one"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)
    await ledger.keep(key, plan(row(world, "one")), {"one": one})
    await world.settle(controller)
    (kept,) = world.all(MEMBER_OBJECTS)
    await world.delete(SOURCE, "a")
    await ledger.keep(key, plan(), {"one": one})
    await world.settle(controller)
    assert [each["spec"].get("remove") for each in world.all(MEMBER_OBJECTS)] == ["Delete"]
    member = world.kind(MEMBERS).key(NAMESPACE, "one")

    def joins_again(obj: Any) -> Any:
        return {**obj, "metadata": {**obj["metadata"], "annotations": {NODE_KEY_ANNOTATION: "another"}}}

    await world.objects.update(world.kind(MEMBERS), member, joins_again)
    world.clock.advance(2)
    await world.settle(controller)
    assert world.get(MEMBER_OBJECTS, kept["metadata"]["name"]) is None
