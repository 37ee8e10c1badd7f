"""Several observers of one target come to a verdict. Pure; keeps nothing.

Each says up or down; the majority of those that are heard and not isolated decides, and an even count leaves it as it
was. Who is isolated, as far as it can tell itself, says nothing: everything that it can't reach would be down in its
eyes. When nobody says anything, it stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from skerry.probing.monitor import State

FAILING_MAX: Final = 0.5
"""The share of an observer's targets that may be down before it asks itself whether it is the one that is cut off."""


def verdict(votes: Iterable[State], held: State) -> State:
    """Of one target; `votes` are those of observers that are heard and not isolated."""
    given = [*votes]
    up = sum(vote == "up" for vote in given)
    down = len(given) - up
    if up == down:
        return held
    return "up" if up > down else "down"


def is_isolated(*, failing: int, targets: int, peers_heard: int, peers: int) -> bool:
    """Whether an observer had better not be believed. Alone it is when all that it tries fails; with peers, when more
    than half of it does, and half of its peers are silent too."""
    if targets < 2 or not failing:
        return False
    if not peers:
        return failing == targets
    return failing / targets > FAILING_MAX and 2 * peers_heard < peers
