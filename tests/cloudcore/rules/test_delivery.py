"""Messages of rules on their way to a target that is away, slow, picky or gone for good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from cloudcore.registry.admission import STEPS
from cloudcore.registry.routes import fitting_rules
from cloudcore.rules.delivery import TELL_S, RuleDelivery
from cloudcore.rules.plan import Answer, Answered, Unreached
from cloudcore.rules.posting import Target
from skerry.objects.commands import CAPABILITIES
from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key
from skerry.objects.rules import ENDPOINTS, MESSAGES, RULES
from skerry.objects.times import time_text
from tests.cloudcore.registry.test_routes import UP, endpoint, rule
from tests.cloudcore.worlds import World, make_world


class Desk:
    """A target, and what it was sent."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        """What it answers, one after the other; 200 after that."""
        self.got: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.after_first: Callable[[], Awaitable[None]] | None = None
        """Done while the first message is on its way."""

    async def __call__(self, target: Target, body: bytes, headers: Mapping[str, str], /) -> Answer:
        answer = self.answers.pop(0) if self.answers else Answered(status=200, body=b"thanks")
        self.got.append((target.url, body, headers))
        if self.after_first is not None:
            change, self.after_first = self.after_first, None
            await change()
        return answer

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body, _ in self.got]


class Town:
    """A cloud with one rule, from gateway eu-1 to the desk."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.desk = Desk()
        self.delivery = RuleDelivery(world.tools, self.desk)
        self.number = 0

    async def tell(self, payload: str, **more: str) -> None:
        """What the hub makes of a report."""
        self.number += 1
        at = time_text(self.world.clock.wall_ms())
        spec: JsonObject = {"rule": "x", "nodeName": "eu-1", "topic": "d/t", "heardTime": at, "order": self.number}
        body = {"metadata": {"name": f"m{self.number}"}, "spec": spec | ({**more} or {"payload": payload})}
        await self.world.create(MESSAGES, body)

    async def settle(self) -> None:
        await self.world.settle(self.delivery)

    async def later(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        await self.delivery.reconcile(self.world.key(RULES, "x"))
        await self.settle()

    def counts(self) -> tuple[int, int, int]:
        """Delivered, given up, waiting."""
        status = self.world.get(RULES, "x")["status"]
        return status["successMessages"], status["failMessages"], status["waitingMessages"]

    def condition(self, name: str) -> tuple[str, str]:
        found: Any = condition_of(self.world.get(RULES, "x"), name) or {}
        return found.get("status", ""), found.get("message", "")

    def phases(self) -> dict[str, str]:
        return {each["metadata"]["name"]: each["status"]["phase"] for each in self.world.all(MESSAGES)}


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with make_world(*STEPS, fitting_rules, real_rules=True) as world:
        await world.create("namespaces", {"metadata": {"name": "d"}})
        await world.create(ENDPOINTS, endpoint("e", "eventbus"))
        await world.create(ENDPOINTS, endpoint("r", "rest"))
        await world.create(RULES, UP)
        yield Town(world)


async def test_messages_are_posted_as_they_were_heard_and_forgotten(town: Town) -> None:
    await town.tell("one")
    await town.tell("", payloadBase64="/w==")
    await town.settle()
    assert town.desk.bodies == [b"one", b"\xff"]
    url, _, headers = town.desk.got[0]
    assert url == "http://a.example/b"
    assert (headers["NodeName"], headers["Skerry-Topic"]) == ("eu-1", "d/t")
    assert not town.phases()
    await town.later(TELL_S)
    assert town.counts() == (2, 0, 0)
    assert town.condition("Ready")[0] == town.condition("Delivering")[0] == "True"


async def test_a_target_that_is_away_finds_everything_in_order(town: Town) -> None:
    town.desk.answers = [Unreached(why="refused")] * 3
    for number in range(3):
        await town.tell(str(number))
    await town.settle()
    assert town.condition("Delivering") == ("False", "the target is not reached: refused")
    assert town.counts() == (0, 0, 3)
    assert town.world.later["x"] > 0
    for seconds in (1, 2, 4):
        await town.later(seconds)
    assert town.desk.bodies == [b"0", b"0", b"0", b"0", b"1", b"2"]
    assert len({headers["Idempotency-Key"] for _, _, headers in town.desk.got}) == 3
    assert town.condition("Delivering")[0] == "True"
    await town.later(TELL_S)
    assert town.counts() == (3, 0, 0)


async def test_what_the_target_refuses_for_good_is_kept_and_shown(town: Town) -> None:
    town.desk.answers = [Answered(status=422, words="no such batch")]
    await town.tell("wrong")
    await town.tell("right")
    await town.settle()
    assert town.phases() == {"m1": "Dead"}
    await town.later(TELL_S)
    assert town.counts() == (1, 1, 0)
    assert town.world.get(RULES, "x")["status"]["errors"][0].endswith("the target answers 422: no such batch")


async def test_a_message_is_given_up_when_its_time_is_over_and_sent_again_when_somebody_wants_it(town: Town) -> None:
    await town.world.set_spec(ENDPOINTS, "r", properties={"deliver_within_seconds": "60"})
    town.desk.answers = [Answered(status=503)] * 2
    await town.tell("one")
    await town.settle()
    await town.later(30)
    await town.later(60)
    assert town.phases() == {"m1": "Dead"}
    assert town.counts() == (0, 1, 0)
    await town.world.set_spec(MESSAGES, "m1", redeliver=True)
    await town.settle()
    assert town.desk.bodies == [b"one"] * 3
    assert not town.phases()


async def test_messages_that_were_tried_by_another_leader_go_on_where_that_was(town: Town) -> None:
    town.desk.answers = [Unreached(why="refused")]
    await town.tell("one")
    await town.settle()
    after = RuleDelivery(town.world.tools, town.desk)
    wait_s = await after.reconcile(town.world.key(RULES, "x"))
    assert wait_s is not None
    assert town.desk.bodies == [b"one"]
    town.world.clock.advance(1)
    await after.reconcile(town.world.key(RULES, "x"))
    assert town.desk.bodies == [b"one"] * 2


async def test_a_changed_rule_sends_what_waits_to_its_new_target(town: Town) -> None:
    town.desk.answers = [Unreached(why="refused")]
    await town.tell("one")
    await town.settle()
    await town.world.set_spec(RULES, "x", targetResource={"resource": "https://new.example"})
    await town.later(1)
    assert [url for url, _, _ in town.desk.got] == ["http://a.example/b", "https://new.example"]


async def test_a_rule_waits_for_its_endpoints_and_says_so(town: Town) -> None:
    await town.world.delete(ENDPOINTS, "r")
    await town.tell("one")
    await town.settle()
    assert town.condition("Ready") == ("False", "waits for ruleendpoint r in namespace d")
    assert not town.desk.got
    await town.world.create(ENDPOINTS, endpoint("r", "rest", ca="-----BEGIN CERTIFICATE-----"))
    await town.settle()
    assert town.desk.bodies == [b"one"]
    assert town.condition("Ready")[0] == "True"


async def test_an_endpoint_that_became_another_stops_its_rule_and_says_why(town: Town) -> None:
    await town.world.set_spec(ENDPOINTS, "r", ruleEndpointType="eventbus")
    await town.tell("one")
    await town.settle()
    status, message = town.condition("Ready")
    assert status == "False"
    assert "spec.target: " in message
    assert not town.desk.got


async def test_what_goes_to_a_gateway_is_not_delivered_from_here(town: Town) -> None:
    await town.world.create(RULES, rule("r", {"path": "/a"}, "e", {"topic": "a"}, name="y"))
    await town.settle()
    found: Any = condition_of(town.world.get(RULES, "y"), "Ready")
    assert found["status"] == "True"


async def test_nothing_is_written_while_nothing_happens(town: Town) -> None:
    await town.settle()
    revision = town.world.get(RULES, "x")["metadata"]["resourceVersion"]
    await town.later(TELL_S)
    await town.later(TELL_S)
    assert town.world.get(RULES, "x")["metadata"]["resourceVersion"] == revision


async def test_what_was_given_up_and_nobody_looks_at_makes_room_and_is_counted(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudcore.rules.plan.DEAD_MAX", 2)
    town.desk.answers = [Answered(status=400)] * 4
    for number in range(4):
        await town.tell(str(number))
    await town.settle()
    await town.later(TELL_S)
    assert sorted(town.phases()) == ["m3", "m4"]
    assert town.world.get(RULES, "x")["status"]["droppedMessages"] == 2
    assert town.counts() == (0, 4, 0)


async def test_a_rule_that_is_changed_while_it_delivers_goes_to_its_new_target_at_once(town: Town) -> None:
    async def change() -> None:
        await town.world.set_spec(RULES, "x", targetResource={"resource": "https://new.example"})

    town.desk.after_first = change
    for number in range(3):
        await town.tell(str(number))
    await town.settle()
    assert [url for url, _, _ in town.desk.got] == ["http://a.example/b"] + ["https://new.example"] * 2
    assert town.desk.bodies == [b"0", b"1", b"2"]


async def test_an_endpoint_that_becomes_another_while_it_delivers_stops_it_at_once(town: Town) -> None:
    async def change() -> None:
        await town.world.set_spec(ENDPOINTS, "r", ruleEndpointType="eventbus")

    town.desk.after_first = change
    for number in range(3):
        await town.tell(str(number))
    await town.settle()
    assert town.desk.bodies == [b"0"]
    assert town.condition("Ready")[0] == "False"


async def test_a_rule_says_that_its_gateway_has_no_broker_and_delivers_what_it_has(town: Town) -> None:
    await town.settle()
    assert town.condition("Ready")[0] == "True"
    annotations: JsonObject = {CAPABILITIES: "commands,no-broker"}
    await town.world.create("nodes", {"metadata": {"name": "eu-1", "annotations": annotations}})
    await town.tell("one")
    await town.settle()
    status, message = town.condition("Ready")
    assert status == "False"
    assert "eu-1 has no MQTT broker" in message
    assert town.desk.bodies == [b"one"]

    def with_one(node: JsonObject) -> JsonObject:
        return {**node, "metadata": {**map_at(node, "metadata"), "annotations": {CAPABILITIES: "commands"}}}

    await town.world.objects.update(town.world.kind("nodes"), Key("nodes", "", "eu-1"), with_one)
    await town.settle()
    assert town.condition("Ready")[0] == "True"
