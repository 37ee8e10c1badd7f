"""Who calls the local API over TCP, and what they may: by tokens of ServiceAccounts and the roles that came down.

Works with and without a link, by what the store has: the keys of tokens (ConfigMap kube-system/skerry-token-keys),
the accounts and pods of this gateway, roles and bindings. The same code decides as in the cloud (`skerry.authz`).
Without a link a token is good for as long as what it is bound to is here, whatever its time: nobody could have had
another (docs/decisions/0352). Keeps what it made of the store, until that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from edgecore.store.port import EdgeBatch, Held
from skerry.authz.accounts import AUTHENTICATED, account_actor
from skerry.authz.attributes import Actor, Attributes, Decision, refusal
from skerry.authz.policy import Policy, compile_policy, parse_binding, parse_role
from skerry.authz.rules import Rule
from skerry.errors import InvalidError, UnauthenticatedError
from skerry.objects.account_tokens import (
    NEVER,
    Claims,
    TokenReader,
    judge,
    keys_in,
    token_of_secret,
)
from skerry.objects.enrolment import TOKEN_KEYS_FIELD, TOKEN_KEYS_NAME, TRUST_NAMESPACE
from skerry.objects.json import decode_object, str_at
from skerry.objects.meta import Key, Stamp
from skerry.ports import Clock

RBAC: Final = "rbac.authorization.k8s.io"
ROLES: Final = (f"roles.{RBAC}", f"clusterroles.{RBAC}")
BINDINGS: Final = (f"rolebindings.{RBAC}", f"clusterrolebindings.{RBAC}")
ANONYMOUS: Final = Actor(name="system:anonymous", groups=("system:unauthenticated",))
_KEYS: Final = Key("configmaps", TRUST_NAMESPACE, TOKEN_KEYS_NAME)
_DISCOVERY: Final = Rule(
    verbs=frozenset({"get"}), urls=frozenset({"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"})
)
_PUBLIC: Final = Rule(
    verbs=frozenset({"get"}), urls=frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
)
"""What Kubernetes' default roles system:discovery and system:public-info-viewer allow."""


class Store(Protocol):
    """The part of the edge store that is used."""

    def get(self, key: Key) -> Held | None: ...
    def list(self, resource: str) -> Sequence[Held]: ...
    def listen(self, listener: Callable[[EdgeBatch], None]) -> Callable[[], None]: ...


class Access:
    """See the module. `listen` while it is in use."""

    def __init__(self, store: Store, clock: Clock, *, node: str, connected: Callable[[], bool]) -> None:
        self._store = store
        self._clock = clock
        self.node = node
        self._connected = connected
        self._reader: tuple[Stamp, TokenReader] | None = None
        self._policy: Policy | None = None

    def listen(self) -> Callable[[], None]:
        """Hear of commits from now on; the result ends it."""
        self._policy = None
        return self._store.listen(self._committed)

    def _committed(self, batch: EdgeBatch) -> None:
        if any(key.resource.endswith(RBAC) for key in (*(held.key for held in batch.puts), *batch.deletes)):
            self._policy = None

    # --- who ---

    def actor(self, authorization: str) -> Actor:
        """Whom an `Authorization` header speaks for. Raises `UnauthenticatedError`."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError("show a bearer token of a ServiceAccount")
        token = token.strip()
        claims = self._tokens().read(token)
        self._check_time(claims)
        self._check_bound(claims, token)
        return account_actor(claims)

    def _tokens(self) -> TokenReader:
        held = self._store.get(_KEYS)
        if held is None:
            raise UnauthenticatedError("this gateway has no keys of tokens yet: it gets them from the cloud")
        if self._reader is None or self._reader[0] != held.stamp:
            try:
                keys = keys_in(decode_object(str_at(decode_object(held.body), "data", TOKEN_KEYS_FIELD).encode()))
            except (InvalidError, ValueError, AssertionError) as error:
                raise UnauthenticatedError(f"the keys of tokens can't be read: {error}") from error
            self._reader = (held.stamp, TokenReader(keys))
        return self._reader[1]

    def _check_time(self, claims: Claims) -> None:
        if self._connected():
            judge(claims, now_s=self._clock.wall_ms() // 1000)
        else:  # whatever the clock says: nobody could have had another token, and the clock may say 1970
            now_s = claims.issued_s if claims.expires_s == NEVER else claims.expires_s
            judge(claims, now_s=now_s)

    def _check_bound(self, claims: Claims, token: str) -> None:
        account = self._store.get(Key("serviceaccounts", claims.namespace, claims.account))
        if account is None or account.stamp.uid != claims.account_uid:
            raise UnauthenticatedError("the service account of this token is none of this gateway's")
        bound = claims.bound
        if bound is None:
            return
        if bound.kind == "Node":
            held = self._store.get(Key("nodes", "", bound.name)) if bound.name == self.node else None
        else:
            held = self._store.get(Key(f"{bound.kind.lower()}s", claims.namespace, bound.name))
        if held is None or bound.uid not in ("", held.stamp.uid):
            raise UnauthenticatedError(f"the {bound.kind} of this token is not on this gateway")
        if claims.expires_s == NEVER and token_of_secret(decode_object(held.body)) != token:
            raise UnauthenticatedError("the Secret of this token holds another one")

    # --- what ---

    def allows(self, attributes: Attributes) -> bool:
        return self._decide(attributes).allowed

    def require(self, attributes: Attributes) -> None:
        """Raises `ForbiddenError` in kube-apiserver's words unless it is allowed."""
        decision = self._decide(attributes)
        if not decision.allowed:
            raise refusal(attributes, decision.reason)

    def _decide(self, attributes: Attributes) -> Decision:
        if attributes.path:
            known = AUTHENTICATED in attributes.actor.groups
            rules = (_PUBLIC, _DISCOVERY) if known else (_PUBLIC,)
            if any(rule.allows_path(verb=attributes.verb, path=attributes.path) for rule in rules):
                return Decision(allowed=True)
        if self._policy is None:
            roles = [decode_object(held.body) for resource in ROLES for held in self._store.list(resource)]
            bindings = [decode_object(held.body) for resource in BINDINGS for held in self._store.list(resource)]
            self._policy = compile_policy(map(parse_role, roles), map(parse_binding, bindings))
        return self._policy.decide(attributes)
