"""How long a member that comes and goes is waited for before it is said to be silent. Pure.

Whoever is said to be silent, or heard, is written down, and every federated object is looked at again. One whose link
comes and goes all day would have that done all day, and fifty of them without a pause. So one that has been said to
be silent several times of late is waited for longer: its own outage is noticed later, up to a minute, and what it
costs the others has a bound. Never sooner: leases and failover count from when it is said. Keeps the members that
were silent in the last minutes; a crash forgets them.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen

GRACE_S: Final = 15.0
"""After the end of a session until the member counts as silent: a restart of either side is no outage."""
GRACE_S_MAX: Final = 60.0
CALM_S: Final = 600.0
"""Who was not silent for so long begins anew."""
FREE: Final = 2
"""Outages in that time that are noticed as soon as one alone: a link that is being mended."""


class _Times(Frozen, kw_only=False):
    count: int
    last_s: float


class Flapping:
    """Of the members of one hub."""

    def __init__(self) -> None:
        self._times: dict[str, _Times] = {}

    def grace_s(self, member: str, now_s: float) -> float:
        """How long it is to be silent before that is said."""
        known = self._times.get(member)
        if known is None or now_s - known.last_s >= CALM_S:
            return GRACE_S
        return min(GRACE_S_MAX, GRACE_S * 2.0 ** max(0, min(known.count, 10) - FREE + 1))

    def silent(self, member: str, now_s: float) -> None:
        """That is said now."""
        self._times = {name: each for name, each in self._times.items() if now_s - each.last_s < CALM_S}
        known = self._times.get(member)
        self._times[member] = _Times(1 if known is None else known.count + 1, now_s)
