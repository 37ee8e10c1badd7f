"""How long to wait before the next try of something that failed. Pure.

Keeps one count per failing key, until the key succeeds; a crash forgets them, and everything is tried at once again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from skerry.frozen import Frozen

K = TypeVar("K", bound=Hashable)


class BackoffSettings(Frozen):
    first_s: float = 0.02
    """After the first failure: most are conflicts with another writer, and gone at once."""
    most_s: float = 60.0
    """Never wait longer: whoever repairs the cause should see it work within a minute."""
    factor: float = 2.0


class Backoff(Generic[K]):
    """Delays that double with each failure in a row, for each key by itself."""

    def __init__(self, settings: BackoffSettings | None = None) -> None:
        self._settings = settings or BackoffSettings()
        self._failures: dict[K, int] = {}

    def failed(self, key: K) -> float:
        """Count one more failure; seconds to wait."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        # Capped before it is computed: 2.0 ** 1100 is no float.
        return min(self._settings.first_s * self._settings.factor ** min(count, 64), self._settings.most_s)

    def succeeded(self, key: K) -> None:
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """In a row."""
        return self._failures.get(key, 0)
