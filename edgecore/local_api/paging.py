"""A list in pages, as Kubernetes' clients ask for it (`limit`, `continue`). Pure.

A gateway keeps no old states, so each page is of now: what changed since the first is told by a watch from the
resourceVersion that all pages have, which is the first one's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at, str_at
from skerry.objects.meta import Key


class Token(Frozen):
    """Where the next page begins."""

    revision: int
    """Of the first page."""
    namespace: str
    name: str
    """Of the last object that was given."""

    @property
    def text(self) -> str:
        said: JsonObject = {"rv": self.revision, "ns": self.namespace, "name": self.name}
        return base64.urlsafe_b64encode(encode_object(said)).decode("ascii").rstrip("=")


def token_of(text: str) -> Token:
    """Raises `BadRequestError`."""
    try:
        said = decode_object(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, AssertionError, RecursionError) as error:
        raise BadRequestError("continue key is not valid: " + text[:64]) from error
    return Token(revision=int_at(said, "rv"), namespace=str_at(said, "ns"), name=str_at(said, "name"))


def page_of(objects: Mapping[Key, JsonObject], *, limit: int, token: str, revision: int) -> JsonObject:
    """`metadata` and `items` of a list; `limit` 0: all that is left. Raises `BadRequestError`."""
    begin = token_of(token) if token else None
    ordered = sorted(objects.items(), key=lambda item: (item[0].namespace, item[0].name))
    if begin is not None:
        after = (begin.namespace, begin.name)
        ordered = [item for item in ordered if (item[0].namespace, item[0].name) > after]
        revision = begin.revision
    shown, left = (ordered[:limit], ordered[limit:]) if limit else (ordered, [])
    metadata: JsonObject = {"resourceVersion": str(revision)}
    if left:
        last, _ = shown[-1]
        metadata["continue"] = Token(revision=revision, namespace=last.namespace, name=last.name).text
        metadata["remainingItemCount"] = len(left)
    return {"metadata": metadata, "items": [obj for _, obj in shown]}
