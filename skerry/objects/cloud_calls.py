"""A request to the cloud's API that a gateway carries through its session, and the answer: what goes over the stream.

The stream's parameters are the head of the request; its body comes after them. The answer is a line of JSON, its
head, and then its body. Used for tokens of pods, and for what applications on the gateway ask of its local API and
the cloud alone may do. Pure.
"""

from __future__ import annotations

from typing import Final

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, int_at, str_at, str_map_at

API_CALLS: Final = "api"
"""Kind of the stream, which a gateway opens."""
CALL_BODY_BYTES_MAX: Final = 3 << 20
"""As the cloud's API takes."""
ANSWER_BODY_BYTES_MAX: Final = 8 << 20
ANSWER_HEAD_BYTES_MAX: Final = 64 << 10
CARRIED_HEADERS: Final = ("accept", "authorization", "content-type", "if-none-match", "user-agent")
"""What of a request's head is carried; by the second the cloud knows whoever asked."""
ANSWER_HEADERS: Final = ("content-type", "retry-after", "warning", "etag", "audit-id")


class CallHead(Frozen):
    """The head of a request."""

    method: str
    path: str
    """As it stands in a request line, with its query."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of `CARRIED_HEADERS`, in lower case."""
    body_bytes: int = 0
    own: bool = False
    """The gateway itself asks, as its node. Otherwise whoever `authorization` speaks for, or nobody."""

    def header(self, name: str) -> str:
        return next((value for each, value in self.headers if each == name), "")

    def params(self) -> JsonObject:
        return {
            "method": self.method,
            "path": self.path,
            "headers": dict[str, Json](self.headers),
            "bodyBytes": self.body_bytes,
            "own": self.own,
        }


def call_head_of(params: JsonObject) -> CallHead:
    """Raises `BadRequestError`."""
    headers = str_map_at(params, "headers")
    head = CallHead(
        method=str_at(params, "method"),
        path=str_at(params, "path"),
        headers=tuple((name, headers[name]) for name in CARRIED_HEADERS if name in headers),
        body_bytes=int_at(params, "bodyBytes"),
        own=bool_at(params, "own"),
    )
    if head.own and head.header("authorization"):
        raise BadRequestError("a call is the gateway's own, or somebody's whose token it carries")
    if not head.path.startswith("/") or head.method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        raise BadRequestError("a call names a method and a path")
    if not 0 <= head.body_bytes <= CALL_BODY_BYTES_MAX:
        raise BadRequestError(f"a body of {head.body_bytes} bytes: at most {CALL_BODY_BYTES_MAX} are taken")
    return head


class CloudAnswer(Frozen):
    """What the cloud's API said."""

    code: int
    headers: tuple[tuple[str, str], ...] = ()
    """Of `ANSWER_HEADERS`, in lower case; several of one name are possible."""
    body: bytes = b""

    @property
    def content_type(self) -> str:
        return next((value for name, value in self.headers if name == "content-type"), "application/json")

    def head(self) -> JsonObject:
        return {"code": self.code, "headers": [[name, value] for name, value in self.headers]}


def answer_of(head: JsonObject, body: bytes) -> CloudAnswer:
    """Raises `BadRequestError` for a head that is none."""
    pairs = head.get("headers")
    headers: list[tuple[str, str]] = []
    for pair in pairs if isinstance(pairs, list) else ():
        match pair:
            case [str(name), str(value)]:
                headers.append((name, value))
            case _:
                raise BadRequestError("a header is a name and a value")
    code = int_at(head, "code")
    if not 200 <= code <= 599:
        raise BadRequestError(f"{code} is no status of HTTP")
    return CloudAnswer(code=code, headers=tuple(headers), body=body)
