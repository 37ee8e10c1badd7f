"""When each row of a member that is dialled is looked at next: what failed waits by itself, and last. Pure.

Keeps one entry for each row of the member, as long as the row is there; a crash forgets them, and all are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.frozen import Frozen

AGAIN_S: Final = 60.0
"""Between looks at an object that is in order: somebody may have changed it there."""
SOON_S: Final = 10.0
"""After news of an object: what follows of it, pods that come up, is not to be told a minute late. Twice as long
after each look that finds none."""
FIRST_S: Final = 10.0
"""After the first failure."""
MOST_S: Final = 300.0
"""A row that fails for ever is tried every five minutes; a change of what is wanted is tried at once."""
_DOUBLINGS_MAX: Final = 16


class _Turn(Frozen, kw_only=False):
    revision: int
    at_s: float
    failures: int
    quiet: int = 0
    """Looks in a row at an object in order that found no news."""


class Rounds:
    """Of one member."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    def due(self, rows: Mapping[str, int], now_s: float) -> list[str]:
        """Of all rows, which are revisions by name: those whose turn it is. What failed comes after all others, so
        that it never stands before them; the rest in the order that is given."""
        self._turns = {name: turn for name, turn in self._turns.items() if name in rows}
        found = [name for name, revision in rows.items() if self._is_due(name, revision, now_s)]
        return sorted(found, key=self.failures)

    def _is_due(self, name: str, revision: int, now_s: float) -> bool:
        turn = self._turns.get(name)
        return turn is None or turn.revision != revision or now_s >= turn.at_s

    def failures(self, name: str) -> int:
        """In a row."""
        turn = self._turns.get(name)
        return 0 if turn is None else turn.failures

    def settled(self, name: str, revision: int, now_s: float, *, news: bool) -> None:
        """It is in order. `news`: it is otherwise than it was told last."""
        before = self._turns.get(name)
        known = before is not None and before.revision == revision and not before.failures
        quiet = before.quiet + 1 if before is not None and known and not news else 0
        wait_s = min(AGAIN_S, SOON_S * 2.0 ** min(quiet, _DOUBLINGS_MAX))
        self._turns[name] = _Turn(revision, now_s + wait_s, 0, quiet)

    def failed(self, name: str, revision: int, now_s: float) -> float:
        """Seconds until it is tried again."""
        before = self._turns.get(name)
        count = before.failures if before is not None and before.revision == revision else 0
        wait_s = min(MOST_S, FIRST_S * 2.0 ** min(count, _DOUBLINGS_MAX))
        return self._waits(name, revision, now_s, wait_s, count)

    def missing(self, name: str, revision: int, now_s: float) -> float:
        """The same of one whose kind is not served there: to look costs little, and all of the kind come with it."""
        return self._waits(name, revision, now_s, FIRST_S, 0)

    def _waits(self, name: str, revision: int, now_s: float, wait_s: float, count: int) -> float:
        self._turns[name] = _Turn(revision, now_s + wait_s, count + 1)
        return wait_s
