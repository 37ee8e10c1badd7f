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
from typing import Final

import aiohttp
import orjson

from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError, UncertainError
from skerry.frozen import Frozen
from skerry.objects.json import Json, str_at

log = logging.getLogger(__name__)

GROUP: Final = "system:skerry:replicas"
USER: Final = "system:skerry:replica"
PREFIX: Final = "/replica.skerry.dev/v1/nodes"
CONNECT_S_MAX: Final = 5.0
"""To open a connection, handshake included: replicas are near each other."""
LOOK_S: Final = 5.0
"""How often a silent stream is looked at for whether the other replica still lives."""
_ANSWER_BYTES_MAX: Final = 256 * 1024
"""Of an answer that is read whole: counts by class, or a Status."""


def stream_path(node: str, kind: str) -> str:
    """POST the stream's parameters; the answer is what it carries."""
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
        """A short answer. Raises as `read`."""
        answer = b""
        try:
            async with asyncio.timeout(2 * CONNECT_S_MAX):
                async for piece in self.read(replica, path, b""):
                    answer += piece
                    if len(answer) > _ANSWER_BYTES_MAX:
                        raise UnavailableError(f"replica {replica.name} answers with too much")
        except TimeoutError as error:
            raise UnavailableError(f"replica {replica.name} at {replica.address} does not answer in time") from error
        return answer

    async def read(self, replica: Replica, path: str, body: bytes) -> AsyncGenerator[bytes]:
        """The answer in pieces, however long it takes. Raises what the other replica refused with,
        `UnavailableError` where it can't be reached, and `UncertainError` where it breaks off."""
        where = f"replica {replica.name} at {replica.address}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(
                    f"https://{replica.address}{path}",
                    data=body,
                    ssl=self.tls(),
                    server_hostname=self.server_name,
                    allow_redirects=False,
                ) as response,
            ):
                if response.status != 200:
                    raise _refusal(response.status, await response.content.read(_ANSWER_BYTES_MAX), where)
                while piece := await _next(response.content, replica):
                    yield piece
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
            raise UncertainError(f"{where} broke off") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError(f"{where} can't be reached: {error or 'no answer in time'}") from error


async def _next(content: aiohttp.StreamReader, replica: Replica) -> bytes:
    """The next piece; empty at the end. A replica whose machine is gone says nothing, and ends nothing."""
    while True:
        try:
            async with asyncio.timeout(LOOK_S):
                return await content.readany()
        except TimeoutError:
            if not replica.lives():
                raise UncertainError(f"replica {replica.name} at {replica.address} is not heard any more") from None


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
