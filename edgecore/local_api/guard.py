"""What the local API does for a request over TCP: as whoever its token says, within what the roles allow.

Reads of what the gateway holds are answered here, link or not. Everything else goes to the cloud with the caller's
own token, which decides there; without a link it is refused with 503 and the reason. Keeps nothing.
"""

from __future__ import annotations

from typing import Final, Protocol

from edgecore.local_api.access import ANONYMOUS, Access
from edgecore.local_api.answers import Answer
from edgecore.local_api.cloud_kinds import CloudKinds
from edgecore.local_api.entries import CONVERSATIONS
from edgecore.local_api.keeping import Asker, KeptWrites, can_be_kept
from edgecore.local_api.kinds import EVENT, GROUPS, SCHEME
from edgecore.local_api.kubelet import is_kubelets, subresources_of
from edgecore.local_api.requests import Request, Stream, Talk
from edgecore.local_api.routes import Routes
from skerry.authz.attributes import Actor, Attributes
from skerry.errors import ForbiddenError, NotFoundError, UnauthenticatedError, UnavailableError, UncertainError
from skerry.forms.status import UNKNOWN_RESOURCE
from skerry.frozen import Frozen, replace
from skerry.objects.cloud_calls import CallHead, CloudAnswer

_WRITES: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Calls(Protocol):
    """See `edgecore.link.calls.CloudCalls`."""

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer: ...


class Asked(Frozen, kw_only=False):
    """What a path of the API names."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Guard:
    """See the module; `edgecore.local_api.connection.Answers`."""

    def __init__(self, routes: Routes, access: Access, calls: Calls, kept: KeptWrites) -> None:
        self._kinds = CloudKinds(calls)
        self._routes = routes
        self._access = access
        self._calls = calls
        self._kept = kept

    async def answer(self, request: Request) -> Answer | Stream | Talk:
        """Raises the errors of `skerry.errors`."""
        actor = self._access.actor(request.header("authorization"))
        asked = asked_of(request.parts)
        try:
            if asked is None:
                return await self._path(request, actor)
            return await self._object(request, asked, actor)
        except ForbiddenError as error:
            if actor == ANONYMOUS:
                raise UnauthenticatedError("Unauthorized") from error
            raise

    async def _path(self, request: Request, actor: Actor) -> Answer | Stream | Talk:
        if is_kubelets(request.parts):
            return await self._kubelets(request, actor)
        path = "/" + "/".join(request.parts)
        verb = "get" if request.method == "GET" else request.method.lower()
        self._access.require(Attributes(actor=actor, verb=verb, path=path))
        if (told := await self._kinds.answer(request)) is not None:
            return told
        match request.parts:
            case ("skerry", *_):
                raise NotFoundError(UNKNOWN_RESOURCE)  # the agent's own paths are for the socket
            case ("apis", group, *_) if group not in GROUPS:
                return await self._carried(request, actor)
            case _:
                return await self._routes.answer(request)

    async def _kubelets(self, request: Request, actor: Actor) -> Answer | Stream | Talk:
        """As a kubelet asks: for `nodes/metrics`, `nodes/stats`, or `nodes/proxy` of this node."""
        verb = "get" if request.method in ("GET", "HEAD") else _WRITES.get(request.method, request.method.lower())
        wanted = [
            Attributes(
                actor=actor, verb=verb, version="v1", resource="nodes", subresource=each, name=self._access.node
            )
            for each in subresources_of(request.parts)
        ]
        if not any(self._access.allows(each) for each in wanted[:-1]):
            self._access.require(wanted[-1])
        return await self._routes.answer(request)

    async def _object(self, request: Request, asked: Asked, actor: Actor) -> Answer | Stream | Talk:
        verb = _verb(request, asked)
        into = not asked.group and asked.plural == "pods" and asked.subresource in CONVERSATIONS
        is_here = request.method == "GET" or (into and request.method == "POST")
        if not is_here or SCHEME.at(asked.group, asked.version, asked.plural) is None:
            return await self._written(request, asked, actor)  # the cloud says whether it may be
        # Whoever may read a pod may not run commands in it, as in the cloud.
        for each in (verb, "create") if into else (verb,):
            self._access.require(_attributes(actor, each, asked))
        return await self._routes.answer(replace(request, actor=actor.name))

    async def _written(self, request: Request, asked: Asked, actor: Actor) -> Answer | Stream | Talk:
        """By the cloud; without a link what can wait is kept here."""
        try:
            return await self._carried(request, actor)
        except UncertainError:
            raise  # it may have been done
        except UnavailableError:
            if request.method == "GET" and (asked.group, asked.plural) == ("", EVENT.plural):
                self._access.require(_attributes(actor, _verb(request, asked), asked))
                return await self._routes.answer(replace(request, actor=actor.name))  # those that were told here
            asker = Asker(
                by=actor.name,
                group=asked.group,
                plural=asked.plural,
                namespace=asked.namespace,
                name=asked.name,
                subresource=asked.subresource,
            )
            if not can_be_kept(request, asker):
                raise
            self._access.require(_attributes(actor, _WRITES[request.method], asked))
            answer = await self._kept.keep(request, asker)
            if answer is None:
                raise
            return answer

    async def _carried(self, request: Request, actor: Actor) -> Answer:
        if actor == ANONYMOUS:
            raise UnauthenticatedError("Unauthorized")
        if request.flag("watch"):
            raise UnavailableError("this gateway does not hold these objects, and carries no watches to the cloud")
        head = CallHead(
            method=request.method, path=request.target, headers=request.headers, body_bytes=len(request.body)
        )
        try:
            answer = await self._calls.ask(head, request.body)
        except UncertainError as error:
            raise UncertainError(f"it is not known whether it was done: {error}") from error
        except UnavailableError as error:
            raise UnavailableError(f"only the cloud can do this, and {error}") from error
        headers = tuple((name, value) for name, value in answer.headers if name != "content-type")
        return Answer(code=answer.code, body=answer.body, content_type=answer.content_type, headers=headers)


def _attributes(actor: Actor, verb: str, asked: Asked) -> Attributes:
    return Attributes(
        actor=actor,
        verb=verb,
        group=asked.group,
        version=asked.version,
        resource=asked.plural,
        subresource=asked.subresource,
        namespace=asked.namespace,
        name=asked.name,
    )


def asked_of(parts: tuple[str, ...]) -> Asked | None:
    """The resource that a path names; None for discovery and everything that is no resource."""
    match parts:
        case ("api", version, *rest) if rest:
            group = ""
        case ("apis", group, version, *rest) if rest:
            pass
        case _:
            return None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    else:
        namespace = ""
    plural, *rest = rest
    if plural == "namespaces" and rest:
        namespace = rest[0]  # a namespace is inside itself, for roles that are
    return Asked(
        group=group,
        version=version,
        plural=plural,
        namespace=namespace,
        name=rest[0] if rest else "",
        subresource=rest[1] if len(rest) > 1 else "",
    )


def _verb(request: Request, asked: Asked) -> str:
    if request.method != "GET":
        return _WRITES.get(request.method, request.method.lower())
    if asked.name:
        return "get"
    return "watch" if request.flag("watch") else "list"
