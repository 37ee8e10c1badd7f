"""HTTP services of applications on this gateway, asked for a rule. Keeps nothing but who is being asked.

Only the loopback address is asked, as in KubeEdge: which port is said by the rule's endpoint. A request has one
deadline from its first to its last byte, and a service that is slow holds up itself: each has a few turns of its own.
The protocol is h11's, loaded with the first of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from skerry.errors import UnavailableError, UncertainError
from skerry.objects.rule_calls import CALL_BYTES_MAX, SERVICE_S_MAX, ServiceReply, ServiceRequest, end_to_end

if TYPE_CHECKING:
    from devices.http.exchange import Wire

HOST: Final = "127.0.0.1"
REQUESTS_MAX: Final = 16
"""At a time; the others wait. Each may hold a body of two MiB, and an answer of two."""
PORT_REQUESTS_MAX: Final = 4
"""Of those, to one service."""
CONNECT_S_MAX: Final = 5.0


class Services:
    """See the module."""

    def __init__(self, *, within_s: float = SERVICE_S_MAX) -> None:
        self._within_s = within_s
        self._asked: Counter[int] = Counter()
        """Requests under way, by port."""
        self._turn = asyncio.Condition()

    async def ask(self, asked: ServiceRequest, body: bytes) -> ServiceReply:
        """Raises `UnavailableError` where it was not asked, `UncertainError` where it was and has not answered."""
        import h11

        from devices.http.exchange import AnswerTooLargeError, exchange

        where = f"the service on port {asked.port} of the gateway"
        begun = False
        try:
            async with asyncio.timeout(self._within_s), self._its_turn(asked.port):
                wire = await _connected(asked.port)
                begun = True
                try:
                    reply = await exchange(
                        wire, asked.method, asked.target, _headers_of(asked, body), body, bytes_max=CALL_BYTES_MAX
                    )
                finally:
                    wire.writer.transport.abort()  # whatever is still on its way, nobody waits for it
            return ServiceReply(status=reply.status, headers=end_to_end(reply.headers), body=reply.body)
        except h11.LocalProtocolError as error:
            raise UnavailableError(f"{where} can't be asked: {error}") from error
        except TimeoutError as error:
            if begun:
                raise UncertainError(f"{where} has not answered within {self._within_s:g} s") from error
            raise UnavailableError(f"{where} takes no more requests: it is slow") from error
        except AnswerTooLargeError as error:
            raise UncertainError(f"{where} answers more than {CALL_BYTES_MAX} bytes") from error
        except (OSError, EOFError, h11.RemoteProtocolError) as error:
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


async def _connected(port: int) -> Wire:
    from devices.http.exchange import READ_BYTES, wire_of

    async with asyncio.timeout(CONNECT_S_MAX):
        return wire_of(*await asyncio.open_connection(HOST, port, limit=READ_BYTES))


def _headers_of(asked: ServiceRequest, body: bytes) -> list[tuple[str, str]]:
    own = {"Host": f"{HOST}:{asked.port}", "Connection": "close", "Content-Length": str(len(body))}
    if "accept" not in {name.lower() for name, _ in asked.headers}:
        own["Accept"] = "*/*"
    said = [(name, value.encode("latin-1", "replace").decode("latin-1")) for name, value in asked.headers]
    return [*own.items(), *said]
