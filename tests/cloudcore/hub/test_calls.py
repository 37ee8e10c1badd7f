"""What is asked of gateways for rules: parameters and a body go down, an answer comes up, at this hub or through
another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from skerry.errors import BadRequestError, UnavailableError, UncertainError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.rule_calls import CALL_BYTES_MAX, CALLS
from tests.cloudcore.hub.fleet import a_fleet, eventually

HANGING = asyncio.Event()
"""A call came that is never answered."""
BODY = bytes(range(256)) * 2000
"""Half a MiB: more than a stream's window, and with line feeds in it."""


async def echo(params: JsonObject, body: bytes) -> AsyncGenerator[bytes]:
    """A source of the gateway's."""
    if str_at(params, "ask") == "refuse":
        raise BadRequestError("not that")
    if str_at(params, "ask") == "fail":
        raise UnavailableError("nobody there")
    if str_at(params, "ask") == "wonder":
        raise UncertainError("no answer in time")
    if str_at(params, "ask") == "hang":
        HANGING.set()
        await asyncio.Event().wait()
    yield str_at(params, "ask").encode() + b":" + body


@pytest.mark.parametrize("body", [b"", b"one", BODY, b"x" * CALL_BYTES_MAX])
async def test_a_body_arrives_whole_and_is_answered(body: bytes) -> None:
    async with a_fleet() as fleet, fleet.gateway(body_sources={CALLS: echo}) as gateway:
        await eventually(lambda: gateway.link.connected)
        assert await fleet.hub.calls.call("eu-1", {"ask": "echo"}, body) == b"echo:" + body


async def test_what_the_gateway_refuses_is_refused_with_its_words() -> None:
    async with a_fleet() as fleet, fleet.gateway(body_sources={CALLS: echo}) as gateway:
        await eventually(lambda: gateway.link.connected)
        with pytest.raises(BadRequestError, match="not that"):
            await fleet.hub.calls.call("eu-1", {"ask": "refuse"}, BODY)
        with pytest.raises(BadRequestError, match="at most"):
            await fleet.hub.calls.call("eu-1", {"ask": "echo"}, b"x" * (CALL_BYTES_MAX + 1))


async def test_what_was_not_done_and_what_may_have_been_are_two_things() -> None:
    async with a_fleet() as fleet, fleet.gateway(body_sources={CALLS: echo}) as gateway:
        await eventually(lambda: gateway.link.connected)
        with pytest.raises(UnavailableError, match="nobody there") as caught:
            await fleet.hub.calls.call("eu-1", {"ask": "fail"}, b"")
        assert not isinstance(caught.value, UncertainError)
        with pytest.raises(UncertainError, match="no answer in time"):
            await fleet.hub.calls.call("eu-1", {"ask": "wonder"}, b"")


async def test_a_gateway_that_goes_away_before_it_answers_may_have_done_it() -> None:
    HANGING.clear()
    async with a_fleet() as fleet:
        async with fleet.gateway(body_sources={CALLS: echo}) as gateway:
            await eventually(lambda: gateway.link.connected)
            asked = asyncio.create_task(fleet.hub.calls.call("eu-1", {"ask": "hang"}, b""))
            await eventually(HANGING.is_set)
        with pytest.raises(UncertainError):
            await asked


async def test_a_gateway_that_is_away_or_of_an_older_release_is_said_to_be() -> None:
    async with a_fleet() as fleet:
        with pytest.raises(UnavailableError, match="not connected"):
            await fleet.hub.calls.call("eu-1", {"ask": "echo"}, b"")
        async with fleet.gateway() as gateway:
            await eventually(lambda: gateway.link.connected)
            with pytest.raises(UnavailableError, match="older release"):
                await fleet.hub.calls.call("eu-1", {"ask": "echo"}, b"")
