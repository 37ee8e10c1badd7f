"""HTTP/1.1 to one device: one exchange at a time, nothing larger than was agreed.

Answers of HTTP have no number: on a connection that is kept, an answer that is sent twice is the next one's. So each
exchange has a connection of its own, unless the manifest says otherwise (`keepAlive`); then bytes that nobody asked
for cost the connection. The protocol is h11's (imported with the first exchange). It asks nobody else: proxies of the
environment are not taken, redirects are the driver's matter. Keeps at most a connection; a crash closes it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devices.credentials import tls_context
from devices.http.config import Origin, Tls
from devices.http.driver import Asked
from skerry.errors import UnavailableError
from skerry.frozen import Frozen

if TYPE_CHECKING:
    import h11

READ_BYTES: Final = 64 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""May be sent again where nobody knows whether it arrived (RFC 9110, 9.2.2)."""
AGENT: Final = "skerry"


class Answer(Frozen):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case; of repeated ones the last."""
    body: bytes


@dataclass(slots=True, kw_only=True)
class _Open:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection
    used: bool = False


class HttpClient:
    """Exchanges with one origin, one after the other; whoever uses it sees to that."""

    def __init__(self, origin: Origin, tls: Tls, *, timeout_s: float, bytes_max: int, keep: bool = False) -> None:
        """`keep`: use a connection again."""
        self._origin = origin
        self._tls = tls
        self._timeout_s = timeout_s
        self._bytes_max = bytes_max
        self._keep = keep
        self._context: ssl.SSLContext | None = None
        self._open: _Open | None = None

    async def exchange(self, asked: Asked, *, once: bool = False) -> Answer:
        """Ask, and read the whole answer. With `once` it is never sent twice. Raises `UnavailableError` with the
        reason when there is no answer that can be used."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(asked, once=once or asked.method not in IDEMPOTENT)
        except TimeoutError as error:
            await self.close()
            raise UnavailableError(f"no answer within {self._timeout_s:g} s") from error
        except (OSError, EOFError, ValueError) as error:  # of a name that no host or certificate can have, the last
            await self.close()
            raise UnavailableError(_said(error)) from error
        except BaseException:
            await self.close()
            raise

    async def _exchange(self, asked: Asked, *, once: bool) -> Answer:
        if once or (self._open is not None and await _has_spoken(self._open)):
            await self.close()  # one that was kept may be dead, and sending again is not allowed
        opened = self._open or await self._connect()
        again = opened.used
        try:
            return await self._ask(opened, asked)
        except (OSError, EOFError):
            if not again:
                raise
            await self.close()  # the server ended the connection while nobody used it
            return await self._ask(await self._connect(), asked)

    async def _connect(self) -> _Open:
        import h11  # half a megabyte: only who has HTTP devices pays

        context = None
        if self._origin.scheme == "https":
            self._context = self._context or await asyncio.to_thread(_context_of, self._tls)
            context = self._context
        reader, writer = await asyncio.open_connection(
            self._origin.host,
            self._origin.port,
            ssl=context,
            server_hostname=(self._tls.server_name or self._origin.host) if context else None,
        )
        self._open = _Open(
            reader=reader,
            writer=writer,
            protocol=h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX),
        )
        return self._open

    async def _ask(self, opened: _Open, asked: Asked) -> Answer:
        import h11

        opened.used = True
        headers = {
            "Host": self._origin.authority,
            "User-Agent": AGENT,
            "Accept-Encoding": "identity",
            **({} if self._keep else {"Connection": "close"}),
            **asked.headers,
        }
        if asked.body or asked.method not in ("GET", "HEAD"):
            headers["Content-Length"] = str(len(asked.body))
        try:
            # As answers are read: what a device said in its ETag goes back to it byte for byte (RFC 9110, 5.5).
            fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
            request = h11.Request(method=asked.method, target=asked.target, headers=fields)
            out = opened.protocol.send(request) or b""
            if asked.body:
                out += opened.protocol.send(h11.Data(data=asked.body)) or b""
            out += opened.protocol.send(h11.EndOfMessage()) or b""
            opened.writer.write(out)
            await opened.writer.drain()
            answer = await self._answer(opened)
        except h11.LocalProtocolError as error:
            raise UnavailableError(f"this can't be asked by HTTP: {error}") from error
        except h11.RemoteProtocolError as error:
            raise UnavailableError(f"the answer is no HTTP: {error}") from error
        done = opened.protocol.our_state is h11.DONE and opened.protocol.their_state is h11.DONE
        if self._keep and done and not opened.protocol.trailing_data[0]:
            opened.protocol.start_next_cycle()
        else:
            await self.close()
        return answer

    async def _answer(self, opened: _Open) -> Answer:
        import h11

        head: h11.Response | None = None
        body = bytearray()
        while True:
            event = opened.protocol.next_event()
            if event is h11.NEED_DATA:
                data = await opened.reader.read(READ_BYTES)
                if not data and head is None and not opened.protocol.trailing_data[0]:
                    raise EOFError("the connection ended before the answer")
                opened.protocol.receive_data(data)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._bytes_max:
                    raise UnavailableError(f"the answer is larger than {self._bytes_max} bytes (responseBytesMax)")
            elif isinstance(event, h11.EndOfMessage):
                break
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise EOFError("the connection ended before the answer")
        assert head is not None, "a message ends after it began"
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers}
        coding = headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise UnavailableError(f"the answer is encoded ({coding}), which was not asked for")
        return Answer(status=head.status_code, headers=headers, body=bytes(body))

    async def close(self) -> None:
        """Let go of the connection; the next exchange makes another."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.writer.close()
            try:
                async with asyncio.timeout(0.5):
                    await opened.writer.wait_closed()
            except OSError:  # a time-out among them
                opened.writer.transport.abort()
            except asyncio.CancelledError:
                opened.writer.transport.abort()
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise  # it is whoever waits that is cancelled, and not a connection that was


async def _has_spoken(opened: _Open) -> bool:
    """Bytes have come, or the end, since the last answer: whatever they are, the next answer is not theirs."""
    await asyncio.sleep(0)  # what the socket has is read
    try:
        async with asyncio.timeout(0):
            await opened.reader.read(1)
    except TimeoutError:
        return False
    return True


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be reached: {error.strerror.lower()}"
    return f"can't be reached: {error}"


def _context_of(tls: Tls) -> ssl.SSLContext:
    return tls_context(
        ca_file=tls.ca_file,
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        ca_pem=tls.ca_pem,
        chain_pem=f"{tls.cert_pem}\n{tls.key_pem}" if tls.cert_pem else "",
    )
