"""Issues ServiceAccount tokens, and verifies those that one of the cloud's keys has signed.

Keeps the keys that it is given, and what `skerry.objects.account_tokens` remembers; both come back after a crash,
the latter empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from cloudcore.pki.token_keys import TokenKeys
from skerry.errors import UnauthenticatedError
from skerry.objects.account_tokens import (
    ISSUER,
    NEVER,
    BoundTo,
    Claims,
    TokenReader,
    algorithm_of,
    judge,
    key_id,
    key_set,
    payload_of,
)
from skerry.objects.json import JsonObject
from skerry.ports import Clock, Ids

EXTENDED_S: Final = 365 * 86_400
"""How long the token lives that every pod finds mounted, though it is told to be renewed after an hour: Kubernetes'
own rule, for clients that read it once. A gateway that is alone for long lives on it (docs/decisions/0350)."""


class ServiceTokens:
    """See the module."""

    def __init__(self, keys: TokenKeys, clock: Clock, ids: Ids) -> None:
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._reader = TokenReader({key_id(key): key for key in keys.public})

    def new_claims(
        self,
        *,
        namespace: str,
        account: str,
        account_uid: str,
        audiences: Sequence[str],
        valid_s: int,
        extended: bool = False,
    ) -> Claims:
        """Claims from now on; audiences default to the API itself. `extended`: good for a year, though its holder is
        to have another after `valid_s`."""
        now_s = self._clock.wall_ms() // 1000
        return Claims(
            namespace=namespace,
            account=account,
            account_uid=account_uid,
            audiences=tuple(audiences) or (ISSUER,),
            issued_s=now_s,
            expires_s=now_s + (max(EXTENDED_S, valid_s) if extended else valid_s),
            warn_after_s=now_s + valid_s if extended else 0,
            id=self._ids.uid(),
        )

    def sign(self, claims: Claims) -> str:
        import jwt

        key = self._keys.key
        payload = cast("dict[str, Any]", payload_of(claims))
        return jwt.encode(payload, key, algorithm=algorithm_of(key), headers={"kid": key_id(key.public_key())})

    def of_secret(self, *, namespace: str, account: str, account_uid: str, secret: str) -> str:
        """The token of a Secret, which is good for as long as it is in there."""
        claims = Claims(
            namespace=namespace,
            account=account,
            account_uid=account_uid,
            audiences=(ISSUER,),
            issued_s=0,
            expires_s=NEVER,
            id="",
            bound=BoundTo(kind="Secret", name=secret, uid=""),
        )
        return self.sign(claims)

    def verify(self, token: str, *, audiences: Sequence[str] = (ISSUER,)) -> Claims:
        """What a token says, its signature, time and audience checked. Whether what it is bound to still exists is
        for the caller to see. Raises `UnauthenticatedError`."""
        claims = self._reader.read(token)
        judge(claims, now_s=self._clock.wall_ms() // 1000, audiences=audiences)
        return claims

    def is_ours(self, token: str) -> bool:
        """Whether one of the keys that are good now has signed it."""
        try:
            self._reader.read(token)
        except UnauthenticatedError:
            return False
        return True

    @property
    def key_set(self) -> JsonObject:
        """The keys by which others check tokens (RFC 7517)."""
        return key_set(self._keys.public)

    @property
    def algorithms(self) -> Sequence[str]:
        return sorted({algorithm_of(key) for key in self._keys.public})
