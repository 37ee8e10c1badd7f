"""ServiceAccount tokens: JSON Web Tokens (RFC 7519) in the form that Kubernetes gives them, read and judged.

Both ends read them: the cloud's API, and a gateway's own, which has nothing but the public keys (a JWK set, RFC
7517, as the cloud publishes it). PyJWT and the library of keys are imported at the first token: a gateway whose
applications never ask saves their memory. Keeps a bounded memory of tokens whose signature was verified already,
which is lost with the process.

Besides the tokens of TokenRequest there are those of Secrets (type kubernetes.io/service-account-token): they have
another issuer, other names of claims, and no end.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from skerry.errors import InvalidError, UnauthenticatedError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at, strs_at

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

PublicKey: TypeAlias = "ec.EllipticCurvePublicKey | rsa.RSAPublicKey"
PrivateKey: TypeAlias = "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey"

ISSUER: Final = "https://kubernetes.default.svc"
"""Who issues, and the audience when none is asked for."""
ISSUER_PATH: Final = "/.well-known/openid-configuration"
KEYS_PATH: Final = "/openid/v1/jwks"
"""Where an API tells relying parties about its tokens (OpenID Connect Discovery 1.0)."""
SECRET_ISSUER: Final = "kubernetes/serviceaccount"  # noqa: S105 - who issues the tokens of Secrets
SECRET_TYPE: Final = "kubernetes.io/service-account-token"  # noqa: S105 - a kind of Secret
ACCOUNT_PREFIX: Final = "system:serviceaccount:"
ACCOUNTS_GROUP: Final = "system:serviceaccounts"
LEEWAY_S: Final = 10
REMEMBERED_MAX: Final = 2048
TOKEN_BYTES_MAX: Final = 16 << 10
"""One of ours has a thousand."""
NEVER: Final = 0
"""As `Claims.expires_s`: a Secret's token ends with its Secret."""

_PRIVATE: Final = "kubernetes.io"
_SECRET_CLAIMS: Final = "kubernetes.io/serviceaccount/"  # noqa: S105 - how their names begin
_ALGORITHMS: Final = ("ES256", "RS256")
_MALFORMED: Final = "invalid bearer token"


class BoundTo(Frozen):
    """An object whose end is the token's end."""

    kind: str
    """Pod, Secret or Node."""
    name: str
    uid: str
    """"" of the Secret that a token without an end is in."""


class Claims(Frozen):
    """What a token says."""

    namespace: str
    account: str
    account_uid: str
    audiences: tuple[str, ...]
    issued_s: int
    """Seconds since the epoch, like the next two."""
    expires_s: int
    """`NEVER`: it is a Secret's."""
    warn_after_s: int = 0
    """From when on its use is odd, as its holder should have had another; 0: at no time."""
    id: str
    bound: BoundTo | None = None
    """None: to the ServiceAccount alone."""
    node: BoundTo | None = None
    """Where the Pod that it is bound to was placed when it was issued; only told, not checked."""

    @property
    def user(self) -> str:
        """The name of the user that it speaks for."""
        return f"{ACCOUNT_PREFIX}{self.namespace}:{self.account}"

    @property
    def groups(self) -> tuple[str, ...]:
        return (ACCOUNTS_GROUP, f"{ACCOUNTS_GROUP}:{self.namespace}")


def algorithm_of(key: PublicKey | PrivateKey) -> str:
    """As JSON Web Signatures name it (RFC 7518)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return "ES256" if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) else "RS256"


def key_id(key: PublicKey) -> str:
    """A key's name in tokens and key sets: of what it is, so it never changes."""
    from cryptography.hazmat.primitives import serialization

    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()[:32]


def key_set(keys: Sequence[PublicKey]) -> JsonObject:
    """The JWK set of these keys, as relying parties read it."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm

    shown: list[Json] = []
    for key in keys:
        if isinstance(key, ec.EllipticCurvePublicKey):
            jwk = cast("JsonObject", ECAlgorithm.to_jwk(key, as_dict=True))
        else:
            jwk = cast("JsonObject", RSAAlgorithm.to_jwk(key, as_dict=True))
            jwk.pop("key_ops", None)
        shown.append({**jwk, "use": "sig", "kid": key_id(key), "alg": algorithm_of(key)})
    return {"keys": shown}


def keys_in(jwks: JsonObject) -> dict[str, PublicKey]:
    """The keys of a set by their names; those of kinds that are not used here are passed over. Raises
    `InvalidError` for one that is none."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from jwt import PyJWK, PyJWTError

    found: dict[str, PublicKey] = {}
    for jwk in maps_at(jwks, "keys"):
        if str_at(jwk, "alg") not in _ALGORITHMS:
            continue
        try:
            key: object = PyJWK(cast("dict[str, Any]", jwk)).key
        except (PyJWTError, ValueError, TypeError, KeyError) as error:
            raise InvalidError(f"not a JWK: {error}") from error
        if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            found[key_id(key)] = key
    return found


class TokenReader:
    """Reads tokens that one of some keys has signed."""

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        self._keys = keys
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def read(self, token: str) -> Claims:
        """What a token says, its signature checked and nothing else. Raises `UnauthenticatedError`."""
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._verified[digest] = self._read(token)
            if len(self._verified) > REMEMBERED_MAX:
                self._verified.popitem(last=False)
        return claims

    def _read(self, token: str) -> Claims:
        import jwt

        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise UnauthenticatedError(_MALFORMED)
        try:
            head = jwt.get_unverified_header(token)
            kid, algorithm = head.get("kid"), head.get("alg")
            key = self._keys.get(kid) if isinstance(kid, str) else None
            if key is None or not isinstance(algorithm, str) or algorithm != algorithm_of(key):
                raise UnauthenticatedError(_MALFORMED)
            payload: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options={  # times and audience are judged at each use
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_iss": False,
                },
            )
            return _claims(cast("JsonObject", payload))
        except (jwt.PyJWTError, ValueError, InvalidError) as error:
            raise UnauthenticatedError(_MALFORMED) from error


def judge(claims: Claims, *, now_s: int, audiences: Sequence[str] = (ISSUER,)) -> None:
    """Whether a token is good now and for one of these. Raises `UnauthenticatedError`."""
    if claims.expires_s != NEVER and now_s >= claims.expires_s + LEEWAY_S:
        raise UnauthenticatedError("service account token has expired")
    if now_s < claims.issued_s - LEEWAY_S:
        raise UnauthenticatedError("service account token is not valid yet")
    if not set(audiences) & set(claims.audiences):
        raise UnauthenticatedError(
            f"token audiences {json.dumps(list(claims.audiences))} is invalid for the target audiences "
            f"{json.dumps(list(audiences))}"
        )


def token_of_secret(secret: JsonObject) -> str:
    """The token that a Secret holds; "" for none."""
    try:
        return base64.b64decode(str_at(secret, "data", "token"), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return ""


def payload_of(claims: Claims) -> Mapping[str, Json]:
    """What is signed."""
    if claims.expires_s == NEVER:
        return _secret_payload(claims)
    private: JsonObject = {
        "namespace": claims.namespace,
        "serviceaccount": {"name": claims.account, "uid": claims.account_uid},
    }
    for bound in (claims.bound, claims.node):
        if bound is not None:
            private[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
    if claims.warn_after_s:
        private["warnafter"] = claims.warn_after_s
    return {
        "aud": list(claims.audiences),
        "exp": claims.expires_s,
        "iat": claims.issued_s,
        "nbf": claims.issued_s,
        "iss": ISSUER,
        "jti": claims.id,
        "sub": claims.user,
        _PRIVATE: private,
    }


def _secret_payload(claims: Claims) -> Mapping[str, Json]:
    assert claims.bound is not None, "a token without an end is a Secret's"
    return {
        "iss": SECRET_ISSUER,
        "sub": claims.user,
        f"{_SECRET_CLAIMS}namespace": claims.namespace,
        f"{_SECRET_CLAIMS}secret.name": claims.bound.name,
        f"{_SECRET_CLAIMS}service-account.name": claims.account,
        f"{_SECRET_CLAIMS}service-account.uid": claims.account_uid,
    }


def _claims(payload: JsonObject) -> Claims:
    issuer = str_at(payload, "iss")
    if issuer not in (ISSUER, SECRET_ISSUER):
        raise UnauthenticatedError(_MALFORMED)
    claims = _bound_claims(payload) if issuer == ISSUER else _secret_claims(payload)
    if str_at(payload, "sub") != claims.user or not claims.account or not claims.account_uid:
        raise UnauthenticatedError(_MALFORMED)
    return claims


def _secret_claims(payload: JsonObject) -> Claims:
    return Claims(
        namespace=str_at(payload, f"{_SECRET_CLAIMS}namespace"),
        account=str_at(payload, f"{_SECRET_CLAIMS}service-account.name"),
        account_uid=str_at(payload, f"{_SECRET_CLAIMS}service-account.uid"),
        audiences=(ISSUER,),
        issued_s=0,
        expires_s=NEVER,
        id="",
        bound=BoundTo(kind="Secret", name=str_at(payload, f"{_SECRET_CLAIMS}secret.name"), uid=""),
    )


def _bound_claims(payload: JsonObject) -> Claims:
    private = map_at(payload, _PRIVATE)
    bound = {
        kind: BoundTo(kind=kind, name=str_at(private, kind.lower(), "name"), uid=str_at(private, kind.lower(), "uid"))
        for kind in ("Pod", "Secret", "Node")
        if kind.lower() in private
    }
    expires_s = int_at(payload, "exp")
    if expires_s <= 0 or any(not each.name or not each.uid for each in bound.values()):
        raise UnauthenticatedError(_MALFORMED)
    node = bound.get("Node")
    return Claims(
        namespace=str_at(private, "namespace"),
        account=str_at(private, "serviceaccount", "name"),
        account_uid=str_at(private, "serviceaccount", "uid"),
        audiences=tuple(strs_at(payload, "aud")),
        issued_s=int_at(payload, "iat"),
        expires_s=expires_s,
        warn_after_s=int_at(private, "warnafter"),
        id=str_at(payload, "jti"),
        bound=bound.get("Pod") or bound.get("Secret") or node,
        node=node if "Pod" in bound else None,
    )
