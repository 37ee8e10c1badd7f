"""One exchange of HTTP/1.1 on a connection that somebody has opened: a request in one piece, and its whole answer.

Who asks says what becomes of it: `h11.LocalProtocolError` is raised before anything is sent, all else when the
request may have arrived. The protocol is h11's (imported with the first exchange). Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from skerry.frozen import Frozen

if TYPE_CHECKING:
    import h11

READ_BYTES: Final = 64 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024

Headers = Sequence[tuple[str, str]]


class AnswerTooLargeError(Exception):
    """It has more bytes than are taken."""


class Reply(Frozen):
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """As they were said."""
    body: bytes


@dataclass(slots=True, kw_only=True)
class Wire:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection
    used: bool = False

    @property
    def is_reusable(self) -> bool:
        """The exchange is over on both sides, and nothing has come behind it."""
        import h11  # half a megabyte: only who asks over HTTP pays

        done = self.protocol.our_state is h11.DONE and self.protocol.their_state is h11.DONE
        return done and not self.protocol.trailing_data[0]


def wire_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Wire:
    """For a connection that is new."""
    import h11

    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    return Wire(reader=reader, writer=writer, protocol=protocol)


async def exchange(wire: Wire, method: str, target: str, headers: Headers, body: bytes, *, bytes_max: int) -> Reply:
    """Headers are said as they are, in Latin-1 (RFC 9110, 5.5). Raises `h11.LocalProtocolError`,
    `h11.RemoteProtocolError` for an answer that is none, `AnswerTooLargeError`, `EOFError` and `OSError`."""
    import h11

    wire.used = True
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    out = wire.protocol.send(h11.Request(method=method, target=target, headers=fields)) or b""
    if body:
        out += wire.protocol.send(h11.Data(data=body)) or b""
    out += wire.protocol.send(h11.EndOfMessage()) or b""
    wire.writer.write(out)
    await wire.writer.drain()
    return await _reply(wire, bytes_max)


async def _reply(wire: Wire, bytes_max: int) -> Reply:
    import h11

    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = wire.protocol.next_event()
        if event is h11.NEED_DATA:
            data = await wire.reader.read(READ_BYTES)
            if not data and head is None and not wire.protocol.trailing_data[0]:
                raise EOFError("the connection ended before the answer")
            wire.protocol.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > bytes_max:
                raise AnswerTooLargeError
        elif isinstance(event, h11.EndOfMessage):
            break
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise EOFError("the connection ended before the answer")
    assert head is not None, "a message ends after it began"
    said = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items())
    return Reply(status=head.status_code, headers=said, body=bytes(body))
