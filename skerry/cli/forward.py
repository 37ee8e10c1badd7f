"""`skerry port-forward`: a port here that leads to one of a pod, through the gateway's own session or at the gateway.

Each connection is a WebSocket of its own with both its ends, so that one that is slow holds up no other one.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

import click

from skerry.cli import kinds
from skerry.cli.client import Client, path_of
from skerry.cli.into import as_kubectl, until_told_to_end
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.pods import POD, complete_pods, find_pod, pod_of
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.waits import end_tasks

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_SERVICE_WORDS: Final = ("service", "services", "svc")
_PIECE_BYTES: Final = 32 * 1024


class Pair(Frozen):
    """A port here (0: any) and one of the pod."""

    local: int
    remote: int


@click.command("port-forward")
@click.argument("pod", shell_complete=complete_pods)
@click.argument("ports", nargs=-1, required=True)
@namespace_option
@click.option("--address", default="localhost", show_default=True, help="Where to listen; several with commas.")
@with_target
def port_forward(target: Target, pod: str, ports: Sequence[str], namespace: str, address: str) -> None:
    """Listen here and lead to a pod: `skerry port-forward pump 8080:80`, `... svc/web :http`, `... pump 5432`.

    PORTS are [LOCAL:]REMOTE, numbers or names of the pod's ports; LOCAL empty or 0 takes any that is free.
    """
    with as_kubectl():
        client = target.client()
        place = namespace or client.namespace
        found, service = _found(client, place, pod)
        if str_at(found, "status", "phase") != "Running":
            phase = str_at(found, "status", "phase")
            raise BadRequestError(f"unable to forward port because pod is not running. Current status={phase}")
        pairs = [pair_of(text, found, service) for text in ports]
        with suppress(asyncio.CancelledError):
            asyncio.run(until_told_to_end(_serve(client, place, name_of(found), pairs, address.split(","))))


def _found(client: Client, place: str, word: str) -> tuple[JsonObject, JsonObject | None]:
    """The pod, and the service that it was found by."""
    kind_word, slash, name = word.partition("/")
    if slash and kind_word in _SERVICE_WORDS:
        service = client.request("GET", path_of(kinds.resolve(client, "services"), place, name)).obj
        return pod_of(client, place, service), service
    return find_pod(client, place, word), None


def pair_of(text: str, pod: JsonObject, service: JsonObject | None) -> Pair:
    """`8080:80`, `80`, `:80`, `0:http`. A service's port is one of its pod's. Raises `BadRequestError`."""
    local, colon, remote = text.rpartition(":")
    asked = remote if colon else text
    number = _number_in(pod, asked) if service is None else _behind(pod, service, asked)
    if local and not (local.isdecimal() and int(local) <= 65_535):
        raise BadRequestError(f"{text!r}: {local!r} is no port; write [LOCAL:]REMOTE")
    if colon:
        return Pair(local=int(local or 0), remote=number)
    return Pair(local=int(asked) if asked.isdecimal() else number, remote=number)


def _number_in(pod: JsonObject, port: Json) -> int:
    if isinstance(port, int) or (isinstance(port, str) and port.isdecimal()):
        number = int(port)
        if 1 <= number <= 65_535:
            return number
        raise BadRequestError(f"port {number} is none: write a number from 1 to 65535")
    for container in maps_at(pod, "spec", "containers"):
        for each in maps_at(container, "ports"):
            if str_at(each, "name") == port:
                return int_at(each, "containerPort")
    raise BadRequestError(f'pod "{name_of(pod)}" has no port named {port!r}')


def _behind(pod: JsonObject, service: JsonObject, asked: str) -> int:
    for each in maps_at(service, "spec", "ports"):
        if asked in (str(int_at(each, "port")), str_at(each, "name")):
            return _number_in(pod, each.get("targetPort") or int_at(each, "port"))
    known = ", ".join(str(int_at(each, "port")) for each in maps_at(service, "spec", "ports"))
    raise BadRequestError(f'service "{name_of(service)}" has no port {asked} (it has: {known})')


async def _serve(client: Client, place: str, pod: str, pairs: Sequence[Pair], addresses: Sequence[str]) -> None:
    """Until somebody ends it."""
    async with AsyncExitStack() as stack:
        for pair in pairs:
            for address in addresses:
                for server in await _listening(client, place, pod, pair, address.strip()):
                    await stack.enter_async_context(server)
        await asyncio.get_running_loop().create_future()


async def _listening(client: Client, place: str, pod: str, pair: Pair, address: str) -> list[asyncio.Server]:
    """Raises `UnavailableError` where no address can be had."""

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        say(f"Handling connection for {writer.get_extra_info('sockname')[1]}")
        try:
            await _forward(client, path_of(POD, place, pod, "portforward"), pair.remote, reader, writer)
        except SkerryError as error:
            say(f"error: {error}", err=True)
        except (ConnectionError, TimeoutError):
            pass  # whoever connected here has gone
        finally:
            writer.close()

    hosts = ("127.0.0.1", "::1") if address == "localhost" else (address,)
    servers: list[asyncio.Server] = []
    port, why = pair.local, ""
    for host in hosts:
        try:
            server = await asyncio.start_server(taken, host, port)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            why = "it is in use" if in_use else error.strerror or str(error)
            continue
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        say(f"Forwarding from {shown}:{port} -> {pair.remote}")
    if not servers:
        raise UnavailableError(f"unable to listen on port {pair.local} of {address}: {why}")
    return servers


async def _forward(
    client: Client, path: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection until the pod's side is done, or this one broke off. Raises what it failed with."""
    from skerry.cli.talking import connected

    async with connected(client, path, [("ports", str(port))]) as connection:
        giving = asyncio.ensure_future(_give(reader, connection))
        taking = asyncio.ensure_future(_take(connection, writer, port))
        try:
            await asyncio.wait((giving, taking), return_when=asyncio.FIRST_COMPLETED)
            if giving.done():
                giving.result()  # where this side broke off, so does the other
            await taking
        finally:
            await end_tasks(giving, taking)


async def _give(reader: asyncio.StreamReader, connection: ClientConnection) -> None:
    from websockets.exceptions import ConnectionClosed

    from skerry.cli.talking import CHANNELS

    closing = CHANNELS.closing(0)
    assert closing is not None
    with suppress(ConnectionClosed):  # who takes is told why
        while data := await reader.read(_PIECE_BYTES):
            await connection.send(CHANNELS.encode(0, data))
        await connection.send(closing)


async def _take(connection: ClientConnection, writer: asyncio.StreamWriter, port: int) -> None:
    """Both channels begin with the port's number; the second says what went wrong."""
    from websockets.exceptions import ConnectionClosed

    from skerry.cli.talking import CHANNELS

    begun: set[int] = set()
    try:
        async for message in connection:
            channel, data = CHANNELS.decode(message) or (0, b"")
            if CHANNELS.closed(channel, data) == 0:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            if channel in (0, 1) and channel not in begun:
                begun.add(channel)
            elif channel == 0 and data:
                writer.write(data)
                await writer.drain()
            elif channel == 1:
                raise UnavailableError(data.decode(errors="replace"))
    except ConnectionClosed as error:
        raise UnavailableError(f"lost connection to pod (port {port})") from error
