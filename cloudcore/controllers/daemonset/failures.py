"""How long a node waits for another pod after one that failed: a gateway that refuses a pod would else get one after
the other. Pure; keeps the failures of late in memory, and a crash forgets them. Instants are seconds of one monotonic
clock: one of the wall, set back, would hold up every node until it has caught up.
"""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 1.0
MOST_S: Final = 900.0
"""Kubernetes' daemon controller waits as long."""
_FORGOTTEN_S: Final = 2 * MOST_S


class Failures:
    """By owner and node."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[int, float]] = {}
        """Count, and until when the next one waits."""

    def wait_s(self, owner: str, node: str, *, now_s: float) -> float:
        """Seconds that a pod which failed there has to stay yet; 0 when it may go."""
        _, until_s = self._held.get((owner, node), (0, now_s))
        return max(until_s - now_s, 0.0)

    def failed(self, owner: str, node: str, *, now_s: float) -> None:
        """One went: the next waits twice as long."""
        self._held = {key: held for key, held in self._held.items() if now_s - held[1] < _FORGOTTEN_S}
        count, _ = self._held.get((owner, node), (0, 0))
        delay_s = min(FIRST_S * 2 ** min(count, 32), MOST_S)
        self._held[owner, node] = (count + 1, now_s + delay_s)
