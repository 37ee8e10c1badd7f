"""The local API's server: HTTP/1.1 over a unix socket, for root and the agent's own user.

`h11` parses; everything is bounded: connections, head, body, and the time a client may take to ask. The socket file
is 0600, and the kernel says who is at the other end (SO_PEERCRED). Keeps nothing; a socket file left by a killed
agent is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

import h11

from edgecore.local_api.answers import Answer, error_answer, phrase
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.ports import LocalParts
from edgecore.local_api.routes import Request, Routes, Stream
from skerry.errors import BadRequestError, SkerryError, TooLargeError, UnavailableError

log = logging.getLogger(__name__)

__all__ = ["LocalApi", "LocalParts"]

HEAD_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 64
ASK_S_MAX: Final = 30.0
"""For a request to be there, whole."""
WRITE_S_MAX: Final = 60.0
"""For a client to take what is written."""


class LocalApi:
    """`listen`, then `run` in a task group."""

    def __init__(self, path: Path, parts: LocalParts) -> None:
        self._path = path
        self._objects = LocalObjects(parts)
        self._routes = Routes(parts, self._objects)
        self._server: asyncio.Server | None = None
        self._open = 0

    async def listen(self) -> None:
        """Raises `UnavailableError` when the socket can't be made."""
        try:
            self._path.unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._connected, self._path, limit=HEAD_BYTES_MAX)
            finally:
                os.umask(mask)
        except OSError as error:
            raise UnavailableError(f"listening on {self._path}: {error}") from error

    async def run(self) -> None:
        assert self._server is not None, "listen first"
        stop = self._objects.listen()
        try:
            await self._server.serve_forever()
        finally:
            stop()
            self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            uid = _peer_uid(writer)
            if uid in (0, os.geteuid()) and self._open <= CONNECTIONS_MAX:
                await _Connection(reader, writer, self._routes, uid).serve()
        except (ConnectionError, TimeoutError):
            return  # the client went away; there is nobody to tell
        except Exception:
            # The root of this worker: one request must not end the agent.
            log.exception("local api request failed")
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    sock: socket.socket = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


class _Connection:
    """One client: requests one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, routes: Routes, uid: int) -> None:
        self._reader = reader
        self._writer = writer
        self._routes = routes
        self._uid = uid
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def serve(self) -> None:
        while True:
            try:
                async with asyncio.timeout(ASK_S_MAX):
                    request = await self._request()
            except h11.RemoteProtocolError as error:
                await self._answer(error_answer(BadRequestError(f"not HTTP as expected: {error}")))
                return
            except SkerryError as error:
                await self._answer(error_answer(error))
                return
            if request is None:
                return
            await self._respond(request)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _request(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(HEAD_BYTES_MAX))
            elif isinstance(event, h11.Request):
                head = event
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    raise TooLargeError(f"a body is at most {BODY_BYTES_MAX} bytes here")
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return self._parsed(head, bytes(body))
            else:
                return None

    def _parsed(self, head: h11.Request, body: bytes) -> Request:
        path, _, query = head.target.decode("latin-1").partition("?")
        return Request(
            method=head.method.decode("latin-1"),
            parts=tuple(unquote(part) for part in path.split("/") if part),
            query=dict(parse_qsl(query, keep_blank_values=True, max_num_fields=64)),
            body=body,
            uid=self._uid,
            if_match=next((value.decode("latin-1") for name, value in head.headers if name == b"if-match"), ""),
        )

    async def _respond(self, request: Request) -> None:
        try:
            answer = await self._routes.answer(request)
            if isinstance(answer, Stream):
                async with contextlib.aclosing(answer.chunks):
                    await self._stream(answer)
            else:
                await self._answer(answer)
        except SkerryError as error:
            if self._http.our_state is not h11.SEND_RESPONSE:
                return  # the head is out: the connection ends, and the client sees a torn answer
            await self._answer(error_answer(error))

    async def _answer(self, answer: Answer) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            *answer.headers,
        ]
        await self._send(h11.Response(status_code=answer.code, headers=headers, reason=phrase(answer.code)))
        await self._send(h11.Data(data=answer.body))
        await self._send(h11.EndOfMessage())

    async def _stream(self, answer: Stream) -> None:
        """A stream ends with the client, even while there is nothing to send."""
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            first = True
            while True:
                step = asyncio.ensure_future(anext(answer.chunks, None))
                try:
                    await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if not step.done():
                        return
                finally:
                    if not step.done():
                        step.cancel()
                        with contextlib.suppress(asyncio.CancelledError):
                            await step
                chunk = step.result()
                if first:
                    first = False
                    headers = [("Content-Type", answer.content_type), ("Transfer-Encoding", "chunked")]
                    await self._send(h11.Response(status_code=200, headers=headers, reason=b"OK"))
                if chunk is None:
                    await self._send(h11.EndOfMessage())
                    return
                if chunk:
                    await self._send(h11.Data(data=chunk))
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await gone

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            async with asyncio.timeout(WRITE_S_MAX):
                await self._writer.drain()
