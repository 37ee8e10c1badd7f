"""What a session still has to push: a queue keyed by object, so that fifty changes cost one frame.

Bounded by the number of objects in the view, because a key waits in it once. Prompt keys go before the others, so
that a setpoint does not wait behind a megabyte of configuration. In memory only: what a crash loses is found again by
comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skerry.objects.meta import Key


class PushQueue:
    """Keys in the order in which they first changed, prompt ones first."""

    __slots__ = ("_keys", "_prompt")

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}
        self._prompt: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._prompt)

    def __contains__(self, key: Key) -> bool:
        return key in self._keys or key in self._prompt

    @property
    def prompt(self) -> bool:
        """A prompt key waits."""
        return bool(self._prompt)

    def add(self, keys: Iterable[Key], prompt: Callable[[Key], bool]) -> None:
        """Note keys; one already waiting keeps its place."""
        for key in keys:
            (self._prompt if prompt(key) else self._keys).setdefault(key)

    def first(self) -> Key:
        return next(iter(self._prompt or self._keys))

    def take(self, key: Key) -> None:
        keys = self._prompt if key in self._prompt else self._keys
        del keys[key]
        if not keys:
            keys.clear()  # which gives its room back; a dictionary that only lost its keys keeps it

    def clear(self) -> None:
        self._prompt.clear()
        self._keys.clear()
