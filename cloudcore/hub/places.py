"""How many gateways may come into step at a time, and when the others are to come back. Pure.

Each session takes a place from its entry until it is in step. Where all are taken, the next gateway is given an
appointment, one after the other, as fast as places become free: with n places, each held for t seconds on average,
one is free every t/n (Little's law). So a herd neither comes back all at once, to be sent away again for the price of
a handshake each, nor leaves the hub idle. A gateway on a slow link that is still busy after a while does not keep its
place from others. In memory; after a crash the hub learns anew how long a place is held.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from skerry.frozen import Frozen

_WEIGHT: Final = 1 / 64
"""Of the newest stay in the average: some dozens tell, one slow gateway does not."""


class PlaceSettings(Frozen):
    places: int = 2000
    """Sessions on their way into step: megabytes of queues, and as many as keep a slow link's round trips covered."""
    stay_s: float = 4.0
    """How long a place is held, as long as nobody was seen."""
    stay_s_max: float = 60.0
    """A gateway that holds its place longer is on a slow link, and leaves room."""
    apart_s_min: float = 0.003
    """Between two appointments: what a handshake and an entry cost of a core."""
    retry_s_min: float = 1.0
    """Before the first appointment: those who were just sent away are still to be told."""
    retry_s_max: float = 300.0
    """No gateway is sent away for longer, whatever the average says."""


class Places:
    """See the module. Whoever holds a place is told apart by identity or value, as in a dictionary."""

    def __init__(self, settings: PlaceSettings) -> None:
        self._settings = settings
        self._since: dict[Hashable, float] = {}
        """Who holds a place, and since when; in that order."""
        self._stay_s = settings.stay_s
        self._next_s = float("-inf")
        """When the next appointment may be."""

    def __len__(self) -> int:
        return len(self._since)

    def take(self, who: Hashable, now_s: float) -> bool:
        """Take a place until `settled` or `leave`; False where all are taken."""
        self._clear(now_s)
        if len(self._since) >= self._settings.places:
            return False
        self._since[who] = now_s
        return True

    def settled(self, who: Hashable, now_s: float) -> None:
        """It is in step: its place is free. Nothing when it holds none."""
        since_s = self._since.pop(who, None)
        if since_s is not None:
            self._note(now_s - since_s)

    def leave(self, who: Hashable) -> None:
        """It is gone, which says nothing of how long a place is needed."""
        self._since.pop(who, None)

    def appointment(self, now_s: float, unit: float) -> float:
        """In how many seconds the next one to be sent away is to come back; `unit` is uniform in [0, 1)."""
        settings = self._settings
        at_s = max(self._next_s, now_s + settings.retry_s_min)
        if at_s > now_s + settings.retry_s_max:
            return settings.retry_s_max * (1 + unit) / 2
        self._next_s = at_s + max(settings.apart_s_min, self._stay_s / settings.places)
        return at_s - now_s

    def _clear(self, now_s: float) -> None:
        """Of those who held their place for too long; each of them is looked at once."""
        while self._since:
            who, since_s = next(iter(self._since.items()))
            if now_s < since_s + self._settings.stay_s_max:
                break
            del self._since[who]
            self._note(self._settings.stay_s_max)

    def _note(self, stay_s: float) -> None:
        self._stay_s += (stay_s - self._stay_s) * _WEIGHT
