"""How long a node waits for another pod after one that failed: a gateway that refuses a pod would else get one after
the other. Pure; keeps the failures of late in memory, and a crash forgets them.
"""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 1.0
MOST_S: Final = 900.0
"""Kubernetes' daemon controller waits as long."""
_FORGOTTEN_MS: Final = 2 * 900_000


class Failures:
    """By owner and node."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[int, int]] = {}
        """Count, and until when (wall clock, ms) the next one waits."""

    def wait_s(self, owner: str, node: str, *, now_ms: int) -> float:
        """Seconds that a pod which failed there has to stay yet; 0 when it may go."""
        _, until_ms = self._held.get((owner, node), (0, now_ms))
        # A clock that was set back must not hold anybody for ever.
        return min(max(until_ms - now_ms, 0) / 1000, MOST_S)

    def failed(self, owner: str, node: str, *, now_ms: int) -> None:
        """One went: the next waits twice as long."""
        self._held = {key: held for key, held in self._held.items() if now_ms - held[1] < _FORGOTTEN_MS}
        count, _ = self._held.get((owner, node), (0, 0))
        delay_s = min(FIRST_S * 2 ** min(count, 32), MOST_S)
        self._held[owner, node] = (count + 1, now_ms + int(delay_s * 1000))
