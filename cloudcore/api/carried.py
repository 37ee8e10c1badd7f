"""Requests that gateways carry to the API through their sessions: no port, no address and no second certificate.

Whoever asks is who their token says, as at the API's own port; the gateway's own requests are its node's, as its
session has proved, and say that they are. The answer is whole: watches and logs are for those who reach the API.
Keeps nothing; a crash ends the stream, and the gateway knows that it does not know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cloudcore.api.app import warning
from cloudcore.api.authn import AUTHENTICATED, UnknownAccountError
from cloudcore.api.call import Stream, Whole
from cloudcore.api.dispatch import Incoming, dispatch
from cloudcore.api.paths import Asked, Paths
from cloudcore.api.ports import Parts, Presented
from cloudcore.api.routing import clean_path, parse_query, target_of, verb_of
from skerry.authz.attributes import Actor
from skerry.errors import BadRequestError, NotFoundError, SkerryError, UnavailableError
from skerry.forms.status import DeadlineError, answer_for, internal
from skerry.objects.cloud_calls import ANSWER_BODY_BYTES_MAX, ANSWER_HEADERS, CallHead, CloudAnswer, call_head_of
from skerry.objects.enrolment import NODE_USER_PREFIX, NODES_GROUP, read_request
from skerry.objects.gateway_serving import SERVING_PATH, Served, served_obj
from skerry.objects.json import JsonObject, encode_object
from skerry.ports import Pipe

LOG: Final = logging.getLogger(__name__)

CALL_S_MAX: Final = 60.0
"""As the API's own port gives a request."""


Serving = Callable[[str, str], Served]
"""Node and signing request (PEM)."""


def _serving_refused(_node: str, _csr_pem: str) -> Served:
    raise NotFoundError("the server could not find the requested resource")


class CarriedCalls:
    """See the module; `cloudcore.hub.sessions.Carried`."""

    def __init__(self, parts: Parts, paths: Paths, serving: Serving = _serving_refused) -> None:
        """`serving`: gives a gateway a certificate for its own API."""
        self._parts = parts
        self._serving = serving
        self._paths = paths

    async def __call__(self, node: str, params: JsonObject, pipe: Pipe, /) -> None:
        head = call_head_of(params)
        body = bytearray()
        while len(body) < head.body_bytes and (piece := await pipe.read()):
            body += piece
        if len(body) != head.body_bytes:
            raise BadRequestError(f"a body of {head.body_bytes} bytes ends after {len(body)}")
        answer = await self.answer(node, head, bytes(body))
        await pipe.write(encode_object(answer.head()) + b"\n" + answer.body)

    async def answer(self, node: str, head: CallHead, body: bytes) -> CloudAnswer:
        """Errors are answers as well."""
        warnings: list[str] = []
        try:
            async with asyncio.timeout(CALL_S_MAX):
                whole = await self._reply(node, head, body, warnings)
        except TimeoutError:
            whole = _refusal(DeadlineError("Timeout: request did not complete within the allotted time"))
        except SkerryError as error:
            whole = _refusal(error)
        except Exception:
            # The root of a request: what went wrong here must not end the gateway's session, and must be seen.
            LOG.exception("request failed node=%s method=%s path=%s", node, head.method, head.path.partition("?")[0])
            found = internal("the server met a condition it did not expect")
            whole = Whole(body=encode_object(found.status) + b"\n", code=found.code)
        said = [("content-type", whole.media_type)]
        said += [(name.lower(), value) for name, value in whole.headers if name.lower() in ANSWER_HEADERS]
        said += [("warning", warning(text)) for text in warnings]
        return CloudAnswer(code=whole.code, headers=tuple(said), body=whole.body)

    async def _reply(self, node: str, head: CallHead, body: bytes, warnings: list[str]) -> Whole:
        path, _, query_text = head.path.partition("?")
        if head.own and path == SERVING_PATH:
            return self._served(node, head, body)
        query, target = parse_query(query_text), target_of(clean_path(path))
        actor = await self._actor(node, head)
        if target is None:
            asked = Asked(
                path=path.rstrip("/"),
                actor=actor,
                accept=head.header("accept"),
                if_none_match=head.header("if-none-match"),
                verbose=False,
            )
            return _within(self._paths.answer(head.method, asked))
        incoming = Incoming(
            target=target,
            verb=verb_of(head.method, target, query),
            query=query,
            accept=head.header("accept"),
            content_type=head.header("content-type"),
            user_agent=head.header("user-agent"),
        )

        async def read() -> bytes:
            return body

        reply = await dispatch(self._parts, incoming, actor, read, warnings)
        if isinstance(reply, Stream):
            await reply.pieces.aclose()
        if not isinstance(reply, Whole):
            raise BadRequestError("a gateway carries no watches, logs and other streams to the cloud")
        return _within(reply)

    def _served(self, node: str, head: CallHead, body: bytes) -> Whole:
        if head.method != "POST":
            raise BadRequestError(f"{SERVING_PATH} answers POST")
        served = self._serving(node, read_request(body, with_token=False).csr_pem)
        return Whole(body=encode_object(served_obj(served)), code=201)

    async def _actor(self, node: str, head: CallHead) -> Actor:
        if head.own:
            return Actor(name=NODE_USER_PREFIX + node, groups=(NODES_GROUP, AUTHENTICATED))
        scheme, _, token = head.header("authorization").partition(" ")
        presented = Presented(token=token.strip() if scheme.lower() == "bearer" else "")
        cache = self._parts.cache
        seen = cache.revision
        with suppress(UnknownAccountError):
            return await self._parts.authenticator.authenticate(presented)
        await cache.missed_since(seen, timeout_s=CALL_S_MAX)
        return await self._parts.authenticator.authenticate(presented)


def _within(reply: Whole) -> Whole:
    """Raises `UnavailableError` for what is too long to be carried."""
    if len(reply.body) > ANSWER_BODY_BYTES_MAX:
        raise UnavailableError(f"the answer has more than {ANSWER_BODY_BYTES_MAX} bytes: ask for less at once")
    return reply


def _refusal(error: SkerryError) -> Whole:
    found = answer_for(error)
    headers = (("Retry-After", str(found.retry_after_s)),) if found.retry_after_s else ()
    return Whole(body=encode_object(found.status) + b"\n", code=found.code, headers=headers)
