"""Room for what waits: whose oldest message goes when all queues together hold too much.

Not that of whoever gets the next message, for then a few clients that are away for good leave no room to those that
are there. The user who holds most gives way, with the session that holds most; what waits for who is away counts
twice.

Pure. Keeps whom it chose last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from skerry.mqtt.kept import Delivery
from skerry.mqtt.limits import Limits, Totals
from skerry.mqtt.session import Session

LOOK_SHARE: Final = 16
"""One look at all sessions serves for as many messages as a 16th of them: the more there are, the more it costs."""


class Room:
    """See the module."""

    def __init__(
        self, limits: Limits, totals: Totals, sessions: Mapping[str, Session], comes_first: Callable[[str], bool]
    ) -> None:
        self._limits = limits
        self._totals = totals
        self._sessions = sessions
        self._comes_first = comes_first
        self._chosen: Session | None = None
        self._looked = 0
        """Messages since."""

    def make(self, session: Session, size: int) -> tuple[bool, list[tuple[Session, Delivery]]]:
        """Whether one more of this size has room in a queue, and what goes for it."""
        limits, gone = self._limits, list[tuple[Session, Delivery]]()
        while len(session.queue) >= limits.queue or session.bytes + size > limits.queue_bytes:
            if not session.queue:
                return self._refused(session), gone
            gone.append((session, self._drop(session)))
        while self._totals.queued_bytes + size > limits.total_bytes:
            other = self._choose()
            if other is None:
                return self._refused(session), gone
            gone.append((other, self._drop(other)))
        return True, gone

    def _refused(self, session: Session) -> bool:
        session.dropped += 1
        self._totals.dropped += 1
        return False

    def _drop(self, session: Session) -> Delivery:
        session.dropped += 1
        self._totals.dropped += 1
        return session.pop_oldest()

    def _choose(self) -> Session | None:
        """None: nothing waits."""
        chosen = self._chosen
        if chosen is not None and chosen.queue and self._looked < len(self._sessions) // LOOK_SHARE:
            self._looked += 1
            return chosen
        self._looked = 0
        by_user: dict[str, int] = {}
        for session in self._sessions.values():
            if session.queue:
                by_user[session.user] = by_user.get(session.user, 0) + _weight(session)
        if not by_user:
            return None
        user = max(by_user, key=lambda user: (not self._comes_first(user), by_user[user]))
        theirs = (each for each in self._sessions.values() if each.queue and each.user == user)
        self._chosen = max(theirs, key=_weight)
        return self._chosen


def _weight(session: Session) -> int:
    return session.bytes if session.connection is not None else 2 * session.bytes
