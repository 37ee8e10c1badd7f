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
from typing import Final

from devices.credentials import tls_context
from devices.http.config import Origin, Tls
from devices.http.driver import Asked
from devices.http.exchange import AnswerTooLargeError, Reply, Wire, exchange, wire_of
from skerry.errors import UnavailableError
from skerry.frozen import Frozen

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""May be sent again where nobody knows whether it arrived (RFC 9110, 9.2.2)."""
AGENT: Final = "skerry"


class Answer(Frozen):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case; of repeated ones the last."""
    body: bytes


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
        self._open: Wire | None = None

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

    async def _connect(self) -> Wire:
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
        self._open = wire_of(reader, writer)
        return self._open

    async def _ask(self, opened: Wire, asked: Asked) -> Answer:
        import h11

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
            # As answers are read: what a device said in its ETag goes back to it byte for byte.
            reply = await exchange(
                opened, asked.method, asked.target, [*headers.items()], asked.body, bytes_max=self._bytes_max
            )
        except h11.LocalProtocolError as error:
            raise UnavailableError(f"this can't be asked by HTTP: {error}") from error
        except h11.RemoteProtocolError as error:
            raise UnavailableError(f"the answer is no HTTP: {error}") from error
        except AnswerTooLargeError as error:
            text = f"the answer is larger than {self._bytes_max} bytes (responseBytesMax)"
            raise UnavailableError(text) from error
        answer = _answer_of(reply)
        if self._keep and opened.is_reusable:
            opened.protocol.start_next_cycle()
        else:
            await self.close()
        return answer

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


def _answer_of(reply: Reply) -> Answer:
    """Raises `UnavailableError` for one that can't be read."""
    headers = {name.lower(): value for name, value in reply.headers}
    coding = headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise UnavailableError(f"the answer is encoded ({coding}), which was not asked for")
    return Answer(status=reply.status, headers=headers, body=reply.body)


async def _has_spoken(opened: Wire) -> bool:
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
