"""Forwarded ports of clients that speak SPDY. Keeps nothing but what is open.

A connection is a pair of streams, one for its bytes and one for what went wrong, opened when somebody connects to
kubectl.
"""

from __future__ import annotations

import asyncio
from typing import Final

from skerry.errors import SkerryError, UnavailableError
from skerry.transport.forwarding import ForwardedPod
from skerry.transport.pipes import relay
from skerry.transport.spdy import SpdyConnection, SpdyStream

CONNECTIONS_MAX: Final = 64
"""At once through one client's connection."""


class SpdyForwarder:
    """All connections of one client that speaks SPDY."""

    def __init__(self, connection: SpdyConnection, where: ForwardedPod) -> None:
        self._connection = connection
        self._where = where
        self._halves: dict[str, SpdyStream] = {}
        """By request: the first of a pair, until the second comes."""

    async def run(self) -> None:
        """Until the client has gone."""
        await self._connection.attended(self._run())

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            try:
                while (stream := await self._connection.opened()) is not None:
                    pair = await self._pair(stream, room=len(running) < CONNECTIONS_MAX)
                    if pair is not None:
                        task = tasks.create_task(self._forward(*pair))
                        running.add(task)
                        task.add_done_callback(running.discard)
            except UnavailableError:
                pass  # the client has gone
            for task in running:
                task.cancel()

    async def _pair(self, stream: SpdyStream, *, room: bool) -> tuple[SpdyStream, SpdyStream] | None:
        """Both streams of a connection, its bytes and its errors, when this is the second of them."""
        kind, request = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
        port = stream.headers.get("port", "")
        # Very old clients give no number: the error's stream comes first, and its bytes' next.
        request = request or str(stream.number if kind == "error" else stream.number - 2)
        other = self._halves.get(request)
        wrong = (
            kind not in ("error", "data")
            or not port.isdecimal()
            or not 1 <= int(port) <= 65_535
            or not room
            or len(self._halves) > 2 * CONNECTIONS_MAX
            or (other is not None and other.headers.get("streamtype") == kind)
        )
        if wrong:
            await self._connection.refuse(stream)
            return None
        await self._connection.accept(stream)
        if other is None:
            self._halves[request] = stream
            return None
        del self._halves[request]
        return (stream, other) if kind == "data" else (other, stream)

    async def _forward(self, data: SpdyStream, error: SpdyStream) -> None:
        port = int(data.headers["port"])
        try:
            async with self._where.open(port) as pipe:
                await relay(data, pipe)
        except SkerryError as failure:
            await self._tell(error, self._where.failure(port, failure))
        finally:
            for stream in (data, error):
                await _over(stream)
                self._connection.done_with(stream)

    @staticmethod
    async def _tell(error: SpdyStream, text: str) -> None:
        try:
            await error.write(text.encode())
        except UnavailableError:
            return  # nobody is there to be told


async def _over(stream: SpdyStream) -> None:
    try:
        await stream.end()
    except UnavailableError:
        return  # it is over anyway
