"""HTTP services of applications on this gateway, asked for a rule. Keeps nothing but who is being asked.

Only the loopback address is asked, as in KubeEdge: which port is said by the rule's endpoint. A request has one
deadline from its first to its last byte, and a service that is slow holds up itself: each has a few turns of its own.
The protocol is h11's, which the local API has loaded already.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import h11

from skerry.errors import UnavailableError, UncertainError
from skerry.objects.rule_calls import CALL_BYTES_MAX, SERVICE_S_MAX, ServiceReply, ServiceRequest, end_to_end

HOST: Final = "127.0.0.1"
REQUESTS_MAX: Final = 16
"""At a time; the others wait. Each may hold a body of two MiB, and an answer of two."""
PORT_REQUESTS_MAX: Final = 4
"""Of those, to one service."""
CONNECT_S_MAX: Final = 5.0
_READ_BYTES: Final = 64 * 1024
_HEAD_BYTES_MAX: Final = 64 * 1024


class Services:
    """See the module."""

    def __init__(self, *, within_s: float = SERVICE_S_MAX) -> None:
        self._within_s = within_s
        self._asked: Counter[int] = Counter()
        """Requests under way, by port."""
        self._turn = asyncio.Condition()

    async def ask(self, asked: ServiceRequest, body: bytes) -> ServiceReply:
        """Raises `UnavailableError` where it was not asked, `UncertainError` where it was and has not answered."""
        where = f"the service on port {asked.port} of the gateway"
        begun = False
        try:
            async with asyncio.timeout(self._within_s), self._its_turn(asked.port):
                reader, writer = await _connected(asked.port)
                begun = True
                try:
                    return await _exchange(asked, body, reader, writer)
                finally:
                    writer.transport.abort()  # whatever is still on its way, nobody waits for it
        except h11.LocalProtocolError as error:
            raise UnavailableError(f"{where} can't be asked: {error}") from error
        except TimeoutError as error:
            if begun:
                raise UncertainError(f"{where} has not answered within {self._within_s:g} s") from error
            raise UnavailableError(f"{where} takes no more requests: it is slow") from error
        except (OSError, h11.RemoteProtocolError) as error:
            if begun:
                raise UncertainError(f"{where} broke off: {error or type(error).__name__}") from error
            raise UnavailableError(f"{where} can't be asked: {error or type(error).__name__}") from error

    @asynccontextmanager
    async def _its_turn(self, port: int) -> AsyncGenerator[None]:
        async with self._turn:
            await self._turn.wait_for(
                lambda: self._asked.total() < REQUESTS_MAX and self._asked[port] < PORT_REQUESTS_MAX
            )
            self._asked[port] += 1
        try:
            yield
        finally:
            self._asked[port] -= 1
            if not self._asked[port]:
                del self._asked[port]
            async with self._turn:
                self._turn.notify_all()


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(CONNECT_S_MAX):
        return await asyncio.open_connection(HOST, port, limit=_READ_BYTES)


async def _exchange(
    asked: ServiceRequest, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> ServiceReply:
    """Raises `h11.LocalProtocolError` before anything is sent, `h11.RemoteProtocolError` for an answer that is
    none."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES_MAX)
    own = {"Host": f"{HOST}:{asked.port}", "Connection": "close", "Content-Length": str(len(body))}
    if "accept" not in {name.lower() for name, _ in asked.headers}:
        own["Accept"] = "*/*"
    said = [(name.encode(), value.encode("latin-1", "replace")) for name, value in (*own.items(), *asked.headers)]
    out = http.send(h11.Request(method=asked.method, target=asked.target, headers=said)) or b""
    out += (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b"")
    writer.write(out)
    await writer.drain()
    head: h11.Response | None = None
    data = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            data += event.data
            if len(data) > CALL_BYTES_MAX:
                raise UncertainError(f"the service on port {asked.port} answers more than {CALL_BYTES_MAX} bytes")
        elif isinstance(event, h11.EndOfMessage):
            break
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("the connection ended before the answer")
    assert head is not None, "a message ends after it began"
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items()]
    return ServiceReply(status=head.status_code, headers=end_to_end(headers), body=bytes(data))
