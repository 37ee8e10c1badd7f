"""A request to the local API, and an answer that has no length. Pure data."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.scheme import Kind

if TYPE_CHECKING:  # only who converses pays for it
    from skerry.transport.sockets import MessageSocket
    from skerry.transport.spdy import Carrier


class Upgrade(Frozen):
    """The client wants to go on with WebSocket messages, or in SPDY."""

    key: str
    """Of a WebSocket's handshake; "" for SPDY."""
    protocols: tuple[str, ...]
    """What it speaks in them, the one it likes best first."""

    @property
    def is_spdy(self) -> bool:
        return not self.key


class Request(Frozen):
    """One request as parsed. `uid` is the caller's, as the kernel says."""

    method: str
    parts: tuple[str, ...]
    """The path's segments, decoded."""
    query: Mapping[str, str]
    body: bytes
    uid: int
    if_match: str = ""
    """The header If-Match."""
    if_none_match: str = ""
    target: str = ""
    """As it stands in the request line."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of `skerry.objects.cloud_calls.CARRIED_HEADERS`."""
    upgrade: Upgrade | None = None
    actor: str = ""
    """Whom a token over TCP speaks for."""

    def header(self, name: str) -> str:
        return next((value for each, value in self.headers if each == name), "")

    def text(self, name: str) -> str:
        return self.query.get(name, "")

    def flag(self, name: str) -> bool:
        return self.query.get(name, "") in ("true", "1")

    def number(self, name: str) -> int | None:
        """Raises `BadRequestError`."""
        text = self.text(name)
        if not text:
            return None
        if not text.isdecimal() or len(text) > 15:
            raise BadRequestError(f"{name}: {text!r} is not a number")
        return int(text)


class Stream(Frozen):
    """An answer without a length. The first piece is there before the head is sent, so errors still get a status."""

    chunks: AsyncGenerator[bytes]
    content_type: str


class Line(Protocol):
    """A client's connection, on which HTTP can end."""

    def messages(self, protocol: str) -> MessageSocket:
        """A WebSocket, which is not yet open. `protocol` is of those that the client speaks; "" for none."""
        ...

    async def spdy(self, protocol: str) -> Carrier:
        """SPDY from now on. Raises `UnavailableError` where the client has gone."""
        ...


class Talk(Frozen):
    """An answer that is a conversation. `run` raises what refuses it before it has begun."""

    run: Callable[[Line], Awaitable[None]]


class Target(Frozen):
    """What a path names in the API: a collection (`name` ""), an object, or a part of one."""

    kind: Kind
    namespace: str
    name: str
    rest: tuple[str, ...]
