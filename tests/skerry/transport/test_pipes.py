"""One stream as both its sides use it."""

from __future__ import annotations

import asyncio

import pytest

from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError, UncertainError
from skerry.ports import Pipe
from skerry.sync.effects import StreamEnded
from skerry.sync.streams import CREDIT_BYTES_MAX, STREAM_LOST, STREAM_REFUSED
from skerry.transport.inside import pipe_pair
from skerry.transport.pipes import code_of, ended_error, relay

LARGE = bytes(range(256)) * 8192
"""2 MiB: several windows."""


async def everything(pipe: Pipe) -> bytes:
    data = bytearray()
    while piece := await pipe.read():
        data += piece
    return bytes(data)


async def send(pipe: Pipe, data: bytes) -> None:
    await pipe.write(data)
    await pipe.end()


async def test_both_ways_go_on_at_once_and_each_ends_by_itself() -> None:
    near, far = pipe_pair()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(send(near, LARGE))
        tasks.create_task(send(far, LARGE[::-1]))
        up, down = tasks.create_task(everything(far)), tasks.create_task(everything(near))
    assert (up.result(), down.result()) == (LARGE, LARGE[::-1])


async def test_one_way_may_be_over_long_before_the_other() -> None:
    near, far = pipe_pair()
    await near.end()
    assert await far.read() == b""
    await far.write(b"late")
    assert await near.read() == b"late"
    await far.close()
    assert await near.read() == b""


async def test_a_writer_waits_for_a_reader_and_nothing_grows_meanwhile() -> None:
    near, far = pipe_pair()
    writing = asyncio.create_task(send(near, LARGE))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not writing.done()
    assert len(await far.read()) <= CREDIT_BYTES_MAX
    assert (await everything(far))[-1:] == LARGE[-1:]
    await writing


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFoundError("no such pod"), NotFoundError),
        (BadRequestError("no such container"), BadRequestError),
        (UncertainError("no answer"), UncertainError),
        (UnavailableError("broken"), UnavailableError),
    ],
)
async def test_what_it_ended_with_comes_after_what_was_written(error: SkerryError, kind: type[SkerryError]) -> None:
    near, far = pipe_pair()
    await far.write(b"last words")
    await far.close(error)
    await far.close()
    assert await near.read() == b"last words"
    with pytest.raises(kind, match=str(error)) as caught:
        await near.read()
    assert type(caught.value) is kind
    with pytest.raises(kind, match=str(error)):
        await near.write(b"?")


async def test_who_hung_up_takes_nothing_more() -> None:
    near, far = pipe_pair()
    await far.close()
    assert await near.read() == b""
    with pytest.raises(UnavailableError, match="hung up"):
        await near.write(b"?")


async def test_a_writer_that_waits_for_room_is_told_of_the_end() -> None:
    near, far = pipe_pair()
    writing = asyncio.create_task(near.write(LARGE))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not writing.done()
    await far.close(NotFoundError("gone"))
    with pytest.raises(NotFoundError, match="gone"):
        await writing


def test_what_an_end_means() -> None:
    for error in (NotFoundError("x"), BadRequestError("x"), UncertainError("x"), UnavailableError("x")):
        ended = StreamEnded(stream=1, code=code_of(error), reason="x")
        assert type(ended_error(ended)) is type(error)
    assert isinstance(ended_error(StreamEnded(stream=1, code=STREAM_LOST, reason="")), UncertainError)
    refused = ended_error(StreamEnded(stream=1, code=STREAM_REFUSED, reason="no streams of kind x"))
    assert str(refused) == "no streams of kind x: its agent may be of an older release"


async def test_a_relay_carries_both_ways_and_the_end() -> None:
    near, here = pipe_pair()
    there, far = pipe_pair()
    relaying = asyncio.create_task(relay(here, there))
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(send(near, LARGE))
        up = tasks.create_task(everything(far))
    assert up.result() == LARGE, "the end of one way is carried"
    await far.write(b"answer")
    assert await near.read() == b"answer"
    await far.close(NotFoundError("gone"))
    with pytest.raises(NotFoundError, match="gone"):
        await relaying


async def test_a_relay_ends_when_the_near_side_breaks_off() -> None:
    near, here = pipe_pair()
    there, far = pipe_pair()
    relaying = asyncio.create_task(relay(here, there))
    await near.write(b"question")
    assert await far.read() == b"question"
    await near.close(UncertainError("broke off"))
    async with asyncio.timeout(30):
        await relaying
