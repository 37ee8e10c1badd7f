"""One GET request, as probes and hooks make it: on a connection of its own, no certificate checked, the answer cut.

A container is asked at its own address, where no public authority vouches for it (as a kubelet does it). h11 and TLS
are imported with the first request. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from edgecore.pods.dialing import dial_fault, place_of
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen

if TYPE_CHECKING:
    import h11

READ_BYTES: Final = 16 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024
BODY_BYTES_MAX: Final = 10 * 1024
"""Of which something is told people; the rest is not read."""
PORTS: Final = {"http": 80, "https": 443}
_PATH_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@%/?#[]")


class Url(Frozen):
    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        return place_of(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


class Page(Frozen):
    """What came back."""

    status: int
    location: str
    """Where a redirect points; "" for nowhere."""
    body: bytes
    """At most its first 10 KiB."""


def target_of(path: str) -> str:
    """A manifest's path as a request has it: it begins with a slash, and what no URL may have is encoded."""
    path = path.partition("#")[0]
    rooted = path if path.startswith("/") else f"/{path}"
    return "".join(
        each if each in _PATH_SAFE else "".join(f"%{byte:02X}" for byte in each.encode(errors="surrogateescape"))
        for each in rooted
    )


def redirected(url: Url, location: str) -> Url:
    """Where a redirect leads from `url`. Raises `InvalidError`."""
    try:
        parts = urlsplit(urljoin(str(url), location))
        port = parts.port
    except ValueError as error:
        raise InvalidError(f"it points to {location!r}: {error}") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise InvalidError(f"it points to {location!r}, which is not HTTP")
    target = target_of(parts.path + (f"?{parts.query}" if parts.query else ""))
    return Url(scheme=parts.scheme, host=parts.hostname, port=port or PORTS[parts.scheme], target=target)


def request_headers(url: Url, said: Sequence[tuple[str, str]], *, agent: str) -> tuple[tuple[str, str], ...]:
    """Names and values in the order of their sending, by the rules of a kubelet: `Host` replaces the address, an
    empty `User-Agent` or `Accept` sends none, and without them there are our own."""
    names = {name.lower() for name, _ in said}
    host = next((value for name, value in said if name.lower() == "host" and value), url.authority)
    own = [("Host", host)]
    own += [("User-Agent", agent)] if "user-agent" not in names else []
    own += [("Accept", "*/*")] if "accept" not in names else []
    kept = [
        (name, value)
        for name, value in said
        if name.lower() not in ("host", "connection") and (value or name.lower() not in ("user-agent", "accept"))
    ]
    return (*own, *kept, ("Connection", "close"))


async def get(url: Url, headers: Sequence[tuple[str, str]], *, agent: str) -> Page:
    """Ask once. Raises `UnavailableError` with the reason when there is no answer; the caller bounds the time."""
    import h11

    context = await asyncio.to_thread(_trusting) if url.scheme == "https" else None
    try:
        reader, writer = await asyncio.open_connection(
            url.host, url.port, ssl=context, server_hostname=_server_name(url, headers) if context else None
        )
    except ssl.SSLError as error:
        raise UnavailableError(_said(error)) from error
    except (OSError, ValueError) as error:
        raise UnavailableError(dial_fault(url.host, url.port, error)) from error
    try:
        sent = request_headers(url, headers, agent=agent)
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent]
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        out = protocol.send(h11.Request(method="GET", target=url.target, headers=fields)) or b""
        writer.write(out + (protocol.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        return await _page(protocol, reader)
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        raise UnavailableError(f"this can't be asked by HTTP: {error}") from error
    except h11.RemoteProtocolError as error:
        raise UnavailableError(f"malformed HTTP response: {error}") from error
    except (OSError, EOFError) as error:
        raise UnavailableError(_said(error)) from error
    finally:
        writer.transport.abort()  # nothing more is wanted, and no time is spent on a farewell


async def _page(protocol: h11.Connection, reader: asyncio.StreamReader) -> Page:
    import h11

    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(READ_BYTES)
            if not data and head is None and not protocol.trailing_data[0]:
                raise EOFError("EOF")
            protocol.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) >= BODY_BYTES_MAX:
                break
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
            break
    if head is None:
        raise EOFError("EOF")
    fields: Mapping[bytes, bytes] = dict(head.headers)
    location = fields.get(b"location", b"").decode("latin-1")
    return Page(status=head.status_code, location=location, body=bytes(body[:BODY_BYTES_MAX]))


def _server_name(url: Url, headers: Sequence[tuple[str, str]]) -> str:
    """Who is asked for: the Host header says it, as many servers choose their certificate by it."""
    named = next((value for name, value in headers if name.lower() == "host" and value), "")
    return named.rpartition(":")[0] if ":" in named else named or url.host


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    if isinstance(error, OSError) and error.errno:
        return f"read: {os.strerror(error.errno).lower()}"
    return str(error) or type(error).__name__
