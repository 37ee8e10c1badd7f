"""Exec, attach and port-forward at the gateway itself: over its socket, or with a token over TCP, link or no link.

What is done is what is done for the cloud (`edgecore.pods.streams`), over a pipe within this process; what is spoken
is what kubectl speaks, in channels or SPDY. Who goes into which container is written down first, as all that a
technician does here. Keeps who forwards which port, so that a browser's many connections are told of once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from edgecore.local_api.acts import who
from edgecore.local_api.kinds import POD
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.ports import LocalParts
from edgecore.local_api.requests import Line, Request, Talk, Target
from skerry.errors import BadRequestError, NotFoundError, UnavailableError
from skerry.forms.status import MethodNotAllowedError
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import annotations_of, name_of
from skerry.objects.pod_streams import COMMAND_BYTES_MAX, Forward, Session, Whose

if TYPE_CHECKING:
    from skerry.ports import Pipe
    from skerry.transport.conversations import Conversation, Terminal
    from skerry.transport.forwarding import ForwardedPod
    from skerry.transport.hosting import Talker

CONVERSATIONS: Final = frozenset({"exec", "attach", "portforward"})
"""Subresources of pods."""
PORTS_MAX: Final = 32
_TOLD_S: Final = 3600.0
"""A port that one user forwards again and again is told of once in so long."""
_TOLD_MAX: Final = 256


class Entries:
    """See the module."""

    def __init__(self, parts: LocalParts, objects: LocalObjects) -> None:
        self._parts = parts
        self._objects = objects
        self._told: OrderedDict[tuple[str, str, str, int], float] = OrderedDict()

    async def answer(self, request: Request, target: Target) -> Talk:
        """Raises the errors of `skerry.errors`."""
        pod = self._objects.get(POD, target.namespace, target.name)
        if pod is None:
            raise NotFoundError(f'pods "{target.name}" not found')
        if self._parts.into_pods is None or self._parts.acts is None:
            raise UnavailableError("this agent runs no pods")
        if request.method not in ("GET", "POST"):
            raise MethodNotAllowedError("the server does not allow this method on the requested resource")
        if request.upgrade is None:
            raise BadRequestError("Upgrade request required: WebSocket or SPDY/3.1")
        query = parse_qsl(request.target.partition("?")[2], keep_blank_values=True, max_num_fields=512)
        by = request.actor or who(request.uid)
        whose = Whose(namespace=target.namespace, pod=target.name, uid="", by=by)
        if target.rest[0] == "portforward":
            return await self._ports(request, whose, query)
        return await self._command(request, whose, query, pod, is_exec=target.rest[0] == "exec")

    async def _command(
        self, request: Request, whose: Whose, query: list[tuple[str, str]], pod: JsonObject, *, is_exec: bool
    ) -> Talk:
        from skerry.forms.channels import REMOTE_COMMAND, SPDY_COMMAND
        from skerry.transport.sockets import command_over
        from skerry.transport.spdy import command_over_spdy

        assert self._parts.into_pods is not None and self._parts.acts is not None
        command = tuple(value for name, value in query if name == "command") if is_exec else ()
        if is_exec and (not command or not command[0]):
            raise BadRequestError("you must specify at least one command for the container")
        if sum(len(word.encode()) + 4 for word in command) > COMMAND_BYTES_MAX:
            raise BadRequestError(f"a command of more than {COMMAND_BYTES_MAX} bytes can't be sent: copy a script")
        session = _session(request, whose, command, _container(request, pod))
        name = _agreed(request, tuple(REMOTE_COMMAND), SPDY_COMMAND)
        await self._parts.acts.enter(whose.by, session.kind, whose.namespace, whose.pod, session.container)
        open_pipe = partial(_inside, self._parts.into_pods.command, session.params())

        async def run(line: Line) -> None:
            await command_over(line.messages(name), REMOTE_COMMAND[name], session, open_pipe, _talk)

        async def run_spdy(line: Line) -> None:
            await command_over_spdy(session, name, open_pipe, lambda: line.spdy(name), _talk)

        return Talk(run=run_spdy if _is_spdy(request) else run)

    async def _ports(self, request: Request, whose: Whose, query: list[tuple[str, str]]) -> Talk:
        from skerry.forms.channels import PORT_FORWARD, SPDY_FORWARD, TUNNELS
        from skerry.transport.forwarding import ForwardedPod

        where = ForwardedPod(pod=whose.pod, uid="", open=partial(self._port, whose))
        name = _agreed(request, (*TUNNELS, *PORT_FORWARD), SPDY_FORWARD)
        if _is_spdy(request):
            return Talk(run=partial(_spdy_ports, name, where))
        if name in TUNNELS:
            return Talk(run=partial(_tunnelled_ports, name, where))
        return Talk(run=partial(_channel_ports, name, _ports_of(query), where))

    @asynccontextmanager
    async def _port(self, whose: Whose, port: int) -> AsyncGenerator[Pipe]:
        assert self._parts.into_pods is not None
        await self._tell_of(whose, port)
        async with _inside(self._parts.into_pods.forward, Forward(whose=whose, port=port).params()) as pipe:
            yield pipe

    async def _tell_of(self, whose: Whose, port: int) -> None:
        assert self._parts.acts is not None
        now_s, about = self._parts.clock.monotonic_s(), (whose.by, whose.namespace, whose.pod, port)
        if now_s < self._told.get(about, float("-inf")) + _TOLD_S:
            return
        self._told[about] = now_s  # before: a browser opens six connections at once
        try:
            await self._parts.acts.enter(whose.by, "port-forward", whose.namespace, whose.pod, str(port))
        except BaseException:
            self._told.pop(about, None)
            raise
        self._told[about] = now_s
        self._told.move_to_end(about)
        while len(self._told) > _TOLD_MAX:
            self._told.popitem(last=False)


def _inside(talker: Talker, params: JsonObject) -> AbstractAsyncContextManager[Pipe]:
    from skerry.transport.inside import talked_to

    return talked_to(talker, params)


def _is_spdy(request: Request) -> bool:
    assert request.upgrade is not None
    return request.upgrade.is_spdy


async def _channel_ports(name: str, ports: Sequence[int], where: ForwardedPod, line: Line) -> None:
    from skerry.forms.channels import PORT_FORWARD
    from skerry.transport.forwarding import forward_channels

    socket = line.messages(name)
    await socket.open()
    try:
        await forward_channels(socket, PORT_FORWARD[name], ports, where)
    except UnavailableError:
        return  # the client has gone
    finally:
        await socket.close()


async def _tunnelled_ports(name: str, where: ForwardedPod, line: Line) -> None:
    from skerry.transport.spdy import MessageCarrier, serving
    from skerry.transport.spdy_forwarding import SpdyForwarder

    socket = line.messages(name)
    await socket.open()
    try:
        async with serving(MessageCarrier(socket)) as connection:
            await SpdyForwarder(connection, where).run()
    finally:
        await socket.close()


async def _spdy_ports(name: str, where: ForwardedPod, line: Line) -> None:
    from skerry.transport.spdy import serving
    from skerry.transport.spdy_forwarding import SpdyForwarder

    async with serving(await line.spdy(name)) as connection:
        await SpdyForwarder(connection, where).run()


async def _talk(conversation: Conversation, terminal: Terminal) -> None:
    try:
        await conversation.run(terminal)
    except (UnavailableError, BadRequestError):
        return  # the client has gone, or what it says makes no sense


def _session(request: Request, whose: Whose, command: tuple[str, ...], container: str) -> Session:
    def flag(name: str, default: str = "0") -> bool:
        return request.query.get(name, default).lower() not in ("0", "f", "false")

    tty = flag("tty")
    session = Session(
        whose=whose,
        container=container,
        command=command,
        stdin=flag("stdin"),
        stdout=flag("stdout", "true"),
        stderr=flag("stderr", "true") and not tty,
        tty=tty,
    )
    if not (session.stdin or session.stdout or session.stderr):
        raise BadRequestError("you must specify at least 1 of stdin, stdout, stderr")
    return session


def _ports_of(query: list[tuple[str, str]]) -> tuple[int, ...]:
    texts = [text for name, value in query if name == "ports" for text in value.split(",") if text]
    for text in texts:
        if not text.isdecimal() or not 1 <= int(text) <= 65_535:
            raise BadRequestError(f"unable to parse {text!r} as a port: a number from 1 to 65535")
    if not texts or len(texts) > PORTS_MAX:
        raise BadRequestError(f"ports: {len(texts)} are named, from 1 to {PORTS_MAX} are forwarded")
    return tuple(int(text) for text in texts)


def _agreed(request: Request, known: tuple[str, ...], in_spdy: tuple[str, ...]) -> str:
    assert request.upgrade is not None
    if request.upgrade.is_spdy:
        from skerry.transport.spdy import agreed_on

        return agreed_on(request.upgrade.protocols, in_spdy)
    name = next((name for name in request.upgrade.protocols or ("",) if name in known), None)
    if name is None:
        raise BadRequestError(f"none of the subprotocols offered is known here: {', '.join(known)}")
    return name


def _container(request: Request, pod: JsonObject) -> str:
    asked = request.text("container")
    fields = ("containers", "initContainers", "ephemeralContainers")
    names = [str_at(one, "name") for each in fields for one in maps_at(pod, "spec", each)]
    if asked and asked not in names:
        raise BadRequestError(f"container {asked} is not valid for pod {name_of(pod)}")
    return asked or default_container(pod)


def default_container(pod: JsonObject) -> str:
    """The one that is meant where none is named. Raises `BadRequestError`."""
    names = [str_at(one, "name") for one in maps_at(pod, "spec", "containers")]
    named = annotations_of(pod).get("kubectl.kubernetes.io/default-container", "")
    if named or len(names) == 1:
        return named or names[0]
    raise BadRequestError(
        f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(names)}]"
    )
