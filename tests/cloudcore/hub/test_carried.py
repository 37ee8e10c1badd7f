"""Requests to the API that gateways carry through their sessions: whole, bounded, and in whose name."""

from __future__ import annotations

import asyncio

import pytest

from edgecore.link.calls import CALLS_MAX, CloudCalls
from skerry.errors import BadRequestError, TooManyRequestsError, UnavailableError, UncertainError
from skerry.objects.cloud_calls import CallHead, CloudAnswer, answer_of, call_head_of
from skerry.objects.json import JsonObject, encode_object, int_at, str_at
from skerry.ports import Pipe
from tests.cloudcore.hub.fleet import a_fleet, eventually

BODY = bytes(range(256)) * 4000


async def echo(node: str, params: JsonObject, pipe: Pipe) -> None:
    """An API that says what it was asked, by whom."""
    path = str_at(params, "path")
    if path == "/hang":
        await asyncio.Event().wait()
    if path == "/refuse":
        raise BadRequestError("not that")
    body = bytearray()
    while len(body) < int_at(params, "bodyBytes"):
        body += await pipe.read()
    if path == "/garbage":
        await pipe.write(b"no head")
        return
    answer = CloudAnswer(code=201, headers=(("content-type", "text/x"), ("warning", "a"), ("warning", node)))
    await pipe.write(encode_object(answer.head()) + b"\n" + body)


def asked(path: str = "/x", body: bytes = b"") -> CallHead:
    return CallHead(method="POST", path=path, headers=(("accept", "a/b"),), body_bytes=len(body))


@pytest.mark.parametrize("body", [b"", b"one\ntwo", BODY])
async def test_a_request_goes_up_whole_and_is_answered_to_the_node_that_asked(body: bytes) -> None:
    async with a_fleet() as fleet, fleet.gateway() as gateway:
        fleet.hub.carried = echo
        await eventually(lambda: gateway.link.connected)
        answer = await CloudCalls(gateway.link).ask(asked(body=body), body)
        assert (answer.code, answer.body, answer.content_type) == (201, body, "text/x")
        assert [value for name, value in answer.headers if name == "warning"] == ["a", "eu-1"]


async def test_without_a_session_nothing_is_waited_for() -> None:
    async with a_fleet() as fleet:
        fleet.down = True
        async with fleet.gateway() as gateway:
            await eventually(lambda: gateway.link.status.last_error)
            with pytest.raises(UnavailableError, match=r"can't be reached now \(waiting: no route\)") as caught:
                await CloudCalls(gateway.link).ask(asked())
            assert not isinstance(caught.value, UncertainError)


async def test_what_was_under_way_when_the_link_went_may_have_been_done() -> None:
    async with a_fleet() as fleet, fleet.gateway() as gateway:
        under_way = asyncio.Event()

        async def hang(_node: str, _params: JsonObject, _pipe: Pipe) -> None:
            under_way.set()
            await asyncio.Event().wait()

        fleet.hub.carried = hang
        await eventually(lambda: gateway.link.connected)
        hanging = asyncio.create_task(CloudCalls(gateway.link).ask(asked()))
        await under_way.wait()
        await gateway.link.cut()
        with pytest.raises(UncertainError):
            await hanging


async def test_a_cloud_that_answers_nobody_or_nonsense_is_told_apart() -> None:
    async with a_fleet() as fleet, fleet.gateway() as gateway:
        await eventually(lambda: gateway.link.connected)
        calls = CloudCalls(gateway.link)
        with pytest.raises(UnavailableError, match="no streams of kind api"):
            await calls.ask(asked())
        fleet.hub.carried = echo
        with pytest.raises(BadRequestError, match="not that"):
            await calls.ask(asked("/refuse"))
        with pytest.raises(UncertainError, match="no head"):
            await calls.ask(asked("/garbage"))


async def test_requests_at_once_are_bounded_and_leave_room_for_shells() -> None:
    async with a_fleet() as fleet, fleet.gateway() as gateway:
        fleet.hub.carried = echo
        await eventually(lambda: gateway.link.connected)
        calls = CloudCalls(gateway.link)
        hanging = [asyncio.create_task(calls.ask(asked("/hang"))) for _ in range(CALLS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequestsError):
            await calls.ask(asked())
        for each in hanging:
            each.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert (await calls.ask(asked())).code == 201


def test_a_head_is_read_back_and_only_what_is_carried_counts() -> None:
    head = CallHead(method="PATCH", path="/a?b=c", headers=(("accept", "x"), ("authorization", "y")), body_bytes=3)
    assert call_head_of(head.params()) == head
    assert call_head_of({**head.params(), "headers": {"impersonate-user": "root"}}).headers == ()
    own = CallHead(method="GET", path="/a", own=True)
    assert call_head_of(own.params()) == own
    wrong: tuple[JsonObject, ...] = (
        {"own": True},
        {"path": "x"},
        {"method": "TRACE"},
        {"bodyBytes": -1},
        {"bodyBytes": 1 << 30},
    )
    for each in wrong:
        with pytest.raises(BadRequestError):
            call_head_of({**head.params(), **each})
    wrong = ({"code": 200, "headers": [["x"]]}, {"code": 7}, {})
    for each in wrong:
        with pytest.raises(BadRequestError):
            answer_of(each, b"")
