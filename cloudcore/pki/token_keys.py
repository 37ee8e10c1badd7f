"""The keys of ServiceAccount tokens: one that signs, and those that signed before and are still good.

They are one PEM file, `DIR/pki/sa.key`: the private key first, then the public keys of the former ones, the newest
first. So a rotation is one file replaced. P-256 (ES256) unless somebody asks for RSA (RS256), which relying parties
that know nothing else need. Pure but for the chance in a new key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skerry.errors import InvalidError, NotFoundError
from skerry.frozen import Frozen, replace
from skerry.objects.account_tokens import PrivateKey, PublicKey, key_id

Algorithm: TypeAlias = Literal["ES256", "RS256"]

RSA_BITS: Final = 2048
FORMER_MAX: Final = 8
"""More rotations than these within the life of a token are somebody's script run wild."""
_BLOCKS: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)


class TokenKeys(Frozen):
    """See the module."""

    key: PrivateKey
    former: tuple[PublicKey, ...] = ()
    """The newest first."""

    @property
    def public(self) -> tuple[PublicKey, ...]:
        return (self.key.public_key(), *self.former)

    @property
    def ids(self) -> tuple[str, ...]:
        """The one that signs first."""
        return tuple(key_id(key) for key in self.public)

    @property
    def pem(self) -> str:
        private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private.decode("ascii") + "".join(_public_pem(key) for key in self.former)


def new_token_keys(algorithm: Algorithm = "ES256") -> TokenKeys:
    return TokenKeys(key=_new_key(algorithm))


def token_keys_in(pem: str) -> TokenKeys:
    """Raises `ValueError` for what is none."""
    blocks = [found.group(0) for found in _BLOCKS.finditer(pem)]
    if not blocks:
        raise ValueError("there is no key in it")
    key = serialization.load_pem_private_key(blocks[0].encode(), password=None)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS:
        return TokenKeys(key=key, former=_former(blocks[1:]))
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return TokenKeys(key=key, former=_former(blocks[1:]))
    raise ValueError(f"tokens are signed with a P-256 key, or an RSA key of {RSA_BITS} bits or more")


def rotated(keys: TokenKeys, algorithm: Algorithm) -> TokenKeys:
    """A new key signs; what the present one signed stays good. Raises `InvalidError` where too many are good."""
    if len(keys.former) >= FORMER_MAX:
        raise InvalidError(f"{FORMER_MAX} former keys are good still: retire some first")
    return TokenKeys(key=_new_key(algorithm), former=keys.public)


def without(keys: TokenKeys, name: str) -> TokenKeys:
    """A former key is good no more. Raises `NotFoundError`."""
    left = tuple(key for key in keys.former if key_id(key) != name)
    if len(left) == len(keys.former):
        known = ", ".join(key_id(key) for key in keys.former) or "none"
        raise NotFoundError(f"{name} is no former key (there: {known}); the one that signs can't be retired")
    return replace(keys, former=left)


def is_newer(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the first ids are what the second became: by a rotation the one that signed is among the former ones,
    by a retirement former ones are missing."""
    if first[0] == second[0]:
        return set(first) < set(second)
    return second[0] in first[1:]


def _new_key(algorithm: Algorithm) -> PrivateKey:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _former(blocks: Sequence[str]) -> tuple[PublicKey, ...]:
    former: list[PublicKey] = []
    for block in blocks:
        key = serialization.load_pem_public_key(block.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise ValueError("a former key is neither EC nor RSA")
        former.append(key)
    return tuple(former)


def _public_pem(key: PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
