"""ServiceAccount tokens: JSON Web Tokens (RFC 7519, ES256) in the form that Kubernetes gives them.

The only module that knows PyJWT, which is imported at the first token. Keeps the signing key and a bounded memory
of tokens whose signature was verified already; both come back after a crash, the latter empty.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.errors import UnauthenticatedError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, map_at, str_at, strs_at
from skerry.ports import Clock, Ids

ISSUER: Final = "https://kubernetes.default.svc"
"""Who issues, and the audience when none is asked for."""
LEEWAY_S: Final = 10
REMEMBERED_MAX: Final = 2048

_PRIVATE: Final = "kubernetes.io"


class BoundTo(Frozen):
    """An object whose end is the token's end."""

    kind: str
    """Pod, Secret or Node."""
    name: str
    uid: str


class Claims(Frozen):
    """What a token says."""

    namespace: str
    account: str
    account_uid: str
    audiences: tuple[str, ...]
    issued_s: int
    """Seconds since the epoch, like the next."""
    expires_s: int
    id: str
    bound: BoundTo | None = None
    """None: to the ServiceAccount alone."""
    node: BoundTo | None = None
    """Where the Pod that it is bound to was placed when it was issued; only told, not checked."""


class ServiceTokens:
    """Issues and verifies tokens."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, clock: Clock, ids: Ids) -> None:
        self._key = key
        self._clock = clock
        self._ids = ids
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._key_id = hashlib.sha256(spki).hexdigest()[:32]
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def new_claims(
        self, *, namespace: str, account: str, account_uid: str, audiences: Sequence[str], valid_s: int
    ) -> Claims:
        """Claims from now on; audiences default to the API itself."""
        now_s = self._clock.wall_ms() // 1000
        return Claims(
            namespace=namespace,
            account=account,
            account_uid=account_uid,
            audiences=tuple(audiences) or (ISSUER,),
            issued_s=now_s,
            expires_s=now_s + valid_s,
            id=self._ids.uid(),
        )

    def sign(self, claims: Claims) -> str:
        import jwt

        payload = cast("dict[str, Any]", _payload(claims))
        return jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": self._key_id})

    def verify(self, token: str, *, audiences: Sequence[str] = (ISSUER,)) -> Claims:
        """What a token says, its signature, time and audience checked. Whether what it is bound to still exists is
        for the caller to see. Raises `UnauthenticatedError`."""
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._read(token)
            self._verified[digest] = claims
            if len(self._verified) > REMEMBERED_MAX:
                self._verified.popitem(last=False)
        now_s = self._clock.wall_ms() // 1000
        if now_s >= claims.expires_s + LEEWAY_S:
            raise UnauthenticatedError("service account token has expired")
        if now_s < claims.issued_s - LEEWAY_S:
            raise UnauthenticatedError("service account token is not valid yet")
        if not set(audiences) & set(claims.audiences):
            raise UnauthenticatedError(
                f"token audiences {list(claims.audiences)} is invalid for the target audiences {list(audiences)}"
            )
        return claims

    def _read(self, token: str) -> Claims:
        import jwt

        try:
            payload: dict[str, Any] = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["ES256"],
                issuer=ISSUER,
                options={  # times and audience are checked at each use
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "require": ["exp", "iat", "sub", "aud"],
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise UnauthenticatedError("invalid bearer token") from error
        return _claims(cast("JsonObject", payload))


def _payload(claims: Claims) -> Mapping[str, Json]:
    private: JsonObject = {
        "namespace": claims.namespace,
        "serviceaccount": {"name": claims.account, "uid": claims.account_uid},
    }
    for bound in (claims.bound, claims.node):
        if bound is not None:
            private[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
    return {
        "aud": list(claims.audiences),
        "exp": claims.expires_s,
        "iat": claims.issued_s,
        "nbf": claims.issued_s,
        "iss": ISSUER,
        "jti": claims.id,
        "sub": f"system:serviceaccount:{claims.namespace}:{claims.account}",
        _PRIVATE: private,
    }


def _claims(payload: JsonObject) -> Claims:
    private = map_at(payload, _PRIVATE)
    namespace = str_at(private, "namespace")
    account = str_at(private, "serviceaccount", "name")
    if str_at(payload, "sub") != f"system:serviceaccount:{namespace}:{account}":
        raise UnauthenticatedError("invalid bearer token")
    bound = {
        kind: BoundTo(kind=kind, name=str_at(private, kind.lower(), "name"), uid=str_at(private, kind.lower(), "uid"))
        for kind in ("Pod", "Secret", "Node")
        if kind.lower() in private
    }
    node = bound.get("Node")
    return Claims(
        namespace=namespace,
        account=account,
        account_uid=str_at(private, "serviceaccount", "uid"),
        audiences=tuple(strs_at(payload, "aud")),
        issued_s=int_at(payload, "iat"),
        expires_s=int_at(payload, "exp"),
        id=str_at(payload, "jti"),
        bound=bound.get("Pod") or bound.get("Secret") or node,
        node=node if "Pod" in bound else None,
    )
