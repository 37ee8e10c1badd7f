"""What a session still has to push: a queue keyed by object, so that fifty changes cost one frame.

Bounded by the number of objects in the view, because a key waits in it once. In memory only: what a crash
loses is found again by comparing.
"""

from __future__ import annotations

from collections.abc import Iterable

from skerry.objects.meta import Key


class PushQueue:
    """Keys in the order in which they first changed."""

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[Key]) -> None:
        """Note keys; one already waiting keeps its place."""
        for key in keys:
            self._keys.setdefault(key)

    def first(self) -> Key:
        return next(iter(self._keys))

    def take(self, key: Key) -> None:
        del self._keys[key]

    def clear(self) -> None:
        self._keys.clear()
