"""Who is asking: client certificates, ServiceAccount tokens, nobody; and on whose behalf (impersonation).

Keeps a bounded memory of certificates read already. Whether a certificate is ours and valid was checked by TLS when
the connection was made; its end is checked again at every request, as connections live long, and so is a node's key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from cloudcore.api.ports import Gate, Presented
from cloudcore.pki.certificates import Subject, subject_of
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.store.port import Stored
from skerry.authz.accounts import AUTHENTICATED, account_actor
from skerry.authz.attributes import Actor, Attributes
from skerry.errors import BadRequestError, UnauthenticatedError
from skerry.objects.account_tokens import ACCOUNT_PREFIX, ACCOUNTS_GROUP, ISSUER, NEVER, Claims, token_of_secret
from skerry.objects.enrolment import key_refusal, node_of_user
from skerry.objects.json import decode_object, str_at
from skerry.objects.meta import Key
from skerry.objects.times import parse_time
from skerry.ports import Clock

ANONYMOUS: Final = Actor(name="system:anonymous", groups=("system:unauthenticated",))
"""Whoever shows nothing: the roles say what that may see (health and version, by default)."""
CERTIFICATES_REMEMBERED_MAX: Final = 1024

_AUTHENTICATION: Final = "authentication.k8s.io"
GONE_S: Final = 60
"""How long a token outlives the beginning of the end of what it is bound to, for what runs until then (Kubernetes'
leeway)."""


class UnknownAccountError(UnauthenticatedError):
    """A token of ours, for an account or an object that is not there; or a certificate of ours, for a node that is
    not there, or that has another key."""


class Reader(Protocol):
    """The part of `Objects` that is used."""

    def read(self, key: Key) -> Stored | None: ...


class Authenticator:
    """See `cloudcore.api.ports.Authenticator`."""

    def __init__(self, *, tokens: ServiceTokens, objects: Reader, gate: Gate, clock: Clock) -> None:
        self._tokens = tokens
        self._objects = objects
        self._gate = gate
        self._clock = clock
        self._subjects: OrderedDict[bytes, Subject] = OrderedDict()

    async def authenticate(self, presented: Presented) -> Actor:
        actor = self._proved(presented)
        return self._impersonated(actor, presented)

    def subject(self, certificate: bytes) -> Subject:
        """What a client certificate says, while it is valid. Raises `UnauthenticatedError`."""
        subject = self._subjects.get(certificate)
        if subject is None:
            subject = subject_of(certificate)
            self._subjects[certificate] = subject
            if len(self._subjects) > CERTIFICATES_REMEMBERED_MAX:
                self._subjects.popitem(last=False)
        if subject.expires <= datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC):
            raise UnauthenticatedError("the client certificate has expired")
        if not subject.user:
            raise UnauthenticatedError("the client certificate names nobody (it has no common name)")
        return subject

    def account(self, token: str, *, audiences: Sequence[str] = (ISSUER,)) -> tuple[Actor, Claims]:
        """Whom a bearer token speaks for while all it is bound to is there. Raises `UnauthenticatedError`."""
        claims = self._tokens.verify(token, audiences=audiences)
        account = self._objects.read(Key("serviceaccounts", claims.namespace, claims.account))
        if account is None or account.uid != claims.account_uid or self._is_over(account):
            raise UnknownAccountError("the service account of this token does not exist any more")
        if claims.bound is not None:
            namespace = "" if claims.bound.kind == "Node" else claims.namespace
            bound = self._objects.read(Key(f"{claims.bound.kind.lower()}s", namespace, claims.bound.name))
            of_secret = claims.expires_s == NEVER
            if bound is None or (not of_secret and bound.uid != claims.bound.uid) or self._is_over(bound):
                raise UnknownAccountError(f"the {claims.bound.kind} of this token does not exist any more")
            if of_secret and token_of_secret(decode_object(bound.body)) != token:
                raise UnknownAccountError("the Secret of this token holds another one")
        return account_actor(claims), claims

    def _is_over(self, stored: Stored) -> bool:
        """It is on its way out, and has had the time for that."""
        if b'"deletionTimestamp"' not in stored.body:
            return False  # as almost always; whoever asks is not to wait for a large object to be parsed
        since = str_at(decode_object(stored.body), "metadata", "deletionTimestamp")
        return bool(since) and parse_time(since) < self._clock.wall_ms() - GONE_S * 1000

    def _proved(self, presented: Presented) -> Actor:
        if presented.certificate is not None:
            subject = self.subject(presented.certificate)
            self._check_key(subject)
            extra = (("authentication.kubernetes.io/credential-id", (f"X509SHA256={subject.fingerprint}",)),)
            return Actor(name=subject.user, groups=_with(subject.groups, AUTHENTICATED), extra=extra)
        if presented.token:
            return self.account(presented.token)[0]
        return ANONYMOUS

    def _check_key(self, subject: Subject) -> None:
        """A node's certificate is good for as long as the node is there and has that key: a gateway that was replaced
        or sent away is heard no more, however long its certificate was given for."""
        node = node_of_user(subject.user)
        if not node:
            return
        stored = self._objects.read(Key("nodes", "", node))
        reason = key_refusal(node, None if stored is None else decode_object(stored.body), subject.key)
        if reason:
            raise UnknownAccountError(reason)

    def _impersonated(self, actor: Actor, presented: Presented) -> Actor:
        if not presented.impersonate_user:
            if presented.impersonate_uid or presented.impersonate_groups or presented.impersonate_extra:
                raise BadRequestError("groups, uid or extra can't be impersonated without a user (Impersonate-User)")
            return actor
        for asked in _asked_of(actor, presented):
            self._gate.require(asked)
        name = presented.impersonate_user
        groups = presented.impersonate_groups
        if name.startswith(ACCOUNT_PREFIX) and not groups:
            namespace = name.removeprefix(ACCOUNT_PREFIX).partition(":")[0]
            groups = (ACCOUNTS_GROUP, f"{ACCOUNTS_GROUP}:{namespace}")
        more = ANONYMOUS.groups if name == ANONYMOUS.name else (AUTHENTICATED,)
        return Actor(
            name=name, groups=_with(groups, *more), uid=presented.impersonate_uid, extra=presented.impersonate_extra
        )


def _asked_of(actor: Actor, presented: Presented) -> Iterator[Attributes]:
    """What one must be allowed to impersonate, item by item (Kubernetes: user impersonation)."""
    user = presented.impersonate_user
    if user.startswith(ACCOUNT_PREFIX) and user.count(":") == 3:
        namespace, name = user.removeprefix(ACCOUNT_PREFIX).split(":")
        yield Attributes(actor=actor, verb="impersonate", resource="serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes(actor=actor, verb="impersonate", resource="users", name=user)
    for group in presented.impersonate_groups:
        yield Attributes(actor=actor, verb="impersonate", resource="groups", name=group)
    if presented.impersonate_uid:
        yield Attributes(
            actor=actor, verb="impersonate", group=_AUTHENTICATION, resource="uids", name=presented.impersonate_uid
        )
    for key, values in presented.impersonate_extra:
        for value in values:
            yield Attributes(
                actor=actor,
                verb="impersonate",
                group=_AUTHENTICATION,
                resource="userextras",
                subresource=key,
                name=value,
            )


def _with(groups: tuple[str, ...], *more: str) -> tuple[str, ...]:
    return groups + tuple(group for group in more if group not in groups)
