"""What the local API answers that is no resource: discovery, schemas, version, health.

Keeps the discovery documents once somebody has asked for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from edgecore.local_api.answers import Answer, json_answer
from edgecore.local_api.kinds import SHOWN
from edgecore.local_api.requests import Request
from skerry.errors import NotFoundError
from skerry.forms.negotiation import discovery_version, wants_openapi_protobuf
from skerry.forms.status import UNKNOWN_RESOURCE, MethodNotAllowedError

if TYPE_CHECKING:
    from skerry.forms.discovery import Discovery

PLAIN: Final = "text/plain; charset=utf-8"
KUBERNETES_MINOR: Final = 36
_HEALTH: Final = ("healthz", "livez", "readyz")
_KNOWN: Final = ("/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version")


class Schemas(Protocol):
    """See `edgecore.local_api.openapi.OpenApi`."""

    async def index(self) -> Answer: ...
    async def group_version(self, path: str) -> Answer: ...
    async def v2(self, *, protobuf: bool) -> Answer: ...


class Paths:
    """Answers for non-resource paths."""

    def __init__(self, schemas: Schemas, *, version: str) -> None:
        self._schemas = schemas
        self._version = version
        self._discovery: Discovery | None = None

    async def answer(self, request: Request) -> Answer:
        """Raises `NotFoundError`, `MethodNotAllowedError`, `UnavailableError`."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError("the server does not allow this method on the requested resource")
        match request.parts:
            case ():
                return json_answer({"paths": [*_KNOWN]})
            case (name,) if name in _HEALTH:
                return _health(name, verbose="verbose" in request.query)
            case (name, "ping") if name in _HEALTH:
                return Answer(body=b"ok", content_type=PLAIN)
            case ("version",):
                from skerry.forms.discovery import version_info

                return json_answer(version_info(KUBERNETES_MINOR, self._version))
            case ("api" | "apis", *_):
                return self._discovered(request)
            case ("openapi", "v2"):
                return await self._schemas.v2(protobuf=wants_openapi_protobuf(request.header("accept")))
            case ("openapi", "v3"):
                return await self._schemas.index()
            case ("openapi", "v3", *rest):
                return await self._schemas.group_version("/".join(rest))
            case _:
                raise NotFoundError(UNKNOWN_RESOURCE)

    def _discovered(self, request: Request) -> Answer:
        if self._discovery is None:
            from skerry.forms.discovery import Discovery  # only who is asked pays

            self._discovery = Discovery(SHOWN)
        found = self._discovery.document("/" + "/".join(request.parts), discovery_version(request.header("accept")))
        if found is None:
            raise NotFoundError(UNKNOWN_RESOURCE)
        headers = (("ETag", found.etag), ("Vary", "Accept"))
        if found.etag in [tag.strip().removeprefix("W/") for tag in request.if_none_match.split(",")]:
            return Answer(code=304, content_type=found.media_type, headers=headers)
        return Answer(body=found.body, content_type=found.media_type, headers=headers)


def is_discovery(parts: tuple[str, ...]) -> bool:
    """Whether a path below /api or /apis names no resource."""
    return len(parts) <= {"api": 2, "apis": 3}.get(parts[0] if parts else "", 0)


def _health(name: str, *, verbose: bool) -> Answer:
    """Whoever is answered has an agent that runs, and a store that was read."""
    body = f"[+]ping ok\n[+]store ok\n{name} check passed\n" if verbose else "ok"
    return Answer(body=body.encode(), content_type=PLAIN)
