"""Applications on a gateway that ask those in the cloud, in KubeEdge's form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from edgecore.rules.plan import called_of
from edgecore.rules.service_bus import NO_PARAMS, SUCCESS, BusSettings, ServiceBus, ServiceBusParts
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.json import JsonObject, decode_object, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.rules import ENDPOINTS, MESSAGES, PAYLOAD_BYTES_MAX, RULES, RuleMessage

URL = "http://127.0.0.1:9000/echo"
CALL = json.dumps({"method": "POST", "targetURL": URL, "payload": {"a": 1}}).encode()


def rule(url: str = URL, *, node: str = "eu-1") -> JsonObject:
    return {
        "metadata": {"namespace": "d", "name": "x"},
        "spec": {
            "source": "s",
            "sourceResource": {"target_url": url, "node_name": node},
            "target": "r",
            "targetResource": {"resource": "http://b"},
        },
    }


@dataclass
class Stage:
    store: AsyncEdgeStore
    bus: ServiceBus
    connected: list[bool] = field(default_factory=lambda: [True])
    revision: int = 0

    async def put(self, resource: str, name: str, obj: JsonObject) -> None:
        self.revision += 1
        held = Held(key=Key(resource, "d", name), stamp=Stamp("u", Revision(self.revision)), body=encode_object(obj))
        await self.store.apply(EdgeBatch(puts=(held,)))

    async def told(self) -> RuleMessage:
        """The call that went up."""
        async with asyncio.timeout(10):
            while not (waiting := self.store.outbox(after=0, limit=10)):
                await asyncio.sleep(0.002)
        return RuleMessage.decode(decode_object(waiting[-1].body))

    async def answer(self, call: str, **status: Any) -> None:
        await self.put(MESSAGES, "m", {"spec": {"call": call}, "status": {**status}})


@asynccontextmanager
async def running(*, within_s: float = 10) -> AsyncGenerator[Stage]:
    """A service bus that holds one rule, without its socket."""
    store = AsyncEdgeStore(MemoryEdgeStore(clock=SystemClock(), incarnation="one"))
    connected = [True]
    parts = ServiceBusParts(store=store, ids=SeededIds(1), connected=lambda: connected[0], node="eu-1")
    bus = ServiceBus(parts, BusSettings(port=0, within_s=within_s))
    stage = Stage(store, bus, connected)
    for name, type_ in (("s", "servicebus"), ("r", "rest")):
        await stage.put(
            ENDPOINTS, name, {"metadata": {"namespace": "d", "name": name}, "spec": {"ruleEndpointType": type_}}
        )
    await stage.put(RULES, "x", rule())
    bus.take_rules()
    stop = store.listen(bus.committed)
    try:
        yield stage
    finally:
        stop()


async def test_a_call_goes_up_as_it_is_and_its_answer_comes_back_in_kubeedges_form() -> None:
    async with running() as stage:
        asking = asyncio.create_task(stage.bus.call(CALL))
        told = await stage.told()
        assert (told.namespace, told.rule, told.payload, told.within_ms) == ("d", "x", CALL, 10_000)
        await stage.answer("another", phase="Answered", answer={"status": 200, "payload": "no"})
        await stage.answer(told.call, phase="Answered", answer={"status": 201, "payload": "Hello World"})
        assert await asking == {"code": 200, "msg": SUCCESS, "body": "Hello World"}


async def test_what_the_target_refuses_is_not_called_a_success() -> None:
    async with running() as stage:
        asking = asyncio.create_task(stage.bus.call(CALL))
        told = await stage.told()
        await stage.answer(told.call, phase="Answered", answer={"status": 404, "payload": "gone"})
        assert await asking == {"code": 404, "msg": "the target answers 404", "body": "gone"}


async def test_where_the_cloud_gave_up_its_reason_is_said() -> None:
    async with running() as stage:
        asking = asyncio.create_task(stage.bus.call(CALL))
        told = await stage.told()
        await stage.answer(told.call, phase="Dead", message="the target is not reached")
        assert await asking == {"code": 504, "msg": "the target is not reached", "body": ""}


async def test_an_answer_is_waited_for_no_longer_than_said() -> None:
    async with running(within_s=0.05) as stage:
        said: Any = await stage.bus.call(CALL)
        assert said["code"] == 504


async def test_without_the_cloud_nothing_is_kept_for_it() -> None:
    async with running() as stage:
        stage.connected[0] = False
        said: Any = await stage.bus.call(CALL)
        assert (said["code"], said["msg"]) == (503, "the cloud is not connected")
        assert not stage.store.outbox(after=0, limit=1)


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"", 400, NO_PARAMS),
        (b"[1]", 400, NO_PARAMS),
        (b"[" * 100_000, 400, NO_PARAMS),
        (b"{}", 400, "url  is not allowed and please make a rule for this url in the cloud"),
        (
            b'{"targetURL": "http://b"}',
            400,
            "url http://b is not allowed and please make a rule for this url in the cloud",
        ),
        (CALL + b" " * PAYLOAD_BYTES_MAX, 413, f"a request is at most {PAYLOAD_BYTES_MAX} bytes"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_kubeedges_words(body: bytes, code: int, text: str) -> None:
    async with running() as stage:
        assert await stage.bus.call(body) == {"code": code, "msg": text, "body": ""}
        assert not stage.store.outbox(after=0, limit=1)


def test_only_rules_of_this_node_between_these_ends_are_served() -> None:
    ends: dict[tuple[str, str], JsonObject] = {
        ("d", "s"): {"spec": {"ruleEndpointType": "servicebus"}},
        ("d", "r"): {"spec": {"ruleEndpointType": "rest"}},
    }
    assert [each.topic for each in called_of([rule()], ends, node="eu-1")] == [URL]
    assert not called_of([rule(), rule("")], ends, node="eu-2")
    assert not called_of([rule("")], ends, node="eu-1")
    assert not called_of([rule()], {}, node="eu-1")
