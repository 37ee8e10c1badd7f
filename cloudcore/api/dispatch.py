"""From a resource path to the verb that answers it, after permission. Keeps nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from cloudcore.api.authn import AUTHENTICATED
from cloudcore.api.call import Call, Reply
from cloudcore.api.ports import Parts
from cloudcore.api.routing import Query, Target, asked_name
from cloudcore.api.verbs.create import create, review
from cloudcore.api.verbs.delete import delete, delete_collection
from cloudcore.api.verbs.desired_log import desired_log
from cloudcore.api.verbs.devices import checkup, discovery, explain, line
from cloudcore.api.verbs.devices import read as read_device
from cloudcore.api.verbs.get import get
from cloudcore.api.verbs.history import history
from cloudcore.api.verbs.lists import CATCH_UP_S, list_
from cloudcore.api.verbs.local_changes import local_changes
from cloudcore.api.verbs.metrics import GROUP as METRICS
from cloudcore.api.verbs.metrics import get_metrics, list_metrics
from cloudcore.api.verbs.patch import approve as patch_approval
from cloudcore.api.verbs.patch import patch, patch_part, patch_status
from cloudcore.api.verbs.pods import bind, evict, log
from cloudcore.api.verbs.proxy import proxy
from cloudcore.api.verbs.scale import get_scale, patch_scale, put_scale
from cloudcore.api.verbs.streams import attach, exec_, portforward
from cloudcore.api.verbs.token import token
from cloudcore.api.verbs.traffic import traffic
from cloudcore.api.verbs.update import approve, finalize, update, update_part, update_status
from cloudcore.api.verbs.watch import watch
from skerry.authz.attributes import Actor, Attributes
from skerry.errors import BadRequestError, ForbiddenError, NotFoundError
from skerry.forms.status import UNKNOWN_RESOURCE, MethodNotAllowedError
from skerry.frozen import Frozen
from skerry.objects.scheme import Kind

Verb = Callable[[Call], Awaitable[Reply]]

NOT_ALLOWED: Final = "the server does not allow this method on the requested resource"
_OBJECT_VERBS: Final[dict[str, Verb]] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
_SUBRESOURCE_VERBS: Final[dict[tuple[str, str], Verb]] = {
    ("status", "get"): get,
    ("status", "update"): update_status,
    ("status", "patch"): patch_status,
    ("scale", "get"): get_scale,
    ("scale", "update"): put_scale,
    ("scale", "patch"): patch_scale,
    ("approval", "get"): get,
    ("approval", "update"): approve,
    ("approval", "patch"): patch_approval,
    ("ephemeralcontainers", "get"): get,
    ("ephemeralcontainers", "update"): update_part,
    ("ephemeralcontainers", "patch"): patch_part,
    ("resize", "get"): get,
    ("resize", "update"): update_part,
    ("resize", "patch"): patch_part,
    ("finalize", "update"): finalize,
    ("binding", "create"): bind,
    ("eviction", "create"): evict,
    ("log", "get"): log,
    ("exec", "get"): exec_,
    ("exec", "create"): exec_,
    ("attach", "get"): attach,
    ("attach", "create"): attach,
    ("portforward", "get"): portforward,
    ("portforward", "create"): portforward,
    **{("proxy", verb): proxy for verb in ("get", "create", "update", "patch", "delete", "options")},
    ("token", "create"): token,
    ("desiredlog", "get"): desired_log,
    ("history", "get"): history,
    ("explain", "get"): explain,
    ("line", "get"): line,
    ("checkup", "get"): checkup,
    ("read", "create"): read_device,
    ("traffic", "get"): traffic,
    ("localchanges", "get"): local_changes,
    ("discovery", "get"): discovery,
}
_CONVERSATIONS: Final = frozenset({"exec", "attach", "portforward"})
"""Subresources of pods where both methods do the same: a WebSocket can only be asked for with GET."""
_ASKED_WITHOUT_STORING: Final = frozenset({"authorization.k8s.io", "authentication.k8s.io"})


class Incoming(Frozen):
    """A request to a resource path, without its body."""

    target: Target
    verb: str
    query: Query
    accept: str = ""
    content_type: str = ""
    user_agent: str = ""
    upgrade: str = ""
    """As `Call` has it."""


async def dispatch(
    parts: Parts,
    incoming: Incoming,
    actor: Actor,
    read: Callable[[], Awaitable[bytes]],
    warnings: list[str],
) -> Reply:
    """Answer a request; texts for Warning headers are added to `warnings`, refused or not.

    `read` gives the body, once the request is known to be allowed. Raises the errors of `skerry.errors`.
    """
    if not incoming.verb:
        raise MethodNotAllowedError(NOT_ALLOWED)
    await _permitted(parts, actor, incoming)
    kind = await _served_kind(parts, incoming.target, incoming.verb)
    carry_out = verb_for(kind, incoming.target, incoming.verb)
    call = Call(
        parts=parts,
        kind=kind,
        target=incoming.target,
        verb=incoming.verb,
        query=incoming.query,
        actor=actor,
        accept=incoming.accept,
        content_type=incoming.content_type,
        user_agent=incoming.user_agent,
        # What is proxied is not ours to read, and may have no end.
        raw_body=b"" if incoming.target.subresource == "proxy" else await read(),
        upgrade=incoming.upgrade,
        warnings=warnings,
    )
    try:
        return await carry_out(call)
    except RecursionError as error:
        raise BadRequestError("the body is nested too deeply") from error


async def _permitted(parts: Parts, actor: Actor, incoming: Incoming) -> None:
    """As `permit`, by all that any process had granted by now to somebody who is known."""
    seen = parts.cache.revision
    try:
        permit(parts, actor, incoming.target, incoming.verb, incoming.query)
    except ForbiddenError:
        known = AUTHENTICATED in actor.groups
        if not (known and await parts.cache.missed_since(seen, timeout_s=CATCH_UP_S)):
            raise
        permit(parts, actor, incoming.target, incoming.verb, incoming.query)


def permit(parts: Parts, actor: Actor, target: Target, verb: str, query: Query) -> None:
    """Raises `ForbiddenError`. Asked before anything is looked up, so that a refusal tells nothing.

    Whoever may read a pod may not run commands in it: a conversation that begins with GET needs `create` as well
    (kube-apiserver since 1.35, AuthorizePodWebsocketUpgradeCreatePermission).
    """
    if verb == "get" and target.plural == "pods" and not target.group and target.subresource in _CONVERSATIONS:
        permit(parts, actor, target, "create", query)
    namespace, name = target.namespace, asked_name(target, verb, query)
    if target.plural == "namespaces" and target.group == "" and target.name:
        # A namespace is inside itself, for roles that are.
        namespace = target.name
    parts.gate.require(
        Attributes(
            actor=actor,
            verb=verb,
            group=target.group,
            version=target.version,
            resource=target.plural,
            subresource=target.subresource,
            namespace=namespace,
            name=name,
        )
    )


async def _served_kind(parts: Parts, target: Target, verb: str) -> Kind:
    """As `kind_at`, of all that any process had defined by now."""
    parts.refresh()
    if parts.scheme.at(target.group, target.version, target.plural) is None:
        await parts.cache.catch_up(timeout_s=CATCH_UP_S)
        parts.refresh()
    return kind_at(parts, target, verb)


def kind_at(parts: Parts, target: Target, verb: str) -> Kind:
    """The kind a path names. Raises `NotFoundError`, `MethodNotAllowedError`."""
    kind = parts.scheme.at(target.group, target.version, target.plural)
    if kind is None or (target.namespace and not kind.namespaced):
        raise NotFoundError(UNKNOWN_RESOURCE)
    if kind.namespaced and not target.namespace:
        if target.name:
            raise NotFoundError(UNKNOWN_RESOURCE)
        if verb not in ("list", "watch"):
            raise MethodNotAllowedError(NOT_ALLOWED)
    return kind


def verb_for(kind: Kind, target: Target, verb: str) -> Verb:
    """What answers. Raises `NotFoundError`, `MethodNotAllowedError`."""
    if target.subresource:
        if target.subresource not in kind.subresources:
            raise NotFoundError(UNKNOWN_RESOURCE)
        found = _SUBRESOURCE_VERBS.get((target.subresource, verb))
        if found is None:
            raise MethodNotAllowedError(NOT_ALLOWED)
        return found
    if (
        verb not in kind.verbs
        or (verb == "create" and target.name)
        or (verb in ("update", "patch") and not target.name)
    ):
        raise MethodNotAllowedError(NOT_ALLOWED)
    if kind.group in _ASKED_WITHOUT_STORING and kind.verbs == ("create",):
        return review
    if kind.group == METRICS:
        return get_metrics if verb == "get" else list_metrics
    return _OBJECT_VERBS[verb]
