"""The HTTP server: bytes and sockets on one side, calls and replies on the other. The shell of the API.

One process serves HTTP/1.1 over TLS with aiohttp's low-level server: no router, since paths are Kubernetes' own.
Every request has a deadline, a bounded body and a place among a bounded number; a slow reader of a stream is
closed. Keeps open connections and counters; a crash ends them, and clients list and watch again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import gzip
import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import Final
from urllib.parse import unquote

from aiohttp import ClientConnectionError, web
from multidict import CIMultiDict

from cloudcore.api.authn import UnknownAccountError
from cloudcore.api.call import Command, Ports, Proxied, Reply, Stream, Whole
from cloudcore.api.dispatch import Incoming, dispatch
from cloudcore.api.metrics import Metrics
from cloudcore.api.paths import Asked, Paths
from cloudcore.api.ports import Endpoint, Parts, Posted, Presented
from cloudcore.api.reading import BODY_BYTES_MAX
from cloudcore.api.routing import Query, Target, clean_path, is_api, parse_query, proxied_of, target_of, verb_of
from cloudcore.api.streaming.proxying import proxied
from cloudcore.api.streaming.upgrades import converse, offered_by, upgrade_of
from cloudcore.api.verbs.lists import CATCH_UP_S
from cloudcore.runtime.replica_pipes import MESSAGE_BYTES_MAX, WebSocketPipe
from cloudcore.runtime.replicas import PREFIX as REPLICAS
from skerry.authz.attributes import Actor
from skerry.errors import (
    BadRequestError,
    ForbiddenError,
    SkerryError,
    TooLargeError,
    TooManyRequestsError,
    UnavailableError,
)
from skerry.forms.channels import BEARER, LOGS, agreed
from skerry.forms.negotiation import takes_gzip
from skerry.forms.status import Answer, DeadlineError, answer_for, internal
from skerry.frozen import Frozen, field
from skerry.listening import listening_socket
from skerry.objects.json import encode_object
from skerry.ports import Pipe
from skerry.transport.conversations import RefusedByGatewayError
from skerry.transport.liveness import keep_alive
from skerry.waits import end_tasks

LOG: Final = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_EXTRA: Final = "impersonate-extra-"
_WARNINGS_BYTES_MAX: Final = 4096
_GONE: Final = (ConnectionError, ClientConnectionError)
"""How aiohttp tells a writer that the client has gone: at the next write, or while it waits for room."""
_STREAMED: Final = frozenset({"log", "exec", "attach", "portforward", "proxy"})
"""Subresources whose answers take as long as somebody listens."""
_FRAME_BYTES_MAX: Final = 16 * 1024
"""What a client may send on a watch's WebSocket: nothing is expected."""


class ApiSettings(Frozen):
    unary_s_max: float = 60.0
    """Seconds a request that is no watch may take, and its answer to be read (apiserver's own limit)."""
    running_max: int = 400
    """Requests answered at once; more are told to come back (apiserver's own limit)."""
    streams_max: int = 10_000
    """Watches, followed logs and conversations open at once; each costs about 50 KiB with TLS."""
    gzip_bytes_min: int = 128 * 1024
    """Answers above this are compressed for clients that take it; below, the time is not worth the bytes."""
    write_s_max: float = 30.0
    """Seconds a client may take to accept a piece of a stream before it is closed."""
    stop_s_max: float = 3.0
    """Seconds that requests may go on when the server stops."""


class _Exchange(Frozen):
    """One request, as read from the socket."""

    request: web.BaseRequest
    path: str
    query: Query
    audit_id: str
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict[str])

    @property
    def is_websocket(self) -> bool:
        return self.request.headers.get("Upgrade", "").lower() == "websocket"


class Api:
    """Answers requests; `serving` puts it on a socket."""

    def __init__(self, parts: Parts, settings: ApiSettings | None = None) -> None:
        self.metrics = Metrics()
        self._parts = parts
        self._settings = settings or ApiSettings()
        self.paths = Paths(parts, self.metrics)
        self._running = 0
        self._streams = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request from its head to the last byte of its answer. Errors are answers as well."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        verb, resource = request.method.lower(), ""
        raw_path, _, raw_query = request.raw_path.partition("?")
        exchange = _Exchange(
            request=request, path=raw_path.rstrip("/"), query=parse_query(raw_query), audit_id=self._parts.ids.uid()
        )
        code = 500
        try:
            path = clean_path(raw_path)
            target = proxied_of(raw_path) or target_of(path)
            if target is not None:
                verb = verb_of(request.method, target, exchange.query)
                resource = target.plural if self._parts.scheme.of_resource(_resource(target)) else "unknown"
            response = await self._answer(exchange, target, verb)
            code = response.status
        except SkerryError as error:
            code, response = await self._refuse(exchange, answer_for(error))
        except (*_GONE, asyncio.CancelledError, web.HTTPException):
            raise  # the client has gone, or aiohttp has its own answer to a handshake that is none
        except Exception:
            # The root of a request: what went wrong here must not take the server down, and must be seen.
            LOG.exception("request failed method=%s path=%s audit=%s", request.method, raw_path, exchange.audit_id)
            code, response = await self._refuse(exchange, internal("the server met a condition it did not expect"))
        finally:
            if verb != "watch":
                seconds = loop.time() - began
                self.metrics.answered(verb=verb, resource=resource, code=code, seconds=seconds)
        return response

    async def _answer(self, exchange: _Exchange, target: Target | None, verb: str) -> web.StreamResponse:
        endpoint = self._endpoint(exchange.path)
        streams = (
            verb == "watch"
            or (target is not None and target.subresource in _STREAMED)
            or exchange.path.startswith(f"{REPLICAS}/")
        )
        with _Place(self, streams=streams, verb=verb):
            if endpoint is not None:
                return await self._post(exchange, endpoint)
            async with _deadline(self._settings.unary_s_max):
                actor = await self._actor(presented(exchange.request))
                call_or_whole = await self._reply(exchange, target, verb, actor)
            match call_or_whole:
                case Whole():
                    return await self._send(exchange, call_or_whole)
                case Stream():
                    return await self._stream(exchange, call_or_whole)
                case Proxied():
                    headers = CIMultiDict[str]({"Audit-Id": exchange.audit_id})
                    return await proxied(exchange.request, headers, call_or_whole, self._parts.pipes)
                case Command() | Ports():
                    return await self._converse(exchange, call_or_whole)

    async def _converse(self, exchange: _Exchange, reply: Command | Ports) -> web.StreamResponse:
        headers = CIMultiDict[str]({"Audit-Id": exchange.audit_id})
        try:
            return await converse(exchange.request, headers, reply, self._parts.pipes)
        except RefusedByGatewayError as error:
            text = Whole(body=str(error).encode() + b"\n", media_type="text/plain; charset=utf-8", code=error.code)
            return await self._send(exchange, text)

    async def _actor(self, shown: Presented) -> Actor:
        """Who asks, by all that any process had written by now: the account of a token that is good was perhaps made
        just now through another one."""
        cache = self._parts.cache
        seen = cache.revision
        try:
            return await self._parts.authenticator.authenticate(shown)
        except (UnknownAccountError, ForbiddenError):
            if not await cache.missed_since(seen, timeout_s=CATCH_UP_S):
                raise
        return await self._parts.authenticator.authenticate(shown)

    async def _know_kinds(self, asked: Asked) -> None:
        """Discovery tells of every kind that any replica serves by now; while the store is away, of those known."""
        if is_api(asked.path) or asked.path.startswith("/openapi"):
            with suppress(UnavailableError):
                await self._parts.cache.catch_up(timeout_s=CATCH_UP_S)

    async def _reply(self, exchange: _Exchange, target: Target | None, verb: str, actor: Actor) -> Reply:
        request = exchange.request
        if target is None:
            asked = Asked(
                path=exchange.path,
                actor=actor,
                accept=request.headers.get("Accept", ""),
                if_none_match=request.headers.get("If-None-Match", ""),
                verbose="verbose" in exchange.query.values,
                host=request.headers.get("Host", ""),
            )
            await self._know_kinds(asked)
            return self.paths.answer(request.method, asked)
        incoming = Incoming(
            target=target,
            verb=verb,
            query=exchange.query,
            accept=request.headers.get("Accept", ""),
            content_type=request.headers.get("Content-Type", ""),
            user_agent=request.headers.get("User-Agent", ""),
            upgrade=upgrade_of(request),
        )
        warnings: list[str] = []
        try:
            return await dispatch(self._parts, incoming, actor, lambda: read_body(request), warnings)
        finally:
            for text in warnings:
                exchange.headers.add("Warning", warning(text))

    async def _post(self, exchange: _Exchange, endpoint: Endpoint) -> web.StreamResponse:
        request = exchange.request
        async with _deadline(self._settings.unary_s_max):
            replied = await endpoint(
                Posted(
                    method=request.method,
                    path=exchange.path,
                    body=await read_body(request),
                    peer=request.remote or "",
                    presented=presented(request),
                    is_websocket=exchange.is_websocket,
                )
            )
        if replied.talk is not None:
            return await self._talk(exchange, replied.talk)
        if replied.pieces is not None:
            stream = Stream(pieces=replied.pieces, media_type=replied.media_type, framed=False)
            return await self._stream(exchange, stream)
        whole = Whole(body=replied.body, media_type=replied.media_type, code=replied.status, headers=replied.headers)
        return await self._send(exchange, whole)

    async def _talk(self, exchange: _Exchange, talk: Callable[[bytes, Pipe], Awaitable[None]]) -> web.StreamResponse:
        """With another replica."""
        socket = web.WebSocketResponse(heartbeat=30.0, max_msg_size=MESSAGE_BYTES_MAX, compress=False)
        await socket.prepare(exchange.request)
        pipe = WebSocketPipe(socket, "the replica that asks")
        try:
            async with asyncio.timeout(self._settings.unary_s_max):
                opening = await pipe.opening()
            await talk(opening, pipe)
        except SkerryError as error:
            await pipe.close(error)
        except TimeoutError:
            await pipe.close(BadRequestError("nothing was said in time"))
        else:
            await pipe.close()
        return socket

    def _endpoint(self, path: str) -> Endpoint | None:
        return next(
            (
                found
                for prefix, found in self._parts.endpoints.items()
                if path == prefix or path.startswith(f"{prefix}/")
            ),
            None,
        )

    async def _refuse(self, exchange: _Exchange, answer: Answer) -> tuple[int, web.StreamResponse]:
        if answer.retry_after_s:
            exchange.headers["Retry-After"] = str(answer.retry_after_s)
        if answer.code == 401:
            exchange.headers["WWW-Authenticate"] = 'Bearer realm="kubernetes-master"'
        if answer.code == 413:
            # The rest of the body is not read, so the connection can't be used again.
            exchange.headers["Connection"] = "close"
        if answer.code == 404 and not is_api(exchange.path) and self._endpoint(exchange.path) is None:
            whole = Whole(body=b"404 page not found\n", media_type="text/plain; charset=utf-8", code=404)
        else:
            whole = Whole(body=encode_object(answer.status) + b"\n", code=answer.code)
        return answer.code, await self._send(exchange, whole)

    async def _send(self, exchange: _Exchange, whole: Whole) -> web.StreamResponse:
        headers = self._headers(exchange, whole.media_type)
        headers.update(whole.headers)
        body = whole.body
        if len(body) > self._settings.gzip_bytes_min and takes_gzip(
            exchange.request.headers.get("Accept-Encoding", "")
        ):
            body = whole.gzipped or await asyncio.to_thread(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
            headers.setdefault("Vary", "Accept-Encoding")
        response = web.Response(body=body, status=whole.code, headers=headers)
        try:
            async with asyncio.timeout(self._settings.unary_s_max):
                await response.prepare(exchange.request)
                await response.write_eof()
        except TimeoutError:
            LOG.info("answer not read path=%s bytes=%d", exchange.path, len(body))
            _hang_up(exchange.request)
        except _GONE:
            pass  # the client has gone: nobody is there to be told, and nothing is wrong here
        return response

    async def _stream(self, exchange: _Exchange, stream: Stream) -> web.StreamResponse:
        async with aclosing(stream.pieces) as pieces:
            if exchange.is_websocket and stream.framed:
                return await self._stream_frames(exchange, pieces, [*offered_by(exchange.request)][:1], _text)
            if exchange.is_websocket:
                return await self._stream_log(exchange, pieces)
            response = web.StreamResponse(headers=self._headers(exchange, stream.media_type))
            response.enable_chunked_encoding()
            if not stream.framed:
                # A log's refusal comes with its first piece, and is worth a status of its own.
                async with _deadline(self._settings.unary_s_max):
                    first = await anext(pieces, b"")
                await response.prepare(exchange.request)
                await self._write(response, first)
            else:
                # Clients wait for the head before they wait for events.
                await response.prepare(exchange.request)
            try:
                async for piece in pieces:
                    await self._write(response, piece)
                async with asyncio.timeout(self._settings.write_s_max):
                    await response.write_eof()
            except (SkerryError, TimeoutError) as error:
                # The head is sent: all that can be said is to end without the last chunk, so that nobody takes
                # the part for the whole.
                LOG.info("stream ended early path=%s reason=%s", exchange.path, error or "the reader is too slow")
                _hang_up(exchange.request)
            except _GONE:
                pass  # whoever watched has had enough: `kubectl get -w | head -1`
            return response

    async def _write(self, response: web.StreamResponse, piece: bytes) -> None:
        if piece:
            async with asyncio.timeout(self._settings.write_s_max):
                await response.write(piece)

    async def _stream_log(self, exchange: _Exchange, pieces: AsyncGenerator[bytes, None]) -> web.StreamResponse:
        """A log in a WebSocket (apiserver `pkg/util/wsstream`): a piece a message, as it is or in base64."""
        name = agreed(offered_by(exchange.request) or [""], LOGS)
        if name is None:
            raise BadRequestError(f"none of the subprotocols offered is known here: {', '.join(LOGS)}")
        # A refusal comes with the first piece, and is worth a status of its own.
        async with _deadline(self._settings.unary_s_max):
            first = await anext(pieces, b"")

        async def all_of_it() -> AsyncGenerator[bytes, None]:
            if first:
                yield first
            async for piece in pieces:
                yield piece

        return await self._stream_frames(exchange, all_of_it(), [name] if name else [], LOGS[name])

    async def _stream_frames(
        self,
        exchange: _Exchange,
        pieces: AsyncGenerator[bytes, None],
        protocols: list[str],
        form: Callable[[bytes], str | bytes],
    ) -> web.StreamResponse:
        """A watch in a browser's WebSocket: an event a text frame (apiserver `pkg/endpoints/handlers/watch.go`)."""
        socket = web.WebSocketResponse(
            protocols=protocols, heartbeat=30.0, max_msg_size=_FRAME_BYTES_MAX, compress=False
        )
        await socket.prepare(exchange.request)

        async def hang_up() -> None:
            async for _ in socket:  # what a client says to a watch means nothing; its close ends it
                pass

        async def tell() -> None:
            async for piece in pieces:
                message = form(piece)
                async with asyncio.timeout(self._settings.write_s_max):
                    await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))

        tasks = (asyncio.create_task(hang_up()), asyncio.create_task(tell()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(*tasks)
            await socket.close()
        return socket

    def _headers(self, exchange: _Exchange, media_type: str) -> CIMultiDict[str]:
        headers = CIMultiDict[str](exchange.headers)
        headers["Audit-Id"] = exchange.audit_id
        headers["Cache-Control"] = "no-cache, private"
        headers["Content-Type"] = media_type
        _bound_warnings(headers)
        return headers

    def enter(self, *, streams: bool) -> None:
        """Take a place. Raises `TooManyRequestsError` when there is none."""
        if (
            (self._streams >= self._settings.streams_max)
            if streams
            else (self._running >= self._settings.running_max)
        ):
            raise TooManyRequestsError("the server is busy: too many requests at once", retry_after_s=1)
        if streams:
            self._streams += 1
        else:
            self._running += 1

    def leave(self, *, streams: bool) -> None:
        if streams:
            self._streams -= 1
        else:
            self._running -= 1


def _text(piece: bytes) -> str:
    return piece.decode()


class _Place:
    """A request's place among those being answered."""

    def __init__(self, api: Api, *, streams: bool, verb: str) -> None:
        self._api = api
        self._is_stream = streams
        self._verb = verb

    def __enter__(self) -> None:
        self._api.enter(streams=self._is_stream)
        self._api.metrics.began(self._verb)

    def __exit__(self, *_error: object) -> None:
        self._api.leave(streams=self._is_stream)
        self._api.metrics.ended(self._verb)


def _hang_up(request: web.BaseRequest) -> None:
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()


class _deadline:  # noqa: N801 - it is written as `asyncio.timeout` is, and costs half of what a generator would
    """`asyncio.timeout`, whose end is told to clients."""

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
            if isinstance(error, TimeoutError):
                raise error
        except TimeoutError as late:
            text = f"Timeout: request did not complete within the allotted {self._seconds:g}s"
            raise DeadlineError(text) from late


def _resource(target: Target) -> str:
    return f"{target.plural}.{target.group}" if target.group else target.plural


def warning(text: str) -> str:
    """A Warning header's value (RFC 7234 §5.5): quoted, without control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    clean = "".join(char if char.isprintable() else " " for char in escaped)
    return f'299 - "{clean}"'


def _bound_warnings(headers: CIMultiDict[str]) -> None:
    given = headers.popall("Warning", [])
    left = _WARNINGS_BYTES_MAX
    for text in given:
        left -= len(text.encode())
        if left < 0:
            break
        headers.add("Warning", text)


def presented(request: web.BaseRequest) -> Presented:
    """What the client shows of itself. Raises `BadRequestError` for headers that contradict themselves."""
    headers = request.headers
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    extra = tuple(
        (unquote(name.lower().removeprefix(_EXTRA)), tuple(headers.getall(name)))
        for name in dict.fromkeys(headers)
        if name.lower().startswith(_EXTRA)
    )
    user = headers.get("Impersonate-User", "")
    groups, uid = tuple(headers.getall("Impersonate-Group", ())), headers.get("Impersonate-Uid", "")
    if not user and (groups or uid or extra):
        raise BadRequestError("requested to impersonate without an Impersonate-User header")
    return Presented(
        certificate=_certificate(request),
        token=token.strip() if scheme.lower() == "bearer" else _websocket_token(headers),
        impersonate_user=user,
        impersonate_uid=uid,
        impersonate_groups=groups,
        impersonate_extra=extra,
    )


def _certificate(request: web.BaseRequest) -> bytes | None:
    found: object = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    return found.getpeercert(binary_form=True) if isinstance(found, ssl.SSLObject | ssl.SSLSocket) else None


def _websocket_token(headers: Mapping[str, str]) -> str:
    """Browsers can't set headers on a WebSocket, so the token comes as the name of a subprotocol."""
    for each in headers.get("Sec-WebSocket-Protocol", "").split(","):
        if each.strip().startswith(BEARER):
            text = each.strip().removeprefix(BEARER)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except (binascii.Error, ValueError) as error:
                raise BadRequestError("the bearer subprotocol is not base64url") from error
    return ""


async def read_body(request: web.BaseRequest) -> bytes:
    """The body, whole. Raises `TooLargeError` over the limit, before it was all read."""
    limit = BODY_BYTES_MAX
    too_large = f"Request entity too large: limit is {limit}"
    if (request.content_length or 0) > limit:
        raise TooLargeError(too_large)
    if not request.body_exists:
        return b""
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > limit:
                raise TooLargeError(too_large)
            parts.append(chunk)
    except web.RequestPayloadError as error:
        raise BadRequestError(f"the body can't be read: {error}") from error
    return _unpacked(b"".join(parts), request.headers.get("Content-Encoding", ""))


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding not in ("", "identity"):
        raise BadRequestError(f"a body in Content-Encoding {encoding} is not understood here")
    return body


class Listening(Frozen):
    """Where the API answers."""

    host: str
    port: int
    """The real one, where 0 was asked for."""


@asynccontextmanager
async def serving(
    api: Api, *, host: str, port: int, tls: ssl.SSLContext | None, settings: ApiSettings | None = None
) -> AsyncGenerator[Listening, None]:
    """Answer on a socket inside the block. Raises `UnavailableError` when the address can't be had."""
    stop_s_max = (settings or ApiSettings()).stop_s_max
    server = web.Server(api.handle, handler_cancellation=True, access_log=None, keepalive_timeout=90.0)
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=stop_s_max)
    await runner.setup()
    try:
        try:
            sock = listening_socket(host, port, backlog=_BACKLOG)
            keep_alive(sock)  # what is accepted inherits it: a watch of a client that vanished ends as well
            await web.SockSite(runner, sock, ssl_context=tls, backlog=_BACKLOG).start()
        except OSError as error:
            raise UnavailableError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
        address = runner.addresses[0]
        yield Listening(host=str(address[0]), port=int(address[1]))
    finally:
        await runner.cleanup()
