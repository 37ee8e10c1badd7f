"""Versions of what only who may read Secrets may see: their content is in a Secret beside the FederatedRevision.

The revision has a digest of that content and of a salt, which is in the Secret as well: so it tells nothing to who
tries likely passwords, and a content that somebody exchanged is none. The Secret has the revision's name, which says
nothing of the content either. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object, map_at, read_json, str_at

SEALED_TYPE: Final = "skerry.dev/federated-revision"
"""Type of a Secret that has a version in it."""
SALT_BYTES: Final = 16
_CONTENT_BYTES_MAX: Final = 16 * 1024 * 1024
_VERSION: Final = "version"
_SALT: Final = "salt"


class Sealed(Frozen):
    """The content of a version."""

    digest: str
    data: JsonObject
    """Of the Secret."""


def sealed(data: JsonObject, salt: bytes) -> Sealed:
    packed = zlib.compress(encode_object(data), 1)
    coded: dict[str, Json] = {
        _VERSION: base64.b64encode(packed).decode(),
        _SALT: base64.b64encode(salt).decode(),
    }
    return Sealed(digest=_digest(packed, salt), data=coded)


def is_sealed(revision: JsonObject) -> bool:
    return bool(map_at(revision, "spec", "sealed"))


def opened(digest: str, secret: JsonObject | None) -> JsonObject | None:
    """The content; None where the Secret is not there, or is not the one that was written."""
    text = None if secret is None else unpacked(digest, secret)
    return None if text is None else content_of(text)


def unpacked(digest: str, secret: JsonObject) -> bytes | None:
    """The content as text."""
    held = map_at(secret, "data")
    try:
        packed = base64.b64decode(str_at(held, _VERSION), validate=True)
        salt = base64.b64decode(str_at(held, _SALT), validate=True)
        if not digest or _digest(packed, salt) != digest:
            return None
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, _CONTENT_BYTES_MAX)
        return text if unpacking.eof else None
    except (binascii.Error, ValueError, zlib.error):
        return None


def content_of(text: bytes) -> JsonObject | None:
    try:
        content = read_json(text)
    except InvalidError:
        return None
    return content if isinstance(content, dict) else None


def digest_of(secret: JsonObject) -> str:
    """Of what is in a Secret; "" for one that has no version in it."""
    held = map_at(secret, "data")
    try:
        packed = base64.b64decode(str_at(held, _VERSION), validate=True)
        return _digest(packed, base64.b64decode(str_at(held, _SALT), validate=True))
    except (binascii.Error, ValueError):
        return ""


def _digest(packed: bytes, salt: bytes) -> str:
    return hashlib.sha256(salt + packed).hexdigest()
