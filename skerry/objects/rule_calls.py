"""What the cloud asks of a gateway for a rule whose source is in the cloud: streams of kind `rules`.

The stream's parameters say what is asked, its data are the body, and the gateway's answer comes when the thing is
done. Nothing is kept on the way: who asked is told that it was done, or why not. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import unquote

from skerry.errors import BadRequestError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object, int_at, list_at, str_at
from skerry.objects.rules import topic_faults

CALLS: Final = "rules"
"""The kind of stream."""
BODY_BYTES: Final = "bodyBytes"
"""Name among the parameters: how many bytes the opener sends."""
CALL_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of a body, either way."""
CALL_HEAD_BYTES_MAX: Final = 64 * 1024
"""Of what an answer says beside its body."""
HEADER_BYTES_MAX: Final = 8 * 1024
"""Of a request's path and headers: they travel in one frame."""
PUBLISH_S_MAX: Final = 20.0
"""A broker that takes longer does not take it."""
SERVICE_S_MAX: Final = 50.0
"""A service that takes longer does not answer: less than whoever asked waits for."""

PUBLISHED: Final = b'{"published":true}'
"""The answer to `Publish`."""

Headers: TypeAlias = "tuple[tuple[str, str], ...]"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2."""
_TARGET: Final = re.compile(r"/[!-~]*")
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Of one connection, or said anew by whoever sends (RFC 9110, 7.6.1)."""


class Publish(Frozen):
    """Publish the body on a topic of the gateway's broker, with QoS 1."""

    topic: str

    def params(self) -> JsonObject:
        return {"ask": "publish", "topic": self.topic}


class ServiceRequest(Frozen):
    """Ask an HTTP service on the gateway's own loopback address, with the body."""

    method: str
    port: int
    target: str
    """Path and query, escaped."""
    headers: Headers = ()

    def params(self) -> JsonObject:
        headers: list[Json] = [[name, value] for name, value in self.headers]
        return {
            "ask": "request",
            "method": self.method,
            "port": self.port,
            "target": self.target,
            "headers": headers,
        }


Call: TypeAlias = "Publish | ServiceRequest"


def call_of(params: JsonObject) -> Call:
    """Raises `BadRequestError`."""
    match str_at(params, "ask"):
        case "publish":
            topic = str_at(params, "topic")
            if faults := topic_faults(topic, wildcards=False):
                raise BadRequestError(f"topic {topic!r}: {faults[0]}")
            return Publish(topic=topic)
        case "request":
            return _request_of(params)
        case asked:
            raise BadRequestError(
                f"this gateway's agent does not know the call {asked!r} of rules: it knows publish and request"
            )


def _request_of(params: JsonObject) -> ServiceRequest:
    method, port, target = str_at(params, "method"), int_at(params, "port"), str_at(params, "target")
    if not _TOKEN.fullmatch(method):
        raise BadRequestError(f"method {method!r} is none of HTTP's")
    if not 1 <= port <= 65_535:
        raise BadRequestError(f"port {port} is none")
    if not _TARGET.fullmatch(target):
        raise BadRequestError(f"path {target!r}: begins with a slash, and is escaped")
    if climbs(target.partition("?")[0]):
        raise BadRequestError(f"path {target!r}: has . or .. for a part")
    return ServiceRequest(method=method, port=port, target=target, headers=_headers_in(params))


def climbs(path: str) -> bool:
    """Whether a part of an escaped path is . or .., in any form in which a server may take it for that (RFC 3986,
    6.2.2.3): a rule opens what is below its own path, and nothing beside it."""
    return any(part.partition(";")[0] in (".", "..") for part in unquote(path).replace("\\", "/").split("/"))


def _headers_in(said: Json) -> Headers:
    """Raises `BadRequestError` for a header that can't be sent."""
    pairs: list[tuple[str, str]] = []
    for entry in list_at(said, "headers"):
        name, value = entry if isinstance(entry, list) and len(entry) == 2 else ("", "")
        if not isinstance(name, str) or not isinstance(value, str) or not _is_header(name, value):
            raise BadRequestError(f"header {name!r} can't be sent")
        pairs.append((name, value))
    return tuple(pairs)


def _is_header(name: str, value: str) -> bool:
    return _TOKEN.fullmatch(name) is not None and not any(char in value for char in "\r\n\0")


def end_to_end(headers: Iterable[tuple[str, str]], *, without: Iterable[str] = ()) -> Headers:
    """Those that go on to whoever is behind a proxy; `without` further ones, in lower case."""
    pairs = tuple(headers)
    named = [value for name, value in pairs if name.lower() == "connection"]
    dropped = _HOP_BY_HOP | {*without} | {word.strip().lower() for value in named for word in value.split(",")}
    return tuple((name, value) for name, value in pairs if name.lower() not in dropped and _is_header(name, value))


class ServiceReply(Frozen):
    """What a service has answered."""

    status: int
    headers: Headers
    body: bytes

    def encode(self) -> bytes:
        headers: list[Json] = [[name, value] for name, value in self.headers]
        return encode_object({"status": self.status, "headers": headers}) + b"\n" + self.body


def reply_of(answer: bytes) -> ServiceReply:
    """Raises `UnavailableError` where it makes no sense."""
    head, _, body = answer.partition(b"\n")
    try:
        said: Json = json.loads(head)
        headers = _headers_in(said)
    except (ValueError, BadRequestError) as error:
        raise UnavailableError(f"the gateway's answer makes no sense: {error}") from error
    status = int_at(said, "status")
    if not 200 <= status <= 599:
        raise UnavailableError(f"the gateway's answer makes no sense: status {status}")
    return ServiceReply(status=status, headers=headers, body=body)
