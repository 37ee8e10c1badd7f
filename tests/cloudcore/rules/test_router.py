"""Requests of applications, carried to gateways and answered when the thing is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from cloudcore.registry.admission import STEPS
from cloudcore.registry.routes import fitting_rules
from cloudcore.rules.counts import RuleCounts
from cloudcore.rules.router import CALLS_MAX, Router, RouterParts
from skerry.errors import (
    ForbiddenError,
    NotFoundError,
    SkerryError,
    UnauthenticatedError,
    UnavailableError,
    UncertainError,
)
from skerry.objects.json import JsonObject
from skerry.objects.rule_calls import CALL_BYTES_MAX, PUBLISHED
from skerry.objects.rules import ENDPOINTS, RULES
from tests.cloudcore.registry.test_routes import DOWN, UP, endpoint, rule
from tests.cloudcore.worlds import World, make_world


class Gateways:
    """Implements `Calls`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, JsonObject, bytes]] = []
        self.refuse: SkerryError | None = None
        self.hang = False
        self.answer = PUBLISHED

    async def call(self, node: str, params: JsonObject, body: bytes) -> bytes:
        self.asked.append((node, params, body))
        if self.hang:
            await asyncio.Event().wait()
        if self.refuse is not None:
            raise self.refuse
        return self.answer


class Desk:
    def __init__(self, world: World) -> None:
        self.world = world
        self.gateways = Gateways()
        self.who: list[tuple[str, str]] = []
        self.refuse: SkerryError | None = None
        self.counts = RuleCounts(world.objects, world.kind(RULES), world.clock)
        self.router = Router(
            RouterParts(cache=world.cache, calls=self.gateways, admit=self.admit, counts=self.counts, timeout_s=0.05)
        )

    async def admit(self, _request: web.BaseRequest, namespace: str, rule: str) -> None:
        self.who.append((namespace, rule))
        if self.refuse is not None:
            raise self.refuse

    async def ask(self, path: str, body: bytes = b"hello", *, whole: bool = True, **headers: str) -> tuple[int, str]:
        reader = StreamReader(Mock(), limit=2**16)
        reader.feed_data(body)
        if whole:
            reader.feed_eof()
        request = make_mocked_request("POST", path, headers=headers, payload=reader)
        response = await self.router.handle(request)
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        return response.status, response.body.decode()

    async def status(self) -> Any:
        await self.counts.write()
        return self.world.get(RULES, "x").get("status", {})


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with make_world(*STEPS, fitting_rules, real_rules=True) as world:
        await world.create("namespaces", {"metadata": {"name": "d"}})
        await world.create("nodes", {"metadata": {"name": "eu-1"}})
        for name, type_ in (("e", "eventbus"), ("r", "rest")):
            await world.create(ENDPOINTS, endpoint(name, type_))
        await world.create(RULES, DOWN)
        await world.create(RULES, {**UP, "metadata": {"name": "up"}})
        yield Desk(world)


async def test_a_message_is_published_on_the_gateway_and_then_said_to_be_delivered(desk: Desk) -> None:
    assert await desk.ask("/eu-1/d/orders", b"\x00\xff") == (200, "message delivered")
    assert desk.gateways.asked == [("eu-1", {"ask": "publish", "topic": "orders"}, b"\x00\xff")]
    assert desk.who == [("d", "x")]
    assert (await desk.status())["successMessages"] == 1


async def test_what_follows_the_rules_path_is_below_its_topic_without_the_query(desk: Desk) -> None:
    assert (await desk.ask("/eu-1/d/orders/line%201/a?x=1"))[0] == 200
    assert desk.gateways.asked[0][1]["topic"] == "orders/line 1/a"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/eu-1/d/nothing", 404),
        ("/eu-1/other/orders", 404),
        ("/eu-9/d/orders", 404),
        ("/eu-1/d", 404),
        ("/eu-1/d/t", 404),
        ("/eu-1/d/orders/%23", 400),
        ("/eu-1/d/orders/%00", 400),
    ],
)
async def test_what_leads_nowhere_is_refused_and_nothing_is_sent(desk: Desk, path: str, status: int) -> None:
    assert (await desk.ask(path))[0] == status
    assert not desk.gateways.asked


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnavailableError("not connected"), 503),
        (UncertainError("the link was lost"), 504),
        (NotFoundError("no such thing"), 404),
    ],
)
async def test_a_gateway_that_does_not_do_it_is_answered_for_and_counted(
    desk: Desk, error: SkerryError, status: int
) -> None:
    desk.gateways.refuse = error
    assert await desk.ask("/eu-1/d/orders") == (status, str(error))
    told = await desk.status()
    assert told["failMessages"] == 1
    assert told["errors"][0].endswith(str(error))


async def test_a_message_is_delivered_when_the_gateway_says_so_and_not_before(desk: Desk) -> None:
    desk.gateways.answer = b""
    assert (await desk.ask("/eu-1/d/orders"))[0] == 504
    assert (await desk.status())["failMessages"] == 1


async def test_a_body_that_does_not_come_is_waited_for_no_longer_than_said(desk: Desk) -> None:
    async with asyncio.timeout(30):
        status, text = await desk.ask("/eu-1/d/orders", whole=False)
    assert (status, text) == (408, "the body was not here within 0.05 s")
    assert not desk.gateways.asked


@pytest.mark.parametrize("path", ["../admin", "a/%2e%2e/%2e%2E/admin", "..%2fadmin", "a/..;/..;/x"])
async def test_a_rule_to_a_service_opens_what_is_below_its_path_alone(desk: Desk, path: str) -> None:
    await desk.world.create(ENDPOINTS, endpoint("s", "servicebus", service_port="8080"))
    await desk.world.create(RULES, rule("r", {"path": "/hmi"}, "s", {"path": "/screens"}, name="hmi"))
    assert (await desk.ask(f"/eu-1/d/hmi/{path}"))[0] == 400
    assert not desk.gateways.asked
    desk.gateways.answer = b'{"status":200,"headers":[]}\n'
    assert (await desk.ask("/eu-1/d/hmi/a..b/c"))[0] == 200
    assert desk.gateways.asked[0][1]["target"] == "/screens/a..b/c"


async def test_a_gateway_that_is_silent_is_waited_for_no_longer_than_said(desk: Desk) -> None:
    desk.gateways.hang = True
    status, text = await desk.ask("/eu-1/d/orders")
    assert status == 504
    assert "may still do it" in text


@pytest.mark.parametrize(("error", "status"), [(UnauthenticatedError("who?"), 401), (ForbiddenError("no"), 403)])
async def test_who_may_not_is_refused_before_anything_is_read(desk: Desk, error: SkerryError, status: int) -> None:
    desk.refuse = error
    assert (await desk.ask("/eu-1/d/orders"))[0] == status
    assert (await desk.ask("/eu-1/d/nothing"))[0] == status
    assert (await desk.ask("/"))[0] == status
    assert not desk.gateways.asked


async def test_a_body_that_is_too_large_is_not_read_to_its_end(desk: Desk) -> None:
    assert (await desk.ask("/eu-1/d/orders", b"x" * CALL_BYTES_MAX))[0] == 200
    assert (await desk.ask("/eu-1/d/orders", b"x" * (CALL_BYTES_MAX + 1)))[0] == 413


async def test_too_many_at_a_time_are_told_to_come_again(desk: Desk) -> None:
    desk.router = Router(
        RouterParts(cache=desk.world.cache, calls=desk.gateways, admit=desk.admit, counts=desk.counts, timeout_s=30)
    )
    desk.gateways.hang = True
    waiting = [asyncio.create_task(desk.ask("/eu-1/d/orders")) for _ in range(CALLS_MAX)]
    while len(desk.gateways.asked) < CALLS_MAX:
        await asyncio.sleep(0)
    assert (await desk.ask("/eu-1/d/orders"))[0] == 503
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    desk.gateways.hang = False
    assert (await desk.ask("/eu-1/d/orders"))[0] == 200


async def test_of_many_failures_the_newest_reasons_are_kept_and_all_are_counted(desk: Desk) -> None:
    for number in range(25):
        desk.gateways.refuse = UnavailableError(str(number))
        await desk.ask("/eu-1/d/orders")
    told = await desk.status()
    assert told["failMessages"] == 25
    assert [each.rpartition(" ")[2] for each in told["errors"]] == [str(number) for number in range(15, 25)]
