"""What the cloud does about commands, and who may say how one ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.command.controller import CommandController
from cloudcore.controllers.command.plan import PATIENCE_S, End, Offer, Remove, Wait, next_step
from cloudcore.registry.commands import IssuedCommands
from cloudcore.runtime.informer import Seen
from cloudcore.store.port import Change
from skerry.objects.commands import CAPABILITIES, INCARNATION, CommandReport, Phase, ended, is_open_to, with_report
from skerry.objects.json import JsonObject, encode_object, map_at
from skerry.objects.meta import Key, Revision
from skerry.objects.times import micro_time_text
from tests.cloudcore.worlds import World, make_world

T0_MS = 1_790_000_000_000


def command(*, epoch: str = "e1", cancel: bool = False, **status: str) -> JsonObject:
    return {
        "metadata": {"namespace": "d", "name": "c", "uid": "u"},
        "spec": {
            "nodeName": "eu-1",
            "expiresAfterSeconds": 60,
            "timeoutSeconds": 10,
            "ttlSecondsAfterFinished": 100,
            "cancel": cancel,
            "issued": {"time": micro_time_text(T0_MS), "epoch": epoch},
        },
        "status": {"phase": "Pending", **status},
    }


def node(ready: str) -> JsonObject:
    return {"metadata": {"name": "eu-1"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


OFFERED = micro_time_text(T0_MS)
SILENT_MS = T0_MS + 60_000 + 10_000 + PATIENCE_S * 1000


def test_it_is_offered_when_the_gateway_is_heard_and_not_before() -> None:
    for ready in ("True", "False"):
        assert next_step(command(), node(ready), epoch="e1", now_ms=T0_MS) == Offer()
    for unheard in (node("Unknown"), None):
        assert next_step(command(), unheard, epoch="e1", now_ms=T0_MS) == Wait(until_ms=T0_MS + 60_000)


@pytest.mark.parametrize(("said", "knows"), [(None, True), ("commands,logs", True), ("logs", False), ("", False)])
def test_an_agent_that_said_it_knows_no_commands_is_offered_none(said: str | None, knows: bool) -> None:
    heard = node("True")
    if said is not None:
        map_at(heard, "metadata")["annotations"] = {CAPABILITIES: said}
    step = next_step(command(), heard, epoch="e1", now_ms=T0_MS)
    assert (step == Offer()) is knows
    if not knows:
        assert isinstance(step, End) and (step.phase, step.reason) == ("Rejected", "NotSupported")
        away: JsonObject = {**heard, "status": {}}
        waits = next_step(command(), away, epoch="e1", now_ms=T0_MS)
        assert waits == Wait(until_ms=T0_MS + 60_000), "it may come back newer"


def test_the_cloud_says_expired_only_where_nobody_can_have_begun_it() -> None:
    at_ms = T0_MS + 60_000
    never = next_step(command(), node("True"), epoch="e1", now_ms=at_ms)
    assert isinstance(never, End) and never.phase == "Expired"
    assert next_step(command(offeredTime=OFFERED), None, epoch="e1", now_ms=at_ms) == Wait(until_ms=SILENT_MS)


def test_what_was_given_before_a_restore_is_for_the_gateway_to_say() -> None:
    for unheard in (node("Unknown"), None):
        assert next_step(command(epoch="e0"), unheard, epoch="e1", now_ms=T0_MS + 90_000) == Offer()


@pytest.mark.parametrize("phase", ["Pending", "Delivered", "Running"])
def test_a_gateway_that_says_nothing_leaves_an_honest_unknown(phase: str) -> None:
    silent = next_step(command(phase=phase, offeredTime=OFFERED), None, epoch="e1", now_ms=SILENT_MS)
    assert isinstance(silent, End) and (silent.phase, silent.reason) == ("Unknown", "GatewaySilent")


def test_one_that_was_cancelled_before_its_offer_ends_here() -> None:
    cancelled = next_step(command(cancel=True), None, epoch="e1", now_ms=T0_MS)
    assert isinstance(cancelled, End) and cancelled.phase == "Cancelled"
    assert isinstance(next_step(command(cancel=True, offeredTime=OFFERED), None, epoch="e1", now_ms=T0_MS), Wait)


def test_it_goes_some_time_after_its_end() -> None:
    done = ended(command(), phase="Succeeded", reason="", message="", now_ms=T0_MS)
    assert next_step(done, None, epoch="e1", now_ms=T0_MS + 99_000) == Wait(until_ms=T0_MS + 100_000)
    assert next_step(done, None, epoch="e1", now_ms=T0_MS + 100_000) == Remove()


# --- the controller ---


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(IssuedCommands("e1"), real_rules=True) as made:
        await made.create("nodes", {"metadata": {"name": "eu-1", "annotations": {INCARNATION: "one"}}})
        spec: Any = {"nodeName": "eu-1", "action": {"imagePull": {"image": "x"}}, "expiresAfterSeconds": 60}
        await made.create("commands.skerry.dev", {"metadata": {"name": "c"}, "spec": spec})
        yield made


async def ready(world: World, status: str) -> None:
    await world.set_status("nodes", "eu-1", conditions=[{"type": "Ready", "status": status}])


async def test_a_gateway_that_comes_back_is_offered_what_waits(world: World) -> None:
    controller = CommandController(world.tools, epoch="e1")
    await ready(world, "Unknown")
    await world.settle(controller)
    assert is_open_to(world.get("commands.skerry.dev", "c")) == ""
    await ready(world, "True")
    await world.settle(controller)
    assert is_open_to(world.get("commands.skerry.dev", "c")) == "eu-1"


async def test_a_gateway_that_comes_back_costs_a_look_at_its_own_commands_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All gateways come back at once, and each has commands: not their product."""
    spec: Any = {"nodeName": "eu-2", "action": {"imagePull": {"image": "x"}}, "expiresAfterSeconds": 60}
    await world.create("nodes", {"metadata": {"name": "eu-2", "annotations": {INCARNATION: "two"}}})
    for number in range(20):
        await world.create("commands.skerry.dev", {"metadata": {"name": f"c-{number}"}, "spec": spec})
    controller = CommandController(world.tools, epoch="e1")
    looked: list[Key] = []
    obj = world.cache.obj
    monkeypatch.setattr(world.cache, "obj", lambda stored: looked.append(stored.key) or obj(stored))
    (_, nodes) = controller.watches()
    change = Change(
        revision=Revision(1), key=Key("nodes", "", "eu-1"), uid="u", before=None, after=encode_object(node("True"))
    )
    assert list(nodes.keys(Seen(change))) == looked == [world.key("commands.skerry.dev", "c")]


async def test_one_that_nobody_came_for_expires_and_is_deleted_later(world: World) -> None:
    controller = CommandController(world.tools, epoch="e1")
    world.clock.advance(61)
    await world.settle(controller)
    found = world.get("commands.skerry.dev", "c")
    assert found["status"]["phase"] == "Expired"
    assert world.later["c"] == pytest.approx(3600, abs=1)
    world.clock.advance(86_401)
    await controller.reconcile(world.key("commands.skerry.dev", "c"))
    assert world.get("commands.skerry.dev", "c") is None


async def test_news_after_an_unknown_end_takes_its_place(world: World) -> None:
    controller = CommandController(world.tools, epoch="e1")
    await ready(world, "True")
    await world.settle(controller)
    await ready(world, "Unknown")
    world.clock.advance(60 + 60 + PATIENCE_S)
    await controller.reconcile(world.key("commands.skerry.dev", "c"))
    assert world.get("commands.skerry.dev", "c")["status"]["reason"] == "GatewaySilent"
    told: Phase = "Succeeded"
    report = CommandReport(
        namespace="d",
        name="c",
        uid=world.get("commands.skerry.dev", "c")["metadata"]["uid"],
        incarnation="one",
        phase=told,
        reason="",
        message="",
        result={},
        delivered_ago_ms=1,
        started_ago_ms=1,
        finished_ago_ms=1,
    )
    await world.update(
        "commands.skerry.dev",
        "c",
        lambda obj: with_report(obj, report, at_ms=world.clock.wall_ms()),
        subresource="status",
    )
    await world.settle(controller)
    assert world.get("commands.skerry.dev", "c")["status"]["phase"] == "Succeeded"
