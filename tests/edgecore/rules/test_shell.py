"""Messages on the gateway's broker that are for the cloud: in the outbox once, and acknowledged after that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from devices.mqtt.port import Connection
from edgecore.rules.calls import RuleCalls
from edgecore.rules.services import Services
from edgecore.rules.shell import META_HEARD, GatewayRules, RulesParts
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.errors import StorageFullError, UnavailableError
from skerry.objects.json import JsonObject, decode_object, encode_object, str_at
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.rule_calls import Call, Publish
from skerry.objects.rules import ENDPOINTS, RULES
from tests.edgecore.bus.stage import FakeBroker
from tests.edgecore.rules.test_plan import rule


async def begin(connection: Connection) -> None:
    connection.start()


@dataclass
class Stage:
    memory: FailingEdgeStore
    store: AsyncEdgeStore
    broker: FakeBroker
    rules: GatewayRules
    revision: int = 0

    async def put(self, resource: str, name: str, obj: JsonObject) -> None:
        self.revision += 1
        held = Held(key=Key(resource, "d", name), stamp=Stamp("u", Revision(self.revision)), body=encode_object(obj))
        await self.store.apply(EdgeBatch(puts=(held,)))

    def told(self) -> list[tuple[str, str]]:
        """(rule, payload) of what waits for the cloud."""
        bodies = [decode_object(each.body) for each in self.store.outbox(after=0, limit=1000)]
        return [(str_at(body, "rule"), str_at(body, "payload")) for body in bodies]

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def running(
    memory: FailingEdgeStore | None = None, broker: FakeBroker | None = None, *, settle_s: float = 60.0
) -> AsyncGenerator[Stage]:
    """A gateway that holds two endpoints, and whatever rules its store has."""
    memory = memory or FailingEdgeStore(MemoryEdgeStore(clock=SystemClock(), incarnation="one"))
    store, broker = AsyncEdgeStore(memory), broker or FakeBroker()
    rules = GatewayRules(RulesParts(node="eu-1", store=store, open=broker.open, begin=begin, settle_s=settle_s))
    stage = Stage(memory, store, broker, rules)
    for name, type_ in (("e", "eventbus"), ("r", "rest")):
        endpoint: JsonObject = {
            "metadata": {"namespace": "d", "name": name},
            "spec": {"ruleEndpointType": type_},
        }
        await stage.put(ENDPOINTS, name, endpoint)
    task = asyncio.create_task(rules.run())
    try:
        await asyncio.sleep(0)
        yield stage
    finally:
        task.cancel()
        for outcome in await asyncio.gather(task, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome


async def test_a_rule_is_heard_as_soon_as_it_is_held_and_no_more_when_it_is_gone() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics == {"d/t"})
        await stage.put(RULES, "x", rule("u"))
        await stage.until(lambda: stage.broker.topics == {"d/u"})
        await stage.store.apply(EdgeBatch(deletes=(Key(RULES, "d", "x"),)))
        await stage.until(lambda: not stage.broker.topics)


async def test_a_message_is_acknowledged_when_it_is_in_the_outbox() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        mid = stage.broker.hear("d/t", b"one")
        await stage.until(lambda: mid in stage.broker.acknowledged)
        assert stage.told() == [("x", "one")]


async def test_messages_are_told_in_the_order_in_which_they_came() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        for number in range(500):
            stage.broker.hear("d/t", str(number).encode(), qos=number % 2)
        await stage.until(lambda: len(stage.told()) == 500)
        assert [payload for _, payload in stage.told()] == [str(number) for number in range(500)]


async def test_a_full_disk_holds_messages_back_and_loses_none() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        stage.memory.fail_writes_with = StorageFullError("no room")
        mid = stage.broker.hear("d/t", b"one")
        await stage.until(lambda: stage.memory.attempts)
        assert mid not in stage.broker.acknowledged
        stage.memory.fail_writes_with = None
        await stage.until(lambda: mid in stage.broker.acknowledged)
        assert stage.told() == [("x", "one")]


async def test_what_comes_again_is_told_once() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        stage.broker.takes = False  # the connection broke before the acknowledgement left
        mid = stage.broker.hear("d/t", b"one")
        await stage.until(stage.told)
        stage.broker.takes = True
        stage.broker.hear("d/t", b"one", again=mid)
        await stage.until(lambda: mid in stage.broker.acknowledged)
        assert stage.told() == [("x", "one")]


async def test_what_comes_again_after_a_power_cut_is_told_once() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        stage.broker.takes = False
        mid = stage.broker.hear("d/t", b"one")
        await stage.until(stage.told)
        memory = stage.memory
    async with running(memory, FakeBroker(resumed=True)) as after:
        await after.until(lambda: after.broker.topics)
        after.broker.hear("d/t", b"one", again=mid)
        other = after.broker.hear("d/t", b"two", again=mid + 1)
        await after.until(lambda: {mid, other} <= {*after.broker.acknowledged})
        assert after.told() == [("x", "one"), ("x", "two")]


async def test_what_came_in_many_commits_before_a_power_cut_is_told_once() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        stage.broker.takes = False
        mids: list[int] = []
        for number in range(3):
            mids.append(stage.broker.hear("d/t", str(number).encode()))
            await stage.until(lambda: len(stage.told()) == len(mids))
        memory = stage.memory
    async with running(memory, FakeBroker(resumed=True)) as after:
        await after.until(lambda: after.broker.topics)
        for number, mid in enumerate(mids):
            after.broker.hear("d/t", str(number).encode(), again=mid)
        await after.until(lambda: {*mids} <= {*after.broker.acknowledged})
        assert [payload for _, payload in after.told()] == ["0", "1", "2"]


async def test_a_packet_id_that_is_used_anew_is_another_message_over_a_power_cut_too() -> None:
    async with running(settle_s=0.0) as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        mid = stage.broker.hear("d/t", b"on")
        await stage.until(lambda: mid in stage.broker.acknowledged)
        await stage.until(lambda: stage.store.meta(META_HEARD) == "[]")
        memory = stage.memory
    async with running(memory, FakeBroker(resumed=True)) as after:  # it heard "on" again, and stored nothing of it
        await after.until(lambda: after.broker.topics)
        after.broker.hear("d/t", b"on", again=mid)
        await after.until(lambda: mid in after.broker.acknowledged)
        assert after.told() == [("x", "on"), ("x", "on")]


async def test_marks_stay_while_the_broker_does_not_say_that_it_knows() -> None:
    async with running(settle_s=0.0) as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        stage.broker.takes = False
        stage.broker.hear("d/t", b"on")
        await stage.until(stage.told)
        for _ in range(20):
            await asyncio.sleep(0)
        assert stage.store.meta(META_HEARD) != "[]"


async def test_marks_are_of_one_session_of_the_broker() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        stage.broker.takes = False
        mid = stage.broker.hear("d/t", b"on")
        await stage.until(stage.told)
        memory = stage.memory
    async with running(memory) as after:  # the broker lost its session, and counts from one
        await after.until(lambda: after.broker.topics)
        after.broker.hear("d/t", b"on", again=mid)
        await after.until(lambda: mid in after.broker.acknowledged)
        assert after.told() == [("x", "on"), ("x", "on")]


async def test_the_same_words_said_again_are_another_message() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        mids = {stage.broker.hear("d/t", b"one") for _ in range(3)}
        await stage.until(lambda: mids <= {*stage.broker.acknowledged})
        assert stage.told() == [("x", "one")] * 3


async def test_retained_messages_are_of_some_other_day() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        mid = stage.broker.hear("d/t", b"old", retained=True)
        await stage.until(lambda: mid in stage.broker.acknowledged)
        assert not stage.told()


async def said(stage: Stage, call: Call, body: bytes) -> bytes:
    calls = RuleCalls("eu-1", stage.rules, Services())
    return b"".join([piece async for piece in calls(call.params(), body)])


async def test_what_the_cloud_says_is_published_and_then_answered() -> None:
    async with running() as stage:
        assert await said(stage, Publish(topic="orders/1"), b'{"a": 1}') == b'{"published":true}'
        assert stage.broker.said == [("orders/1", {"a": 1})]


async def test_without_a_broker_it_is_said_that_nothing_was_published() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t"))
        await stage.until(lambda: stage.broker.topics)
        assert stage.broker.hooks is not None
        stage.broker.hooks.disconnected("gone")
        with pytest.raises(UnavailableError, match="away"):
            await said(stage, Publish(topic="t"), b"1")
        assert not stage.broker.said
    with pytest.raises(UnavailableError, match="--mqtt-broker"):
        async for _ in RuleCalls("eu-1", None, Services())(Publish(topic="t").params(), b"1"):
            pass


async def test_a_gateway_without_rules_does_not_bother_the_broker_until_something_is_said() -> None:
    async with running() as stage:
        await stage.put(RULES, "x", rule("t", node="eu-2"))
        assert stage.broker.hooks is None
        assert await said(stage, Publish(topic="t"), b"1") == b'{"published":true}'
