"""Conversations with a gateway's pods: who is asked, what is said, and how each ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgecore.pods.port import Size
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.pods.streams import COMMANDS_MAX, INPUT_TOLD_BYTES, PodStreams, StreamParts
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.pod_streams import (
    INPUT_BYTES_MAX,
    PIECE_BYTES_MAX,
    Begun,
    Exited,
    Forward,
    Input,
    InputEnded,
    InputRead,
    Message,
    Messages,
    Output,
    Resized,
    Session,
    Whose,
    encode,
)
from skerry.transport.inside import pipe_pair
from skerry.transport.pipes import StreamPipe
from tests.contracts.runtime_contract import Programs, spec_of
from tests.edgecore.pods.pods_of import body_of, key_of, pod, stamp_of

PROGRAMS = Programs(
    runs=("run",),
    exits_3=(),
    cannot_start=(),
    ignores_term=(),
    image="app",
    says_hello_and_fails=(),
    repeats=(),
    hangs=(),
)
WHOSE = Whose(namespace="default", pod="web", uid="uid-1", by="jane")


class Gateway:
    def __init__(self) -> None:
        clock = ManualClock()
        self.runtime = FakeRuntime(clock)
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=clock))
        self.streams = PodStreams(StreamParts(store=self.store, runtime=self.runtime))

    @asynccontextmanager
    async def talk(self, params: JsonObject, *, forward: bool = False) -> AsyncGenerator[StreamPipe]:
        """The cloud's end of a stream."""
        near, far = pipe_pair()
        serving = asyncio.create_task(self._serve(params, far, forward=forward))
        try:
            async with asyncio.timeout(20):
                yield near
        finally:
            await near.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _serve(self, params: JsonObject, far: StreamPipe, *, forward: bool) -> None:
        """As the session's host does."""
        try:
            await (self.streams.forward if forward else self.streams.command)(params, far)
        except SkerryError as error:
            await far.close(error)
        else:
            await far.close()


@pytest.fixture
async def gateway(tmp_path: Path) -> Gateway:
    made = Gateway()
    web = pod()
    await made.store.apply(EdgeBatch(puts=(Held(key=key_of(web), stamp=stamp_of(web), body=body_of(web)),)))
    await made.runtime.start(await spec_of(made.runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    return made


def exec_of(*command: str, container: str = "app", whose: Whose = WHOSE) -> JsonObject:
    session = Session(whose=whose, container=container, command=command, stdin=True, stdout=True, stderr=True)
    return session.params()


class Heard:
    def __init__(self, pipe: StreamPipe) -> None:
        self._pipe = pipe
        self._messages = Messages()
        self._left: list[Message] = []

    async def next(self) -> Message:
        while not self._left:
            data = await self._pipe.read()
            assert data, "it ended"
            self._left = self._messages.receive(data)
        return self._left.pop(0)


async def test_a_command_says_what_it_says_and_how_it_ended(gateway: Gateway) -> None:
    async with gateway.talk(exec_of("say", "out", "3")) as pipe:
        heard = Heard(pipe)
        said = [await heard.next() for _ in range(3)]
        assert said == [Begun(), Output(channel=1, data=b"out"), Exited(exit_code=3)]
        assert await pipe.read() == b""
    assert gateway.runtime.runs == [("app", ("say", "out", "3"))]
    assert gateway.runtime.streams[0].closed


async def test_input_is_fed_counted_and_ended(gateway: Gateway) -> None:
    async with gateway.talk(exec_of("repeat")) as pipe:
        heard = Heard(pipe)
        assert await heard.next() == Begun()
        await pipe.write(encode(Input(data=b"hello")))
        assert await heard.next() == Output(channel=1, data=b"hello")
        rest = bytes(INPUT_TOLD_BYTES - 5)
        await pipe.write(encode(Input(data=rest)))
        said = {await heard.next(), await heard.next()}
        assert said == {InputRead(count=INPUT_TOLD_BYTES), Output(channel=1, data=rest)}
        await pipe.write(encode(InputEnded()))
        assert await heard.next() == Exited(exit_code=0)


async def test_a_process_that_reads_nothing_holds_up_neither_its_size_nor_the_limit_of_its_input(
    gateway: Gateway,
) -> None:
    async with gateway.talk(exec_of("hang")) as pipe:
        heard = Heard(pipe)
        assert await heard.next() == Begun()
        for _ in range(INPUT_BYTES_MAX // PIECE_BYTES_MAX):
            await pipe.write(encode(Input(data=bytes(PIECE_BYTES_MAX))))
        await pipe.write(encode(Resized(width=80, height=24)))
        while not gateway.runtime.streams[0].sizes:
            await asyncio.sleep(0)
        assert gateway.runtime.streams[0].sizes == [Size(width=80, height=24)]
        await pipe.write(encode(Input(data=b"x")))
        with pytest.raises(BadRequestError, match="more input"):
            await pipe.read()
    assert gateway.runtime.streams[0].closed


async def test_who_hangs_up_hangs_up_on_the_process(gateway: Gateway) -> None:
    async with gateway.talk(exec_of("hang")) as pipe:
        await pipe.read()
        while not gateway.runtime.streams:
            await asyncio.sleep(0)
    assert gateway.runtime.streams[0].closed


async def test_what_can_not_be_run_is_said_after_it_has_begun(gateway: Gateway) -> None:
    async with gateway.talk(exec_of("missing")) as pipe:
        heard = Heard(pipe)
        assert await heard.next() == Begun()
        exited = await heard.next()
        assert isinstance(exited, Exited) and "no such command" in exited.failure


@pytest.mark.parametrize(
    ("params", "error", "why"),
    [
        (exec_of("ls", whose=Whose(namespace="default", pod="nope", uid="")), NotFoundError, "pod does not exist"),
        (exec_of("ls", whose=Whose(namespace="default", pod="web", uid="u2")), NotFoundError, "pod does not exist"),
        (exec_of("ls", container="nope"), BadRequestError, r'container not found \("nope"\)'),
    ],
)
async def test_what_is_not_here_is_refused_as_a_kubelet_words_it(
    gateway: Gateway, params: JsonObject, error: type[Exception], why: str
) -> None:
    async with gateway.talk(params) as pipe:
        with pytest.raises(error, match=why):
            await pipe.read()


async def test_a_container_that_has_ended_runs_nothing(gateway: Gateway) -> None:
    gateway.runtime.end("uid-1", "app", code=0)
    async with gateway.talk(exec_of("ls")) as pipe:
        with pytest.raises(BadRequestError, match="container is in CONTAINER_EXITED state"):
            await pipe.read()


async def test_only_so_many_commands_run_at_once(gateway: Gateway) -> None:
    pairs = [pipe_pair() for _ in range(COMMANDS_MAX)]
    running = [asyncio.create_task(gateway.streams.command(exec_of("hang"), far)) for _, far in pairs]
    try:
        for near, _ in pairs:
            await near.read()
        with pytest.raises(UnavailableError, match="32 commands into pods are open"):
            await gateway.streams.command(exec_of("hang"), pipe_pair()[1])
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    async with gateway.talk(exec_of("say", "a", "0")) as pipe:
        assert await Heard(pipe).next() == Begun()


async def test_a_port_is_carried_both_ways_and_one_where_nobody_listens_is_named(gateway: Gateway) -> None:
    gateway.runtime.ports = {80}
    async with gateway.talk(Forward(whose=WHOSE, port=80).params(), forward=True) as pipe:
        await pipe.write(b"GET")
        assert await pipe.read() == b"GET"
        await pipe.end()
        assert await pipe.read() == b""
    async with gateway.talk(Forward(whose=WHOSE, port=81).params(), forward=True) as pipe:
        with pytest.raises(UnavailableError, match="failed to connect to localhost:81"):
            await pipe.read()
    await gateway.runtime.stop_sandbox("uid-1/0")
    async with gateway.talk(Forward(whose=WHOSE, port=80).params(), forward=True) as pipe:
        with pytest.raises(UnavailableError, match="sandbox of pod web is not running"):
            await pipe.read()


async def test_who_talked_is_logged_and_never_what_was_said(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with gateway.talk(exec_of("say", "secret words", "0")) as pipe:
        while await pipe.read():
            pass
    assert "pod stream begun by=jane kind=exec pod=default/web at=app" in caplog.text
    assert "secret" not in caplog.text
