"""How often a DaemonSet is looked at: in a fleet of thousands each look is at all of them, and a fleet that comes
back asks for one with each gateway. Pure; keeps when each set may be looked at again, and a crash forgets it.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.meta import Key

NODES_UNPACED: Final = 500
"""A smaller fleet is looked at whenever something happens."""
REST: Final = 4.0
"""After a look it rests so many times as long as that took."""
REST_S_MAX: Final = 10.0


class Pace:
    """Instants are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._not_before_s: dict[Key, float] = {}

    def wait_s(self, key: Key, *, now_s: float) -> float:
        """How long the set has to wait; 0 for no time at all."""
        return max(self._not_before_s.get(key, now_s) - now_s, 0.0)

    def looked(self, key: Key, *, nodes: int, began_s: float, now_s: float) -> None:
        if nodes > NODES_UNPACED:
            self._not_before_s[key] = now_s + min(REST * (now_s - began_s), REST_S_MAX)

    def forget(self, key: Key) -> None:
        self._not_before_s.pop(key, None)
