"""An exec between a client and a gateway: input within its credit, output, and how each end is told."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from skerry.errors import BadRequestError, NotFoundError, SkerryError, UncertainError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.pod_streams import (
    INPUT_BYTES_MAX,
    Begun,
    Exited,
    Input,
    InputEnded,
    InputRead,
    Messages,
    Output,
    Resized,
    Session,
    Whose,
    encode,
)
from skerry.transport.conversations import Conversation, RefusedByGatewayError
from skerry.transport.inside import pipe_pair
from skerry.transport.pipes import StreamPipe

SESSION = Session(whose=Whose(namespace="ns", pod="web", uid="u"), container="c", command=("sh",), stdin=True)


class Client:
    """Does what it is told, and keeps what it is shown."""

    def __init__(self) -> None:
        self.does: asyncio.Queue[Input | InputEnded | Resized | SkerryError | None] = asyncio.Queue()
        self.shown: list[tuple[int, bytes]] = []
        self.status: JsonObject = {}

    async def receive(self) -> Input | InputEnded | Resized | None:
        event = await self.does.get()
        if isinstance(event, SkerryError):
            raise event
        return event

    async def output(self, channel: Literal[1, 2], data: bytes) -> None:
        self.shown.append((channel, data))

    async def finish(self, status: JsonObject) -> None:
        self.status = status


async def begun() -> tuple[asyncio.Task[Exited | None], Client, StreamPipe]:
    """The conversation, its client, and the gateway's end."""
    near, far = pipe_pair()
    conversation, client = Conversation(near, SESSION), Client()
    await far.write(encode(Begun()))
    async with asyncio.timeout(20):
        await conversation.begin()
    return asyncio.create_task(conversation.run(client)), client, far


async def test_what_the_gateway_says_is_shown_and_its_end_is_a_status() -> None:
    running, client, far = await begun()
    for message in (Output(channel=1, data=b"o"), Output(channel=2, data=b"e"), Exited(exit_code=3)):
        await far.write(encode(message))
    async with asyncio.timeout(20):
        assert await running == Exited(exit_code=3)
    assert client.shown == [(1, b"o"), (2, b"e")]
    assert client.status["reason"] == "NonZeroExitCode"


async def test_input_keeps_to_its_credit_and_goes_on_when_that_is_given_back() -> None:
    running, client, far = await begun()
    client.does.put_nowait(Input(data=bytes(INPUT_BYTES_MAX + 10)))
    client.does.put_nowait(InputEnded())
    messages, heard = Messages(), 0
    async with asyncio.timeout(20):
        while heard < INPUT_BYTES_MAX:
            heard += sum(len(each.data) for each in messages.receive(await far.read()) if isinstance(each, Input))
        assert heard == INPUT_BYTES_MAX
        await far.write(encode(InputRead(count=INPUT_BYTES_MAX)))
        rest = messages.receive(await far.read())
        while InputEnded() not in rest:
            rest += messages.receive(await far.read())
    assert rest == [Input(data=bytes(10)), InputEnded()]
    await far.write(encode(Exited(exit_code=0)))
    await running


async def test_a_client_that_hangs_up_ends_it() -> None:
    running, client, _ = await begun()
    client.does.put_nowait(None)
    async with asyncio.timeout(20):
        assert await running is None
    assert client.status == {}


async def test_a_client_that_talks_nonsense_ends_it() -> None:
    running, client, _ = await begun()
    client.does.put_nowait(BadRequestError("not base64"))
    with pytest.raises(BadRequestError):
        await running


@pytest.mark.parametrize("error", [UncertainError("the link is lost"), BadRequestError("more input"), None])
async def test_a_gateway_that_breaks_off_is_told_of_whatever_the_client_does(error: SkerryError | None) -> None:
    running, client, far = await begun()
    await far.close(error)
    for _ in range(20):
        await asyncio.sleep(0)
    client.does.put_nowait(Resized(width=80, height=24))
    async with asyncio.timeout(20):
        exited = await running
    assert exited is not None and exited.failure
    why = str(error) if error is not None else "the gateway broke off"
    assert str_at(client.status, "message") == f"Internal error occurred: {why}"


@pytest.mark.parametrize(
    ("error", "code"), [(NotFoundError("pod does not exist"), 404), (BadRequestError("container not found"), 500)]
)
async def test_what_the_gateway_refuses_is_said_in_its_words(error: SkerryError, code: int) -> None:
    near, far = pipe_pair()
    await far.close(error)
    with pytest.raises(RefusedByGatewayError, match=str(error)) as refused:
        await Conversation(near, SESSION).begin()
    assert refused.value.code == code
