"""Kinds that are posted, answered and never stored: may I, who am I, whose token is this, give me a token.

Keeps nothing. Shapes and texts are those of authorization.k8s.io/v1 and authentication.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudcore.api.authn import Authenticator
from cloudcore.api.authz.authorizer import Authorizer
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.registry.port import Objects
from cloudcore.store.port import Stored
from skerry.authz.attributes import Actor, Attributes
from skerry.authz.rules import Rule, rule_object
from skerry.errors import (
    BadRequestError,
    Cause,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthenticatedError,
)
from skerry.frozen import replace
from skerry.objects.account_tokens import ISSUER, BoundTo
from skerry.objects.enrolment import NODES_GROUP, node_of_user
from skerry.objects.json import Json, JsonObject, decode_object, dig, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, name_of
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text

TOKEN_VALID_S: Final = 3600
RENEWED_S: Final = 3607
"""What kubelets ask for unless a pod says otherwise: an hour, told apart from an hour that somebody asked for. Such a
token lives on for a year (`cloudcore.pki.service_tokens`)."""
TOKEN_VALID_S_MIN: Final = 600
TOKEN_VALID_S_MAX: Final = 1 << 32


class ReviewDesk:
    """See `cloudcore.api.ports.Reviews`."""

    def __init__(
        self, *, authorizer: Authorizer, authenticator: Authenticator, tokens: ServiceTokens, objects: Objects
    ) -> None:
        self._authorizer = authorizer
        self._authenticator = authenticator
        self._tokens = tokens
        self._objects = objects

    async def answer(self, kind: Kind, namespace: str, obj: JsonObject, actor: Actor) -> JsonObject:
        status: JsonObject
        match kind.kind:
            case "SelfSubjectAccessReview":
                status = self._access(obj, actor, kind)
            case "SubjectAccessReview":
                status = self._access(obj, _subject(obj, kind), kind)
            case "LocalSubjectAccessReview":
                if str_at(obj, "spec", "resourceAttributes", "namespace") != namespace:
                    raise _invalid(
                        kind,
                        "spec.resourceAttributes.namespace",
                        f"must match metadata.namespace: {namespace}",
                        str_at(obj, "spec", "resourceAttributes", "namespace"),
                    )
                status = self._access(obj, _subject(obj, kind), kind)
            case "SelfSubjectRulesReview":
                status = self._rules(obj, actor)
            case "SelfSubjectReview":
                status = {"userInfo": user_info(actor)}
            case "TokenReview":
                status = self._token(obj)
            case _:
                raise BadRequestError(f"{kind.kind} is not a review")
        return {**obj, "status": status}

    async def issue_token(self, namespace: str, name: str, obj: JsonObject, actor: Actor) -> JsonObject:
        account = self._objects.read(Key("serviceaccounts", namespace, name))
        if account is None:
            raise NotFoundError(f'serviceaccounts "{name}" not found')
        _check_names(namespace, name, obj)
        valid_s = _valid_s(obj)
        audiences = tuple(strs_at(obj, "spec", "audiences"))
        bound, node = self._bound(namespace, name, map_at(obj, "spec"), actor)
        to_pod = bound is not None and bound.kind == "Pod"
        claims = self._tokens.new_claims(
            namespace=namespace,
            account=name,
            account_uid=account.uid,
            audiences=audiences,
            valid_s=valid_s,
            extended=to_pod and valid_s == RENEWED_S and audiences in ((), (ISSUER,)),
        )
        claims = replace(claims, bound=bound, node=node)
        spec: JsonObject = {
            **map_at(obj, "spec"),
            "audiences": list[Json](claims.audiences),
            "expirationSeconds": valid_s,
        }
        status: JsonObject = {
            "token": self._tokens.sign(claims),
            "expirationTimestamp": time_text((claims.issued_s + valid_s) * 1000),
        }
        metadata: JsonObject = {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": time_text(claims.issued_s * 1000),
        }
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": metadata,
            "spec": spec,
            "status": status,
        }

    def _access(self, obj: JsonObject, actor: Actor, kind: Kind) -> JsonObject:
        decision = self._authorizer.decide(_attributes(obj, actor, kind))
        status: JsonObject = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return status

    def _rules(self, obj: JsonObject, actor: Actor) -> JsonObject:
        namespace = str_at(obj, "spec", "namespace")
        if not namespace:
            raise BadRequestError("no namespace on request")
        rules = self._authorizer.rules(actor, namespace)
        return {
            "resourceRules": [_with_lists(rule) for rule in rules if not rule.urls],
            "nonResourceRules": [rule_object(rule) for rule in rules if rule.urls],
            "incomplete": bool(node_of_user(actor.name)),  # a node's own right is no list of rules
        }

    def _token(self, obj: JsonObject) -> JsonObject:
        audiences = strs_at(obj, "spec", "audiences")
        token = str_at(obj, "spec", "token")
        if not token:
            return {"user": {}, "error": "no token was given"}
        try:
            if audiences:
                actor, claims = self._authenticator.account(token, audiences=audiences)
            else:
                actor, claims = self._authenticator.account(token)
        except UnauthenticatedError as error:
            return {"user": {}, "error": str(error)}
        asked = audiences or claims.audiences
        return {
            "authenticated": True,
            "user": user_info(replace(actor, groups=tuple(actor.groups))),
            "audiences": [audience for audience in asked if audience in claims.audiences],
        }

    def _bound(
        self, namespace: str, account: str, spec: JsonObject, actor: Actor
    ) -> tuple[BoundTo | None, BoundTo | None]:
        """What the token shall be bound to, and the node of a pod."""
        ref = map_at(spec, "boundObjectRef")
        node = node_of_user(actor.name) if NODES_GROUP in actor.groups else ""
        kind, name = str_at(ref, "kind"), str_at(ref, "name")
        if node and kind != "Pod":
            raise ForbiddenError("a node may ask for tokens that are bound to its own pods only")
        if not ref:
            return None, None
        if kind not in ("Pod", "Secret", "Node"):
            raise InvalidError(
                f"cannot bind token to object of type {kind!r}: Pod, Secret or Node is meant",
                [
                    Cause(
                        field="spec.boundObjectRef",
                        reason="FieldValueInvalid",
                        message="kind must be Pod, Secret or Node",
                    )
                ],
            )
        stored = self._objects.read(Key(f"{kind.lower()}s", "" if kind == "Node" else namespace, name))
        if stored is None:
            raise NotFoundError(f'{kind.lower()}s "{name}" not found')
        uid = str_at(ref, "uid") or stored.uid
        if uid != stored.uid:
            raise ConflictError(
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
        placed = self._place(stored, account, node) if kind == "Pod" else None
        if node:
            _check_audiences(decode_object(stored.body), strs_at(spec, "audiences"))
        return BoundTo(kind=kind, name=name, uid=uid), placed

    def _place(self, stored: Stored, account: str, asking_node: str) -> BoundTo | None:
        pod = decode_object(stored.body)
        if str_at(pod, "spec", "serviceAccountName") != account:
            raise BadRequestError(
                "cannot bind token for serviceaccount to a pod running with different serviceaccount name"
            )
        node = str_at(pod, "spec", "nodeName")
        if asking_node and node != asking_node:
            raise ForbiddenError("a node may ask for tokens that are bound to its own pods only")
        found = self._objects.read(Key("nodes", "", node)) if node else None
        return None if found is None else BoundTo(kind="Node", name=node, uid=found.uid)


def _check_names(namespace: str, name: str, obj: JsonObject) -> None:
    """What the body says of whose token it is, if anything, is what the path says. Raises `BadRequestError`."""
    if str_at(obj, "metadata", "namespace") not in ("", namespace):
        raise BadRequestError("the namespace of the provided object does not match the namespace sent on the request")
    if (said := str_at(obj, "metadata", "name")) not in ("", name):
        raise BadRequestError(
            f'metadata.name: Invalid value: "{said}": must match the service account name if specified'
        )


def _check_audiences(pod: JsonObject, audiences: Sequence[str]) -> None:
    """A node asks for tokens as the pod's volumes do, and for no others: a node that was taken over must not speak to
    everybody in the name of its pods (Kubernetes' NodeRestriction). Raises `ForbiddenError`."""
    if len(audiences) > 1:
        raise ForbiddenError("node may only request 0 or 1 audiences")
    asked = audiences[0] if audiences else ""
    for volume in maps_at(pod, "spec", "volumes"):
        for source in maps_at(volume, "projected", "sources"):
            token = dig(source, "serviceAccountToken")
            if isinstance(token, dict) and str_at(token, "audience") == asked:
                return
    raise ForbiddenError(f'audience "{asked}" not found in pod spec volume, name of pod: {name_of(pod)}')


def user_info(actor: Actor) -> JsonObject:
    """authentication/v1 UserInfo."""
    info: JsonObject = {"username": actor.name}
    if actor.uid:
        info["uid"] = actor.uid
    if actor.groups:
        info["groups"] = list[Json](actor.groups)
    if actor.extra:
        info["extra"] = {name: list[Json](values) for name, values in actor.extra}
    return info


def _attributes(obj: JsonObject, actor: Actor, kind: Kind) -> Attributes:
    resource = dig(obj, "spec", "resourceAttributes")
    url = dig(obj, "spec", "nonResourceAttributes")
    if (resource is None) == (url is None):
        what = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _invalid(kind, "spec.resourceAttributes", what, None)
    if url is not None:
        return Attributes(actor=actor, verb=str_at(url, "verb"), path=str_at(url, "path"))
    return Attributes(
        actor=actor,
        verb=str_at(resource, "verb"),
        group=str_at(resource, "group"),
        version=str_at(resource, "version"),
        resource=str_at(resource, "resource"),
        subresource=str_at(resource, "subresource"),
        namespace=str_at(resource, "namespace"),
        name=str_at(resource, "name"),
    )


def _subject(obj: JsonObject, kind: Kind) -> Actor:
    user = str_at(obj, "spec", "user")
    groups = tuple(strs_at(obj, "spec", "groups"))
    if not user and not groups:
        raise _invalid(kind, "spec.user", "at least one of user or group must be specified", "")
    return Actor(name=user, groups=groups, uid=str_at(obj, "spec", "uid"))


def _valid_s(obj: JsonObject) -> int:
    valid_s = int_at(obj, "spec", "expirationSeconds", default=TOKEN_VALID_S)
    fault = ""
    if valid_s < TOKEN_VALID_S_MIN:
        fault = "may not specify a duration less than 10 minutes"
    elif valid_s > TOKEN_VALID_S_MAX:
        fault = "may not specify a duration larger than 2^32 seconds"
    if fault:
        message = f"Invalid value: {valid_s}: {fault}"
        cause = Cause(field="spec.expirationSeconds", reason="FieldValueInvalid", message=message)
        raise InvalidError(
            f'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: {message}', [cause]
        )
    return valid_s


def _with_lists(rule: Rule) -> JsonObject:
    """kubectl's `auth can-i --list` reads these three even when they are empty."""
    return {"verbs": [], "apiGroups": [], "resources": [], **rule_object(rule)}


def _invalid(kind: Kind, path: str, fault: str, value: str | None) -> InvalidError:
    shown = "null" if value is None else f'"{value}"'
    message = f"Invalid value: {shown}: {fault}"
    cause = Cause(field=path, reason="FieldValueInvalid", message=message)
    return InvalidError(f'{kind.kind}.{kind.group} "" is invalid: {path}: {message}', [cause])
