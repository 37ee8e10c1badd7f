"""One change, encoded once, for however many sessions are told of it.

A ConfigMap that five thousand gateways use is the same bytes to all of them, but for the number of the batch and the
revision of the view. Those two stand last in the frame (`skerry.wire.codec.objects_tail`), so all that comes before
is made once and kept for a moment: what waits for its link waits in this form at most once. Keeps the newest heads in
memory, bounded by bytes; a crash loses nothing but the time to make them again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.objects.meta import Key, Stamp
from skerry.wire.codec import encode, objects_head, objects_tail
from skerry.wire.frames import Frame, Objects

KEPT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of heads, and of the objects that they keep in memory. One change makes one, or two or three where its sessions'
numbers differ in length; what is larger than this is not kept."""
ITEMS_MAX: Final = 8
"""Objects in a frame that is looked for: what is pushed as it changes. A view that is fetched whole is each gateway's
own, and looking for it would cost more than it finds."""

_Said: TypeAlias = "tuple[int, int, bool, tuple[Key, ...], tuple[tuple[Key, Stamp], ...]]"
"""Dictionary, length of the tail, and what the frame says, but for bodies: those follow from the stamps, and are
compared as well."""


class _Head(Frozen, kw_only=False):
    data: bytes
    bodies: tuple[bytes, ...]
    """The store's own bytes, not copies."""

    @property
    def size(self) -> int:
        return len(self.data) + sum(map(len, self.bodies))


class SharedEncoder:
    """`encode` for all sessions of a hub. Not for several threads."""

    def __init__(self, *, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._kept_bytes_max = kept_bytes_max
        self._heads: OrderedDict[_Said, _Head] = OrderedDict()
        self._bytes = 0

    def encode(self, frame: Frame, *, dictionary: int = 0) -> bytes:
        """See `skerry.wire.codec.encode`, and raises as it does; a shared frame is a few bytes longer."""
        if not isinstance(frame, Objects) or len(frame.puts) + len(frame.deletes) > ITEMS_MAX:
            return encode(frame, dictionary=dictionary)
        tail = objects_tail(frame)
        puts = tuple((put.key, put.stamp) for put in frame.puts)
        said = dictionary, len(tail), frame.more, frame.deletes, puts
        bodies = tuple(put.body for put in frame.puts)
        head = self._heads.get(said)
        if head is not None and head.bodies == bodies:
            self._heads.move_to_end(said)
        else:
            head = _Head(objects_head(frame, tail_bytes=len(tail), dictionary=dictionary), bodies)
            self._keep(said, head)
        return head.data + tail

    def _keep(self, said: _Said, head: _Head) -> None:
        before = self._heads.pop(said, None)
        if before is not None:
            self._bytes -= before.size
        self._heads[said] = head
        self._bytes += head.size
        while self._bytes > self._kept_bytes_max:
            _, oldest = self._heads.popitem(last=False)
            self._bytes -= oldest.size
