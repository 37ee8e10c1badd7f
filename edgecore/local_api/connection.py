"""One connection to the local API, whatever it comes over: HTTP/1.1 by `h11`, requests one after the other.

Everything is bounded: head, body, all bodies at once, and the time a client may take to ask and to take its answer.
Keeps nothing; a crash cuts it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

import h11

from edgecore.local_api.answers import Answer, error_answer, phrase
from edgecore.local_api.bounds import HEAD_BYTES_MAX, Answers, Reader, Room, Writer
from edgecore.local_api.requests import Request, Stream, Talk, Upgrade
from skerry.errors import BadRequestError, SkerryError, TooLargeError
from skerry.objects.cloud_calls import CARRIED_HEADERS

QUERY_FIELDS_MAX: Final = HEAD_BYTES_MAX
"""More do not fit into a head."""
ASK_S_MAX: Final = 30.0
"""For a request to be there, whole."""
WRITE_S_MAX: Final = 60.0
"""For a client to take what is written."""


class Connection:
    """One client: requests one after the other. `uid` is the caller's, as the kernel says; -1 over TCP."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        answers: Answers,
        *,
        uid: int,
        room: Room,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self._uid = uid
        self._room = room
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def serve(self) -> None:
        while True:
            body = bytearray()
            try:
                async with asyncio.timeout(ASK_S_MAX):
                    request = await self._request(body)
            except h11.RemoteProtocolError as error:
                await self._answer(error_answer(BadRequestError(f"not HTTP as expected: {error}")))
                return
            except SkerryError as error:
                await self._answer(error_answer(error))
                return
            finally:
                self._room.give(len(body))
            if request is None:
                return
            await self._respond(request)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _request(self, body: bytearray) -> Request | None:
        head: h11.Request | None = None
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(HEAD_BYTES_MAX))
            elif isinstance(event, h11.Request):
                head = event
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                if len(body) + len(event.data) > self._room.body_bytes_max:
                    raise TooLargeError(f"a body is at most {self._room.body_bytes_max} bytes here")
                self._room.take(len(event.data))
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return self._parsed(head, bytes(body))
            else:
                return None

    def _parsed(self, head: h11.Request, body: bytes) -> Request:
        target = head.target.decode("latin-1")
        path, _, query = target.partition("?")
        headers = {name: value.decode("latin-1") for name, value in reversed(head.headers)}
        return Request(
            method=head.method.decode("latin-1"),
            parts=tuple(unquote(part) for part in path.split("/") if part),
            query=dict(parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)),
            body=body,
            uid=self._uid,
            if_match=headers.get(b"if-match", ""),
            if_none_match=headers.get(b"if-none-match", ""),
            target=target,
            headers=tuple((name, headers[key]) for name in CARRIED_HEADERS if (key := name.encode()) in headers),
            upgrade=_upgrade(headers, head.headers),
        )

    async def _respond(self, request: Request) -> None:
        try:
            answer = await self._answers.answer(request)
            if isinstance(answer, Talk):
                await self._talk(request, answer)
            elif isinstance(answer, Stream):
                async with contextlib.aclosing(answer.chunks):
                    await self._stream(answer)
            else:
                await self._answer(answer)
        except SkerryError as error:
            if self._http.our_state is not h11.SEND_RESPONSE:
                return  # the head is out: the connection ends, and the client sees a torn answer
            await self._answer(error_answer(error))

    async def _talk(self, request: Request, talk: Talk) -> None:
        """What comes after is no HTTP, so that the connection ends with the conversation."""
        from edgecore.local_api.sockets import LocalLine  # only who converses pays for it
        from skerry.transport.conversations import RefusedByGatewayError

        assert request.upgrade is not None, "a conversation is had with who asks for one"
        line = LocalLine(
            self._reader,
            self._writer,
            key=request.upgrade.key,
            trailing=self._http.trailing_data[0],
            large=self._room.large,
        )
        try:
            await talk.run(line)
        except RefusedByGatewayError as error:
            text = f"{error}\n".encode()
            await self._answer(Answer(code=error.code, body=text, content_type="text/plain; charset=utf-8"))
        except (SkerryError, TimeoutError):
            if not line.is_switched:
                raise

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


def _upgrade(headers: Mapping[bytes, str], rows: Iterable[tuple[bytes, bytes]]) -> Upgrade | None:
    """RFC 6455, 4.2.1, and what kubectl up to 1.29 asks for; None for a client that goes on with HTTP."""
    if "upgrade" not in headers.get(b"connection", "").lower():
        return None
    asked = headers.get(b"upgrade", "").lower()
    if asked == "spdy/3.1":
        return Upgrade(key="", protocols=_offered(rows, b"x-stream-protocol-version"))
    key = headers.get(b"sec-websocket-key", "")
    if asked != "websocket" or not key:
        return None
    return Upgrade(key=key, protocols=_offered(rows, b"sec-websocket-protocol"))


def _offered(rows: Iterable[tuple[bytes, bytes]], header: bytes) -> tuple[str, ...]:
    """A header that may come several times, and list several each."""
    listed = ",".join(value.decode("latin-1") for name, value in rows if name == header)
    return tuple(name.strip() for name in listed.split(",") if name.strip())
