"""Issues ServiceAccount tokens, and verifies those that one of the cloud's keys has signed.

Keeps the keys that it is given, and what `skerry.objects.account_tokens` remembers; both come back after a crash,
the latter empty.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec

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

if TYPE_CHECKING:
    from jwt import PyJWS
    from jwt.algorithms import Algorithm

EXTENDED_S: Final = 365 * 86_400
"""How long the token lives that every pod finds mounted, though it is told to be renewed after an hour: Kubernetes'
own rule, for clients that read it once. A gateway that is alone for long lives on it (docs/decisions/0350)."""


def _deterministic() -> Algorithm:
    """ES256 without chance (RFC 6979): the same claims are the same token, a weak source of chance gives no key away,
    and a simulated fleet plays the same from one seed."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from jwt.algorithms import ECAlgorithm
    from jwt.utils import der_to_raw_signature

    class Deterministic(ECAlgorithm):
        def sign(self, msg: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
            try:
                how = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
            except UnsupportedAlgorithm:
                return super().sign(msg, key)  # before OpenSSL 3.2
            return der_to_raw_signature(key.sign(msg, how), key.curve)

    return Deterministic(ECAlgorithm.SHA256, ec.SECP256R1)


class ServiceTokens:
    """See the module."""

    def __init__(self, keys: TokenKeys, clock: Clock, ids: Ids) -> None:
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._reader = TokenReader({key_id(key): key for key in keys.public})
        self._signer: PyJWS | None = None

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
        if self._signer is None:
            self._signer = jwt.PyJWS(algorithms=[algorithm_of(key)])
            if isinstance(key, ec.EllipticCurvePrivateKey):
                self._signer.unregister_algorithm("ES256")
                self._signer.register_algorithm("ES256", _deterministic())
        payload = json.dumps(payload_of(claims), separators=(",", ":")).encode()
        return self._signer.encode(
            payload, key, algorithm=algorithm_of(key), headers={"kid": key_id(key.public_key())}
        )

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
