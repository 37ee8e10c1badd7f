"""Conversations with this gateway's pods that somebody at the cloud, or here, asks for: exec, attach, port-forward.

Whoever asks has been allowed to by then; here it is checked that the pod is this gateway's and that the container
runs, in a kubelet's words. Each is logged with who asked, and never with what was said. Nothing is kept; a crash or a
lost session hangs up on what runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from edgecore.pods.containers import runs_of
from edgecore.pods.port import ContainerState, ExecStream, Runtime, Size, Streamed
from edgecore.pods.sources import Files, GatewayPods
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.pod_streams import (
    FORWARD,
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
from skerry.ports import Pipe
from skerry.waits import end_tasks

log = logging.getLogger(__name__)

COMMANDS_MAX: Final = 32
"""Execs and attaches at once, on all pods."""
CONNECTIONS_MAX: Final = 64
"""Forwarded ones. Both together stay below what a session carries: a browser behind a forwarded port must not keep
anybody from reading a log."""


INPUT_TOLD_BYTES: Final = INPUT_BYTES_MAX // 4
"""How much of its input a process has read before that is said: the sender has three quarters of its credit left."""


class StreamParts(Frozen):
    store: AsyncEdgeStore
    runtime: Runtime
    files: Files | None = None
    """See `edgecore.pods.parts.PodParts`."""


class PodStreams:
    """Talkers of `edgecore.link.streams`, by their kinds."""

    def __init__(self, parts: StreamParts) -> None:
        self._pods = GatewayPods(parts.store, parts.files)
        self._runtime = parts.runtime
        self._open: Counter[str] = Counter()

    async def command(self, params: JsonObject, pipe: Pipe) -> None:
        """An exec, or an attach. Raises `NotFoundError` and `BadRequestError` before it has begun; afterwards a
        message tells how it ended."""
        session = Session.of(params)
        container = await self._container(session)
        with self._place("commands", COMMANDS_MAX), _logged(session.kind, session.whose, session.container):
            talk = _Talk(pipe)
            await talk.say(Begun())
            how = Streamed(stdin=session.stdin, stdout=session.stdout, stderr=session.stderr, tty=session.tty)
            try:
                if session.command:
                    stream = await self._runtime.exec(container.id, session.command, how)
                else:
                    stream = await self._runtime.attach(container.id, how)
            except SkerryError as error:
                await talk.say(Exited(exit_code=0, failure=str(error)))
                return
            try:
                await talk.run(stream)
            finally:
                await stream.close()

    async def forward(self, params: JsonObject, pipe: Pipe) -> None:
        """A connection to a port of a pod. Raises `NotFoundError`, and `UnavailableError` where nothing listens."""
        wanted = Forward.of(params)
        uid = self._uid(wanted.whose)
        sandboxes = [sandbox for sandbox in await self._runtime.sandboxes(uid) if sandbox.ready]
        if not sandboxes:
            raise UnavailableError(f"the sandbox of pod {wanted.whose.pod} is not running")
        with self._place("connections", CONNECTIONS_MAX), _logged(FORWARD, wanted.whose, str(wanted.port)):
            stream = await self._runtime.forward(sandboxes[-1].id, wanted.port)
            try:
                await _carry(stream, pipe)
            finally:
                await stream.close()

    def _uid(self, whose: Whose) -> str:
        found = self._pods.find(Key("pods", whose.namespace, whose.pod), whose.uid)
        if found is None:
            raise NotFoundError("pod does not exist")
        return found.uid

    async def _container(self, session: Session) -> ContainerState:
        runs = runs_of(await self._runtime.list(self._uid(session.whose)), session.container)
        if not runs:
            raise BadRequestError(f'container not found ("{session.container}")')
        if runs[-1].phase != "running":
            raise BadRequestError(f"container is in CONTAINER_{runs[-1].phase.upper()} state")
        return runs[-1]

    @contextmanager
    def _place(self, what: str, most: int) -> Generator[None]:
        if self._open[what] >= most:
            raise UnavailableError(f"{most} {what} into pods are open on this gateway, and no more are taken")
        self._open[what] += 1
        try:
            yield
        finally:
            self._open[what] -= 1


@contextmanager
def _logged(kind: str, whose: Whose, where: str) -> Generator[None]:
    log.info(
        "pod stream begun by=%s kind=%s pod=%s/%s at=%s", whose.by or "-", kind, whose.namespace, whose.pod, where
    )
    try:
        yield
    finally:
        log.info("pod stream ended by=%s kind=%s pod=%s/%s", whose.by or "-", kind, whose.namespace, whose.pod)


class _Talk:
    """Messages on one pipe, and the input that waits for the process."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._saying = asyncio.Lock()
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        """Bytes of input; whoever sends it keeps to its credit."""

    async def say(self, message: Message) -> None:
        async with self._saying:  # two tasks have something to say, and a message may go in parts
            await self._pipe.write(encode(message))

    async def run(self, stream: ExecStream) -> None:
        """Until it has ended and that is said."""
        hearing = asyncio.create_task(self._hear(stream))
        feeding = asyncio.create_task(self._feed(stream))
        telling = asyncio.create_task(self._tell(stream))
        try:
            await asyncio.wait((hearing, telling), return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                await hearing  # raises why, or the other side says nothing more
            await telling
        finally:
            await end_tasks(hearing, feeding, telling)

    async def _hear(self, stream: ExecStream) -> None:
        messages = Messages()
        while data := await self._pipe.read():
            for message in messages.receive(data):
                match message:
                    case Input():
                        self._waiting += len(message.data)
                        if self._waiting > INPUT_BYTES_MAX:
                            raise BadRequestError("more input was sent than is taken")
                        self._input.put_nowait(message.data)
                    case InputEnded():
                        self._input.put_nowait(None)
                    case Resized():
                        await stream.resize(Size(width=message.width, height=message.height))
                    case _:
                        pass

    async def _feed(self, stream: ExecStream) -> None:
        read = 0
        while (data := await self._input.get()) is not None:
            await stream.write(data)
            self._waiting -= len(data)
            read += len(data)
            if read >= INPUT_TOLD_BYTES:
                await self.say(InputRead(count=read))
                read = 0
        await stream.end_input()

    async def _tell(self, stream: ExecStream) -> None:
        exited: Exited
        try:
            async for channel, data in stream.output():
                for at in range(0, len(data), PIECE_BYTES_MAX):
                    piece = data[at : at + PIECE_BYTES_MAX]
                    await self.say(Output(channel=1 if channel == 1 else 2, data=piece))
            exited = Exited(exit_code=await stream.result())
        except SkerryError as error:
            exited = Exited(exit_code=0, failure=str(error))
        await self.say(exited)


async def _carry(stream: ExecStream, pipe: Pipe) -> None:
    """Both ways, until the port's side is done or the other one breaks off."""
    up, down = asyncio.create_task(_give(stream, pipe)), asyncio.create_task(_take(stream, pipe))
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        if not down.done():
            await up
        await down
    finally:
        await end_tasks(up, down)


async def _give(stream: ExecStream, pipe: Pipe) -> None:
    while data := await pipe.read():
        await stream.write(data)
    await stream.end_input()


async def _take(stream: ExecStream, pipe: Pipe) -> None:
    async for _, data in stream.output():
        await pipe.write(data)
    await pipe.end()
