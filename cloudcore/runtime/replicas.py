"""What one replica asks of another: what only the process can tell to which a gateway is connected.

A replica asks over the other's API port, with TLS 1.3 on both sides: it shows a certificate of the cloud's own CA, in
the group `GROUP`, which may do this and nothing else. Whoever is asked answers from its own sessions and asks nobody,
so a question is passed on once at most. Keeps nothing: a connection for each question, which are rare.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import orjson

from cloudcore.runtime.replica_pipes import MESSAGE_BYTES_MAX, WebSocketPipe
from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError, UncertainError
from skerry.frozen import Frozen
from skerry.objects.json import Json, str_at
from skerry.ports import Pipe

log = logging.getLogger(__name__)

GROUP: Final = "system:skerry:replicas"
USER: Final = "system:skerry:replica"
PREFIX: Final = "/replica.skerry.dev/v1/nodes"
CONNECT_S_MAX: Final = 5.0
"""To open a connection, handshake included: replicas are near each other."""
_ANSWER_BYTES_MAX: Final = 256 * 1024
"""Of an answer that is read whole: counts by class, or a Status."""


LENT_PATH: Final = f"{PREFIX}/-/lent"
"""POST nothing; the answer is how long ago the region was lent what must run once alone, where that is known."""


def stream_path(node: str, kind: str) -> str:
    """A WebSocket that carries the stream: `cloudcore.runtime.replica_pipes`."""
    return f"{PREFIX}/{node}/streams/{kind}"


def traffic_path(node: str) -> str:
    """POST nothing; the answer is what was counted and not yet written down."""
    return f"{PREFIX}/{node}/traffic"


class Replica(Frozen):
    """The replica to which a node is connected."""

    name: str
    address: str
    """HOST:PORT of its API."""
    lives: Callable[[], bool]
    """Whether it is still heard."""


class ReplicaClient(Frozen):
    """Asks other replicas."""

    tls: Callable[[], ssl.SSLContext]
    """Made anew for each connection, as certificates are renewed. Raises `UnavailableError`."""
    server_name: str
    """What the other's certificate is checked for; addresses may be anything."""

    async def ask(self, replica: Replica, path: str) -> bytes:
        """A short answer. Raises what the other replica refused with, and `UnavailableError` where it can't be
        reached."""
        where = _where(replica)
        try:
            async with (
                asyncio.timeout(2 * CONNECT_S_MAX),
                self._session() as session,
                session.post(
                    f"https://{replica.address}{path}",
                    ssl=self.tls(),
                    server_hostname=self.server_name,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await _bounded(response.content, where)
                if response.status != 200:
                    raise _refusal(response.status, answer, where)
                return answer
        except TimeoutError as error:
            raise UnavailableError(f"{where} does not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(f"{where} can't be reached: {error}") from error

    @asynccontextmanager
    async def open(self, replica: Replica, path: str, params: bytes) -> AsyncGenerator[Pipe]:
        """A stream, for as long as the block lasts. Raises as `ask`; reading it raises what it ended with, and
        `UncertainError` where the other replica breaks off."""
        where = _where(replica)
        async with self._session() as session:
            try:
                socket = await session.ws_connect(
                    f"wss://{replica.address}{path}",
                    ssl=self.tls(),
                    server_hostname=self.server_name,
                    max_msg_size=MESSAGE_BYTES_MAX,
                    autoping=True,
                )
            except aiohttp.WSServerHandshakeError as error:
                raise _refusal(error.status, b"", where) from error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise UnavailableError(f"{where} can't be reached: {error or 'no answer in time'}") from error
            pipe = WebSocketPipe(socket, where, replica.lives)
            try:
                await pipe.open(params)
                yield pipe
            finally:
                await pipe.close()
                await socket.close()

    @staticmethod
    def _session() -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX)
        return aiohttp.ClientSession(timeout=timeout, trust_env=False)


def _where(replica: Replica) -> str:
    return f"replica {replica.name} at {replica.address}"


async def _bounded(content: aiohttp.StreamReader, where: str) -> bytes:
    answer = bytearray()
    async for piece in content.iter_any():
        answer += piece
        if len(answer) > _ANSWER_BYTES_MAX:
            raise UnavailableError(f"{where} answers with too much")
    return bytes(answer)


def _refusal(status: int, body: bytes, where: str) -> SkerryError:
    try:
        told: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = None
    message = str_at(told, "message") or f"HTTP status {status}"
    match status:
        case 400:
            return BadRequestError(message)
        case 404:
            return NotFoundError(message)
        case 401 | 403:
            return UnavailableError(f"{where} does not take this one for a replica of the same cloud: {message}")
        case 504:
            return UncertainError(message)
        case _:
            return UnavailableError(message)
