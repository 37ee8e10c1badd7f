"""Calls of applications on gateways: asked of their target, answered, and forgotten after a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.hub.references import node_of
from cloudcore.registry.admission import STEPS
from cloudcore.registry.routes import fitting_rules
from cloudcore.rules.answering import KEPT_S, CallAnswering
from cloudcore.rules.counts import RuleCounts
from cloudcore.rules.delivery import RuleDelivery
from cloudcore.rules.plan import Answered, Unreached
from skerry.objects.rules import ENDPOINTS, MESSAGES, RULES, answer_of
from skerry.objects.times import micro_time_text
from tests.cloudcore.registry.test_routes import endpoint, rule
from tests.cloudcore.rules.test_delivery import Desk
from tests.cloudcore.worlds import World, make_world

ASK = rule("s", {"target_url": "http://a/b", "node_name": "eu-1"}, "r", {"resource": "http://a/b"})


class Town:
    def __init__(self, world: World) -> None:
        self.world = world
        self.desk = Desk()
        self.counts = RuleCounts(world.objects, world.kind(RULES), world.clock)
        self.answering = CallAnswering(world.tools, self.desk, self.counts)

    async def call(self, name: str = "m", *, within_s: float = 60) -> None:
        spec = {"rule": "x", "nodeName": "eu-1", "topic": "http://a/b", "payload": "{}", "call": name}
        await self.world.create(MESSAGES, {"metadata": {"name": name}, "spec": spec})
        deadline = micro_time_text(self.world.clock.wall_ms() + round(1000 * within_s))
        await self.world.set_status(MESSAGES, name, deadlineTime=deadline)

    async def settle(self) -> None:
        await self.world.settle(self.answering)

    async def later(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        await self.answering.reconcile(self.world.key(MESSAGES, "m"))
        await self.settle()

    def message(self) -> Any:
        return self.world.get(MESSAGES, "m")

    def goes_to(self) -> str:
        return node_of(self.world.key(MESSAGES, "m"), self.message())

    async def counted(self) -> tuple[int, int]:
        await self.counts.write()
        status = self.world.get(RULES, "x").get("status", {})
        return status.get("successMessages", 0), status.get("failMessages", 0)


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with make_world(*STEPS, fitting_rules, real_rules=True) as world:
        await world.create("namespaces", {"metadata": {"name": "d"}})
        await world.create(ENDPOINTS, endpoint("s", "servicebus", service_port="1"))
        await world.create(ENDPOINTS, endpoint("r", "rest"))
        await world.create(RULES, ASK)
        yield Town(world)


async def test_a_call_is_posted_and_its_answer_goes_to_the_gateway_for_a_while(town: Town) -> None:
    await town.call()
    assert town.goes_to() == ""
    await town.settle()
    assert town.desk.bodies == [b"{}"]
    assert (town.message()["status"]["phase"], answer_of(town.message())) == ("Answered", b"thanks")
    assert town.goes_to() == "eu-1"
    assert await town.counted() == (1, 0)
    await town.later(60 + KEPT_S)
    assert town.message() is None
    assert town.desk.bodies == [b"{}"]


async def test_what_the_target_refuses_is_its_answer_as_well(town: Town) -> None:
    town.desk.answers = [Answered(status=409, body=b"\xff")]
    await town.call()
    await town.settle()
    assert town.message()["status"]["answer"] == {"status": 409, "payloadBase64": "/w=="}
    assert await town.counted() == (0, 1)


async def test_a_target_that_is_not_reached_is_asked_again_until_the_time_is_over(town: Town) -> None:
    town.desk.answers = [Unreached(why="refused")] * 5
    await town.call(within_s=3)
    await town.settle()
    await town.later(1)
    assert (len(town.desk.got), town.message()["status"]["phase"]) == (2, "Pending")
    await town.later(2)
    status = town.message()["status"]
    assert (status["phase"], status["reason"]) == ("Dead", "Expired")
    assert "refused" in status["message"]
    assert town.goes_to() == "eu-1"
    assert await town.counted() == (0, 1)


async def test_a_call_that_comes_when_nobody_waits_any_more_is_not_carried_out(town: Town) -> None:
    await town.call(within_s=-1)
    await town.settle()
    assert not town.desk.got
    assert town.message()["status"]["phase"] == "Dead"


async def test_a_rule_that_leads_elsewhere_meanwhile_is_not_followed(town: Town) -> None:
    await town.world.set_spec(ENDPOINTS, "s", ruleEndpointType="eventbus")
    await town.call()
    await town.settle()
    assert not town.desk.got
    assert town.message()["status"]["reason"] == "NotReady"


async def test_calls_are_no_business_of_the_delivery_of_messages(town: Town) -> None:
    await town.call()
    delivery = RuleDelivery(town.world.tools, town.desk)
    await town.world.settle(delivery)
    assert not town.desk.got
