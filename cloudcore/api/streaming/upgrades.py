"""From a request to a conversation: which form the client speaks, what it is told where there is none, and the talk.

What is refused before the connection is upgraded is an HTTP answer, in a kubelet's words. Each conversation is logged
at its begin and its end: who, where, what kind, how it ended, and never what was said, nor which command it was.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from cloudcore.api.call import Command, Ports
from cloudcore.api.ports import Pipes
from cloudcore.api.streaming.taking_over import SocketCarrier, taken_over
from cloudcore.api.streaming.websockets import ClientSocket
from skerry.errors import BadRequestError, SkerryError, UnavailableError
from skerry.forms.channels import (
    BEARER,
    PORT_FORWARD,
    REMOTE_COMMAND,
    SPDY_COMMAND,
    SPDY_FORWARD,
    TUNNELS,
    agreed,
    offered_in,
)
from skerry.objects.json import encode_object
from skerry.objects.pod_streams import FORWARD, Exited, Forward, Whose
from skerry.ports import Pipe
from skerry.transport.conversations import Conversation
from skerry.transport.forwarding import ForwardedPod, forward_channels
from skerry.transport.sockets import SocketTerminal, command_over
from skerry.transport.spdy import MessageCarrier, SpdyTerminal, agreed_on, command_over_spdy, serving
from skerry.transport.spdy_forwarding import SpdyForwarder

LOG: Final = logging.getLogger(__name__)

_PROTOCOL: Final = "X-Stream-Protocol-Version"


def upgrade_of(request: web.BaseRequest) -> str:
    """What the client asks to go on with: `websocket`, `spdy`, or "" for neither."""
    if "upgrade" not in request.headers.get("Connection", "").lower():
        return ""
    asked = request.headers.get("Upgrade", "").lower()
    return "websocket" if asked == "websocket" else "spdy" if asked == "spdy/3.1" else ""


async def converse(
    request: web.BaseRequest, headers: CIMultiDict[str], reply: Command | Ports, pipes: Pipes
) -> web.StreamResponse:
    """Answer the request with a conversation. Raises what is to be answered in its place, `RefusedByGatewayError`
    among it."""
    match upgrade_of(request), reply:
        case "websocket", Command():
            return await _websocket_command(request, pipes, reply)
        case "spdy", Command():
            return await _spdy_command(request, headers, reply, pipes)
        case "websocket", Ports():
            return await _websocket_ports(request, reply, pipes)
        case "spdy", Ports():
            return await _spdy_ports(request, headers, reply, pipes)
        case _:
            raise BadRequestError("Upgrade request required")


def _open(pipes: Pipes, command: Command) -> AbstractAsyncContextManager[Pipe]:
    session = command.session
    return pipes.open(command.node, session.kind, encode_object(session.params()))


def _begun(kind: str, node: str, whose: Whose, container: str = "") -> None:
    LOG.info(
        "pod stream begun by=%s kind=%s pod=%s/%s container=%s node=%s",
        whose.by,
        kind,
        whose.namespace,
        whose.pod,
        container or "-",
        node,
    )


def _ended(kind: str, whose: Whose, how: str) -> None:
    LOG.info("pod stream ended by=%s kind=%s pod=%s/%s how=%s", whose.by, kind, whose.namespace, whose.pod, how)


def _how(exited: Exited | None) -> str:
    if exited is None:
        return "the client hung up"
    return "failed" if exited.failure else f"exit code {exited.exit_code}"


async def _talk(conversation: Conversation, terminal: SocketTerminal | SpdyTerminal, command: Command) -> None:
    session = command.session
    _begun(session.kind, command.node, session.whose, session.container)
    how = "broken off"
    try:
        how = _how(await conversation.run(terminal))
    except SkerryError as error:  # of the client's: it has gone, or what it says makes no sense
        how = str(error)
    finally:
        _ended(session.kind, session.whose, how)


# --- WebSockets ---


def offered_by(request: web.BaseRequest) -> list[str]:
    """The subprotocols of WebSockets that the client names, but for the one that holds its token."""
    names = offered_in(request.headers.getall("Sec-WebSocket-Protocol", ()))
    return [name for name in names if not name.startswith(BEARER)]


async def _websocket_command(request: web.BaseRequest, pipes: Pipes, command: Command) -> web.StreamResponse:
    name = agreed(offered_by(request) or [""], REMOTE_COMMAND)
    if name is None:
        raise BadRequestError(f"none of the subprotocols offered is known here: {', '.join(REMOTE_COMMAND)}")
    socket = ClientSocket(request, name)

    async def talk(conversation: Conversation, terminal: SocketTerminal) -> None:
        await _talk(conversation, terminal, command)

    await command_over(socket, REMOTE_COMMAND[name], command.session, lambda: _open(pipes, command), talk)
    return socket.response


async def _websocket_ports(request: web.BaseRequest, ports: Ports, pipes: Pipes) -> web.StreamResponse:
    offered = offered_by(request) or [""]
    tunnel, name = agreed(offered, TUNNELS), agreed(offered, PORT_FORWARD)
    if tunnel is None and name is None:
        known = ", ".join((*TUNNELS, *PORT_FORWARD))
        raise BadRequestError(f"none of the subprotocols offered is known here: {known}")
    if tunnel is None and not ports.ports:
        raise BadRequestError('query parameter "port" is required: say ports=NUMBER')
    socket = ClientSocket(request, tunnel if tunnel is not None else name or "")
    await socket.open()
    where = _where(ports, pipes)
    _begun(FORWARD, ports.node, ports.whose)
    try:
        if tunnel is not None:
            async with serving(MessageCarrier(socket)) as connection:
                await SpdyForwarder(connection, where).run()
        else:
            await forward_channels(socket, PORT_FORWARD[name or ""], ports.ports, where)
    except UnavailableError:
        pass  # the client has gone
    finally:
        _ended(FORWARD, ports.whose, "over")
    await socket.close()
    return socket.response


def _where(ports: Ports, pipes: Pipes) -> ForwardedPod:
    def open_port(port: int) -> AbstractAsyncContextManager[Pipe]:
        params = Forward(whose=ports.whose, port=port).params()
        return pipes.open(ports.node, FORWARD, encode_object(params))

    return ForwardedPod(pod=ports.whose.pod, uid=ports.whose.uid, open=open_port)


# --- SPDY ---


def _spdy_protocol(request: web.BaseRequest, known: tuple[str, ...]) -> str:
    """Raises `BadRequestError`."""
    return agreed_on(offered_in(request.headers.getall(_PROTOCOL, ())), known)


async def _switch(request: web.BaseRequest, headers: CIMultiDict[str], protocol: str) -> web.StreamResponse:
    response = web.StreamResponse(status=101, headers=headers)
    response.headers.update({"Connection": "Upgrade", "Upgrade": "SPDY/3.1", _PROTOCOL: protocol})
    request.protocol.keep_alive(False)
    await response.prepare(request)
    return response


async def _spdy_command(
    request: web.BaseRequest, headers: CIMultiDict[str], command: Command, pipes: Pipes
) -> web.StreamResponse:
    protocol = _spdy_protocol(request, SPDY_COMMAND)
    response: web.StreamResponse | None = None

    async def switch() -> SocketCarrier:
        nonlocal response
        response = await _switch(request, headers, protocol)
        return taken_over(request)

    async def talk(conversation: Conversation, terminal: SpdyTerminal) -> None:
        await _talk(conversation, terminal, command)

    try:
        await command_over_spdy(command.session, protocol, lambda: _open(pipes, command), switch, talk)
    except (BadRequestError, UnavailableError, TimeoutError) as error:
        if response is None:
            raise
        whose = command.session.whose
        LOG.info("pod stream refused by=%s pod=%s reason=%s", whose.by, whose.pod, error or "late")
    assert response is not None, "it was answered, or raises"
    return response


async def _spdy_ports(
    request: web.BaseRequest, headers: CIMultiDict[str], ports: Ports, pipes: Pipes
) -> web.StreamResponse:
    response = await _switch(request, headers, _spdy_protocol(request, SPDY_FORWARD))
    _begun(FORWARD, ports.node, ports.whose)
    try:
        async with serving(taken_over(request)) as connection:
            await SpdyForwarder(connection, _where(ports, pipes)).run()
    finally:
        _ended(FORWARD, ports.whose, "over")
    return response
