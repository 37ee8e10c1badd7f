"""How often an owner of thousands is looked at: each look at a DaemonSet is at all nodes, one at a Job at all of its
pods, and each of these asks for one when it has news. Pure; keeps when each owner may be looked at again, and a crash
forgets it.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.meta import Key

UNPACED: Final = 500
"""What has no more nodes or pods is looked at whenever something happens."""
REST: Final = 4.0
"""After a look it rests so many times as long as that took."""
REST_S_MAX: Final = 10.0


class Pace:
    """Instants are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._not_before_s: dict[Key, float] = {}

    def wait_s(self, key: Key, *, now_s: float) -> float:
        """How long the owner has to wait; 0 for no time at all."""
        return max(self._not_before_s.get(key, now_s) - now_s, 0.0)

    def looked(self, key: Key, *, size: int, began_s: float, now_s: float) -> None:
        if size > UNPACED:
            self._not_before_s[key] = now_s + min(REST * (now_s - began_s), REST_S_MAX)

    def forget(self, key: Key) -> None:
        self._not_before_s.pop(key, None)
