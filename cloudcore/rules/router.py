"""KubeEdge's router: requests from applications in the cloud, carried to a gateway by a rule, and answered when the
thing is done there.

`200 message delivered` is said when the gateway's broker has acknowledged the message, and not before: KubeEdge says
it when the message is in line for the gateway, where it may be lost. Nothing is kept here: a gateway that is away is
answered for with 503 at once, and whoever asked asks again.

Spoken over TLS to whoever may `create` the subresource `call` of the Rule (ServiceAccount tokens, client
certificates); or, where the operator says so, in KubeEdge's own way: plain and to anybody. Keeps counts for a few
seconds, which a crash costs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from cloudcore.registry.routes import types_of
from cloudcore.rules.counts import RuleCounts
from cloudcore.rules.paths import Asked, asked_of, rule_for
from cloudcore.store.port import Stored
from skerry.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    SkerryError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UncertainError,
)
from skerry.frozen import Frozen
from skerry.listening import listening_socket
from skerry.objects.json import JsonObject, encode_object, str_map_at
from skerry.objects.meta import Key
from skerry.objects.rule_calls import (
    CALL_BYTES_MAX,
    HEADER_BYTES_MAX,
    PUBLISHED,
    Headers,
    Publish,
    ServiceRequest,
    climbs,
    end_to_end,
    reply_of,
)
from skerry.objects.rules import (
    ENDPOINTS,
    EVENT_BUS,
    REST,
    RULES,
    SERVICE_BUS,
    Rule,
    rule_of,
    told_topic,
    topic_faults,
)

TIMEOUT_S: Final = 60.0
"""KubeEdge's `restTimeout`."""
CALLS_MAX: Final = 512
"""Requests at a time; beyond, 503: each may hold a body of two MiB."""
_BACKLOG: Final = 128
DELIVERED: Final = b"message delivered"
"""KubeEdge's words."""


class Cache(Protocol):
    """The part of the watch cache that is used."""

    def read(self, key: Key) -> Stored | None: ...
    def select(self, resource: str, *, namespace: str = "") -> Sequence[Stored]: ...
    def obj(self, stored: Stored) -> JsonObject: ...


class Calls(Protocol):
    """Gateways, through the hub."""

    async def call(self, node: str, params: JsonObject, body: bytes) -> bytes:
        """The gateway's answer. Raises `UnavailableError` where it can't be had, `UncertainError` where it may have
        been done all the same, and what the gateway refused with."""
        ...


Admit = Callable[[web.BaseRequest, str, str], Awaitable[None]]
"""(request, namespace, name of the rule, "" for none that is there): raises `UnauthenticatedError`,
`ForbiddenError`."""


class RouterParts(Frozen):
    """What it works with."""

    cache: Cache
    calls: Calls
    admit: Admit
    counts: RuleCounts
    hidden: frozenset[str] = frozenset()
    """Headers, in lower case, that do not go on: what whoever asks shows to this cloud is not for others."""
    timeout_s: float = TIMEOUT_S


class Reply(Frozen):
    status: int
    body: bytes
    headers: Headers = ()


class Router:
    """See the module. `handle` is an aiohttp handler."""

    def __init__(self, parts: RouterParts) -> None:
        self._parts = parts
        self._calls = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._calls >= CALLS_MAX:
            return _text(503, "too many requests are under way: try again")
        self._calls += 1
        try:
            reply = await self._reply(request)
        except SkerryError as error:
            return _text(_status_of(error), str(error))
        finally:
            self._calls -= 1
        return web.Response(status=reply.status, body=reply.body, headers=CIMultiDict(reply.headers))

    async def _reply(self, request: web.BaseRequest) -> Reply:
        asked = asked_of(request.rel_url.raw_path)
        found = None if asked is None else rule_for(asked, self._from_rest(asked.namespace))
        namespace = "" if asked is None else asked.namespace
        await self._parts.admit(request, namespace, "" if found is None else found[0].name)
        if asked is None:
            raise NotFoundError("write /NODE/NAMESPACE/PATH, where PATH is that of a Rule in the namespace")
        if found is None:
            raise NotFoundError(f"no Rule from rest in namespace {asked.namespace} has the path of /{asked.path}")
        if self._parts.cache.read(Key("nodes", "", asked.node)) is None:
            raise NotFoundError(f"there is no node {asked.node}")
        rule, rest = found
        until_s = asyncio.get_running_loop().time() + self._parts.timeout_s
        try:
            async with asyncio.timeout_at(until_s):
                body = await _body(request)
        except TimeoutError:
            return Reply(status=408, body=f"the body was not here within {self._parts.timeout_s:g} s".encode())
        try:
            async with asyncio.timeout_at(until_s):
                reply = await self._carried(rule, asked, rest, body, request)
        except TimeoutError:
            text = f"node {asked.node} has not answered within {self._parts.timeout_s:g} s: it may still do it"
            self._parts.counts.failed(rule.key, text)
            return Reply(status=504, body=text.encode())
        except SkerryError as error:
            self._parts.counts.failed(rule.key, str(error))
            raise
        self._parts.counts.succeeded(rule.key)
        return reply

    def _from_rest(self, namespace: str) -> list[Rule]:
        cache = self._parts.cache
        known = [rule_of(cache.obj(stored)) for stored in cache.select(RULES, namespace=namespace)]
        return [rule for rule in known if types_of(rule, cache)[0] == REST]

    async def _carried(self, rule: Rule, asked: Asked, rest: str, body: bytes, request: web.BaseRequest) -> Reply:
        target = types_of(rule, self._parts.cache)[1]
        if target == SERVICE_BUS:
            return await self._asked(rule, asked, rest, body, request)
        if target != EVENT_BUS:
            raise UnavailableError(f"rule {rule.name} is not ready: see its condition Ready")
        topic = told_topic(rule.target_resource.get("topic", ""), unquote(rest))
        if faults := topic_faults(topic, wildcards=False):
            raise BadRequestError(f"topic {topic!r}: {faults[0]}")
        answer = await self._parts.calls.call(asked.node, Publish(topic=topic).params(), body)
        if answer != PUBLISHED:
            raise UncertainError(f"node {asked.node} does not say whether it was published")
        return Reply(status=200, body=DELIVERED)

    async def _asked(self, rule: Rule, asked: Asked, rest: str, body: bytes, request: web.BaseRequest) -> Reply:
        """A service on the gateway, with its answer as it is."""
        if climbs(rest):
            raise BadRequestError(f"/{asked.path} has . or .. for a part: that may lead out of the rule's path")
        query = request.rel_url.raw_query_string
        path = "/" + told_topic(rule.target_resource.get("path", ""), rest).removeprefix("/")
        call = ServiceRequest(
            method=request.method,
            port=self._port(rule),
            target=f"{path}?{query}" if query else path,
            headers=end_to_end(request.headers.items(), without=self._parts.hidden),
        )
        params = call.params()
        if len(encode_object(params)) > HEADER_BYTES_MAX:
            raise BadRequestError(f"path and headers are over {HEADER_BYTES_MAX} bytes")
        reply = reply_of(await self._parts.calls.call(asked.node, params, body))
        return Reply(status=reply.status, body=reply.body, headers=reply.headers)

    def _port(self, rule: Rule) -> int:
        """Raises `UnavailableError` where the endpoint went away or says none."""
        cache = self._parts.cache
        stored = cache.read(Key(ENDPOINTS, rule.namespace, rule.target))
        said = "" if stored is None else str_map_at(cache.obj(stored), "spec", "properties").get("service_port", "")
        if not said.isdecimal():
            raise UnavailableError(f"ruleendpoint {rule.target} says no service_port")
        return int(said)


async def _body(request: web.BaseRequest) -> bytes:
    """Whole. Raises `TooLargeError` before it was all read, `BadRequestError` where it breaks off."""
    too_large = f"the body is over {CALL_BYTES_MAX} bytes"
    if (request.content_length or 0) > CALL_BYTES_MAX:
        raise TooLargeError(too_large)
    data = bytearray()
    try:
        async for chunk in request.content.iter_any():
            data += chunk
            if len(data) > CALL_BYTES_MAX:
                raise TooLargeError(too_large)
    except web.RequestPayloadError as error:
        raise BadRequestError(f"the body can't be read: {error}") from error
    return bytes(data)


def _status_of(error: SkerryError) -> int:
    match error:
        case UnauthenticatedError():
            return 401
        case ForbiddenError():
            return 403
        case NotFoundError():
            return 404
        case TooLargeError():
            return 413
        case BadRequestError():
            return 400
        case UncertainError():
            return 504
        case _:
            return 503


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


@asynccontextmanager
async def routing(router: Router, *, host: str, port: int, tls: ssl.SSLContext | None) -> AsyncGenerator[int]:
    """Answer on a socket inside the block; its port. Raises `UnavailableError` when the address can't be had."""
    server = web.Server(router.handle, handler_cancellation=True, access_log=None, keepalive_timeout=90.0)
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            sock = listening_socket(host, port, backlog=_BACKLOG)
            await web.SockSite(runner, sock, ssl_context=tls, backlog=_BACKLOG).start()
        except OSError as error:
            raise UnavailableError(f"can't listen for rules on {host}:{port}: {error.strerror or error}") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
