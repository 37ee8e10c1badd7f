"""Opens the contents of sealed versions, and remembers them: an object's versions are looked at with each report.

A content of a MiB takes milliseconds to open, an object has a dozen, and meanwhile nobody else has a turn. What is
remembered is of one Secret as it was written once, and counts only for the digest that it was asked for by. Bounded
in bytes: what was asked for last stays. Lost in a crash.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Revision, revision_of, uid_of
from skerry.objects.sealed_versions import content_of, unpacked

BYTES_MAX: Final = 16 * 1024 * 1024
"""All versions of a few objects of a MiB, or of a thousand that are as Secrets are."""
_ENTRY_BYTES: Final = 1024
"""What an entry takes beside its content; one that is none is remembered too."""


class _Kept(Frozen):
    content: JsonObject | None
    size: int


class OpenedContents:
    """See the module. What it gives is shared: never change it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Revision, str], _Kept] = OrderedDict()
        self.held_bytes = 0

    def of(self, digest: str, secret: JsonObject | None) -> JsonObject | None:
        """As `skerry.objects.sealed_versions.opened`."""
        if secret is None:
            return None
        key = (uid_of(secret), revision_of(secret), digest)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept.content
        text = unpacked(digest, secret)
        content = None if text is None else content_of(text)
        self._keep(key, _Kept(content=content, size=_ENTRY_BYTES + len(text or b"")))
        return content

    def _keep(self, key: tuple[str, Revision, str], kept: _Kept) -> None:
        if kept.size > BYTES_MAX:
            return
        self._kept[key] = kept
        self.held_bytes += kept.size
        while self.held_bytes > BYTES_MAX:
            _, gone = self._kept.popitem(last=False)
            self.held_bytes -= gone.size
