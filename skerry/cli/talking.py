"""A conversation over WebSocket channels with whoever answers: the cloud's API, or the agent's socket on a gateway.

Both speak Kubernetes' `v5.channel.k8s.io`, so a command does not care which it is. What comes is handed on as fast as
it is taken and no faster; nothing is kept.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from skerry.cli.client import CONNECT_S_MAX, Client, error_of
from skerry.errors import SkerryError, UnauthenticatedError, UnavailableError
from skerry.forms.channels import RESIZE, STATUS, STDERR, STDIN, STDOUT, Channels
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object, maps_at, str_at
from skerry.waits import end_tasks

CHANNELS: Final = Channels(name="v5.channel.k8s.io", closes=True)
PIECE_BYTES: Final = 32 * 1024
"""Of input in one message."""
_MESSAGE_BYTES_MAX: Final = 2 << 20
_PING_S: Final = 30.0
_WRITE_BYTES: Final = 256 * 1024
"""Of input that may wait for a slow link."""

Write = Callable[[bytes], Awaitable[None]]
Read = Callable[[], Awaitable[bytes]]
Query = Sequence[tuple[str, str]]


class Streams(Frozen):
    """What a command reads and writes here. `sizes`: the terminal's, whenever it is another one."""

    stdin: Read | None = None
    """Empty at its end."""
    stdout: Write
    stderr: Write
    sizes: Callable[[], Awaitable[tuple[int, int]]] | None = None


class Ended(Frozen):
    """How a command ended. `failure`: it could not be run, or it is not known how it ended."""

    exit_code: int = 0
    failure: str = ""


@asynccontextmanager
async def connected(client: Client, path: str, query: Query) -> AsyncGenerator[ClientConnection]:
    """Raises the errors that the server's answer names, and `UnavailableError` where there is none."""
    target = path + "?" + urlencode(query)
    headers = {"User-Agent": "skerry"}
    if client.cluster is not None and client.cluster.token:
        headers["Authorization"] = f"Bearer {client.cluster.token}"
    try:
        connection = await _connect(client, target, headers)
    except InvalidStatus as error:
        raise _refusal(error) from error
    except ssl.SSLCertVerificationError as error:
        raise UnauthenticatedError(
            f"{client.place} shows a certificate that this kubeconfig's CA did not sign: {error.verify_message}"
        ) from error
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise UnavailableError(f"{client.place} does not answer: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()


async def _connect(client: Client, target: str, headers: dict[str, str]) -> ClientConnection:
    sock, uri = None, f"ws://localhost{target}"
    cluster = client.cluster
    if client.socket_path is not None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(client.socket_path))
    else:
        assert cluster is not None
        place = f"[{cluster.host}]" if ":" in cluster.host else cluster.host
        uri = f"{'wss' if cluster.tls else 'ws'}://{place}:{cluster.port}{cluster.path}{target}"
    return await connect(
        uri,
        sock=sock,
        ssl=cluster.tls if cluster else None,
        subprotocols=[Subprotocol(CHANNELS.name)],
        additional_headers=headers,
        user_agent_header=None,
        proxy=None,
        compression=None,
        max_size=_MESSAGE_BYTES_MAX,
        write_limit=_WRITE_BYTES,
        open_timeout=CONNECT_S_MAX,
        # A peer that is gone is noticed by what it does not take; one that waits for us to read is not gone.
        ping_interval=_PING_S,
        ping_timeout=None,
    )


def _refusal(refused: InvalidStatus) -> SkerryError:
    body = refused.response.body or b""
    try:
        said: Json = json.loads(body)
    except ValueError:
        said = bytes(body).decode(errors="replace").strip()
    return error_of(refused.response.status_code, said)


async def converse(client: Client, path: str, query: Query, streams: Streams) -> Ended:
    """An exec or attach until it ends. Raises what refuses it."""
    async with connected(client, path, query) as connection:
        giving = [asyncio.ensure_future(each) for each in _givers(connection, streams)]
        hearing = asyncio.ensure_future(_hear(connection, streams))
        try:
            # What reads here may break off a conversation, and its end does not.
            while not hearing.done():
                await asyncio.wait((hearing, *giving), return_when=asyncio.FIRST_COMPLETED)
                for each in [each for each in giving if each.done()]:
                    giving.remove(each)
                    each.result()
            return hearing.result()
        finally:
            await end_tasks(hearing, *giving)


def _givers(connection: ClientConnection, streams: Streams) -> list[Awaitable[None]]:
    givers: list[Awaitable[None]] = []
    if streams.stdin is not None:
        givers.append(_feed(connection, streams.stdin))
    if streams.sizes is not None:
        givers.append(_measure(connection, streams.sizes))
    return givers


async def _feed(connection: ClientConnection, read: Read) -> None:
    closing = CHANNELS.closing(STDIN)
    assert closing is not None
    try:
        while data := await read():
            for at in range(0, len(data), PIECE_BYTES):
                await connection.send(CHANNELS.encode(STDIN, data[at : at + PIECE_BYTES]))
        await connection.send(closing)
    except ConnectionClosed:
        return  # whoever hears is told how it ended


async def _measure(connection: ClientConnection, sizes: Callable[[], Awaitable[tuple[int, int]]]) -> None:
    try:
        while True:
            width, height = await sizes()
            await connection.send(CHANNELS.encode(RESIZE, encode_object({"Width": width, "Height": height})))
    except ConnectionClosed:
        return


async def _hear(connection: ClientConnection, streams: Streams) -> Ended:
    ended: Ended | None = None
    try:
        async for message in connection:
            decoded = CHANNELS.decode(message)
            if decoded is None:
                continue
            channel, data = decoded
            if channel == STDOUT and data:
                await streams.stdout(data)
            elif channel == STDERR and data:
                await streams.stderr(data)
            elif channel == STATUS and data:
                ended = ended_of(data)
                break
    except ConnectionClosed:
        pass
    return ended or Ended(failure="the connection was lost before the command ended")


def ended_of(data: bytes) -> Ended:
    """What a metav1.Status on the last channel says."""
    try:
        said: Json = json.loads(data)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Ended(failure=f"how it ended makes no sense: {data[:200].decode(errors='replace')}")
    if str_at(said, "status") == "Success":
        return Ended()
    code = _code(said)
    return Ended(failure=str_at(said, "message") or "it failed") if code is None else Ended(exit_code=code)


def _code(status: JsonObject) -> int | None:
    if str_at(status, "reason") != "NonZeroExitCode":
        return None
    for cause in maps_at(status, "details", "causes"):
        text = str_at(cause, "message")
        if str_at(cause, "reason") == "ExitCode" and text.isdecimal():
            return int(text)
    return None
