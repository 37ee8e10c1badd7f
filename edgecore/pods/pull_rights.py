"""Who may use an image that was pulled with somebody's credentials: whoever shows them too, or names the same Secret.

Kept in one file, since a gateway that boots alone has nobody to ask: what ran before runs again. Credentials are in
it as keyed hashes alone. A file that can't be read is as none: an image is then as one that was brought, everybody's.
(KEP-2535, "Ensure secret pulled images", with its default policy NeverVerifyPreloadedImages.)
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecore.pods.port import Credentials
from skerry.errors import InvalidError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, bool_at, encode_object, map_at, read_json, str_at, strs_at

log = logging.getLogger(__name__)

FILE: Final = "image-pulls.json"
IMAGES_MAX: Final = 1000
HOLDERS_MAX: Final = 200
"""Of one image; the oldest go, and are asked to show their credentials again."""
_KEY_BYTES: Final = 32


class Rights(Frozen):
    """Of one image."""

    everybody: bool = False
    """It was pulled without credentials."""
    holders: tuple[str, ...] = ()
    """Hashes of credentials, and Secrets by namespace, name and uid."""


class PullRights:
    """See the module. May be asked and told from any thread, by one at a time."""

    def __init__(self, directory: Path, *, images_max: int = IMAGES_MAX, holders_max: int = HOLDERS_MAX) -> None:
        self._images_max, self._holders_max = images_max, holders_max
        self._file = directory / FILE
        self._key, self._images = _read(self._file)

    def may_use(self, image_id: str, credentials: Sequence[Credentials]) -> bool:
        """Whether who has these credentials may use the image as it is here."""
        rights = self._images.get(image_id)
        if rights is None or rights.everybody:
            return True
        return any(name in rights.holders for each in credentials for name in self._names_of(each))

    def pulled(self, image_id: str, used: Credentials | None) -> None:
        """It was pulled just now: with these credentials, or without any. Raises `UnavailableError`."""
        before = self._images.get(image_id, Rights())
        rights = before
        if used is None:
            rights = Rights(everybody=True)
        elif not before.everybody:
            names = [*before.holders, *self._names_of(used)]
            rights = replace(before, holders=tuple(dict.fromkeys(names))[-self._holders_max :])
        if rights != self._images.get(image_id):
            kept = {image: each for image, each in self._images.items() if image != image_id}
            self._images = dict([*kept.items(), (image_id, rights)][-self._images_max :])
            self._write()

    def forget(self, image_id: str) -> None:
        """It is not here any more. Raises `UnavailableError`."""
        if image_id in self._images:
            self._images = {image: each for image, each in self._images.items() if image != image_id}
            self._write()

    def _names_of(self, credentials: Credentials) -> tuple[str, ...]:
        text = encode_object(
            {
                "registry": credentials.registry,
                "username": credentials.username,
                "password": credentials.password,
                "identityToken": credentials.identity_token,
            }
        )
        digest = hashlib.blake2b(text, key=self._key, digest_size=20).hexdigest()
        return (f"hash:{digest}", *((f"secret:{credentials.secret}",) if credentials.secret else ()))

    def _write(self) -> None:
        images: JsonObject = {
            image: {"everybody": rights.everybody, "holders": [*rights.holders]}
            for image, rights in self._images.items()
        }
        write_private(self._file, encode_object({"key": self._key.hex(), "images": images}))


def _read(file: Path) -> tuple[bytes, Mapping[str, Rights]]:
    try:
        held = read_json(file.read_bytes())
        if not isinstance(held, dict):
            raise InvalidError("it holds no object")
        key = bytes.fromhex(str_at(held, "key"))
        if len(key) != _KEY_BYTES:
            raise InvalidError("its key is none")
    except FileNotFoundError:
        return os.urandom(_KEY_BYTES), {}
    except (OSError, ValueError, InvalidError) as error:
        log.warning("who may use which image is not known any more file=%s reason=%s", file, error)
        return os.urandom(_KEY_BYTES), {}
    images = map_at(held, "images")
    return key, {
        image: Rights(
            everybody=bool_at(map_at(images, image), "everybody"),
            holders=tuple(strs_at(map_at(images, image), "holders")),
        )
        for image in images
    }


def kept(rights: PullRights | None, image_id: str, used: Credentials | None) -> None:
    """Write it down; where that fails, the image is here all the same, and its next user pulls it once more."""
    if rights is None:
        return
    try:
        rights.pulled(image_id, used)
    except UnavailableError as error:
        log.warning("who may use an image is not written down image=%s reason=%s", image_id, error)
